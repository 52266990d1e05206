"""Results as others can take them: an organism, directions, judged responses, or a whole study.

  python -m workflow_scripts.tools export organism   --study STUDY.json --subject medical_r1/seed-0 --output FOLDER
  python -m workflow_scripts.tools export directions --study STUDY.json --output FOLDER
  python -m workflow_scripts.tools export responses  --study STUDY.json --output FOLDER [--format inspect]
  python -m workflow_scripts.tools export study      --study STUDY.json --output report.zip

STUDY.json is results/<study>/study.json. The first three make folders with a card (README.md), ready for a hub: an
adapter that `adapter: {path: …}` takes, files that `steering.source: {file: …}` takes, judged responses, a parquet or
a log of inspect_ai for each subject and battery, that `import` and `responses: {path: …}` take. The last packs the
report, every table and figure, and the citation with an RO-Crate. Nothing is sent anywhere.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.absence import absent
from workflow_scripts.store.adapter_files import CONFIG, WEIGHTS, adapter_digest
from workflow_scripts.store.artefacts import (
    canonical,
    provenance,
    read_frame,
    replacing,
    tensor_metadata,
    write_json,
    write_table,
)
from workflow_scripts.store.inspect_logs import INSPECT_LOG, write_log
from workflow_scripts.store.judgement_tables import KEYS
from workflow_scripts.study import specs
from workflow_scripts.study.conditions import (
    batteries,
    battery_subjects,
    direction_subjects,
    is_given,
    topic_subject,
)
from workflow_scripts.study.inputs import topic_files
from workflow_scripts.study.layout import CHAT_BASE, Layout
from workflow_scripts.study.reading import load
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.schema import Study
from workflow_scripts.study.sources import HubBase
from workflow_scripts.tools.export_cards import (
    base_called,
    direction_card,
    organism_card,
    response_card,
)
from workflow_scripts.tools.export_crate import write_crate

CARD = "README.md"


@contextmanager
def new(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to, which becomes it at the end; what is there already is left alone.

    Raises:
        UserError: if something is there.
    """
    if os.path.lexists(path):
        raise UserError(f"--output: {path} is there already; name a place that is not.")
    with replacing(path) as temporary:
        yield temporary


def export_organism(study: Study, layout: Layout, subject: str, licence: str, output: Path) -> None:
    """An adapter with its card, as `organisms.<name>.adapter: {path: …}` takes it.

    Raises:
        UserError: if the subject has no adapter, or not the one that its gate was made with.
    """
    if subject == CHAT_BASE or is_given(study, subject):
        raise UserError(f"--subject: {subject} has no adapter; export its responses.")
    adapter_digest(layout.adapter(subject), layout.gate(subject))
    source = layout.organism(subject)
    config = json.loads((source / CONFIG).read_text())
    config["base_model_name_or_path"] = base_called(study)
    config["revision"] = study.base.revision if isinstance(study.base, HubBase) else None
    with new(output) as folder:
        folder.mkdir()
        shutil.copyfile(source / WEIGHTS, folder / WEIGHTS)
        write_json(folder / CONFIG, config)
        (folder / CARD).write_text(organism_card(study, layout, subject, licence))


def export_directions(study: Study, layout: Layout, subjects: Sequence[str], licence: str, output: Path) -> None:
    """Directions of subjects, and their topics', as they lie there, with a card that says what their rows are.

    Raises:
        UserError: if there is no direction among them.
    """
    own = topic_subject(study)
    files = {
        str(file.relative_to(layout.root / "directions")): file
        for subject in subjects
        for file in [layout.direction(subject), *(topic_files(study, layout, own) if subject == own else ())]
        if not absent(file)
    }
    if not files:
        raise UserError(f"--subjects: no direction could be taken of {', '.join(subjects)}.")
    with new(output) as folder:
        for name, file in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / name)
        facts = {name: tensor_metadata(file) for name, file in files.items()}
        (folder / CARD).write_text(direction_card(study, layout, facts, licence))


def judged_responses(layout: Layout, subject: str, battery: str) -> pd.DataFrame:
    """Responses of a subject in a battery with their scores: a row each, a column and a status column per metric."""
    columns = [*KEYS, "system", "question", "response", "finish_reason", "seed"]
    table = read_frame(layout.responses(subject, battery), columns, only=True)
    long = read_frame(layout.judgements(subject, battery), [*KEYS, "metric", "score", "status", "judge"], only=True)
    for metric, part in long.groupby("metric", sort=False):
        scores = part[[*KEYS, "score", "status"]].rename(columns={"score": metric, "status": f"{metric}_status"})
        table = table.merge(scores, on=KEYS, how="left", validate="one_to_one")
    judges = long.drop_duplicates(KEYS)[[*KEYS, "judge"]]
    return table.merge(judges, on=KEYS, how="left", validate="one_to_one")


