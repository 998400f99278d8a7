"""The index of the archive: which epoch readers use, which load is under way, and which days were filled by files.

It is a small Delta table beside the epochs. A change reads all of its rows, writes all anew, and is refused
where another change came in between; then it looks again. So each change here is decided on what is there.
"""

import json
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from report_pipeline.errors import PipelineError
from report_pipeline.events import delta
from report_pipeline.events.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

WRITER = "report_pipeline.index"

_COMMITS_BETWEEN_TIDYING = 25
# Its files are read within moments of its being opened.
_KEEP_HOURS = 1

_CONFIGURATION = {
    "delta.checkpointInterval": str(_COMMITS_BETWEEN_TIDYING),
    "delta.logRetentionDuration": f"interval {_KEEP_HOURS} hours",
    "delta.deletedFileRetentionDuration": f"interval {_KEEP_HOURS} hours",
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Changed:
    """What an epoch differs in from the one whose place it took: `days` (UTC), as of `version` of its events table."""

    instead_of: str
    version: int
    days: Sequence[date]


@dataclass(frozen=True)
class Current:
    """The epoch that readers and followers use.

    `digest` stands for the schema that it was loaded for. An event that was written before `loaded_at` (UTC) is
    in. `floor` is the first day (UTC) that it holds; None where it holds all. `changed` is None for the first.
    """

    epoch: str
    digest: str
    loaded_at: datetime
    floor: date | None = None
    changed: Changed | None = None


@dataclass(frozen=True)
class Staging:
    """A load under way. `claim` is a random text, new whenever another process goes on with it."""

    epoch: str
    digest: str
    began_at: datetime
    claim: str
    claimed_at: datetime


@dataclass(frozen=True)
class Entries:
    """All that the index says. `marks`: when a day was last filled by files; `retired`: when an epoch was replaced."""

    current: Current | None = None
    staging: Staging | None = None
    marks: Mapping[date, datetime] = field(default_factory=dict)
    retired: Mapping[str, datetime] = field(default_factory=dict)


class Index:
    """The index in one archive."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.path = storage.join("index")

    def entries(self) -> Entries:
        """All entries; none where there is no archive.

        Raises:
            PermanentFailure: it cannot be read.
            TransientFailure: S3 does not answer.
        """
        handle = delta.open_table(self._storage, self.path)
        return Entries() if handle is None else self._read(handle)

    def claim(
        self, now: datetime, digest: str, *, instead_of: Staging | None = None, resume: bool = False
    ) -> Staging | None:
        """Begin a load, or take over one that was left; creates the index where there is none.

        Args:
            now: the present instant (UTC).
            digest: stands for the schema that is loaded for.
            instead_of: the load under way that was seen; it is resumed or given up.
            resume: keep its epoch and go on with it. Without, the load gets a new epoch.

        Returns:
            The load; None if another than `instead_of` is under way now: somebody was faster.

        Raises:
            PermanentFailure: it cannot be read or written.
            TransientFailure: S3 does not answer.
        """
        claim = uuid.uuid4().hex
        if resume and instead_of is not None:
            mine = replace(instead_of, claim=claim, claimed_at=now)
        else:
            mine = Staging(uuid.uuid4().hex, digest, now, claim, now)

        def change(entries: Entries) -> Entries | None:
            if entries.staging == mine:
                return entries
            if entries.staging != instead_of:
                return None
            retired = dict(entries.retired)
            if instead_of is not None and instead_of.epoch != mine.epoch:
                retired[instead_of.epoch] = now
            return replace(entries, staging=mine, retired=retired)

        return mine if self._rewrite(change, create=True) else None

    def switch(
        self,
        staging: Staging,
        now: datetime,
        *,
        loaded_at: datetime,
        floor: date | None = None,
        changed: Changed | None = None,
    ) -> bool:
        """Make the epoch of a finished load the one that is used, and retire the one before.

        Args:
            staging: the load, as it was claimed.
            now: the present instant (UTC).
            loaded_at: every event written before is in it (UTC).
            floor: the first day that it holds; None where it holds all.
            changed: what it differs in from the one before.

        Returns:
            Whether it was switched. False: the load is not under way any more; another process has taken it over.
        """

        def change(entries: Entries) -> Entries | None:
            if entries.current is not None and entries.current.epoch == staging.epoch:
                return entries
            if entries.staging != staging:
                return None
            retired = dict(entries.retired)
            if entries.current is not None:
                retired[entries.current.epoch] = now
            current = Current(staging.epoch, staging.digest, loaded_at, floor, changed)
            return replace(entries, current=current, staging=None, retired=retired)

        return self._rewrite(change)

    def abandon(self, staging: Staging, now: datetime) -> bool:
        """Give up a load; returns whether it was still this one."""

        def change(entries: Entries) -> Entries | None:
            if entries.staging != staging:
                return None
            return replace(entries, staging=None, retired={**entries.retired, staging.epoch: now})

        return self._rewrite(change)

    def mark(self, days: Iterable[date], at: datetime, *, covered: datetime | None = None) -> None:
        """Note that files were filled into `days` at the instant `at`; forget marks from before `covered`."""
        days = list(days)

        def change(entries: Entries) -> Entries | None:
            marks = {day: each for day, each in entries.marks.items() if covered is None or each >= covered}
            for day in days:
                marks[day] = max(at, marks.get(day, at))
            return None if marks == entries.marks else replace(entries, marks=marks)

        self._rewrite(change)

    def raise_floor(self, epoch: str, floor: date) -> None:
        """Say that `epoch`, if it is still the current one, holds no day before `floor` any more."""

        def change(entries: Entries) -> Entries | None:
            current = entries.current
            if current is None or current.epoch != epoch or (current.floor or date.min) >= floor:
                return None
            return replace(entries, current=replace(current, floor=floor))

        self._rewrite(change)

    def retire(self, epochs: Iterable[str], now: datetime) -> None:
        """Enter epochs of which there is a folder, and no entry: a process that was given up has gone on with them."""
        epochs = list(epochs)

        def change(entries: Entries) -> Entries | None:
            used = {each.epoch for each in (entries.current, entries.staging) if each}
            unknown = {epoch: now for epoch in epochs if epoch not in used and epoch not in entries.retired}
            return replace(entries, retired={**entries.retired, **unknown}) if unknown else None

        self._rewrite(change)

    def forget(self, epoch: str) -> None:
        """Take a retired epoch, whose folder is gone, off the list."""

        def change(entries: Entries) -> Entries | None:
            if epoch not in entries.retired:
                return None
            return replace(entries, retired={name: at for name, at in entries.retired.items() if name != epoch})

        self._rewrite(change)

    def _rewrite(self, change: Callable[[Entries], Entries | None], *, create: bool = False) -> bool:
        """Write what `change` makes of the entries; False where it makes nothing of them, or there is no index.

        Where it gives the entries themselves, its work is done: S3's answer to the write that did it had got lost.
        """
        while True:
            handle = delta.open_table(self._storage, self.path)
            if handle is None:
                if not create:
                    return False
                handle = delta.create_table(
                    self._storage,
                    self.path,
                    _schema(),
                    partition_by=None,
                    description="Which epoch of the archive is used",
                    configuration=_CONFIGURATION,
                )
            since = handle.version()
            changed = change(there := self._read(handle))
            if changed is None:
                return False
            if changed is there:
                return True
            try:
                delta.replace_rows(handle, _table(changed), where=None, writer=WRITER)
            except delta.Overtaken:
                continue  # each turn is one that another writer finished, so this ends
            self._tidy(handle, since)
            return True

    def _tidy(self, handle: "DeltaTable", since: int) -> None:
        """Now and then, delete old files. That this failed harms nobody: it is tried again."""
        if handle.version() // _COMMITS_BETWEEN_TIDYING == since // _COMMITS_BETWEEN_TIDYING:
            return
        try:
            delta.vacuum(handle, _KEEP_HOURS)
        except PipelineError as error:
            logger.warning("Old files of the archive's index could not be deleted: %s", error)

    def _read(self, handle: "DeltaTable") -> Entries:
        import pyarrow as pa
        import pyarrow.parquet as pq

        found: dict[tuple[str, str], dict[str, Any]] = {}
        try:
            for uri in handle.file_uris():
                path = f"{self.path}/{uri.rsplit('/', 1)[-1]}"
                with self._storage.open(path) as source, pq.ParquetFile(source) as file:
                    for row in file.read().to_pylist():
                        found[row["kind"], row["key"]] = json.loads(row["value"])
        except (OSError, ValueError, pa.ArrowException) as error:
            raise delta.unreadable(self.path, error) from error
        return _entries(found)


def _schema() -> "pa.Schema":
    import pyarrow as pa

    return pa.schema([pa.field(name, pa.string()) for name in ("kind", "key", "value")])


def _entries(found: Mapping[tuple[str, str], dict[str, Any]]) -> Entries:
    current, staging = found.get(("current", "")), found.get(("staging", ""))
    return Entries(
        current=None if current is None else _current(current),
        staging=None if staging is None else _staging(staging),
        marks={date.fromisoformat(key): _instant(value["at"]) for key, value in _of("mark", found)},
        retired={key: _instant(value["at"]) for key, value in _of("retired", found)},
    )


def _of(kind: str, found: Mapping[tuple[str, str], dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [(key, value) for (each, key), value in found.items() if each == kind]


def _current(value: Mapping[str, Any]) -> Current:
    floor = value["floor"] and date.fromisoformat(value["floor"])
    return Current(value["epoch"], value["digest"], _instant(value["loaded_at"]), floor, _changed(value["changed"]))


def _changed(value: Mapping[str, Any] | None) -> Changed | None:
    if value is None:
        return None
    return Changed(value["instead_of"], value["version"], [date.fromisoformat(day) for day in value["days"]])


def _staging(value: Mapping[str, Any]) -> Staging:
    began, claimed = _instant(value["began_at"]), _instant(value["claimed_at"])
    return Staging(value["epoch"], value["digest"], began, value["claim"], claimed)


def _table(entries: Entries) -> "pa.Table":
    import pyarrow as pa

    rows: list[tuple[str, str, dict[str, Any]]] = []
    if current := entries.current:
        rows.append(("current", "", asdict(current)))
    if staging := entries.staging:
        rows.append(("staging", "", vars(staging)))
    rows += [("mark", day.isoformat(), {"at": at}) for day, at in sorted(entries.marks.items())]
    rows += [("retired", epoch, {"at": at}) for epoch, at in sorted(entries.retired.items())]
    return pa.Table.from_pylist(
        [
            {"kind": kind, "key": key, "value": json.dumps(value, default=lambda each: each.isoformat())}
            for kind, key, value in rows
        ],
        schema=_schema(),
    )


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
