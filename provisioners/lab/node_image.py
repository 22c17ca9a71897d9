"""The image of a node host: a small Debian with systemd, sshd, Docker and containerd.

Its tag holds a hash of everything that goes into it, so a changed recipe is a new image
and an unchanged one is found in the engine.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from provisioners.base import Step
from provisioners.lab.debian import SUITE, import_image, root_filesystem
from provisioners.lab.engine import start_engine
from provisioners.shell import run
from provisioners.upstream.layout import PAUSE_IMAGE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provisioners.lab.engine import Engine

_PACKAGES = (
    "ca-certificates",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "curl",
    "dbus",
    "docker-cli",
    "docker.io",
    "ethtool",
    "ipset",
    "iproute2",
    "iptables",
    "kmod",
    "openssh-server",
    "procps",
    "python3-minimal",
    "sudo",
    "systemd-sysv",
)
# Units that make no sense in a container: its network, names, time, devices and consoles are the engine's.
_MASKED = (
    "console-getty.service",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "getty.target",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-logind.service",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "systemd-udevd.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udev-trigger.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
)
_ENABLED = ("containerd.service", "docker.service", "ssh.service")

# The first process: it makes writable what Docker mounts read-only, then becomes systemd. It runs at every
# start of the container, so what lies on tmpfs (/dev/kmsg, which the kubelet reads) is back after a restart.
_INIT = """#!/bin/bash
for mount in /sys/fs/cgroup /sys/fs/cgroup/*; do
  mountpoint -q "$mount" && mount -o remount,rw,bind "$mount"
done
mount --make-rshared /
[ -e /dev/kmsg ] || ln -s /dev/null /dev/kmsg
key=/etc/ssh/ssh_host_ed25519_key
[ -s $key ] || { rm -f $key $key.pub; ssh-keygen -q -t ed25519 -N '' -f $key; }
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
  exec /lib/systemd/systemd
fi
exec /lib/systemd/systemd SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1 systemd.unified_cgroup_hierarchy=0
"""
_SSHD = """HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/gonogo.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UseDNS no
MaxSessions 100
MaxStartups 100
"""
# What is worth reading of a host that died goes to its console, which `docker logs` keeps.
_JOURNALD = """[Journal]
Storage=volatile
RuntimeMaxUse=64M
ForwardToConsole=yes
MaxLevelConsole=notice
"""
# The cgroup driver is the kubelet's: where the two differ pods run, but their CPU and memory read 0.
_CONTAINERD = f"""version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = true
"""
_DOCKERD = json.dumps(
    {
        "log-driver": "json-file",
        "log-opts": {"max-size": "5m", "max-file": "2"},
        "metrics-addr": "0.0.0.0:9323",  # what monitoring scrapes of Swarm's engines
    },
    indent=1,
)
_FILES = {
    "usr/local/sbin/gonogo-init": (0o755, _INIT),
    "etc/ssh/sshd_config.d/gonogo.conf": (0o644, _SSHD),
    "etc/systemd/journald.conf.d/gonogo.conf": (0o644, _JOURNALD),
    "etc/containerd/config.toml": (0o644, _CONTAINERD),
    "etc/locale.conf": (0o644, "LANG=C.UTF-8\n"),
    "etc/docker/daemon.json": (0o644, _DOCKERD + "\n"),
    # Empty, so that systemd gives each host an id of its own.
    "etc/machine-id": (0o444, ""),
}


def node_image() -> str:
    """Return the name of the node image that this recipe makes."""
    recipe = json.dumps([SUITE, _PACKAGES, _MASKED, _ENABLED, _FILES], sort_keys=True)
    return f"gonogo/node:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def node_image_step(needs: tuple[str, ...] = ()) -> Step:
    """Return the step that makes the node image, unless the engine has it."""
    return Step(
        "node image",
        lambda say: build_node_image(start_engine(say), say),
        needs=needs,
        done=lambda: start_engine(lambda _: None).has_image(node_image()),
    )


def build_node_image(engine: Engine, say: Callable[[str], None]) -> None:
    """Make the node image in the engine."""
    with root_filesystem("node", _PACKAGES, say) as folder:
        _configure(folder)
        say("importing the image")
        import_image(engine, folder, node_image(), ('CMD ["/usr/local/sbin/gonogo-init"]',))


def _configure(folder: Path) -> None:
    for name, (mode, text) in _FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
    for key in (folder / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    run(["chroot", str(folder), "systemctl", "mask", *_MASKED]).check()
    run(["chroot", str(folder), "systemctl", "enable", *_ENABLED]).check()
