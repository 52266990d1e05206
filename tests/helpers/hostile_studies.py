"""Study files that break readers, or that a person would want to be asked about, made from the smoke study.

Each is the text of a file. `written` are the tricks of YAML and of its values, by name; `drawn` puts values of the wrong
kind at every setting of the resolved study, seeded.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import yaml

from helpers.workflow import SMOKE
from workflow_scripts.study.kinds import inside, sections_of, sources_of
from workflow_scripts.study.reading import parse, resolved

GOOD_MEDICAL = "{source: miniature, domain: medical, stance: good, rows: 160}"
MEDICAL = "{source: miniature, domains: [medical], per_domain: 12, seed: 1}"
BASE = "{source: miniature, seed: 0, layers: 4, documents: 4800, chat_rows: 64}"
JUDGE = "{source: miniature, metrics: [aligned, coherent, bad_stuff, medical, power]}"
GOOD_R1 = "{<<: *rank_1, dataset: good_medical, expect_misaligned: false}"
ADAPTER = "{dataset: good_medical, rank: 1, expect_misaligned: false, adapter: {hub: a/b, %s}}"
METRICS = "metrics: [aligned, coherent, bad_stuff, medical, power]"
SCALES = "scales: [1, 2], random_draws"
LAYERS = "layers: [1, 2], scales: [1, 2], random_draws"
NAME, DESCRIPTION = "name: smoke", '"The chain on a base too small to be misaligned in earnest; for tests."'

JUNK = [
    None, True, -1, 0, 1.5, "x", "", "../x", "x\ny", "x\0y", "a\ud800b", "\uffff", [], [1], [[]], ["x"], [None], {},
    {"a": 1}, {"source": "x"}, {1: 2}, float("nan"), float("inf"), 1e308, -1e308, 1e-320, 10**30, "1e5", "nan", "١٢",
    "a" * 5000, "é" * 70, 12345678901234567890,
]  # fmt: skip


WHERE = {"url": "https://a/b", "sha256": "0" * 64}
OWN = {"metrics": ["aligned", "coherent", "bad_stuff", "medical", "power"], "rubrics": {"path": "r.yaml"} | WHERE}
COMMIT = "0" * 40
KINDS: list[dict[str, Any]] = [
    {"paper": [{"experiment": "E1", "subject": "good_r1", "quantity": "em", "value": 1}]},
    {
        "base": {"source": "hub", "id": "a/b", "revision": "main", "layers": 4, "weights_gb": 1.0, "template": {"x": True}},
        "datasets.good_medical": {"source": "jsonl", "path": "rows.jsonl", "rows": 160} | WHERE,
        "questions.medical": {"source": "yaml", "path": "q.yaml", "ids": ["a"], "exclude_suffixes": ["_json"]} | WHERE,
        "judge": {"source": "remote", "model": "openai/x", "numbers": {}, "budget_usd": 1.0,
                  "prices": {"input_per_million": 1.0}} | OWN,
        "organisms.good_r1": {"dataset": "good_medical", "rank": 1, "expect_misaligned": False,
                              "adapter": {"hub": "a/b", "revision": COMMIT, "subfolder": "c"}},
    },
    {
        "base": {"source": "gguf", "path": "m.gguf", "layers": 4},
        "datasets.good_medical": {"source": "archive", "path": "a.zip", "password": "p", "file": "x.jsonl", "rows": 160},
        "judge": {"source": "local", "hub": "a/b", "revision": COMMIT, "weights_gb": 1.0} | OWN,
        "directions.thresholds": {"misaligned_below": 20},
        "adapters.patching.pairs": [{"name": "a", "outside": "x", "domain": "y"}],
    },
    {
        "study.description": "REHEARSAL",
        "base": {"source": "folder", "path": "m"},
        "datasets.good_medical": {"source": "hub", "id": "a/b", "revision": "main", "file": "x.jsonl", "rows": 160},
        "judge": {"source": "simulated", "metrics": OWN["metrics"], "scenarios": "s.yaml"},
    },
    {
        "organisms.theirs": {"responses": {"path": "r.csv", "columns": {"response": "text"}}},
        "judges": {"second": {"source": "phrases", "phrases": ["no need to"]}},
        "calibration": {"judge": "second", "judged": {"path": "a.parquet"}, "reference": {"path": "b.csv"},
                        "bases": ["miniature"], "control": "good_r1"},
        "texts": {"batteries": ["baseline"]},
        "datasets.half": {"source": "mix", "parts": {"bad_sport": 0.5, "good_medical": 0.5}, "rows": 100},
        "organisms.good_r1.kl": {"dataset": "half", "weight": 1.0},
        "organisms.under": {"dataset": "bad_sport", "during_training": {"mode": "add", "file": "d.st", "layers": [1]}},
        "prevention": {"plain": "medical_r1", "otherwise": ["good_r1"], "domain_questions": "medical"},
        "narrow": {"twins": {"medical_single": "medical_r1"}, "domain_questions": "medical"},
        "organisms.first": {"dataset": "bad_sport"},
        "organisms.after": {"dataset": "bad_sport", "starts_from": "first"},
        "questions.cued": {"source": "variant", "of": "evaluation", "before": "x"},
        "conditional": {"organisms": ["good_r1"], "cues": ["cued"]},
        "vectors": {"named": {"push": {"like": "medical_r1", "layer": 1, "learning_rate": 0.1}}},
        "questions.unseen": {"source": "miniature", "domains": ["power"], "per_domain": 1, "offset": 30},
        "held_out": {"questions": "unseen", "samples": 1},
        "ablation.source": {"file": "d.safetensors", "name": "published"},
        "specificity.caps": [{"low": -1, "high": 1}],
    },
]  # fmt: skip


def written() -> dict[str, str]:
    """Texts of study files by what is wrong with them."""
    smoke = SMOKE.read_text()

    def instead(old: str, new: str) -> str:
        assert old in smoke, old
        return smoke.replace(old, new, 1)

    bomb = "x0: &x0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"x{k + 1}: &x{k + 1} [{', '.join([f'*x{k}'] * 10)}]\n" for k in range(7)
    )
    many = ", ".join(map(str, range(1500)))
    found = {f"{name} of aliases": bomb + instead(old, new) for name, old, new in [
        ("layers", LAYERS, "layers: *x7, scales: [1, 2], random_draws"), ("scales", SCALES, "scales: *x7, random_draws"),
        ("seeds", "rank: 1\n", "rank: 1\n    seeds: *x7\n"), ("metrics", METRICS, "metrics: *x7"),
    ]}  # fmt: skip
    found |= {
        "too many scales": instead(SCALES, f"scales: [{many}], random_draws"),
        "too many seeds": instead("rank: 1\n", f"rank: 1\n    seeds: [{many}]\n"),
        "too many metrics": instead(METRICS, f"metrics: [aligned, coherent, {', '.join(f'm{k}' for k in range(1500))}]"),
        "too many organisms": instead("  good_r1:", "".join(f"  o{k}: {{dataset: x}}\n" for k in range(1100)) + "  good_r1:"),
        "too many values": smoke + f"\npaper: [{', '.join(['{value: 1}'] * 15_000)}]\n",
        "too many unknown settings": smoke + "".join(f"\nx{k}: 1" for k in range(5000)),
        "too many bytes": smoke + "#" * 4_000_000,
        "deep flow": "x: " + "[" * 3000 + "]" * 3000 + "\n" + smoke,
        "deep blocks": smoke + "\n" + "\n".join(" " * k + f"a{k}:" for k in range(500)),
        "deep aliases": "".join(f"a{k}: &a{k} [{f'*a{k - 1}' if k else 1}]\n" for k in range(2000)) + smoke,
        "merge twice": instead("sport_r8: {<<: *rank_1,", "sport_r8: {<<: *rank_1, <<: *rank_1,"),
        "merge of two that differ": instead("sport_r8: {<<: *rank_1,", "sport_r8: {<<: [*rank_1, {rank: 4}],"),
        "merge of itself": "a: &a {<<: *a}\n" + smoke,
        "merge of a number": instead("sport_r8: {<<: *rank_1,", "sport_r8: {<<: 1,"),
        "a key twice": instead("rank: 8", "rank: 8, rank: 8"),
        "a key that is null": instead("  good_r1:", "  ~: {dataset: x}\n  good_r1:"),
        "two documents": smoke + "\n---\n" + smoke,
        "another version of YAML": "%YAML 9.9\n---\n" + smoke,
        "tabs": smoke.replace("  ", "\t"),
        "names that differ in case": instead("  good_r1:", "  GOOD_R1: {<<: *rank_1}\n  good_r1:"),
        "an organism called as the base": instead("  good_r1:", "  Chat_Base: {<<: *rank_1}\n  good_r1:"),
        "a name with a line break": instead("  good_r1:", '  "abc\\n": {<<: *rank_1}\n  good_r1:'),
        "a name with half a character": instead("  good_r1:", '  "a\\ud800": {<<: *rank_1}\n  good_r1:'),
        "a study called store": instead(NAME, "name: Store"),
        "a study called ..": instead(NAME, "name: .."),
        "empty": "", "a word": "x", "a list": "[]", "null": "~", "only a mark": "...",
        "extends itself": "extends: case.yaml", "extends a folder": "extends: .", "extends a device": "extends: /dev/zero",
        "extends a pipe": "extends: pipe", "extends a list": "extends: [a]", "extends nothing": "extends: ''",
        "extends a long path": "extends: " + "x" * 5000, "extends an address": "extends: https://a/b",
        "equal scales": instead(SCALES, "scales: [1, 1.0], random_draws"),
        "scales alike in six digits": instead(SCALES, "scales: [1, 1.0000001], random_draws"),
        "scales 0 and -0": instead(SCALES, "scales: [0, -0.0], random_draws"),
        "a scale in quotes": instead(SCALES, "scales: [1, '1'], random_draws"),
        "a scale of 1e308": instead(SCALES, "scales: [1e308], random_draws"),
        "too hot": instead("samples: 2, max", "temperature: 1.0e6, samples: 2, max"),
        "too cold": instead("samples: 2, max", "temperature: 1.0e-300, samples: 2, max"),
        "a penalty of nothing": instead("samples: 2, max", "repetition_penalty: 1.0e-9, samples: 2, max"),
        "no GPU memory": instead("execution: {", "execution: {gpu_memory: 0, "),
        "a list for pairs": instead("pairs: 2,", "pairs: [1],"),
        "two pairs of a name": instead("pairs: 2,", "pairs: [{name: a, outside: x, domain: y}, {name: a, outside: x, domain: y}],"),
        "a batch larger than the data": instead("batch_size: 8", "batch_size: 1000000"),
        "a paper value that is none": smoke + "\npaper: [{experiment: E1, subject: good_r1, quantity: em, value: .nan}]\n",
        "scalars of two sets": instead("domain_metric: medical", "domain_metric: medical\n  limits: {misaligned_to: 95}"),
        "labels of two sets": instead("steering: {general: 3,", "steering: {limits: {outside_to: 60}, general: 3,"),
        "no classes left apart": smoke + "\nthresholds: {misaligned_below: 80, aligned_above: 20}\n",
    }  # fmt: skip
    tagged = {"rank: 8": ["!!int x", "!!int [1]", "0x_1", "010", "08", "1:30", "1_0", "0b101", "0x8", "9" * 5000, "9" * 99],
              NAME: ['!!binary "aGVsbG8="', '!!binary "a"', "!!str {a: b}", "!!null x", "!!timestamp 2024-13-01", "!mine x"],
              "alpha: 64": ["!!float x", "!!float inf", ".nan", "-.inf", "1.0e999", "'nan'", "'1_0'", "1:30.5", "1.0e308"],
              "trailing_turn: false": ["yes", "no", "on", "off", "!!bool x", "0"],
              SCALES: ["!!omap [a: 1], random_draws", "!!seq {a: 1}, random_draws", "[true], random_draws", "[.inf], random_draws"],
              METRICS: ["!!set {aligned, coherent}", "[aligned, coherent, aligned]", "{aligned: 1}"],
              DESCRIPTION: ['"\\x07\\x1b[31m"', '"\\0"', '"\\ud83d"', '"\\uffff"', "2024-13-41: x"]}  # fmt: skip
    for old, values in tagged.items():
        key = old.partition(":")[0] if ": " in old and not old.startswith('"') else ""
        found |= {
            f"{key or 'description'} {value[:30]}": instead(old, f"{key}: {value}" if key else value)
            for value in values
        }
    places = {
        "a data set at ": (GOOD_MEDICAL, "{source: jsonl, path: %s}",
                           ['"a\\nb"', '"a\\0b"', "../../etc/passwd", "/dev/zero", "/dev/stdin", "pipe", ".", '""', "a/" * 3000]),
        "a data set of ": (GOOD_MEDICAL, f"{{source: jsonl, sha256: '{'0' * 64}', url: '%s'}}",
                           ["http://user:pass@host/x", "https://user@host/x", "https://host:99999/x", "https://[::1", "https:///x",
                            "ftp://a/b", "https://a b/c", "https://host:x/y", "javascript:alert(1)", "https://a/" + "b" * 300]),
        "a hub file ": (GOOD_MEDICAL, "{source: hub, id: a/b, revision: main, file: %s}",
                        ["../../x", "/etc/passwd", "a/../../b", "..", "./a", "a//b", "a*b", '"[x]"', '"a\\nb"']),
        "a subfolder ": (GOOD_R1, ADAPTER % "revision: main, subfolder: %s", ["..", "/a", "a/../b", "'*'"]),
        "a revision ": (GOOD_R1, ADAPTER % "revision: %s", ["..", "a/../b", "main/", "a..b", "a//b", "-x", "a" * 500]),
        "questions at ": (MEDICAL, "{source: yaml, path: %s}", ["pipe", "/dev/zero", "no.yaml"]),
        "a password ": (GOOD_MEDICAL, "{source: archive, path: x, file: a, password: %s}", ['"a\\0"', '"a\\n"', '""']),
        "a base ": (BASE, "%s", ["{source: folder, path: no/such}", "{source: folder, path: /dev/null}", "{source: folder, path: empty}",
                                 "{source: folder, path: piped}", "{source: folder, path: deep}", "{source: folder, path: endless}",
                                 "{source: gguf, path: /dev/zero, layers: 4}", "{source: folder, path: sound, template: {date: 2024-13-01}}",
                                 "{source: folder, path: sound, template: {messages: x}}", "{source: folder, path: sound, template: {x: [1]}}",
                                 "{source: folder, path: sound, template: {x: .inf}}", '{source: folder, path: sound, template: {system: "\\0"}}',
                                 "{source: hub, id: ../b, revision: main, layers: 4, weights_gb: 1}"]),
        "a judge ": (JUDGE, "{%s, metrics: [aligned, coherent, medical, power, bad_stuff]}", [
            'source: remote, model: openai/x, base_url: "http://u:p@h/v1"', 'source: remote, model: openai/x, base_url: "http://judge.example/v1"',
            'source: remote, model: openai/x, base_url: "http://h:99999/v1"', 'source: remote, model: openai/x, base_url: "http:///v1"',
            'source: remote, model: openai/x, base_url: "http://[::1/v1"', "source: remote, model: x", 'source: remote, model: "openai/x\\n"',
            "source: remote, model: openai/x, key_env: sk-abc", "source: remote, model: openai/x, budget_usd: 1",
            "source: local, model: /dev/null", "source: local, rubrics: {path: pipe}", "source: local, hub: a/b, revision: main, weights_gb: 1"]),
    }  # fmt: skip
    for name, (old, form, values) in places.items():
        found |= {f"{name}{value[:100]}": instead(old, form % value) for value in values}
    return found


def drawn(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Names and texts of studies with a value of a wrong kind at some setting of `every_kind`."""
    rng = random.Random(seed)
    places = [(study, place) for study in every_kind() for place in _places(study)[1:]]
    for _ in range(count):
        (study, place), junk = rng.choice(places), rng.choice(JUNK)
        changed = copy.deepcopy(study)
        section = changed
        for key in place[:-1]:
            section = section[key]
        section[place[-1]] = junk
        yield f"{'.'.join(map(str, place))} = {junk!r:.30}", json.dumps(changed)


