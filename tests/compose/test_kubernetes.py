import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioners.base import Side
from provisioners.compose import Fit, Patch, Project, ServiceFit, Substitute, kubernetes_bundle, swarm_bundle
from provisioners.compose.environment import is_secret
from provisioners.compose.following import follow_value
from provisioners.compose.lint import lint_texts
from provisioners.compose.naming import legal, secret_object
from provisioners.compose.placement import requirement
from provisioners.compose.validate import check_texts
from provisioners.errors import InputError
from provisioners.kube_apply import secret_object as applied_secret
from provisioners.tiers import Tiers
from tests.compose.conftest import Load

HEAD = "services:\n  web:\n    image: nginx:1\n"
NONE = Tiers(namespace="test")


def objects(project: Project, tiers: Tiers = NONE, fit: Fit | None = None) -> dict[str, dict[str, Any]]:
    bundle, _ = kubernetes_bundle(project, tiers, fit or Fit())
    found = {}
    for text in bundle.files.values():
        for item in yaml.load_all(text, Loader=yaml.CSafeLoader):
            found[f"{item['kind']}/{item['metadata']['name']}"] = item
    return found


def container(project: Project, title: str = "Deployment/web") -> dict[str, Any]:
    return dict(objects(project)[title]["spec"]["template"]["spec"]["containers"][0])


def stack(project: Project, tiers: Tiers = NONE, fit: Fit | None = None) -> dict[str, Any]:
    return dict(
        yaml.load(swarm_bundle(project, tiers, fit or Fit()).files["stack.yml"], Loader=yaml.CSafeLoader)
    )


# -- the lab's input ---------------------------------------------------------------------------


def test_the_sample_deploys_alike_on_both_sides(sample: Project, tiers: Tiers, lab_fit: Fit) -> None:
    kubernetes = objects(sample, tiers, lab_fit)
    swarm = stack(sample, tiers, lab_fit)["services"]
    assert len(swarm) == 21
    for name, service in swarm.items():
        kind = next(
            key for key in ("Deployment", "StatefulSet", "DaemonSet") if f"{key}/{name}" in kubernetes
        )
        item = kubernetes[f"{kind}/{name}"]
        pod = item["spec"]["template"]["spec"]
        box = pod["containers"][0]
        assert box["image"] == service["image"]
        assert "$" not in str(item)
        given = {entry["name"]: entry["value"] for entry in box.get("env", [])}
        assert given == service.get("environment", {})
        assert box["resources"]["limits"] == {"cpu": "500m", "memory": "256Mi"}
        assert service["deploy"]["resources"]["limits"] == {"cpus": "0.5", "memory": "268435456b"}
        if kind == "DaemonSet":
            assert service["deploy"]["mode"] == "global"
        else:
            assert item["spec"]["replicas"] == service["deploy"]["replicas"] == 1
            node = pod["nodeSelector"]["kubernetes.io/hostname"]
            assert service["deploy"]["placement"]["constraints"] == [f"node.hostname == {node}"]
        entry = kubernetes[f"Service/{name}"]["spec"]
        for port in service.get("ports", []):
            assert port["mode"] == "host"
            assert entry["type"] == "NodePort"
            assert entry["externalTrafficPolicy"] == "Local"
            assert port["target"] in {item["port"] for item in entry["ports"]}
        assert service["deploy"]["endpoint_mode"] == "dnsrr"
        assert box["readinessProbe"]["periodSeconds"] == 30
        assert service["healthcheck"]["interval"] == "30s"
        assert pod["enableServiceLinks"] is False
        assert box["imagePullPolicy"] == "IfNotPresent"


def test_the_sample_keeps_its_secret_out_of_files(sample: Project, tiers: Tiers, lab_fit: Fit) -> None:
    for bundle in (kubernetes_bundle(sample, tiers, lab_fit)[0], swarm_bundle(sample, tiers, lab_fit)):
        assert bundle.secrets == {"postgres_password": b"correct horse battery staple"}
        assert "correct horse" not in str(bundle.files)
        assert "correct horse" not in repr(bundle)
    pod = objects(sample, tiers, lab_fit)["StatefulSet/postgres"]["spec"]["template"]["spec"]
    source = pod["volumes"][0]["projected"]["sources"][0]["secret"]
    assert source["name"] == applied_secret("postgres_password", b"", "n")["metadata"]["name"]
    assert source["items"] == [{"key": "postgres_password", "path": "postgres_password"}]


