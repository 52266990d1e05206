"""The judgement store with 100,000 rows, with two writers, and killed."""

import os
import signal
import subprocess
import sys
import time
import tracemalloc

from workflow_scripts.judges.interface import Item, Reply
from workflow_scripts.judges.store import JudgementStore

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


def test_a_hundred_thousand_rows_open_at_once_and_a_row_more_costs_no_memory(tmp_path):
    file = tmp_path / "judgements.sqlite"
    store = JudgementStore(file)
    for start in range(0, 100_000, 10_000):
        store.add("judge", replies(range(start, start + 10_000)))
    store.close()
    began = time.perf_counter()
    store = JudgementStore(file)
    asked = [reply.item for reply in replies(range(99_000, 101_000))]
    assert len(store.missing("judge", asked)) == 1000
    opened = time.perf_counter() - began
    assert opened < 2, f"{opened:.2f} s"
    tracemalloc.start()
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
