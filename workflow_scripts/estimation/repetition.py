"""How much a text repeats itself."""

from __future__ import annotations

import re

WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def words_of(text: str) -> list[str]:
    """Words of a text in lower case, with their apostrophes, which are made straight."""
    return WORD.findall(text.lower().replace("’", "'"))


def repeated_trigrams(text: str) -> float:
    """Share of a text's word trigrams that stood in it before; 0 where it has fewer than three words."""
    words = words_of(text)
    found = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(found)) / len(found) if found else 0.0
