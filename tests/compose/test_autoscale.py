from typing import Any

import pytest
import yaml

from provisioners.compose import Fit, Project, ServiceFit, kubernetes_bundle
from provisioners.tiers import Autoscale, Server, Tiers
from tests.compose.conftest import Load

NONE = Tiers(namespace="test")
HEAD = "services:\n  web:\n    image: nginx:1\n"
LIMITS = "    deploy: {replicas: 3, resources: {limits: {cpus: '1', memory: 1G}}}\n"


def objects(project: Project, tiers: Tiers = NONE, fit: Fit | None = None) -> dict[str, dict[str, Any]]:
    files = kubernetes_bundle(project, tiers, fit or Fit())[0].files
    return {
        f"{item['kind']}/{item['metadata']['name']}": item
        for text in files.values()
        for item in yaml.load_all(text, Loader=yaml.CSafeLoader)
    }


def losses(project: Project, tiers: Tiers = NONE, fit: Fit | None = None) -> dict[str, Any]:
    return {loss.path: loss for loss in kubernetes_bundle(project, tiers, fit or Fit())[1]}


@pytest.mark.parametrize(
    "said",
    [
        "    x-gonogo: {autoscale: {min: 2, max: 6, cpu_percent: 70}}\n",
        "    labels: [gonogo.autoscale.min=2, gonogo.autoscale.max=6, gonogo.autoscale.cpu_percent=70]\n",
        "    labels: {kompose.hpa.replicas.min: 2, kompose.hpa.replicas.max: 6, kompose.hpa.cpu: 70}\n",
    ],
)
def test_what_files_say(load: Load, said: str) -> None:
    project = load(HEAD + LIMITS + said)
    found = objects(project)
    scaler = found["HorizontalPodAutoscaler/web"]
    assert scaler["apiVersion"] == "autoscaling/v2"
    assert scaler["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 6)
    (metric,) = scaler["spec"]["metrics"]
    target = {"type": "Utilization", "averageUtilization": 70}
    assert metric == {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    web = found["Deployment/web"]
    assert "replicas" not in web["spec"]
    assert "gonogo.autoscale" not in str(web)
    assert found["PodDisruptionBudget/web"]["spec"]["maxUnavailable"] == 1
    said_of = [loss for loss in losses(project).values() if "HorizontalPodAutoscaler/web" in loss.target]
    assert len(said_of) >= 2  # what asks for it, and the replicas


def test_nobody_asks(load: Load, sample: Project, tiers: Tiers, lab_fit: Fit) -> None:
    assert objects(load(HEAD + LIMITS))["Deployment/web"]["spec"]["replicas"] == 3
    for fit in (lab_fit, Fit()):
        assert not [title for title in objects(sample, tiers, fit) if "Autoscaler" in title]
    off = HEAD + LIMITS + "    labels: [swarm.autoscaler=false, swarm.autoscaler.maximum=4]\n"
    assert not [title for title in objects(load(off)) if "Autoscaler" in title]
    on = off.replace("autoscaler=false", "autoscaler=true")
    assert objects(load(on))["HorizontalPodAutoscaler/web"]["spec"]["maxReplicas"] == 4


def test_the_tiers_file_asks(load: Load) -> None:
    text = "services:\n  a: {image: x, deploy: {replicas: 2}}\n  b: {image: x}\n  c: {image: x}\n"
    tiers = Tiers(
        namespace="n",
        servers=(
            Server("a", "a", 1, "primary", autoscale=Autoscale(3, 9, 50, 75)),
            Server("b", "b", 2, "primary"),
            Server("c", "c", 3, "secondary"),
        ),
        autoscale={"primary": Autoscale(1, 4)},
    )
    found = objects(load(text), tiers)
    spec = found["HorizontalPodAutoscaler/a"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"], len(spec["metrics"])) == (3, 9, 2)
    assert found["HorizontalPodAutoscaler/b"]["spec"]["maxReplicas"] == 4
    assert "HorizontalPodAutoscaler/c" not in found
    # a share of the request is measured, so there is one; and sessions stay at one copy
    requests = found["Deployment/b"]["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
    assert requests["cpu"] == "50m"
    assert found["Service/b"]["spec"]["sessionAffinity"] == "ClientIP"
    assert "sessionAffinity" not in found["Service/c"]["spec"]


def test_a_fit_that_fixes_the_number(load: Load) -> None:
    project = load(HEAD + "    x-gonogo: {autoscale: {max: 6}}\n")
    for fit in (Fit(replicas=1), Fit(services={"web": ServiceFit(replicas=2)})):
        found = objects(project, NONE, fit)
        assert "HorizontalPodAutoscaler/web" not in found
        assert found["Deployment/web"]["spec"]["replicas"]
        said = losses(project, NONE, fit)["services.web.x-gonogo.autoscale"]
        assert (said.outcome.value, "equal on both sides" in said.detail) == ("approximated", True)
    assert "HorizontalPodAutoscaler/web" in objects(project, NONE, Fit(services={"web": ServiceFit(cpus=1)}))


@pytest.mark.parametrize(
    "body",
    [
        "    volumes: ['v:/v']\n",
        "    deploy: {mode: global}\n",
        "    deploy: {mode: replicated-job}\n",
    ],
)
def test_what_does_not_scale(load: Load, body: str) -> None:
    project = load(HEAD + body + "    x-gonogo: {autoscale: {max: 6}}\nvolumes: {v: {}}\n")
    assert not [title for title in objects(project) if "Autoscaler" in title]
    assert losses(project)["services.web.x-gonogo.autoscale"].outcome.value == "approximated"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("{min: 2}", "needs max"),
        ("{min: 5, max: 2}", "below min"),
        ("{min: 0, max: 2}", "min is 0"),
        ("{max: many}", "not a whole number"),
        ("{max: 2, cpu_percent: 0}", "cpu_percent is 0"),
        ("{max: 2, cpu: 5}", "not cpu"),
        ("[2, 5]", "is a table"),
    ],
)
def test_what_is_refused(load: Load, said: str, why: str) -> None:
    project = load(HEAD + f"    x-gonogo: {{autoscale: {said}}}\n")
    assert not [title for title in objects(project) if "Autoscaler" in title]
    (refused,) = [loss for loss in losses(project).values() if loss.outcome.value == "refused"]
    assert why in refused.detail
