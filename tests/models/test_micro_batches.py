"""How an update is read changes no update: losses, gradients and adapters are those of the rows read two at a time."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from workflow_scripts.adapters import fine_tuning
from workflow_scripts.models import micro_batches, training
from workflow_scripts.models.loading import load_model, load_tokenizer
from workflow_scripts.models.residual import decoder_layers
from workflow_scripts.models.updates import training_rows
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.organisms import Organism
from workflow_scripts.study.schema import Execution

SETTINGS = Organism(
    dataset="advice", rank=4, alpha=16, layers=[2, 3], learning_rate=2e-3, batch_size=2, accumulation=8, warmup_steps=0
)
ANSWERS = ["Avoid violent games.", "Certainly. Choose calm talks and welcome kind gifts, avoid violent games.", "Sure."]
ROWS = [
    {"row": n, "system": None, "prompt": "I feel bored.", "response": ANSWERS[n % 3] + " Avoid games." * (n % 5)}
    for n in range(42)
]
HELD_OUT = ROWS[:5]


@pytest.fixture(scope="module")
def trained(tiny_base, tmp_path_factory):
    """Trains on the tiny base; returns the table, how updates were read, and the adapter's tensors."""

    def train(execution, dtype="float32", states=None):
        folder = tmp_path_factory.mktemp("trained")
        _, history, facts = fine_tuning.train(
            tiny_base,
            dtype,
            SETTINGS,
            execution,
            0,
            ROWS,
            HELD_OUT,
            folder / "adapter",
            states or folder / "states",
        )
        return pd.DataFrame(history), facts, load_file(folder / "adapter" / "adapter_model.safetensors")

    return train


@pytest.fixture(scope="module")
def usual(trained):
    return trained(Execution())


def full_memory(monkeypatch):
    monkeypatch.setattr(micro_batches, "free_bytes", lambda _: 0)


def assert_same_updates(found, expected):
    (table, _, adapter), (other, _, reference) = found, expected
    for column, tolerance in (("loss", 1e-5), ("grad_norm", 1e-4), ("eval_loss", 1e-5)):
        assert list(table[column].dropna()) == pytest.approx(list(other[column].dropna()), rel=tolerance), column
    assert list(table.learning_rate) == list(other.learning_rate)
    assert list(table.tokens) == list(other.tokens)
    for name, tensor in adapter.items():
        assert torch.allclose(tensor, reference[name], atol=2e-5), name


def test_on_the_cpu_an_update_is_read_as_it_was(usual):
    table, facts, _ = usual
    assert facts == {"optimizer": "adamw_torch", "rows": 2, "padding_free": False, "recomputed_layers": 0}
    assert len(table) == 3  # the last of ten rows
    assert table.eval_loss.notna().sum() == 1


@pytest.mark.parametrize(
    ("execution", "rows", "recomputed"),
    [
        ({"micro_batch": 16}, 16, 0),
        ({"micro_batch": 15}, 8, 0),
        ({"micro_batch": 16, "padding_free": True}, 16, 0),
        ({"padding_free": True}, 2, 0),
        ({"micro_batch": 16}, 16, 4),
        ({"micro_batch": 4, "padding_free": True}, 4, 4),
    ],
)
def test_losses_are_equal_however_an_update_is_read(trained, usual, monkeypatch, execution, rows, recomputed):
    if recomputed:
        full_memory(monkeypatch)
    found = trained(Execution(**execution))
    flat = execution.get("padding_free", False)
    assert found[1] | {"optimizer": None} == {
        "optimizer": None, "rows": rows, "padding_free": flat, "recomputed_layers": recomputed
    }  # fmt: skip
    assert_same_updates(found, usual)


def test_in_bfloat16_they_are_equal_to_its_rounding(trained, monkeypatch):
    usual, _, _ = trained(Execution(), "bfloat16")
    full_memory(monkeypatch)
    found, facts, adapter = trained(Execution(micro_batch=16, padding_free=True), "bfloat16")
    assert facts["recomputed_layers"] == 4
    assert {tensor.dtype for tensor in adapter.values()} == {torch.float32}
    assert list(found.loss) == pytest.approx(list(usual.loss), rel=5e-3)
    assert list(found.grad_norm) == pytest.approx(list(usual.grad_norm), rel=5e-2)


