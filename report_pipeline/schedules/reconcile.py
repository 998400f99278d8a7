"""Which windows should exist by a schedule's tick, and which runs build those of them that are missing.

A tick that was missed, a run that crashed, an edited schedule need no case of their own: whatever is
due within the look-back, not published and not being built, is asked for by the next tick. Everything
here is a pure function.
"""

from collections.abc import Hashable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from report_pipeline.schedules.calendar import Fires
from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.windows import Window

T = TypeVar("T")
Name = TypeVar("Name", bound=Hashable)


def due(spec: ScheduleSpec, scheduled: datetime, *, fires: Fires) -> list[Window]:
    """The windows that should exist by the tick, in order, each once.

    Every fire later than `scheduled - look_back`, up to and with `scheduled`, wants the window counted
    from its own time, unless that has not ended yet: a report of it would miss what is still to come.

    Args:
        scheduled: the time for which the tick was scheduled; aware.
        fires: the scheduler's own cron engine.
    """
    wanted = {spec.window(fire) for fire in fires(spec.cron, spec.zone, scheduled - spec.look_back, scheduled)}
    return sorted(window for window in wanted if window.end <= scheduled)


def group(items: Iterable[Name], order: Sequence[Name], at_most: int) -> list[list[Name]]:
    """Put neighbours together, so that each group is one range of the target's partitions and one run builds it.

    Args:
        items: the partition keys to build; repeated ones count once.
        order: all partitions of the target in its own order.
        at_most: the most items in a group, one or more.

    Returns:
        The fewest groups possible, ordered as `order` is, and so inside. An item that is not in `order`
        has no neighbours; such items come last, each in a group of its own.
    """
    if at_most < 1:
        raise ValueError(f"at_most is {at_most}, expected 1 or more")
    left = dict.fromkeys(items)
    groups: list[list[Name]] = []
    before: int | None = None
    for place, item in enumerate(order):
        if item not in left:
            continue
        del left[item]
        if before == place - 1 and len(groups[-1]) < at_most:
            groups[-1].append(item)
        else:
            groups.append([item])
        before = place
    return groups + [[item] for item in left]


def limit(groups: Sequence[T], running: int, runs_at_once: int) -> list[T]:
    """The groups to start now, while `running` runs have not ended; the rest is still missing at the next tick.

    They are the first ones: of windows in order of time, those that leave the look-back first.
    """
    return list(groups[: max(runs_at_once - running, 0)])
