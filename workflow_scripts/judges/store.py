"""The judgement store: one row per (judge, metric, rendered prompt), in one SQLite file that jobs may share.

An answer is committed as soon as it is there; a killed run loses the calls in flight. Only answers are stored: a failed
call leaves no row, so that a later run asks again. Judgements that a batch was ordered for are listed until it comes.

Answers were paid for, and SQLite does not see a flipped bit. So each row carries a digest of itself (rows of earlier
versions have none and are taken as they are), and before a run asks for what is missing it looks whether damage is why:
then the sound rows are carried into a new file, the damaged one is kept beside it, and only what is damaged is asked
again.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflow_scripts.judges.interface import Item, Reply, Usage
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.leftovers import owned
from workflow_scripts.runtime.locks import exclusive, is_held, shared
from workflow_scripts.store.artefacts import PARTIAL, digest, file_digest, replacing

log = logging.getLogger(__name__)

SCHEMA = """
create table if not exists judgements (
    judge text not null, metric text not null, prompt_hash text not null, raw text not null, digest text,
    primary key (judge, metric, prompt_hash)
) without rowid;
create table if not exists ordered (
    judge text not null, metric text not null, prompt_hash text not null, file text not null,
    primary key (judge, metric, prompt_hash)
) without rowid;
create table if not exists asking (
    judge text not null, metric text not null, prompt_hash text not null, run text not null,
    primary key (judge, metric, prompt_hash)
) without rowid;
create table if not exists spending (
    study text not null, judge text not null, calls integer not null, input_tokens integer not null,
    output_tokens integer not null, usd real not null,
    primary key (study, judge)
) without rowid;
"""
SPEND = """
insert into spending values (?, ?, ?, ?, ?, ?) on conflict (study, judge) do update set
    calls = calls + excluded.calls, input_tokens = input_tokens + excluded.input_tokens,
    output_tokens = output_tokens + excluded.output_tokens, usd = usd + excluded.usd
"""
KEY = "judge = ? and metric = ? and prompt_hash = ?"
COLUMNS = "judge, metric, prompt_hash, raw, digest"
SALVAGE = "run again with `--forcerun judging`, which keeps all sound judgements and asks for the others"

DIGITS = 3
PIECES = 16**DIGITS
"""So many parts of a damaged store are read apart, by the beginning of the prompts' hashes."""
Key = tuple[str, str, str]
Row = tuple[str, str, str, str, str | None]
"""Of `COLUMNS`."""


def is_sound(row: Row) -> bool:
    """Whether a row is what was written; one without a digest is if it reads as JSON."""
    try:
        if row[4] is not None:
            return row[4] == digest(*row[:4])
        return isinstance(json.loads(row[3]), dict)
    except (TypeError, ValueError, AttributeError):  # a flipped bit may make a number or bytes of a text
        return False


def answers(row: Row, judge: str, item: Item) -> bool:
    """Whether a sound row is what was asked for: in a damaged file a query by key finds another's row, too."""
    return row[:3] == (judge, item.metric, item.prompt_hash) and is_sound(row)


