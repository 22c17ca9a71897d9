"""The main job end to end on the no-op target: every file of a run folder, and each exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

pytestmark = pytest.mark.noop

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = (
    "run.json", "config.json", "cluster.json", "workload.json", "criteria.jsonl", "evidence.jsonl",
    "losses.json", "fit.json", "steps.json", "report.json", "report.md", "report.html", "junit.xml",
    "MANIFEST.sha256", "load/windows.jsonl", "load/comparison.json",
    "manifests/kubernetes/bundle.json", "manifests/swarm/bundle.json",
)  # fmt: skip


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "GONOGO_STATE": str(folder / "state"), "CI": "1", **more}


def gonogo(folder: Path, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "gonogo.py"), *argv],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=folder,
        env=environment(folder, **env),
        check=False,
    )


def report_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "runs/latest/report.json").read_text(encoding="utf-8"))
    return found


def findings(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {finding["criterion"]: finding for finding in report["findings"]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("noop")
    return folder, gonogo(folder, "run", "--target", "noop")


def test_the_tour_ends_inconclusive_at_level_stub(whole: tuple[Path, Any]) -> None:
    folder, done = whole
    assert done.returncode == 3, done.stderr
    report = report_of(folder)
    assert (report["verdict"], report["level"], report["profile"]) == ("INCONCLUSIVE", "stub", "smoke")
    assert "stub" in report["headline"]
    by_id = findings(report)
    assert by_id["technical.servers"]["status"] == "PASS", by_id["technical.servers"]
    assert by_id["technical.servers"]["observed"] == 16
    not_passed = {
        name: finding["why"]
        for name, finding in by_id.items()
        if finding["blocking"] and finding["status"] != "PASS" and name != "performance.response"
    }
    # What is looked at on hosts over SSH, or through a kubeconfig, is not there on loopback.
    assert set(not_passed) == {"phase1.verify", "phase1.kubeconfig"}, not_passed
    assert {by_id[name]["status"] for name in not_passed} == {"NOT_RUN"}


def test_the_run_folder_is_whole_and_verifies(whole: tuple[Path, Any]) -> None:
    folder, done = whole
    run = folder / "runs/latest"
    assert [name for name in EXPECTED if not (run / name).exists()] == []
    assert done.stdout.strip() == str(run.resolve().relative_to(folder.resolve()))
    assert gonogo(folder, "verify", "runs/latest").returncode == 0
    schema = json.loads((ROOT / "reports/report.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(report_of(folder), schema)
    assert (run.resolve().stat().st_mode & 0o777) == 0o700


def test_no_criterion_without_evidence_or_a_reason(whole: tuple[Path, Any]) -> None:
    for finding in report_of(whole[0])["findings"]:
        assert finding["evidence"] or finding["why"], finding


def test_the_secret_is_nowhere_in_the_run(whole: tuple[Path, Any]) -> None:
    folder, _ = whole
    secret = (folder / "state/secrets/postgres_password").read_bytes()
    assert len(secret) > 20
    for path in (folder / "runs").rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert secret not in path.read_bytes(), path


def test_a_second_rendering_is_the_same_and_an_edit_is_found(whole: tuple[Path, Any], tmp_path: Path) -> None:
    folder, _ = whole
    run = folder / "runs/latest"
    before = {
        name: (run / name).read_bytes() for name in ("report.html", "report.json", "report.md", "junit.xml")
    }
    assert gonogo(folder, "report", "runs/latest").returncode == 3
    assert before == {name: (run / name).read_bytes() for name in before}
    evidence = run / "evidence.jsonl"
    kept = evidence.read_bytes()
    evidence.write_bytes(kept.replace(b"PASS", b"FAIL", 1))
    try:
        done = gonogo(folder, "verify", "runs/latest")
        assert done.returncode == 3
        assert "evidence.jsonl" in done.stdout
    finally:
        evidence.write_bytes(kept)


def test_nothing_is_left_running(whole: tuple[Path, Any]) -> None:
    listing = subprocess.run(
        ["ps", "-eo", "args"], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    assert str(whole[0]) not in listing
    assert gonogo(whole[0], "sweep").returncode == 0


def test_a_broken_server_is_a_no_go_that_names_it(tmp_path: Path) -> None:
    done = gonogo(tmp_path, "run", "--target", "noop", "-k", "servers", GONOGO_BREAK="server:github-v2")
    assert done.returncode == 1, done.stderr
    report = report_of(tmp_path)
    assert report["verdict"] == "NO-GO"
    servers = findings(report)["technical.servers"]
    assert servers["status"] == "FAIL"
    assert "github-v2" in servers["why"]
    assert "github-v2" in " ".join([report["headline"], *report["reasons"]])


def test_a_full_disk_ends_with_code_3_and_the_verdict_on_stdout(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "gonogo-test", runs], check=True, timeout=30)
    try:
        done = gonogo(tmp_path, "run", "--target", "noop", "-k", "namespaces")
    finally:
        subprocess.run(["umount", runs], check=True, timeout=30)
    assert done.returncode == 3, done.stderr
    assert "No space left on device" in done.stderr
    assert "INCONCLUSIVE" in done.stdout
    assert "Traceback" not in done.stderr
    assert (
        str(tmp_path)
        not in subprocess.run(
            ["ps", "-eo", "args"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
    )


@pytest.mark.parametrize(
    ("sign", "code", "phase"),
    [(signal.SIGINT, 130, "start"), (signal.SIGTERM, 143, "checks"), (signal.SIGINT, 130, "load")],
)
def test_an_interrupted_run_cleans_up_and_reports(
    tmp_path: Path, sign: signal.Signals, code: int, phase: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "gonogo.py"), "run", "--target", "noop"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        wait_for(tmp_path, phase)
        process.send_signal(sign)
        _, err = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == code, err
    report = report_of(tmp_path)
    assert report["verdict"] == "INCONCLUSIVE"
    assert gonogo(tmp_path, "verify", "runs/latest").returncode == 0
    assert "nothing to undo" in gonogo(tmp_path, "sweep").stderr


def wait_for(folder: Path, phase: str) -> None:
    wanted = {
        "start": "runs/latest/run.json",
        "checks": "runs/latest/logs/read-checks.log",
        "load": "runs/latest/samples/requests.bin",
    }
    deadline = time.monotonic() + 60
    while not (folder / wanted[phase]).exists():
        assert time.monotonic() < deadline, f"{wanted[phase]} did not appear within 60 s"
        time.sleep(0.05)
    time.sleep(0.3)
