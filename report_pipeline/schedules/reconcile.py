"""How windows become runs: neighbours together, and no more runs at once than are allowed. Pure functions."""

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")
Name = TypeVar("Name", bound=Hashable)


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
