"""Pages are decoded in three ways; all must give what `EventSchema.decode` gives for each item."""

import json
import threading
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from report_pipeline.events import decode
from report_pipeline.events.decode import PageDecoder, PageRows, UnreadablePage
from report_pipeline.events.rows import RowMaker
from report_pipeline.events.schema import EventSchema
from report_pipeline.events.versions import version
from report_pipeline_tests.support.every_column import COLUMNS, GOOD, SCHEMA


def maker(ttl: str | None = None, **changes: Any) -> RowMaker:
    return RowMaker(EventSchema.model_validate(SCHEMA | changes), ttl)


def page_of(items: list[Any], *, spaces: bool = False, ascii_only: bool = False, **more: Any) -> bytes:
    """A Scan's answer, as DynamoDB writes it by default."""
    separators = (", ", ": ") if spaces else (",", ":")
    answer = {"Count": len(items), "Items": items, "ScannedCount": len(items), **more}
    return json.dumps(answer, separators=separators, ensure_ascii=ascii_only).encode()


def rows_of(batch: pa.RecordBatch) -> list[str]:
    """The rows in an order that does not depend on theirs."""
    batch.validate(full=True)
    return sorted(map(repr, batch.to_pylist()))


def check(rows: RowMaker, page: bytes) -> PageRows:
    """Decode a page, and compare its rows with those of its items one by one."""
    found = PageDecoder(rows).decode(page)
    items = json.loads(page)["Items"]
    made = [rows.live(item, version(1, 0), appended=False) for item in items]
    assert found.batch.schema == rows.arrow
    assert rows_of(found.batch) == rows_of(rows.batch(made))
    assert (found.items, found.rejected) == (len(items), sum("_reason" in row for row in made))
    return found


def alike(count: int, **values: Any) -> list[dict[str, Any]]:
    """Events that differ in their ids alone; a value of None leaves an attribute out."""
    event = {name: value for name, value in (GOOD | values).items() if value is not None}
    return [event | {"request_id": {"S": f"r-{number}"}} for number in range(count)]


def test_a_page_says_where_the_next_begins_and_what_it_cost() -> None:
    more: dict[str, Any] = {
        "LastEvaluatedKey": {"request_id": {"S": "r-9"}},
        "ConsumedCapacity": {"CapacityUnits": 128.5},
    }
    for items in (alike(300), alike(3), []):
        found = check(maker(), page_of(items, **more))
        assert (found.items, found.last_key, found.read_units) == (len(items), {"request_id": {"S": "r-9"}}, 128.5)
    last = check(maker(), page_of(alike(3)))
    assert (last.last_key, last.read_units) == (None, 0.0)


def test_items_that_are_written_alike_are_read_by_kernels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = maker()
    monkeypatch.setattr(EventSchema, "decode", None)
    monkeypatch.setattr(decode, "json", None)
    found = PageDecoder(rows).decode(page_of(alike(500, hash={"S": "#top"}, n={"N": "1.5"})))
    assert (found.items, found.rejected) == (500, 0)
    first = found.batch.to_pylist()[0]
    assert first["event_time"] == datetime(2019, 6, 21, 15, 0, 0, 123456, UTC)
    assert first["price"] == Decimal("12345678901234567890123456789.123456789")
    assert first["attributes"] == [("hash", "#top"), ("n", "1.5")]


