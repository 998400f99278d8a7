"""The lines of exports into rows of the archive, by the same decoding as pages of a scan."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from report_pipeline.errors import PermanentFailure
from report_pipeline.events.decode import PageDecoder
from report_pipeline.events.items import KEY
from report_pipeline.events.rows import storable
from report_pipeline.events.schema import DELETED, VERSION
from report_pipeline.events.versions import SCANNED, version

if TYPE_CHECKING:
    import pyarrow as pa

    from report_pipeline.events.rows import RowMaker

Decode = Callable[[str, Sequence[bytes]], "list[pa.RecordBatch]"]
"""Decodes some lines of the export with this name."""


class LineDecoder:
    """Decodes lines for one schema and table."""

    def __init__(self, rows: "RowMaker") -> None:
        self._rows = rows
        self._pages = PageDecoder(rows)

    def items(self, export: str, lines: Sequence[bytes]) -> "list[pa.RecordBatch]":
        """Lines of a full export: a row for each item.

        Raises:
            PermanentFailure: a line is none of such an export, or of a table with another key; `export` is named.
        """
        return _all(export, self._items(lines))

    def changes(self, export: str, lines: Sequence[bytes]) -> "list[pa.RecordBatch]":
        """Lines of an incremental export: images, and tombstones. The version of a row is when it was written.

        Raises:
            PermanentFailure: as `items`.
        """
        return _all(export, self._changes(lines))

    def _items(self, lines: Sequence[bytes]) -> "Iterator[pa.RecordBatch]":
        """The lines of a full export."""
        full, _ = _line_decoders()
        batch = self._page([full.decode(line).Item for line in lines])
        if batch[KEY].null_count:
            raise ValueError(f"an item has no {KEY}")
        yield batch

    def _changes(self, lines: Sequence[bytes]) -> "Iterator[pa.RecordBatch]":
        """The lines of an incremental export: images with the versions of their writes, and tombstones."""
        import pyarrow as pa
        import pyarrow.compute as pc

        _, incremental = _line_decoders()
        newest: dict[str, tuple[int, bytes]] = {}
        for line in lines:
            change = incremental.decode(line)
            written = int(change.Metadata.WriteTimestampMicros.N)
            name = storable(change.Keys.request_id.S)
            if name not in newest or newest[name][0] <= written:
                newest[name] = written, bytes(change.NewImage)
        images = {name: change for name, change in newest.items() if change[1]}
        if images:
            batch = self._page([image for _, image in images.values()])
            versions = pa.array([version(1, written) for written, _ in images.values()], pa.string())
            place = pc.index_in(batch[KEY], value_set=pa.array(list(images), pa.string()))
            if place.null_count:
                raise ValueError(f"an image has another {KEY} than its key")
            yield _with_column(batch, VERSION, versions.take(place))
        gone = [
            {KEY: name, VERSION: version(1, written), DELETED: True}
            for name, (written, image) in newest.items()
            if not image
        ]
        if gone:
            yield self._rows.batch(gone)

    def _page(self, items: Sequence[Any]) -> "pa.RecordBatch":
        return self._pages.decode(b'{"Items":[' + b",".join(map(bytes, items)) + b"]}").batch


@cache
def _line_decoders() -> tuple[Any, Any]:
    """Of the lines of full and of incremental exports; items stay the bytes that they are."""
    import msgspec

    struct = msgspec.defstruct
    text, number = struct("Text", [("S", str)]), struct("Number", [("N", str)])
    full = struct("Full", [("Item", msgspec.Raw)])
    incremental = struct(
        "Incremental",
        [
            ("Metadata", struct("Metadata", [("WriteTimestampMicros", number)])),
            ("Keys", struct("Keys", [(KEY, text)], forbid_unknown_fields=True)),
            ("NewImage", msgspec.Raw, msgspec.Raw()),
        ],
    )
    return msgspec.json.Decoder(full), msgspec.json.Decoder(incremental)


def _all(export: str, batches: "Iterable[pa.RecordBatch]") -> "list[pa.RecordBatch]":
    from msgspec import MsgspecError

    try:
        return list(batches)
    except (MsgspecError, ValueError) as error:
        raise PermanentFailure(
            f"The export {export} has a line that cannot be understood ({error}). Expected items of a table whose only "
            f"key is {KEY} (S), in DynamoDB JSON."
        ) from error


def as_scanned(batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
    """The same rows with the version of rows of a scan: the stream's are newer."""
    import pyarrow as pa

    for batch in batches:
        yield _with_column(batch, VERSION, pa.repeat(pa.scalar(version(1, SCANNED)), batch.num_rows))


def _with_column(batch: "pa.RecordBatch", name: str, values: "pa.Array") -> "pa.RecordBatch":
    """The same rows with other values in one column."""
    return batch.set_column(batch.schema.get_field_index(name), batch.schema.field(name), values)
