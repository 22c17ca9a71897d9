"""One host's K3s: its files as they must be, its unit, what holds its ports, and its removal.

The unit, the paths and the order of removal are those of K3s's own installer, so a host set
up here is one that K3s's documentation describes. Secrets travel on stdin into 0600 files.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provisioners.errors import CleanupIncomplete, NotReady, TargetRefused
from provisioners.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from provisioners.base import Node
    from provisioners.shell import CommandResult

BINARY = "/usr/local/bin/k3s"
CONFIG = "/etc/rancher/k3s/config.yaml"
TOKEN = "/etc/rancher/k3s/token"  # noqa: S105 - the path of the file
KUBECONFIG = "/etc/rancher/k3s/k3s.yaml"
NODE_TOKEN = "/var/lib/rancher/k3s/server/node-token"  # noqa: S105 - the path of the file
MARK = "# written by gonogo; the next `gonogo provision k3s` overwrites it"
_DATA = ("/etc/rancher/k3s", "/run/k3s", "/run/flannel", "/var/lib/rancher/k3s", "/var/lib/kubelet")
_LINKS = ("cni0", "flannel.1")
_RESTARTS = 3
_OWNER = re.compile(r'\(\("([^"]+)",pid=(\d+)')


@dataclass(frozen=True, slots=True)
class K3sOptions:
    """What may differ from K3s's defaults, for servers and agents alike."""

    disable: tuple[str, ...] = ()
    kubelet_args: tuple[str, ...] = ()
    server: Mapping[str, object] = field(default_factory=dict)  # further keys of a server's config.yaml
    agent: Mapping[str, object] = field(default_factory=dict)  # further keys of every node's config.yaml
    ignore_ports: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class PortOwner:
    """A port of the host that is taken, and by which process."""

    port: int
    protocol: str
    process: str
    pid: int


def unit_name(*, server: bool) -> str:
    """Return the unit as K3s's installer names it."""
    return "k3s" if server else "k3s-agent"


def unit_text(*, server: bool) -> str:
    """Return the unit as K3s's installer writes it."""
    kind, word = ("notify", "server") if server else ("exec", "agent")
    return f"""{MARK}
[Unit]
Description=Lightweight Kubernetes
Documentation=https://k3s.io
Wants=network-online.target
After=network-online.target

[Install]
WantedBy=multi-user.target

[Service]
Type={kind}
EnvironmentFile=-/etc/default/%N
EnvironmentFile=-/etc/sysconfig/%N
EnvironmentFile=-/etc/systemd/system/{unit_name(server=server)}.service.env
KillMode=process
Delegate=yes
User=root
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s
ExecStartPre=-/sbin/modprobe br_netfilter
ExecStartPre=-/sbin/modprobe overlay
ExecStart={BINARY} {word}
"""


def config_text(
    node: Node, options: K3sOptions, *, server_url: str = "", first: bool = False, several: bool = False
) -> str:
    """Return config.yaml for a node: a server when it is of the control plane, else an agent."""
    import yaml

    config: dict[str, object] = {"node-name": node.name, "token-file": TOKEN}
    if node.labels:
        config["node-label"] = [f"{key}={value}" for key, value in sorted(node.labels.items())]
    if options.kubelet_args:
        config["kubelet-arg"] = list(options.kubelet_args)
    config |= options.agent
    if node.control_plane:
        config["write-kubeconfig-mode"] = "0600"
        config["tls-san"] = [node.address, node.name]
        config |= {"disable": list(options.disable)} if options.disable else {}
        config |= {"cluster-init": True} if first and several else {}
        config |= options.server
    if server_url:
        config["server"] = server_url
    return f"{MARK}\n{yaml.safe_dump(config, sort_keys=True)}"


def wanted_ports(options: K3sOptions, *, server: bool) -> dict[int, str]:
    """Return the ports that K3s will take on a host, each with the option that frees it."""
    backend = options.server.get("flannel-backend", "vxlan")
    ports = {10250: "it is the kubelet's; stop what holds it"}
    if backend == "vxlan":
        ports[8472] = "--flannel-backend host-gw (or wireguard-native) needs no VXLAN port"
    if server:
        ports[6443] = "--https-listen-port"
    if "servicelb" not in options.disable and "traefik" not in options.disable:
        ports |= dict.fromkeys((80, 443), "--disable traefik --disable servicelb leaves it to its owner")
    return {port: fix for port, fix in ports.items() if port not in options.ignore_ports}


