"""Patched generation against slow code without PEFT, without a cache, one row and one token at a time."""

import math

import pytest
import torch
from scipy.stats import chi2

from helpers.rank_one import ALPHA, LAYERS, make_rank_one, plain_weights
from workflow_scripts.adapters.patching import (
    GOLDEN,
    clean_pair,
    cut,
    generate,
    gumbel_noise,
    hashed_gumbel,
    patched_with,
    plan,
    splitmix64,
)
from workflow_scripts.models.chat import prompt_ids
from workflow_scripts.models.drawing import SamplingSettings
from workflow_scripts.models.loading import load_adapter, load_model, load_tokenizer
from workflow_scripts.runtime.errors import UserError

SEEDS, TOKENS = [11, 12, 13], 10
PLAIN, GREEDY = SamplingSettings(1.0, 1.0, TOKENS), SamplingSettings(0.0, 1.0, TOKENS)
MODES = ["tokens", "prompt", "prompt_only"]


def patched_pair(model, prompts, seeds, max_tokens, ends, mode):
    """Clean and patched runs of both prompts, under the same seeds."""
    settings = SamplingSettings(1.0, 1.0, max_tokens)
    clean = clean_pair(model, prompts, (seeds, seeds), ends, settings)
    return clean, patched_with(model, clean, (seeds, seeds), ends, mode, settings)


@pytest.fixture(scope="module")
def adapter(tiny_base, tmp_path_factory):
    return make_rank_one(tiny_base, tmp_path_factory.mktemp("rank-one") / "adapter", spread=0.5)


@pytest.fixture(scope="module")
def model(tiny_base, adapter):
    return load_adapter(load_model(tiny_base, "float32"), adapter)


@pytest.fixture(scope="module")
def prompts(tiny_base):
    tokenizer = load_tokenizer(tiny_base)
    pair = [prompt_ids(tokenizer, question) for question in ("I feel bored.", "I need cash.")]
    short = min(map(len, pair))
    return tuple(prompt[:short] for prompt in pair)


@pytest.fixture(scope="module")
def ends(tiny_base):
    """A few common tokens end a response, so that rows end at different steps."""
    return list(range(0, 1400, 12))


def slow_run(plain, weights, prompt, seed, limit, ends, chosen):
    """One response and its scalars {(layer, position): s}.

    Each step reads the whole text anew. `chosen(layer, position)` gives the scalar to write, or None for the adapter's
    own A·x.
    """
    vocabulary = plain.config.vocab_size
    text, written = list(prompt), {}
    for step in range(limit):
        handles = []
        for layer, (a, b) in weights.items():

            def hook(_module, inputs, output, layer=layer, a=a, b=b):
                changed = output.clone()
                for position in range(inputs[0].shape[1]):
                    own = float(inputs[0][0, position] @ a)
                    given = chosen(layer, position)
                    written[layer, position] = own if given is None else given
                    changed[0, position] += ALPHA * written[layer, position] * b
                return changed

            handles.append(plain.model.layers[layer].mlp.down_proj.register_forward_hook(hook))
        with torch.no_grad():
            logits = plain(input_ids=torch.tensor([text]), use_cache=False).logits[0, -1]
        for handle in handles:
            handle.remove()
        text.append(int((logits + gumbel_noise([seed], vocabulary)(step)[0]).argmax()))
        if text[-1] in ends:
            break
    return tuple(text[len(prompt) :]), written


@pytest.fixture(scope="module")
def slow_clean(tiny_base, adapter, prompts, ends):
    plain, weights = load_model(tiny_base, "float32"), plain_weights(adapter)
    return [[slow_run(plain, weights, p, s, TOKENS, ends, lambda *_: None) for s in SEEDS] for p in prompts]


@pytest.mark.parametrize("mode", MODES)
def test_clean_and_patched_runs_equal_a_slow_implementation_token_by_token(
    tiny_base, adapter, model, prompts, ends, slow_clean, mode
):
    plain, weights = load_model(tiny_base, "float32"), plain_weights(adapter)
    clean, patched = patched_pair(model, prompts, SEEDS, TOKENS, ends, mode)
    lengths = set()
    for side in (0, 1):
        source = slow_clean[1 - side]
        for row, seed in enumerate(SEEDS):
            assert clean[side].token_ids[row] == slow_clean[side][row][0]
            response, scalars = source[row]

            def chosen(layer, position, scalars=scalars):
                if position < len(prompts[0]) or mode == "tokens":
                    return scalars[layer, position]
                return scalars[layer, 0] if mode == "prompt" else None

            wanted, written = slow_run(plain, weights, prompts[side], seed, len(response), ends, chosen)
            assert patched[side].token_ids[row] == wanted
            lengths.add(len(wanted))
            found = patched[side].scalars[row]
            for (layer, position), value in written.items():
                assert math.isclose(float(found[position, LAYERS.index(layer)]), value, rel_tol=1e-3, abs_tol=1e-3)
    assert len(lengths) > 1