@pytest.mark.parametrize(
    "items",
    [
        pytest.param([*alike(200), *alike(200, status=None), *alike(150, hash={"S": "#"})], id="some lack attributes"),
        pytest.param([dict(sorted(item.items(), reverse=n % 2 == 0)) for n, item in enumerate(alike(400))], id="order"),
        pytest.param(alike(300, more={"M": {"a": {"L": [{"S": "x"}, {"N": "1"}]}}}), id="nested"),
        pytest.param(alike(300, user={"NULL": True}, x={"NULL": True}), id="nulls"),
        pytest.param(alike(300, user={"NULL": True, "x": "y"}), id="a null and more"),
        pytest.param([{":{": {"NULL": True}, **item} for item in alike(300)], id="a name like the cut"),
        pytest.param(alike(300, pathname={"S": 'a\\"b"\n":{"S":"c"}},{"'}), id="escapes"),
        pytest.param(alike(300, pathname={"S": "日本語 \u2028 🎉"}, 名前={"S": "é"}), id="beyond ASCII"),
        pytest.param(alike(300, created={"S": "2019-06-22T00:00:00.123456789Z"}), id="nanoseconds"),
        pytest.param(alike(300, created={"S": "1815-06-18T11:35:00.123456789Z"}), id="nanoseconds before 1970"),
        pytest.param(alike(300, created={"S": "20190622t101112,5+0930"}), id="other ISO 8601"),
        pytest.param(alike(300, price={"N": "1E-9"}, x={"N": "-1.50E+40"}, y={"N": "0.00000001"}), id="exponents"),
        pytest.param(alike(300, status={"N": "0x1F"}), id="hexadecimal"),
        pytest.param(alike(300, price={"N": "123456789012345678901234567890"}), id="too large"),
        pytest.param(alike(300, pathname={"N": "5"}), id="of another type"),
        pytest.param(alike(300, created=None), id="without a time"),
        pytest.param(alike(300, **{"": {"S": "x"}, "a.b c-d": {"S": "y"}, 'q"q': {"S": "z"}}), id="odd names"),
        pytest.param(alike(300, b={"B": "aGk="}, ss={"SS": ["b", "a"]}, ns={"NS": ["10", "9"]}), id="sets"),
    ],
)
@pytest.mark.parametrize("form", [{}, {"spaces": True}, {"ascii_only": True}])
def test_items_are_read_exactly_however_they_are_written(items: list[Any], form: dict[str, bool]) -> None:
    check(maker(), page_of(items, **form))


