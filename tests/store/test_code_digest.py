import pytest

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
