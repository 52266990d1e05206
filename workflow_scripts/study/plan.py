"""A plan before money: what a study asks for, what its judge costs, its GPU memory, its hours, and what would cut them.

Counted from the study alone: nothing is fetched, no GPU is needed and torch is not loaded. The text is a list of
sections, each a function of the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study import hours, peak_memory
from workflow_scripts.study.conditions import adapter_subjects, batteries
from workflow_scripts.study.costs import COSTS, answers_of
from workflow_scripts.study.judge import NEEDED, Judged, LocalJudge, RemoteJudge, announced_end
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.panel import place_of_judge, read_by
from workflow_scripts.study.reading import parse, resolved, update
from workflow_scripts.study.resources import judge_mb
from workflow_scripts.study.schema import Study
from workflow_scripts.study.shapes import shape_of
from workflow_scripts.study.shards import dealt
from workflow_scripts.study.sources import base_name
from workflow_scripts.study.workload import Workload, workload


@dataclass(frozen=True)
class Plan:
    """A study on some GPUs of one kind.

    asked: what it asks for. machine: its model on that GPU; None where the model's size is not known.
    """

    study: Study
    kind: str
    gpus: int
    asked: Workload
    machine: hours.Machine | None
    stages: list[hours.Stage]

    @property
    def usd(self) -> float | None:
        """Money of a remote judge; None where the study gives no prices."""
        return self.usd_of(self.asked.calls.total(), sum(self.asked.prompt_tokens.values()))

    def usd_of(self, calls: int, prompt_tokens: int) -> float | None:
        """Money of so many calls."""
        judge = self.study.judge
        if not isinstance(judge, RemoteJudge):
            return 0.0
        _, longest = judge.asked_for_each
        in_batches = judge.batch is not None
        return judge.priced.usd(prompt_tokens, calls * longest, in_batches) if judge.priced else None

    @property
    def gpu_hours(self) -> float:
        return sum(stage.hours for stage in self.stages)

    @property
    def elapsed(self) -> float:
        return hours.elapsed(self.stages, hours.remote_judge_hours(self.study, self.asked), self.gpus)


def plan_of(study: Study, kind: str, gpus: int) -> Plan:
    """The plan of a study; `kind` is one of `COSTS.gpus`."""
    layout = Layout(Path("results") / study.study.name)
    asked = workload(study, layout)
    shape, note = shape_of(study)
    asked.notes.extend([note] if note else [])
    machine = hours.Machine(shape, COSTS.gpus[kind], study.base.dtype) if shape else None
    made = hours.stages(study, layout, asked, machine) if machine else []
    asked.notes[:] = dict.fromkeys(asked.notes)
    return Plan(study, kind, gpus, asked, machine, made)


def asked_section(plan: Plan) -> str:
    """What is asked, battery by battery."""
    asked = plan.asked
    rows: list[list[Any]] = []
    for battery in batteries(plan.study):
        conditions = [condition for condition in asked.sampled if condition.battery == battery]
        responses = sum(condition.responses for condition in conditions) or asked.patched
        tokens = sum(c.responses * _mean(plan.study, c.answers) for c in conditions)
        if battery == "patching":
            conditions, tokens = [], asked.patched * _mean(plan.study, answers_of(plan.study, "patching"))
        engines = len(dealt(plan.study, battery)) if conditions else 0
        calls = asked.calls[battery]
        rows.append(
            [
                battery,
                len(conditions),
                responses,
                round(tokens),
                engines,
                calls,
                _money(plan.usd_of(calls, asked.prompt_tokens[battery])),
            ]
        )
    sums = [sum(int(row[place]) for row in rows) for place in range(1, 6)]
    total = ["together", *sums, _money(plan.usd) if isinstance(plan.study.judge, RemoteJudge) else ""]
    heads = ["", "conditions", "responses", "their tokens", "engines", "judge calls", "judge, USD"]
    kept = len(heads) if isinstance(plan.study.judge, RemoteJudge) else -1
    return _table([row[:kept] for row in [*rows, total]], heads[:kept])


def judge_section(plan: Plan) -> str:
    """Who judges, and what that costs."""
    judge, calls = plan.study.judge, plan.asked.calls.total()
    others = [_other_judge(plan, name) for name in plan.study.judges]
    if not isinstance(judge, RemoteJudge):
        return "\n".join([f"{calls:,} judgements {_where(judge)}; no money.", *others])
    mean = sum(plan.asked.prompt_tokens.values()) / max(1, calls)
    told = [f"{judge.model}: {calls:,} calls of {mean:,.0f} prompt tokens, {_money(plan.usd)} USD."]
    told += [end] if (end := announced_end(judge)) else []
    if judge.batch:
        told.append(f"In batches at {judge.priced.batch_discount if judge.priced else 0:.0%} off, each within a day.")
    else:
        together = sum(hours.remote_judge_hours(plan.study, plan.asked))
        told.append(f"{together:.1f} h at {COSTS.calls_per_second:g} calls per second.")
    for battery in batteries(plan.study):
        usd = plan.usd_of(plan.asked.calls[battery], plan.asked.prompt_tokens[battery])
        budget = judge.budget_usd
        if usd is not None and budget is not None and usd > budget:
            told.append(f"Battery {battery} would stop before its first call: judge.budget_usd is {budget:g}.")
    return "\n".join([*told, *others])


def _where(judge: Judged) -> str:
    return "in vLLM, on the study's GPUs" if isinstance(judge, LocalJudge) else "by a program"


def _other_judge(plan: Plan, name: str) -> str:
    """What a further judge of the panel is asked, and what that costs; its hours are not counted."""
    other = panel_plan(plan, name)
    judge, calls = other.study.judge, other.asked.calls.total()
    place = place_of_judge(name)
    if not isinstance(judge, RemoteJudge):
        return f"{place}: {calls:,} judgements {_where(judge)}; no money, and its hours are not counted."
    end = announced_end(judge, place)
    told = f"{place}: {judge.model}: {calls:,} calls, {_money(other.usd)} USD."
    return f"{told}\n{end}" if end else told


def panel_plan(plan: Plan, name: str) -> Plan:
    """The study with one of its further judges, as far as what that one is asked goes."""
    read, layout = read_by(plan.study, name), Layout(Path("results") / plan.study.study.name)
    asked = workload(read, layout)
    # of the baseline it reads all responses, also those that only sections ask for which it leaves out
    whole = workload(plan.study.model_copy(update={"judge": read.judge}), layout)
    for counts, all_of in ((asked.calls, whole.calls), (asked.prompt_tokens, whole.prompt_tokens)):
        counts["baseline"] = all_of["baseline"]
    return Plan(read, plan.kind, plan.gpus, asked, None, [])


def memory_section(plan: Plan) -> str:
    """GPU memory at each stage's peak, and whether it fits."""
    machine, study = plan.machine, plan.study
    if machine is None:
        return "Not known."
    rows = [
        [name, f"{peak / 1e9:.1f}", "fits" if peak <= machine.free else "does not fit"]
        for name, peak in peaks(study, machine).items()
    ]
    organism = peak_memory.largest_adapter(study, machine.shape)
    at_once = machine.rows_at_once(organism, COSTS.row_tokens, study.execution.micro_batch)
    _, most = machine.training_peaks(organism, at_once)
    share = machine.recomputed(organism, at_once)
    told = f"recomputes {share:.0%} of the layers" if share else "fits"
    rows.insert(1, ["training, no layer recomputed", f"{most / 1e9:.1f}", told])
    if not machine.on_cpu:
        rest = study.execution.gpu_memory * machine.gpu.memory * 1e9 - _engine(study, machine)
        token = peak_memory.cache(machine.shape, machine.dtype) / study.execution.tensor_parallel
        held = f"{max(0, round(rest / token)):,} tokens"
        rows.append([f"its cache, in {study.execution.gpu_memory:.0%} of the GPU", f"{max(rest, 0) / 1e9:.1f}", held])
    return _table(rows, ["peak of", "GB", f"{machine.free / 1e9:.1f} GB usable"])


