"""Who calls whom, and on which port: read from what services are told about each other.

A file says it in many ways: networks in common, `depends_on`, `links`, the tiers' table, and
hosts in values (`redis://redis:6379`, `DB_HOST=db`, `kafka1:9092,kafka2:9092`) and commands.
"""

from __future__ import annotations

import re
from dataclasses import field
from typing import TYPE_CHECKING

from provisioners.compose.aliases import claims_of
from provisioners.compose.nodes import Leaf, Listing, Node
from provisioners.compose.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from provisioners.compose.model import Port, Project, Service
    from provisioners.tiers import Tiers

DEFAULT_NETWORK = "default"
# A host stands behind `//`, `@`, a separator or the beginning; ahead of it no name goes on.
_HOST = re.compile(
    r"(?:(?<![a-z0-9+.-])(?P<scheme>[a-z][a-z0-9+.-]*)://(?:[^/\s@]*@)?|(?P<at>@)|(?P<key>\b(?:host|server|addr(?:ess)?)=)|(?<![\w./-]))"
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)*)(?::(?P<port>\d{1,5}))?"
    r"(?=[/?#,;\s'\"\])}|]|\Z)"
)
_TELLS_HOST = re.compile(
    r"(?:^|_)(?:HOSTS?|HOSTNAME|SERVERS?|ADDR|ADDRESS|ENDPOINTS?|BROKERS?|NODES?|PEERS?|UPSTREAMS?|URLS?|URI)(?:_|$)",
    re.IGNORECASE,
)
# What holds the name of an image: `name:22` in it is a version, not a port.
_TELLS_IMAGE = re.compile(r"(?:^|[_.-])(?:IMAGES?|TAGS?|VERSIONS?)(?:[_.-]|$)", re.IGNORECASE)
_SCHEME_PORTS = {
    "http": 80, "https": 443, "ws": 80, "wss": 443, "redis": 6379, "rediss": 6379, "postgres": 5432,
    "postgresql": 5432, "mysql": 3306, "mariadb": 3306, "mongodb": 27017, "amqp": 5672, "amqps": 5671,
    "nats": 4222, "kafka": 9092, "ldap": 389, "ldaps": 636, "mqtt": 1883, "smtp": 25, "memcached": 11211,
    "bolt": 7687, "neo4j": 7687, "clickhouse": 9000, "etcd": 2379, "grpc": 443,
}  # fmt: skip
_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Reference:
    """One host in a text: its port is None where nothing tells it; `surely` it is meant as a host."""

    host: str
    port: int | None
    explicit: bool
    surely: bool


@dataclass(frozen=True, slots=True)
class Call:
    """One service that calls another one: the callee's key, the port where it is told, and what tells it."""

    callee: str
    port: int | None
    at: Node
    how: str
    explicit: bool = False


@dataclass(frozen=True, slots=True)
class Foreign:
    """A name of another namespace (`db.data`, `db.data.svc.cluster.local`) that a service calls."""

    namespace: str
    port: int | None
    at: Node


@dataclass(frozen=True, slots=True)
class Peers:
    """Calls by the key of the calling service, foreign names too, and who joins which network.

    `into` has the same calls by their callee, each with the key of its caller.
    """

    calls: Mapping[str, tuple[Call, ...]] = field(default_factory=dict)
    into: Mapping[str, list[tuple[str, Call]]] = field(default_factory=dict)
    foreign: Mapping[str, tuple[Foreign, ...]] = field(default_factory=dict)
    networks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    internal: frozenset[str] = frozenset()

    def callers(self, callee: str) -> tuple[str, ...]:
        """Return who calls a service, in the file's order."""
        return tuple(dict.fromkeys(key for key, _ in self.into.get(callee, ())))

    def together(self, one: str, other: str) -> bool:
        """Return whether two services join a network in common."""
        return bool(set(self.networks.get(one, ())) & set(self.networks.get(other, ())))

    def has_outside(self, key: str) -> bool:
        """Return whether a service joins a network that leads out of the cluster."""
        return any(name not in self.internal for name in self.networks.get(key, ()))

    def implied_ports(self, callee: str, own: tuple[int, ...]) -> tuple[Call, ...]:
        """Return calls on ports that the callee does not list, one for each port.

        A port that only its scheme tells counts where the callee lists none at all.
        """
        found: dict[int, Call] = {}
        for _, call in self.into.get(callee, ()):
            counts = call.explicit or not own
            if call.port is not None and call.port not in own and counts:
                found.setdefault(call.port, call)
        return tuple(found[port] for port in sorted(found))


