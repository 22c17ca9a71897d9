"""Durations, sizes, ports and mounts as compose writes them, and as Kubernetes does.

Files say the same few values again and again, so what they mean is remembered.
"""

from __future__ import annotations

import functools
import math
import re

from provisioners.compose.records import dataclass

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)i?b?\Z", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_WHOLE = re.compile(r"-?[0-9]{1,12}\Z", re.ASCII)
_PROTOCOLS = frozenset(("tcp", "udp", "sctp"))
_HIGHEST_PORT = 65535
_MAX_RANGE = 1000


class UnitError(ValueError):
    """A text that is not what its key asks for; says what it would have to be."""


@dataclass(frozen=True, slots=True)
class PortText:
    """One port of the short form; `published` is None when the engine chooses."""

    target: int
    published: int | None
    protocol: str
    host_ip: str


@dataclass(frozen=True, slots=True)
class MountText:
    """One mount of the short form: kind is `volume`, `bind`, or `anonymous` without a source."""

    kind: str
    source: str
    target: str
    options: tuple[str, ...]


@functools.lru_cache(maxsize=1024)
def parse_duration_s(text: str) -> float:
    """Return seconds of `1m30s`, `500ms`, `90s`."""
    total, at = 0.0, 0
    for match in _DURATION.finditer(text):
        if match.start() != at:
            break
        total += float(match[1]) * _SECONDS[match[2]]
        at = match.end()
    if at != len(text) or not text:
        if text == "0":
            return 0.0
        raise UnitError(f"{text!r} is no duration; write 30s or 1m30s")
    return total


@functools.lru_cache(maxsize=1024)
def parse_bytes(text: str) -> int:
    """Return bytes of `4G`, `512m`, `1gb`, `1024`; a unit is a power of 1024, as Docker reads it."""
    match = _SIZE.match(text.strip())
    if not match:
        raise UnitError(f"{text!r} is no size; write 512M or 4G")
    return int(float(match[1]) * 1024 ** _POWERS[match[2].lower()])


def parse_limit_bytes(text: str) -> int:
    """Return bytes, or -1 for no limit."""
    return -1 if text.strip() == "-1" else parse_bytes(text)


def parse_whole(text: str) -> int:
    """Return a whole number, negative ones too."""
    if not _WHOLE.match(text):
        raise UnitError(f"{text!r} is no number; write 100")
    return int(text)


def parse_limit(text: str) -> int:
    """Return a count, or -1 for no limit."""
    value = parse_whole(text)
    if value < -1:
        raise UnitError(f"{text!r} is no limit; write 100, or -1 for none")
    return value


@functools.lru_cache(maxsize=1024)
def parse_cpus(text: str) -> float:
    """Return a number of CPUs; positive and finite."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise UnitError(f"{text!r} is no number of CPUs; write 0.5 or 2")
    return value


def cpu_quantity(cpus: float) -> str:
    """Return CPUs as Kubernetes writes them: `500m`, `2`."""
    milli = round(cpus * 1000)
    return str(milli // 1000) if milli % 1000 == 0 else f"{milli}m"


def memory_quantity(size: int) -> str:
    """Return bytes as Kubernetes writes them: `256Mi`, `4Gi`, or plain bytes."""
    for suffix, factor in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if size >= factor and size % factor == 0:
            return f"{size // factor}{suffix}"
    return str(size)


def docker_duration(seconds: float) -> str:
    """Return a duration as Docker writes it, in the largest unit that divides it."""
    nanos = round(seconds * 1e9)
    for unit, factor in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if nanos % factor == 0:
            return f"{nanos // factor}{unit}"
    return f"{nanos}ns"


@functools.lru_cache(maxsize=1024)
def parse_ports(text: str) -> tuple[PortText, ...]:
    """Return the ports of a short form: `[[ip:]published:]target[/protocol]`, ranges expanded."""
    body, _, protocol = text.strip().partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise UnitError(f"{text!r}: the protocol is tcp, udp or sctp")
    host_ip = ""
    if body.startswith("["):
        host_ip, _, body = body[1:].partition("]:")
    parts = body.rsplit(":", 2)
    if len(parts) == len(("ip", "published", "target")) and not host_ip:
        host_ip, *parts = parts
    if len(parts) > len(("published", "target")):
        raise UnitError(f"{text!r} is no port; write 8080:80")
    if host_ip and not _is_address(host_ip):
        raise UnitError(f"{text!r}: {host_ip!r} is no address")
    targets = _range(parts[-1], text)
    if len(parts) == 1 or not parts[0]:
        return tuple(PortText(target, None, protocol, host_ip) for target in targets)
    published = _range(parts[0], text)
    if len(targets) == 1 and len(published) > 1:  # any free one of the range: the first here
        published = published[:1]
    if len(published) != len(targets):
        raise UnitError(f"{text!r}: the two ranges differ in length")
    return tuple(PortText(t, p, protocol, host_ip) for p, t in zip(published, targets, strict=True))


def _is_address(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def parse_port(text: str) -> int:
    """Return one port number."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:6]) <= _HIGHEST_PORT:
        raise UnitError(f"{text!r} is no port (1 to {_HIGHEST_PORT})")
    return int(text)


def _range(text: str, whole: str) -> list[int]:
    first, dash, last = text.partition("-")
    try:
        start = parse_port(first)
        end = parse_port(last) if dash else start
    except UnitError as error:
        raise UnitError(f"{whole!r}: {error}") from None
    if not start <= end < start + _MAX_RANGE:
        raise UnitError(f"{whole!r}: not a range of at most {_MAX_RANGE} ports")
    return list(range(start, end + 1))


@functools.lru_cache(maxsize=1024)
def parse_mount(text: str) -> MountText:
    """Return the mount of a short form: `[source:]target[:options]`."""
    parts = text.split(":")
    if len(parts) == 1:
        source, target, options = "", parts[0], ""
    else:
        source, target, options = parts[0], parts[1], ",".join(parts[2:])
    if not target.startswith("/"):
        raise UnitError(f"{text!r}: the target is no absolute path")
    kind = "bind" if source.startswith(("/", ".", "~")) else "volume" if source else "anonymous"
    return MountText(kind, source, target, tuple(word for word in options.split(",") if word))
