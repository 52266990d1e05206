"""Columns of a response table: one row per subject, condition, question and sample."""

from __future__ import annotations

import pyarrow as pa

STORED = "stored"
"""Key of a table's provenance: its conditions in the response store, where no sampling manifest names them."""

SCHEMA = pa.schema(
    [
        ("response_key", pa.string()),
        ("condition", pa.string()),
        ("question_set", pa.string()),
        ("question_id", pa.string()),
        ("system", pa.string()),
        ("question", pa.string()),
        ("sample", pa.int32()),
        ("response", pa.string()),
        ("tokens", pa.int32()),
        ("finish_reason", pa.string()),
        ("seed", pa.int64()),
        ("prompt_token_ids", pa.list_(pa.int32())),
    ]
)
