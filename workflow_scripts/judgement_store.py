"""The judgement store: one row per (judge, metric, rendered prompt), in one SQLite file that jobs may share.

An answer is committed as soon as it is there; a killed run loses the calls in flight. Only answers are stored: a failed
call leaves no row, so that a later run asks again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.judges.interface import Item, Reply

SCHEMA = """
create table if not exists judgements (
    judge text not null, metric text not null, prompt_hash text not null, raw text not null,
    primary key (judge, metric, prompt_hash)
) without rowid
"""


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
            self._database.execute(SCHEMA)

    def add(self, judge: str, replies: Iterable[Reply]) -> int:
        """Adds answers in one transaction and returns how many; a second answer to the same prompt is dropped."""
        rows = [
            (judge, reply.item.metric, reply.item.prompt_hash, json.dumps(reply.raw))
            for reply in replies
            if reply.state == "answered"
        ]
        with self._said():
            self._database.execute("begin immediate")
            self._database.executemany("insert or ignore into judgements values (?, ?, ?, ?)", rows)
            self._database.execute("commit")
        return len(rows)

    def get(self, judge: str, items: Iterable[Item]) -> dict[Item, dict[str, Any]]:
        """The raw answers that are there, by item."""
        found = {}
        with self._said():
            for item in items:
                row = self._database.execute(
                    "select raw from judgements where judge = ? and metric = ? and prompt_hash = ?",
                    (judge, item.metric, item.prompt_hash),
                ).fetchone()
                if row:
                    found[item] = json.loads(row[0])
        return found

    def missing(self, judge: str, items: Iterable[Item]) -> list[Item]:
        """Those items that have no answer yet, in their order."""
        query = "select 1 from judgements where judge = ? and metric = ? and prompt_hash = ?"
        with self._said():
            return [
                item
                for item in items
                if self._database.execute(query, (judge, item.metric, item.prompt_hash)).fetchone() is None
            ]

    def count(self) -> int:
        """Rows in the store."""
        return int(self._database.execute("select count(*) from judgements").fetchone()[0])

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
