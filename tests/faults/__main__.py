"""Faults at seeded random moments: kills, full disks, damaged, missing, edited and exchanged files, each mended by a rerun.

    python -m tests.faults --count 30 --seed 0

runs the smoke study (or another one, --study) once, and then, for each fault, takes a copy of the finished run, breaks
it, runs Snakemake once more as a user would, and compares. A fault is *healed* when that run ends well with the tables
of the undisturbed run, and *named* when it stops with a sentence that names a broken file and the runs after doing what
the sentences say end well. All else fails: a *loss* (other tables, a response sampled or a judgement bought that was
there already, an unnamed error), and *unread* (nothing ran, and whoever reads the broken file next takes it as it is).
Pages, figures and texts, which no job reads, are left alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from workflow_scripts.models.files import FINGERPRINTED, checked_base
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.adapter_files import CONFIG, WEIGHTS, adapter_digest
from workflow_scripts.store.artefacts import read_json, read_table, read_tensors
from workflow_scripts.store.responses import ResponseStore
from workflow_scripts.study.layout import Layout

REPOSITORY = Path(__file__).resolve().parents[2]
LONGEST = 1800
"""Seconds after which a run counts as hung."""
KILLS = ("kill all", "kill snakemake", "kill a job", "full disk")
DAMAGES = ("truncate", "flip a bit", "remove", "edit", "swap", "swap organisms")
PAGES = (".html", ".svg", ".png", ".txt", ".md")
"""What people read."""
ROUNDS = 3
"""Reruns in which what was said has to have mended everything."""
WORK = ("training", "sampling", "judging")
"""What a disturbed run has to do: that part of the finished run is taken away first."""


@dataclass(frozen=True)
class Outcome:
    verdict: str
    """healed, named, unread or loss"""
    detail: str


@dataclass(frozen=True)
class Stored:
    """What the shared stores hold: finished parts with their times, distinct responses, judgements."""

    parts: dict[str, int]
    rows: int
    distinct: int
    judgements: int


class Copy:
    """A finished run's folder, free to be broken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "results" / yaml.safe_load((folder / "study.yaml").read_text())["study"]["name"]
        self.store = folder / "results" / "store"
        self.workflow: subprocess.Popen[str] | None = None

    def command(self) -> list[str]:
        program = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
        return [*program, "--cores", "2", "--configfile", "study.yaml"]

    def start(self, file_limit: int | None = None, options: Sequence[str] = ()) -> subprocess.Popen[str]:
        def limit() -> None:
            if file_limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        plain = {"PATH": path, "NO_COLOR": "1", "COLUMNS": "200", "TERM": "dumb"}
        self.workflow = subprocess.Popen(
            [*self.command(), *options], cwd=self.folder, env={**os.environ, **plain}, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=limit,
        )  # fmt: skip
        return self.workflow

    def end(self) -> None:
        """Ends what still runs here, such as the jobs of a killed Snakemake."""
        if self.workflow and self.workflow.poll() is None:
            os.killpg(self.workflow.pid, signal.SIGKILL)
            self.workflow.wait()
        for job in self.jobs():
            os.kill(job, signal.SIGKILL)

    def rerun(self, *options: str) -> tuple[int, str]:
        process = self.start(options=options)
        try:
            shown, _ = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return -1, "hung"
        return process.returncode, " ".join(shown.split())

    def jobs(self) -> list[int]:
        """Processes of stages that run in this folder."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                line = (process / "cmdline").read_bytes()
                if b"\0workflow_scripts." in line and (process / "cwd").readlink() == self.folder:
                    found.append(int(process.name))
            except OSError:
                continue
        return sorted(found)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Of the paper, read so that a damaged one is an error."""
        return {
            file.stem: pq.read_table(file, page_checksum_verification=True).to_pandas()
            for file in sorted((self.root / "tables").glob("*.parquet"))
        }

    def stored(self) -> Stored:
        keys: list[tuple[str, str]] = []
        parts = {}
        for part in sorted(self.store.glob("responses/*/[!.]*.parquet")):
            parts[str(part.relative_to(self.store))] = part.stat().st_mtime_ns
            keys += [(part.parent.name, key) for key in pq.read_table(part, columns=["row_key"])["row_key"].to_pylist()]
        count, file = 0, self.store / "judgements.sqlite"
        if file.exists():  # SQLite would make an empty one, which the next run rightly refuses
            with closing(sqlite3.connect(file)) as database:
                exists = database.execute("select count(*) from sqlite_master where name = 'judgements'").fetchone()[0]
                count = database.execute("select count(*) from judgements").fetchone()[0] if exists else 0
        return Stored(parts, len(keys), len(set(keys)), count)

    def stored_or_nothing(self) -> Stored | None:
        """As `stored`; None where the store itself is what was damaged."""
        try:
            return self.stored()
        except (OSError, sqlite3.DatabaseError, KeyError, ValueError):  # ArrowInvalid is a ValueError
            return None

    def made_since(self, moment: float) -> tuple[int, int]:
        """Responses that sampling runs say to have sampled since, and judgements asked."""
        sampled = sum(
            sum(pq.read_table(file)["sampled"].to_pylist())
            for file in (self.root / "sampling").glob("*.parquet")
            if file.stat().st_mtime > moment
        )
        asked = sum(
            sum(pq.read_table(file)["asked"].to_pylist())
            for file in (self.root / "judging").glob("*.parquet")
            if file.stat().st_mtime > moment
        )
        return sampled, asked

    def artefacts(self) -> list[Path]:
        """Finished files that a fault may damage."""
        kept = [*self.root.rglob("*"), *self.store.rglob("*")]
        aside = ("logs", "benchmarks", "digests")  # digests are a memory, which is taken anew where it is damaged
        return sorted(
            file for file in kept
            if file.is_file() and not file.name.startswith(".") and not set(aside) & set(file.parts)
            and file.stat().st_size and file.suffix not in PAGES and file.name != "study.json"
        )  # fmt: skip

    def take_away(self, work: str, dice: random.Random) -> None:
        """Removes a part of the finished run, so that there is work to disturb."""
        if work == "training":
            shutil.rmtree(dice.choice(sorted(self.root.glob("organisms/*/seed-*"))))
            return
        if work == "sampling":
            for folder in sorted(self.store.glob("responses/*")):
                if dice.random() < 0.5:
                    shutil.rmtree(folder)
            for name in ("sampling", "responses"):
                shutil.rmtree(self.root / name)
            return
        (self.store / "judgements.sqlite").unlink()
        for name in ("judging", "judgements"):
            shutil.rmtree(self.root / name)


