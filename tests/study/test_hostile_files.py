"""Study files that are no study in ways that break a reader: each gets one sentence, and soon."""

from __future__ import annotations

import json
import os

import pytest
import yaml

from helpers.workflow import SMOKE
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.yaml_files import read_yaml
from workflow_scripts.study.reading import check_files, load, parse, resolved, typed

pytestmark = pytest.mark.timeout(60, func_only=True)
"""A minute is a hang on any machine."""
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{below}'] * 9)}]\n" for below, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{below}'] * 9)}]}}\n"
    for below, name in zip("abcdefgh", "bcdefghi", strict=True)
)

TEXTS = {
    "a tag that does not fit": ("study: {name: a}\nbase: !!int x", "line 2: is not valid YAML, 'x' is no int."),
    "an empty number": ("a: !!int ''", "line 1: is not valid YAML, '' is no int."),
    "a truth that is none": ("a: !!bool maybe", "'maybe' is no bool."),
    "a date by tag": ("a: !!timestamp 2024-13-01", "'2024-13-01' is no timestamp."),
    "a date that is none": ("a: !!timestamp today", "'today' is no timestamp."),
    "a mapping for a number": ("a: !!float {b: 1}", "line 1: is not valid YAML, expected a scalar node"),
    "an unknown tag": ("a: !mine x", "line 1: is not valid YAML, could not determine a constructor"),
    "half a number": ("a: !!int 0x_", "'0x_' is no int."),
    "a number of 5,000 digits": ("a: " + "9" * 5000, "a number of more than 100 characters."),
    "a hexadecimal one": ("a: !!int 0x" + "f" * 5000, "a number of more than 100 characters."),
    "a key of 900 digits": ("9" * 900 + ": a", "a number of more than 100 characters."),
    "aliases of aliases": (BOMB, "its aliases stand for more than 100,000 values."),
    "merges of merges": (MERGES, "its aliases stand for more than 100,000 values."),
    "an alias of itself": ("a: &a [*a]", "an alias stands within what it names."),
    "a control character": ("a: \x07", "is not valid YAML, special characters are not allowed."),
    "half of a character": ('a: "x\\ud800"', "line 1: is not valid YAML, half of a character."),
    "an alias within its line": ("x: {a: &a {b: 1}}\ny: {<<: *x}", "is not valid YAML, found undefined alias 'x'."),
}  # fmt: skip


def refused(call, *given) -> list[str]:
    """Lines of the refusal."""
    with pytest.raises(UserError) as caught:
        call(*given)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("case", TEXTS)
def test_text_that_breaks_a_reader_is_refused_in_one_sentence(tmp_path, case):
    text, sentence = TEXTS[case]
    file = tmp_path / "study.yaml"
    file.write_text(text)
    [line] = refused(load, file)
    assert line.startswith(f"{file}: ")
    assert sentence in line


def test_what_is_no_plain_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        assert refused(load, tmp_path / name) == [f"{tmp_path / name}: cannot be read (it is not a plain file)."]


def test_one_byte_that_is_no_text_in_a_resolved_study_is_named(tmp_path):
    file = tmp_path / "study.json"
    file.write_bytes(json.dumps(resolved(load(SMOKE))).encode().replace(b"medical", b"medi\xffal", 1))
    [line] = refused(load, file)
    assert "is not valid YAML, byte " in line
    assert line.endswith("is not UTF-8.")


def test_a_path_that_no_file_can_have_is_named_before_anything_runs():
    study = yaml.safe_load(SMOKE.read_text())
    study["datasets"]["own"] = {"source": "jsonl", "path": "x" * 3000}
    [line] = refused(check_files, parse(study, "study.yaml"), "study.yaml")
    assert " cannot be read, File name too long (looked from " in line


