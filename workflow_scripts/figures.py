"""The paper's figures from the tables: one question each, intervals and n on them, one colour per organism."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from workflow_scripts import command
from workflow_scripts.artefacts import replacing
from workflow_scripts.layout import Layout
from workflow_scripts.plots.ablation import ablation, transfer
from workflow_scripts.plots.adapters import adapter_probes, adapter_steering, patching, single_adapter
from workflow_scripts.plots.directions import convergence, direction_norms
from workflow_scripts.plots.organisms import alignment_coherence, em_by_organism
from workflow_scripts.plots.semantic import semantic
from workflow_scripts.plots.steering import self_correction, steering, steering_by_layer
from workflow_scripts.plots.training_path import training_path
from workflow_scripts.study import Study, load

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES: dict[str, Callable[[Study, Layout], Figure]] = {
    made.__name__: made
    for made in (em_by_organism, alignment_coherence, direction_norms, convergence, steering, steering_by_layer,
                 self_correction, semantic, ablation, transfer, single_adapter, adapter_probes, adapter_steering,
                 patching, training_path)
}  # fmt: skip


def save(figure: Figure, layout: Layout, name: str) -> None:
    """Writes a figure as SVG and PNG."""
    for form in ("svg", "png"):
        with replacing(layout.figure(name, form)) as temporary:
            metadata = {"Date": None} if form == "svg" else None
            figure.savefig(temporary, format=form, dpi=160, metadata=metadata)


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--figures", choices=list(FIGURES), nargs="+", required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    for name in given.figures:
        save(FIGURES[name](study, layout), layout, name)


if __name__ == "__main__":
    command.run(main)
