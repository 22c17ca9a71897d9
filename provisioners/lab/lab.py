"""The lab: node hosts on this machine with a real Docker Swarm and a real Kubernetes on them.

`steps()` is the table of contents. Everything a step makes is found again by its real state
(labels, hashes, units), never by a note that it was made, so `up` after a kill at any point ends well.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from provisioners.base import Cluster, Step
from provisioners.errors import CleanupIncomplete, ProvisionError, TargetRefused
from provisioners.inventory import read_inventory, write_inventory
from provisioners.lab.engine import (
    Engine,
    container_states,
    has_data,
    own_engine,
    run_dir,
    running_engine,
    start_engine,
    stop_own_engine,
)
from provisioners.lab.hosts import BIN_MOUNT, Hosts
from provisioners.lab.loader import load_images, prune_archives
from provisioners.lab.node_image import node_image, node_image_step
from provisioners.lab.paths import lab_dir
from provisioners.lab.state import lock, read_facts, write_facts, write_secret
from provisioners.shell import CommandError
from provisioners.steps import run_steps
from provisioners.swarm import SwarmProvisioner, has_ipvs
from provisioners.upstream.build import (
    KINE,
    KUBERNETES,
    MODULES,
    binary_folder,
    build_steps,
)
from provisioners.upstream.layout import Layout, host_nameservers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioners.base import Node, StepResult
    from provisioners.kube import Kube
    from provisioners.lab.preflight import Check
    from provisioners.steps import Progress
    from provisioners.upstream.pki import Pki

SUBNET = "172.30.0.0/24"

_ADDRESS_POOL = "10.20.0.0/16"  # of Swarm's overlay networks: apart from pods and services
_ALIVE_EVERY_S = 2.0
_LOOKS = 6
_LOOK_EVERY_S = 0.5
_WORKERS = 6


@dataclass(frozen=True, slots=True)
class LabStatus:
    """What is up now: states by host name, each in its orchestrator's own word."""

    up: bool
    level: str
    engine: str
    hosts: Mapping[str, str] = field(default_factory=dict)
    swarm: Mapping[str, str] = field(default_factory=dict)
    kubernetes: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


