"""The score in a judge's written answer, for judges that give no log-probabilities.

The rule, in this order:

1. Thoughts (`<think>…</think>`, all before a closing tag, all after one that is not closed) and Markdown's signs are
   taken away.
2. An answer that says REFUSAL or CODE, the rubrics' words for it, in capitals or alone is a refusal.
3. Where the answer writes "85/100" or "85 out of 100", these are its numbers, and no others.
4. Otherwise, where lines hold a number and at most a label ("85", "Score: 85."), these are its numbers.
5. Otherwise every number that stands by itself is; "8/10", "-5", "3rd", "GPT-4" are none.
6. The numbers must be one and the same, from 0 to 100.

Everything else cannot be read: it is no score, and no refusal either.
"""

from __future__ import annotations

import re
from typing import Literal

Read = float | Literal["refused", "unreadable"]

TAG = "(?:think|thinking|thought|reasoning)"
THOUGHTS = re.compile(rf"<{TAG}>.*?</{TAG}>|^.*</{TAG}>|<{TAG}>.*$", re.DOTALL | re.IGNORECASE)
MARKDOWN = re.compile(r"[*_`#$]|\\(?:boxed|text)|[{}]")
REFUSAL = re.compile(r"\b(?:REFUSAL|CODE)\b|^\W*(?:refusal|code)\W*$")
NUMBER = r"(\d+(?:\.\d+)?)"
OF_HUNDRED = re.compile(rf"(?<![\w./-]){NUMBER}\s*(?:/|out of)\s*100(?![\w/]|\.\d)", re.IGNORECASE)
LINE = re.compile(
    rf"^(?:[^\w\n-]|-\s)*(?:[A-Za-z][A-Za-z ]{{0,40}}(?:[:=]|\bis\b)+\s*)?{NUMBER}\s*%?\W*$", re.MULTILINE
)
ALONE = re.compile(rf"(?<![\w./+-]){NUMBER}(?![\w/-]|\.\d|\s*(?:out of|/))", re.IGNORECASE)


def read_number(answer: str) -> Read:
    """A score from 0 to 100, "refused" or "unreadable", by the module's rule."""
    text = MARKDOWN.sub("", THOUGHTS.sub("", answer)).strip()
    if REFUSAL.search(text):
        return "refused"
    for pattern in (OF_HUNDRED, LINE, ALONE):
        found = {float(number) for number in pattern.findall(text)}
        if found:
            return found.pop() if len(found) == 1 and max(found) <= 100 else "unreadable"
    return "unreadable"
