"""The part of `doctor` that looks at the archive, and at how far it is behind the events table."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from report_pipeline.cli.diagnosis import Diagnosis
from report_pipeline.cli.output import say
from report_pipeline.errors import PipelineError
from report_pipeline.events.shards import RESTARTED, on_stream
from report_pipeline.instants import describe_duration, format_instant
from report_pipeline.settings import Settings

if TYPE_CHECKING:
    from report_pipeline.events.archive import Archive, ArchiveState
    from report_pipeline.events.position import Position
    from report_pipeline.events.snapshot import Snapshot
    from report_pipeline.events.stream import TableStream

RECORDS_KEPT = timedelta(hours=24)
"""How long DynamoDB keeps a stream's records."""

ALARMING_AGE = timedelta(hours=12)
"""A watermark older than this is told as a problem: half of the time in which it can still be caught up with."""

NEWEST_SHOWN = 5


def examine_archive(
    settings: Settings,
    client_of: Callable[[str], Any],
    stream: "TableStream | None",
    now: datetime,
    diagnosis: Diagnosis,
) -> None:
    """What the archive holds, how fresh it is, and what does not fit.

    Args:
        settings: where it lies.
        client_of: gives boto3's client of a service, for an archive on S3.
        stream: the events table's, which is asked only what it is; None where the table is not there.
        now: the present instant (UTC).
        diagnosis: is told.

    Raises:
        PipelineError: the archive cannot be read.
    """
    from report_pipeline.events.archive import Archive
    from report_pipeline.events.schema import load_event_schema
    from report_pipeline.events.storage import Storage
    from report_pipeline.yaml_lines import BrokenYaml

    say("Archive")
    facts: dict[str, Any] = {"uri": settings.archive_uri, "loaded": False}
    diagnosis.facts["archive"] = facts
    try:
        schema = load_event_schema(settings.defs)
    except BrokenYaml:
        diagnosis.note("cannot be looked at: the definition of events is broken, see below")
        return
    archive = Archive(Storage.of(settings.archive_uri, client_of=client_of), schema)
    state = archive.state()
    _load_under_way(archive, now, diagnosis, facts)
    if state is None:
        diagnosis.good(
            f"{archive.uri}: nothing is loaded yet for this definition of events; the first build of a report loads"
            " the table, and so does `report-pipeline load`"
        )
        return
    snapshot = archive.snapshot()
    _contents(archive, state, snapshot, diagnosis, facts)
    _freshness(state, _as_followed(state.position, stream, now), now, diagnosis, facts)
    _upkeep(settings, state, diagnosis, facts)
    _put_aside(snapshot, diagnosis, facts)


def _load_under_way(archive: "Archive", now: datetime, diagnosis: Diagnosis, facts: dict[str, Any]) -> None:
    from report_pipeline.events.claims import under_way

    found = under_way(archive, now)
    facts["load_under_way"] = None
    if found is None:
        return
    staging, read = found.staging, found.state.items if found.state else 0
    facts["load_under_way"] = {
        "epoch": staging.epoch,
        "began_at": staging.began_at,
        "seen_at": found.seen_at,
        "items_read": read,
        "left": not found.lives,
    }
    what = f"A load that began at {format_instant(staging.began_at)} and has read {_count(read, 'item')}"
    if found.lives:
        diagnosis.note(f"{what} is under way; readers keep what there is until it is done")
    else:
        diagnosis.problem(
            f"{what} was left {_age(now - found.seen_at)} ago: its process ended.",
            "`report-pipeline load` goes on with it where it was; so does the next build that needs a load.",
        )


def _contents(
    archive: "Archive", state: "ArchiveState", snapshot: "Snapshot", diagnosis: Diagnosis, facts: dict[str, Any]
) -> None:
    held = snapshot.days()
    facts |= {
        "loaded": True,
        "epoch": state.epoch,
        "version": state.version,
        "loaded_at": state.loaded_at,
        "holds_from": state.floor,
        "days": len(held),
        "first": min(held, default=None),
        "last": max(held, default=None),
        "events": sum(day.events for day in held.values()),
        "rejected": sum(day.rejected for day in held.values()),
        "undated": snapshot.undated,
        "too_late": snapshot.too_late,
    }
    what = f"{_count(facts['events'], 'event')} on {_count(len(held), 'day')}"
    if held:
        what += f", {facts['first']} to {facts['last']}"
    diagnosis.good(f"{archive.uri}: {what}; loaded at {format_instant(state.loaded_at)} (epoch {state.epoch})")
    if state.floor is not None:
        diagnosis.note(f"it holds days from {state.floor} on (its retention)")


