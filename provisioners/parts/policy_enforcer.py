"""Enforce NetworkPolicies on this host: watch the API server, keep the firewall as `policy_rules` says.

    python3 -m provisioners.parts.policy_enforcer --node NAME --server URL --ca FILE --token FILE
    python3 -m provisioners.parts.policy_enforcer --flush

Runs on the hosts with the standard library of Debian's python3-minimal, which has sockets, TLS and JSON but
no http package. It lists and then watches, so that idle hosts stay idle. Before the first complete view
nothing is programmed (it fails open), and while the API server is away the last rules stay. Each change
is one transaction of iptables-restore. `--flush` takes everything out again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from provisioners.parts.policy_rules import PREFIX, TOP, read_world, restore_text, rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATHS = {
    "pods": "/api/v1/pods",
    "namespaces": "/api/v1/namespaces",
    "policies": "/apis/networking.k8s.io/v1/networkpolicies",
}
STATE = Path("/run/gonogo-policy.json")
_CONNECT_S = 5.0
_WATCH_S = 300
_SETTLE_S = 0.05  # changes come in bursts: one transaction for each
_LOOK_S = 5.0  # kube-proxy and Docker put their rules first when they start: ours go before them again
_RETRY_S = 1.0
_OK = b"200"
_CHAIN = re.compile(rf"^-N ({PREFIX}\S+)$", re.MULTILINE)


class Api:
    """The API server, asked by HTTP/1.0: the answer ends with the connection."""

    def __init__(self, server: str, ca: str, token: str) -> None:
        parts = urlsplit(server)
        self._address = (parts.hostname or "", parts.port or 443)
        self._tls = ssl.create_default_context(cafile=ca) if parts.scheme == "https" else None
        self._token = token

    def lines(self, path: str, timeout_s: float) -> Iterator[bytes]:
        """Yield the lines of an answer as they come.

        Raises:
            OSError: no answer, or one that is no success.
        """
        with contextlib.ExitStack() as stack:
            link: socket.socket = stack.enter_context(socket.create_connection(self._address, _CONNECT_S))
            if self._tls is not None:
                link = stack.enter_context(self._tls.wrap_socket(link, server_hostname=self._address[0]))
            link.settimeout(timeout_s)
            head = (
                f"GET {path} HTTP/1.0\r\nHost: {self._address[0]}\r\nAccept: application/json\r\n"
                f"User-Agent: gonogo-policy\r\nAuthorization: Bearer {self._token}\r\n\r\n"
            )
            link.sendall(head.encode())
            stream = stack.enter_context(link.makefile("rb"))
            status = stream.readline()
            while stream.readline().strip():  # the header
                pass
            if status.split()[1:2] != [_OK]:
                message = f"{path}: {status.decode('ascii', 'replace').strip() or 'no answer'}"
                raise OSError(message)
            yield from stream


class View:
    """One collection as the API server holds it, kept by a thread of its own."""

    def __init__(self, api: Api, path: str, changed: threading.Event) -> None:
        self._api, self._path, self._changed = api, path, changed
        self._lock = threading.Lock()
        self._rows: dict[str, Any] = {}
        self.complete = False

    def rows(self) -> list[Any]:
        """Return the objects as they are now."""
        with self._lock:
            return list(self._rows.values())

    def follow(self) -> None:
        """List, watch, and begin again when the watch breaks; never returns."""
        while True:
            try:
                version = self._list()
                while True:
                    version = self._watch(version)
            except (OSError, ValueError, KeyError) as error:
                sys.stderr.write(f"{self._path}: {type(error).__name__}: {error}\n")
                time.sleep(_RETRY_S)

    def _list(self) -> str:
        page = json.loads(b"".join(self._api.lines(self._path, 30.0)))
        with self._lock:
            self._rows = {_key(row): row for row in page.get("items") or []}
            self.complete = True
        self._changed.set()
        return str(page["metadata"]["resourceVersion"])

    def _watch(self, version: str) -> str:
        """Follow changes from a version on; return the last version seen.

        Raises:
            ValueError: the version is too old, or the answer is no JSON.
        """
        query = f"?watch=true&allowWatchBookmarks=true&timeoutSeconds={_WATCH_S}&resourceVersion={version}"
        began = time.monotonic()
        for line in self._api.lines(self._path + query, _WATCH_S + 30.0):
            event = json.loads(line)
            row = event["object"]
            if event["type"] == "ERROR":
                raise ValueError(str(row.get("message", "the watch failed")))
            version = row["metadata"]["resourceVersion"]
            if event["type"] != "BOOKMARK":
                with self._lock:
                    if event["type"] == "DELETED":
                        self._rows.pop(_key(row), None)
                    else:
                        self._rows[_key(row)] = row
                self._changed.set()
        if time.monotonic() - began < _RETRY_S:  # a server that hangs up at once is not asked in a loop
            time.sleep(_RETRY_S)
        return version


def _key(row: Any) -> str:
    meta = row["metadata"]
    return f"{meta.get('namespace', '')}/{meta['name']}"


class Firewall:
    """The filter table of this host, as far as it is ours."""

    def keep(self, chains: dict[str, list[str]]) -> bool:
        """Make the table hold these chains, the jump to them first; return whether anything was changed."""
        ruled = _iptables(["iptables", "-w", "5", "-S"])
        there = _CHAIN.findall(ruled)
        forward = [line for line in ruled.splitlines() if line.startswith("-A FORWARD ")]
        jump = f"-A FORWARD -j {TOP}"
        first = bool(forward) and forward[0] == jump
        top = [line for line in ruled.splitlines() if line.startswith(f"-A {TOP} ")]
        same = set(there) == set(chains) and [_targets(line) for line in top] == [
            _targets(rule) for rule in chains[TOP]
        ]
        if same and first:  # a chain is named by what it holds: equal names are equal rules
            return False
        text = restore_text(chains, there, jump=not first, jumped=jump in forward)
        _iptables(["iptables-restore", "-w", "5", "--noflush"], text)
        return True

    def flush(self) -> None:
        """Take the chains and the jump out."""
        ruled = _iptables(["iptables", "-w", "5", "-S"])
        there = _CHAIN.findall(ruled)
        if there:
            jumps = ruled.splitlines().count(f"-A FORWARD -j {TOP}")
            lines = ["*filter", *(f":{name} - [0:0]" for name in there)]
            lines += [f"-D FORWARD -j {TOP}"] * jumps
            lines += [f"-X {name}" for name in there]
            _iptables(["iptables-restore", "-w", "5", "--noflush"], "\n".join([*lines, "COMMIT", ""]))


def _targets(line: str) -> tuple[str, ...]:
    """Return what a rule of the top chain compares and where it jumps, however iptables words it."""
    words = line.split()
    return tuple(f"{word} {words[n + 1]}" for n, word in enumerate(words) if word in {"-s", "-d", "-j"})


def _iptables(argv: Sequence[str], text: str = "") -> str:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        message = f"{argv[0]}: {done.stderr.strip()[-500:]}"
        raise OSError(message)
    return done.stdout


def enforce(node: str, api: Api, state: Path = STATE) -> None:
    """Keep the host's firewall as the policies say; returns only by an exception."""
    changed = threading.Event()
    views = {name: View(api, path, changed) for name, path in PATHS.items()}
    for name, view in views.items():
        threading.Thread(target=view.follow, name=name, daemon=True).start()
    firewall = Firewall()
    while True:
        changed.wait(_LOOK_S)
        if not all(view.complete for view in views.values()):
            time.sleep(_SETTLE_S)
            continue
        time.sleep(_SETTLE_S)
        changed.clear()
        world = read_world(views["pods"].rows(), views["namespaces"].rows(), views["policies"].rows())
        chains = rules(node, world)
        try:
            if firewall.keep(chains) or not state.exists():
                state.write_text(
                    json.dumps({"chains": len(chains), "policies": len(world.policies), "at": time.time()}),
                    encoding="ascii",
                )
        except (OSError, subprocess.SubprocessError) as error:
            sys.stderr.write(f"{error}\n")
            time.sleep(_RETRY_S)
            changed.set()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(prog="gonogo-policy", description="enforce NetworkPolicies on this host")
    parser.add_argument("--node", default="")
    parser.add_argument("--server", default="")
    parser.add_argument("--ca", default="")
    parser.add_argument("--token", type=Path)
    parser.add_argument("--state", type=Path, default=STATE)
    parser.add_argument("--flush", action="store_true", help="take all rules out, and end")
    options = parser.parse_args(argv)
    if options.flush:
        Firewall().flush()
        options.state.unlink(missing_ok=True)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    options.state.unlink(missing_ok=True)
    token = options.token.read_text(encoding="ascii").strip() if options.token else ""
    enforce(options.node, Api(options.server, options.ca, token), options.state)
    return 0


if __name__ == "__main__":
    sys.exit(main())