def test_promises_and_labels(sample: Project, tiers: Tiers, lab_fit: Fit) -> None:
    bundle, _ = kubernetes_bundle(sample, tiers, lab_fit)
    assert bundle.side is Side.KUBERNETES
    assert bundle.services == swarm_bundle(sample, tiers, lab_fit).services
    assert sum(spec.mcp for spec in bundle.services) == 16
    first = bundle.services[0]
    assert (first.name, first.tier, first.ports, first.calls) == (
        "ai-memory",
        "primary",
        (9000,),
        ("redis", "postgres"),
    )
    found = objects(sample, tiers, lab_fit)
    labels = found["Service/hubspot"]["metadata"]["labels"]
    assert (labels["tier"], labels["mcp-tier"]) == ("mcp", "primary")
    assert found["Service/redis"]["metadata"]["labels"]["tier"] == "backend"
    assert {item["metadata"].get("namespace", "sophia-mcp") for item in found.values()} == {"sophia-mcp"}
    nodes = {
        item["spec"]["template"]["spec"].get("nodeSelector", {}).get("kubernetes.io/hostname")
        for key, item in found.items()
        if key.split("/")[0] in {"Deployment", "StatefulSet"}
    }
    assert nodes == {"node1", "node2", "node3"}


def test_converting_twice_gives_the_same_bytes(sample: Project, tiers: Tiers, lab_fit: Fit) -> None:
    assert kubernetes_bundle(sample, tiers, lab_fit) == kubernetes_bundle(sample, tiers, lab_fit)
    assert swarm_bundle(sample, tiers, lab_fit) == swarm_bundle(sample, tiers, lab_fit)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"policies": True, "probe_access": True},
        {"replicas": 2, "pin_nodes": (), "policies": True},
        {"replicas": None, "entry": "ingress", "pin_nodes": (), "ingress_domain": "example.com"},
        {"wait_image": "busybox:1.37"},
    ],
)
def test_our_own_manifests_pass_the_lint(
    sample: Project, tiers: Tiers, lab_fit: Fit, change: dict[str, Any]
) -> None:
    versioned = replace(
        lab_fit,
        images={pattern: f"{image}:1" for pattern, image in lab_fit.images.items()},
        substitutes={name: Substitute(f"{item.image}:1") for name, item in lab_fit.substitutes.items()},
    )
    assert not lint_texts(dict(kubernetes_bundle(sample, tiers, replace(versioned, **change))[0].files))


def test_the_lint_would_see_a_trap_in_them(sample: Project, tiers: Tiers, lab_fit: Fit) -> None:
    patches = (
        Patch("Service", "hubspot", "spec.sessionAffinity", "None"),
        Patch("NetworkPolicy", "default-deny-but-dns", "spec.egress", []),
    )
    fit = replace(lab_fit, replicas=2, pin_nodes=(), policies=True, patches=patches)
    rules = {finding.rule for finding in lint_texts(dict(kubernetes_bundle(sample, tiers, fit)[0].files))}
    assert {"sessions-without-affinity", "network-policy-denies-dns"} <= rules


