"""Schedules that are made and changed at run time, in DynamoDB, with the trail of every change.

One table, partition key `pk`, sort key `sk`, both strings:

    definition        NAME        a schedule as it is now, with the former lives that still matter
    history#NAME      NUMBER      one change of it: when, who, why, before and after
    version           version     how many changes there have been of all schedules

Every change is one transaction over the three. It is refused where the schedule is no longer the one that was
read, so two people who edit the same schedule cannot undo each other's work unseen. A removed schedule keeps its
history, and one that comes back under its name goes on with its numbers.
"""

import logging
import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from report_pipeline.dynamo import Item, dynamo_errors
from report_pipeline.errors import CallerMistake
from report_pipeline.instants import format_instant
from report_pipeline.schedules.stored import (
    CURRENT,
    Definition,
    Earlier,
    Revision,
    Source,
    Stored,
    checked,
    current_item,
    current_key,
    definition_text,
    later_lives,
    read_current,
    read_revision,
    revision_item,
    revision_key,
    revision_partition,
)
from report_pipeline.schedules.transaction import transact
from report_pipeline.tables import PK_SK, check_pk_sk, create_table, describe_table, query

__all__ = ["Definition", "Earlier", "Revision", "ScheduleStore", "Source", "StaleEdit", "Stored"]

_VERSION_KEY = {"pk": {"S": "version"}, "sk": {"S": "version"}}
_READS_BEFORE_GIVING_UP = 5
_WRONG_CLOCK = timedelta(days=1)

logger = logging.getLogger(__name__)


class StaleEdit(CallerMistake):
    """The schedule is no longer the one that was read. Nothing was changed."""