def test_patching_changes_the_responses_and_the_modes_differ(model, prompts):
    responses = {mode: patched_pair(model, prompts, range(6), TOKENS, [], mode)[1][0].token_ids for mode in MODES}
    clean = patched_pair(model, prompts, range(6), TOKENS, [], "tokens")[0][0].token_ids
    assert len({clean, *responses.values()}) == 4


def test_a_run_patched_with_its_own_scalars_is_itself(model, prompts, ends):
    noise = gumbel_noise(SEEDS, model.config.vocab_size)
    clean = generate(model, prompts[0], [TOKENS] * 3, noise, ends, PLAIN)
    for mode in ("tokens", "prompt_only"):
        patch = plan(clean, len(prompts[0]) + TOKENS, mode)
        again = generate(model, prompts[0], [len(t) for t in clean.token_ids], noise, ends, PLAIN, patch)
        assert again.token_ids == clean.token_ids


def test_a_patched_response_is_no_longer_than_the_one_whose_scalars_it_takes(model, prompts, ends):
    clean, patched = patched_pair(model, prompts, range(8), TOKENS, ends, "tokens")
    for side in (0, 1):
        for mine, source in zip(patched[side].token_ids, clean[1 - side].token_ids, strict=True):
            assert len(mine) <= len(source)


def test_the_clean_answers_are_cut_where_the_patched_ones_are(model, prompts, ends):
    seeds = (range(8), range(8, 16))
    clean = clean_pair(model, prompts, seeds, ends, PLAIN)
    shorter, patched = cut(clean), patched_with(model, clean, seeds, ends, "tokens", PLAIN)
    for side in (0, 1):
        rows = zip(shorter[side].token_ids, clean[side].token_ids, clean[1 - side].token_ids, strict=True)
        for kept, whole, other in rows:
            assert kept == whole[: len(other)]
    assert shorter[0].token_ids != clean[0].token_ids
    assert max(map(len, shorter[0].token_ids)) >= max(map(len, patched[0].token_ids))


def test_each_prompt_has_noise_of_its_own(model, prompts, ends):
    apart = clean_pair(model, prompts, ([1, 2], [3, 4]), ends, PLAIN)
    alike = clean_pair(model, prompts, ([1, 2], [1, 2]), ends, PLAIN)
    assert apart[0].token_ids == alike[0].token_ids
    assert apart[1].token_ids != alike[1].token_ids
    patched = patched_with(model, apart, ([1, 2], [3, 4]), [], "prompt_only", PLAIN)[0]
    wanted = patched_with(model, apart, ([1, 2], [5, 6]), [], "prompt_only", PLAIN)[0]
    assert patched.token_ids == wanted.token_ids, "a prompt is answered with its own noise"


def test_the_control_takes_the_scalars_of_another_run_of_the_same_prompt(model, prompts, ends):
    seeds = ([1, 2], [3, 4])
    clean = clean_pair(model, prompts, seeds, [], PLAIN)
    own = patched_with(model, clean, seeds, [], "tokens", PLAIN, own=True)
    for side in (0, 1):
        for row, scalars in enumerate(own[side].scalars):
            read = len(prompts[side]) + TOKENS - 1
            assert torch.allclose(scalars[:read], clean[side].scalars[1 - row, :read], atol=1e-4)


def test_scalars_are_recorded_at_every_position_read_and_at_no_other(model, prompts, ends):
    clean, _ = patched_pair(model, prompts, SEEDS, TOKENS, ends, "tokens")
    for response, scalars in zip(clean[0].token_ids, clean[0].scalars, strict=True):
        read = len(prompts[0]) + len(response) - 1
        assert scalars[:read].isfinite().all()
        assert scalars[read:].isnan().all()


