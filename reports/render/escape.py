"""Making any text safe to print: control characters shown, overlong text cut with its length."""

from __future__ import annotations

import html
import re

from reports.rows import whole_length

LONGEST_CELL = 600
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_LINE_BREAKS = re.compile(r"[\t\r\n\v\f\x85\u2028\u2029]+")
# C0 and C1 controls, surrogates, byte-order marks and direction overrides: none may reach a page.
_CONTROLS = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff\u202a-\u202e\u2066-\u2069]"
)


def visible(text: object, longest: int = LONGEST_CELL) -> str:
    """Return one line without escape sequences or controls, cut with its length if overlong."""
    whole = "" if text is None else str(text)
    # Cutting first keeps a 1 MB line cheap; the length told is that of the whole text.
    line = _LINE_BREAKS.sub(" ", _ANSI.sub("", whole[: 4 * longest])).strip()
    line = _CONTROLS.sub("\ufffd", line)
    if len(whole) <= 4 * longest and len(line) <= longest:
        return line
    return f"{line[:longest]}… [{whole_length(whole)} characters]"


def page(text: object, longest: int = LONGEST_CELL) -> str:
    """Return text for HTML, in content and in quoted attributes."""
    return html.escape(visible(text, longest), quote=True)


def cell(text: object, longest: int = LONGEST_CELL) -> str:
    """Return text for a cell of a Markdown table: no markup, no cell or code ends early."""
    line = visible(text, longest).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~!])", r"\\\1", line)


def number(value: object) -> str:
    """Return a number in at most four significant digits, other values as they are."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if isinstance(value, int) or (abs(value) >= 1000 and float(value).is_integer()):  # noqa: PLR2004 - keep counts whole
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:g}"  # noqa: PLR2004 - beyond exact floats
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"  # noqa: PLR2004 - readable without exponent
