"""Locust as the front of a planned run: alone, as the master of workers, or as one of them.

What is sent and when stands in the plan. Locust brings its command line, its web page,
its statistics and its workers; a locustfile makes a plan (`offer`) and the rest is here.
Locust's users are tokens, one per process that sends: the rate lies in the plan.

A master hands each worker its part of the plan and one common start, merges what they
ship, and ends the run when one of them is lost: a hole in the schedule is no load.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
from locust import LoadTestShape, User, constant, events, task
from locust.exception import StopUser
from locust.runners import MasterRunner, WorkerRunner

from loadtests.engine import Engine
from loadtests.errors import LoadError
from loadtests.host import parse_cpus
from loadtests.plan import LoadPlan, plan_of
from loadtests.profile import HEALTH, SIDES
from loadtests.remote import MergedLog, Shipper, boot_id
from loadtests.sample import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

PLAN, READY, GO, ROWS = "gonogo_plan", "gonogo_ready", "gonogo_go", "gonogo_rows"
_LEAD_NS = 500_000_000
_READY_BOUND_S = 15.0
_SPAWN_PER_S = 100.0
_WATCH_S = 0.5
_READ_S = 0.25
_DRAIN_BOUND_S = 10.0
_GONE = ("missing", "stopped")
_logger = logging.getLogger("gonogo.load")


class RequestFailed(Exception):
    """Why a request did not count as served."""


class _Run:
    """The planned run of this Locust process; a web page may start several in turn."""

    def __init__(self) -> None:
        self.environment: Any = None
        self.offer: Callable[[Any], tuple[LoadPlan, Path]] | None = None
        self.plan: LoadPlan | None = None
        self.folder: Path | None = None
        self.engine: Engine | None = None
        self.shipper: Shipper | None = None
        self.reader: gevent.Greenlet | None = None
        self.merged: MergedLog | None = None
        self.ready: set[str] = set()
        self.started = False
        self.since = 0.0
        self.over = False
        self.count = 0


_run = _Run()


def offer(make: Callable[[Any], tuple[LoadPlan, Path]]) -> None:
    """Let `make(environment)` give the plan and its folder when Locust starts; LoadError ends Locust.

    It is asked where the load is planned: in a Locust alone, or on the master.
    """
    _run.offer = make


def _init(environment: Any, **_: Any) -> None:
    """Read the plan; Locust only logs what a listener raises, so a bad plan ends it here."""
    if _run.offer is None:
        return
    _run.environment = environment
    if isinstance(environment.runner, WorkerRunner):
        environment.runner.register_message(PLAN, _take_plan)
        environment.runner.register_message(GO, _take_go)
        return
    try:
        _run.plan, _run.folder = _run.offer(environment)
        if isinstance(environment.runner, MasterRunner):
            environment.runner.register_message(READY, _take_ready)
            environment.runner.register_message(ROWS, _take_rows)
    except LoadError as error:
        _logger.error("%s", error)  # noqa: TRY400  the message is whole, a traceback adds nothing
        _run.plan = None
        environment.process_exit_code = error.exit_code


def _test_start(environment: Any, **_: Any) -> None:
    if _run.plan is None or _run.folder is None or isinstance(environment.runner, WorkerRunner):
        return
    # Locust installs its own handler only after a shape has ended; until then SIGTERM
    # would end the process with its log open.
    gevent.signal_handler(signal.SIGTERM, environment.runner.quit)
    _run.started = False
    _run.since = time.monotonic()
    folder = _folder_of_next(_run.folder)
    if isinstance(environment.runner, MasterRunner):
        _hand_out(environment.runner, _run.plan, folder)
        return
    _run.engine = Engine(_run.plan, folder)


def _folder_of_next(first: Path) -> Path:
    """Return where the next run's log goes: a web page may start several, and none replaces another's."""
    _run.count += 1
    if _run.count == 1:
        return first
    folder = first.with_name(f"{first.name}-{_run.count}")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _logger.info("exact samples go to %s", folder)
    return folder


def _spawned(**_: Any) -> None:
    """Begin, in a Locust that is alone; the workers of a master begin together when it says so."""
    engine = _run.engine
    if engine is None or _run.shipper is not None or _run.started:
        return
    _run.started = True
    gevent.spawn(_begin, _run.environment, engine)


def _begin(environment: Any, engine: Engine) -> None:
    if engine.wait_ready():
        engine.start(time.monotonic_ns() + _LEAD_NS)
    _run.reader = gevent.spawn(_read, environment, engine)


def _test_stop(**_: Any) -> None:
    _run.over = False  # the shape is asked again before the next test has begun
    if _run.engine is not None:
        _run.engine.end()
        if _run.reader is not None:
            _run.reader.join(_DRAIN_BOUND_S)
        _run.engine = _run.shipper = _run.reader = None
    if _run.merged is not None and (_run.merged.ended or _run.merged.broken):
        _close_merged()


def _quit(**_: Any) -> None:
    """Close what a stop from outside left open: by now the workers' last messages have come."""
    if _run.merged is not None:
        _close_merged()


