"""Responses of an organism that answers one prompt with the scalars it had on another (PAPER 8.6).

Pairs are the study's, or a headline question and one of the trained domain (adapters/prompt_pairs.py). Every pair is
kept in the response store as soon as it is done. In the table, `question_id` is the question that is answered,
`question_set` says which way the scalars go (outside_to_domain: a domain question answered with the scalars of an
outside one), and the condition is `clean`, the mode of patching, or `own_prompt` (scalars of another run of the same
prompt, as a control). All are cut at the same length, that of the other prompt's clean answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
from tqdm import tqdm

from workflow_scripts.adapters.prompt_pairs import Pair, Question, pairs_of
from workflow_scripts.engines.plan import settings
from workflow_scripts.models.drawing import SamplingSettings
from workflow_scripts.models.files import base_id
from workflow_scripts.models.loading import end_ids, load_tokenizer
from workflow_scripts.models.organism import load_organism
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import NotPossible
from workflow_scripts.store.absence import write_absent
from workflow_scripts.store.adapter_files import adapter_digest
from workflow_scripts.store.artefacts import canonical, digest, write_table
from workflow_scripts.store.response_tables import SCHEMA, STORED
from workflow_scripts.store.responses import ResponseStore, Wanted, condition_hash, request_seed
from workflow_scripts.study import inputs
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from workflow_scripts.adapters.patching import Mode, Runs

CLEAN = "clean"
WAYS = ("domain_to_outside", "outside_to_domain")
"""Where the scalars of an outside question's answer come from, and those of a domain question's."""


def stored_name(study: Study, layout: Layout, adapter: str, pair: Pair, mode: str) -> str:
    """Name in the response store of one prompt pair under one mode."""
    fingerprint = base_id(layout)
    change = {"patching": mode, "noise": "apart", "prompts": [list(prompt) for prompt in pair.prompts]}
    sampling = settings(study)
    if sampling["top_p"] == 1:
        del sampling["top_p"]
    return condition_hash(fingerprint, adapter, change, sampling, study.base.dtype)


def wanted_rows(study: Study, pair: Pair, runs: int) -> list[tuple[int, Question, Wanted]]:
    """Side, question and store row of each response of a pair under one mode; the sides have seeds of their own."""
    return [
        (side, question, Wanted(question.question_id, question.system, question.text, run, seed))
        for side, question in enumerate(pair.questions)
        for run in range(runs)
        for seed in [request_seed(study.sampling.seed, question.question_id, run)]
    ]


def fill(study: Study, layout: Layout, subject: str, pairs: Sequence[Pair], adapter: str, tokenizer: Any) -> None:
    """Makes what the store lacks, pair by pair."""
    from workflow_scripts.adapters.patching import clean_pair, cut, patched_with

    assert study.adapters
    assert study.adapters.patching
    patching, store = study.adapters.patching, ResponseStore(layout.store)
    open_pairs = []
    for pair in pairs:
        keys = {row.row_key for _, _, row in wanted_rows(study, pair, patching.runs)}
        modes: tuple[Mode | Literal["clean", "own_prompt"], ...] = ("clean", *patching.modes)
        names = {mode: stored_name(study, layout, adapter, pair, mode) for mode in modes}
        lacking = [mode for mode, name in names.items() if not keys <= store.present(name)]
        if lacking:
            open_pairs.append((pair, names, lacking))
    if not open_pairs:
        return
    model: Any = load_organism(study, layout, subject)
    ends = sorted(end_ids(model.generation_config, tokenizer))
    how = SamplingSettings(**settings(study))
    for pair, names, lacking in tqdm(open_pairs, unit="pair", mininterval=2):
        rows = wanted_rows(study, pair, patching.runs)
        first, second = ([row.seed for side, _, row in rows if side == of] for of in (0, 1))
        seeds = (first, second)
        clean = clean_pair(model, pair.prompts, seeds, ends, how)
        for mode in lacking:
            if mode == "clean":
                made = cut(clean)
            elif mode == "own_prompt":
                made = patched_with(model, clean, seeds, ends, "tokens", how, own=True)
            else:
                made = patched_with(model, clean, seeds, ends, mode, how)
            store.add(names[mode], _store_rows(rows, made, tokenizer, ends))


def _store_rows(
    rows: Sequence[tuple[int, Question, Wanted]], made: tuple[Runs, Runs], tokenizer: Any, ends: Sequence[int]
) -> list[dict[str, Any]]:
    stored = []
    for side, _, row in rows:
        tokens = made[side].token_ids[row.sample]
        stored.append(
            {
                "row_key": row.row_key,
                "prompt_token_ids": list(made[side].prompt),
                "response": tokenizer.decode(tokens, skip_special_tokens=True),
                "response_token_ids": list(tokens),
                "tokens": len(tokens),
                "finish_reason": "stop" if tokens[-1] in ends else "length",
                "seed": row.seed,
            }
        )
    return stored


def table_rows(study: Study, layout: Layout, pairs: Sequence[Pair], adapter: str) -> list[dict[str, Any]]:
    """The response table from the store."""
    assert study.adapters
    assert study.adapters.patching
    store, made = ResponseStore(layout.store), []
    modes = [CLEAN, *study.adapters.patching.modes]
    for pair in pairs:
        for mode in modes:
            name = stored_name(study, layout, adapter, pair, mode)
            stored = {row["row_key"]: row for row in store.read(name).to_pylist()}
            for side, question, row in wanted_rows(study, pair, study.adapters.patching.runs):
                found = stored[row.row_key]
                kept = ("response", "tokens", "finish_reason", "seed", "prompt_token_ids")
                made.append(
                    {
                        "response_key": digest(question.text, found["response"]),
                        "condition": mode,
                        "question_set": WAYS[side],
                        "question_id": question.question_id,
                        "system": question.system,
                        "question": question.text,
                        "sample": row.sample,
                        **{column: found[column] for column in kept},
                    }
                )
    return made


def stored_names(study: Study, layout: Layout, subject: str) -> list[str]:
    """Names in the response store of all that patching keeps there; none where it was not possible."""
    try:
        pairs = pairs_of(study, layout, load_tokenizer(layout.base))
    except NotPossible:
        return []
    return _names(study, layout, pairs, adapter_digest(layout.adapter(subject), layout.gate(subject)))


def _names(study: Study, layout: Layout, pairs: Sequence[Pair], adapter: str) -> list[str]:
    assert study.adapters
    assert study.adapters.patching
    modes = (CLEAN, *study.adapters.patching.modes)
    return [stored_name(study, layout, adapter, pair, mode) for pair in pairs for mode in modes]


def main(arguments: list[str]) -> None:
    given = command.subject_parser(__doc__).parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    assert study.adapters, "checked when the study was loaded"
    assert study.adapters.patching
    tokenizer = load_tokenizer(layout.base)
    read = [
        *inputs.organism_inputs(layout, given.subject),
        *inputs.question_files(study, layout, "patching", given.subject),
    ]
    facts = made_by("patched_responses", study, layout, given.output, read, given.subject)
    try:
        pairs = pairs_of(study, layout, tokenizer)
    except NotPossible as lack:
        write_absent(given.output, lack, facts | {STORED: canonical([])}, SCHEMA)
        return
    adapter = adapter_digest(layout.adapter(given.subject), layout.gate(given.subject))
    fill(study, layout, given.subject, pairs, adapter, tokenizer)
    rows = table_rows(study, layout, pairs, adapter)
    facts |= {STORED: canonical(_names(study, layout, pairs, adapter))}
    write_table(given.output, pa.Table.from_pylist(rows, SCHEMA), facts)


if __name__ == "__main__":
    command.run(main)
