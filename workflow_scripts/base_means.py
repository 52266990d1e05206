"""Mean activation of each layer over the chat base's own answers: what mean-ablation sets to, and caps count from.

The base reads its unchanged answers to the headline questions, by the token rule and pooling of `directions`.
"""

from __future__ import annotations

from pathlib import Path

from workflow_scripts.models.activations import group_means
from workflow_scripts.models.direction_texts import Text, spans, unchanged_responses
from workflow_scripts.models.loading import load_tokenizer
from workflow_scripts.models.organism import load_organism
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.locks import making
from workflow_scripts.store.artefacts import tensors_digest, write_tensors
from workflow_scripts.study.layout import CHAT_BASE, Layout
from workflow_scripts.study.made_by import made_by, work_of
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    read = [layout.fingerprint, layout.responses(CHAT_BASE, "baseline")]
    facts = made_by("base_means", study, layout, given.output, read)
    with making(given.output, given.output, work_of("base_means", facts)) as wanted:
        if wanted:
            make(study, layout, given.output, facts)


def make(study: Study, layout: Layout, output: Path, facts: dict[str, str]) -> None:
    """Reads the answers and writes their mean, [layer, d_model] float32; `facts` are its provenance.

    Raises:
        UserError: if all answers are empty, or an activation is not finite.
    """
    rows = unchanged_responses(layout, CHAT_BASE)
    rows = rows[(rows.question_set == study.sampling.questions) & (rows.response.str.strip() != "")]
    if rows.empty:
        raise UserError(
            f"{layout.responses(CHAT_BASE, 'baseline')}: all answers of the chat base are empty, so that they have no "
            "mean activation; look at the base's chat template, or leave the section `specificity` out."
        )
    texts = [Text(row.system, row.question, row.response, 0) for row in rows.itertuples()]
    model, tokenizer = load_organism(study, layout, CHAT_BASE), load_tokenizer(layout.base)
    read = spans(tokenizer, texts, study.directions)
    tensors = {"mean": group_means(model, read, 1, study.execution.batch_tokens).mean[0].float()}
    if not tensors["mean"].isfinite().all():
        raise UserError(
            "base: its activations are not finite, its numbers overflow or its weights are damaged; where base.dtype "
            "is float16, use bfloat16 or float32."
        )
    write_tensors(output, tensors, {**facts, "means": tensors_digest(tensors), "responses": str(len(texts))})


if __name__ == "__main__":
    command.run(main)
