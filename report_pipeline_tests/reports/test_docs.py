"""What docs/reports.md shows works as it stands there."""

import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from report_pipeline.reports.build import BuiltReport
from report_pipeline.reports.check import check
from report_pipeline.reports.compute import compute
from report_pipeline.reports.definition import ReportDefinition, load_report
from report_pipeline.reports.store import ReportStore
from report_pipeline.settings import PACKAGE
from report_pipeline.windows import Window

DOC = (PACKAGE.parent / "docs" / "reports.md").read_text()


def snippet(language: str, containing: str = "") -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```", DOC, re.MULTILINE | re.DOTALL)
    return next(text for text in found if containing in text)


def test_the_example_report_is_right_and_counts(tmp_path: Path, events: Callable[..., pa.Table]) -> None:
    defs = shutil.copytree(PACKAGE / "defs", tmp_path / "defs")
    folder = defs / "page_hours"
    folder.mkdir()
    (folder / "defs.yaml").write_text(snippet("yaml"))
    (folder / "report.sql").write_text(snippet("sql"))
    assert check(defs) == []
    report = load_report(folder)
    table = events(
        {"pathname": "/", "event_time": datetime(2019, 6, 21, 15, 59, tzinfo=UTC)},
        {"pathname": "/", "event_time": datetime(2019, 6, 21, 16, tzinfo=UTC)},
        {"event_time": datetime(2019, 6, 21, 16, 1, tzinfo=UTC)},
    )
    rows = compute(report, table, report.cadence("daily").window("2019-06-22")).drop_columns("uuid")
    assert rows.to_pylist() == [
        {"page": "(none)", "hour": 1, "n": 1},
        {"page": "/", "hour": 0, "n": 1},
        {"page": "/", "hour": 1, "n": 1},
    ]


def test_the_program_in_the_documentation_reads_a_report(
    store: ReportStore, visitor_report: ReportDefinition, events: Callable[..., pa.Table]
) -> None:
    window = Window.between("2019-06-22T00:00+09:00", "2019-06-25T00:00+09:00", "Asia/Tokyo")
    table = events({"visitor": "b"}, {"visitor": "a", "adblock": True}, {"visitor": None}, {"visitor": "a"})
    rows = compute(visitor_report, table, window)
    now = datetime(2019, 7, 1, tzinfo=UTC)
    store.publish(BuiltReport(visitor_report, window, rows, 4, 0, 0, now, now, True, "e1/7"), run_id="run-1")
    scope: dict[str, Any] = {}
    exec(snippet("python", "boto3"), scope)
    found = [
        {name: row[name] for name in ("visitor", "n_interactions", "first_seen", "adblock")} for row in scope["rows"]
    ]
    noon = "2019-06-22T12:00:00Z"
    assert sorted(found, key=lambda row: str(row["visitor"])) == [
        {"visitor": None, "n_interactions": 1, "first_seen": noon, "adblock": None},
        {"visitor": "a", "n_interactions": 2, "first_seen": noon, "adblock": True},
        {"visitor": "b", "n_interactions": 1, "first_seen": noon, "adblock": None},
    ]
    assert scope["head"]["events_read"] == 4


def test_every_field_of_the_yaml_and_every_attribute_of_a_head_is_documented() -> None:
    from report_pipeline.reports.attributes import ReportAttributes
    from report_pipeline.reports.heads import Head

    for name in ReportAttributes.model_fields:
        assert re.search(rf"^\| `{name}` \|", DOC, re.MULTILINE), name
    for name in {"state", *Head.__dataclass_fields__} - {"window", "final"}:
        assert re.search(rf"^\| .*`{name}`.* \| [NSL]", DOC, re.MULTILINE), name