def test_docker_accepts_the_stack(sample: Project, tiers: Tiers, lab_fit: Fit, tmp_path: Path) -> None:
    (tmp_path / "stack.yml").write_text(swarm_bundle(sample, tiers, lab_fit).files["stack.yml"])
    try:
        done = subprocess.run(
            ["docker", "stack", "config", "-c", "stack.yml"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no docker command here")
    if "unknown" in done.stderr or "is not a docker command" in done.stderr:
        pytest.skip("this docker has no `stack config`")
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == set(sample.services)


# -- fitting -----------------------------------------------------------------------------------


def test_several_copies_spread_over_nodes(sample: Project, tiers: Tiers) -> None:
    fit = Fit(replicas=2, pin_nodes=("a", "b"), entry="node")
    pod = objects(sample, tiers, fit)["Deployment/hubspot"]["spec"]["template"]["spec"]
    assert "nodeSelector" not in pod
    assert "podAntiAffinity" in pod["affinity"]
    deploy = stack(sample, tiers, fit)["services"]["hubspot"]["deploy"]
    assert deploy["placement"] == {"max_replicas_per_node": 1}
    assert objects(sample, tiers, fit)["Service/hubspot"]["spec"]["sessionAffinity"] == "ClientIP"


def test_overrides_by_service(sample: Project, tiers: Tiers) -> None:
    fit = Fit(
        cpus=0.5, services={"redis": ServiceFit(replicas=3, cpus=2, memory="1G")}, pin={"hubspot": "gpu1"}
    )
    found = objects(sample, tiers, fit)
    redis = found["StatefulSet/redis"]["spec"]
    assert redis["replicas"] == 3
    assert redis["template"]["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "2", "memory": "1Gi"}
    hubspot = found["Deployment/hubspot"]["spec"]["template"]["spec"]
    assert hubspot["nodeSelector"] == {"kubernetes.io/hostname": "gpu1"}
    with pytest.raises(InputError, match="hubspot: several copies are pinned to one node"):
        kubernetes_bundle(sample, tiers, Fit(entry="node", pin={"hubspot": "gpu1"}))
    for wrong in (
        Fit(pin={"no": "x"}),
        Fit(services={"no": ServiceFit()}),
        Fit(substitutes={"no": Substitute("x")}),
    ):
        with pytest.raises(InputError, match="no, which the compose files do not have"):
            kubernetes_bundle(sample, tiers, wrong)


def test_a_substitute_has_image_command_and_environment(load: Load) -> None:
    project = load(HEAD + "    command: serve\n    environment: [A=1]\n")
    fit = Fit(substitutes={"web": Substitute("mine", ("run",), {"B": "2"})})
    box = objects(project, NONE, fit)["Deployment/web"]["spec"]["template"]["spec"]["containers"][0]
    assert (box["image"], box["args"]) == ("mine", ["run"])
    assert {entry["name"]: entry["value"] for entry in box["env"]} == {"A": "1", "B": "2"}
    service = stack(project, NONE, fit)["services"]["web"]
    assert (service["image"], service["command"], service["environment"]) == (
        "mine",
        ["run"],
        {"A": "1", "B": "2"},
    )


def test_reservations_stay_below_fitted_limits(load: Load) -> None:
    text = (
        HEAD + "    deploy: {resources: {limits: {cpus: '3', memory: 8G}, reservations: {cpus: '2', "
        "memory: 4G}}}\n"
    )
    project, fit = load(text), Fit(cpus=0.5, memory="256M")
    box = objects(project, NONE, fit)["Deployment/web"]["spec"]["template"]["spec"]["containers"][0]
    both = {"cpu": "500m", "memory": "256Mi"}
    assert box["resources"] == {"requests": both, "limits": both}
    kept = stack(project, NONE, fit)["services"]["web"]["deploy"]["resources"]["reservations"]
    assert kept == {"cpus": "0.5", "memory": "268435456b"}


def test_patches(sample: Project, tiers: Tiers) -> None:
    patch = Patch("Service", "hubspot", "spec.ports[0].targetPort", 1)
    assert (
        objects(sample, tiers, Fit(patches=(patch,)))["Service/hubspot"]["spec"]["ports"][0]["targetPort"]
        == 1
    )
    for wrong in (
        Patch("Service", "no", "spec", 1),
        Patch("Service", "hubspot", "spec.no.x", 1),
        Patch("Service", "hubspot", "spec.ports[9]", 1),
    ):
        with pytest.raises(InputError, match="the patch of Service"):
            kubernetes_bundle(sample, tiers, Fit(patches=(wrong,)))


# -- single keys -------------------------------------------------------------------------------


def test_commands_are_escaped(load: Load) -> None:
    project = load(
        HEAD
        + "    entrypoint: sh -c\n    command: ['echo $$(hostname) $${X}']\n    environment: ['A=$$(B)']\n"
    )
    box = container(project)
    assert box["command"] == ["sh", "-c"]
    assert box["args"] == ["echo $$(hostname) ${X}"]
    assert box["env"][0]["value"] == "$$(B)"
    service = stack(project)["services"]["web"]
    assert service["command"] == ["echo $$(hostname) $${X}"]
    assert service["environment"] == {"A": "$$(B)"}


def test_secrets_in_plain_sight_move(load: Load) -> None:
    project = load(
        HEAD + "    environment: [DB_PASSWORD=hunter2, 'URL=postgres://u:hunter3@db/x', TOKEN_TTL=60]\n"
    )
    bundle, losses = kubernetes_bundle(project, NONE, Fit())
    assert sorted(bundle.secrets.values()) == [b"hunter2", b"postgres://u:hunter3@db/x"]
    assert "hunter" not in str(bundle.files)
    assert "hunter" not in str(losses)
    entry = container(project)["env"][0]
    reference = entry["valueFrom"]["secretKeyRef"]
    applied = applied_secret("web-DB_PASSWORD", b"", "n")
    assert reference["name"] == applied["metadata"]["name"]
    assert list(applied["data"]) == [reference["key"]]


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("POSTGRES_PASSWORD", "x", True),
        ("API_KEY", "x", True),
        ("GITHUB_TOKEN", "x", True),
        ("SECRET", "x", True),
        ("POSTGRES_PASSWORD_FILE", "/run/secrets/x", False),
        ("PASSWORD", "", False),
        ("KEYBOARD", "x", False),
        ("MONKEY", "x", False),
        ("URL", "http://u:p@h", True),
        ("URL", "http://u@h", False),
        ("TOKEN_URL", "http://x", False),
        ("PGPASSWORD", "x", True),
        ("dbPassword", "x", True),
        ("ENCRYPTION_KEY", "x", True),
        ("GITHUB_PAT", "x", True),
        ("SECRET", "/3fj+aa==", True),
        ("SECRET", "/run/secrets/x", False),
        ("ALLOW_EMPTY_PASSWORD", "yes", False),
        ("MAX_TOKENS", "4096", False),
        ("COMPASS", "x", False),
        ("PATTERN", "x", False),
        ("DB", "postgres://u:p/w@h/x", True),
        ("DB", "Server=h;User=u;Password=x", True),
        ("HOOK", "https://hooks.slack.com/services/T0/B0/x", True),
        ("ANY", "xoxb-1234567890-abcdef", True),
        ("ANY", "-----BEGIN RSA PRIVATE KEY-----", True),
        ("ANY", "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl", True),
        ("ANY", "sketch-of-something-long-enough", False),
        ("REDIS_URL", "redis://redis:6379", False),
        ("QUERY", "a=b&c=d", False),
    ],
)
def test_what_counts_as_a_secret(name: str, value: str, secret: bool) -> None:
    assert is_secret(name, value) is secret


def test_secrets_that_would_share_a_name(load: Load) -> None:
    text = "services:\n  web: {image: x, environment: [DB_TOKEN=one1]}\n"
    text += "  web-db: {image: x, environment: [TOKEN=two2]}\n"
    with pytest.raises(InputError, match="web-DB_TOKEN and web-db-TOKEN are both Secret/web-db-token"):
        kubernetes_bundle(load(text), NONE, Fit())


def test_a_file_with_a_password_goes_as_a_secret(load: Load, tmp_path: Path) -> None:
    (tmp_path / "redis.conf").write_text("maxmemory 2gb\nrequirepass hunter2\n")
    (tmp_path / "plain.conf").write_text("maxmemory 2gb\n")
    volumes = "['./redis.conf:/etc/redis.conf:ro', './plain.conf:/etc/plain.conf:ro']"
    project = load(HEAD + f"    volumes: {volumes}\n")
    bundle, losses = kubernetes_bundle(project, NONE, Fit())
    assert "hunter2" not in str(bundle.files)
    assert bundle.secrets == {"web-redis.conf": b"maxmemory 2gb\nrequirepass hunter2\n"}
    assert objects(project)["ConfigMap/web-files-1"]["data"] == {"plain.conf": "maxmemory 2gb\n"}
    mounts = container(project)["volumeMounts"]
    assert [(mount["mountPath"], mount["subPath"]) for mount in mounts] == [
        ("/etc/redis.conf", "redis.conf"),
        ("/etc/plain.conf", "plain.conf"),
    ]
    assert "password" in next(loss.detail for loss in losses if loss.path.endswith("volumes[0]"))


def test_a_service_without_any_amount_requests_a_little(load: Load) -> None:
    assert container(load(HEAD))["resources"] == {"requests": {"cpu": "50m", "memory": "64Mi"}}
    limited = container(load(HEAD + "    mem_limit: 1g\n"))["resources"]
    assert limited == {"limits": {"memory": "1Gi"}, "requests": {"cpu": "50m"}}
    reserved = load(HEAD + "    deploy: {resources: {reservations: {cpus: '0.5', memory: 1G}}}\n")
    assert container(reserved)["resources"] == {"requests": {"cpu": "500m", "memory": "1Gi"}}


def test_templates_of_swarm(load: Load) -> None:
    text = (
        HEAD + "    environment: ['N={{.Node.Hostname}}', 'T=x-{{.Task.Name}}-y', 'S={{.Service.Name}}', "
        "'J={{ other }}']\n"
    )
    entries = container(load(text))["env"]
    assert entries[0] == {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    assert entries[1:3] == [
        {"name": "T_0", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "T", "value": "x-$(T_0)-y"},
    ]
    assert entries[3] == {"name": "S", "value": "web"}
    assert entries[4] == {"name": "J", "value": "{{ other }}"}


def test_kinds_of_workloads(load: Load) -> None:
    text = (
        "services:\n  a: {image: x}\n  b: {image: x, volumes: ['v:/v']}\n"
        "  c: {image: x, deploy: {mode: global}}\n"
        "  d: {image: x, deploy: {restart_policy: {condition: none}}}\n"
        "  e: {image: x, deploy: {mode: replicated-job, replicas: 3}}\n"
        "  f: {image: x, volumes: ['s:/s']}\n  g: {image: x, volumes: ['s:/s']}\nvolumes: {v: {}, s: {}}\n"
    )
    found = objects(load(text))
    others = ("Service/", "Namespace/", "ServiceAccount/", "PodDisruptionBudget/")
    titles = {title for title in found if not title.startswith(others)}
    assert titles == {
        "Deployment/a",
        "StatefulSet/b",
        "DaemonSet/c",
        "Job/d",
        "Job/e",
        "Deployment/f",
        "Deployment/g",
        "PersistentVolumeClaim/s",
    }
    assert found["StatefulSet/b"]["spec"]["volumeClaimTemplates"][0]["metadata"]["name"] == "v"
    assert found["Job/e"]["spec"]["completions"] == 3
    assert found["Job/d"]["spec"]["backoffLimit"] == 0


def test_renamed_services_are_followed(load: Load) -> None:
    text = (
        "services:\n  My_DB: {image: x, expose: ['1']}\n"
        "  web: {image: x, environment: ['A=tcp://My_DB:1/My_DB', 'B=My_DB:1,other:2', 'C=My_DB', "
        "'D=xMy_DB:1']}\n"
    )
    project = load(text)
    found = objects(project)
    assert "Deployment/my-db" in found
    values = [entry["value"] for entry in container(project)["env"]]
    assert values == ["tcp://my-db:1/My_DB", "my-db:1,other:2", "my-db", "xMy_DB:1"]
    assert stack(project)["services"]["my-db"]["networks"] == {"default": {"aliases": ["My_DB"]}}
    with pytest.raises(InputError, match="a_b and a-b both become a-b"):
        kubernetes_bundle(load("services: {a_b: {image: x}, a-b: {image: x}}"), NONE, Fit())


def test_names() -> None:
    assert [legal(name) for name in ("Web_1", "9lives", "-x-", "ü", "a" * 70)] == [
        "web-1",
        "s-9lives",
        "x",
        "unnamed",
        "a" * 63,
    ]
    assert follow_value("A", "redis://u@OLD:1", {"OLD": "new"}).text == "redis://u@new:1"
    assert secret_object("My_Secret.x") == "my-secret.x"


def test_services_by_port(load: Load) -> None:
    text = (
        "services:\n  a: {image: x, ports: ['8090:8080', '53:53/udp'], expose: ['9']}\n  b: {image: x}\n"
        "  c: {image: x, networks: {n: {aliases: [see]}}, expose: ['1']}\nnetworks: {n: {}}\n"
    )
    found = objects(load(text))
    assert found["Service/a"]["spec"]["type"] == "ClusterIP"
    assert [port["port"] for port in found["Service/a"]["spec"]["ports"]] == [8080, 53, 9]
    assert found["Service/a-entry"]["spec"]["type"] == "NodePort"
    assert [(port["port"], port["protocol"]) for port in found["Service/a-entry"]["spec"]["ports"]] == [
        (8080, "TCP"),
        (53, "UDP"),
    ]
    assert found["Service/b"]["spec"]["clusterIP"] == "None"
    assert found["Service/see"]["spec"]["selector"] == found["Service/c"]["spec"]["selector"]
    clash = (
        "services:\n  a: {image: x, ports: ['1:1'], expose: ['2']}\n"
        "  b: {image: x, networks: {n: {aliases: [a-entry]}}}\nnetworks: {n: {}}\n"
    )
    with pytest.raises(InputError, match="Service/a-entry"):
        objects(load(clash))


def test_files_go_along(load: Load, tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.conf").write_text("a $x\n")
    (tmp_path / "one.conf").write_text("one\n")
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "server.key").write_text("PRIVATE")
    project = load(
        HEAD + "    volumes: ['./one.conf:/etc/one.conf:ro', './conf.d:/etc/conf.d', './tls:/tls:ro', "
        "'./gone:/gone',"
        " '/var/run/docker.sock:/var/run/docker.sock', '/srv:/srv']\n"
    )
    bundle, losses = kubernetes_bundle(project, NONE, Fit())
    outcomes = {
        loss.path.rpartition(".")[2]: loss.outcome.value for loss in losses if ".volumes[" in loss.path
    }
    assert outcomes == {
        "volumes[0]": "converted",
        "volumes[1]": "approximated",
        "volumes[2]": "approximated",
        "volumes[3]": "refused",
        "volumes[4]": "dropped",
        "volumes[5]": "approximated",
    }
    assert bundle.secrets == {"web-server.key": b"PRIVATE"}
    assert "PRIVATE" not in str(bundle.files)
    assert objects(project)["ConfigMap/web-files-0"]["data"] == {"one.conf": "one\n"}
    with pytest.raises(InputError, match=r"\./gone is not there"):
        swarm_bundle(project, NONE, Fit())


def test_files_go_along_on_swarm_too(load: Load, tmp_path: Path) -> None:
    (tmp_path / "one.conf").write_text("one $x\n")
    bundle = swarm_bundle(load(HEAD + "    volumes: ['./one.conf:/etc/one.conf:ro']\n"), NONE, Fit())
    body = yaml.safe_load(bundle.files["stack.yml"])
    (config,) = body["services"]["web"]["configs"]
    assert config["target"] == "/etc/one.conf"
    assert bundle.files[body["configs"][config["source"]]["file"].removeprefix("./")] == "one $x\n"


def test_secrets_and_configs(load: Load, tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"value\n")
    text = HEAD + (
        "    secrets: [s, {source: s, target: /etc/s, mode: 0400}, out]\n"
        "    configs: [{source: c, target: /etc/c}]\n"
        "secrets: {s: {file: ./s}, out: {external: true, name: outer}}\nconfigs: {c: {content: hello}}\n"
    )
    project = load(text)
    pod = objects(project)["Deployment/web"]["spec"]["template"]["spec"]
    mounts = {item["mountPath"]: item for item in pod["containers"][0]["volumeMounts"]}
    assert set(mounts) == {"/run/secrets", "/etc/s", "/etc/c"}
    assert kubernetes_bundle(project, NONE, Fit())[0].secrets == {"s": b"value\n"}
    body = stack(project)
    assert body["secrets"] == {"s": {}, "out": {"external": True, "name": "outer"}}
    assert objects(project)["ConfigMap/web-c"]["data"] == {"c": "hello"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("node.role == manager", {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}),
        ("node.role!=manager", {"key": "node-role.kubernetes.io/control-plane", "operator": "DoesNotExist"}),
        ("node.hostname == a", {"key": "kubernetes.io/hostname", "operator": "In", "values": ["a"]}),
        ("node.labels.gpu != no", {"key": "gpu", "operator": "NotIn", "values": ["no"]}),
        (
            "node.platform.arch == x86_64",
            {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]},
        ),
        ("node.id == x", None),
        ("nonsense", None),
    ],
)
def test_constraints(text: str, wanted: object) -> None:
    assert requirement(text) == wanted


