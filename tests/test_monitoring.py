"""The part `monitoring`: its manifests, its receiver, and what its suites say of sound and broken ones."""

from __future__ import annotations

import json
import string
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from fixtures.alerts import ALERT, AlertReceiver
from fixtures.monitors import Monitors, matches, parse_monitor
from fixtures.places import Place
from fixtures.readings import Unanswered
from fixtures.record import Record
from fixtures.web import fetch
from provisioners.base import Cluster
from provisioners.parts import monitoring
from provisioners.parts.base import MANIFESTS
from provisioners.parts.monitoring_receiver import MOST_KEPT, Alerts, Receiver
from suites.observability import test_rules as rules_suite
from suites.observability import test_targets as targets_suite
from tests.test_metrics_prometheus import RECORDED, Session, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = dict.fromkeys((image.name for image in monitoring.PART.images()), "gonogo/x:1")
FILES = ("monitoring-operator.yaml", "monitoring-scrape.yaml", "monitoring.yaml")


def manifests() -> list[dict[str, Any]]:
    values = monitoring._values(NAMES, "sophia-mcp")
    texts = [string.Template((MANIFESTS / name).read_text()).substitute(values) for name in FILES]
    return [body for text in texts for body in yaml.safe_load_all(text) if body]


BODIES = manifests()


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {body["metadata"]["name"]: body for body in BODIES if body["kind"] == kind}


# -- the part ------------------------------------------------------------------------------------


def test_every_image_of_the_manifests_is_one_of_the_parts():
    pods = [
        one["spec"]["template"]["spec"]
        for kind in ("Deployment", "DaemonSet")
        for one in of_kind(kind).values()
    ]
    used = [container["image"] for pod in pods for container in pod["containers"]]
    used += [of_kind("Prometheus")["main"]["spec"]["image"], of_kind("Alertmanager")["main"]["spec"]["image"]]
    assert set(used) == {"gonogo/x:1"}
    for pod in pods:
        assert all(one["imagePullPolicy"] == "IfNotPresent" for one in pod["containers"])
        assert all(one["resources"]["requests"]["cpu"].endswith("m") for one in pod["containers"])


def test_the_mcp_servers_monitor_selects_by_tier():
    monitor = parse_monitor(of_kind("ServiceMonitor")["mcp-servers"])
    assert monitor.namespaces == ("sophia-mcp",)
    assert monitor.selects({"metadata": {"namespace": "sophia-mcp", "labels": {"tier": "mcp"}}})
    assert not monitor.selects({"metadata": {"namespace": "sophia-mcp", "labels": {"tier": "backend"}}})
    assert not monitor.selects({"metadata": {"namespace": "other", "labels": {"tier": "mcp"}}})


def test_the_kubelet_is_scraped_by_tls_that_is_verified():
    endpoints = of_kind("ServiceMonitor")["kubelet"]["spec"]["endpoints"]
    assert {one["path"] for one in endpoints} == {"/metrics", "/metrics/cadvisor"}
    assert all(one["scheme"] == "https" and one["tlsConfig"] == {"caFile": cluster_ca()} for one in endpoints)


def cluster_ca() -> str:
    return "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"


def test_annotations_keep_their_dollars():
    groups = of_kind("PrometheusRule")["gonogo"]["spec"]["groups"]
    texts = [rule["annotations"]["summary"] for group in groups for rule in group["rules"] if "alert" in rule]
    assert "{{ $labels.job }} {{ $labels.instance }} is not scraped" in texts


def test_the_versions_are_those_that_the_operator_is_told():
    assert of_kind("Prometheus")["main"]["spec"]["version"] == f"v{monitoring.PROMETHEUS_VERSION}"
    assert of_kind("Alertmanager")["main"]["spec"]["version"] == f"v{monitoring.ALERTMANAGER_VERSION}"
    config = RECORDED["config"]["data"]["yaml"]
    assert "scrape_interval: 1s" in config


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ('{"metrics-addr": "0.0.0.0:9323"}', 9323),
        ('{"metrics-addr": "127.0.0.1:9323"}', None),
        ('{"metrics-addr": "localhost:9323"}', None),
        ('{"metrics-addr": ":9323"}', 9323),
        ('{"metrics-addr": "nonsense"}', None),
        ("{}", None),
        ("", None),
        ("[1]", None),
        ("{", None),
    ],
)
def test_an_engine_offers_metrics_where_pods_reach_them(text: str, port: int | None):
    assert monitoring.metrics_port(text) == port


def test_engines_are_scraped_at_their_addresses():
    service, slice_, monitor = monitoring.engine_objects({"172.30.0.11": 9323, "172.30.0.12": 9323})
    assert [one["addresses"] for one in slice_["endpoints"]] == [["172.30.0.11"], ["172.30.0.12"]]
    assert slice_["metadata"]["labels"]["kubernetes.io/service-name"] == service["metadata"]["name"]
    assert parse_monitor(monitor).selects(service)


