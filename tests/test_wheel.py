"""The wheel: one name reaches site-packages, and what runs in the clone runs installed."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.wheel

ROOT = Path(__file__).resolve().parent.parent
NEEDED = (
    "gonogo/__init__.py",
    "gonogo/conftest.py",
    "gonogo/verbs/run.py",
    "gonogo/docs/runbooks/node-failure.md",
    "gonogo/reports/report.schema.json",
    "gonogo/reports/render/style.css",
    "gonogo/fixtures/manifests/docker-compose-mcp-orchestrator.yml",
    "gonogo/fixtures/manifests/tiers.yaml",
    "gonogo/fixtures/manifests/.env.example",
    "gonogo/fixtures/mcp_server/requirements.txt",
    "gonogo/provisioners/upstream/kubernetes/go.mod",
    "gonogo/provisioners/upstream/kubernetes/kubenode/main.go",
    "gonogo/provisioners/upstream/manifests/coredns.yaml",
    "gonogo/suites/tiers/test_servers.py",
    "gonogo/fixtures/gpu/go.mod",
    "gonogo/fixtures/gpu/main.go",
    "gonogo/provisioners/parts/manifests/gpu.yaml",
    "gonogo/provisioners/upstream/velero/s3plugin/main.go",
    "gonogo/reports/red_proofs.json",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return next(out.glob("gonogo-*.whl"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-compile",
        "--target",
        str(folder),
    ]
    subprocess.run([*command, str(wheel)], check=True, timeout=300)
    return folder


def installed(site: Path, cwd: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", "import gonogo; gonogo.main()", *argv],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=cwd,
        check=False,
        env={**os.environ, "PYTHONPATH": str(site), "GONOGO_STATE": str(cwd / "state"), "CI": "1"},
    )


def test_one_name_and_every_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"gonogo"}
    assert [name for name in NEEDED if name not in names] == []
    assert not [
        name
        for name in names
        if name.startswith("gonogo/tests/") or "__pycache__" in name or name.endswith(".whl")
    ]


def test_verbs_run_installed(site: Path, tmp_path: Path) -> None:
    assert installed(site, tmp_path, "--version").stdout.startswith("gonogo ")
    plan = installed(site, tmp_path, "plan", "--json")
    assert plan.returncode == 0, plan.stderr
    assert len(json.loads(plan.stdout)) > 60
    wrong = installed(site, tmp_path, "run", "--target", "nothing.yaml")
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr


def test_the_suites_run_installed(site: Path, tmp_path: Path) -> None:
    done = installed(site, tmp_path, "run", "--target", "noop", "-k", "test_every_mcp_server_is_healthy")
    assert done.returncode == 3, done.stderr
    rows = (tmp_path / "runs/latest/evidence.jsonl").read_text(encoding="utf-8")
    assert "test_every_mcp_server_is_healthy" in rows
    assert "FAIL" not in rows
    assert installed(site, tmp_path, "verify", "runs/latest").returncode == 0