def disturb(run: Copy, kind: str, dice: random.Random) -> str:
    """Starts the work that was taken away and disturbs it; says when."""
    work = dice.choice(WORK)
    run.take_away(work, dice)
    moment = dice.uniform(2, 30)
    process = run.start(file_limit=dice.randrange(2_000, 60_000) if kind == "full disk" else None)
    if kind == "full disk":
        process.communicate(timeout=LONGEST)
        return f"{kind} during {work}"
    end = time.monotonic() + moment
    while time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
    ended = process.poll() is not None
    if kind == "kill all" and not ended:
        os.killpg(process.pid, signal.SIGKILL)
    elif kind == "kill snakemake" and not ended:
        os.kill(process.pid, signal.SIGKILL)
    elif kind == "kill a job":
        while process.poll() is None and not run.jobs():
            time.sleep(0.05)
        for job in dice.sample(run.jobs(), min(1, len(run.jobs()))):
            os.kill(job, signal.SIGKILL)
        process.communicate(timeout=LONGEST)
    process.wait()
    return f"{kind} during {work} after {moment:.0f} s{' (it had ended)' if ended else ''}"


def damage(run: Copy, kind: str, dice: random.Random) -> tuple[str, list[Path]]:
    """Breaks one finished file, or two of a kind; their times change, as after any write."""
    if kind == "swap organisms":
        files = dice.sample(sorted(run.root.glob("organisms/*/seed-*")), 2)
        exchange(*files)
    elif kind == "swap":
        files = dice.sample(dice.choice([group for group in of_a_kind(run) if len(group) > 1]), 2)
        exchange(*files)
    else:
        files = [dice.choice([file for file in run.artefacts() if kind != "edit" or file.suffix in EDITS])]
        data = bytearray(files[0].read_bytes())
        if kind == "remove":
            files[0].unlink()
        elif kind == "truncate":
            files[0].write_bytes(data[: dice.randrange(len(data))])
        elif kind == "edit":
            EDITS[files[0].suffix](files[0])
        else:
            position = dice.randrange(len(data))
            data[position] ^= 1 << dice.randrange(8)
            files[0].write_bytes(data)
    return f"{kind} {' and '.join(str(file.relative_to(run.folder)) for file in files)}", files


def of_a_kind(run: Copy) -> list[list[Path]]:
    """Files that might be taken for each other: of one folder of the results, and one form."""
    groups: dict[tuple[str, str], list[Path]] = {}
    for file in run.artefacts():
        place = file.relative_to(run.store if file.is_relative_to(run.store) else run.root)
        if place.parts[0] != "base":
            form = file.name if place.parts[0] == "organisms" else file.suffix
            groups.setdefault((place.parts[0], form), []).append(file)
    return list(groups.values())


