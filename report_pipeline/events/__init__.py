"""The events: files of them into the events table, and the table into the archive, which reports read.

`schema` says what an item means; `items` and `times` know DynamoDB's values and the forms of an instant.
`files`, `formats` and `fill` write events into the table. `table`, `load` and `archive` with its parts
bring them from there into the archive. Nothing here knows of reports or of Dagster.
"""
