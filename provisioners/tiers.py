"""Which services are the MCP servers, in which tier, on which port, and which others each one calls.

Read from a small YAML file beside the compose files, which say none of that. It may also say
what Kubernetes adds: how tiers scale by load, under which domain they are reached, and whether
network policies are made. `core` is a second, smaller table for files of the core platform.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provisioners.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

PRIMARY, SECONDARY, EXTRA, BACKEND, PROBE, CORE = "primary", "secondary", "extra", "backend", "probe", "core"
_SERVER_KEYS = frozenset(("name", "service", "also", "port", "tier", "gpu", "calls", "autoscale"))
_PART_KEYS = frozenset(("service", "port", "autoscale"))
_SECTIONS = {"extras": EXTRA, "backends": BACKEND, "probes": PROBE, "services": CORE}
_OPTIONS = frozenset(("namespace", "policies", "ingress", "autoscale"))
_TIERS = (PRIMARY, SECONDARY, EXTRA, CORE)
_AUTOSCALE_KEYS = frozenset(("min", "max", "cpu_percent", "memory_percent"))
_HIGHEST_PORT = 65535
_MOST_COPIES = 1000
_MOST_PERCENT = 1000


@dataclass(frozen=True, slots=True)
class Autoscale:
    """Between how many copies a service scales, and at which use of its CPU (and memory) requests, in %."""

    minimum: int
    maximum: int
    cpu_percent: int = 80
    memory_percent: int | None = None

    def problems(self) -> list[str]:
        """Return what is wrong with the numbers."""
        percents = {"cpu_percent": self.cpu_percent, "memory_percent": self.memory_percent}
        return [
            *(
                []
                if 1 <= self.minimum <= _MOST_COPIES
                else [f"min is {self.minimum}, not 1 to {_MOST_COPIES}"]
            ),
            *([] if self.minimum <= self.maximum else [f"max {self.maximum} is below min {self.minimum}"]),
            *([] if self.maximum <= _MOST_COPIES else [f"max is {self.maximum}, over {_MOST_COPIES}"]),
            *(
                f"{key} is {value}, not 1 to {_MOST_PERCENT}"
                for key, value in percents.items()
                if value is not None and not 1 <= value <= _MOST_PERCENT
            ),
        ]


@dataclass(frozen=True, slots=True)
class Server:
    """One MCP server: `name` is its own, `service` its compose service and DNS name.

    `also` are names that its service has in other files of the same system.
    """

    name: str
    service: str
    port: int
    tier: str
    gpu: bool = False
    calls: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    autoscale: Autoscale | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A service beside the servers: an extra, a backend, a probe or a part of the core platform."""

    service: str
    port: int
    tier: str
    autoscale: Autoscale | None = None


