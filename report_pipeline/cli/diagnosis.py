"""What `doctor` finds: facts for programs, words for people, and problems with what to do about each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from report_pipeline.cli.output import say
from report_pipeline.errors import PipelineError


@dataclass
class Diagnosis:
    """What was found: facts for programs, and the problems with what to do about each."""

    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[dict[str, str]] = field(default_factory=list)

    def good(self, text: str) -> None:
        """Tell of something that fits."""
        say(f"  ok    {text}")

    def note(self, text: str) -> None:
        """Tell of something that is neither good nor wrong."""
        say(f"        {text}")

    def problem(self, what: str, remedy: str) -> None:
        """Record something that does not fit, and tell of it."""
        self.problems.append({"problem": what, "remedy": remedy})
        say(f"  WRONG {what}\n        {remedy}")

    def attempt(self, examine: Callable[[], None]) -> bool:
        """Run one examination; what it cannot do becomes a problem. Whether it got through."""
        try:
            examine()
        except PipelineError as error:
            # An error's message already says what to do.
            first, _, rest = str(error).partition(". ")
            self.problem(f"{first.rstrip('.')}.", rest or "See `report-pipeline doctor --help`.")
            return False
        return True
