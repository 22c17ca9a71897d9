"""The converter against the lab: its API server judges the manifests, and the production file gets healthy.

They use the lab that is up, else bring one up and take it down. They cannot share one with
`test_lab_run`: its tests count what a lab leaves behind, so they begin on a machine without any.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioners.compose import Fit, convert, kubernetes_bundle, load_project
from provisioners.compose.lint_view import as_kubernetes_reads, read_manifests
from provisioners.compose.losses import count_keys
from provisioners.compose.validate import object_problems
from provisioners.compose.validate_names import amount
from provisioners.errors import ProvisionError
from provisioners.kube import Kube, Object, open_kube
from provisioners.kube_apply import RUN_LABEL, secret_object
from provisioners.tiers import Tiers, load_tiers
from tests.compose.test_validate import unaccounted
from tests.production import NAMESPACE, SERVICES, production_config
from tests.test_lab_run import gonogo
from verbs.samples import SAMPLES

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]

HERE = Path(__file__).resolve().parent
REAL = HERE / "compose" / "files" / "real"
FIXTURES = HERE / "compose" / "lint"
ENV = {
    "DOCKER_REGISTRY": "registry.example.com/shop",
    "IMAGE_TAG": "1.4.2",
    "POSTGRES_PASSWORD": "not-a-real-one",
}
DRY = "gonogo-dry-run"
LOSSES = "losses.json"
_AT_ONCE = 6
# The API server takes these, and the pods fail later: a port name of a probe is looked up by the kubelet.
LATER = {"invalid-probe"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to run gonogo in, with the lab up; it is taken down unless it was up before."""
    folder = tmp_path_factory.mktemp("lab")
    was_up = gonogo(folder, "lab", "status").returncode == 0
    try:
        assert gonogo(folder, "lab", "up", timeout_s=2700).returncode == 0
        yield folder
    finally:
        if not was_up:
            gonogo(folder, "lab", "down")


@pytest.fixture(scope="module")
def kube(lab: Path) -> Iterator[Kube]:
    """The lab's API server, with a namespace in which nothing is kept."""
    from provisioners.lab.lab import Lab

    cluster = Lab.current().cluster()
    assert cluster.kubeconfig is not None
    found = open_kube(cluster.kubeconfig, cluster.kube_context)
    body = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": DRY, "labels": {RUN_LABEL: "test"}},
    }
    path = f"/api/v1/namespaces/{DRY}"
    found.apply(path, body)
    try:
        yield found
    finally:
        found.delete(path)


def dry_run(kube: Kube, body: Object) -> Object:
    """Return the object as the server would keep it; every object goes into the test's namespace."""
    resource = kube.resource(body["apiVersion"], body["kind"])
    metadata = dict(body["metadata"])
    if resource.namespaced:
        metadata["namespace"] = DRY
    where = DRY if resource.namespaced else None
    return kube.apply(resource.path(where, metadata["name"]), {**body, "metadata": metadata}, dry_run=True)


def all_taken(kube: Kube, bodies: list[Object]) -> int:
    """Assert that the server would keep all objects as they are, several asked at once; return how many."""

    def wrong(body: Object) -> str:
        title = f"{body['kind']} {body['metadata']['name']}"
        try:
            kept = dry_run(kube, body)
        except ProvisionError as error:
            return f"{title}: {error.why}"
        parts = () if body["kind"] == "Namespace" else ("spec", "data")
        alike = all(kept_alike(body[part], kept.get(part)) for part in parts if part in body)
        return "" if alike else f"{title}: it would be kept otherwise"

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        assert [line for line in pool.map(wrong, bodies) if line] == []
    return len(bodies)


def kept_alike(sent: object, kept: object) -> bool:
    """Whether everything that was sent is in what the server would keep (it adds defaults)."""
    if isinstance(sent, dict):
        return isinstance(kept, dict) and all(kept_alike(value, kept.get(key)) for key, value in sent.items())
    if isinstance(sent, list):
        return isinstance(kept, list) and len(sent) == len(kept) and all(map(kept_alike, sent, kept))
    if sent == kept or (kept is None and sent in ({}, [], False, 0, "")):
        return True
    return amount(sent) is not None and amount(sent) == amount(kept)  # 0.25 is kept as 250m


FITS = {
    "as it is": Fit(),
    "two copies on node ports": Fit(replicas=2, entry="node"),
    "policies and hosts": Fit(policies=True, ingress_domain="example.com"),
}


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
@pytest.mark.parametrize("name", ["mcp-orchestrator", "production", "ai-core", "data-pipeline"])
def test_the_api_server_takes_the_manifests(kube: Kube, name: str, fit: Fit, tmp_path: Path) -> None:
    tiers = Tiers(DRY, *_rows()) if name == "mcp-orchestrator" else Tiers(DRY)
    strict = name in {"mcp-orchestrator", "production"}
    project = load_project(
        [REAL / f"docker-compose-{name}.yml"], env=ENV, duplicates="error" if strict else "last"
    )
    bundle, losses = kubernetes_bundle(project, tiers, fit)
    bodies = [
        body for text in bundle.files.values() for body in yaml.load_all(text, yaml.CSafeLoader) if body
    ]
    bodies += [secret_object(key, value, DRY) for key, value in bundle.secrets.items()]
    assert len(bodies) > len(project.services) * 2
    assert all_taken(kube, bodies) == len(bodies)
    assert count_keys(project) > 100
    assert unaccounted(project, losses) == []


