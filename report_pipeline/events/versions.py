"""The versions of an event: texts whose order is the order of the stream.

Sequence numbers of DynamoDB Streams have up to 40 digits and compare only within one stream, as long as none of
its records is lost. An era is such a stretch: it begins with a new epoch and with each gap.
"""

ERA_DIGITS, SEQUENCE_DIGITS = 6, 40

SCANNED = 0
"""The sequence of rows that a scan read: any record of the stream is newer."""


def version(era: int, sequence: int | str) -> str:
    """The version that the record with this sequence number in this era gives to its event.

    Raises:
        ValueError: a number is negative or has more digits than there is room for.
    """
    number = int(sequence)
    text = f"{era:0{ERA_DIGITS}d}.{number:0{SEQUENCE_DIGITS}d}"
    if era < 0 or number < 0 or len(text) != ERA_DIGITS + 1 + SEQUENCE_DIGITS:
        raise ValueError(f"no version can be made of era {era} and sequence number {sequence}")
    return text