def hours_section(plan: Plan) -> str:
    """Hours stage by stage, then from start to end."""
    if plan.machine is None:
        return "Not known."
    rows: list[list[Any]] = [[s.name, s.jobs, s.starts, f"{s.hours:.2f}"] for s in plan.stages]
    rows.append(
        ["together", sum(s.jobs for s in plan.stages), sum(s.starts for s in plan.stages), f"{plan.gpu_hours:.1f}"]
    )
    judge = sum(hours.remote_judge_hours(plan.study, plan.asked))
    told = f"{plan.elapsed:.1f} h from start to end"
    told += f", the judge's {judge:.1f} h beside all that does not wait for the baseline's scores." if judge else "."
    return _table(rows, ["stage", "jobs", "loads", "hours"]) + "\n" + told


def savings_section(plan: Plan) -> str:
    """What each of some settings would save."""
    rows = []
    for told, changes in cuts(plan.study):
        raw = deepcopy(resolved(plan.study))
        update(raw, changes)
        try:
            other = plan_of(parse(raw, plan.study.study.name), plan.kind, plan.gpus)
        except UserError:  # something else needs what was left out
            continue
        money = "" if plan.usd is None or other.usd is None else _money(plan.usd - other.usd)
        saved = plan.asked.responses - other.asked.responses, plan.asked.calls.total() - other.asked.calls.total()
        rows.append([told, *saved, money, f"{plan.gpu_hours - other.gpu_hours:.1f}"])
    if not isinstance(plan.study.judge, RemoteJudge):
        rows = [[*row[:3], row[4]] for row in rows]
        return _table(rows, ["setting", "responses", "judge calls", "hours"])
    return _table(rows, ["setting", "responses", "judge calls", "USD", "hours"])


