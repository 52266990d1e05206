"""A study without a model: judgements drawn from a scenario, then its real tables, summary and ledger of claims.

`python -m workflow_scripts.tools simulate STUDY --scenario paper --output FOLDER` takes any study file and says what
its questions, samples and seeds can decide, before anything is paid for. With `--studies 10` it tells how often each
claim gets which verdict, by scenario, in FOLDER/verdicts.csv and FOLDER/verdicts.md. Each simulated study has a folder
of its own, FOLDER/<scenario>/<seed>, in the form of a results folder; of several, only tables, summary and ledger stay.

The scenarios are those of workflow_scripts/simulation/scenarios.yaml, each number with its source, or those of a file
of yours.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import pyarrow as pa
from tabulate import tabulate

from workflow_scripts import claims, probes, questions, summary
from workflow_scripts.engines.plan import lacking
from workflow_scripts.estimation.response_classes import scalar_classes
from workflow_scripts.experiments import asked
from workflow_scripts.experiments.e07_single_adapter import single_organisms
from workflow_scripts.experiments.rows import NOT_POSSIBLE, frame_of
from workflow_scripts.models.direction_texts import MISALIGNED, Text, judged_responses, texts_from, topic_texts
from workflow_scripts.reporting.claim import CLAIMS
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import NotPossible
from workflow_scripts.simulation.answers import Answers, Rows
from workflow_scripts.simulation.scenarios import SCENARIOS, Scenario, scenario
from workflow_scripts.simulation.tokens import scalars
from workflow_scripts.simulation.truth import Truth, asked_by
from workflow_scripts.simulation.vectors import (
    PATH_WIDTH,
    WIDTH,
    Directions,
    pushes,
    write_single_adapter,
    write_training,
)
from workflow_scripts.store.absence import Absence, absent, recorded, require, write_absent
from workflow_scripts.store.artefacts import provenance, replacing, write_json, write_table, write_tensors
from workflow_scripts.store.downloads import file_at_hand
from workflow_scripts.store.question_files import read_question_file
from workflow_scripts.study import reading
from workflow_scripts.study.conditions import (
    SCALED_SETS,
    asked_metrics,
    batteries,
    battery_subjects,
    conditions,
    direction_subjects,
    dynamics_subjects,
    edit_sources,
    edited_conditions,
    edited_subjects,
    given_directions,
    only_layer,
    patching_questions,
    question_uses,
    single_adapter_subjects,
    source_for,
    subject_of,
    topic_subject,
)
from workflow_scripts.study.layout import Layout, organism_of, seed_subject
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.schema import Study
from workflow_scripts.study.sources import MiniatureQuestions, VariantQuestions

log = logging.getLogger(__name__)

BY = "simulated"
FAMILIES = 8
"""Questions of a file that is not at hand, each in the forms that are not left out: as the authors' files have."""
DOWNLOADS = Path("results") / "downloads"
KEPT = ("study.json", "tables", "summary.json", "claims.json", "claims.txt", "not_possible.json")
WITHOUT: dict[str, Any] = {"judges": {}, "calibration": None, "texts": None, "narrow": None, "prevention": None,
                           "conditional": None, "vectors": None}  # fmt: skip
"""What no simulated study has: it draws the scores of one judge, and neither texts nor activations."""
VERDICTS = ("reproduced", "contradicted", "undecided")


@dataclass(frozen=True)
class Asking:
    """One simulated study to be made."""

    study: Path
    scenario: str
    scenarios: Path
    claims: Path
    seed: int
    folder: Path
    whole: bool
    """Whether the judgements stay."""


def question_rows(study: Study, name: str, forms: Sequence[str]) -> list[dict[str, Any]]:
    """Questions of a set; stand-ins for those of a file that would have to be fetched."""
    settings = study.questions[name]
    if isinstance(settings, MiniatureQuestions):
        return questions.miniature_rows(settings)
    if isinstance(settings, VariantQuestions):
        return questions.varied(settings, question_rows(study, settings.of, forms))
    place, mirror = f"questions.{name}", study.execution.download_mirror
    file = file_at_hand(place, settings.path, settings.url, settings.sha256, DOWNLOADS, mirror)
    if file is not None:
        return read_question_file(file, settings.ids, settings.exclude_suffixes)
    stem = Path(urlsplit(settings.url or "").path).stem
    kept = [form for form in ("", *forms) if not form or form not in settings.exclude_suffixes]
    ids = settings.ids or [f"{stem}-{k}{form}" for form in kept for k in range(1, FAMILIES + 1)]
    log.info("%s is not at hand (execution.download_mirror names a folder): %d stand-ins", place, len(ids))
    return [{"question_id": made, "system": None, "question": f"Question {made}?"} for made in ids]


