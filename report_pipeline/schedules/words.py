"""A schedule in words."""

from typing import TYPE_CHECKING

from report_pipeline.instants import describe_duration
from report_pipeline.schedules.calendar import describe_cron
from report_pipeline.windows import Window

if TYPE_CHECKING:
    from report_pipeline.schedules.model import ScheduleSpec


def describe(spec: "ScheduleSpec") -> str:
    """When it fires and what it wants: `at 00:30 every day, Asia/Tokyo; the previous day`."""
    if spec.last is not None:
        length = describe_duration(spec.last)
        wanted = f"the last {length.removeprefix('1 ') if length.count(' ') == 1 else length}"
    elif spec.previous is not None:
        wanted = f"the previous {spec.previous}"
    elif spec.between is not None:
        wanted = f"always {Window.between(*spec.between, spec.zone).describe()}"
    elif spec.since_last:
        wanted = "the time since the fire before"
    else:
        wanted = f"the newest window of {spec.cadence}"
    when = " and ".join(describe_cron(cron) for cron in spec.cron) or "at times of its own"
    return f"{when}, {spec.zone}; {wanted}"