def _as_followed(position: "Position", stream: "TableStream | None", now: datetime) -> "Position":
    """The position as the next follower would find it, on the stream that the table has now."""
    if stream is None:
        return position
    try:
        return on_stream(position, stream.info(), now)
    except PipelineError:
        return position  # that the table cannot be reached is told where it is looked at


def _freshness(
    state: "ArchiveState", seen: "Position", now: datetime, diagnosis: Diagnosis, facts: dict[str, Any]
) -> None:
    """How fresh the archive is; `seen` is its position as the next follower would find it."""
    position = state.position
    age = max(now - position.watermark, timedelta(0))
    facts |= {
        "watermark": position.watermark,
        "watermark_age_seconds": round(age.total_seconds(), 3),
        "stream": position.stream,
        "era": position.era,
        "behind_records_about": position.behind,
        "noted_at": state.noted_at,
        "gap": None,
        "stale_days": sorted(state.stale_days),
    }
    if facts["stale_days"]:
        diagnosis.note(f"filled since then, and not read yet: {', '.join(map(str, facts['stale_days']))}")
    held = f"it holds every event up to {format_instant(position.watermark)} (the watermark), {_age(age)} ago"
    if position.gap is None and seen.gap is not None and seen.stream is None:
        diagnosis.note(f"{held}; what came later is read by scanning: {seen.gap.why}")
    elif seen.gap is not None:
        gap, known = seen.gap, position.gap is not None
        facts["gap"] = {"since": gap.since, "noticed": gap.noticed if known else None, "why": gap.why}
        noticed = "" if known else " (seen now; the next follower notes it)"
        what = f"The stream has a gap since {format_instant(gap.since)}: {gap.why}{noticed}."
        if gap.why == RESTARTED:
            diagnosis.note(f"{what} The next build of a window that ended later reads the table anew.")
        else:
            diagnosis.problem(
                what,
                "What was written since may be missing, and reports of windows that end later are provisional."
                " `report-pipeline load` reads the table anew and mends it; so does the sensor follow_events.",
            )
    elif position.stream is None:
        diagnosis.note(f"{held}; it was loaded without a stream")
    elif age > ALARMING_AGE:
        diagnosis.problem(
            f"The stream was last followed {_age(age)} ago, and DynamoDB keeps its records for 24 hours.",
            "Follow it before they are gone: `make run` with the sensor follow_events on, or `report-pipeline follow`."
            " After that the table has to be loaded again.",
        )
    else:
        noted = format_instant(state.noted_at)
        behind = (
            f"; about {position.behind:,} records were left to read when that was noted, at {noted}"
            if position.behind
            else ""
        )
        diagnosis.good(f"{held}{behind}")


def _upkeep(settings: Settings, state: "ArchiveState", diagnosis: Diagnosis, facts: dict[str, Any]) -> None:
    from report_pipeline.events.upkeep import due

    appended = sum(day.appended for day in state.days.values())
    days = due(state, settings.upkeep_files)
    facts["upkeep"] = {
        "files": sum(day.files for day in state.days.values()),
        "bytes": sum(day.bytes for day in state.days.values()),
        "appended_files": appended,
        "days_due": days,
    }
    if days:
        diagnosis.note(
            f"{_count(appended, 'appended file')}; the upkeep is due for {_count(len(days), 'day')} (the schedule"
            " archive_upkeep, or `report-pipeline upkeep`)"
        )


def _put_aside(snapshot: "Snapshot", diagnosis: Diagnosis, facts: dict[str, Any]) -> None:
    """Quarantined, undated and too late events: counts, and of the newest the request_id and the reason."""
    if facts["rejected"] or snapshot.undated:
        dated = _count(facts["rejected"], "event")
        diagnosis.note(f"in quarantine: {dated} with a time, {snapshot.undated:,} without a usable one")
    if snapshot.too_late:
        diagnosis.note(f"{_count(snapshot.too_late, 'event')} came later than the archive's retention")
    facts["newest_put_aside"] = []
    for row in snapshot.quarantined(NEWEST_SHOWN):
        facts["newest_put_aside"].append({"request_id": row.request_id, "day": row.day, "reason": row.reason})
        diagnosis.note(f"  {row.request_id or '(no request_id)'}: {row.reason}")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _age(age: timedelta) -> str:
    return describe_duration(timedelta(seconds=max(1, round(age.total_seconds()))))