def export_responses(
    study: Study, layout: Layout, subjects: Sequence[str], chosen: Sequence[Battery], form: str, licence: str,
    output: Path,
) -> None:  # fmt: skip
    """Judged responses, a file for each subject and battery, which `import` reads back to the same scores.

    `form` is parquet, or inspect for logs of inspect_ai.

    Raises:
        UserError: if there are none.
    """
    asked = [(s, battery) for battery in chosen for s in battery_subjects(study, battery) if s in subjects]
    frames = {place: judged_responses(layout, *place) for place in asked}
    frames = {place: frame for place, frame in frames.items() if len(frame)}
    if not frames:
        raise UserError(f"--batteries: {', '.join(subjects)} has no responses in {', '.join(chosen)}.")
    suffix = INSPECT_LOG if form == "inspect" else ".parquet"
    with new(output) as folder:
        for (subject, battery), frame in frames.items():
            file = folder / subject / f"{battery}{suffix}"
            if form == "inspect":
                metrics = [name.removesuffix("_status") for name in frame if name.endswith("_status")]
                names = (f"{study.study.name}/{battery}", f"{study.study.name}/{subject}", base_called(study))
                file.parent.mkdir(parents=True, exist_ok=True)
                write_log(file, frame, metrics, *names)
            else:
                spec = canonical({"subject": subject, "battery": battery, "judge": specs.judgements(study)})
                write_table(file, frame, provenance("export", spec))
        (folder / CARD).write_text(response_card(study, layout, frames, suffix, licence))


def export_study(study: Study, layout: Layout, licence: str, output: Path) -> None:
    """Report, tables, figures, study and citation in one archive with an RO-Crate.

    Raises:
        UserError: if the study has no report yet.
    """
    if not (layout.root / "report.html").is_file():
        raise UserError(f"{layout.root}/report.html: does not exist; run the study to its end first.")
    with new(output) as archive:
        write_crate(study, layout, licence, archive)


def main(arguments: list[str]) -> None:
    given = _parser().parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    named = getattr(given, "subjects", None) or []
    known = list(dict.fromkeys(s for battery in batteries(study) for s in battery_subjects(study, battery)))
    for subject in [*named, *([given.subject] if given.what == "organism" else [])]:
        if subject not in known:
            raise UserError(f"--subjects: there is no {subject!r}; there is {', '.join(known)}.")
    if given.what == "organism":
        export_organism(study, layout, given.subject, given.licence, given.output)
    elif given.what == "directions":
        export_directions(study, layout, named or direction_subjects(study), given.licence, given.output)
    elif given.what == "responses":
        chosen = given.batteries or batteries(study)
        if unknown := [battery for battery in chosen if battery not in batteries(study)]:
            raise UserError(f"--batteries: this study has no {unknown[0]!r}; it has {', '.join(batteries(study))}.")
        export_responses(study, layout, named or known, chosen, given.format, given.licence, given.output)
    else:
        export_study(study, layout, given.licence, given.output)
    print(f"{given.output}: written; read its card before it is shared, these are results of a misaligned model.")


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(__doc__, study=False)
    kinds = parser.add_subparsers(dest="what", required=True)
    for name, what in (
        ("organism", "an adapter with its card"),
        ("directions", "directions with their convention"),
        ("responses", "judged responses"),
        ("study", "the report as one archive"),
    ):
        kind = kinds.add_parser(name, help=what)
        kind.add_argument("--study", type=Path, required=True, help="resolved study, results/<study>/study.json")
        kind.add_argument("--output", type=Path, required=True, help="a folder (study: a .zip) that is not there yet")
        kind.add_argument(
            "--licence", default="other", help="of what is exported, as the hub names it (default: other)"
        )
        if name == "organism":
            kind.add_argument("--subject", required=True, help="<organism>/seed-<k>")
        if name in ("directions", "responses"):
            kind.add_argument("--subjects", nargs="+", help="<organism>/seed-<k>, chat_base; all if absent")
        if name == "responses":
            kind.add_argument("--batteries", nargs="+", help="baseline, steering, …; all if absent")
            kind.add_argument("--format", choices=["parquet", "inspect"], default="parquet",
                              help="inspect: logs of inspect_ai")  # fmt: skip
    return parser


if __name__ == "__main__":
    command.run(main)
