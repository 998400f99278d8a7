"""Delta Lake tables as the archive uses them: opened, created, replaced in part, tidied.

Every write here is an overwrite: whole, or of the rows that a predicate names. It carries an
application transaction (the Delta protocol's "Transaction Identifiers") numbered one higher than on the
handle that it is written on, so that it is refused if any other load has committed since that handle
was opened, also where the two touched different rows or one of them wrote none. The writer then looks
at what the others did, in the note that each commit carries, and decides.

`optimize.compact` and `z_order` are not used: run beside another rewrite they duplicate rows silently.

The library runs threads of its own, which do not survive a fork: a process that has used it must start
others by spawn.
"""

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from report_pipeline.errors import PermanentFailure

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

LOADS = "report_pipeline.loads"
"""The application id that all loads share."""

NOTE = "report_pipeline"
"""The key of our note in a commit's metadata."""

KEEP_HOURS = 24
"""How long superseded files stay, for readers that opened the table before: far longer than any run."""

COMMITS_BETWEEN_TIDYING = 25

# Row groups small enough that a short window of a very large day reads little more than itself.
ROWS_A_GROUP = 65_536

_CONFIGURATION: Mapping[str, str | None] = {
    "delta.checkpointInterval": str(COMMITS_BETWEEN_TIDYING),
    "delta.logRetentionDuration": "interval 2 days",
    "delta.deletedFileRetentionDuration": f"interval {KEEP_HOURS} hours",
}

logger = logging.getLogger(__name__)


class Overtaken(Exception):
    """Another load has committed since the handle was opened. Nothing was written."""


def open_table(path: str) -> "DeltaTable | None":
    """Open the newest version of the table in folder `path`; None where there is none.

    Raises:
        PermanentFailure: something is there that cannot be read as a Delta table.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    for last in (False, False, True):
        try:
            return DeltaTable(path)
        except TableNotFoundError:
            return None
        except (DeltaError, OSError, ValueError) as error:
            # A writer that makes a checkpoint removes the log before it: a reader in between looks again.
            if not Path(path).exists():
                return None
            if last:
                raise unreadable(path, error) from error
            time.sleep(0.05)
    raise AssertionError("unreachable")


def create_table(
    path: str, schema: "pa.Schema", *, partition_by: str | None, description: str, replace: bool = False
) -> "DeltaTable":
    """Create an empty table unless there is one, and open it.

    Args:
        path: its folder.
        schema: its columns.
        partition_by: the column that files are divided by.
        description: kept in the table's metadata.
        replace: whether a table that is there is emptied and gets this schema and description.

    Raises:
        Overtaken: with `replace`, when another writer committed at the same time.
        PermanentFailure: the folder cannot be written or holds something else.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import CommitFailedError, DeltaError

    try:
        DeltaTable.create(
            path,
            schema,
            mode="overwrite" if replace else "ignore",
            partition_by=partition_by,
            description=description,
            configuration=_CONFIGURATION,
        )
    except CommitFailedError as error:
        # Without `replace` the other writer created it, too.
        if replace:
            raise Overtaken from error
    except (DeltaError, OSError) as error:
        raise unwritable(path, error) from error
    handle = open_table(path)
    if handle is None:
        raise PermanentFailure(f"The archive's table {path} vanished while it was created. Start again.")
    return handle


def replace_rows(handle: "DeltaTable", rows: "pa.Table", *, where: str | None, note: Mapping[str, Any]) -> None:
    """Replace the rows that `where` (SQL) matches, or all, by `rows`, in one commit that carries `note`.

    The handle then stands at the new version.

    Raises:
        Overtaken: another load committed since the handle was opened; nothing was written.
        PermanentFailure: the folder cannot be written.
    """
    from deltalake import CommitProperties, Transaction, WriterProperties, write_deltalake
    from deltalake.exceptions import CommitFailedError, DeltaError

    number = (handle.transaction_version(LOADS) or 0) + 1
    try:
        write_deltalake(
            handle,
            rows,
            mode="overwrite",
            predicate=where,
            writer_properties=WriterProperties(compression="ZSTD", max_row_group_size=ROWS_A_GROUP),
            commit_properties=CommitProperties(
                custom_metadata={NOTE: json.dumps(note, sort_keys=True)},
                app_transactions=[Transaction(LOADS, number)],
            ),
        )
    except CommitFailedError as error:
        raise Overtaken from error
    except (DeltaError, OSError) as error:
        raise unwritable(path_of(handle), error) from error


def notes_since(handle: "DeltaTable", version: int) -> list[tuple[int, dict[str, Any]]]:
    """The commits after `version` up to the handle's that carry a note, newest first: version and note."""
    count = handle.version() - version
    if count <= 0:
        return []
    return [(commit["version"], json.loads(commit[NOTE])) for commit in handle.history(count) if NOTE in commit]


def tidy(handle: "DeltaTable", since: int) -> int:
    """Now and then, delete the files that no version of the last `KEEP_HOURS` hours uses; returns how many.

    Now and then is when the handle's version and `since`, the version that the work began at, lie on two
    sides of a multiple of `COMMITS_BETWEEN_TIDYING`. The log is cut by the library itself whenever it
    writes a checkpoint, just as often. That tidying failed is logged and harms nobody: it is tried again.
    """
    from deltalake.exceptions import DeltaError

    if handle.version() // COMMITS_BETWEEN_TIDYING == since // COMMITS_BETWEEN_TIDYING:
        return 0
    try:
        return len(
            handle.vacuum(retention_hours=KEEP_HOURS, dry_run=False, enforce_retention_duration=False, full=True)
        )
    except (DeltaError, OSError) as error:
        logger.warning("Old files of the archive's table %s could not be deleted: %s", path_of(handle), first(error))
        return 0


def path_of(handle: "DeltaTable") -> str:
    """The folder of a table, without the slash at its end."""
    url = urlsplit(handle.table_uri)
    return (unquote(url.path) if url.scheme == "file" else handle.table_uri).rstrip("/")


def unreadable(path: str, error: BaseException) -> PermanentFailure:
    """The failure to report when the table in `path` cannot be opened."""
    return PermanentFailure(
        f"The archive's table {path} cannot be read ({first(error)}). Check the folder's permissions; if it is "
        "damaged, remove the folder: the archive holds only copies, and its days are then loaded again."
    )


def unwritable(path: str, error: BaseException) -> PermanentFailure:
    """The failure to report when the table in `path` cannot be written."""
    return PermanentFailure(
        f"The archive's table {path} cannot be written ({first(error)}). Check that the folder can be written and "
        "the disk has room; if the table is damaged, remove the folder, and its days are loaded again."
    )


def first(error: BaseException) -> str:
    """The first line of an error's message: the library appends stack traces."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
