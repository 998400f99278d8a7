"""What is remembered of a report's refreshes from one decision to the next, as text that a cursor can hold."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from report_pipeline.errors import CallerMistake, PermanentFailure
from report_pipeline.events.touched import Change, Touched
from report_pipeline.instants import format_instant, parse_instant
from report_pipeline.windows import Window

_FORM = 1


@dataclass(frozen=True)
class Sweep:
    """Changes that touch more windows than are wanted at once, gone through from the newest windows to the oldest.

    Attributes:
        change: what is still to be gone through.
        below: windows that end later (UTC) are done; None where none is.
    """

    change: Change
    below: datetime | None = None


@dataclass(frozen=True)
class Wanted:
    """Why a window is wanted, since when, and when it may be asked for.

    Attributes:
        since: when it was first found to be wanted, in UTC.
        version: the version of the archive whose events have to be in its report; None where none touched it.
        first: it is a cadence's, has ended, and was not published.
        final: its report was provisional, and can be final.
        tries: how often a run for it has failed.
        not_before: when it may be asked for again, in UTC.
    """

    since: datetime
    version: int | None = None
    first: bool = False
    final: bool = False
    tries: int = 0
    not_before: datetime | None = None

    def and_also(self, other: "Wanted") -> "Wanted":
        """Both wishes as one, as patient as the more patient of them."""
        versions = [each.version for each in (self, other) if each.version is not None]
        pauses = [each.not_before for each in (self, other) if each.not_before is not None]
        return Wanted(
            since=min(self.since, other.since),
            version=max(versions, default=None),
            first=self.first or other.first,
            final=self.final or other.final,
            tries=max(self.tries, other.tries),
            not_before=max(pauses, default=None),
        )


@dataclass(frozen=True)
class State:
    """How far a report's refreshes are.

    Attributes:
        epoch, version: the archive's, up to which its changes are known here. The versions in `touched`,
            `sweep`, `wanted` and `asked` are of this epoch; 0 stands for all earlier epochs.
        complete: cadence windows that end up to and with this instant have been wanted, in UTC.
        final: published windows that end up to and with this instant have been looked at for being final, in UTC.
        looked: when that was, in UTC.
        last: when something was requested last, in UTC.
        touched: changes whose windows have not been looked for.
        sweep: larger ones that are being gone through.
        wanted: windows to be requested.
        asked: windows that were requested, by the request's id, while it is not known how that ended.
    """

    epoch: str
    version: int
    complete: datetime
    final: datetime
    looked: datetime
    last: datetime | None = None
    touched: tuple[Change, ...] = ()
    sweep: Sweep | None = None
    wanted: Mapping[Window, Wanted] = field(default_factory=dict)
    asked: Mapping[str, Mapping[Window, Wanted]] = field(default_factory=dict)

    def in_epoch(self, epoch: str) -> "State":
        """The same in another epoch, which holds all that the former one held when it took its place.

        Its watermark may be a little earlier, and what is built then provisional again: a day is looked at anew.
        """
        if epoch == self.epoch:
            return self
        asked = {request: _reset(windows) for request, windows in self.asked.items()}
        touched = tuple(Change(0, change.touched) for change in self.touched)
        sweep = self.sweep and Sweep(Change(0, self.sweep.change.touched), self.sweep.below)
        return replace(
            self,
            epoch=epoch,
            version=0,
            final=self.final - timedelta(days=1),
            touched=touched,
            sweep=sweep,
            wanted=_reset(self.wanted),
            asked=asked,
        )

    def to_text(self) -> str:
        """The state as JSON text."""
        told = {
            "form": _FORM,
            "epoch": self.epoch,
            "version": self.version,
            "complete": format_instant(self.complete),
            "final": format_instant(self.final),
            "looked": format_instant(self.looked),
            "last": _text(self.last),
            "touched": [_change(change) for change in self.touched],
            "sweep": [*_change(self.sweep.change), _text(self.sweep.below)] if self.sweep else None,
            "wanted": _windows(self.wanted),
            "asked": {request: _windows(windows) for request, windows in self.asked.items()},
        }
        return json.dumps(told, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> "State":
        """The state that `to_text` wrote.

        Raises:
            PermanentFailure: the text is none of those.
        """
        try:
            told = json.loads(text)
            if told["form"] != _FORM:
                raise ValueError(f"its form is {told['form']}, expected {_FORM}")
            sweep = told["sweep"]
            return cls(
                epoch=told["epoch"],
                version=told["version"],
                complete=parse_instant(told["complete"]),
                final=parse_instant(told["final"]),
                looked=parse_instant(told["looked"]),
                last=_instant(told["last"]),
                touched=tuple(_read_change(*change) for change in told["touched"]),
                sweep=Sweep(_read_change(*sweep[:2]), _instant(sweep[2])) if sweep else None,
                wanted=_read_windows(told["wanted"]),
                asked={request: _read_windows(windows) for request, windows in told["asked"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError, CallerMistake) as error:
            raise PermanentFailure(
                f"The state of a refresh cannot be read ({type(error).__name__}: {error}). Reset it, for instance the"
                " sensor's cursor in the UI: the refresh then starts at the present; what has changed since its last"
                " tick has to be built by hand."
            ) from None


def _reset(windows: Mapping[Window, Wanted]) -> dict[Window, Wanted]:
    return {
        window: wanted if wanted.version is None else replace(wanted, version=0) for window, wanted in windows.items()
    }


def _change(change: Change) -> list[Any]:
    return [change.version, change.touched.to_text()]


def _read_change(version: int, touched: str) -> Change:
    return Change(version, Touched.from_text(touched))


def _windows(windows: Mapping[Window, Wanted]) -> dict[str, list[Any]]:
    return {
        window.key: [
            format_instant(wanted.since),
            wanted.version,
            int(wanted.first),
            int(wanted.final),
            wanted.tries,
            _text(wanted.not_before),
        ]
        for window, wanted in windows.items()
    }


def _read_windows(told: Mapping[str, list[Any]]) -> dict[Window, Wanted]:
    return {
        Window.from_key(key): Wanted(
            parse_instant(since), version, bool(first), bool(final), tries, _instant(not_before)
        )
        for key, (since, version, first, final, tries, not_before) in told.items()
    }


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else format_instant(instant)


def _instant(text: str | None) -> datetime | None:
    return None if text is None else parse_instant(text)
