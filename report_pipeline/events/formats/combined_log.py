"""combined-log: the combined access log of Apache (`LogFormat … combined`) and nginx.

    ADDRESS IDENT USER [17/May/2015:10:05:03 +0000] "GET /path?query HTTP/1.1" 200 2326 "REFERRER" "USER AGENT"

A line counts as a hit as long as address, time, request, status and size can be read: the referrer and
the user agent may be missing or never closed, and what follows them is ignored. A dash means "nothing".
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from report_pipeline.events.formats import DEFAULT_SCHEMA, Record, Unreadable
from report_pipeline.events.schema import EventSchema
from report_pipeline.events.times import TimeFormat, format_time, parse_time

# Possessive quantifiers keep the time linear, whatever a line holds.
_QUOTED = r'(?:[^"\\]|\\.)*+'
_LINE = re.compile(
    r"\s*+(?P<address>\S++)\s++(?P<ident>\S++)\s++(?P<user>[^\[]*+)\[(?P<time>[^\]]*+)\]"
    rf'\s++"(?P<request>{_QUOTED})"\s++(?P<status>\d{{3}}|-)\s++(?P<bytes>\d++|-)(?=\s|$)'
    rf'(?:\s++"(?P<referrer>{_QUOTED}\\?)(?:"|$))?'
    rf'(?:\s++"(?P<agent>{_QUOTED}\\?)(?P<agent_end>"|$))?',
    re.ASCII,
)
_METHOD = re.compile(r"[A-Za-z][A-Za-z_-]*", re.ASCII)
_PROTOCOL = re.compile(r"[A-Za-z]+/\d\S*", re.ASCII)
_TIME = re.compile(
    r"(?P<day>\d\d)/(?P<month>[A-Z][a-z]{2})/(?P<year>\d{4}):(?P<time>\d\d:\d\d:\d\d) "
    r"(?P<hours>[+-]\d\d)(?P<minutes>\d\d)",
    re.ASCII,
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def looks_like(line: str) -> bool:
    """Whether a line is one of such a log."""
    return _LINE.match(line) is not None


def read(lines: Iterable[bytes], schema: EventSchema = DEFAULT_SCHEMA) -> Iterator[Record]:
    """The hits, one a line; blank lines are passed over. Time and visitor get the schema's names.

    A hit's `request_id` is derived from the file's first line, the line's number and its text: the
    same file, grown or packed, gives the same ones. Bytes that are not UTF-8 are kept as \\xhh.

    Raises:
        Unreadable: the last line is cut off.
    """
    first = b""
    quoted = True
    for number, line in enumerate(lines, start=1):
        raw = line.rstrip(b"\r\n")
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
            first = hashlib.sha256(raw).digest()
        text = raw.decode("utf-8", errors="backslashreplace")
        if not text.strip():
            continue
        match = _LINE.match(text)
        complete = match is not None and match["agent_end"] == '"'
        if number == 1:
            quoted = complete
        if quoted and not complete and not line.endswith(b"\n"):
            raise Unreadable(number, "the last line is cut off")
        if match is None:
            yield Record(number, {}, "is not a line of the combined log format")
            continue
        request_id = hashlib.sha256(first + b"%d " % number + raw).hexdigest()[:32]
        yield Record(number, {"request_id": request_id, **_event(match, schema)})


def _event(match: re.Match[str], schema: EventSchema) -> dict[str, Any]:
    address, agent = match["address"], match["agent"] or ""
    event: dict[str, Any] = {
        schema.time.attribute: _time(match["time"], schema.time.format),
        schema.visitor: hashlib.sha256(f"{address}\n{agent}".encode()).hexdigest()[:32],
        "type": "request",
        "ip_address": address,
        # The common log format writes a dash where no bytes were sent.
        "bytes": Decimal(0 if match["bytes"] == "-" else match["bytes"]),
    }
    if match["status"] != "-":
        event["status"] = Decimal(match["status"])
    request = _request(match["request"])
    event |= request
    optional = {
        "request": None if request else match["request"],
        "ident": match["ident"],
        "remote_user": match["user"].strip(),
        "referrer": match["referrer"],
        "user_agent": agent,
    }
    return event | {name: text for name, text in optional.items() if text and text != "-"}


def _request(line: str) -> dict[str, str]:
    """Method, path, query and protocol of a request line; nothing if it isn't one."""
    method, _, rest = line.partition(" ")
    target, _, protocol = rest.rpartition(" ")
    if not target or not _PROTOCOL.fullmatch(protocol):
        target, protocol = rest, ""
    if not _METHOD.fullmatch(method) or not target:
        return {}
    path, mark, query = target.partition("?")
    parts = {"method": method, "pathname": path}
    if mark:
        parts["query"] = query
    if protocol:
        parts["protocol"] = protocol
    return parts


def _time(text: str, form: TimeFormat) -> str | Decimal:
    """A log's time in the schema's form; one that cannot be read stays as it is, for the quarantine."""
    match = _TIME.fullmatch(text)
    if not match or match["month"] not in _MONTHS:
        return text
    date = f"{match['year']}-{_MONTHS.index(match['month']) + 1:02}-{match['day']}"
    iso = f"{date}T{match['time']}{match['hours']}:{match['minutes']}"
    if form is TimeFormat.ISO8601:
        return iso
    try:
        return format_time(parse_time({"S": iso}, TimeFormat.ISO8601), form)
    except ValueError:
        return text