class JudgementStore:
    """The store in one file.

    Raises:
        UserError: if the file is no such store, is empty, or stays locked by others for a minute.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file, self._lock = file, file.with_name(f".{file.stem}.lock")
        self._open()

    def _open(self) -> None:
        try:
            if not self._file.exists():
                _write_store(self._file)
            elif not self._file.stat().st_size:
                raise UserError(
                    f"{self._file}: is empty, what it held is lost; put a copy back in its place, or move it away and "
                    "run again, which asks the judge for everything once more."
                )
            self._connect()
            _bring_up_to_date(self._database)
        except sqlite3.OperationalError as error:
            raise self._unusable(error) from error
        except sqlite3.DatabaseError as error:
            log.warning("%s: %s", self._file, error)
            self._salvage()

    def _connect(self) -> None:
        self._opened, self._looked = self._file.stat(), False
        self._database = _connect(self._file)

    def add(self, judge: str, replies: Iterable[Reply], study: str = "", used: Usage | None = None) -> int:
        """Adds answers in one transaction and returns how many; a second answer to the same prompt is dropped.

        What is answered or failed is no longer ordered.

        Args:
            study: whose spending it is.
            used: what the endpoint bills since the last time, of these answers and of tries that failed.
        """
        arrived = [((judge, reply.item.metric, reply.item.prompt_hash), reply) for reply in replies]
        rows = [(*key, json.dumps(reply.raw)) for key, reply in arrived if reply.state == "answered"]
        with self._transaction():
            self._database.executemany(
                f"insert or ignore into judgements ({COLUMNS}) values (?, ?, ?, ?, ?)",
                [(*row, digest(*row)) for row in rows],
            )
            self._database.executemany(f"delete from ordered where {KEY}", [key for key, _ in arrived])
            if used and used.calls:
                self._database.execute(
                    SPEND, (study, judge, used.calls, used.input_tokens, used.output_tokens, used.usd)
                )
        return len(rows)

    def spent(self, study: str) -> Usage:
        """All that a study has spent on its judges."""
        with self._said():
            rows = self._database.execute(
                "select calls, input_tokens, output_tokens, usd from spending where study = ?", (study,)
            )
            return sum((Usage(*row) for row in rows), Usage())

    def claim(self, judge: str, items: Iterable[Item], run: str) -> dict[Item, str]:
        """Notes that a run asks for these; those that a living run asks for already stay its own, and are returned.

        Whether a run lives is told by the lock of its file in `claims`.
        """
        of_others = {}
        lives: dict[str, bool] = {run: False}
        with self._transaction():
            for item, row in self._found("run from asking", judge, items):
                other = row[0] if row else run
                if other not in lives:
                    lives[other] = is_held(self.claims / other)
                if lives[other]:
                    of_others[item] = other
                else:
                    key = (judge, item.metric, item.prompt_hash, run)
                    self._database.execute("insert or replace into asking values (?, ?, ?, ?)", key)
        return of_others

    def release(self, run: str) -> None:
        """Takes back what a run has claimed."""
        with self._transaction():
            self._database.execute("delete from asking where run = ?", (run,))

    def claimed(self, run: str) -> bool:
        """Whether a run still asks for anything."""
        return bool(self._database.execute("select 1 from asking where run = ? limit 1", (run,)).fetchone())

    @property
    def claims(self) -> Path:
        """Folder with a file for each run that asks, locked while the run lives."""
        return self._file.with_name(f"{self._file.stem}.asking")

    def order(self, judge: str, file: str, items: Iterable[Item]) -> None:
        """Notes that judgements are about to be ordered as one batch, by the endpoint's name of its input file."""
        rows = [(judge, item.metric, item.prompt_hash, file) for item in items]
        with self._transaction():
            self._database.executemany("insert or replace into ordered values (?, ?, ?, ?)", rows)

    def ordered(self, judge: str, items: Iterable[Item]) -> dict[Item, str]:
        """Those items that are ordered and have not come, with the input file of their batch."""
        return {item: row[0] for item, row in self._rows("file from ordered", judge, items) if row}

    def get(self, judge: str, items: Iterable[Item]) -> dict[Item, dict[str, Any]]:
        """The raw answers that are there, by item.

        Raises:
            UserError: if one is damaged.
        """
        found = {}
        with self._said():
            for item, row in self._rows(f"{COLUMNS} from judgements", judge, items):
                if row and not answers(row, judge, item):
                    raise UserError(f"{self._file}: a judgement of {item.metric} in it is damaged; {SALVAGE}.")
                if row:
                    found[item] = json.loads(row[3])
        return found

    def missing(
        self, judge: str, items: Iterable[Item], unsound: Callable[[Any], str | None] | None = None
    ) -> list[Item]:
        """Those items that have no sound answer yet, in their order.

        If there are any, the store is looked through for damage once, and salvaged where there is some.

        Args:
            judge: its name.
            items: wanted ones.
            unsound: says why a raw answer is none that a judge can give; such answers are taken out of the store.
        """
        wanted = list(items)
        try:
            found = self._without_answer(judge, wanted, unsound)
            if not found or self._looked or self._is_sound():
                return found
        except sqlite3.OperationalError as error:
            raise self._unusable(error) from error
        except sqlite3.DatabaseError as error:
            log.warning("%s: %s", self._file, error)
        self._salvage({(judge, item.metric) for item in wanted})
        return self._without_answer(judge, wanted, unsound)

    def count(self) -> int:
        """Rows in the store."""
        return int(self._database.execute("select count(*) from judgements").fetchone()[0])

    def _without_answer(
        self, judge: str, items: Iterable[Item], unsound: Callable[[Any], str | None] | None
    ) -> list[Item]:
        lacking, poisoned = [], []
        for item, row in self._found(f"{COLUMNS} from judgements", judge, items):
            if not row or not answers(row, judge, item):
                lacking.append(item)
            elif unsound and unsound(json.loads(row[3])):
                lacking.append(item)
                poisoned.append((judge, item.metric, item.prompt_hash))
        if poisoned:
            log.warning(
                "%d stored answers of %s are none that a judge can give, and asked for again", len(poisoned), judge
            )
            with self._transaction():
                self._database.executemany(f"delete from judgements where {KEY}", poisoned)
        return lacking

    def _is_sound(self) -> bool:
        self._looked = True
        (said,) = self._database.execute("pragma quick_check(1)").fetchone()
        return said == "ok" and all(map(is_sound, self._database.execute(f"select {COLUMNS} from judgements")))

    def _salvage(self, asked: Iterable[tuple[str, str]] = ()) -> None:
        """Carries the sound rows into a new file in this one's place, and keeps the damaged one beside it."""
        with exclusive(self._lock):
            self._database.close()
            found = _read_all(self._file, asked)
            if not found.sound and not found.is_whole:
                raise UserError(
                    f"{self._file}: is damaged or not a judgement store, nothing in it can be read; put a copy back in "
                    "its place, or move it away and run again, which asks the judge for everything once more."
                )
            if found.damaged or not found.is_whole:  # else another job has just done it
                aside = self._file.with_name(f"{self._file.stem}.damaged-{file_digest(self._file)[:8]}.sqlite")
                shutil.copyfile(self._file, aside)
                with replacing(self._file) as temporary:
                    _fill(temporary, found.sound.values(), found.ordered.values(), found.spending)
                lost = "" if found.is_whole else ", others are lost"
                log.warning(
                    "%s: was damaged; %d of its judgements are sound and kept, %d are damaged%s and asked again where "
                    "they are wanted; the damaged file is kept as %s",
                    self._file, len(found.sound), len(found.damaged), lost, aside,
                )  # fmt: skip
        self._connect()

    def _rows(self, query: str, judge: str, items: Iterable[Item]) -> Iterator[tuple[Item, Any]]:
        with self._said():
            yield from self._found(query, judge, items)

    def _found(self, query: str, judge: str, items: Iterable[Item]) -> Iterator[tuple[Item, Any]]:
        """Each item with the row that a query by key finds, if there is one."""
        for item in items:
            key = (judge, item.metric, item.prompt_hash)
            yield item, self._database.execute(f"select {query} where {KEY}", key).fetchone()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commits at the end, or rolls back; in the file that lies there now, which another run may have salvaged."""
        with self._said(), shared(self._lock):
            if self._file.exists() and not os.path.samestat(self._file.stat(), self._opened):
                self._database.close()
                self._connect()
            with self._database:
                self._database.execute("begin immediate")
                yield

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Turns what SQLite says of the file into a sentence."""
        try:
            yield
        except (sqlite3.DatabaseError, ValueError) as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> UserError:
        if isinstance(error, sqlite3.OperationalError):
            return UserError(
                f"{self._file}: cannot be read or written ({error}); see to the disk and run again, answers are kept."
            )
        return UserError(f"{self._file}: is damaged or not a judgement store ({error}); {SALVAGE}.")

    def close(self) -> None:
        self._database.close()


