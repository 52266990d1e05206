"""The smallest effect that a study could decide, from its design alone: before anything is sampled.

The ledger gives it from a study's own intervals (`verdicts.smallest`). This is what the tool `power` prints: it takes
the paper's rates for true and counts questions, answers and seeds. It knows the variance of answers within questions,
as the interval for these very questions does, and that seeds differ; not how uneven the questions are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workflow_scripts.reporting.claim import Claim
from workflow_scripts.reporting.claim_rows import roles
from workflow_scripts.study.conditions import batteries, question_uses
from workflow_scripts.study.layout import CHAT_BASE, organism_of, seed_subject
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.schema import Study

INTRACLASS = 0.36
"""Share of the variance of misaligned answers that lies between questions (the authors' judged rank-32 organism)."""
SEED_SPREAD = 0.3
"""Standard deviation of the logarithm of EM over fine-tuning seeds (the authors' four seeds of nine adapters)."""
DETECTED = 2.8
"""Standard errors off the bound at which 80 % of studies decide: 1.96 + .84."""
BATTERIES: Mapping[str, Battery] = {"E1": "baseline", "E3": "steering", "E5": "ablation", "E7": "surgery"}
"""Of experiments whose claims are about EM."""
PAIRED = ("em_relative_change", "em_above_random")
"""Quantities of which both sides are of the same seeds, whose spread cancels."""
QUANTITIES = ("em_above_base", "em_best_above_base", *PAIRED)


@dataclass(frozen=True)
class Answers:
    """How many answers a rate rests on."""

    questions: int
    samples: int
    seeds: int

    @property
    def n(self) -> int:
        return self.questions * self.samples * self.seeds


def standard_error(rate: float, answers: Answers, paired: bool = False) -> float:
    """Of a rate for these very questions; `paired` where the seeds' spread is common to both sides of a comparison."""
    within = rate * (1 - rate) * (1 - INTRACLASS) / answers.n
    seeds = 0.0 if paired or answers.seeds < 2 else (SEED_SPREAD * rate) ** 2 / answers.seeds
    return math.sqrt(within + seeds)


def planned(claims: Sequence[Claim], study: Study, questions: Mapping[str, int]) -> dict[str, float]:
    """Distance from its bound at which an effect is decided in 80 % of studies, by claim; of claims about EM.

    Args:
        claims: of the ledger.
        study: its samples and seeds count.
        questions: number of questions in each question set of the study.

    Returns:
        In the unit of the claim's quantity; of a claim about several organisms, that of the hardest.
    """
    names = roles(study)
    rates = {c.subject: c.paper for c in claims if c.quantity == "em_above_base" and c.paper is not None}
    made = {}
    for claim in claims:
        battery = BATTERIES.get(claim.experiment)
        if battery not in batteries(study) or claim.quantity not in QUANTITIES:
            continue
        found = []
        for name in names[claim.subject]:
            subject = CHAT_BASE if name == CHAT_BASE else seed_subject(name, study.organisms[name].seeds[0])
            rate = rates.get(claim.subject) or (claim.paper if name == CHAT_BASE else min(rates.values(), default=None))
            if not rate or claim.paper is None:
                continue
            after = _answers(study, battery, subject, questions)
            before = _answers(study, "baseline", subject, questions)
            relative = claim.quantity == "em_relative_change"
            left = rate * (1 + claim.paper) if relative else rate
            error = math.hypot(
                standard_error(left, after, claim.quantity in PAIRED),
                standard_error(rate if claim.quantity in PAIRED else 0.0, before, True),
            )
            found.append(DETECTED * error / (rate if relative else 1.0))
        if found:
            made[claim.id] = max(found)
    return made


def _answers(study: Study, battery: Battery, subject: str, questions: Mapping[str, int]) -> Answers:
    use = question_uses(study, battery, subject)[0]
    seeds = 1 if subject == CHAT_BASE else len(study.organisms[organism_of(subject)[0]].seeds)
    return Answers(questions[use.questions], use.samples, seeds)
