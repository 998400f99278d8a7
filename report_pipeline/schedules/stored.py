"""Schedules as the schedules table holds them: the current definitions, their former lives, and their revisions.

Definitions are kept as JSON text, so that they come back exactly as they were written. What people look for in the
table's console (name, report, revision, when, who) stands beside them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from report_pipeline.dynamo import Item
from report_pipeline.errors import CallerMistake
from report_pipeline.instants import format_instant, parse_instant

Source = Literal["cli", "launchpad", "yaml", "import"]
"""How a change was made."""

Definition = dict[str, Any]
"""A schedule as a person would write it: the plain JSON values of one entry of a YAML file."""

CURRENT = "definition"
LARGEST_DEFINITION = 64_000
"""Bytes of a definition's JSON. An item holds 400 KB: a definition twice, or one and its former lives."""

MOST_LIVES = 50
LIVES_KEPT = timedelta(days=30)
_MOST_LIVES_BYTES = 250_000
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Earlier:
    """A definition that counted for the fires later than `since`, up to and with `until` (UTC)."""

    definition: Definition
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Stored:
    """A schedule as it is stored.

    Attributes:
        name: its name.
        definition: as it was written. It need not be one that makes sense by today's rules.
        revision: the number of the change that made it so.
        changed_at: when that was, UTC.
        since: when its timing was changed last, UTC: its fires are those later than this.
        source: how it was changed; `yaml` for the record of a schedule that lives in a YAML file.
        by: who changed it.
        earlier: its former lives, the newest last, as far as they are kept.
        problems: why the entry cannot be used, each in a sentence; empty where it can. What could not be
            read is then empty, 0, or 1970.
    """

    name: str
    definition: Definition
    revision: int
    changed_at: datetime
    since: datetime
    source: str
    by: str = ""
    earlier: tuple[Earlier, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Revision:
    """One change of a schedule.

    Attributes:
        name: the schedule's name.
        number: counts the changes of this name from 1, and goes on where it was removed and made again.
        at: when, UTC; later than the one before it, unless that one was dated by a clock that was wrong by a day.
        by: who.
        why: in their words; may be empty.
        source: how.
        before: the definition before it; None where there was none.
        after: the definition after it; None where it was removed.
    """

    name: str
    number: int
    at: datetime
    by: str
    why: str
    source: Source
    before: Definition | None
    after: Definition | None


def checked(text: str, what: str) -> str:
    """The same text, if DynamoDB can hold it. `what` begins the message, such as `The reason`.

    Raises:
        CallerMistake: it is no Unicode text.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise CallerMistake(f"{what} {text!r} holds bytes that are no UTF-8 text. Write it anew.") from None
    return text


def definition_text(name: str, definition: Mapping[str, Any]) -> str:
    """A definition as JSON text.

    Raises:
        CallerMistake: it is too large, or holds what no text can.
    """
    try:
        text = json.dumps(definition, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise CallerMistake(f"Schedule {name} cannot be stored: {error}.") from None
    size = len(checked(text, f"Schedule {name}:").encode())
    if size > LARGEST_DEFINITION:
        raise CallerMistake(
            f"Schedule {name} cannot be stored: its definition is {size} bytes long, at most {LARGEST_DEFINITION} are"
            " possible. Make it shorter, or divide it into several schedules."
        )
    return text


def current_key(name: str) -> Item:
    """The key of the item of a schedule."""
    return {"pk": {"S": CURRENT}, "sk": {"S": name}}


def revision_partition(name: str) -> str:
    """The partition key of a schedule's revisions."""
    return f"history#{name}"


def revision_key(name: str, number: int) -> Item:
    """The key of the item of a revision; they sort by their numbers."""
    return {"pk": {"S": revision_partition(name)}, "sk": {"S": f"{number:010}"}}


def current_item(stored: Stored) -> Item:
    """The item of a schedule."""
    return {
        **current_key(stored.name),
        "name": {"S": stored.name},
        "report": {"S": str(stored.definition.get("report", ""))},
        "revision": {"N": str(stored.revision)},
        "changed_at": {"S": format_instant(stored.changed_at)},
        "since": {"S": format_instant(stored.since)},
        "source": {"S": stored.source},
        "by": {"S": stored.by},
        "definition": {"S": definition_text(stored.name, stored.definition)},
        "earlier": {"S": _lives_text(stored.earlier)},
    }


def read_current(item: Item) -> Stored:
    """The schedule of an item. One that is not as we write them has `problems`; this never fails."""
    problems: list[str] = []

    def read(attribute: str, kind: str, parse: Any, otherwise: Any) -> Any:
        value = item.get(attribute, {})
        try:
            return parse(value[kind])
        except (KeyError, TypeError, ValueError, AttributeError, CallerMistake):
            wrong = "is missing" if not value else f"cannot be read ({str(next(iter(value.values())))[:80]!r})"
            problems.append(f"Its attribute {attribute} {wrong}.")
            return otherwise

    stored = Stored(
        name=str(item["sk"]["S"]),
        definition=read("definition", "S", _definition, {}),
        revision=read("revision", "N", int, 0),
        changed_at=read("changed_at", "S", parse_instant, _NEVER),
        since=read("since", "S", parse_instant, _NEVER),
        source=read("source", "S", str, ""),
        by=read("by", "S", str, ""),
        earlier=read("earlier", "S", _lives, ()),
    )
    return replace(stored, problems=tuple(problems))


def revision_item(revision: Revision, token: str) -> Item:
    """The item of a revision. `token` tells afterwards which writer's it is."""
    definitions = {"before": revision.before, "after": revision.after}
    texts = {key: {"S": definition_text(revision.name, each)} for key, each in definitions.items() if each is not None}
    return {
        **revision_key(revision.name, revision.number),
        "name": {"S": revision.name},
        "revision": {"N": str(revision.number)},
        "at": {"S": format_instant(revision.at)},
        "by": {"S": revision.by},
        "why": {"S": revision.why},
        "source": {"S": revision.source},
        "token": {"S": token},
        **texts,
    }


def read_revision(item: Item) -> Revision:
    """The revision of an item.

    Raises:
        ValueError: it is not as we write them.
    """
    try:
        return Revision(
            name=item["name"]["S"],
            number=int(item["sk"]["S"]),
            at=parse_instant(item["at"]["S"]),
            by=item["by"]["S"],
            why=item["why"]["S"],
            source=item["source"]["S"],
            before=_definition(item["before"]["S"]) if "before" in item else None,
            after=_definition(item["after"]["S"]) if "after" in item else None,
        )
    except (KeyError, TypeError, CallerMistake) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def later_lives(stored: Stored, until: datetime) -> tuple[Earlier, ...]:
    """The former lives of a schedule whose present one ends at `until`, as many as are kept.

    The newest is kept whatever its age: `since_last` counts from it. A life that a wrong clock has put after
    `until` has never begun.
    """
    present = Earlier(stored.definition, stored.since, until)
    lives = [replace(each, until=min(each.until, until)) for each in (*stored.earlier, present) if each.since < until]
    recent = [each for each in lives if each.until >= until - LIVES_KEPT]
    lives = (recent or lives[-1:])[-MOST_LIVES:]
    while len(lives) > 1 and len(_lives_text(lives).encode()) > _MOST_LIVES_BYTES:
        del lives[0]
    return tuple(lives)


def to_plain(stored: Stored) -> dict[str, Any]:
    """A stored schedule as plain JSON values."""
    return {
        "definition": stored.definition,
        "revision": stored.revision,
        "changed_at": format_instant(stored.changed_at),
        "since": format_instant(stored.since),
        "source": stored.source,
        "by": stored.by,
        "earlier": [_plain_life(each) for each in stored.earlier],
        "problems": list(stored.problems),
    }


def from_plain(name: str, plain: Mapping[str, Any]) -> Stored:
    """What `to_plain` gave.

    Raises:
        ValueError: it is none of that.
    """
    try:
        return Stored(
            name=name,
            definition=_object(plain["definition"]),
            revision=int(plain["revision"]),
            changed_at=parse_instant(plain["changed_at"]),
            since=parse_instant(plain["since"]),
            source=str(plain["source"]),
            by=str(plain["by"]),
            earlier=tuple(_life(each) for each in plain["earlier"]),
            problems=tuple(str(each) for each in plain["problems"]),
        )
    except (KeyError, TypeError, AttributeError, CallerMistake) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _plain_life(life: Earlier) -> dict[str, Any]:
    return {
        "definition": life.definition,
        "since": format_instant(life.since),
        "until": format_instant(life.until),
    }


def _life(plain: Mapping[str, Any]) -> Earlier:
    return Earlier(_object(plain["definition"]), parse_instant(plain["since"]), parse_instant(plain["until"]))


def _lives_text(lives: Sequence[Earlier]) -> str:
    return json.dumps([_plain_life(each) for each in lives], ensure_ascii=False, separators=(",", ":"))


def _lives(text: str) -> tuple[Earlier, ...]:
    return tuple(_life(each) for each in json.loads(text))


def _definition(text: str) -> Definition:
    return _object(json.loads(text))


def _object(value: Any) -> Definition:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} is no definition")
    return value
