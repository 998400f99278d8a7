"""What is wrong with a schedule that no field by itself can tell."""

from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from report_pipeline.errors import CallerMistake
from report_pipeline.instants import SECOND, closest, describe_duration, format_instant
from report_pipeline.schedules.calendar import fires_a_day, listed, needs_whole_hours
from report_pipeline.schedules.exclusions import WEEKDAYS
from report_pipeline.schedules.fields import LATEST
from report_pipeline.schedules.foreign import FOREIGN
from report_pipeline.schedules.kinds import Misfire
from report_pipeline.schedules.left_out import LeftOut
from report_pipeline.schedules.mistakes import Mistake
from report_pipeline.units import Unit, require_whole_hours

if TYPE_CHECKING:
    from report_pipeline.schedules.fires import FireEngine
    from report_pipeline.schedules.model import ScheduleSpec

# Every evaluation counts all of them and compares them with what is there; more is hardly ever meant.
MOST_FIRES = 10_000
# Zones whose clocks have moved by part of an hour since then have no hourly grid to rely on.
HOURS_SINCE = date(2020, 1, 1)
# The daemon looks every few seconds, and less often when it has much to do.
SHORTEST_LOOK_BACK = timedelta(minutes=1)

WHAT = ("cadence", "last", "previous", "between", "since_last")
WHEN = ("cron", "every", "rrule", "at", "solar", "on_events")
_MAY_BE_EMPTY = ("cadence", "last", "previous", "between", "every", "rrule", "solar")
# What says nothing where the events themselves say when.
_NOT_ON_EVENTS = {
    "last": "there is no fire to count it from. Write cadence or between.",
    "previous": "there is no fire to count it from. Write cadence or between.",
    "since_last": "there is no fire to count it from. Write cadence or between.",
    "exclude": "there are no fires to leave out. Take it out.",
    "jitter": "there are no fires to delay. Take it out.",
    "once": "there are no fires of which one would be the first. Take it out.",
    "grace": "there are no fires that could be late. Take it out.",
    "look_back": "there are no fires to look back at. Take it out.",
    "start": "there are no fires that could be too early. Take it out.",
    "end": "there are no fires that could be too late. Take it out.",
    "overlap": "what comes in while a run goes on is built when that has ended. Take it out.",
    "retries": "what failed is tried again until it succeeds. Take it out.",
    "retry_delay": "what failed is tried again until it succeeds. Take it out.",
}
_LEAVES_GAPS = {
    "misfire": {"last": "all", "none": "all"},
    "overlap": {"skip": "queue_all", "queue_one": "queue_all", "cancel_running": "queue_all"},
}


def foreign(data: Mapping[Any, Any], fields: Iterable[str]) -> tuple[dict[Any, Any], list[Mistake]]:
    """The definition without the fields that other tools have, and for each of these which of ours is meant."""
    known: dict[Any, Any] = {}
    mistakes: list[Mistake] = []
    ours = set(fields)
    for key, value in data.items():
        hint = FOREIGN.get(str(key).lower().replace("-", "_"))
        if key in ours or hint is None:
            known[key] = value
        else:
            mistakes.append(((key,), f"is not known here. {hint.text}"))
    return known, mistakes


def by_presence(given: Mapping[Any, Any], empty: Collection[Any], fields: Iterable[str]) -> list[Mistake]:
    """What does not go together, told by which fields there are; their values may be right or wrong.

    Args:
        given: the fields that say something.
        empty: those that are there without a value.
        fields: all that there can be.
    """
    mistakes: list[Mistake] = []
    meant = _meant(given, set(fields))
    for kind, names in (("what it reports on", WHAT), ("when it fires", WHEN)):
        there = [name for name in names if name in given]
        expected = f"expected exactly one of {', '.join(names[:-1])} and {names[-1]}"
        if len(there) > 1:
            second = [name for name in given if name in there][1]
            mistakes.append(((second,), f"{expected}, there are {len(there)}: {', '.join(there)}."))
        elif not there and (left := [name for name in names if name in empty]):
            # An empty one of the others is a mistake of its own.
            text = f"It is empty. Write a value, or another of {', '.join(names)}."
            mistakes += [((name,), text) for name in left if name in _MAY_BE_EMPTY]
        elif not there and not meant & set(names):
            mistakes.append(((), f"{expected}, to say {kind}; there is none."))
    if "anchor" in given and "every" not in given:
        mistakes.append(
            (("anchor",), "anchor is what every is counted from, and there is no every. Take it out, or write every.")
        )
    if "on_events" in given:
        mistakes += _on_events(given)
    if "since_last" in given:
        for name, instead in _LEAVES_GAPS.items():
            word = str(given.get(name))
            if word in instead:
                mistakes.append(
                    (
                        (name,),
                        f"{name}: {word} would leave stretches that since_last never reports on."
                        f" Write {name}: {instead[word]}, or another window than since_last.",
                    )
                )
    misfire = str(given.get("misfire", Misfire.ALL))
    if "grace" in given and misfire == Misfire.ALL and "on_events" not in given:
        text = "grace says from when on a fire counts as missed, and misfire: all makes every missed fire good."
        mistakes.append((("grace",), f"{text} Take grace out, or write misfire: last or none."))
    if "retry_delay" in given and str(given.get("retries")) == "0":
        mistakes.append((("retry_delay",), "retry_delay has nothing to delay with retries: 0. Take one of them out."))
    return mistakes


