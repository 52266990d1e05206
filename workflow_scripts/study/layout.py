"""Where everything lies: the only place that turns a subject, a battery or an organism into a path.

`Layout(Path("results/miniature"))` serves the rules and the stages alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from workflow_scripts.store.adapter_files import WEIGHTS

RESOLVED = "study.json"
"""The study with all its settings, as a run writes it into its results folder."""
CHAT_BASE = "chat_base"
PRIMARY = "primary"
"""The first judge of a panel: the one whose scores directions, tables and figures are made of."""


@dataclass(frozen=True)
class Layout:
    """Paths below one study's results folder.

    Attributes:
        root: the folder.
        judge: the one of a panel whose judgements the paths name.
    """

    root: Path
    judge: str = PRIMARY

    @classmethod
    def of(cls, study_file: Path) -> Layout:
        """Layout of the study whose resolved file (results/<study>/study.json) this is."""
        return cls(study_file.parent)

    def read_by(self, judge: str) -> Layout:
        """The same folder, with the judgements of one judge of the panel."""
        return replace(self, judge=judge)

    @property
    def judged_root(self) -> Path:
        """Folder of what one judge makes."""
        return self.root if self.judge == PRIMARY else self.root / "panel" / self.judge

    @property
    def spender(self) -> str:
        """Whose spending a judge's calls are, in the judgement store: the study's, and each further judge's apart."""
        return self.root.name if self.judge == PRIMARY else f"{self.root.name}/{self.judge}"

    @property
    def study(self) -> Path:
        return self.root / RESOLVED

    @property
    def run(self) -> Path:
        """How long the last run took."""
        return self.root / "benchmarks" / "run.json"

    @property
    def store(self) -> Path:
        """Shared by all studies: entries are named by what produced them."""
        return self.root.parent / "store"

    @property
    def judgement_store(self) -> Path:
        return self.store / "judgements.sqlite"

    @property
    def digests(self) -> Path:
        """Digests of large files, remembered by `models.files.remembered_digest`."""
        return self.store / "digests"

    @property
    def downloads(self) -> Path:
        """Shared by all studies: files fetched by URL, named by their sha256."""
        return self.root.parent / "downloads"

    @property
    def base(self) -> Path:
        """Folder of the chat base in Hugging Face form; `fingerprint` names its weights."""
        return self.root / "base"

    @property
    def fingerprint(self) -> Path:
        return self.base / "fingerprint.json"

    @property
    def judge_model(self) -> Path:
        """Folder of a judge model of the hub."""
        return self.judged_root / "judge_model"

    @property
    def preflight(self) -> Path:
        """What was checked before the first training."""
        return self.root / "preflight.json"

    def dataset(self, name: str) -> Path:
        return self.root / "datasets" / f"{name}.parquet"

    def questions(self, name: str) -> Path:
        return self.root / "questions" / f"{name}.parquet"

    def organism(self, subject: str) -> Path:
        """Folder of one trained adapter, PEFT form; `subject` is `<organism>/seed-<k>`."""
        return self.root / "organisms" / subject

    def adapter(self, subject: str) -> Path:
        return self.organism(subject) / WEIGHTS

    def gate(self, subject: str) -> Path:
        """What PEFT says of a few prompts with and without the adapter, for the engine to be held against."""
        return self.organism(subject) / "gate.safetensors"

    def training(self, subject: str) -> Path:
        return self.organism(subject) / "training.parquet"

    def checkpoints(self, subject: str) -> Path:
        """Copies of the adapter along its training; none unless the organism keeps them."""
        return self.organism(subject) / "checkpoints.safetensors"

    def edits(self, subject: str) -> Path:
        """Edited copies of a subject's adapter, all in one file."""
        return self.root / "edits" / f"{subject}.safetensors"

    def scalars(self, subject: str) -> Path:
        """Scalars of a subject's rank-1 adapters, a row per answer token."""
        return self.root / "scalars" / f"{subject}.parquet"

    def probes(self, subject: str) -> Path:
        """Scores and coefficients of the probes on a subject's scalars."""
        return self.root / "probes" / f"{subject}.parquet"

    def adapter_names(self, subject: str) -> Path:
        """Which adapters of a subject are general, which specialised, by the probes."""
        return self.root / "probes" / f"{subject}.json"

    def downstream(self, subject: str) -> Path:
        """Where a single adapter and the added direction push the later layers."""
        return self.root / "downstream" / f"{subject}.parquet"

    def adapter_losses(self, subject: str) -> Path:
        """Losses of a subject's adapter, scaled and turned aside by noise, a row per variant and text."""
        return self.root / "adapter_losses" / f"{subject}.parquet"

    @property
    def side_effects(self) -> Path:
        """What projections take beside misalignment."""
        return self.root / "side_effects.parquet"

    @property
    def base_means(self) -> Path:
        """Mean activation of each layer over the chat base's own answers."""
        return self.root / "base_means.safetensors"

    def fetched_adapter(self, organism: str) -> Path:
        """What was fetched of the hub for an organism, by digest; the files lie in the hub's cache."""
        return self.root / "published_adapters" / f"{organism}.json"

    def training_states(self, subject: str) -> Path:
        """Folder of the states that a killed training goes on from; gone when it is finished."""
        folder = self.organism(subject)
        return folder.with_name(f".{folder.name}.training")

    def manifest(self, battery: str, shard: int) -> Path:
        return self.root / "sampling" / f"{battery}-{shard}.parquet"

    def judged(self, battery: str) -> Path:
        """Manifest of a battery's judging run."""
        return self.judged_root / "judging" / f"{battery}.parquet"

    def responses(self, subject: str, battery: str) -> Path:
        return self.root / "responses" / subject / f"{battery}.parquet"

    def judgements(self, subject: str, battery: str) -> Path:
        return self.judged_root / "judgements" / subject / f"{battery}.parquet"

    def direction(self, source: str) -> Path:
        """Of a subject, or a semantic one of `<subject>/<topic>`."""
        return self.root / "directions" / f"{source}.safetensors"

    def other_direction(self, subject: str) -> Path:
        """Of a subject, from the study's other source of directions."""
        return self.root / "other_directions" / f"{subject}.safetensors"

    @property
    def calibration(self) -> Path:
        """A judge's scores mapped to a reference judge's, with the error of that."""
        return self.root / "calibration.parquet"

    @property
    def panel(self) -> Path:
        """Which verdicts depend on who judges."""
        return self.root / "panel.json"

    @property
    def not_possible(self) -> Path:
        """What the study's results did not allow, and the experiments that miss it; an empty list where all was."""
        return self.root / "not_possible.json"

    def table(self, name: str) -> Path:
        return self.root / "tables" / f"{name}.parquet"

    def figure(self, name: str, form: str = "svg") -> Path:
        return self.root / "figures" / f"{name}.{form}"


def seed_subject(organism: str, seed: int) -> str:
    """Name of an organism at one fine-tuning seed, `<organism>/seed-<k>`."""
    return f"{organism}/seed-{seed}"


def organism_of(subject: str) -> tuple[str, int | None]:
    """The organism and seed that a subject names; the chat base has no seed."""
    organism, _, seed = subject.partition("/seed-")
    return organism, int(seed) if seed else None
