"""The response browser's page: responses as compressed blocks, and the script that reads, filters and opens them.

The page holds no response as markup or script: all data lies in it as base64 of gzip, and the script writes what was
said as text. A content security policy lets run nothing but that script, by its digest.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workflow_scripts.reporting.pages import RESPONSES_PAGE, render
from workflow_scripts.study.conditions import NOTHING
from workflow_scripts.study.layout import CHAT_BASE

BLOCK = 500
"""Responses that are unpacked together."""
LISTED = ("subject", "battery", "condition", "question_set", "question_id", "judged", "finish")
"""Columns of names."""
COUNTED = ("sample", "tokens")
"""Columns of numbers that are no scores."""


@dataclass(frozen=True)
class TokenScalars:
    """What each rank-1 adapter reads at each token of some responses.

    rows: of the responses in the browser's table. tokens: pieces of text of each. values: of each, [token, adapter].
    """

    adapters: Sequence[str]
    rows: Sequence[int]
    tokens: Sequence[Sequence[str]]
    values: Sequence[NDArray[np.float32]]


def response_page(frame: pd.DataFrame, title: str, intro: str, scalars: TokenScalars | None = None) -> str:
    """The page of a table of responses.

    Args:
        frame: `LISTED`, `COUNTED`, question and response; every other column is a score from 0 to 100 or NaN.
        title, intro: plain text above it.
        scalars: of some of the responses.
    """
    parts: dict[str, bytes] = {}
    columns: list[dict[str, Any]] = []
    scores = [name for name in frame if name not in (*LISTED, *COUNTED, "question", "response")]
    for name in (*LISTED[:3], *scores, "question", "response", *LISTED[3:], *COUNTED):
        at = f"column-{len(columns)}"
        if name == "response":
            columns.append({"name": name, "kind": name})
        elif name in scores or name in COUNTED:
            columns.append({"name": name, "kind": "number", "score": name in scores})
            parts[at] = frame[name].to_numpy("<f4").tobytes()
        else:
            codes, values = pd.factorize(frame[name].astype(str))
            columns.append({"name": name, "kind": "list", "list": list(map(str, values))})
            parts[at] = codes.astype("<u4").tobytes()
    conditions = next(column["list"] for column in columns if column["name"] == "condition")
    head = {
        "rows": len(frame), "block": BLOCK, "columns": columns, "base": CHAT_BASE,
        "plain": [name in (NOTHING.name, "clean") for name in conditions],
    }  # fmt: skip
    said = frame.response.tolist()
    parts["lengths"] = np.array([_units(text) for text in said], "<u4").tobytes()
    for start in range(0, len(said), BLOCK):
        parts[f"block-{start // BLOCK}"] = "".join(said[start : start + BLOCK]).encode()
    if scalars is not None and len(scalars.rows):
        head |= _packed_scalars(scalars, parts)
    parts["head"] = json.dumps(head).encode()
    template, script, style = RESPONSES_PAGE[0], *(file.read_text() for file in RESPONSES_PAGE[1:])
    return render(
        template, title=title, intro=intro, script=script, style=style,
        script_hash=_hash(script), style_hash=_hash(style),
        parts=[(name, base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()) for name, data in parts.items()],
    )  # fmt: skip


def _packed_scalars(scalars: TokenScalars, parts: dict[str, bytes]) -> dict[str, Any]:
    """Scalars as whole numbers from −127 to 127, in units of each adapter's largest but for the outermost 1 %."""
    values = np.concatenate(list(scalars.values))
    units = np.maximum(np.quantile(np.abs(values), 0.99, axis=0), np.finfo(np.float32).tiny)
    pieces, codes = np.unique([token for tokens in scalars.tokens for token in tokens], return_inverse=True)
    parts["scalar-rows"] = np.array(scalars.rows, "<u4").tobytes()
    parts["scalar-ends"] = np.cumsum([len(tokens) for tokens in scalars.tokens]).astype("<u4").tobytes()
    parts["scalar-tokens"] = codes.astype("<u4").tobytes()
    parts["scalar-values"] = np.clip(np.rint(127 * values / units), -127, 127).astype("i1").tobytes()
    parts["scalar-pieces"] = json.dumps(pieces.tolist()).encode()
    return {"adapters": list(scalars.adapters), "scalar_units": [float(unit) for unit in units]}


def _units(text: str) -> int:
    """Length of a text as JavaScript counts it."""
    return len(text.encode("utf-16-le")) // 2


def _hash(text: str) -> str:
    """Of an inline script or style, for the policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
