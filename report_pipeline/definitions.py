"""The one place where everything is put together; `defs` is the code location.

Each folder under `defs/` is checked by our own check and loaded on its own: a broken one becomes one
visible failing item and takes neither the other reports nor their schedules down.
"""

import hashlib
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
from dagster.components.core.component_tree import ComponentTree

from report_pipeline.dagster.assets import broken_asset
from report_pipeline.dagster.components import loading_with
from report_pipeline.dagster.events import load_job, upkeep_job, upkeep_schedule
from report_pipeline.dagster.fires import is_valid_cron
from report_pipeline.dagster.following import follow_sensor
from report_pipeline.dagster.io_managers import ReportsIOManager
from report_pipeline.dagster.sensors import retention_sensor
from report_pipeline.pipeline import Pipeline
from report_pipeline.reports.check import check_folder
from report_pipeline.reports.definition import EVENTS, YAML, is_report
from report_pipeline.reports.definition import folders as definition_folders
from report_pipeline.settings import PACKAGE, Settings, load_settings


def build_defs(settings: Settings | None = None, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """All definitions, for production and tests alike.

    Args:
        settings: read from the environment where None.
        resources: replaces resources by name (`pipeline`, `reports`).
    """
    settings = settings or load_settings()
    pipeline = Pipeline(settings)
    with warnings.catch_warnings(), loading_with(settings):
        # Backfill policies are beta in Dagster; the lock pins what was tested.
        warnings.simplefilter("ignore", dg.BetaWarning)
        # What loads a folder's Python is Dagster's own use of what it calls a preview.
        warnings.filterwarnings("ignore", category=dg.PreviewWarning, module=r"dagster\.")
        load = load_job()
        common = dg.Definitions(
            jobs=[load, upkeep_job()],
            sensors=[follow_sensor(load), retention_sensor()],
            schedules=[upkeep_schedule()],
            executor=dg.in_process_executor,
            resources={"pipeline": pipeline, "reports": ReportsIOManager(pipeline), **(resources or {})},
        )
        return _fitting(common, {folder: _load(folder) for folder in _in_order(settings.defs)})


@dg.definitions
def defs() -> dg.Definitions:
    """The code location."""
    return build_defs()


def _in_order(defs: Path) -> list[Path]:
    """The folders: events, on which the reports stand, then the reports, then what other packages define."""
    return sorted(definition_folders(defs), key=lambda folder: (folder.name != EVENTS, not is_report(folder / YAML)))


def _load(folder: Path) -> dg.Definitions:
    """The definitions of one folder, or the item that says why there are none."""
    problems = [str(problem) for problem in check_folder(folder, is_valid_cron=is_valid_cron)]
    if problems:
        return _broken(folder, problems)
    if not any(folder.iterdir()):
        return dg.Definitions()
    try:
        return _component_tree(folder).build_defs_at_path(folder)
    except Exception as error:  # noqa: BLE001  whatever a component of any package raises harms only itself
        return _broken(folder, [f"{folder}: {error.__cause__ or error}"])


def _fitting(common: dg.Definitions, parts: Mapping[Path, dg.Definitions]) -> dg.Definitions:
    """Everything as one. A part that does not go with those before it, two having a name in common, is shown as broken.

    Dagster would refuse them all, and every schedule would miss its ticks.
    """
    try:
        return _valid([common, *parts.values()])
    except Exception:  # noqa: BLE001  looked for below
        kept = [common]
    for folder, part in parts.items():
        try:
            _valid([*kept, part])
        except Exception as error:  # noqa: BLE001  as in _load
            part = _broken(folder, [f"{folder}: it does not go with the other definitions: {error}"])
        kept.append(part)
    return _valid(kept)


def _valid(parts: list[dg.Definitions]) -> dg.Definitions:
    merged = dg.Definitions.merge(*parts)
    dg.Definitions.validate_loadable(merged)
    return merged


def _broken(folder: Path, problems: list[str]) -> dg.Definitions:
    return dg.Definitions(assets=[broken_asset(folder.name, problems)])


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
