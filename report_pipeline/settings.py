"""Every setting, typed and checked once. Nothing else in the package reads the environment.

A setting `name` is set by the environment variable `REPORT_PIPELINE_NAME`. The standard AWS
variables and files (profile, credentials, endpoints, region) stay boto3's own, except that other AWS
SDKs also know `AWS_REGION`, and that an endpoint which the user names keeps the embedded DynamoDB away.
"""

import logging
import os
import re
from datetime import date
from pathlib import Path

from pydantic import Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from report_pipeline.errors import CallerMistake
from report_pipeline.instants import did_you_mean

PACKAGE = Path(__file__).resolve().parent
PREFIX = "REPORT_PIPELINE_"
MOST_DAYS = 36_500
"""The longest retention, a century: the calendar has days that long ago."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")

logger = logging.getLogger(__name__)


class _AwsVariables(BaseSettings):
    """The standard AWS variables that boto3's own reading does not settle."""

    aws_endpoint_url_dynamodb: str | None = None
    aws_endpoint_url: str | None = None
    aws_region: str | None = None


class Settings(BaseSettings):
    """The settings of one pipeline. Frozen; pass it on, do not look it up again."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    home: Path = Field(
        default=Path(".local"),
        description="Folder of all local state; relative to the checkout, where there is none to the current folder.",
    )
    embedded: bool | None = Field(
        default=None,
        description="Use the embedded DynamoDB. Unset: yes, unless AWS_ENDPOINT_URL(_DYNAMODB) names another endpoint.",
    )
    embedded_port: int | None = Field(
        default=None, ge=1, le=65535, description="Port of the embedded DynamoDB. Unset: a free one, kept for the home."
    )
    events_table: str = Field(default="events", min_length=3, max_length=255, description="Name of the events table.")
    reports_table: str = Field(
        default="reports", min_length=3, max_length=255, description="Name of the reports table."
    )
    schedules_table: str = Field(
        default="schedules", min_length=3, max_length=255, description="Name of the schedules table."
    )
    archive: str | None = Field(
        default=None, description="Folder of the archive, or s3://bucket/prefix. Unset: `archive` under home."
    )
    archive_retention_days: int | None = Field(
        default=None, ge=1, le=MOST_DAYS, description="Days of event time that the archive keeps. Unset: all."
    )
    upkeep_files: int = Field(
        default=30, ge=2, description="Appended files of a day that make the archive's upkeep rewrite it."
    )
    defs: Path = Field(default=PACKAGE / "defs", description="Folder of the events, report and schedule definitions.")
    events_start: date = Field(
        default=date(2015, 1, 1), description="First day (UTC) that the events asset shows as a partition."
    )
    scan_segments: int = Field(default=4, ge=1, le=1_000_000, description="Parallel segments of a table scan.")
    scan_consistent: bool = Field(
        default=True,
        description="Read the table consistently: every write answered before the scan is in it, for twice the units.",
    )
    max_read_units: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Read capacity units a second that a scan may use. Unset: no limit.",
    )
    read_unit_price: float = Field(
        default=0.125,
        ge=0,
        allow_inf_nan=False,
        description="US$ for a million read request units, for the estimate before a scan.",
    )
    windows_per_run: int = Field(
        default=200,
        ge=1,
        description="Most windows (partitions) that one run builds; more become more runs.",
    )
    runs_at_once: int = Field(
        default=4, ge=1, description="Most runs that one schedule has requested and not yet seen finished."
    )
    custom_retention_days: int = Field(
        default=30,
        ge=1,
        le=MOST_DAYS,
        description="Days after its last build that a custom window stays listed as a partition.",
    )
    ui_host: str = Field(default="127.0.0.1", description="Address that the Dagster UI listens on.")
    ui_port: int = Field(default=3000, ge=1, le=65535, description="Port of the Dagster UI.")

    @field_validator("home", "defs", mode="after")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        """Resolve against the checkout where there is one, so that every working folder means the same state."""
        checkout = PACKAGE.parent
        base = checkout if (checkout / "workspace.yaml").exists() else Path.cwd()
        return (base / path.expanduser()).resolve()

    @field_validator("archive", mode="after")
    @classmethod
    def _absolute_or_s3(cls, archive: str | None) -> str | None:
        if archive is None:
            return None
        scheme, separator, place = archive.partition("://")
        if not separator or not _SCHEME.fullmatch(scheme):
            return str(cls._absolute(Path(archive)))
        if scheme.lower() != "s3":
            raise PydanticCustomError(
                "archive_scheme",
                "The archive cannot lie at {scheme}://. Expected a folder's path or s3://bucket/prefix",
                {"scheme": scheme},
            )
        return f"s3://{place}"

    @property
    def uses_embedded(self) -> bool:
        """Whether DynamoDB is the embedded one, which is then started on demand and never real AWS."""
        if self.embedded is not None:
            return self.embedded
        named = _AwsVariables()
        return not (named.aws_endpoint_url_dynamodb or named.aws_endpoint_url)

    @property
    def aws_region(self) -> str | None:
        """The region that `AWS_REGION` names, which boto3 does not read; None leaves it to what boto3 reads."""
        return _AwsVariables().aws_region or None

    @property
    def archive_uri(self) -> str:
        """Where the archive lies: a folder's path, or `s3://bucket/prefix`."""
        return self.archive or str(self.home / "archive")

    @property
    def dagster_home(self) -> Path:
        """Dagster's instance: runs, event log, switches."""
        return self.home / "dagster"


def load_settings(**overrides: object) -> Settings:
    """Read the settings from the environment, `overrides` winning.

    A variable of the prefix that is no setting, most likely a slip of the pen, is warned of.

    Raises:
        CallerMistake: a setting has a value it cannot have; the message names the variable.
    """
    _warn_of_unknown()
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        problems = "; ".join(
            f"{PREFIX}{'_'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}"
            f" (it is {problem['input']!r})"
            for problem in error.errors()
        )
        raise CallerMistake(f"A setting cannot be used. {problems}") from None


def _warn_of_unknown() -> None:
    known = [f"{PREFIX}{name}".upper() for name in Settings.model_fields]
    for name in os.environ:
        if name.startswith(PREFIX) and name not in known and not name.startswith(f"{PREFIX}TESTS_"):
            logger.warning("%s is set and is no setting.%s", name, did_you_mean(name, known))
