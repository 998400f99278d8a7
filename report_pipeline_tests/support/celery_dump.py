"""A real dump of django-celery-beat: Django migrates a database, fills it through its models, and writes `dumpdata`.

It runs in a process of its own, because Django has one configuration for a process:
`python celery_dump.py FOLDER aware|naive`. Beside the dump it writes what Celery's own schedules say of their fires.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

NOW = datetime(2026, 12, 1, tzinfo=UTC)
"""When the dump is taken: the fires that Celery tells of come after it."""

COUNT = 6
LAST_MINUTES = "reports.tasks.build_reports_last_minutes"
FROM_22_TO_25 = "reports.tasks.build_reports_from_22_to_25"
SECONDS = 60


@dataclass(frozen=True)
class Dump:
    """A dump, and by the name of each of its tasks the first COUNT fires after NOW, as Celery counts them.

    They are in UTC and cut to whole seconds.
    """

    file: Path
    fires: dict[str, list[datetime]]


def make_dump(folder: Path, *, aware: bool = True) -> Dump:
    """Make a dump in this folder; `aware` is Django's USE_TZ, which writes instants with offsets."""
    folder.mkdir(parents=True, exist_ok=True)
    child = subprocess.run(
        [sys.executable, __file__, str(folder), "aware" if aware else "naive"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    told = json.loads((folder / "fires.json").read_text())
    return Dump(
        folder / "dump.json",
        {name: [datetime.fromisoformat(fire) for fire in fires] for name, fires in told.items()},
    )


def _main(folder: Path, aware: bool) -> None:
    import django
    from django.conf import settings

    settings.configure(
        INSTALLED_APPS=["django.contrib.contenttypes", "django_celery_beat"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "db.sqlite3")}},
        USE_TZ=aware,
        TIME_ZONE="UTC",
        DJANGO_CELERY_BEAT_TZ_AWARE=aware,
    )
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    told = _fill_aware() if aware else _fill_naive()
    # The other app's rows stand for what a dump of a whole project has besides.
    call_command("dumpdata", "django_celery_beat", "contenttypes", indent=1, output=str(folder / "dump.json"))
    fires = {name: [fire.isoformat() for fire in instants] for name, instants in told.items()}
    (folder / "fires.json").write_text(json.dumps(fires))


