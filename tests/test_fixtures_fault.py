"""fixtures.fault, fixtures.probe and the kill: clocks, undo before the fault, and what is left open."""

from __future__ import annotations

import subprocess
import threading
import time
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast

import pytest

from fixtures.fault import Breaker, Recovery
from fixtures.faults import clocks, journal, kill_container
from fixtures.probe import Probe
from fixtures.target import RunInput
from provisioners.base import Cluster, Replica, Service, ServiceSpec, Side
from provisioners.targets import save_cluster, save_workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from provisioners.base import Target
    from reports.model import Undo

SPEC = ServiceSpec("asana-v2", "secondary", 1, (9004,), mcp=True)


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class OneService:
    """A target with one service that a kill takes away for `outage_s`, for good if None."""

    side = Side.SWARM

    def __init__(self, outage_s: float | None = 0.3, *, notices: bool = True) -> None:
        self.replica = Replica("a", SPEC.name, "node1", "127.0.0.1", ready=True)
        self.events: list[str] = []
        self._outage_s = outage_s
        self._notices = notices
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self.start()

    def start(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Page)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def kill(self, replica: Replica) -> None:
        self.events.append(f"kill {replica.id}")
        self.stop()
        if self._notices:
            self.replica = replace(self.replica, ready=False)
        if self._outage_s is not None:
            threading.Timer(self._outage_s, self._return).start()

    def _return(self) -> None:
        self.start()
        if self._notices:
            self.replica = replace(self.replica, id="b", ready=True, restarts=1)

    def replicas(self, service: str) -> Sequence[Replica]:
        assert service == SPEC.name
        return [self.replica]

    def services(self) -> Sequence[Service]:
        return [Service(SPEC.name, "secondary", 1, int(self.replica.ready), (9004,))]

    def url(self, service: str, port: int | None = None) -> str:
        del service, port
        return f"http://127.0.0.1:{self._port}"


@dataclass
class Ledger:
    target: OneService
    rows: list[Undo] = field(default_factory=list)

    def expect(self, criterion: str, check: str) -> None: ...

    def evidence(self, evidence: Any) -> None: ...

    def undo(self, undo: Undo) -> None:
        self.target.events.append(f"undo {'done' if undo.done else 'written'}")
        self.rows.append(undo)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "POLL_S", 0.02)
    monkeypatch.setattr(clocks, "SETTLE_S", 0.15)


def break_it(one: OneService, tmp_path: Path, wait_s: float = 3.0) -> tuple[Recovery, Ledger]:
    ledger = Ledger(one)
    run = RunInput(tmp_path, Cluster("noop", "stub"), (SPEC,))
    breaker = Breaker(run, ledger, wait_s)
    try:
        return breaker.kill_container(cast("Target", one), SPEC.name, 1), ledger
    finally:
        breaker.close()
        one.stop()


def test_three_clocks(tmp_path: Path) -> None:
    one = OneService(outage_s=0.3)
    seen, ledger = break_it(one, tmp_path)
    assert seen.detected_s is not None
    assert seen.ready_s is not None
    assert seen.client_s is not None
    assert seen.detected_s < 0.2
    assert 0.3 <= seen.ready_s < 1
    assert 0.3 <= seen.client_s < 1
    assert seen.slowest_s == max(seen.ready_s, seen.client_s)
    assert seen.failed_requests > 0
    assert "no connection" in seen.first_failure
    assert one.events == ["undo written", "kill a", "undo done"]
    assert ledger.rows[0].id == ledger.rows[1].id


def test_a_service_that_stays_down_leaves_its_undo_open(tmp_path: Path) -> None:
    one = OneService(outage_s=None)
    seen, ledger = break_it(one, tmp_path, wait_s=0.6)
    assert seen.slowest_s is None
    assert seen.running == ("ready", "client")
    assert [undo.done for undo in ledger.rows] == [False]


def test_an_orchestrator_that_never_notices_is_no_recovery(tmp_path: Path) -> None:
    seen, _ = break_it(OneService(outage_s=0.1, notices=False), tmp_path, wait_s=0.8)
    assert seen.client_s is not None
    assert seen.running == ("detected", "ready")


def test_a_broken_service_is_not_broken_further(tmp_path: Path) -> None:
    one = OneService()
    one.replica = replace(one.replica, ready=False)
    with pytest.raises(RuntimeError, match="0 of 1 replicas ready before the fault"):
        break_it(one, tmp_path)
    assert one.events == []


