"""The figures of the experiments, from their tables: one question each, intervals and n on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workflow_scripts.experiments import figures
from workflow_scripts.reporting.style import say_where_empty
from workflow_scripts.runtime import command
from workflow_scripts.store.artefacts import replacing
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def save(figure: Drawing, layout: Layout, name: str) -> None:
    """Writes a figure as SVG and PNG."""
    for form in ("svg", "png"):
        with replacing(layout.figure(name, form)) as temporary:
            metadata = {"Date": None} if form == "svg" else None
            figure.savefig(temporary, format=form, dpi=160, metadata=metadata)


def main(arguments: list[str]) -> None:
    given = command.parser(__doc__).parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    for name, figure in figures(study).items():
        drawing = figure.draw(study, layout)
        say_where_empty(drawing)
        save(drawing, layout, name)


if __name__ == "__main__":
    command.run(main)
