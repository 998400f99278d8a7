"""Delta Lake tables as the archive uses them: opened, created, appended to, replaced in part, vacuumed.

Two kinds of writers keep each other off. Those that number their commits (a follower, a load, the index)
carry an application transaction (the Delta protocol's "Transaction Identifiers") one higher than on the handle
that they write on. Delta refuses it if any commit with such a number has come since that handle was opened,
whatever rows the two touched. Upkeep overwrites the rows of one day on the handle that it read them from;
Delta refuses that if any row was added to or taken from that day since.

`optimize.compact` and `z_order` are not used: of two at the same time both are let through, and rows are doubled.

The library runs threads of its own, which do not survive a fork: a process that has used it must start
others by spawn.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from report_pipeline.errors import PermanentFailure, PipelineError, TransientFailure
from report_pipeline.events.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

NOTE = "report_pipeline"
"""The key of our note in a commit's metadata."""

KEEP_HOURS = 8
"""How long superseded files stay, for readers that opened the table before. Runs are ended after six hours."""

COMMITS_BETWEEN_CUTS = 100
"""How often a commit cuts the log: to do so it looks at each of its files."""

# Row groups small enough that a short window of a very large day reads little more than itself.
ROWS_A_GROUP = 8_192

# How errors of S3 begin to look when no later try can help.
_HOPELESS = ("AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoSuchBucket", "Redirect")

_CAUSE = "↳"
_MESSAGE = re.compile("<Message>([^<]*)</Message>")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Overtaken(Exception):
    """Another writer has committed since the handle was opened. Nothing was written."""


@dataclass(frozen=True)
class Commit:
    """One commit of a table: the version it made, when, and its note; None where it carries none."""

    version: int
    at: datetime
    note: dict[str, Any] | None


def open_table(storage: Storage, path: str) -> "DeltaTable | None":
    """Open the newest version of the table at `path` in `storage`; None where there is none.

    Raises:
        PermanentFailure: something is there that cannot be read as a Delta table.
        TransientFailure: S3 does not answer.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    for last in (False, False, True):
        try:
            return DeltaTable(path, storage_options=storage.options)
        except TableNotFoundError:
            return None
        except (DeltaError, OSError, ValueError) as error:
            # A writer that makes a checkpoint removes the log before it: a reader in between looks again.
            if not storage.remote and not Path(path).exists():
                return None
            if last:
                raise unreadable(path, error) from error
            time.sleep(0.05)
    raise AssertionError("unreachable")


def create_table(
    storage: Storage,
    path: str,
    schema: "pa.Schema",
    *,
    partition_by: str | None,
    description: str,
    configuration: Mapping[str, str],
) -> "DeltaTable":
    """Create an empty table unless there is one, and open it.

    Args:
        storage: where.
        path: its folder.
        schema: its columns.
        partition_by: the column that files are divided by.
        description: kept in the table's metadata.
        configuration: Delta's table properties.

    Raises:
        PermanentFailure: the folder cannot be written or holds something else.
        TransientFailure: S3 does not answer.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import CommitFailedError, DeltaError

    try:
        DeltaTable.create(
            path,
            schema,
            mode="ignore",
            partition_by=partition_by,
            description=description,
            configuration=dict(configuration),
            storage_options=storage.options,
        )
    except CommitFailedError:
        pass  # another writer created it at the same time
    except (DeltaError, OSError) as error:
        raise unwritable(path, error) from error
    handle = open_table(storage, path)
    if handle is None:
        raise PermanentFailure(f"The archive's table {path} vanished while it was created. Start again.")
    return handle


@dataclass(frozen=True)
class Form:
    """How files are written: their compression, how many rows a row group has, and how many are written at once.

    None stands for `ROWS_A_GROUP`, and for the library's own number.
    """

    compression: Literal["ZSTD", "LZ4_RAW"] = "ZSTD"
    group_rows: int | None = None
    rows_at_once: int | None = None


def append(
    handle: "DeltaTable", rows: "pa.Table", *, writer: str, note: Mapping[str, Any], form: Form | None = None
) -> None:
    """Add rows in one commit, numbered for `writer`; the handle then stands at the new version.

    Raises:
        Overtaken: another commit of that writer, or a rewrite, came since the handle was opened.
        PermanentFailure: the folder cannot be written.
        TransientFailure: S3 does not answer.
    """
    _write(handle, rows, mode="append", where=None, writer=writer, note=note, form=form)


def replace_rows(
    handle: "DeltaTable",
    rows: "pa.Table | pa.RecordBatchReader",
    *,
    where: str | None,
    writer: str | None = None,
    note: Mapping[str, Any] | None = None,
    file_bytes: int | None = None,
    form: Form | None = None,
) -> None:
    """Replace the rows that `where` (SQL) matches, or all, in one commit; the handle then stands at the new version.

    Args:
        handle: it must have been opened before what `rows` are made from was read.
        rows: what takes their place; all match `where`.
        where: on columns that Delta has statistics of, so that untouched files are left alone.
        writer: number the commit for this writer.
        note: what the commit carries.
        file_bytes: about how large a file may become.
        form: how the files are written.

    Raises:
        Overtaken: a row that `where` matches was added or removed since the handle was opened, or the writer
            has another commit; nothing was written.
        PermanentFailure: the folder cannot be written.
        TransientFailure: S3 does not answer.
    """
    _write(handle, rows, mode="overwrite", where=where, writer=writer, note=note, file_bytes=file_bytes, form=form)


