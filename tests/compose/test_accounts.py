from typing import Any

import pytest
import yaml

from provisioners.compose import Fit, Project, kubernetes_bundle, swarm_bundle
from provisioners.compose.lint import lint_texts
from provisioners.tiers import Tiers
from tests.compose.conftest import Load

NONE = Tiers(namespace="test")
WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "Job"}


def listed(project: Project, tiers: Tiers = NONE, fit: Fit | None = None) -> list[dict[str, Any]]:
    files = kubernetes_bundle(project, tiers, fit or Fit())[0].files
    return [item for text in files.values() for item in yaml.load_all(text, Loader=yaml.CSafeLoader)]


def by_title(project: Project, tiers: Tiers = NONE, fit: Fit | None = None) -> dict[str, dict[str, Any]]:
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in listed(project, tiers, fit)}


def losses(project: Project, fit: Fit | None = None) -> dict[str, Any]:
    return {loss.path: loss for loss in kubernetes_bundle(project, NONE, fit or Fit())[1]}


# -- accounts --------------------------------------------------------------------------------------


def test_each_workload_has_an_account_without_a_token(sample: Project, tiers: Tiers, lab_fit: Fit) -> None:
    found = by_title(sample, tiers, lab_fit)
    workloads = [item for item in found.values() if item["kind"] in WORKLOADS]
    assert len(workloads) == 21
    for item in workloads:
        pod = item["spec"]["template"]["spec"]
        account = found[f"ServiceAccount/{item['metadata']['name']}"]
        assert pod["serviceAccountName"] == account["metadata"]["name"]
        assert pod["automountServiceAccountToken"] is account["automountServiceAccountToken"] is False
        assert account["metadata"]["namespace"] == item["metadata"]["namespace"]


# -- budgets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deploy", "wanted"),
    [
        ("{replicas: 3}", 1),
        ("{replicas: 3, update_config: {parallelism: 2}}", 2),
        ("{replicas: 3, update_config: {parallelism: 5}}", 2),
        ("{replicas: 2, update_config: {parallelism: 0}}", 1),
        ("{replicas: 1}", None),
        ("{mode: global}", None),
        ("{mode: replicated-job, replicas: 3}", None),
    ],
)
def test_budgets(load: Load, deploy: str, wanted: int | None) -> None:
    found = by_title(load(f"services: {{web: {{image: x, deploy: {deploy}}}}}"))
    budget = found.get("PodDisruptionBudget/web")
    assert (budget["spec"]["maxUnavailable"] if budget else None) == wanted
    if budget:
        assert budget["apiVersion"] == "policy/v1"
        labels = found["Deployment/web"]["spec"]["template"]["metadata"]["labels"]
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()


# -- what waits for what ---------------------------------------------------------------------------

WAITS = (
    "services:\n  db: {image: postgres:16, expose: ['5432']}\n  mq: {image: y}\n"
    "  migrate: {image: x, restart: 'no', deploy: {update_config: {parallelism: 1}}}\n"
    "  web:\n    image: x\n    depends_on:\n      db: {condition: service_healthy}\n"
    "      mq: {condition: service_healthy}\n"
    "      migrate: {condition: service_completed_successfully}\n"
)


def test_nothing_waits_without_an_image_to_wait_with(load: Load) -> None:
    project = load(WAITS)
    found = by_title(project)
    assert "initContainers" not in found["Deployment/web"]["spec"]["template"]["spec"]
    said = losses(project)
    assert "wait_image" in said["services.web.depends_on.db"].detail
    assert said["services.web.depends_on.db"].outcome.value == "approximated"
    assert "kubectl -n test wait" in said["services.web.depends_on.migrate"].detail
    started = losses(load("services: {a: {image: x}, b: {image: x, depends_on: [a]}}"))
    assert started["services.b.depends_on[0]"].outcome.value == "dropped"


def test_an_image_to_wait_with(load: Load) -> None:
    fit = Fit(wait_image="busybox:1.36")
    pod = by_title(load(WAITS), NONE, fit)["Deployment/web"]["spec"]["template"]["spec"]
    (waiting,) = pod["initContainers"]  # mq has no port to connect to
    assert (waiting["name"], waiting["image"]) == ("wait-for-db", "busybox:1.36")
    assert "nc -z -w 2 db 5432" in waiting["command"][-1]
    assert "initContainers" in losses(load(WAITS), fit)["services.web.depends_on.db"].target


