"""Which windows of a report to build again now, because of what has changed in the archive.

A function of what it is given: it reads no clock and knows no table. Whatever is wanted stays in the state until a
run for it has succeeded, or its report is found to have it. So a decision whose state was lost is made again
from the state before it, and what a failed run left is asked for again.

The caller reads the archive's changes first, the decision then what is being built, and then the heads. In this order
no window slips through while a run publishes it for the first time: a run whose head was not there yet was seen to
be building it, and is waited for, or began later than the change.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol

from report_pipeline.events.touched import Change, Touched
from report_pipeline.instants import growing
from report_pipeline.schedules.reconcile import group, limit
from report_pipeline.schedules.refresh_state import State, Wanted
from report_pipeline.schedules.refresh_wants import (
    Archive,
    Looks,
    Published,
    PublishedHead,
    Rules,
    Wants,
)
from report_pipeline.windows import Cadence, Window

__all__ = ["Archive", "Change", "Decision", "Outcome", "Request", "Rules", "Scheduler", "State", "Wanted", "decide"]

Outcome = Literal["running", "done", "failed"]
"""What became of a request: its run has not ended, succeeded, or failed in at least one window."""

FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)
"""How long a window whose run has failed waits at first, twice as long each time, and at most."""

MOST_RANGES, MOST_CHANGES = 20_000, 100
"""So many ranges of touched seconds are held until the next request, in so many changes; more wait in the archive."""


class Scheduler(Published, Protocol):
    """What the scheduler and the reports table know of one report."""

    def outcome(self, request: str) -> Outcome | None:
        """What became of the request of this id; None where it never was carried out, and nothing is known of it."""

    def last_asked(self) -> datetime | None:
        """When a refresh of the report was requested last (UTC), as the scheduler knows it; None: never."""

    def custom_order(self, windows: Sequence[Window]) -> Sequence[Window]:
        """All windows that are partitions of the report's custom asset, `windows` among them, in its own order."""


@dataclass(frozen=True)
class Request:
    """Windows that one run is to build.

    Attributes:
        id: the same for the same windows at the same version of the archive after the same failures, and no other.
        cadence: whose windows they are; None where they are custom ones.
        windows: a range of the asset's partitions, in its order.
    """

    id: str
    cadence: Cadence | None
    windows: tuple[Window, ...]


@dataclass(frozen=True)
class Decision:
    """The state from now on, to be kept once the requests are made; and the requests, oldest wishes first."""

    state: State
    requests: list[Request]

    def describe(self) -> str:
        """What was decided, in words."""
        windows = sum(len(request.windows) for request in self.requests)
        running = len(self.state.asked) - len(self.requests)
        said = f"{windows} windows requested in {len(self.requests)} runs" if windows else "No window requested"
        said += f", {len(self.state.wanted)} wait" if self.state.wanted else ""
        said += f"; {running} runs have not ended" if running else ""
        return said + ("; more are looked for." if self.state.sweep or self.state.touched else ".")


def decide(state: State | None, archive: Archive, rules: Rules, scheduler: Scheduler, now: datetime) -> Decision:
    """Decide which windows to request now.

    Requested are, and no others:

    - the published windows in which a touched second falls, unless their head is known to have it;
    - a cadence's windows that have ended by the watermark and are not published;
    - published windows that are provisional and, by the watermark, can be final.

    A window that is being built waits for that to end. One that begins before the days that the archive holds can't be
    built any more, so it is left as it is. Without a state, the refresh starts at the present.

    Args:
        state: of the last decision whose requests were made; None for the first.
        archive: what is new in it since then.
        rules: of the report.
        scheduler: what is published, being built, and was requested.
        now: in UTC.
    """
    if state is None:
        complete = archive.complete
        return Decision(State(archive.epoch, archive.version, complete, complete - rules.lateness, looked=now), [])
    state = _settled(state.in_epoch(archive.epoch), scheduler, now)
    times = [each for each in (state.last, scheduler.last_asked()) if each is not None]
    is_early = any(timedelta(0) <= now - each < rules.every for each in times)
    if is_early or len(state.asked) >= rules.runs_at_once:
        return Decision(_taken(state, archive, MOST_RANGES), [])
    state = _taken(state, archive, None)
    looks = Looks(scheduler, (window for windows in state.asked.values() for window in windows))
    wants = Wants(state.wanted, rules, archive, looks, now)
    sweep = wants.touched(state)
    complete = wants.ended(state)
    final, looked = wants.final(state)
    state = replace(state, touched=(), sweep=sweep, complete=complete, final=final, looked=looked, wanted=wants.wanted)
    return _chosen(state, archive, rules, scheduler, looks, now)


def _taken(state: State, archive: Archive, most_ranges: int | None) -> State:
    """The state with the archive's changes in their order, until it holds `most_ranges`."""
    touched, version = list(state.touched), state.version
    held = sum(len(change.touched.ranges) for change in touched)
    for change in sorted(archive.changes, key=lambda change: change.version):
        # What a new epoch changed is told of only until the state is in that epoch.
        if most_ranges is not None and held >= most_ranges and version > 0:
            return replace(state, touched=_fewer(touched), version=version)
        if change.version > version:
            version = change.version
            if change.touched:
                touched.append(Change(version, change.touched))
                held += len(change.touched.ranges)
    return replace(state, touched=_fewer(touched), version=max(version, archive.version))


