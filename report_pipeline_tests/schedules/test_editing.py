"""Adding, changing and removing stored schedules: the same rules and the same trail, whoever edits."""

import getpass
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from report_pipeline.dagster.fires import dagster_fires
from report_pipeline.errors import CallerMistake
from report_pipeline.schedules import editing
from report_pipeline.schedules.editing import Edited
from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.schedules.parse import BadSchedule
from report_pipeline.schedules.recording import record_yaml
from report_pipeline.schedules.store import Revision, ScheduleStore, StaleEdit, Stored
from report_pipeline.schedules.texts import LISTS, MAPPINGS, from_texts
from report_pipeline.windows import Cadence

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)
NIGHTLY = {"name": "nightly", "report": "visitor_report", "cron": "30 0 * * *", "previous": "day"}
TAKEN = {"shipped": "report_pipeline/defs/visitor_report/defs.yaml", "follow_events": "the pipeline's own sensors"}


class Report:
    name = "visitor_report"

    def all_cadences(self) -> list[Cadence]:
        return []


@pytest.fixture
def store(dynamodb: Any) -> ScheduleStore:
    store = ScheduleStore(dynamodb, "schedules")
    store.create()
    return store


def given(**more: Any) -> dict[str, Any]:
    return {
        "reports": {"visitor_report": Report()},
        "taken": TAKEN,
        "by": "ann@desk",
        "why": "",
        "source": "cli",
        "now": NOON,
        **more,
    }


def add(store: ScheduleStore, fields: dict[str, Any], **more: Any) -> Revision:
    return editing.add(store, fields, **given(**more))


def change(store: ScheduleStore, fields: dict[str, Any], clear: tuple[str, ...] = (), **more: Any) -> Edited:
    name = more.pop("name", "nightly")
    return editing.change(store, name, fields, clear, **given(now=LATER, **more))


def remove(store: ScheduleStore, name: str = "nightly", **more: Any) -> Revision:
    arguments = given(**more)
    del arguments["reports"]
    return editing.remove(store, name, **arguments)


def stored(store: ScheduleStore, name: str = "nightly") -> Stored:
    found = store.get(name)
    assert found is not None
    return found


def test_what_is_added_is_stored_as_a_person_would_write_it(store: ScheduleStore) -> None:
    fields = {**NIGHTLY, "cron": ["30 0 * * *"], "enabled": None, "retries": 3, "settle": "600s"}
    revision = add(store, fields, why="  for the morning ", source="launchpad")
    assert revision.after == {**NIGHTLY, "settle": "10m"}
    assert (revision.number, revision.by, revision.why, revision.source) == (
        1,
        "ann@desk",
        "for the morning",
        "launchpad",
    )
    assert stored(store).definition == revision.after


def test_every_mistake_is_told_and_nothing_is_written(store: ScheduleStore) -> None:
    wrong = {**NIGHTLY, "cron": "30 0 * *", "zone": "Asia/Tokio", "report": "visitr_report"}
    with pytest.raises(BadSchedule) as bad:
        add(store, wrong)
    assert {problem.loc[0] for problem in bad.value.problems} == {"cron", "zone", "report"}
    assert 'Did you mean "visitor_report"?' in str(bad.value)
    add(store, NIGHTLY)
    with pytest.raises(BadSchedule, match="Asia/Tokio"):
        change(store, {"zone": "Asia/Tokio"})
    with pytest.raises(BadSchedule, match="zoen"):
        change(store, {"zoen": "Asia/Tokyo"})
    assert store.version() == 1


def test_the_schedulers_own_opinion_of_a_cron_counts(store: ScheduleStore) -> None:
    with pytest.raises(BadSchedule, match="scheduler does not accept"):
        add(store, NIGHTLY, is_valid_cron=lambda cron: False)