@dataclass(frozen=True, slots=True)
class Tiers:
    """The whole table, in its order.

    `autoscale` scales all servers of a tier; `policies` is None where the file says nothing;
    `ingress_domain` gives every published HTTP service a host of its own below it.
    """

    namespace: str
    servers: tuple[Server, ...] = ()
    parts: tuple[Part, ...] = ()
    core: Tiers | None = None
    autoscale: Mapping[str, Autoscale] = field(default_factory=dict)
    policies: bool | None = None
    ingress_domain: str = ""
    ingress_class: str = ""
    _by_service: dict[str, Server] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Note each server under every name of its service; the first row of a name counts."""
        for row in self.servers:
            for name in (row.service, *row.also):
                self._by_service.setdefault(name, row)

    @property
    def extras(self) -> tuple[Part, ...]:
        """Services that are deployed with the servers but not counted among them."""
        return self._parts(EXTRA)

    @property
    def backends(self) -> tuple[Part, ...]:
        """What the servers keep their state in."""
        return self._parts(BACKEND)

    @property
    def probes(self) -> tuple[Part, ...]:
        """What measures the network, one on each node."""
        return self._parts(PROBE)

    @property
    def order(self) -> tuple[str, ...]:
        """Every service of the table, servers first: the order in which nodes are dealt out."""
        return (*(row.service for row in self.servers), *(part.service for part in self.parts))

    def server(self, service: str) -> Server | None:
        """Return the MCP server that a compose service is, or None."""
        return self._by_service.get(service)

    def row(self, service: str) -> Server | Part | None:
        """Return the row of a compose service, or None."""
        return self.server(service) or next((part for part in self.parts if part.service == service), None)

    def tier_of(self, service: str) -> str:
        """Return primary, secondary, extra, backend, probe, or core for a service not in the table."""
        row = self.row(service)
        return row.tier if row else CORE

    def fitting(self, services: Collection[str]) -> Tiers:
        """Return the table for a file with these services: that of the core platform if most are its own."""
        if self.core is None:
            return self
        mine = sum(self.server(name) is not None or self.tier_of(name) == EXTRA for name in services)
        others = {part.service for part in self.core.parts if part.tier == CORE}
        return self.core if len(others & set(services)) > mine else self

    def missing(self, services: Collection[str]) -> tuple[str, ...]:
        """Return the services of the table that are not among `services`."""
        return tuple(name for name in self.order if name not in services)

    def _parts(self, tier: str) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.tier == tier)


def load_tiers(path: Path) -> Tiers:
    """Read a tiers file.

    Raises:
        InputError: every problem of the file at once.
    """
    from provisioners.compose import load_yaml

    problems: list[str] = []
    raw = load_yaml(path)
    tiers = _tiers(raw, problems) if isinstance(raw, dict) else Tiers("")
    if not isinstance(raw, dict):
        problems.append("it is not a table")
    problems += _contradictions(tiers)
    if problems:
        raise InputError(
            f"{len(problems)} problem(s) in the tiers file",
            where=str(path),
            why="; ".join(problems),
            next_step="correct these rows",
        )
    return tiers


def _tiers(raw: Mapping[str, object], problems: list[str]) -> Tiers:
    known = {"servers", "core", *_SECTIONS, *_OPTIONS}
    problems += [f"unknown key {key!r}" for key in raw if key not in known]
    namespace = raw.get("namespace")
    if not isinstance(namespace, str) or not namespace:
        problems.append("namespace is missing")
    core, domain, kind = raw.get("core"), "", ""
    inner: list[str] = []
    if core is not None and not isinstance(core, dict):
        problems.append("core is not a table")
    ingress = raw.get("ingress")
    if isinstance(ingress, dict):
        _unknown(ingress, frozenset(("domain", "class")), "ingress", problems)
        domain = _text(ingress, "domain", "ingress", problems)
        kind = str(ingress.get("class") or "")
    elif ingress is not None:
        problems.append("ingress is not a table with a domain")
    policies = raw.get("policies")
    if policies is not None and not isinstance(policies, bool):
        problems.append(f"policies is {policies!r}, not true or false")
    servers = [
        _server(row, f"servers[{i}]", problems) for i, row in enumerate(_rows(raw, "servers", problems))
    ]
    parts = [
        _part(row, f"{section}[{i}]", tier, problems)
        for section, tier in _SECTIONS.items()
        for i, row in enumerate(_rows(raw, section, problems))
    ]
    table = _tiers(core, inner) if isinstance(core, dict) else None
    problems += [f"core: {problem}" for problem in (*inner, *(_contradictions(table) if table else ()))]
    return Tiers(
        str(namespace),
        tuple(servers),
        tuple(parts),
        core=table,
        autoscale=_by_tier(raw.get("autoscale"), problems),
        policies=policies if isinstance(policies, bool) else None,
        ingress_domain=domain,
        ingress_class=kind,
    )


def _by_tier(raw: object, problems: list[str]) -> dict[str, Autoscale]:
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        problems.append("autoscale is not a table of tiers")
        return {}
    problems += [
        f"autoscale: {tier!r} is not one of {', '.join(_TIERS)}" for tier in raw if tier not in _TIERS
    ]
    found = {str(tier): _autoscale(row, f"autoscale.{tier}", problems) for tier, row in raw.items()}
    return {tier: row for tier, row in found.items() if row is not None}


def _autoscale(row: object, place: str, problems: list[str]) -> Autoscale | None:
    if row is None:
        return None
    if not isinstance(row, dict):
        problems.append(f"{place} is not a table with max")
        return None
    _unknown(row, _AUTOSCALE_KEYS, place, problems)
    wrong = [key for key in _AUTOSCALE_KEYS & row.keys() if type(row[key]) is not int]
    if wrong or "max" not in row:
        problems += [f"{place}.{key} is {row[key]!r}, not a whole number" for key in sorted(wrong)]
        problems += [] if "max" in row else [f"{place}.max is missing"]
        return None
    found = Autoscale(row.get("min", 1), row["max"], row.get("cpu_percent", 80), row.get("memory_percent"))
    problems += [f"{place}: {problem}" for problem in found.problems()]
    return found


def _rows(raw: Mapping[str, object], key: str, problems: list[str]) -> list[Mapping[str, object]]:
    rows = raw.get(key) or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        problems.append(f"{key} is not a list of rows")
        return []
    return rows


def _server(row: Mapping[str, object], place: str, problems: list[str]) -> Server:
    _unknown(row, _SERVER_KEYS, place, problems)
    tier = row.get("tier")
    if tier not in {PRIMARY, SECONDARY}:
        problems.append(f"{place}.tier is {tier!r}, not primary or secondary")
    calls = row.get("calls") or []
    if not isinstance(calls, list):
        problems.append(f"{place}.calls is not a list")
        calls = []
    also = row.get("also") or []
    if not isinstance(also, list):
        problems.append(f"{place}.also is not a list")
        also = []
    gpu = row.get("gpu", False)
    if not isinstance(gpu, bool):
        problems.append(f"{place}.gpu is {gpu!r}, not true or false")
    return Server(
        name=_text(row, "name", place, problems),
        service=_text(row, "service", place, problems),
        port=_port(row, place, problems),
        tier=str(tier),
        gpu=gpu is True,
        calls=tuple(str(call) for call in calls),
        also=tuple(str(name) for name in also),
        autoscale=_autoscale(row.get("autoscale"), f"{place}.autoscale", problems),
    )


def _part(row: Mapping[str, object], place: str, tier: str, problems: list[str]) -> Part:
    _unknown(row, _PART_KEYS, place, problems)
    return Part(
        _text(row, "service", place, problems),
        _port(row, place, problems),
        tier,
        autoscale=_autoscale(row.get("autoscale"), f"{place}.autoscale", problems),
    )


def _unknown(row: Mapping[str, object], known: frozenset[str], place: str, problems: list[str]) -> None:
    problems += [f"{place}: unknown key {key!r}" for key in row if key not in known]


def _text(row: Mapping[str, object], key: str, place: str, problems: list[str]) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value:
        problems.append(f"{place}.{key} is missing")
    return str(value)


def _port(row: Mapping[str, object], place: str, problems: list[str]) -> int:
    value = row.get("port")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _HIGHEST_PORT:
        problems.append(f"{place}.port is {value!r}, not a port")
        return 0
    return value


def _contradictions(tiers: Tiers) -> list[str]:
    services = [*tiers.order, *(name for row in tiers.servers for name in row.also)]
    servers = [row.name for row in tiers.servers]
    return [
        *(f"service {name!r} stands in {services.count(name)} rows" for name in _twice(services)),
        *(f"server {name!r} stands in {servers.count(name)} rows" for name in _twice(servers)),
        *(
            f"{row.service} calls {call!r}, which is not in the table"
            for row in tiers.servers
            for call in row.calls
            if call not in services
        ),
    ]


def _twice(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})
