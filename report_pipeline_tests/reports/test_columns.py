"""Column types: their words, and what of DuckDB's types fits them."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from report_pipeline.reports.columns import (
    ColumnError,
    arrow_type,
    canonical_schema,
    narrow,
    sorted_by,
    tidy_word,
    type_word,
)

WORDS = [
    "string",
    "integer",
    "double",
    "boolean",
    "timestamp",
    "date",
    "decimal(38,9)",
    "list<string>",
    "list<list<integer>>",
    "struct<a: string, b_2: list<decimal(5,2)>>",
]


def result(sql: str) -> pa.Table:
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.sql(sql).to_arrow_table()


@pytest.mark.parametrize("word", WORDS)
def test_a_type_and_its_word_stand_for_each_other(word: str) -> None:
    assert type_word(arrow_type(word)) == word
    assert tidy_word(word) == word


def test_spaces_in_a_type_do_not_matter() -> None:
    assert tidy_word(" struct< a:string,b : decimal( 5 , 2 ) > ") == "struct<a: string, b: decimal(5,2)>"


@pytest.mark.parametrize(
    "word",
    ["", "text", "list", "list<>", "list<string", "struct<>", "decimal", "decimal(39,0)", "decimal(2,3)", "string x"],
)
def test_what_is_no_type_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="not a column type"):
        arrow_type(word)


@pytest.mark.parametrize(
    ("expression", "word", "value"),
    [
        ("1::TINYINT", "integer", 1),
        ("4000000000::UINTEGER", "integer", 4_000_000_000),
        ("18446744073709551615::UBIGINT", "decimal(38,0)", Decimal(18446744073709551615)),
        ("sum(1)", "decimal(38,0)", Decimal(1)),
        ("count(*)", "integer", 1),
        ("1.5::FLOAT", "double", 1.5),
        ("0.1::DOUBLE", "double", 0.1),
        ("1.50::DECIMAL(5,2)", "decimal(5,2)", Decimal("1.50")),
        ("'x'::VARCHAR", "string", "x"),
        ("'x'::ENUM('x', 'y')", "string", "x"),
        ("'00000000-0000-0000-0000-000000000001'::UUID", "string", "00000000-0000-0000-0000-000000000001"),
        ("""'{"a":1}'::JSON""", "string", '{"a":1}'),
        ("TIMESTAMPTZ '2019-06-22 09:00:00.000001+09'", "timestamp", datetime(2019, 6, 22, 0, 0, 0, 1, UTC)),
        ("[1, NULL]::INTEGER[2]", "list<integer>", [1, None]),
        ("{'a': 1::SMALLINT, 'b': ['x']}", "struct<a: integer, b: list<string>>", {"a": 1, "b": ["x"]}),
    ],
)
def test_what_duckdb_gives_becomes_the_reports_type_without_loss(expression: str, word: str, value: Any) -> None:
    table = narrow(result(f"SELECT {expression} AS x"))
    assert type_word(table.schema.field("x").type) == word
    assert table["x"].to_pylist() == [value]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("TIMESTAMP '2019-06-22'", "timestamp without a zone"),
        ("NULL", "always NULL"),
        ("'x'::BLOB", "binary"),
        ("MAP {'a': 1}", "is a map"),
        ("INTERVAL 1 DAY", "CAST it"),
        ("TIME '10:00'", "CAST it"),
        ("'NaN'::DOUBLE", "NaN or infinite"),
        ("['Infinity'::DOUBLE]", "NaN or infinite"),
        ("1e200::DOUBLE", "outside of 1e-130"),
        ("{'a': 1e-200::DOUBLE}", "outside of 1e-130"),
        ("TIMESTAMPTZ 'infinity'", "outside of the years"),
        ("DATE '-infinity'", "outside of the years"),
    ],
)
def test_what_cannot_be_published_is_refused_by_column_and_reason(expression: str, reason: str) -> None:
    with pytest.raises(ColumnError, match=reason) as caught:
        narrow(result(f"SELECT 1 AS fine, {expression} AS x"))
    assert caught.value.column == "x"


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ("count(*)", "no plain name"),
        ('1 AS "a b"', "no plain name"),
        ("1 AS uuid", "reports table needs itself"),
        ("1 AS PK", "reports table needs itself"),
        ("{'a b': 1} AS x", "has a field 'a b'"),
    ],
)
def test_a_columns_name_is_plain_and_not_taken(columns: str, reason: str) -> None:
    _, problems = canonical_schema(result(f"SELECT {columns}").schema)
    assert [reason in str(problem) for problem in problems] == [True]


def test_a_name_twice_is_refused() -> None:
    _, problems = canonical_schema(pa.schema([("a", pa.string()), ("a", pa.string())]))
    assert "is there twice" in str(problems[0])


def test_negative_zero_becomes_zero_because_dynamodb_has_none() -> None:
    assert str(narrow(pa.table({"x": [-0.0]}))["x"].to_pylist()) == "[0.0]"


def test_rows_are_sorted_by_code_point_with_null_last() -> None:
    table = pa.table({"k": ["é", None, "a", "Z", "\U0001f600", "\uffff", ""]})
    assert sorted_by(table, ["k"])["k"].to_pylist() == ["", "Z", "a", "é", "\uffff", "\U0001f600", None]
