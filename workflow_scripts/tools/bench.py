"""`make bench`: speeds as ratios measured in one run, on the base and an organism of a finished study.

Seconds depend on the machine and are printed for orientation only; nothing asserts them.
"""

from __future__ import annotations

import json
import logging
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from workflow_scripts.adapters.fine_tuning import train
from workflow_scripts.engines.interface import Engine, Request, SamplingSettings
from workflow_scripts.engines.plan import planned, settings, subject_questions, wanted
from workflow_scripts.engines.transformers_engine import TransformersEngine
from workflow_scripts.engines.vllm_engine import VllmEngine
from workflow_scripts.models.activations import WeightedSpan, group_means
from workflow_scripts.models.chat import prompt_ids
from workflow_scripts.models.interventions import read_changes
from workflow_scripts.models.loading import load_model, load_tokenizer
from workflow_scripts.models.residual import LayerChange, captured
from workflow_scripts.runtime import command, phases
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.run_times import read_run
from workflow_scripts.store.absence import require
from workflow_scripts.store.artefacts import read_table, read_tensors
from workflow_scripts.study.conditions import direction_subjects
from workflow_scripts.study.layout import CHAT_BASE, Layout, organism_of
from workflow_scripts.study.organisms import Organism
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Execution, Study

log = logging.getLogger(__name__)

PROMPT_TOKENS = 47
ANSWER_TOKENS = (4.02, 0.33)
"""Mean and spread of the logarithm of answer lengths: of the 400 judged answers of Qwen2.5-14B, medical, that the
authors published, in Qwen2.5 tokens (13 to 171, mean 59); their prompts are 47 long with the chat template."""

ROUNDS = 3
QUESTIONS = 8
"""The questions that those answers answer, 50 each."""


def tokens_per_second(engine: Engine, requests: Sequence[Request], settings: SamplingSettings) -> float:
    """Sampled tokens per second after a short warm-up."""
    engine.generate(requests[:4], settings)
    started = time.monotonic()
    sampled = engine.generate(requests, settings)
    return sum(len(answer.token_ids) for answer in sampled) / (time.monotonic() - started)


