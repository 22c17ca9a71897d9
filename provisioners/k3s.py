"""K3s on given hosts, over SSH: the servers first, then the agents, as K3s's installer does it.

Every step looks first and changes only what differs, so that an interrupted installation is
finished by the same command. A host with a K3s of somebody else's is refused, not taken over.
Hosts with GPUs get NVIDIA's toolkit before K3s starts, which looks for it then and only then.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from provisioners.base import Cluster, Step
from provisioners.errors import InputError, NotReady, TargetRefused
from provisioners.k3s_host import (
    BINARY,
    CONFIG,
    KUBECONFIG,
    NODE_TOKEN,
    TOKEN,
    K3sOptions,
    config_text,
    put,
    read_secret,
    require_free,
    require_ours,
    start,
    uninstall,
    unit_name,
    unit_text,
)
from provisioners.k3s_release import (
    BASE_URL,
    VERSION,
    K3sBinary,
    architecture,
    check_version,
    download,
    file_sha256,
    find_binary,
)
from provisioners.kubeconfig import rewrite_server, write_private
from provisioners.lab.paths import cache_dir, state_dir
from provisioners.nvidia import (
    apply_plugin,
    await_runtime,
    gpu_nodes,
    install_toolkit,
    require_driver,
)
from provisioners.steps import for_each
from provisioners.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from provisioners.base import Node

_SERVER_BOUND_S = 180.0
_AGENT_BOUND_S = 120.0
_READY_BOUND_S = 180.0


class K3sProvisioner:
    """One K3s cluster of the nodes: control-plane nodes are servers, the others agents."""

    name = "k3s"

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        binary: Path | None = None,
        version: str = VERSION,
        sha256: str = "",
        base_url: str = BASE_URL,
        options: K3sOptions | None = None,
        kubeconfig: Path | None = None,
    ) -> None:
        if not nodes:
            raise InputError("K3s needs at least one host")
        self.servers = tuple(node for node in nodes if node.control_plane)
        if not self.servers:
            raise InputError(
                "no host of the inventory is a K3s server",
                next_step="mark at least one host with `control_plane: true`",
            )
        if len(self.servers) % 2 == 0:
            raise InputError(
                f"{len(self.servers)} K3s servers cannot keep a quorum",
                why="etcd of an even number survives no more failures than of one less",
                next_step="mark 1, 3 or 5 hosts with `control_plane: true`",
            )
        self.nodes = tuple(nodes)
        self.agents = tuple(node for node in nodes if not node.control_plane)
        self.gpu_nodes = gpu_nodes(nodes)
        self.version = check_version(version)
        self.options = options or K3sOptions()
        self.kubeconfig = kubeconfig or state_dir() / "k3s" / "kubeconfig"
        self._given = binary
        self._sha256 = sha256
        self._base_url = base_url
        self._binary: K3sBinary | None = None

    @property
    def first(self) -> Node:
        """The server that starts the cluster, and that the others join."""
        return self.servers[0]

    @property
    def server_url(self) -> str:
        """Where the others join, and where the API answers."""
        return f"https://{_in_url(self.first.address)}:6443"

    def steps(self) -> Sequence[Step]:
        """Return the whole list: find the binary, check hosts, install, server, agents, ready.

        Where hosts have GPUs: driver and toolkit before K3s starts, runtime and device plugin after.
        """
        gpus = bool(self.gpu_nodes)
        before = ("k3s install", *(("nvidia toolkit",) if gpus else ()))
        steps = (
            Step("k3s binary", self._find),
            Step("k3s hosts", self._check_hosts),
            Step("k3s install", self._install, needs=("k3s binary", "k3s hosts")),
            Step("k3s server", self._start_first, needs=before),
            Step("k3s kubeconfig", self._fetch_kubeconfig, needs=("k3s server",)),
            Step("k3s join", self._join, needs=("k3s server",)),
            Step("k3s ready", self._await_ready, needs=("k3s join", "k3s kubeconfig")),
        )
        return (*steps, *self._gpu_steps()) if gpus else steps

    def _gpu_steps(self) -> Sequence[Step]:
        return (
            Step("nvidia driver", self._check_drivers, needs=("k3s hosts",)),
            Step("nvidia toolkit", self._install_toolkits, needs=("nvidia driver",)),
            Step("nvidia runtime", self._await_runtimes, needs=("k3s ready",)),
            Step("nvidia plugin", self._apply_plugin, needs=("nvidia runtime",)),
        )

    def cluster(self) -> Cluster:
        """Return how to reach the cluster; its kubeconfig is there once the steps ran."""
        return Cluster(kind="existing", level="hosts", nodes=self.nodes, kubeconfig=self.kubeconfig)

    def down(self, say: Callable[[str], None]) -> None:
        """Remove K3s from every host where it is ours, agents first."""
        for group in (self.agents, self.servers):
            for_each(group, lambda node: uninstall(node, say))
        self.kubeconfig.unlink(missing_ok=True)

    def _find(self, say: Callable[[str], None]) -> None:
        self._binary = find_binary(
            cache_dir(),
            given=self._given,
            version=self.version,
            sha256=self._sha256,
            base_url=self._base_url,
            say=say,
        )
        say(f"{self._binary.version} from {self._binary.source}: {self._binary.path}")

    def _check_hosts(self, say: Callable[[str], None]) -> None:
        say(", ".join(node.name for node in self.nodes))
        for_each(self.nodes, self._check_host)

    def _check_host(self, node: Node) -> None:
        user = node.ssh.run(["id", "-u"], timeout_s=20).check(next_step="check the host's SSH by hand")
        if user.stdout.strip() != "0":
            raise TargetRefused(
                "K3s is installed by root",
                where=node.name,
                why=f"the inventory's user {node.ssh.user} has uid {user.stdout.strip()}",
                next_step="name root, or another user with uid 0, in the inventory",
            )
        require_ours(node)
        require_free(node, self.options)

    def _install(self, say: Callable[[str], None]) -> None:
        say(f"on {len(self.nodes)} hosts")
        for_each(self.nodes, lambda node: self._install_on(node, say))

    def _install_on(self, node: Node, say: Callable[[str], None]) -> None:
        binary = self._found()
        machine = node.ssh.run(["uname", "-m"]).check().stdout.strip()
        path = binary.path if architecture(machine) == architecture() else self._foreign(machine, binary, say)
        put(node, BINARY, path, mode="0755")
        said = node.ssh.run([BINARY, "--version"]).check().stdout.split()
        if said[2:3] != [binary.version]:
            raise TargetRefused(
                "the installed K3s is of another version",
                where=node.name,
                why=f"it says {' '.join(said[:3])}, expected {binary.version}",
            )

    def _foreign(self, machine: str, binary: K3sBinary, say: Callable[[str], None]) -> Path:
        """Return the release's binary for a host of another architecture than this machine's."""
        arch = architecture(machine)
        path = cache_dir() / "k3s" / binary.version / arch / "k3s"
        note = path.with_name("sha256")
        if not (path.is_file() and note.is_file() and file_sha256(path) == note.read_text().strip()):
            download(path, binary.version, arch, base_url=self._base_url, say=say)
        return path

    def _start_first(self, say: Callable[[str], None]) -> None:
        node = self.first
        known = node.ssh.run(["cat", TOKEN])
        token = known.stdout if known.ok and known.stdout.strip() else secrets.token_hex(32) + "\n"
        several = len(self.servers) > 1
        config = config_text(node, self.options, first=True, several=several)
        self._start_node(node, token, config, say, _SERVER_BOUND_S)

    def _join(self, say: Callable[[str], None]) -> None:
        token = read_secret(self.first, NODE_TOKEN, say, _SERVER_BOUND_S)  # it holds the CA's hash too
        for node in self.servers[1:]:  # one at a time: each waits for its place in the quorum
            self._join_one(node, token, say)
        for_each(self.agents, lambda node: self._join_one(node, token, say))

    def _join_one(self, node: Node, token: str, say: Callable[[str], None]) -> None:
        config = config_text(node, self.options, server_url=self.server_url)
        self._start_node(node, token, config, say, _AGENT_BOUND_S)

    def _start_node(
        self, node: Node, token: str, config: str, say: Callable[[str], None], bound_s: float
    ) -> None:
        unit = unit_name(server=node.control_plane)
        put(node, CONFIG, config, mode="0600")
        put(node, TOKEN, token, mode="0600")
        put(node, f"/etc/systemd/system/{unit}.service", unit_text(server=node.control_plane), mode="0644")
        start(node, say, bound_s)

    def _fetch_kubeconfig(self, say: Callable[[str], None]) -> None:
        text = read_secret(self.first, KUBECONFIG, say, _SERVER_BOUND_S)
        write_private(self.kubeconfig, rewrite_server(text, self.first.address))
        say(str(self.kubeconfig))

    def _check_drivers(self, say: Callable[[str], None]) -> None:
        say(", ".join(f"{node.name} {node.gpus}" for node in self.gpu_nodes))
        for_each(self.gpu_nodes, require_driver)

    def _install_toolkits(self, say: Callable[[str], None]) -> None:
        for_each(self.gpu_nodes, lambda node: install_toolkit(node, say))

    def _await_runtimes(self, say: Callable[[str], None]) -> None:
        for node in self.gpu_nodes:  # one at a time: a restart of all at once would stop the cluster
            await_runtime(node, unit_name(server=node.control_plane), say)

    def _apply_plugin(self, say: Callable[[str], None]) -> None:
        from provisioners.kube import Kube

        apply_plugin(Kube(self.kubeconfig), self.gpu_nodes, say)

    def _await_ready(self, say: Callable[[str], None]) -> None:
        wait_until(
            "K3s nodes", self._unready, say, bound_s=_READY_BOUND_S, every_s=1.0, where=self.server_url,
            next_step="journalctl -u k3s-agent on the host that is missing",
        )  # fmt: skip

    def _unready(self) -> str:
        states = self._node_states()
        wrong = {node.name: states.get(node.name, "absent") for node in self.nodes}
        return ", ".join(f"{name} is {state}" for name, state in wrong.items() if state != "ready")

    def _node_states(self) -> Mapping[str, str]:
        from provisioners.kube import Kube, KubeError
        from provisioners.kube_objects import parse_node

        try:
            rows = Kube(self.kubeconfig).list_all("/api/v1/nodes").items
        except KubeError:  # it still starts: the bound of the wait is over it
            return {}
        return {node.name: node.state for node in map(parse_node, rows)}

    def _found(self) -> K3sBinary:
        if self._binary is None:
            raise NotReady("the K3s binary was not looked for", next_step="run the steps in their order")
        return self._binary


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address