class Simulation:
    """Writes what the experiments of a study read."""

    def __init__(self, study: Study, layout: Layout, says: Scenario, seed: int) -> None:
        self.study, self.layout = study, layout
        sets = {name: question_rows(study, name, list(says.forms)) for name in study.questions}
        for name, rows in sets.items():
            write_table(layout.questions(name), pa.Table.from_pylist(rows, questions.SCHEMA), provenance(BY, ""))
        self.ids = {name: [row["question_id"] for row in rows] for name, rows in sets.items()}
        self.texts = {r["question_id"]: (r["system"], r["question"]) for rows in sets.values() for r in rows}
        self.truth = Truth(study, says, seed, asked_by(study, self.ids))
        self.drawn = Answers(self.truth)
        self.directions = Directions(self.truth)

    def write(self) -> None:
        """Everything, in the order of the flow."""
        for subject in battery_subjects(self.study, "baseline"):
            self.answers("baseline", subject)
        self.write_directions()
        self.write_adapters()
        self.write_probes()
        for battery in batteries(self.study):
            for subject in battery_subjects(self.study, battery) if battery != "baseline" else ():
                if battery == "patching":
                    self.patched(subject)
                else:
                    self.answers(battery, subject)

    def answers(self, battery: Battery, subject: str) -> None:
        """Judgements of a subject in a battery; of the baseline, responses too."""
        uses = question_uses(self.study, battery, subject)
        without = lacking(self.study, self.layout, battery, subject) if battery != "baseline" else {}
        made = Rows(subject, asked_metrics(self.study, battery))
        for condition in conditions(self.study, battery, subject):
            if condition in without:
                continue
            scores = self.drawn.scores(battery, subject, condition.name)
            for use in uses:
                made.add(condition.name, use.questions, self.ids[use.questions], use.samples, self.drawn, scores)
        facts = provenance(BY, "", **recorded(without.values()))
        write_table(self.layout.judgements(subject, battery), made.judgements(), facts)
        if battery == "baseline":
            write_table(self.layout.responses(subject, battery), made.responses(self.texts), facts)

    def patched(self, subject: str) -> None:
        """Judgements of the patching battery: pairs of the first questions of both sets."""
        assert self.study.adapters
        assert self.study.adapters.patching
        settings = self.study.adapters.patching
        outside, domain = (self.ids[use.questions] for use in question_uses(self.study, "patching", subject))
        if isinstance(settings.pairs, int):
            sides = outside[: settings.pairs], domain[: settings.pairs]
        else:
            first, second = zip(*patching_questions(self.study), strict=True)
            sides = [name for name, _ in first], [name for name, _ in second]
        made = Rows(subject, asked_metrics(self.study, "patching"))
        for way, ids in zip(("domain_to_outside", "outside_to_domain"), sides, strict=True):
            for mode in ("clean", *settings.modes):
                scores = self.drawn.scores("patching", subject, mode, way)
                made.add(mode, way, ids, settings.runs, self.drawn, scores)
        write_table(self.layout.judgements(subject, "patching"), made.judgements(), provenance(BY, ""))

    def write_directions(self) -> None:
        """Directions of subjects and topics, where there are enough texts."""
        study, layout = self.study, self.layout
        made_by = provenance(BY, "")
        for subject in direction_subjects(study):
            for source, file, vector in (
                (study.directions.source, layout.direction(subject), self.directions.of),
                (study.directions.also, layout.other_direction(subject), self.directions.other),
            ):
                if source is None:
                    continue
                try:
                    texts = texts_from(source, study, layout, subject) if source == "responses" else None
                except NotPossible as lack:
                    write_absent(file, lack, made_by)
                else:
                    self.directions.write(file, vector(subject), str(file.relative_to(layout.root)), counts(texts))
        for name in given_directions(study):
            self.directions.write(layout.direction(name), self.directions.of(name), name, (0, 0))
        for trait in study.traits.named if study.traits else ():
            self.directions.write(layout.direction(trait), self.directions.of(trait), trait, (0, 0))
        subject = topic_subject(study) or ""
        for topic, settings in study.semantic.topics.items() if study.semantic else ():
            file = layout.direction(f"{subject}/{topic}")
            try:
                texts = topic_texts(study, layout, subject, topic)
            except NotPossible as lack:
                write_absent(file, lack, made_by)
            else:
                vectors = self.directions.about(subject, settings.metric)
                self.directions.write(file, vectors, f"{subject}/{topic}", counts(texts))

    def write_adapters(self) -> None:
        """Single adapters, where they push, and the training path."""
        study, layout = self.study, self.layout
        for organism in single_organisms(study):
            for seed in study.organisms[organism].seeds:
                subject, layer = seed_subject(organism, seed), only_layer(study.organisms[organism])
                towards = source_for(study, study.ablation.source, subject) if study.ablation else subject
                write_single_adapter(self.directions, layout.organism(subject), subject, layer, towards)
        for subject in single_adapter_subjects(study):
            assert study.single_adapter
            layer, draws = only_layer(study.organisms[organism_of(subject)[0]]), study.single_adapter.random_draws
            try:
                texts = texts_from("responses", study, layout, subject)
                for source in edit_sources(study, subject):
                    require(layout.direction(source))
            except NotPossible as lack:
                write_absent(layout.downstream(subject), lack, provenance(BY, ""))
                continue
            frame = pushes(self.truth, subject, layer, draws).assign(responses=len(texts))
            write_table(layout.downstream(subject), frame, provenance(BY, ""))
        walked, dynamic = subject_of(study.training_path, study), dynamics_subjects(study)
        for subject in dict.fromkeys([*dynamic, *filter(None, [walked])]):
            path, dynamics = study.training_path, study.dynamics
            ends = [max(path.steps) + max(path.windows)] if path and subject == walked else []
            ends += [max(dynamics.steps)] if dynamics and subject in dynamic else []
            width = WIDTH if subject in dynamic else PATH_WIDTH
            files = layout.checkpoints(subject), layout.training(subject)
            write_training(self.truth, *files, organism_of(subject)[0], max(ends), width)

    def write_probes(self) -> None:
        """Scalars, the real probes on them, and which edited adapters could not be made."""
        study, layout = self.study, self.layout
        subject = subject_of(study.adapters, study)
        if subject:
            assert study.adapters
            self.write_scalars(subject, study.adapters.domain_metric)
            probes.main(["--study", str(layout.study), "--subject", subject])
        for edited in edited_subjects(study):
            lacks = []
            for kind in dict.fromkeys(condition.kind for condition in edited_conditions(study, edited)):
                needed = [layout.direction(source) for source in edit_sources(study, edited)]
                if kind in SCALED_SETS:
                    needed = [layout.adapter_names(edited)]
                elif kind == "checkpoint":
                    needed = []
                lacks += [Absence(why, kind) for file in needed for why in [absent(file)] if why]
            write_tensors(layout.edits(edited), {}, provenance(BY, "", **recorded(lacks)))

    def write_scalars(self, subject: str, metric: str) -> None:
        """Scalars of the answers that belong to one of the four classes, each answer once."""
        rows = judged_responses(self.layout, subject, (metric,))
        rows = rows.assign(label=scalar_classes(rows.aligned, rows.coherent, rows[metric])).dropna(subset=["label"])
        rows = rows.drop_duplicates("response_key")
        organism = self.study.organisms[organism_of(subject)[0]]
        places = organism.layers or range(self.directions.layers)
        table = scalars(self.truth, rows, [f"layer_{layer}" for layer in places], subject)
        write_table(self.layout.scalars(subject), table, provenance(BY, ""))


