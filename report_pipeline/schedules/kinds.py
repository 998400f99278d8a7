"""The words that some of a schedule's fields choose from."""

from enum import StrEnum
from typing import TypeVar

from report_pipeline.instants import did_you_mean

Kind = TypeVar("Kind", bound=StrEnum)


class Misfire(StrEnum):
    """What becomes of fires that were not evaluated in time: all, the newest alone or none of them is made good."""

    ALL = "all"
    LAST = "last"
    NONE = "none"


class Overlap(StrEnum):
    """What a fire does while a run of an earlier one has not ended."""

    ALLOW = "allow"
    SKIP = "skip"
    QUEUE_ONE = "queue_one"
    QUEUE_ALL = "queue_all"
    CANCEL_RUNNING = "cancel_running"


class SolarEvent(StrEnum):
    """What the sun does, in Celery's words."""

    DAWN_ASTRONOMICAL = "dawn_astronomical"
    DAWN_NAUTICAL = "dawn_nautical"
    DAWN_CIVIL = "dawn_civil"
    SUNRISE = "sunrise"
    SOLAR_NOON = "solar_noon"
    SUNSET = "sunset"
    DUSK_CIVIL = "dusk_civil"
    DUSK_NAUTICAL = "dusk_nautical"
    DUSK_ASTRONOMICAL = "dusk_astronomical"


# Words of other tools for the same thing.
SYNONYMS = {
    "coalesce": "last",
    "latest": "last",
    "newest": "last",
    "one": "last",
    "ignore": "none",
    "never": "none",
    "skip": "none",
    "forbid": "skip",
    "bufferone": "queue_one",
    "queue": "queue_all",
    "bufferall": "queue_all",
    "replace": "cancel_running",
    "cancel": "cancel_running",
    "cancelother": "cancel_running",
    "terminateother": "cancel_running",
    "allowall": "allow",
    "noon": "solar_noon",
    "dawn": "dawn_civil",
    "dusk": "dusk_civil",
    "sundown": "sunset",
    "sunup": "sunrise",
}


def choose(kind: type[Kind], value: object, what: str) -> Kind:
    """The member of this name; `what` says what the value should be, such as `unit of time`."""
    try:
        return kind(value)  # type: ignore[arg-type] # any other value raises
    except ValueError:
        word = str(value).replace(" ", "").replace("-", "_").lower()
        meant = SYNONYMS.get(word.replace("_", ""))
        near = f' Did you mean "{meant}"?' if meant in set(kind) else did_you_mean(str(value), kind)
        if value is None:
            raise ValueError(f"It is empty. Expected {', '.join(kind)}.") from None
        raise ValueError(f"{value!r} is no {what}. Expected {', '.join(kind)}.{near}") from None
