"""Other names of services: network aliases and links, which are Services of their own here.

Docker answers an alias of several services with all of them, in turns, and keeps one name on two
networks apart. A namespace has one Service of a name: it can stand for the pods of several services,
but not for other ones to each caller.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, NamedTuple

from provisioners.compose.naming import legal
from provisioners.compose.nodes import Leaf, Listing, Node, Table
from provisioners.compose.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from provisioners.compose.losses import Ledger
    from provisioners.compose.model import Project, Service

_SHARED = "shared"
_LINK = "link of "


class Claim(NamedTuple):
    """One service that is called by a name, on a network; a link is a network of its caller alone."""

    key: str
    network: str
    at: Node


@dataclass(frozen=True, slots=True)
class Aliases:
    """Names beside those of the services themselves, as Kubernetes writes them.

    `own` has the names of each service by its key; `shared` has the keys of the services behind
    each name that several have; `renamed` are old names whose legal form is another one.
    """

    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)

    def labels(self, key: str) -> dict[str, object]:
        """Return the labels of a service's pods, by which the Services of shared names find them."""
        return {alias_label(name): _SHARED for name, keys in self.shared.items() if key in keys}

    def selector(self, name: str) -> dict[str, object]:
        """Return what selects the pods of all services behind a shared name."""
        return {alias_label(name): _SHARED}

    def made_by(self, key: str) -> tuple[str, ...]:
        """Return the shared names whose Service stands in the file of this service, the first of theirs."""
        return tuple(name for name, keys in self.shared.items() if keys[0] == key)


def alias_label(name: str) -> str:
    """Return the label of pods that are reached by a name which several services have."""
    return f"alias.gonogo.dev/{name}"


def aliases_of(project: Project, names: Mapping[str, str], ledger: Ledger) -> Aliases:
    """Return the aliases of a project, and account for those that cannot be.

    `names` are the legal names of the services by key.
    """
    claims: dict[str, list[Claim]] = {}
    written: dict[str, str] = {}
    for alias, claim in claims_of(project):
        claims.setdefault(legal(alias), []).append(claim)
        if alias not in names and "." not in alias:
            written[alias] = legal(alias)
    owners = {name: key for key, name in names.items()}
    own: dict[str, list[str]] = {}
    shared: dict[str, tuple[str, ...]] = {}
    for name, wanted in sorted(claims.items()):
        keys = tuple(dict.fromkeys(claim.key for claim in wanted))
        if name in owners:
            _refuse_taken(name, owners[name], wanted, ledger)
        elif len(keys) == 1:
            own.setdefault(keys[0], []).append(name)
            _note_own(name, wanted, ledger)
        elif _kept_apart(wanted):
            for claim in wanted:
                text = (
                    f"{name} is another service on each network: a namespace has one, so rename all but one"
                )
                ledger.refused(claim.at, text)
        else:
            shared[name] = keys
            _note_shared(name, keys, wanted, project, ledger)
    made = {*shared, *(name for found in own.values() for name in found)}
    return Aliases(
        {key: tuple(found) for key, found in own.items()},
        shared,
        {old: new for old, new in written.items() if old != new and new in made},
    )


def ports_of(service: Service) -> frozenset[tuple[int, str]]:
    """Return the ports that a Service of this service has, by number and protocol."""
    return frozenset((port.target, port.protocol) for port in (*service.ports, *service.expose))


def alike(services: Sequence[Service]) -> bool:
    """Return whether one Service with ports can stand for all of these."""
    return bool(ports_of(services[0])) and len({ports_of(service) for service in services}) == 1


def claims_of(project: Project) -> Iterator[tuple[str, Claim]]:
    """Yield every alias and link of a project with the service that is meant, in the file's order."""
    for key, service in project.services.items():
        for ref in service.networks:
            listed = ref.at.get("aliases") if isinstance(ref.at, Table) else None
            items = listed.items if isinstance(listed, Listing) else ()
            places = {item.text: item for item in items if isinstance(item, Leaf)}
            for alias in ref.aliases:
                yield alias, Claim(key, ref.name, places.get(alias, ref.at))
        node = service.others.get("links")
        for item in node.items if isinstance(node, Listing) else ():
            target, _, alias = item.text.partition(":") if isinstance(item, Leaf) else ("", "", "")
            if alias and alias != target and target in project.services:
                yield alias, Claim(target, f"{_LINK}{key}", item)


def _refuse_taken(name: str, owner: str, wanted: Sequence[Claim], ledger: Ledger) -> None:
    for claim in wanted:
        if claim.key != owner:
            text = f"{name} is the name of the service {owner}: give {claim.key} another alias"
            ledger.refused(claim.at, text)


def _note_own(name: str, wanted: Sequence[Claim], ledger: Ledger) -> None:
    for claim in wanted:
        text = claim.at.text.rpartition(":")[2] if isinstance(claim.at, Leaf) else name
        target = f"Service/{name}"
        if "." in text:
            detail = "a name with dots is no Service's: inside it is this, else the outside's DNS answers"
            ledger.remark(claim.at, detail, target)
        elif text != name:
            ledger.remark(claim.at, f"renamed to {name}; values that name it as a host follow", target)
        elif claim.network.startswith(_LINK):
            ledger.remark(claim.at, "a Service of its own, for every caller", target)


def _kept_apart(wanted: Sequence[Claim]) -> bool:
    """Whether no network has all of the services under this name: each caller means its own one."""
    everybody = {claim.key for claim in wanted}
    networks = {claim.network for claim in wanted}
    return not any(
        {claim.key for claim in wanted if claim.network == network} == everybody for network in networks
    )


def _note_shared(
    name: str, keys: Sequence[str], wanted: Sequence[Claim], project: Project, ledger: Ledger
) -> None:
    listed = f"{', '.join(keys[:-1])} and {keys[-1]}"
    detail = f"one Service for the pods of {listed}, which take turns as they do in Docker"
    if not alike([project.services[key] for key in keys]):
        detail += (
            "; their ports differ or are not listed, so it has no address of its own: its name leads to each "
            "pod, and a port may be closed there, as in Docker"
        )
    for claim in wanted:
        ledger.approximated(claim.at, detail, f"Service/{name}")
