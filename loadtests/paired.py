"""Locustfile: the same requests to both sides, paired, at planned times (open loop).

    gonogo runs it in its own process. By hand:
    locust -f loadtests/paired.py --swarm-url http://127.0.0.1:8001 --kubernetes-url http://127.0.0.1:8002
    locust -f loadtests/paired.py --host http://127.0.0.1:8001        (one server against itself)

Locust's users are the senders; how many are needed is in the plan, so -u and -r are
not asked. Locust's table and web page show latency from the planned time, by side.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

_HERE = Path(__file__).resolve().parent
# Locust puts this folder first, where profile.py would shadow the standard library's.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]
sys.path[:0] = [str(_HERE.parent)] * 2  # Locust takes one entry away again after the import

import gevent  # noqa: E402
from locust import LoadTestShape, User, constant, events, task  # noqa: E402
from locust.exception import StopUser  # noqa: E402

from loadtests.addresses import check_addresses  # noqa: E402
from loadtests.errors import LoadError, LoadInputError  # noqa: E402
from loadtests.generator import Generator  # noqa: E402
from loadtests.host import parse_cpus  # noqa: E402
from loadtests.plan import LoadPlan, load_plan, make_plan  # noqa: E402
from loadtests.profile import HEALTH, SIDES, SMOKE, LoadTargets, Server  # noqa: E402

if TYPE_CHECKING:
    from loadtests.sample import Sample

_SPAWN_PER_S = 1000.0
_logger = logging.getLogger("gonogo.load")


class _Current:
    """The run that this Locust process is making; a web page may start several in turn."""

    plan: LoadPlan | None = None
    folder = Path()
    generator: Generator | None = None


def _options(parser: Any) -> None:
    parser.add_argument(
        "--plan", env_var="GONOGO_LOAD_PLAN", default="", help="Folder with plan.json, as gonogo writes it."
    )
    parser.add_argument("--swarm-url", env_var="GONOGO_SWARM_URL", default="", help="One server, side one.")
    parser.add_argument("--kubernetes-url", env_var="GONOGO_KUBERNETES_URL", default="", help="Side two.")
    parser.add_argument(
        "--allow-host", env_var="GONOGO_ALLOW_HOST", default="", help="Hosts besides loopback, by comma."
    )


def _init(environment: Any, **_: Any) -> None:
    """Read the plan; Locust only logs what a listener raises, so a bad plan ends it here."""
    options = environment.parsed_options
    try:
        if type(environment.runner).__name__ != "LocalRunner":
            raise LoadInputError("paired load runs in one Locust process: leave out --processes and --master")
        if options.plan:
            _Current.folder = Path(options.plan)
            _Current.plan = load_plan(_Current.folder)
        else:
            _Current.plan = _plan_by_hand(options)
            _Current.folder = Path(tempfile.mkdtemp(prefix="gonogo-load-"))
            _Current.plan.save(_Current.folder)
            _logger.info("exact samples go to %s", _Current.folder)
        _claim_cpu(_Current.plan.cpus)
    except LoadError as error:
        _logger.error("%s", error)  # noqa: TRY400  the message is whole, a traceback adds nothing
        _Current.plan = None
        environment.process_exit_code = error.exit_code


def _test_start(environment: Any, **_: Any) -> None:
    plan = _Current.plan
    if plan is None:
        return

    def report(sample: Sample) -> None:
        _tell_locust(environment, plan, sample)

    # Locust installs its own handler only after a shape has ended; until then SIGTERM
    # would end the process with its log open.
    gevent.signal_handler(signal.SIGTERM, environment.runner.quit)
    _Current.generator = Generator(plan, _Current.folder, report)
    environment.events.request.add_listener(_Current.generator.log.on_request)


def _spawned(**_: Any) -> None:
    if _Current.generator is not None:
        gc.collect()
        gc.freeze()  # a full collection in mid-run delays sends by milliseconds
        _Current.generator.start()


def _test_stop(environment: Any, **_: Any) -> None:
    if _Current.generator is not None:
        _Current.generator.close()
        environment.events.request.remove_listener(_Current.generator.log.on_request)
        _Current.generator = None


class _Sender(User):
    """One sender of one side: takes planned slots in turn with the others of its side."""

    abstract = True
    side = 0
    wait_time = constant(0)

    @task
    def send(self) -> None:
        """Send planned requests until there are none left."""
        if _Current.generator is not None:
            _Current.generator.run_sender(self.side)
        raise StopUser


class SwarmSender(_Sender):
    """A sender of the Swarm side."""

    abstract = False
    side = 0


class KubernetesSender(_Sender):
    """A sender of the Kubernetes side."""

    abstract = False
    side = 1


class PlannedShape(LoadTestShape):
    """As many senders as the plan says, until the last planned request is done."""

    abstract = False

    def tick(self) -> tuple[int, float] | None:
        """Return the senders wanted, or None when the run is over or its parent is gone."""
        if _Current.plan is None:
            return None
        parent = _Current.plan.parent_pid
        if parent is not None and os.getppid() != parent:
            _logger.error("the process that started this load is gone; stopping")
            return None
        if _Current.generator is not None and _Current.generator.finished:
            return None
        return len(SIDES) * _Current.plan.profile.senders_per_side, _SPAWN_PER_S


def _tell_locust(environment: Any, plan: LoadPlan, sample: Sample) -> None:
    """Fire Locust's request event; the run log listens to it, as Locust's statistics do."""
    workload = plan.profile.workloads[sample.workload][0]
    server = plan.servers[sample.server]
    error = sample.error
    environment.events.request.fire(
        request_type="GET" if workload == HEALTH else "POST",
        name=f"{SIDES[sample.side]} {workload}",
        response_time=sample.latency_ms if sample.sent_ns else None,
        response_length=sample.size_bytes,
        exception=RequestFailed(f"{server.name}: {error.name.lower()}") if error else None,
        context={"sample": sample},
        start_time=time.time() - (time.monotonic_ns() - sample.planned_ns) / 1e9,
        url=server.url(SIDES[sample.side]),
    )


class RequestFailed(Exception):
    """Why a request did not count as served."""


def _plan_by_hand(options: Any) -> LoadPlan:
    host = options.host or ""
    if not (host or options.swarm_url):
        raise LoadInputError("nothing to load: give --swarm-url and --kubernetes-url, or --host")
    server = Server("server", options.swarm_url or host, options.kubernetes_url or options.swarm_url or host)
    allowed = tuple(entry.strip() for entry in options.allow_host.split(",") if entry.strip())
    targets = LoadTargets((server,), allowed)
    check_addresses(targets)
    return make_plan(SMOKE, targets)


def _claim_cpu(cpus: str | None) -> None:
    """Take the CPUs of the plan, before other work on them where that is allowed.

    Real time, because a nice value only counts inside the session's own scheduling
    group: beside a compiler, p99 lateness was 3.4 ms at normal priority and 0.05 ms so.
    It needs about a tenth of one CPU, and the kernel keeps 5 % from it come what may.
    """
    if cpus:
        os.sched_setaffinity(0, parse_cpus(cpus))
    with contextlib.suppress(OSError):  # only root may; lateness is measured either way
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


for _hook, _listener in (
    (events.init_command_line_parser, _options),
    (events.init, _init),
    (events.test_start, _test_start),
    (events.spawning_complete, _spawned),
    (events.test_stop, _test_stop),
):
    _hook.add_listener(_listener)  # type: ignore[no-untyped-call]  # Locust's hooks are untyped
