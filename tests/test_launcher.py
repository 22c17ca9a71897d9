"""The launcher's small parts: lease, signals, screen, inequalities, sweep."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from provisioners.base import Service, Side
from provisioners.errors import InputError, TargetRefused
from reports.model import Profile, Undo
from reports.store import create
from verbs.lease import lease
from verbs.screen import Screen
from verbs.signals import Interrupted, interruptible
from verbs.sweep import sweep_command
from verbs.traffic import inequalities

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GONOGO_STATE", str(tmp_path / "state"))


def test_a_second_run_on_a_target_is_refused_and_names_the_first() -> None:
    with lease("lab"):
        code = "from verbs.lease import lease\nwith lease('lab'): pass"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False, timeout=60
        )
        with lease("noop"):
            pass
    assert "TargetRefused" in done.stderr
    assert f"pid {os.getpid()}" in done.stderr


def test_a_lease_is_free_after_its_holder() -> None:
    for _ in range(2):
        with lease("lab"):
            pass


def test_a_lease_is_refused_by_exit_code_4() -> None:
    assert TargetRefused("x").exit_code == 4


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_becomes_an_exception_with_its_code(sign: signal.Signals, code: int) -> None:
    with pytest.raises(Interrupted) as caught, interruptible():
        os.kill(os.getpid(), sign)
    assert caught.value.exit_code == code


def test_a_second_signal_leaves_at_once() -> None:
    code = (
        "import os, signal, time\n"
        "from verbs.signals import Interrupted, interruptible\n"
        "with interruptible():\n"
        "    try:\n        os.kill(os.getpid(), signal.SIGTERM)\n        time.sleep(5)\n"
        "    except Interrupted:\n        os.kill(os.getpid(), signal.SIGINT)\n        time.sleep(5)\n"
        "    print('still here')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False, timeout=60
    )
    assert done.returncode == 143
    assert "still here" not in done.stdout
    assert "sweep" in done.stderr


def test_the_screen_keeps_the_table_of_steps(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    with screen.group("up"):
        screen.started("build")
        screen.finished("build", 1.0, cached=True)
    with pytest.raises(ValueError, match="broken"), screen.step("convert"):
        raise ValueError("broken")
    assert [(step.name, step.status) for step in screen.steps] == [
        ("up: build", "cached"),
        ("convert", "failed"),
    ]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "FAIL convert" in printed.err


def service(name: str, image: str) -> Service:
    return Service(name, "mcp", 1, 1, (9000,), image_id=image, cpu_limit=0.5, memory_limit_bytes=1)


def test_unequal_sides_are_named() -> None:
    same = {Side.SWARM: [service("a", "x")], Side.KUBERNETES: [service("a", "x")]}
    assert inequalities(same, {"a"}) == ()
    other = {Side.SWARM: [service("a", "x")], Side.KUBERNETES: [service("a", "y")]}
    assert inequalities(other, {"a"}) == ("a: image_id swarm x, kubernetes y",)
    gone = {Side.SWARM: [], Side.KUBERNETES: [service("a", "x")]}
    assert inequalities(gone, {"a"}) == ("a is missing on swarm",)


def test_sweep_undoes_what_a_killed_run_left(tmp_path: Path) -> None:
    store = create(tmp_path / "runs", "lab", Profile.SMOKE)
    store.update_run(target_kind="lab")
    left = tmp_path / "left"
    left.touch()
    store.undo(Undo("file", "a file", "localhost", ("rm", str(left))))
    assert sweep_command(tmp_path / "runs") == 0
    assert not left.exists()
    assert store.read_undo() == ()


def test_sweep_keeps_what_it_could_not_undo(tmp_path: Path) -> None:
    from provisioners.errors import CleanupIncomplete

    store = create(tmp_path / "runs", "lab", Profile.SMOKE)
    store.undo(Undo("file", "a file", "localhost", ("false",)))
    with pytest.raises(CleanupIncomplete, match="a file"):
        sweep_command(tmp_path / "runs")
    assert len(store.read_undo()) == 1


def test_sweep_of_no_folder_is_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        sweep_command(tmp_path / "none")