class ScheduleStore:
    """The schedules table. May be shared by threads, as its client may."""

    def __init__(self, client: Any, table: str) -> None:
        """`client` is a low-level DynamoDB client of boto3, `table` the table's name. Nothing is read yet."""
        self._client = client
        self._table = table

    @property
    def table(self) -> str:
        """The table's name."""
        return self._table

    def create(self) -> None:
        """Create the table, on demand, and wait until it can be used. One that exists stays as it is."""
        create_table(self._client, self._table, PK_SK)

    def exists(self) -> bool:
        """Whether there is a table of that name."""
        return describe_table(self._client, self._table) is not None

    def check(self) -> None:
        """Make sure that the table is there and has the keys that schedules need.

        Raises:
            PermanentFailure: there is none, or it has other keys; the message names table and keys.
        """
        check_pk_sk(self._client, self._table, "schedules")

    def version(self) -> int:
        """How many changes there have been, 0 where there was none: it rises with each. One consistent read of an item.

        Raises:
            PermanentFailure: there is no such table, or no access.
            TransientFailure: DynamoDB cannot be reached.
        """
        with dynamo_errors("reading the version of the schedules", self._table):
            item = self._client.get_item(TableName=self._table, Key=_VERSION_KEY, ConsistentRead=True).get("Item")
        return int(item["changes"]["N"]) if item else 0

    def all(self) -> tuple[int, dict[str, Stored]]:
        """Every schedule by its name, in the order of names, and the version of which they are.

        Entries that cannot be used are among them, with `problems`. Where changes go on while this reads, the
        schedules may be newer than the version, never older: whoever looks for another version then reads again.

        Raises:
            PermanentFailure, TransientFailure: as in `version`.
        """
        version = self.version()
        for _ in range(_READS_BEFORE_GIVING_UP):
            items = query(self._client, self._table, "reading the schedules", "pk = :pk", {":pk": {"S": CURRENT}})
            found = {stored.name: stored for stored in map(read_current, items)}
            read, version = version, self.version()
            if version == read:
                break
        return read, found

    def get(self, name: str) -> Stored | None:
        """One schedule, read consistently; None where there is none of that name."""
        item = self._item(name)
        return read_current(item) if item else None

    def history(self, name: str, limit: int = 100) -> list[Revision]:
        """The changes of a schedule, the newest first, at most so many; also of one that was removed."""
        revisions = []
        for item in self._newest(name, limit):
            try:
                revisions.append(read_revision(item))
            except ValueError as error:
                logger.warning(
                    "Table %s: the item %s %s is no change of a schedule and is left out: %s",
                    self._table,
                    item["pk"]["S"],
                    item["sk"]["S"],
                    error,
                )
        return revisions

    def put(
        self,
        name: str,
        definition: Mapping[str, Any],
        *,
        source: Source,
        by: str,
        why: str,
        now: datetime,
        expected: int | None,
        timing_changed: bool,
    ) -> Revision:
        """Make this the definition of a schedule.

        Args:
            name: the schedule's name.
            definition: plain JSON values; stored as they are, whether they make sense or not.
            source: how it is changed.
            by: who changes it.
            why: in their words; may be empty.
            now: the editor's clock, aware. Where it runs behind, by less than a day, the change counts as made right
                after the one before.
            expected: the revision that was read; None where there was no such schedule.
            timing_changed: whether its fires or windows are others now, so that a new life begins with this change.

        Raises:
            StaleEdit: the schedule is no longer that revision; the message says who changed it when.
            CallerMistake: the definition is too large.
            PermanentFailure: there is no such table, or no access.
            TransientFailure: DynamoDB cannot be reached, or it is not clear whether the change was made.
        """
        return self._change(name, dict(definition), source, by, why, now, expected, timing_changed)

    def remove(self, name: str, *, by: str, why: str, now: datetime, source: Source, expected: int) -> Revision:
        """Remove a schedule; its history stays. Arguments and errors as in `put`."""
        return self._change(name, None, source, by, why, now, expected, True)

    def _change(
        self,
        name: str,
        after: Definition | None,
        source: Source,
        by: str,
        why: str,
        now: datetime,
        expected: int | None,
        timing_changed: bool,
    ) -> Revision:
        if after is not None:
            definition_text(name, after)
        item = self._item(name)
        current = read_current(item) if item else None
        newest = next(iter(self._newest(name, 1)), None)
        if (current.revision if current else None) != expected:
            raise self._stale(name, expected)
        numbers = [current.revision if current else 0, int(newest["sk"]["S"]) if newest else 0]
        at = _later(now, current, newest)
        revision = Revision(
            name=name,
            number=max(numbers) + 1,
            at=at,
            by=checked(by, "The name"),
            why=checked(why, "The reason"),
            source=source,
            before=current.definition if current else None,
            after=after,
        )
        token = secrets.token_hex(16)
        writes = [
            self._write_current(revision, item, current, timing_changed),
            self._put(revision_item(revision, token), {"ConditionExpression": "attribute_not_exists(pk)"}),
            self._count(),
        ]
        if transact(
            self._client,
            self._table,
            writes,
            token=token,
            action=f"changing the schedule {name}",
            is_done=lambda: self._is_there(revision, token),
        ):
            return revision
        raise self._stale(name, expected)

    def _write_current(
        self, revision: Revision, item: Item | None, current: Stored | None, timing_changed: bool
    ) -> dict[str, Any]:
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if item is not None and "revision" in item:
            # As it was read, so that an entry that something else has broken can be replaced and removed too.
            values = {":read": item["revision"]}
            condition = {"ConditionExpression": "revision = :read", "ExpressionAttributeValues": values}
        elif item is not None:
            condition = {"ConditionExpression": "attribute_exists(pk) AND attribute_not_exists(revision)"}
        if revision.after is None:
            return {"Delete": {"TableName": self._table, "Key": current_key(revision.name), **condition}}
        stored = Stored(
            name=revision.name,
            definition=revision.after,
            revision=revision.number,
            changed_at=revision.at,
            since=revision.at,
            source=revision.source,
            by=revision.by,
        )
        if current is not None and not current.problems:
            if timing_changed:
                stored = replace(stored, earlier=later_lives(current, revision.at))
            else:
                stored = replace(stored, since=current.since, earlier=current.earlier)
        return self._put(current_item(stored), condition)

    def _put(self, item: Item, condition: Mapping[str, Any]) -> dict[str, Any]:
        return {"Put": {"TableName": self._table, "Item": item, **condition}}

    def _count(self) -> dict[str, Any]:
        return {
            "Update": {
                "TableName": self._table,
                "Key": _VERSION_KEY,
                "UpdateExpression": "ADD #changes :one",
                "ExpressionAttributeNames": {"#changes": "changes"},
                "ExpressionAttributeValues": {":one": {"N": "1"}},
            }
        }

    def _is_there(self, revision: Revision, token: str) -> bool:
        key = revision_key(revision.name, revision.number)
        with dynamo_errors("reading the history of a schedule", self._table):
            item = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True).get("Item")
        return bool(item and item.get("token", {}).get("S") == token)

    def _stale(self, name: str, expected: int | None) -> StaleEdit:
        current = self.get(name)
        newest = next(iter(self.history(name, 1)), None)
        told = f" by {newest.by} at {format_instant(newest.at)}" if newest else ""
        if current is not None and expected is None:
            return StaleEdit(
                f"There is a schedule {name} already (revision {current.revision}, made{told}). Choose another name, or"
                " change that one."
            )
        if current is None and newest is None:
            return StaleEdit(f"There is no schedule {name} in the table {self._table!r}, and never was one.")
        happened = "was removed" if current is None else "was changed"
        known = f"revision {expected}" if expected is not None else "none"
        now = current.revision if current else newest.number if newest else 0
        return StaleEdit(f"{name} {happened}{told} since you read it ({known}, now {now}). Read it again.")

    def _item(self, name: str) -> Item | None:
        with dynamo_errors("reading a schedule", self._table):
            answer = self._client.get_item(TableName=self._table, Key=current_key(name), ConsistentRead=True)
        item: Item | None = answer.get("Item")
        return item

    def _newest(self, name: str, limit: int) -> list[Item]:
        values = {":pk": {"S": revision_partition(name)}}
        action = "reading the history of a schedule"
        return query(self._client, self._table, action, "pk = :pk", values, backward=True, limit=limit)


def _later(now: datetime, current: Stored | None, newest: Item | None) -> datetime:
    """The time of a change: later than the one before it, although the editor's clock may run behind.

    A change that is dated further ahead was made by a clock that was wrong. It must not date all later ones.
    """
    before = [current.changed_at, current.since] if current else []
    if newest is not None:
        try:
            before.append(read_revision(newest).at)
        except ValueError:
            logger.warning("The item %s %s is no change of a schedule.", newest["pk"]["S"], newest["sk"]["S"])
    return max([now, *(each + timedelta(microseconds=1) for each in before if each - now < _WRONG_CLOCK)])
