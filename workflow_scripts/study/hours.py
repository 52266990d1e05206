"""Hours of each stage on one GPU, from what a study asks for, the model's shape and the constants of costs.yaml.

Everything is the larger of three times: launching the kernels, multiplying, and reading weights and cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, erf, log, sqrt

from workflow_scripts.study import peak_memory
from workflow_scripts.study.conditions import (
    adapter_subjects,
    batteries,
    battery_subjects,
    conditions,
    direction_subjects,
    directions_from,
    edited_subjects,
    narrow_subjects,
    sampled_batteries,
    single_adapter_subjects,
    subject_of,
    topic_subject,
    vector_subjects,
)
from workflow_scripts.study.costs import COSTS, Gpu, Start, answers_of
from workflow_scripts.study.judge import LocalJudge, RemoteJudge
from workflow_scripts.study.layout import CHAT_BASE, Layout, organism_of
from workflow_scripts.study.organisms import Organism
from workflow_scripts.study.resources import judge_mb
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.schema import Study
from workflow_scripts.study.shapes import BYTES, Shape
from workflow_scripts.study.shards import dealt
from workflow_scripts.study.workload import Rows, Workload, dataset_rows, training_rows

HOUR = 3600.0


@dataclass(frozen=True)
class Stage:
    """Hours of a stage's work on one GPU.

    jobs: that can run side by side. starts: of models and engines within the hours.
    """

    name: str
    jobs: int
    starts: int
    hours: float

    def elapsed(self, gpus: int) -> float:
        """On several GPUs, jobs of equal length."""
        return self.hours / self.jobs * ceil(self.jobs / gpus) if self.jobs else 0.0


@dataclass(frozen=True)
class Machine:
    """A model on a kind of GPU: how long its passes take, seconds."""

    shape: Shape
    gpu: Gpu
    dtype: str

    @property
    def weights(self) -> int:
        return peak_memory.weights(self.shape, self.dtype)

    def start(self, kind: Start) -> float:
        return kind.fixed + kind.per_gb * self.weights / 1e9

    def reading(self, tokens: float, passes: float, share: float) -> float:
        """So many tokens through the model; `passes`: 1 forward, 2 with a backward pass through frozen weights."""
        return 2 * passes * tokens * self.shape.parameters / (self.gpu.tflops * 1e12 * share)

    def decoding(self, requests: int, answers: str, longest: int, lora: bool, at_once: int) -> float:
        """One batch of responses in vLLM: shorter ones make room for those that wait, until none does."""
        kind = COSTS.answers[answers]
        launch = self.shape.layers * (COSTS.decode_lora_ms if lora else COSTS.decode_ms) / 1e3
        bandwidth = self.gpu.bandwidth * 1e12 * COSTS.bandwidth_share
        cache = peak_memory.cache(self.shape, self.dtype)

        def step(going: float, length: float) -> float:
            read = (self.weights + going * (COSTS.prompt_tokens + length) * cache) / bandwidth
            return max(launch, read, self.reading(going, 1, COSTS.sampled_share))

        left = [survival(length, kind.mean, kind.spread) for length in range(longest)]
        batch, mean = min(requests, at_once), sum(left)
        seconds = self.reading(requests * COSTS.prompt_tokens, 1, COSTS.sampled_share)
        seconds += (requests - batch) * mean / max(1, batch) * step(batch, mean / 2)
        return seconds + sum(step(batch * share, length) for length, share in enumerate(left) if batch * share >= 0.5)

    @property
    def free(self) -> float:
        """Bytes of the GPU that a stage can have."""
        whole = self.gpu.memory * 1e9
        return whole if self.on_cpu else whole * (1 - COSTS.fragments) - COSTS.context_gb * 1e9

    @property
    def on_cpu(self) -> bool:
        return self.gpu is COSTS.gpus["cpu"]

    def rows_at_once(self, organism: Organism, tokens: float, most: int | None) -> int:
        """Rows of a micro-batch, by the rule of models/micro_batches.py; `most` is the study's `micro_batch`."""
        update = organism.batch_size * organism.accumulation
        most = most or (organism.batch_size if self.on_cpu else max(1, int(COSTS.training_tokens / tokens)))
        return next(rows for rows in range(min(update, most), 0, -1) if update % rows == 0)

    def training_peaks(self, organism: Organism, at_once: int) -> tuple[int, int]:
        """Bytes with all layers recomputed in the backward pass, and with none."""
        tokens = at_once * min(organism.max_tokens, peak_memory.LONGEST_ROW)
        least, most = (
            peak_memory.training(self.shape, organism, self.dtype, tokens, checkpointing=all_) for all_ in (True, False)
        )
        return least, most

    def recomputed(self, organism: Organism, at_once: int) -> float:
        """Share of the layers that must be recomputed for the rest to fit."""
        least, most = self.training_peaks(organism, at_once)
        return min(1.0, max(0.0, (most - self.free) / (most - least)))

    def training(self, organism: Organism, rows: Rows, at_once: int) -> float:
        """All updates of an organism, with its held-out loss; `at_once` is the rows of a micro-batch."""
        layers, recomputed = self.shape.layers, self.recomputed(organism, at_once)
        adapted = range(layers) if organism.layers is None else organism.layers
        depth = 1 - min(adapted) / layers  # the backward pass ends at the lowest adapted layer
        launch = layers * COSTS.train_ms.of(recomputed) * (1 + depth) / 2
        launch += len(adapted) * len(organism.modules) * COSTS.train_adapter_ms.of(recomputed)
        compute = self.reading(at_once * rows.tokens, 1 + depth + recomputed, COSTS.trained_share)
        trained = organism.epochs * rows.rows / at_once * max(launch / 1e3, compute)
        held_out = organism.held_out / (1 - organism.held_out) * rows.rows * ceil(organism.epochs)
        return trained + self.reading(held_out * rows.tokens, 1, COSTS.trained_share) + self.held_close(organism, rows)

    def held_close(self, organism: Organism, rows: Rows) -> float:
        """The KL term of all updates: as training on its rows, with a forward pass of the base before."""
        if not organism.kl_rows:
            return 0.0
        updates = organism.epochs * rows.rows / (organism.batch_size * organism.accumulation)
        passes = organism.kl_rows / min(organism.kl_rows, organism.batch_size)
        launch = passes * self.shape.layers * (COSTS.forward_ms + COSTS.train_ms.of(0.0)) / 1e3
        return updates * max(launch, self.reading(organism.kl_rows * rows.tokens, 3, COSTS.trained_share))

    def scanning(self, tokens: float, passes: float, batch: int) -> float:
        """Texts read in transformers, `batch` tokens at once."""
        launch = passes * self.shape.layers * COSTS.forward_ms / 1e3 * tokens / batch
        return max(launch, self.reading(tokens, passes, COSTS.trained_share))


