"""Everything put together: what is there, that one broken thing harms only itself, and that loading stays light.

The snapshot beside this file is what the shipped definitions are. After a change that is meant, write it anew:

    .venv/bin/python -m report_pipeline_tests.support.definitions_snapshot
"""

import json
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap

from report_pipeline.definitions import build_defs
from report_pipeline.settings import PACKAGE, Settings, load_settings
from report_pipeline_tests.support.dagster_lab import EVENTS_YAML, VISITS_SQL, VISITS_YAML
from report_pipeline_tests.support.definitions_snapshot import FILE, snapshot

CUSTOM_ASSETS = {"visits/hourly", "visits/daily", "visits/tokyo_daily", "visits/new_york_daily", "visits/custom"}
SMALL_YAML = """
type: report_pipeline.dagster.components.ReportComponent
attributes:
  start: 2019-06-01
  cadences: [daily]
  key: [visitor]
  schedules:
    - {name: NAME, cron: "30 0 * * *", previous: day}
"""


class Project:
    """A folder of definitions with `events` and the report `visits`, to which a test adds what it needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = load_settings(defs=folder)
        self.write("events/defs.yaml", EVENTS_YAML)
        self.write(
            "visits/defs.yaml", VISITS_YAML + '  schedules: [{name: visits_day, cron: "0 1 * * *", previous: day}]\n'
        )
        self.write("visits/report.sql", VISITS_SQL)

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))

    def report(self, name: str, schedule: str) -> None:
        self.write(f"{name}/defs.yaml", SMALL_YAML.replace("NAME", schedule))
        self.write(f"{name}/report.sql", "SELECT visitor FROM events GROUP BY visitor")

    def defs(self) -> dg.Definitions:
        """The definitions, as far as the code server loads them: it sends a snapshot of all to the UI."""
        defs = build_defs(self.settings)
        dg.Definitions.validate_loadable(defs)
        with warnings.catch_warnings():
            # Dagster uses what it has deprecated.
            warnings.simplefilter("ignore", DeprecationWarning)
            RepositorySnap.from_def(defs.get_repository_def())
        return defs

    def assets(self) -> set[str]:
        return {spec.key.to_user_string() for spec in self.defs().resolve_all_asset_specs()}

    def schedules(self) -> set[str]:
        """The schedules of the folders; the archive's is there whatever they hold."""
        found = {schedule.name for schedule in self.defs().get_repository_def().schedule_defs}
        assert "archive_upkeep" in found
        return found - {"archive_upkeep"}

    def reason(self, name: str) -> str:
        """What the item of a broken definition says, without what Markdown needs to show it so."""
        specs = {spec.key.to_user_string(): spec for spec in self.defs().resolve_all_asset_specs()}
        return (specs[f"{name}/broken"].description or "").replace("\\", "")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "defs")


def python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own, with the environment of the test."""
    import os

    return subprocess.run(
        [sys.executable, *(["-W", environment.pop("W")] if "W" in environment else []), "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=PACKAGE.parent,
        env={**os.environ, **environment},
    )


def test_the_shipped_definitions_are_those_of_the_snapshot() -> None:
    written = json.loads(FILE.read_text())
    assert snapshot() == written, f"Write {FILE.name} anew if this is meant; how is said at the top of this file."


def test_the_snapshot_is_written_as_it_is_compared() -> None:
    assert FILE.read_text() == json.dumps(snapshot(), indent=1, ensure_ascii=False) + "\n"


def test_a_project_has_its_assets_jobs_schedules_and_sensors(project: Project) -> None:
    assert project.assets() == {"events", *CUSTOM_ASSETS}
    repository = project.defs().get_repository_def()
    assert {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")} == {
        *(f"build_visits__{cadence}" for cadence in ("hourly", "daily", "tokyo_daily", "new_york_daily", "custom")),
        "load_events",
        "archive_upkeep",
        "edit_schedule",
    }
    assert project.schedules() == {"visits_day"}
    assert {sensor.name for sensor in repository.sensor_defs} == {
        "custom_window_retention",
        "follow_events",
        "schedule_catch_up",
        "schedule_changes",
    }


def test_a_report_that_says_so_has_a_sensor_that_refreshes_it(project: Project) -> None:
    project.write("visits/defs.yaml", VISITS_YAML + "  refresh: on_events\n  refresh_every: 5m\n")
    sensor = project.defs().resolve_sensor_def("visits_refresh")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert "at most once in 300 s" in (sensor.description or "")
    assert {job.name for job in sensor.jobs} == {
        f"build_visits__{cadence}" for cadence in ("hourly", "daily", "tokyo_daily", "new_york_daily", "custom")
    }


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"visits/defs.yaml": "type: [\n"}, "visits/defs.yaml:2: "),
        ({"visits/defs.yaml": VISITS_YAML.replace("key:", "keys:")}, "visits/defs.yaml:14: "),
        ({"visits/defs.yaml": VISITS_YAML.replace("Asia/Tokyo", "Asia/Tokio")}, "Asia/Tokyo"),
        ({"visits/report.sql": ""}, "visits/report.sql:1: is empty"),
        ({"visits/report.sql": None}, "visits/report.sql:1: is missing"),
        ({"visits/defs.yaml": None}, "visits/defs.yaml:1: is missing"),
    ],
)
def test_a_broken_report_is_one_failing_item_and_the_others_load(
    project: Project, broken: dict[str, str | None], said: str
) -> None:
    project.report("other", "other_day")
    for path, text in broken.items():
        if text is None:
            (project.folder / path).unlink()
        else:
            project.write(path, text)
    assert project.assets() == {"events", "other/daily", "other/custom", "visits/broken"}
    assert project.schedules() == {"other_day"}
    assert said in project.reason("visits")


def test_a_broken_events_definition_leaves_the_reports_and_their_schedules(project: Project) -> None:
    project.write("events/defs.yaml", EVENTS_YAML.replace("iso8601", "iso"))
    assert project.assets() == {"events", "events/broken", *CUSTOM_ASSETS}
    assert project.schedules() == {"visits_day"}
    assert "events/defs.yaml:" in project.reason("events")


COMPONENT = """
import dagster as dg

