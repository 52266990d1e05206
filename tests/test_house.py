"""The rules of the house (docs/architecture.md), held by reading files: rooms, stages, rules, and what stands in them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.workflow import REPOSITORY
from workflow_scripts.tools.__main__ import MODULES as TOOLS

PACKAGE = REPOSITORY / "workflow_scripts"
LAYERS = (
    ("runtime", "estimation"),
    ("store", "miniature"),
    ("study",),
    ("models",),
    ("adapters", "reporting"),
    ("engines", "simulation"),
    ("judges", "experiments"),
    ("stages",),
    ("tools",),
)
"""The rooms from the bottom up; rooms of one layer do not import each other. Stages are the package's own modules."""

LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
WHO_MAY_IMPORT_THE_MINIATURE = {"judges", "stages", "tools"}
RULES = sorted((REPOSITORY / "rules").glob("*.smk"))
DOCUMENTS = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "results/README.md", "Makefile")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
STAGES = {file.stem for file in PACKAGE.glob("*.py")} - {"__init__"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(file: Path) -> str:
    """A module's dotted name below the package; of the package itself, nothing."""
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


NAMES = {name_of(file) for file in MODULES}


def room_of(name: str) -> str:
    """The room that a module lies in."""
    return "stages" if name in STAGES else name.split(".")[0]


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Modules of the package that a file imports, also within functions and for type checkers, with their lines."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: line {node.lineno}: a relative import"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in found:
            package, _, inside = name.partition(".")
            if package == PACKAGE.name:
                yield node.lineno, inside if inside in NAMES else inside.rpartition(".")[0]


def rules_of(file: Path) -> dict[str, str]:
    """The text of each rule of a file, by name."""
    parts = re.split(r"^rule (\w+):$", file.read_text(), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("file", MODULES, ids=lambda file: name_of(file) or "workflow_scripts")
def test_a_module_imports_its_own_room_and_lower_ones_only(file):
    own = name_of(file)
    for line, name in imports(file):
        assert own, f"line {line}: the package itself loads nothing; its public names are imported when asked for"
        room, other = room_of(own), room_of(name)
        if room == "stages":
            assert other != "stages", f"line {line}: a stage imports the stage {name}"
        if room != other:
            assert LEVEL[other] < LEVEL[room], f"line {line}: {room} imports {name}"
        if other == "miniature" != room:
            assert room in WHO_MAY_IMPORT_THE_MINIATURE, f"line {line}: {room} knows of the miniature"


def test_every_folder_is_a_room_with_a_layer_and_says_what_it_holds():
    folders = {folder for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file()}
    assert {folder.name for folder in folders} == set(LEVEL) - {"stages"}
    contents = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text()))
    for folder in folders:
        about = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
        assert len(about.split()) >= 12, f"{folder.name}: {about}"
        assert re.search(rf"^ +{folder.name} ", contents, re.M), f"the package does not name {folder.name}"
    for stage in STAGES:
        assert re.search(rf"\b{stage}\b", contents), f"the package does not name the stage {stage}"


def test_a_room_that_lists_its_modules_lists_all_of_them():
    for folder in {folder for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file()}:
        about = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
        listed = {name for row in re.findall(r"^\| (`.*?) \|", about, re.M) for name in re.findall(r"`(\w+)`", row)}
        listed |= set(re.findall(r"; `(\w+)`", about))
        held = {file.stem for file in folder.glob("*.py")} - {"__init__", "__main__"}
        assert not listed or held <= listed, f"{folder.name} does not list {', '.join(sorted(held - listed))}"


def test_rules_stages_and_logs_have_one_name():
    made = {name: text for file in RULES for name, text in rules_of(file).items()}
    assert set(made) == STAGES
    for name, text in made.items():
        assert re.findall(r"-m workflow_scripts\.(\w+) ", text) == [name]
        for what in ("log_of", "benchmark_of"):
            assert re.findall(rf'{what}\("(\w+)"', text) == [name], f"{name}: {what}"
        assert re.findall(r'\*\*tracked(?:_figures)?\("(\w+)"|\*\*(tracked_table)\(', text) == [
            ("", "tracked_table") if name == "tables" else (name, "")
        ]


def test_rule_files_say_what_they_read_and_make_and_quote_every_path():
    for file in RULES:
        assert file.read_text().startswith("# "), f"{file.name} opens with what it reads and makes"
        for name, text in rules_of(file).items():
            command = text.partition("shell:")[2]
            for field in re.findall(r"{((?:params\.study|input|output|log)[^}]*)}", command):
                assert field.endswith(":q"), f"{name}: {{{field}}} is not quoted"


@pytest.mark.parametrize("file", [*DOCUMENTS, *MODULES], ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_documents_name_files_modules_and_tools_that_are_there(file):
    text = file.read_text()
    for module in re.findall(r"python -m workflow_scripts\.([\w.]+)", text):
        assert module in NAMES, module
    for tool in re.findall(r"python -m workflow_scripts\.tools ([a-z][\w-]*)", text):
        assert tool in TOOLS, tool
    if file in DOCUMENTS:
        example = re.compile(r"x90_lengths|short_answers")  # of docs/adding_an_experiment.md
        for path in re.findall(r"(?:\]\(|`)((?:[\w.-]+/)+[\w.-]+\.(?:py|yaml|smk|md|sh|rst|in))\b", text):
            places = (REPOSITORY / path, PACKAGE / path, file.parent / path)
            assert example.search(path) or any(place.is_file() for place in places), path
