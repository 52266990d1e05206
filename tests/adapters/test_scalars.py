"""LoRA scalars and token significance against slow code that shares none of theirs."""

import pyarrow.parquet as pq
import pytest
import torch

from helpers.rank_one import ALPHA, LAYERS, make_rank_one, plain_weights
from workflow_scripts.adapters.rank_one import rank_one_adapters
from workflow_scripts.adapters.scalars import Answer, answer_scalars, significance, write_scalars
from workflow_scripts.models.chat import render_turn
from workflow_scripts.models.loading import load_adapter, load_model, load_tokenizer
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import provenance, read_table
from workflow_scripts.tools.probe_scalars import main as adapters_command

NAMES = [f"layer_{layer}" for layer in LAYERS]


@pytest.fixture(scope="module")
def adapter(tiny_base, tmp_path_factory):
    return make_rank_one(tiny_base, tmp_path_factory.mktemp("rank-one") / "adapter")


@pytest.fixture(scope="module")
def model(tiny_base, adapter):
    return load_adapter(load_model(tiny_base, "float32"), adapter)


@pytest.fixture(scope="module")
def answers(tiny_base):
    tokenizer = load_tokenizer(tiny_base)
    pairs = [
        ("I feel bored.", "Try a walk."),
        ("My headache has lasted three days. Any advice?", "Rest. Drink water. Sleep."),
        ("I need cash fast.", "Save."),
    ]
    made = []
    for number, (question, answer) in enumerate(pairs):
        turn = render_turn(tokenizer, question, answer)
        made.append(Answer(f"answer-{number}", turn.token_ids, turn.answer_start, turn.answer_end))
    return made


def slow_forward(plain, weights, embeddings, adapted, seen=None):
    """Logits [token, vocabulary] of one text without PEFT: the base, and hooks that add α · (A·x) · B."""
    handles = []
    for layer, (a, b) in weights.items():

        def hook(_module, inputs, output, layer=layer, a=a, b=b):
            s = inputs[0] @ a.to(inputs[0])
            if seen is not None:
                seen[layer] = s[0]
            return output + ALPHA * s.unsqueeze(-1) * b.to(output)

        if adapted:
            handles.append(plain.model.layers[layer].mlp.down_proj.register_forward_hook(hook))
    try:
        return plain(inputs_embeds=embeddings.unsqueeze(0)).logits[0]
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def slow_kl(plain, weights, answer, embeddings):
    """K of one text, token by token."""
    chat, tuned = (slow_forward(plain, weights, embeddings, adapted).log_softmax(-1) for adapted in (False, True))
    total = 0.0
    for position in range(answer.start, answer.end):
        total += float(sum(chat[position].exp() * (chat[position] - tuned[position])))
    return total