def test_a_service_that_others_wait_for_to_end_is_a_job_on_both_sides(load: Load) -> None:
    project = load(WAITS)
    found = by_title(project)
    assert found["Job/migrate"]["spec"]["template"]["spec"]["restartPolicy"] == "OnFailure"
    assert "Deployment/migrate" not in found
    assert "Deployment/db" in found
    stack = yaml.safe_load(swarm_bundle(project, NONE, Fit()).files["stack.yml"])
    deploy = stack["services"]["migrate"]["deploy"]
    assert deploy["mode"] == "replicated-job"
    assert deploy["restart_policy"]["condition"] == "on-failure"
    assert "update_config" not in deploy
    assert "mode" not in stack["services"]["db"]["deploy"]


# -- secrets ---------------------------------------------------------------------------------------

SECRET = "hunter2-Secret"


@pytest.mark.parametrize(
    "body",
    [
        f"environment: ['PGPASSWORD={SECRET}']",
        f"environment: {{dbPassword: {SECRET}}}",
        f"environment: ['PASSWORD={SECRET}', 'COPY=x:{SECRET}']",
        f"environment: ['PASSWORD={SECRET}']\n    labels: ['note=x:{SECRET}']",
        f"environment: ['JAVA_OPTS=-Xmx1g -Dspring.datasource.password={SECRET}']",
        f"environment: ['DATABASE=postgres://u:{SECRET}@db/x']",
        f"environment: ['DSN=host=db user=u password={SECRET}']",
        "environment: ['HARMLESS=ghp_hunter2Secrethunter2Secret']",
        f"command: redis-server --requirepass {SECRET}",
        f"command: ['serve', '--db-password={SECRET}', '--port', '80']",
        f"entrypoint: ['sh', '-c', 'serve --token {SECRET}']",
        f"command: ['x', 'postgres://u:{SECRET}@db/x']",
        f"healthcheck: {{test: ['CMD', 'mysqladmin', 'ping', '--password={SECRET}']}}",
        f"healthcheck: {{test: 'mysqladmin ping --password={SECRET} || exit 1'}}",
        f"labels: ['app.password={SECRET}']",
        f"configs: [{{source: c, target: /c}}]\nconfigs: {{c: {{content: 'requirepass {SECRET}'}}}}",
    ],
)
def test_nothing_shows_a_secret(load: Load, body: str) -> None:
    inner, _, top = body.partition("\nconfigs")
    top = top and f"configs{top}"
    project = load(f"services:\n  web:\n    image: x\n    {inner}\n{top}\n")
    bundle, found = kubernetes_bundle(project, NONE, Fit(policies=True))
    for text in (*bundle.files.values(), str(found), repr(bundle)):
        assert SECRET not in text
        assert "hunter2" not in text
    said = [loss for loss in found if "secret" in loss.detail.lower()]
    assert said
    if not body.startswith("labels"):
        assert any("hunter2" in value.decode() for value in bundle.secrets.values())
        assert "Secret/" in str([loss.target for loss in said])
    # Swarm's side stays as it is
    assert "hunter2" in str(swarm_bundle(project, NONE, Fit()).files)


def test_a_secret_in_a_command_is_filled_in_again(load: Load) -> None:
    project = load(
        f"services:\n  web:\n    image: x\n    environment: [DB_PASSWORD={SECRET}]\n"
        f"    command: ['serve', '--pass', '{SECRET}', '--token=other-Token9', '$$(id)']\n"
    )
    bundle = kubernetes_bundle(project, NONE, Fit())[0]
    box = by_title(project)["Deployment/web"]["spec"]["template"]["spec"]["containers"][0]
    assert box["args"] == ["serve", "--pass", "$(DB_PASSWORD)", "--token=$(SECRET_ARG_1)", "$$(id)"]
    assert [entry["name"] for entry in box["env"]] == ["DB_PASSWORD", "SECRET_ARG_1"]
    reference = box["env"][1]["valueFrom"]["secretKeyRef"]
    assert bundle.secrets[reference["key"]] == b"other-Token9"