def test_probes_name_the_port_as_the_container_does(load: Load) -> None:
    text = HEAD + (
        "    ports: [{target: 80, name: Web_Port}, {target: 53, protocol: udp}]\n"
        "    healthcheck: {test: [CMD, curl, -f, 'http://localhost:80/health']}\n"
    )
    box = container(load(text))
    assert [port["name"] for port in box["ports"]] == ["web-port", "udp-53"]
    assert box["readinessProbe"]["httpGet"]["port"] == "web-port"
    assert objects(load(text))["Service/web"]["spec"]["ports"][0]["targetPort"] == "web-port"


def test_updates(load: Load) -> None:
    def strategy(body: str) -> object:
        text = HEAD + f"    deploy: {{replicas: 3, update_config: {body}}}\n"
        return objects(load(text))["Deployment/web"]["spec"]["strategy"]["rollingUpdate"]

    assert strategy("{parallelism: 2}") == {"maxSurge": 0, "maxUnavailable": 2}
    assert strategy("{parallelism: 0}") == {"maxSurge": 0, "maxUnavailable": "100%"}
    assert strategy("{order: start-first}") == {"maxSurge": 1, "maxUnavailable": 0}


def test_updates_are_told_as_they_are(load: Load) -> None:
    def told(service: str, deploy: str) -> dict[str, tuple[str, str]]:
        text = f"services:\n  web: {{image: x, {service}deploy: {deploy}}}\nvolumes: {{v: {{}}}}\n"
        losses = kubernetes_bundle(load(text), NONE, Fit())[1]
        return {loss.path.rpartition(".")[2]: (loss.outcome.value, loss.detail) for loss in losses}

    change = "update_config: {parallelism: 2, order: start-first, delay: 5s}"
    plain = told("", f"{{replicas: 3, {change}}}")
    assert plain["parallelism"][0] == plain["order"][0] == "converted"
    stateful = told("volumes: ['v:/v'], ", f"{{replicas: 3, {change}}}")
    assert stateful["order"][0] == "approximated"
    assert "one pod at a time" in stateful["parallelism"][1]
    job = told("", f"{{mode: replicated-job, {change}}}")
    assert job["order"][0] == job["delay"][0] == "dropped"
    assert told("", "{mode: global-job}")["mode"][0] == "refused"
    assert told("", f"{{mode: global, {change}}}")["delay"][0] == "dropped"
    assert told("", "{restart_policy: {condition: unless-stopped}}")["condition"][0] == "converted"


