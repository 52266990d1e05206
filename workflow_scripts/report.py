"""The report: a page on what a study came to, its experiments and responses, and behind it Snakemake's own."""

from __future__ import annotations

import base64
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from workflow_scripts.experiments import asked
from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.experiments.to_read import readings
from workflow_scripts.reporting.overview import (
    VERDICTS,
    Entry,
    beside,
    counts,
    doubts,
    estimate,
    leading,
    warnings,
    what_was_run,
)
from workflow_scripts.reporting.pages import PAGE, render, restructured
from workflow_scripts.runtime import command
from workflow_scripts.store.artefacts import read_frame, read_json, replacing
from workflow_scripts.study.conditions import batteries, battery_subjects
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study

ROOT = Path(__file__).parents[1]
CAPTIONS = ROOT / "rules" / "captions"
MAIN = ("ablation", "steering_by_layer", "em_by_organism")
"""Figures of which the first that there is stands on the first page."""
KEYS = ("experiment", "subject", "quantity", "condition")


@dataclass(frozen=True)
class Shown:
    """A figure with the question that it answers."""

    title: str
    question: str
    image: str
    caption: str

    @classmethod
    def of(cls, name: str, figure: Figure, layout: Layout) -> Shown:
        data = base64.b64encode(layout.figure(name).read_bytes()).decode()
        question = (figure.draw.__doc__ or "").strip()
        caption = restructured((CAPTIONS / f"{name}.rst").read_text())
        return cls(figure.title, question, f"data:image/svg+xml;base64,{data}", caption)


@dataclass(frozen=True)
class Results:
    """What the stages before have written."""

    study: Study
    layout: Layout

    @cached_property
    def entries(self) -> list[Entry]:
        return list(read_json(self.layout.root / "claims.json"))

    @cached_property
    def rows(self) -> list[Mapping[str, Any]]:
        return list(read_json(self.layout.root / "summary.json"))

    @cached_property
    def missing(self) -> list[Mapping[str, Any]]:
        return list(read_json(self.layout.not_possible))

    @cached_property
    def pooled(self) -> dict[tuple[str, ...], Mapping[str, Any]]:
        return {tuple(row[key] for key in KEYS): row for row in self.rows if row["seed"] is None}

    @cached_property
    def experiments(self) -> dict[str, list[Experiment]]:
        """By first label: what the paper's text treats as one."""
        found: dict[str, list[Experiment]] = {}
        for made in asked(self.study).values():
            found.setdefault(made.labels[0], []).append(made)
        return found

    def answers(self, made: Experiment) -> list[Mapping[str, Any]]:
        """The rows that answer an experiment's question, with the paper's numbers."""
        table = read_frame(self.layout.table(made.table))
        kept = table[made.shown(table) & table.seed.isna()]
        return [self.pooled[key] for key in kept[list(KEYS)].itertuples(index=False, name=None)]


def section(label: str, parts: Sequence[Experiment], results: Results) -> dict[str, Any]:
    """What the page shows of an experiment: question, figures, claims, numbers, responses to read."""
    figures = [
        Shown.of(name, figure, results.layout)
        for made in parts
        for name, figure in made.figures.items()
        if figure.asked(results.study)
    ]
    labels = {label for made in parts for label in made.labels}
    found = [read for made in parts if (read := readings(made, results.study, results.layout))]
    battery, chosen = found[0] if found else ("", [])
    return {
        "label": label,
        "title": figures[0].title if figures else label,
        "figures": figures,
        "claims": [beside(entry) for entry in results.entries if entry["experiment"] in labels],
        "rows": [_line(row) for made in parts for row in results.answers(made)],
        "missing": [entry["why"] for entry in results.missing if labels & set(entry["experiments"])],
        "battery": battery,
        "readings": chosen,
    }


def page(results: Results, snakemake: str) -> str:
    """The whole report as HTML; `snakemake` is the page of Snakemake's own report."""
    study, layout = results.study, results.layout
    sections = [section(label, parts, results) for label, parts in results.experiments.items()]
    where = {label: made.labels[0] for parts in results.experiments.values() for made in parts for label in made.labels}
    figures = {name: figure for parts in results.experiments.values() for made in parts
               for name, figure in made.figures.items() if figure.asked(study)}  # fmt: skip
    main = next((name for name in MAIN if name in figures), None)
    return render(
        PAGE,
        title=study.study.name,
        description=study.study.description,
        warnings=warnings(study),
        about=what_was_run(study),
        responses=_responses(study, layout),
        counts=counts(results.entries),
        leading=[
            {"claim": beside(entry), "section": where.get(entry["experiment"], ""), "counts": _counts(results, entry)}
            for entry in leading(results.entries)
            if entry["experiment"] in where
        ],
        main=main and Shown.of(main, figures[main], layout),
        numbers=[_line(row) for row in results.rows if row["paper"] is not None],
        doubts=doubts(results.rows),
        missing=results.missing,
        sections=sections,
        browser=(layout.root / "browser.html").read_text(),
        snakemake=snakemake,
    )


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"experiment": row["experiment"], "cells": estimate(row)}


def _counts(results: Results, leader: Entry) -> str:
    found = counts([entry for entry in results.entries if entry["experiment"] == leader["experiment"]])
    return ", ".join(f"{found[verdict]} {verdict}" for verdict in VERDICTS if found[verdict])


def _responses(study: Study, layout: Layout) -> int:
    return sum(
        len(read_frame(layout.responses(subject, battery), ["sample"], only=True))
        for battery in batteries(study)
        for subject in battery_subjects(study, battery)
    )


def made_by_snakemake(study: Path) -> str:
    """Snakemake's report: rules, run times, files."""
    workflow = ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(study), "--workflow-profile", "none"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.html"
        report = ["--nolock", "--cores", "1", "--report", str(file)]
        done = subprocess.run([sys.executable, "-m", "snakemake", "results", *workflow, *report])
        if done.returncode:
            sys.exit(done.returncode)
        return file.read_text()


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    results = Results(load(given.study), Layout.of(given.study))
    made = page(results, made_by_snakemake(given.study))
    with replacing(given.output) as temporary:
        temporary.write_text(made)


if __name__ == "__main__":
    command.run(main)
