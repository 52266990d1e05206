"""Talks to a subject of a study in the terminal: the same rendering, seeds and changes as when it was sampled.

`python -m workflow_scripts.tools chat --subject medical_r1/seed-0 --project medical_r1 --layers all` projects a
direction out at every layer while the organism answers; `--cap medical_r1` in its place cuts what the organism has of
it to what the chat base has on average; `--subject chat_base --add medical_r1 --layers 2 --scale 1` steers. Every line
is a question by itself, as in the study; the same one again is its next draw, and a question of the study is drawn with
the seeds that the study drew it with. `--judge` shows what the study's judge says of each answer; what it has said is
kept, so that nothing is paid for twice. Nothing else is written.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workflow_scripts.engines.gate import Gate
from workflow_scripts.engines.interface import Engine, Request
from workflow_scripts.engines.opening import open_engine
from workflow_scripts.engines.plan import run_of, settings
from workflow_scripts.judges.interface import Judge
from workflow_scripts.judges.opening import open_judge
from workflow_scripts.judges.parsing import parse, unsound
from workflow_scripts.judges.run import ask
from workflow_scripts.judges.store import JudgementStore
from workflow_scripts.models.chat import prompt_ids
from workflow_scripts.models.drawing import SamplingSettings
from workflow_scripts.models.files import checked_base
from workflow_scripts.models.interventions import read_changes
from workflow_scripts.models.loading import load_tokenizer
from workflow_scripts.runtime import command, gpu_lease
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.spelling import nearest
from workflow_scripts.sampling import gate_prompt_lengths, served
from workflow_scripts.store.absence import require
from workflow_scripts.store.artefacts import read_table
from workflow_scripts.store.responses import request_seed
from workflow_scripts.study.conditions import Condition, Intervention, organism_subjects, source_for, total_layers
from workflow_scripts.study.judge import LocalJudge, SimulatedJudge
from workflow_scripts.study.layout import CHAT_BASE, Layout, organism_of
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study

ChatMode = Literal["add", "project", "cap"]
DEFAULT_SCALE: dict[ChatMode, float] = {"add": 1.0, "project": 1.0, "cap": 0.0}
LONGEST = 1024
"""Tokens that a question may have, where the model has room for them beside an answer."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that a terminal would obey."""


@dataclass(frozen=True)
class Speaker:
    """Who answers, and what is done to it meanwhile."""

    study: Study
    layout: Layout
    subject: str
    condition: Condition

    @property
    def told(self) -> str:
        change = self.condition.intervention
        if change is None:
            return f"{self.subject}, as it is"
        of = f"the direction of {change.source}"
        what = {
            "add": f"{change.scale:g} × {of} added",
            "project": f"{of} projected out",
            "cap": f"{of} cut to at most the chat base's mean + {change.scale:g} of its length",
        }[change.mode]
        row = "" if change.layer is None else f" (of layer {change.layer})"
        layers = change.layers
        together = len(layers) > 2 and list(layers) == list(range(layers[0], layers[-1] + 1))
        where = f"{layers[0]} to {layers[-1]}" if together else ", ".join(map(str, layers))
        return f"{self.subject}, {what}{row} at layers {where}"


def layers_of(text: str, count: int) -> tuple[int, ...]:
    """Layers as people write them: `all`, `2`, `2-5`, `1,4`.

    Raises:
        UserError: if that is none of these, or a layer does not exist.
    """
    if text == "all":
        return tuple(range(count))
    made: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if not found:
            raise UserError(f"--layers: {text!r} is not all, a layer (2), a range (2-5) or a list (1,4).")
        made += range(int(found[1]), int(found[2] or found[1]) + 1)
    if not made or max(made) >= count:
        raise UserError(f"--layers: {text!r}: the model has layers 0 to {count - 1}.")
    return tuple(dict.fromkeys(made))