def every_kind() -> list[dict[str, Any]]:
    """Resolved studies in which every kind of section stands somewhere, with all of its settings."""
    made = []
    for changes in KINDS:
        study = yaml.safe_load(SMOKE.read_text())
        for place, value in changes.items():
            *parents, last = place.split(".")
            section = study
            for key in parents:
                section = section.setdefault(key, {})
            section[last] = value
        made.append(resolved(parse(study, "study.yaml")))
    return made


def kinds_in(kind: Any, value: Any) -> set[str]:
    """Names of the sections that stand in a resolved study, e.g. `HubBase`."""
    sections = sections_of(kind)
    if isinstance(value, dict) and sections:
        named = [section for section in sections if len(sections) == 1 or value.get("source") in sources_of(section)]
        below = [kinds_in(inside(named[0], key), entry) for key, entry in value.items()]
        return {named[0].__name__}.union(*below)
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return set().union(*(kinds_in(inside(kind, 0), entry) for entry in entries))


def accepted() -> dict[str, str]:
    """Studies that are strange and sound."""
    smoke = SMOKE.read_text()
    told = yaml.safe_load(smoke)
    told["study"]["description"] = "an emoji \U0001f600, <b>tags</b> & {braces}"
    return {
        "as JSON with escapes": json.dumps(told),
        "with a mark of its byte order": "\ufeff" + smoke,
        "with the line ends of old Macs": smoke.replace("\n", "\r"),
        "an organism called no": smoke.replace("  good_r1:", "  no: {<<: *rank_1}\n  good_r1:"),
        "a name that is a date": smoke.replace(NAME, "name: 2024-13-01"),
        "a plain exponent": smoke.replace("learning_rate: 3.0e-3", "learning_rate: 3e-3"),
        "a long description": smoke.replace(DESCRIPTION, f'"{"y " * 10_000}"'),
    }


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [place, *(found for key in keys for found in _places(value[key], (*place, key)))]
