"""The one place where everything is put together; `defs` is the code location.

Each folder under `defs/` is checked by our own check and loaded on its own, and each schedule of the schedules
table: a broken one becomes one visible failing item and takes neither the reports nor other schedules down.
"""

import hashlib
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster.components.core.component_tree import ComponentTree

from report_pipeline.dagster import stored
from report_pipeline.dagster.assets import broken_asset
from report_pipeline.dagster.catch_up import CATCH_UP_SENSOR, catch_up_sensor
from report_pipeline.dagster.components import loading_with
from report_pipeline.dagster.editing_job import editing_job
from report_pipeline.dagster.events import load_job, upkeep_job, upkeep_schedule
from report_pipeline.dagster.fires import is_valid_cron
from report_pipeline.dagster.following import follow_sensor
from report_pipeline.dagster.io_managers import ReportsIOManager
from report_pipeline.dagster.live import changes_sensor
from report_pipeline.dagster.partitions import job_name
from report_pipeline.dagster.sensors import retention_sensor
from report_pipeline.dagster.stored import Loading
from report_pipeline.dagster.watching import watch_from_load
from report_pipeline.pipeline import Pipeline, utc_now
from report_pipeline.reports.check import check_folder
from report_pipeline.reports.definition import CUSTOM, EVENTS, YAML, Broken, ReportDefinition, is_report, load_reports
from report_pipeline.reports.definition import folders as definition_folders
from report_pipeline.settings import PACKAGE, Settings, load_settings

OWN = "report-pipeline itself"
_MEND_ENTRY = "Change it with `report-pipeline schedules set` or the job `edit_schedule`, or remove it."
_MEND_STORE = "It is read again as soon as it can be; `report-pipeline doctor` looks what is wrong."


def build_defs(
    settings: Settings | None = None, resources: Mapping[str, Any] | None = None, loading: Loading | None = None
) -> dg.Definitions:
    """All definitions, for production and tests alike.

    Args:
        settings: read from the environment where None.
        resources: replaces resources by name (`pipeline`, `reports`).
        loading: the schedules of the schedules table; without, there are none, and nothing is read.
    """
    settings = settings or load_settings()
    loading = loading or Loading(None, utc_now())
    pipeline = Pipeline(settings)
    loading.begin()
    with warnings.catch_warnings(), loading_with(settings, loading.of_yaml):
        # Backfill policies are beta in Dagster; the lock pins what was tested.
        warnings.simplefilter("ignore", dg.BetaWarning)
        # What loads a folder's Python is Dagster's own use of what it calls a preview.
        warnings.filterwarnings("ignore", category=dg.PreviewWarning, module=r"dagster\.")
        load = load_job()
        common = dg.Definitions(
            jobs=[load, upkeep_job(), editing_job()],
            sensors=[follow_sensor(load), retention_sensor(), changes_sensor()],
            schedules=[upkeep_schedule()],
            executor=dg.in_process_executor,
            resources={"pipeline": pipeline, "reports": ReportsIOManager(pipeline), **(resources or {})},
        )
        folders = [_load(folder) for folder in _in_order(settings.defs)]
        reports = load_reports(settings.defs, is_valid_cron=is_valid_cron)
        parts = [*folders, *_entries(common, folders, loading, reports)]
        try:
            return _together(common, parts, loading, reports)
        except Exception:  # noqa: BLE001  Dagster refuses all for one; looked for in _fitting
            return _together(common, _fitting(common, parts), loading, reports)


@dg.definitions
def defs() -> dg.Definitions:
    """The code location."""
    settings = load_settings()
    loading = stored.for_this_load(settings)
    built = build_defs(settings, loading=loading)
    watch_from_load(settings, loading)
    return built


@dataclass(frozen=True)
class Part:
    """Definitions that stand for themselves.

    Attributes:
        name: what the item is called that stands for them where they are broken.
        defs: they themselves, or that item.
        where: what they are from, for messages.
        mend: what to do where they are broken, other than with a file.
    """

    name: str
    defs: dg.Definitions
    where: str
    mend: str | None = None
    is_broken: bool = False

    def broken(self, problems: Sequence[str]) -> "Part":
        """The item that says why there are none."""
        asset = broken_asset(self.name, problems, *([self.mend] if self.mend else []))
        return replace(self, defs=dg.Definitions(assets=[asset]), is_broken=True)


def _in_order(defs: Path) -> list[Path]:
    """The folders: events, on which the reports stand, then the reports, then what other packages define."""
    return sorted(definition_folders(defs), key=lambda folder: (folder.name != EVENTS, not is_report(folder / YAML)))


