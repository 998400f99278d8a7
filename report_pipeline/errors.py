"""What can go wrong, in words for the person who has to mend it.

Every message names what was wrong, where, what was expected and what to do. The command line prints
the message alone; a traceback means a defect of ours.
"""


class PipelineError(Exception):
    """Something failed that the user can do something about. The command line exits with `exit_code`."""

    exit_code = 1


class CallerMistake(PipelineError):
    """What was asked for cannot be: an unknown name, a bad window, an unreadable file."""

    exit_code = 2


class PermanentFailure(PipelineError):
    """No retry can mend this: no access, no such table, another key, a broken definition."""


class TransientFailure(PipelineError):
    """A later try may succeed: the service is unreachable, throttled, or another writer was faster."""