def notes_section(plan: Plan) -> str:
    """What was guessed."""
    counted = (
        "Computed with workflow_scripts/study/costs.yaml, which says where each number comes from; nothing was run."
    )
    return "\n".join([*plan.asked.notes, counted])


SECTIONS: tuple[tuple[str, Callable[[Plan], str]], ...] = (
    ("Asked", asked_section),
    ("Judge", judge_section),
    ("GPU memory", memory_section),
    ("Hours", hours_section),
    ("What would be saved by", savings_section),
    ("Notes", notes_section),
)
"""Title and text of each part of a plan, in order."""


def headline(plan: Plan) -> str:
    """The plan in one sentence; studies have it at their top."""
    place = "the CPU" if plan.kind == "cpu" else f"{plan.gpus} × {plan.kind}"
    told = f"On {place}: {plan.asked.responses:,} responses, {plan.asked.calls.total():,} judge calls"
    if isinstance(plan.study.judge, RemoteJudge):
        told += f" for {_money(plan.usd)} USD"
    if plan.study.judges:
        others = [panel_plan(plan, name) for name in plan.study.judges]
        told += f" (and {sum(other.asked.calls.total() for other in others):,} of further judges"
        prices = [other.usd for other in others]
        told += f" for {_money(None if None in prices else sum(price or 0 for price in prices))} USD)"
    if plan.machine:
        told += f", {plan.gpu_hours:.1f} hours of work, {plan.elapsed:.1f} from start to end"
        told += f"; at most {max(peaks(plan.study, plan.machine).values()) / 1e9:.0f} GB"
    return f"{told}."


def written(plan: Plan) -> str:
    """The plan as people read it."""
    head = f"{plan.study.study.name}: {base_name(plan.study.base)}, {plan.study.base.dtype}\n{headline(plan)}"
    return "\n\n".join([head, *(f"{title}\n{section(plan)}" for title, section in SECTIONS)])


