"""Wait for Swarm services by bounded polls, and end early when one cannot get ready.

Swarm has no watch that names a service's failure, so two listings are read each second:
one line a service, one line a task. `service_failure` holds the rules and is pure.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provisioners.base import Readiness, ServiceFailure
from provisioners.swarm_objects import STACK_LABEL, parse_service

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioners.docker_cli import Docker, Object
    from provisioners.swarm_objects import SwarmService

HOPELESS = ("no such image", "invalid mount config", "bind source path does not exist", "no such plugin")
STOPPED_UPDATES = frozenset({"paused", "rollback_paused", "rollback_completed"})
UNHEALTHY = "unhealthy container"
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

    name: str
    running: int
    desired: int


@dataclass(slots=True)
class Seen:
    """What the wait remembers: failures from before it, and since when tasks have been pending."""

    now: Callable[[], float] = time.monotonic
    before: frozenset[str] = frozenset()
    pending: dict[str, float] = field(default_factory=dict)

    def pending_s(self, task: TaskRow) -> float:
        """Return for how long the task has had no node."""
        if task.state != "pending":
            self.pending.pop(task.id, None)
            return 0.0
        return self.now() - self.pending.setdefault(task.id, self.now())


def parse_service_row(row: Object, stack: str) -> ServiceRow:
    """Return one line of `docker service ls --format json`; its replicas read `1/2 (max ...)`."""
    running, _, desired = str(row["Replicas"]).split()[0].partition("/")
    return ServiceRow(str(row["Name"]).removeprefix(f"{stack}_"), int(running), int(desired))


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
    failed = [task for task in tasks if task.state in {"failed", "rejected"}]
    fresh = [task for task in failed if task.id not in seen.before]
    for task in fresh:
        if any(text in task.error.lower() for text in HOPELESS):
            return f"rejected by {task.node or 'its node'}: {task.error}"
        if UNHEALTHY in task.error:
            return f"never got healthy within its own health check on {task.node}: {task.error}"
    if len(fresh) >= FAILURES:
        return f"{len(fresh)} tasks of one slot failed, the last on {fresh[0].node}: {fresh[0].error}"
    if failed and not any(task.wanted for task in tasks):
        return f"its restart policy gave up, the last failed on {failed[0].node}: {failed[0].error}"
    for task in tasks:
        pending_s = seen.pending_s(task) if task.wanted else 0.0
        if pending_s > PENDING_S:
            return f"no node takes it for {pending_s:.0f} s: {task.error or 'no reason given'}"
    return ""


def waits_for(tasks: Sequence[TaskRow]) -> str:
    """Return in a few words what the service waits for."""
    for task in tasks:
        if task.wanted and task.state != "running":
            what = "its health check" if task.state == "starting" else task.state
            return f"{what}: {task.error}" if task.error else what
    return "its tasks"


def wait_for_services(
    docker: Docker, stack: str, services: Sequence[str], timeout_s: float, say: Callable[[str], None]
) -> Readiness:
    """Wait until the named services are ready or failed, at most `timeout_s` seconds."""
    return _Wait(docker, stack, tuple(services), timeout_s, say).run()


class _Wait:
    """One wait: what each service waits for, and which are known to have failed."""

    def __init__(
        self,
        docker: Docker,
        stack: str,
        services: tuple[str, ...],
        timeout_s: float,
        say: Callable[[str], None],
    ) -> None:
        self.docker = docker
        self.stack = stack
        self.services = services
        self.started = time.monotonic()
        self.deadline = self.started + timeout_s
        self.say = say
        self.seen: Seen | None = None
        self.failed: dict[str, str] = {}
        self.told = ""

    def run(self) -> Readiness:
        while True:
            waiting = self._look()
            if not waiting or time.monotonic() >= self.deadline:
                return self._readiness(waiting)
            time.sleep(_POLL_S)

    def _look(self) -> dict[str, str]:
        """Return what each service that is neither ready nor failed waits for."""
        label = f"label={STACK_LABEL}={self.stack}"
        listed = self.docker.rows("service", "ls", "--filter", label)
        ids = {row.name: str(item["ID"]) for item in listed for row in [parse_service_row(item, self.stack)]}
        rows = {row.name: row for row in (parse_service_row(item, self.stack) for item in listed)}
        full = [
            name for name in self.services if name in rows and 0 < rows[name].desired <= rows[name].running
        ]
        updating = self._updating([ids[name] for name in full])
        open_names = [name for name in self.services if name not in full or name in updating]
        tasks = self._tasks([ids[name] for name in open_names if name in ids])
        waiting: dict[str, str] = {}
        for name in self.services:
            update = updating.get(name)
            if name not in open_names:
                self.failed.pop(name, None)
            elif name not in self.failed:
                reason = self._failure(name, rows.get(name), tasks[name], update)
                if reason:
                    self.failed[name] = reason
                else:
                    waiting[name] = "its rolling update" if update else waits_for(tasks[name])
        self._tell(waiting)
        return waiting

    def _failure(
        self, name: str, row: ServiceRow | None, tasks: Sequence[TaskRow], update: SwarmService | None
    ) -> str:
        """Return why the service has failed; empty while it may get ready."""
        if row is None:
            return f"there is no service {name} in stack {self.stack}"
        if row.desired == 0 and tasks:
            return "it is scaled to 0"
        if update and not update.is_updating:
            return f"its update {update.update_state}: {update.update_message}"
        return service_failure(tasks, self.seen) if self.seen else ""

    def _updating(self, ids: Sequence[str]) -> dict[str, SwarmService]:
        """Return by name the services whose update has not ended well."""
        services = (parse_service(row, self.stack) for row in self.docker.inspect("service", ids))
        return {
            service.name: service
            for service in services
            if service.is_updating or service.update_state in STOPPED_UPDATES
        }

    def _tasks(self, ids: Sequence[str]) -> dict[str, list[TaskRow]]:
        found: dict[str, list[TaskRow]] = defaultdict(list)
        if ids:
            for row in self.docker.rows("service", "ps", "--no-trunc", *ids):
                task = parse_task_row(row, self.stack)
                found[task.service].append(task)
        if self.seen is None:
            failed = (task.id for rows in found.values() for task in rows if task.state == "failed")
            self.seen = Seen(before=frozenset(failed))
        return found

    def _tell(self, waiting: Mapping[str, str]) -> None:
        done = len(self.services) - len(waiting) - len(self.failed)
        names = ", ".join(f"{name} ({what})" for name, what in sorted(waiting.items())[:3])
        more = f" and {len(waiting) - 3} more" if len(waiting) > 3 else ""  # noqa: PLR2004 - as cut above
        text = f"{done} of {len(self.services)} ready" + (f"; waiting for {names}{more}" if waiting else "")
        if text != self.told:
            self.told = text
            self.say(text)

    def _readiness(self, waiting: Mapping[str, str]) -> Readiness:
        duration_s = time.monotonic() - self.started
        late = {
            name: f"not ready after {duration_s:.0f} s: waiting for {what}" for name, what in waiting.items()
        }
        failed = {**self.failed, **late}
        return Readiness(
            ready=tuple(name for name in self.services if name not in failed),
            failed=tuple(ServiceFailure(name, why, self._log_tail(name)) for name, why in failed.items()),
            duration_s=duration_s,
        )

    def _log_tail(self, name: str) -> str:
        result = self.docker.run(
            "service", "logs", "--raw", "--tail", str(_LOG_LINES), f"{self.stack}_{name}", timeout_s=15
        )  # no `check`: a failed service may have no log, and that is not an error of the wait
        return (result.stdout + result.stderr)[-8000:]