class Lab:
    """The embedded target: `up`, `status`, `cluster`, `down`."""

    name = "lab"

    def __init__(
        self, nodes: int = 3, subnet: str = SUBNET, name: str = "gonogo-lab", parts: Sequence[str] = ()
    ) -> None:
        self.parts = tuple(parts)
        self.k3s_binary = os.environ.get("GONOGO_K3S_BIN", "")
        self.hosts = Hosts(name, nodes, subnet, level="lab-k3s" if self.k3s_binary else "lab-upstream")

    @classmethod
    def current(cls, parts: Sequence[str] = ()) -> Lab:
        """Return the lab that is up, with as many nodes as its inventory has; else the default one."""
        path = lab_dir() / "inventory.yaml"
        return cls(nodes=len(read_inventory(path)), parts=parts) if path.exists() else cls(parts=parts)

    @property
    def level(self) -> str:
        """Where results of this lab come from: what is up says so, else what would be made."""
        return read_facts().get("level", self.hosts.level)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The node hosts."""
        return self.hosts.nodes

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig (0600)."""
        return lab_dir() / "kubeconfig"

    def preflight(self) -> tuple[Check, ...]:
        """Return what this machine lacks or has, each with its fix; changes nothing."""
        from provisioners.lab import preflight

        return preflight.check(preflight.read_facts(self.hosts.subnet))

    def up(self, progress: Progress, *, workers: int = _WORKERS) -> tuple[StepResult, ...]:
        """Run every step, one `up` at a time on this machine.

        Raises TargetRefused when the machine lacks something, unless hosts run already.
        """
        from provisioners.lab.preflight import require

        with lock():
            if not self._any_host():
                require(self.preflight())
            prune_archives()
            results = run_steps(self.steps(), progress=progress, workers=workers)
            _prune_images(start_engine(lambda _: None))
            return results

    def steps(self) -> Sequence[Step]:
        """Return the whole list: engine, builds and images, hosts, Swarm, Kubernetes."""
        from provisioners.lab.images import image_steps

        server_steps = tuple(image_steps())
        before_load = "k3s ready" if self.k3s_binary else "load add-ons"
        base = (
            Step("engine", _start_engine, done=lambda: running_engine() is not None),
            node_image_step(needs=("engine",)),
            Step("hosts", self._start_hosts, needs=("engine", "node image")),
            *_after("engine", server_steps),
            Step(
                "load server images",
                self._load_server_images,
                needs=(before_load, *(step.name for step in server_steps)),
            ),
        )
        swarm = SwarmProvisioner(self.nodes, address_pool=_ADDRESS_POOL)
        return tuple(
            replace(step, run=self._watched(step.run))
            for step in (
                *base,
                *_after("hosts", swarm.steps()),
                *self._kubernetes_steps(),
                *self._part_steps(),
            )
        )

    def _part_steps(self) -> Sequence[Step]:
        """Return the steps of the platform parts that were asked for, built after all else is."""
        from provisioners.parts import parts
        from provisioners.parts.steps import part_steps

        ready = "k3s ready" if self.k3s_binary else "add-ons"
        return part_steps(
            parts(self.parts),
            self.cluster,
            self._kube,
            after_builds=() if self.k3s_binary else tuple(step.name for step in build_steps()),
            after_load=("load server images",),
            after_cluster=(ready,),
        )

    def cluster(self) -> Cluster:
        """Return how to reach both orchestrators of the lab."""
        path = lab_dir() / "inventory.yaml"
        nodes = read_inventory(path, control_dir=run_dir()) if path.exists() else self.nodes
        engine = running_engine() or own_engine()
        facts = read_facts()
        return Cluster(
            kind="lab",
            level=self.level,
            nodes=nodes,
            kubeconfig=self.kubeconfig,
            extra={
                "docker_host": engine.host,
                "ipvs": facts.get("ipvs", "no"),
                "network_policy_engine": facts.get("network_policy_engine", "none"),
                "parts": facts.get("parts", ""),
                **{key: value for key, value in facts.items() if key.startswith("part.")},
            },
        )

    def status(self) -> LabStatus:
        """Ask every part what it is now; what does not answer is a problem, not an error."""
        engine = running_engine()
        if engine is None:
            return LabStatus(up=False, level=self.level, engine="not running")
        states = container_states(engine)
        hosts = {node.name: states.get(self.hosts.container(node.name), "absent") for node in self.nodes}
        text = f"{engine.host} (Docker {engine.version()}{', ours' if engine.ours else ''})"
        absent = [f"{name} is {state}" for name, state in hosts.items() if state != "running"]
        if absent:
            return LabStatus(up=False, level=self.level, engine=text, hosts=hosts, problems=tuple(absent))
        problems: list[str] = []
        swarm = _asked(SwarmProvisioner(self.nodes).node_states, problems)
        kubernetes = _asked(self._node_states, problems)
        for side, found in (("swarm", swarm), ("kubernetes", kubernetes)):
            for name in hosts:
                state = found.get(name, "absent")
                problems += [f"{name} is {state} in {side}"] if state != "ready" else []
        return LabStatus(not problems, self.level, text, hosts, swarm, kubernetes, tuple(problems))

    def is_up(self) -> bool:
        """Return whether hosts, Swarm and Kubernetes are all ready."""
        return self.status().up

    def pin(self, cpus: str | None) -> None:
        """Bind all node hosts to these CPUs; None gives them every CPU back."""
        engine = running_engine()
        if engine is None:
            raise TargetRefused("the lab is not up", where="localhost", next_step="gonogo lab up")
        self.hosts.pin(engine, cpus)

    def down(self, say: Callable[[str], None]) -> None:
        """Remove every container, volume and network of the lab, and our engine; caches stay.

        Raises CleanupIncomplete that names what is left.
        """
        with lock():
            engine = running_engine()
            held_by = read_facts().get("docker_host", own_engine().host)
            if engine is None and held_by != own_engine().host:
                raise CleanupIncomplete(
                    "the Docker engine that holds the lab does not answer",
                    where=held_by,
                    next_step="start it, then gonogo lab down",
                )
            if engine is None and has_data():
                engine = start_engine(say)  # it was killed, and only it can remove what it holds
            if engine is not None:
                say("removing node hosts, their volumes and network")
                self.hosts.remove(engine)
                _require_gone(engine)
            stop_own_engine(say)
            shutil.rmtree(lab_dir(), ignore_errors=True)

    def _kubernetes_steps(self) -> Sequence[Step]:
        if self.k3s_binary:
            return _after("hosts", self._k3s_steps())
        from provisioners.upstream.addons import image_step

        builds = build_steps()
        images = image_step()
        return (
            *builds,
            replace(images, needs=("engine", *images.needs)),
            Step("certificates", self._make_certificates),
            Step(
                "control plane",
                self._start_control_plane,
                needs=("hosts", "certificates", f"build {KUBERNETES.name}", f"build {KINE.name}"),
            ),
            Step("load add-ons", self._load_addons, needs=("hosts", images.name)),
            Step("nodes", self._start_nodes, needs=("control plane",)),
            Step("add-ons", self._start_addons, needs=("nodes", "load add-ons")),
        )

    def _k3s_steps(self) -> Sequence[Step]:
        from provisioners.k3s import K3sProvisioner
        from provisioners.k3s_host import K3sOptions

        # What is asked of it beyond its defaults: no second way in beside the node's ports, routes
        # instead of VXLAN (as upstream has them here), and what a host in a container cannot have.
        options = K3sOptions(
            disable=("traefik", "servicelb"),
            kubelet_args=("feature-gates=KubeletInUserNamespace=true", "fail-cgroupv1=false"),
            server={"flannel-backend": "host-gw"},
            agent={"kube-proxy-arg": ["conntrack-max-per-core=0", "conntrack-min=0"]},
        )
        binary = Path(self.k3s_binary)
        return K3sProvisioner(self.nodes, binary=binary, options=options, kubeconfig=self.kubeconfig).steps()

    def layout(self) -> Layout:
        """Return addresses and folders of the upstream cluster."""
        folders = {
            name: BIN_MOUNT / binary_folder(module).name for module in MODULES for name in module.packages
        }
        return Layout(self.nodes, folders, nameservers=host_nameservers())

    def _kube(self) -> Kube:
        from provisioners.kube import Kube

        return Kube(self.kubeconfig)

    def _start_hosts(self, say: Callable[[str], None]) -> None:
        engine = start_engine(say)
        kept = read_facts() if self.hosts.start(engine, say) else {}
        self.hosts.await_boot(engine, say)
        write_inventory(lab_dir() / "inventory.yaml", self.nodes)
        # K3s brings kube-router's policy engine; upstream here has none until a part brings one.
        write_facts(
            {"network_policy_engine": "kube-router" if self.k3s_binary else "none"}
            | kept  # hosts that stayed still have their parts
            | {
                "level": self.hosts.level,
                "docker_host": engine.host,
                "ipvs": "yes" if has_ipvs(self.nodes[0]) else "no",
            }
        )

    def _make_certificates(self, say: Callable[[str], None]) -> None:
        from provisioners.upstream.pki import cluster_leaves

        layout = self.layout()
        pki = _pki()
        made = pki.ensure(cluster_leaves(self.nodes, layout.control_plane.address, layout.service_address))
        if made:
            say(f"made {', '.join(made)}")
        write_secret(self.kubeconfig, pki.kubeconfig("admin", layout.server, "gonogo-lab"))

    def _start_control_plane(self, say: Callable[[str], None]) -> None:
        from provisioners.upstream.control_plane import start_control_plane

        start_control_plane(self.layout(), _pki(), self._kube(), say)

    def _start_nodes(self, say: Callable[[str], None]) -> None:
        from provisioners.upstream.node import await_nodes, start_nodes

        start_nodes(self.layout(), _pki(), say)
        await_nodes(self.layout(), self._kube(), say)

    def _load_addons(self, say: Callable[[str], None]) -> None:
        from provisioners.upstream.addons import addon_images

        load_images(self.cluster(), addon_images(), say, docker=False)  # Swarm runs none of them

    def _load_server_images(self, say: Callable[[str], None]) -> None:
        from provisioners.lab.images import image_names

        load_images(self.cluster(), image_names(), say)

    def _start_addons(self, say: Callable[[str], None]) -> None:
        from provisioners.upstream.addons import apply_addons, await_addons

        apply_addons(self.layout(), self._kube(), say)
        await_addons(self._kube(), say)

    def _node_states(self) -> dict[str, str]:
        from provisioners.upstream.node import node_states

        return node_states(self._kube())

    def _watched(
        self, run: Callable[[Callable[[str], None]], None]
    ) -> Callable[[Callable[[str], None]], None]:
        """Return a step's `run` that notices, while it waits and when it fails, a host that died."""

        def watched(say: Callable[[str], None]) -> None:
            checked = time.monotonic()

            def say_and_look(text: str) -> None:
                nonlocal checked
                say(text)
                if time.monotonic() - checked > _ALIVE_EVERY_S:
                    checked = time.monotonic()
                    self._require_alive()

            try:
                run(say_and_look)
            except ProvisionError as error:
                # A dead host says more than the failure that it caused; where a command failed, the
                # engine may need a moment to see that its host is gone.
                for _ in range(_LOOKS if isinstance(error, CommandError) else 1):
                    self._require_alive()
                    time.sleep(_LOOK_EVERY_S)
                raise

        return watched

    def _any_host(self) -> bool:
        engine = running_engine()
        return engine is not None and bool(container_states(engine))

    def _require_alive(self) -> None:
        engine = running_engine()
        path = lab_dir() / "inventory.yaml"
        if engine is not None and path.exists():  # before that the step `hosts` itself looks
            self.hosts.require_alive(engine)


