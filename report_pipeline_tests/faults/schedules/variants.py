"""The evaluation of schedules broken in one way each: what the harness has to catch, or it catches nothing."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import PropertyMock, patch

from report_pipeline.schedules import engine
from report_pipeline.schedules.decide import Facts
from report_pipeline.schedules.engine import Evaluation
from report_pipeline.schedules.occurrences import Life, Occurrence
from report_pipeline.schedules.requests import Request, Requests
from report_pipeline.windows import Window
from report_pipeline_tests.faults.schedules import world

_occurrences = engine.occurrences


@contextmanager
def no_requests() -> Iterator[None]:
    """Runs are made without a list of what was asked for."""
    with (
        patch.object(world.UnsureRequests, "read", lambda self: Requests()),
        patch.object(world.UnsureRequests, "replace", lambda self, read, listed: True),
        patch.object(world, "begin", lambda requests, request, run: True),
    ):
        yield


@contextmanager
def unconditional() -> Iterator[None]:
    """The list of requests is replaced whoever has changed it meanwhile."""

    def put(self: world.RequestsOf, read: Requests, listed: Sequence[Request]) -> bool:
        self.state.listed = Requests(self.state.listed.version + 1, tuple(listed))
        return True

    with patch.object(world.RequestsOf, "replace", put):
        yield


@contextmanager
def no_begin() -> Iterator[None]:
    """A run builds without a look at whether its request still counts."""
    with patch.object(world, "begin", lambda requests, request, run: True):
        yield


@contextmanager
def edit_from_before() -> Iterator[None]:
    """A definition counts for fires before it was made, too."""

    def occurrences(lives: Sequence[Life], *given: Any, **named: Any) -> list[Occurrence]:
        return _occurrences([*lives[:-1], replace(lives[-1], since=None)], *given, **named)

    with patch.object(engine, "occurrences", occurrences):
        yield


@contextmanager
def edit_forgets() -> Iterator[None]:
    """What was due by the definition before an edit is forgotten."""
    with patch.object(engine, "occurrences", lambda lives, *given, **named: _occurrences(lives[-1:], *given, **named)):
        yield


@contextmanager
def published_first() -> Iterator[None]:
    """What is published is read before what is being built: what moves on in between is not seen."""
    seen: dict[int, dict[Window, str]] = {}
    begun = world.AssetOf.begun

    def early(self: world.AssetOf, requests: Iterable[str]) -> Mapping[str, str]:
        seen[id(self)] = dict(self.state.published)
        return begun(self, requests)

    def late(self: world.AssetOf, windows: Iterable[Window]) -> Mapping[Window, str]:
        return {each: seen[id(self)][each] for each in windows if each in seen[id(self)]}

    with patch.object(world.AssetOf, "begun", early), patch.object(world.AssetOf, "published", late):
        yield


@contextmanager
def in_flight_ignored() -> Iterator[None]:
    """What is being built is asked for again."""
    with patch.object(engine, "Facts", lambda published, building, runs: Facts(published, {}, runs)):
        yield


@contextmanager
def newest_only() -> Iterator[None]:
    """Catching up looks at the newest fire alone, as Dagster does."""
    with patch.object(engine, "occurrences", lambda *given, **named: _occurrences(*given, **named)[-1:]):
        yield


@contextmanager
def hint_skips() -> Iterator[None]:
    """The next evaluation looks at later fires alone, though something may still come of these."""

    def settled(self: Evaluation) -> datetime | None:
        return max((each.occurrence.fire for each in self.accounts), default=None)

    with patch.object(Evaluation, "settled", property(settled)):
        yield


@contextmanager
def tries_uncounted() -> Iterator[None]:
    """Runs that failed are forgotten."""
    with patch.object(Facts, "unsuccessful", new_callable=PropertyMock, return_value={}):
        yield


@contextmanager
def impatient() -> Iterator[None]:
    """A request stands until a run of it is known, and no longer; the run has to look for it when it begins."""
    read = world.UnsureRequests.read

    def drop(self: world.UnsureRequests) -> Requests:
        made = {run.request for run in self.world.attempts}
        waiting = [each for each in self.state.listed.listed if each.id not in made]
        if len(waiting) < len(self.state.listed.listed):
            self.state.listed = Requests(self.state.listed.version + 1, tuple(waiting))
        return read(self)

    with patch.object(world.UnsureRequests, "read", drop):
        yield


@contextmanager
def settle_of_now() -> Iterator[None]:
    """How far an evaluation looks back goes by the present definition's settle alone."""

    def occurrences(lives: Sequence[Life], after: datetime, until: datetime, **named: Any) -> list[Occurrence]:
        spec = lives[-1].spec
        horizon = until - spec.look_back - spec.settle - spec.jitter
        return _occurrences(lives, max(after, horizon), until, **named)

    with patch.object(engine, "occurrences", occurrences):
        yield


@contextmanager
def no_patience() -> Iterator[None]:
    """A request whose run never comes is waited for, for ever."""
    with patch.object(engine, "PATIENCE", timedelta(days=9999)), patch.object(engine, "SKEW", timedelta(days=9999)):
        yield


@dataclass(frozen=True)
class Variant:
    """A broken evaluation, and the faults in whose presence that shows."""

    broken: Callable[[], AbstractContextManager[None]]
    faults: frozenset[str]


VARIANTS = {
    "no list of requests": Variant(no_requests, frozenset({"two daemons", "runs late"})),
    "the list replaced unconditionally": Variant(unconditional, frozenset({"two daemons"})),
    "a run that does not begin its request": Variant(no_begin, frozenset({"runs twice", "runs late"})),
    "a request dropped when its run is made": Variant(impatient, frozenset({"slow runs"})),
    "a request waited for without end": Variant(no_patience, frozenset({"runs unmade"})),
    "an edit that counts from before it was made": Variant(edit_from_before, frozenset({"edit"})),
    "an edit that forgets what was due": Variant(edit_forgets, frozenset({"edit", "downtime"})),
    "the settle of the present definition alone": Variant(settle_of_now, frozenset({"edit"})),
    "published read before runs": Variant(published_first, frozenset({"two daemons"})),
    "in flight ignored": Variant(in_flight_ignored, frozenset({"slow runs"})),
    "the newest fire alone": Variant(newest_only, frozenset({"downtime"})),
    "a hint that skips what is not settled": Variant(hint_skips, frozenset({"failures", "slow runs"})),
    "failed runs not counted": Variant(tries_uncounted, frozenset({"failures"})),
}