def exchange(one: Path, other: Path) -> None:
    """Two files or folders in each other's place."""
    kept = one.with_name("kept")
    one.rename(kept)
    other.rename(one)
    kept.rename(other)
    for place in (one, other):
        for file in [place, *place.rglob("*")]:
            file.touch()


def edit_table(file: Path) -> None:
    """The rows of one column in another order, in a valid file with all provenance that its reader shows."""
    table = pq.read_table(file)
    for index, name in enumerate(table.column_names):
        values = table[name].to_pylist()
        if values != values[::-1]:
            table = table.set_column(index, table.field(name), pa.array(values[::-1], table.field(name).type))
            break
    pq.write_table(table.replace_schema_metadata(table.schema.metadata), file)


def edit_tensors(file: Path) -> None:
    """Every number twice as large."""
    with safe_open(file, framework="numpy") as read:
        facts, tensors = read.metadata(), {name: read.get_tensor(name) for name in read.keys()}  # noqa: SIM118
    save_file({name: 2 * tensor for name, tensor in tensors.items()}, file, facts)


def edit_json(file: Path) -> None:
    """The first number another one."""
    text = file.read_text()
    file.write_text(re.sub(r"\d", lambda found: str((int(found[0]) + 1) % 10), text, count=1))


def edit_store(file: Path) -> None:
    """Every fifth judgement another's."""
    with closing(sqlite3.connect(file)) as database, database:
        rows = database.execute("select judge, metric, prompt_hash, raw from judgements").fetchall()
        raw = rows[0][3]
        for row in rows[::5]:
            database.execute(
                "update judgements set raw = ? where judge = ? and metric = ? and prompt_hash = ?", (raw, *row[:3])
            )


EDITS = {".parquet": edit_table, ".safetensors": edit_tensors, ".json": edit_json, ".sqlite": edit_store}


def is_named_by_its_reader(run: Copy, file: Path) -> bool:
    """Whether whoever reads a broken file next is told, as nothing has read it yet."""
    layout = Layout(run.root)
    try:
        if file.is_dir() or file.name in (WEIGHTS, CONFIG):
            folder = file if file.is_dir() else file.parent
            adapter_digest(folder / WEIGHTS, folder / "gate.safetensors")
        elif file.parent == layout.base and file.suffix in FINGERPRINTED:
            checked_base(layout)
        elif file.suffix == ".sqlite":
            return True  # a run that lacks nothing asks for nothing; tests/judges breaks every part of it
        elif file.is_relative_to(run.store):
            ResponseStore(run.store).read(file.parent.name)
        else:
            {".parquet": read_table, ".safetensors": read_tensors, ".json": read_json}[file.suffix](file)
    except UserError as error:
        return str(file) in str(error)
    return False


def same(found: Callable[[], dict[str, pd.DataFrame]], expected: dict[str, pd.DataFrame]) -> str:
    """What differs from the expected tables, or nothing."""
    try:
        tables = found()
        if tables.keys() != expected.keys():
            return f"tables {sorted(tables)}"
        for name, table in expected.items():
            pd.testing.assert_frame_equal(tables[name], table, check_exact=True)
    except AssertionError as error:
        return f"{name}: {str(error).splitlines()[0]}"
    except (OSError, ValueError) as error:
        return f"a table cannot be read: {error}"
    return ""


def reads_the_same(file: Path, whole: Path) -> bool:
    """Whether a broken file still says what the finished run's own does, as after a flipped bit of its provenance."""
    if file.suffix == ".parquet":
        return bool(pq.read_table(file).equals(pq.read_table(whole)))
    if file.suffix == ".safetensors":
        tensors, others = load_file(file), load_file(whole)
        return tensors.keys() == others.keys() and all((tensors[name] == others[name]).all() for name in tensors)
    return file.is_file() and file.read_bytes() == whole.read_bytes()


