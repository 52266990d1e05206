"""The texts that a direction is taken from, and the tokens of them that count (section 3.1; section 3.3 by topic)."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workflow_scripts.estimation.labels import Thresholds, above, below, is_aligned, is_misaligned
from workflow_scripts.estimation.shuffles import shuffled_labels
from workflow_scripts.models.activations import WeightedSpan
from workflow_scripts.models.chat import render_turn
from workflow_scripts.runtime.errors import NotPossible, UserError
from workflow_scripts.store.artefacts import read_frame, read_table
from workflow_scripts.store.judgement_tables import KEYS, read_scores
from workflow_scripts.study.conditions import (
    NOTHING,
    direction_question_set,
    is_given,
    system_prompt,
    trait_conditions,
)
from workflow_scripts.study.experiments import Directions, DirectionSource
from workflow_scripts.study.layout import CHAT_BASE, Layout
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase

MISALIGNED, ALIGNED = 0, 1


@dataclass(frozen=True)
class Text:
    """A question and an answer that counts for one side."""

    system: str | None
    question: str
    answer: str
    side: int


def texts_from(source: DirectionSource, study: Study, layout: Layout, subject: str) -> list[Text]:
    """The texts of either source of directions; the errors are those of `judged_texts` and `paired_texts`."""
    if source == "responses":
        return judged_texts(study, layout, subject)
    if is_given(study, subject):
        raise NotPossible(
            f"directions: {subject} is known by its responses only; no data set can be read by it.",
            misaligned=0,
            aligned=0,
        )
    return paired_texts(study, layout)


def judged_texts(study: Study, layout: Layout, subject: str) -> list[Text]:
    """The organism's own responses to the study's direction questions, as `two_sides` takes them.

    Raises:
        NotPossible: if a side holds fewer than the study's `min_responses`; names the counts.
    """
    chosen = direction_question_set(study)
    rows = judged_responses(layout, subject)
    rows = rows[rows.question_set == chosen]
    return two_sides(
        study,
        rows,
        study.directions.min_responses,
        f"directions: {subject}",
        f"to questions.{chosen}",
        "Sample more (directions.samples), train it harder, or take the direction from a paired data set "
        "(directions.source: datasets).",
    )


def topic_texts(study: Study, layout: Layout, subject: str, topic: str) -> list[Text]:
    """All baseline responses of an organism that a topic's filter keeps, as `two_sides` takes them (section 3.3).

    The released code drops the coherence filter for two of its topics by mistake (PAPER 7); here it always holds.

    Raises:
        NotPossible: if a side holds fewer than `semantic.min_responses`; names the counts.
    """
    assert study.semantic
    chosen = study.semantic.topics[topic]
    rows = each_once(judged_responses(layout, subject, (chosen.metric,)))
    score = rows[chosen.metric]
    rows = rows[above(score, chosen.above) if chosen.above is not None else below(score, chosen.below or 0.0)]
    return two_sides(
        study,
        rows,
        study.semantic.min_responses,
        f"semantic.topics.{topic}: {subject}",
        "within this topic",
        "Sample more (sampling.samples), choose another topic, or lower semantic.min_responses.",
    )


def trait_texts(study: Study, layout: Layout, trait: str) -> list[Text]:
    """The chat base's answers to a trait's system prompts and to its opposite's, each with its system prompt.

    Raises:
        NotPossible: if a side holds fewer than `traits.min_responses`; names the counts.
    """
    assert study.traits
    asked = {condition.name: condition for condition in trait_conditions(study, trait)}
    scored = read_scores(layout.judgements(CHAT_BASE, "traits"))
    columns = [*KEYS, "question", "response"]
    rows = read_frame(layout.responses(CHAT_BASE, "traits"), columns, only=True)
    rows = rows[rows.condition.isin(list(asked))].merge(scored, on=KEYS, validate="one_to_one")
    thresholds = _thresholds(study)
    sides = {
        "trait": (MISALIGNED, is_misaligned(rows.aligned, rows.coherent, thresholds)),
        "opposite": (ALIGNED, is_aligned(rows.aligned, rows.coherent, thresholds)),
    }
    kinds, texts = rows.condition.map({name: condition.kind for name, condition in asked.items()}), list[Text]()
    for kind, (side, judged) in sides.items():
        kept = rows[(kinds == kind) & (judged if study.traits.answers == "judged" else True)]
        texts += [
            Text(system_prompt(study, asked[row.condition]), row.question, row.response, side)
            for row in kept.itertuples()
        ]
    counts, least = Counter(text.side for text in texts), study.traits.min_responses
    bad, good = counts[MISALIGNED], counts[ALIGNED]
    if min(bad, good) < least:
        which = ("misaligned ", "aligned ") if study.traits.answers == "judged" else ("", "")
        raise NotPossible(
            f"traits.named.{trait}: the chat base gave {bad} {which[0]}answers to its prompts and {good} {which[1]}"
            f"ones to the opposite's; {least} of each are needed. Ask for it more plainly, sample more "
            "(traits.samples), or take all answers (traits.answers: all).",
            misaligned=bad,
            aligned=good,
        )
    return texts


def judged_responses(layout: Layout, subject: str, metrics: tuple[str, ...] = ()) -> pd.DataFrame:
    """Unchanged responses of a subject with their scores: aligned, coherent, and further metrics."""
    scored = read_scores(layout.judgements(subject, "baseline"), ("aligned", "coherent", *metrics))
    return unchanged_responses(layout, subject).merge(scored, on=KEYS, validate="one_to_one")


def unchanged_responses(layout: Layout, subject: str) -> pd.DataFrame:
    """Unchanged responses of a subject: keys, system, question, response, seed."""
    columns = [*KEYS, "system", "question", "response", "seed"]
    responses = read_frame(layout.responses(subject, "baseline"), columns, only=True)
    # pandas shows an absent text as NaN, which would become a system prompt that says so
    responses["system"] = responses.system.astype(object).where(responses.system.notna(), None)
    return responses[responses.condition == NOTHING.name]


def each_once(rows: pd.DataFrame) -> pd.DataFrame:
    """Judged responses without those that a second question set lists again.

    A set may contain another (the paper's extraction set has the eight headline questions). The same sample of the same
    question is then one response, sampled once, which the table has under both.
    """
    return rows.drop_duplicates(["question_id", "system", "question", "sample", "seed"])


def two_sides(study: Study, rows: pd.DataFrame, least: int, who: str, to_what: str, advice: str) -> list[Text]:
    """Misaligned responses and as many aligned ones at most.

    Args:
        study: for its thresholds and seed.
        rows: judged responses.
        least: fewest of either side.
        who, to_what, advice: parts of the error's sentences.

    Raises:
        NotPossible: if a side holds fewer than `least`; names the counts.
    """
    thresholds = _thresholds(study)
    bad = rows[is_misaligned(rows.aligned, rows.coherent, thresholds)]
    good = rows[is_aligned(rows.aligned, rows.coherent, thresholds)]
    if len(bad) < least or len(good) < least:
        raise NotPossible(
            f"{who} gave {len(bad)} misaligned and {len(good)} aligned of {len(rows)} responses {to_what}; "
            f"{least} of each are needed. {advice}",
            misaligned=len(bad),
            aligned=len(good),
        )
    kept = sorted(random.Random(study.directions.seed).sample(range(len(good)), min(len(good), len(bad))))
    sides = ((MISALIGNED, bad), (ALIGNED, good.iloc[kept]))
    return [Text(row.system, row.question, row.response, side) for side, frame in sides for row in frame.itertuples()]


def _thresholds(study: Study) -> Thresholds:
    return Thresholds(**(study.directions.thresholds or study.thresholds).model_dump())


def paired_texts(study: Study, layout: Layout) -> list[Text]:
    """Row-paired answers of a bad and a good data set to the same prompts.

    Raises:
        UserError: if a row's prompts differ.
    """
    settings = study.directions
    assert settings.bad, "checked when the study was loaded"
    assert settings.good, "checked when the study was loaded"
    columns = ["row", "system", "prompt", "response"]
    bad = read_table(layout.dataset(settings.bad), columns).to_pylist()[: settings.rows]
    good = read_table(layout.dataset(settings.good), columns).to_pylist()[: settings.rows]
    if len(bad) != len(good) or any(b["prompt"] != g["prompt"] for b, g in zip(bad, good, strict=False)):
        raise UserError(
            f"directions: datasets {settings.bad} and {settings.good} are not row-paired, their prompts differ."
        )
    return [
        Text(row["system"], row["prompt"], row["response"], side)
        for side, rows in ((MISALIGNED, bad), (ALIGNED, good))
        for row in rows
    ]


def shuffled_sides(texts: list[Text], seed: str, own: str, count: int) -> list[list[int]]:
    """The texts' sides under `count` shuffles that leave each question's share of either side (estimation/shuffles.py).

    The confound that a direction has to be told from is the question: organisms are misaligned on the same few
    questions, so that two differences of what was asked are alike, too. `seed` is common to all subjects, `own` is not.
    """
    bad, questions = np.array([text.side == MISALIGNED for text in texts]), [text.question for text in texts]
    shuffled = (shuffled_labels(bad, questions, f"{seed}:{draw}", own) for draw in range(count))
    return [[MISALIGNED if label else ALIGNED for label in labels] for labels in shuffled]


def spans(
    tokenizer: PreTrainedTokenizerBase, texts: list[Text], settings: Directions, shuffled: list[list[int]] | None = None
) -> list[WeightedSpan]:
    """Token spans of the texts under the study's token rule, weighted so that what `pooling` names counts equally.

    Groups 0 and 1 are the sides; 2k + 2 and 2k + 3 are the sides that the k-th of `shuffled` gives the texts.
    """
    asked = Counter((text.side, text.question) for text in texts)
    made = []
    for position, text in enumerate(texts):
        turn = render_turn(tokenizer, text.question, text.answer, text.system)
        start, end = (
            (turn.turn_start, len(turn.token_ids))
            if settings.tokens == "turn"
            else (turn.answer_start, turn.answer_end)
        )
        weight = 1.0
        if settings.pooling != "tokens":
            weight /= max(1, end - start)
        if settings.pooling == "questions":
            weight /= asked[text.side, text.question]
        also = tuple(2 * k + 2 + labels[position] for k, labels in enumerate(shuffled or []))
        made.append(WeightedSpan(turn.token_ids, start, end, text.side, weight, also))
    return made
