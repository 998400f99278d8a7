"""A schedule in words: when it fires, what it wants, and what else is to be known of it."""

from datetime import datetime, time
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from report_pipeline.instants import describe_duration
from report_pipeline.schedules.calendar import describe_crons, listed
from report_pipeline.schedules.exclusions import parse_exclusion
from report_pipeline.schedules.rule_words import describe_rrule
from report_pipeline.windows import Window

if TYPE_CHECKING:
    from report_pipeline.schedules.model import ScheduleSpec

# More are not read as a sentence any more.
_MOST_LISTED = 5


def describe(spec: "ScheduleSpec") -> str:
    """Such as `at 00:30 every day, Asia/Tokyo; the previous day, read 10 minutes later; not on Saturday`."""
    wanted = _wanted(spec)
    if spec.settle:
        wanted += f", read {describe_duration(spec.settle)} later"
    return "; ".join([_when(spec), wanted, *_limits(spec)])


def _when(spec: "ScheduleSpec") -> str:
    # Where nothing is counted in it, the zone says nothing.
    local = ""
    if spec.cron:
        when, local = describe_crons(spec.cron), spec.zone
    elif spec.every is not None:
        when = f"every {_length(describe_duration(spec.every))}"
        if spec.anchor is not None:
            when += f" from {_instant(spec.anchor, spec.zone)} on"
            local = spec.zone
    elif spec.rrule is not None:
        begin = spec.start.astimezone(ZoneInfo(spec.zone)).time() if spec.start is not None else time()
        when, local = describe_rrule(spec.rrule, begin), spec.zone
    elif spec.at:
        shown = [_instant(at, spec.zone) for at in spec.at]
        if len(shown) > _MOST_LISTED:
            shown = [*shown[: _MOST_LISTED - 1], f"{len(shown) - _MOST_LISTED + 1} later instants"]
        when, local = f"at {listed(shown)}", spec.zone
    elif spec.solar is not None:
        north, east = spec.solar.latitude, spec.solar.longitude
        place = f"{abs(north):g} {'S' if north < 0 else 'N'} {abs(east):g} {'W' if east < 0 else 'E'}"
        when = f"at {_event(spec.solar.event)} at {place}"
    else:
        when = "when events come in"
    if not local and (spec.previous is not None or spec.exclude):
        local = spec.zone
    return ", ".join(part for part in (when, local, "once" if spec.once else "") if part)


def _event(name: str) -> str:
    """`dusk_civil` as `civil dusk`."""
    words = name.split("_")
    return " ".join(reversed(words) if words[0] in ("dawn", "dusk") else words)


def _wanted(spec: "ScheduleSpec") -> str:
    if spec.last is not None:
        return f"the last {_length(describe_duration(spec.last))}"
    if spec.previous is not None:
        return f"the previous {spec.previous}"
    if spec.between is not None:
        return f"always {Window.between(*spec.between, spec.zone).describe()}"
    if spec.since_last:
        return "the time since the fire before"
    if spec.on_events:
        return f"the windows of {spec.cadence} that they fall in"
    return f"the newest window of {spec.cadence}"


def _limits(spec: "ScheduleSpec") -> list[str]:
    limits = []
    if spec.exclude:
        names = [parse_exclusion(text).describe() for text in spec.exclude]
        if len(names) > _MOST_LISTED:
            names = [*names[: _MOST_LISTED - 1], f"{len(names) - _MOST_LISTED + 1} more exclusions"]
        limits.append(f"not on {listed(names)}")
    bounds = [
        f"{word} {_instant(bound, spec.zone)}"
        for word, bound in (("from", spec.start), ("until", spec.end))
        if bound is not None
    ]
    if bounds:
        # The zone stands with the times of the fires already, or it is told here.
        limits.append(" ".join(bounds) + ("" if spec.zone == "UTC" or spec.zone in _when(spec) else f" ({spec.zone})"))
    if spec.jitter:
        limits.append(f"launched up to {describe_duration(spec.jitter)} later")
    return limits


def _length(words: str) -> str:
    """`1 hour` as `hour`, to go behind `every` or `the last`."""
    return words.removeprefix("1 ") if words.count(" ") == 1 else words


def _instant(instant: datetime, zone: str) -> str:
    local = instant.astimezone(ZoneInfo(zone))
    return f"{local:%Y-%m-%d %H:%M:%S}" if local.second else f"{local:%Y-%m-%d %H:%M}"
