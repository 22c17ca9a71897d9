"""Names that Kubernetes accepts for what compose names, and values that follow a renamed service."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from provisioners.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ILLEGAL = re.compile(r"[^a-z0-9-]+")
_SECRET_ILLEGAL = re.compile(r"[^a-z0-9.-]")
_MAX = 63
_MAX_PORT_NAME = 15


def legal(name: str) -> str:
    """Return the name as a DNS label that begins with a letter."""
    label = _ILLEGAL.sub("-", name.lower()).strip("-") or "unnamed"
    if not label[0].isalpha():
        label = f"s-{label}"
    return label[:_MAX].rstrip("-")


def legal_names(names: Iterable[str], what: str) -> dict[str, str]:
    """Return each name's legal form.

    Raises:
        InputError: two names become the same one; all of them are named.
    """
    given: dict[str, list[str]] = {}
    for name in names:
        given.setdefault(legal(name), []).append(name)
    clashes = [
        " and ".join(group) + f" both become {label}" for label, group in given.items() if len(group) > 1
    ]
    if clashes:
        raise InputError(
            f"{len(clashes)} name(s) of {what} collide in Kubernetes",
            why="; ".join(clashes),
            next_step="rename one of each: small letters, digits and - are what Kubernetes allows",
        )
    return {group[0]: label for label, group in given.items()}


def secret_object(name: str) -> str:
    """Return the name of the Secret object for a secret; its one key is `name` itself."""
    return _SECRET_ILLEGAL.sub("-", name.lower()).strip("-.")


def port_name(protocol: str, number: int, *, http: bool, own: str = "") -> str:
    """Return a Service port's name: its own, `http` for the port that speaks it, else `tcp-6379`."""
    if own:
        return legal(own)[:_MAX_PORT_NAME].rstrip("-")
    return "http" if http else f"{protocol}-{number}"[:_MAX_PORT_NAME]


def followed(text: str, renamed: Mapping[str, str]) -> str:
    """Return a value in which hosts that were renamed have their new names."""
    for old, new in renamed.items():
        if old in text:
            host = re.escape(old)
            text = re.sub(rf"(?<=//){host}(?=[:/?#]|$)|(?<=@){host}(?=[:/?#]|$)", new, text)
            text = re.sub(rf"(?:(?<=^)|(?<=[\s,;])){host}(?=:\d|[\s,;]|$)", new, text)
    return text