def _load(folder: Path) -> Part:
    """The definitions of one folder, or the item that says why there are none."""
    part = Part(folder.name, dg.Definitions(), str(folder))
    problems = [str(problem) for problem in check_folder(folder, is_valid_cron=is_valid_cron)]
    if problems:
        return part.broken(problems)
    if not any(folder.iterdir()):
        return part
    try:
        return replace(part, defs=_component_tree(folder).build_defs_at_path(folder))
    except Exception as error:  # noqa: BLE001  whatever a component of any package raises harms only itself
        return part.broken([f"{folder}: {error.__cause__ or error}"])


def _entries(
    common: dg.Definitions, folders: Sequence[Part], loading: Loading, reports: Mapping[str, ReportDefinition | Broken]
) -> Iterator[Part]:
    """The schedules of the schedules table, and the item that says where that could not be read."""
    used = {part.name for part in folders}
    reading = loading.reading
    if reading is not None and reading.problem is not None:
        part = Part(_free("schedule_store", used), dg.Definitions(), "the schedules table", _MEND_STORE)
        yield part.broken(
            [f"{reading.problem} The {len(reading.own())} schedules of it that were known last are shown."]
        )
    taken = {CATCH_UP_SENSOR: OWN, **dict(_names([Part("", common, OWN), *folders]))}
    for name, found in stored.parts(loading, reports, taken).items():
        part = Part(_free(f"schedule_{name}", used), dg.Definitions(), f"the schedule {name}", _MEND_ENTRY)
        yield part.broken(found) if isinstance(found, list) else replace(part, defs=found)


def _free(name: str, used: Collection[str]) -> str:
    """The name, or one made of it that no folder has."""
    while name in used:
        name = f"stored_{name}"
    return name


def _names(parts: Iterable[Part]) -> Iterator[tuple[str, str]]:
    """The name of each schedule and sensor, and what it is from."""
    for part in parts:
        for each in (*(part.defs.schedules or ()), *(part.defs.sensors or ())):
            yield each.name, part.where


def _together(
    common: dg.Definitions,
    parts: Sequence[Part],
    loading: Loading,
    reports: Mapping[str, ReportDefinition | Broken],
) -> dg.Definitions:
    """Everything as one, with the sensor that looks at all schedules there are."""
    names = {CATCH_UP_SENSOR, *(name for name, _ in _names([Part("", common, OWN), *parts]))}
    loading.end(names, {part.name for part in parts if part.is_broken})
    usable = {name: found for name, found in reports.items() if not isinstance(found, Broken)}
    wanted = {
        job_name(report, cadence)
        for report, found in usable.items()
        for cadence in [*(each.name for each in found.all_cadences()), CUSTOM]
    }
    jobs = [
        job
        for part in parts
        for job in part.defs.jobs or ()
        if isinstance(job, UnresolvedAssetJobDefinition) and job.name in wanted
    ]
    sensor = catch_up_sensor(list(loading.known.values()), usable, jobs)
    return _valid([common, dg.Definitions(sensors=[sensor]), *(part.defs for part in parts)])


def _fitting(common: dg.Definitions, parts: Sequence[Part]) -> list[Part]:
    """The parts; one that does not go with those before it, two having a name in common, as what is broken.

    Dagster would refuse them all, and every schedule would miss its ticks.
    """
    place = dg.Definitions(sensors=[catch_up_sensor([], {}, [])])
    kept: list[Part] = [Part("", common, OWN), Part("", place, OWN)]
    for part in parts:
        try:
            _valid([*(each.defs for each in kept), part.defs])
        except Exception as error:  # noqa: BLE001  as in _load
            part = part.broken([f"{part.where}: it does not go with the other definitions: {error}"])
        kept.append(part)
    return kept[2:]


def _valid(parts: Sequence[dg.Definitions]) -> dg.Definitions:
    merged = dg.Definitions.merge(*parts)
    dg.Definitions.validate_loadable(merged)
    return merged


def _component_tree(folder: Path) -> ComponentTree:
    """A tree of this folder alone: Dagster reads a tree as a whole, or, where one file in it is broken, not at all.

    For the same reason the trees are not handed on with the definitions: the code server would load every
    component of them again and give up at a broken one. It would also import every package that has components.
    """
    inside = folder.parent.parent == PACKAGE
    package = PACKAGE.name if inside else f"{PACKAGE.name}_{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
    module = ModuleType(f"{package}.{folder.parent.name}.{folder.name}")
    module.__path__ = [str(folder)]
    module.__file__ = None
    if not inside:
        # Python in a folder that lies elsewhere is imported as part of this module, so that has to be known.
        sys.modules[module.__name__] = module
    return ComponentTree(defs_module=module, project_root=PACKAGE.parent)
