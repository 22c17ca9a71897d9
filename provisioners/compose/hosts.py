"""Hosts and name servers that a service is told by itself, as `hostAliases` and `dnsConfig` of its pod."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose.entry_pairs import leaves_of, pairs_of
from provisioners.compose.validate_names import address, search_domain, subdomain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioners.compose.losses import Ledger
    from provisioners.compose.nodes import Node
    from provisioners.compose.rest import PodParts

_GATEWAY = "host-gateway"
_MAX_SERVERS, _MAX_SEARCHES = 3, 32
_ADDED = "added to what the cluster's DNS offers"


def extra_hosts(node: Node, parts: PodParts, ledger: Ledger) -> None:
    """Write hosts by address: Kubernetes wants each address once, with all of its names."""
    by_address: dict[str, list[str]] = {}
    for leaf, given, text in pairs_of(node, "=:"):
        name, ip = given.lower(), text.strip().removeprefix("[").removesuffix("]")
        if ip == _GATEWAY:
            ledger.refused(
                leaf, "host-gateway has no counterpart: name the address, or use the downward API's host IP"
            )
        elif wrong := address(ip) or subdomain(name):
            ledger.refused(leaf, f"{wrong}: correct it")
        else:
            names = by_address.setdefault(ip, [])
            if name not in names:
                names.append(name)
            if name == given:
                ledger.converted(leaf, "hostAliases")
            else:
                ledger.approximated(leaf, f"{name}: names of hosts are in small letters", "hostAliases")
    if by_address:
        parts.pod["hostAliases"] = [{"ip": ip, "hostnames": names} for ip, names in by_address.items()]


def name_servers(node: Node, parts: PodParts, ledger: Ledger) -> None:
    """Write name servers: addresses, three at most."""
    found: list[str] = []
    for leaf, text in leaves_of(node):
        ip = text.strip()
        if wrong := address(ip):
            ledger.refused(leaf, f"{wrong}: a name server is named by its address")
        elif len(found) >= _MAX_SERVERS:
            ledger.dropped(leaf, f"a pod takes {_MAX_SERVERS} name servers, and the ones before are these")
        else:
            found.append(ip)
            last = "; three are asked in all, the cluster's first" if len(found) == _MAX_SERVERS else ""
            ledger.approximated(leaf, f"{_ADDED}{last}", "dnsConfig.nameservers")
    _configure(parts, "nameservers", found)


def search_domains(node: Node, parts: PodParts, ledger: Ledger) -> None:
    """Write the domains that are searched."""
    found: list[str] = []
    for leaf, text in leaves_of(node):
        domain = text.strip().lower()
        if wrong := search_domain(domain):
            ledger.refused(leaf, f"{wrong}: correct it")
        elif len(found) >= _MAX_SEARCHES:
            ledger.dropped(leaf, f"a pod searches {_MAX_SEARCHES} domains at most")
        else:
            found.append(domain)
            ledger.approximated(leaf, _ADDED, "dnsConfig.searches")
    _configure(parts, "searches", found)


def resolver_options(node: Node, parts: PodParts, ledger: Ledger) -> None:
    """Write the options of the resolver, such as `ndots:2`."""
    found: list[dict[str, str]] = []
    for leaf, text in leaves_of(node):
        name, given, value = text.strip().partition(":")
        if not name:
            ledger.dropped(leaf, "it is empty")
            continue
        found.append({"name": name, "value": value} if given else {"name": name})
        ledger.approximated(leaf, _ADDED, "dnsConfig.options")
    _configure(parts, "options", found)


def _configure(parts: PodParts, field: str, values: Sequence[object]) -> None:
    held = parts.pod.get("dnsConfig")
    if values:
        parts.pod["dnsConfig"] = {**(held if isinstance(held, dict) else {}), field: list(values)}