EVERYTHING = """
services:
  web:
    image: example.com/web:1
    user: '1000:1000'
    read_only: true
    cap_drop: [ALL]
    cap_add: [CHOWN]
    security_opt: [no-new-privileges]
    ports: ['8080:80', '127.0.0.1:9:9', '53:53/udp']
    networks: {front: {aliases: [www]}, back: null}
    environment: [DB_PASSWORD=hunter2x, 'API=http://api:8000', 'N={{.Node.Hostname}}']
    depends_on: {api: {condition: service_healthy}, migrate: {condition: service_completed_successfully}}
    labels:
      traefik.http.routers.w.rule: Host(`a.example.com`) && PathPrefix(`/x`)
      traefik.http.routers.w.tls: 'true'
      traefik.http.services.w.loadbalancer.server.port: '81'
    healthcheck: {test: curl -f http://localhost:80/health, interval: 5s}
    deploy: {replicas: 3, update_config: {parallelism: 2, order: start-first, delay: 3s}}
    x-gonogo: {autoscale: {min: 2, max: 5}}
  api:
    image: example.com/api:1
    networks: [back]
    tmpfs: ['/tmp:size=16m']
    shm_size: 64m
    command: ['serve', '--token=hunter2x']
    healthcheck: {test: [CMD, ping, '--password=hunter2x']}
    deploy:
      replicas: 2
      resources: {reservations: {generic_resources: [{discrete_resource_spec: {kind: NVIDIA-GPU, value: 1}}]}}
      placement: {constraints: [node.labels.gpu == true, node.role == manager]}
  db:
    image: postgres:16
    networks: [back]
    volumes: ['data:/data']
    environment: [VIRTUAL_HOST=db.example.com]
  agent: {image: 'example.com/agent:1', deploy: {mode: global}, volumes: ['cache:/cache', '/proc:/host:ro']}
  migrate:
    image: example.com/migrate:1
    restart: 'no'
    networks: [back]
    configs: [{source: c, target: /c}]
networks: {front: {}, back: {internal: true}}
volumes: {data: {}, cache: {}}
configs: {c: {content: 'requirepass hunter2x'}}
"""


