"""`up`, which `make run` calls, and `build-windows`, by which it builds windows in a process of their own."""

import click

from report_pipeline.cli.output import print_json, say
from report_pipeline.settings import load_settings


@click.command()
@click.pass_context
def up(context: click.Context) -> None:
    """Build the sample's reports and serve the UI until Ctrl-C. `make run` does this."""
    from report_pipeline.local.up import run

    context.exit(run(load_settings()))


@click.command("build-windows", hidden=True)
@click.argument("assets", nargs=-1, metavar="REPORT/CADENCE=KEY,KEY ...")
def build_windows(assets: tuple[str, ...]) -> None:
    """Build several windows, each REPORT/CADENCE=KEY,KEY,… as one run."""
    from report_pipeline.dagster.run import build_range

    settings = load_settings()
    for asset in assets:
        target, _, keys = asset.partition("=")
        report, _, cadence = target.partition("/")
        print_json(build_range(settings, report, cadence, keys.split(","), tell=say))