def _connect(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file, timeout=60, isolation_level=None)
    database.text_factory = lambda data: data.decode(errors="surrogateescape")  # flipped bits are told by the digest
    return database


def _bring_up_to_date(database: sqlite3.Connection) -> None:
    """Makes what a new or older store lacks."""
    if _lacks_digests(database):
        with database:
            database.execute("begin immediate")
            if _lacks_digests(database):  # another job may just have added them
                database.execute("alter table judgements add column digest text")
    database.executescript(SCHEMA)


def _lacks_digests(database: sqlite3.Connection) -> bool:
    columns = [row[1] for row in database.execute("pragma table_info(judgements)")]
    return bool(columns) and "digest" not in columns


def _write_store(file: Path) -> None:
    """Makes an empty store, whole from its first moment on; one that another job makes meanwhile is left alone."""
    temporary = file.with_name(f".{file.name}.{owned()}{PARTIAL}")
    with exclusive(file.with_name(f".{file.stem}.lock")):
        try:
            if not file.exists():
                _fill(temporary, (), ())
                temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)


def _fill(
    file: Path, rows: Iterable[Row], ordered: Iterable[tuple[str, ...]], spending: Iterable[tuple[Any, ...]] = ()
) -> None:
    with closing(_connect(file)) as database:
        _bring_up_to_date(database)
        with database:
            database.execute("begin immediate")
            database.executemany(f"insert into judgements ({COLUMNS}) values (?, ?, ?, ?, ?)", rows)
            database.executemany("insert into ordered values (?, ?, ?, ?)", ordered)
            database.executemany("insert into spending values (?, ?, ?, ?, ?, ?)", spending)