class Theirs(dg.Component, dg.Model, dg.Resolvable):
    def build_defs(self, context):
        BODY
"""


@pytest.fixture
def their_component(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`their_component("return …")`: a component of another package, in the folder `theirs`."""

    def make(project: Project, body: str) -> None:
        name = f"their_package_{tmp_path.name.replace('-', '_')}"
        (tmp_path / f"{name}.py").write_text(COMPONENT.replace("BODY", body))
        monkeypatch.syspath_prepend(tmp_path)
        project.write("theirs/defs.yaml", f"type: {name}.Theirs\nattributes: {{}}\n")

    return make


def test_a_component_of_another_package_is_loaded_beside_the_reports(project: Project, their_component: Any) -> None:
    their_component(project, "return dg.Definitions(assets=[dg.AssetSpec('theirs')])")
    assert project.assets() == {"events", "theirs", *CUSTOM_ASSETS}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('no licence')", "no licence"),
        (
            "return dg.Definitions(assets=[dg.AssetSpec(['visits', 'daily'])])",
            "it does not go with the other definitions",
        ),
        ("return dg.Definitions(resources={'pipeline': 1})", "it does not go with the other definitions"),
        (
            "return dg.Definitions(jobs=[dg.define_asset_job('build_visits__daily', selection='visits/hourly')])",
            "it does not go with the other definitions",
        ),
    ],
)
def test_a_component_that_raises_or_takes_a_name_harms_only_itself(
    project: Project, their_component: Any, body: str, said: str
) -> None:
    their_component(project, body)
    assert project.assets() == {"events", "theirs/broken", *CUSTOM_ASSETS}
    assert project.schedules() == {"visits_day"}
    assert said in project.reason("theirs")


def test_python_in_a_folder_is_loaded_wherever_the_definitions_lie(project: Project) -> None:
    project.write("visits_used/names.py", "NAME = 'used'\n")
    project.write(
        "visits_used/assets.py",
        """
        import dagster as dg

        from .names import NAME

        @dg.asset(
            name=NAME,
            partitions_def=dg.DailyPartitionsDefinition("2019-06-01"),
            ins={"visits": dg.AssetIn(["visits", "daily"])},
        )
        def used(visits):
            return None
        """,
    )
    assert project.assets() == {"events", "used", *CUSTOM_ASSETS}


def test_python_that_cannot_be_imported_harms_only_its_folder(project: Project) -> None:
    project.write("used/assets.py", "import not_installed\n")
    assert project.assets() == {"events", "used/broken", *CUSTOM_ASSETS}
    assert "not_installed" in project.reason("used")


def test_a_package_that_is_not_there_harms_only_its_folder(project: Project) -> None:
    project.write("theirs/defs.yaml", "type: not_installed.Theirs\nattributes: {}\n")
    assert project.assets() == {"events", "theirs/broken", *CUSTOM_ASSETS}
    assert "not_installed" in project.reason("theirs")


def test_of_two_schedules_with_one_name_the_later_folder_is_shown_as_broken(project: Project) -> None:
    project.report("another", "visits_day")
    assert project.assets() == {"events", "another/daily", "another/custom", "visits/broken"}
    assert project.schedules() == {"visits_day"}
    assert "visits_day" in project.reason("visits")


@pytest.mark.parametrize(
    "name",
    ["custom_window_retention", "follow_events", "archive_upkeep", "schedule_catch_up", "schedule_changes"],
)
def test_a_schedule_with_the_name_of_a_sensor_or_of_ours_is_shown_as_broken(project: Project, name: str) -> None:
    project.report("other", name)
    assert project.assets() == {"events", "other/broken", *CUSTOM_ASSETS}


