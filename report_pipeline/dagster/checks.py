"""The checks of report assets: one result a run, which names the windows that fail."""

from collections.abc import Iterable, Iterator

import dagster as dg

from report_pipeline.dagster.builds import Builds, Outcome
from report_pipeline.reports.compute import DuplicateKey

INTERACTIONS = "interactions_add_up"
KEYS = "no_key_twice"
QUARANTINE = "nothing_quarantined"
CONTINUITY = "followed_without_gap"
_NAMED_WINDOWS = 20


def check_specs(asset: dg.AssetKey, *, conserves: str | None) -> list[dg.AssetCheckSpec]:
    """The checks of one report asset; `conserves` is the definition's column or "rows"."""
    specs = [
        dg.AssetCheckSpec(KEYS, asset=asset, description="No two rows of a window have the same row key."),
        dg.AssetCheckSpec(
            QUARANTINE, asset=asset, description="No event of the window is in quarantine (a warning with the count)."
        ),
    ]
    if conserves is not None:
        what = "number of rows" if conserves == "rows" else f"sum of {conserves}"
        specs.insert(
            0,
            dg.AssetCheckSpec(
                INTERACTIONS, asset=asset, description=f"The {what} of a window is the number of events read."
            ),
        )
    return specs


def check_results(asset: dg.AssetKey, builds: Builds) -> Iterator[dg.AssetCheckResult]:
    """The results over the windows of a run that have been published, and over those that broke a check."""
    outcomes = builds.outcomes
    if builds.conserves is not None:
        wrong = {key: o for key, o in outcomes.items() if o.interactions != o.events_read}
        yield dg.AssetCheckResult(
            asset_key=asset,
            check_name=INTERACTIONS,
            passed=not wrong,
            description=_named(
                f"{key} has {o.interactions} interactions of {o.events_read} events read" for key, o in wrong.items()
            )
            or "The interactions add up to the events read.",
            metadata={"windows checked": len(outcomes), "events read": sum(o.events_read for o in outcomes.values())},
        )
    twice = {key: error for key, error in builds.failures.items() if isinstance(error, DuplicateKey)}
    yield dg.AssetCheckResult(
        asset_key=asset,
        check_name=KEYS,
        passed=not twice,
        description=_named(f"{key}: {error}" for key, error in twice.items()) or "Every row key is there once.",
        metadata={
            "windows checked": len(outcomes) + len(twice),
            "rows": sum(o.rows for o in outcomes.values()),
        },
    )
    yield _quarantine_result(asset, outcomes)


def check_events(context: dg.OutputContext, builds: Builds) -> Iterator[dg.DagsterEvent]:
    """The results as events, for a run that fails because of some windows: one that fails yields none itself."""
    if not builds.outcomes and not any(isinstance(error, DuplicateKey) for error in builds.failures.values()):
        return
    for result in check_results(context.asset_key, builds):
        evaluation = result.to_asset_check_evaluation(context.step_context)
        yield dg.DagsterEvent.asset_check_evaluation(context.step_context, evaluation)


def _quarantine_result(asset: dg.AssetKey, outcomes: dict[str, Outcome]) -> dg.AssetCheckResult:
    held = {key: o.rejected for key, o in outcomes.items() if o.rejected}
    undated = max((o.undated for o in outcomes.values()), default=0)
    said = _named(f"{key} has {count} events in quarantine" for key, count in held.items())
    if undated:
        said = "; ".join(filter(None, [said, f"{undated} events of the table have no usable time"]))
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=QUARANTINE,
        passed=not held and not undated,
        severity=dg.AssetCheckSeverity.WARN,
        description=said or "No event is in quarantine.",
        metadata={"quarantined": sum(held.values()), "quarantined without a time": undated},
    )


def _named(windows: Iterable[str]) -> str:
    named = list(windows)
    rest = len(named) - _NAMED_WINDOWS
    return "; ".join(named[:_NAMED_WINDOWS]) + (f"; and {rest} more" if rest > 0 else "")
