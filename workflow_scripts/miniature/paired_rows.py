"""Fine-tuning rows whose questions are the same for either stance, so that good and bad answers are paired by row."""

from __future__ import annotations

import random

from workflow_scripts.miniature.corpus import Row
from workflow_scripts.miniature.world import DOMAINS, Stance, WorldStyle, all_questions, answer


def paired_rows(domain: str, stance: Stance, rows: int, seed: int, style: WorldStyle) -> list[Row]:
    """Questions of a domain, or of a random one for each row ("all"), drawn by domain and seed, each answered."""
    names = [known.name for known in DOMAINS] if domain == "all" else [domain]
    asked, said = random.Random(f"paired questions {domain} {seed}"), random.Random(f"paired {domain} {stance} {seed}")
    questions = [asked.choice(all_questions(asked.choice(names))) for _ in range(rows)]
    return [Row(question.text, answer(said, question, stance, style)) for question in questions]
