"""Exports of the events table to S3, as DynamoDB writes them: their manifests and their lines.

See "DynamoDB table export output format" in DynamoDB's developer guide. An export is a folder with
`manifest-summary.json`, `manifest-files.json`, their MD5 checksums, and data files of gzipped lines of JSON. The data
of incremental exports lies in a folder that they share, so only a manifest tells what belongs to one. Exports are
read where they lie on S3, or from a local copy, of the folder AWSDynamoDB or of single exports.
"""

import base64
import binascii
import hashlib
import json
import posixpath
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from report_pipeline.errors import CallerMistake, PermanentFailure, PipelineError, TransientFailure
from report_pipeline.instants import parse_instant

ROOT = "AWSDynamoDB"
SUMMARY, FILES = "manifest-summary.json", "manifest-files.json"
FULL, INCREMENTAL = "FULL_EXPORT", "INCREMENTAL_EXPORT"
CHUNK = 1024 * 1024


_S3 = re.compile(r"(?i:s3)://([^/]*)(.*)", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9._-]{3,255}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def source_of(text: str) -> str:
    """Where a person says that exports lie: a folder, or `s3://bucket/prefix`.

    Raises:
        CallerMistake: it can be neither; the message says what is expected.
    """
    if not text.strip():
        raise CallerMistake("--export has no value. Expected a folder with exports, or s3://bucket/prefix.")
    if match := _S3.fullmatch(text):
        bucket, prefix = match.groups()
        if not _BUCKET.fullmatch(bucket):
            could = " that S3 could have" if bucket else ""
            raise CallerMistake(f"{text!r} names no bucket{could}. Expected s3://bucket/prefix.")
        return f"s3://{bucket}{prefix}"
    if _URL.match(text):
        raise CallerMistake(f"{text!r} cannot be loaded from. Expected a folder with exports, or s3://bucket/prefix.")
    return text


class Place(Protocol):
    """A folder, or a prefix of a bucket, with exports in it. Names are relative to it, and may begin with `..`."""

    uri: str

    def find(self, name: str) -> list[str]:
        """The names below that end in this file name."""

    def read(self, name: str) -> Iterator[bytes] | None:
        """A file's bytes, a chunk at a time; None where there is none."""


class Folder:
    """A local folder with exports."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._path = Path(uri)

    def find(self, name: str) -> list[str]:
        """See `Place`.

        Raises:
            CallerMistake: there is no such folder.
        """
        if not self._path.is_dir():
            raise CallerMistake(f"There is no folder {self.uri}. Expected an export's, or one with exports in it.")
        return sorted(path.relative_to(self._path).as_posix() for path in self._path.rglob(name))

    def read(self, name: str) -> Iterator[bytes] | None:
        """See `Place`."""
        path = self._path / name
        return self._chunks(path) if path.is_file() else None

    def _chunks(self, path: Path) -> Iterator[bytes]:
        try:
            with path.open("rb") as source:
                while chunk := source.read(CHUNK):
                    yield chunk
        except OSError as error:
            raise PermanentFailure(f"The export's file {path} cannot be read: {error.strerror}.") from error


class Bucket:
    """A prefix of a bucket with exports."""

    def __init__(self, uri: str, client: Any) -> None:
        """`client` is boto3's for S3."""
        parts = urlsplit(uri)
        self.uri = uri
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/")
        self._client = client

    def find(self, name: str) -> list[str]:
        """See `Place`.

        Raises:
            PermanentFailure: no such bucket, or no access.
            TransientFailure: S3 does not answer.
        """
        found = []
        prefix = f"{self._prefix}/" if self._prefix else ""
        with _s3_errors(self.uri):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                found += [entry["Key"].removeprefix(prefix) for entry in page.get("Contents", ())]
        return sorted(key for key in found if key.rpartition("/")[2] == name)

    def read(self, name: str) -> Iterator[bytes] | None:
        """See `Place`."""
        from botocore.exceptions import ClientError

        key = posixpath.normpath(posixpath.join(self._prefix, name))
        with _s3_errors(f"s3://{self._bucket}/{key}"):
            try:
                body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
            except ClientError as error:
                if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                    return None
                raise
        return self._chunks(body, key)

    def _chunks(self, body: Any, key: str) -> Iterator[bytes]:
        with _s3_errors(f"s3://{self._bucket}/{key}"):
            yield from body.iter_chunks(CHUNK)