def test_a_secret_in_a_health_check(load: Load) -> None:
    text = "services: {{web: {{image: x, healthcheck: {{test: {}}}}}}}"

    def command(test: str) -> list[str]:
        pod = by_title(load(text.format(test)))["Deployment/web"]["spec"]["template"]["spec"]
        return list(pod["containers"][0]["readinessProbe"]["exec"]["command"])

    assert command(f"[CMD, my, ping, '--password={SECRET}']") == [
        "/bin/sh", "-c", 'exec my ping --password="${SECRET_ARG_0}"',
    ]  # fmt: skip
    assert command(f"'my ping --password={SECRET}'")[-1] == "my ping --password=${SECRET_ARG_0}"
    assert command("[CMD, my, ping]") == ["my", "ping"]
    quoted = load(text.format(f"\"x '--password={SECRET}'\""))
    assert [loss.path for loss in losses(quoted).values() if loss.outcome.value == "refused"]


# -- tiers -----------------------------------------------------------------------------------------

PLATFORM = """
services:
  sophia-backend: {image: example.com/a:1, ports: ['8000:8000'], deploy: {replicas: 3}}
  sophia-unified-chat: {image: example.com/b:1, ports: ['8001:8001'], environment: ['B=http://sophia-backend:8000']}
  sophia-dashboard: {image: example.com/c:1, ports: ['3000:3000']}
  mcp-gateway: {image: example.com/d:1, ports: ['8080:8080'], user: '1000', read_only: true}
  postgres: {image: 'postgres:16', ports: ['5432:5432'], volumes: ['data:/var/lib/postgresql/data']}
  qdrant: {image: 'qdrant/qdrant:v1.9.1', volumes: ['q:/q']}
  prometheus: {image: 'prom/prometheus:v3'}
volumes: {data: {}, q: {}}
"""


def test_the_core_platform_has_a_namespace_of_its_own(load: Load, tiers: Tiers) -> None:
    bundle, _ = kubernetes_bundle(load(PLATFORM), tiers, Fit(policies=True))
    assert bundle.namespace == "sophia-ai"
    assert set(bundle.files) == {
        "00-namespace.yaml",
        "policies/default-deny.yaml",
        "backend/postgres.yaml",
        "backend/qdrant.yaml",
        "core/mcp-gateway.yaml",
        "core/sophia-backend.yaml",
        "core/sophia-dashboard.yaml",
        "core/sophia-unified-chat.yaml",
        "monitoring/prometheus.yaml",
    }
    for item in listed(load(PLATFORM), tiers, Fit(policies=True))[1:]:
        assert item["metadata"]["namespace"] == "sophia-ai"
    specs = {spec.name: spec.tier for spec in bundle.services}
    assert (specs["postgres"], specs["sophia-backend"]) == ("backend", "core")
    assert swarm_bundle(load(PLATFORM), tiers, Fit()).services == bundle.services
    fit = Fit(policies=True, cpus=1, memory="1G", ingress_domain="example.com")
    traps = lint_texts(dict(kubernetes_bundle(load(PLATFORM), tiers, fit)[0].files))
    assert not [one for one in traps if one.rule != "no-readiness"], (
        traps
    )  # the text above has no health checks


def test_other_files_stay_with_the_servers(sample: Project, load: Load, tiers: Tiers) -> None:
    assert kubernetes_bundle(sample, tiers, Fit())[0].namespace == "sophia-mcp"
    mixed = load(
        "services: {ai-memory-v2: {image: x, deploy: {replicas: 2}, expose: ['9000']}, stranger: {image: x}}"
    )
    bundle, _ = kubernetes_bundle(mixed, tiers, Fit())
    assert set(bundle.files) == {"00-namespace.yaml", "primary/ai-memory-v2.yaml", "extra/stranger.yaml"}
    # the same server under its other name keeps sessions too
    assert by_title(mixed, tiers)["Service/ai-memory-v2"]["spec"]["sessionAffinity"] == "ClientIP"


def test_managers_may_be_tainted(load: Load) -> None:
    text = "services: {web: {image: x, deploy: {placement: {constraints: ['node.role == %s']}}}}"
    manager = by_title(load(text % "manager"))["Deployment/web"]["spec"]["template"]["spec"]["tolerations"]
    assert manager[0]["key"] == "node-role.kubernetes.io/control-plane"
    worker = by_title(load(text % "worker"))["Deployment/web"]["spec"]["template"]["spec"]["tolerations"]
    assert "node-role.kubernetes.io/control-plane" not in str(worker)
