"""Which random numbers a response is drawn with."""

import hashlib
import json

import torch

from helpers.tables import hand_study
from workflow_scripts.engines.plan import means_digest, run_of
from workflow_scripts.store.artefacts import provenance, write_tensors
from workflow_scripts.store.responses import request_seed
from workflow_scripts.study.conditions import NOTHING, Condition, Intervention, conditions


def steered(source):
    return Condition("add", Intervention("add", source, (3,)))


def test_fine_tuning_seeds_draw_with_numbers_of_their_own_and_seed_0_with_those_of_the_chat_base():
    assert run_of("chat_base", NOTHING) == run_of("medical_r1/seed-0", NOTHING) == 0
    assert run_of("medical_r1/seed-42", NOTHING) == 42
    assert run_of("medical_r1/seed-42", steered("sport_r8/seed-7")) == 42, "it is the organism that answers"
    assert run_of("chat_base", steered("medical_r1/seed-7")) == 7
    assert run_of("chat_base", steered("medical_r1/seed-7/power")) == 7


def test_a_direction_that_is_set_is_named_by_its_texts_mean_too(tmp_path):
    def named(mean):
        made_by = provenance("directions", "", vectors="v")
        write_tensors(tmp_path / "a.safetensors", {"aligned_mean": torch.full((2, 4), mean)}, made_by)
        return means_digest(tmp_path / "a.safetensors")

    assert named(1.0) == named(1.0) != named(2.0)


def test_an_ablation_sets_to_the_mean_where_the_study_asks_for_it(tmp_path):
    plain, _ = hand_study(tmp_path)
    study, _ = hand_study(tmp_path, ablation={"means": True})
    kinds = [c.kind for c in conditions(study, "ablation", "sport_r8/seed-0")]
    assert kinds == [*(c.kind for c in conditions(plain, "ablation", "sport_r8/seed-0")), "mean", "mean_single_layer"]
    names = [c.name for c in conditions(study, "ablation", "sport_r8/seed-0")]
    assert names[-2:] == ["mean:medical_r1/seed-0", "mean_single_layer:medical_r1/seed-0:layer-1"]


def test_stored_responses_of_seed_0_keep_their_numbers():
    old = hashlib.sha256(json.dumps([5, "q", 2], separators=(",", ":")).encode()).digest()[:4]
    assert request_seed(5, "q", 2) == request_seed(5, "q", 2, 0) == int.from_bytes(old, "big") >> 1
    assert len({request_seed(5, "q", 2, run) for run in range(20)}) == 20
