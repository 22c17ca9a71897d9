"""Which addresses load may be sent to: loopback, and what the caller allowed. Nothing else."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from loadtests.errors import LoadInputError, LoadRefused
from loadtests.profile import SIDES, LoadTargets

if TYPE_CHECKING:
    from collections.abc import Sequence

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def check_addresses(targets: LoadTargets) -> None:
    """Raise LoadRefused naming every URL that may not be loaded; names are never resolved."""
    networks, names = _parse(targets.allowed)
    refused = [
        f"{server.name} on {side}: {server.url(side)}"
        for server in targets.servers
        for side in SIDES
        if not _permitted(host_of(server.url(side)), networks, names)
    ]
    if refused:
        allowed = ", ".join(("loopback", *targets.allowed))
        raise LoadRefused(
            "load is only sent to loopback and to allowed addresses; refused:\n  "
            + "\n  ".join(refused)
            + f"\n  allowed: {allowed}\n  next: correct the URL, or allow its host by name"
        )


def check_urls(urls: Sequence[str], allowed: tuple[str, ...]) -> None:
    """Raise LoadRefused when one of some URLs may not be loaded; names are never resolved."""
    networks, names = _parse(allowed)
    refused = [url for url in urls if not _permitted(host_of(url), networks, names)]
    if refused:
        raise LoadRefused(
            f"load is only sent to loopback and to allowed addresses; refused: {', '.join(refused)}\n"
            f"  allowed: {', '.join(('loopback', *allowed))}\n"
            "  next: correct the URL, or allow its host by name"
        )


def host_of(url: str) -> str:
    """Return the host of an http(s) URL; anything else is an input error."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise LoadInputError(f"load: {url!r} is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise LoadInputError(f"load: {url!r} is not a URL of the form http://address:port")
    if parts.username or parts.password:
        raise LoadInputError(f"load: the URL of {host} holds a user name or password; load sends none")
    return host


def _parse(allowed: tuple[str, ...]) -> tuple[list[_Network], set[str]]:
    networks: list[_Network] = []
    names: set[str] = set()
    for entry in allowed:
        try:
            networks.append(ipaddress.ip_network(entry, strict=False))
        except ValueError:
            names.add(entry.lower())
    return networks, names


def _permitted(host: str, networks: list[_Network], names: set[str]) -> bool:
    if host.lower() == "localhost" or host.lower() in names:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or any(address in network for network in networks)
