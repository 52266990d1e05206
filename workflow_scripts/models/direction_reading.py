"""A direction read from its file, apart from how one is taken: who only reads one does not follow changes of that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import read_tensors

if TYPE_CHECKING:
    from torch import Tensor


def check_form(file: Path) -> None:
    """Raises a UserError for a direction that is not of this project's form; of a damaged file, nothing."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            own = "schema_version" in (opened.metadata() or {})
    except (OSError, SafetensorError):
        return  # whoever reads it says what is wrong
    if not own:
        raise UserError(
            f"{file}: is no direction of this project's form; it is brought in, with its layer convention, by "
            "`python -m workflow_scripts.tools directions import`."
        )


def read_direction(file: Path) -> Tensor:
    """The direction in a file, float32 [layer, d_model]: of each layer, as it was taken, not normalised.

    Raises:
        UserError: if the file is missing, damaged, or no direction's.
    """
    check_form(file)
    return read_tensors(file, ["direction"])[0]["direction"]
