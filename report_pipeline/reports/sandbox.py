"""The database that runs a report's SQL: DuckDB in memory, with everything shut that isn't needed.

It has one table, `events`, and two functions of its own, `window_start()` and `window_end()`. The zone in
which a window was asked for is no part of it, so rows cannot depend on that. It can reach no file, no
network and no extension, and nothing can change that.

One thread and a fixed zone make results repeatable: sums of doubles and `first(…)` depend on the order
of rows, which with one thread is the order of the events.

A connection serves one thread at a time.
"""

import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from report_pipeline.errors import PermanentFailure
from report_pipeline.reports.vetting import Catalog, SqlProblem, vet

if TYPE_CHECKING:
    import pyarrow as pa

    from report_pipeline.windows import Window

MEMORY = "2GB"
SECONDS = 600.0

_SETTINGS = (
    "SET TimeZone = 'UTC'",
    "SET Calendar = 'gregorian'",
    "SET threads = 1",
    "SET temp_directory = ''",
    "SET python_enable_replacements = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET enable_external_access = false",
)
# One variable, because each statement that sets one costs a fifth of what a small window does.
_MACROS = (
    "CREATE MACRO window_start() AS getvariable('report_window').window_start::TIMESTAMPTZ",
    "CREATE MACRO window_end() AS getvariable('report_window').window_end::TIMESTAMPTZ",
)


class SqlError(Exception):
    """The SQL failed. `line` counts from 1 in the report's SQL; the message has DuckDB's words and caret."""

    def __init__(self, line: int, message: str) -> None:
        self.line = line
        self.message = message
        super().__init__(message)


@dataclass
class _Deadline:
    """Interrupts a query that takes too long."""

    connection: Any
    seconds: float
    passed: bool = False

    def __enter__(self) -> "_Deadline":
        self._timer = threading.Timer(self.seconds, self._strike)
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _strike(self) -> None:
        self.passed = True
        self.connection.interrupt()


class Sandbox:
    """One closed DuckDB. Use it as a context manager, or `close` it."""

    def __init__(self, *, memory: str = MEMORY, seconds: float = SECONDS) -> None:
        """
        Args:
            memory: what a query may use, in DuckDB's notation; there is no spilling to disk.
            seconds: what a query may take.
        """
        import duckdb

        self._duckdb = duckdb
        self._memory = memory
        self._seconds = seconds
        self._connection = duckdb.connect(":memory:")
        for statement in (*_SETTINGS, *_MACROS):
            self._connection.execute(statement)
        if not re.fullmatch(r"[0-9]+ ?[A-Za-z]+", memory):
            raise ValueError(f"{memory!r} is no amount of memory such as 2GB")
        self._connection.execute(f"SET memory_limit = '{memory}'")
        self._connection.execute("SET lock_configuration = true")
        self._catalog: Catalog | None = None

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the database."""
        self._connection.close()

    def vet(self, sql: str, events: "pa.Schema") -> list[SqlProblem]:
        """What a report's SQL may not do, by line; see `report_pipeline.reports.vetting`."""
        if self._catalog is None:
            self._catalog = Catalog.of(self._connection)
        return vet(sql, self._connection, self._catalog, set(events.names))

    def show(self, events: "pa.Table", window: "Window") -> None:
        """Make `events` and the window what the next queries see."""
        self._connection.execute(
            f"SET VARIABLE report_window = {{'window_start': TIMESTAMPTZ '{window.start.isoformat()}',"
            f" 'window_end': TIMESTAMPTZ '{window.end.isoformat()}'}}"
        )
        self._connection.register("events", events)

    def columns(self, sql: str) -> "pa.Schema":
        """The columns that a vetted query gives, in DuckDB's own types. No event is read.

        Raises:
            SqlError: the query does not fit the events' columns.
        """
        return self._run(sql, limit=0).schema

    def run(self, sql: str) -> "pa.Table":
        """The result of a vetted query over what `show` showed.

        Raises:
            SqlError: the query failed.
            PermanentFailure: it took too much time or memory.
        """
        return self._run(sql, limit=None)

    def _run(self, sql: str, limit: int | None) -> "pa.Table":
        try:
            with _Deadline(self._connection, self._seconds) as deadline:
                relation = self._connection.sql(sql)
                if limit is not None:
                    relation = relation.limit(limit)
                return relation.to_arrow_table()
        except self._duckdb.InterruptException:
            if not deadline.passed:
                raise
            raise PermanentFailure(
                f"The SQL was stopped after {self._seconds:g} seconds. Make it cheaper, or ask for shorter windows."
            ) from None
        except self._duckdb.OutOfMemoryException:
            raise PermanentFailure(
                f"The SQL needs more than the {self._memory} of memory that it may use."
                " Make it cheaper (count rather than collect), or ask for shorter windows."
            ) from None
        except (self._duckdb.BinderException, self._duckdb.CatalogException) as error:
            raise sql_error(self._with_line(sql, str(error))) from None
        except self._duckdb.Error as error:
            raise sql_error(str(error)) from None

    def _with_line(self, sql: str, message: str) -> str:
        """DuckDB's message with its `LINE`, which relations leave out of what binding says."""
        if "LINE " in message:
            return message
        try:
            self._connection.execute(f"EXPLAIN {sql}")
        except self._duckdb.Error as error:
            return str(error).replace("LINE 1: EXPLAIN ", "LINE 1:         ", 1)
        return message


def sql_error(message: str) -> SqlError:
    """DuckDB's message as an error with the line that it names."""
    match = re.search(r"^LINE (\d+):", message, re.MULTILINE)
    return SqlError(int(match[1]) if match else 1, message.strip())