def _rows() -> tuple[Any, Any]:
    """The sample's table without the services that the overlay brings."""
    tiers = load_tiers(SAMPLES / "tiers.yaml")
    return tiers.servers, tiers.parts


def test_nothing_was_kept(kube: Kube) -> None:
    for version, kind in (
        ("apps/v1", "Deployment"),
        ("v1", "Secret"),
        ("v1", "Service"),
    ):
        assert kube.list_all(kube.resource(version, kind).path(DRY)).items == ()


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.sound.yaml")), ids=lambda path: path.name)
def test_the_server_takes_every_sound_fixture(kube: Kube, path: Path) -> None:
    for body in _bodies(path):
        if _is_served(body):
            dry_run(kube, body)


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("invalid-*.broken.yaml")), ids=lambda path: path.name)
def test_the_server_refuses_what_the_validation_refuses(kube: Kube, path: Path) -> None:
    bad = [body for body in _bodies(path) if object_problems(body)]
    assert bad
    for body in bad:
        if path.name.partition(".")[0] in LATER:
            dry_run(kube, body)
            continue
        with pytest.raises(ProvisionError):
            dry_run(kube, body)


def _bodies(path: Path) -> list[Object]:
    manifests, _, unreadable = read_manifests({path.name: path})
    assert not unreadable
    return [as_kubernetes_reads(one.root) for one in manifests if one.kind]


def _is_served(body: Object) -> bool:
    """Kinds of operators that the lab does not bring have no one to judge them."""
    return not body["apiVersion"].startswith(("velero.io/", "monitoring.coreos.com/"))


def test_the_production_file_gets_healthy_on_both_sides(lab: Path, tmp_path: Path) -> None:
    config = production_config(tmp_path)
    done = gonogo(tmp_path, "deploy", "--target", str(config), "--json", timeout_s=1200)
    rows = {row["side"]: row for row in json.loads(done.stdout)}
    assert set(rows) == {"swarm", "kubernetes"}
    for row in rows.values():
        assert (row["ready"], row["failed"]) == (len(SERVICES), {})
    assert done.returncode == 0
    again = gonogo(tmp_path, "deploy", "--target", str(config), "--json", timeout_s=1200)
    assert [(row["created"], row["changed"]) for row in json.loads(again.stdout)] == [(0, 0), (0, 0)]


def test_its_servers_answer_and_its_password_is_checked(lab: Path, kube: Kube) -> None:
    pods = kube.list_all(f"/api/v1/namespaces/{NAMESPACE}/pods").items
    by_name = {pod["metadata"]["labels"]["app.kubernetes.io/name"]: pod["metadata"]["name"] for pod in pods}
    assert by_name.keys() == SERVICES
    ask = ["curl", "-fsS", "--max-time", "5", "http://sophia-backend:8000/health"]
    answered = kube.exec(NAMESPACE, by_name["mcp-gateway"], "mcp-gateway", ask, 20)
    assert answered.returncode == 0, answered.stderr
    query = [
        "env",
        "PGPASSWORD=wrong",
        "psql",
        "-h",
        "postgres",
        "-U",
        "sophia",
        "-c",
        "select 1",
        "sophia_ai",
    ]
    refused = kube.exec(NAMESPACE, by_name["postgres"], "postgres", query, 20)
    assert refused.returncode not in {0, None}
    assert "authentication failed" in refused.stderr


def test_a_server_that_its_check_does_not_find_is_named(lab: Path, tmp_path: Path) -> None:
    """The negative control of the tests above: it listens where nobody asks."""
    config = production_config(tmp_path)
    raw = yaml.safe_load(config.read_text(encoding="utf-8"))
    raw["substitutes"]["traefik"]["environment"] = {"PORT": "9999"}  # its check asks 8080
    raw["ready_timeout_s"] = 30  # all others are up already
    config.write_text(yaml.safe_dump(raw), encoding="utf-8")
    done = gonogo(
        tmp_path, "deploy", "--side", "kubernetes", "--target", str(config), "--json", timeout_s=600
    )
    (row,) = json.loads(done.stdout)
    assert done.returncode == 3
    assert set(row["failed"]) == {"traefik"}


def test_convert_writes_what_the_server_takes(kube: Kube, tmp_path: Path) -> None:
    result = convert([REAL / "docker-compose-mcp-orchestrator.yml"], tmp_path / "out", ENV, tiers=Tiers(DRY))
    texts = [(tmp_path / "out" / name).read_text(encoding="utf-8") for name in result.files if name != LOSSES]
    bodies = [body for text in texts for body in yaml.load_all(text, yaml.CSafeLoader)]
    assert all_taken(kube, bodies) > 20
