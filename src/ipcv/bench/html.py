"""Parts of a page of HTML that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import quote

STYLE_SHEET = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; background: white; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: 0.2rem 0.7rem; text-align: right; white-space: nowrap; }
tr { border-bottom: 1px solid #8886; }
th:first-child, td:first-child { text-align: left; }
"""


def text(content: str) -> str:
    """A paragraph."""
    return f"<p>{escape(content)}</p>"


def heading(content: str) -> str:
    """The heading of a section."""
    return f"<h2>{escape(content)}</h2>"


def figure(address: str, description: str) -> str:
    """A picture, and under it what it shows."""
    described = escape(description)
    return (
        f'<figure><img src="{address}" alt="{described}">'
        f"<figcaption>{described}</figcaption></figure>"
    )


def download(name: str, content: str) -> str:
    """A link that saves a JSON file of this name."""
    return (
        f'<a download="{escape(name)}" href="data:application/json,{quote(content)}">'
        f"{escape(name)}</a>"
    )


def table(caption: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """A caption, and a table with a first column of names. Cells are HTML: `escape` all else."""
    head = "".join(f"<th>{escape(column)}</th>" for column in ("", *columns))
    body = "".join(
        f"<tr><td>{escape(name)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        for name, cells in rows.items()
    )
    return (
        f'<p>{escape(caption)}</p><div class="wide"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def page(title: str, parts: Sequence[str]) -> str:
    """The whole page."""
    return "\n".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{STYLE_SHEET}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            *parts,
            "</body></html>\n",
        )
    )
