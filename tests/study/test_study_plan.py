"""The plan of a study: its counts by hand, its model of time and money, and the studies' headers held against it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from helpers.workflow import REPOSITORY, environment
from workflow_scripts.study import costs, plan
from workflow_scripts.study.hours import Machine, survival
from workflow_scripts.study.judge import Prices, announced_end
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.plan import plan_of, written
from workflow_scripts.study.reading import load, parse, resolved, update
from workflow_scripts.study.shapes import known
from workflow_scripts.study.workload import Rows, workload

STUDIES = sorted((REPOSITORY / "studies").glob("*.yaml"))
PAPER = REPOSITORY / "studies" / "qwen2.5-14b-gpt-4o.yaml"
NOWHERE = Layout(Path("no-such-folder") / "study")


def changed(file: Path, changes: dict):
    raw = resolved(load(file))
    update(raw, changes)
    return parse(raw, file.name)


def test_the_papers_study_is_counted_as_by_hand():
    """20 subjects × 8 questions × 50, 14 × 400 template forms; of the organism whose scalars are read both forms × 200 and
    16 medical questions × 170; the rest in batteries of 400."""
    asked = workload(load(PAPER), NOWHERE)
    responses = {
        battery: sum(c.responses for c in asked.sampled if c.battery == battery)
        for battery in ("baseline", "steering", "semantic", "ablation", "surgery")
    }
    assert responses == {
        "baseline": 20 * 400 + 14 * 400 + (3200 - 400) + 2720,
        "steering": (48 * 7 + 7) * 400,
        "semantic": (20 - 2) * 400,  # steering has sampled the general direction at scales 4 and 6
        "ablation": 140 * 400,
        "surgery": 3 * 2 * 400 + 3 * 80 + 8 * 4 * 80,
    }
    assert asked.patched == 10 * 2 * 50 * 4  # clean, and patched in three ways
    assert len(asked.sampled) == 564
    assert dict(asked.calls) == {
        "baseline": 19_120 * 6,
        "steering": 343 * 400 * 3,
        "semantic": 20 * 400 * 5 - 2 * 400 * 2,  # of those two, alignment and coherence are judged already
        "ablation": 140 * 400 * 2,
        "surgery": 5200 * 3,
        "patching": 4000 * 2,
    }
    assert not asked.notes


def test_tokens_and_money_of_a_call_follow_from_who_answers():
    asked = workload(load(PAPER), NOWHERE)
    assert asked.prompt_tokens["ablation"] == 112_000 * (240 + 18 + 7) + 2 * 400 * (133 * 59 + 7 * 300)
    prices = Prices(input_per_million=2.5, output_per_million=10)
    assert prices.usd(1_000_000, 1000, in_batches=False) == pytest.approx(2.51)
    assert prices.usd(1_000_000, 1000, in_batches=True) == pytest.approx(1.255)


def test_a_judge_of_written_numbers_is_called_for_each_answer_at_the_listed_price():
    now, papers = (
        workload(load(REPOSITORY / "studies" / f"{name}.yaml"), NOWHERE) for name in ("qwen2.5-14b", PAPER.stem)
    )
    assert now.calls.total() == 3 * papers.calls.total()
    found = plan_of(load(REPOSITORY / "studies" / "qwen2.5-14b.yaml"), "h100", 1)
    tokens, calls = sum(found.asked.prompt_tokens.values()), found.asked.calls.total()
    assert found.usd == pytest.approx((tokens * 0.10 + calls * 16 * 0.50) / 1e6)
    own = changed(REPOSITORY / "studies" / "qwen2.5-14b.yaml", {"judge": {"prices": {"input_per_million": 1}}})
    assert plan_of(own, "h100", 1).usd == pytest.approx(tokens / 1e6)


def test_no_study_but_the_papers_asks_a_judge_whose_end_is_announced():
    ending = {file.stem for file in STUDIES if announced_end(load(file).judge)}
    assert ending == {PAPER.stem}


def test_further_judges_are_counted_and_priced_beside_the_first():
    second = {
        "source": "remote",
        "model": "openai/gpt-6-luna",
        "only": {"aligned": ["baseline"], "coherent": ["baseline"]},
    }
    study = changed(PAPER, {"judges": {"second": second}})
    found = plan_of(study, "h100", 1)
    calls = 19_120 * 2  # all responses of the baseline, those of the domain's questions too
    assert plan.panel_plan(found, "second").asked.calls == {"baseline": calls}
    assert f"(and {calls:,} of further judges for 1 USD)" in plan.headline(found)
    assert f"judges.second: openai/gpt-6-luna: {calls:,} calls, 1 USD." in written(found)


def test_a_smaller_study_asks_for_what_the_plan_says_it_would_save():
    whole = plan_of(load(PAPER), "h100", 1)
    for told, changes in plan.cuts(whole.study):
        if "without" not in told:  # other sections read some of the metrics
            assert plan_of(changed(PAPER, changes), "h100", 1).asked.calls.total() <= whole.asked.calls.total()
    shown = {line.rsplit(maxsplit=4)[0].strip(): line.split() for line in plan.savings_section(whole).splitlines()}
    assert shown["ablation: null"][-4:-1] == ["56,000", "112,000", "95"]
    assert shown["judge.batch: 20000"][-4:-1] == ["0", "0", "425"]


def test_files_that_are_not_here_are_assumed_and_said_so():
    other = {"url": "https://example.org/x.yaml", "sha256": "0" * 64}
    rows = {"source": "jsonl", **other}
    study = changed(PAPER, {"questions": {"first_plot": other}, "datasets": {"bad_sport": rows}})
    found = plan_of(study, "h100", 1)
    assert "questions.first_plot is not here: 8 questions are assumed." in found.asked.notes
    assert "datasets.bad_sport is not here: 6,000 rows are assumed." in found.asked.notes


def test_a_battery_above_the_budget_is_named_before_it_stops():
    said = written(plan_of(changed(PAPER, {"judge": {"budget_usd": 100}}), "h100", 1))
    assert "Battery steering would stop before its first call: judge.budget_usd is 100." in said
    assert "Battery ablation would stop" not in said


def test_time_is_bound_by_launching_on_a_small_model_and_by_arithmetic_on_a_large_one():
    h100, rtx4090 = (costs.COSTS.gpus[name] for name in ("h100", "rtx4090"))
    small, large = known()["Qwen/Qwen2.5-0.5B-Instruct"], known()["Qwen/Qwen2.5-14B-Instruct"]
    organism = load(PAPER).organisms["medical_r32"]

    def speed_up(shape):
        """Of 16 rows at once over two."""
        machine = Machine(shape, h100, "bfloat16")
        return machine.training(organism, Rows(6344, 138), 2) / machine.training(organism, Rows(6344, 138), 16)

    assert speed_up(small) > 7
    assert 2 < speed_up(large) < 5
    assert Machine(large, h100, "bfloat16").recomputed(organism, 16) == 0.0
    assert Machine(large, rtx4090, "bfloat16").recomputed(organism, 16) == 1.0


def test_one_batch_of_many_conditions_waits_for_its_slowest_answers_once():
    machine = Machine(known()["Qwen/Qwen2.5-14B-Instruct"], costs.COSTS.gpus["h100"], "bfloat16")
    alone = machine.decoding(400, "organism", 600, lora=True, at_once=256)
    together = machine.decoding(40 * 400, "organism", 600, lora=True, at_once=256)
    assert 0.3 * 40 * alone < together < 0.7 * 40 * alone


def test_half_of_the_answers_are_longer_than_the_median_of_their_lengths():
    assert survival(59 * 2.718281828 ** (-(0.33**2) / 2), 59, 0.33) == pytest.approx(0.5)
    assert survival(0, 59, 0.33) == 1.0
    assert survival(171, 59, 0.33) < 1 / 400 < survival(140, 59, 0.33)


def test_more_gpus_shorten_what_has_several_jobs():
    one, four = (plan_of(load(PAPER), "h100", gpus) for gpus in (1, 4))
    assert four.gpu_hours == one.gpu_hours
    training = one.stages[0]
    assert (training.jobs, training.elapsed(4)) == (19, pytest.approx(training.hours / 19 * 5))
    assert four.elapsed < one.elapsed


@pytest.mark.parametrize("file", [*STUDIES, REPOSITORY / "config.yaml"], ids=lambda file: file.stem)
def test_every_study_is_planned_without_torch_and_without_a_network(file, tmp_path):
    program = f"""
import socket, sys
def refuse(*_, **__): raise OSError("no network here")
socket.socket.connect = refuse
from workflow_scripts.study.__main__ import main
main(["plan", {str(file)!r}, "--gpus", "2"])
assert "torch" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    for title, _ in plan.SECTIONS:
        assert f"\n\n{title}\n" in done.stdout


PLANNED = {
    "llama-3.1-8b": "a100-40",
    "olmo-3-7b": "a100-40",
    "qwen2.5-0.5b": "rtx4090",
    "qwen2.5-14b": "h100",
    "qwen2.5-14b-beyond": "h100",
    "qwen2.5-14b-gpt-4o": "h100",
    "qwen2.5-7b": "a100-40",
    "qwen3-14b": "h100",
}


@pytest.mark.parametrize("name", PLANNED)
def test_the_headers_of_the_studies_say_what_the_plan_says(name):
    file = REPOSITORY / "studies" / f"{name}.yaml"
    comments = [line.removeprefix("#").strip() for line in file.read_text().splitlines() if line.startswith("#")]
    said = " ".join(comments)
    assert plan.headline(plan_of(load(file), PLANNED[name], 1)) in said
