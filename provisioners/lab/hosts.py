"""The node hosts: systemd containers of the outer engine, reached by SSH as rented hosts are.

What a host should be is one argv (`_run_argv`); its hash is a label of the container, so an
`up` after a change of recipe makes new hosts, and one after a kill finishes what is there.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provisioners.base import Node
from provisioners.errors import NotReady, ProvisionError, TargetRefused
from provisioners.lab.capabilities import allowed_capabilities, may_be_privileged
from provisioners.lab.engine import LABEL, Engine, container_states, run_dir
from provisioners.lab.node_image import node_image
from provisioners.lab.paths import cache_dir, lab_dir
from provisioners.lab.pinning import pin
from provisioners.shell import CommandResult, Ssh, run
from provisioners.steps import for_each

if TYPE_CHECKING:
    from collections.abc import Callable

# The guide's five hosts, in its order.
ROLES = ("production", "ai-core", "mcp-hub", "data-pipeline", "development")
# The cache's bin and images folders as the hosts see them: read-only, so nothing is copied.
BIN_MOUNT = Path("/opt/gonogo/bin")
IMAGE_MOUNT = Path("/opt/gonogo/images")

_VOLUMES = {
    "docker": "/var/lib/docker",
    "containerd": "/var/lib/containerd",
    "kubelet": "/var/lib/kubelet",
    "rancher": "/var/lib/rancher",
}
_TMPFS = ("/run", "/run/lock", "/tmp")  # noqa: S108  mount points inside the host
_BOOT_BOUND_S = 90.0
_FIRST_HOST = 11  # .1 is the bridge; the rest up to .10 is free for others
BRIDGE = "gonogo0"
_CONSOLE_CODES = re.compile(r"\x1b\[[0-9;:?]*[A-Za-z]|[\x00-\x08\x0b-\x1f]")


@dataclass(frozen=True, slots=True)
class Hosts:
    """The `count` node hosts of the lab called `name`, on a bridge network `subnet`.

    `level` says what will run on them; hosts of another level are made anew, never reused.
    """

    name: str
    count: int
    subnet: str
    level: str = "lab-upstream"

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The hosts as an inventory describes them, whether or not they are up."""
        network = ipaddress.ip_network(self.subnet)
        return tuple(
            Node(
                name=f"node{i + 1}",
                ssh=Ssh(
                    host=f"node{i + 1}",
                    address=str(network[_FIRST_HOST + i]),
                    key_file=lab_dir() / "id_ed25519",
                    known_hosts=lab_dir() / "known_hosts",
                    control_dir=run_dir(),
                ),
                control_plane=i == 0,
                labels={"instance-role": ROLES[i % len(ROLES)]},
                index=i,
            )
            for i in range(self.count)
        )

    def container(self, node: str) -> str:
        """Return the name of the container that is the host `node`."""
        return f"{self.name}-{node}"

    def start(self, engine: Engine, say: Callable[[str], None]) -> bool:
        """Start the hosts that do not run; those made by another recipe are made anew.

        Returns whether all were there before, with what is installed on them.
        Raises TargetRefused when the lab is up with more hosts than this.
        """
        others = container_states(engine).keys() - {self.container(node.name) for node in self.nodes}
        if others:
            raise TargetRefused(
                f"the lab is up with other hosts too: {', '.join(sorted(others))}",
                where=engine.host,
                next_step="ask for as many nodes as are up, or first: gonogo lab down",
            )
        _make_key()
        run_dir().mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in ("bin", "images"):
            (cache_dir() / folder).mkdir(parents=True, exist_ok=True)
        self._make_network(engine)
        if any(self._is_stale(engine, node) for node in self.nodes):
            say("the recipe of the hosts has changed: making them anew")
            self.remove(engine)
            self._make_network(engine)
        there = container_states(engine)
        for_each(self.nodes, lambda node: self._start_one(engine, node))
        return all(self.container(node.name) in there for node in self.nodes)

    def await_boot(self, engine: Engine, say: Callable[[str], None]) -> None:
        """Wait until systemd of every host says that it is up, then trust the hosts' own keys."""
        for_each(self.nodes, lambda node: self._await_one(engine, node, say))
        lines = for_each(self.nodes, lambda node: self._host_key(engine, node))
        fresh = lab_dir() / ".known_hosts.new"
        fresh.write_text("".join(lines), encoding="ascii")
        fresh.replace(lab_dir() / "known_hosts")
        for_each(self.nodes, lambda node: node.ssh.run(["true"], timeout_s=20).check())

    def require_alive(self, engine: Engine) -> None:
        """Raise ProvisionError, with its last journal lines, for a host that no longer runs."""
        states = container_states(engine)
        for node in self.nodes:
            state = states.get(self.container(node.name), "gone")
            if state != "running":
                raise ProvisionError(
                    f"the node host died (its container is {state})",
                    where=node.name,
                    why=self._last_lines(engine, node.name),
                    next_step="run it again: gonogo lab up starts the host and finishes",
                )

    def pin(self, engine: Engine, cpus: str | None) -> None:
        """Bind all hosts to these CPUs (`0`, `0-2`, ...); None gives them every CPU back."""
        pin(engine, [self.container(node.name) for node in self.nodes], cpus)

    def remove(self, engine: Engine) -> None:
        """Remove every container, volume and network that carries our label."""
        for node in self.nodes:
            _close_shared_connection(node)
        for kind, words in (
            ("container", ["rm", "--force", "--volumes"]),
            ("volume", ["rm", "--force"]),
            ("network", ["rm"]),
        ):
            names = engine.labelled(kind)
            if names:
                engine.run([kind, *words, *names], timeout_s=120)

    def _make_network(self, engine: Engine) -> None:
        if self.name in engine.labelled("network"):
            return
        flags = [
            "--label",
            LABEL,
            "--subnet",
            self.subnet,
            "--opt",
            f"com.docker.network.bridge.name={BRIDGE}",
        ]
        engine.run(["network", "create", *flags, self.name]).check(
            next_step="gonogo doctor names who holds the subnet"
        )

    def _is_stale(self, engine: Engine, node: Node) -> bool:
        label = '{{index .Config.Labels "gonogo.recipe"}}'
        result = engine.run(["container", "inspect", "--format", label, self.container(node.name)])
        return result.ok and result.stdout.strip() != _recipe(self._run_argv(node))

    def _start_one(self, engine: Engine, node: Node) -> None:
        name = self.container(node.name)
        state = container_states(engine).get(name)
        if state == "running":
            return
        if state:
            engine.run(["start", name], timeout_s=60).check()
            return
        argv = self._run_argv(node)
        engine.run(["run", "--label", f"gonogo.recipe={_recipe(argv)}", *argv], timeout_s=60).check()

    def _run_argv(self, node: Node) -> list[str]:
        name = self.container(node.name)
        argv = ["--detach", "--tty", "--name", name, "--hostname", node.name, "--label", LABEL]
        argv += ["--label", f"gonogo.level={self.level}"]
        argv += ["--network", self.name, "--ip", node.address, "--cgroupns", "private"]
        argv += ["--env", "container=docker", "--stop-signal", "SIGRTMIN+3", "--log-opt", "max-size=5m"]
        argv += ["--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"]
        if may_be_privileged():
            argv.append("--privileged")
        else:  # what --privileged does, less the capabilities that this machine itself lacks
            argv += [word for cap in allowed_capabilities() for word in ("--cap-add", cap)]
            argv += ["--security-opt", "systempaths=unconfined", "--device-cgroup-rule", "a *:* rwm"]
        argv += [word for folder in _TMPFS for word in ("--tmpfs", folder)]
        for volume, folder in _VOLUMES.items():
            argv += ["--mount", f"type=volume,src={name}-{volume},dst={folder},volume-label={LABEL}"]
        argv += [
            "--volume",
            f"{cache_dir()}/bin:{BIN_MOUNT}:ro",
            "--volume",
            f"{cache_dir()}/images:{IMAGE_MOUNT}:ro",
        ]
        argv += ["--volume", f"{lab_dir()}/id_ed25519.pub:/etc/ssh/gonogo.pub:ro"]
        if Path("/lib/modules").is_dir():
            argv += ["--volume", "/lib/modules:/lib/modules:ro"]
        return [*argv, node_image()]

    def _await_one(self, engine: Engine, node: Node, say: Callable[[str], None]) -> None:
        name = self.container(node.name)
        until = time.monotonic() + _BOOT_BOUND_S
        state = CommandResult((), node.name, None, "", "", 0.0)
        while time.monotonic() < until:
            state = engine.run(["exec", name, "systemctl", "is-system-running"], timeout_s=15)
            if state.stdout.strip() in {"running", "degraded"}:
                if state.stdout.strip() == "degraded":
                    failed = engine.run(["exec", name, "systemctl", "--failed", "--plain", "--no-legend"])
                    say(f"{node.name}: degraded: {'; '.join(failed.stdout.splitlines())}")
                return
            if container_states(engine).get(name) != "running":
                self.require_alive(engine)
            say(f"{node.name}: systemd is {state.stdout.strip() or 'not answering yet'}")
            time.sleep(0.3)
        raise NotReady(
            f"systemd is not up after {_BOOT_BOUND_S:.0f} s, it says {state.stdout.strip()!r}",
            where=node.name,
            why=self._last_lines(engine, node.name),
        )

    def _host_key(self, engine: Engine, node: Node) -> str:
        key = engine.run(
            ["exec", self.container(node.name), "cat", "/etc/ssh/ssh_host_ed25519_key.pub"]
        ).check()
        kind, value, *_ = key.stdout.split()
        return f"{node.address} {kind} {value}\n"

    def _last_lines(self, engine: Engine, node: str) -> str:
        result = engine.run(["logs", "--tail", "15", self.container(node)])
        text = _CONSOLE_CODES.sub("", result.stdout + result.stderr)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return "\n        ".join(lines) or "its console is empty"


def _recipe(argv: list[str]) -> str:
    """Return a hash of what a host is made of; the key counts, for other keys do not open it."""
    key = (lab_dir() / "id_ed25519.pub").read_text(encoding="ascii")
    return hashlib.sha256("\0".join([*argv, key]).encode()).hexdigest()[:16]


def _make_key() -> None:
    """Make the key that opens the hosts, unless both halves are there."""
    key = lab_dir() / "id_ed25519"
    if key.exists() and key.with_suffix(".pub").exists():
        return
    fresh = lab_dir() / "key.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "gonogo-lab", "-f", str(fresh / "key")]).check(
        next_step="install it: apt-get install -y openssh-client"
    )
    # The public half stays one file (its inode is mounted in the hosts); it comes last.
    (fresh / "key").replace(key)
    (fresh / "key.pub").replace(key.with_suffix(".pub"))
    fresh.rmdir()


def _close_shared_connection(node: Node) -> None:
    """End the shared SSH connection, which would outlive the host by a minute."""
    argv = node.ssh.argv()
    run([*argv[:1], "-O", "exit", *argv[1:]], timeout_s=10)
