"""Names that Kubernetes accepts for what compose names, and values that follow a renamed service."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from provisioners.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from provisioners.compose.model import Port

_ILLEGAL = re.compile(r"[^a-z0-9-]+")
_DOMAIN_ILLEGAL = re.compile(r"[^a-z0-9.-]")
_KEY_ILLEGAL = re.compile(r"[^-_.A-Za-z0-9]")
_DASHES = re.compile(r"-{2,}")
_MAX, _MAX_DOMAIN = 63, 253
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
    return legal_domain(name) or "unnamed"


def legal_domain(name: str) -> str:
    """Return the name as a DNS name of small letters; empty where nothing of it is left."""
    parts = (part.strip("-") for part in _DOMAIN_ILLEGAL.sub("-", name.lower()).split("."))
    return ".".join(part[:_MAX].strip("-") for part in parts if part)[:_MAX_DOMAIN].strip("-.")


def host_label(name: str) -> str:
    """Return a host name without its domain as a DNS label; empty where nothing of it is left."""
    return _ILLEGAL.sub("-", name.partition(".")[0].lower()).strip("-")[:_MAX].rstrip("-")


def annotation_key(name: str, taken: Collection[str] = ()) -> str:
    """Return the name of a label as the key of an annotation, another one than those that are taken."""
    prefix, _, rest = name.rpartition("/")
    tail = _KEY_ILLEGAL.sub("-", rest)[:_MAX].strip("-_.") or "label"
    domain = legal_domain(prefix)
    key, number = tail, 1
    while (found := f"{domain}/{key}" if domain else key) in taken:
        number += 1
        key = f"{tail[: _MAX - len(str(number)) - 1]}-{number}"
    return found


def port_names(ports: Iterable[Port], http: int | None) -> dict[tuple[int, str], str]:
    """Return the name of each port by number and protocol; no two are alike.

    It is its own, `http` for the one that speaks it, else one such as `tcp-6379`.
    """
    found: dict[tuple[int, str], str] = {}
    for port in ports:
        number, protocol = port.target, port.protocol
        if (number, protocol) in found:
            continue
        name = plain = f"{protocol}-{number}"
        if port.name:
            name = _DASHES.sub("-", legal(port.name))[:_MAX_PORT_NAME].rstrip("-")
        elif number == http and protocol == "tcp":
            name = "http"
        taken = set(found.values())
        if name in taken:
            name = plain
        suffix = 1
        while name in taken:
            suffix += 1
            name = f"{plain}-{suffix}"
        found[number, protocol] = name
    return found
