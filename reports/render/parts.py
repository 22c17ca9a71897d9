"""The pieces that every section of the page is made of: chips, tables, durations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.model import Finding, Status
from reports.render.escape import page

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Tone and sign of each status: colour is never the only difference.
_CHIPS = {
    Status.PASS: ("t-go", "\u2713"),
    Status.FAIL: ("t-no", "\u2715"),
    Status.INVALID: ("t-un", "!"),
    Status.INCONCLUSIVE: ("t-un", "?"),
    Status.NOT_RUN: ("t-off", "\u2013"),
    Status.MANUAL: ("t-off", "\u270e"),
}


def chip(status: Status, note: str = "") -> str:
    """Return a status as a coloured word with a sign."""
    tone, sign = _CHIPS[status]
    name = str(status).replace("_", " ")
    said = f"{name} {page(note)}" if note else name
    return f'<span class="chip {tone}"><span aria-hidden="true">{sign} </span>{said}</span>'


def finding_chip(finding: Finding) -> str:
    """Return a finding's status; a waived failure says so."""
    return chip(finding.status, "(waived)" if finding.waived else "")


def section(title: str, body: str, *, ident: str = "", css: str = "") -> str:
    """Return a titled section; `body` is HTML already."""
    named = f' id="{ident}"' if ident else ""
    styled = f' class="{css}"' if css else ""
    return f"<section{named}{styled}><h2>{title}</h2>{body}</section>"


def bullets(items: Sequence[str]) -> str:
    """Return a list of items that are HTML already."""
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>" if items else ""


def empty(text: str) -> str:
    """Return a line that says that there is nothing, and why."""
    return f'<p class="empty">{text}</p>'


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], css: str = "") -> str:
    """Return a table of cells that are HTML already; the first cell of each row heads it."""
    return table_of(caption, head, [row(one) for one in rows], css)


def table_of(caption: str, head: Sequence[str], rows: Iterable[str], css: str = "") -> str:
    """Return a table of rows that are HTML already; it scrolls sideways where it must."""
    heads = "".join(f'<th scope="col">{name}</th>' for name in head)
    styled = f' class="{css}"' if css else ""
    return (
        f'<div class="wide"><table{styled}><caption>{caption}</caption><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def row(cells: Sequence[str], ident: str = "") -> str:
    """Return one row; its first cell heads it."""
    first, *rest = cells
    named = f' id="{ident}"' if ident else ""
    return f'<tr{named}><th scope="row">{first}</th>{"".join(f"<td>{one}</td>" for one in rest)}</tr>'


def more(hidden: int, where: str) -> str:
    """Return a line that says how many were left out, and where they are."""
    return f'<p class="soft">{hidden} more in {where}.</p>' if hidden > 0 else ""


def duration(seconds: float) -> str:
    """Return a duration for people."""
    whole = round(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60:02d} s"  # noqa: PLR2004 - two minutes
