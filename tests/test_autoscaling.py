"""The autoscaling drill: recorded autoscalers, clients that keep sessions, and each way to turn it red."""

from __future__ import annotations

import copy
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import pytest

from fixtures import scaling
from fixtures.autoscalers import autoscaler_object, lacking_requests, parse_autoscaler
from fixtures.callers import Callers, Counts
from fixtures.readings import Absent
from fixtures.record import Record
from fixtures.scaling import ReplicaWatch, ScalingDrill
from fixtures.target import RunInput
from provisioners.base import Cluster, ServiceSpec
from provisioners.kube import Event, Listing, WatchExpired
from provisioners.targets import save_cluster
from suites.scaling import test_autoscaling as suite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPECS = (
    ServiceSpec("ai-memory", "primary", 1, (9000,), mcp=True),
    ServiceSpec("asana-v2", "secondary", 1, (9004,), calls=("ai-memory",), mcp=True),
)

# As the API of Kubernetes 1.34 gives them.
WORKS = {
    "metadata": {"name": "asana-v2"},
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "asana-v2"},
        "minReplicas": 1,
        "maxReplicas": 3,
        "metrics": [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
            }
        ],
    },
    "status": {
        "currentReplicas": 1,
        "desiredReplicas": 3,
        "currentMetrics": [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "current": {"averageUtilization": 213, "averageValue": "213m"}},
            }
        ],
        "conditions": [
            {"type": "AbleToScale", "status": "True", "reason": "SucceededRescale", "message": "ok"},
            {"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound", "message": "ok"},
            {"type": "ScalingLimited", "status": "True", "reason": "TooManyReplicas", "message": "max"},
        ],
    },
}
NO_REQUEST = (
    "the HPA was unable to compute the replica count: failed to get cpu utilization: missing request for cpu "
    "in container asana-v2 of Pod asana-v2-6c9b7d4f8-x2x9z"
)


def failing() -> dict[str, Any]:
    row: dict[str, Any] = copy.deepcopy(WORKS)
    row["status"] = {
        "currentReplicas": 1,
        "desiredReplicas": 0,
        "currentMetrics": None,
        "conditions": [
            {"type": "AbleToScale", "status": "True", "reason": "SucceededGetScale", "message": "ok"},
            {
                "type": "ScalingActive",
                "status": "False",
                "reason": "FailedGetResourceMetric",
                "message": NO_REQUEST,
            },
        ],
    }
    return row


def deployment(replicas: int, ready: int, resources: dict[str, Any] | None = None) -> dict[str, Any]:
    requests = {"requests": {"cpu": "100m"}} if resources is None else resources
    return {
        "metadata": {"name": "asana-v2"},
        "spec": {
            "replicas": replicas,
            "template": {"spec": {"containers": [{"name": "asana-v2", "resources": requests}]}},
        },
        "status": {"readyReplicas": ready},
    }


def test_an_autoscaler_is_read():
    one = parse_autoscaler(WORKS)
    assert (one.target, one.minimum, one.maximum, one.desired) == ("asana-v2", 1, 3, 3)
    assert (one.cpu_percent, one.wanted_percent, one.problem) == (213, 50, "")


def test_one_that_cannot_act_says_why():
    one = parse_autoscaler(failing())
    assert one.problem == f"FailedGetResourceMetric: {NO_REQUEST}"
    assert one.cpu_percent is None


def test_one_that_nobody_looked_at_yet_has_no_problem():
    row = {key: value for key, value in WORKS.items() if key != "status"}
    assert parse_autoscaler(row).problem == ""


def test_containers_without_a_request_are_named():
    assert lacking_requests(deployment(1, 1)) == ()
    assert lacking_requests(deployment(1, 1, {})) == ("asana-v2",)
    assert lacking_requests(deployment(1, 1, {"limits": {"cpu": "1"}})) == ()
    assert lacking_requests(deployment(1, 1, {"requests": {"memory": "1Mi"}})) == ("asana-v2",)


