"""The one place where everything is put together; `defs` is the code location.

Each folder under `defs/` is checked by our own check and loaded on its own: a broken one becomes one
visible failing item and takes neither the other reports nor their schedules down.
"""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
from dagster.components.core.component_tree import ComponentTree

from report_pipeline.dagster.assets import broken_asset
from report_pipeline.dagster.fires import is_valid_cron
from report_pipeline.dagster.io_managers import ReportsIOManager
from report_pipeline.dagster.sensors import retention_sensor
from report_pipeline.pipeline import Pipeline
from report_pipeline.reports.check import check_folder
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
    with warnings.catch_warnings():
        # Backfill policies and code references are beta in Dagster; the lock pins what was tested.
        warnings.simplefilter("ignore", dg.BetaWarning)
        tree = _component_tree(settings.defs)
        folders = definition_folders(settings.defs)
        parts = _without_namesakes([_load(tree, folder) for folder in folders], folders)
        return dg.Definitions.merge(
            *parts,
            dg.Definitions(
                sensors=[retention_sensor()],
                executor=dg.in_process_executor,
                resources={"pipeline": pipeline, "reports": ReportsIOManager(pipeline), **(resources or {})},
                component_tree=tree,
            ),
        )


@dg.definitions
def defs() -> dg.Definitions:
    """The code location."""
    return build_defs()


def _load(tree: ComponentTree, folder: Path) -> dg.Definitions:
    """The definitions of one folder, or the item that says why there are none."""
    problems = [str(problem) for problem in check_folder(folder, is_valid_cron=is_valid_cron)]
    if not problems:
        try:
            return tree.build_defs_at_path(folder)
        except Exception as error:  # noqa: BLE001  whatever a component of any package raises harms only itself
            problems = [f"{folder}: {error.__cause__ or error}"]
    return dg.Definitions(assets=[broken_asset(folder.name, problems)])


def _without_namesakes(parts: Iterable[dg.Definitions], folders: Iterable[Path]) -> list[dg.Definitions]:
    """Two schedules of one name would take the whole location down: the later folder is shown as broken."""
    seen: dict[str, str] = {}
    kept = []
    for part, folder in zip(parts, folders, strict=True):
        names = [schedule.name for schedule in part.schedules or []]
        problems = [
            f"{folder / 'defs.yaml'}: the schedule {name} has the name of one in {seen[name]}; rename one of them"
            for name in names
            if name in seen
        ]
        if problems:
            kept.append(dg.Definitions(assets=[broken_asset(folder.name, problems)]))
            continue
        seen |= dict.fromkeys(names, folder.name)
        kept.append(part)
    return kept


def _component_tree(folder: Path) -> ComponentTree:
    """The components under `folder`, which in production is this package's own `defs`."""
    if folder == PACKAGE / "defs":
        return ComponentTree.for_project(PACKAGE)
    module = ModuleType(folder.name)
    module.__path__ = [str(folder)]
    module.__file__ = None
    return ComponentTree(defs_module=module, project_root=PACKAGE.parent)
