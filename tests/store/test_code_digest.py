import shutil
from pathlib import Path

import pytest

from helpers.workflow import REPOSITORY
from workflow_scripts.experiments import EXPERIMENTS
from workflow_scripts.store.code_digest import code_digest

STAGE = 'from workflow_scripts import helper\n\n\ndef run(x):\n    """Says it."""\n    return helper.double(x)  # why\n'
HELPER = "def double(x):\n    return 2 * x\n"


@pytest.fixture
def package(tmp_path):
    (tmp_path / "stage.py").write_text(STAGE)
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "other.py").write_text("VALUE = 1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "text", "changes"),
    [
        ("stage.py", STAGE.replace("# why", "# for another reason"), False),
        ("stage.py", STAGE.replace("Says it.", "Says it better."), False),
        ("stage.py", STAGE.replace("run(x)", "run( x )"), False),
        ("stage.py", STAGE.replace("(x)  #", "(x + 1)  #"), True),
        ("helper.py", HELPER.replace("2 *", "3 *"), True),
        ("other.py", "VALUE = 2\n", False),
    ],
    ids=["comment", "docstring", "formatting", "own code", "imported module", "unrelated module"],
)
def test_what_counts_as_a_change_of_code(package, file, text, changes):
    before = code_digest("stage", root=package)
    (package / file).write_text(text)
    assert (code_digest("stage", root=package) != before) == changes


def test_an_import_inside_a_function_counts(package):
    (package / "stage.py").write_text("def run():\n    from workflow_scripts.other import VALUE\n    return VALUE\n")
    before = code_digest("stage", root=package)
    (package / "other.py").write_text("VALUE = 2\n")
    assert code_digest("stage", root=package) != before


STAGES = sorted(file.stem for file in (REPOSITORY / "workflow_scripts").glob("[a-z]*.py"))


def digests(root):
    return {stage: code_digest(stage, root=root) for stage in STAGES}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("study/layout.py", '/ "figures" /', '/ "drawings" /'),
        ("study/experiments.py", "class Steering(Section):", "class Steering(Section):\n    another: int = 0"),
        ("study/specs.py", "def spec(", "def unused() -> int:\n    return 1\n\n\ndef spec("),
        ("runtime/errors.py", "class UserError", "WAIT = 2.0\n\n\nclass UserError"),
        ("runtime/gpu_lease.py", "import os\n", "import os\n\nPOLL = 7.5\n"),
        ("experiments/__init__.py", "EXPERIMENTS:", "COUNT = 3\nEXPERIMENTS:"),
    ],
    ids=["a folder's name", "a new setting", "a slice", "an error", "a poll interval", "the list of experiments"],
)
def test_the_study_s_code_the_runtime_and_the_registry_are_in_no_digest(tmp_path, file, old, new):
    root = Path(shutil.copytree(REPOSITORY / "workflow_scripts", tmp_path / "workflow_scripts"))
    before, text = digests(root), (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new, 1))
    assert digests(root) == before


def test_an_experiment_s_code_is_in_its_own_table_s_digest_alone(tmp_path):
    root = Path(shutil.copytree(REPOSITORY / "workflow_scripts", tmp_path / "workflow_scripts"))

    def tables():
        return {made.table: code_digest("tables", made.module, root=root) for made in EXPERIMENTS}

    before = tables()
    with (root / "experiments" / "e05_ablation.py").open("a") as file:
        file.write("NEW = 1\n")
    after = tables()
    assert {table for table in before if before[table] != after[table]} == {"ablation"}