@pytest.mark.parametrize("place", [0, 250, 499])
@pytest.mark.parametrize(
    "bad",
    [
        {"created": {"S": "yesterday"}},
        {"created": {"S": "2019-02-30T00:00:00Z"}},
        {"created": {"S": "0000-12-31T23:59:00-01:00"}},
        {"created": {"N": "5"}},
        {"status": {"N": "1.5"}},
        {"price": {"N": "0.0000000001"}},
        {"request_id": {"S": ""}},
        {"request_id": {"N": "1"}},
        {"extra": {"N": "1x"}},
        {"extra": {}},
        {"extra": {"S": "a", "N": "1"}},
        {"extra": 5},
        {"user": {"NULL": True, "x": "y"}},
        {"user": None},
        {"adblock": {"BOOL": "true"}},
        {"adblock": {"NULL": False}},
    ],
)
def test_a_bad_item_is_quarantined_alone(bad: dict[str, Any], place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    items = alike(500)
    items[place] = items[place] | bad
    rows = maker()
    found = check(rows, page_of(items))
    assert found.rejected == (0 if bad == {"user": None} else 1)
    one_by_one: list[Any] = []

    def live(item: Any, *rest: Any, **more: Any) -> Any:
        one_by_one.append(item)
        return RowMaker.live(rows, item, *rest, **more)

    monkeypatch.setattr(rows, "live", live)
    PageDecoder(rows).decode(page_of(items))
    assert one_by_one == [items[place]], "all others are decoded together"


@pytest.mark.parametrize("ttl", ["gone_at", "status", "pathname"])
def test_when_items_expire_is_read_from_declared_and_undeclared_attributes(ttl: str) -> None:
    for gone_at in (
        {"N": "1561161600"},
        {"N": "1561161600.5"},
        {"S": "1561161600"},
        {"N": "1E+30"},
        {"NULL": True},
        None,
    ):
        check(maker(ttl), page_of(alike(300, gone_at=gone_at)))
        check(maker(ttl), page_of(alike(300, gone_at=gone_at), spaces=True))


def test_half_a_surrogate_pair_spoils_its_item_alone() -> None:
    items = alike(300)
    items[7] = items[7] | {"pathname": {"S": "\ud800"}}
    assert check(maker(), page_of(items, ascii_only=True)).rejected == 1


def test_more_undeclared_names_than_are_learned_are_kept_all_the_same() -> None:
    items = [item | {f"name{number}": {"L": [{"S": "x"}]}} for number, item in enumerate(alike(400))]
    check(maker(), page_of(items))


def test_a_decoder_that_has_learned_names_decodes_pages_with_and_without_them() -> None:
    decoder = PageDecoder(maker())
    more: list[dict[str, Any]] = [{"a": {"L": []}}, {"b": {"L": []}}, {}, {"a": {"S": "x"}}]
    for attributes in more:
        items = alike(3, **attributes)
        expected = [maker().live(one, version(1, 0), appended=False) for one in items]
        assert rows_of(decoder.decode(page_of(items)).batch) == rows_of(maker().batch(expected))


def test_threads_may_share_a_decoder() -> None:
    decoder = PageDecoder(maker())
    pages = [page_of(alike(120, **{f"name{number}": {"L": [{"S": "x"}]}})) for number in range(40)]
    failures: list[BaseException] = []

    def work(mine: list[bytes]) -> None:
        try:
            for page in mine:
                assert decoder.decode(page).rejected == 0
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(pages[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"<html>busy</html>",
        b"[]",
        b"{}",
        b'{"Items":5}',
        b'{"Items":[5]}',
        b'{"Items":null}',
        page_of(alike(300))[:-5],
        page_of(alike(300)).replace(b"v-1", b"v\xff1", 1),
        page_of(alike(300)).replace(b"v-1", b"v\x011", 1),
        page_of(alike(300)).replace(b'"v-1"}', b'"v-1"', 1),
        page_of(alike(300)).replace(b'{"S":"v-1"},', b'{"S":"},', 1),
        page_of([], ConsumedCapacity={"CapacityUnits": {}}),
        page_of([], ConsumedCapacity=[1]),
    ],
)
def test_what_is_no_answer_of_a_scan_is_refused(page: bytes) -> None:
    with pytest.raises(UnreadablePage, match="not the JSON of a Scan's answer"):
        PageDecoder(maker()).decode(page)


def test_an_answer_may_hold_what_looks_like_items_elsewhere() -> None:
    key = {"request_id": {"S": '"Items":[{"request_id":{"S":"x"}}]'}}
    for items in (alike(300), []):
        assert check(maker(), page_of(items, LastEvaluatedKey=key)).last_key == key
        text = json.dumps({"LastEvaluatedKey": key, "X": {"Items": alike(2)}, "Items": items}, separators=(",", ":"))
        check(maker(), text.encode())
    check(maker(), b'{"Items":[{"request_id":{"S":"x"}}],"Items":[]}')


# Texts that resemble the JSON around them, and numbers in every way of writing.
fragments = st.sampled_from(
    ['"', "\\", '":{"', '"},"', '"}},{"', "}}]", '"Items":[{', "\n", "\x00", "é", "🎉", "a", " "]
)
texts = st.text(st.characters(), max_size=6) | st.lists(fragments, max_size=4).map("".join)
digits = st.text("0123456789", min_size=1, max_size=42)
numbers = st.one_of(
    st.integers(-(10**19), 10**19).map(str),
    st.decimals(allow_nan=True, places=None).map(str),
    st.builds("{}{}.{}".format, st.sampled_from(["", "-"]), digits, digits),
    st.builds("{}E{}".format, digits, st.integers(-140, 140)),
    st.sampled_from(["-0", "0.10", ".5", "5.", "+1", "0x1F", "1_000", " 1", "1 ", "", "-", ".", "٣", "1e5"]),
    st.text("0123456789-.eE", max_size=6),
)
EARLIEST, LATEST = datetime.min, datetime.max  # noqa: DTZ901 - the strategies below add the zones
offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.one_of(
    st.datetimes(timezones=offsets | st.just(UTC)).map(datetime.isoformat),
    st.datetimes(timezones=st.just(UTC)).map(lambda at: at.isoformat().replace("+00:00", "Z")),
    st.datetimes(max_value=EARLIEST + timedelta(days=3), timezones=offsets).map(datetime.isoformat),
    st.datetimes(min_value=LATEST - timedelta(days=3), timezones=offsets).map(datetime.isoformat),
    st.builds(
        lambda at, more: f"{at.isoformat()}{more}", st.datetimes(), st.sampled_from(["", "z", "+24:00", "-0930", "+9"])
    ),
    st.builds(
        lambda at, ns: f"{at.replace(microsecond=0).isoformat()}.{ns}Z",
        st.datetimes(),
        st.text("0123456789", max_size=12),
    ),
    st.from_regex(r"(20\d\d|0000)-[01]\d-[0-3]\d[T ]\d\d(:\d\d){0,2}(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)", fullmatch=True),
)
epochs = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.integers(-(10**17), 10**18).map(str),
    st.builds("{}.{}".format, st.integers(-(10**11), 10**11), st.text("0123456789", min_size=1, max_size=11)),
)
scalars = st.one_of(
    st.fixed_dictionaries({"S": texts | times}),
    st.fixed_dictionaries({"N": numbers | epochs}),
    st.fixed_dictionaries({"BOOL": st.booleans()}),
    st.fixed_dictionaries({"NULL": st.booleans()}),
    st.fixed_dictionaries({"B": st.sampled_from(["aGk=", ""])}),
    st.fixed_dictionaries({"SS": st.lists(texts, max_size=3)}),
    st.fixed_dictionaries({"NS": st.lists(numbers, max_size=3)}),
    st.fixed_dictionaries({"BS": st.lists(st.just("aGk="), max_size=2)}),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.fixed_dictionaries({"L": st.lists(inner, max_size=3)})
        | st.fixed_dictionaries({"M": st.dictionaries(texts, inner, max_size=3)})
    ),
    max_leaves=5,
)
junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    texts,
    st.lists(scalars, max_size=2),
    st.dictionaries(
        st.sampled_from(["S", "N", "BOOL", "NULL", "M", "x"]), texts | st.none() | st.integers(), max_size=2
    ),
)
names = st.sampled_from([*GOOD, "x", "y", "", ":{", "名", 'q"', "\\", "gone_at", "Items", "\ud800"])
declared = st.sampled_from([*GOOD, "x", "y", "名", "gone_at"])
column_types = st.sampled_from(["string", "integer", "number", "boolean", "timestamp"])


