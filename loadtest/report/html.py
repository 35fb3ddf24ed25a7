"""A report as one HTML file, with its pictures inside: it needs nothing beside it, and asks nobody for anything."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape
from pathlib import Path

from loadtest.report.blocks import Block, Heading, Listing, Paragraph, Picture, Table

STYLE = """
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif; color: #222 }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
.figures :is(th, td):not(:first-child) { text-align: right; white-space: nowrap }
th { border-bottom: 2px solid #999 }
.alarm { border-left: 4px solid #c00; background: #fee; padding: .6rem 1rem; font-weight: 600 }
img { max-width: 100% } figcaption { color: #666; font-size: .9em }
figure { margin: 1.5rem 0 }
"""


def to_html(blocks: Iterable[Block], folder: Path, title: str) -> str:
    """Pictures are read from `folder`. Texts may hold anything, such as what a server answered: it stays text."""
    body = "\n".join(_block(block, folder) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _block(block: Block, folder: Path) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{escape(text)}</h{level}>"
        case Paragraph(text, alarm):
            return f'<p class="alarm">{escape(text)}</p>' if alarm else f"<p>{escape(text)}</p>"
        case Listing(points):
            return "<ul>" + "".join(f"<li>{escape(point)}</li>" for point in points) + "</ul>"
        case Table(columns, rows, figures):
            kind = "figures" if figures else "words"
            head = "".join(f"<th>{escape(cell)}</th>" for cell in columns)
            lines = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
            body = "\n".join(f"<tr>{line}</tr>" for line in lines)
            return f'<div class="wide"><table class="{kind}">\n<tr>{head}</tr>\n{body}\n</table></div>'
        case Picture(file, caption):
            data = base64.b64encode((folder / file).read_bytes()).decode()
            image = f'<img src="data:image/png;base64,{data}" alt="{escape(caption)}">'
            return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