@pytest.mark.parametrize("fit", [Fit(), Fit(policies=True, probe_access=True, wait_image="busybox:1.37")])
def test_everything_at_once_is_valid_and_the_same_twice(load: Load, fit: Fit) -> None:
    project = load(EVERYTHING)
    bundle, losses = kubernetes_bundle(project, NONE, fit)
    assert check_texts(dict(bundle.files)) > 20
    assert (bundle, losses) == kubernetes_bundle(load(EVERYTHING), NONE, fit)
    assert "hunter2x" not in str(bundle.files) + str(losses)
    found = objects(project, NONE, fit)
    kinds = {title.partition("/")[0] for title in found}
    assert kinds >= {
        "Deployment", "StatefulSet", "DaemonSet", "Job", "Service", "ServiceAccount", "PodDisruptionBudget",
        "HorizontalPodAutoscaler", "Ingress",
    }  # fmt: skip
    assert ("NetworkPolicy" in kinds) == (fit.policies is True)
    web = found["Deployment/web"]["spec"]["template"]["spec"]
    assert web["containers"][0]["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]},
        "allowPrivilegeEscalation": False,
    }
    assert (web["securityContext"]["runAsUser"], web["securityContext"]["runAsGroup"]) == (1000, 1000)
    api = found["Deployment/api"]["spec"]["template"]["spec"]
    amounts = api["containers"][0]["resources"]
    assert amounts["limits"]["nvidia.com/gpu"] == amounts["requests"]["nvidia.com/gpu"] == 1
    assert api["runtimeClassName"] == "nvidia"
    targets = " ".join(loss.target for loss in losses)
    for kind in ("Ingress/web", "HorizontalPodAutoscaler/web", "Secret/web-db-password", "Job/migrate"):
        assert kind in targets