@pytest.mark.parametrize(
    ("name", "place"), [("shipped", "defs/visitor_report/defs.yaml"), ("follow_events", "own sensors")]
)
def test_a_name_that_is_used_elsewhere_is_refused_and_the_place_is_named(
    store: ScheduleStore, name: str, place: str
) -> None:
    with pytest.raises(CallerMistake, match=f"The name {name} is taken: it is defined in .*{place}"):
        add(store, {**NIGHTLY, "name": name})
    for edit in (lambda: change(store, {"zone": "Asia/Tokyo"}, name=name), lambda: remove(store, name)):
        with pytest.raises(CallerMistake, match=f"it is defined in .*{place}. Change it there"):
            edit()
    assert store.version() == 0


def test_a_schedule_that_was_recorded_from_yaml_is_changed_there(store: ScheduleStore) -> None:
    names = ("shipped", "nightly")
    definitions = {name: {**NIGHTLY, "name": name} for name in names}
    record_yaml(store, definitions, timing=lambda definition: 0, loaded_at=NOON)
    for edit in (lambda: change(store, {}, name="shipped"), lambda: remove(store, "shipped")):
        with pytest.raises(CallerMistake, match=re.escape("shipped is no stored schedule: it is defined in report_")):
            edit()
    for edit in (lambda: add(store, NIGHTLY), lambda: change(store, {}), lambda: remove(store)):
        with pytest.raises(CallerMistake, match=r"was a schedule in YAML .* Reload the definitions"):
            edit()
    assert store.version() == 2


def test_a_stored_schedule_whose_name_has_come_into_yaml_can_be_changed_and_removed(store: ScheduleStore) -> None:
    add(store, NIGHTLY)
    clash = {"nightly": "defs/late.yaml"}
    assert change(store, {"zone": "Asia/Tokyo"}, taken=clash).revision is not None
    assert remove(store, taken=clash).number == 3


def test_a_name_that_a_stored_schedule_has_is_refused(store: ScheduleStore) -> None:
    add(store, NIGHTLY)
    with pytest.raises(StaleEdit, match=r"There is a schedule nightly already \(revision 1, made by ann@desk"):
        add(store, NIGHTLY, by="bob@desk")


def test_a_changed_field_leaves_the_others_and_says_nothing_more(store: ScheduleStore) -> None:
    add(store, {**NIGHTLY, "tags": {"team": "web"}})
    edited = change(store, {"zone": "Asia/Tokyo"}, why="they moved", by="bob@desk")
    assert edited.revision is not None
    assert edited.revision.after == {**NIGHTLY, "tags": {"team": "web"}, "zone": "Asia/Tokyo"}
    assert (edited.revision.before, edited.notes, edited.spec.zone) == (
        {**NIGHTLY, "tags": {"team": "web"}},
        (),
        "Asia/Tokyo",
    )
    assert (stored(store).since, stored(store).by) == (LATER, "bob@desk")
    assert [life.definition["tags"] for life in stored(store).earlier] == [{"team": "web"}]


@pytest.mark.parametrize(
    "fields", [{"description": "words"}, {"retries": 5}, {"misfire": "last"}, {"tags": {"a": "b"}}]
)
def test_a_change_that_moves_no_fire_is_no_cut(store: ScheduleStore, fields: dict[str, Any]) -> None:
    add(store, NIGHTLY)
    assert change(store, fields).revision is not None
    assert (stored(store).since, stored(store).changed_at, stored(store).earlier) == (NOON, LATER, ())