def _close_merged() -> None:
    if _run.merged is not None:
        _run.merged.close()
        if _run.merged.why:
            _logger.error("%s", _run.merged.why)
        _run.merged = None


# The master.


def _hand_out(runner: Any, plan: LoadPlan, folder: Path) -> None:
    """Give every worker that is there its part of the plan."""
    names = sorted(client.id for client in runner.clients.ready)
    plan.save(folder)
    _run.merged = MergedLog(folder, plan, names)
    _run.ready = set()
    for part, name in enumerate(names):
        runner.send_message(PLAN, plan.part_of(part, len(names)).to_text(), client_id=name)


def _take_ready(environment: Any, msg: Any, **_: Any) -> None:
    """Give all workers one start, once each of them has its connections and its schedule."""
    merged = _run.merged
    if merged is None or msg.node_id not in merged.workers:
        return
    if msg.data:
        merged.lose(msg.node_id, msg.data)
        return
    _run.ready.add(msg.node_id)
    if _run.ready == set(merged.workers) and not _run.started:
        _run.started = True
        start_ns = time.monotonic_ns() + _LEAD_NS
        merged.start(start_ns)
        go = {"boot": boot_id(), "start_ns": start_ns, "wall_s": time.time() + _LEAD_NS / 1e9}
        for name in merged.workers:
            environment.runner.send_message(GO, go, client_id=name)


def _take_rows(msg: Any, **_: Any) -> None:
    if _run.merged is not None:
        _run.merged.take(msg.node_id, msg.data)


def _look_after(runner: Any, merged: MergedLog) -> None:
    """Note the workers that are gone: killed, cut off, or never ready."""
    for name, worker in merged.workers.items():
        client = runner.clients.get(name)
        if not worker.end and (client is None or client.state in _GONE):
            merged.lose(name, f"lost after {worker.rows} requests")
        elif not _run.started and time.monotonic() - _run.since > _READY_BOUND_S and name not in _run.ready:
            merged.lose(name, f"not ready after {_READY_BOUND_S:.0f} s")


# A worker.


def _take_plan(environment: Any, msg: Any, **_: Any) -> None:
    """Get ready to send one part; an answer with a reason says that it cannot."""
    runner = environment.runner
    try:
        if _run.engine is not None:
            _run.engine.end()
        plan = plan_of(msg.data, "the master's plan")
        if plan.cpus and environment.parsed_options.processes:
            plan = replace(plan, cpus=_one_of(plan.cpus, plan.part))
        _run.plan = plan
        _run.engine = Engine(plan, Path(tempfile.mkdtemp(prefix="gonogo-worker-")))
        _run.shipper = Shipper(_run.engine, lambda fields: runner.send_message(ROWS, fields))
    except (LoadError, OSError) as error:
        runner.send_message(READY, f"cannot send: {error}")
        return
    gevent.spawn(_say_ready, runner, _run.engine)


def _say_ready(runner: Any, engine: Engine) -> None:
    ready = engine.wait_ready()
    runner.send_message(READY, "" if ready else "cannot send, its log says why")


def _take_go(environment: Any, msg: Any, **_: Any) -> None:
    """Start with the others: by the same clock on one machine, by the wall clock on another."""
    if _run.engine is None:
        return
    start_ns = msg.data["start_ns"]
    if msg.data["boot"] != boot_id():
        start_ns = time.monotonic_ns() + round((msg.data["wall_s"] - time.time()) * 1e9)
    _run.engine.start(start_ns)
    _run.reader = gevent.spawn(_read, environment, _run.engine)


