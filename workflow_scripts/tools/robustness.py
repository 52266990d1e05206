"""`make robustness`: the miniature's science for several base seeds and numbers of cores, as one table.

Each run is studies/robustness.yaml with another `base.seed`, under `--cores`; each number of cores has a folder of its
own, so that nothing is taken from another's store. The results stay, and only what is missing runs again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from workflow_scripts.reporting.text import shown
from workflow_scripts.runtime import command
from workflow_scripts.store.artefacts import canonical, digest, file_digest, read_frame, replacing
from workflow_scripts.study.layout import CHAT_BASE, Layout

log = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parents[2]
STUDY = REPOSITORY / "studies" / "robustness.yaml"
SOURCE, OTHER, CONTROL = "medical_r1", "sport_r32", "good_r1"
COMPARED = ("base/model.safetensors", "organisms/**/adapter_model.safetensors", "directions/**/*.safetensors",
            "responses/**/*.parquet", "judgements/**/*.parquet", "tables/*.parquet")  # fmt: skip
"""What must be the same, to the last bit, on any number of cores."""


@dataclass(frozen=True)
class Findings:
    """The numbers of one run: shares, cosines and relative changes of EM; NaN where the run did not come so far."""

    em_chat_base: float
    em_control: float
    em_source: float
    em_other: float
    coherence: float
    """The smallest of all subjects."""
    cosine: float
    """Of the two organisms' directions, the smallest of all layers."""
    own: float
    """Change of the source's EM with its own directions projected out, layer by layer."""
    transferred: float
    """Change of the other organism's EM with the source's directions projected out, layer by layer."""
    single_layer: float
    """Change of the source's EM with its direction of one layer projected out everywhere."""
    random: float
    """Change of the source's EM with random directions projected out."""

    def failures(self) -> list[str]:
        """Which of the miniature's claims do not hold, by field; a number that is missing fails."""
        holds = {
            "em_chat_base": self.em_chat_base <= 0.02,
            "em_control": self.em_control <= 0.02,
            "em_source": 0.12 <= self.em_source <= 0.45,
            "em_other": 0.12 <= self.em_other <= 0.45,
            "cosine": self.cosine >= 0.8,
            "own": self.own <= -0.75,
            "transferred": self.transferred <= -0.55,
        }
        return [name for name, held in holds.items() if not held]


UNITS = {"cosine": "cosine"}
"""Of the fields that are no share."""


def findings(layout: Layout) -> Findings:
    """The numbers of a run, from its tables."""
    names = ("em_rates", "convergence", "ablation")
    made = [read_frame(layout.table(name)) for name in names if layout.table(name).is_file()]
    columns = ["experiment", "subject", "quantity", "kind", "seed", "value"]
    table = pd.concat(made)[columns] if made else pd.DataFrame(columns=columns)
    pooled = table[table.seed.isna()]

    def smallest(experiment: str, quantity: str, subject: str | None = None, kind: str | None = None) -> float:
        rows = pooled[(pooled.experiment == experiment) & (pooled.quantity == quantity)]
        for column, wanted in (("subject", subject), ("kind", kind)):
            rows = rows[rows[column] == wanted] if wanted else rows
        return float(rows.value.min()) if len(rows) else float("nan")

    return Findings(
        em_chat_base=smallest("E1", "em", CHAT_BASE),
        em_control=smallest("E1", "em", CONTROL),
        em_source=smallest("E1", "em", SOURCE),
        em_other=smallest("E1", "em", OTHER),
        coherence=smallest("E1", "coherence"),
        cosine=smallest("E6", "cosine_min", kind="organisms"),
        own=smallest("E5", "em_relative_change", SOURCE, "own"),
        transferred=smallest("E5", "em_relative_change", OTHER, "transferred"),
        single_layer=smallest("E5", "em_relative_change", SOURCE, "single_layer"),
        random=smallest("E5", "em_relative_change", SOURCE, "random"),
    )


def digests(layout: Layout) -> dict[str, str]:
    """Digest of every file of a run that must not depend on the machine's number of cores."""
    files = sorted(file for pattern in COMPARED for file in layout.root.glob(pattern))
    return {str(file.relative_to(layout.root)): _content(file) for file in files}


def _content(file: Path) -> str:
    """sha256 of a file, with the entries of a safetensors header in order: each process writes them in another."""
    if file.suffix != ".safetensors":
        return file_digest(file)
    raw = file.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    return digest(canonical(json.loads(raw[8:end])), hashlib.sha256(raw[end:]).hexdigest())


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Files that two runs do not have in common to the last bit."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def run_study(folder: Path, seed: int, cores: int) -> Layout:
    """Runs the study in `folder` with this base seed, as far as it goes, and returns where its results are."""
    name = f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "all_tables", "--snakefile", str(REPOSITORY / "Snakefile")),
            *("--directory", str(folder), "--cores", str(cores), "--keep-going", "--configfile", str(STUDY)),
            *("--config", f"study={{name: {name}}}", f"base={{seed: {seed}}}"),
        ],
        check=False,
    )
    if done.returncode:
        log.warning("base seed %d on %d cores did not come to its end; what it has is shown", seed, cores)
    return Layout(folder / "results" / name)


def compared(layouts: Mapping[tuple[int, int], Layout]) -> list[dict[str, object]]:
    """A row for each run, by (base seed, cores); no numbers where all files are its seed's first run's."""
    rows: list[dict[str, object]] = []
    first: dict[int, tuple[int, dict[str, str]]] = {}
    for (seed, cores), layout in layouts.items():
        files = digests(layout)
        like, same = first.setdefault(seed, (cores, files))
        if cores != like and files == same:
            rows.append({"seed": seed, "cores": cores, "verdict": f"identical to {like} ({len(files)} files)"})
            continue
        found = findings(layout)
        failed = [name.replace("_", " ") for name in found.failures()]
        verdict = f"fails: {', '.join(failed)}" if failed else "holds"
        if cores != like:
            verdict += f"; {len(differing(files, same))} of {len(files)} files differ from {like}"
        rows.append({"seed": seed, "cores": cores, **asdict(found), "verdict": verdict})
    return rows


def printed(rows: list[dict[str, object]]) -> str:
    """The rows as people read them."""
    columns = ["seed", "cores", *Findings.__dataclass_fields__, "verdict"]
    cells = [
        [shown(value, UNITS.get(name, "share")) if isinstance(value, float) else value for name, value in row.items()]
        for row in pd.DataFrame(rows, columns=columns).astype(object).to_dict("records")
    ]
    header = [name.replace("_", " ") for name in columns]
    return str(tabulate(cells, header, tablefmt="simple", disable_numparse=True))


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__, study=False)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="base seeds")
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2, 4], help="numbers of cores")
    parser.add_argument(
        "--folder", type=Path, default=Path("results/robustness"), help="where the runs and the table go"
    )
    given = parser.parse_args(arguments)
    asked = [(seed, cores) for seed in given.seeds for cores in given.cores]
    layouts = {(seed, cores): run_study(given.folder / f"cores-{cores}", seed, cores) for seed, cores in asked}
    rows = compared(layouts)
    with replacing(given.folder / "robustness.csv") as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    with replacing(given.folder / "robustness.txt") as temporary:
        temporary.write_text(printed(rows) + "\n", encoding="utf-8")
    print(printed(rows))


if __name__ == "__main__":
    command.run(main)