def peers_of(project: Project, tiers: Tiers) -> Peers:
    """Return who calls whom in a project."""
    services = project.services
    owners = _owners(project)
    calls: dict[str, tuple[Call, ...]] = {}
    foreign: dict[str, tuple[Foreign, ...]] = {}
    for key, service in services.items():
        found: list[Call] = []
        others: list[Foreign] = []
        for at, name, reference in _references(service):
            host = reference.host.removeprefix("tasks.")
            first, _, rest = host.partition(".")
            callees = owners.get(host) or (
                owners.get(first, ()) if rest.split(".")[0] == tiers.namespace else ()
            )
            if callees and (reference.surely or _TELLS_HOST.search(name)):
                port = reference.port or _sibling_port(service, name)
                how = "its environment" if name else "its command"
                explicit = reference.explicit or port != reference.port
                found += [Call(one, port, at, how, explicit=explicit) for one in callees if one != key]
            elif not callees and (space := _namespace(host)) and reference.surely:
                others.append(Foreign(space, reference.port, at))
        found += [
            Call(given.value, None, given.at, "depends_on")
            for given in service.depends_on
            if given.value in services
        ]
        found += [
            Call(one, None, at, "links") for name, at in _links(service) for one in owners.get(name, ())
        ]
        server = tiers.server(key)
        found += [
            Call(name, None, service.at, "the tiers file")
            for name in (server.calls if server else ())
            if name in services
        ]
        calls[key], foreign[key] = tuple(found), tuple(others)
    into: dict[str, list[tuple[str, Call]]] = {}
    for key, made in calls.items():
        for call in made:
            into.setdefault(call.callee, []).append((key, call))
    return Peers(
        calls=calls,
        into=into,
        foreign=foreign,
        networks={
            key: tuple(real_name(project, ref.name) for ref in one.networks) or (DEFAULT_NETWORK,)
            for key, one in services.items()
        },
        internal=frozenset(
            real_name(project, name)
            for name, network in project.networks.items()
            if _is_internal(network.body)
        ),
    )


def real_name(project: Project, network: str) -> str:
    """Return the name by which other files know a network: two files may call one by different keys."""
    known = project.networks.get(network)
    return (known.external_name if known else "") or network


def references(text: str) -> Iterator[Reference]:
    """Yield the hosts of a text."""
    scheme = ""
    for match in _HOST.finditer(text):
        scheme = match["scheme"] or (scheme if match.start() and text[match.start() - 1] == "," else "")
        port = int(match["port"]) if match["port"] else _SCHEME_PORTS.get(scheme.rpartition("+")[0] or scheme)
        if port is not None and not 0 < port <= _HIGHEST_PORT:
            continue
        surely = bool(scheme or match["at"] or match["key"] or match["port"])
        yield Reference(match["host"], port, explicit=bool(match["port"]), surely=surely)


def _references(service: Service) -> Iterator[tuple[Node, str, Reference]]:
    given = {var.name: var for var in (*service.file_environment, *service.environment)}
    for var in given.values():
        if _is_image(var.name, var.value or ""):
            continue
        for reference in references(var.value or ""):
            yield var.at, var.name, reference
    for words in (service.entrypoint, service.command):
        before = ""
        for word in words.value if words else ():
            flag, _, value = word.partition("=") if word.startswith("-") else (before, "", word)
            before = word if word.startswith("-") else ""
            if _is_image(flag, value):
                continue
            for reference in references(value):
                if reference.surely and words:
                    yield words.at, "", reference


def _is_image(name: str, value: str) -> bool:
    """Return whether a variable or a flag holds the name of an image; a URL is none."""
    return ":" in value and "://" not in value and _TELLS_IMAGE.search(name) is not None


def _owners(project: Project) -> dict[str, tuple[str, ...]]:
    """Return the services behind each name on the networks: their own, and their aliases there."""
    found: dict[str, tuple[str, ...]] = {}
    for alias, claim in claims_of(project):
        if claim.key not in found.get(alias, ()):
            found[alias] = (*found.get(alias, ()), claim.key)
    return {**found, **{key: (key,) for key in project.services}}


def _sibling_port(service: Service, name: str) -> int | None:
    """Return the port beside a host: DB_PORT for DB_HOST."""
    if "HOST" not in name.upper():
        return None
    wanted = re.sub("HOST(?:NAME|S)?", "PORT", name.upper())
    for var in (*service.file_environment, *service.environment):
        if (
            var.name.upper() == wanted
            and (var.value or "").isdigit()
            and 0 < int(var.value or 0) <= _HIGHEST_PORT
        ):
            return int(var.value or 0)
    return None


def _namespace(host: str) -> str:
    """Return the namespace of `name.namespace.svc[...]`; other names with dots are of the outside."""
    parts = host.split(".")
    return parts[1] if len(parts) > 2 and parts[2] == "svc" else ""  # noqa: PLR2004  name, namespace, svc


def _links(service: Service) -> Iterator[tuple[str, Node]]:
    node = service.others.get("links")
    for item in node.items if isinstance(node, Listing) else ():
        if isinstance(item, Leaf):
            yield item.text.partition(":")[0], item


def _is_internal(body: object) -> bool:
    node = body.get("internal") if hasattr(body, "get") else None
    return isinstance(node, Leaf) and node.plain and node.text.lower() in {"true", "yes", "on"}


def own_ports(service: Service) -> tuple[int, ...]:
    """Return the TCP ports that a service lists itself."""
    ports: tuple[Port, ...] = (*service.ports, *service.expose)
    return tuple(dict.fromkeys(port.target for port in ports if port.protocol == "tcp"))
