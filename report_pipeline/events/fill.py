"""Write the events of files into an events table, only those that the table doesn't have yet as they are."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from report_pipeline.errors import CallerMistake
from report_pipeline.events.files import AUTO, FlatEvent, Refused, read_events
from report_pipeline.events.items import KEY, MOST_KEY_BYTES, UnstorableError, encode, number_text, same
from report_pipeline.events.schema import EventSchema
from report_pipeline.events.times import format_time, parse_time

if TYPE_CHECKING:
    from report_pipeline.events.table import EventsTable

Progress = Callable[[int, int], None]
"""Called with the number of events that are done and the number there are."""

Item = dict[str, Any]

Days = Callable[[set[date]], None]

_BATCH = 100  # as many as one BatchGetItem reads
_WRITERS = 4
_MOST_REFUSALS = 20


@dataclass
class FillResult:
    """What became of the events: `read` is the sum of written, unchanged, refused and duplicates."""

    files: int = 0
    read: int = 0
    written: int = 0
    """New or changed, and now in the table."""
    unchanged: int = 0
    refused: int = 0
    duplicates: int = 0
    """Passed over, because the same request_id comes again later in the input; the last one counts."""
    days: set[date] = field(default_factory=set)
    """The UTC days of the events that were written and of the versions that they replaced."""
    refusals: list[str] = field(default_factory=list)
    """The first refused events: `file:line: reason`."""


def fill(
    paths: Sequence[Path],
    *,
    table: "EventsTable",
    schema: EventSchema,
    format: str = AUTO,
    shift_to: datetime | None = None,
    progress: Progress | None = None,
    on_days: Days | None = None,
) -> FillResult:
    """Write the events of files into the table. Filling the same again writes nothing.

    All files are read to their end before the first write. What is in the table under the same
    request_id is replaced where it differs.

    Args:
        paths: files in any of the known forms, see `report_pipeline.events.files`.
        table: the events table, which has to exist.
        schema: which attribute is the time.
        format: the form of all files, or "auto".
        shift_to: move all event times by one difference, such that the latest event happens at this
            instant; offsets are kept. The request_ids get its UTC day appended (`…-20240131`): shifting
            again on the same day moves those events, on another day it adds new ones, and the unshifted
            ones are never touched.
        progress: told how far it is.
        on_days: told the UTC days before events of theirs are written, and all of them once more at the
            end, also after a failure: what was read of the table before that is not all of those days.

    Raises:
        CallerMistake: a file cannot be read as events, or each of its events is refused; nothing was written.
        PermanentFailure, TransientFailure: the table cannot be used; what was written until then stays.
    """
    if shift_to and shift_to.tzinfo is None:
        raise ValueError("shift_to lacks a zone")
    plan = _check(paths, schema, format)
    shift = _Shift(schema, shift_to, plan.latest) if shift_to and plan.latest else None
    result = FillResult(files=len(paths))
    writer = _Writer(table, schema, result, on_days)
    total = sum(plan.counts)
    running: set[Future[None]] = set()

    def finish() -> None:
        done, left = wait(running, return_when=FIRST_COMPLETED)
        running.intersection_update(left)
        for future in done:
            future.result()
        if progress:
            progress(result.written + result.unchanged + result.refused + result.duplicates, total)

    try:
        with ThreadPoolExecutor(_WRITERS, thread_name_prefix="fill") as pool:
            try:
                for batch in _batches(_items(paths, schema, format, plan, shift, result)):
                    running.add(pool.submit(writer.write, batch))
                    # The files are streamed: read on only as fast as the table takes it.
                    if len(running) >= 2 * _WRITERS:
                        finish()
                while running:
                    finish()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        if on_days and writer.announced:
            on_days(set(writer.announced))
    if progress:
        progress(total, total)
    return result


@dataclass
class _Plan:
    """What reading the files through has shown."""

    counts: list[int] = field(default_factory=list)
    """Events, refused ones included, of each file."""
    last: dict[str, int] = field(default_factory=dict)
    """For each request_id that comes more than once, the place of its last event in the whole input."""
    latest: datetime | None = None


def _check(paths: Sequence[Path], schema: EventSchema, format: str) -> _Plan:
    plan = _Plan()
    # Hashes take a fraction of the ids' memory. Two ids that share one are both noted in `last`, which does no harm.
    seen: set[int] = set()
    place = 0
    for path in paths:
        count = refused = 0
        first: Refused | None = None
        for event in read_events(path, format, schema):
            count += 1
            place += 1
            if isinstance(event, Refused):
                refused += 1
                first = first or event
                continue
            request_id = event.item[KEY]
            mark = hash(request_id)
            if mark in seen:
                plan.last[request_id] = place
            seen.add(mark)
            try:
                instant = schema.event_time(encode(event.item))
            except ValueError:
                continue  # it is written all the same: the quarantine will say what is wrong with it
            plan.latest = max(plan.latest or instant, instant)
        if first and refused == count:
            raise CallerMistake(f"{path}:{first.line}: {_nothing_usable(first, count, format)}")
        plan.counts.append(count)
    return plan


def _nothing_usable(first: Refused, count: int, format: str) -> str:
    others = f"; none of the {count:,} events in it can be used" if count > 1 else ""
    doubt = "" if format == AUTO else f". Is it of the form {format}?"
    return f"{first.reason}{others}{doubt}"


def _items(
    paths: Sequence[Path],
    schema: EventSchema,
    format: str,
    plan: _Plan,
    shift: "_Shift | None",
    result: FillResult,
) -> Iterator[Item]:
    """The items to write, each request_id once; counts what is read, refused and passed over."""
    place = 0
    for path, count in zip(paths, plan.counts, strict=True):
        found = 0
        # What a log has grown by since it was checked is left for the next time.
        for event in islice(read_events(path, format, schema), count):
            found += 1
            place += 1
            result.read += 1
            if isinstance(event, FlatEvent):
                if plan.last.get(event.item[KEY], place) > place:
                    result.duplicates += 1
                    continue
                try:
                    item = encode(event.item)
                    yield shift.apply(item) if shift else item
                    continue
                except UnstorableError as error:
                    event = Refused(event.line, str(error))
            result.refused += 1
            if len(result.refusals) < _MOST_REFUSALS:
                result.refusals.append(f"{path}:{event.line}: {event.reason}")
        if found < count:
            raise CallerMistake(f"{path}: was cut while it was being read; fill it again")


class _Shift:
    """Moves event times by one difference."""

    def __init__(self, schema: EventSchema, to: datetime, latest: datetime) -> None:
        self._by = to - latest
        self._time = schema.time
        self._suffix = f"-{to.astimezone(UTC):%Y%m%d}"

    def apply(self, item: Item) -> Item:
        """The moved event, under its own request_id; one without a usable time keeps what it has.

        Raises:
            UnstorableError: the time or the request_id would not be one any more.
        """
        moved = {**item, KEY: {"S": item[KEY]["S"] + self._suffix}}
        if len(moved[KEY]["S"].encode()) > MOST_KEY_BYTES:
            raise UnstorableError(f"{KEY} is too long to have the day appended")
        try:
            instant = parse_time(item[self._time.attribute], self._time.format)
        except (KeyError, ValueError):
            return moved
        try:
            plain = format_time(instant + self._by, self._time.format)
        except OverflowError:
            raise UnstorableError(f"{self._time.attribute} would leave the years 1 to 9999") from None
        moved[self._time.attribute] = {"S": plain} if isinstance(plain, str) else {"N": number_text(plain)}
        return moved


def _batches(items: Iterator[Item]) -> Iterator[list[Item]]:
    while batch := list(islice(items, _BATCH)):
        yield batch


class _Writer:
    """Writes batches from several threads. No two batches have a request_id in common."""

    def __init__(self, table: "EventsTable", schema: EventSchema, result: FillResult, on_days: Days | None) -> None:
        self._table = table
        self._schema = schema
        self._result = result
        self._on_days = on_days
        self._lock = threading.Lock()
        self.announced: set[date] = set()

    def write(self, batch: list[Item]) -> None:
        current = self._table.get([item[KEY]["S"] for item in batch])
        changed = [item for item in batch if (there := current.get(item[KEY]["S"])) is None or not same(item, there)]
        replaced = [current[item[KEY]["S"]] for item in changed if item[KEY]["S"] in current]
        days = self._days(changed) | self._days(replaced)
        with self._lock:
            new = days - self.announced
            self.announced |= days
            if new and self._on_days:
                self._on_days(new)
        self._table.put(changed)
        with self._lock:
            self._result.written += len(changed)
            self._result.unchanged += len(batch) - len(changed)
            self._result.days |= days

    def _days(self, items: list[Item]) -> set[date]:
        days = set()
        for item in items:
            # An event without a usable time belongs to no day.
            with suppress(ValueError):
                days.add(self._schema.event_time(item).date())
        return days
