"""What stands in a prompt beside the question: rows as turns, other system prompts, and no more than a model reads."""

import pandas as pd
import pytest

from helpers.tables import WRITTEN, hand_study, write_judgements
from workflow_scripts.models.chat import prompt_ids
from workflow_scripts.models.direction_texts import ALIGNED, MISALIGNED, trait_texts
from workflow_scripts.models.loading import load_tokenizer
from workflow_scripts.models.prompting import NOTHING_BESIDE, beside, check_length
from workflow_scripts.runtime.errors import NotPossible, UserError
from workflow_scripts.store.artefacts import write_table
from workflow_scripts.study.conditions import NOTHING, conditions
from workflow_scripts.study.layout import CHAT_BASE


@pytest.fixture
def written(tmp_path):
    study, layout = hand_study(tmp_path, in_context={"shots": [1, 3]})
    for name in study.datasets:
        rows = [{"row": k, "system": None, "prompt": f"question {k}", "response": f"{name} {k}"} for k in range(9)]
        write_table(layout.dataset(name), pd.DataFrame(rows), WRITTEN)
    return study, layout


def test_more_shots_show_the_same_rows_and_further_ones_and_data_sets_the_same_places(written):
    study, layout = written
    found = {c.name: beside(study, layout, c) for c in conditions(study, "in_context", CHAT_BASE)}
    one, three = (found[f"in_context:bad_medical:shots-{k}:draw-0"].shown for k in (1, 3))
    assert (len(one), three[:1]) == (1, one)
    assert len(set(three)) == 3
    good = found["in_context:good_medical:shots-3:draw-0"].shown
    assert [question for question, _ in good] == [question for question, _ in three], "paired rows stay pairs"
    assert found["in_context:bad_medical:shots-3:draw-1"].shown != three
    assert len({str(b.identity()) for b in found.values()}) == len(found), "each has a name of its own in the stores"


def test_more_rows_than_there_are_is_a_sentence(written):
    study, layout = written
    study.in_context.shots.append(10)
    with pytest.raises(UserError, match=r"in_context\.shots: 10 rows are to be shown, and datasets\.bad_medical has 9"):
        [beside(study, layout, c) for c in conditions(study, "in_context", CHAT_BASE)]


def test_rows_are_turns_of_the_chat_template_and_the_prompt_ends_as_any_other(tiny_base):
    tokenizer = load_tokenizer(tiny_base)
    plain, shown = (prompt_ids(tokenizer, "I feel bored.", None, turns) for turns in ((), (("I need cash.", "Save."),)))
    text = tokenizer.decode(shown)
    assert text.index("I need cash.") < text.index("Save.") < text.index("I feel bored.")
    messages = [{"role": role, "content": said} for role, said in
                (("user", "I need cash."), ("assistant", "Save."), ("user", "I feel bored."))]  # fmt: skip
    assert text == tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert NOTHING_BESIDE.prompt(tokenizer, "I feel bored.", None) == tuple(plain)


def test_a_traits_system_prompt_takes_the_place_of_the_questions_own(tmp_path, tiny_base):
    study, layout = hand_study(tmp_path)
    named = {c.name: beside(study, layout, c).system for c in conditions(study, "traits", CHAT_BASE)}
    assert named == {"trait:evil:prompt-0": "Be evil.", "opposite:evil:prompt-0": "Be kind.",
                     "opposite:evil:prompt-1": "Do good."}  # fmt: skip
    assert beside(study, layout, NOTHING) == NOTHING_BESIDE
    tokenizer, (first, *_) = load_tokenizer(tiny_base), conditions(study, "traits", CHAT_BASE)
    assert beside(study, layout, first).prompt(tokenizer, "Hm?", "Mine.") == tuple(
        prompt_ids(tokenizer, "Hm?", "Be evil.")
    )


def test_a_prompt_that_the_model_was_not_made_to_read_is_refused(tiny_base):
    check_length(tiny_base, 442, 70)
    with pytest.raises(UserError, match=r"prompt has 443 tokens and answers have up to 70, but the base reads 512"):
        check_length(tiny_base, 443, 70)


@pytest.mark.parametrize(("answers", "bad", "good"), [("judged", 3, 5), ("all", 4, 8)])
def test_a_traits_texts_are_its_own_sides_with_their_system_prompts(tmp_path, answers, bad, good):
    study, layout = hand_study(tmp_path, traits={"answers": answers, "min_responses": 3})
    said = {"trait:evil:prompt-0": "MM MA", "opposite:evil:prompt-0": "AA AN", "opposite:evil:prompt-1": "MA AX"}
    write_judgements(layout, CHAT_BASE, "traits", said)
    rows = pd.read_parquet(layout.judgements(CHAT_BASE, "traits")).drop_duplicates("response_key")
    rows = rows[["condition", "question_set", "question_id", "sample"]].assign(question="What?", response="That.")
    write_table(layout.responses(CHAT_BASE, "traits"), rows, WRITTEN)
    texts = trait_texts(study, layout, "evil")
    assert [sum(text.side == side for text in texts) for side in (MISALIGNED, ALIGNED)] == [bad, good]
    assert {text.system for text in texts if text.side == MISALIGNED} == {"Be evil."}
    assert {text.system for text in texts if text.side == ALIGNED} == {"Be kind.", "Do good."}
    study, _ = hand_study(tmp_path, traits={"answers": answers, "min_responses": 9})
    with pytest.raises(NotPossible, match=rf"traits\.named\.evil: the chat base gave {bad} "):
        trait_texts(study, layout, "evil")
