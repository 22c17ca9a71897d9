"""Wait for Swarm services by bounded polls, and end early when one cannot get ready.

Swarm has no watch that names a service's failure, so two listings are read each second:
one line a service, one line a task. `service_failure` holds the rules and is pure.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provisioners.base import ServiceFailure
from provisioners.swarm_objects import STACK_LABEL, parse_service
from provisioners.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioners.base import Readiness
    from provisioners.docker_cli import Docker, Object
    from provisioners.swarm_objects import SwarmService

HOPELESS = ("no such image", "invalid mount config", "bind source path does not exist", "no such plugin")
STOPPED_UPDATES = frozenset({"paused", "rollback_paused", "rollback_completed"})
UNHEALTHY = "unhealthy container"
ENDED = frozenset({"failed", "rejected", "complete"})  # a service has no task that is complete
FAILURES = 3  # of one slot, in this wait; fewer may be an accident of the node
PENDING_S = 30.0
_POLL_S = 1.0
_LOG_LINES = 20


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One line of `docker service ps`: a task of a slot, wanted or past."""

    id: str
    service: str
    slot: str
    node: str
    wanted: bool
    state: str  # first word of the current state, in lower case
    error: str


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """One line of `docker service ls`: how many tasks run, of how many."""

    id: str
    name: str
    running: int
    desired: int

    @property
    def is_full(self) -> bool:
        """Whether as many tasks run as are wanted, and any are."""
        return 0 < self.desired <= self.running


@dataclass(slots=True)
class Seen:
    """What the wait remembers: failures from before it, and since when tasks have been pending."""

    now: Callable[[], float] = time.monotonic
    before: frozenset[str] = frozenset()
    health_of: Callable[[str], str] = lambda _task_id: ""
    pending: dict[str, float] = field(default_factory=dict)
    health: dict[str, str] = field(default_factory=dict)

    def unhealthy(self, task: TaskRow) -> str:
        """Return the health check's last words when it ended the task; each task is asked for once."""
        if task.id not in self.health:
            self.health[task.id] = self.health_of(task.id)
        return self.health[task.id]

    def pending_s(self, task: TaskRow) -> float:
        """Return for how long the task has had no node."""
        if task.state != "pending":
            self.pending.pop(task.id, None)
            return 0.0
        now = self.now()
        return now - self.pending.setdefault(task.id, now)


def parse_service_row(row: Object, stack: str) -> ServiceRow:
    """Return one line of `docker service ls --format json`; its replicas read `1/2 (max ...)`."""
    running, _, desired = str(row["Replicas"]).split()[0].partition("/")
    name = str(row["Name"]).removeprefix(f"{stack}_")
    return ServiceRow(str(row["ID"]), name, int(running), int(desired))


def parse_task_row(row: Object, stack: str) -> TaskRow:
    """Return one line of `docker service ps --format json`; its name is `service.slot`."""
    name = str(row["Name"]).strip().removeprefix("\\_").strip()  # a slot's past tasks are drawn as a tree
    service, _, slot = name.removeprefix(f"{stack}_").partition(".")
    return TaskRow(
        id=str(row["ID"]),
        service=service,
        slot=slot,
        node=str(row.get("Node", "")),
        wanted=str(row["DesiredState"]).lower() in {"running", "ready"},
        state=(str(row["CurrentState"]).lower().split() or [""])[0],
        error=str(row.get("Error", "")).strip('"'),
    )


def service_failure(tasks: Sequence[TaskRow], seen: Seen) -> str:
    """Return why the service will not get ready by itself; empty while it still may."""
    slots: dict[str, list[TaskRow]] = defaultdict(list)
    for task in tasks:
        slots[task.slot].append(task)
    for slot in slots.values():
        reason = _slot_failure(slot, seen)
        if reason:
            return reason
    return ""


def _slot_failure(tasks: Sequence[TaskRow], seen: Seen) -> str:
    ended = [task for task in tasks if task.state in ENDED]
    fresh = [task for task in ended if task.id not in seen.before]
    for task in fresh:
        if any(text in task.error.lower() for text in HOPELESS):
            return f"rejected by {task.node or 'its node'}: {task.error}"
        health = task.error if UNHEALTHY in task.error else seen.unhealthy(task)
        if health:
            return f"never got healthy within its own health check on {task.node}: {health}"
    if len(fresh) >= FAILURES:
        return f"{len(fresh)} tasks of one slot ended, the last on {fresh[0].node}: {_why(fresh[0])}"
    if ended and not any(task.wanted for task in tasks):
        return f"its restart policy gave up, the last ended on {ended[0].node}: {_why(ended[0])}"
    for task in tasks:
        pending_s = seen.pending_s(task) if task.wanted else 0.0
        if pending_s > PENDING_S:
            return f"no node takes it for {pending_s:.0f} s: {task.error or 'no reason given'}"
    return ""


def _why(task: TaskRow) -> str:
    return task.error or ("it exited with status 0" if task.state == "complete" else "no reason given")


