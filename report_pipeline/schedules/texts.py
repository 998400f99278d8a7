"""The fields of a schedule from texts, as a command line or a form has them."""

from collections.abc import Callable, Mapping
from typing import Any

import yaml

from report_pipeline.errors import CallerMistake
from report_pipeline.schedules.fields import flag
from report_pipeline.schedules.model import ScheduleSpec

LISTS = frozenset({"cron", "at", "exclude", "between"})
"""Fields that can have several values."""

MAPPINGS = frozenset({"tags", "solar"})
"""Fields whose values have names."""

# Of these no single value holds a comma; in a cron it has a meaning of its own.
_DIVIDED_BY_COMMAS = frozenset({"at", "exclude", "between"})
_NOTHING = frozenset({"", "~", "null"})


def from_texts(fields: Mapping[str, str]) -> dict[str, Any]:
    """The values of fields that are given as texts, each as it would stand in YAML.

    Texts stay as they are: no cron is taken for an alias, no zone, date or name for anything but a text. Lists and
    mappings are written as in YAML, in brackets and braces; where no single value can hold a comma, commas do as
    well: `exclude=sat, sun`. Nothing, `null` and `~` are None. What is not readable as a number, or as true or
    false, stays a text, which validation then names.

    Raises:
        CallerMistake: a list or mapping is none.
    """
    return {name: _value(name, text.strip()) for name, text in fields.items()}


def _value(name: str, text: str) -> Any:
    info = ScheduleSpec.model_fields.get(name)
    if text.lower() in _NOTHING:
        return None
    if name in LISTS | MAPPINGS and text[0] in "[{":
        return _flow(name, text)
    if name in MAPPINGS and ":" in text:
        return _flow(name, f"{{{text}}}")
    if text[0] in "'\"" and len(text) > 1 and text[-1] == text[0]:
        return _unquoted(text)
    if name in _DIVIDED_BY_COMMAS and "," in text:
        return [part.strip() for part in text.split(",")]
    if info is not None and info.annotation is bool:
        return _or_text(flag, text)
    if info is not None and info.annotation is int:
        return _or_text(int, text)
    return text


def _or_text(read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except ValueError:
        return text


def _flow(name: str, text: str) -> Any:
    try:
        # This loader reads every value as the text that it is.
        return yaml.load(text, yaml.BaseLoader)  # noqa: S506
    except yaml.YAMLError as error:
        what = "a list" if name in LISTS else "names with values"
        example = '["0 1 * * *", "0 5 * * *"]' if name in LISTS else "{team: web, cost: low}"
        problem = getattr(error, "problem", None) or "it has another form"
        raise CallerMistake(
            f"{name}: {text!r} cannot be read as {what} ({problem}). Expected YAML such as {example}, with values that"
            " hold signs such as * , or : in quotes."
        ) from None


def _unquoted(text: str) -> str:
    try:
        read = yaml.load(text, yaml.BaseLoader)  # noqa: S506
    except yaml.YAMLError:
        return text
    return read if isinstance(read, str) else text
