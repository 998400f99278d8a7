"""Files as they come: in which form, packed or not, whole or not."""

import gzip
import json
import os
from pathlib import Path

import pytest

from report_pipeline.errors import CallerMistake
from report_pipeline.events.files import FlatEvent, Refused, detect, read_events

NDJSON = '{"request_id": "a", "created": "x"}\n{"request_id": "b"}\n'
DOCUMENT = json.dumps({"id": "1", "properties": {"p": {"visitors": {"v": {"events": [{"request_id": "a"}]}}}}})
LOG = '192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5 "-" "Agent"\n'


def pack(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "input.dat"


def write(file: Path, content: str | bytes) -> Path:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (NDJSON, "ndjson"),
        ("\n\n" + NDJSON, "ndjson"),
        ("\ufeff" + NDJSON, "ndjson"),
        ('{"created": "x"}', "ndjson"),
        ('{"properties": {"color": "red"}, "request_id": "a"}\n', "ndjson"),
        ('{"request_id": "a", "properties": {"color": "red"}}\n', "ndjson"),
        ('{"created": "2019\n{"request_id": "b"}\n', "ndjson"),
        ('{"x": "' + "y" * 300_000 + '", "request_id": "a"}\n', "events-json"),
        ('{"request_id": "a", "x": "' + "y" * 300_000 + '"}\n', "ndjson"),
        (DOCUMENT, "events-json"),
        (json.dumps(json.loads(DOCUMENT), indent=2), "events-json"),
        (json.dumps(json.loads(DOCUMENT), indent=0), "events-json"),
        ("{\n", "events-json"),
        ('{\n"request_id": "a"}\n', "events-json"),
        ('{"id": "1", "name": "' + "n" * 10, "events-json"),
        (LOG, "combined-log"),
        ("# a comment\n" + LOG, "combined-log"),
        (LOG[:-8] + "\n", "combined-log"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_the_form_is_told_by_content(file: Path, text: str, form: str, packed: bool) -> None:
    assert detect(write(file, pack(text) if packed else text)) == form


@pytest.mark.parametrize("text", [NDJSON, DOCUMENT, LOG * 3])
def test_packed_and_plain_files_have_the_same_events(file: Path, text: str) -> None:
    plain = list(read_events(write(file, text)))
    packed = list(read_events(write(file, pack(text))))
    in_two_parts = pack(text[:10]) + pack(text[10:])
    assert plain == packed == list(read_events(write(file, in_two_parts)))
    assert all(isinstance(event, FlatEvent) for event in plain)


def test_events_have_their_line(file: Path) -> None:
    assert list(read_events(write(file, NDJSON))) == [
        FlatEvent({"request_id": "a", "created": "x"}, 1),
        FlatEvent({"request_id": "b"}, 2),
    ]


def test_what_dynamodb_cannot_hold_is_refused_and_the_rest_goes_on(file: Path) -> None:
    lines = [
        '{"request_id": "good"}',
        '{"created": "2019-06-22T00:00:00Z"}',
        '{"request_id": ""}',
        '{"request_id": 7}',
        json.dumps({"request_id": "x" * 2049}),
        '{"request_id": "b", "x": NaN}',
        '{"request_id": "c", "x": 1234567890123456789012345678901234567890.5}',
        json.dumps({"request_id": "d", "x": "y" * 410_000}),
        '{"request_id": "e", "x": "\\ud800"}',
        '{"request_id": "f", "x": }',
        "17",
        '{"request_id": "no time at all is fine here"}',
    ]
    events = list(read_events(write(file, "\n".join(lines) + "\n")))
    assert [event.line for event in events] == list(range(1, 13))
    assert isinstance(events[0], FlatEvent)
    assert isinstance(events[-1], FlatEvent)
    reasons = [event.reason for event in events if isinstance(event, Refused)]
    assert [reason.split(" at column")[0] for reason in reasons] == [
        "request_id is missing",
        "request_id is empty",
        "request_id is not a text",
        "request_id is longer than 2048 bytes",
        "x is not a finite number of a size that DynamoDB stores",
        "x has more than 38 significant digits",
        "it takes 410,012 bytes, more than the 409,600 of an item",
        "x is not valid Unicode (half of a surrogate pair)",
        "is not JSON: Expecting value",
        "is not a JSON object, one flat event",
    ]


def mistake(file: Path, form: str = "auto") -> str:
    with pytest.raises(CallerMistake) as caught:
        list(read_events(file, form))
    message = str(caught.value)
    assert "\n" not in message, "one line"
    return message


def test_a_file_that_is_no_file_is_named(tmp_path: Path) -> None:
    assert mistake(tmp_path / "absent.json") == f"{tmp_path}/absent.json: no such file"
    assert mistake(tmp_path) == f"{tmp_path}: is a directory; expected a file of events"
    assert mistake(tmp_path / ("x" * 300)).startswith(f"{tmp_path}/x")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert mistake(pipe) == f"{pipe}: is not a regular file, and a file of events is read twice"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", ": is empty; expected events"),
        (b" \n\n\t", ": is empty; expected events"),
        (pack(""), ": is empty; expected events"),
        (pack(NDJSON)[:20], ":1: the gzip data is cut off here"),
        (pack(NDJSON)[:-4], ":1: the gzip data is cut off here"),
        (pack(NDJSON)[:-8] + b"damage!!", ":1: the gzip data is damaged here"),
        (b"\x1f\x8b", ":1: the gzip data is cut off here"),
        (b"\x1f\x8bnonsense", ":1: the gzip data is damaged here"),
        (b"PK\x03\x04 and so on", ": is a zip archive; expected plain text or gzip"),
        (NDJSON.encode("utf-16"), ":1: is UTF-16 text; expected UTF-8"),
        (bytes(range(256)), ":1: is binary, and in no known form. Known are, each also gzipped: events-json, "),
        (b"date,count\n2019-06-22,5\n", ":1: is in no known form. Known are, each also gzipped: events-json, "),
        (b"[1, 2]", ":1: is in no known form."),
        (DOCUMENT[:-1].encode(), ":1: the document is cut off here"),
        (DOCUMENT[:40].encode(), ":1: the document is cut off here"),
        (NDJSON[:-5].encode(), ":2: the last line is cut off"),
        ((LOG * 2)[:-5].encode(), ":2: the last line is cut off"),
        (b'{"id": 1,\n"name": "x"}', ":1: the document has no `properties`, so it is not of the form events-json"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clear_line(file: Path, content: bytes, says: str) -> None:
    assert mistake(write(file, content)).startswith(f"{file}{says}")


def test_a_gzip_that_ends_too_early_says_in_which_line(file: Path) -> None:
    lines = "".join(f'{{"request_id": "{os.urandom(50).hex()}"}}\n' for _ in range(3000))
    packed = pack(lines)
    events: list[FlatEvent | Refused] = []
    with pytest.raises(CallerMistake, match=r":\d{4}: the gzip data is cut off here$"):
        events.extend(read_events(write(file, packed[:-1000])))


def test_the_form_can_be_given(file: Path) -> None:
    write(file, "nonsense\n")
    assert list(read_events(file, "combined-log")) == [Refused(1, "is not a line of the combined log format")]
    assert mistake(file, "ndjsn") == "'ndjsn' is not a form of events; did you mean ndjson?"
    assert mistake(write(file, ""), "ndjson") == f"{file}: is empty; expected events"
    assert mistake(write(file, "nonsense"), "events-json") == f"{file}:1: the document: an object belongs here"


def test_files_are_closed(file: Path) -> None:
    events = read_events(write(file, pack(NDJSON)))
    next(iter(events))
    events.close()  # type: ignore[attr-defined]  # a generator; a file left open would be a ResourceWarning