def survival(step: float, mean: float, spread: float) -> float:
    """Share of answers longer than this, their lengths log-normal."""
    if step <= 0:
        return 1.0
    place = (log(step) - log(mean) + spread**2 / 2) / spread
    return 0.5 * (1 - erf(place / sqrt(2)))


def stages(study: Study, layout: Layout, asked: Workload, machine: Machine) -> list[Stage]:
    """Hours on GPUs of everything but a remote judge, stage by stage in the order of the flow."""
    execution, load = study.execution, machine.start(COSTS.load_s)
    seconds = 0.0
    trained = adapter_subjects(study)
    for subject in trained:
        organism = study.organisms[organism_of(subject)[0]]
        if organism.adapter is None:
            rows = training_rows(study, layout, organism, asked.notes)
            seconds += machine.training(
                organism, rows, machine.rows_at_once(organism, rows.tokens, execution.micro_batch)
            )
    made = [_stage("training", len(trained), len(trained), seconds + len(trained) * load)]
    vectors = vector_subjects(study)
    spent = 0.0
    for subject in vectors:
        assert study.vectors
        like = study.organisms[study.vectors.named[organism_of(subject)[0]].like]
        rows = training_rows(study, layout, like, asked.notes)
        spent += machine.training(like, rows, like.batch_size)
    made.append(_stage("trained vectors", len(vectors), len(vectors), spent + len(vectors) * load))
    for battery in sampled_batteries(study):
        made.append(_sampling(study, machine, asked, battery))
    texts = _direction_texts(study, layout, asked)
    subjects = direction_subjects(study)
    passes = machine.scanning(sum(texts[subject] for subject in subjects), 1, execution.batch_tokens)
    topics = 1 if topic_subject(study) else 0
    base_read = len(study.traits.named if study.traits else ()) + (1 if study.specificity else 0)
    jobs = len(subjects) * (2 if study.directions.also else 1) + topics + base_read
    made.append(_stage("directions", jobs, jobs, passes * jobs / max(1, len(subjects)) + jobs * load))
    if study.ablation and study.ablation.side_effects:
        ablated = battery_subjects(study, "ablation")
        passes = sum(2 + len(conditions(study, "ablation", subject)) for subject in ablated)
        tokens = study.ablation.side_effects * COSTS.answers[answers_of(study, CHAT_BASE)].mean
        spent = machine.scanning(tokens, passes, execution.scalar_tokens) + load
        if study.ablation.loss_dataset:
            spent += machine.scanning(study.ablation.loss_rows * COSTS.row_tokens, passes, round(COSTS.row_tokens))
        made.append(_stage("side effects", 1, 1, spent))
    edits = len(edited_subjects(study))
    made.append(_stage("edited adapters", edits, edits, edits * load))
    singles = single_adapter_subjects(study)
    if study.single_adapter:
        comparisons = 3 + study.single_adapter.random_draws
        read = sum(machine.scanning(texts[subject], comparisons, execution.batch_tokens) for subject in singles)
        made.append(_stage("downstream pushes", len(singles), len(singles), read + len(singles) * load))
    if study.narrow:
        twins = narrow_subjects(study)
        variants = 2 + len(study.narrow.factors) + len(study.narrow.noise) * study.narrow.draws
        tokens = variants * study.narrow.rows * COSTS.row_tokens
        read = machine.scanning(tokens, 1, round(COSTS.row_tokens))
        made.append(_stage("losses of adapters", len(twins), len(twins), len(twins) * (read + load)))
    read_subject = subject_of(study.adapters, study)
    if read_subject:
        tokens = _judged_tokens(asked, read_subject)
        made.append(_stage("scalars", 1, 1, machine.scanning(tokens, 5, execution.scalar_tokens) + load))
    if asked.patched:
        made.append(_stage("patching", 1, 1, _patching(study, machine) + load))
    if isinstance(study.judge, LocalJudge):
        made.append(_local_judge(study, machine, asked))
    return [stage for stage in made if stage.jobs]


