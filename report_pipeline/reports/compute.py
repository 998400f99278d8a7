"""A report's rows for one window: its SQL over the window's events.

The rows are in the types of `report_pipeline.reports.columns`, sorted by their key, and begin with
`uuid`: a version 5 UUID (RFC 9562) made of the report's name, the window and the row's key, so the same
row of the same report has the same one whenever it is built.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self
from uuid import UUID, uuid5

from report_pipeline.errors import PermanentFailure
from report_pipeline.reports.columns import UUID as UUID_COLUMN
from report_pipeline.reports.columns import ColumnError, narrow, sorted_by
from report_pipeline.reports.items import row_keys
from report_pipeline.reports.sandbox import MEMORY, SECONDS, Sandbox, SqlError

if TYPE_CHECKING:
    import pyarrow as pa

    from report_pipeline.reports.definition import ReportDefinition
    from report_pipeline.windows import Window

# The name space of all row UUIDs; any fixed UUID would do, changing it changes every row.
_NAMESPACE = UUID("b1d2c6de-3a1c-4f0e-9d0a-6f7f6f2b8c55")
# The variant of RFC 9562 takes the two high bits of a hexadecimal digit.
_VARIANT = {f"{digit:x}": f"{digit & 3 | 8:x}" for digit in range(16)}


class DuplicateKey(PermanentFailure):
    """Two rows of a report have the same key."""


class Computer:
    """Computes windows of one report, one after the other, in one database. A context manager; for one thread."""

    def __init__(self, definition: "ReportDefinition", *, memory: str = MEMORY, seconds: float = SECONDS) -> None:
        """`memory` and `seconds` bound each query; see `Sandbox`."""
        self._definition = definition
        self._sandbox = Sandbox(memory=memory, seconds=seconds)
        self._vetted: pa.Schema | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free the database."""
        self._sandbox.close()

    def compute(self, events: "pa.Table", window: "Window") -> "pa.Table":
        """The report's rows.

        Args:
            events: the events of the window and no others, sorted by event_time and request_id, with the
                columns of the events' schema.
            window: the window.

        Returns:
            `uuid` and the SQL's columns, sorted by the key.

        Raises:
            DuplicateKey: two rows have one key; the message names the first.
            PermanentFailure: the SQL is not one that may run, or it failed; the message has file and line.
        """
        definition = self._definition
        if self._vetted is None or not self._vetted.equals(events.schema):
            if problems := self._sandbox.vet(definition.sql, events.schema):
                raise PermanentFailure(f"{definition.sql_file}:{problems[0].line}: {problems[0].message}")
            self._vetted = events.schema
        where = f"{definition.sql_file}, window {window.key}"
        self._sandbox.show(events, window)
        try:
            rows = narrow(self._sandbox.run(definition.sql))
        except SqlError as error:
            raise PermanentFailure(
                f"{definition.sql_file}:{error.line}: the SQL failed for the window {window.key}:\n{error.message}"
            ) from None
        except ColumnError as error:
            raise PermanentFailure(f"{where}: {error}.") from None
        except PermanentFailure as error:
            raise PermanentFailure(f"{where}: {error}") from None
        missing = [name for name in definition.key if name not in rows.column_names]
        if missing:
            raise PermanentFailure(
                f"{where}: the key has the column {missing[0]!r}, and the SQL gives {', '.join(rows.column_names)}."
            )
        return _with_uuids(sorted_by(rows, definition.key), definition.name, definition.key, window)


def compute(definition: "ReportDefinition", events: "pa.Table", window: "Window") -> "pa.Table":
    """A report's rows for one window; see `Computer.compute`. For several windows a `Computer` is cheaper."""
    with Computer(definition) as computer:
        return computer.compute(events, window)


def _with_uuids(rows: "pa.Table", report: str, key: Sequence[str], window: "Window") -> "pa.Table":
    import pyarrow as pa

    keys = row_keys(rows, key)
    if len(set(keys)) < len(keys):
        seen: set[str] = set()
        twice = next(text for text in keys if text in seen or seen.add(text))  # type: ignore[func-returns-value]
        raise DuplicateKey(
            f"Report {report}, window {window.key}: two rows have the key {twice[:200]} ({', '.join(key)})."
            " Group the SQL's rows by the key, or add the column that tells them apart to `key` in defs.yaml."
        )
    uuids = pa.array(_uuids(uuid5(_NAMESPACE, f"{report}/{window.key}"), keys), pa.string())
    return rows.add_column(0, pa.field(UUID_COLUMN, pa.string()), uuids)


def _uuids(space: UUID, names: Iterable[str]) -> Iterator[str]:
    """The texts of `uuid.uuid5(space, name)`, four times as fast, which counts where a report has a row an event."""
    begun = hashlib.sha1(space.bytes, usedforsecurity=False)
    for name in names:
        digest = begun.copy()
        digest.update(name.encode())
        text = digest.hexdigest()
        yield f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"