def parse_listeners(text: str) -> list[PortOwner]:
    """Return who listens, from `ss -Hlntup`; a socket of the kernel itself has no process."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 5 or not words[4].rpartition(":")[2].isdigit():  # noqa: PLR2004 - columns of ss
            continue
        owner = _OWNER.search(line)
        found.append(
            PortOwner(
                port=int(words[4].rpartition(":")[2]),
                protocol=words[0],
                process=owner[1] if owner else "the kernel",
                pid=int(owner[2]) if owner else 0,
            )
        )
    return found


def require_free(node: Node, options: K3sOptions) -> None:
    """Raise TargetRefused naming who holds each port that K3s needs; a K3s of ours is not in the way."""
    result = node.ssh.run(["ss", "-Hlntup"], timeout_s=20)
    if result.returncode == 127:  # noqa: PLR2004 - the shell's word for no such program
        raise TargetRefused("ss is not installed", where=node.name, next_step="apt-get install -y iproute2")
    wanted = wanted_ports(options, server=node.control_plane)
    taken = {
        (owner.port, owner.process): owner
        for owner in parse_listeners(result.check().stdout)
        if owner.port in wanted and not owner.process.startswith("k3s")
    }
    if taken and not (_is_ours(node) and _is_active(node)):
        raise TargetRefused(
            f"{len(taken)} port(s) that K3s needs are taken",
            where=node.name,
            why="; ".join(
                f"{owner.port}/{owner.protocol} is held by {owner.process}"
                + (f" (pid {owner.pid})" if owner.pid else "")
                for owner in taken.values()
            ),
            next_step="; ".join(
                dict.fromkeys(f"{owner.port}: {wanted[owner.port]}" for owner in taken.values())
            ),
        )


def require_ours(node: Node) -> None:
    """Raise TargetRefused when the host has a K3s that somebody else installed."""
    present = node.ssh.run(["test", "-e", CONFIG]).ok or _any_unit(node)
    if present and not _is_ours(node):
        raise TargetRefused(
            "this host has a K3s that gonogo did not install",
            where=node.name,
            why=f"{CONFIG} or a unit is there without the first line `{MARK}`",
            next_step="use it as an existing target (kubeconfig), or uninstall it: k3s-uninstall.sh",
        )


def put(node: Node, path: str, content: str | Path, *, mode: str) -> bool:
    """Make a file of the host have this content and mode; return whether it changed."""
    wanted = _sha256(content)
    now = node.ssh.run(["sha256sum", path])
    if now.ok and now.stdout.split()[0].lstrip("\\") == wanted:
        node.ssh.run(["chmod", mode, path]).check()
        return False
    node.ssh.run(["install", "-D", "-m", mode, "/dev/stdin", path], stdin=content, timeout_s=300).check()
    written = node.ssh.run(["sha256sum", path]).check().stdout.split()[0].lstrip("\\")
    if written != wanted:
        raise TargetRefused(
            f"{path} is not what was sent", where=node.name, why=f"sha256 is {written}, expected {wanted}"
        )
    return True


def start(node: Node, say: Callable[[str], None], bound_s: float) -> None:
    """Enable the unit, start it when it does not run what is on disk now, and wait until it is active.

    Ends early, with the journal's last lines, when it keeps failing.
    """
    unit = unit_name(server=node.control_plane)
    node.ssh.run(["systemctl", "daemon-reload"]).check()
    node.ssh.run(["systemctl", "enable", unit]).check()
    verb = "restart" if _is_stale(node, unit) else "start"
    node.ssh.run(["systemctl", verb, "--no-block", unit]).check()
    wait_until(
        f"{unit} on {node.name}", lambda: _not_active(node, unit), say, bound_s=bound_s, every_s=1.0,
        where=node.name, next_step=f"journalctl -u {unit} on the host",
    )  # fmt: skip


def read_secret(node: Node, path: str, say: Callable[[str], None], bound_s: float) -> str:
    """Return a file that K3s writes when its server is up; waits for it, bounded."""
    found: list[str] = []

    def missing() -> str:
        result: CommandResult = node.ssh.run(["cat", path])
        found[:] = [result.stdout] if result.ok and result.stdout.strip() else []
        return "" if found else f"{path} is not there yet"

    wait_until(f"K3s server on {node.name}", missing, say, bound_s=bound_s, every_s=1.0, where=node.name)
    return found[0]


def uninstall(node: Node, say: Callable[[str], None]) -> None:
    """Remove K3s, its containers, mounts, links, rules and files, in the order of its own script.

    Raises CleanupIncomplete naming what is left.
    """
    if not _is_ours(node):
        say(f"{node.name}: no K3s of ours")
        return
    run = node.ssh.run
    for unit in ("k3s", "k3s-agent"):
        run(["systemctl", "disable", "--now", unit], timeout_s=60)
    _end_containers(node)
    for mount in _mounts(node):
        run(["umount", mount])
    for link in _LINKS:
        run(["ip", "link", "delete", link])
    for tables in ("iptables", "ip6tables"):
        _remove_rules(node, tables)
    run(
        ["rm", "-f", BINARY, *(f"/etc/systemd/system/{unit}.service" for unit in ("k3s", "k3s-agent"))]
    ).check()
    run(["systemctl", "daemon-reload"]).check()
    for folder in _DATA:  # emptied rather than removed first: a folder may be a mount point of the host
        run(["find", folder, "-xdev", "-mindepth", "1", "-delete"], timeout_s=120)
        run(["rmdir", folder])
    left = [path for path in (BINARY, CONFIG, TOKEN, KUBECONFIG) if run(["test", "-e", path]).ok]
    if left or _mounts(node):
        raise CleanupIncomplete(
            "K3s is not wholly removed", where=node.name, why=", ".join([*left, *_mounts(node)])
        )


def kept_rules(saved: str) -> str:
    """Return the output of iptables-save without what K3s put there."""
    ours = ("KUBE-", "CNI-")
    lines = [
        line
        for line in saved.splitlines()
        if not any(word in line for word in ours) and "flannel" not in line.lower()
    ]
    return "\n".join(lines) + "\n"


def _remove_rules(node: Node, tables: str) -> None:
    saved = node.ssh.run([f"{tables}-save"])
    if saved.ok and kept_rules(saved.stdout) != saved.stdout:
        node.ssh.run([f"{tables}-restore"], stdin=kept_rules(saved.stdout)).check()


def _end_containers(node: Node) -> None:
    """Kill what outlives the unit on purpose (KillMode=process): shims, then pods' cgroups."""
    listing = node.ssh.run(["ps", "-e", "-o", "pid=,args="]).check().stdout
    shims = [
        line.split()[0]
        for line in listing.splitlines()
        if "/var/lib/rancher/k3s/data/" in line and "containerd-shim" in line
    ]
    if shims:
        node.ssh.run(["kill", "-KILL", *shims])  # one that ended meanwhile is no error
    node.ssh.run(["systemctl", "stop", "kubepods.slice"], timeout_s=60)