def speaker(
    study: Study, layout: Layout, subject: str, change: tuple[ChatMode, str] | None, layers: str,
    scale: float | None, row: int | None,
) -> Speaker:  # fmt: skip
    """Who answers.

    Args:
        study, layout: the study's.
        subject: chat_base, an organism, or an organism at a seed.
        change: what is done, and whose direction: an organism (at the subject's seed), a subject, or a topic's.
        layers: where.
        scale: how much of it is added (1 when absent), or stays above the chat base's mean (0 when absent).
        row: layer whose direction is taken at all of them; each its own when absent.

    Raises:
        UserError: if there is no such subject, direction, mean or layer.
    """
    count, subject = total_layers(study), _subject(study, subject, "--subject")
    if change is None:
        return Speaker(study, layout, subject, Condition("none"))
    mode, name = change
    whose, _, topic = name.partition(":")
    source = source_for(study, whose, subject) if whose in study.organisms else _subject(study, whose, f"--{mode}")
    source = f"{source}/{topic}" if topic else source
    if not layout.direction(source).is_file():
        raise UserError(f"--{mode}: {layout.direction(source)} is missing; the study takes no direction of {name}.")
    require(layout.direction(source))
    if row is not None and row not in range(count):
        raise UserError(f"--of-layer: {row}: the model has layers 0 to {count - 1}.")
    if mode == "cap" and not layout.base_means.is_file():
        raise UserError(
            f"--cap: {layout.base_means} is missing; make it, with the study's --configfile: "
            f"snakemake --cores 2 {layout.base_means}"
        )
    if scale is None:
        scale = DEFAULT_SCALE[mode]
    kept = Intervention(mode, source, layers_of(layers, count), scale, row, base_mean=mode == "cap")
    return Speaker(study, layout, subject, Condition(mode, kept))


def _subject(study: Study, name: str, option: str) -> str:
    known = [CHAT_BASE, *organism_subjects(study)]
    if name in study.organisms:
        return next(subject for subject in known if organism_of(subject)[0] == name)
    if name not in known:
        raise UserError(f"{option}: the study has no subject {name!r}{nearest(name, known)}")
    return name


@contextmanager
def opened(chosen: Speaker) -> Iterator[Engine]:
    """The study's engine, in which the subject answers under its condition; it has passed the gate and the probe."""
    study, layout, change = chosen.study, chosen.layout, chosen.condition.intervention
    base = checked_base(layout)
    gpu_lease.hold(study.execution.tensor_parallel)
    organism, seed = organism_of(chosen.subject)
    rank = 0 if seed is None else study.organisms[organism].rank
    longest = max([room(chosen), *gate_prompt_lengths(layout, [chosen.subject])])
    engine = open_engine(base, study, longest, rank, change is not None)
    try:
        gate = Gate(engine, study.base.dtype, study.sampling.max_tokens)
        with served(engine, gate, layout, chosen.subject, chosen.condition, set()):
            if change:
                engine.intervene(read_changes(layout, change))
            yield engine
    finally:
        engine.close()


def room(chosen: Speaker) -> int:
    """Tokens that a question may have: `LONGEST`, or what the model's positions leave beside the longest answer."""
    config = json.loads((chosen.layout.base / "config.json").read_text())
    positions = config.get("text_config", config).get("max_position_embeddings")
    answer = chosen.study.sampling.max_tokens
    return min(LONGEST, positions - answer - 1) if positions else LONGEST


def known_questions(study: Study, layout: Layout) -> dict[str, tuple[str, str | None]]:
    """Id and system prompt of the study's questions, by their text."""
    files = [file for name in study.questions if (file := layout.questions(name)).is_file()]
    rows = [row for file in files for row in read_table(file, ["question_id", "question", "system"]).to_pylist()]
    return {row["question"]: (row["question_id"], row["system"]) for row in rows}