class Cluster0:
    """An API server that holds the operator's definitions, and a Prometheus of some version."""

    def __init__(self, version: str, mark: str) -> None:
        self.version = version
        self.mark = mark
        self.applied: list[str] = []

    def get(self, path: str) -> Any:
        if "customresourcedefinitions" in path:
            return {"metadata": {"annotations": {"operator.prometheus.io/version": self.mark}}}
        return {"resources": [{"name": kind} for kind in monitoring._KINDS]}

    def apply(self, path: str, body: Any) -> Any:
        self.applied.append(body["metadata"]["name"])
        return body

    def text(self, path: str) -> str:
        assert path.endswith("/proxy/api/v1/status/buildinfo")
        return json.dumps({"status": "success", "data": {"version": self.version}})


def context(kube: Any) -> Any:
    from provisioners.parts.base import PartContext

    return PartContext(Cluster("lab", "lab-upstream"), kube, NAMES)


def test_definitions_are_applied_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for kind in monitoring._KINDS:
        body = {
            "metadata": {
                "name": f"{kind}.monitoring.coreos.com",
                "annotations": {"operator.prometheus.io/version": "0.85.0"},
            }
        }
        (tmp_path / f"monitoring.coreos.com_{kind}.yaml").write_text(yaml.safe_dump(body))
    monkeypatch.setattr(monitoring, "asset", lambda *_: tmp_path)
    old, same = Cluster0("", "0.84.0"), Cluster0("", "0.85.0")
    for kube in (old, same):
        monitoring._apply_definitions(context(kube), lambda _: None)
    assert len(old.applied) == len(monitoring._KINDS)
    assert same.applied == []


def test_an_operator_that_is_a_lone_equals_sign_is_text():
    body = monitoring.read_definition('enum:\n- "!="\n- =\n- =~\nyes: "on"\n')
    assert body["enum"] == ["!=", "=", "=~"]


def test_another_prometheus_than_the_flags_are_for_is_refused():
    from provisioners.errors import ProvisionError

    monitoring._require_version(context(Cluster0("2.53.9+ds1", "")), lambda _: None)
    with pytest.raises(ProvisionError, match=r"Prometheus 3\.1\.0 answers"):
        monitoring._require_version(context(Cluster0("3.1.0", "")), lambda _: None)


# -- the receiver --------------------------------------------------------------------------------


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver(0, "127.0.0.1")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def url(server: Receiver) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def post(server: Receiver, body: bytes) -> int:
    return fetch(f"{url(server)}/alerts", method="POST", body=body).status


def notification(*states: str, name: str = ALERT) -> bytes:
    rows = [
        {"status": state, "labels": {"alertname": name}, "startsAt": "x", "endsAt": "y"} for state in states
    ]
    return json.dumps({"version": "4", "alerts": rows}).encode()


def test_alerts_are_kept_and_read_from_a_number_on(receiver: Receiver):
    reader = AlertReceiver(None, Place(url=url(receiver)))
    assert reader.after(0) == (0, [])
    assert post(receiver, notification("firing")) == 200
    assert post(receiver, notification("resolved", "firing")) == 200
    newest, rows = reader.after(1)
    assert newest == 3
    assert [row["status"] for row in rows] == ["resolved", "firing"]
    assert rows[0]["labels"] == {"alertname": ALERT}


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"no json", 400), (b"[]", 400), (b'{"alerts": [1]}', 400), (b"x" * 1_000_001, 413)],
)
def test_what_is_no_notification_is_refused(receiver: Receiver, body: bytes, status: int):
    assert post(receiver, body) == status
    assert receiver.alerts.after(0)["alerts"] == []


def test_the_receiver_forgets_the_oldest():
    kept = Alerts()
    for _ in range(MOST_KEPT + 5):
        kept.add({"alerts": [{"status": "firing"}]}, 1.0)
    assert len(kept.after(0)["alerts"]) == MOST_KEPT
    assert kept.after(0)["last"] == MOST_KEPT + 5


def test_a_receiver_that_is_not_ours_is_unanswered(receiver: Receiver):
    with pytest.raises(Unanswered, match="status 404"):
        AlertReceiver(None, Place(url=f"{url(receiver)}/nowhere")).after(0)
    with pytest.raises(Unanswered, match="no connection"):
        AlertReceiver(None, Place(url="http://127.0.0.1:1")).after(0)


# -- ServiceMonitors against targets ---------------------------------------------------------------


def monitor(name: str, **spec: Any) -> Any:
    full = {"selector": {"matchLabels": {"tier": "mcp"}}, "endpoints": [{"port": "http"}], **spec}
    return parse_monitor({"metadata": {"namespace": "monitoring", "name": name}, "spec": full})


def service(name: str, labels: dict[str, str], port: str = "http", namespace: str = "monitoring") -> Any:
    return {
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {"ports": [{"name": port, "port": 9005}]},
    }


def said(session: Session, monitors: Monitors) -> tuple[Record, str]:
    """Return what the suite's check recorded, and why it failed; empty if it did not."""
    record = Record()
    session.answers["vector(time())"] = {
        "status": "success",
        "data": {"resultType": "vector", "result": [{"metric": {}, "value": [0, str(time.time())]}]},
    }
    try:
        targets_suite.test_every_service_monitor_has_targets_that_are_up(opened(session), monitors, record)
    except AssertionError as error:
        return record, str(error)
    return record, ""


def test_a_monitor_with_targets_that_are_up_is_green():
    record, why = said(Session(), Monitors((monitor("prometheus"),), ()))
    assert not why
    assert (record.observations[0].observed, record.observations[0].samples) == (100.0, 1)


def test_a_service_that_lacks_the_label_turns_it_red():
    services = (service("codacy-v2", {"app": "codacy-v2"}), service("asana-v2", {}))
    record, why = said(Session(), Monitors((monitor("prometheus"), monitor("empty")), services))
    assert "monitoring/empty: 0 targets: none of 2 Services in monitoring has tier: mcp" in why
    assert record.observations[0].observed == 50.0


@pytest.mark.parametrize(
    ("services", "why"),
    [
        ((), "there is no Service in monitoring"),
        ((service("a", {"tier": "mcp"}, "web"),), "none has a port named http, they have web"),
        ((service("a", {"tier": "mcp"}),), "1 Services are selected, and no pod is behind them"),
        ((service("a", {"tier": "mcp"}, namespace="other"),), "there is no Service in monitoring"),
    ],
)
def test_why_there_is_no_target_is_said(services: Any, why: str):
    assert why in said(Session(), Monitors((monitor("empty"),), services))[1]


def test_a_monitor_that_prometheus_does_not_have_is_red():
    assert "Prometheus does not have it" in said(Session(), Monitors((monitor("unknown"),), ()))[1]


def test_a_target_that_is_down_is_red_with_its_error():
    why = said(Session(), Monitors((monitor("down"),), ()))[1]
    assert "127.0.0.1:1/metrics is down" in why
    assert "connection refused" in why


def test_no_monitor_at_all_is_red():
    assert "0 targets: there is no ServiceMonitor" in said(Session(), Monitors((), ()))[1]
    assert "names no endpoint" in said(Session(), Monitors((monitor("x", endpoints=[]),), ()))[1]


def test_selectors_hold_as_kubernetes_has_them():
    def expression(operator: str, *values: str) -> dict[str, Any]:
        return {"matchExpressions": [{"key": "tier", "operator": operator, "values": list(values)}]}

    labels = {"tier": "mcp"}
    assert matches({}, {})
    assert matches(expression("In", "mcp", "x"), labels)
    assert not matches(expression("NotIn", "mcp"), labels)
    assert matches(expression("Exists"), labels)
    assert not matches(expression("DoesNotExist"), labels)


class Side0:
    """The Kubernetes side, as far as the check of MCP servers reads it."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    def replicas(self, name: str) -> list[Any]:
        from provisioners.base import Replica

        return [Replica(name, name, "node1", address, ready=True) for address in self._addresses]


@pytest.mark.parametrize(
    ("addresses", "why"),
    [
        (("127.0.0.1",), ""),
        (("127.0.0.1", "10.1.1.1"), "1 of 2 replicas are not scraped"),
        ((), "codacy-v2 has no ready replica"),
    ],
)
def test_each_servers_replicas_are_scraped(addresses: tuple[str, ...], why: str):
    from provisioners.base import ServiceSpec, Side

    both: Any = {Side.KUBERNETES: Side0(*addresses)}
    spec = ServiceSpec("codacy-v2", "primary", 1, (9005,), mcp=True)
    found = ""
    try:
        targets_suite.test_every_mcp_server_is_scraped(
            opened(Session()), Monitors((monitor("prometheus"),), ()), both, [spec], Record()
        )
    except AssertionError as error:
        found = str(error)
    assert why in found
    assert bool(why) == bool(found)


# -- rules ---------------------------------------------------------------------------------------


def rules_said(session: Session, wanted: dict[str, tuple[str, ...]]) -> str:
    try:
        rules_suite.test_rules_are_loaded_and_evaluated(opened(session), Monitors((), (), wanted), Record())
    except AssertionError as error:
        return str(error)
    return ""


def healthy() -> Session:
    session = Session()
    groups = session.answers["rules"]["data"]["groups"]
    session.answers["rules"]["data"]["groups"] = [group for group in groups if group["name"] != "bad"]
    return session


def test_rules_that_are_loaded_and_run_are_green():
    assert not rules_said(healthy(), {"monitoring/gonogo": ("TargetDown", "mcp:requests:rate1m")})


def test_a_rule_that_is_not_loaded_fails_or_never_ran_is_red():
    assert "monitoring/gonogo: Lost not loaded" in rules_said(healthy(), {"monitoring/gonogo": ("Lost",)})
    assert "bad/Bad fails: found duplicate series" in rules_said(Session(), {})
    session = healthy()
    session.answers["rules"]["data"]["groups"][0]["rules"][0]["lastEvaluation"] = "0001-01-01T00:00:00Z"
    assert "was never evaluated" in rules_said(session, {})
    session.answers["rules"]["data"]["groups"] = []
    assert "no rule is loaded" in rules_said(session, {})
