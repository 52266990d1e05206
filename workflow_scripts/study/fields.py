"""Kinds of values that a study file holds, and the base class of its sections."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
ModuleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$", max_length=200)]
LONGEST_PATH = 4000
"""Characters, of a path or an address; a system takes 4,096 bytes."""
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]*$")]
"""Lines of text, of characters that every file holds."""
Printable = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f\ufffe\uffff]+$", max_length=LONGEST_PATH)]
"""A path, an address or another line of text."""
PLAIN_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)


def number(value: Any) -> Any:
    """Where a number is in quotes, people mean the number; nothing else is taken for one."""
    return float(value) if isinstance(value, str) and PLAIN_NUMBER.fullmatch(value) else value


LARGEST = 1_000_000
"""Of any number but a seed; what is larger is a slip."""
Real = Annotated[float, BeforeValidator(number), Field(ge=-LARGEST, le=LARGEST)]
Positive = Annotated[float, BeforeValidator(number), Field(gt=0, le=LARGEST)]
NotNegative = Annotated[float, BeforeValidator(number), Field(ge=0, le=LARGEST)]
PositiveShare = Annotated[float, BeforeValidator(number), Field(gt=0, le=1)]
Share = Annotated[float, BeforeValidator(number), Field(ge=0, le=1)]
Score = Annotated[float, BeforeValidator(number), Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=1, le=LARGEST)]
CountFromZero = Annotated[int, Field(ge=0, le=LARGEST)]
Draws = Annotated[int, Field(ge=0, le=1000)]
Layers = Annotated[int, Field(ge=1, le=1000)]
Layer = Annotated[int, Field(ge=0, lt=1000)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
HubId = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=96)
]
Revision = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*([./][A-Za-z0-9_-]+)*$", max_length=200)
]
"""No part of it is `..`: the hub's cache makes a path of it."""
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
DType = Literal["float32", "bfloat16", "float16"]

Mistake = tuple[str, str]
"""Path in the file (a.b.0), and the sentence."""


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )
