"""fixtures.metrics through the official client, over answers recorded from Prometheus 2.53.3."""

from __future__ import annotations

import copy
import itertools
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fixtures.metrics import Metrics, open_metrics
from fixtures.places import Place, ProxySession, Reply, find_place
from fixtures.readings import (
    MOST_POINTS,
    Absent,
    NoData,
    NotANumber,
    Skewed,
    Stale,
    Unanswered,
    WrongLabel,
    selector,
    split_window,
)
from provisioners.base import Cluster
from provisioners.errors import TargetRefused
from provisioners.kube import KubeError, Listing

RECORDED = json.loads((Path(__file__).parent / "recorded" / "prometheus.json").read_text())
EMPTY = {"status": "success", "data": {"resultType": "vector", "result": []}}


class Session:
    """Answers as the recorded server did; `changes` are answers by query or path."""

    verify = True
    cert = None

    def __init__(self, **changes: Any) -> None:
        self.answers = {**copy.deepcopy(RECORDED), **changes}
        self.asked: list[dict[str, Any]] = []
        self.failing = 0

    def mount(self, *_: object) -> None:
        pass

    def request(self, method: str, url: str, params: Any = None, **_: object) -> Reply:
        self.asked.append({"method": method, "url": url, **(params or {})})
        if self.failing:
            self.failing -= 1
            return Reply(503, "no endpoints available")
        path = urlsplit(url).path
        if path.endswith("/query_range"):
            return Reply(200, json.dumps(self._points(params)))
        if path.endswith("/query"):
            answer = self.answers.get(params["query"], EMPTY)
        else:
            answer = self.answers[path.rpartition("/")[2]]
        return answer if isinstance(answer, Reply) else Reply(200, json.dumps(answer))

    def _points(self, params: Any) -> Any:
        times = range(int(params["start"]), int(params["end"]) + 1, int(params["step"]))
        assert len(times) <= 11_000, "exceeded maximum resolution of 11,000 points per timeseries"
        row = {"metric": {"job": "a"}, "values": [[at, "1"] for at in times]}
        return {"status": "success", "data": {"resultType": "matrix", "result": [row]}}


def opened(session: Session, **options: Any) -> Metrics:
    from prometheus_api_client import PrometheusConnect

    client = PrometheusConnect(url="http://prometheus", session=session)
    return Metrics(client, "monitoring/prometheus-operated:web", **{"deadline_s": 1.2, **options})


def vector(*rows: tuple[dict[str, str], str]) -> dict[str, Any]:
    result = [{"metric": labels, "value": [time.time(), value]} for labels, value in rows]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def test_a_metric_is_read_with_its_age():
    samples = opened(Session()).latest("up")
    assert [one.value for one in samples] == [0.0, 1.0, 1.0]
    assert all(one.age_s is not None and 0 <= one.age_s < 5 for one in samples)
    assert samples[1].labels["job"] == "gonogo-drill"


def test_an_empty_vector_is_no_data_and_prints_its_query():
    with pytest.raises(NoData, match=r"web: no series answers nix$"):
        opened(Session()).ask("nix")
    with pytest.raises(NoData, match="nix has no series at all") as caught:
        opened(Session()).latest("nix", {"job": "a"})
    assert not isinstance(caught.value, WrongLabel)


def test_a_wrong_label_is_named_with_the_values_that_there_are():
    metrics = opened(Session())
    with pytest.raises(WrongLabel, match=r"no job='nobody', it has gonogo-drill, serviceMonitor/"):
        metrics.latest("up", {"job": "nobody"})
    assert not metrics.knows("up", {"job": "nobody"})


def test_labels_that_exist_but_not_together_are_told():
    session = Session(
        **{"count by (a) (m)": vector(({"a": "1"}, "1")), "count by (b) (m)": vector(({"b": "2"}, "1"))}
    )
    with pytest.raises(WrongLabel, match="no series all of them"):
        opened(session).latest("m", {"a": "1", "b": "2"})


def test_nan_and_infinity_are_no_values():
    with pytest.raises(NotANumber, match=r"vector\(0\)/0 is NaN"):
        opened(Session()).ask("vector(0)/0")
    with pytest.raises(NotANumber, match=r"is \+Inf"):
        opened(Session(x=vector(({}, "+Inf")))).ask("x")


def test_a_stale_sample_is_told_from_a_fresh_one():
    late = copy.deepcopy(RECORDED["vector(time())"])
    late["data"]["result"][0]["value"][1] = str(float(late["data"]["result"][0]["value"][1]) + 200)
    with pytest.raises(Stale, match=r"up: the last sample is 20\d s old, over 60 s"):
        opened(Session(**{"vector(time())": late})).latest("up")


def test_a_series_without_a_time_is_stale():
    with pytest.raises(Stale, match="inf s old"):
        opened(Session(**{"timestamp(up)": vector(({"job": "other"}, "1"))})).latest("up")


def test_over_11_000_points_are_asked_for_in_parts():
    session = Session(**{"vector(time())": vector(({}, str(time.time())))})
    end = time.time()
    found = opened(session).window("up", end - 25_000, end, 1)
    points = found[("job", "a"),]
    assert 25_000 <= len(points) <= 25_003
    gaps = {round(b.at_s - a.at_s) for a, b in itertools.pairwise(points)}
    assert gaps == {1}
    assert sum("query_range" in one["url"] for one in session.asked) == 3


def test_the_clocks_offset_is_taken_out_of_a_window():
    session = Session(**{"vector(time())": vector(({}, str(time.time() + 30)))})
    end = time.time()
    points = opened(session).window("up", end - 100, end, 10)[("job", "a"),]
    assert abs(points[0].at_s - (end - 100)) < 2.5
    asked = next(one for one in session.asked if "query_range" in one["url"])
    assert abs(asked["start"] - (end - 70)) < 2.5


def test_a_clock_far_off_is_inconclusive():
    session = Session(**{"vector(time())": vector(({}, str(time.time() - 3_000)))})
    with pytest.raises(Skewed, match="-3000 s from ours"):
        opened(session).clock_offset_s()


@pytest.mark.parametrize(("start", "end", "step"), [(0, 10, 0), (10, 0, 1), (0, 10_000_000_000, 1)])
def test_a_window_that_nobody_should_ask_for_is_refused(start: float, end: float, step: int):
    with pytest.raises(ValueError, match=r"no window|too many"):
        split_window(start, end, step)


def test_parts_of_a_window_overlap_nowhere_and_leave_nothing_out():
    parts = split_window(0, 35_000, 2)
    assert all((last - first) / 2 + 1 <= MOST_POINTS for first, last in parts)
    assert [first for first, _ in parts[1:]] == [last + 2 for _, last in parts[:-1]]
    assert parts[-1][1] == 35_000


def test_a_prometheus_that_comes_back_within_the_deadline_is_waited_for():
    session = Session()
    session.failing = 1
    assert opened(session).ask("up")


def test_a_prometheus_that_stays_away_is_unanswered():
    session = Session()
    session.failing = 99
    began = time.monotonic()
    with pytest.raises(Unanswered, match=r"no answer to up: HTTP Status Code 503"):
        opened(session).ask("up")
    assert time.monotonic() - began < 3


def test_a_query_that_is_refused_is_not_repeated():
    session = Session(**{"up{": Reply(400, '{"error":"parse error"}')})
    with pytest.raises(Unanswered, match="parse error"):
        opened(session).ask("up{")
    assert len(session.asked) == 1


@pytest.mark.parametrize("body", ["<html>", "[]", '{"status":"success"}', '{"data": 3}'])
def test_another_servers_page_is_unanswered(body: str):
    with pytest.raises(Unanswered):
        opened(Session(up=Reply(200, body))).ask("up")


