"""Whether Dagster ticks, or only shows what a tick would do: it tells nobody."""

import dagster as dg

NO_PREVIEW = (
    "What it asks for depends on what has come in when it ticks, and to look would take that. There is no preview."
)


def is_preview(context: dg.ScheduleEvaluationContext | dg.SensorEvaluationContext) -> bool:
    """Whether the UI only wants to show what a tick would do: only a tick of the daemon has a number to log under."""
    key = context.log_key
    return not key or not key[-1].isdigit()
