"""The job that creates, changes, removes and switches schedules from the Launchpad, for people who stay in the UI."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import dagster as dg

from report_pipeline.dagster import stored, switches
from report_pipeline.dagster.failures import failures
from report_pipeline.dagster.fires import dagster_fires, is_valid_cron
from report_pipeline.dagster.launchpad import Action, EditConfig, launchpad_config, launchpad_schema
from report_pipeline.dagster.live import nudge
from report_pipeline.dagster.schedules import cadence_of
from report_pipeline.dagster.stored import Loading
from report_pipeline.dagster.switches import Kind
from report_pipeline.errors import CallerMistake
from report_pipeline.instants import did_you_mean, format_instant
from report_pipeline.pipeline import Pipeline
from report_pipeline.schedules.model import ScheduleSpec

if TYPE_CHECKING:
    from report_pipeline.reports.definition import Broken, ReportDefinition
    from report_pipeline.schedules.store import ScheduleStore
    from report_pipeline.schedules.stored import Revision

EDITING_JOB = "edit_schedule"
SOURCE = "launchpad"
USER_TAG = "user"
"""The run's tag that says who edits, where a sign-in in front of the UI, or a person, sets it."""

FIRES_SHOWN = 5


def editing_job() -> dg.JobDefinition:
    """Creates, changes, removes and switches schedules of the schedules table."""

    @dg.op(
        name="edit",
        description="Validate the change as a whole, write it with its history, and say what will happen.",
        config_schema=launchpad_schema(),
    )
    def edit(context: dg.OpExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> None:
        config = EditConfig(**context.op_config)
        with failures(), pipeline.open_schedule_store() as store:
            said, metadata = _Editing(context, config, pipeline, store).done()
        nudge(pipeline.settings)
        context.log.info(said)
        context.add_output_metadata({"done": said, **metadata})

    @dg.job(
        name=EDITING_JOB,
        config=launchpad_config(),
        description="Creates, changes, removes, or switches on or off a schedule. Its Launchpad shows the fields that"
        " most schedules have; Ctrl+Space on an empty line offers all, with what they are. Choose the action, name the"
        " schedule, and fill in what is to be so; what stays empty says nothing. A new schedule needs its report, one"
        " field of what it builds (cadence, last, previous, between, since_last) and one of when it fires (cron, every,"
        " rrule, at, solar_event, on_events). What is wrong is refused with the reason, and nothing is changed. A"
        " change is live within seconds; a new schedule is switched on under Automation. Schedules in YAML files are"
        " changed there; they can be switched here.",
    )
    def job() -> None:
        edit()

    return job


@dataclass
class _Known:
    """What there is before the change."""

    loading: Loading
    reports: "dict[str, ReportDefinition | Broken]"

    def usable(self) -> "dict[str, ReportDefinition]":
        from report_pipeline.reports.definition import Broken

        return {name: found for name, found in self.reports.items() if not isinstance(found, Broken)}

    def taken(self) -> dict[str, str]:
        """The names that schedules of the table cannot have, each with what has it."""
        assert self.loading.reading is not None
        files = {spec.name: str(report.file) for report in self.usable().values() for spec in report.schedules}
        own = self.loading.reading.own()
        return {**{name: "report-pipeline itself" for name in self.loading.names if name not in own}, **files}


class _Editing:
    """One run's change."""

    def __init__(
        self, context: dg.OpExecutionContext, config: EditConfig, pipeline: Pipeline, store: "ScheduleStore"
    ) -> None:
        self._instance = context.instance
        self._config = config
        self._pipeline = pipeline
        self._store = store
        self._now = pipeline.clock()
        self._trail: dict[str, Any] = {
            "by": context.run.tags.get(USER_TAG) or SOURCE,
            "why": config.why,
            "source": SOURCE,
            "now": self._now,
        }
        self._known = self._look()

    def done(self) -> tuple[str, dict[str, Any]]:
        """Make the change: what is said of it, and the run's metadata.

        Raises:
            CallerMistake: it cannot be made; nothing was changed.
        """
        if not self._config.name:
            raise CallerMistake("name is empty. Expected the schedule's name, of letters, digits and _.")
        match self._config.action:
            case Action.create:
                return self._create()
            case Action.change:
                return self._change()
            case Action.remove:
                return self._remove()
            case Action.switch_on | Action.switch_off:
                return self._switch(self._config.action is Action.switch_on)

    def _look(self) -> _Known:
        from report_pipeline.definitions import build_defs
        from report_pipeline.reports.definition import load_reports

        loading = Loading(stored.read(self._store), self._now)
        build_defs(self._pipeline.settings, loading=loading)
        return _Known(loading, load_reports(self._pipeline.settings.defs, is_valid_cron=is_valid_cron))

    def _rules(self) -> dict[str, Any]:
        return {
            "reports": self._known.reports,
            "taken": self._known.taken(),
            "is_valid_cron": is_valid_cron,
            "fires": dagster_fires,
        }

    def _create(self) -> tuple[str, dict[str, Any]]:
        from report_pipeline.schedules.editing import add
        from report_pipeline.schedules.parse import parse_spec

        if self._config.clear:
            raise CallerMistake("clear goes with the action change: a new schedule has nothing to be taken out.")
        revision = add(self._store, self._config.fields(), **self._rules(), **self._trail)
        assert revision.after is not None
        spec = parse_spec(revision.after)
        on = spec.enabled and revision.number == 1
        switch = "It is switched on within seconds." if on else "It is switched off at first; switch_on switches it on."
        if spec.enabled and not on:
            switch = "There was one of this name before, so it is switched off at first, whatever `enabled` says."
        return self._told(f"Created {spec.name}", spec, revision, [switch])

    def _change(self) -> tuple[str, dict[str, Any]]:
        from report_pipeline.schedules.editing import change

        name = self._config.name
        edited = change(self._store, name, self._config.fields(), self._config.clear, **self._rules(), **self._trail)
        on = switches.states(self._instance).get(name, False)
        switch = f"Its switch stays as it is: {'on' if on else 'off'}."
        begin = f"Changed {name}" if edited.revision else f"Left {name} as it is"
        return self._told(begin, edited.spec, edited.revision, [*edited.notes, switch])

    def _remove(self) -> tuple[str, dict[str, Any]]:
        from report_pipeline.schedules.editing import remove

        self._only_name()
        name = self._config.name
        revision = remove(self._store, name, taken=self._known.taken(), **self._trail)
        switches.switch_off(self._instance, [name])
        said = f"Removed {name}, revision {revision.number}. Runs that are under way go on; its history stays."
        return said, {"schedule": name, "revision": revision.number}

    def _switch(self, on: bool) -> tuple[str, dict[str, Any]]:
        self._only_name()
        name = self._config.name
        known = self._known.loading.known.get(name)
        if known is None:
            assert self._known.loading.reading is not None
            if name in self._known.loading.reading.own():
                raise CallerMistake(f"{name} is broken; the item schedule_{name}/broken says why. Change it first.")
            near = did_you_mean(name, self._known.loading.known)
            raise CallerMistake(f"There is no schedule {name!r}.{near}")
        kind = Kind.SCHEDULE if known.is_cron else Kind.SENSOR
        changed = switches.set_switch(self._instance, name, kind, on, cron=known.spec.cron)
        word = "on" if on else "off"
        said = f"Switched {name} {word}." if changed else f"{name} is {word} already."
        return said, {"schedule": name, "switch": word}

    def _only_name(self) -> None:
        more = sorted({*self._config.fields(), *(["clear"] if self._config.clear else [])} - {"name"})
        if more:
            raise CallerMistake(
                f"{', '.join(more)}: nothing but name and why goes with the action {self._config.action.value}."
                " Use change to change a schedule."
            )

    def _told(
        self, begin: str, spec: ScheduleSpec, revision: "Revision | None", more: list[str]
    ) -> tuple[str, dict[str, Any]]:
        number = f", revision {revision.number}" if revision else ""
        fires = self._next_fires(spec, revision.at if revision else self._now)
        said = " ".join([f"{begin}{number}: {spec.describe()}.", *more, _described(fires)])
        return said, {
            "schedule": spec.name,
            "report": spec.report,
            "definition": dg.MetadataValue.json(spec.to_dict()),
            "next fires": dg.MetadataValue.md(_table(fires)),
            **({"revision": revision.number} if revision else {}),
        }

    def _next_fires(self, spec: ScheduleSpec, since: datetime) -> list[tuple[str, str, str]]:
        """The next fires: local time, UTC, and the window."""
        from report_pipeline.schedules.occurrences import Life, upcoming

        cadence = cadence_of(spec, self._known.usable())
        found = upcoming(Life(spec, since), self._now, FIRES_SHOWN, cron=dagster_fires, cadence=cadence)
        return [
            (
                f"{each.fire.astimezone(ZoneInfo(spec.zone)):%Y-%m-%d %H:%M:%S%z}",
                format_instant(each.fire),
                each.window.describe() if each.window else each.void or "no window",
            )
            for each in found
        ]


def _described(fires: list[tuple[str, str, str]]) -> str:
    if not fires:
        return "No time of its next fire is known."
    return f"Its next fires: {', '.join(local for local, _, _ in fires)}."


def _table(fires: list[tuple[str, str, str]]) -> str:
    if not fires:
        return "None is known: it fires when events have come in, or never again."
    lines = ["| fire | in UTC | window |", "|---|---|---|", *(f"| {' | '.join(fire)} |" for fire in fires)]
    return "\n".join(lines)