def test_the_drills_autoscaler_shows_its_windows():
    body = autoscaler_object("sophia-mcp", "gonogo-drill", "asana-v2", 2, "r1")
    assert (body["spec"]["minReplicas"], body["spec"]["maxReplicas"]) == (2, 4)
    behavior = body["spec"]["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 15
    assert body["metadata"]["labels"] == {"gonogo.dev/run": "r1"}


# -- the watch -----------------------------------------------------------------------------------


class Watched:
    """A Deployment that changes; the first watch expires."""

    def __init__(self) -> None:
        self.lists = 0

    def list_all(self, path: str, *, labels: str = "", fields: str = "") -> Listing:
        assert fields == "metadata.name=asana-v2"
        self.lists += 1
        return Listing((deployment(1, 1),), "7")

    def watch(self, path: str, version: str, timeout_s: float, **_: str) -> Iterator[Event]:
        if self.lists == 1:
            raise WatchExpired
        yield Event("MODIFIED", deployment(3, 1))
        yield Event("MODIFIED", deployment(3, 1))
        yield Event("BOOKMARK", {"metadata": {}})
        yield Event("MODIFIED", deployment(3, 3))


def test_a_watch_that_expired_begins_again_and_keeps_only_changes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scaling, "_POLL_S", 0.01)
    kube: Any = Watched()
    watch = ReplicaWatch(kube, "/deployments", "asana-v2", time.monotonic())
    thread = threading.Thread(target=watch.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 5
    while len(watch.changes) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    watch.stop.set()
    thread.join(5)
    assert [(one.wanted, one.ready) for one in watch.changes[:3]] == [(1, 1), (3, 1), (3, 3)]
    assert kube.lists >= 2


# -- clients -------------------------------------------------------------------------------------


class McpServer(BaseHTTPRequestHandler):
    """Keeps sessions; `forget` loses them, as a replica does that is scaled in."""

    server: Any

    def do_POST(self) -> None:
        row = json.loads(self.rfile.read(int(self.headers["content-length"])))
        session = self.headers.get("mcp-session-id", "")
        method = row["method"]
        if method == "initialize":
            session = f"s{len(self.server.sessions)}"
            self.server.sessions.add(session)
            self._reply(200, row, {"protocolVersion": "2025-06-18", "serverInfo": {"name": "x"}}, session)
        elif session not in self.server.sessions:
            self._reply(404, row, {}, "")
        elif method == "tools/list":
            tool = {"name": "describe", "annotations": {"readOnlyHint": True}, "inputSchema": {}}
            self._reply(200, row, {"tools": [tool]}, session)
        elif method == "tools/call":
            host = {"hostname": f"pod-{len(self.server.asked) % 2}"}
            self.server.asked.append(session)
            result = {"content": [], "structuredContent": host, "isError": self.server.failing}
            self._reply(200, row, result, session)
        else:
            self._reply(202, row, {}, session)

    def _reply(self, status: int, row: Any, result: Any, session: str) -> None:
        body = json.dumps({"jsonrpc": "2.0", "id": row.get("id"), "result": result}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("mcp-session-id", session)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    one: Any = ThreadingHTTPServer(("127.0.0.1", 0), McpServer)
    one.sessions, one.asked, one.failing = set(), [], False
    threading.Thread(target=one.serve_forever, args=(0.01,), daemon=True).start()
    yield one
    one.shutdown()
    one.server_close()


def called(server: Any, meanwhile: Any = None) -> Counts:
    with Callers(f"http://127.0.0.1:{server.server_port}/mcp", 100.0, clients=3) as callers:
        deadline = time.monotonic() + 5
        while len(server.asked) < 12 and time.monotonic() < deadline:
            time.sleep(0.01)
        if meanwhile:
            meanwhile()
            while callers.seen().errors < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
    return callers.seen()


def test_clients_keep_one_session_each(server: Any):
    seen = called(server)
    assert len(server.sessions) == 3
    assert seen.calls >= 12
    assert (seen.errors, seen.lost) == (0, set())
    assert seen.answered_by == {"pod-0", "pod-1"}


def test_sessions_that_are_lost_are_counted(server: Any):
    seen = called(server, server.sessions.clear)
    assert len(seen.lost) == 3
    assert "404" in seen.first_errors[0]


def test_a_tool_that_says_it_failed_is_an_error(server: Any):
    seen = called(server, lambda: setattr(server, "failing", True))
    assert seen.errors >= 3
    assert "describe" in seen.first_errors[0]


# -- the drill -----------------------------------------------------------------------------------


class Fleet:
    """An API server with one Deployment that is scaled by load; `broken` names what does not work."""

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.busy = True
        self.undone: list[Any] = []
        self.made: list[Any] = []
        self.looks = 0

    def url(self, service: str) -> str:
        return "http://127.0.0.1:1"

    def undo(self, undo: Any) -> None:
        assert undo.done or not self.made, "the undo is written first"
        self.undone.append(undo)

    def apply(self, path: str, body: Any) -> Any:
        self.made.append((path, body))
        return body

    def _replicas(self) -> int:
        stays = self.broken in {"out", "load", "request"}
        return 1 if stays or (not self.busy and self.broken != "in") else 3

    def get(self, path: str) -> Any:
        if "horizontal" not in path:
            return deployment(1, 1, {} if self.broken == "request" else None)
        if self.broken == "request":
            return failing()
        row: dict[str, Any] = copy.deepcopy(WORKS)
        if self.broken == "load":
            row["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"] = 12
        return row

    def list_all(self, path: str, *, labels: str = "", fields: str = "") -> Listing:
        if "horizontal" in path:
            return Listing((failing(),) if self.broken == "other" else (), "1")
        count = self._replicas() if self.made else 1
        return Listing((deployment(count, count),), "1")

    def watch(self, path: str, version: str, timeout_s: float, **_: str) -> Iterator[Event]:
        for _turn in range(3):
            time.sleep(0.005)
            count = self._replicas()
            yield Event("MODIFIED", deployment(count, count))


class Clients:
    """Stands in for Callers: calm or busy is what the fleet sees."""

    fleet: Fleet
    errors = 0

    def __init__(self, url: str, rate_per_s: float) -> None:
        assert url.endswith("/mcp")
        self.clients = 6
        self._rate = rate_per_s

    @property
    def rate_per_s(self) -> float:
        return self._rate

    @rate_per_s.setter
    def rate_per_s(self, value: float) -> None:
        self._rate = value
        self.fleet.busy = value > 10

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def seen(self) -> Counts:
        lost = set(range(min(self.errors, 1)))
        return Counts(500, self.errors, ["status 502"] * self.errors, {"pod-0"}, lost)


def drilled(
    fleet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: int = 0
) -> tuple[Record, str]:
    for name, value in {"OUT_S": 0.3, "IN_S": 0.3, "_HELD_S": 0.0, "_AFTER_S": 0.0, "_POLL_S": 0.01}.items():
        monkeypatch.setattr(scaling, name, value)
    clients: Any = type("These", (Clients,), {"fleet": fleet, "errors": errors})
    monkeypatch.setattr(scaling, "Callers", clients)
    cluster = Cluster("noop", "stub", run_id="r1")
    (tmp_path / "cluster.json").write_text(save_cluster(cluster))
    record = Record()
    drill = ScalingDrill(fleet, fleet, RunInput(tmp_path, cluster, SPECS), fleet)
    try:
        suite.test_a_server_scales_out_and_back_in(drill, SPECS, record)
    except AssertionError as error:
        return record, str(error)
    return record, ""


def test_out_and_in_without_an_error_is_green(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fleet = Fleet()
    record, why = drilled(fleet, tmp_path, monkeypatch)
    assert not why
    seen = record.observations[0]
    assert (seen.observed, seen.samples, record.doubt) == (100.0, 500, "")
    assert seen.data["service"] == "asana-v2", "the server that no other one calls"
    assert seen.data["windows"] == "out 0 s, in 15 s"
    assert seen.data["most_ready"] == 3
    first, last = fleet.undone
    assert (first.done, last.done) == (False, True)
    path, body = first.argv[-2:]
    assert path.endswith("/deployments/asana-v2")
    assert json.loads(body) == {"spec": {"replicas": 1}}


@pytest.mark.parametrize(
    ("broken", "errors", "why"),
    [
        ("out", 0, "asana-v2 did not scale out at 213 % of CPU"),
        ("in", 0, "did not come back to 1 replicas"),
        ("", 2, "2 of 500 calls failed, 5 of 6 sessions kept"),
        ("request", 0, "asana-v2 of asana-v2 requests no CPU; FailedGetResourceMetric: the HPA was unable"),
        ("other", 0, "autoscalers that cannot act: asana-v2: FailedGetResourceMetric"),
    ],
)
def test_each_way_to_fail_is_red(
    broken: str, errors: int, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fleet = Fleet(broken)
    record, found = drilled(fleet, tmp_path, monkeypatch, errors)
    assert why in found
    assert record.observations[0].observed == 0.0
    assert fleet.undone[-1].done


def test_too_little_load_shows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    record, why = drilled(Fleet("load"), tmp_path, monkeypatch)
    assert not why
    assert "the load made 12 % of CPU" in record.doubt


def test_a_server_that_is_scaled_already_is_left_alone(tmp_path: Path):
    fleet: Any = Fleet("other")
    drill = ScalingDrill(fleet, fleet, RunInput(tmp_path, Cluster("noop", "stub"), SPECS), None)
    assert drill.victim(SPECS).name == "ai-memory"
    with pytest.raises(Absent, match="no server is free"):
        drill.victim(SPECS[1:])