def test_a_scalar_is_no_vector():
    scalar = {"status": "success", "data": {"resultType": "scalar", "result": [1, "2"]}}
    with pytest.raises(Unanswered, match="not an instant vector"):
        opened(Session(**{"time()": scalar})).ask("time()")


def test_jobs_without_targets_are_pools_too():
    metrics = opened(Session())
    assert "serviceMonitor/monitoring/empty/0" in metrics.pools()
    assert {one.pool.split("/")[2]: one.health for one in metrics.targets()} == {
        "down": "down",
        "gonogo-drill": "up",
        "prometheus": "up",
    }


def test_rules_are_read_with_their_health():
    rules = {rule.name: rule for rule in opened(Session()).rules()}
    assert rules["Bad"].health == "err"
    assert "many-to-many" in rules["Bad"].error
    assert rules["TargetDown"].evaluated
    assert rules["mcp:requests:rate1m"].kind == "recording"


def test_label_values_are_escaped():
    assert selector("up", {"a": 'x"y\\z\n'}) == 'up{a="x\\"y\\\\z\\n"}'


# -- where it is ---------------------------------------------------------------------------------


class Door:
    """Stands in for provisioners.kube.Kube."""

    def __init__(self, services: dict[str, list[Any]] | None = None, error: Exception | None = None) -> None:
        self._services = services or {}
        self._error = error
        self.asked: list[tuple[str, Any]] = []

    def list_all(self, path: str, *, labels: str = "", fields: str = "") -> Listing:
        return Listing(tuple(self._services.get(labels, ())), "1")

    def text(self, path: str, query: Any = None) -> str:
        self.asked.append((path, query))
        if self._error:
            raise self._error
        return json.dumps(RECORDED["up"])


def service(name: str, *ports: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"namespace": "watch", "name": name}, "spec": {"ports": list(ports)}}


def test_a_prometheus_is_found_by_its_labels():
    ports = ({"name": "reloader-web", "port": 8080}, {"name": "http-web", "port": 9090})
    door: Any = Door({"app=b": [service("p", *ports)]})
    assert find_place(door, "", ("app=a", "app=b")) == Place("watch", "p", "http-web")


def test_two_that_fit_are_not_guessed_between():
    door: Any = Door({"app=a": [service("p", {"port": 1}), service("q", {"port": 1})]})
    assert find_place(door, "", ("app=a",)) == "several Services have app=a: watch/p:1, watch/q:1"


def test_a_named_place_wins():
    door: Any = Door()
    assert find_place(door, "a/b:9090", ()) == Place("a", "b", "9090")
    assert find_place(None, "http://localhost:9", ()) == Place(url="http://localhost:9")
    assert "no NAMESPACE/SERVICE:PORT" in str(find_place(door, "a-b", ()))
    assert find_place(door, "", ("x=y",)) == "no Service has one of the labels x=y"


def test_without_a_kubernetes_there_is_none():
    with pytest.raises(Absent, match=r"no Prometheus: this target has no Kubernetes API; name it by `target"):
        open_metrics(Cluster("noop", "stub"))


def test_questions_go_through_the_api_server():
    from prometheus_api_client import PrometheusConnect

    door: Any = Door()
    place = Place("watch", "p", "web")
    client = PrometheusConnect(url=place.base, session=ProxySession(door))
    assert len(Metrics(client, str(place)).ask("up")) == 3
    assert door.asked == [("/api/v1/namespaces/watch/services/p:web/proxy/api/v1/query", {"query": "up"})]


def test_what_the_api_server_refuses_is_an_answer():
    for error, status in (
        (KubeError("x", status=503, where="api", why="no endpoints"), 503),
        (KubeError("x", status=0, where="api", why="refused"), 503),
        (TargetRefused("x", next_step="allow it by a rule"), 403),
    ):
        door: Any = Door(error=error)
        reply = ProxySession(door).request("GET", "https://api-server/x")
        assert reply.status_code == status
        assert not reply.ok
    with pytest.raises(ValueError, match="only GET"):
        ProxySession(door).request("POST", "https://api-server/x")