def _one_of(cpus: str, part: int) -> str:
    """Return the CPU of one of several workers on this machine: they take one each, in turn."""
    wanted = sorted(parse_cpus(cpus))
    return str(wanted[part % len(wanted)])


# Where something is sent.


def _read(environment: Any, engine: Engine) -> None:
    """Tell Locust of what was sent, in batches, and the master of all of it; to the log's end."""
    plan = _run.plan
    if plan is None:
        return
    tell = _teller(environment, plan)
    forked_by = os.getppid() if environment.parsed_options.processes else None
    shipper = _run.shipper
    while True:
        running = engine.running
        rows = shipper.ship() if shipper is not None else engine.rows()
        tell(rows)
        if not len(rows) and not running:
            break
        if forked_by is not None and os.getppid() != forked_by:
            _logger.error("the process that started this worker is gone; stopping")
            engine.end()
            os._exit(1)  # nobody is left to hear of an orderly end
        gevent.sleep(_READ_S)
    if engine.failure:
        _logger.error("%s", engine.failure)
    if shipper is not None:
        shutil.rmtree(engine.folder, ignore_errors=True)
        # Locust's own last report, so that its page counts what we counted; ours is the exact log.
        report = getattr(environment.runner, "_send_stats", None)
        if report is not None:
            report()
        shipper.fail(engine.failure or "its log has no end")


class PlannedUser(User):
    """A token of one process that sends; the plan sends, not the user."""

    wait_time = constant(0)

    @task
    def wait(self) -> None:
        """Be there until the run is over."""
        while not _run.over:
            gevent.sleep(_WATCH_S)
        raise StopUser


class PlannedShape(LoadTestShape):
    """One token per process that sends, until the last planned request is done or a worker is lost."""

    abstract = False

    def tick(self) -> tuple[int, float] | None:
        """Return the tokens wanted, or None when the run is over, broken, or its parent is gone."""
        plan = _run.plan
        if plan is None or self.runner is None:
            return None
        if plan.parent_pid is not None and os.getppid() != plan.parent_pid:
            _logger.error("the process that started this load is gone; stopping")
            return None
        merged = _run.merged
        if merged is not None:
            _look_after(self.runner, merged)
            _run.over = merged.ended or bool(merged.broken)
        elif _run.engine is not None:
            _run.over = _run.reader is not None and _run.reader.dead
        if _run.over:
            return None
        return max(1, len(merged.workers) if merged else self._workers()), _SPAWN_PER_S

    def _workers(self) -> int:
        clients = getattr(self.runner, "clients", None)
        return len(clients.ready) if clients is not None else 1


def _teller(environment: Any, plan: LoadPlan) -> Callable[[npt.NDArray[np.void]], None]:
    """Return what fires Locust's request event for each of some rows."""
    workloads = [name for name, _ in plan.profile.workloads]
    names = [[f"{side} {name}" for name in workloads] for side in SIDES]
    methods = ["GET" if name == HEALTH else "POST" for name in workloads]
    urls = [[server.url(side) for server in plan.servers] for side in SIDES]
    fire = environment.events.request.fire

    def tell(rows: npt.NDArray[np.void]) -> None:
        epoch_s = time.time() - time.monotonic_ns() / 1e9
        for row in rows.tolist():
            planned_ns, sent_ns, done_ns, _, size, server, _, workload, side, error, _ = row
            failed = f"{plan.servers[server].name}: {ErrorKind(error).name.lower()}" if error else ""
            fire(
                request_type=methods[workload],
                name=names[side][workload],
                response_time=(done_ns - planned_ns) / 1e6 if sent_ns else None,
                response_length=size,
                exception=RequestFailed(failed) if failed else None,
                context={"gonogo": "recorded", "planned_ns": planned_ns, "sent_ns": sent_ns},
                start_time=epoch_s + planned_ns / 1e9,
                url=urls[side][server],
            )

    return tell


for _hook, _listener in (
    (events.init, _init),
    (events.test_start, _test_start),
    (events.spawning_complete, _spawned),
    (events.test_stop, _test_stop),
    (events.quit, _quit),
):
    _hook.add_listener(_listener)  # type: ignore[no-untyped-call]  # Locust's hooks are untyped