def judge(run: Copy, expected: dict[str, pd.DataFrame], broken: Sequence[Path], finished: Path) -> Outcome:
    """Runs once more and compares; where a broken file is named, does what the sentence says and runs again.

    `finished` is the folder of the undisturbed run.
    """
    before, moment = run.stored_or_nothing(), time.time()
    verdict, options, told = "healed", [], ""
    for _ in range(ROUNDS):
        code, shown = run.rerun(*options)
        if code == 0:
            break
        named = any(str(file.relative_to(place)) in shown for file in broken for place in (run.folder, run.root.parent))
        options = as_told(run, shown)
        if not (named or verdict == "named") or options is None:
            return Outcome("loss", f"exit {code}: {told_of(shown)}")
        verdict, told = "named", shown
    else:
        return Outcome("loss", f"still not mended: {told_of(told)}")
    if verdict == "healed" and broken and "Nothing to be done" in shown:
        there = [file for file in broken if file.exists() and not is_named_by_its_reader(run, file)]
        unread = [file for file in there if not reads_the_same(file, finished / file.relative_to(run.folder))]
        if unread:
            return Outcome("unread", f"{unread[0].relative_to(run.folder)} is read as it is")
    difference = same(run.tables, expected)
    if difference:
        return Outcome("loss", difference)
    detail = ""
    if before:
        after = run.stored_or_nothing()
        if after:
            detail = twice(before, after, *run.made_since(moment), broken)
    return Outcome("loss" if detail else verdict, detail)


def told_of(shown: str) -> str:
    """What of a run's output says why it failed: our sentences, Snakemake's rules, and else its end."""
    said = re.findall(r"(?:error: |Error in rule |Traceback ).{0,300}", shown)
    return " … ".join(said[-4:]) or shown[-400:]


def as_told(run: Copy, shown: str) -> list[str] | None:
    """Does what the last sentence says, moving a file away; returns the options of the rerun, None if it says nothing."""
    again = re.findall(r"`--forcerun ([^`]+)`", shown)
    away = re.findall(r"move (results/\S+) away and run again|error: (\S+?): [^;]*; .*?move it (?:away|out of)", shown)
    if again:
        return ["--forcerun", *again[-1].split()]
    for named, it in away[-1:]:
        (run.folder / (named or it)).rename(run.folder / f"moved-away-{time.time_ns()}")
        return []
    return None


def twice(before: Stored, after: Stored, sampled: int, asked: int, broken: Sequence[Path]) -> str:
    """What was sampled or bought though it was there, or nothing."""
    if after.rows != after.distinct:
        return f"{after.rows - after.distinct} responses stand in the store twice"
    rewritten = [part for part, time_ in before.parts.items() if after.parts.get(part) != time_]
    rewritten = [part for part in rewritten if not any(str(file).endswith(part) for file in broken)]
    if rewritten:
        return f"{len(rewritten)} finished parts of the store were written again"
    if sampled > after.rows - before.rows:
        return f"{sampled} responses sampled for {after.rows - before.rows} new ones"
    if asked > after.judgements - before.judgements:
        return f"{asked} judgements asked for {after.judgements - before.judgements} new ones"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=30, help="faults to inject")
    parser.add_argument("--seed", type=int, default=0, help="of kinds, moments and files")
    parser.add_argument("--first", type=int, default=0, help="number of the first fault, to repeat one")
    parser.add_argument("--study", type=Path, default=REPOSITORY / "studies" / "smoke.yaml", help="a miniature study")
    parser.add_argument(
        "--finished", type=Path, help="folder of a finished run (study.yaml in it), instead of making one"
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="em-faults-") as scratch:
        folder = given.finished.resolve() if given.finished else Path(scratch) / "reference"
        if not given.finished:
            folder.mkdir()
            shutil.copy(given.study, folder / "study.yaml")
        reference = Copy(folder)
        if not given.finished:
            code, shown = reference.rerun()
            if code:
                print(shown)
                return 1
        expected = reference.tables()
        for number in range(given.first, given.first + given.count):
            dice = random.Random(f"{given.seed}:{number}")
            kind = dice.choice((*KILLS, *DAMAGES))
            run = Copy(shutil.copytree(reference.folder, Path(scratch) / f"run-{number}", symlinks=True))
            started, files = time.monotonic(), []
            try:
                if kind in KILLS:
                    what = disturb(run, kind, dice)
                else:
                    what, files = damage(run, kind, dice)
                outcome = judge(run, expected, files, reference.folder)
            finally:
                run.end()
            counts[outcome.verdict] += 1
            line = {
                "fault": number,
                "what": what,
                "verdict": outcome.verdict,
                "seconds": round(time.monotonic() - started),
            }
            print(json.dumps(line | ({"detail": outcome.detail} if outcome.detail else {})), flush=True)
            shutil.rmtree(run.folder, ignore_errors=True)
    print(
        f"{given.count} faults: {counts['healed']} healed, {counts['named']} named, {counts['unread']} unread, "
        f"{counts['loss']} losses"
    )
    return 1 if counts["loss"] or counts["unread"] else 0


if __name__ == "__main__":
    sys.exit(main())