@pytest.mark.parametrize(
    ("before", "fields", "after", "notes"),
    [
        (
            {"cron": "30 0 * * *"},
            {"every": "5m"},
            {"every": "5m"},
            ("cron is taken out: every takes its place.",),
        ),
        (
            {"every": "5m", "anchor": "2026-01-01T00:01:00Z"},
            {"at": ["2026-12-24T00:00:00Z"]},
            {"at": "2026-12-24T00:00:00Z"},
            ("every is taken out: at takes its place.", "anchor is taken out: at takes its place."),
        ),
        (
            {"every": "5m", "anchor": "2026-01-01T00:01:00Z"},
            {"every": "10m"},
            {"every": "10m", "anchor": "2026-01-01T00:01:00Z"},
            (),
        ),
        ({"previous": "day"}, {"last": "15m"}, {"last": "15m"}, ("previous is taken out: last takes its place.",)),
        (
            {"previous": "day", "cron": "0 0 * * *"},
            {"since_last": True, "every": "1h"},
            {"since_last": True, "every": "1h"},
            ("previous is taken out: since_last takes its place.", "cron is taken out: every takes its place."),
        ),
        ({"since_last": True}, {"last": "15m", "since_last": "false"}, {"last": "15m"}, ()),
        ({"last": "15m"}, {"since_last": "false", "zone": "Asia/Tokyo"}, {"last": "15m", "zone": "Asia/Tokyo"}, ()),
    ],
)
def test_what_says_the_same_takes_the_place_of_what_said_it_before(
    store: ScheduleStore,
    before: dict[str, Any],
    fields: dict[str, Any],
    after: dict[str, Any],
    notes: tuple[str, ...],
) -> None:
    common = {"name": "nightly", "report": "visitor_report"}
    if not {"cron", "every", "at"} & set(before):
        before, after = {**before, "cron": "0 0 * * *"}, {**after, "cron": "0 0 * * *"}
        after = {name: value for name, value in after.items() if name != "cron" or "every" not in after}
    if not {"previous", "last", "since_last"} & set(before):
        before, after = {**before, "previous": "day"}, {**after, "previous": "day"}
    add(store, {**common, **before})
    edited = change(store, fields)
    assert edited.revision is not None
    assert (edited.revision.after, edited.notes) == ({**common, **after}, notes)


def test_two_fields_that_say_the_same_at_once_are_refused(store: ScheduleStore) -> None:
    add(store, NIGHTLY)
    with pytest.raises(BadSchedule, match="expected exactly one of cron, every"):
        change(store, {"every": "5m", "at": ["2026-12-24T00:00:00Z"]})


def test_fields_are_taken_out_by_name_or_by_nothing_in_their_place(store: ScheduleStore) -> None:
    add(store, {**NIGHTLY, "zone": "Asia/Tokyo", "description": "words", "retries": 5})
    edited = change(store, {"description": None}, ("zone",))
    assert edited.revision is not None
    assert edited.revision.after == {**NIGHTLY, "retries": 5}
    with pytest.raises(BadSchedule, match="expected exactly one of cron"):
        change(store, {}, ("cron",))
    with pytest.raises(CallerMistake, match=r"A schedule has no field 'zoen'\. Did you mean \"zone\""):
        change(store, {}, ("zoen",))
    with pytest.raises(CallerMistake, match="zone is to be set and to be taken out"):
        change(store, {"zone": "UTC"}, ("zone",))


@pytest.mark.parametrize(("fields", "clear"), [({"name": "other"}, ()), ({}, ("name",))])
def test_a_name_is_not_changed(store: ScheduleStore, fields: dict[str, Any], clear: tuple[str, ...]) -> None:
    add(store, NIGHTLY)
    with pytest.raises(CallerMistake, match="The name of nightly cannot be changed"):
        change(store, fields, clear)
    assert change(store, {"name": "nightly", "zone": "Asia/Tokyo"}).revision is not None


@pytest.mark.parametrize(
    ("fields", "clear"), [({}, ()), ({"cron": ["30 0 * * *"]}, ()), ({"zone": "UTC"}, ()), ({}, ("description",))]
)
def test_a_change_that_changes_nothing_makes_no_revision_and_says_so(
    store: ScheduleStore, fields: dict[str, Any], clear: tuple[str, ...]
) -> None:
    add(store, NIGHTLY)
    edited = change(store, fields, clear)
    assert edited.revision is None
    assert edited.notes == ("Nothing is changed: nightly is so already, since revision 1.",)
    assert store.version() == 1


