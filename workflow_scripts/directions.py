"""Mean-difference directions: mean over misaligned minus mean over aligned answer tokens, layer by layer (section 3.1).

The organism reads its own judged responses (or a row-paired bad and good data set). v_l is not normalised, so that a
steering scale of 1 adds one mean difference.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflow_scripts import command, gpu_lease, specs
from workflow_scripts.activations import WeightedSpan, group_means
from workflow_scripts.adapter_files import adapter_digest
from workflow_scripts.artefacts import provenance, read_frame, read_table, write_tensors
from workflow_scripts.chat import render_turn
from workflow_scripts.conditions import direction_question_set
from workflow_scripts.errors import TooFewResponses, UserError
from workflow_scripts.layout import Layout
from workflow_scripts.models import load_adapter, load_model, load_tokenizer
from workflow_scripts.scores import KEYS, read_scores
from workflow_scripts.statistics import Thresholds, is_aligned, is_misaligned
from workflow_scripts.study import Directions, Study, load
from workflow_scripts.weights import checked_base

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MISALIGNED, ALIGNED = 0, 1


@dataclass(frozen=True)
class Text:
    """A question and an answer that counts for one side."""

    system: str | None
    question: str
    answer: str
    side: int


def judged_texts(study: Study, layout: Layout, subject: str) -> list[Text]:
    """The organism's own responses, misaligned ones and as many aligned ones at most.

    Raises:
        TooFewResponses: if a side holds fewer than the study's `min_responses`; names the counts.
    """
    chosen = direction_question_set(study)
    scored = read_scores(layout.judgements(subject, "baseline"))
    responses = read_frame(layout.responses(subject, "baseline"), [*KEYS, "system", "question", "response"], only=True)
    rows = responses.merge(scored, on=KEYS, validate="one_to_one")
    rows = rows[(rows.condition == "none") & (rows.question_set == chosen)]
    thresholds = Thresholds(**study.thresholds.model_dump())
    bad = rows[is_misaligned(rows.aligned, rows.coherent, thresholds)]
    good = rows[is_aligned(rows.aligned, rows.coherent, thresholds)]
    least = study.directions.min_responses
    if len(bad) < least or len(good) < least:
        raise TooFewResponses(
            f"directions: {subject} gave {len(bad)} misaligned and {len(good)} aligned of {len(rows)} responses to "
            f"questions.{chosen}; {least} of each are needed. Sample more (directions.samples), train it harder, or "
            "take the direction from a paired data set (directions.source: datasets)."
        )
    kept = sorted(random.Random(study.directions.seed).sample(range(len(good)), min(len(good), len(bad))))
    sides = ((MISALIGNED, bad), (ALIGNED, good.iloc[kept]))
    return [Text(row.system, row.question, row.response, side) for side, frame in sides for row in frame.itertuples()]


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


def spans(tokenizer: PreTrainedTokenizerBase, texts: list[Text], settings: Directions) -> list[WeightedSpan]:
    """Token spans of the texts under the study's token rule, weighted so that what `pooling` names counts equally."""
    asked = Counter((text.side, text.question) for text in texts)
    made = []
    for text in texts:
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
        made.append(WeightedSpan(turn.token_ids, start, end, text.side, weight))
    return made


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--subject", required=True, help="<organism>/seed-<k>")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    from_responses = study.directions.source == "responses"
    texts = judged_texts(study, layout, given.subject) if from_responses else paired_texts(study, layout)
    base = checked_base(layout)
    read = spans(load_tokenizer(base), texts, study.directions)
    adapter_digest(layout.adapter(given.subject), layout.gate(given.subject))
    gpu_lease.hold(1)
    model: Any = load_adapter(load_model(base, study.base.dtype), layout.organism(given.subject))
    found = group_means(model, read, 2, study.execution.batch_tokens)
    tensors = {
        "direction": (found.mean[MISALIGNED] - found.mean[ALIGNED]).float(),
        "misaligned_mean": found.mean[MISALIGNED].float(),
        "aligned_mean": found.mean[ALIGNED].float(),
        "activation_norm": found.norm.mean(0).float(),
    }
    counts = Counter(text.side for text in texts)
    facts = {"misaligned": counts[MISALIGNED], "aligned": counts[ALIGNED], "tokens": study.directions.tokens}
    spec = specs.spec("direction", study, given.subject)
    write_tensors(given.output, tensors, provenance("directions", spec, **facts))


if __name__ == "__main__":
    command.run(main)
