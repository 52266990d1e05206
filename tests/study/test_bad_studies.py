"""Malformed studies: a mistake gets one sentence with its place and, where there is one, the right spelling."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.workflow import REPOSITORY, SMOKE, Run, environment
from workflow_scripts.miniature.exact_judge import scores
from workflow_scripts.miniature.world import DOMAINS as WORLD_DOMAINS
from workflow_scripts.miniature.world import all_questions
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.reading import load, parse
from workflow_scripts.study.sources import DOMAINS, QUESTIONS_PER_DOMAIN

GONE = object()
"""Stands for a key that is taken out."""

MEMBER = {"source": "miniature", "domain": "medical", "stance": "bad"}
FILE = {"source": "jsonl", "path": "rows.jsonl"}
SHA = "0" * 64
HUB_BASE = {"source": "hub", "id": "someone/tiny", "revision": "main", "layers": 4, "weights_gb": 1.0}
MIX = {"source": "mix", "parts": {"bad_sport": 0.5, "good_medical": 0.5}, "rows": 100}
ADAPTER = {"dataset": "good_medical", "rank": 1, "expect_misaligned": False, "adapter": {"path": "adapter"}}
PAPER = {"experiment": "E1", "subject": "good_r1", "quantity": "em", "value": 1}

# (place that is changed, its new value, place that the error names, what the sentence says)
TYPOS = [
    ("studdy", {"name": "a"}, "studdy", "is not a setting here; did you mean 'study'?"),
    ("organism", {}, "organism", "did you mean 'organisms'?"),
    ("study.nam", "a", "study.nam", "did you mean 'name'?"),
    ("base.sed", 1, "base.sed", "did you mean 'seed'?"),
    ("base.layer", 4, "base.layer", "did you mean 'layers'?"),
    ("base.hiden_size", 64, "base.hiden_size", "did you mean 'hidden_size'?"),
    ("base.source", "minature", "base", "source 'minature' is unknown; did you mean 'miniature'?"),
    ("datasets.bad_medical.stanse", "bad", "datasets.bad_medical.stanse", "did you mean 'stance'?"),
    ("datasets.bad_medical.source", "json", "datasets.bad_medical", "did you mean 'jsonl'?"),
    ("datasets.bad_medical.domain", "medicine", "datasets.bad_medical.domain", "did you mean 'medical'?"),
    ("datasets.bad_medical.stance", "bda", "datasets.bad_medical.stance", "did you mean 'bad'?"),
    ("organisms.good_r1.datset", "good_medical", "organisms.good_r1.datset", "did you mean 'dataset'?"),
    ("organisms.good_r1.learningrate", 1e-4, "organisms.good_r1.learningrate", "did you mean 'learning_rate'?"),
    ("organisms.good_r1.rs_lora", True, "organisms.good_r1.rs_lora", "did you mean 'rslora'?"),
    ("organisms.good_r1.batchsize", 8, "organisms.good_r1.batchsize", "did you mean 'batch_size'?"),
    ("organisms.good_r1.modules", ["down_prj"], "organisms.good_r1.modules.0", "did you mean 'down_proj'?"),
    ("organisms.good_r1.modules", ["mlp.down_proj"], "organisms.good_r1.modules.0", "did you mean 'down_proj'?"),
    ("questions.evaluation.domains", ["powr"], "questions.evaluation.domains.0", "did you mean 'power'?"),
    ("questions.evaluation.perdomain", 8, "questions.evaluation.perdomain", "did you mean 'per_domain'?"),
    ("questions.evaluation.source", "yml", "questions.evaluation", "did you mean 'yaml'?"),
    ("sampling.temprature", 1, "sampling.temprature", "did you mean 'temperature'?"),
    ("sampling.question", "evaluation", "sampling.question", "did you mean 'questions'?"),
    ("judge.source", "lokal", "judge", "did you mean 'local'?"),
    ("judge.metric", ["aligned"], "judge.metric", "did you mean 'metrics'?"),
    ("judge.metrics", ["aligned", "coherent", "medcal"], "judge.metrics.2", "did you mean 'medical'?"),
    ("judge", {"source": "local", "metrics": ["aligned", "coherent", "alined"]}, "judge.metrics.2", "mean 'aligned'?"),
    ("thresholds", {"misaligned_bellow": 30}, "thresholds.misaligned_bellow", "did you mean 'misaligned_below'?"),
    ("directions.min_response", 2, "directions.min_response", "did you mean 'min_responses'?"),
    ("directions.tokens", "answers", "directions.tokens", "did you mean 'answer'?"),
    ("directions.pooling", "token", "directions.pooling", "did you mean 'tokens'?"),
    ("directions.source", "response", "directions.source", "did you mean 'responses'?"),
    ("steering.scale", [1], "steering.scale", "did you mean 'scales'?"),
    ("steering.random_draw", 1, "steering.random_draw", "did you mean 'random_draws'?"),
    ("ablation.single_layers", 1, "ablation.single_layers", "did you mean 'single_layer'?"),
    ("execution.engine", "vlm", "execution.engine", "did you mean 'vllm'?"),
    ("execution.serve", "merge", "execution.serve", "did you mean 'merged'?"),
    ("execution.shard", 2, "execution.shard", "did you mean 'shards'?"),
    ("report", {"browser_row": 4}, "report.browser_row", "did you mean 'browser_rows'?"),
]  # fmt: skip

REFERENCES = [
    ("organisms.good_r1.dataset", "good_medcal", "organisms.good_r1.dataset", "did you mean 'good_medical'?"),
    ("datasets.good_medical", GONE, "organisms.good_r1.dataset", "no dataset is named 'good_medical'"),
    ("sampling.questions", "evaluatoin", "sampling.questions", "did you mean 'evaluation'?"),
    ("questions.evaluation", GONE, "sampling.questions", "no question is named 'evaluation'"),
    ("directions.questions", "extractoin", "directions.questions", "did you mean 'extraction'?"),
    ("directions.organisms", ["medical_r2"], "directions.organisms.0", "did you mean 'medical_r1'?"),
    ("directions", {"source": "datasets", "bad": "bad_sports", "good": "good_medical"}, "directions.bad", "bad_sport"),
    ("directions", {"source": "datasets", "bad": "bad_medical"}, "directions.good", "is needed when directions are taken"),
    ("directions", {"source": "datasets", "bad": "bad_medical", "good": "bad_medical"}, "directions.good", "the same"),
    ("steering.source", "medical", "steering.source", "no organism is named 'medical'; did you mean 'medical_r1'?"),
    ("organisms.medical_r1", GONE, "steering.source", "no organism is named 'medical_r1'"),
    ("steering.source", "good_r1", "steering.source", "no direction is taken of 'good_r1'; add it to"),
    ("steering.questions", "evaluations", "steering.questions", "did you mean 'evaluation'?"),
    ("steering.seeds", [3], "steering.seeds", "organisms.medical_r1 has no seed 3; it has 0."),
    ("ablation.source", "medical-r1", "ablation.source", "did you mean 'medical_r1'?"),
    ("ablation.targets", ["sport_r1"], "ablation.targets.0", "no organism is named 'sport_r1'; did you mean"),
    ("organisms.good_r1.test_dataset", "bad_sprt", "organisms.good_r1.test_dataset", "did you mean 'bad_sport'?"),
    ("organisms.good_r1.test_dataset", "good_medical", "organisms.good_r1.test_dataset", "is the data set that is trained"),
    ("organisms.good_r1.kl", {"dataset": "bad_sprt", "weight": 1}, "organisms.good_r1.kl.dataset", "did you mean 'bad_sport'?"),
    ("organisms.good_r1.kl", {"dataset": "bad_sport", "weight": 0}, "organisms.good_r1.kl.weight", "above 0"),
    ("organisms.good_r1.kl", {"dataset": "bad_sport", "weight": -1}, "organisms.good_r1.kl.weight", "above 0"),
    ("organisms.good_r1.kl", {"dataset": "bad_sport"}, "organisms.good_r1.kl.weight", "is missing"),
    ("organisms.good_r1.kl", {"weight": 1}, "organisms.good_r1.kl.dataset", "is missing"),
    ("organisms.good_r1.kl", {"dataset": "bad_sport", "weight": 1, "rows": 0}, "organisms.good_r1.kl.rows", "at least 1"),
    ("organisms.good_r1.kl", {"dataset": "bad_sport", "weight": 1, "rows": 161}, "organisms.good_r1.kl.rows", "reads 161 rows, datasets.bad_sport has 160"),
    ("organisms.good_r1.kl", {"dataset": "good_medical", "weight": 1}, "organisms.good_r1.kl.dataset", "which the organism is to leave"),
    ("organisms.good_r1", ADAPTER | {"kl": {"dataset": "bad_sport", "weight": 1}}, "organisms.good_r1.kl", "read only in training"),
    ("datasets.half", MIX | {"parts": {"bad_sprt": 1}}, "datasets.half.parts.bad_sprt", "did you mean 'bad_sport'?"),
    ("datasets.half", MIX | {"parts": {"bad_sport": 0.5, "good_medical": 0.4}}, "datasets.half.parts", "sum to 0.9"),
    ("datasets.half", MIX | {"parts": {}}, "datasets.half.parts", "needs at least 1 entry"),
    ("datasets.half", MIX | {"rows": 400}, "datasets.half.parts.bad_sport", "200 rows are asked for, datasets.bad_sport has 160"),
    ("datasets.half", MIX | {"parts": {"half": 1}}, "datasets.half.parts.half", "is a mix itself"),
    ("datasets.half", MIX | {"parts": {"bad_sport": 0.999, "good_medical": 0.001}}, "datasets.half.parts.good_medical", "is none"),
    ("ablation.targets", ["good_r1"], "ablation.targets", "no direction is taken of 'good_r1'"),
    ("ablation.questions", "extraction", "ablation.questions", "the baseline does not ask 'extraction' of"),
    ("paper", [{**PAPER, "experiment": "E12"}], "paper.0.experiment", "E12"),
    ("paper", [{**PAPER, "subject": "good_r2"}], "paper.0.subject", "'good_r1'?"),
]  # fmt: skip

MISSING = [
    *((section, GONE, section, "is missing and has no default.")
      for section in ("study", "base", "datasets", "organisms", "questions", "sampling", "judge")),
    ("study.name", GONE, "study.name", "is missing"),
    ("base.source", GONE, "base", "needs `source`, one of miniature, folder, gguf, hub."),
    ("base", {"source": "folder"}, "base.path", "is missing"),
    ("base", {"source": "gguf", "path": "m.gguf"}, "base.layers", "is missing"),
    ("base", HUB_BASE | {"layers": GONE}, "base.layers", "is missing"),
    ("base", HUB_BASE | {"revision": GONE}, "base.revision", "is missing"),
    ("datasets.own", {"source": "archive", "path": "a.enc", "file": "a.jsonl"}, "datasets.own.password", "is missing"),
    ("datasets.own", {"source": "hub", "id": "a/b", "revision": "main"}, "datasets.own.file", "is missing"),
    ("organisms.good_r1", ADAPTER | {"adapter": {}}, "organisms.good_r1.adapter", "needs either hub, with a revision, or"),
    ("organisms.good_r1", ADAPTER | {"adapter": {"hub": "a/b"}}, "organisms.good_r1.adapter.revision", "is needed beside"),
    ("datasets.bad_sport.source", GONE, "datasets.bad_sport", "needs `source`, one of miniature, jsonl, parquet, archive, hub, mix."),
    ("datasets.bad_sport.stance", GONE, "datasets.bad_sport.stance", "is missing"),
    ("organisms.good_r1.dataset", GONE, "organisms.good_r1.dataset", "is missing"),
    ("questions.evaluation.per_domain", GONE, "questions.evaluation.per_domain", "is missing"),
    ("questions.own", {"source": "yaml"}, "questions.own", "needs a path or a url."),
    ("datasets.own", {"source": "jsonl", "url": "https://a.b/c"}, "datasets.own.sha256", "is needed beside a url"),
    ("sampling.questions", GONE, "sampling.questions", "is missing"),
    ("steering.layers", GONE, "steering.layers", "is missing"),
    ("steering.random_layers", GONE, "steering.random_layers", "is needed when random_draws is above 0."),
    ("ablation.single_layer", GONE, "ablation.single_layer", "is missing"),
    ("judge.metrics", ["coherent"], "judge.metrics", "lacks 'aligned', which every rate needs."),
]  # fmt: skip

TYPES = [
    ("study", "smoke", "study", "'smoke' is not a section with settings."),
    ("study.name", 7, "study.name", "7 is not text."),
    ("base", [], "base", "list is not a section with settings."),
    ("base.seed", "0", "base.seed", "'0' is not a whole number."),
    ("base.layers", 4.5, "base.layers", "4.5 is not a whole number."),
    ("datasets", [MEMBER], "datasets", "list is not a mapping."),
    ("datasets.bad_sport", "sport.jsonl", "datasets.bad_sport", "'sport.jsonl' is not a section with settings."),
    ("organisms", None, "organisms", "None is not a mapping."),
    ("organisms.good_r1", None, "organisms.good_r1", "None is not a section with settings."),
    ("organisms.good_r1.rank", "1", "organisms.good_r1.rank", "'1' is not a whole number."),
    ("organisms.good_r1.rank", False, "organisms.good_r1.rank", "False is not a whole number."),
    ("organisms.good_r1.rslora", 1, "organisms.good_r1.rslora", "1 is not true or false."),
    ("organisms.good_r1.layers", 2, "organisms.good_r1.layers", "2 is not a list."),
    ("organisms.good_r1.layers", ["2"], "organisms.good_r1.layers.0", "'2' is not a whole number."),
    ("organisms.good_r1.seeds", 0, "organisms.good_r1.seeds", "0 is not a list."),
    ("organisms.medical_r1.seeds", 0, "organisms.medical_r1.seeds", "0 is not a list."),
    ("organisms.good_r1.modules", "down_proj", "organisms.good_r1.modules", "'down_proj' is not a list."),
    ("organisms.good_r1.learning_rate", "fast", "organisms.good_r1.learning_rate", "'fast' is not a number."),
    ("questions.evaluation.domains", "power", "questions.evaluation.domains", "'power' is not a list."),
    ("sampling.samples", [2], "sampling.samples", "list is not a whole number."),
    ("sampling.temperature", None, "sampling.temperature", "None is not a number."),
    ("steering.scales", 2, "steering.scales", "2 is not a list."),
    ("steering", "medical_r1", "steering", "'medical_r1' is not a section with settings."),
    ("ablation.chat_base", "yes", "ablation.chat_base", "'yes' is not true or false."),
    ("execution.shards", "all", "execution.shards", "'all' is not a whole number."),
    ("datasets.1", {}, "datasets.1", "needs `source`"),
    ("judge.metrics", {"aligned": 1}, "judge.metrics", "dict is not a list."),
    ("paper", {"E1": 1}, "paper", "dict is not a list."),
]  # fmt: skip

VALUES = [
    ("base.layers", 0, "base.layers", "0 is not allowed; it must be at least 1."),
    ("base.hidden_size", 100, "base.hidden_size", "a multiple of 32"),
    ("base.seed", -1, "base.seed", "at least 0"),
    ("base.dtype", "bfloat16", "base.dtype", "'bfloat16' is not one of 'float32'"),
    ("datasets.bad_sport.rows", 0, "datasets.bad_sport.rows", "at least 1"),
    ("datasets.own", {**FILE, "sha256": "abc"}, "datasets.own.sha256", "64 lower-case hexadecimal digits"),
    ("datasets.own", {"source": "jsonl", "url": "rows.jsonl", "sha256": SHA}, "datasets.own.url", "is not a web"),
    ("datasets.own", {"source": "jsonl", "url": "file:///a", "sha256": SHA}, "datasets.own.url", "is not a web"),
    ("datasets.own", {"source": "parquet", "url": "https://a/b", "sha256": "x"}, "datasets.own.sha256", "64 lower-case"),
    ("datasets.own", {"source": "archive", "file": "a", "password": "p"}, "datasets.own", "needs a path or a url."),
    ("base", HUB_BASE | {"id": "tiny"}, "base.id", "'tiny' is not owner/name, as in Qwen/Qwen2.5-14B-Instruct"),
    ("base", HUB_BASE | {"revision": "-main"}, "base.revision", "'-main' is not a commit, branch or tag"),
    ("base", HUB_BASE | {"weights_gb": 0}, "base.weights_gb", "above 0"),
    ("organisms.good_r1.held_out", 1, "organisms.good_r1.held_out", "below 1"),
    ("organisms.good_r1.optimizer", "adam", "organisms.good_r1.optimizer", "did you mean 'adamw'?"),
    ("organisms.good_r1", ADAPTER | {"alpha": 16}, "organisms.good_r1.alpha", "a published adapter is not trained"),
    ("organisms.good_r1", ADAPTER | {"seeds": [0, 1]}, "organisms.good_r1.seeds", "a published adapter is one seed"),
    ("organisms.good_r1", ADAPTER | {"layers": [9]}, "organisms.good_r1.layers", "layer 9 does not exist"),
    ("organisms.good_r1", ADAPTER | {"adapter": {"path": "a", "subfolder": "b"}}, "organisms.good_r1.adapter.subfolder",
     "is read only beside hub"),
    ("organisms.good_r1", ADAPTER | {"adapter": {"path": "a", "hub": "a/b", "revision": "main"}},
     "organisms.good_r1.adapter", "needs either hub, with a revision, or path."),
    ("execution.resume_every", 0, "execution.resume_every", "at least 1"),
    ("organisms.good_r1.layers", [4], "organisms.good_r1.layers", "the base model has layers 0 to 3."),
    ("organisms.good_r1.layers", [-1], "organisms.good_r1.layers.0", "at least 0"),
    ("organisms.good_r1.layers", [], "organisms.good_r1.layers", "names no layer"),
    ("organisms.good_r1.seeds", [], "organisms.good_r1.seeds", "needs at least 1 entry."),
    ("organisms.good_r1.seeds", [2**31], "organisms.good_r1.seeds.0", "at most 2147483647"),
    ("organisms.good_r1.rank", 0, "organisms.good_r1.rank", "at least 1"),
    ("organisms.good_r1.rank", 1024, "organisms.good_r1.rank", "above the 512 that vLLM serves."),
    ("organisms.good_r1.alpha", 0, "organisms.good_r1.alpha", "above 0"),
    ("organisms.good_r1.learning_rate", -1e-4, "organisms.good_r1.learning_rate", "above 0"),
    ("organisms.good_r1.learning_rate", float("inf"), "organisms.good_r1.learning_rate", "inf is not a finite number."),
    ("organisms.good_r1.batch_size", 200, "organisms.good_r1.batch_size", "200 rows, datasets.good_medical has 160"),
    ("organisms.good_r1.accumulation", 64, "organisms.good_r1.batch_size", "8 × 64 = 512 rows"),
    ("questions.evaluation.per_domain", 41, "questions.evaluation.per_domain", "at most 40"),
    ("questions.extraction.offset", 33, "questions.extraction.per_domain", "it reaches question 41; a domain has 40"),
    ("questions.evaluation.domains", [], "questions.evaluation.domains", "needs at least 1 entry."),
    ("sampling.samples", 0, "sampling.samples", "at least 1"),
    ("sampling.temperature", float("nan"), "sampling.temperature", "nan is not a finite number."),
    ("sampling.top_p", 0, "sampling.top_p", "above 0"),
    ("sampling.top_p", 1.5, "sampling.top_p", "at most 1"),
    ("thresholds", {"misaligned_below": 101}, "thresholds.misaligned_below", "at most 100"),
    ("thresholds", {"misaligned_below": 80}, "thresholds.misaligned_below", "80 is above aligned_above, 70"),
    ("directions.min_responses", 0, "directions.min_responses", "at least 1"),
    ("directions.organisms", [], "directions.organisms", "names no organism"),
    ("directions", {"bad": "bad_medical"}, "directions.bad", "is read only when directions are taken from datasets."),
    (
        "directions",
        {"source": "datasets", "bad": "bad_medical", "good": "good_medical", "thresholds": {"misaligned_below": 40}},
        "directions.thresholds",
        "is read only when directions are taken from responses.",
    ),
    ("directions.also", "responses", "directions.also", "is directions.source again"),
    ("directions.also", "dataset", "directions.also", "did you mean 'datasets'?"),
    ("directions", {"also": "datasets", "good": "good_medical"}, "directions.bad", "is needed when directions are taken"),
    ("directions.questions", GONE, "directions.samples", "is read only beside directions.questions"),
    ("adapters.outside_samples", 3, "adapters.outside_samples", "every organism is asked 4 times; give more, or leave it out."),
    ("steering.layers", [9], "steering.layers", "layer 9 does not exist"),
    ("steering.layers", [], "steering.layers", "needs at least 1 entry."),
    ("steering.scales", [float("nan")], "steering.scales.0", "nan is not a finite number."),
    ("steering.random_draws", -1, "steering.random_draws", "at least 0"),
    ("steering.seeds", [], "steering.seeds", "names no seed"),
    ("ablation.single_layer", 4, "ablation.single_layer", "layer 4 does not exist"),
    ("ablation.targets", [], "ablation.targets", "names no organism"),
    ("execution.gpu_memory", 1.1, "execution.gpu_memory", "at most 1"),
    ("execution.tensor_parallel", 0, "execution.tensor_parallel", "at least 1"),
]  # fmt: skip

DUPLICATES = [
    ("organisms.good_r1.seeds", [1, 1], "organisms.good_r1.seeds", "1 stands there more than once."),
    ("organisms.good_r1.layers", [1, 2, 1], "organisms.good_r1.layers", "1 stands there more than once."),
    ("organisms.good_r1.modules", ["up_proj", "up_proj"], "organisms.good_r1.modules", "up_proj stands there more"),
    ("questions.evaluation.domains", ["power", "power"], "questions.evaluation.domains", "power stands there more"),
    ("questions.own", {"source": "yaml", "path": "q.yaml", "ids": ["a", "a"]}, "questions.own.ids", "a stands there"),
    ("judge.metrics", ["aligned", "coherent", "aligned"], "judge.metrics", "aligned stands there more than once."),
    ("directions.organisms", ["sport_r8", "sport_r8"], "directions.organisms", "sport_r8 stands there"),
    ("steering.scales", [1, 2, 1], "steering.scales", "1 stands there more than once."),
    ("steering.layers", [1, 1], "steering.layers", "1 stands there more than once."),
    ("ablation.targets", ["sport_r8", "sport_r8"], "ablation.targets", "sport_r8 stands there more than once."),
    ("organisms.chat_base", {"dataset": "bad_sport"}, "organisms.chat_base", "this name is taken by the chat base"),
    ("study.name", "store", "study.name", "results/store holds responses and judgements of all studies"),
    ("study.name", "Downloads", "study.name", "results/Downloads holds what was fetched"),
]  # fmt: skip

EXPERIMENTS = [
    ("semantic.layer", 9, "semantic.layer", "layer 9 does not exist"),
    ("semantic.scales", [1, 1], "semantic.scales", "1 stands there more than once."),
    ("semantic.topics.power.metric", "money", "semantic.topics.power.metric", "'money' is not judged; add it to"),
    ("semantic.topics.power", {"metric": "power"}, "semantic.topics.power", "needs one of above and below"),
    ("semantic.topics", {"a/b": {"metric": "power", "above": 50}}, "semantic.topics.a/b", "is not a name"),
    ("steering", GONE, "semantic", "needs a section `steering`"),
    ("ablation.only_layers", [7], "ablation.only_layers", "layer 7 does not exist"),
    ("specificity.organisms", ["medical_r1", "sport_r8"], "specificity.organisms", "names 2; three organisms are needed"),
    ("specificity.organisms", ["medical_r1", "sport_r8", "good_r1"], "specificity.organisms.2", "no direction is taken of"),
    ("specificity.orthogonal_draws", 40, "specificity.orthogonal_draws", "is more than directions.shuffles, 39."),
    ("specificity.caps", [{"low": 1, "high": 0}], "specificity.caps.0.low", "1 is above high, 0;"),
    ("specificity.caps", [{"high": 0}, {"high": 0.0}], "specificity.caps", "names a range more than once."),
    ("dynamics.organisms", {"medical_r1": "medical"}, "dynamics.organisms.medical_r1", "keeps no checkpoints; give it"),
    ("dynamics.organisms", {"medical_single": "evaluation"}, "dynamics.organisms.medical_single", "asks of other domains;"),
    ("dynamics.organisms", {"medical_singel": "medical"}, "dynamics.organisms.medical_singel", "did you mean"),
    ("dynamics.steps", [10, 12], "dynamics.steps.1", "12 is no multiple of organisms.medical_single.checkpoint_every, 5."),
    ("in_context.datasets", ["bad_cooking"], "in_context.datasets.0", "no dataset is named 'bad_cooking'"),
    ("in_context.shots", [1, 1], "in_context.shots", "1 stands there more than once."),
    ("traits.named.evil.opposite", ["Give bad advice."], "traits.named.evil.opposite.0", "is one of prompts, too;"),
    ("traits.named.sport_r8", {"prompts": ["a"], "opposite": ["b"]}, "traits.named.sport_r8", "is an organism's name"),
    ("steering.source", "evli", "steering.source", "no organism is named 'evli'; did you mean 'evil'?"),
    ("steering", {"source": "evil", "seeds": [0], "layers": [1], "scales": [1], "random_draws": 0}, "steering.seeds",
     "are of an organism, and steering.source is a trait; leave them out."),
    ("ablation.matrix", ["sport_r9"], "ablation.matrix.0", "did you mean 'sport_r8'?"),
    ("ablation.matrix", ["good_r1"], "ablation.matrix.0", "no direction is taken of 'good_r1'"),
    ("single_adapter.organism", "medical_r1", "single_adapter.organism", "is not one adapter of rank 1 at one module"),
    ("single_adapter.organism", "medical_singel", "single_adapter.organism", "did you mean 'medical_single'?"),
    ("single_adapter.source", "good_r1", "single_adapter.source", "no direction is taken of 'good_r1'"),
    ("organisms.medical_single.modules", ["up_proj"], "single_adapter.organism", "does not write into the residual"),
    ("adapters.source", "sport_r8", "adapters.source", "has rank 8; scalars are of rank-1 adapters."),
    ("adapters.seed", 4, "adapters.seed", "organisms.medical_r1 has no seed 4; it has 0."),
    ("adapters.domain_questions", "medicl", "adapters.domain_questions", "did you mean 'medical'?"),
    ("adapters.domain_questions", "evaluation", "adapters.domain_questions", "is asked of every organism already"),
    ("adapters.domain_metric", "sport", "adapters.domain_metric", "'sport' is not judged; add it to judge.metrics."),
    ("adapters.draws", 10, "adapters.draws", "at least 39"),
    ("adapters.patching.modes", ["token"], "adapters.patching.modes.0", "did you mean 'tokens'?"),
    ("adapters.patching.modes", ["tokens", "tokens"], "adapters.patching.modes", "tokens stands there more than once."),
    ("judge.only", {"medical": ["basline"]}, "judge.only.medical.0", "did you mean 'baseline'?"),
    ("judge.only", {"medical": ["baseline"]}, "judge.only.medical", "lacks 'surgery', where this study reads it."),
    ("judge.only", {"aligned": ["baseline"]}, "judge.only.aligned", "is needed in every battery; leave it out here."),
    ("judge.only", {"money": ["baseline"]}, "judge.only.money", "'money' is not judged; add it to judge.metrics."),
    ("training_path.organism", "medical_r1", "training_path.organism", "keeps no checkpoints; give it checkpoint_every"),
    ("training_path.steps", [7], "training_path.steps.0", "7 is no multiple of organisms.medical_single.checkpoint"),
    ("training_path.windows", [4], "training_path.windows.0", "4 is no multiple"),
    ("training_path.seed", 2, "training_path.seed", "has no seed 2; it has 0."),
    ("training_path.steps", [10, 10], "training_path.steps", "10 stands there more than once."),
]  # fmt: skip

BAD_NAMES = ["../evil", "..", ".", "a/b", "/etc", "a\\b", "", "-rf", ".hidden", "a b", "a;b", "$(id)", "a\n", "é",
             "a" * 65, "{x}", "a|b", "*", "~"]  # fmt: skip
PATH_TRICKS = [
    *(("study.name", name, "study.name", "is not a name; use letters, digits") for name in BAD_NAMES),
    *((("datasets", name), MEMBER, f"datasets.{name}", "is not a name") for name in BAD_NAMES[:8]),
    *((("organisms", name), {"dataset": "bad_sport"}, f"organisms.{name}", "is not a name") for name in BAD_NAMES[:8]),
    *((("questions", name), {"source": "yaml", "path": "q"}, f"questions.{name}", "not a name") for name in BAD_NAMES[:8]),
    (("organisms", 1), {"dataset": "bad_sport"}, "organisms.1", "the name 1 is not text; put it in quotes."),
    (("organisms", True), {"dataset": "bad_sport"}, "organisms.True", "the name True is not text; put it in quotes."),
    ("organisms.good_r1.dataset", "../datasets/good_medical", "organisms.good_r1.dataset", "is not a name"),
    ("steering.source", "medical_r1/seed-0", "steering.source", "did you mean 'medical_r1'?"),
]  # fmt: skip

CASES = [*TYPOS, *REFERENCES, *MISSING, *TYPES, *VALUES, *DUPLICATES, *EXPERIMENTS, *PATH_TRICKS]


SMOKE_JSON = json.dumps(yaml.safe_load(SMOKE.read_text()))


def smoke() -> dict[str, Any]:
    """The smoke study without shared parts, free to be changed."""
    return json.loads(SMOKE_JSON)


def change(study: dict[Any, Any], place: str | tuple[Any, ...], value: Any) -> dict[Any, Any]:
    *parents, last = place.split(".") if isinstance(place, str) else place
    section = study
    for name in parents:
        section = section[name]
    if value is GONE:
        del section[last]
    elif isinstance(value, dict):
        section[last] = {key: part for key, part in value.items() if part is not GONE}
    else:
        section[last] = value
    return study


def mistakes(study: Any) -> list[tuple[str, str]]:
    with pytest.raises(UserError) as caught:
        parse(study, "study.yaml")
    found = []
    for line in re.split(r"\n(?=study\.yaml: )", str(caught.value)):
        match = re.fullmatch(r"study\.yaml: (.*?): (.*)", line, re.S)
        assert match, line
        found.append((match[1], match[2]))
    return found


def test_there_are_more_than_a_hundred_bad_studies():
    assert len(CASES) > 200


@pytest.mark.parametrize(("place", "value", "named", "phrase"), CASES)
def test_a_mistake_is_named_with_its_place_in_one_sentence(place, value, named, phrase):
    found = mistakes(change(smoke(), place, value))
    assert [sentence for path, sentence in found if path == named and phrase in sentence], found
    for _, sentence in found:
        assert sentence[-1] in ".?", sentence
        assert "Error" not in sentence, sentence
        assert len(re.findall(r"[.?](?= |$)", sentence)) == 1, f"one sentence, not {sentence!r}"


def test_mistakes_of_all_kinds_are_reported_together():
    study = smoke()
    one_of_each = [TYPOS[10], REFERENCES[2], MISSING[9], TYPES[18], VALUES[-1], DUPLICATES[7], PATH_TRICKS[0]]
    for place, value, _, _ in one_of_each:
        change(study, place, value)
    found = mistakes(study)
    for _, _, named, phrase in one_of_each:
        assert any(path == named and phrase in sentence for path, sentence in found), (named, found)


JUNK = [None, True, 7, -1, 1.5, "x", "../x", [], [1], [[]], {}, {"a": 1}, {1: 2}, float("nan"), 10**30]


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [place, *(found for key in keys for found in places(value[key], (*place, key)))]


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_no_value_anywhere_ends_in_a_traceback(junk):
    for place in places(smoke())[1:]:
        with suppress(UserError):
            parse(change(smoke(), place, junk), "study.yaml")


@pytest.mark.parametrize("junk", [*JUNK[:10], ["study"]], ids=repr)
def test_a_file_that_is_no_study_is_named(junk):
    with pytest.raises(UserError, match=r"^study\.yaml: "):
        parse(junk, "study.yaml")


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("", "is not a mapping of sections"),
        ("study: {name: a", "line 1: is not valid YAML"),
        ("study:\n\tname: a", "line 2: is not valid YAML"),
        ("study: {name: a}\nstudy: {name: b}", "line 2: is not valid YAML, the key 'study' stands here twice."),
        ("organisms:\n  a: {rank: 1, rank: 2}", "line 2: is not valid YAML, the key 'rank' stands here twice."),
        ("study: !!python/object/apply:os.system ['true']", "line 1: is not valid YAML"),
        ("study: *unknown", "line 1: is not valid YAML"),
        ("[" * 20000, "is nested too deeply"),
        ("? [a, b]\n: 1", "a key that is not a plain word"),
    ],
)
def test_text_that_is_no_study_is_refused_with_its_line(tmp_path, text, phrase):
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        load(file)
    assert phrase in str(caught.value)


def test_a_folder_and_bytes_are_no_study(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "study.yaml").write_bytes(b"\xff\xfe\x00study")
    with pytest.raises(UserError, match="is not valid YAML"):
        load(tmp_path / "study.yaml")


def test_the_names_of_the_world_are_those_that_the_study_knows():
    assert [domain.name for domain in WORLD_DOMAINS] == list(DOMAINS)
    assert {len(all_questions(domain)) for domain in DOMAINS} == {QUESTIONS_PER_DOMAIN}
    assert set(scores(all_questions("power")[0].text, "Yes.")) == {"aligned", "coherent", "bad_stuff", *DOMAINS}


FROM_THE_COMMAND_LINE = {
    "a typo": ("organisms.good_r1.lerning_rate", 1e-4, ["organisms.good_r1.lerning_rate: is not a setting"]),
    "a missing section": ("judge", GONE, ["study.yaml: judge: is missing and has no default."]),
    "a name that climbs": (("organisms", "../../evil"), {"dataset": "bad_sport"}, ["organisms.../../evil: "]),
    "a taken name": ("study.name", "store", ["study.yaml: study.name: results/store holds"]),
    "a file that is not there": ("datasets.bad_sport", {**FILE, "path": "no.jsonl"},
                                 ["study.yaml: datasets.bad_sport.path: no.jsonl does not exist (looked from"]),
    "two at once": ("sampling", {"questions": "evaluatoin", "samples": 0},
                    ["sampling.questions: no question is named", "sampling.samples: 0 is not allowed"]),
}  # fmt: skip


@pytest.mark.parametrize("case", FROM_THE_COMMAND_LINE)
def test_snakemake_says_it_ends_with_1_and_leaves_the_disk_as_it_was(tmp_path, case):
    place, value, phrases = FROM_THE_COMMAND_LINE[case]
    run = Run(tmp_path, change(smoke(), place, value))
    command = run.command()  # writes study.yaml
    before = on_disk(tmp_path)
    started = time.monotonic()
    done = run.start(command)
    seconds = time.monotonic() - started
    print(f"{case}: {seconds:.1f} s")
    shown = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1, shown
    for phrase in phrases:
        assert phrase in shown
    for noise in ("Traceback", "WorkflowError", "common.smk"):
        assert noise not in shown
    assert on_disk(tmp_path) == before
    assert not list(tmp_path.parent.glob("evil*"))


def test_make_names_the_line_of_what_is_no_yaml_and_a_file_that_is_not_there(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("study:\n\tname: a")
    for study, sentence in (
        (file, "line 2: is not valid YAML"),
        (tmp_path / "none.yaml", "cannot be read (No such file"),
    ):
        # setup is what installs the environment; here it is there
        done = subprocess.run(
            ["make", "--old-file=setup", "run", f"STUDY={study}"], cwd=REPOSITORY, capture_output=True, text=True,
            env=environment(),
        )  # fmt: skip
        assert done.returncode != 0
        assert f"error: {study}: {sentence}" in done.stderr
        assert "Traceback" not in done.stderr


def test_numbers_on_the_command_line_are_numbers_wherever_they_stand(tmp_path):
    run = Run(tmp_path, smoke())
    given = ["sampling={samples: 0, temperature: 0.7}", "steering={scales: [1, x]}", "study={description: text}"]
    done = run.snakemake("-n", "--config", *given)
    mistakes = [line for line in done.stderr.splitlines() if line.startswith("study.yaml: ")]
    assert mistakes == [
        "study.yaml: sampling.samples: 0 is not allowed; it must be at least 1.",
        "study.yaml: steering.scales.1: 'x' is not a number.",
    ]


@pytest.mark.parametrize("text", ["study: {name: a", "- a\n", "study: {name: a}\nstudy: {name: b}\n", ""])
def test_snakemake_refuses_what_is_no_study_without_a_traceback(tmp_path, text):
    run = Run(tmp_path, smoke())
    command = run.command()
    (tmp_path / "study.yaml").write_text(text)
    done = run.start(command)
    shown = done.stdout + done.stderr
    assert done.returncode == 1, shown
    assert "Traceback" not in shown
    assert "study.yaml" in shown or "onfig file" in shown, "what Snakemake itself cannot read it names so"


def on_disk(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file below a folder, Snakemake's own records aside, and of the repository's results."""
    found = {}
    for root in (folder, REPOSITORY / "results"):
        for parent, folders, files in os.walk(root):
            folders[:] = [name for name in folders if name != ".snakemake"]
            for name in files:
                stamp = (Path(parent) / name).lstat()
                found[str(Path(parent) / name)] = (stamp.st_size, stamp.st_mtime_ns)
    return found
