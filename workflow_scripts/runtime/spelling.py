"""The nearest right spelling of a wrong name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """'; did you mean …?' for the closest known word, else the list of what there is."""
    options = [str(option) for option in known]
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there is {', '.join(options)}." if options else "; there is none."
