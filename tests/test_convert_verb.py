import json
from pathlib import Path

import pytest
import yaml

from provisioners.errors import InputError
from verbs.convert import convert_command

PLATFORM = """
services:
  sophia-backend:
    image: example.com/backend:1
    ports: ['8000:8000']
    environment: [DB_PASSWORD=hunter2x]
    depends_on: {redis: {condition: service_healthy}}
    healthcheck: {test: curl -f http://localhost:8000/health}
  mcp-gateway: {image: 'example.com/gateway:1', ports: ['8080:8080']}
  redis: {image: 'redis:7', expose: ['6379']}
"""


@pytest.fixture
def compose(tmp_path: Path) -> Path:
    path = tmp_path / "docker-compose.yml"
    path.write_text(PLATFORM)
    return path


def run(compose: Path, out: Path, **options: object) -> dict[str, dict[str, object]]:
    fixed: dict[str, object] = {"env_files": [], "duplicates": "error", "lint": None, "json_output": False}
    assert convert_command([compose], out, **{**fixed, **options}) == 0  # type: ignore[arg-type]
    return {
        f"{body['kind']}/{body['metadata']['name']}": body
        for path in sorted(out.rglob("*.yaml"))
        for body in yaml.safe_load_all(path.read_text())
    }


def test_policies_are_made_unless_refused(compose: Path, tmp_path: Path) -> None:
    found = run(compose, tmp_path / "out")
    assert {f"NetworkPolicy/{name}" for name in ("default-deny-but-dns", "redis", "mcp-gateway")} <= set(
        found
    )
    assert not [title for title in found if "probe" in title]
    found = run(compose, tmp_path / "other", policies=False)
    assert not [title for title in found if title.startswith("NetworkPolicy")]


def test_the_core_platform_goes_to_its_namespace(compose: Path, tmp_path: Path) -> None:
    found = run(compose, tmp_path / "out")
    assert found["Namespace/sophia-ai"]
    assert (tmp_path / "out" / "core" / "sophia-backend.yaml").is_file()
    assert (tmp_path / "out" / "backend" / "redis.yaml").is_file()
    mine = tmp_path / "tiers.yaml"
    mine.write_text("namespace: mine\nautoscale: {core: {max: 4}}\n")
    found = run(compose, tmp_path / "own", tiers=mine)
    assert found["Namespace/mine"]
    assert found["HorizontalPodAutoscaler/mcp-gateway"]


def test_a_domain_and_an_image_to_wait_with(compose: Path, tmp_path: Path) -> None:
    found = run(compose, tmp_path / "out", ingress_domain="apps.example.com", wait_image="busybox:1.37")
    assert found["Ingress/sophia-backend"]
    assert "wait-for-redis" in str(found["Deployment/sophia-backend"])
    with pytest.raises(InputError, match="is no domain"):
        run(compose, tmp_path / "other", ingress_domain="not a domain")
    assert not (tmp_path / "other").exists()


def test_no_secret_on_the_terminal_or_in_files(
    compose: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(compose, tmp_path / "out", json_output=True)
    shown = capsys.readouterr()
    assert json.loads(shown.out)
    assert "hunter2x" not in shown.out + shown.err
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in written if "hunter2x" in path.read_text()]


def test_the_same_bytes_twice(compose: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(compose, tmp_path / name, ingress_domain="example.com")
    for path in (tmp_path / "one").rglob("*"):
        if path.is_file():
            twin = tmp_path / "two" / path.relative_to(tmp_path / "one")
            assert path.read_bytes() == twin.read_bytes()