def _prune_images(engine: Engine) -> None:
    """Remove images of ours that an older recipe made; one still in use stays until it is not."""
    from provisioners.lab.images import image_names
    from provisioners.parts import NAMES, parts
    from provisioners.parts.images import image_names as part_images
    from provisioners.upstream.addons import addon_images

    argv = ["image", "ls", "--filter", "reference=gonogo/*", "--format", "{{.Repository}}:{{.Tag}}"]
    present = set(engine.run(argv).check().stdout.split())
    kept = {node_image(), *image_names(), *addon_images(), *part_images(parts(NAMES)).values()}
    old = sorted(present - kept)
    if old:
        engine.run(["image", "rm", *old], timeout_s=120)


def _start_engine(say: Callable[[str], None]) -> None:
    start_engine(say)


def _after(first: str, steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return the steps, each of which also needs `first`."""
    return tuple(replace(step, needs=(first, *step.needs)) for step in steps)


def _asked(ask: Callable[[], Mapping[str, str]], problems: list[str]) -> Mapping[str, str]:
    try:
        return ask()
    except ProvisionError as error:
        problems.append(str(error).splitlines()[0])
        return {}


def _pki() -> Pki:
    from provisioners.upstream.pki import Pki

    return Pki(lab_dir() / "pki")


def _require_gone(engine: Engine) -> None:
    left = [f"{kind} {name}" for kind in ("container", "network", "volume") for name in engine.labelled(kind)]
    if left:
        raise CleanupIncomplete(
            f"still there: {', '.join(left)}",
            where=engine.host,
            next_step=f"docker -H {engine.host} rm -fv NAME (or network rm, volume rm), then gonogo lab down",
        )
