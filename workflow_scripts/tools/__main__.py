"""Lists the tools and runs one: `python -m workflow_scripts.tools NAME …`."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

MODULES = {
    "import": "import_judged",
    "em-rates": "em_rates",
    "steering": "steering_tables",
    "adapter-shares": "adapter_share_tables",
    "patching": "patching_tables",
    "directions": "directions",
    "export": "export",
    "agreement": "agreement",
    "rejudge": "rejudge",
    "probes": "probe_scalars",
    "chat": "chat",
    "capabilities": "capabilities",
    "power": "power",
    "prune": "prune",
    "memory": "memory",
    "robustness": "robustness",
    "simulate": "simulate",
    "rehearse": "rehearse",
    "bench": "bench",
    "bench-judge": "bench_judge",
}
"""What people call a tool, and its module."""


def listing() -> str:
    """A line for each tool: its name, and what its module's docstring says first."""
    lines = []
    for name, module in MODULES.items():
        tree = ast.parse(Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8"))
        lines.append(f"  {name:<14} {(ast.get_docstring(tree) or '').splitlines()[0]}")
    return "\n".join(["usage: python -m workflow_scripts.tools NAME [--help | …]", *lines])


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(listing())
        return 0
    name, *given = arguments
    if name not in MODULES:
        print(f"error: there is no tool {name!r}.\n{listing()}", file=sys.stderr)
        return 1
    try:
        module = importlib.import_module(f"workflow_scripts.tools.{MODULES[name]}")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "workflow_scripts":
            raise
        print(
            f"error: {sys.executable} lacks the package {package}; use the project's environment, which `make setup` "
            "makes: source .venv/bin/activate.",
            file=sys.stderr,
        )
        return 1
    from workflow_scripts.runtime import command

    command.run(module.main, given)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
