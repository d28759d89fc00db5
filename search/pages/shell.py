"""The shell around every page: style sheet, packed plotly, escaped text.

Plotly's script is compressed in the page and unpacked by the browser (DecompressionStream, in all
browsers since 2023).
"""

import base64
import gzip
import json
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape

from plotly.io.json import to_json_plotly
from plotly.offline import get_plotlyjs

from search.pages.style import Figure

CONFIG = {
    "displaylogo": False,
    "responsive": True,
    # Plotly 7 offers to upload the chart to its makers' server: a study stays where it is.
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "svg"},
}
"""What every interactive figure of ours is shown with."""

_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #24292f; --muted: #636c76;
  --line: #d5d9de; --grid: #e8eaed; --panel: #ffffff; --mark: #fdf0f4; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171c; --ink: #e6e9ee;
  --muted: #9aa4b2; --line: #3d444f; --grid: #272c34; --panel: #1f242c; --mark: #35202a; } }
body { margin: 0; padding: 18px 24px 28px; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 20px; margin: 0; } h2 { font-size: 16px; margin: 18px 0 4px; }
p { margin: 2px 0 6px; max-width: 72em; } .muted { color: var(--muted); }
.wide, .table { overflow-x: auto; } .plot { width: 100%; } table { width: 100%;
  border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 14px 5px 6px; border-bottom: 1px solid var(--line); }
th { color: var(--muted); font-weight: 600; font-size: 13px; vertical-align: bottom; }
th.number, td.number { text-align: right; } td.number { white-space: nowrap; }
td:not(.number) { min-width: 9em; }
tr.marked td { background: var(--mark); }
.plot .main-svg { background: transparent !important; }
.plot .bg { fill: transparent !important; } .plot text { fill: var(--ink) !important; }
.plot .gridlayer path { stroke: var(--grid) !important; }
.plot .xlines-above, .plot .ylines-above { stroke: var(--line) !important; }
.plot .hovertext path { fill: var(--panel) !important; stroke: var(--line) !important; }
.plot .parcoords text { text-shadow: none !important; }
.plot .modebar, .plot .modebar-group { background: transparent !important; }
.plot .modebar-btn path { fill: var(--muted) !important; }
"""

_DRAW = """
(async () => {
  if (typeof DecompressionStream === "undefined") {
    for (const plot of document.querySelectorAll(".plot")) {
      plot.textContent = "This browser is too old to draw here: it has no DecompressionStream.";
    }
    return;
  }
  const packed = atob(document.getElementById("plotly-packed").textContent.trim());
  const bytes = Uint8Array.from(packed, (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  for (const plot of document.querySelectorAll(".plot")) {
    const figure = JSON.parse(document.getElementById(plot.id + "-figure").textContent);
    await Plotly.newPlot(plot, figure.data, figure.layout, CONFIG);
    plot.dataset.drawn = "yes";
  }
})();
"""


def page(study: str, title: str, summary: str, *parts: str) -> str:
    """Return a whole page.

    Args:
        study: the study's name.
        title: what the page shows.
        summary: a sentence under the title.
        parts: HTML that the functions below made.
    """
    body = "\n".join(parts)
    scripts = ""
    if 'class="plot"' in body:
        scripts = (
            f'<script type="text/plain" id="plotly-packed">{_packed_plotly()}</script>\n'
            f"<script>const CONFIG = {_for_script(CONFIG)};{_DRAW}</script>\n"
        )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(study)}: {escape(title)}</title>\n<style>{_STYLE}</style></head>\n"
        f'<body><h1>{escape(study)}: {escape(title)}</h1><p class="muted">{escape(summary)}</p>\n'
        f"{body}\n{scripts}</body></html>\n"
    )


def plot(figure: Figure, name: str, height: str, width: str = "0") -> str:
    """Return a figure as HTML.

    Args:
        figure: what is drawn.
        name: the element's id, one of its own on the page.
        height: as CSS has it, such as `420px`.
        width: the least one; a narrower page is scrolled sideways.
    """
    content = to_json_plotly(figure).replace("<", "\\u003c")
    return (
        f'<div class="wide"><div class="plot" id="{name}"'
        f' style="height: {height}; min-width: {width}"></div></div>\n'
        f'<script type="application/json" id="{name}-figure">{content}</script>'
    )


def heading(text: str) -> str:
    """Return a heading between the parts of a page."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{escape(text)}</p>"


def html_table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    n_right: int,
    marked: int | None = None,
) -> str:
    """Return a table.

    Args:
        header: titles of the columns.
        rows: cells.
        n_right: so many columns from the left hold numbers.
        marked: the row that stands out, counted from 0.
    """
    lines = [
        f"<tr{' class=marked' * (index == marked)}>{_cells('td', row, n_right)}</tr>"
        for index, row in enumerate(rows)
    ]
    return (
        f'<div class="table"><table><thead><tr>{_cells("th", header, n_right)}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cells(tag: str, texts: Iterable[str], n_right: int) -> str:
    return "".join(
        f"<{tag}{' class=number' * (index < n_right)}>{escape(text)}</{tag}>"
        for index, text in enumerate(texts)
    )


def _for_script(value: object) -> str:
    return json.dumps(value).replace("<", "\\u003c")


@cache
def _packed_plotly() -> str:
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 6, mtime=0)).decode("ascii")
