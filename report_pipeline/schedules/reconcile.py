"""Which windows a schedule's tick asks for: those that should exist by now, and neither do nor are being built.

A tick that was missed, a run that crashed, an edited schedule need no case of their own: whatever is
missing within the look-back is asked for by the next tick. Everything here is a pure function.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from report_pipeline.schedules.calendar import Fires
from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.windows import Window

T = TypeVar("T")


def missing(
    spec: ScheduleSpec,
    scheduled: datetime,
    *,
    fires: Fires,
    published: Collection[Window],
    in_flight: Collection[Window],
) -> list[Window]:
    """The windows to build, in order, each once.

    Every fire later than `scheduled - look_back`, up to and with `scheduled`, wants the window counted
    from its own time, unless that has not ended yet: a report of it would miss what is still to come.
    Windows are compared by their bounds alone.

    Args:
        scheduled: the time for which the tick was scheduled; aware.
        fires: the scheduler's own cron engine.
        published: windows whose report exists.
        in_flight: windows that a run which has not ended is to build.
    """
    wanted = {spec.window(fire) for fire in fires(spec.cron, spec.zone, scheduled - spec.look_back, scheduled)}
    ended = {window for window in wanted if window.end <= scheduled}
    return sorted(ended.difference(published, in_flight))


def group(
    items: Iterable[T], order: Sequence[Hashable], at_most: int, *, key: Callable[[T], Hashable] = lambda item: item
) -> list[list[T]]:
    """Put neighbours together, so that each group is one range of the target's partitions and one run builds it.

    Args:
        items: windows, or the partition keys of windows; repeated ones count once.
        order: all partitions of the target in its own order.
        at_most: the most items in a group, one or more.
        key: what an item is called in `order`; itself, if not given.

    Returns:
        The fewest groups possible, ordered as `order` is, and so inside. An item that is not in `order`
        has no neighbours; such items come last, each in a group of its own.
    """
    if at_most < 1:
        raise ValueError(f"at_most is {at_most}, expected 1 or more")
    by_key = {key(item): item for item in items}
    groups: list[list[T]] = []
    before: int | None = None
    for place, name in enumerate(order):
        if name not in by_key:
            continue
        item = by_key.pop(name)
        if before == place - 1 and len(groups[-1]) < at_most:
            groups[-1].append(item)
        else:
            groups.append([item])
        before = place
    return groups + [[item] for item in by_key.values()]


def limit(groups: Sequence[T], running: int, runs_at_once: int) -> list[T]:
    """The groups to start now, while `running` runs have not ended; the rest is still missing at the next tick.

    They are the first ones: of windows in order of time, those that leave the look-back first.
    """
    return list(groups[: max(runs_at_once - running, 0)])