@pytest.mark.parametrize("name", ["my-report", "a.b", "über uns", "1st"])
def test_a_folder_whose_name_cannot_name_a_report_is_shown_nevertheless(project: Project, name: str) -> None:
    project.report(name, "other_day")
    (broken,) = project.assets() - {"events", *CUSTOM_ASSETS}
    assert broken.endswith("/broken")
    assert f"{name}/defs.yaml:1: " in project.reason(broken.removesuffix("/broken"))


def test_an_empty_folder_defines_nothing(project: Project) -> None:
    (project.folder / "empty").mkdir()
    assert project.assets() == {"events", *CUSTOM_ASSETS}


def test_the_settings_that_are_given_count_not_those_of_the_environment(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPORT_PIPELINE_WINDOWS_PER_RUN", "7")
    given: dict[str, Any] = {"windows_per_run": 3, "reports_table": "mine", "events_start": "2019-06-20"}
    defs = build_defs(project.settings.model_copy(update=load_settings(defs=project.folder, **given).model_dump()))
    graph = defs.resolve_asset_graph()
    daily = graph.get(dg.AssetKey(["visits", "daily"]))
    assert daily.backfill_policy == dg.BackfillPolicy.multi_run(3)
    assert daily.metadata["reports_table"] == "mine"
    partitions = graph.get(dg.AssetKey("events")).partitions_def
    assert partitions is not None
    assert partitions.get_first_partition_key() == "2019-06-20"
    by_environment = build_defs(load_settings(defs=project.folder)).resolve_asset_graph()
    assert by_environment.get(dg.AssetKey(["visits", "daily"])).backfill_policy == dg.BackfillPolicy.multi_run(7)


def test_backfills_take_as_few_runs_as_the_policy_allows(settings: Settings) -> None:
    graph = build_defs(settings).resolve_asset_graph()
    policies = {key.to_user_string(): graph.get(key).backfill_policy for key in graph.materializable_asset_keys}
    assert policies.pop("events") == dg.BackfillPolicy.single_run()
    assert set(policies.values()) == {dg.BackfillPolicy.multi_run(200)}


def test_runs_use_the_in_process_executor(settings: Settings) -> None:
    assert build_defs(settings).executor is dg.in_process_executor


def test_importing_does_no_input_or_output_and_makes_no_home(home: Path) -> None:
    program = "import report_pipeline.definitions as d; assert callable(d.defs)"
    assert python(program, REPORT_PIPELINE_DEFS="/nowhere").returncode == 0
    assert not home.exists()


def test_loading_imports_no_heavy_library_reaches_no_network_and_makes_no_home(home: Path) -> None:
    program = """
import socket, sys
def refuse(*given): raise AssertionError("a connection while loading")
socket.socket.connect = refuse
import dagster as dg
from report_pipeline.definitions import defs
from dagster._core.remote_representation.external_data import RepositorySnap
RepositorySnap.from_def(defs().get_repository_def())
heavy = {"boto3", "botocore", "pyarrow", "deltalake", "duckdb", "pandas", "numpy", "moto", "ministack"}
print(sorted(heavy & set(sys.modules)))
"""
    done = python(program)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
    assert not home.exists()


def test_loading_prints_no_warning_to_the_user() -> None:
    program = (
        "import dagster as dg\nfrom report_pipeline.definitions import defs\ndg.Definitions.validate_loadable(defs())"
    )
    done = python(program, W="always")
    ours = [line for line in done.stderr.splitlines() if "Warning" in line]
    assert (done.returncode, ours) == (0, [])


def test_warnings_of_others_are_not_kept_from_them(project: Project, their_component: Any) -> None:
    their_component(project, "import warnings; warnings.warn('theirs', UserWarning); return dg.Definitions()")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        project.defs()
    assert "theirs" in {str(warning.message) for warning in caught}


@pytest.mark.integration
def test_dg_lists_the_definitions(home: Path) -> None:
    dg_command = Path(sys.executable).with_name("dg")
    done = subprocess.run(
        [dg_command, "list", "defs", "--json"], capture_output=True, text=True, check=False, cwd=PACKAGE.parent
    )
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    written = json.loads(FILE.read_text())
    assert {asset["asset_key"] for asset in listed["assets"]} == set(written["assets"])
    assert {schedule["name"] for schedule in listed["schedules"]} == set(written["schedules"])
    assert "BetaWarning" not in done.stderr
    assert not home.exists()


@pytest.mark.integration
def test_dg_finds_nothing_wrong_with_the_definitions(home: Path) -> None:
    dg_command = Path(sys.executable).with_name("dg")
    done = subprocess.run(
        [dg_command, "check", "defs"], capture_output=True, text=True, check=False, cwd=PACKAGE.parent
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All component YAML validated successfully." in done.stdout
    assert not home.exists()
