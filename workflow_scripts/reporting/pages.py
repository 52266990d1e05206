"""Self-contained HTML pages around a searchable table (DataTables, through itables)."""

from __future__ import annotations

import html
from typing import Any

import pandas as pd

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