def _fewer(changes: list[Change]) -> tuple[Change, ...]:
    """The same changes, neighbours as one where they are many: as if all were of the later one's version."""
    while len(changes) > MOST_CHANGES:
        pairs = [changes[place : place + 2] for place in range(0, len(changes), 2)]
        changes = [Change(pair[-1].version, Touched().union(*(each.touched for each in pair))) for pair in pairs]
    return tuple(changes)


def _settled(state: State, scheduler: Scheduler, now: datetime) -> State:
    """The state with what ended runs leave: what failed is wanted again, and what should be final is looked at."""
    wanted, asked = dict(state.wanted), {}
    for request, windows in state.asked.items():
        outcome = scheduler.outcome(request)
        if outcome == "running":
            asked[request] = windows
            continue
        for window, wish in windows.items():
            left = _left(wish, outcome, now)
            if left is not None:
                wanted[window] = wanted[window].and_also(left) if window in wanted else left
    return replace(state, wanted=wanted, asked=asked)


def _left(wish: Wanted, outcome: Outcome | None, now: datetime) -> Wanted | None:
    again = replace(wish, tries=wish.tries + 1, not_before=now + growing(FIRST_PAUSE, LONGEST_PAUSE, wish.tries))
    if outcome is None:
        return wish
    if outcome == "failed":
        return again
    if not wish.final:
        return None
    # The run may have read an archive whose watermark was set back: its head tells.
    return replace(again, version=None, first=False, not_before=again.not_before if wish.tries else None)


def _chosen(
    state: State, archive: Archive, rules: Rules, scheduler: Scheduler, looks: Looks, now: datetime
) -> Decision:
    """The requests to make now, of what is wanted and not being built."""
    wanted, held = dict(state.wanted), {window for windows in state.asked.values() for window in windows}
    ready = [
        window
        for window, wish in wanted.items()
        if window not in held and (wish.not_before is None or wish.not_before <= now)
    ]
    building = looks.any_building(ready)
    ready = sorted(
        (window for window in ready if window not in building), key=lambda window: (wanted[window].since, window)
    )
    slots = rules.runs_at_once - len(state.asked)
    chosen: list[Window] = []
    for window, head in looks.heads_of(ready[: slots * rules.windows_per_run]).items():
        match _verdict(window, wanted[window], head, archive, rules):
            case "ask":
                chosen.append(window)
            case "drop":
                del wanted[window]
    parts = limit(_grouped(chosen, rules, scheduler, now), len(state.asked), rules.runs_at_once)
    asked = dict(state.asked)
    requests = []
    for cadence, windows in parts:
        wishes = {window: wanted.pop(window) for window in windows}
        request = Request(_id(rules, archive, wishes), cadence, tuple(windows))
        asked[request.id] = wishes
        requests.append(request)
    return Decision(replace(state, wanted=wanted, asked=asked, last=now if requests else state.last), requests)


def _verdict(
    window: Window, wish: Wanted, head: PublishedHead | None, archive: Archive, rules: Rules
) -> Literal["ask", "wait", "drop"]:
    """What to do about a wish, now that the window's head is known."""
    if head is None:
        return "drop" if not wish.first else "ask" if window.end <= archive.complete else "wait"
    if wish.version is not None and not archive.is_in(head, wish.version):
        return "ask"
    if wish.final and not head.final:
        return "ask" if window.end <= archive.complete - rules.lateness else "wait"
    return "drop"


def _grouped(
    windows: Sequence[Window], rules: Rules, scheduler: Scheduler, now: datetime
) -> list[tuple[Cadence | None, list[Window]]]:
    """The windows in ranges of one asset's partitions each; that of the first window first.

    A window of a cadence is none of its partitions before it has ended: until then it is a custom one.
    """
    rank = {window: place for place, window in enumerate(windows)}
    by_asset: dict[str, tuple[Cadence | None, list[Window]]] = {}
    for window in windows:
        cadence = next((each for each in rules.cadences if window.end <= now and each.matches(window)), None)
        by_asset.setdefault(cadence.name if cadence else "", (cadence, []))[1].append(window)
    groups: list[tuple[Cadence | None, list[Window]]] = []
    for cadence, members in by_asset.values():
        order = side_by_side(members) if cadence else list(scheduler.custom_order(members))
        groups += [(cadence, part) for part in group(members, order, rules.windows_per_run)]
    return sorted(groups, key=lambda part: min(rank[window] for window in part[1]))


def side_by_side(windows: Sequence[Window]) -> list[Window]:
    """Windows of one cadence in time, with one that is none of them wherever they are not side by side."""
    order: list[Window] = []
    for window in sorted(windows):
        if order and order[-1].end < window.start:
            order.append(Window(order[-1].end, window.start))
        order.append(window)
    return order


def _id(rules: Rules, archive: Archive, wishes: Mapping[Window, Wanted]) -> str:
    tries = [[window.key, wish.tries] for window, wish in wishes.items()]
    content = json.dumps([rules.asker, archive.epoch, archive.version, archive.watermark.isoformat(), tries])
    return hashlib.sha256(content.encode()).hexdigest()[:16]
