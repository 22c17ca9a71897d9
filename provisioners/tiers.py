"""Which services are the MCP servers, in which tier, on which port, and which others each one calls.

Read from a small YAML file beside the compose files, which say none of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioners.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

PRIMARY, SECONDARY, EXTRA, BACKEND, PROBE, CORE = "primary", "secondary", "extra", "backend", "probe", "core"
_SERVER_KEYS = frozenset(("name", "service", "port", "tier", "gpu", "calls"))
_PART_KEYS = frozenset(("service", "port"))
_SECTIONS = {"extras": EXTRA, "backends": BACKEND, "probes": PROBE}
_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Server:
    """One MCP server: `name` is its own, `service` its compose service and DNS name."""

    name: str
    service: str
    port: int
    tier: str
    gpu: bool = False
    calls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A service beside the servers: an extra, a backend or a probe."""

    service: str
    port: int
    tier: str


@dataclass(frozen=True, slots=True)
class Tiers:
    """The whole table, in its order."""

    namespace: str
    servers: tuple[Server, ...] = ()
    parts: tuple[Part, ...] = ()

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
        return next((row for row in self.servers if row.service == service), None)

    def tier_of(self, service: str) -> str:
        """Return primary, secondary, extra, backend, probe, or core for a service not in the table."""
        rows: Sequence[Server | Part] = (*self.servers, *self.parts)
        return next((row.tier for row in rows if row.service == service), CORE)

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
    problems += [f"unknown key {key!r}" for key in raw if key not in {"namespace", "servers", *_SECTIONS}]
    namespace = raw.get("namespace")
    if not isinstance(namespace, str) or not namespace:
        problems.append("namespace is missing")
    servers = [
        _server(row, f"servers[{i}]", problems) for i, row in enumerate(_rows(raw, "servers", problems))
    ]
    parts = [
        _part(row, f"{section}[{i}]", tier, problems)
        for section, tier in _SECTIONS.items()
        for i, row in enumerate(_rows(raw, section, problems))
    ]
    return Tiers(str(namespace), tuple(servers), tuple(parts))


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
    )


def _part(row: Mapping[str, object], place: str, tier: str, problems: list[str]) -> Part:
    _unknown(row, _PART_KEYS, place, problems)
    return Part(_text(row, "service", place, problems), _port(row, place, problems), tier)


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
    services, servers = tiers.order, [row.name for row in tiers.servers]
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
