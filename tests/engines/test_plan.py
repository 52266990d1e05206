"""Which random numbers a response is drawn with."""

import hashlib
import json

from workflow_scripts.engines.plan import run_of
from workflow_scripts.store.responses import request_seed
from workflow_scripts.study.conditions import NOTHING, Condition, Intervention


def steered(source):
    return Condition("add", Intervention("add", source, (3,)))


def test_fine_tuning_seeds_draw_with_numbers_of_their_own_and_seed_0_with_those_of_the_chat_base():
    assert run_of("chat_base", NOTHING) == run_of("medical_r1/seed-0", NOTHING) == 0
    assert run_of("medical_r1/seed-42", NOTHING) == 42
    assert run_of("medical_r1/seed-42", steered("sport_r8/seed-7")) == 42, "it is the organism that answers"
    assert run_of("chat_base", steered("medical_r1/seed-7")) == 7
    assert run_of("chat_base", steered("medical_r1/seed-7/power")) == 7


def test_stored_responses_of_seed_0_keep_their_numbers():
    old = hashlib.sha256(json.dumps([5, "q", 2], separators=(",", ":")).encode()).digest()[:4]
    assert request_seed(5, "q", 2) == request_seed(5, "q", 2, 0) == int.from_bytes(old, "big") >> 1
    assert len({request_seed(5, "q", 2, run) for run in range(20)}) == 20