def remote_judge_hours(study: Study, asked: Workload) -> tuple[float, float]:
    """Hours of a remote judge for the baseline and for the rest; none with batches, which take up to a day each."""
    if not isinstance(study.judge, RemoteJudge) or study.judge.batch:
        return 0.0, 0.0
    hourly, baseline = COSTS.calls_per_second * HOUR, asked.calls["baseline"]
    return baseline / hourly, (asked.calls.total() - baseline) / hourly


def elapsed(made: list[Stage], judge: tuple[float, float], gpus: int) -> float:
    """Hours from start to end: stages one after the other, a remote judge beside all but its baseline's scores.

    Directions are made of the baseline's scores, so that nothing after it can begin before they are there.
    """
    baseline, rest = judge
    before = [stage for stage in made if stage.name in ("training", "sampling: baseline")]
    first = sum(stage.elapsed(gpus) for stage in before)
    after = sum(stage.elapsed(gpus) for stage in made if stage not in before)
    return first + baseline + max(after, rest)


def _stage(name: str, jobs: int, starts: int, seconds: float) -> Stage:
    return Stage(name, jobs, starts, seconds / HOUR)


def _sampling(study: Study, machine: Machine, asked: Workload, battery: Battery) -> Stage:
    """A battery's batches: the conditions of each adapter, or of several at once."""
    execution, longest = study.execution, study.sampling.max_tokens
    merged = study.base.dtype == "float32"
    own = [s for s in asked.sampled if s.battery == battery]
    adapted = [s for s in own if s.subject != CHAT_BASE]
    subjects = {s.subject for s in adapted}
    adapters = len({s.subject for s in adapted if not s.edited}) + sum(s.edited for s in adapted)
    at_once = adapters_at_once(study, machine, adapters)
    seconds = 0.0
    for kind in {s.answers for s in own}:
        of_base = sum(s.responses for s in own if s.answers == kind and s.subject == CHAT_BASE)
        if of_base:
            seconds += machine.decoding(of_base, kind, longest, False, execution.max_sequences)
        of_adapters = sum(s.responses for s in adapted if s.answers == kind)
        if of_adapters:
            batches = ceil(adapters / at_once)
            each = round(of_adapters / batches)
            seconds += batches * machine.decoding(each, kind, longest, not merged, execution.max_sequences)
    swaps = len(subjects) * machine.weights / 1e9 * COSTS.load_s.per_gb if merged else 0.0
    starts = len(dealt(study, battery))
    return _stage(f"sampling: {battery}", starts, starts, seconds + swaps + starts * machine.start(COSTS.engine_s))


