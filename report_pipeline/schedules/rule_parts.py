"""The parts of an RRULE (RFC 5545, section 3.3.10), each checked for itself and beside the others."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from report_pipeline.errors import CallerMistake
from report_pipeline.instants import did_you_mean
from report_pipeline.schedules.recurrence import FREQUENCIES, UNITS, Rule

WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
# The lowest and the highest number of each part, and whether it can count from the end, by numbers below zero.
NUMBERS = {
    "BYSECOND": (0, 59, False),
    "BYMINUTE": (0, 59, False),
    "BYHOUR": (0, 23, False),
    "BYMONTHDAY": (1, 31, True),
    "BYYEARDAY": (1, 366, True),
    "BYWEEKNO": (1, 53, True),
    "BYMONTH": (1, 12, False),
    "BYSETPOS": (1, 366, True),
}
PARTS = ("FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", *NUMBERS)
EXAMPLE = "FREQ=WEEKLY;BYDAY=MO,WE;BYHOUR=9"
TIME = re.compile(r"[0-9]{8}T[0-9]{6}Z?")
LARGEST = 10**6


def parse_rule(text: str, rule: str) -> Rule:
    """Read the value of an RRULE, in capitals; `text` is what it stands in, for messages.

    Raises:
        CallerMistake: a part is unknown, doubled, out of range or not possible beside another.
    """
    values: dict[str, str] = {}
    for part in rule.strip(";").split(";"):
        name, equals, value = part.partition("=")
        if name not in PARTS:
            near = did_you_mean(name, PARTS)
            raise wrong_rrule(text, f"{name!r} is no part of a rule. Expected {', '.join(PARTS)}.{near}")
        if not equals or not value:
            raise wrong_rrule(text, f"{name} has no value.")
        if name in values:
            raise wrong_rrule(text, f"{name} is there twice. Write its values with commas between.")
        values[name] = value
    if "FREQ" not in values:
        raise wrong_rrule(text, f"It has no FREQ. Expected one of {', '.join(FREQUENCIES)}, such as {EXAMPLE}.")
    freq = values["FREQ"]
    if freq not in FREQUENCIES:
        near = did_you_mean(freq, FREQUENCIES)
        raise wrong_rrule(text, f"FREQ is {freq!r}. Expected one of {', '.join(FREQUENCIES)}.{near}")
    if "COUNT" in values and "UNTIL" in values:
        raise wrong_rrule(text, "It has COUNT and UNTIL. A rule ends with one of them: leave the other out.")
    if "WKST" in values and values["WKST"] not in WEEKDAYS:
        raise wrong_rrule(text, f"WKST is {values['WKST']!r}. Expected one of {', '.join(WEEKDAYS)}.")
    numbers = {
        name.lower(): tuple(_number(text, name, item, *bounds) for item in values[name].split(","))
        for name, bounds in NUMBERS.items()
        if name in values
    }
    days = values["BYDAY"].split(",") if "BYDAY" in values else []
    read = Rule(
        freq=freq,
        interval=_number(text, "INTERVAL", values.get("INTERVAL", "1"), 1, LARGEST),
        count=_number(text, "COUNT", values["COUNT"], 1, LARGEST) if "COUNT" in values else None,
        until=_until(text, values["UNTIL"]) if "UNTIL" in values else None,
        wkst=WEEKDAYS.index(values.get("WKST", "MO")),
        byday=tuple(_weekday(text, item, freq) for item in days),
        **numbers,
    )
    _check_parts(text, read, values)
    return read


def _check_parts(text: str, rule: Rule, values: Iterable[str]) -> None:
    """What RFC 5545, section 3.3.10, does not let stand side by side."""
    allowed = {
        "BYWEEKNO": ("YEARLY",),
        "BYYEARDAY": ("YEARLY", *UNITS),
        "BYMONTHDAY": tuple(freq for freq in FREQUENCIES if freq != "WEEKLY"),
    }
    for name, freqs in allowed.items():
        if name in values and rule.freq not in freqs:
            expected = f"Expected it beside {', '.join(freqs)}"
            raise wrong_rrule(text, f"{name} cannot be in a {rule.freq} rule. {expected}.")
    if any(ordinal for ordinal, _ in rule.byday) and (rule.freq not in ("MONTHLY", "YEARLY") or rule.byweekno):
        raise wrong_rrule(
            text,
            "BYDAY has numbers before its weekdays. They count within a month or a year: expected FREQ=MONTHLY,"
            " or FREQ=YEARLY without BYWEEKNO.",
        )
    if rule.byweekno and not rule.byday:
        raise wrong_rrule(text, "BYWEEKNO names weeks, and nothing says which of their days. Add BYDAY=MO or others.")
    if rule.bysetpos and not any(name.startswith("BY") and name != "BYSETPOS" for name in values):
        raise wrong_rrule(
            text, "BYSETPOS picks among what other parts name, and there is none. Add one, such as BYDAY."
        )


def _number(text: str, name: str, value: str, lowest: int, highest: int, negative: bool = False) -> int:
    if re.fullmatch(r"[+-]?[0-9]{1,9}", value):
        number = int(value)
        if lowest <= (abs(number) if negative else number) <= highest:
            return number
    ends = f" or -{highest} to -{lowest} from the end" if negative else ""
    raise wrong_rrule(text, f"{name} has {value!r}. Expected whole numbers from {lowest} to {highest}{ends}.")


def _weekday(text: str, item: str, freq: str) -> tuple[int, int]:
    match = re.fullmatch(r"(?P<ordinal>[+-]?[0-9]{1,2})?(?P<day>[A-Z]{2})", item)
    most = 53 if freq == "YEARLY" else 5
    if match is None or match["day"] not in WEEKDAYS:
        near = next((day for day in WEEKDAYS if item.lstrip("+-0123456789")[:2] == day), None)
        raise wrong_rrule(
            text,
            f"BYDAY has {item!r}. Expected {', '.join(WEEKDAYS)}, in monthly and yearly rules with a number before,"
            f" such as -1FR for the last Friday." + (f' Did you mean "{near}"?' if near else ""),
        )
    ordinal = int(match["ordinal"] or 0)
    if match["ordinal"] and not 1 <= abs(ordinal) <= most:
        raise wrong_rrule(
            text, f"BYDAY has {item!r}. Expected numbers from 1 to {most}, or -{most} to -1 from the end."
        )
    return ordinal, WEEKDAYS.index(match["day"])


def _until(text: str, value: str) -> datetime:
    if re.fullmatch(r"[0-9]{8}", value):
        raise wrong_rrule(
            text,
            f"UNTIL={value} is a date. Write the time of its last fire too, such as UNTIL={value}T235959 (local time)"
            f" or UNTIL={value}T235959Z (UTC).",
        )
    return parse_time(text, "UNTIL", value)


def parse_time(text: str, name: str, value: str) -> datetime:
    """A time with Z in UTC; one without is naive."""
    value = value.upper()
    try:
        if not TIME.fullmatch(value):
            raise ValueError("expected the form 20260131T090000, with a Z behind it for UTC")
        time = datetime.strptime(value.removesuffix("Z"), "%Y%m%dT%H%M%S")  # noqa: DTZ007 # local, or UTC below
        if not 1900 <= time.year <= 9900:
            raise ValueError("expected a year from 1900 to 9900")
    except ValueError as error:
        raise wrong_rrule(text, f"{name} has {value!r}, which is no date and time ({error}).") from None
    return time.replace(tzinfo=UTC) if value.endswith("Z") else time


def wrong_rrule(text: str, what: str) -> CallerMistake:
    """The mistake `what` in a rule that was written as `text`."""
    shown = " ".join(text.split())
    return CallerMistake(f"The rrule {shown!r} cannot be used. {what}")