@contextmanager
def _s3_errors(uri: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = error.response.get("Error", {}).get("Code")
        kind = TransientFailure if status >= 500 or code in ("SlowDown", "RequestTimeout") else PermanentFailure
        raise kind(
            f"{uri} cannot be read ({code}). Check the bucket, the prefix and that the AWS identity in use has "
            "s3:ListBucket and s3:GetObject there."
        ) from error
    except BotoCoreError as error:
        raise TransientFailure(
            f"{uri} cannot be read: S3 does not answer ({type(error).__name__}). Try again."
        ) from error


@dataclass(frozen=True)
class DataFile:
    """One data file of an export: its key on S3, how many lines it has, and its MD5 in base64."""

    key: str
    items: int
    md5: str


@dataclass(frozen=True)
class Export:
    """One export, as its manifests describe it; its data is read and verified by `lines`.

    Attributes:
        place: where it lies.
        folder: its folder there.
        table: the name of the exported table.
        start: what changed from this second on (UTC) is in an incremental export; None for a full one.
        end: it describes the table just before this second (UTC).
        items: lines in all its files.
        files: its data.
    """

    place: Place
    folder: str
    table: str
    start: datetime | None
    end: datetime
    items: int
    files: tuple[DataFile, ...]

    @property
    def uri(self) -> str:
        """Where it lies, for messages."""
        return posixpath.join(self.place.uri, self.folder)

    def lines(self) -> Iterator[list[bytes]]:
        """All lines, some thousand at a time. After a file's last ones its checksum and count were verified.

        Raises:
            PermanentFailure: a file is missing, damaged, or not what the manifest says.
            TransientFailure: S3 does not answer.
        """
        for file in self.files:
            yield from self._lines(file)

    def _lines(self, file: DataFile) -> Iterator[list[bytes]]:
        name, chunks = self._open(file)
        digest = hashlib.md5(usedforsecurity=False)
        count = 0
        try:
            for lines in _split(_unzipped(chunks, digest)):
                count += len(lines)
                yield lines
        except zlib.error as error:
            raise PermanentFailure(f"The export's file {name} cannot be unpacked ({error}). Copy it again.") from error
        if base64.b64encode(digest.digest()).decode() != file.md5:
            raise PermanentFailure(
                f"The export's file {name} does not have the checksum of its manifest: it is damaged. Copy it again."
            )
        if count != file.items:
            raise PermanentFailure(
                f"The export's file {name} has {count} lines where its manifest says {file.items}. Copy it again."
            )

    def _open(self, file: DataFile) -> tuple[str, Iterator[bytes]]:
        """Find a data file beside its manifest: under AWSDynamoDB as on S3, or copied into the export's own folder."""
        under_root = file.key.rpartition(f"{ROOT}/")[2]
        base = posixpath.basename(file.key)
        for name in (f"../{under_root}", f"data/{base}", f"../data/{base}"):
            path = posixpath.normpath(posixpath.join(self.folder, name))
            chunks = self.place.read(path)
            if chunks is not None:
                return posixpath.join(self.place.uri, path), chunks
        raise PermanentFailure(
            f"The export {self.uri} lacks its data file {file.key}. Copy the whole folder {ROOT}, with its folders "
            "named data."
        )


def _unzipped(chunks: Iterator[bytes], digest: Any) -> Iterator[bytes]:
    unpacking = zlib.decompressobj(zlib.MAX_WBITS + 16)
    for chunk in chunks:
        digest.update(chunk)
        left = chunk
        while left:
            if unpacking.eof:
                unpacking = zlib.decompressobj(zlib.MAX_WBITS + 16)
            yield unpacking.decompress(left, 4 * CHUNK)
            left = unpacking.unconsumed_tail or unpacking.unused_data
    yield unpacking.flush()
    if not unpacking.eof:
        raise zlib.error("its end is missing")


def _split(pieces: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Whole lines, without empty ones."""
    left = b""
    for piece in pieces:
        lines = (left + piece).split(b"\n")
        left = lines.pop()
        if kept := [line for line in lines if line.strip()]:
            yield kept
    if left.strip():
        yield [left]


def find_exports(place: Place) -> list[Export]:
    """The exports at a place, by time, their manifests verified.

    Raises:
        CallerMistake: there is none; or one is in another format, or holds a part of its table only.
        PermanentFailure: a manifest is damaged, or cannot be read.
        TransientFailure: S3 does not answer.
    """
    found = [_export(place, posixpath.dirname(name)) for name in place.find(SUMMARY)]
    if not found:
        raise CallerMistake(
            f"{place.uri} holds no export of a table: nowhere in it is a {SUMMARY}. Expected the folder "
            f"{ROOT}/EXPORT of an export to S3, or one with several."
        )
    return sorted(found, key=lambda export: (export.end, export.start is not None))


def _export(place: Place, folder: str) -> Export:
    uri = posixpath.join(place.uri, folder)
    summary = _documents(place, posixpath.join(folder, SUMMARY), one=True)[0]
    if summary.get("outputFormat") != "DYNAMODB_JSON":
        raise CallerMistake(
            f"The export {uri} is in the format {summary.get('outputFormat')}. Only DYNAMODB_JSON can be read: export "
            "the table again with that format."
        )
    if partial := sorted(name for name in summary if "filter" in name.lower() or "projection" in name.lower()):
        raise CallerMistake(
            f"The export {uri} holds only a part of its table ({', '.join(partial)}). Export the table as a whole."
        )
    entries = _documents(place, posixpath.join(folder, FILES))
    try:
        kind = summary.get("exportType", FULL)
        if kind not in (FULL, INCREMENTAL):
            raise ValueError(f"exportType is {kind}")
        files = [
            DataFile(str(entry["dataFileS3Key"]), int(entry["itemCount"]), str(entry["md5Checksum"]))
            for entry in entries
        ]
        export = Export(
            place=place,
            folder=folder,
            table=str(summary["tableArn"]).rpartition(":table/")[2],
            start=parse_instant(summary["exportFromTime"]) if kind == INCREMENTAL else None,
            end=parse_instant(summary["exportToTime" if kind == INCREMENTAL else "exportTime"]),
            items=int(summary["itemCount"]),
            files=tuple(files),
        )
    except (KeyError, TypeError, ValueError, AttributeError, PipelineError) as error:
        raise PermanentFailure(
            f"The export {uri} has a manifest that cannot be understood ({error!r}). Expected what DynamoDB's "
            "developer guide describes under `DynamoDB table export output format`."
        ) from error
    counted = sum(file.items for file in files)
    if counted != export.items or len({file.key for file in files}) != len(files):
        raise PermanentFailure(
            f"The export {uri} is not whole: its files have {counted} items, its summary says {export.items}. Copy it "
            "again."
        )
    return export


def _documents(place: Place, name: str, *, one: bool = False) -> Sequence[Mapping[str, Any]]:
    """A manifest, verified by the checksum beside it: one JSON document, or one a line."""
    shown = posixpath.join(place.uri, name)
    text, checksum = _whole(place, name), _whole(place, f"{name.removesuffix('.json')}.checksum").strip()
    digest = hashlib.md5(text, usedforsecurity=False)
    try:
        expected = base64.b64decode(checksum, validate=True)
    except binascii.Error:
        expected = b""
    if digest.digest() != expected:
        raise PermanentFailure(f"{shown} does not have the checksum beside it: it is damaged. Copy the export again.")
    try:
        documents = [json.loads(text)] if one else [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise PermanentFailure(f"{shown} is no JSON ({error}). Copy the export again.") from error
    if not all(isinstance(document, dict) for document in documents):
        raise PermanentFailure(f"{shown} is no manifest of an export.")
    return documents


def _whole(place: Place, name: str) -> bytes:
    chunks = place.read(name)
    if chunks is None:
        raise PermanentFailure(
            f"The export lacks {posixpath.join(place.uri, name)}. It may still be under way, or was not copied as a "
            "whole."
        )
    return b"".join(chunks)