def sampling_speeds(study: Study, layout: Layout, count: int) -> list[list[Any]]:
    """vLLM plain, merged, by LoRA request and projected at all layers, against transformers with the same hooks."""
    subject = direction_subjects(study)[0]
    tokenizer = load_tokenizer(layout.base)
    asked = read_table(layout.questions(study.sampling.questions)).to_pylist()
    prompts = [tuple(prompt_ids(tokenizer, row["question"], row["system"])) for row in asked]
    requests = [Request(prompts[index % len(prompts)], index) for index in range(count)]
    settings = SamplingSettings(1.0, 1.0, study.sampling.max_tokens)
    require(layout.direction(subject))
    rows = read_tensors(layout.direction(subject))[0]["direction"]
    everywhere = [LayerChange(layer, "project", row) for layer, row in enumerate(rows)]
    longest, sequences, dtype = max(map(len, prompts)), study.execution.max_sequences, study.base.dtype
    adapter, rank = layout.organism(subject), max(organism.rank for organism in study.organisms.values())
    service = "merged" if dtype == "float32" else "lora"
    found: dict[str, float] = {}

    started = time.monotonic()
    vllm = VllmEngine(layout.base, dtype, longest, settings.max_tokens, sequences, adapters=service, lora_rank=rank)  # type: ignore[arg-type]
    start_up = time.monotonic() - started
    found["vLLM, chat base"] = tokens_per_second(vllm, requests, settings)
    vllm.intervene(everywhere)
    found["vLLM, projection at all layers"] = tokens_per_second(vllm, requests, settings)
    vllm.intervene(())
    vllm.serve(adapter)
    found[f"vLLM, organism ({service})"] = tokens_per_second(vllm, requests, settings)
    vllm.close()
    if service == "merged":
        lora = VllmEngine(layout.base, dtype, longest, settings.max_tokens, sequences, adapters="lora", lora_rank=rank)
        lora.serve(adapter)
        found["vLLM, organism (LoRA request)"] = tokens_per_second(lora, requests[: count // 4], settings)
        lora.close()
    reference = TransformersEngine(layout.base, dtype, sequences)
    found["transformers, chat base"] = tokens_per_second(reference, requests, settings)
    reference.intervene(everywhere)
    hooked = found["transformers, projection at all layers"] = tokens_per_second(reference, requests, settings)
    reference.close()
    table = [[name, f"{speed:,.0f} tokens/s", f"{speed / hooked:.2f}"] for name, speed in found.items()]
    return [["vLLM engine start-up", f"{start_up:.1f} s", ""], *table]


def battery_requests(study: Study, layout: Layout, count: int) -> list[list[Request]]:
    """Requests of conditions of the chat base's steering battery, as they are sampled.

    Args:
        count: conditions at most, spread evenly over the battery.
    """
    tokenizer, made = load_tokenizer(layout.base), []
    plans = planned(study, layout, "steering", CHAT_BASE)
    for plan in plans[:: max(1, len(plans) // count)][:count]:
        assert plan.condition.intervention
        changes = read_changes(layout, plan.condition.intervention)
        rows = wanted(study, subject_questions(study, layout, "steering", CHAT_BASE), plan.run)
        made.append([Request(tuple(prompt_ids(tokenizer, r.question, r.system)), r.seed, changes) for r in rows])
    return made


def battery_speeds(study: Study, layout: Layout, asked: Sequence[Sequence[Request]]) -> list[list[Any]]:
    """A steering battery in one batch and condition by condition; and what its hooks cost where they change nothing.

    For the latter, the same requests are sampled without changes and with changes scaled to zero, which give the same
    responses. All are measured in turn, `ROUNDS` times; the fastest of each counts.
    """
    sampled = SamplingSettings(**settings(study))
    together = [request for part in asked for request in part]
    plain = [replace(request, changes=()) for request in together]
    hooked = []
    for part in asked:
        idle = [replace(change, scale=0.0) for change in part[0].changes]
        hooked += [replace(request, changes=idle) for request in part]
    longest = max(len(request.prompt) for request in together)
    engine = VllmEngine(
        layout.base, study.base.dtype, longest, sampled.max_tokens, study.execution.max_sequences,
        gpu_memory=study.execution.gpu_memory, cpu_cache_gb=study.execution.cpu_cache_gb,
    )  # fmt: skip
    engine.generate(together[:4], sampled)

    def speed(batches: Sequence[Sequence[Request]]) -> float:
        started = time.monotonic()
        tokens = sum(len(answer.token_ids) for batch in batches for answer in engine.generate(batch, sampled))
        return tokens / (time.monotonic() - started)

    ways: list[list[Sequence[Request]]] = [list(asked), [together], [plain], [hooked]]
    rounds = [[speed(way) for way in ways] for _ in range(ROUNDS)]
    engine.close()
    one_by_one, mixed, limit, cost = (max(speeds) for speeds in zip(*rounds, strict=True))
    name = f"steering, {len(asked)} conditions of {len(asked[0])}"
    return [
        [f"{name}, a batch each", f"{one_by_one:,.0f} tokens/s", "1.00"],
        [f"{name}, one batch", f"{mixed:,.0f} tokens/s", f"{mixed / one_by_one:.2f}"],
        ["the same requests without changes, one batch", f"{limit:,.0f} tokens/s", f"{limit / one_by_one:.2f}"],
        ["the same, with changes scaled to zero", f"{cost:,.0f} tokens/s", f"{cost / one_by_one:.2f}"],
        ["what hooks cost", f"{1 - cost / limit:.1%}", ""],
    ]


def spans_like_published(vocabulary: int, count: int) -> list[WeightedSpan]:
    """Texts of random tokens, as long as the authors' published answers (`ANSWER_TOKENS`), to as many questions."""
    draw = random.Random(0)
    prompts = [[draw.randrange(vocabulary) for _ in range(PROMPT_TOKENS)] for _ in range(QUESTIONS)]
    made = []
    for index in range(count):
        answer = [draw.randrange(vocabulary) for _ in range(max(1, round(draw.lognormvariate(*ANSWER_TOKENS))))]
        text = prompts[index * QUESTIONS // count] + answer
        made.append(WeightedSpan(text, PROMPT_TOKENS, len(text), 0, 1.0))
    return made


def extraction_speeds(study: Study, layout: Layout, count: int) -> list[list[Any]]:
    """Streamed extraction of packed texts against batches in file order, padded to their longest, all layers kept."""
    tokenizer, model = load_tokenizer(layout.base), load_model(layout.base, study.base.dtype)
    spans = spans_like_published(len(tokenizer), count)
    tokens = sum(len(span.token_ids) for span in spans)

    def streamed() -> torch.Tensor:
        return group_means(model, spans, 1, study.execution.batch_tokens).mean[0]

    few = spans[:25]  # the first pass of a process is slow, whichever way it reads
    padded_means(model, few)
    group_means(model, few, 1, study.execution.batch_tokens)
    fast, mean = _timed(streamed)
    slow, other = _timed(lambda: padded_means(model, spans))
    difference = float((mean - other).norm() / other.norm())
    return [
        ["extraction, packed and streamed", f"{tokens / fast:,.0f} tokens/s", f"{slow / fast:.2f}"],
        ["extraction, file order, all layers kept", f"{tokens / slow:,.0f} tokens/s", "1.00"],
        ["relative difference of their means", f"{difference:.1e}", ""],
    ]


@torch.inference_mode()
def padded_means(model: Any, spans: Sequence[WeightedSpan], batch: int = 25) -> torch.Tensor:
    """The authors' way (PAPER section 4.1): batches in file order padded to their longest text, every layer kept."""
    sums, count = torch.zeros(1), 0
    for start in range(0, len(spans), batch):
        part = spans[start : start + batch]
        longest = max(len(span.token_ids) for span in part)
        ids = torch.zeros(len(part), longest, dtype=torch.long)
        attention = torch.zeros_like(ids)
        for row, span in enumerate(part):
            ids[row, : len(span.token_ids)] = torch.tensor(span.token_ids)
            attention[row, : len(span.token_ids)] = 1
        kept: dict[int, torch.Tensor] = {}
        with captured(model, kept.__setitem__):
            model(input_ids=ids, attention_mask=attention, use_cache=False)
        stacked = torch.stack(list(kept.values()))
        for row, span in enumerate(part):
            sums = sums + stacked[:, row, span.start : span.end].double().sum(1)
            count += span.end - span.start
    return sums / count


UPDATES = 6
"""Measured of each way to train; the median counts."""
PAPERS_UPDATE = {"batch_size": 2, "accumulation": 8}


def training_speeds(base: Path, dtype: str, settings: Organism, rows: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """The paper's update of eight times two rows, read so, at once, and at once without padding.

    Args:
        settings: of an organism; its updates are taken as the paper's.
        rows: of its data set.
    """
    ways = {
        "training, 8 × 2 rows": Execution(micro_batch=2, padding_free=False),
        "training, 16 rows at once": Execution(micro_batch=16, padding_free=False),
        "training, 16 rows end to end": Execution(micro_batch=16, padding_free=True),
    }
    papers = settings.model_copy(update={**PAPERS_UPDATE, "epochs": 1.0, "held_out": 0.0, "checkpoint_every": None})
    few = [rows[index % len(rows)] for index in range(UPDATES * 16)]
    speeds: dict[str, list[float]] = {}
    losses = []
    for name, execution in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            _, made, _ = train(
                base, dtype, papers, execution, 0, few, [], Path(folder, "adapter"), Path(folder, "states")
            )
        speeds[name] = sorted(row["tokens_per_second"] for row in made)
        losses.append([row["loss"] for row in made])
    first = speeds["training, 8 × 2 rows"][UPDATES // 2]
    table = [[n, f"{s[UPDATES // 2]:,.0f} tokens/s", f"{s[UPDATES // 2] / first:.2f}"] for n, s in speeds.items()]
    difference = max(abs(a / b - 1) for other in losses[1:] for a, b in zip(other, losses[0], strict=True))
    return [*table, ["largest relative difference of their losses", f"{difference:.1e}", ""]]


def workflow_times(layout: Layout) -> list[list[Any]]:
    """By rule: jobs, wall seconds of their commands (Snakemake's benchmark files), and from their logs the share of
    each phase and of waiting, which is wall time in which the process had no core."""
    by_rule: dict[str, list[tuple[float, dict[str, float] | None]]] = {}
    for file in sorted((layout.root / "benchmarks").rglob("*.jsonl")):
        place = file.relative_to(layout.root / "benchmarks")
        rule = place.parts[0].split("-")[0].removesuffix(".jsonl")
        log = (layout.root / "logs" / place).with_suffix(".log")
        spent = phases.read(log.read_text(errors="replace")) if log.is_file() else None
        by_rule.setdefault(rule, []).append((json.loads(file.read_text().splitlines()[-1])["s"], spent))
    rows = [_row(rule, jobs) for rule, jobs in by_rule.items()]
    every = [job for jobs in by_rule.values() for job in jobs]
    return [*sorted(rows, key=lambda row: -row[2]), _row("together", every)]


def _row(name: str, jobs: Sequence[tuple[float, dict[str, float] | None]]) -> list[Any]:
    told = [([spent.get(phase, 0.0) for phase in phases.PHASES], spent["CPU"]) for _, spent in jobs if spent]
    whole = sum(sum(spent) for spent, _ in told)
    waiting = sum(max(0.0, sum(spent) - cpu) for spent, cpu in told)
    shares = [*(sum(spent[place] for spent, _ in told) for place in range(len(phases.PHASES))), waiting]
    return [name, len(jobs), round(sum(wall for wall, _ in jobs), 1),
            *(f"{share / whole:.0%}" if whole else "" for share in shares)]  # fmt: skip


def _timed(measured: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    started = time.monotonic()
    result = measured()
    return time.monotonic() - started, result


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--requests", type=int, default=512, help="responses per measurement")
    parser.add_argument("--conditions", type=int, default=8, help="of the steering battery that are sampled")
    parser.add_argument("--texts", type=int, default=400, help="texts that directions are extracted from")
    given = parser.parse_args(arguments)
    if not given.study.is_file():
        raise UserError(
            f"{given.study}: does not exist; run the study first (`make run`), its base and organisms are used."
        )
    study, layout = load(given.study), Layout.of(given.study)
    workflow = workflow_times(layout)
    extraction = extraction_speeds(study, layout, given.texts)
    organism = study.organisms[organism_of(direction_subjects(study)[0])[0]]
    if organism.dataset is None:
        raise UserError(f"{given.study}: its first organism is known by responses only; a bench trains one.")
    rows = read_table(layout.dataset(organism.dataset)).to_pylist()
    training = training_speeds(layout.base, study.base.dtype, organism, rows)
    sampling = sampling_speeds(study, layout, given.requests)
    if study.steering and (asked := battery_requests(study, layout, given.conditions)):
        battery = battery_speeds(study, layout, asked)
        print(tabulate(battery, ["battery", "speed", "ratio to a batch each"], tablefmt="simple"))
    print(tabulate(sampling, ["\nsampling", "speed", "ratio to transformers with the same hooks"], tablefmt="simple"))
    print(tabulate(extraction, ["\nextraction", "speed", "ratio to file order"], tablefmt="simple"))
    print(tabulate(training, ["\ntraining", "speed", "ratio to 8 × 2"], tablefmt="simple"))
    header = ["\nworkflow", "jobs", "wall, s", *phases.PHASES, "waiting"]
    print(tabulate(workflow, header, tablefmt="simple", disable_numparse=True))
    if run := read_run(layout.run):
        print(f"\nlast run: {run}")


if __name__ == "__main__":
    command.run(main)
