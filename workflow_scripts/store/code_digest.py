"""Digest of a stage's code: its module and everything of the package that it imports, directly or not.

Snakemake does not notice an edited imported module. Taken from the syntax tree without docstrings, so that comments,
formatting and documentation do not count. Three parts of the package are left out:

- `study`: what a stage takes from the study reaches it through its spec, by value;
- `runtime`: moves no result;
- the list of experiments: each table's digest follows its own experiment.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from workflow_scripts.store.artefacts import digest

PACKAGE = "workflow_scripts"
TRACKED_BY_VALUE = ("study", "runtime")
LISTS = ("experiments",)


def code_digest(*modules: str, root: Path | None = None) -> str:
    """Digest over the import closure of modules `workflow_scripts.<module>`, conditional and local imports included."""
    root = root or Path(__file__).parents[1]
    closure: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _module_file(root, name)
        if path is None or name in closure or name in LISTS or name.split(".")[0] in TRACKED_BY_VALUE:
            continue
        stamp = path.stat()
        closure[name], imported = _read(path, name, stamp.st_mtime_ns, stamp.st_size)
        waiting += imported
    return digest(*(part for name in sorted(closure) for part in (name, closure[name])))


def _module_file(root: Path, name: str) -> Path | None:
    path = root.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _read(path: Path, name: str, _changed: int, _size: int) -> tuple[str, list[str]]:
    """Canonical syntax tree of a file and the names of the package's modules that it imports."""
    tree = ast.parse(path.read_text())
    imported: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == PACKAGE:
            inside = ".".join((node.module or "").split(".")[1:])
            imported += [inside] if inside else []
            imported += [f"{inside}.{alias.name}" if inside else alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            imported += [a.name.split(".", 1)[1] for a in node.names if a.name.startswith(f"{PACKAGE}.")]
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            _drop_docstrings(node)
    return ast.dump(tree), imported


def _drop_docstrings(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    """Removes string expressions that stand alone: docstrings, and the attribute docstrings of the study schema."""
    node.body = [
        child
        for child in node.body
        if not (
            isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant) and isinstance(child.value.value, str)
        )
    ] or [ast.Pass()]
