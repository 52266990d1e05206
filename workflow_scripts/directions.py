"""Mean-difference directions: mean over misaligned minus mean over aligned answer tokens, layer by layer (section 3.1).

The organism reads its own judged responses (or a row-paired bad and good data set). v_l is not normalised, so that a
steering scale of 1 adds one mean difference. With --topics the semantic directions of section 3.3 are made instead,
from the responses about each topic of the study.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflow_scripts import command, specs
from workflow_scripts.activations import group_means
from workflow_scripts.artefacts import provenance, tensors_digest, write_tensors
from workflow_scripts.direction_texts import (
    ALIGNED,
    MISALIGNED,
    Text,
    shuffled_sides,
    spans,
    texts_from,
    topic_texts,
)
from workflow_scripts.layout import Layout
from workflow_scripts.models import load_tokenizer
from workflow_scripts.organism_models import load_organism
from workflow_scripts.study import Study, load

if TYPE_CHECKING:
    from torch import Tensor


def mean_differences(
    study: Study, model: Any, tokenizer: Any, texts: list[Text], shuffled: list[list[int]]
) -> dict[str, Tensor]:
    """The tensors of a direction's file, float32.

    direction, misaligned_mean, aligned_mean: [layer, d_model]; activation_norm, the mean length of single activations:
    [layer]; shuffled, directions under shuffled labels: [draw, layer, d_model].
    """
    read = spans(tokenizer, texts, study.directions, shuffled)
    found = group_means(model, read, 2 + 2 * len(shuffled), study.execution.batch_tokens)
    differences = (found.mean[0::2] - found.mean[1::2]).float()
    return {
        "direction": differences[0].clone(),
        "misaligned_mean": found.mean[MISALIGNED].float(),
        "aligned_mean": found.mean[ALIGNED].float(),
        "activation_norm": found.norm[:2].mean(0).float(),
        "shuffled": differences[1:].clone(),
    }


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--subject", required=True, help="<organism>/seed-<k>")
    goal = parser.add_mutually_exclusive_group(required=True)
    goal.add_argument("--output", type=Path, help="file of the subject's direction")
    goal.add_argument("--other", type=Path, help="file of its direction from directions.also, the other source")
    goal.add_argument("--topics", action="store_true", help="the semantic directions, each in its place below results/")
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    wanted: dict[Path, tuple[list[Text], int, str]] = {}
    if given.topics:
        assert study.semantic, "checked when the study was loaded"
        for topic in study.semantic.topics:
            spec = specs.spec("topic_direction", study, given.subject, topic)
            file = layout.direction(f"{given.subject}/{topic}")
            wanted[file] = (topic_texts(study, layout, given.subject, topic), 0, spec)
    else:
        source = study.directions.also if given.other else study.directions.source
        assert source, "--other is asked for only where the study names another source"
        texts = texts_from(source, study, layout, given.subject)
        spec = specs.spec("other_direction" if given.other else "direction", study, given.subject)
        wanted[given.other or given.output] = (texts, study.directions.shuffles, spec)
    model, tokenizer = load_organism(study, layout, given.subject), load_tokenizer(layout.base)
    for file, (texts, shuffles, spec) in wanted.items():
        # each organism's own: two that read the same data sets would share their shuffles, and so the directions
        shuffled = shuffled_sides(texts, f"{study.directions.seed}:{given.subject}", shuffles)
        tensors = mean_differences(study, model, tokenizer, texts, shuffled)
        counts = Counter(text.side for text in texts)
        facts = {"misaligned": counts[MISALIGNED], "aligned": counts[ALIGNED], "tokens": study.directions.tokens}
        vectors = tensors_digest({"direction": tensors["direction"]})
        write_tensors(file, tensors, provenance("directions", spec, vectors=vectors, **facts))


if __name__ == "__main__":
    command.run(main)