def test_gpus(load: Load) -> None:
    text = HEAD + (
        "    deploy: {resources: {limits: {memory: 8G}, reservations: {devices: "
        "[{driver: nvidia, count: 2, capabilities: [gpu]}, {driver: x, capabilities: [tpu]}]}}}\n"
    )
    project = load(text)
    resources = container(project)["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == 2
    _, losses = kubernetes_bundle(project, NONE, Fit())
    assert [loss.path for loss in losses if loss.outcome == "refused"] == [
        "services.web.deploy.resources.reservations.devices[1]"
    ]


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ("gpus: all", 1),
        ("gpus: [{count: 2}, {driver: nvidia, device_ids: ['1']}]", 3),
        ("gpus: [{count: all}, {count: 2}]", 1),
        ("deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}", 1),
        ("deploy: {resources: {reservations: {devices: [{capabilities: [gpu], count: 0}]}}}", None),
        (
            (
                "deploy: {resources: {reservations: {devices: "
                "[{capabilities: [gpu], device_ids: ['0', '1']}, {capabilities: [gpu], count: 1}]}}}"
            ),
            3,
        ),
        # the same GPU, told to `docker compose` and to Swarm
        (
            (
                "deploy: {resources: {reservations: {devices: [{capabilities: [gpu], count: 2}], "
                "generic_resources: [{discrete_resource_spec: {kind: gpu, value: 2}}]}}}"
            ),
            2,
        ),
        (
            (
                "deploy: {resources: {reservations: {devices: [{capabilities: [gpu], count: all}], "
                "generic_resources: [{discrete_resource_spec: {kind: gpu, value: 4}}]}}}"
            ),
            4,
        ),
    ],
)
def test_how_many_gpus(load: Load, asked: str, count: int | None) -> None:
    project = load(f"{HEAD}    {asked}\n")
    assert project.services["web"].deploy.reservations.gpu_count == (count or 0)
    resources = container(project).get("resources", {})
    assert resources.get("limits", {}).get("nvidia.com/gpu") == count
    assert resources["requests"].get("nvidia.com/gpu") == count
    bundle, losses = kubernetes_bundle(project, NONE, Fit())
    assert check_texts(dict(bundle.files))
    assert ("runtimeClassName: nvidia" in str(bundle.files)) == bool(count)
    told = [loss.outcome.value for loss in losses if "gpu" in loss.target.lower()]
    all_of_them = project.services["web"].deploy.reservations.gpus
    assert all_of_them
    assert set(told) == {"approximated" if all_of_them.value < 0 else "converted"}
    stack = yaml.safe_load(swarm_bundle(project, NONE, Fit()).files["stack.yml"])
    kept = stack["services"]["web"]["deploy"].get("resources", {}).get("reservations", {})
    wanted = [{"discrete_resource_spec": {"kind": "NVIDIA-GPU", "value": count}}] if count else None
    assert kept.get("generic_resources") == wanted