@st.composite
def schemas(draw: st.DrawFn) -> RowMaker:
    form = draw(st.sampled_from(["iso8601", "epoch_s", "epoch_ms", "epoch_us"]))
    columns = {
        f"c{number}": {"attribute": draw(declared), "type": draw(column_types)}
        for number in range(draw(st.integers(0, 5)))
    }
    columns |= draw(st.sampled_from([{}, COLUMNS]))
    time = draw(st.sampled_from(["created", "created", "created", "seen", "request_id"]))
    made = {"time": {"attribute": time, "format": form}, "columns": columns, "visitor": draw(declared)}
    return RowMaker(EventSchema.model_validate(made), draw(st.none() | declared))


@st.composite
def pages(draw: st.DrawFn) -> bytes:
    """Some events that are alike, one of whose values varies, and others that are not."""
    base = GOOD | draw(st.dictionaries(names, scalars, max_size=3))
    if draw(st.booleans()):
        base["created"] = {"N": draw(epochs)}
    items: list[Any] = []
    varied = draw(st.sampled_from([*base]))
    kind = next(iter(base[varied]))
    same = scalars.filter(lambda value: kind in value)
    for number in range(draw(st.integers(0, 6))):
        items.append(base | {"request_id": {"S": f"r{number}"}} | {varied: draw(same)})
    items += draw(st.lists(st.dictionaries(names, values | junk, max_size=8), max_size=2))
    items += draw(
        st.lists(st.builds(lambda more: base | more, st.dictionaries(names, values | junk, max_size=3)), max_size=3)
    )
    items = draw(st.permutations(items))
    key = draw(st.none() | st.fixed_dictionaries({"request_id": st.fixed_dictionaries({"S": texts})}))
    page = page_of(items, spaces=draw(st.booleans()), ascii_only=True, LastEvaluatedKey=key)
    try:
        # As the service writes it, unless there is half a surrogate pair in it.
        return (
            json.dumps(json.loads(page), separators=(",", ":"), ensure_ascii=False).encode()
            if draw(st.booleans())
            else page
        )
    except UnicodeEncodeError:
        return page


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schemas(), pages())
@example(maker(), page_of(alike(2, created={"S": "0000-12-31T23:59:00-01:00"})))
@example(maker(), page_of(alike(2, price={"N": "1" + "0" * 31})))
@example(maker(), page_of([{"request_id": {"S": "r"}, "created": GOOD["created"], "x": {"S": 'a","S":"b'}}]))
def test_any_page_gives_the_rows_of_its_items_one_by_one(rows: RowMaker, page: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # Also a few items are worth trying to read together.
        patch.setattr(decode, "_FEWEST_ALIKE", 1)
        patch.setattr(decode, "_MOST_IN_VAIN", 100)
        check(rows, page)
        patch.setattr(decode, "whole", lambda *_: None)
        check(rows, page)
