"""The judgement store: one row per (judge, metric, rendered prompt), in one SQLite file that jobs may share.

An answer is committed as soon as it is there; a killed run loses the calls in flight. Only answers are stored: a failed
call leaves no row, so that a later run asks again. Judgements that a batch was ordered for are listed until it comes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workflow_scripts.judges.interface import Item, Reply
from workflow_scripts.runtime.errors import UserError

SCHEMA = """
create table if not exists judgements (
    judge text not null, metric text not null, prompt_hash text not null, raw text not null,
    primary key (judge, metric, prompt_hash)
) without rowid;
create table if not exists ordered (
    judge text not null, metric text not null, prompt_hash text not null, file text not null,
    primary key (judge, metric, prompt_hash)
) without rowid;
"""
KEY = "judge = ? and metric = ? and prompt_hash = ?"


class JudgementStore:
    """The store in one file.

    Raises:
        UserError: if the file is no such store, or stays locked by others for a minute.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file
        with self._said():
            self._database = sqlite3.connect(file, timeout=60, isolation_level=None)
            self._database.executescript(SCHEMA)

    def add(self, judge: str, replies: Iterable[Reply]) -> int:
        """Adds answers in one transaction and returns how many; a second answer to the same prompt is dropped.

        What is answered or failed is no longer ordered.
        """
        arrived = [((judge, reply.item.metric, reply.item.prompt_hash), reply) for reply in replies]
        rows = [(*key, json.dumps(reply.raw)) for key, reply in arrived if reply.state == "answered"]
        with self._transaction():
            self._database.executemany("insert or ignore into judgements values (?, ?, ?, ?)", rows)
            self._database.executemany(f"delete from ordered where {KEY}", [key for key, _ in arrived])
        return len(rows)

    def order(self, judge: str, file: str, items: Iterable[Item]) -> None:
        """Notes that judgements are about to be ordered as one batch, by the endpoint's name of its input file."""
        rows = [(judge, item.metric, item.prompt_hash, file) for item in items]
        with self._transaction():
            self._database.executemany("insert or replace into ordered values (?, ?, ?, ?)", rows)

    def ordered(self, judge: str, items: Iterable[Item]) -> dict[Item, str]:
        """Those items that are ordered and have not come, with the input file of their batch."""
        return {item: row[0] for item, row in self._rows(f"select file from ordered where {KEY}", judge, items) if row}

    def get(self, judge: str, items: Iterable[Item]) -> dict[Item, dict[str, Any]]:
        """The raw answers that are there, by item."""
        with self._said():
            rows = self._rows(f"select raw from judgements where {KEY}", judge, items)
            return {item: json.loads(row[0]) for item, row in rows if row}

    def missing(self, judge: str, items: Iterable[Item]) -> list[Item]:
        """Those items that have no answer yet, in their order."""
        return [item for item, row in self._rows(f"select 1 from judgements where {KEY}", judge, items) if not row]

    def forget(self, judge: str, items: Iterable[Item]) -> None:
        """Takes answers out, so that they are asked for again."""
        with self._transaction():
            keys = [(judge, item.metric, item.prompt_hash) for item in items]
            self._database.executemany(f"delete from judgements where {KEY}", keys)

    def count(self) -> int:
        """Rows in the store."""
        return int(self._database.execute("select count(*) from judgements").fetchone()[0])

    def _rows(self, query: str, judge: str, items: Iterable[Item]) -> Iterator[tuple[Item, tuple[Any, ...] | None]]:
        """Each item with the row that a query by key finds, if there is one."""
        with self._said():
            for item in items:
                yield item, self._database.execute(query, (judge, item.metric, item.prompt_hash)).fetchone()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commits at the end, or rolls back."""
        with self._said(), self._database:
            self._database.execute("begin immediate")
            yield

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Turns what SQLite says of the file into a sentence."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise UserError(
                f"{self._file}: cannot be read or written ({error}); see to the disk and run again, answers are kept."
            ) from error
        except (sqlite3.DatabaseError, ValueError) as error:
            raise UserError(
                f"{self._file}: is damaged or not a judgement store ({error}); move it away and run again."
            ) from error

    def close(self) -> None:
        self._database.close()
