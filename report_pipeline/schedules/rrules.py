"""Recurrence rules of RFC 5545 as people write them: an RRULE, and DTSTART, RDATE and EXDATE where they are given."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from report_pipeline.errors import CallerMistake
from report_pipeline.instants import did_you_mean, parse_zone
from report_pipeline.schedules.recurrence import Recurrence, Rule
from report_pipeline.schedules.rule_parts import EXAMPLE, parse_rule, parse_time, wrong_rrule

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 # a local time of any zone
PROPERTIES = ("DTSTART", "RRULE", "RDATE", "EXDATE")
PROPERTY = re.compile(r"(?P<name>[A-Z-]+)(?P<parameters>(;[A-Z-]+=[^:;]+)*):(?P<value>.*)", re.IGNORECASE)
BEGINS = re.compile(r"([A-Z-]+(;[A-Z-]+=[^:;]+)*:|FREQ=)", re.IGNORECASE)


@dataclass(frozen=True)
class _Read:
    """What a text says, before it is known from when on it counts.

    Attributes:
        text: the text in the form in which it is kept.
    """

    text: str
    rule: Rule
    start: datetime | None
    also: frozenset[datetime]
    without: frozenset[datetime]


def check_rrule(text: str, zone: str) -> str:
    """A recurrence rule in the form in which it is kept: capitals, and each property on its own line.

    Args:
        text: the rule's parts, such as `FREQ=DAILY;BYHOUR=9`, or lines or words `DTSTART…`, `RRULE:…`, `RDATE…`
            and `EXDATE…`.
        zone: the schedule's zone, an IANA name. Times without Z are local times there.

    Raises:
        CallerMistake: a part or property is unknown, missing, doubled or has a value it cannot have, parts
            contradict each other or the zone, or the rule never comes true.
    """
    read = _read(text, zone)
    start = read.start or EPOCH
    if not Recurrence(read.rule, start, zone).ever():
        raise wrong_rrule(
            text, f"It names no time in the 40 years after {start.isoformat()}. Its parts contradict each other."
        )
    return read.text


def read_rrule(text: str, zone: str, start: datetime | None = None) -> Recurrence:
    """The recurrence that a text describes.

    It counts from its DTSTART; without one from the schedule's aware `start`; without either from the
    midnight in `zone` with which 1970 began, which decides the phase where INTERVAL is more than 1, and what the
    rule leaves open: a WEEKLY rule without BYDAY fires on Thursdays, as that day was.

    Raises:
        CallerMistake: as `check_rrule`, or COUNT has nothing to count from.
    """
    read = _read(text, zone)
    first = read.start
    if first is None and start is not None:
        first = start.astimezone(ZoneInfo(zone)).replace(tzinfo=None, microsecond=0, fold=0)
    if first is None and read.rule.count is not None:
        begin = "Say when it begins: with start, or with DTSTART before the rule."
        raise wrong_rrule(text, f"COUNT has no first fire to count from. {begin}")
    return Recurrence(read.rule, first or EPOCH, zone, read.also, read.without)


def _read(text: str, zone: str) -> _Read:
    properties = _properties(text)
    instants: dict[str, set[datetime]] = {"RDATE": set(), "EXDATE": set()}
    found: dict[str, str] = {}
    start: datetime | None = None
    lines: list[str] = []
    for name, parameters, value in properties:
        if name in found and name not in instants:
            raise wrong_rrule(
                text, f"It has {name} twice. A schedule has one; for a second rule write a second schedule."
            )
        found[name] = value
        if name == "RRULE":
            value = value.upper()
        else:
            _check_parameters(text, name, parameters, zone)
        lines.append(f"{name}{parameters}:{value}")
        if name == "DTSTART":
            start = _local(text, name, value, zone)
        elif name in instants:
            instants[name] |= {_instant(text, name, item, zone) for item in value.split(",")}
    if "RRULE" not in found:
        raise wrong_rrule(text, f"It has no rule. Expected one such as {EXAMPLE}; single instants go into `at`.")
    rule = parse_rule(text, found["RRULE"].upper())
    _check_until(text, rule, start, zone)
    kept = lines[0].removeprefix("RRULE:") if len(lines) == 1 else "\n".join(lines)
    return _Read(kept, rule, start, frozenset(instants["RDATE"]), frozenset(instants["EXDATE"]))


def _properties(text: str) -> list[tuple[str, str, str]]:
    """Name, parameters and value of each property. Line breaks and spaces within one do not count."""
    lines: list[str] = []
    for word in text.split():
        if BEGINS.match(word) or not lines:
            lines.append(word)
        else:
            lines[-1] += word
    if not lines:
        raise CallerMistake(f"The rrule is empty. Expected a rule such as {EXAMPLE}.")
    found = []
    for line in lines:
        match = PROPERTY.fullmatch(line)
        if match is None:
            found.append(("RRULE", "", line))
            continue
        name = match["name"].upper()
        if name not in PROPERTIES:
            why = " RFC 5545 has done away with it: use EXDATE, or exclude." if name == "EXRULE" else ""
            near = did_you_mean(name, PROPERTIES) if not why else ""
            raise wrong_rrule(text, f"{name} cannot be in it. Expected {', '.join(PROPERTIES)}.{why}{near}")
        found.append((name, match["parameters"], match["value"]))
    return found


def _check_parameters(text: str, name: str, parameters: str, zone: str) -> None:
    for parameter in parameters.split(";")[1:]:
        key, _, value = parameter.partition("=")
        if key.upper() == "TZID":
            other = parse_zone(value.strip('"'))
            if other != zone:
                raise wrong_rrule(
                    text,
                    f"{name} is in {other}, but the schedule's zone is {zone}. Leave TZID out, or write zone: {other}.",
                )
        elif key.upper() != "VALUE" or value.upper() != "DATE-TIME":
            why = " For whole days use exclude." if name == "EXDATE" and key.upper() == "VALUE" else ""
            raise wrong_rrule(text, f"{name} cannot have {parameter}. Expected TZID, or nothing.{why}")


def _check_until(text: str, rule: Rule, start: datetime | None, zone: str) -> None:
    if rule.until is None:
        return
    until = rule.until
    first = start or EPOCH
    if until.tzinfo is not None:
        first = first.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    if until < first:
        raise wrong_rrule(text, f"Its UNTIL is earlier than its beginning, {first.isoformat()}.")


def _local(text: str, name: str, value: str, zone: str) -> datetime:
    """A naive local time in `zone`."""
    time = parse_time(text, name, value)
    if time.tzinfo is not None and zone != "UTC":
        local = time.astimezone(ZoneInfo(zone))
        raise wrong_rrule(
            text,
            f"{name} is in UTC, but the schedule counts local time in {zone}."
            f" Write it in local time: {name}:{local:%Y%m%dT%H%M%S}, or write zone: UTC.",
        )
    return time.replace(tzinfo=None)


def _instant(text: str, name: str, value: str, zone: str) -> datetime:
    time = parse_time(text, name, value)
    return time if time.tzinfo is not None else time.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
