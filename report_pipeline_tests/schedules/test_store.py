"""The table of schedules, with moto as DynamoDB: every change whole, with its trail, and none of another's undone."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from report_pipeline.dynamo import Backoff
from report_pipeline.errors import CallerMistake, PermanentFailure, TransientFailure
from report_pipeline.schedules.recording import record_yaml
from report_pipeline.schedules.store import Earlier, Revision, ScheduleStore, StaleEdit, Stored
from report_pipeline.schedules.stored import LARGEST_DEFINITION, MOST_LIVES

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NIGHTLY = {"name": "nightly", "report": "visitor_report", "cron": "30 0 * * *", "zone": "Asia/Tokyo", "previous": "day"}


@pytest.fixture
def store(dynamodb: Any) -> ScheduleStore:
    store = ScheduleStore(dynamodb, "schedules")
    store.create()
    return store


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("report_pipeline.dynamo.FIRST_PAUSE", 0.0)


def put(store: ScheduleStore, name: str = "nightly", **more: Any) -> Revision:
    """One change, by whom and when it does not matter."""
    definition = more.pop("definition", {**NIGHTLY, "name": name})
    given: dict[str, Any] = {
        "source": "cli",
        "by": "ann@desk",
        "why": "",
        "now": NOON,
        "expected": None,
        "timing_changed": True,
    }
    return store.put(name, definition, **given | more)


def remove(store: ScheduleStore, name: str = "nightly", **more: Any) -> Revision:
    given: dict[str, Any] = {"source": "cli", "by": "ann@desk", "why": "", "now": NOON, "expected": 1}
    return store.remove(name, **given | more)


def items(client: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """Everything in the table, by its key."""
    found = client.scan(TableName="schedules")["Items"]
    return {(item["pk"]["S"], item["sk"]["S"]): item for item in found}


class Meddled:
    """A client whose calls of one operation go through `how` instead."""

    def __init__(self, client: Any, operation: str, how: Callable[..., Any]) -> None:
        self._client, self._operation, self._how = client, operation, how
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        def counted(**arguments: Any) -> Any:
            self.calls.append(name)
            return self._how(call, **arguments) if name == self._operation else call(**arguments)

        return counted


def test_what_is_put_is_read_back_exactly(store: ScheduleStore) -> None:
    odd = {**NIGHTLY, "description": "日本 \U0001f600 \"'\\ \x00\n", "solar": {"latitude": 35.6812345678901, "x": -0.0}}
    revision = put(store, definition=odd, by="ann@desk", why="for the morning", source="launchpad")
    assert revision == Revision("nightly", 1, NOON, "ann@desk", "for the morning", "launchpad", None, odd)
    stored = store.get("nightly")
    assert stored == Stored("nightly", odd, 1, NOON, NOON, "launchpad", "ann@desk")
    assert store.all() == (1, {"nightly": stored})
    assert store.history("nightly") == [revision]
    assert store.get("other") is None
    assert store.history("other") == []


def test_the_table_can_be_read_by_people(store: ScheduleStore, dynamodb: Any) -> None:
    put(store, why="at last")
    found = items(dynamodb)
    current = found["definition", "nightly"]
    assert json.loads(current.pop("definition")["S"]) == NIGHTLY
    assert {name: next(iter(value.values())) for name, value in current.items()} == {
        "pk": "definition",
        "sk": "nightly",
        "name": "nightly",
        "report": "visitor_report",
        "revision": "1",
        "changed_at": "2026-12-01T12:00:00Z",
        "since": "2026-12-01T12:00:00Z",
        "source": "cli",
        "by": "ann@desk",
        "earlier": "[]",
    }
    history = found["history#nightly", "0000000001"]
    assert json.loads(history["after"]["S"]) == NIGHTLY
    assert {name: history[name]["S"] for name in ("at", "by", "why", "source")} == {
        "at": "2026-12-01T12:00:00Z",
        "by": "ann@desk",
        "why": "at last",
        "source": "cli",
    }
    assert "before" not in history
    assert found["version", "version"]["changes"] == {"N": "1"}


def test_the_version_rises_with_every_change_of_any_schedule(store: ScheduleStore) -> None:
    assert (store.version(), store.all()) == (0, (0, {}))
    put(store, "a")
    put(store, "b")
    put(store, "a", expected=1, timing_changed=False)
    remove(store, "b")
    assert store.version() == 4
    assert list(store.all()[1]) == ["a"]


def test_a_change_of_the_timing_begins_a_new_life_and_another_change_does_not(store: ScheduleStore) -> None:
    put(store)
    described = {**NIGHTLY, "description": "words"}
    put(store, definition=described, expected=1, now=NOON + MINUTE, timing_changed=False)
    stored = store.get("nightly")
    assert stored is not None
    assert (stored.revision, stored.changed_at, stored.since, stored.earlier) == (2, NOON + MINUTE, NOON, ())
    hourly = {**NIGHTLY, "cron": "0 * * * *"}
    put(store, definition=hourly, expected=2, now=NOON + 2 * MINUTE)
    stored = store.get("nightly")
    assert stored is not None
    assert (stored.since, stored.definition) == (NOON + 2 * MINUTE, hourly)
    assert stored.earlier == (Earlier(described, NOON, NOON + 2 * MINUTE),)
    put(store, definition=described, expected=3, now=NOON + 3 * MINUTE, timing_changed=False)
    kept = store.get("nightly")
    assert kept is not None
    assert kept.earlier == stored.earlier


def test_of_former_lives_the_recent_ones_are_kept_and_the_newest_whatever_its_age(store: ScheduleStore) -> None:
    for day in range(4):
        put(store, expected=day or None, now=NOON + timedelta(days=20 * day))
    stored = store.get("nightly")
    assert stored is not None
    assert [life.until - NOON for life in stored.earlier] == [timedelta(days=days) for days in (40, 60)]
    put(store, expected=4, now=NOON + timedelta(days=1000))
    stored = store.get("nightly")
    assert stored is not None
    assert [life.until - NOON for life in stored.earlier] == [timedelta(days=1000)]


def test_former_lives_are_at_most_fifty_and_never_fill_the_item(store: ScheduleStore) -> None:
    for number in range(MOST_LIVES + 3):
        put(store, expected=number or None, now=NOON + number * MINUTE)
    stored = store.get("nightly")
    assert stored is not None
    assert len(stored.earlier) == MOST_LIVES
    assert stored.earlier[-1].until == stored.since == NOON + (MOST_LIVES + 2) * MINUTE
    large = {**NIGHTLY, "description": "é" * 30_000}
    for number in range(1, 8):
        put(store, "large", definition=large, expected=number - 1 or None, now=NOON + number * MINUTE)
    stored = store.get("large")
    assert stored is not None
    assert [life.until - NOON for life in stored.earlier] == [number * MINUTE for number in (4, 5, 6, 7)]


def test_a_clock_that_runs_behind_does_not_turn_the_order_of_changes(store: ScheduleStore) -> None:
    put(store)
    second = put(store, expected=1, now=NOON - timedelta(hours=1))
    assert second.at == NOON + timedelta(microseconds=1)
    removal = remove(store, expected=2, now=NOON - timedelta(hours=1))
    again = put(store, now=NOON - timedelta(hours=1))
    assert NOON < second.at < removal.at < again.at
    stored = store.get("nightly")
    assert stored is not None
    assert (stored.since, stored.changed_at) == (again.at, again.at)


def test_a_change_that_a_wrong_clock_has_dated_years_ahead_does_not_date_the_later_ones(store: ScheduleStore) -> None:
    put(store)
    ahead = {**NIGHTLY, "cron": "0 1 * * *"}
    put(store, definition=ahead, expected=1, now=NOON + timedelta(days=2000))
    mended = put(store, expected=2, now=NOON + MINUTE)
    stored = store.get("nightly")
    assert stored is not None
    assert (mended.at, stored.since) == (NOON + MINUTE, NOON + MINUTE)
    assert stored.earlier == (Earlier(NIGHTLY, NOON, NOON + MINUTE),)
    assert [revision.number for revision in store.history("nightly")] == [3, 2, 1]


def test_a_schedule_that_comes_back_goes_on_with_its_numbers_and_has_no_former_life(store: ScheduleStore) -> None:
    put(store)
    removal = remove(store, now=NOON + MINUTE, by="bob@desk", why="not needed")
    assert removal == Revision("nightly", 2, NOON + MINUTE, "bob@desk", "not needed", "cli", NIGHTLY, None)
    assert store.get("nightly") is None
    back = put(store, now=NOON + 2 * MINUTE)
    stored = store.get("nightly")
    assert stored is not None
    assert (back.number, back.before, stored.revision) == (3, None, 3)
    assert (stored.since, stored.earlier) == (NOON + 2 * MINUTE, ())
    assert [revision.number for revision in store.history("nightly")] == [3, 2, 1]
    assert [revision.number for revision in store.history("nightly", limit=2)] == [3, 2]


def test_an_edit_of_what_somebody_else_has_changed_is_refused_and_says_who_did(
    store: ScheduleStore, dynamodb: Any
) -> None:
    put(store)
    put(store, expected=1, now=NOON + MINUTE, by="bob@desk")
    before = items(dynamodb)
    told = (
        "nightly was changed by bob@desk at 2026-12-01T12:01:00Z since you read it (revision 1, now 2). Read it again."
    )
    with pytest.raises(StaleEdit) as stale:
        put(store, expected=1)
    assert (str(stale.value), stale.value.exit_code) == (told, 2)
    with pytest.raises(StaleEdit) as stale:
        remove(store, expected=1)
    assert str(stale.value) == told
    with pytest.raises(StaleEdit, match=r"There is a schedule nightly already \(revision 2, made by bob@desk at 2026"):
        put(store)
    remove(store, expected=2, by="eve@desk", now=NOON + 2 * MINUTE)
    with pytest.raises(StaleEdit, match=r"nightly was removed by eve@desk at .* \(revision 2, now 3\)"):
        put(store, expected=2)
    with pytest.raises(StaleEdit, match="There is no schedule other in the table 'schedules', and never was one"):
        remove(store, "other")
    assert len(items(dynamodb)) == len(before), "the removal took one item and left one"


def test_two_edits_at_once_make_one_change(store: ScheduleStore, dynamodb: Any) -> None:
    """The other edit comes between this one's reading and its writing."""
    put(store)
    other = ScheduleStore(dynamodb, "schedules")

    def beaten(call: Any, **arguments: Any) -> Any:
        put(other, expected=1, by="bob@desk", now=NOON + MINUTE, definition={**NIGHTLY, "zone": "UTC"})
        return call(**arguments)

    client = Meddled(dynamodb, "transact_write_items", beaten)
    with pytest.raises(StaleEdit, match=r"changed by bob@desk .* \(revision 1, now 2\)"):
        put(ScheduleStore(client, "schedules"), expected=1)
    assert client.calls.count("transact_write_items") == 1
    stored = store.get("nightly")
    assert stored is not None
    assert (stored.revision, stored.by, stored.definition["zone"]) == (2, "bob@desk", "UTC")
    assert (store.version(), len(store.history("nightly"))) == (2, 2)


