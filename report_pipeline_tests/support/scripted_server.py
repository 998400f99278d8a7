"""A local HTTP server that answers in the way that a test scripts, faults included."""

import json
import socket
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from report_pipeline_tests.support.serving import serving


@dataclass(frozen=True)
class Answer:
    """One answer. `cut` is how many bytes of the body are sent before the connection is closed; None sends all.

    Without a `checksum` the right one of `body` is sent; an empty one is left out.
    """

    body: bytes = b"{}"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    checksum: str | None = None
    cut: int | None = None

    @classmethod
    def error(cls, code: str, message: str = "no", status: int = 400) -> "Answer":
        """An error as DynamoDB answers with it."""
        words = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}
        return cls(json.dumps(words).encode(), status)


@dataclass(frozen=True)
class Request:
    """One request that came; its headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: Any


class ScriptedServer:
    """Gives its `answers` in turn, the last one for ever; `requests` are those that came."""

    def __init__(self, port: int, scheme: str) -> None:
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.answers: list[Answer] = [Answer()]
        self.requests: list[Request] = []
        self.connections = 0


@contextmanager
def scripted_server(certificate: str | None = None) -> Iterator[ScriptedServer]:
    """Serve on 127.0.0.1; with a file of a key and its certificate by TLS."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def setup(self) -> None:
            super().setup()
            with lock:
                served.connections += 1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                headers = {name.lower(): value for name, value in self.headers.items()}
                served.requests.append(Request(self.path, headers, json.loads(body)))
                answer = served.answers.pop(0) if len(served.answers) > 1 else served.answers[0]
            self.send_response_only(answer.status)
            checksum = str(zlib.crc32(answer.body)) if answer.checksum is None else answer.checksum
            for name, value in {"x-amz-crc32": checksum, **answer.headers}.items():
                if value:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[: answer.cut])
            if answer.cut is not None:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    with serving(Handler, certificate) as port:
        served = ScriptedServer(port, "https" if certificate else "http")
        yield served