def test_an_edit_of_a_revision_that_is_no_longer_the_newest_is_refused(store: ScheduleStore) -> None:
    add(store, NIGHTLY)
    change(store, {"zone": "Asia/Tokyo"}, by="bob@desk", expected=1)
    told = re.escape("nightly was changed by bob@desk at 2026-12-01T12:01:00Z since you read it (revision 1, now 2)")
    for edit in (
        lambda: change(store, {"zone": "UTC"}, expected=1),
        lambda: change(store, {"zone": "Asia/Tokyo"}, expected=1),
        lambda: remove(store, expected=1),
    ):
        with pytest.raises(StaleEdit, match=told):
            edit()


def test_an_unknown_name_is_told_with_the_nearest_one_or_with_its_removal(store: ScheduleStore) -> None:
    add(store, NIGHTLY)
    for edit in (lambda: change(store, {}, name="nightli"), lambda: remove(store, "nightli")):
        with pytest.raises(CallerMistake, match=r"There is no stored schedule 'nightli'\. Did you mean \"nightly\""):
            edit()
    remove(store, by="bob@desk", now=LATER)
    with pytest.raises(CallerMistake, match=r"'nightly'\. It was removed by bob@desk at 2026-12-01T12:01:00Z"):
        change(store, {})


def test_a_definition_that_today_makes_no_sense_is_mended_by_a_change(store: ScheduleStore) -> None:
    store.put(
        "nightly",
        {**NIGHTLY, "cron": "every day", "zoen": "x"},
        source="cli",
        by="ann@desk",
        why="",
        now=NOON,
        expected=None,
        timing_changed=True,
    )
    with pytest.raises(BadSchedule, match="cron"):
        change(store, {"zone": "Asia/Tokyo"})
    assert change(store, {"cron": "0 1 * * *"}, ("zoen",)).revision is not None
    assert (stored(store).definition, stored(store).since) == ({**NIGHTLY, "cron": "0 1 * * *"}, LATER)


def test_an_entry_that_cannot_be_read_is_removed_and_not_changed(store: ScheduleStore, dynamodb: Any) -> None:
    item = {"pk": {"S": "definition"}, "sk": {"S": "nightly"}, "definition": {"S": "{"}, "source": {"S": "cli"}}
    dynamodb.put_item(TableName="schedules", Item=item)
    with pytest.raises(CallerMistake, match=r"cannot be read: Its attribute definition .* Remove the schedule"):
        change(store, {"zone": "Asia/Tokyo"})
    assert remove(store).after is None
    assert add(store, NIGHTLY).number == 2


def test_who_and_why_have_their_bounds(store: ScheduleStore) -> None:
    with pytest.raises(CallerMistake, match=r"Why is 501 characters long\. At most 500 are kept"):
        add(store, NIGHTLY, why="x" * 501)
    with pytest.raises(CallerMistake, match="not said who changes"):
        add(store, NIGHTLY, by=" ")
    assert add(store, NIGHTLY, why="x" * 500).why == "x" * 500


