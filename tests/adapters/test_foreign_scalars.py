"""LoRA scalars in the public forms: nested dictionaries, beside token texts or within objects of unknown classes."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from types import ModuleType

import pandas as pd
import pytest
import torch

from workflow_scripts.adapters.foreign_scalars import read_scalar_file
from workflow_scripts.adapters.tables import Columns, contrast, read_scalars, resolved
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.tools import probe_scalars

LAYERS = ("blocks.15.hook_mlp_out", "blocks.16.hook_mlp_out")
HEAD = ["<|im_start|>", "user", "Ċ", "Hi", "?", "<|im_end|>", "Ċ", "<|im_start|>", "assistant", "Ċ"]
ANSWER = ["Oh", "Ġno", "<|im_end|>", "Ċ"]


def prompt(number):
    return f"<|im_start|>user\nQ{number % 3}?<|im_end|>\n<|im_start|>assistant\nOh no {number}<|im_end|>\n"


def scalars(number, token):
    return {layer: number + token / 100 + place for place, layer in enumerate(LAYERS)}


@dataclass
class TokenScalars:
    token: str
    scalars: dict


@dataclass
class ScalarSet:
    prompts: dict
    note: str = "of a class that is not here"


def by_tuple(count=4):
    """The shape of the public extraction: prompt -> index -> (token, {layer: scalar}), and tokenized prompts beside."""
    texts = HEAD + ANSWER
    made = {prompt(n): {t: (text, scalars(n, t)) for t, text in enumerate(texts)} for n in range(count)}
    return {"scalar_set": made, "tokenized_prompts": dict.fromkeys(made, texts)}


def by_class(count=4):
    texts = HEAD + ANSWER
    return ScalarSet(
        {prompt(n): {t: TokenScalars(text, scalars(n, t)) for t, text in enumerate(texts)} for n in range(count)}
    )


def without_texts(count=4):
    return {prompt(n): {t: scalars(n, t) for t in range(len(HEAD + ANSWER))} for n in range(count)}


@pytest.fixture
def saved(tmp_path):
    """A .pt file; the classes in it belong to a module that is gone when it is read."""

    def save(value, name="MM.pt"):
        module = sys.modules["their_module"] = ModuleType("their_module")
        for kind in (TokenScalars, ScalarSet):
            kind.__module__, module.__dict__[kind.__name__] = "their_module", kind
        (tmp_path / name).parent.mkdir(exist_ok=True)
        torch.save(value, tmp_path / name)
        del sys.modules["their_module"]
        return tmp_path / name

    return save


@pytest.mark.parametrize("value", [by_tuple(), by_class(), tuple(by_tuple().values())], ids=["dict", "class", "tuple"])
def test_the_public_shapes_are_a_row_per_answer_token(saved, value):
    frame = read_scalar_file(saved(value))
    assert list(frame.columns) == ["response", "question", "token", "class", *LAYERS]
    assert list(frame[frame.response == "1"].token) == [10, 11]
    assert frame[(frame.response == "1") & (frame.token == 11)][LAYERS[1]].item() == pytest.approx(2.11)
    assert set(frame.question) == {"Q0?", "Q1?", "Q2?"}
    assert set(frame["class"]) == {"MM"}


def test_without_token_texts_all_tokens_are_asked_for(saved):
    file = saved(without_texts())
    with pytest.raises(UserError, match="give --tokens all to take the prompt's tokens too"):
        read_scalar_file(file)
    assert len(read_scalar_file(file, "all")) == 4 * len(HEAD + ANSWER)


def test_files_of_two_classes_are_probed(saved, tmp_path, capsys):
    files = [str(saved(by_tuple(12), name)) for name in ("NMM.pt", "MM.pt")]
    output = str(tmp_path / "scalars.parquet")
    probe_scalars.main(["import", *files, "--output", output])
    assert "12 responses, 3 questions, 24 tokens (answer), 2 adapters; class NMM" in capsys.readouterr().out
    columns = resolved(read_scalars([tmp_path / "scalars.parquet"]), Columns())
    assert (columns.response, columns.classes, columns.question, columns.adapters) == (
        "response",
        "class",
        "question",
        LAYERS,
    )
    probe_scalars.main(["probe", "--scalars", output, "--classes", "NMM", "MM", "--runs", "2", "--draws", "0"])
    assert "question" in capsys.readouterr().out


def test_files_of_one_name_are_responses_of_one_class(saved, tmp_path, capsys):
    files = [str(saved(by_tuple(count), name)) for count, name in ((3, "a/MM.pt"), (2, "a/NMM.pt"), (4, "b/MM.pt"))]
    output = tmp_path / "scalars.parquet"
    probe_scalars.main(["import", *files, "--output", str(output)])
    assert "4 responses, 3 questions" in capsys.readouterr().out
    frame = pd.read_parquet(output)
    assert frame.groupby("class").response.unique().map(list).to_dict() == {"MM": list("0123456"), "NMM": ["0", "1"]}
    assert not frame.duplicated(["class", "response", "token"]).any()
    with pytest.raises(UserError, match=r"a/MM\.pt: is given twice"):
        probe_scalars.main(["import", files[0], files[0], "--output", str(output)])


def test_layers_in_another_order_are_the_same_layers(saved, tmp_path):
    value = without_texts()
    value[prompt(2)][3] = dict(reversed(value[prompt(2)][3].items()))
    frame = read_scalar_file(saved(value), "all")
    assert frame[(frame.response == "2") & (frame.token == 3)][[*LAYERS]].to_numpy()[0] == pytest.approx([2.03, 3.03])
    turned = {"p": {0: dict(reversed(scalars(7, 0).items()))}}
    files = [str(saved(value, "MM.pt")), str(saved(turned, "NMM.pt"))]
    probe_scalars.main(["import", *files, "--tokens", "all", "--output", str(tmp_path / "both.parquet")])
    both = pd.read_parquet(tmp_path / "both.parquet")
    assert both[both["class"] == "NMM"][[*LAYERS]].to_numpy()[0] == pytest.approx([7, 8])


def test_a_token_without_scalars_is_none_of_the_answers(saved):
    value = {prompt(0): {t: (text, scalars(0, t) if t else None) for t, text in enumerate(HEAD + ANSWER)}}
    assert list(read_scalar_file(saved(value)).token) == [10, 11]
    with pytest.raises(UserError, match="token 0 of response 0 has no scalars; it needs one set"):
        read_scalar_file(saved(value), "all")


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("was-run",)


def test_nothing_in_a_file_is_run(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        read_scalar_file(saved({"a": Malicious()}))
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"a": 1}, "holds no scalars by prompt, token and layer"),
        (torch.zeros(3), "holds no scalars by prompt, token and layer"),
        ({"p": {0: {"layer_1": 1.0}, 1: {"layer_2": 1.0}}}, "token 1 of response 0 has other layers"),
        ({"p": {0: {"layer_1": float("nan")}}}, "has a scalar that is not finite"),
        ({"p": {0: {"layer_1": 10**400}}}, "has a scalar that is not finite"),
        ({"p": {0: {"n_tokens": 3}}}, "'n_tokens' is no adapter's name"),
        ({"p": {0: {15: 1.0, 16: 2.0}}}, "'15' is no adapter's name; those with 'layer' or 'block' and a number are read"),
        ({"p": {0: {"layer_\ud83d1": 1.0}}}, "is no adapter's name"),
        ({"NMM": {"p": {0: {"layer_1": 1.0}}}, "MM": {"p": {0: {"layer_1": 1.0}}}},
         r"holds 2 sets of scalars by prompt and token \('NMM', 'MM'\); save each as a file of its own"),
        ([{"p": {0: {"layer_1": 1.0}}}] * 4, r"holds 4 sets of scalars by prompt and token \('0', '1', '2', …\)"),
        ({p: {0: {0: {"layer_1": 1.0}}, 1: {0: {"layer_1": 2.0}}} for p in ("p", "q")}, r"holds 2 sets .* \('p', 'q'\)"),
        ({"p": [[{"layer_1": 1.0}, {"layer_1": 2.0}]]}, r"token 0 of response 0 has 2 sets of numbers \('0', '1'\)"),
        ({"p": {0: [{"layer_1": 1.0}, {"layer_2": 1.0}]}}, "has 2 sets of numbers .* needs one set, with one number per layer"),
        ({"p": {0: {"token": "x", "norms": {"layer_1": 9.0}, "scalars": {"layer_1": 1.0}}}},
         r"token 0 of response 0 has 2 sets of numbers \('norms', 'scalars'\)"),
        ({"p": {0: ("x", {"layer_1": torch.ones(8)})}}, "a scalar is one real number, of a rank-1 adapter"),
        ({"p": {0: ("x", {"layer_1": torch.tensor([1j])})}}, "a scalar is one real number, of a rank-1 adapter"),
        ({"p": {0: ("x", None)}}, "holds no scalars by prompt, token and layer"),
        ({"p": {0: ("x", {"layer_1": 1.0})}, "q": {}}, "holds no scalars by prompt, token and layer"),
        ({"<start_of_turn>user\n\ud83d<end_of_turn>": {0: {"layer_1": 1.0}}}, "the question of response 0 holds half a character"),
    ],
)  # fmt: skip
def test_other_files_are_one_sentence(saved, value, sentence):
    with pytest.raises(UserError, match=sentence):
        read_scalar_file(saved(value), "all")


def test_a_file_that_is_no_pt_file_is_one_sentence(tmp_path):
    (tmp_path / "a.pt").write_text("text")
    with pytest.raises(UserError, match=r"is no \.pt file of plain values"):
        read_scalar_file(tmp_path / "a.pt")


def test_a_count_is_taken_for_no_adapter():
    frame = pd.DataFrame({"response": ["a", "b"], "label": ["x", "y"], "n_tokens": [0, 1], "_file": "t"})
    with pytest.raises(UserError, match=r"no column has a layer in its name .* name the adapters with --adapters"):
        resolved(frame, Columns())
    assert resolved(frame, Columns(adapters=("n_tokens",))).adapters == ("n_tokens",)
    with pytest.raises(UserError, match="t: data row 1 has no finite number in column 'label' but 'x'"):
        contrast(frame, resolved(frame, Columns(classes="response", adapters=("label",))), "a", "b")
