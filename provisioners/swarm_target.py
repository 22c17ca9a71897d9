"""The Swarm side as a Target: what suites read, apply and break on a Docker Swarm stack.

The manager is asked over SSH with the docker command; containers are reached on their own
nodes. Every wait is a bounded poll: docker itself waits for ever when a task has no place.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from provisioners.base import ApplyResult, Replica, Service, Side
from provisioners.docker_cli import Docker
from provisioners.errors import CleanupIncomplete, NotReady, ProvisionError, TargetRefused
from provisioners.swarm_objects import (
    STACK_LABEL,
    ended_slots,
    parse_node,
    parse_service,
    parse_task,
    restarts,
    shared_network,
    unhealthy_words,
)
from provisioners.swarm_stack import RUN_LABEL, prepare_stack
from provisioners.swarm_wait import wait_for_services

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from provisioners.base import Bundle, Cluster, Node, Readiness, ServiceSpec
    from provisioners.shell import CommandResult
    from provisioners.swarm_objects import SwarmNode, SwarmService, SwarmTask
    from provisioners.swarm_stack import Stack

_DEPLOY_S = 180.0
_REMOVE_S = 120.0
_LOG_LINES = 500
_STARTS = 3
_NOT_STARTED, _NO_PROCESS = 126, "preliminary setup"  # the runtime's child was gone before it ran anything
_DETACH_SINCE = 26  # older clients know no --detach, and never wait


class SwarmTarget:
    """One stack of a Docker Swarm, seen as the Swarm side."""

    side = Side.SWARM

    def __init__(self, cluster: Cluster, workload: Sequence[ServiceSpec] = ()) -> None:
        self.cluster = cluster
        self.stack = cluster.stack
        self.specs = {spec.name: spec for spec in workload}
        self._swarm_nodes: dict[str, SwarmNode] = {}
        self._known: dict[str, SwarmService] = {}

    @property
    def nodes(self) -> Sequence[Node]:
        """Return the hosts of the inventory that carry this side."""
        wanted = self.cluster.extra.get("swarm_nodes")
        names = wanted.split(",") if wanted else [node.name for node in self.cluster.nodes]
        return tuple(node for node in self.cluster.nodes if node.name in names)

    @property
    def docker(self) -> Docker:
        """Return the manager's engine: a docker context where one is given, else by SSH."""
        context = self.cluster.extra.get("docker_context")
        if context:
            return Docker(context=context)
        managers = [node for node in self.nodes if node.control_plane] or list(self.nodes)
        if not managers:
            raise TargetRefused("the cluster has no node to ask", where=self.cluster.kind)
        return Docker(ssh=managers[0].ssh)

    def version(self) -> Mapping[str, str]:
        """Return versions of the manager's engine, its runtime and its kernel."""
        result = self.docker.run("info", "--format", "{{json .}}").check()
        info = json.loads(result.stdout)
        return {
            "engine": f"Docker {info.get('ServerVersion', 'unknown')}",
            "orchestrator": f"Docker Swarm {info.get('ServerVersion', 'unknown')}",
            "runtime": f"containerd {(info.get('ContainerdCommit') or {}).get('ID', 'unknown')}",
            "kernel": str(info.get("KernelVersion", "")),
            "os": str(info.get("OperatingSystem", "")),
        }

    def identity(self) -> str:
        """Return the id of the swarm."""
        text = self.docker.run("info", "--format", "{{json .Swarm}}").check().stdout
        cluster = json.loads(text).get("Cluster") or {}
        if not cluster.get("ID"):
            raise TargetRefused(
                "this engine manages no swarm",
                where=self.docker.where,
                why="`docker info` shows no swarm cluster id",
                next_step="name a manager of the swarm as control_plane in the inventory",
            )
        return str(cluster["ID"])

    def node_states(self) -> Mapping[str, str]:
        """Return each node's state: `ready`, or docker's own word (`down`, `drain`, `pause`)."""
        return {self._name(node): node.state for node in self._read_nodes().values()}

    def node_labels(self) -> Mapping[str, Mapping[str, str]]:
        """Return each node's labels as the swarm holds them."""
        return {self._name(node): node.labels for node in self._read_nodes().values()}

    def namespaces(self) -> Sequence[str]:
        """Return the stacks of the swarm."""
        return tuple(row["Name"] for row in self.docker.rows("stack", "ls"))

    def apply(self, bundle: Bundle) -> ApplyResult:
        """Make the stack hold the bundle; applying it twice changes nothing."""
        started = time.monotonic()
        stack = prepare_stack(bundle, self.stack, self.cluster.run_id)
        before = self._contents()
        self._create_secrets(stack, before)
        self._deploy(stack)
        self._remove_stale(stack)
        after = self._contents()
        return compare_contents(before, after, time.monotonic() - started)

    def wait_ready(self, services: Sequence[str], timeout_s: float, say: Callable[[str], None]) -> Readiness:
        """Wait until the services are ready or one after the other is known to have failed."""
        return wait_for_services(self.docker, self.stack, services, timeout_s, say, self._ended_health)

    def remove(self, bundle: Bundle) -> None:  # noqa: ARG002 - a stack is removed whole, whatever is in it
        """Remove the stack, its secrets, networks and volumes, and wait until all are gone."""
        deadline = time.monotonic() + _REMOVE_S
        while True:
            self.docker.run("stack", "rm", self.stack, timeout_s=60)  # a network in use needs asking again
            self._remove_volumes()
            left = self._left()
            if not left:
                self._known.clear()
                return
            if time.monotonic() > deadline:
                raise CleanupIncomplete(
                    f"stack {self.stack} is not gone after {_REMOVE_S:.0f} s",
                    where=self.docker.where,
                    why=", ".join(left),
                    next_step=f"docker stack rm {self.stack}, then docker volume rm on the nodes named",
                )
            time.sleep(1.0)

    def services(self) -> Sequence[Service]:
        """Return the deployed services of the stack."""
        services = self._services()
        tasks = self._tasks([service.id for service in services])
        digests = self._image_ids()
        active = sum(node.state == "ready" for node in self._read_nodes().values())
        return tuple(self._service(item, tasks, digests, active) for item in services)

    def replicas(self, service: str) -> Sequence[Replica]:
        """Return the service's wanted tasks that have a container; a replica's id is the container's."""
        known = self._one_service(service)
        network = shared_network(known, list(self._known.values()))
        tasks = self._tasks([known.id])
        return tuple(
            Replica(
                id=task.container_id,
                service=service,
                node=self._node_name(task.node_id),
                address=task.addresses.get(network, next(iter(task.addresses.values()), "")),
                ready=task.running,
                restarts=restarts(task, tasks),
                started_at=task.at,
                addresses=tuple(task.addresses.values()),
            )
            for task in tasks
            if task.wanted and task.container_id and task.state in {"running", "starting"}
        )

    def url(self, service: str, port: int | None = None) -> str:
        """Return the published port of the service on a node that answers there.

        In host mode that is the node of a running task, in ingress mode too: equal hops.
        """
        known = self._one_service(service)
        wanted = port or self._first_port(service, known)
        published = next((item for item in known.ports if wanted == item.target), None)
        if published is None:
            raise ProvisionError(
                f"{service} does not publish port {wanted}",
                where=f"stack {self.stack}",
                why=f"it publishes {', '.join(str(item.target) for item in known.ports) or 'none'}",
                next_step="publish the port in the compose file, or ask for another port",
            )
        tasks = [task for task in self._tasks([known.id]) if task.running]
        if tasks:
            number = published.published or tasks[0].host_ports.get(wanted, 0)
            return f"http://{self._address(tasks[0].node_id)}:{number}"
        ready = [node.id for node in self._read_nodes().values() if node.state == "ready"]
        if published.mode == "host" or not ready:
            raise NotReady(
                f"{service} has no running task to enter by",
                where=f"stack {self.stack}",
                why="a port in host mode answers only on nodes that run one",
            )
        return f"http://{self._address(ready[0])}:{published.published}"

    def dns_name(self, service: str) -> str:
        """Return the name of the service: its alias on the stack's networks."""
        return service

    def service_address(self, service: str) -> str | None:
        """Return the virtual IP of the service; None for DNS round robin."""
        self._known.pop(service, None)
        known = self._one_service(service)
        return known.addresses.get(shared_network(known, list(self._known.values())))

    def exec(self, replica: Replica, argv: Sequence[str], timeout_s: float = 30.0) -> CommandResult:
        """Run a command in the replica's container, on its node.

        Asked again where the runtime says that the process never came to life: nothing has run then.
        """
        for left in reversed(range(_STARTS)):
            result = self._on(replica.node).run("exec", replica.id, *argv, timeout_s=timeout_s)
            if not left or result.returncode != _NOT_STARTED or _NO_PROCESS not in result.stderr:
                break
        return result

    def logs(self, service: str, lines: int = 50) -> str:
        """Return the last lines of each of the service's tasks, each under the task's name."""
        name = f"{self.stack}_{service}"
        result = self.docker.run("service", "logs", "--tail", str(lines), name, timeout_s=30)
        return result.stdout + result.stderr

    def snapshot(self, folder: Path) -> None:
        """Save the stack's objects (never secrets) and every service's log."""
        folder.mkdir(parents=True, exist_ok=True)
        ids = self._service_ids()
        _save(folder / "services.json", self.docker.inspect("service", ids))
        _save(folder / "tasks.json", self.docker.inspect("task", self._task_ids(ids)))
        _save(folder / "nodes.json", self.docker.inspect("node", self.docker.words("node", "ls", "-q")))
        logs = folder / "logs"
        logs.mkdir(exist_ok=True)
        for service in self._services():
            (logs / f"{service.name}.log").write_text(self.logs(service.name, _LOG_LINES), encoding="utf-8")

    def kill(self, replica: Replica) -> None:
        """End the replica's container with SIGKILL on its node, as a crash would."""
        self._on(replica.node).run("kill", "-s", "KILL", replica.id, timeout_s=20).check()

    def discard(self, replica: Replica) -> None:
        """Remove the replica's container from its node, running or not."""
        self._on(replica.node).run("rm", "-f", replica.id, timeout_s=20).check()

    def ended(self) -> Sequence[str]:
        """Return the services with a slot whose task has ended and that nothing is to replace."""
        services = self._services()
        tasks = self._tasks([service.id for service in services])
        return tuple(one.name for one in services if ended_slots(one, tasks))

    def revive(self, services: Sequence[str]) -> None:
        """Have the Swarm start these services' tasks anew."""
        for name in services:
            self.docker.run("service", "update", "--force", "--detach", f"{self.stack}_{name}").check()

    def mark(self, node: str, label: str, value: str | None) -> None:
        """Set a label of the node, or remove it; removing one that is not there changes nothing."""
        change = ["--label-rm", label] if value is None else ["--label-add", f"{label}={value}"]
        result = self.docker.run("node", "update", *change, self._node_id(node))
        if not result.ok and not (value is None and "doesn't exist" in result.stderr):
            result.check()

    def drain(self, node: str) -> None:
        """Move all tasks off the node."""
        self.docker.run("node", "update", "--availability", "drain", self._node_id(node)).check()

    def undrain(self, node: str) -> None:
        """Let the node take tasks again."""
        self.docker.run("node", "update", "--availability", "active", self._node_id(node)).check()

    def _ended_health(self, task_id: str) -> str:
        """Return what the health check said last when it ended the task's container, else nothing."""
        for task in (parse_task(row) for row in self.docker.inspect("task", [task_id])):
            host = self._inventory_node(self._swarm_node(task.node_id)) if task.node_id else None
            if host and task.container_id:
                for row in Docker(ssh=host.ssh).inspect("container", [task.container_id]):
                    return unhealthy_words(row)
        return ""

    def _create_secrets(self, stack: Stack, before: Mapping[str, str]) -> None:
        for name, value in stack.secrets.items():
            if f"secret/{name}" not in before:
                labels = ["--label", f"{STACK_LABEL}={self.stack}"]
                labels += ["--label", f"{RUN_LABEL}={self.cluster.run_id}"]
                self.docker.run("secret", "create", *labels, name, "-", stdin=value).check()

    def _deploy(self, stack: Stack) -> None:
        folder = self._put_files(stack.files) if stack.files else ""
        detach = ["--detach"] if self._client_major() >= _DETACH_SINCE else []
        flags = ["--prune", "--resolve-image", "never", *detach]
        try:
            self.docker.run(
                "stack", "deploy", *flags, "-c", "-", self.stack,
                stdin=stack.text, timeout_s=_DEPLOY_S, folder=folder,
            ).check(next_step="the stack file as sent is in the run's manifests folder")  # fmt: skip
        finally:
            if folder and self.docker.ssh:
                self.docker.ssh.run(["rm", "-rf", folder])
        self._known.clear()

    def _put_files(self, files: Mapping[str, bytes]) -> str:
        """Copy the stack's config files into a new folder of the manager that only root reads."""
        ssh = self.docker.ssh
        if ssh is None:
            raise TargetRefused(
                "config files cannot be sent through a docker context",
                where=self.docker.where,
                next_step="give the manager in the inventory, so that it is reached over SSH",
            )
        folder = ssh.run(["mktemp", "-d", "/tmp/gonogo.XXXXXXXX"]).check().stdout.strip()  # noqa: S108 - mktemp's own 0700 folder
        for name, content in files.items():
            ssh.run(["tee", f"{folder}/{name}"], stdin=content).check()
        return folder

    def _remove_stale(self, stack: Stack) -> None:
        """Remove secrets and configs of this stack that it names no more; one still in use stays."""
        wanted = {"secret": set(stack.secrets), "config": set(stack.configs)}
        for kind, names in wanted.items():
            stale = set(self._labelled(self.docker, kind)) - names
            if stale:
                self.docker.run(kind, "rm", *sorted(stale))

    def _contents(self) -> dict[str, str]:
        """Return everything of the stack by title, each with what tells one state from another."""
        found = {f"service/{service.name}": service.spec_hash for service in self._services()}
        for kind in ("network", "secret", "config"):
            found |= {f"{kind}/{name}": "" for name in self._labelled(self.docker, kind)}
        return found

    def _labelled(self, docker: Docker, kind: str) -> list[str]:
        """Return the names of the stack's networks, secrets, configs or volumes at one engine."""
        label = f"label={STACK_LABEL}={self.stack}"
        return [row["Name"] for row in docker.rows(kind, "ls", "--filter", label)]

    def _remove_volumes(self) -> None:
        for node in self.nodes:
            names = self._labelled(Docker(ssh=node.ssh), "volume")
            if names:
                Docker(ssh=node.ssh).run("volume", "rm", *names)  # one in use is asked for again

    def _left(self) -> list[str]:
        left = list(self._contents())
        for node in self.nodes:
            docker = Docker(ssh=node.ssh)
            label = f"label={STACK_LABEL}={self.stack}"
            containers = docker.words("ps", "-aq", "--filter", label)
            left += [f"container {name} on {node.name}" for name in containers]
            left += [f"volume {name} on {node.name}" for name in self._labelled(docker, "volume")]
        return left

    def _client_major(self) -> int:
        text = self.docker.run("version", "--format", "{{.Client.Version}}").check().stdout
        return int(text.partition(".")[0])

    def _service_ids(self) -> list[str]:
        return self.docker.words("service", "ls", "-q", "--filter", f"label={STACK_LABEL}={self.stack}")

    def _services(self) -> list[SwarmService]:
        rows = self.docker.inspect("service", self._service_ids())
        services = [parse_service(row, self.stack) for row in rows]
        self._known = {service.name: service for service in services}
        return services

    def _one_service(self, name: str) -> SwarmService:
        """Return the service as last read; its ports and networks change only by `apply`."""
        if name not in self._known:
            self._services()
        try:
            return self._known[name]
        except KeyError:
            raise ProvisionError(
                f"there is no service {name}",
                where=f"stack {self.stack}",
                why=f"it holds {', '.join(sorted(self._known)) or 'no service'}",
                next_step="deploy it first: `gonogo deploy`",
            ) from None

    def _task_ids(self, service_ids: Sequence[str]) -> list[str]:
        if not service_ids:
            return []
        return self.docker.words("service", "ps", "-q", "--no-trunc", *service_ids)

    def _tasks(self, service_ids: Sequence[str]) -> list[SwarmTask]:
        return [parse_task(row) for row in self.docker.inspect("task", self._task_ids(service_ids))]

    def _service(
        self, known: SwarmService, tasks: Sequence[SwarmTask], digests: Mapping[str, set[str]], active: int
    ) -> Service:
        spec = self.specs.get(known.name)
        return Service(
            name=known.name,
            tier=known.labels.get("mcp-tier", ""),
            desired=active if known.replicas is None else known.replicas,
            ready=sum(task.running for task in tasks if task.service_id == known.id),
            # Swarm knows published ports only; of a service without any, what was promised is said.
            ports=tuple(port.target for port in known.ports) or (spec.ports if spec else ()),
            image=known.image,
            image_id=",".join(sorted(digests.get(known.name, ()))),
            cpu_limit=known.cpu_limit,
            memory_limit_bytes=known.memory_limit_bytes,
        )

    def _image_ids(self) -> dict[str, set[str]]:
        """Return the image digests of running containers by service, all nodes asked at once."""
        found: dict[str, set[str]] = {}
        with ThreadPoolExecutor(max_workers=max(1, len(self.nodes))) as pool:
            for rows in pool.map(self._containers_on, self.nodes):
                for row in rows:
                    service = row["Config"]["Labels"]["com.docker.swarm.service.name"]
                    found.setdefault(service.removeprefix(f"{self.stack}_"), set()).add(row["Image"])
        return found

    def _containers_on(self, node: Node) -> list[dict[str, Any]]:
        docker = Docker(ssh=node.ssh)
        ids = docker.words("ps", "-q", "--no-trunc", "--filter", f"label={STACK_LABEL}={self.stack}")
        return docker.inspect("container", ids)

    def _first_port(self, service: str, known: SwarmService) -> int:
        spec = self.specs.get(service)
        ports = spec.ports if spec else tuple(port.target for port in known.ports)
        if not ports:
            raise ProvisionError(f"{service} has no port", where=f"stack {self.stack}")
        return ports[0]

    def _read_nodes(self) -> dict[str, SwarmNode]:
        ids = self.docker.words("node", "ls", "-q")
        self._swarm_nodes = {node.id: node for node in map(parse_node, self.docker.inspect("node", ids))}
        return self._swarm_nodes

    def _swarm_node(self, node_id: str) -> SwarmNode:
        if node_id not in self._swarm_nodes:
            self._read_nodes()
        try:
            return self._swarm_nodes[node_id]
        except KeyError:
            raise NotReady(f"node {node_id} has left the swarm", where=self.docker.where) from None

    def _inventory_node(self, node: SwarmNode) -> Node | None:
        by_name = [host for host in self.cluster.nodes if host.name == node.name]
        by_address = [host for host in self.cluster.nodes if host.address == node.address]
        return next(iter([*by_name, *by_address]), None)

    def _name(self, node: SwarmNode) -> str:
        host = self._inventory_node(node)
        return host.name if host else node.name

    def _node_name(self, node_id: str) -> str:
        return self._name(self._swarm_node(node_id))

    def _node_id(self, name: str) -> str:
        for node in self._read_nodes().values():
            if self._name(node) == name:
                return node.id
        raise TargetRefused(f"the swarm has no node {name}", where=self.docker.where)

    def _address(self, node_id: str) -> str:
        node = self._swarm_node(node_id)
        host = self._inventory_node(node)
        return host.address if host else node.address

    def _on(self, name: str) -> Docker:
        for node in self.cluster.nodes:
            if node.name == name:
                return Docker(ssh=node.ssh)
        raise TargetRefused(
            f"node {name} is not in the inventory",
            where=self.docker.where,
            next_step="add the host to the inventory by that name or by its address",
        )


def compare_contents(before: Mapping[str, str], after: Mapping[str, str], duration_s: float) -> ApplyResult:
    """Return what differs between a stack's contents before and after."""
    return ApplyResult(
        created=tuple(title for title in after if title not in before),
        changed=tuple(title for title in after if title in before and before[title] != after[title]),
        removed=tuple(title for title in before if title not in after),
        unchanged=tuple(title for title in after if before.get(title) == after[title]),
        duration_s=duration_s,
    )


def _save(path: Path, rows: object) -> None:
    path.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", encoding="utf-8")
