import random

import torch
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.models.loading import load_model
from workflow_scripts.models.packing import batches_by_length, packed, packed_mask, packed_rows
from workflow_scripts.models.residual import captured

CPU = torch.device("cpu")
texts = st.lists(
    st.tuples(st.sampled_from([[1], [1, 2], [3, 4, 5]]), st.lists(st.integers(6, 9), min_size=1, max_size=9)),
    min_size=1,
    max_size=30,
).map(lambda pairs: [(prompt + answer, len(prompt)) for prompt, answer in pairs])


@given(texts, st.integers(1, 40))
def test_rows_hold_every_text_once_behind_its_own_prompt_and_within_the_limit(made, limit):
    rows = packed_rows(made, limit)
    assert sorted(index for row in rows for index in row.texts) == list(range(len(made)))
    for row in rows:
        assert len(row.token_ids) <= limit or len(row.texts) == 1
        prompts = {tuple(made[index][0][: made[index][1]]) for index in row.texts}
        answers = sum(len(made[index][0]) - made[index][1] for index in row.texts)
        assert len(row.token_ids) == sum(map(len, prompts)) + answers, "one copy of each prompt"


@given(texts, st.integers(1, 40))
def test_a_token_sees_exactly_what_comes_before_it_in_its_text(made, limit):
    rows = packed_rows(made, limit)
    read = packed(rows, CPU)
    for number, row in enumerate(rows):
        for index, first in row.texts.items():
            token_ids, start = made[index]
            for place in range(first, first + len(token_ids) - start):
                seen = read.sees[number, place].nonzero().flatten()
                assert read.token_ids[number, seen].tolist() == token_ids[: start + place - first + 1]
                assert read.positions[number, seen].tolist() == list(range(start + place - first + 1))


def test_activations_are_those_of_the_texts_read_alone(tiny_base):
    model, draw = load_model(tiny_base, "float32"), random.Random(0)
    prompts = [[draw.randrange(500) for _ in range(length)] for length in (7, 12)]
    made = []
    for index in range(12):
        prompt = prompts[index % 2]
        made.append((prompt + [draw.randrange(500) for _ in range(draw.randint(1, 30))], len(prompt)))
    rows = packed_rows(made, 100)
    assert len(rows) > 1
    read, together = packed(rows, CPU), {}
    mask = packed_mask(read, model, torch.float32)
    with torch.inference_mode():
        with captured(model, together.__setitem__):
            model.model(input_ids=read.token_ids, attention_mask=mask, position_ids=read.positions, use_cache=False)
        for number, row in enumerate(rows):
            for index, first in row.texts.items():
                token_ids, start = made[index]
                alone = {}
                with captured(model, alone.__setitem__):
                    model.model(input_ids=torch.tensor([token_ids]), use_cache=False)
                for layer, expected in alone.items():
                    found = together[layer][number, first : first + len(token_ids) - start]
                    torch.testing.assert_close(found, expected[0, start:], rtol=1e-4, atol=1e-5)


def test_batches_hold_like_lengths_within_the_limit_and_every_index_once():
    lengths = [5, 50, 7, 48, 6, 200, 3]
    batches = batches_by_length(lengths, 100)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= 100
    assert [lengths[batch[0]] for batch in batches] == [200, 50, 7], "longest first, each with what fits beside it"
