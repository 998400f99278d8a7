"""`report-pipeline`: the command line.

Results go to stdout as JSON (`show` has other forms), everything for people to stderr. Exit codes: 0 done;
1 it failed, or something does not fit; 2 what was asked for cannot be. A mistake gets one line, never a
traceback.
"""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import click

from report_pipeline.cli.doctor import doctor
from report_pipeline.cli.events import fill, init
from report_pipeline.cli.follow import follow
from report_pipeline.cli.load import load
from report_pipeline.cli.output import say
from report_pipeline.cli.reports import build, check, list_reports, show
from report_pipeline.cli.schedules import schedules as schedules_group
from report_pipeline.cli.simulate import simulate_command
from report_pipeline.cli.up import build_windows, up
from report_pipeline.cli.upkeep import upkeep
from report_pipeline.errors import PipelineError

INTERRUPTED, TERMINATED = 130, 143


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="report-pipeline", message="%(version)s")
def cli() -> None:
    """Reports over windows of time, from events in DynamoDB and back to DynamoDB.

    Settings are environment variables, REPORT_PIPELINE_…; `report-pipeline doctor` shows them all.
    """


for command in (
    build,
    build_windows,
    check,
    doctor,
    fill,
    follow,
    init,
    list_reports,
    load,
    schedules_group,
    show,
    simulate_command,
    up,
    upkeep,
):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    logging.basicConfig(level=logging.WARNING, format="report-pipeline: %(message)s", stream=sys.stderr)
    # Like Ctrl-C, a SIGTERM unwinds what was begun: the embedded DynamoDB is stopped and saves its tables.
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = _run(arguments)
    except BrokenPipeError:
        code = 1  # whoever read our output has seen enough
    try:
        sys.stdout.flush()
    except OSError:
        # A closed pipe or a full disk: what is left may not be flushed into it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or 1
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        result = cli.main(args=arguments, prog_name="report-pipeline", standalone_mode=False)
    except PipelineError as error:
        say(f"report-pipeline: {error}")
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        say(error.format_message())
        return error.exit_code
    except click.ClickException as error:
        _say_usage(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("report-pipeline: interrupted")
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _say_usage(error: click.ClickException) -> None:
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else "report-pipeline"
    message = error.format_message()
    stop = "" if message.endswith((".", "?", "!")) else "."
    say(f"{path}: {message}{stop} See `{path} --help`.")


def _terminate(number: int, frame: FrameType | None) -> None:
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(TERMINATED)
