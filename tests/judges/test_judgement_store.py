"""The judgement store with 100,000 rows, with two writers, and killed."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tracemalloc

import pytest

from workflow_scripts.judges.interface import Item, Reply
from workflow_scripts.judges.store import JudgementStore
from workflow_scripts.runtime.errors import UserError

RAW = {"top": [[str(n), -n / 3] for n in range(20)]}

WRITER = """
import sys
from pathlib import Path
from workflow_scripts.judges.store import JudgementStore
from workflow_scripts.judges.interface import Item, Reply

store, name = JudgementStore(Path(sys.argv[1])), sys.argv[2]
for k in range(int(sys.argv[3])):
    store.add("judge", [Reply(Item("aligned", "q", "r", f"{name} {k}"), {"by": name, "k": k}, "answered")])
    store.add("judge", [Reply(Item("aligned", "q", "r", f"common {k}"), {"k": k}, "answered")])
    print(k, flush=True)
"""


def replies(numbers):
    return [Reply(Item("aligned", "q", f"r{k}", f"prompt {k}"), RAW, "answered") for k in numbers]


def writer(file, name, count):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file), name, str(count)], stdout=subprocess.PIPE, text=True
    )


def test_of_a_hundred_thousand_rows_neither_a_look_through_nor_a_row_more_costs_memory(tmp_path):
    file = tmp_path / "judgements.sqlite"
    store = JudgementStore(file)
    for start in range(0, 100_000, 10_000):
        store.add("judge", replies(range(start, start + 10_000)))
    store.close()
    store = JudgementStore(file)
    asked = [reply.item for reply in replies(range(99_000, 101_000))]
    tracemalloc.start()
    assert len(store.missing("judge", asked)) == 1000
    for k in range(100_000, 100_200):
        store.add("judge", replies([k]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000, f"{peak} bytes"
    assert store.count() == 100_200


def test_two_processes_write_at_once_and_nothing_is_lost_or_doubled(tmp_path):
    file = tmp_path / "judgements.sqlite"
    both = [writer(file, name, 100) for name in ("a", "b")]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    store = JudgementStore(file)
    assert store.count() == 300
    items = [Item("aligned", "q", "r", f"{name} {k}") for name in ("a", "b", "common") for k in range(100)]
    found = store.get("judge", items)
    assert [found[item]["k"] for item in items] == [*range(100)] * 3


def test_a_killed_writer_leaves_every_answer_that_it_committed(tmp_path):
    file = tmp_path / "judgements.sqlite"
    process = writer(file, "a", 100_000)
    for line in process.stdout:
        if int(line) >= 50:
            break
    os.kill(process.pid, signal.SIGKILL)
    last = [int(line) for line in process.stdout.read().split()][-1:] or [50]
    process.wait()
    store = JudgementStore(file)
    done = [Item("aligned", "q", "r", f"{name} {k}") for name in ("a", "common") for k in range(last[0] + 1)]
    assert store.missing("judge", done) == []
    assert store.count() - len(done) in (0, 1, 2)
    store.add("judge", replies([1]))


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> bytes:
    """A store with 200 answers."""
    file = tmp_path_factory.mktemp("store") / "judgements.sqlite"
    store = JudgementStore(file)
    store.add("judge", [answer(k) for k in range(200)])
    store.close()
    return file.read_bytes()


def answer(k: int) -> Reply:
    return Reply(Item("aligned", "q", f"r{k}", f"prompt {k}"), {"top": [["100", -k / 7], ["0", -k - 1]]}, "answered")


ITEMS = [answer(k).item for k in range(200)]
ANSWERS = {reply.item: reply.raw for reply in map(answer, range(200))}


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_is_never_believed_and_costs_a_few_judgements_at_most(tmp_path, stored, seed):
    file, dice = tmp_path / "judgements.sqlite", random.Random(seed)
    data = bytearray(stored)
    data[dice.randrange(100, len(data))] ^= 1 << dice.randrange(8)  # behind the file's own header
    file.write_bytes(data)
    read, said = {}, None
    try:
        read = JudgementStore(file).get("judge", ITEMS)
    except UserError as error:
        said = str(error)
    assert said is None or "run again with `--forcerun judging`" in said
    assert all(ANSWERS[item] == raw for item, raw in read.items())
    store = JudgementStore(file)
    lacking = store.missing("judge", ITEMS)
    assert len(lacking) < 60
    assert store.get("judge", ITEMS) == {item: raw for item, raw in ANSWERS.items() if item not in lacking}
    store.add("judge", [Reply(item, ANSWERS[item], "answered") for item in lacking])
    assert store.get("judge", ITEMS) == ANSWERS
    assert JudgementStore(file).missing("judge", ITEMS) == []


def test_salvage_says_what_it_kept_and_leaves_the_damaged_file_beside(tmp_path, stored, caplog):
    file = tmp_path / "judgements.sqlite"
    file.write_bytes(stored.replace(b'["100", -1.0]', b'["102", -1.0]'))
    damaged = file.read_bytes()
    assert JudgementStore(file).missing("judge", ITEMS) == [ITEMS[7]]
    assert "199 of its judgements are sound and kept, 1 are damaged" in caplog.text
    (kept,) = tmp_path.glob("judgements.damaged-*.sqlite")
    assert kept.read_bytes() == damaged


def test_half_a_file_gives_what_is_in_it(tmp_path, stored):
    file = tmp_path / "judgements.sqlite"
    file.write_bytes(stored[: len(stored) * 3 // 4])
    store = JudgementStore(file)
    lacking = store.missing("judge", ITEMS)
    assert 0 < len(lacking) < 200
    assert store.get("judge", ITEMS) == {item: raw for item, raw in ANSWERS.items() if item not in lacking}


def test_an_empty_file_is_named_and_not_taken_for_a_new_store(tmp_path):
    file = tmp_path / "judgements.sqlite"
    file.touch()
    with pytest.raises(UserError, match=r"judgements\.sqlite: is empty, what it held is lost"):
        JudgementStore(file)


def test_a_store_of_an_earlier_version_stays_valid_and_takes_digests_from_now_on(tmp_path):
    file = tmp_path / "judgements.sqlite"
    columns = "judge text not null, metric text not null, prompt_hash text not null, raw text not null"
    with sqlite3.connect(file) as database:
        database.execute(f"create table judgements ({columns}, primary key (judge, metric, prompt_hash)) without rowid")
        for item in ITEMS[:2]:
            row = ("judge", item.metric, item.prompt_hash, json.dumps(ANSWERS[item]))
            database.execute("insert into judgements values (?, ?, ?, ?)", row)
    database.close()
    both = [JudgementStore(file), JudgementStore(file)]
    assert both[0].missing("judge", ITEMS[:3]) == ITEMS[2:3]
    both[0].add("judge", [answer(2)])
    assert both[1].get("judge", ITEMS[:3]) == {item: ANSWERS[item] for item in ITEMS[:3]}
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_run_adds_after_another_has_salvaged_the_store_is_not_lost(tmp_path, stored):
    file = tmp_path / "judgements.sqlite"
    file.write_bytes(stored)
    long_run = JudgementStore(file)
    long_run.add("judge", [answer(200)])
    damaged = bytearray(file.read_bytes())
    place = damaged.index(b'["100"')
    damaged[place + 2] ^= 1
    file.write_bytes(damaged)
    other = JudgementStore(file)
    assert len(other.missing("judge", [*ITEMS, answer(201).item])) == 2, "salvaged: one answer was damaged"
    long_run.add("judge", [answer(k) for k in (201, 202)])
    other.add("judge", [answer(203)])
    later = [answer(k).item for k in range(200, 204)]
    assert JudgementStore(file).missing("judge", later) == []
    assert set(long_run.get("judge", later)) == set(later)
