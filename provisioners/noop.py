"""The no-op twin: both sides as local processes on loopback, up in seconds, level `stub`.

Each side is one process that serves every service with the same server code as the lab
(`fixtures.mcp_server --all`), on the real ports, each replica on an address of 127/8 of its
own. What is absent is the orchestrator, so nothing here can ever support a GO. Mutations
(`Cluster.extra["break"]`) break one thing each, on purpose, for negative controls.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioners.base import (
    ApplyResult,
    Cluster,
    Node,
    Readiness,
    Replica,
    Service,
    ServiceFailure,
    Side,
    Step,
)
from provisioners.errors import CleanupIncomplete, NotReady, ProvisionError
from provisioners.shell import CommandResult, Ssh, run, start_daemon
from provisioners.steps import run_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioners.base import Bundle, ServiceSpec, StepResult
    from provisioners.lab.preflight import Check
    from provisioners.steps import Progress

_ROOT = Path(__file__).resolve().parent.parent
_PROBE = _ROOT / "fixtures" / "mcp_server" / "probe.py"
_PACKAGES = ("mcp", "uvicorn", "redis", "psycopg", "prometheus_client")
_LONGEST_FOLDER = 60  # a Unix socket takes 107 bytes
_START_S = 30.0
_STOP_S = 5.0
_POLL_S = 0.02
_HTTP_OK = 200
_NOT_FOUND = 127
_ROLES = ("production", "ai-core", "mcp-hub", "data-pipeline", "development")

MUTATIONS: Mapping[str, str] = {
    "server:SERVICE": "does not listen",
    "tool:SERVICE": "offers a tool with another schema than on the other side",
    "peer:SERVICE": "cannot be reached by the servers that call it",
    "dns:SERVICE": "its name does not resolve",
    "latency": "round trips take 25 ms",
    "apply": "applying the same bundle again changes a service",
    "norecover": "a killed replica does not come back",
    "nodes": "one node is not ready",
    "namespace": "the namespace (stack) is not there",
    "identity": "does not say who it is",
    "slow": "answers other than health take 25 ms longer",
    "flaky": "one in five answers other than health is an error",
}
"""What can be broken. On the Kubernetes side, or where `@swarm` is added, on the Swarm side."""


class NoopProvisioner:
    """Starts and stops the two local processes."""

    name = "noop"

    def __init__(
        self,
        mutations: str = "",
        *,
        nodes: int = 3,
        namespace: str = "sophia-mcp",
        stack: str = "sophia",
        run_id: str = "",
    ) -> None:
        self._mutations = mutations
        self._folder = _short_folder() / f"gonogo-noop-{secrets.token_hex(6)}"
        self._pids: dict[Side, int] = {}
        # Two neighbouring /24 blocks, drawn so that runs side by side do not meet.
        first, second = 64 + secrets.randbelow(128), 2 * secrets.randbelow(127)
        self._blocks = {Side.SWARM: f"127.{first}.{second}", Side.KUBERNETES: f"127.{first}.{second + 1}"}
        self._cluster = Cluster(
            kind="noop",
            level="stub",
            nodes=tuple(_node(index) for index in range(nodes)),
            namespace=namespace,
            stack=stack,
            run_id=run_id,
            extra={
                "break": mutations,
                "folder": str(self._folder),
                **{str(side): str(self._socket(side)) for side in Side},
            },
        )

    def preflight(self) -> tuple[Check, ...]:
        """Return whether the packages that the servers need are installed here."""
        from provisioners.lab.preflight import Check

        missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
        detail = f"missing: {', '.join(missing)}" if missing else "all found"
        return (Check("server packages", not missing, detail, "pip install 'gonogo[server]'"),)

    def is_up(self) -> bool:
        """Return whether this object started its processes; nobody else's are ever met."""
        return len(self._pids) == len(Side)

    def up(self, progress: Progress) -> tuple[StepResult, ...]:
        """Start both processes."""
        return run_steps(self.steps(), progress=progress)

    def steps(self) -> Sequence[Step]:
        """Return one step a side; they overlap."""
        return [self._step(side) for side in Side]

    def cluster(self) -> Cluster:
        """Return how to reach the two processes."""
        return self._cluster

    def down(self, say: Callable[[str], None]) -> None:
        """End both processes and remove their folder."""
        for side, pid in self._pids.items():
            say(f"stopping the {side} stub")
            _signal(pid, signal.SIGTERM)
        left = [pid for pid in self._pids.values() if not _await_end(pid)]
        for pid in left:
            _signal(pid, signal.SIGKILL)
        left = [pid for pid in left if not _await_end(pid)]
        if left:
            raise CleanupIncomplete(
                f"stub processes still run: {left}", where="localhost", next_step=f"kill -9 {left[0]}"
            )
        self._pids.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _step(self, side: Side) -> Step:
        def start(say: Callable[[str], None]) -> None:
            say(f"{self._blocks[side]}.0/24")
            self._start(side)

        return Step(f"start {side} stub", start, done=lambda: side in self._pids)

    def _start(self, side: Side) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        names = ",".join(node.name for node in self._cluster.nodes)
        path, log = self._socket(side), self._folder / f"{side}.log"
        server = [sys.executable, "-m", "fixtures.mcp_server", "--all", str(path), "--side", str(side)]
        options = ["--nodes", names, "--block", self._blocks[side], "--parent", str(os.getpid())]
        environment = ["env", f"PYTHONPATH={_ROOT}"]
        pid = start_daemon([*environment, *server, *options, "--break", self._mutations], log)
        self._pids[side] = pid
        control = _Control(path)
        until = time.monotonic() + _START_S
        while not control.answers():
            if _ended(pid) or time.monotonic() > until:
                raise NotReady(
                    f"the {side} stub does not answer",
                    where="localhost",
                    why="\n        ".join(_tail(log, 8)) or "it printed nothing",
                    next_step="install what the reference server needs: pip install 'gonogo[server]'",
                )
            time.sleep(_POLL_S)

    def _socket(self, side: Side) -> Path:
        return self._folder / f"{side}.sock"