def peaks(study: Study, machine: hours.Machine) -> dict[str, int]:
    """Peak bytes of each stage that loads a model, training with the largest adapter and all layers recomputed."""
    shape, dtype, parallel = machine.shape, machine.dtype, study.execution.tensor_parallel
    organism = peak_memory.largest_adapter(study, shape)
    least, _ = machine.training_peaks(
        organism, machine.rows_at_once(organism, COSTS.row_tokens, study.execution.micro_batch)
    )
    found = {"training, layers recomputed": least}
    found["directions, edits"] = peak_memory.reading(shape, dtype, study.execution.batch_tokens)
    if study.adapters:
        longest = study.sampling.max_tokens + peak_memory.LONGEST_PROMPT
        found["scalars"] = peak_memory.scalars(shape, dtype, study.execution.scalar_tokens, longest)
    if isinstance(study.judge, LocalJudge) and (study.judge.hub or study.judge.model):
        found["judge, its weights alone"] = judge_mb(study) * 2**20 // parallel
    engine = "sampling, but its cache" + (f", each of {parallel} GPUs" if parallel > 1 else "")
    return found | {engine: _engine(study, machine)}


def _engine(study: Study, machine: hours.Machine) -> int:
    lora = 0
    if study.base.dtype != "float32":
        lora = peak_memory.lora_numbers(machine.shape, peak_memory.largest_adapter(study, machine.shape))
        lora *= hours.adapters_at_once(study, machine, len(adapter_subjects(study)))
    whole = peak_memory.engine(machine.shape, machine.dtype, study.execution.max_sequences, lora)
    return whole // study.execution.tensor_parallel


def cuts(study: Study) -> Iterator[tuple[str, dict[str, Any]]]:
    """Settings that would make a study smaller, as a person writes them and as changes."""
    if study.sampling.samples > 1:
        half = study.sampling.samples // 2
        yield f"sampling.samples: {half}", {"sampling": {"samples": half}}
    if any(len(organism.seeds) > 1 for organism in study.organisms.values()):
        seeds = {name: {"seeds": organism.seeds[:1]} for name, organism in study.organisms.items()}
        yield "organisms.*.seeds: the first", {"organisms": seeds}
    if study.steering and len(study.steering.layers) > 1:
        yield "steering.layers: every second", {"steering": {"layers": study.steering.layers[::2]}}
    for section in ("steering", "semantic", "ablation", "single_adapter", "adapters", "training_path"):
        if getattr(study, section) is not None:
            also = {"semantic": None} if section == "steering" and study.semantic else {}
            yield ": null, ".join([section, *also]) + ": null", {section: None, **also}
    if study.adapters and study.adapters.patching:
        yield "adapters.patching: null", {"adapters": {"patching": None}}
    judge = study.judge
    for metric in judge.metrics if isinstance(judge, RemoteJudge) else []:
        if metric not in NEEDED:
            others = {"metrics": [other for other in judge.metrics if other != metric]}
            only = {"only": {metric: None}} if metric in judge.only else {}
            yield f"judge.metrics: without {metric}", {"judge": others | only}
    if isinstance(judge, RemoteJudge) and judge.priced and not judge.batch:
        yield "judge.batch: 20000", {"judge": {"batch": 20_000}}


def _mean(study: Study, answers: str) -> float:
    """Mean tokens of an answer."""
    return min(COSTS.answers[answers].mean, study.sampling.max_tokens)


def _money(usd: float | None) -> str:
    return "unknown (judge.prices)" if usd is None else f"{usd:,.0f}"


def _table(rows: list[list[Any]], heads: list[str]) -> str:
    shown = [[f"{value:,}" if isinstance(value, int) else value for value in row] for row in rows]
    made: str = tabulate(shown, heads, tablefmt="simple", disable_numparse=True,
                    colalign=["left", *["right"] * (len(heads) - 1)])  # fmt: skip
    return made
