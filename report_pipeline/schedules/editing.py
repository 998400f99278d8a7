"""Adding, changing and removing stored schedules: what the command line, the Launchpad and imports share.

Whatever is written is validated whole before, and every change says who made it and why. Schedules that live in
YAML are changed there.
"""

import getpass
import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from report_pipeline.errors import CallerMistake
from report_pipeline.instants import did_you_mean, format_instant
from report_pipeline.schedules.calendar import Fires
from report_pipeline.schedules.contradictions import WHAT, WHEN
from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.schedules.parse import BadSchedule, ValidCron, parse_spec
from report_pipeline.schedules.store import Revision, ScheduleStore, Source, Stored

LONGEST_WHY = 500
LONGEST_BY = 200

# Of no use without the field they go with.
_COMPANIONS = {"every": ("anchor",)}


@dataclass(frozen=True)
class Edited:
    """What became of a change.

    Attributes:
        spec: the schedule as it is now.
        revision: the change; None where nothing was changed.
        notes: what was done beside what was asked for, or why nothing was, in sentences.
    """

    spec: ScheduleSpec
    revision: Revision | None
    notes: tuple[str, ...] = ()


def who() -> str:
    """Who sits at this machine: `user@host`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        # As in a container whose user has no name.
        user = "unknown"
    return f"{user}@{socket.gethostname() or 'unknown'}"


def add(
    store: ScheduleStore,
    fields: Mapping[str, Any],
    *,
    reports: Mapping[str, Any] | None,
    taken: Mapping[str, str],
    by: str,
    why: str,
    source: Source,
    now: datetime,
    is_valid_cron: ValidCron | None = None,
    fires: Fires | None = None,
) -> Revision:
    """Store a new schedule.

    Args:
        store: the schedules table.
        fields: the schedule's fields, its name among them, as in YAML. Those that are None are left out.
        reports: every report by name; None: not checked.
        taken: the names that are used elsewhere, each with the place that defines it: the file of a YAML schedule,
            `the pipeline's own sensors`.
        by: who adds it.
        why: in their words, at most 500 characters; may be empty.
        source: how it is added.
        now: aware.
        is_valid_cron: the scheduler's own opinion of a cron.
        fires: the scheduler's cron engine.

    Raises:
        BadSchedule: it is no schedule; every mistake is in it.
        CallerMistake: its name is taken.
        StaleEdit: somebody has added one of this name at the same time.
        PipelineError: the table is missing, or cannot be reached.
    """
    who_and_why = _who_and_why(by, why)
    given = {name: value for name, value in fields.items() if value is not None}
    spec = parse_spec(given, reports=reports, is_valid_cron=is_valid_cron, fires=fires, now=now)
    if spec.name in taken:
        raise CallerMistake(f"The name {spec.name} is taken: it is defined in {taken[spec.name]}. Choose another name.")
    stored = store.get(spec.name)
    if stored is not None and stored.source == "yaml":
        raise _lives_elsewhere(spec.name, taken)
    return store.put(
        spec.name, spec.to_dict(), source=source, now=now, expected=None, timing_changed=True, **who_and_why
    )


def change(
    store: ScheduleStore,
    name: str,
    fields: Mapping[str, Any],
    clear: Collection[str] = (),
    *,
    reports: Mapping[str, Any] | None,
    taken: Mapping[str, str],
    by: str,
    why: str,
    source: Source,
    now: datetime,
    is_valid_cron: ValidCron | None = None,
    fires: Fires | None = None,
    expected: int | None = None,
) -> Edited:
    """Change fields of a stored schedule.

    A field that says what is reported on, or when it fires, takes the place of the one that said so before.

    Args:
        store: the schedules table.
        name: the schedule's name.
        fields: the fields that are to be others, as in YAML. None takes a field out.
        clear: fields to be taken out.
        expected: the revision that the caller has seen; None: whichever is there.
        reports, taken, by, why, source, now, is_valid_cron, fires: as in `add`.

    Raises:
        BadSchedule: what came of it is no schedule; every mistake is in it.
        CallerMistake: there is no such stored schedule, it lives in YAML, or the fields contradict each other.
        StaleEdit: somebody else has changed it meanwhile.
        PipelineError: the table is missing, or cannot be reached.
    """
    who_and_why = _who_and_why(by, why)
    stored = _stored(store, name, taken)
    if stored.problems:
        raise CallerMistake(
            f"The entry of the schedule {name} cannot be read: {' '.join(stored.problems)} Something else has written"
            " it. Remove the schedule and add it anew."
        )
    merged, notes = _merge(stored, fields, clear)
    spec = parse_spec(merged, reports=reports, is_valid_cron=is_valid_cron, fires=fires, now=now)
    before = _readable(stored.definition)
    if before is not None and before.to_dict() == spec.to_dict() and expected in (None, stored.revision):
        told = f"Nothing is changed: {name} is so already, since revision {stored.revision}."
        return Edited(spec, None, (told,))
    revision = store.put(
        name,
        spec.to_dict(),
        source=source,
        now=now,
        expected=stored.revision if expected is None else expected,
        timing_changed=before is None or before.timing() != spec.timing(),
        **who_and_why,
    )
    return Edited(spec, revision, notes)


def remove(
    store: ScheduleStore,
    name: str,
    *,
    taken: Mapping[str, str],
    by: str,
    why: str,
    source: Source,
    now: datetime,
    expected: int | None = None,
) -> Revision:
    """Remove a stored schedule, also one that is broken; its history stays. Arguments and errors as in `change`."""
    who_and_why = _who_and_why(by, why)
    stored = _stored(store, name, taken)
    expected = stored.revision if expected is None else expected
    return store.remove(name, source=source, now=now, expected=expected, **who_and_why)


def _who_and_why(by: str, why: str) -> dict[str, str]:
    by, why = by.strip(), why.strip()
    if not by:
        raise CallerMistake("It is not said who changes the schedule. Say it with a name or an e-mail address.")
    for text, what, longest in ((by, "The name of who changes the schedule", LONGEST_BY), (why, "Why", LONGEST_WHY)):
        if len(text) > longest:
            raise CallerMistake(f"{what} is {len(text)} characters long. At most {longest} are kept: make it shorter.")
    return {"by": by, "why": why}


def _stored(store: ScheduleStore, name: str, taken: Mapping[str, str]) -> Stored:
    stored = store.get(name)
    if stored is not None and stored.source != "yaml":
        return stored
    if stored is not None or name in taken:
        raise _lives_elsewhere(name, taken)
    newest = next(iter(store.history(name, 1)), None)
    if newest is not None and newest.after is None:
        told = f" It was removed by {newest.by} at {format_instant(newest.at)}."
    else:
        told = did_you_mean(name, {*store.all()[1], *taken})
    raise CallerMistake(f"There is no stored schedule {name!r}.{told} `report-pipeline schedules list` lists them.")


def _lives_elsewhere(name: str, taken: Mapping[str, str]) -> CallerMistake:
    if name in taken:
        return CallerMistake(f"{name} is no stored schedule: it is defined in {taken[name]}. Change it there.")
    return CallerMistake(
        f"{name} was a schedule in YAML when the definitions were loaded last, and is in none of the files now. Reload"
        " the definitions, then try again."
    )


def _readable(definition: Mapping[str, Any]) -> ScheduleSpec | None:
    try:
        return parse_spec(definition)
    except BadSchedule:
        return None


def _merge(stored: Stored, fields: Mapping[str, Any], clear: Collection[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The definition with its changes, and what was taken out of it unasked."""
    known = ScheduleSpec.model_fields
    if fields.get("name", stored.name) != stored.name or "name" in clear:
        raise CallerMistake(
            f"The name of {stored.name} cannot be changed: its history belongs to it. Add a schedule of the new name,"
            " and remove this one."
        )
    for field in clear:
        # One that is in the definition all the same can be taken out.
        if field not in known and field not in stored.definition:
            raise CallerMistake(f"A schedule has no field {field!r}.{did_you_mean(field, known)}")
        if fields.get(field) is not None:
            raise CallerMistake(f"{field} is to be set and to be taken out. Only one of them is possible.")
    out = {*clear, *(field for field, value in fields.items() if value is None)}
    merged = {field: value for field, value in stored.definition.items() if field not in out}
    given = {field: value for field, value in fields.items() if value is not None}
    notes = []
    for field in _displaced(merged, given):
        notes.append(f"{field} is taken out: {_taker(field, given)} takes its place.")
        del merged[field]
    return {**merged, **given}, tuple(notes)


def _displaced(merged: Mapping[str, Any], given: Mapping[str, Any]) -> Iterable[str]:
    for kind in (WHAT, WHEN):
        if not any(_says_something(given.get(field)) for field in kind):
            continue
        for field in kind:
            if field in merged and field not in given:
                yield field
                yield from (each for each in _COMPANIONS.get(field, ()) if each in merged and each not in given)


def _taker(field: str, given: Mapping[str, Any]) -> str:
    kind = WHAT if field in WHAT else WHEN
    return " and ".join(each for each in kind if _says_something(given.get(each)))


def _says_something(value: object) -> bool:
    return value not in (None, False, "", [], ()) and str(value).lower() not in ("false", "no", "off")
