"""What a report's SQL may do: one SELECT over `events`, with the same result whenever it is run.

The SQL is judged by the syntax tree that DuckDB itself makes of it. Refused are other statements, other
tables and files, table functions that read something, functions whose result depends on more than their
arguments (the clock, chance, the session), samples and parameters. What is unknown is left to DuckDB's
binder, which names the nearest.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from report_pipeline.yaml_lines import nearest

TABLE = "events"
WINDOW_FUNCTIONS = ("window_start", "window_end")

_TABLE_FUNCTIONS = {
    "generate_series",
    "generate_subscripts",
    "json_each",
    "json_tree",
    "range",
    "regexp_split_to_table",
    "repeat",
    "unnest",
    "unnest_rewrite",
}
_REFERENCES = {
    "BASE_TABLE",
    "EMPTY",
    "EXPRESSION_LIST",
    "JOIN",
    "PIVOT",
    "SUBQUERY",
    "TABLE_FUNCTION",
}
_NODES = {"CTE_NODE", "RECURSIVE_CTE_NODE", "SELECT_NODE", "SET_OPERATION_NODE"}
# Words that SQL takes for a function without parentheses, unless a column has the name.
_BARE_WORDS = {
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "localtime",
    "localtimestamp",
    "session_user",
    "user",
}
# Declared constant in DuckDB's catalog, or macros of which it says nothing, and yet not functions of their arguments.
_MORE_REFUSED = _BARE_WORDS | {
    "ago",
    "current_database",
    "current_localtime",
    "current_localtimestamp",
    "current_query",
    "current_schemas",
    "get_block_size",
    "pg_sleep",
    "reservoir_quantile",
    "version",
}
_MORE_REFUSED_PREFIXES = ("pg_", "has_", "inet_", "duckdb_", "pragma_")
_HARMLESS = {"error", "pg_typeof"}
_NO_PLACE = 2**64 - 1


@dataclass(frozen=True)
class SqlProblem:
    """What a report's SQL may not do. `line` counts from 1 in the SQL."""

    line: int
    message: str


@dataclass(frozen=True)
class Catalog:
    """What DuckDB has built in: functions that are not constant, and views of its own state."""

    unsteady: frozenset[str]
    views: frozenset[str]

    @classmethod
    def of(cls, connection: Any) -> "Catalog":
        """Read the catalog of a DuckDB connection."""
        functions = connection.execute(
            "SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
        ).fetchall()
        views = connection.execute("SELECT lower(view_name) FROM duckdb_views() WHERE internal").fetchall()
        return cls(frozenset(name for (name,) in functions) - _HARMLESS, frozenset(name for (name,) in views))

    def refuses(self, function: str) -> bool:
        """Whether a function's result depends on more than its arguments."""
        if function in _HARMLESS or function in WINDOW_FUNCTIONS:
            return False
        return function in self.unsteady or function in _MORE_REFUSED or function.startswith(_MORE_REFUSED_PREFIXES)


def vet(sql: str, connection: Any, catalog: Catalog, columns: set[str]) -> list[SqlProblem]:
    """What the SQL may not do, in the order of its lines; nothing where it may run.

    Args:
        sql: a report's SQL.
        connection: a DuckDB connection, used to parse.
        catalog: the same connection's catalog.
        columns: the names of the columns of `events`.
    """
    ((text,),) = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()
    try:
        tree = json.loads(text)
    except RecursionError:
        return [SqlProblem(1, "the SQL is nested too deeply")]
    if tree["error"]:
        return [_unparsed(sql, tree)]
    statements = tree["statements"]
    if not statements:
        return [SqlProblem(1, "there is no SQL here: a report is one SELECT")]
    if len(statements) > 1:
        return [SqlProblem(1, f"there are {len(statements)} statements here: a report is one SELECT")]
    walk = _Walk(sql, catalog, columns)
    walk.judge(statements[0])
    if statements[0].get("named_param_map"):
        walk.refuse({}, "parameters (`?`, `$name`) have no values here: use window_start() and window_end()")
    return sorted(set(walk.problems), key=lambda problem: problem.line)


def _unparsed(sql: str, tree: dict[str, Any]) -> SqlProblem:
    message = str(tree.get("error_message", "cannot be read"))
    if tree.get("error_type") == "not implemented":
        return SqlProblem(
            1,
            "only a SELECT (or WITH … SELECT) can be a report: no INSERT, COPY, SET or other statement,"
            " and PIVOT only with its IN list",
        )
    position = str(tree.get("position", ""))
    if not position.isdigit():
        return SqlProblem(1, message)
    line, caret = _place(sql, int(position))
    return SqlProblem(line, f"{message}\n{caret}")


