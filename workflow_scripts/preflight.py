"""What can be known of a study once base, data sets and questions are there, checked before any model is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workflow_scripts.adapters.prompt_pairs import pairs_of
from workflow_scripts.judges.given import given_responses
from workflow_scripts.judges.paired import in_files
from workflow_scripts.models.chat import prompt_ids
from workflow_scripts.models.direction_files import imported_direction, vector_digests
from workflow_scripts.models.loading import load_tokenizer
from workflow_scripts.models.prompting import beside, check_length
from workflow_scripts.models.updates import held_out_split, updates_of
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import NotPossible, UserError
from workflow_scripts.store.artefacts import read_table, write_json
from workflow_scripts.study import inputs
from workflow_scripts.study.conditions import (
    conditions,
    given_directions,
    given_subjects,
    prompted_batteries,
    prompted_questions,
)
from workflow_scripts.study.layout import CHAT_BASE, Layout
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study


def prompts(study: Study, layout: Layout) -> int:
    """Questions that people wrote, each rendered with the base's chat template as it will be sampled.

    Raises:
        UserError: naming the first that the template does not take, as one under a system prompt; or if the longest is
            longer than the base reads.
    """
    sets = inputs.written_questions(study)
    rows = [(name, row) for name in sets for row in read_table(layout.questions(name)).to_pylist()]
    if not rows:
        return 0
    tokenizer, longest = load_tokenizer(layout.base), 0
    for name, row in rows:
        try:
            longest = max(longest, len(prompt_ids(tokenizer, row["question"], row["system"])))
        except UserError as error:
            raise UserError(f"questions.{name}: {row['question_id']}: {error}") from error
    check_length(layout.base, longest, study.sampling.max_tokens)
    return len(rows)


def prompted(study: Study, layout: Layout) -> int | None:
    """Tokens of the longest prompt with rows of data sets or another system prompt in it; None where there is none.

    Raises:
        UserError: if a data set has too few rows, the template does not take them, or the base does not read as many
            tokens.
    """
    if not (batteries := prompted_batteries(study)):
        return None
    tokenizer, lengths = load_tokenizer(layout.base), []
    for battery in batteries:
        rows = read_table(layout.questions(prompted_questions(study, battery))).to_pylist()
        longest = max(rows, key=lambda row: len(row["question"]))
        for condition in conditions(study, battery, CHAT_BASE):
            added = beside(study, layout, condition)
            lengths.append(len(added.prompt(tokenizer, longest["question"], longest["system"])))
    check_length(layout.base, max(lengths), study.sampling.max_tokens)
    return max(lengths)


def pairs(study: Study, layout: Layout) -> int:
    """Pairs of prompts for patching.

    Raises:
        UserError: if there are too few of equal token length.
    """
    if study.adapters is None or study.adapters.patching is None:
        return 0
    try:
        return len(pairs_of(study, layout, load_tokenizer(layout.base)))
    except NotPossible as lack:
        raise UserError(str(lack)) from lack


def directions(study: Study, layout: Layout) -> dict[str, str]:
    """Digests of the directions that the study names by file.

    Raises:
        UserError: if one cannot be used on the study's base.
    """
    return {
        name: vector_digests(imported_direction(study, layout, name)[0])["vectors"] for name in given_directions(study)
    }


def last_update(study: Study, layout: Layout, place: str, organism: str, steps: list[int]) -> int | None:
    """Updates of a training that is looked at along its way; None of a published adapter.

    Args:
        place: the setting that names the steps, for the error.

    Raises:
        UserError: if a copy is asked for of a later step.
    """
    settings = study.organisms[organism]
    if settings.adapter:
        return None
    assert settings.dataset, "checked when the study was loaded"
    rows = read_table(layout.dataset(settings.dataset), ["row"], only=True).to_pylist()
    kept = rows if settings.test_dataset else held_out_split(rows, settings.held_out, 0)[0]
    updates = updates_of(settings, len(kept))
    late = [step for step in steps if step > updates]
    if late:
        raise UserError(
            f"{place}: {late[0]} is after the last update of organisms.{organism}, "
            f"{updates} of {len(kept)} rows; name earlier steps, or train for more epochs."
        )
    return updates


def walked(study: Study, layout: Layout) -> dict[str, Any]:
    """Updates of the trainings that the study looks at along their way."""
    path, dynamics = study.training_path, study.dynamics
    found: dict[str, Any] = {
        "updates": path and last_update(study, layout, "training_path.steps", path.organism, path.steps)
    }
    if dynamics:
        found["updates_of"] = {
            name: last_update(study, layout, "dynamics.steps", name, dynamics.steps) for name in dynamics.organisms
        }
    return found


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    responses = {subject: len(given_responses(study, layout, subject).rows) for subject in given_subjects(study)}
    found: dict[str, Any] = {"pairs": pairs(study, layout)} | walked(study, layout)
    asked = {
        "questions": prompts(study, layout),
        "longest_prompt": prompted(study, layout),
        "directions": directions(study, layout),
        "responses": responses,
    }
    found |= {what: part for what, part in asked.items() if part}
    if study.calibration and study.calibration.files:
        found["calibrated_on"] = len(in_files(study, layout))
    facts = made_by("preflight", study, layout, given.output, inputs.preflight_inputs(study, layout))
    write_json(given.output, found, facts)


if __name__ == "__main__":
    command.run(main)
