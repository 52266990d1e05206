"""Self-contained HTML pages: the report, and searchable tables (DataTables, through itables).

What models and people wrote is text: it is escaped wherever it goes into a page.
"""

from __future__ import annotations

import html
import math
from pathlib import Path
from typing import Any

import pandas as pd

PAGE = Path(__file__).with_name("report.html.jinja")
RESPONSES_PAGE = tuple(Path(__file__).with_name(f"responses.{end}") for end in ("html.jinja", "js", "css"))
"""Template, script and style of the response browser."""
LONGEST = 4000
"""Characters of a response in the report; the browser has all of them."""

STYLE = (
    "body{font:14px/1.45 system-ui,sans-serif;margin:1.5em;color:#222} h1{font-size:1.3em} p{max-width:60em}"
    " td{vertical-align:top}"
    " table td.wide{white-space:normal!important;overflow-wrap:anywhere;min-width:14em;text-align:left}"
)


def table_page(frame: pd.DataFrame, title: str, intro: str, listed: list[str], wide: list[str]) -> str:
    """A page that needs no network: search over everything, a filter in every column's header.

    Args:
        frame: the table, one HTML row each.
        title, intro: plain text above it.
        listed: columns filtered by ticking values; the others are filtered by text or by number.
        wide: columns of running text.
    """
    from itables import options, to_html_datatable
    from itables.javascript import generate_init_offline_itables_html

    positions = {name: index for index, name in enumerate(frame.columns)}
    definitions: list[dict[str, Any]] = [
        {"targets": [positions[name] for name in listed], "columnControl": ["order", ["searchList"]]},
        {"targets": [positions[name] for name in wide], "className": "wide"},
    ]
    table = to_html_datatable(
        frame,
        connected=False,
        maxBytes=0,
        columnControl=["order", ["search"]],
        columnDefs=definitions,
        ordering={"indicators": False},
        pageLength=25,
        style="width:100%",
        allow_html=False,
    )
    bundle = generate_init_offline_itables_html(options.dt_bundle).split("<div style=", 1)[0]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<link rel="icon" href="data:,"><style>{STYLE}</style></head><body><h1>{html.escape(title)}</h1>'
        f"<p>{html.escape(intro)}</p>{bundle}{table}</body></html>"
    )


def render(template: Path, **values: Any) -> str:
    """A page from its template, in which every value is escaped that is not made by the template itself."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(template.parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template.name).render(chip=score_chip, cut=shortened, **values)


def score_chip(name: str, score: float) -> Any:
    """A score with its colour, orange (0) over white to blue (100), which the colour-blind tell apart."""
    from markupsafe import Markup

    if math.isnan(score):
        return Markup('<span class="score">{} –</span>').format(name)
    side, strength = ("213,94,0", 50 - score) if score < 50 else ("0,114,178", score - 50)
    look = f"background:rgba({side},{max(0.0, strength) / 80:.2f})"
    return Markup('<span class="score" style="{}">{} {:.0f}</span>').format(look, name, score)


def shortened(text: str) -> str:
    """A response as long as the report shows it."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text):,} characters)"


def restructured(text: str) -> Any:
    """A caption's reStructuredText as HTML; it is the project's own."""
    from docutils.core import publish_parts
    from markupsafe import Markup

    settings = {"file_insertion_enabled": False, "raw_enabled": False, "report_level": 5}
    return Markup(publish_parts(text, writer="html5", settings_overrides=settings)["fragment"])