def _meant(given: Mapping[Any, Any], fields: set[str]) -> set[str]:
    """The fields that were probably meant by those that are not known."""
    meant: set[str] = set()
    for key in given:
        hint = FOREIGN.get(str(key).lower().replace("-", "_"))
        near = closest(str(key), fields) if key not in fields else None
        meant |= set(hint.fields) if hint and key not in fields else {near} if near else set()
    return meant


def _on_events(given: Mapping[Any, Any]) -> list[Mistake]:
    mistakes: list[Mistake] = [
        ((name,), f"{name} does not go with on_events: {why}") for name, why in _NOT_ON_EVENTS.items() if name in given
    ]
    misfire = str(given.get("misfire", Misfire.ALL))
    if misfire != Misfire.ALL:
        text = f"misfire: {misfire} does not go with on_events: no event is ever left out. Take it out."
        mistakes.append((("misfire",), text))
    return mistakes


def by_value(spec: "ScheduleSpec") -> list[Mistake]:
    """What does not go together, told by values that are right each by itself."""
    mistakes: list[Mistake] = []
    if spec.start is not None and spec.end is not None and spec.start >= spec.end:
        text = f"The end {format_instant(spec.end)} is not later than the start {format_instant(spec.start)}."
        return [(("end",), f"{text} No fire is left; the end must be later.")]
    mistakes += _at(spec)
    mistakes += _rule(spec)
    mistakes += _exclusions(spec)
    mistakes += _fixed_window(spec)
    if spec.settle + spec.jitter > LATEST:
        field = "jitter" if spec.jitter >= spec.settle else "settle"
        text = f"settle and jitter together are {describe_duration(spec.settle + spec.jitter)}."
        mistakes.append(((field,), f"{text} Expected at most {LATEST.days}d."))
    if spec.misfire is not Misfire.ALL and spec.grace > spec.look_back:
        mistakes.append(
            (
                ("grace",),
                f"A grace of {describe_duration(spec.grace)} is longer than the look_back of"
                f" {describe_duration(spec.look_back)}, and nothing older is looked at. Make grace shorter.",
            )
        )
    if spec.look_back < SHORTEST_LOOK_BACK:
        text = f"A look_back of {describe_duration(spec.look_back)} is shorter than it takes to look."
        mistakes.append((("look_back",), f"{text} Expected at least {describe_duration(SHORTEST_LOOK_BACK)}."))
    mistakes += _frequency(spec)
    mistakes += _hours(spec)
    return mistakes


def _at(spec: "ScheduleSpec") -> list[Mistake]:
    if not spec.at:
        return []
    left = [at for at in spec.at if _within(at, spec.start, spec.end)]
    if not left:
        bounds = " and ".join(
            f"{words} {format_instant(bound)}"
            for words, bound in (("at or after the start", spec.start), ("before the end", spec.end))
            if bound is not None
        )
        return [(("at",), f"No instant of at lies {bounds}, so it never fires. Change one of them.")]
    if spec.once and len(left) > 1:
        text = f"once takes the first fire alone, and at names {len(spec.at)} instants."
        return [(("once",), f"{text} Take once out, or the other instants.")]
    return []


def _rule(spec: "ScheduleSpec") -> list[Mistake]:
    if spec.rrule is None:
        return []
    # Only schedules with such a rule need its library.
    from report_pipeline.schedules.rrules import read_rrule

    try:
        read_rrule(spec.rrule, spec.zone, spec.start)
    except CallerMistake as mistake:
        return [(("rrule",), str(mistake))]
    return []