class NoopTarget:
    """One side of the no-op twin, through its control socket. It can kill replicas too."""

    def __init__(self, side: Side, cluster: Cluster, workload: Sequence[ServiceSpec]) -> None:
        self._side = side
        self._cluster = cluster
        self._workload = tuple(workload)
        self._control = _Control(Path(cluster.extra[str(side)]))
        words = {word.strip() for word in cluster.extra.get("break", "").split(",") if word.strip()}
        pairs = [word.partition("@") for word in words]
        self._broken = {word for word, _, where in pairs if (where or str(Side.KUBERNETES)) == str(side)}

    @property
    def side(self) -> Side:
        """The side that this process plays."""
        return self._side

    @property
    def nodes(self) -> Sequence[Node]:
        """Names only: no host stands behind them."""
        return self._cluster.nodes

    def version(self) -> Mapping[str, str]:
        """Return the versions of what really runs."""
        versions = self._state()["versions"]
        return {"engine": "none", "orchestrator": "stub", "server": versions["server"], "python": sys.version}

    def identity(self) -> str:
        """Return an id that another start of the process does not have."""
        return "" if "identity" in self._broken else str(uuid.UUID(self._state()["id"]))

    def node_states(self) -> Mapping[str, str]:
        """Return `ready` for each node that is not broken on purpose."""
        states = {node.name: "ready" for node in self.nodes}
        if "nodes" in self._broken and states:
            states[self.nodes[-1].name] = "NotReady" if self._side is Side.KUBERNETES else "Down"
        return states

    def node_labels(self) -> Mapping[str, Mapping[str, str]]:
        """Return the labels that the cluster was given."""
        return {node.name: dict(node.labels) for node in self.nodes}

    def namespaces(self) -> Sequence[str]:
        """Return the namespace or stack once something is applied."""
        own = self._cluster.stack if self._side is Side.SWARM else self._cluster.namespace
        there = self._state()["services"] and "namespace" not in self._broken
        return [*(["default"] if self._side is Side.KUBERNETES else []), *([own] if there else [])]

    def apply(self, bundle: Bundle) -> ApplyResult:
        """Make the process serve exactly the bundle's services."""
        started = time.monotonic()
        rows = [_spec_row(spec, bundle, len(self.nodes)) for spec in bundle.services]
        done = self._control.ask("PUT", "/services", rows)
        names = {key: tuple(done[key]) for key in ("created", "changed", "removed", "unchanged")}
        return ApplyResult(**names, duration_s=time.monotonic() - started)

    def wait_ready(self, services: Sequence[str], timeout_s: float, say: Callable[[str], None]) -> Readiness:
        """Return at once: a listener is there when `apply` returns, or it never will be."""
        started = time.monotonic()
        until = started + min(timeout_s, 2.0)
        while True:
            there = {service.name: service for service in self.services()}
            ready = [s for s in services if s in there and there[s].ready == there[s].desired]
            if len(ready) == len(services) or time.monotonic() > until:
                break
            time.sleep(_POLL_S)
        say(f"{len(ready)} of {len(services)} ready")
        failed = [
            ServiceFailure(name, "nothing listens" if name in there else "not deployed", self.logs(name))
            for name in services
            if name not in ready
        ]
        return Readiness(tuple(ready), tuple(failed), time.monotonic() - started)

    def remove(self, bundle: Bundle) -> None:
        """Stop every service of the bundle; others have none here."""
        del bundle
        self._control.ask("DELETE", "/services")

    def services(self) -> Sequence[Service]:
        """Return the services that the process serves."""
        state = self._state()
        return [_service(row, state["versions"]["image_id"]) for row in state["services"]]

    def replicas(self, service: str) -> Sequence[Replica]:
        """Return the replicas of one service; none for an unknown name."""
        rows = [row for row in self._state()["services"] if row["name"] == service]
        return [_replica(service, copy) for row in rows for copy in row["copies"]]

    def url(self, service: str, port: int | None = None) -> str:
        """Return where this machine enters the service."""
        row = self._row(service)
        if port is not None and port not in row["ports"]:
            raise ProvisionError(f"{service} has no port {port}", where=f"noop {self._side}")
        return f"http://{row['address']}:{port or row['ports'][0]}"

    def dns_name(self, service: str) -> str:
        """Return the service's name; only `exec` and the servers know what it means here."""
        return service

    def service_address(self, service: str) -> str | None:
        """Return the service's own address on the Kubernetes side; Swarm's side plays DNS round robin."""
        return self._row(service)["address"] if self._side is Side.KUBERNETES else None

    def exec(self, replica: Replica, argv: Sequence[str], timeout_s: float = 30.0) -> CommandResult:
        """Run `gonogo-probe ...` here, with the names of this side; nothing else is there to run."""
        if not argv or argv[0] != "gonogo-probe":
            text = f"{' '.join(argv[:1])}: the no-op target runs only gonogo-probe"
            return CommandResult(tuple(argv), replica.id, _NOT_FOUND, "", text, 0.0)
        command = [sys.executable, "-IS", str(_PROBE), *argv[1:]]
        result = run(command, timeout_s=timeout_s, env={"GONOGO_PROBE_HOSTS": json.dumps(self._hosts())})
        return CommandResult(
            tuple(argv), replica.id, result.returncode, result.stdout, result.stderr, result.duration_s
        )

    def logs(self, service: str, lines: int = 50) -> str:
        """Return the last lines of the process's log: it has one for all services."""
        del service
        return "\n".join(_tail(Path(self._cluster.extra["folder"]) / f"{self._side}.log", lines))

    def snapshot(self, folder: Path) -> None:
        """Save what the process says of itself, and its log."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "state.json").write_text(json.dumps(self._state(), indent=1), encoding="utf-8")
        (folder / "log.txt").write_text(self.logs("", 10_000), encoding="utf-8")

    def kill(self, replica: Replica) -> None:
        """Cut the replica off: its listeners close, its connections are reset."""
        self._control.ask("POST", f"/kill/{replica.id}")

    def _state(self) -> dict[str, Any]:
        return self._control.ask("GET", "/state")

    def _row(self, service: str) -> dict[str, Any]:
        for row in self._state()["services"]:
            if row["name"] == service:
                return dict(row)
        raise ProvisionError(f"no service {service!r}", where=f"noop {self._side}")

    def _hosts(self) -> dict[str, list[str]]:
        rows = [row for row in self._state()["services"] if f"dns:{row['name']}" not in self._broken]
        if self._side is Side.KUBERNETES:
            return {row["name"]: [row["address"]] for row in rows}
        return {row["name"]: [c["address"] for c in row["copies"] if c["ready"]] for row in rows}


@dataclass(frozen=True, slots=True)
class _Control:
    """The door to one process: HTTP on a Unix socket."""

    path: Path

    def answers(self) -> bool:
        try:
            self.ask("GET", "/state")
        except ProvisionError:
            return False
        return True

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(30)
        try:
            connection.sock.connect(str(self.path))
            connection.request(method, path, json.dumps(body) if body is not None else None)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise ProvisionError(
                f"the stub does not answer {method} {path}",
                where=str(self.path),
                why=str(error),
                next_step="start it again: gonogo run --target noop",
            ) from error
        finally:
            connection.close()
        if answer.status != _HTTP_OK:
            raise ProvisionError(
                f"the stub refused {method} {path}", where=str(self.path), why=text.decode(errors="replace")
            )
        return dict(json.loads(text))


def _short_folder() -> Path:
    """Return the folder for temporary files, or /tmp where a socket's path there would be too long."""
    usual = Path(tempfile.gettempdir())
    return usual if len(str(usual)) <= _LONGEST_FOLDER else Path("/tmp")  # noqa: S108  0700 and random below


