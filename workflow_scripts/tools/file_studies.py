"""The experiments' own tables and figures on judgement tables of anyone's: a study is made up around them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pyarrow as pa

from workflow_scripts.experiments.experiment import Experiment
from workflow_scripts.experiments.rows import Row, frame_of
from workflow_scripts.figures import save
from workflow_scripts.reporting.text import estimates
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import canonical, file_digest, provenance, read_frame, write_table
from workflow_scripts.store.judgement_tables import SCHEMA
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import parse
from workflow_scripts.study.schema import Study
from workflow_scripts.tools.import_judged import conditions_of_files

QUESTIONS = "imported"
"""The question set that all of a file's responses are of."""
ORGANISM = "the-organism"
NUMBERS = frozenset({"layer", "scale"})
"""Groups of a pattern that are numbers."""
CUT_NUMBER = re.compile(r"\d[.,_]?\d")
"""Across the end of what a group reads."""
TOPIC = "medical"
"""The study's name for the domain's metric, whatever the file calls it."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """Arguments that the tools share."""
    made = command.parser(description, study=False)
    made.add_argument("files", type=Path, nargs="+", metavar="FILE", help="judgement tables, as `import` writes them")
    made.add_argument("--output", type=Path, help="also write the rows as parquet")
    made.add_argument("--figures", type=Path, metavar="FOLDER", help="also draw the experiment's figures into a folder")
    return made


def read_files(given: argparse.Namespace) -> pd.DataFrame:
    """Rows of judgement tables under each other; of several files, the file's name goes before the condition.

    Raises:
        UserError: if a file is no judgement table, or what is asked for cannot be written.
    """
    files: Sequence[Path] = given.files
    command.check_output(given.output, files)
    command.check_figures(given.figures)
    frames = [read_frame(file, SCHEMA.names, only=True) for file in files]
    if len(files) > 1:
        for frame, name in zip(frames, conditions_of_files(files), strict=True):
            frame["condition"] = name + "/" + frame.condition
    return pd.concat(frames, ignore_index=True)


def matched(table: pd.DataFrame, pattern: str) -> pd.DataFrame:
    """What the named groups of a regular expression find in each row's condition; NaN where it does not match.

    Raises:
        UserError: if it is no regular expression, or reads only a part of a number.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--pattern: {pattern!r} is no regular expression ({error}).") from error
    if not compiled.groupindex:
        raise UserError(f"--pattern: {pattern!r} has no named group such as (?P<scale>…).")
    for condition in table.condition.unique():
        found = compiled.search(condition)
        if not found:
            continue
        for group in NUMBERS & compiled.groupindex.keys():
            if found[group] and CUT_NUMBER.match(condition, max(0, found.end(group) - 1)):
                raise UserError(
                    f"--pattern: of the condition {condition!r} it reads {group} as {found[group]!r}, a part of a "
                    "number; let it take all of the number, and write numbers with a point."
                )
    return table.condition.str.extract(pattern)[list(compiled.groupindex)]


def chosen(option: str, table: pd.DataFrame, names: Sequence[tuple[str, str]], known: Sequence[str]) -> pd.DataFrame:
    """Rows of the conditions that `names` gives, ours and theirs, under our names.

    Raises:
        UserError: if one of ours is not known, one of theirs is not there, or either is given twice.
    """
    there = set(table.condition)
    ours_given, theirs_given = (list(side) for side in zip(*names, strict=True))
    twice = [name for name in names if ours_given.count(name[0]) > 1 or theirs_given.count(name[1]) > 1]
    if twice:
        raise UserError(f"{option}: {'='.join(twice[0])} gives a condition, or a name, that another gives too.")
    for ours, theirs in names:
        if ours not in known:
            raise UserError(f"{option}: {ours!r} is not one of {', '.join(known)}.")
        if theirs not in there:
            raise UserError(f"{option}: there is no condition {theirs!r}; there are {some(table.condition)}.")
    ours_of = {theirs: ours for ours, theirs in names}
    kept = table[table.condition.isin(ours_of)]
    return kept.assign(condition=kept.condition.map(ours_of))


def some(conditions: pd.Series, most: int = 8) -> str:
    """A few of the conditions, for a sentence."""
    names = conditions.drop_duplicates()
    return ", ".join(map(repr, names[:most])) + (", …" if len(names) > most else "")


@contextmanager
def made_up(base_layers: int, metrics: Sequence[str], **sections: Any) -> Iterator[tuple[Study, Layout]]:
    """A study of these sections whose files lie in a folder of their own, for the time of the block."""
    raw = {
        "study": {"name": "imported"},
        "base": {
            "source": "hub",
            "id": "imported/imported",
            "revision": "none",
            "layers": base_layers,
            "weights_gb": 1,
        },
        "datasets": {ORGANISM: {"source": "jsonl", "path": "none"}},
        "organisms": {ORGANISM: {"dataset": ORGANISM, "rank": 1}},
        "questions": {name: {"source": "yaml", "path": "none"} for name in (QUESTIONS, "domain")},
        "sampling": {"questions": QUESTIONS, "samples": 1},
        "judge": {"source": "remote", "model": "imported/imported", "metrics": list(metrics)},
        **sections,
    }
    with TemporaryDirectory(prefix="em-files-") as folder:
        yield parse(raw, "the files"), Layout(Path(folder) / "results" / "imported")


def write_judged(
    layout: Layout, subject: str, battery: str, table: pd.DataFrame, question_set: str | pd.Series = QUESTIONS
) -> None:
    """Writes rows of judgement tables where the experiments read them; samples are counted anew."""
    table = table.assign(question_set=question_set)
    keys = ["condition", "question_set", "question_id", "metric"]
    table = table.assign(sample=table.groupby(keys).cumcount())
    made = pa.Table.from_pandas(table[SCHEMA.names], SCHEMA, preserve_index=False)
    write_table(layout.judgements(subject, battery), made, provenance("judgements", ""))


def told(
    experiment: Experiment,
    study: Study,
    layout: Layout,
    given: argparse.Namespace,
    renamed: Mapping[str, str],
    figures: Sequence[str],
    suffix: str = "",
) -> list[Row]:
    """Rows of an experiment, those that have a value; draws its figures into the folder that was asked for.

    Args:
        renamed: what the file's user calls a subject of the made-up study.
        figures: those that can be drawn of files.
        suffix: of the figures' names.
    """
    rows = [row for row in experiment.rows(study, layout) if not pd.isna(row["value"])]
    if given.figures:
        write_table(layout.table(experiment.table), frame_of(rows), provenance("tables", ""))
        given.figures.mkdir(parents=True, exist_ok=True)
        for name in figures:
            save(experiment.figures[name].draw(study, layout), layout, name)
            for form in ("svg", "png"):
                file = given.figures / f"{name}{suffix}.{form}"
                file.write_bytes(layout.figure(name, form).read_bytes())
    return [{**row, "subject": renamed.get(row["subject"], row["subject"])} for row in rows]


def finish(rows: Sequence[Row], given: argparse.Namespace, quantities: Sequence[str]) -> None:
    """Prints the rows of these quantities, and writes all where that was asked for."""
    print(estimates([row for row in rows if row["quantity"] in quantities], ["source", "condition", "quantity"]))
    if given.output:
        settings = {
            name: str(value) for name, value in vars(given).items() if name not in ("output", "debug", "figures")
        }
        sources = canonical([file_digest(file) for file in given.files])
        write_table(given.output, frame_of(rows), provenance("tables", canonical(settings), source=sources))