def _exclusions(spec: "ScheduleSpec") -> list[Mistake]:
    if set(WEEKDAYS) <= set(spec.exclude):
        return [(("exclude",), "exclude leaves out all seven weekdays, so it never fires. Take one out.")]
    left_out = LeftOut(spec.exclude, spec.zone)
    left = [at for at in spec.at if _within(at, spec.start, spec.end)]
    if left and all(left_out.why(at) for at in left):
        return [(("exclude",), "exclude leaves out every instant of at, so it never fires. Change one of the two.")]
    return []


def _within(at: datetime, start: datetime | None, end: datetime | None) -> bool:
    return (start is None or start <= at) and (end is None or at < end)


def _fixed_window(spec: "ScheduleSpec") -> list[Mistake]:
    """A window is built by a fire at or after its end."""
    if spec.between is None or spec.on_events:
        return []
    window_end = spec.between[1]
    if spec.end is not None and spec.end <= window_end:
        text = f"The window ends at {format_instant(window_end)}, and no fire is left from then on:"
        return [(("end",), f"{text} end is {format_instant(spec.end)}. The end must be later than the window's.")]
    if spec.at and max(spec.at) < window_end:
        text = f"The window ends at {format_instant(window_end)}, after the last instant of at, so it is never built."
        return [(("at",), f"{text} Name an instant from then on.")]
    return []


def _frequency(spec: "ScheduleSpec") -> list[Mistake]:
    if spec.every is not None:
        field, fires = "every", spec.look_back / spec.every
    elif spec.cron:
        field = "cron"
        fires = sum(fires_a_day(cron) for cron in spec.cron) * (spec.look_back / timedelta(days=1))
    else:
        return []
    return [] if fires <= MOST_FIRES else [too_many(spec, field, f"some {fires:.0f}")]


def too_many(spec: "ScheduleSpec", field: str, times: str) -> Mistake:
    """The mistake of more than `MOST_FIRES` fires in a look_back."""
    text = f"Its {field} fires {times} times in a look_back of {describe_duration(spec.look_back)}."
    if "look_back" in spec.model_fields_set:
        field = "look_back"
    return (field,), f"{text} At most {MOST_FIRES} are possible: make look_back shorter."


def _hours(spec: "ScheduleSpec") -> list[Mistake]:
    fields: list[tuple[str | int, ...]] = [("previous",)] if spec.previous is Unit.HOUR else []
    fields += [("cron", index) for index, cron in enumerate(spec.cron) if needs_whole_hours(cron)]
    try:
        if fields:
            require_whole_hours(spec.zone, HOURS_SINCE)
    except CallerMistake as mistake:
        return [(field, str(mistake)) for field in fields]
    return []


def check_fires(spec: "ScheduleSpec", engine: "FireEngine", now: datetime) -> list[Mistake]:
    """What is wrong with the fires themselves: that there are none, or too many.

    A schedule whose fires all lie in the past is right: it has had its time.

    Args:
        engine: the engine of this very schedule.
        now: aware.
    """
    if spec.on_events or spec.at:
        # Instants are judged one by one already, however far away they are.
        return []
    fires = engine.next(_before_all(spec, now), 1)
    if not fires and engine.before(now) is None:
        return [_no_fire(spec)]
    if spec.rrule is not None and spec.look_back > timedelta(seconds=MOST_FIRES):
        fires = engine.next(now, MOST_FIRES + 1)
        if len(fires) > MOST_FIRES and fires[-1].at - fires[0].at < spec.look_back:
            return [too_many(spec, "rrule", f"more than {MOST_FIRES}")]
    return []


def _before_all(spec: "ScheduleSpec", now: datetime) -> datetime:
    return min(now, spec.start or now) - SECOND


def _no_fire(spec: "ScheduleSpec") -> Mistake:
    when = next(name for name in WHEN if getattr(spec, name))
    bounds = [name for name in ("exclude", "end", "start") if getattr(spec, name)]
    if not bounds:
        return (when,), f"{when} gives no fire within {LATEST.days} days, before now or from now on. Check it."
    text = f"{when} gives no fire that {listed(bounds)} would leave."
    return (bounds[0],), f"{text} Change {', '.join(bounds)} or {when}."
