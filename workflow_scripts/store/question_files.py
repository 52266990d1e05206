"""Question files in the form of Betley et al.: a YAML list of entries with id, paraphrases and optionally system."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.yaml_files import read_yaml


def read_question_file(
    path: Path, ids: list[str] | None = None, exclude_suffixes: list[str] | None = None
) -> list[dict[str, Any]]:
    """Questions of a YAML list in the form of Betley et al.; each paraphrase is a question. One text may stand under
    `question`.

    Raises:
        UserError: if the file is not of this form, two questions come to one name, or an id is not there.
    """
    entries = read_yaml(path)
    if entries is None or entries == []:
        raise UserError(f"{path}: holds no questions.")
    if not isinstance(entries, list):
        raise UserError(f"{path}: is not a list of questions (id, paraphrases).")
    found: dict[str, list[dict[str, Any]]] = {}
    for position, entry in enumerate(entries):
        place = f"{path}: entry {position + 1}"
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str) or not entry["id"].strip():
            given = entry.get("id") if isinstance(entry, dict) else None
            what = "has no id" if given is None else f"its id {given!r:.60} is no text; put it in quotes"
            raise UserError(f"{place}: {what}.")
        texts = entry.get("paraphrases", [entry["question"]] if "question" in entry else None)
        if (
            not isinstance(texts, list)
            or not texts
            or not all(isinstance(text, str) and text.strip() for text in texts)
        ):
            raise UserError(f"{place} ({entry['id']}): needs `paraphrases`, a list of texts that are not empty.")
        if entry.get("question", texts[0]) not in (None, *texts):
            raise UserError(f"{place} ({entry['id']}): `question` is none of `paraphrases`; keep one of the two.")
        if not isinstance(entry.get("system"), str | None):
            raise UserError(
                f"{place} ({entry['id']}): its system prompt is no text; put it in quotes, or leave it out."
            )
        if entry["id"] in found:
            raise UserError(f"{place}: the id {entry['id']!r} stands in the file twice.")
        names = [entry["id"]] if len(texts) == 1 else [f"{entry['id']}-{k}" for k in range(len(texts))]
        found[entry["id"]] = [
            {"question_id": name, "system": entry.get("system"), "question": text.strip()}
            for name, text in zip(names, texts, strict=True)
        ]
    named = Counter(row["question_id"] for rows in found.values() for row in rows)
    twice = [name for name, times in named.items() if times > 1]
    if twice:
        raise UserError(
            f"{path}: two questions would be named {twice[0]!r}, an entry and a paraphrase; rename the entry."
        )
    missing = [wanted for wanted in ids or [] if wanted not in found]
    if missing:
        raise UserError(f"{path}: has no question {missing[0]!r}; there is {', '.join(found)}.")
    chosen = ids or [name for name in found if not name.endswith(tuple(exclude_suffixes or ()))]
    if not chosen:
        left_out = ", ".join(map(repr, exclude_suffixes or []))
        raise UserError(f"{path}: no question is left after leaving out {left_out}.")
    return [row for name in chosen for row in found[name]]