def _fill_aware() -> dict[str, list[datetime]]:
    from django_celery_beat.models import (
        ClockedSchedule,
        CrontabSchedule,
        IntervalSchedule,
        PeriodicTask,
        SolarSchedule,
    )

    def interval(every: int, period: str) -> Any:
        return IntervalSchedule.objects.create(every=every, period=period)

    def crontab(text: str, zone: str = "UTC") -> Any:
        minute, hour, day, month, weekday = text.split()
        found = CrontabSchedule(
            minute=minute, hour=hour, day_of_month=day, month_of_year=month, day_of_week=weekday, timezone=zone
        )
        found.full_clean()
        found.save()
        return found

    def clocked(at: datetime) -> Any:
        return ClockedSchedule.objects.create(clocked_time=at)

    def task(name: str, task: str = LAST_MINUTES, args: str = "[15]", **fields: Any) -> None:
        PeriodicTask.objects.create(name=name, task=task, args=args, **fields)

    def ran(name: str, at: datetime, times: int = 7) -> None:
        PeriodicTask.objects.filter(name=name).update(last_run_at=at, total_run_count=times)

    often = interval(5, "minutes")
    hourly = crontab("0 * * * *")
    tokyo_night = crontab("30 0 * * *", "Asia/Tokyo")

    task("Last quarter", interval=often, description="For the wall display.\n")
    task("From start", interval=interval(2, "days"), start_time=NOW + timedelta(hours=9, milliseconds=500))
    task("Never ran", interval=interval(90, "seconds"), args="[1.5]")
    task("Ten seconds", interval=interval(10_000_000, "microseconds"), args="[1]")
    task("Too short", interval=interval(250, "microseconds"))

    task("Every quarter (UTC)", args="[]", kwargs='{"minutes": 15}', crontab=crontab("*/15 * * * *"))
    task("Tokyo – 3 days in June", FROM_22_TO_25, "[]", crontab=tokyo_night, enabled=False)
    task("New York mornings", crontab=crontab("0 9 * * mon-fri", "America/New_York"), args="[60]")
    task("First Monday", crontab=crontab("0 9 1-7 * mon", "Europe/London"), args="[1440]")
    task("Even days that are weekdays", crontab=crontab("*/30 6-8 */2 jan-jun 1-5"), args="[30]")
    task("Sundays", crontab=crontab("0 1 * * 7"), args="[60]")
    task("Tabulated", crontab=crontab("0,30 8-18/2 1,15 */3 *", "Asia/Tokyo"), args="[120]")

    tokyo = SolarSchedule.objects.create(event="sunset", latitude="35.676200", longitude="139.650300")
    task("Tokyo sunset", solar=tokyo, args="[60]")
    north = SolarSchedule.objects.create(event="dawn_nautical", latitude="69.649200", longitude="18.955300")
    task("Tromsø", solar=north, args="[60]")

    task("New Year", clocked=clocked(datetime(2027, 1, 1, tzinfo=UTC)), one_off=True, args="[525600]")
    task("Long ago", clocked=clocked(datetime(2020, 1, 1, tzinfo=UTC)), one_off=True, enabled=False)

    task("Once", crontab=hourly, one_off=True, args="[60]")
    task("Once, has run", crontab=hourly, one_off=True, args="[60]")
    task(
        "Season",
        crontab=hourly,
        start_time=NOW + timedelta(days=10),
        expires=NOW + timedelta(days=20),
        args="[60]",
    )
    task("Over", crontab=hourly, expires=NOW - timedelta(days=1), args="[60]")
    task(
        "Routed",
        crontab=hourly,
        args="[60]",
        queue="reports",
        exchange="beat",
        routing_key="reports.hourly",
        headers='{"trace": "on"}',
        priority=5,
        expire_seconds=1800,
    )
    task("Season!", crontab=hourly, args="[60]")

    task("Clean up", "celery.backend_cleanup", "[]", crontab=crontab("0 4 * * *"), expire_seconds=43200)
    task("Newsletter", "shop.tasks.send_newsletter", '["all"]', crontab=tokyo_night)
    task("No minutes", args="[]", crontab=hourly)
    task("Broken arguments", args="[15", crontab=hourly)
    task("Ends before", crontab=hourly, start_time=NOW + timedelta(days=2), expires=NOW + timedelta(days=1))
    crontab("0 0 29 2 *")

    PeriodicTask.objects.update(date_changed=datetime(2026, 11, 20, 10, 0, 0, 123_000, tzinfo=UTC))
    ran("Last quarter", datetime(2026, 11, 30, 23, 58, 31, 250_000, tzinfo=UTC))
    ran("Ten seconds", datetime(2026, 11, 30, 23, 59, 57, tzinfo=UTC))
    ran("Once, has run", datetime(2026, 11, 30, tzinfo=UTC), 1)
    return {
        task.name: _fires(task.schedule, task.last_run_at or task.date_changed)
        for task in PeriodicTask.objects.exclude(name__in=["Sundays", "Too short"])
    }


def _fill_naive() -> dict[str, list[datetime]]:
    from django_celery_beat.models import ClockedSchedule, CrontabSchedule, PeriodicTask

    at = ClockedSchedule.objects.create(clocked_time=datetime(2027, 1, 1))  # noqa: DTZ001 # naive is meant
    start = datetime(2026, 12, 24, 18)  # noqa: DTZ001 # naive is meant
    PeriodicTask.objects.create(name="New Year", task=LAST_MINUTES, args="[60]", clocked=at, one_off=True)
    nightly = CrontabSchedule.objects.create(minute="0", hour="2", timezone="Asia/Tokyo")
    PeriodicTask.objects.create(name="Nightly", task=LAST_MINUTES, args="[60]", crontab=nightly, start_time=start)
    return {}


def _fires(schedule: Any, last: datetime) -> list[datetime]:
    """The schedule's next fires after NOW, each counted by Celery from the one before it."""
    if hasattr(schedule, "clocked_time"):
        return [schedule.clocked_time]
    found: list[datetime] = []
    # What is not counted on from its last run is asked for at once.
    at = last if hasattr(schedule, "run_every") else NOW
    while len(found) < COUNT:
        schedule.nowfun = lambda now=at: now
        at += schedule.remaining_estimate(at)
        fire = at.astimezone(UTC).replace(microsecond=0)
        if fire > NOW:
            found.append(fire)
    return found


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2] == "aware")
