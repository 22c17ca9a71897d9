"""Health checks as probes: HTTP where curl or wget asks a local URL, else the same command.

Docker has one check and Swarm acts on it twice: an unhealthy task gets no traffic and is
replaced. So it becomes readiness and liveness both, but a check of readiness (`/ready`) alone
must not restart a server for its backends' faults.
"""

from __future__ import annotations

import functools
import math
import shlex
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from provisioners.compose.fit import START_INTERVAL_S as FIT_START_INTERVAL_S
from provisioners.compose.fit import START_PERIOD_S
from provisioners.compose.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from provisioners.compose.model import HealthCheck

INTERVAL_S, TIMEOUT_S, RETRIES, START_INTERVAL_S = 30.0, 30.0, 3, 5.0
_READY_PERIOD_S = 10.0
_LOCAL = frozenset(("localhost", "127.0.0.1", "0.0.0.0", "::1"))  # noqa: S104  names in a URL, nothing listens
_CURL_FLAGS = frozenset(
    (
        "-f",
        "--fail",
        "-s",
        "--silent",
        "-S",
        "--show-error",
        "-L",
        "--location",
        "-k",
        "--insecure",
        "-4",
        "-I",
        "--head",
    )
)
_CURL_VALUES = frozenset(
    ("-m", "--max-time", "--connect-timeout", "--retry", "-o", "--output", "-w", "--write-out")
)
_WGET_FLAGS = frozenset(("-q", "--quiet", "--spider", "--no-verbose", "-nv", "--no-check-certificate", "-S"))
_WGET_VALUES = frozenset(("-O", "--output-document", "-T", "--timeout", "-t", "--tries"))
_SHELL_TAILS = (
    "|| exit 1",
    "||exit 1",
    "|| exit 1;",
    "> /dev/null",
    ">/dev/null",
    "2>&1",
    "&>/dev/null",
    "&& exit 0",
)
_REMEMBERED = 1024
_READY_WORDS = ("ready", "readiness", "readyz")


@dataclass(frozen=True, slots=True)
class Check:
    """What a health check asks: an HTTP path on a port, or a command."""

    argv: tuple[str, ...] = ()
    path: str = ""
    port: int = 0
    scheme: str = "HTTP"

    @property
    def is_http(self) -> bool:
        """Whether it is an HTTP request to the container itself."""
        return self.port > 0

    @property
    def is_readiness(self) -> bool:
        """Whether it asks if the server can work now, which depends on others."""
        return any(word in self.path.lower().split("/")[-1] for word in _READY_WORDS)


def check_of(health: HealthCheck) -> Check:
    """Return what an active health check asks."""
    return _check(health.test.value if health.test else (), health.shell)


@functools.lru_cache(maxsize=_REMEMBERED)
def _check(words: tuple[str, ...], shell: bool) -> Check:
    if shell:
        return _http(_shell_words(words[0])) or Check(argv=("/bin/sh", "-c", words[0]))
    return _http(list(words)) or Check(argv=words)


def probes_of(
    health: HealthCheck,
    ports: Mapping[object, str],
    steady_s: float | None = None,
    check: Check | None = None,
) -> dict[str, object]:
    """Return the probes of a container; `ports` are the names of its container ports.

    `steady_s` is the fit's interval between checks of a service that has been healthy; `check` is
    what the health check asks, where it had to be rewritten.
    """
    check = check or check_of(health)
    interval = health.interval_s.value if health.interval_s else INTERVAL_S
    timeout = health.timeout_s.value if health.timeout_s else TIMEOUT_S
    retries = (health.retries.value if health.retries else 0) or RETRIES
    grace = health.start_period_s.value if health.start_period_s else 0.0
    start = health.start_interval_s.value if health.start_interval_s else START_INTERVAL_S
    start = max(1.0, min(start, interval))
    if steady_s is not None:
        grace, start = max(grace, START_PERIOD_S), FIT_START_INTERVAL_S
    action = _action(check, ports)
    steady = {
        **action,
        "periodSeconds": _whole(steady_s or interval),
        "timeoutSeconds": _whole(timeout),
        "failureThreshold": retries,
    }
    starting = {
        **action,
        "periodSeconds": _whole(start),
        "timeoutSeconds": _whole(timeout),
        "failureThreshold": math.ceil((grace + retries * interval) / _whole(start)),
    }
    # The kubelet looks at readiness once a period, after the start too: a long one would keep a
    # pod that has started out of its Service for as long.
    ready = (
        steady if steady_s is None else {**steady, "periodSeconds": _whole(min(interval, _READY_PERIOD_S))}
    )
    probes: dict[str, object] = {"startupProbe": starting, "readinessProbe": ready}
    if not check.is_readiness:
        probes["livenessProbe"] = steady
    return probes


def kinds(check: Check) -> str:
    """Return in words what a check became."""
    how = "an HTTP request" if check.is_http else "the same command"
    what = "readiness" if check.is_readiness else "readiness and liveness"
    return f"{how}, for {what}; asked every few seconds until it first succeeds"


def _action(check: Check, ports: Mapping[object, str]) -> dict[str, object]:
    if not check.is_http:
        return {"exec": {"command": list(check.argv)}}
    request: dict[str, object] = {"path": check.path, "port": ports.get(check.port, check.port)}
    if check.scheme != "HTTP":
        request["scheme"] = check.scheme
    return {"httpGet": request}


def _whole(seconds: float) -> int:
    return max(1, round(seconds))


def _shell_words(text: str) -> list[str]:
    body = text.strip()
    shortened = True
    while shortened:
        shortened = False
        for tail in _SHELL_TAILS:
            if body.endswith(tail):
                body, shortened = body.removesuffix(tail).strip(), True
    if any(char in body for char in "|&;<>`$()"):
        return []
    try:
        return shlex.split(body)
    except ValueError:
        return []


def _http(words: list[str]) -> Check | None:
    """Return the HTTP request that a curl or wget of the container itself makes."""
    if not words:
        return None
    tool = words[0].rpartition("/")[2]
    if tool == "curl":
        urls = _urls(words[1:], _CURL_FLAGS, _CURL_VALUES)
    elif tool == "wget":
        urls = _urls(words[1:], _WGET_FLAGS, _WGET_VALUES)
    else:
        return None
    if urls is None or len(urls) != 1:
        return None
    return _request(urls[0])


def _urls(words: list[str], flags: Collection[str], values: Collection[str]) -> list[str] | None:
    urls, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif not word.startswith("-"):
            urls.append(word)
        elif word in values:
            skip = True
        elif (word not in flags and not _bundled(word, flags, values) and "=" not in word) or (
            "=" in word and word.partition("=")[0] not in {*flags, *values}
        ):
            return None
    return urls


def _bundled(word: str, flags: Collection[str], values: Collection[str]) -> bool:
    """Whether `-fsS` or `-qO-` is made of known single letters."""
    if word.startswith("--"):
        return False
    for index, letter in enumerate(word[1:]):
        if f"-{letter}" in values:
            return index + 2 < len(word)  # the rest of the word is its value
        if f"-{letter}" not in flags:
            return False
    return True


def _request(url: str) -> Check | None:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or parts.hostname not in _LOCAL or parts.username:
        return None
    number = port or (443 if parts.scheme == "https" else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Check(path=path, port=number, scheme=parts.scheme.upper())
