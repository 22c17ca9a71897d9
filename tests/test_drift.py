"""Drift: a real API server that somebody changed by hand, recorded Swarm services, each change by name."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from benchmarks.api_server import api_server
from benchmarks.tools import ToolFailed
from fixtures.drift import Drift, changes, drift_of, kubernetes_drift, swarm_drift
from fixtures.drift_fields import added
from fixtures.drift_swarm import Difference, compare_stack
from fixtures.record import Record
from fixtures.security import CannotTell
from provisioners.base import Bundle, Cluster, ServiceSpec, Side
from provisioners.kube import Kube
from provisioners.kube_apply import apply_bundle
from provisioners.noop import NoopTarget
from provisioners.swarm_stack import prepare_stack
from provisioners.swarm_target import SwarmTarget
from suites.operations import test_drift as suite

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMESPACE = "sophia-mcp"
SPECS = (ServiceSpec("github-v2", "primary", 1, (9006,), mcp=True),)
MANIFEST = """
apiVersion: v1
kind: Namespace
metadata: {name: sophia-mcp}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: github-v2}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {level: info}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: github-v2, labels: {tier: mcp}}
spec:
  replicas: 1
  selector: {matchLabels: {app.kubernetes.io/name: github-v2}}
  template:
    metadata: {labels: {app.kubernetes.io/name: github-v2}}
    spec:
      serviceAccountName: github-v2
      containers:
        - name: github-v2
          image: gonogo/mcp-github-v2:1
          env: [{name: PORT, value: "9006"}]
          envFrom: [{configMapRef: {name: settings}}]
          ports: [{name: http, containerPort: 9006, protocol: TCP}]
          resources: {limits: {cpu: 500m, memory: 256Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: github-v2}
spec:
  type: NodePort
  selector: {app.kubernetes.io/name: github-v2}
  ports: [{name: http, port: 9006, protocol: TCP}]
"""
BUNDLE = Bundle(
    Side.KUBERNETES, NAMESPACE, {"primary.yaml": MANIFEST}, SPECS, {"postgres_password": b"hush-hush"}
)
DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/github-v2"


@pytest.fixture(scope="module")
def server() -> Iterator[Kube]:
    try:
        with api_server() as kubeconfig:
            yield Kube(kubeconfig)
    except ToolFailed as error:
        pytest.skip(str(error))


@pytest.fixture
def kube(server: Kube) -> Kube:
    """The server with the bundle as it was deployed; what an earlier test changed is put right."""
    for path in (DEPLOYMENT, f"/api/v1/namespaces/{NAMESPACE}/services/github-v2"):
        server.delete(path)
    apply_bundle(server, BUNDLE, "r1")
    return server


def texts(kube: Kube, bundle: Bundle = BUNDLE) -> list[str]:
    return [str(one) for one in kubernetes_drift(kube, bundle, "r1").differences]


@pytest.mark.live
def test_what_was_deployed_does_not_differ(kube):
    seen = kubernetes_drift(kube, BUNDLE, "r1")
    assert seen.differences == ()
    assert seen.compared == 6
    assert kubernetes_drift(kube, BUNDLE, "r1").differences == (), "looking changes nothing"


@pytest.mark.live
def test_looking_changes_nothing(kube):
    kube.patch(DEPLOYMENT, {"spec": {"replicas": 3}})
    before = kube.get(DEPLOYMENT)
    assert texts(kube)
    assert kube.get(DEPLOYMENT) == before


@pytest.mark.live
def test_replicas_and_an_image_that_somebody_changed_are_named(kube):
    containers = [{"name": "github-v2", "image": "gonogo/mcp-github-v2:2"}]
    kube.patch(DEPLOYMENT, {"spec": {"replicas": 3}})
    _set(kube, {"spec": {"template": {"spec": {"containers": containers}}}}, "kubectl-set")
    found = texts(kube)
    assert "Deployment/github-v2 spec.replicas: deployed 1, runs 3" in found
    image = "spec.template.spec.containers[github-v2].image"
    assert (
        f"Deployment/github-v2 {image}: deployed gonogo/mcp-github-v2:1, runs gonogo/mcp-github-v2:2" in found
    )
    assert len(found) == 2


def _set(kube: Kube, body: dict[str, Any], manager: str, path: str = DEPLOYMENT) -> None:
    """Patch as kubectl does: strategic, under its own name."""
    kube._request(
        "PATCH",
        path,
        {"fieldManager": manager},
        body=json.dumps(body).encode(),
        content_type="application/strategic-merge-patch+json",
    )


@pytest.mark.live
def test_a_variable_that_somebody_added_is_named(kube):
    container = {"name": "github-v2", "env": [{"name": "DEBUG", "value": "1"}]}
    _set(kube, {"spec": {"template": {"spec": {"containers": [container]}}}}, "kubectl-edit")
    found = texts(kube)
    assert any("env[name=DEBUG]" in text and "what kubectl-edit set" in text for text in found), found


@pytest.mark.live
def test_what_our_own_drill_left_behind_is_named(kube):
    mark = {"spec": {"template": {"metadata": {"annotations": {"gonogo.dev/rollout": "1"}}}}}
    kube.patch(DEPLOYMENT, mark)
    assert any("annotations.gonogo.dev/rollout" in text for text in texts(kube))
    mark["spec"]["template"]["metadata"]["annotations"]["gonogo.dev/rollout"] = None  # type: ignore[assignment]
    kube.patch(DEPLOYMENT, mark)
    kube.patch(DEPLOYMENT, {"spec": {"replicas": 3}})
    kube.patch(DEPLOYMENT, {"spec": {"replicas": 1}})
    assert texts(kube) == [], "put back as it was: owned by whoever, it is what was deployed"


@pytest.mark.live
def test_what_is_gone_and_what_nobody_deployed_are_named(kube):
    kube.delete(f"/api/v1/namespaces/{NAMESPACE}/services/github-v2")
    body = copy.deepcopy(next(row for row in yaml.safe_load_all(MANIFEST) if row["kind"] == "Deployment"))
    body["metadata"] = {"name": "by-hand"}
    other = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/by-hand"
    kube.apply(other, body)
    try:
        found = texts(kube)
    finally:
        kube.delete(other)
    assert "Service/github-v2 is not there" in found
    assert "Deployment/by-hand is there and was not deployed" in found
    assert len(found) == 2


@pytest.mark.live
def test_a_secret_is_named_and_its_value_is_not(kube):
    path = f"/api/v1/namespaces/{NAMESPACE}/secrets/postgres-password"
    secret = kube.get(path)
    assert secret
    kube.patch(path, {"data": {"postgres_password": "b3RoZXI="}})
    found = texts(kube)
    assert found == ["Secret/postgres-password data.postgres_password: deployed a value, runs another value"]
    kube.patch(path, {"data": secret["data"]})


@pytest.mark.live
def test_what_an_autoscaler_scales_is_its_business(kube):
    root = f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers/github-v2"
    kube.apply(
        root,
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "github-v2", "labels": {"gonogo.dev/drill": "x"}},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "github-v2"},
                "minReplicas": 1,
                "maxReplicas": 3,
            },
        },
    )
    try:
        kube.patch(DEPLOYMENT, {"spec": {"replicas": 3}})
        seen = kubernetes_drift(kube, BUNDLE, "r1")
    finally:
        kube.delete(root)
    assert (seen.differences, seen.scaled) == ((), ("Deployment/github-v2",))


@pytest.mark.live
def test_a_manifest_that_is_refused_now_is_a_difference(kube):
    text = MANIFEST.replace("matchLabels: {app.kubernetes.io/name: github-v2}", "matchLabels: {a: b}")
    changed = Bundle(Side.KUBERNETES, NAMESPACE, {"primary.yaml": text}, SPECS, BUNDLE.secrets)
    assert any("Deployment/github-v2 cannot be applied again" in one for one in texts(kube, changed))


def test_objects_differ_by_place_and_by_name():
    before = {"a": 1, "rows": [{"name": "x", "v": 1}, {"name": "y", "v": 2}], "plain": [1, 2]}
    after = {"b": 1, "rows": [{"name": "y", "v": 3}, {"name": "x", "v": 1}], "plain": [1]}
    assert list(changes(before, after)) == [
        ("a", "1", "nothing"),
        ("b", "nothing", "1"),
        ("plain[1]", "2", "nothing"),
        ("rows[y].v", "2", "3"),
    ]
    assert list(changes(before, copy.deepcopy(before))) == []


def test_controllers_and_status_are_of_nobody_who_deploys():
    def entry(manager: str, fields: dict[str, Any], **more: str) -> dict[str, Any]:
        return {"manager": manager, "operation": "Update", "fieldsV1": fields, **more}

    live = {
        "metadata": {
            "managedFields": [
                entry(
                    "kube-controller-manager", {"f:metadata": {"f:annotations": {".": {}, "f:revision": {}}}}
                ),
                entry("autoscaler", {"f:spec": {"f:replicas": {}}}, subresource="scale"),
                entry("somebody", {"f:status": {"f:x": {}}, "f:spec": {'k:{"name":"a"}': {"f:v": {}}}}),
            ]
        }
    }
    assert added(live, {"metadata": {}}) == {"spec[name=a].v": "somebody"}


# -- Swarm -----------------------------------------------------------------------------------------

STACK = """
services:
  github-v2:
    image: gonogo/mcp-github-v2:1
    entrypoint: [python3]
    command: [-m, server, "$$HOME"]
    environment: {PORT: "9006", TOKEN: a$$b}
    user: "65534"
    ports: [{target: 9006, protocol: tcp, mode: host}]
    secrets: [{source: password, target: password}]
    configs: [{source: settings, target: /settings}]
    healthcheck: {test: [CMD, probe], interval: 5s}
    deploy:
      replicas: 1
      endpoint_mode: dnsrr
      labels: {mcp-tier: primary}
      resources: {limits: {cpus: "0.5", memory: 268435456b}, reservations: {cpus: "0.25"}}
      placement: {constraints: [node.hostname == node1]}
  net-probe:
    image: gonogo/net-probe:1
    deploy: {mode: global}
secrets: {password: {}}
configs: {settings: {file: ./configs/settings}}
"""
SWARM = Bundle(
    Side.SWARM, "sophia", {"stack.yml": STACK, "configs/settings": "x: 1\n"}, SPECS, {"password": b"hush"}
)
PREPARED = yaml.safe_load(prepare_stack(SWARM, "sophia", "r1").text)


def running() -> list[dict[str, Any]]:
    """As Docker 26 gives them back for that file."""
    return [
        {
            "ID": "a1",
            "Spec": {
                "Name": "sophia_github-v2",
                "Labels": {
                    "com.docker.stack.image": "gonogo/mcp-github-v2:1",
                    "com.docker.stack.namespace": "sophia",
                    "gonogo": "r1",
                    "mcp-tier": "primary",
                },
                "TaskTemplate": {
                    "ContainerSpec": {
                        "Image": "gonogo/mcp-github-v2:1",
                        "Command": ["python3"],
                        "Args": ["-m", "server", "$HOME"],
                        "Env": ["PORT=9006", "TOKEN=a$b"],
                        "User": "65534",
                        "Healthcheck": {"Test": ["CMD", "probe"], "Interval": 5_000_000_000},
                        "Secrets": [{"SecretName": PREPARED["secrets"]["password"]["name"]}],
                        "Configs": [{"ConfigName": PREPARED["configs"]["settings"]["name"]}],
                    },
                    "Resources": {
                        "Limits": {"NanoCPUs": 500_000_000, "MemoryBytes": 268_435_456},
                        "Reservations": {"NanoCPUs": 250_000_000},
                    },
                    "Placement": {"Constraints": ["node.hostname == node1"]},
                },
                "Mode": {"Replicated": {"Replicas": 1}},
                "EndpointSpec": {
                    "Mode": "dnsrr",
                    "Ports": [{"Protocol": "tcp", "TargetPort": 9006, "PublishMode": "host"}],
                },
            },
        },
        {
            "ID": "a2",
            "Spec": {
                "Name": "sophia_net-probe",
                "Labels": {"gonogo": "r1"},
                "TaskTemplate": {"ContainerSpec": {"Image": "gonogo/net-probe:1"}},
                "Mode": {"Global": {}},
            },
        },
    ]


def swarm_texts(rows: list[dict[str, Any]]) -> list[str]:
    return [str(one) for one in compare_stack(PREPARED, rows, "sophia")[0]]


def test_a_stack_that_runs_as_its_file_says_does_not_differ():
    found, compared = compare_stack(PREPARED, running(), "sophia")
    assert found == []
    assert compared > 20


def _mutations() -> dict[str, tuple[Any, str]]:
    def template(row: dict[str, Any]) -> dict[str, Any]:
        one: dict[str, Any] = row["Spec"]["TaskTemplate"]
        return one

    return {
        "replicas": (
            lambda row: row["Spec"]["Mode"]["Replicated"].update(Replicas=3),
            "service github-v2 replicas: deployed 1, runs 3",
        ),
        "image": (
            lambda row: template(row)["ContainerSpec"].update(Image="gonogo/mcp-github-v2:2"),
            "service github-v2 image: deployed gonogo/mcp-github-v2:1, runs gonogo/mcp-github-v2:2",
        ),
        "variable": (
            lambda row: template(row)["ContainerSpec"].update(Env=["PORT=9007", "TOKEN=a$b", "DEBUG=1"]),
            "service github-v2 environment DEBUG: deployed nothing, runs another value",
        ),
        "limit": (
            lambda row: template(row)["Resources"]["Limits"].update(MemoryBytes=1),
            "service github-v2 limits.memory: deployed 268435456, runs 1",
        ),
        "port": (
            lambda row: row["Spec"]["EndpointSpec"]["Ports"].append(
                {"Protocol": "tcp", "TargetPort": 22, "PublishedPort": 2222, "PublishMode": "ingress"}
            ),
            "runs [(22, 2222, 'tcp', 'ingress'), (9006, 0, 'tcp', 'host')]",
        ),
        "config": (
            lambda row: template(row)["ContainerSpec"].update(Configs=[{"ConfigName": "sophia_settings-0"}]),
            "service github-v2 configs: deployed ",
        ),
        "constraint": (
            lambda row: template(row).update(Placement={}),
            "service github-v2 constraints: deployed ['node.hostname==node1'], runs []",
        ),
        "command": (
            lambda row: template(row)["ContainerSpec"].update(Args=["sleep"]),
            "service github-v2 command: ",
        ),
        "label": (
            lambda row: row["Spec"]["Labels"].update({"mcp-tier": "secondary"}),
            "mcp-tier=secondary",
        ),
        "health": (
            lambda row: template(row)["ContainerSpec"].update(Healthcheck={"Test": ["NONE"]}),
            "service github-v2 healthcheck: ",
        ),
    }


@pytest.mark.parametrize("name", list(_mutations()))
def test_each_change_by_hand_is_named(name):
    change, wanted = _mutations()[name]
    rows = running()
    change(rows[0])
    found = swarm_texts(rows)
    assert any(wanted in text for text in found), found
    assert "hush" not in str(found)
    assert "9007" not in str(found), "the value of a variable may be a secret"


def test_a_service_that_is_gone_and_one_too_many_are_named():
    rows = running()
    rows[1]["Spec"]["Name"] = "sophia_by-hand"
    assert swarm_texts(rows) == [
        "service net-probe is not there",
        "service by-hand runs and was not deployed",
    ]


def test_a_digest_that_docker_added_is_no_difference():
    rows = running()
    container = rows[0]["Spec"]["TaskTemplate"]["ContainerSpec"]
    container["Image"] += "@sha256:" + "a" * 64
    assert swarm_texts(rows) == []


def test_the_swarm_is_asked_by_its_stack(monkeypatch):
    asked = []

    class Docker:
        def words(self, *argv: str) -> list[str]:
            asked.append(argv)
            return ["a1", "a2"]

        def inspect(self, kind: str, ids: list[str]) -> list[dict[str, Any]]:
            assert (kind, ids) == ("service", ["a1", "a2"])
            return running()

    monkeypatch.setattr(SwarmTarget, "docker", property(lambda _: Docker()))
    target = SwarmTarget(Cluster("lab", "lab-upstream", run_id="r1"))
    assert drift_of(target, SWARM) == swarm_drift(target, SWARM)
    assert drift_of(target, SWARM).differences == ()
    assert asked[0][-1] == "label=com.docker.stack.namespace=sophia"


# -- the suite -------------------------------------------------------------------------------------


def test_a_difference_is_a_failure_with_its_name():
    record = Record()
    one = Difference("Deployment/x", "spec.replicas", "1", "3")
    target = type("T", (), {"side": Side.KUBERNETES})()
    with pytest.raises(
        AssertionError, match=r"kubernetes: 1 differ: Deployment/x spec\.replicas: deployed 1, runs 3"
    ):
        suite.test_what_runs_is_what_was_deployed(target, BUNDLE, lambda *_: Drift((one,), 6), record)
    assert (record.observations[0].observed, record.observations[0].samples) == (1, 6)
    suite.test_what_runs_is_what_was_deployed(target, BUNDLE, lambda *_: Drift((), 6), Record())


def test_a_target_without_objects_decides_nothing(tmp_path):
    cluster = Cluster("noop", "stub", extra={"kubernetes": str(tmp_path / "x")})
    with pytest.raises(CannotTell, match="keeps no objects"):
        drift_of(NoopTarget(Side.KUBERNETES, cluster, ()), BUNDLE)