def test_a_client_without_an_answer_breaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks.until_answered, "__defaults__", (0.2,))
    one = OneService()
    one.stop()
    with pytest.raises(RuntimeError, match="no answer before the fault"):
        break_it(one, tmp_path)
    assert one.events == []


def test_a_target_that_cannot_kill_is_skipped(tmp_path: Path) -> None:
    class Plain:
        side = Side.SWARM

    breaker = Breaker(RunInput(tmp_path, Cluster("noop", "stub"), (SPEC,)), None, 1)
    with pytest.raises(pytest.skip.Exception, match="cannot kill"):
        breaker.kill_container(cast("Target", Plain()), SPEC.name, 1)


def test_cut_short_runs_the_undo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = OneService()
    ran: list[tuple[str, ...]] = []

    def fake_run(argv: tuple[str, ...], **_: object) -> Any:
        ran.append(argv)
        return type("Result", (), {"ok": True})()

    def interrupt(_: Replica) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(journal, "run", fake_run)
    monkeypatch.setattr(one, "kill", interrupt)
    with pytest.raises(KeyboardInterrupt):
        break_it(one, tmp_path)
    assert one.events == ["undo written", "undo done"]
    assert ran[0][1].endswith("kill_container.py")


@pytest.fixture
def page() -> Iterator[OneService]:
    one = OneService()
    yield one
    one.stop()


def test_probe_keeps_its_rate(page: OneService) -> None:
    with Probe(page.url(""), rate_per_s=50) as probe:
        time.sleep(0.5)
    assert 10 <= len(probe.asked) <= 27
    assert all(one.ok for one in probe.asked)


def test_probe_clock_waits_for_good(page: OneService) -> None:
    with Probe(page.url(""), rate_per_s=100, timeout_s=0.2) as probe:
        time.sleep(0.1)
        page.stop()
        began = time.monotonic()
        time.sleep(0.2)
        assert probe.first_success_after_outage(began) is None, "it does not answer"
        page.start()
        time.sleep(0.2)
        back = probe.first_success_after_outage(began)
    assert back is not None
    assert 0.19 <= back - began < 0.4


def test_probe_without_a_request_knows_nothing() -> None:
    assert Probe("http://127.0.0.1:9/").first_success_after_outage(0.0) is None


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    (tmp_path / "cluster.json").write_text(save_cluster(Cluster("noop", "stub")), encoding="utf-8")
    (tmp_path / "workload.json").write_text(save_workload([SPEC]), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(("ready", "code"), [(True, 0), (False, 5)])
def test_undo_waits_until_whole(
    ready: bool,
    code: int,
    run_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    page: OneService,
) -> None:
    page.replica = replace(page.replica, ready=ready)
    monkeypatch.setattr("provisioners.targets.open_targets", lambda *_: {Side.SWARM: page})
    monkeypatch.setattr(kill_container, "_POLL_S", 0.01)
    words = ["--run", str(run_folder), "--side", "swarm", "--service", SPEC.name, "--wait", "0.05"]
    assert kill_container.main(words) == code
    assert ("gonogo deploy" in capsys.readouterr().err) is not ready


def test_undo_of_a_target_that_is_gone_is_done(run_folder: Path) -> None:
    cluster = Cluster("lab", "lab-upstream", kubeconfig=run_folder / "gone")
    (run_folder / "cluster.json").write_text(save_cluster(cluster), encoding="utf-8")
    assert kill_container.main(["--run", str(run_folder), "--side", "swarm", "--service", SPEC.name]) == 0


def test_undo_of_a_service_that_is_gone_is_done(page: OneService) -> None:
    assert kill_container.why_not_whole(cast("Target", page), "another") == ""
    page.replica = replace(page.replica, ready=False)
    assert kill_container.why_not_whole(cast("Target", page), SPEC.name)


def test_undo_is_a_program_of_its_own(run_folder: Path, page: OneService) -> None:
    cluster = Cluster("lab", "lab-upstream", kubeconfig=run_folder / "gone")
    (run_folder / "cluster.json").write_text(save_cluster(cluster), encoding="utf-8")
    undo = kill_container.KillContainer(cast("Target", page), page.replica, run_folder).undo()
    done = subprocess.run(undo.argv, cwd="/", capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