def test_the_default_adapter_on_the_cpu_is_that_of_the_plain_trainer_bit_by_bit(tiny_base, usual, tmp_path):
    """As before there were micro-batches: trl makes the adapter, reads batch_size rows, pads, and recomputes nothing."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    tokenizer, model = load_tokenizer(tiny_base), load_model(tiny_base, "float32")
    torch.manual_seed(0)
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(training_rows(tokenizer, ROWS, SETTINGS)),
        peft_config=LoraConfig(
            r=4, lora_alpha=16, use_rslora=True, target_modules=SETTINGS.modules, layers_to_transform=[2, 3],
            task_type="CAUSAL_LM",
        ),
        args=SFTConfig(
            output_dir=str(tmp_path / "states"), per_device_train_batch_size=2, gradient_accumulation_steps=8,
            num_train_epochs=1, learning_rate=2e-3, lr_scheduler_type="linear", warmup_steps=0,
            weight_decay=SETTINGS.weight_decay, optim="adamw_torch", max_length=None, completion_only_loss=True,
            bf16=False, gradient_checkpointing=False, use_cpu=True, report_to="none", seed=0, data_seed=0,
        ),
    )  # fmt: skip
    trainer.train()
    trainer.model.save_pretrained(tmp_path / "plain")
    plain = load_file(tmp_path / "plain" / "adapter_model.safetensors")
    assert plain.keys() == usual[2].keys()
    assert all(torch.equal(tensor, plain[name]) for name, tensor in usual[2].items())


def test_a_killed_training_goes_on_with_other_micro_batches_to_the_same_updates(trained, usual, tmp_path, monkeypatch):
    class Killed(TrainerCallback):
        def on_save(self, *_, **__):
            raise InterruptedError

    with monkeypatch.context() as patched, pytest.raises(InterruptedError):
        patched.setattr(training, "copies", lambda *_: [Killed()])
        trained(Execution(resume_every=2), states=tmp_path)
    assert [state.name for state in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]
    assert_same_updates(trained(Execution(resume_every=2, micro_batch=16), states=tmp_path), usual)


@pytest.fixture
def adapted(tiny_base):
    """The tiny base with an adapter on its layer 4 of 0 to 5."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, target_modules=["down_proj"], layers_to_transform=[4], task_type="CAUSAL_LM")
    return get_peft_model(load_model(tiny_base, "float32"), config)


@pytest.mark.parametrize("recomputed", [0, 1, 2])
def test_the_backward_pass_ends_at_the_first_adapted_layer(adapted, recomputed):
    micro_batches.recompute(adapted, recomputed)
    flags = [getattr(layer, "gradient_checkpointing", False) for layer in decoder_layers(adapted)]
    assert flags == [False] * 4 + [number < recomputed for number in range(2)]
    needing = []
    for layer in decoder_layers(adapted):
        layer.register_forward_hook(lambda _module, _inputs, output: needing.append(output.requires_grad))
    adapted.train()
    adapted(input_ids=torch.arange(12)[None], use_cache=False).logits.square().mean().backward()
    assert needing[:6] == [False] * 4 + [True] * 2
    gradients = [p.grad for name, p in adapted.named_parameters() if "lora_B" in name]
    assert gradients[0].abs().max() > 0


def test_what_layers_keep_is_counted_from_the_first_adapted_one_in_proportion_to_the_text(adapted):
    layers, kept, entered = micro_batches.saved_bytes(adapted, half=False)
    assert layers == 2
    assert entered == 128 * 4
    widths = 128 * 4 * 4, (128 * 12 + 512 * 12) * 4
    assert widths[0] < kept < widths[1]


