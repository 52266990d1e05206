"""Faults at seeded random moments: kills, full disks, damaged and missing files, each mended by one plain rerun.

    python -m tests.faults --count 30 --seed 0

runs the smoke study (or another one, --study) once, and then, for each fault, takes a copy of the finished run, breaks it, runs Snakemake once
more as a user would, and compares. A fault is *healed* when that run ends well with the tables of the undisturbed run,
*named* when it stops with a sentence that names the damaged file and the run after doing what the sentence says ends
well, and *unread* when the damaged file was needed by nothing, so that nothing ran. All else is a *loss*: other tables, a response
sampled or a judgement bought that was there already, an unnamed error.
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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
LONGEST = 1800
"""Seconds after which a run counts as hung."""
KILLS = ("kill all", "kill snakemake", "kill a job", "full disk")
DAMAGES = ("truncate", "flip a bit", "remove")
WORK = ("training", "sampling", "judging")
"""What a disturbed run has to do: that part of the finished run is taken away first."""


@dataclass(frozen=True)
class Outcome:
    verdict: str
    """healed, named, unread (damaged, but nothing needed it) or loss"""
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

    def start(self, file_limit: int | None = None) -> subprocess.Popen[str]:
        def limit() -> None:
            if file_limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        plain = {"PATH": path, "NO_COLOR": "1", "COLUMNS": "200", "TERM": "dumb"}
        self.workflow = subprocess.Popen(
            self.command(), cwd=self.folder, env={**os.environ, **plain}, stdout=subprocess.PIPE, text=True,
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

    def rerun(self) -> tuple[int, str]:
        process = self.start()
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
        with sqlite3.connect(self.store / "judgements.sqlite") as database:
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
        aside = ("logs", "benchmarks")
        return sorted(
            file for file in kept
            if file.is_file() and not file.name.startswith(".") and not set(aside) & set(file.parts)
            and file.stat().st_size
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


def damage(run: Copy, kind: str, dice: random.Random) -> tuple[str, Path]:
    """Damages one finished file; its time changes, as after any write."""
    file = dice.choice(run.artefacts())
    data = bytearray(file.read_bytes())
    if kind == "remove":
        file.unlink()
    elif kind == "truncate":
        file.write_bytes(data[: dice.randrange(len(data))])
    else:
        position = dice.randrange(len(data))
        data[position] ^= 1 << dice.randrange(8)
        file.write_bytes(data)
    return f"{kind} {file.relative_to(run.folder)}", file


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


def judge(run: Copy, expected: dict[str, pd.DataFrame], damaged: Path | None) -> Outcome:
    """Runs once more and compares; where a damaged file is named, deletes it and runs again."""
    before, moment = run.stored_or_nothing(), time.time()
    code, shown = run.rerun()
    verdict, detail = "healed", ""
    if code != 0:
        told = damaged is not None and any(
            str(place) in shown for place in (damaged.relative_to(run.folder), damaged.relative_to(run.root.parent))
        )
        if not told or damaged is None:
            return Outcome("loss", f"exit {code}: … {shown[-400:]}")
        deleted = delete_as_told(run, shown, damaged)
        code, again = run.rerun()
        if code != 0:
            return Outcome("loss", f"after deleting {deleted.name}, exit {code}: … {again[-400:]}")
        verdict = "named"
    elif damaged is not None and "Nothing to be done" in shown:
        verdict = "unread"
    difference = same(run.tables, expected)
    if difference:
        return Outcome("loss", difference)
    if before:
        after = run.stored_or_nothing()
        if after:
            detail = twice(before, after, *run.made_since(moment), damaged)
    return Outcome("loss" if detail else verdict, detail)


def delete_as_told(run: Copy, shown: str, damaged: Path) -> Path:
    """Deletes what the sentence says (`delete results/… and run again`), or the damaged file where it says `it`."""
    told = re.search(r"delete (results/\S+) and run again", shown)
    path = run.folder / told[1] if told else damaged
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return path


def twice(before: Stored, after: Stored, sampled: int, asked: int, damaged: Path | None) -> str:
    """What was sampled or bought though it was there, or nothing."""
    if after.rows != after.distinct:
        return f"{after.rows - after.distinct} responses stand in the store twice"
    rewritten = [part for part, time_ in before.parts.items() if after.parts.get(part) != time_]
    rewritten = [part for part in rewritten if damaged is None or not str(damaged).endswith(part)]
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
            started, file = time.monotonic(), None
            try:
                if kind in KILLS:
                    what = disturb(run, kind, dice)
                else:
                    what, file = damage(run, kind, dice)
                outcome = judge(run, expected, file)
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
    return 1 if counts["loss"] else 0


if __name__ == "__main__":
    sys.exit(main())
