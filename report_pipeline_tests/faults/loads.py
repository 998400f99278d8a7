"""How a seeded run loads the table: by the real load, or by a small one over the same epochs, which takes moments."""

import random
from datetime import date, datetime, timedelta
from typing import Any

from report_pipeline import points
from report_pipeline.errors import TransientFailure
from report_pipeline.events import delta
from report_pipeline.events.archive import Archive
from report_pipeline.events.carry import live_rows
from report_pipeline.events.epoch import Epoch
from report_pipeline.events.follow import Follower, start_position
from report_pipeline.events.schema import Expired
from report_pipeline.events.upkeep import upkeep
from report_pipeline.events.versions import SCANNED, version
from report_pipeline_tests.faults.world import World


class Loader:
    """Loads the world's table into the archive, and keeps the archive up."""

    def __init__(self, archive: Archive, world: World, *, real: bool) -> None:
        self._archive = archive
        self._world = world
        self._real = real

    def load(self, follower: Follower, rng: random.Random) -> None:
        """Load the table into a new epoch and have readers use it.

        Raises:
            TransientFailure: the stream got a gap meanwhile.
        """
        self._load_small(follower, rng)

    def upkeep(self, *, force: bool) -> None:
        """Keep the archive up."""
        upkeep(
            self._archive,
            clock=lambda: self._world.now,
            files=3,
            retention_days=self._world.plan.retention_days,
            force=force,
        )

    def _load_small(self, follower: Follower, rng: random.Random) -> None:
        world, index, began = self._world, self._archive.index, self._world.now
        staging = index.claim(began, self._archive.digest, instead_of=index.entries().staging)
        assert staging is not None
        points.reached("load.claimed")
        epoch = self._archive.epoch(staging.epoch)
        opened = epoch.create(start_position(follower.stream.info(), began))
        points.reached("load.before_scan_commit")
        scanned = dict(world.table.items)
        read_at = world.now
        points.reached("load.after_scan_commit")
        rows = [world.rows.live(scanned[name], version(1, SCANNED), appended=False) for name in scanned]
        floor = self._floor(began)
        rows = [row for row in rows if floor is None or row["day"] is None or row["day"] >= floor]
        rows += self._expired(epoch, follower, set(scanned), began, floor)
        rng.shuffle(rows)
        try:
            opened.append_merged(world.rows.table(rows), {})
        except delta.Overtaken:
            raise TransientFailure("overtaken while loading") from None
        points.reached("load.sorted_part")
        if (gap := follower.catch_up(world.now, epoch=epoch).gap) is not None:
            index.abandon(staging, world.now)
            raise TransientFailure(f"gap while loading: {gap.why}")
        points.reached("load.before_switch")
        index.switch(staging, world.now, loaded_at=read_at, floor=floor)
        points.reached("load.after_switch")

    def _expired(
        self, epoch: Epoch, follower: Follower, scanned: set[str], began: datetime, floor: date | None
    ) -> list[dict[str, Any]]:
        """What the archive has, the table no longer, and the table's TTL has removed."""
        before = self._archive.current()
        if before is None or self._world.schema.expired is Expired.REMOVE:
            return []
        opened = before.open()
        if opened.position.gap is None and opened.position.stream == epoch.open().position.stream:
            follower.catch_up(began, epoch=before)
            opened = before.open()
        return [
            row
            for rows in live_rows(opened, floor)
            for row in rows.to_pylist(maps_as_pydicts="strict")
            if row["request_id"] not in scanned and row["_expires"] is not None and row["_expires"] <= began
        ]

    def _floor(self, now: datetime) -> date | None:
        kept = self._world.plan.retention_days
        return None if kept is None else now.date() - timedelta(days=kept)
