"""The main job on the lab: a real Swarm and a real Kubernetes, whole, broken, killed and taken down.

The tests run in the order of this file on one lab, which the first brings up and the last takes down.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from verbs.config import load_config

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]

ROOT = Path(__file__).resolve().parent.parent
SHORT_LOAD = {"duration_s": 12, "warmup_s": 2}


def command(*argv: str) -> list[str]:
    return [sys.executable, str(ROOT / "gonogo.py"), *argv]


def gonogo(folder: Path, *argv: str, timeout_s: float = 900) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*argv),
        stdout=subprocess.PIPE,
        stderr=None,  # the steps are the progress of a test that takes minutes
        text=True,
        timeout=timeout_s,
        cwd=folder,
        check=False,
    )


def report_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "runs/latest/report.json").read_text(encoding="utf-8"))
    return found


def findings(folder: Path) -> dict[str, dict[str, Any]]:
    return {finding["criterion"]: finding for finding in report_of(folder)["findings"]}


def config_file(folder: Path, **changes: object) -> str:
    raw = load_config("lab").model_dump(mode="json", by_alias=True, exclude_none=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**raw, **changes}), encoding="utf-8")
    return str(path)


def machine() -> dict[str, set[str]]:
    """What a lab could leave behind: mounts, links, processes that are not children of this test."""
    mounts = {line.split()[1] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()}
    links = {link.name for link in Path("/sys/class/net").iterdir()}
    listing = subprocess.run(
        ["ps", "-eo", "args"], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    words = ("dockerd", "containerd", "kubenode", "kine", "docker-proxy", "fixtures.mcp_server")
    # A defunct one has ended; its parent, here often the init of the machine, has only not asked yet.
    alive = [line for line in listing.splitlines() if "<defunct>" not in line]
    processes = {line for line in alive if any(word in line for word in words)}
    return {"mounts": mounts, "links": links, "processes": processes}


@pytest.fixture(scope="module")
def before() -> dict[str, set[str]]:
    gonogo(ROOT, "lab", "down")
    return machine()


@pytest.fixture(scope="module")
def whole(
    before: dict[str, set[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, int]]:
    """One unbroken smoke run from nothing; the lab and its workloads stay for the tests after it."""
    folder = tmp_path_factory.mktemp("whole")
    try:
        yield folder, gonogo(folder, "run", "--target", "lab", "--keep", timeout_s=2700).returncode
    finally:
        gonogo(folder, "lab", "down")


def test_an_unbroken_smoke_run_is_go(whole: tuple[Path, int]) -> None:
    folder, code = whole
    report = report_of(folder)
    assert (report["verdict"], code) == ("GO", 0), report["reasons"]
    assert (report["profile"], report["level"]) == ("smoke", "lab-upstream")
    assert "GO (smoke, lab-upstream)" in report["headline"]
    by_id = findings(folder)
    assert by_id["technical.servers"]["observed"] == 16
    assert [name for name, one in by_id.items() if one["blocking"] and one["status"] != "PASS"] == []
    assert [name for name, one in by_id.items() if not one["evidence"] and not one["why"]] == []
    assert by_id["performance.network_latency"]["samples"] > 1000
    comparison = json.loads((folder / "runs/latest/load/comparison.json").read_text(encoding="utf-8"))
    assert {(one["name"], one["quantile"]) for one in comparison["endpoints"] if one["blocking"]} == {
        (name, quantile) for name in ("health", "tools/call") for quantile in (0.5, 0.95)
    }
    assert gonogo(folder, "verify", "runs/latest").returncode == 0


def test_the_lab_is_up_and_its_verbs_work(whole: tuple[Path, int]) -> None:
    folder, _ = whole
    assert gonogo(folder, "lab", "status").returncode == 0
    done = gonogo(folder, "lab", "ssh", "node2", "hostname")
    assert (done.returncode, done.stdout.strip()) == (0, "node2")
    assert gonogo(folder, "lab", "ssh", "node9").returncode == 2


def test_deploying_again_changes_nothing(whole: tuple[Path, int]) -> None:
    assert gonogo(whole[0], "deploy", "--target", "lab").returncode == 0  # takes over from the run
    done = gonogo(whole[0], "deploy", "--target", "lab", "--json")
    rows = json.loads(done.stdout)
    assert done.returncode == 0
    assert [(row["side"], row["created"], row["changed"]) for row in rows] == [
        ("swarm", 0, 0),
        ("kubernetes", 0, 0),
    ]
    assert all(row["ready"] >= 18 and row["unchanged"] > 0 for row in rows)


def test_a_server_on_a_wrong_port_is_a_no_go_that_names_it(tmp_path: Path) -> None:
    wrong = {
        "kind": "Deployment",
        "name": "github-v2",
        "path": "spec.template.spec.containers[0].env[2].value",
        "value": "9999",
    }
    config = config_file(tmp_path, patches=[wrong], load=SHORT_LOAD, ready_timeout_s=120)
    done = gonogo(tmp_path, "run", "--target", config)
    report = report_of(tmp_path)
    assert (report["verdict"], done.returncode) == ("NO-GO", 1)
    servers = findings(tmp_path)["technical.servers"]
    assert servers["status"] == "FAIL"
    assert "github-v2" in servers["why"]
    assert "github-v2" in " ".join([report["headline"], *report["reasons"]])
    logs = list((tmp_path / "runs/latest/logs/kubernetes").glob("github-v2*"))
    assert logs
    assert logs[0].stat().st_size > 0


def test_a_killed_locust_makes_the_comparison_invalid_and_nothing_else(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("run", "--target", config_file(tmp_path)), cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    try:
        os.kill(_locust_of(tmp_path, process), signal.SIGKILL)
        code = process.wait(timeout=600)
    finally:
        process.terminate()
    assert code == 3
    report = report_of(tmp_path)
    assert report["verdict"] == "INCONCLUSIVE"
    not_passed = {
        name: one["status"]
        for name, one in findings(tmp_path).items()
        if one["blocking"] and one["status"] != "PASS"
    }
    assert not_passed == {"performance.response": "INVALID"}
    assert "SIGKILL" in " ".join(report["reasons"])


def test_a_killed_run_is_finished_by_sweep(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("run", "--target", config_file(tmp_path)), cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    _wait_until((tmp_path / "runs/latest/manifests/kubernetes").exists, 300, "the deployment begins")
    time.sleep(10)
    process.kill()
    process.wait(timeout=30)
    assert "sophia" in gonogo(tmp_path, "lab", "ssh", "node1", "docker", "stack", "ls").stdout
    assert gonogo(tmp_path, "sweep").returncode == 0
    assert gonogo(tmp_path, "sweep").returncode == 0
    listing = gonogo(tmp_path, "lab", "ssh", "node1", "docker", "stack", "ls")
    assert "sophia" not in listing.stdout
    gone = gonogo(tmp_path, "lab", "ssh", "node1", "docker", "service", "ls", "-q")
    assert gone.stdout.strip() == ""


def test_a_terminated_run_cleans_up(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("run", "--target", config_file(tmp_path)), cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    deploying = tmp_path / "runs/latest/manifests/kubernetes"
    _wait_until(deploying.exists, 300, "the deployment begins")
    time.sleep(5)
    process.terminate()
    assert process.wait(timeout=180) == 143
    assert report_of(tmp_path)["verdict"] == "INCONCLUSIVE"
    listing = gonogo(tmp_path, "lab", "ssh", "node1", "docker", "service", "ls", "-q")
    assert listing.stdout.strip() == ""


def test_down_leaves_nothing_behind_and_the_report_renders_without_the_lab(
    before: dict[str, set[str]], whole: tuple[Path, int]
) -> None:
    folder, code = whole
    rendered = (folder / "runs/latest/report.html").read_bytes()
    assert gonogo(folder, "lab", "down").returncode == 0
    after = machine()
    left = {kind: after[kind] - before[kind] for kind in before}
    assert left == {"mounts": set(), "links": set(), "processes": set()}
    assert gonogo(folder, "lab", "status").returncode == 4
    assert gonogo(folder, "report", "runs/latest").returncode == code
    assert (folder / "runs/latest/report.html").read_bytes() == rendered
    assert gonogo(folder, "lab", "down").returncode == 0


def _locust_of(folder: Path, run: subprocess.Popen[Any]) -> int:
    """Wait until the run's Locust has sent requests; return its process id."""
    samples = folder / "runs/latest/samples/requests.bin"
    _wait_until(
        lambda: run.poll() is None and samples.exists() and samples.stat().st_size > 20_000,
        420,
        "Locust sends",
    )
    return _generators(run.pid)[0]


def _generators(run_pid: int) -> list[int]:
    """Return the Locust processes among the children of a run."""
    pids = [
        pid
        for listing in Path(f"/proc/{run_pid}/task").glob("*/children")
        for pid in listing.read_text(encoding="ascii").split()
    ]
    return [int(pid) for pid in pids if b"--headless" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def _wait_until(condition: Any, bound_s: float, what: str) -> None:
    deadline = time.monotonic() + bound_s
    while not condition():
        assert time.monotonic() < deadline, f"not seen within {bound_s:.0f} s: {what}"
        time.sleep(0.2)