def test_dates_and_a_merge_over_a_merged_part_are_read(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("d: 2024-13-01\na: &a {x: 1}\nl: {b: &b {<<: *a, x: 2}}\nc: {<<: *b, y: 3}\n")
    assert read_yaml(file) == {"d": "2024-13-01", "a": {"x": 1}, "l": {"b": {"x": 2}}, "c": {"x": 2, "y": 3}}
    file.write_text(f"[{', '.join(['x'] * 150_000)}]")
    assert len(read_yaml(file)) == 150_000, "a long file without aliases is no bomb"


def test_words_of_the_command_line_that_break_a_reader_are_text():
    for word in ("2024-13-01", "0x_", "9" * 5000, "!!int x"):
        assert typed({"a": word}) == {"a": word}


# (place that is changed, its new value, what is said)
VALUES = [
    (("organisms", "a\0b"), {"dataset": "bad_sport"}, r"organisms.a\x00b: 'a\x00b' is not a name"),
    (("organisms", "a\x1b[31m"), {"dataset": "bad_sport"}, r"organisms.a\x1b[31m: 'a\x1b[31m' is not a name"),
    (("study", "name"), "a\0", r"study.name: 'a\x00' is not a name"),
    (("base",), {"source": "folder", "path": "a\0b"}, r"base.path: 'a\x00b' is empty or holds control characters."),
    (("base",), {"source": "gguf", "path": "a\nb", "layers": 4}, r"base.path: 'a\nb' is empty or holds control"),
    (("datasets", "own"), {"source": "jsonl", "path": "\x7f"}, r"datasets.own.path: '\x7f' is empty or holds control"),
    (("datasets", "own"), {"source": "jsonl", "path": ""}, "datasets.own.path: '' is empty or holds control characters."),
    (("questions", "own"), {"source": "yaml", "url": "https://a/\0", "sha256": "0" * 64}, "questions.own.url: "),
    (("execution", "download_mirror"), "\0", "execution.download_mirror: "),
    (("judge",), {"source": "local", "model": "\0"}, "judge.model: "),
    (("steering", "scales"), [1, 1.0], "steering.scales: 1 stands there more than once."),
    (("steering", "scales"), [1, 1.0000001], "steering.scales: 1.0 and 1.0000001 are both called 1; let them differ in"),
    (("semantic", "scales"), [-1, 2, -1.00000001], "semantic.scales: -1.0 and -1.00000001 are both called -1; let them"),
    (("training_path", "scales"), [5, 5.0], "training_path.scales: 5 stands there more than once."),
    (("steering", "scales"), [1e7], "steering.scales.0: 10000000.0 is not allowed; it must be at most 1000000."),
    (("steering", "scales"), [-1e7], "steering.scales.0: -10000000.0 is not allowed; it must be at least -1000000."),
    (("adapters", "steering", "general"), 1e300, "adapters.steering.general: 1e+300 is not allowed; it must be at most"),
    (("steering", "random_draws"), 10**9, "steering.random_draws: 1000000000 is not allowed; it must be at most 1000."),
    (("execution", "shards"), 10**9, "execution.shards: 1000000000 is not allowed; it must be at most 1000."),
    (("base", "layers"), 10**9, "base.layers: 1000000000 is not allowed; it must be at most 1000."),
    (("sampling", "samples"), 10**9, "sampling.samples: 1000000000 is not allowed; it must be at most 1000000."),
    (("organisms", "Good_R1"), {"dataset": "bad_sport"}, "organisms: 'good_r1' and 'Good_R1' differ only in case"),
    (("organisms", "Chat_Base"), {"dataset": "bad_sport"}, "organisms.Chat_Base: this name is taken by the chat base"),
    (("questions", "Medical"), {"source": "yaml", "path": "q"}, "questions: 'medical' and 'Medical' differ only in case"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "value", "sentence"), VALUES)
def test_names_paths_and_numbers_that_no_machine_bears_are_refused(place, value, sentence):
    study = yaml.safe_load(SMOKE.read_text())
    *parents, last = place
    section = study
    for name in parents:
        section = section[name]
    section[last] = value
    lines = refused(parse, study, "study.yaml")
    assert any(line.startswith(f"study.yaml: {sentence}") for line in lines), lines
    assert all(line.startswith("study.yaml: ") and line.isprintable() for line in lines)