def adapters_at_once(study: Study, machine: Machine, adapters: int) -> int:
    """LoRA adapters of one batch; see `peak_memory.served_at_once`."""
    if study.base.dtype == "float32" or machine.on_cpu:
        return 1
    rank = max(organism.rank for organism in study.organisms.values())
    execution = study.execution
    free = execution.gpu_memory * machine.gpu.memory * 1e9 - machine.weights / execution.tensor_parallel
    return peak_memory.served_at_once(machine.weights, machine.shape.width, rank, adapters, free)


def _direction_texts(study: Study, layout: Layout, asked: Workload) -> dict[str, float]:
    """Tokens that each subject's direction is taken from."""
    found = {}
    for subject in direction_subjects(study):
        if directions_from(study, "responses") and study.directions.source == "responses":
            found[subject] = COSTS.texts_share * _judged_tokens(asked, subject)
        else:
            names = [name for name in (study.directions.bad, study.directions.good) if name]
            rows = [dataset_rows(study, layout, name, asked.notes) for name in names]
            found[subject] = sum(min(r.rows, study.directions.rows or r.rows) * r.tokens for r in rows)
    return found


def _judged_tokens(asked: Workload, subject: str) -> float:
    """Tokens of a subject's baseline answers with their prompts."""
    return sum(
        s.responses * (COSTS.prompt_tokens + COSTS.answers[s.answers].mean)
        for s in asked.sampled
        if s.battery == "baseline" and s.subject == subject
    )


def _patching(study: Study, machine: Machine) -> float:
    """Both questions of a pair at once, step by step to the longest answer."""
    assert study.adapters
    assert study.adapters.patching
    patching = study.adapters.patching
    kind = COSTS.answers[answers_of(study, study.adapters.source)]
    runs = 2 * patching.runs
    longest = next((t for t in range(1, study.sampling.max_tokens) if runs * survival(t, kind.mean, kind.spread) < 0.5),
                   study.sampling.max_tokens)  # fmt: skip
    step = max(
        machine.shape.layers * COSTS.patched_decode_ms / 1e3,
        machine.weights / (machine.gpu.bandwidth * 1e12 * COSTS.bandwidth_share),
        machine.reading(runs, 1, COSTS.trained_share),
    )
    return patching.count * (1 + len(patching.modes)) * longest * step


def _local_judge(study: Study, machine: Machine, asked: Workload) -> Stage:
    """Prompts read in vLLM but for the rubrics, which its prefix cache keeps."""
    assert isinstance(study.judge, LocalJudge)
    own = study.judge.hub is None and study.judge.model is None
    weights = machine.weights if own else judge_mb(study) * 2**20
    ratio = 1.0 if own else weights / BYTES[study.judge.dtype] / machine.shape.parameters
    tokens = sum(asked.prompt_tokens.values()) - asked.shared_tokens
    seconds = ratio * machine.reading(tokens, 1, COSTS.sampled_share)
    engine = COSTS.engine_s.fixed + COSTS.engine_s.per_gb * weights / 1e9
    starts = len(batteries(study))
    return _stage("judging here", starts, starts, seconds + starts * engine)
