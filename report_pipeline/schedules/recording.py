"""The trail of schedules that live in YAML: their changes are recorded beside those of stored ones."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from report_pipeline.errors import CallerMistake
from report_pipeline.schedules.store import Revision, ScheduleStore, StaleEdit, Stored
from report_pipeline.schedules.stored import definition_text

YAML: Final = "yaml"
_TRIES = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recorded:
    """What came of recording the schedules in YAML.

    Attributes:
        revisions: the changes that were found.
        clashes: the names that stored schedules have already, each with a message. Nothing of these is recorded.
    """

    revisions: tuple[Revision, ...]
    clashes: Mapping[str, str]


def record_yaml(
    store: ScheduleStore,
    definitions: Mapping[str, Mapping[str, Any]],
    *,
    timing: Callable[[Mapping[str, Any]], object],
    loaded_at: datetime,
    by: str = YAML,
    why: str = "",
    complete: bool = True,
) -> Recorded:
    """Record what has changed in the schedules that live in YAML; nothing where they are as they were.

    Args:
        store: the schedules table.
        definitions: every schedule in YAML by its name, as plain JSON values.
        timing: what decides a definition's fires and windows (`ScheduleSpec.timing`). It may raise CallerMistake
            for a recorded one that makes no sense any more.
        loaded_at: when they were loaded; aware.
        by: who recorded it.
        why: what is said with it.
        complete: whether these are all of them. Where a file could not be read they are not, and schedules that
            are missing are not taken for removed: one that comes back would have lost what was due meanwhile.

    Raises:
        PermanentFailure: there is no such table, or no access.
        TransientFailure: DynamoDB cannot be reached.
    """
    _, stored = store.all()
    revisions: list[Revision] = []
    clashes: dict[str, str] = {}
    names = [*definitions, *(name for name, each in stored.items() if complete and each.source == YAML)]
    for name in dict.fromkeys(names):
        current = stored.get(name)
        # As they come back from the table.
        wanted = json.loads(definition_text(name, definitions[name])) if name in definitions else None
        if current is not None and current.source != YAML:
            clashes[name] = _clash(current)
            continue
        revision = _record(store, name, current, wanted, timing, {"by": by, "why": why, "now": loaded_at})
        if revision is not None:
            revisions.append(revision)
    return Recorded(tuple(revisions), clashes)


def _record(
    store: ScheduleStore,
    name: str,
    current: Stored | None,
    wanted: Mapping[str, Any] | None,
    timing: Callable[[Mapping[str, Any]], object],
    trail: dict[str, Any],
) -> Revision | None:
    for _ in range(_TRIES):
        if current is None and wanted is None:
            return None
        if current is not None and current.source != YAML:
            return None  # added at run time just now; the next time it is a clash
        if current is not None and wanted is not None and not current.problems and current.definition == wanted:
            return None
        try:
            if wanted is None:
                expected = current.revision if current else 0
                return store.remove(name, source=YAML, expected=expected, **trail)
            return store.put(
                name,
                wanted,
                source=YAML,
                expected=current.revision if current else None,
                timing_changed=current is None or _differs(timing, current.definition, wanted),
                **trail,
            )
        except StaleEdit:
            # Another process loads the same files.
            current = store.get(name)
    logger.warning("The schedule %s is being recorded by others all the time; its change is not recorded.", name)
    return None


def _differs(
    timing: Callable[[Mapping[str, Any]], object], before: Mapping[str, Any], after: Mapping[str, Any]
) -> bool:
    try:
        return timing(before) != timing(after)
    except CallerMistake:
        return True


def _clash(stored: Stored) -> str:
    return (
        f"The schedule {stored.name} in YAML is not used: a stored one has the name already (revision"
        f" {stored.revision}, by {stored.by}). Rename one of them, or remove the stored one:"
        f" `report-pipeline schedules remove {stored.name}`."
    )
