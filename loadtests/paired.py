"""Locustfile: the same requests to both sides, paired, at planned times (open loop).

    gonogo runs it in its own process. By hand:
    locust -f loadtests/paired.py --swarm-url http://127.0.0.1:8001 --kubernetes-url http://127.0.0.1:8002
    locust -f loadtests/paired.py --host http://127.0.0.1:8001        (one server against itself)

Locust's users are the senders; how many are needed is in the plan, so -u and -r are
not asked. Locust's table and web page show latency from the planned time, by side.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
# Locust puts this folder first, where profile.py would shadow the standard library's.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]
sys.path[:0] = [str(_HERE.parent)] * 2  # Locust takes one entry away again after the import

from locust import LoadTestShape, User, constant, events, task  # noqa: E402
from locust.exception import StopUser  # noqa: E402

from loadtests.addresses import check_addresses  # noqa: E402
from loadtests.generator import Generator  # noqa: E402
from loadtests.host import parse_cpus  # noqa: E402
from loadtests.plan import LoadPlan, load_plan, make_plan  # noqa: E402
from loadtests.profile import HEALTH, SIDES, SMOKE, LoadTargets, Server  # noqa: E402
from loadtests.sample import Sample  # noqa: E402

_SPAWN_PER_S = 1000.0
_logger = logging.getLogger("gonogo.load")


class _Current:
    """The run that this Locust process is making; a web page may start several in turn."""

    plan: LoadPlan | None = None
    folder = Path()
    generator: Generator | None = None


@events.init_command_line_parser.add_listener
def _options(parser: Any) -> None:
    parser.add_argument(
        "--plan", env_var="GONOGO_LOAD_PLAN", default="", help="Folder with plan.json, as gonogo writes it."
    )
    parser.add_argument("--swarm-url", env_var="GONOGO_SWARM_URL", default="", help="One server, side one.")
    parser.add_argument("--kubernetes-url", env_var="GONOGO_KUBERNETES_URL", default="", help="Side two.")
    parser.add_argument(
        "--allow-host", env_var="GONOGO_ALLOW_HOST", default="", help="Hosts besides loopback, by comma."
    )


@events.init.add_listener
def _init(environment: Any, **_: Any) -> None:
    options = environment.parsed_options
    if options.plan:
        _Current.folder = Path(options.plan)
        _Current.plan = load_plan(_Current.folder)
    else:
        _Current.plan = _plan_by_hand(options)
        _Current.folder = Path(tempfile.mkdtemp(prefix="gonogo-load-"))
        _Current.plan.save(_Current.folder)
        _logger.info("exact samples go to %s", _Current.folder)
    _pin(_Current.plan.cpus)


@events.test_start.add_listener
def _test_start(environment: Any, **_: Any) -> None:
    plan = _Current.plan
    if plan is None:
        return

    def report(sample: Sample, detail: str) -> None:
        _tell_locust(environment, plan, sample, detail)

    _Current.generator = Generator(plan, _Current.folder, report)
    environment.events.request.add_listener(_Current.generator.log.on_request)


@events.spawning_complete.add_listener
def _spawned(**_: Any) -> None:
    if _Current.generator is not None:
        _Current.generator.start()


@events.test_stop.add_listener
def _test_stop(environment: Any, **_: Any) -> None:
    if _Current.generator is not None:
        _Current.generator.close()
        environment.events.request.remove_listener(_Current.generator.log.on_request)
        _Current.generator = None


class _Sender(User):  # type: ignore[misc]  # Locust has no types
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


class PlannedShape(LoadTestShape):  # type: ignore[misc]  # Locust has no types
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


def _tell_locust(environment: Any, plan: LoadPlan, sample: Sample, detail: str) -> None:
    """Fire Locust's request event; the run log listens to it, as Locust's statistics do."""
    workload = plan.profile.workloads[sample.workload][0]
    error = sample.error
    environment.events.request.fire(
        request_type="GET" if workload == HEALTH else "POST",
        name=f"{SIDES[sample.side]} {workload}",
        response_time=sample.latency_ms if sample.sent_ns else None,
        response_length=sample.size_bytes,
        exception=RequestFailed(f"{error.name.lower()}: {detail}") if error else None,
        context={"sample": sample},
        start_time=time.time() - (time.monotonic_ns() - sample.planned_ns) / 1e9,
        url=plan.servers[sample.server].url(SIDES[sample.side]),
    )


class RequestFailed(Exception):  # noqa: N818  it is what Locust's failure table prints
    """Why a request did not count as served."""


def _plan_by_hand(options: Any) -> LoadPlan:
    host = options.host or ""
    server = Server("server", options.swarm_url or host, options.kubernetes_url or options.swarm_url or host)
    allowed = tuple(entry.strip() for entry in options.allow_host.split(",") if entry.strip())
    targets = LoadTargets((server,), allowed)
    check_addresses(targets)
    return make_plan(SMOKE, targets)


def _pin(cpus: str | None) -> None:
    if cpus:
        os.sched_setaffinity(0, parse_cpus(cpus))
