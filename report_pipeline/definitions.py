"""The one place where everything is put together; `defs` is the code location.

Each folder under `defs/` is checked by our own check and loaded on its own: a broken one becomes one
visible failing item and takes neither the other reports nor their schedules down.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
from dagster.components.core.component_tree import ComponentTree

from report_pipeline.dagster.assets import broken_asset
from report_pipeline.dagster.components import loading_with
from report_pipeline.dagster.fires import is_valid_cron
from report_pipeline.dagster.io_managers import ReportsIOManager
from report_pipeline.dagster.sensors import retention_sensor
from report_pipeline.pipeline import Pipeline
from report_pipeline.reports.check import EVENTS, check_folder
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
        tree = _component_tree(settings.defs)
        # The reports stand on the events.
        folders = sorted(definition_folders(settings.defs), key=lambda folder: folder.name != EVENTS)
        problems = {folder: _problems(tree, folder) for folder in folders}
        common = dg.Definitions(
            sensors=[retention_sensor()],
            executor=dg.in_process_executor,
            resources={"pipeline": pipeline, "reports": ReportsIOManager(pipeline), **(resources or {})},
            # The code server loads each component of a tree once more, and gives up at one that cannot be loaded.
            component_tree=None if any(problems.values()) else tree,
        )
        return _fitting(
            common,
            {
                folder: _broken(folder, found) if found else tree.build_defs_at_path(folder)
                for folder, found in problems.items()
            },
        )


@dg.definitions
def defs() -> dg.Definitions:
    """The code location."""
    return build_defs()


def _problems(tree: ComponentTree, folder: Path) -> list[str]:
    """Why the definitions of one folder cannot be loaded; where they can, the tree holds them from now on."""
    problems = [str(problem) for problem in check_folder(folder, is_valid_cron=is_valid_cron)]
    if problems:
        return problems
    try:
        tree.build_defs_at_path(folder)
    except Exception as error:  # noqa: BLE001  whatever a component of any package raises harms only itself
        return [f"{folder}: {error.__cause__ or error}"]
    return []


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
        except Exception as error:  # noqa: BLE001  as in _problems
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
    """The components under `folder`, which in production is this package's own `defs`."""
    if folder == PACKAGE / "defs":
        return ComponentTree.for_project(PACKAGE)
    module = ModuleType(folder.name)
    module.__path__ = [str(folder)]
    module.__file__ = None
    return ComponentTree(defs_module=module, project_root=PACKAGE.parent)