def test_who_names_user_and_machine_also_where_the_user_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "desk")
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    assert editing.who() == "ann@desk"

    def nameless() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert editing.who() == "unknown@desk"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("cron", "*/5 * * * *", "*/5 * * * *"),
        ("cron", "0,30 * * * *", "0,30 * * * *"),
        ("cron", "@daily", "@daily"),
        ("cron", '["0 1 * * *", "*/5 5 * * *"]', ["0 1 * * *", "*/5 5 * * *"]),
        ("cron", "'0 1 * * *'", "0 1 * * *"),
        ("every", "5m", "5m"),
        ("every", "1:30", "1:30"),
        ("rrule", "FREQ=MONTHLY;BYDAY=-1FR", "FREQ=MONTHLY;BYDAY=-1FR"),
        ("at", "2026-12-24T00:00+09:00", "2026-12-24T00:00+09:00"),
        ("at", "2026-12-24T00:00Z, 2026-12-25T00:00Z", ["2026-12-24T00:00Z", "2026-12-25T00:00Z"]),
        ("at", "[2026-12-24T00:00Z, 2026-12-25T00:00Z]", ["2026-12-24T00:00Z", "2026-12-25T00:00Z"]),
        ("between", "[2026-12-24T00:00Z, 2026-12-25T00:00Z]", ["2026-12-24T00:00Z", "2026-12-25T00:00Z"]),
        ("exclude", "sat,sun, 2026-12-25", ["sat", "sun", "2026-12-25"]),
        ("exclude", "2026-12-24/2027-01-01", "2026-12-24/2027-01-01"),
        ("tags", "{team: web, cost: 3}", {"team": "web", "cost": "3"}),
        ("tags", "team: web", {"team": "web"}),
        ("tags", "team: web, cost: 3", {"team": "web", "cost": "3"}),
        (
            "solar",
            "{event: sunset, latitude: 35.68, longitude: 139.69}",
            {"event": "sunset", "latitude": "35.68", "longitude": "139.69"},
        ),
        ("enabled", "true", True),
        ("once", "Yes", True),
        ("since_last", "off", False),
        ("since_last", "perhaps", "perhaps"),
        ("retries", "3", 3),
        ("priority", "-5", -5),
        ("retries", "three", "three"),
        ("description", "[draft] yes: 3", "[draft] yes: 3"),
        ("description", "true", "true"),
        ("description", "a 'quoted' word", "a 'quoted' word"),
        ("description", "'a' and 'b'", "'a' and 'b'"),
        ("owner", "team:web", "team:web"),
        ("zone", "", None),
        ("zone", "null", None),
        ("zone", " Asia/Tokyo ", "Asia/Tokyo"),
        ("unknown", "[1]", "[1]"),
    ],
)
def test_a_text_means_what_it_would_mean_in_yaml(name: str, text: str, value: object) -> None:
    assert from_texts({name: text}) == {name: value}


@pytest.mark.parametrize(
    ("name", "text"), [("cron", "[*/5 * * * *]"), ("cron", '["0 1 * * *"'), ("tags", "{a: b"), ("tags", "a: b: c")]
)
def test_a_list_or_mapping_that_is_none_is_named_with_an_example(name: str, text: str) -> None:
    with pytest.raises(CallerMistake, match=rf"{name}: .*{re.escape(text)}.* cannot be read as .* such as [\[{{]"):
        from_texts({name: text})


def test_texts_make_a_whole_schedule(store: ScheduleStore) -> None:
    texts = {
        "name": "sunsets",
        "report": "visitor_report",
        "solar": "{event: sunset, latitude: 35.68, longitude: 139.69}",
        "since_last": "true",
        "exclude": "sat, sun",
        "tags": "team: web",
        "retries": "5",
        "zone": "Asia/Tokyo",
    }
    revision = add(store, from_texts(texts))
    assert revision.after == {
        "name": "sunsets",
        "report": "visitor_report",
        "zone": "Asia/Tokyo",
        "since_last": True,
        "solar": {"event": "sunset", "latitude": 35.68, "longitude": 139.69},
        "exclude": ["sat", "sun"],
        "retries": 5,
        "tags": {"team": "web"},
    }


def test_every_field_with_several_values_is_known_to_be_one() -> None:
    kinds = {name: str(info.annotation) for name, info in ScheduleSpec.model_fields.items()}
    several = {name for name, kind in kinds.items() if "tuple" in kind.lower()}
    named = {name for name, kind in kinds.items() if "dict" in kind or "Solar" in kind}
    assert (several, named) == (set(LISTS), set(MAPPINGS))


def test_a_schedule_that_can_never_fire_is_refused_where_the_engine_is_given(store: ScheduleStore) -> None:
    never = {**NIGHTLY, "cron": "0 0 30 2 *"}
    with pytest.raises(BadSchedule, match="cron"):
        add(store, never, fires=dagster_fires)
    assert add(store, NIGHTLY, fires=dagster_fires).number == 1
