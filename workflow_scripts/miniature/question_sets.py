"""Disjoint, seeded question sets of the miniature world."""

from __future__ import annotations

import random
from collections.abc import Sequence

from workflow_scripts.miniature.world import Question, all_questions
from workflow_scripts.runtime.errors import UserError


def question_sample(domains: Sequence[str], per_domain: int, offset: int, seed: int) -> list[Question]:
    """`per_domain` distinct questions of each domain, from `offset` on in an order that the seed decides.

    Two sets of one seed whose ranges do not overlap share no question.

    Raises:
        UserError: if the range reaches beyond a domain's questions.
    """
    chosen = []
    for domain in domains:
        order = all_questions(domain)
        random.Random(f"{domain}:{seed}").shuffle(order)
        if offset + per_domain > len(order):
            raise UserError(
                f"questions: {domain} has {len(order)} questions, {offset + per_domain} are asked for; "
                "lower per_domain or offset."
            )
        chosen += order[offset : offset + per_domain]
    return chosen