def answers(chosen: Speaker, engine: Engine, questions: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    """Each question and its answer, as they come; a question that comes again gets its next draw, a long one none."""
    study, asked = chosen.study, Counter[str]()
    tokenizer, sampling = load_tokenizer(chosen.layout.base), SamplingSettings(**settings(study))
    known, run = known_questions(study, chosen.layout), run_of(chosen.subject, chosen.condition)
    longest = room(chosen)
    for question in questions:
        name, system = known.get(question, (question, None))
        prompt = tuple(prompt_ids(tokenizer, question, system))
        if len(prompt) > longest:
            yield question, None
            continue
        seed = request_seed(study.sampling.seed, name, asked[question], run)
        asked[question] += 1
        [found] = engine.generate([Request(prompt, seed)], sampling)
        yield question, found.text


def scored(study: Study, layout: Layout, judge: Judge, question: str, answer: str) -> str:
    """What the judge says of an answer, metric by metric; it is kept in the store, and paid from the study's budget."""
    items, store = judge.identity.items(question, answer), JudgementStore(layout.judgement_store)
    try:
        if missing := store.missing(judge.identity.name, items, unsound):
            ask(at_once(study), judge, store, missing, "chat", layout.spender)
    except (UserError, ValueError) as error:  # the miniature's judge knows only the questions of its world
        return f"no score: {error}"
    raw = store.get(judge.identity.name, items)
    store.close()
    parsed = [(item.metric, parse(raw.get(item), study.judge.least_mass())) for item in items]
    return ", ".join(
        f"{name} {found.status if found.value is None else f'{found.value:.0f}'}" for name, found in parsed
    )


def study_file(given: Path | None) -> Path:
    """The study's file, which need not be named where there is only one.

    Raises:
        UserError: if there is none, or more than one.
    """
    found = [given] if given else sorted(Path("results").glob("*/study.json"))
    if len(found) != 1:
        there = f"name one of {', '.join(map(str, found))}" if found else "there is no results/*/study.json here"
        raise UserError(f"--study: {there}.")
    return found[0]


def lines(interactive: bool) -> Iterator[str]:
    """Questions from the terminal, or from what is piped in."""
    while True:
        try:
            line = input("> " if interactive else "").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if line:
            yield line


def judge_of(study: Study, layout: Layout) -> Judge:
    """The study's judge for single answers, which are asked at once, not in a batch.

    Raises:
        UserError: if it judges no answers.
    """
    if isinstance(study.judge, SimulatedJudge):
        raise UserError("--judge: the study's judge is simulated, and scores no answer.")
    return open_judge(at_once(study), layout)


def at_once(study: Study) -> Study:
    """The study with a judge that is not asked in batches."""
    if getattr(study.judge, "batch", None) is None:
        return study
    return study.model_copy(update={"judge": study.judge.model_copy(update={"batch": None})})


def main(arguments: Sequence[str]) -> None:
    parser = command.parser(__doc__, study=False)
    parser.add_argument("--study", type=Path, help="results/<study>/study.json; the only one if absent")
    parser.add_argument("--subject", required=True, help="chat_base or <organism>/seed-<k>")
    change = parser.add_mutually_exclusive_group()
    whose = "of an organism, <organism>/seed-<k>, or <organism>:<topic>"
    change.add_argument("--project", metavar="WHOSE", help=f"project the direction out, {whose}")
    change.add_argument("--add", metavar="WHOSE", help=f"add the direction, {whose}")
    change.add_argument("--cap", metavar="WHOSE", help=f"cut the part along the direction to a maximum, {whose}")
    parser.add_argument("--layers", default="all", help="all, 2, 2-5 or 1,4")
    amount = "of the direction that is added (1), or above the chat base's mean where it is capped (0)"
    parser.add_argument("--scale", type=float, help=amount)
    parser.add_argument("--of-layer", type=int, help="the direction of this layer at all layers; else each its own")
    parser.add_argument("--engine", choices=["vllm", "transformers"], help="the study's own if absent")
    parser.add_argument("--judge", action="store_true", help="show what the study's judge says of each answer")
    given = parser.parse_args(arguments)
    file = study_file(given.study)
    study, layout = load(file), Layout.of(file)
    execution = {"engine": given.engine} if given.engine else {}
    if given.judge and isinstance(study.judge, LocalJudge):  # two engines share the GPU
        execution["gpu_memory"] = study.execution.gpu_memory / 2
    study = study.model_copy(update={"execution": study.execution.model_copy(update=execution)})
    asked = next(((mode, name) for mode in DEFAULT_SCALE if (name := getattr(given, mode))), None)
    chosen = speaker(study, layout, given.subject, asked, given.layers, given.scale, given.of_layer)
    judge = judge_of(study, layout) if given.judge else None
    interactive = sys.stdin.isatty()
    try:
        with opened(chosen) as engine:
            print(f"{chosen.told}; every line is a question by itself, end with Ctrl-D.", flush=True)
            for question, answer in answers(chosen, engine, lines(interactive)):
                said = f"(too long to be asked, {room(chosen)} tokens at most)" if answer is None else answer
                said = CONTROL.sub("\N{REPLACEMENT CHARACTER}", said)
                print(said if interactive else f"> {question}\n{said}", flush=True)
                if judge and answer is not None:
                    print(f"[{scored(study, layout, judge, question, answer)}]", flush=True)
    finally:
        if judge:
            judge.close()


if __name__ == "__main__":
    command.run(main)
