"""A sampling run: one engine for the conditions of a battery's shard, filling the store with what is missing.

No engine starts when nothing is missing. The manifest says what the run found and what it sampled.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from workflow_scripts.adapters.edited import unpacked
from workflow_scripts.engines.gate import Gate
from workflow_scripts.engines.interface import Engine
from workflow_scripts.engines.plan import (
    PlannedCondition,
    planned,
    settings,
    subject_questions,
    wanted,
)
from workflow_scripts.models.files import checked_base
from workflow_scripts.runtime import command, gpu_lease
from workflow_scripts.runtime.locks import exclusive
from workflow_scripts.store.artefacts import read_tensors, write_table
from workflow_scripts.store.responses import ResponseStore, Wanted
from workflow_scripts.study.conditions import Condition, batteries
from workflow_scripts.study.layout import CHAT_BASE, Layout, organism_of
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.reading import load
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.schema import Study
from workflow_scripts.study.shards import Pair, by_subject, dealt

log = logging.getLogger(__name__)

MANIFEST = pa.schema(
    [
        ("subject", pa.string()),
        ("condition", pa.string()),
        ("store_hash", pa.string()),
        ("responses", pa.int64()),
        ("sampled", pa.int64()),
        ("tokens_sampled", pa.int64()),
        ("seconds", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Gap:
    """A condition, what it needs, and what of that the store lacks."""

    subject: str
    planned: PlannedCondition
    needed: int
    missing: list[Wanted]


def gaps(study: Study, layout: Layout, battery: Battery, pairs: Sequence[Pair]) -> list[Gap]:
    """What each of these conditions lacks in the store; those that could not be made are left out."""
    store = ResponseStore(layout.store)
    found = []
    for subject, own in by_subject(pairs).items():
        asked = subject_questions(study, layout, battery, subject)
        for plan in planned(study, layout, battery, subject, own):
            rows = wanted(study, asked, plan.run)
            present = store.present(plan.store_hash)
            found.append(Gap(subject, plan, len(rows), [row for row in rows if row.row_key not in present]))
    return found


def fill(study: Study, layout: Layout, found: Sequence[Gap]) -> tuple[dict[str, tuple[int, float]], dict[str, str]]:
    """Samples what is missing, condition by condition; returns (tokens, seconds) by store hash, and the engine's facts.

    Each condition is one batch of its own and is stored as soon as it is finished, so what it yields does not depend on
    what else is sampled in this run.
    """
    import time

    from workflow_scripts.engines.interface import Request, SamplingSettings
    from workflow_scripts.engines.opening import open_engine
    from workflow_scripts.models.interventions import read_changes
    from workflow_scripts.models.loading import load_tokenizer
    from workflow_scripts.models.prompting import check_length

    open_gaps = [gap for gap in found if gap.missing]
    if not open_gaps:
        return {}, {}
    base = checked_base(layout)
    tokenizer = load_tokenizer(base)
    prompts = {
        (added, system, question): added.prompt(tokenizer, question, system)
        for added, system, question in {
            (gap.planned.beside, row.system, row.question): None for gap in open_gaps for row in gap.missing
        }
    }
    subjects = list(dict.fromkeys(gap.subject for gap in open_gaps))
    ranks = [study.organisms[organism_of(subject)[0]].rank for subject in subjects if subject != CHAT_BASE]
    gpu_lease.hold(study.execution.tensor_parallel)
    longest = max(gate_prompt_lengths(layout, subjects) + [len(prompt) for prompt in prompts.values()])
    check_length(base, longest, study.sampling.max_tokens)
    changes = any(gap.planned.condition.intervention for gap in open_gaps)
    engine = open_engine(base, study, longest, max(ranks, default=0), changes)
    facts = engine.facts()
    log.info("engine: %s", facts)
    store, sampling = ResponseStore(layout.store), SamplingSettings(**settings(study))
    spent: dict[str, tuple[int, float]] = {}
    held: set[str] = set()
    gate = Gate(engine, study.base.dtype, study.sampling.max_tokens)
    progress = tqdm(total=sum(len(gap.missing) for gap in open_gaps), unit="response", mininterval=2)
    try:
        for gap in open_gaps:
            condition = gap.planned.condition
            progress.set_description(f"{gap.subject} {condition.name}")
            with served(engine, gate, layout, gap.subject, condition, held):
                change = condition.intervention
                if change:
                    engine.intervene(read_changes(layout, change))
                started = time.monotonic()
                requests = [
                    Request(prompts[gap.planned.beside, row.system, row.question], row.seed) for row in gap.missing
                ]
                answers = engine.generate(requests, sampling)
                seconds = time.monotonic() - started
                rows: list[dict[str, Any]] = [
                    {
                        "row_key": row.row_key,
                        "prompt_token_ids": list(request.prompt),
                        "response": answer.text,
                        "response_token_ids": list(answer.token_ids),
                        "tokens": len(answer.token_ids),
                        "finish_reason": answer.finish_reason,
                        "seed": row.seed,
                    }
                    for row, request, answer in zip(gap.missing, requests, answers, strict=True)
                ]
                store.add(gap.planned.store_hash, rows, engine=facts)
                spent[gap.planned.store_hash] = (sum(row["tokens"] for row in rows), seconds)
                progress.update(len(rows))
    finally:
        progress.close()
        engine.close()
    return spent, facts


@contextmanager
def served(
    engine: Engine, gate: Gate, layout: Layout, subject: str, condition: Condition, held: set[str]
) -> Iterator[None]:
    """Makes the engine answer as a subject, with its adapter edited where the condition says so.

    `held` are the subjects whose own adapter has passed the gate in this engine; edited ones pass it each time.

    Raises:
        UnfitAdapter: if what the engine serves is not what PEFT says.
    """
    engine.intervene(())
    if condition.edit:
        with unpacked(layout.edits(subject), condition.name) as (folder, kept):
            gate.serve(folder, kept, f"{subject} {condition.name}")
            yield
        return
    if subject == CHAT_BASE:
        engine.serve(None)
    elif subject in held:
        engine.serve(layout.organism(subject))
    else:
        gate.serve(layout.organism(subject), layout.gate(subject), subject)
        held.add(subject)
    yield


def gate_prompt_lengths(layout: Layout, subjects: Sequence[str]) -> list[int]:
    """Lengths of the prompts that the gate will ask of these subjects."""
    lengths = []
    for subject in subjects:
        if subject != CHAT_BASE:
            tensors, _ = read_tensors(layout.gate(subject), ["prompt_lengths"])
            lengths += tensors["prompt_lengths"].tolist()
    return lengths


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--battery", required=True)
    parser.add_argument("--shard", type=int, default=0)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    assert given.battery in batteries(study), given.battery
    pairs = dealt(study, given.battery, given.shards)[given.shard]
    with exclusive(given.output.with_name(f".{given.output.stem}.lock")):
        found = gaps(study, layout, given.battery, pairs)
        spent, engine = fill(study, layout, found)
    rows = [
        {
            "subject": gap.subject,
            "condition": gap.planned.condition.name,
            "store_hash": gap.planned.store_hash,
            "responses": gap.needed,
            "sampled": len(gap.missing),
            "tokens_sampled": spent.get(gap.planned.store_hash, (0, 0.0))[0],
            "seconds": spent.get(gap.planned.store_hash, (0, 0.0))[1],
        }
        for gap in found
    ]
    sampled, needed = sum(len(gap.missing) for gap in found), sum(gap.needed for gap in found)
    tokens, seconds = sum(t for t, _ in spent.values()), sum(s for _, s in spent.values())
    speed = tokens / seconds if seconds else 0
    log.info("%s: sampled %d of %d responses, %d tokens, %.0f tokens/s", given.battery, sampled, needed, tokens, speed)
    write_table(
        given.output,
        pa.Table.from_pylist(rows, MANIFEST),
        made_by("sampling", study, layout, given.output, (), given.battery, engine=engine),
    )


if __name__ == "__main__":
    command.run(main)