def _mounts(node: Node) -> list[str]:
    """Return mounts that K3s left, the innermost first; a data folder itself may be the host's own."""
    text = node.ssh.run(["findmnt", "-rno", "TARGET"]).stdout
    roots = ("/run/k3s/", "/var/lib/kubelet/", "/run/netns/cni-", "/var/lib/rancher/k3s/")
    return sorted((line for line in text.splitlines() if line.startswith(roots)), reverse=True)


def _is_stale(node: Node, unit: str) -> bool:
    """Return whether the unit was started before its files were last written: then it must restart.

    Told from the host, not from what this process wrote: an earlier one may have been killed between.
    """
    shown = node.ssh.run(
        ["systemctl", "show", "--timestamp=unix", "-p", "ExecMainStartTimestamp", "--value", unit]
    )
    started = shown.stdout.strip().removeprefix("@")
    files = (BINARY, CONFIG, TOKEN, f"/etc/systemd/system/{unit}.service")
    written = node.ssh.run(["stat", "-c", "%Y", *files]).check().stdout.split()
    return not started.isdigit() or max(int(second) for second in written) > int(started)


def _not_active(node: Node, unit: str) -> str:
    shown = node.ssh.run(["systemctl", "show", "-p", "ActiveState,SubState,NRestarts", unit]).check()
    state = dict(line.partition("=")[::2] for line in shown.stdout.splitlines())
    if state.get("ActiveState") == "active":
        return ""
    if state.get("ActiveState") == "failed" or int(state.get("NRestarts") or 0) >= _RESTARTS:
        journal = node.ssh.run(["journalctl", "-u", unit, "-n", "20", "--no-pager", "-o", "cat"])
        raise NotReady(
            f"{unit} keeps failing ({state.get('NRestarts', '0')} restarts)",
            where=node.name,
            why=journal.stdout.strip()[-2000:] or "its journal is empty",
            next_step=f"journalctl -u {unit} on the host",
        )
    return f"{state.get('ActiveState', 'unknown')} ({state.get('SubState', '')})"


def _is_ours(node: Node) -> bool:
    return node.ssh.run(["grep", "-qxF", MARK, CONFIG]).ok


def _is_active(node: Node) -> bool:
    return node.ssh.run(["systemctl", "is-active", "-q", unit_name(server=node.control_plane)]).ok


def _any_unit(node: Node) -> bool:
    units: Iterable[str] = (f"/etc/systemd/system/{unit}.service" for unit in ("k3s", "k3s-agent"))
    return any(node.ssh.run(["test", "-e", unit]).ok for unit in units)


def _sha256(content: str | Path) -> str:
    from provisioners.k3s_release import file_sha256

    return hashlib.sha256(content.encode()).hexdigest() if isinstance(content, str) else file_sha256(content)