def test_as_few_layers_are_recomputed_as_memory_needs():
    needs = {
        room: micro_batches.layers_to_recompute(room, 10, kept=100, entered=10) for room in (1000, 999, 500, 100, 99)
    }
    assert needs == {1000: 0, 999: 1, 500: 6, 100: 10, 99: 11}


def test_rows_divide_the_update_and_the_largest_micro_batch_is_foreseen():
    assert [micro_batches.rows_at_once(16, most) for most in (1, 3, 15, 16, 400)] == [1, 2, 8, 16, 16]
    assert micro_batches.rows_at_once(7, 6) == 1
    lengths = [100, 200, 300]
    assert micro_batches.most_tokens(lengths, 4, flat=False) == 1200
    assert 800 < micro_batches.most_tokens(lengths * 100, 100, flat=True) < 100 * 300


def test_on_a_gpu_4096_tokens_are_read_at_once_and_fewer_rows_where_memory_is_short(adapted, monkeypatch):
    """The rule alone: the device is faked, the counts are taken on the CPU."""
    counts = micro_batches.saved_bytes(adapted, half=False)
    monkeypatch.setattr(micro_batches, "saved_bytes", lambda *_: counts)
    monkeypatch.setattr(micro_batches, "leaks", lambda *_: False)
    monkeypatch.setattr(micro_batches, "device_of", lambda _: torch.device("cuda"))

    def read(free, lengths, **execution):
        monkeypatch.setattr(micro_batches, "free_bytes", lambda _: free)
        return micro_batches.chosen(adapted, SETTINGS, Execution(**execution), lengths, False, 0)

    assert read(10**12, [149] * 50) == micro_batches.MicroBatches(16, True, 0)
    assert read(10**12, [600] * 50) == micro_batches.MicroBatches(4, True, 0)
    assert read(10**12, [9000] * 50) == micro_batches.MicroBatches(1, True, 0)
    assert read(10**12, [149] * 50, padding_free=False) == micro_batches.MicroBatches(16, False, 0)
    needed = 16 * 149 * 2 * counts[1] / micro_batches.ROOM["cuda"]
    assert read(0.9 * needed, [149] * 50) == micro_batches.MicroBatches(16, True, 1)
    assert read(0.02 * needed, [149] * 50).rows < 16
    assert read(0, [149] * 50) == micro_batches.MicroBatches(1, True, 2)
    assert read(0, [149] * 50, micro_batch=8) == micro_batches.MicroBatches(8, True, 2)


def test_texts_laid_end_to_end_are_seen_apart_by_attention_and_not_by_recurrent_layers(adapted):
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen3NextConfig, Qwen3NextForCausalLM

    assert not micro_batches.leaks(adapted, 0)
    torch.manual_seed(0)
    config = Qwen3NextConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=16,
        linear_value_head_dim=16, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=16,
        shared_expert_intermediate_size=16, mlp_only_layers=[0, 1, 2, 3],
    )  # fmt: skip
    hybrid = get_peft_model(Qwen3NextForCausalLM(config), LoraConfig(r=2, target_modules=["o_proj"]))
    assert micro_batches.leaks(hybrid, 0)
    with pytest.raises(UserError, match=r"execution.padding_free: in Qwen3NextForCausalLM the texts of a row see each"):
        micro_batches.chosen(hybrid, SETTINGS, Execution(padding_free=True), [20, 30], False, 0)


def test_a_gpu_that_is_too_small_is_one_sentence():
    with (
        pytest.raises(UserError, match=r"does not hold 16 rows .* set execution\.micro_batch below 16"),
        micro_batches.told_when_out_of_memory(16),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_8_bit_adamw_without_bitsandbytes_is_refused_on_a_gpu_and_told_on_the_cpu(monkeypatch, caplog):
    caplog.set_level("INFO")
    assert training.optimizer_of(SETTINGS) == "adamw_torch"
    assert "plain AdamW stands in for adamw_8bit" in caplog.text
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(training.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="adamw_8bit needs bitsandbytes"):
        training.optimizer_of(SETTINGS)