def _write(
    handle: "DeltaTable",
    rows: "pa.Table | pa.RecordBatchReader",
    *,
    mode: Any,
    where: str | None,
    writer: str | None,
    note: Mapping[str, Any] | None,
    file_bytes: int | None = None,
    form: Form | None = None,
) -> None:
    import pyarrow as pa
    from deltalake import (
        CommitProperties,
        PostCommitHookProperties,
        Transaction,
        WriterProperties,
        write_deltalake,
    )
    from deltalake.exceptions import CommitFailedError, DeltaError

    if isinstance(rows, pa.Table):
        rows = rows.combine_chunks()  # the library keeps the order in a chunk, not that of the chunks
    form = form or Form()
    numbers = [Transaction(writer, number_of(handle, writer) + 1)] if writer else None
    try:
        write_deltalake(
            handle,
            rows,
            mode=mode,
            predicate=where,
            target_file_size=file_bytes,
            writer_properties=WriterProperties(
                compression=form.compression,
                max_row_group_size=form.group_rows or ROWS_A_GROUP,
                write_batch_size=form.rows_at_once,
            ),
            commit_properties=CommitProperties(
                custom_metadata={NOTE: json.dumps(note, sort_keys=True)} if note is not None else None,
                app_transactions=numbers,
            ),
            post_commithook_properties=PostCommitHookProperties(
                create_checkpoint=True, cleanup_expired_logs=(handle.version() + 1) % COMMITS_BETWEEN_CUTS == 0
            ),
        )
    except CommitFailedError as error:
        raise Overtaken from error
    except (DeltaError, OSError) as error:
        raise unwritable(path_of(handle), error) from error


def number_of(handle: "DeltaTable", writer: str) -> int:
    """The number of the writer's last commit that the handle sees; 0 before the first."""
    return handle.transaction_version(writer) or 0


def commits(storage: Storage, handle: "DeltaTable") -> "Iterator[Commit]":
    """The commits up to the handle's version, newest first, as far back as the log reaches.

    The log's files are read directly ("Delta Log Entries" in the Delta protocol): the library's `history` looks
    through the whole log, and finds none in folders whose name has certain characters.

    Raises:
        PermanentFailure: the log cannot be read.
        TransientFailure: S3 does not answer.
    """
    path = path_of(handle)
    for version in range(handle.version(), -1, -1):
        try:
            with storage.open(f"{path}/_delta_log/{version:020d}.json") as file:
                lines = file.read().splitlines()
            found = next(action["commitInfo"] for line in lines if "commitInfo" in (action := json.loads(line)))
            at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=found["timestamp"])
            note = json.loads(found[NOTE]) if NOTE in found else None
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, StopIteration) as error:
            raise unreadable(path, error) from error
        yield Commit(version, at, note)


def vacuum(handle: "DeltaTable", hours: int) -> int:
    """Delete the files that no version of the last `hours` hours uses, or that dead writers left; returns how many.

    Raises:
        PermanentFailure: they cannot be deleted.
        TransientFailure: S3 does not answer.
    """
    from deltalake.exceptions import DeltaError

    try:
        return len(handle.vacuum(retention_hours=hours, dry_run=False, enforce_retention_duration=False, full=True))
    except (DeltaError, OSError) as error:
        raise unwritable(path_of(handle), error) from error


def path_of(handle: "DeltaTable") -> str:
    """The folder or URI of a table, without the slash at its end."""
    url = urlsplit(handle.table_uri)
    return (unquote(url.path) if url.scheme == "file" else handle.table_uri).rstrip("/")


def unreadable(path: str, error: BaseException) -> PipelineError:
    """The failure to report when the table or file at `path` cannot be read."""
    if _may_pass(path, error):
        return TransientFailure(f"The archive's table {path} cannot be read now ({first(error)}). Try again.")
    return PermanentFailure(
        f"The archive's table {path} cannot be read ({first(error)}). Check the access to it; if it is damaged, remove "
        "the archive: it holds only copies, and the events table is then loaded again."
    )


def unwritable(path: str, error: BaseException) -> PipelineError:
    """The failure to report when the table at `path` cannot be written."""
    if _may_pass(path, error):
        return TransientFailure(f"The archive's table {path} cannot be written now ({first(error)}). Try again.")
    return PermanentFailure(
        f"The archive's table {path} cannot be written ({first(error)}). Check that the place can be written and has "
        "room; if the table is damaged, remove the archive, and the events table is loaded again."
    )


def _may_pass(path: str, error: BaseException) -> bool:
    return path.startswith("s3://") and isinstance(error, OSError) and not any(word in str(error) for word in _HOPELESS)


def first(error: BaseException) -> str:
    """What an error says, in one line: its first, and what S3 answered, or of the causes that are listed the last.

    Behind them, in some, comes a stack trace.
    """
    lines = [_COLOURS.sub("", line).strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    if said := _MESSAGE.search(str(error)):
        return f"{lines[0]}: {said[1]}"
    causes = [line.removeprefix(_CAUSE).strip() for line in lines if line.startswith(_CAUSE)]
    return ": ".join([lines[0], *causes[-1:]])
