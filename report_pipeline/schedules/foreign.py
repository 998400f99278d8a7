"""Fields of other schedulers, and which of ours says the same."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Hint:
    """What to write instead, and the fields that it is about."""

    text: str
    fields: tuple[str, ...]


_CRON = Hint('Write cron: "30 0 * * *", or one of every, rrule, at, solar and on_events.', ("cron",))
_EVERY = Hint("Write every, such as every: 5m.", ("every",))
_ZONE = Hint("Write zone, such as zone: Asia/Tokyo.", ("zone",))
_START = Hint("Write start, such as start: 2026-12-01T00:00+09:00.", ("start",))
_END = Hint("Write end, such as end: 2026-12-31T00:00+09:00.", ("end",))
_LOOK_BACK = Hint("Write look_back, such as look_back: 6h.", ("look_back",))
_GRACE = Hint("Write grace, with misfire: last or none.", ("grace",))
_REPORT = Hint("Write report, the name of the report to build.", ("report",))
_ONCE = Hint("Write once: true.", ("once",))
_MISFIRE = Hint("Write misfire: all, last or none.", ("misfire",))
_OVERLAP = Hint("Write overlap: allow, skip, queue_one, queue_all or cancel_running.", ("overlap",))
_WINDOW = Hint(
    "Write the window as a field of its own: last: 15m, previous: day, between: […, …], cadence or since_last.",
    ("cadence", "last", "previous", "between", "since_last"),
)
_AT = Hint("Write at, such as at: 2026-12-01T09:00+09:00.", ("at",))
_RETRIES = Hint("Write retries, a number.", ("retries",))
_RETRY_DELAY = Hint("Write retry_delay, such as retry_delay: 1m.", ("retry_delay",))
_ENABLED = Hint("Write enabled: true or false.", ("enabled",))
_EXCLUDE = Hint("Write exclude, such as exclude: [sat, sun, 2026-12-25].", ("exclude",))
_SETTLE = Hint("Write settle, such as settle: 10m, to read the window so long after the fire.", ("settle",))
_QUEUE = Hint("Write priority, or tags, which the run queue's limits can name.", ("priority", "tags"))

FOREIGN = {
    **dict.fromkeys(("crontab", "schedule", "cron_schedule", "timetable", "trigger", "cron_expression"), _CRON),
    **dict.fromkeys(("interval", "interval_schedule", "frequency", "period", "minutes", "seconds", "hours"), _EVERY),
    **dict.fromkeys(("timezone", "tz", "time_zone", "execution_timezone", "timezones"), _ZONE),
    **dict.fromkeys(("start_date", "start_time", "start_at", "not_before"), _START),
    **dict.fromkeys(("end_date", "end_time", "end_at", "expires", "until", "not_after"), _END),
    **dict.fromkeys(("max_age", "lookback", "catchup_window", "expire_seconds"), _LOOK_BACK),
    **dict.fromkeys(("misfire_grace_time", "starting_deadline_seconds", "deadline"), _GRACE),
    **dict.fromkeys(("job", "jobs", "job_name", "task", "asset", "assets", "target", "flow"), _REPORT),
    **dict.fromkeys(("one_off", "oneoff", "run_once"), _ONCE),
    **dict.fromkeys(("catchup", "coalesce", "backfill", "recover_missed_schedules"), _MISFIRE),
    **dict.fromkeys(
        ("concurrency_policy", "concurrency", "max_instances", "max_active_runs", "overlap_policy"), _OVERLAP
    ),
    **dict.fromkeys(("args", "kwargs", "arguments", "inputs", "parameters", "window", "partition", "config"), _WINDOW),
    **dict.fromkeys(("clocked", "clocked_time", "run_at", "date", "run_date"), _AT),
    **dict.fromkeys(("max_retries", "retry", "attempts"), _RETRIES),
    **dict.fromkeys(("retry_interval", "retry_backoff", "default_retry_delay"), _RETRY_DELAY),
    **dict.fromkeys(("active", "is_active", "paused", "is_paused", "disabled", "default_status", "status"), _ENABLED),
    **dict.fromkeys(("holidays", "exclusions", "except", "exclude_dates", "exdate", "weekdays"), _EXCLUDE),
    **dict.fromkeys(("delay", "offset", "lag", "wait"), _SETTLE),
    **dict.fromkeys(("queue", "pool", "routing_key"), _QUEUE),
}
