"""Reads `.env` files as compose does: quotes, comments, `export`, and references to earlier values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from provisioners.compose.interpolate import InterpolationError, substitute
from provisioners.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LINE = re.compile(
    r"\s*(?:export\s+)?(?P<name>[^\W\d][\w.\[\]-]*)\s*(?:(?P<sep>[=:])(?P<rest>.*))?\Z", re.DOTALL
)
_ESCAPE = re.compile(r"\\([abcfnrtv$\"\\]|0[0-7]{1,3})")
_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n",
    "r": "\r", "t": "\t", "v": "\v", '"': '"', "\\": "\\", "$": "$$"
}  # fmt: skip
_MAX_BYTES = 4 * 2**20


def read_env_file(path: Path, outer: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """Return the file's variables; a name without `=` has no value of its own (None).

    `outer` are values that references may use too, and that win over the file's.

    Raises:
        InputError: it is not readable, or a line is no assignment; the line is named.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(
                "the env file is larger than 4 MiB", where=str(path), next_step="check that it is one"
            )
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            "the env file cannot be read",
            where=str(path),
            why=str(error.strerror),
            next_step="correct the path",
        ) from None
    except UnicodeDecodeError:
        raise InputError("the env file is not UTF-8", where=str(path), next_step="save it as UTF-8") from None
    return parse_env(text, str(path), outer or {})


def parse_env(text: str, name: str, outer: Mapping[str, str]) -> dict[str, str | None]:
    """Return the variables of env-file text; the same contract as `read_env_file`."""
    found: dict[str, str | None] = {}
    lines = text.replace("\r\n", "\n").split("\n")
    index = 0
    while index < len(lines):
        first, line = index, lines[index]
        index += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.match(line)
        if not match:
            raise InputError(
                "this line is no NAME=value",
                where=f"{name}:{first + 1}",
                next_step="write NAME=value, or # before it",
            )
        if match["sep"] is None:
            found[match["name"]] = None
            continue
        rest = match["rest"].lstrip()
        while rest[:1] in {"'", '"'} and _end_quote(rest) < 0:
            if index >= len(lines):
                raise InputError("a quote is not closed", where=f"{name}:{first + 1}", next_step="close it")
            rest += "\n" + lines[index]
            index += 1
        known = {**{key: value for key, value in found.items() if value is not None}, **outer}
        try:
            found[match["name"]] = _value(rest, known)
        except InterpolationError as error:
            raise InputError(str(error), where=f"{name}:{first + 1}", next_step="correct the line") from None
    return found


def _end_quote(text: str) -> int:
    quote, at = text[0], 1
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == quote:
            return at
        at += 1
    return -1


def _value(rest: str, known: Mapping[str, str]) -> str:
    if rest[:1] in {"'", '"'}:
        quote, body = rest[0], rest[1 : _end_quote(rest)]
        body = body.replace(f"\\{quote}", quote)
        return body if quote == "'" else substitute(_ESCAPE.sub(_unescaped, body), known)
    return substitute(rest.partition(" #")[0].rstrip(), known)


def _unescaped(match: re.Match[str]) -> str:
    word = match[1]
    return chr(int(word, 8) & 0xFF) if word[0] == "0" else _ESCAPES.get(word, match[0])