def _node(index: int) -> Node:
    name = f"node{index + 1}"
    labels = {"instance-role": _ROLES[index % len(_ROLES)]}
    return Node(name, Ssh(name, "127.0.0.1"), control_plane=index == 0, labels=labels, index=index)


def _spec_row(spec: ServiceSpec, bundle: Bundle, nodes: int) -> dict[str, object]:
    """Return the service as the process takes it, with a fingerprint of the files that made it."""
    own = {path: text for path, text in bundle.files.items() if Path(path).stem == spec.name}
    digest = hashlib.sha256(json.dumps(own or dict(bundle.files), sort_keys=True).encode())
    return {
        "name": spec.name,
        "tier": spec.tier,
        "replicas": nodes if spec.per_node else spec.replicas,
        "ports": list(spec.ports),
        "calls": list(spec.calls),
        "mcp": spec.mcp,
        "fingerprint": digest.hexdigest(),
    }


def _service(row: Mapping[str, Any], image_id: str) -> Service:
    ready = sum(copy["ready"] for copy in row["copies"])
    return Service(row["name"], row["tier"], row["replicas"], ready, tuple(row["ports"]), "stub", image_id)


def _replica(service: str, copy: Mapping[str, Any]) -> Replica:
    return Replica(
        copy["id"],
        service,
        copy["node"],
        copy["address"],
        copy["ready"],
        restarts=copy["restarts"],
        started_at=copy["started_at"],
    )


def _tail(log: Path, lines: int) -> list[str]:
    try:
        return log.read_text(encoding="utf-8", errors="backslashreplace").splitlines()[-lines:]
    except OSError:
        return []


def _signal(pid: int, sign: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sign)


def _ended(pid: int) -> bool:
    """Return whether our child ended, and collect it if it did."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _await_end(pid: int) -> bool:
    until = time.monotonic() + _STOP_S
    while not _ended(pid):
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_S)
    return True