def test_two_that_add_the_same_name_at_once_make_one_schedule(store: ScheduleStore, dynamodb: Any) -> None:
    def beaten(call: Any, **arguments: Any) -> Any:
        put(store, by="bob@desk")
        return call(**arguments)

    with pytest.raises(StaleEdit, match=r"There is a schedule nightly already .*bob@desk"):
        put(ScheduleStore(Meddled(dynamodb, "transact_write_items", beaten), "schedules"))
    assert store.version() == 1


def test_an_addition_that_was_overtaken_by_one_and_its_removal_is_refused(store: ScheduleStore, dynamodb: Any) -> None:
    def beaten(call: Any, **arguments: Any) -> Any:
        put(store, by="bob@desk")
        remove(store, by="bob@desk")
        return call(**arguments)

    with pytest.raises(StaleEdit, match=r"nightly was removed by bob@desk at .* \(none, now 2\)"):
        put(ScheduleStore(Meddled(dynamodb, "transact_write_items", beaten), "schedules"))
    assert (store.get("nightly"), store.version()) == (None, 2)


def lost(url: str = "http://there") -> ReadTimeoutError:
    return ReadTimeoutError(endpoint_url=url)


def cancelled(*codes: str, status: int = 400, code: str = "TransactionCanceledException") -> ClientError:
    answer = {
        "Error": {"Code": code, "Message": "cancelled"},
        "ResponseMetadata": {"HTTPStatusCode": status},
        "CancellationReasons": [{"Code": each} for each in codes],
    }
    return ClientError(answer, "TransactWriteItems")


