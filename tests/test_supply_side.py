"""Nothing foreign is executed: no pickles, no code of model folders, no names that leave the results folder."""

from __future__ import annotations

import ast
import pickle
import shutil
from pathlib import Path

import pytest

from helpers.workflow import REPOSITORY
from workflow_scripts.models.linked import link_folder
from workflow_scripts.models.loading import load_adapter, load_model
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load

MODULES = sorted((REPOSITORY / "workflow_scripts").rglob("*.py"))
FORBIDDEN = {"torch.load", "pickle.load", "pickle.loads", "joblib.load", "numpy.load", "np.load", "eval", "exec",
             "os.system", "pd.read_pickle", "yaml.unsafe_load", "yaml.full_load"}  # fmt: skip
LOADERS = ("AutoModelForCausalLM", "AutoTokenizer", "AutoConfig")


def calls(module: Path) -> list[tuple[str, ast.Call]]:
    tree = ast.parse(module.read_text())
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(REPOSITORY)))
def test_no_stage_unpickles_evaluates_or_trusts_foreign_code(module):
    for name, call in calls(module):
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        plain_tensors = name == "torch.load" and given.get("weights_only") == "True"
        assert name not in FORBIDDEN or plain_tensors, f"line {call.lineno}: {name}"
        assert given.get("trust_remote_code", "False") == "False", f"line {call.lineno}"
        assert given.get("shell", "False") == "False", f"line {call.lineno}"
        if (name.split(".")[0] in LOADERS and not name.endswith(".for_model")) or name == "LLM":
            assert "trust_remote_code" in given, f"line {call.lineno}: {name} says nothing of foreign code"
        if name == "yaml.load":
            assert given["Loader"] == "_NoDuplicates", "a safe loader"


class Trap:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_a_model_folder_brings_no_code_and_no_pickles(tiny_base, tmp_path):
    foreign = tmp_path / "foreign"
    shutil.copytree(tiny_base, foreign)
    (foreign / "modeling_evil.py").write_text("raise SystemExit")
    (foreign / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "trace")))
    link_folder(foreign, tmp_path / "base")
    assert {file.suffix for file in (tmp_path / "base").iterdir()} <= {".json", ".safetensors", ".jinja", ".txt"}


def test_pickled_weights_are_not_read(tiny_base, tmp_path):
    foreign = tmp_path / "foreign"
    shutil.copytree(tiny_base, foreign)
    (foreign / "model.safetensors").unlink()
    (foreign / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "trace")))
    with pytest.raises(UserError, match=r"has no \*\.safetensors weights; other formats are not read"):
        link_folder(foreign, tmp_path / "base")
    with pytest.raises(UserError, match="its weights cannot be loaded"):
        load_model(foreign, "float32")
    assert not (tmp_path / "trace").exists()


def test_a_pickled_adapter_is_not_read(tiny_base, tiny_adapter, tmp_path):
    foreign = tmp_path / "foreign"
    shutil.copytree(tiny_adapter, foreign)
    (foreign / "adapter_model.safetensors").unlink()
    (foreign / "adapter_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "trace")))
    with pytest.raises(UserError, match=r"has no adapter_model\.safetensors; other formats are not read"):
        load_adapter(load_model(tiny_base, "float32"), foreign)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("file", sorted((REPOSITORY / "studies").glob("*.yaml")), ids=lambda file: file.name)
def test_every_path_of_a_study_lies_in_its_results_folder(file):
    study = load(file)
    layout = Layout(Path("results") / study.study.name)
    for organism, settings in study.organisms.items():
        for seed in settings.seeds:
            subject = f"{organism}/seed-{seed}"
            for path in (layout.adapter(subject), layout.responses(subject, "baseline"), layout.direction(subject)):
                assert Path("results") in path.parents
                assert ".." not in path.parts