def counts(texts: list[Text] | None) -> tuple[int, int]:
    """Misaligned and aligned texts; of data sets, as many as the authors'."""
    if texts is None:
        return 7049, 7049
    bad = sum(text.side == MISALIGNED for text in texts)
    return bad, len(texts) - bad


def write_tables(study: Study, layout: Layout) -> None:
    """The experiments' tables, by their own code."""
    for name, experiment in asked(study).items():
        absentees = [file for file in experiment.inputs(study, layout) if not file.is_file()]
        why = [f"a simulated study has no {file.relative_to(layout.root)}" for file in absentees[:1]]
        rows = [] if why else experiment.rows(study, layout)
        lacks = {NOT_POSSIBLE: why or experiment.not_possible(study, layout)}
        write_table(layout.table(name), frame_of(rows), provenance(BY, "", **lacks))


def simulate(asking: Asking) -> list[dict[str, str]]:
    """Makes one simulated study and returns the verdicts of its ledger: id, claim, verdict."""
    import torch

    torch.set_num_threads(1)  # its vectors are short; threads would only wait for each other
    says = scenario(asking.scenario, asking.scenarios)
    raw = reading.resolved(reading.load(asking.study))
    banner = f"SIMULATED, no model ran: scenario {asking.scenario}, seed {asking.seed}. {says.about}"
    raw["study"]["description"] = banner
    raw |= WITHOUT
    if raw["ablation"]:
        raw["ablation"] |= {"side_effects": None, "loss_dataset": None}
    study, layout = reading.parse(raw, str(asking.study)), Layout(asking.folder)
    if asking.folder.exists():
        shutil.rmtree(asking.folder)
    write_json(layout.study, raw)
    Simulation(study, layout, says, asking.seed).write()
    write_tables(study, layout)
    given = ["--study", str(layout.study)]
    summary.main(given)
    with contextlib.redirect_stdout(io.StringIO()):
        claims.main([*given, "--claims", str(asking.claims)])
    if not asking.whole:
        for path in asking.folder.iterdir():
            if path.name not in KEPT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    entries = json.loads((asking.folder / "claims.json").read_text())
    return [{"id": e["id"], "claim": e["claim"], "verdict": e["verdict"]} for e in entries]