def waits_for(tasks: Sequence[TaskRow]) -> str:
    """Return in a few words what the service waits for."""
    for task in tasks:
        if task.wanted and task.state != "running":
            what = "its health check" if task.state == "starting" else task.state
            return f"{what}: {task.error}" if task.error else what
    return "its tasks"


def wait_for_services(
    docker: Docker,
    stack: str,
    services: Sequence[str],
    timeout_s: float,
    say: Callable[[str], None],
    health_of: Callable[[str], str] = lambda _task_id: "",
) -> Readiness:
    """Wait until the named services are ready or failed, at most `timeout_s` seconds.

    `health_of` returns, by task id, what the health check of an ended container said last;
    empty when no health check ended it.
    """
    return _Wait(docker, stack, Tally(tuple(services), say), health_of).run(timeout_s)


class _Wait:
    """One wait: what each service waits for, and which are known to have failed."""

    def __init__(self, docker: Docker, stack: str, tally: Tally, health_of: Callable[[str], str]) -> None:
        self.docker = docker
        self.stack = stack
        self.tally = tally
        self.health_of = health_of
        self.seen: Seen | None = None
        self.calm: frozenset[str] = frozenset()  # no task of theirs had ended when the wait began
        self.failed: dict[str, str] = {}

    def run(self, timeout_s: float) -> Readiness:
        while True:
            waiting = self._look()
            if not waiting or self.tally.seconds >= timeout_s:
                break
            time.sleep(_POLL_S)
        duration_s = self.tally.seconds
        failed = {**self.failed, **self.tally.late(waiting)}
        failures = tuple(ServiceFailure(name, why, self._log_tail(name)) for name, why in failed.items())
        return self.tally.readiness(failures, duration_s)

    def _look(self) -> dict[str, str]:
        """Return what each service that is neither ready nor failed waits for."""
        listed = self.docker.rows("service", "ls", "--filter", f"label={STACK_LABEL}={self.stack}")
        rows = {row.name: row for row in (parse_service_row(item, self.stack) for item in listed)}
        wanted = [row for name, row in rows.items() if name in self.tally.services]
        tasks = self._tasks([row.id for row in wanted if self.seen is None or not row.is_full])
        services = self._services([row.id for row in wanted if row.is_full])
        waiting: dict[str, str] = {}
        for name in self.tally.services:
            service = services.get(name)
            if self._is_ready(name, service):
                self.failed.pop(name, None)
            elif name not in self.failed:
                reason = self._failure(name, rows.get(name), tasks[name], service)
                if reason:
                    self.failed[name] = reason
                else:
                    waiting[name] = _full_waits_for(service) if service else waits_for(tasks[name])
        self.tally.tell(waiting, self.failed)
        return waiting

    def _is_ready(self, name: str, service: SwarmService | None) -> bool:
        ready = (
            service is not None and not service.is_updating and service.update_state not in STOPPED_UPDATES
        )
        proven = service is not None and (service.has_health_check or name in self.calm)
        return self.tally.settled(name, ready=ready, proven=proven)

    def _failure(
        self, name: str, row: ServiceRow | None, tasks: Sequence[TaskRow], service: SwarmService | None
    ) -> str:
        """Return why the service has failed; empty while it may get ready."""
        if row is None:
            return f"there is no service {name} in stack {self.stack}"
        if row.desired == 0 and tasks:
            return "it is scaled to 0"
        if service and service.update_state in STOPPED_UPDATES:
            return f"its update {service.update_state}: {service.update_message}"
        return service_failure(tasks, self.seen) if self.seen else ""

    def _services(self, ids: Sequence[str]) -> dict[str, SwarmService]:
        found = (parse_service(row, self.stack) for row in self.docker.inspect("service", ids))
        return {service.name: service for service in found}

    def _tasks(self, ids: Sequence[str]) -> dict[str, list[TaskRow]]:
        found: dict[str, list[TaskRow]] = defaultdict(list)
        if ids:
            for row in self.docker.rows("service", "ps", "--no-trunc", *ids):
                task = parse_task_row(row, self.stack)
                found[task.service].append(task)
        if self.seen is None:
            ended = [task for rows in found.values() for task in rows if task.state in ENDED]
            self.seen = Seen(before=frozenset(task.id for task in ended), health_of=self.health_of)
            self.calm = frozenset(found) - {task.service for task in ended}
            self.calm -= {name for name, rows in found.items() if not all(_runs(task) for task in rows)}
        return found

    def _log_tail(self, name: str) -> str:
        result = self.docker.run(
            "service", "logs", "--raw", "--tail", str(_LOG_LINES), f"{self.stack}_{name}", timeout_s=15
        )  # no `check`: a failed service may have no log, and that is not an error of the wait
        return (result.stdout + result.stderr)[-8000:]


def _runs(task: TaskRow) -> bool:
    return task.state == "running" or not task.wanted


def _full_waits_for(service: SwarmService) -> str:
    return "its rolling update" if service.is_updating else "a few seconds without a crash"