def _place(sql: str, position: int) -> tuple[int, str]:
    """The line of a byte's position, and the line's text with a caret under it."""
    before = sql.encode()[:position].decode(errors="replace")
    line = before.count("\n") + 1
    column = len(before) - before.rfind("\n") - 1
    text = sql.splitlines()[line - 1] if line <= len(sql.splitlines()) else ""
    return line, f"  {text}\n  {' ' * column}^"


@dataclass
class _Walk:
    """Goes through a syntax tree and collects what is refused."""

    sql: str
    catalog: Catalog
    columns: set[str]
    problems: list[SqlProblem] = field(default_factory=list)

    def judge(self, tree: Any) -> None:
        nodes = list(_nodes(tree))
        ctes = {str(entry["key"]).lower() for node in nodes for entry in _entries(node)}
        named = {str(node["alias"]).lower() for node in nodes if node.get("alias")}
        named |= {str(name).lower() for node in nodes for name in node.get("column_name_alias") or ()}
        for name in sorted(ctes & self.catalog.views):
            self.refuse({}, f"a WITH query cannot be called {name}: DuckDB has a view of that name")
        of_tables = {id(node["function"]) for node in nodes if node.get("type") == "TABLE_FUNCTION"}
        for node in nodes:
            if id(node) in of_tables:
                continue
            self._judge_node(node, ctes, named | {column.lower() for column in self.columns})

    def refuse(self, node: dict[str, Any], message: str) -> None:
        position = node.get("query_location", _NO_PLACE)
        line = _place(self.sql, position)[0] if position != _NO_PLACE else 1
        self.problems.append(SqlProblem(line, message))

    def _judge_node(self, node: dict[str, Any], ctes: set[str], names: set[str]) -> None:
        kind = node.get("type")
        if node.get("sample"):
            self.refuse(node, "a sample differs from run to run: take rows by a condition, such as hash(…) % 10 = 0")
        if node.get("class") == "FUNCTION":
            self._judge_function(node)
        elif node.get("class") == "COLUMN_REF":
            path = node.get("column_names") or [""]
            word = str(path[0]).lower()
            if len(path) == 1 and word in _BARE_WORDS and word not in names:
                self.refuse(node, _unsteady(word))
        elif kind == "BASE_TABLE":
            self._judge_table(node, ctes)
        elif kind == "TABLE_FUNCTION":
            name = str(node["function"].get("function_name", "")).lower()
            if name not in _TABLE_FUNCTIONS:
                self.refuse(node, f"a report reads only the table `{TABLE}`, not {name}(…)")
        elif kind == "SHOW_REF":
            self.refuse(node, "only a SELECT can be a report, not DESCRIBE, SHOW or SUMMARIZE")
        elif isinstance(kind, str) and kind.endswith("_NODE") and kind not in _NODES:
            self.refuse(node, "only SELECT can be used here: nothing can be inserted, changed or deleted")
        elif "join_type" not in node and "query_location" in node and "class" not in node and kind not in _REFERENCES:
            self.refuse(node, f"a report reads only the table `{TABLE}`")

    def _judge_function(self, node: dict[str, Any]) -> None:
        name = str(node.get("function_name", "")).lower()
        if name == "age" and len(node.get("arguments") or ()) == 1:
            self.refuse(node, "age(…) with one argument counts from today: give it two, such as window_end()")
        elif self.catalog.refuses(name):
            self.refuse(node, _unsteady(f"{name}(…)"))

    def _judge_table(self, node: dict[str, Any], ctes: set[str]) -> None:
        name = str(node.get("table_name", ""))
        place = [str(node[part]) for part in ("catalog_name", "schema_name") if node.get(part)]
        if not place and name.lower() in {TABLE, *ctes}:
            return
        full = ".".join([*place, name])
        hint = nearest(name, [TABLE, *ctes])
        self.refuse(node, f"there is no table {full!r}: a report reads only the table `{TABLE}`{hint}")


def _unsteady(name: str) -> str:
    return (
        f"{name} gives something else in another run, and a report's rows may depend on its events alone:"
        " use window_start(), window_end(), or a column"
    )


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    left = [tree]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield value
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)


def _entries(node: dict[str, Any]) -> list[dict[str, Any]]:
    ctes = node.get("cte_map")
    return ctes.get("map", []) if isinstance(ctes, dict) else []
