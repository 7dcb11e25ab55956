"""Columns of the tables. A column that is added later is null in the rows that were there before."""

from __future__ import annotations

from enum import StrEnum

import pyarrow as pa

_INTS = pa.list_(pa.int32())


class TableName(StrEnum):
    """The tables there are."""

    WINDOWS = "windows"
    SAMPLES = "samples"
    CONSENTS = "consents"
    QUARANTINE = "quarantine"


_WHO = [
    ("device_id", pa.string()),
    ("sequence", pa.int64()),  # of the record: with the device, it names the row
    ("date", pa.string()),  # partition: UTC day, YYYY-MM-DD
    ("received_s", pa.float64()),
]
_MODEL = [("workload", pa.string()), ("release", pa.int64()), ("recipe", pa.string())]
_PLACE = [("profile", pa.string()), ("region", pa.string())]

SCHEMAS: dict[TableName, pa.Schema] = {
    TableName.WINDOWS: pa.schema(
        [
            *_WHO,  # date: of the window's end
            *_MODEL,
            ("layout", pa.string()),
            *_PLACE,
            ("tags", pa.list_(pa.string())),
            ("began_s", pa.float64()),
            ("ended_s", pa.float64()),
            ("consent", pa.int64()),
            ("epsilon", pa.float64()),
            ("histograms", pa.list_(_INTS)),
            ("queries", pa.int64()),
            ("errors", pa.int64()),
            ("labelled", pa.int64()),
            ("latencies", pa.list_(pa.int64())),
            ("memory_kib", pa.int64()),
            ("energy_uj", pa.float64()),
            ("missing", _INTS),  # channels with missing values
            ("stuck", _INTS),  # channels that gave one and the same value for half of the window
        ]
    ),
    TableName.SAMPLES: pa.schema(
        [
            *_WHO,  # date: of the query
            *_MODEL,
            *_PLACE,
            ("at_s", pa.float64()),
            ("consent", pa.int64()),
            ("inputs", pa.list_(pa.float32())),
            ("output", pa.list_(pa.float64())),
            ("truth", pa.list_(pa.float64())),
        ]
    ),
    TableName.CONSENTS: pa.schema(
        [
            *_WHO,  # date: given
            ("number", pa.int64()),
            ("subject", pa.string()),
            ("purposes", pa.list_(pa.string())),
            ("given_s", pa.float64()),
            ("until_s", pa.float64()),
            ("wording", pa.string()),
            ("message", pa.binary()),  # as the device signed it: the proof
        ]
    ),
    TableName.QUARANTINE: pa.schema(
        [
            *_WHO,  # date: received
            ("kind", pa.string()),
            ("reason", pa.string()),
            ("content", pa.binary()),
        ]
    ),
}


def conform(rows: pa.Table, name: TableName) -> pa.Table:
    """``rows`` with exactly the table's columns: missing ones become null, unknown ones are left out.

    Raises:
        pyarrow.ArrowInvalid: A column can't be made what it must be.
    """
    schema = SCHEMAS[name]
    present = set(rows.column_names)
    columns = [
        rows[field.name].cast(field.type) if field.name in present else pa.nulls(rows.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