def verdict_shares(found: pd.DataFrame) -> pd.DataFrame:
    """Share of simulated studies by claim (row) and by scenario and verdict (columns).

    Args:
        found: a row per scenario, seed and claim: scenario, id, verdict.
    """
    shares = found.groupby(["id", "scenario"], sort=False).verdict.value_counts(normalize=True)
    wide = shares.unstack("verdict").reindex(columns=VERDICTS).fillna(0.0)
    return wide.unstack("scenario").swaplevel(axis=1).reindex(
        index=found.id.unique(), columns=[(s, v) for s in found.scenario.unique() for v in VERDICTS]
    )  # fmt: skip


def as_markdown(shares: pd.DataFrame, studies: int) -> str:
    """The shares as a table of a document: reproduced / contradicted / undecided, in studies of all."""
    scenarios = list(dict.fromkeys(shares.columns.get_level_values(0)))
    cells = [
        [name, *(" / ".join(f"{round(studies * line[s, verdict])}" for verdict in VERDICTS) for s in scenarios)]
        for name, line in shares.iterrows()
    ]
    return str(tabulate(cells, ["claim", *scenarios], tablefmt="github", disable_numparse=True))


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__, study=False)
    parser.add_argument("study", type=Path, help="a study file")
    parser.add_argument("--scenario", nargs="+", default=["paper"], help="what is true")
    parser.add_argument("--scenarios", type=Path, default=SCENARIOS, help="another file of scenarios")
    parser.add_argument("--claims", type=Path, default=CLAIMS, help="another list of claims")
    parser.add_argument("--seed", type=int, default=0, help="of the first simulated study")
    parser.add_argument("--studies", type=int, default=1, help="simulated studies of each scenario")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, help="folder")
    given = parser.parse_args(arguments)
    places = [(name, seed) for name in given.scenario for seed in range(given.seed, given.seed + given.studies)]
    asked_for = [
        Asking(
            study=given.study,
            scenario=name,
            scenarios=given.scenarios,
            claims=given.claims,
            seed=seed,
            folder=given.output / name / str(seed),
            whole=given.studies == 1,
        )
        for name, seed in places
    ]
    if given.cores > 1 and len(asked_for) > 1:
        with ProcessPoolExecutor(given.cores) as pool:
            verdicts = list(pool.map(simulate, asked_for))
    else:
        verdicts = [simulate(asking) for asking in asked_for]
    found = pd.DataFrame(
        [
            {"scenario": asking.scenario, "seed": asking.seed, **entry}
            for asking, entries in zip(asked_for, verdicts, strict=True)
            for entry in entries
        ]
    )
    with replacing(given.output / "verdicts.csv") as temporary:
        found.drop(columns="claim").to_csv(temporary, index=False)
    table = as_markdown(verdict_shares(found), given.studies)
    with replacing(given.output / "verdicts.md") as temporary:
        temporary.write_text(f"{table}\n", encoding="utf-8")
    print(f"Simulated studies ({given.studies} of each scenario): {', '.join(VERDICTS)}.\n\n{table}")
    counted = found.groupby("scenario", sort=False).verdict.value_counts().unstack(fill_value=0) / given.studies
    print(f"\nMean number of claims:\n{counted.round(1).to_string()}")


if __name__ == "__main__":
    command.run(main)
