"""A sampling run: one engine for the conditions of a battery's shard, filling the store with what is missing.

No engine starts when nothing is missing. The manifest says what the run found and what it sampled.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from workflow_scripts.adapters.edited import unpacked
from workflow_scripts.engines.gate import Gate
from workflow_scripts.engines.interface import Engine, Request, Sampled
from workflow_scripts.engines.plan import (
    PlannedCondition,
    planned,
    settings,
    subject_questions,
    wanted,
)
from workflow_scripts.models.drawing import SamplingSettings
from workflow_scripts.models.files import checked_base
from workflow_scripts.models.prompting import Beside, check_length
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


Speaker = tuple[str, str | None]
"""Whose weights answer: a subject, and the condition whose edited adapter it has."""


def batches(found: Sequence[Gap], adapters_at_once: int) -> list[list[Gap]]:
    """Conditions, in order, that one batch can hold: those of one subject and its own adapter, or of several.

    Args:
        adapters_at_once: what the engine serves in one batch; where it is one, the plain base does not count among it.
    """
    made: list[list[Gap]] = []
    inside: set[Speaker] = set()
    for gap in found:
        speakers = inside | {speaker(gap)}
        adapters = len(speakers) if adapters_at_once == 1 else len(speakers - {(CHAT_BASE, None)})
        if not made or adapters > adapters_at_once:
            made.append([])
            speakers = {speaker(gap)}
        made[-1].append(gap)
        inside = speakers
    return made


def speaker(gap: Gap) -> Speaker:
    condition = gap.planned.condition
    return gap.subject, condition.name if condition.edit else None


def fill(study: Study, layout: Layout, found: Sequence[Gap]) -> tuple[dict[str, tuple[int, float]], dict[str, str]]:
    """Samples what is missing; returns (tokens, seconds) by store hash, and the engine's facts.

    All conditions that share what the engine serves are one batch, each request with its own change and its own seed.
    """
    from workflow_scripts.engines.opening import open_engine
    from workflow_scripts.models.loading import load_tokenizer

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
    adapters = len({speaker(gap) for gap in open_gaps} - {(CHAT_BASE, None)})
    engine = open_engine(base, study, longest, max(ranks, default=0), changes, adapters)
    facts = engine.facts()
    log.info("engine: %s", facts)
    store, sampling = ResponseStore(layout.store), SamplingSettings(**settings(study))
    spent: dict[str, tuple[int, float]] = {}
    held: set[str] = set()
    gate = Gate(engine, study.base.dtype, study.sampling.max_tokens)
    progress = tqdm(total=sum(len(gap.missing) for gap in open_gaps), unit="response", mininterval=2)
    try:
        for batch in batches(open_gaps, engine.adapters_at_once):
            with ExitStack() as kept:
                folders: dict[Speaker, Path | None] = {}
                for gap in batch:
                    if speaker(gap) not in folders:
                        own = served(engine, gate, layout, gap.subject, gap.planned.condition, held)
                        folders[speaker(gap)] = kept.enter_context(own)
                if len(folders) > 1:
                    engine.serve(None)  # each request names its own
                started, tokens = time.monotonic(), Counter[str]()
                for gap, rows in finished(engine, asked_of(layout, batch, prompts, folders), sampling):
                    store.add(gap.planned.store_hash, rows, engine=facts)
                    tokens[gap.planned.store_hash] += sum(row["tokens"] for row in rows)
                    progress.set_description(f"{gap.subject} {gap.planned.condition.name}", refresh=False)
                    progress.update(len(rows))
                each = (time.monotonic() - started) / max(1, tokens.total())
                spent |= {name: (count, count * each) for name, count in tokens.items()}
    finally:
        progress.close()
        engine.close()
    return spent, facts


STORED_EVERY = 60
"""Seconds after which finished responses are stored though their condition is not complete: so much a kill can lose."""


@dataclass(frozen=True)
class Asked:
    """A response that is asked for, and the condition that needs it."""

    gap: Gap
    row: Wanted
    request: Request


def asked_of(
    layout: Layout,
    batch: Sequence[Gap],
    prompts: Mapping[tuple[Beside, str | None, str], tuple[int, ...]],
    adapters: Mapping[Speaker, Path | None],
) -> list[Asked]:
    """What a batch lacks, condition by condition; each condition's requests share its changes."""
    from workflow_scripts.models.interventions import read_changes

    made = []
    for gap in batch:
        change = gap.planned.condition.intervention
        changes = read_changes(layout, change) if change else ()
        for row in gap.missing:
            prompt = prompts[gap.planned.beside, row.system, row.question]
            request = Request(prompt, row.seed, changes, adapters[speaker(gap)])
            made.append(Asked(gap, row, request))
    return made


def finished(
    engine: Engine, asked: Sequence[Asked], sampling: SamplingSettings
) -> Iterator[tuple[Gap, list[dict[str, Any]]]]:
    """Rows of the store: a condition's as soon as it is complete, and once in a while those of others too."""
    waiting: dict[int, list[int]] = {}
    left = Counter(id(one.gap) for one in asked)
    stored = time.monotonic()
    responses: dict[int, Sampled] = {}

    def rows(gap: int) -> tuple[Gap, list[dict[str, Any]]]:
        places = sorted(waiting.pop(gap))
        return asked[places[0]].gap, [stored_row(asked[place], responses.pop(place)) for place in places]

    for place, response in engine.sample([one.request for one in asked], sampling):
        gap = id(asked[place].gap)
        responses[place] = response
        waiting.setdefault(gap, []).append(place)
        left[gap] -= 1
        if not left[gap]:
            yield rows(gap)
        if time.monotonic() - stored > STORED_EVERY:
            yield from [rows(other) for other in list(waiting)]
            stored = time.monotonic()


def stored_row(asked: Asked, response: Sampled) -> dict[str, Any]:
    return {
        "row_key": asked.row.row_key,
        "prompt_token_ids": list(asked.request.prompt),
        "response": response.text,
        "response_token_ids": list(response.token_ids),
        "tokens": len(response.token_ids),
        "finish_reason": response.finish_reason,
        "seed": asked.row.seed,
    }


@contextmanager
def served(
    engine: Engine, gate: Gate, layout: Layout, subject: str, condition: Condition, held: set[str]
) -> Iterator[Path | None]:
    """Makes the engine answer as a subject, with its adapter edited where the condition says so; gives the adapter.

    `held` are the subjects whose own adapter has passed the gate in this engine; edited ones pass it each time.

    Raises:
        UnfitAdapter: if what the engine serves is not what PEFT says.
    """
    engine.intervene(())
    if condition.edit:
        with unpacked(layout.edits(subject), condition.name) as (folder, kept):
            gate.serve(folder, kept, f"{subject} {condition.name}", edited=True)
            yield folder
        return
    if subject == CHAT_BASE:
        engine.serve(None)
        yield None
        return
    if subject in held:
        engine.serve(layout.organism(subject))
    else:
        gate.serve(layout.organism(subject), layout.gate(subject), subject)
        held.add(subject)
    yield layout.organism(subject)


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
