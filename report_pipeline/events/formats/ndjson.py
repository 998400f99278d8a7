"""ndjson: one flat event a line, as a JSON object. Blank lines are passed over."""

from collections.abc import Iterable, Iterator

from report_pipeline.events.formats import Record, Unreadable
from report_pipeline.events.formats.exact_json import BadJson, parse


def read(lines: Iterable[bytes]) -> Iterator[Record]:
    """The events, one a line; a line that isn't a JSON object is a record with the reason.

    Raises:
        Unreadable: the last line is cut off.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            event = parse(line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip())
        except UnicodeDecodeError:
            yield Record(number, {}, "is not UTF-8 text")
        except BadJson as error:
            if error.cut_off and not line.endswith(b"\n"):
                raise Unreadable(number, "the last line is cut off") from None
            yield Record(number, {}, f"is not JSON: {error} at column {error.position + 1}")
        else:
            if isinstance(event, dict):
                yield Record(number, event)
            else:
                yield Record(number, {}, "is not a JSON object, one flat event")
