"""Runs the suites as pytest, in a process of its own, bounded and ended in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from verbs.samples import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_GRACE_S = 20.0


@dataclass(frozen=True, slots=True)
class SuiteRun:
    """How pytest ended: its exit status (None when its time ran out) and its last lines."""

    returncode: int | None
    tail: str

    @property
    def broke(self) -> bool:
        """Whether pytest itself failed, rather than a check (its codes 2, 3, 4)."""
        return self.returncode not in (0, 1, 5)


def collect(run_dir: Path, log: Path, expression: str, profile: str) -> SuiteRun:
    """Collect only: every check of the profile says which criterion it will bear on, before anything runs."""
    options = ["--collect-only", "-q", *_select(expression), "--gonogo-profile", profile]
    return _pytest(run_dir, log, options, 120.0, None, lambda _: None)


def run_suites(
    run_dir: Path,
    log: Path,
    *,
    marker: str,
    profile: str,
    workers: int,
    expression: str,
    timeout_s: float,
    secrets: Path | None,
    say: Callable[[str], None],
    extra: Sequence[str] = (),
) -> SuiteRun:
    """Run the checks that `marker` selects; findings are in the run folder, not in the code."""
    options = [
        "-m",
        marker,
        "--gonogo-profile",
        profile,
        *_select(expression),
        *extra,
        "-v",
        "--junitxml",
        str(log.with_suffix(".xml").resolve()),
    ]
    if workers > 1:
        options += ["-n", str(workers), "--dist", "worksteal", "--max-worker-restart", "2"]
    return _pytest(run_dir, log, options, timeout_s, secrets, say)


def _select(expression: str) -> list[str]:
    return ["-k", expression] if expression else []


def _pytest(
    run_dir: Path,
    log: Path,
    options: Sequence[str],
    timeout_s: float,
    secrets: Path | None,
    say: Callable[[str], None],
) -> SuiteRun:
    argv = [
        sys.executable, "-m", "pytest", str(ROOT / "suites"),
        "-c", os.devnull, "--rootdir", str(ROOT), "-o", "addopts=", "-o", "console_output_style=classic",
        "--strict-markers", "-p", "xdist", "-p", "verbs.recorder", "-p", "no:cacheprovider",
        "--color=no", "--tb=short", "--gonogo-run", str(run_dir.resolve()), *options,
    ]  # fmt: skip
    environment = {
        **os.environ,
        # A user's plugins, addopts and conftest have no say in a verdict.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "",
        "PYTHONPATH": str(ROOT),
    }
    if secrets:
        environment["GONOGO_SECRETS_FILE"] = str(secrets)
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env=environment, cwd=run_dir, start_new_session=True,
        )  # fmt: skip
        try:
            returncode = _wait(process, log, timeout_s, say)
        except BaseException:
            _end(process)
            raise
    return SuiteRun(returncode, _tail(log))


def _wait(
    process: subprocess.Popen[bytes], log: Path, timeout_s: float, say: Callable[[str], None]
) -> int | None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            return process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            say(_last_line(log))
    _end(process)
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let pytest run its teardowns on SIGINT, then end what is left of its group."""
    for sign, grace_s in ((signal.SIGINT, _GRACE_S), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, sign)
            process.wait(timeout=grace_s)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _last_line(log: Path) -> str:
    lines = _tail(log, 400).splitlines()
    return lines[-1][:100] if lines else ""


def _tail(log: Path, size: int = 4000) -> str:
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - size))
        return file.read().decode("utf-8", "replace")
