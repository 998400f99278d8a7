"""The closed database: what a report's SQL can do, and all that it cannot."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from report_pipeline.errors import PermanentFailure
from report_pipeline.events.schema import EventSchema
from report_pipeline.reports.sandbox import Sandbox, SqlError
from report_pipeline.windows import Window


@pytest.fixture(scope="module")
def sandbox(schema: EventSchema) -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        events = schema.arrow_schema().empty_table()
        sandbox.show(events, Window.between("2019-06-22T00:00Z", "2019-06-23T00:00Z", "Asia/Tokyo"))
        yield sandbox


def refusals(sandbox: Sandbox, schema: EventSchema, sql: str) -> list[tuple[int, str]]:
    return [(problem.line, problem.message) for problem in sandbox.vet(sql, schema.arrow_schema())]


@pytest.mark.parametrize(
    ("sql", "line", "words"),
    [
        ("SELECT random() FROM events", 1, "random(…) gives something else in another run"),
        ("SELECT visitor,\n  uuid() AS u\nFROM events", 2, "uuid(…) gives"),
        ("SELECT now() AS x", 1, "now(…) gives"),
        ("SELECT Now() AS x", 1, "now(…) gives"),
        ("SELECT current_timestamp AS x", 1, "current_timestamp gives"),
        ("SELECT\n current_date AS x", 2, "current_date gives"),
        ("SELECT localtimestamp AS x", 1, "localtimestamp gives"),
        ("SELECT current_localtime() AS x", 1, "current_localtime(…) gives"),
        ("SELECT today() AS x", 1, "today(…) gives"),
        ("SELECT transaction_timestamp() AS x", 1, "transaction_timestamp(…) gives"),
        ("SELECT age(event_time) AS x FROM events", 1, "counts from today"),
        ("SELECT user AS x", 1, "user gives"),
        ("SELECT gen_random_uuid() AS x", 1, "gen_random_uuid(…) gives"),
        ("SELECT current_setting('threads') AS x", 1, "current_setting(…) gives"),
        ("SELECT getvariable('a') AS x", 1, "getvariable(…) gives"),
        ("SELECT version() AS x", 1, "version(…) gives"),
        ("SELECT pg_catalog.current_user() AS x", 1, "current_user(…) gives"),
        ("SELECT reservoir_quantile(1, 0.5) AS x", 1, "reservoir_quantile(…) gives"),
        ("SELECT visitor FROM events WHERE visitor IN (SELECT uuid())", 1, "uuid(…) gives"),
        ("SELECT visitor FROM events TABLESAMPLE 10%", 1, "a sample differs"),
        ("SELECT visitor FROM events USING SAMPLE 3", 1, "a sample differs"),
        ("SELECT * FROM\n read_csv('/etc/passwd')", 2, "reads only the table `events`, not read_csv(…)"),
        ("SELECT * FROM glob('/*')", 1, "not glob(…)"),
        ("SELECT * FROM duckdb_settings()", 1, "not duckdb_settings(…)"),
        ("SELECT * FROM query('SELECT 1')", 1, "not query(…)"),
        ("SELECT * FROM pragma_version()", 1, "not pragma_version(…)"),
        ("SELECT * FROM 'file.csv'", 1, "there is no table 'file.csv'"),
        ("SELECT * FROM information_schema.tables", 1, "there is no table 'information_schema.tables'"),
        ("SELECT * FROM main.events", 1, "there is no table 'main.events'"),
        ("SELECT * FROM\n event", 2, "there is no table 'event': a report reads only the table `events`; did you"),
        ("SELECT * FROM duckdb_tables", 1, "there is no table 'duckdb_tables'"),
        ("WITH duckdb_views AS (SELECT 1) SELECT * FROM duckdb_views", 1, "cannot be called duckdb_views"),
        ("DESCRIBE events", 1, "not DESCRIBE"),
        ("SHOW TABLES", 1, "not DESCRIBE, SHOW"),
        ("SUMMARIZE events", 1, "not DESCRIBE"),
        ("SELECT ? AS x", 1, "parameters"),
        ("SELECT $a AS x", 1, "parameters"),
        ("SELECT 1; SELECT 2", 1, "2 statements"),
        ("-- nothing", 1, "no SQL here"),
        ("INSERT INTO events VALUES (1)", 1, "only a SELECT"),
        ("COPY (SELECT 1) TO 'x.csv'", 1, "only a SELECT"),
        ("SET threads = 4", 1, "only a SELECT"),
        ("PRAGMA version", 1, "only a SELECT"),
        ("ATTACH 'x.db'", 1, "only a SELECT"),
        ("INSTALL httpfs", 1, "only a SELECT"),
        ("EXPLAIN SELECT 1", 1, "only a SELECT"),
        ("PIVOT events ON visitor USING count(*)", 1, "PIVOT only with its IN list"),
        ("WITH a AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM a", 1, "nothing can be inserted"),
        ("-- 日本\nSELECT visitor\nFORM events", 3, "syntax error"),
    ],
)
def test_what_is_not_one_repeatable_select_is_refused_at_its_line(
    sandbox: Sandbox, schema: EventSchema, sql: str, line: int, words: str
) -> None:
    found = refusals(sandbox, schema, sql)
    assert [each[0] for each in found] == [line]
    assert words in found[0][1]


def test_a_syntax_error_shows_the_line_and_a_caret_under_the_place(sandbox: Sandbox, schema: EventSchema) -> None:
    ((_, message),) = refusals(sandbox, schema, "-- 日本\nSELECT visitor,\n  'é' FROM FROM events")
    assert message.splitlines()[1:] == ["    'é' FROM FROM events", " " * 13 + "^"]


def test_every_refusal_is_told_at_once(sandbox: Sandbox, schema: EventSchema) -> None:
    found = refusals(sandbox, schema, "SELECT random() AS a,\n  now() AS b\nFROM nowhere")
    assert [line for line, _ in found] == [1, 2, 3]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT visitor FROM events;",
        "FROM events SELECT visitor",
        "WITH RECURSIVE a AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM a WHERE n < 3) SELECT n FROM a",
        "WITH events AS (SELECT visitor FROM events WHERE adblock) SELECT visitor FROM events",
        "SELECT e.visitor, x FROM events AS e, unnest([1, 2]) AS t(x) UNION SELECT 'a', 1",
        "SELECT hour FROM generate_series(window_start(), window_end(), INTERVAL 1 HOUR) AS t(hour)",
        "SELECT age(window_end(), event_time)::VARCHAR AS waited FROM events",
        "PIVOT (SELECT visitor, type FROM events) ON type IN ('page', 'click') USING count(*)",
        "SELECT user FROM (SELECT visitor AS user FROM events)",
        "SELECT count(*) FILTER (WHERE user = 'a') AS n FROM (VALUES ('a')) AS t(user)",
        "SELECT time_bucket(INTERVAL 1 HOUR, event_time, 'Asia/Tokyo') AS hour, count(*) AS n FROM events GROUP BY ALL",
        "SELECT list_transform([1, 2], lambda x: x + 1) AS l, attributes['x'] AS y FROM events",
        "SELECT visitor, row_number() OVER (PARTITION BY visitor ORDER BY event_time) AS n FROM events QUALIFY n = 1",
        "SELECT json_extract_string(attributes['j'], '$.a') AS a FROM events",
        "SELECT CASE WHEN status < 0 THEN error('negative') ELSE status END AS s FROM events",
    ],
)
def test_ordinary_sql_may_run(sandbox: Sandbox, schema: EventSchema, sql: str) -> None:
    assert refusals(sandbox, schema, sql) == []
    assert sandbox.columns(sql).names
    assert sandbox.run(sql).num_rows >= 0


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM '{file}'",
        "SELECT * FROM glob('{file}')",
        "COPY (SELECT 1) TO '{file}.csv'",
        "ATTACH '{file}.db' AS other",
        "SET enable_external_access = true",
        "SET memory_limit = '1TB'",
        "RESET threads",
        "INSTALL httpfs",
        "LOAD '{file}'",
    ],
)
def test_the_database_itself_reaches_no_file_even_for_sql_that_was_not_vetted(
    sandbox: Sandbox, tmp_path: Path, sql: str
) -> None:
    file = tmp_path / "secret.txt"
    file.write_text("secret")
    with pytest.raises(SqlError, match=r"disabled|locked|does not exist|Parser Error"):
        sandbox.run(sql.format(file=file))
    assert [path.name for path in tmp_path.iterdir()] == ["secret.txt"]


def test_variables_of_the_caller_are_no_tables(sandbox: Sandbox) -> None:
    secret = pa.table({"x": [1]})
    with pytest.raises(SqlError, match="secret does not exist"):
        sandbox.run("SELECT * FROM secret")
    assert secret.num_rows == 1


def test_an_error_has_duckdbs_words_its_line_and_caret(sandbox: Sandbox) -> None:
    with pytest.raises(SqlError) as caught:
        sandbox.columns("SELECT visitor,\n  vistor AS x\nFROM events")
    assert caught.value.line == 2
    assert 'Candidate bindings: "visitor"' in caught.value.message
    assert "^" in caught.value.message.splitlines()[-1]


def test_the_windows_bounds_are_there_for_the_sql(sandbox: Sandbox) -> None:
    row = sandbox.run("SELECT window_start() AS a, window_end() AS b").to_pylist()[0]
    assert (row["a"].isoformat(), row["b"].isoformat()) == ("2019-06-22T00:00:00+00:00", "2019-06-23T00:00:00+00:00")


def test_a_query_without_end_is_stopped(events: Callable[..., pa.Table], window: Window) -> None:
    with Sandbox(seconds=0.2) as sandbox:
        sandbox.show(events(), window)
        with pytest.raises(PermanentFailure, match=r"stopped after 0.2 seconds"):
            sandbox.run("SELECT count(*) AS n FROM range(100000000000) AS a(x), range(1000) AS b(y) WHERE x % 7 = 3")
        assert sandbox.run("SELECT 1 AS n").to_pylist() == [{"n": 1}]


def test_a_query_that_wants_too_much_memory_is_stopped(events: Callable[..., pa.Table], window: Window) -> None:
    with Sandbox(memory="50MB") as sandbox:
        sandbox.show(events(), window)
        with pytest.raises(PermanentFailure, match="more than the 50MB of memory"):
            sandbox.run("SELECT list(x) AS l FROM range(100000000) AS a(x)")


def test_an_amount_of_memory_is_an_amount() -> None:
    with pytest.raises(ValueError, match="no amount of memory"):
        Sandbox(memory="2GB'; SET threads = 9; --")