def test_a_change_whose_answer_was_lost_is_made_once(store: ScheduleStore, dynamodb: Any) -> None:
    tokens = []

    def answer_lost(call: Any, **arguments: Any) -> Any:
        tokens.append(arguments["ClientRequestToken"])
        call(**arguments)
        if len(tokens) == 1:
            raise lost()

    revision = put(ScheduleStore(Meddled(dynamodb, "transact_write_items", answer_lost), "schedules"))
    assert revision.number == 1
    assert store.history("nightly") == [revision]
    assert len(set(tokens)) == 1
    assert store.version() == 1


def test_a_change_that_never_arrived_is_made_by_the_repeat(store: ScheduleStore, dynamodb: Any) -> None:
    tries: list[int] = []

    def first_lost(call: Any, **arguments: Any) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise lost()
        return call(**arguments)

    assert put(ScheduleStore(Meddled(dynamodb, "transact_write_items", first_lost), "schedules")).number == 1
    assert store.version() == 1


def test_where_every_answer_is_lost_it_says_that_it_is_not_clear(store: ScheduleStore, dynamodb: Any) -> None:
    def always_lost(call: Any, **arguments: Any) -> Any:
        raise lost()

    client = Meddled(dynamodb, "transact_write_items", always_lost)
    with pytest.raises(TransientFailure, match="changing the schedule nightly: DynamoDB's answer was lost"):
        put(ScheduleStore(client, "schedules"))
    assert client.calls.count("transact_write_items") == 3


