"""Rules about hosts and commands: K3s's own config, kubeconfigs, backups and tests in shell lines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from provisioners.compose.lint_view import Finding, Trap, View, find, finding, scalars, trap
from provisioners.compose.nodes import Leaf

if TYPE_CHECKING:
    from collections.abc import Iterator

_MODE = re.compile(r"(?:--write-kubeconfig-mode[= ]+|K3S_KUBECONFIG_MODE=)[\"']?(\d+)")
_OTHERS = 0o077


@trap("readable-kubeconfig")
def readable_kubeconfig(view: View) -> Iterator[Finding]:
    """A kubeconfig that every user of the host can read is cluster admin for every user."""
    for manifest in view.manifests:
        node = manifest.root.get("write-kubeconfig-mode") if manifest.is_k3s_server else None
        if isinstance(node, Leaf) and _readable_by_others(node.text):
            yield _readable(node, node.text)
        for leaf in scalars(manifest.root):
            match = _MODE.search(leaf.text)
            if match and _readable_by_others(match[1]):
                yield _readable(leaf, match[1])


def _readable(node: Leaf, mode: str) -> Finding:
    message = f"mode {mode}: whoever can read it is cluster admin; 0600"
    return finding("readable-kubeconfig", node, message)


def _readable_by_others(mode: str) -> bool:
    digits = mode.removeprefix("0o")
    return digits.isdigit() and not set(digits) - set("01234567") and bool(int(digits, 8) & _OTHERS)


@trap("sqlite-control-plane")
def sqlite_control_plane(view: View) -> Iterator[Finding]:
    """A K3s server without a cluster datastore is one process on one disk."""
    for manifest in view.manifests:
        keys = set(manifest.root.entries)
        if manifest.is_k3s_server and not keys & {"cluster-init", "datastore-endpoint", "server"}:
            yield finding(
                "sqlite-control-plane",
                manifest.root,
                "one server on SQLite: 99.9 % leaves 43 minutes a month for restarts; use cluster-init",
            )


@trap("bgsave-not-waited-for", "pg-dump-redirected")
def backup_commands(view: View) -> Iterator[Finding]:
    """BGSAVE returns at once, and a redirected pg_dump hides that it was cut."""
    for leaf in _commands(view):
        if "BGSAVE" in leaf.text.upper() and "LASTSAVE" not in leaf.text.upper():
            message = "BGSAVE returns before it has saved; wait for LASTSAVE to change"
            yield finding("bgsave-not-waited-for", leaf, message)
        if re.search(r"pg_dump(?:all)?\b[^|;&]*[>|]", leaf.text) and "pipefail" not in leaf.text:
            message = "a cut dump looks whole: use -f FILE, or pipefail, and check its end"
            yield finding("pg-dump-redirected", leaf, message)


@trap("curl-loop")
def one_curl_loop(view: View) -> Iterator[Finding]:
    """A loop of curl in one shell measures curl."""
    for leaf in _commands(view):
        if re.search(r"\b(?:while|for)\b.*\bcurl\b", leaf.text, re.DOTALL):
            message = "one loop of curl is no load test: it waits for each answer"
            yield finding("curl-loop", leaf, message)


@trap("gpu-by-grep")
def gpu_by_grep(view: View) -> Iterator[Finding]:
    """Labels name nvidia where no GPU can be allocated."""
    for leaf in _commands(view):
        if re.search(r"describe\s+nodes?\b.*grep.*nvidia", leaf.text, re.DOTALL):
            yield finding("gpu-by-grep", leaf, "it matches labels too; read .status.allocatable")


def _commands(view: View) -> Iterator[Leaf]:
    """Yield whatever a shell may run: arguments of containers, and scripts in ConfigMaps."""
    for workload in view.workloads():
        for container in workload.containers():
            for path in ("command", "args", "lifecycle"):
                node = find(container, path)
                if node is not None:
                    yield from scalars(node)
    for manifest in view.of_kind("ConfigMap"):
        node = find(manifest.root, "data")
        if node is not None:
            yield from scalars(node)


RULES: tuple[Trap, ...] = (
    readable_kubeconfig,
    sqlite_control_plane,
    backup_commands,
    one_curl_loop,
    gpu_by_grep,
)