def test_keys_that_exclude_each_other(load: Load) -> None:
    project = load(HEAD + "    privileged: true\n    security_opt: [no-new-privileges]\n    init: true\n")
    bundle, losses = kubernetes_bundle(project, NONE, Fit())
    assert check_texts(dict(bundle.files))
    assert container(project)["securityContext"] == {"privileged": True}
    assert objects(project)["Deployment/web"]["spec"]["template"]["spec"]["shareProcessNamespace"] is True
    outcomes = {loss.path: loss.outcome.value for loss in losses}
    assert outcomes["services.web.security_opt"] == outcomes["services.web.init"] == "approximated"


def test_other_keys(load: Load) -> None:
    text = HEAD + (
        "    user: '1000:1000'\n    working_dir: /w\n    hostname: h\n    stop_grace_period: 1m\n"
        "    read_only: true\n"
        "    cap_add: [NET_ADMIN]\n    cap_drop: [ALL]\n    tmpfs: ['/t:size=64m']\n"
        "    shm_size: 1g\n    dns: 1.1.1.1\n"
        "    extra_hosts: ['a:1.2.3.4']\n    sysctls: {net.core.somaxconn: 1024}\n"
        "    group_add: ['5']\n    pid: host\n"
        "    tty: true\n    security_opt: ['no-new-privileges:true']\n    mem_limit: 1g\n"
        "    ulimits: {nofile: 10}\n"
        "    labels: {'com.x/a b': v}\n    logging: {driver: json-file}\n    x-own: 1\n"
        "    devices: ['/dev/x:/dev/x']\n"
    )
    project = load(text)
    pod = objects(project)["Deployment/web"]["spec"]["template"]
    spec, box = pod["spec"], pod["spec"]["containers"][0]
    assert spec["securityContext"] == {
        "seccompProfile": {"type": "RuntimeDefault"},
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "sysctls": [{"name": "net.core.somaxconn", "value": "1024"}],
        "supplementalGroups": [5],
    }
    assert box["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
        "allowPrivilegeEscalation": False,
    }
    assert (spec["hostname"], spec["terminationGracePeriodSeconds"], spec["hostPID"]) == ("h", 60, True)
    assert spec["hostAliases"] == [{"ip": "1.2.3.4", "hostnames": ["a"]}]
    assert {volume["emptyDir"]["sizeLimit"] for volume in spec["volumes"]} == {"64Mi", "1Gi"}
    assert box["resources"]["limits"] == {"memory": "1Gi"}
    assert pod["metadata"]["annotations"] == {"com.x/a-b": "v"}
    _, losses = kubernetes_bundle(project, NONE, Fit())
    assert {loss.path for loss in losses if loss.outcome == "refused"} == {"services.web.devices"}