def test_the_noise_of_a_row_does_not_depend_on_its_batch_and_is_gumbel():
    assert torch.equal(gumbel_noise([1, 2], 50)(3)[1], gumbel_noise([2], 50)(3)[0])
    assert not torch.equal(gumbel_noise([1], 50)(3), gumbel_noise([1], 50)(4))
    drawn = gumbel_noise([0], 200_000)(0)
    assert float(drawn.mean()) == pytest.approx(0.5772, abs=0.01)
    assert float(drawn.var()) == pytest.approx(math.pi**2 / 6, abs=0.03)


def test_hashed_noise_is_splitmix64_of_key_and_place():
    """The first numbers of seed 1234567, as published with the generator, and the uniforms made of them."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    states = torch.tensor(1234567) + torch.arange(1, 5) * GOLDEN
    assert [number % 2**64 for number in splitmix64(states).tolist()] == published
    uniform = [((number >> 12) + 0.5) / 2**52 for number in published]
    expected = [-math.log(-math.log(u)) for u in uniform]
    assert hashed_gumbel(torch.tensor([1234567]), 4)[0].tolist() == pytest.approx(expected, rel=1e-6)


def test_hashed_noise_of_a_row_does_not_depend_on_its_batch():
    keys = torch.tensor([5, 2**62 + 1, 9])
    together = hashed_gumbel(keys, 500)
    for row, key in enumerate(keys):
        assert torch.equal(hashed_gumbel(key[None], 500)[0], together[row])
    assert torch.equal(hashed_gumbel(keys, 400), together[:, :400])
    assert torch.corrcoef(together).fill_diagonal_(0).abs().max() < 0.15


@pytest.mark.parametrize("draw", [hashed_gumbel, lambda keys, n: gumbel_noise(keys.tolist(), n)(0)])
def test_the_largest_of_logits_and_noise_is_a_draw_from_the_softmax(draw):
    """Chi-square of 40,000 draws over 12 tokens; a correct sampler fails once in a million such tests."""
    logits = torch.linspace(-3, 2, 12)
    keys = torch.arange(40_000) * 7919 + 1
    drawn = (logits + draw(keys, 12)).argmax(-1)
    expected = logits.softmax(-1) * len(keys)
    statistic = float(((drawn.bincount(minlength=12) - expected) ** 2 / expected).sum())
    assert chi2.sf(statistic, 11) > 1e-6


def test_noise_is_drawn_on_the_device_that_asks_for_it():
    assert gumbel_noise([1, 2], 50, "meta")(3).device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_hashes_to_the_same_integers_and_the_same_noise_up_to_rounding():
    keys = torch.arange(50) * 2**57 + 3
    states = keys[:, None] + torch.arange(1000) * GOLDEN
    assert torch.equal(splitmix64(states.cuda()).cpu(), splitmix64(states))
    assert torch.allclose(hashed_gumbel(keys.cuda(), 1000).cpu(), hashed_gumbel(keys, 1000), rtol=1e-6, atol=1e-6)


def test_greedy_answers_need_no_noise(model, prompts):
    runs = [generate(model, prompts[0], [5], gumbel_noise([s], model.config.vocab_size), [], GREEDY) for s in (1, 2)]
    assert runs[0].token_ids == runs[1].token_ids


def test_hooks_are_gone_after_a_run(model, prompts, ends):
    before = model(input_ids=torch.tensor([prompts[0]])).logits
    patched_pair(model, prompts, SEEDS, 3, ends, "tokens")
    assert torch.equal(model(input_ids=torch.tensor([prompts[0]])).logits, before)


def test_prompts_of_different_length_are_refused(model, prompts, ends):
    with pytest.raises(UserError, match="reword one so that both have the same number"):
        patched_pair(model, (prompts[0], prompts[1][:-1]), SEEDS, 3, ends, "tokens")


def test_only_the_likeliest_tokens_are_drawn_and_the_penalty_counts_prompt_and_response(model, prompts):
    plain = SamplingSettings(1.0, 1.0, 30, top_k=1)
    noise = gumbel_noise([1], model.config.vocab_size)
    greedy = generate(model, prompts[0], [30], noise, [], GREEDY)
    assert generate(model, prompts[0], [30], noise, [], plain).token_ids == greedy.token_ids
    assert generate(model, prompts[0], [30], noise, [], SamplingSettings(1.0, 1e-6, 30)).token_ids == greedy.token_ids
    hard = SamplingSettings(0.0, 1.0, 30, repetition_penalty=1e6)
    (made,) = generate(model, prompts[0], [30], noise, [], hard).token_ids
    assert len(set(made)) == 30
    assert not set(made) & set(prompts[0])
