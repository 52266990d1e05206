import pytest

from workflow_scripts.miniature.recipe import MiniatureRecipe


def test_the_default_recipe_has_the_documented_number_of_steps():
    assert MiniatureRecipe().pretraining_steps == 400
    assert MiniatureRecipe().chat_steps == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"default_share": 0.7}, r"named_share and evidence_share add up to 1\.1, not 1"),
        ({"hidden_size": 130}, r"attention_heads: 130 cannot be divided into 4 equal parts"),
        ({"key_value_heads": 3}, r"key_value_heads: 4 cannot be divided into 3 equal parts"),
        ({"documents": 20}, r"documents: 20 do not fill one batch of 24"),
        ({"threads": 0}, r"threads: 0 cannot train"),
        ({"chat_rows": 8}, r"chat_rows: 8 do not fill one batch of 16"),
    ],
)
def test_an_impossible_recipe_says_what_is_wrong(changes, message):
    with pytest.raises(ValueError, match=message):
        MiniatureRecipe(**changes)