@dataclass
class Content:
    """What can be read of a store."""

    sound: dict[Key, Row] = field(default_factory=dict)
    ordered: dict[Key, tuple[str, ...]] = field(default_factory=dict)
    spending: list[tuple[Any, ...]] = field(default_factory=list)
    damaged: set[str] = field(default_factory=set)
    is_whole: bool = True
    """No page of the file is damaged."""

    def read(self, database: sqlite3.Connection, rest: str, *values: str) -> None:
        """Takes in the rows of a query; those before a damaged page where there is one."""
        try:
            digests = "null" if _lacks_digests(database) else "digest"
            rows = database.execute(f"select judge, metric, prompt_hash, raw, {digests} from judgements {rest}", values)
            for row in rows:
                if is_sound(row):
                    self.sound[row[:3]] = row
                else:
                    self.damaged.add(repr(row[:3]))
            self.ordered |= {row[:3]: row for row in database.execute(f"select * from ordered {rest}", values)}
        except sqlite3.DatabaseError:
            self.is_whole = False


def _read_all(file: Path, asked: Iterable[tuple[str, str]]) -> Content:
    """What a store holds, as far as it can be read.

    A damaged page stops SQLite, so that rows are read from both ends, and where that is not all, piece by piece.

    Args:
        file: the store.
        asked: judges and metrics that have rows in it.
    """
    found = Content()
    with closing(_connect(file)) as database:
        database.execute("pragma writable_schema = on")  # else nothing is read of a truncated file
        for end in ("asc", "desc"):
            found.read(database, f"order by judge {end}, metric {end}, prompt_hash {end}")
        with suppress(sqlite3.DatabaseError):
            found.spending = list(database.execute("select * from spending"))
        with suppress(sqlite3.DatabaseError):
            found.is_whole &= database.execute("pragma quick_check(1)").fetchone() == ("ok",)
        if not found.is_whole:
            known = {key[:2] for key in found.sound}
            for judge, metric in sorted(known.union(asked)):
                for piece in range(PIECES):
                    first, last = f"{piece:0{DIGITS}x}", f"{piece:0{DIGITS}x}~"  # after any hexadecimal digits
                    part = "where judge = ? and metric = ? and prompt_hash between ? and ?"
                    found.read(database, part, judge, metric, first, last)
    return found
