"""Mistakes in a schedule's fields, as pydantic's errors: each with its place."""

from collections.abc import Iterable

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

Location = tuple[str | int, ...]
Mistake = tuple[Location, str]
"""What is wrong, and the field (and position in a list, from 0) that it is wrong with."""


def fail_at(mistakes: Iterable[Mistake], value: object) -> None:
    """Raise all of these mistakes, each at its place below the value; do nothing where there are none."""
    details = [
        InitErrorDetails(type="value_error", loc=loc, input=value, ctx={"error": ValueError(message)})
        for loc, message in mistakes
    ]
    if details:
        raise ValidationError.from_exception_data("schedule", details)


def with_errors(error: ValidationError, mistakes: Iterable[Mistake], value: object) -> ValidationError:
    """The same failed validation with these mistakes behind its own."""
    details: list[InitErrorDetails] = []
    for found in error.errors(include_url=False):
        kind, loc, given = found["type"], found["loc"], found["input"]
        if kind == "value_error":
            error_itself = {"error": found["ctx"]["error"]}
            details.append(InitErrorDetails(type=kind, loc=loc, input=given, ctx=error_itself))
            continue
        # The text as pydantic has formed it; each of its types has a form of its own.
        same = PydanticCustomError(kind, "{text}", {**found.get("ctx", {}), "text": found["msg"]})
        details.append(InitErrorDetails(type=same, loc=loc, input=given))
    details += [
        InitErrorDetails(type="value_error", loc=loc, input=value, ctx={"error": ValueError(message)})
        for loc, message in mistakes
    ]
    return ValidationError.from_exception_data(error.title, details)