def test_every_answer_lost_and_the_change_made_is_a_change(store: ScheduleStore, dynamodb: Any) -> None:
    def made_and_lost(call: Any, **arguments: Any) -> Any:
        if not store.get("nightly"):
            call(**arguments)
        raise lost()

    revision = put(ScheduleStore(Meddled(dynamodb, "transact_write_items", made_and_lost), "schedules"))
    assert store.history("nightly") == [revision]


def test_another_transaction_in_the_way_is_waited_for(store: ScheduleStore, dynamodb: Any) -> None:
    errors = [cancelled("None", "None", "TransactionConflict"), cancelled(code="TransactionInProgressException")]

    def busy(call: Any, **arguments: Any) -> Any:
        if errors:
            raise errors.pop()
        return call(**arguments)

    assert put(ScheduleStore(Meddled(dynamodb, "transact_write_items", busy), "schedules")).number == 1
    assert errors == []


def test_what_stays_in_the_way_is_told(store: ScheduleStore, dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(call: Any, **arguments: Any) -> Any:
        raise cancelled("None", "None", "TransactionConflict")

    monkeypatch.setattr(Backoff, "pause", lambda self: False)
    with pytest.raises(TransientFailure, match="changing the schedule nightly failed: another writer"):
        put(ScheduleStore(Meddled(dynamodb, "transact_write_items", busy), "schedules"))


def test_what_dynamodb_refuses_is_told(store: ScheduleStore, dynamodb: Any) -> None:
    def refused(call: Any, **arguments: Any) -> Any:
        raise cancelled("None", "ValidationError", "None")

    with pytest.raises(PermanentFailure, match="DynamoDB refused it"):
        put(ScheduleStore(Meddled(dynamodb, "transact_write_items", refused), "schedules"))


def test_where_access_is_denied_the_actions_of_a_policy_are_named(store: ScheduleStore, dynamodb: Any) -> None:
    def denied(call: Any, **arguments: Any) -> Any:
        raise cancelled(code="AccessDeniedException")

    with pytest.raises(PermanentFailure, match="needs dynamodb:PutItem, UpdateItem and DeleteItem on this table"):
        put(ScheduleStore(Meddled(dynamodb, "transact_write_items", denied), "schedules"))


def test_a_store_that_cannot_be_reached_says_so(store: ScheduleStore, dynamodb: Any) -> None:
    def down(call: Any, **arguments: Any) -> Any:
        raise EndpointConnectionError(endpoint_url="http://there")

    for operation, use in (
        ("get_item", lambda store: store.version()),
        ("query", lambda store: store.all()),
        ("transact_write_items", put),
    ):
        with pytest.raises(TransientFailure, match=r"Table 'schedules': .* did not answer"):
            use(ScheduleStore(Meddled(dynamodb, operation, down), "schedules"))


def test_a_missing_table_and_one_with_another_key_are_named(dynamodb: Any) -> None:
    absent = ScheduleStore(dynamodb, "absent")
    assert not absent.exists()
    for use in (absent.version, absent.all, absent.check, lambda: put(absent)):
        with pytest.raises(PermanentFailure, match=r"There is no .*table 'absent'.*report-pipeline init"):
            use()
    dynamodb.create_table(
        TableName="other",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    with pytest.raises(PermanentFailure, match=r"is not a schedules table: its key is id \(HASH, S\)") as refused:
        ScheduleStore(dynamodb, "other").check()
    assert "REPORT_PIPELINE_SCHEDULES_TABLE" in str(refused.value)


def test_a_definition_that_no_item_can_hold_is_refused_and_nothing_is_written(store: ScheduleStore) -> None:
    with pytest.raises(CallerMistake, match=f"nightly cannot be stored: .* at most {LARGEST_DEFINITION} are"):
        put(store, definition={"description": "x" * LARGEST_DEFINITION})
    with pytest.raises(CallerMistake, match="no UTF-8 text"):
        put(store, definition={"description": "\udc80"})
    with pytest.raises(CallerMistake, match=r"The reason .* no UTF-8 text"):
        put(store, why="\udc80")
    assert (store.version(), store.all()[1]) == (0, {})


def test_a_broken_entry_says_what_is_wrong_and_hides_no_other(
    store: ScheduleStore, dynamodb: Any, caplog: pytest.LogCaptureFixture
) -> None:
    put(store, "sound")
    put(store, "no_json")
    put(store, "bare")
    keys = {name: {"pk": {"S": "definition"}, "sk": {"S": name}} for name in ("no_json", "bare", "list")}
    broken = items(dynamodb)["definition", "no_json"] | {"definition": {"S": "{name: x"}, "since": {"S": "yesterday"}}
    dynamodb.put_item(TableName="schedules", Item=broken)
    dynamodb.put_item(TableName="schedules", Item={**keys["bare"], "revision": {"S": "three"}})
    dynamodb.put_item(TableName="schedules", Item={**broken, **keys["list"], "definition": {"S": "[]"}})
    _, found = store.all()
    assert list(found) == ["bare", "list", "no_json", "sound"]
    assert found["sound"].problems == ()
    assert found["no_json"].problems == (
        "Its attribute definition cannot be read ('{name: x').",
        "Its attribute since cannot be read ('yesterday').",
    )
    assert "Its attribute definition cannot be read ('[]')." in found["list"].problems
    assert "Its attribute definition is missing." in found["bare"].problems
    assert "Its attribute revision cannot be read ('three')." in found["bare"].problems
    dynamodb.put_item(TableName="schedules", Item={"pk": {"S": "history#sound"}, "sk": {"S": "0000000002"}})
    assert [revision.number for revision in store.history("sound")] == [1]
    assert "history#sound 0000000002" in caplog.text


@pytest.mark.parametrize("revision", [{}, {"revision": {"S": "three"}}, {"revision": {"N": "7"}}])
def test_a_broken_entry_can_be_replaced_and_removed(
    store: ScheduleStore, dynamodb: Any, revision: dict[str, Any]
) -> None:
    item = {"pk": {"S": "definition"}, "sk": {"S": "nightly"}, **revision}
    dynamodb.put_item(TableName="schedules", Item=item)
    read = store.get("nightly")
    assert read is not None
    mended = put(store, expected=read.revision)
    assert (mended.number, mended.before) == (read.revision + 1, {})
    stored = store.get("nightly")
    assert stored is not None
    assert (stored.definition, stored.problems, stored.earlier) == (NIGHTLY, (), ())
    dynamodb.put_item(TableName="schedules", Item=item)
    assert remove(store, expected=read.revision).after is None
    assert store.all()[1] == {}


def test_all_is_read_again_where_something_changed_meanwhile(store: ScheduleStore, dynamodb: Any) -> None:
    put(store, "a")
    queries: list[int] = []

    def changing(call: Any, **arguments: Any) -> Any:
        answer = call(**arguments)
        if not queries:
            queries.append(1)
            put(store, "b")
        return answer

    client = Meddled(dynamodb, "query", changing)
    version, found = ScheduleStore(client, "schedules").all()
    assert (version, list(found)) == (2, ["a", "b"])
    assert client.calls == ["get_item", "query", "get_item", "query", "get_item"]


def test_all_of_a_table_that_changes_all_the_time_is_never_older_than_it_says(
    store: ScheduleStore, dynamodb: Any
) -> None:
    names: list[str] = []

    def changing(call: Any, **arguments: Any) -> Any:
        answer = call(**arguments)
        names.append(f"s{len(names)}")
        put(store, names[-1])
        return answer

    version, found = ScheduleStore(Meddled(dynamodb, "query", changing), "schedules").all()
    assert len(found) == version == len(names) - 1 < store.version()


def test_many_schedules_are_read_page_after_page(store: ScheduleStore, dynamodb: Any) -> None:
    def short(call: Any, **arguments: Any) -> Any:
        return call(**arguments, Limit=2) if "Limit" not in arguments else call(**arguments)

    for number in range(5):
        put(store, f"s{number}")
    client = Meddled(dynamodb, "query", short)
    assert list(ScheduleStore(client, "schedules").all()[1]) == [f"s{number}" for number in range(5)]
    assert client.calls.count("query") == 3


def timing(definition: Any) -> object:
    if "cron" not in definition:
        raise CallerMistake("no cron")
    return definition["cron"]


def test_schedules_in_yaml_are_recorded_once_and_their_changes_when_they_come(store: ScheduleStore) -> None:
    yaml = {"nightly": NIGHTLY}
    first = record_yaml(store, yaml, timing=timing, loaded_at=NOON)
    assert [(revision.number, revision.source, revision.by) for revision in first.revisions] == [(1, "yaml", "yaml")]
    again = record_yaml(store, yaml, timing=timing, loaded_at=NOON + MINUTE)
    assert (again.revisions, again.clashes, store.version()) == ((), {}, 1)
    described = {"nightly": {**NIGHTLY, "description": "words"}}
    record_yaml(store, described, timing=timing, loaded_at=NOON + 2 * MINUTE)
    stored = store.get("nightly")
    assert stored is not None
    assert (stored.revision, stored.since) == (2, NOON)
    hourly = {"nightly": {**NIGHTLY, "cron": "0 * * * *"}}
    record_yaml(store, hourly, timing=timing, loaded_at=NOON + 3 * MINUTE)
    stored = store.get("nightly")
    assert stored is not None
    assert (stored.since, stored.earlier[0].definition) == (NOON + 3 * MINUTE, described["nightly"])
    (gone,) = record_yaml(store, {}, timing=timing, loaded_at=NOON + 4 * MINUTE).revisions
    assert (gone.after, gone.source, store.get("nightly")) == (None, "yaml", None)


def test_a_definition_in_yaml_that_makes_no_sense_begins_a_life_of_its_own(store: ScheduleStore) -> None:
    record_yaml(store, {"nightly": {"name": "nightly"}}, timing=timing, loaded_at=NOON)
    record_yaml(store, {"nightly": NIGHTLY}, timing=timing, loaded_at=NOON + MINUTE)
    stored = store.get("nightly")
    assert stored is not None
    assert stored.since == NOON + MINUTE


def test_where_a_file_could_not_be_read_nothing_is_taken_for_removed(store: ScheduleStore) -> None:
    record_yaml(store, {"nightly": NIGHTLY}, timing=timing, loaded_at=NOON)
    recorded = record_yaml(store, {}, timing=timing, loaded_at=NOON + MINUTE, complete=False)
    assert recorded.revisions == ()
    assert store.get("nightly") is not None


def test_a_schedule_in_yaml_never_takes_the_place_of_a_stored_one(store: ScheduleStore) -> None:
    put(store)
    before = store.all()
    recorded = record_yaml(store, {"nightly": {**NIGHTLY, "zone": "UTC"}}, timing=timing, loaded_at=NOON)
    assert (recorded.revisions, list(recorded.clashes)) == ((), ["nightly"])
    assert "a stored one has the name already (revision 1, by ann@desk)" in recorded.clashes["nightly"]
    assert store.all() == before


def test_two_processes_that_load_the_same_yaml_record_it_once(store: ScheduleStore, dynamodb: Any) -> None:
    def beaten(call: Any, **arguments: Any) -> Any:
        if store.get("nightly") is None:
            record_yaml(store, {"nightly": NIGHTLY}, timing=timing, loaded_at=NOON)
        return call(**arguments)

    client = Meddled(dynamodb, "transact_write_items", beaten)
    beaten_store = ScheduleStore(client, "schedules")
    assert record_yaml(beaten_store, {"nightly": NIGHTLY}, timing=timing, loaded_at=NOON).revisions == ()
    assert (store.version(), len(store.history("nightly"))) == (1, 1)
