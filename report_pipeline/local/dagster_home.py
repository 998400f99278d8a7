"""Dagster's instance under the home: its folder, and a dagster.yaml where there is none."""

import os

from report_pipeline.errors import PermanentFailure
from report_pipeline.settings import Settings

DAGSTER_YAML = """\
# Dagster's instance for one machine. Written where there was none; change it as you like.
# What it may say: https://docs.dagster.io/deployment/oss/oss-instance-configuration

telemetry:
  enabled: false

nux:
  enabled: false

# At most so many runs at once, the rest waits in the queue, which is looked at every second.
run_coordinator:
  module: dagster.core.run_coordinator
  class: QueuedRunCoordinator
  config:
    max_concurrent_runs: 4
    dequeue_interval_seconds: 1

# A run whose process died is run again; one whose report failed says why and is not.
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false

# Ends runs that never began, or that hang; after six hours schedules take a run for dead as well.
run_monitoring:
  enabled: true
  start_timeout_seconds: 300
  max_runtime_seconds: 21600
  poll_interval_seconds: 30

schedules:
  use_threads: true
  num_workers: 4

sensors:
  use_threads: true
  num_workers: 4

retention:
  schedule:
    purge_after_days: {skipped: 7, started: 30, success: 30, failure: 30}
  sensor:
    purge_after_days: {skipped: 2, started: 30, success: 30, failure: 30}

code_servers:
  local_startup_timeout: 180
  reload_timeout: 180
"""


def prepare_dagster_home(settings: Settings) -> None:
    """Make the instance's folder and its dagster.yaml; what is there stays as it is.

    Raises:
        PermanentFailure: the folder cannot be written to.
    """
    file = settings.dagster_home / "dagster.yaml"
    try:
        settings.dagster_home.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            # Two processes may both come here: each writes the same, and neither reads half of it.
            written = file.with_name(f".dagster.yaml.{os.getpid()}")
            written.write_text(DAGSTER_YAML)
            written.replace(file)
    except OSError as error:
        raise PermanentFailure(
            f"Dagster's instance cannot be kept in {settings.dagster_home}: {error.strerror}."
            " Set REPORT_PIPELINE_HOME to a folder that can be written to."
        ) from error