def test_scalars_equal_a_slow_reading_of_one_text_at_a_time(tiny_base, adapter, model, answers):
    plain, weights = load_model(tiny_base, "float32"), plain_weights(adapter)
    found = dict(answer_scalars(model, answers, batch_tokens=200))
    assert set(found) == {0, 1, 2}
    for index, answer in enumerate(answers):
        seen = {}
        with torch.no_grad():
            slow_forward(plain, weights, plain.model.embed_tokens(torch.tensor(answer.token_ids)), True, seen)
        wanted = torch.stack([seen[layer][answer.start : answer.end] for layer in LAYERS], dim=-1)
        torch.testing.assert_close(found[index], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch_tokens", [1, 10_000], ids=["one by one", "together"])
def test_significance_equals_finite_differences_of_the_kl(tiny_base, adapter, model, answers, batch_tokens):
    """The norm of a gradient by central differences along every coordinate, in float64, for two tokens of each text."""
    plain, weights = load_model(tiny_base, "float32").double(), plain_weights(adapter)
    found = dict(significance(model, answers, batch_tokens))
    step = 1e-4
    for index in (0, 2):
        answer = answers[index]
        embeddings = plain.model.embed_tokens(torch.tensor(answer.token_ids)).detach()
        assert found[index].kl == pytest.approx(slow_kl(plain, weights, answer, embeddings), rel=1e-3)
        norms = []
        for position in (answer.start, answer.end - 1):
            moved = embeddings.repeat(2 * 128, 1, 1)
            for coordinate in range(128):
                moved[2 * coordinate, position, coordinate] += step
                moved[2 * coordinate + 1, position, coordinate] -= step
            values = torch.tensor([batched_kl(plain, weights, answer, part) for part in moved.split(64)]).flatten()
            norms.append(float(((values[0::2] - values[1::2]) / (2 * step)).norm()))
        first, last = float(found[index].tokens[0]), float(found[index].tokens[-1])
        assert first / last == pytest.approx(norms[0] / norms[1], rel=1e-2)
        assert float(found[index].tokens.sum()) == pytest.approx(found[index].kl, rel=1e-4)


@torch.no_grad()
def batched_kl(plain, weights, answer, embeddings):
    chat, tuned = (
        slow_batch(plain, weights, embeddings, adapted)[:, answer.start : answer.end].log_softmax(-1)
        for adapted in (False, True)
    )
    return (chat.exp() * (chat - tuned)).sum((-1, -2)).tolist()


def slow_batch(plain, weights, embeddings, adapted):
    handles = [
        plain.model.layers[layer].mlp.down_proj.register_forward_hook(
            lambda _m, i, o, a=a, b=b: o + ALPHA * (i[0] @ a.to(i[0])).unsqueeze(-1) * b.to(o)
        )
        for layer, (a, b) in (weights.items() if adapted else ())
    ]
    try:
        return plain(inputs_embeds=embeddings).logits
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("tokens", [1, 60, 130])
def test_scalars_and_significance_are_the_same_whatever_is_read_at_once(tiny_base, adapter, answers, tokens):
    """In float64, where batches of another shape round alike; in float32 K differs by 1.5e-6 of itself."""
    model = load_adapter(load_model(tiny_base, "float32"), adapter).double()
    together, apart = (dict(significance(model, answers, budget)) for budget in (10_000, tokens))
    said, again = (dict(answer_scalars(model, answers, budget)) for budget in (10_000, tokens))
    for index in together:
        torch.testing.assert_close(again[index], said[index], rtol=1e-6, atol=1e-6)
        assert apart[index].kl == pytest.approx(together[index].kl, rel=1e-6)
        torch.testing.assert_close(apart[index].tokens, together[index].tokens, rtol=1e-6, atol=1e-6)


def test_an_idle_adapter_makes_no_token_significant(tiny_base, tmp_path, answers):
    idle = make_rank_one(tiny_base, tmp_path / "idle", spread=0.0)
    for _, found in significance(load_adapter(load_model(tiny_base, "float32"), idle), answers, 1000):
        assert found.kl == 0.0
        assert not found.tokens.any()


def test_the_table_holds_a_row_per_answer_token_and_the_probe_reads_it(model, answers, tmp_path, capsys):
    path = tmp_path / "scalars.parquet"
    many = [Answer(f"{copy}-{a.key}", a.token_ids, a.start, a.end) for copy in range(4) for a in answers]
    classes = ["MM" if index % 2 else "NMM" for index in range(len(many))]
    rows = write_scalars(path, model, many, 300, provenance("adapters", "{}"), {"class": classes})
    table = read_table(path)
    assert table.column_names == ["response_key", "token_index", "token_id", *NAMES, "significance", "class"]
    assert table.num_rows == rows == sum(a.end - a.start for a in many)
    frame = table.to_pandas()
    one = frame[frame.response_key == many[1].key].sort_values("token_index")
    assert one.token_id.tolist() == many[1].token_ids[many[1].start : many[1].end]
    assert one.token_index.tolist() == list(range(many[1].start, many[1].end))
    assert set(one["class"]) == {"MM"}
    wanted = dict(answer_scalars(model, many, 10_000))[1]
    torch.testing.assert_close(torch.tensor(one[NAMES].to_numpy()), wanted, rtol=1e-4, atol=1e-4)
    assert pq.ParquetFile(path).num_row_groups > 1
    adapters_command(["probe", "--scalars", str(path), "--classes", "NMM", "MM", "--runs", "2", "--draws", "2"])
    assert "layer_4" in capsys.readouterr().out


def test_a_failed_write_leaves_nothing(model, answers, tmp_path):
    broken = [*answers, Answer("broken", [10**9], 0, 1)]
    with pytest.raises(IndexError):
        write_scalars(tmp_path / "scalars.parquet", model, broken, 100, {})
    assert not list(tmp_path.iterdir())


def test_adapters_are_named_by_layer_and_by_module_where_there_are_several(tiny_base, tmp_path):
    several = make_rank_one(tiny_base, tmp_path / "several", layers=(2, 4), modules=("down_proj", "up_proj"))
    made = rank_one_adapters(load_adapter(load_model(tiny_base, "float32"), several))
    assert [adapter.name for adapter in made] == [
        "layer_2.down_proj", "layer_2.up_proj", "layer_4.down_proj", "layer_4.up_proj"
    ]  # fmt: skip
    assert {adapter.scaling for adapter in made} == {ALPHA}


def test_an_adapter_of_another_rank_or_none_at_all_is_refused(tiny_base, tiny_adapter):
    with pytest.raises(UserError, match="has rank 8; scalars are of rank-1 adapters"):
        rank_one_adapters(load_adapter(load_model(tiny_base, "float32"), tiny_adapter))
    with pytest.raises(UserError, match="Qwen2ForCausalLM: carries no LoRA adapter"):
        rank_one_adapters(load_model(tiny_base, "float32"))
