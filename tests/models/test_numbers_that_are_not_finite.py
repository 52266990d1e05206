"""A model whose numbers overflow is refused at the gate, at its direction, at the engine and after its training."""

from __future__ import annotations

import math
import types

import pytest
import torch

from workflow_scripts.adapters import gate_record
from workflow_scripts.adapters.gate_record import Said, write_gate
from workflow_scripts.engines.opening import checked
from workflow_scripts.models import direction_files
from workflow_scripts.models.training import check_converged
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import write_tensors
from workflow_scripts.study.experiments import Directions

BAD = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("number", BAD)
@pytest.mark.parametrize(
    ("where", "named"), [("plain", "the base gives"), ("tuned", "organisms.control: the model with its")]
)
@pytest.mark.parametrize("part", ["prompts", "texts"])
def test_the_gates_record_is_not_made_of_them(tmp_path, monkeypatch, number, where, named, part):
    said = {who: Said(torch.full((2, 30), -3.0), [torch.full((4,), -2.0)]) for who in ("plain", "tuned")}
    (said[where].prompts if part == "prompts" else said[where].texts[0]).view(-1)[1] = number
    monkeypatch.setattr(gate_record, "without_and_with", lambda *_: (said["plain"], said["tuned"]))
    with pytest.raises(UserError, match=f"^{named} .*log-probabilities that are not finite"):
        write_gate(None, tmp_path, [[1], [2]], [([1, 2, 3, 4, 5], 1)], "control", "{}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", BAD)
@pytest.mark.parametrize("name", ["direction", "activation_norm", "shuffled"])
def test_a_direction_is_not_written(tmp_path, monkeypatch, number, name):
    tensors = {
        key: torch.ones(3, 4) for key in ("direction", "misaligned_mean", "aligned_mean", "activation_norm", "shuffled")
    }
    tensors[name][1, 1] = number
    monkeypatch.setattr(direction_files, "mean_differences", lambda *_: tensors)
    monkeypatch.setattr(direction_files, "shuffled_sides", lambda *_: [])
    with pytest.raises(UserError, match=r"^sport_r8/seed-0: activations are not finite, so that it has no direction"):
        direction_files.write_direction(
            tmp_path / "a.safetensors", ("directions", "{}"), Directions(), "sport_r8/seed-0", None, None, [], 1
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", BAD)
def test_no_artefact_holds_them(tmp_path, number):
    with pytest.raises(UserError, match=r"a\.safetensors: edit/x would hold numbers that are not finite"):
        write_tensors(tmp_path / "a.safetensors", {"edit/x": torch.tensor([1.0, number])}, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", BAD)
def test_an_engine_that_gives_no_probabilities_samples_nothing(number):
    engine = types.SimpleNamespace(token_logprobs=lambda prompts, tokens: [{0: -1.0, 1: number}])
    with pytest.raises(UserError, match="the base gives log-probabilities that are not finite"):
        checked(engine)


def rows(*losses, norms=None):
    return [{"step": k, "loss": loss, "grad_norm": (norms or {}).get(k, 1.0)} for k, loss in enumerate(losses, start=1)]


@pytest.fixture
def trained():
    """The tensors that the adapter of a trained model has."""
    return {"a.lora_A.weight": torch.ones(2, 3), "a.lora_B.weight": torch.ones(3, 2)}


@pytest.mark.parametrize("number", BAD)
def test_a_training_whose_weights_are_lost_is_refused_with_its_update(trained, number):
    trained["a.lora_B.weight"][0, 0] = number
    with pytest.raises(UserError, match="the training diverged: trained weights are not finite, from update 2 on"):
        check_converged(
            trained.values(), rows(3.0, 2.5, 2.5, norms={2: math.nan})
        )  # the trainer shows the loss as before


@pytest.mark.parametrize("losses", [(3.0, 9.0, 40.0), (1.0, math.nan, math.nan), (2.0, *[8.0] * 5), (0.5, 1e30)])
def test_a_loss_that_went_away_is_refused(trained, losses):
    with pytest.raises(UserError, match="the training diverged: its loss went from"):
        check_converged(trained.values(), rows(*losses))


@pytest.mark.parametrize("losses", [(3.0,), (3.0, 3.4, 2.9), (0.1, 0.4, 0.9), (2.0, 9.0, *[1.5] * 5)])
def test_a_training_that_wobbles_is_one(trained, losses):
    check_converged(trained.values(), rows(*losses))
