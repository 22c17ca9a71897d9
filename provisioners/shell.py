"""Run a command, here or on a node over SSH: the only place that starts processes.

A command that ran and failed is data (`CommandResult`); `check()` turns it into a
`CommandError` that holds what an operator would paste: command, host, status, output.
No shell strings: argv only, quoted once at the SSH boundary.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provisioners.errors import ProvisionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_OUTPUT_LIMIT = 4000
_C_LOCALE = {"LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What one command did.

    `returncode` is None when the command was ended because `timeout_s` ran out.
    `stdout` and `stderr` are decoded as UTF-8 with invalid bytes escaped, never lost.
    """

    argv: tuple[str, ...]
    host: str
    returncode: int | None
    stdout: str
    stderr: str
    duration_s: float

    @property
    def ok(self) -> bool:
        """Whether the command ended with status 0."""
        return self.returncode == 0

    def check(self, next_step: str = "") -> CommandResult:
        """Return self, or raise CommandError when the command failed."""
        if not self.ok:
            raise CommandError(self, next_step=next_step)
        return self


class CommandError(ProvisionError):
    """A command that had to succeed did not."""

    def __init__(self, result: CommandResult, *, next_step: str = "") -> None:
        self.result = result
        status = "timed out" if result.returncode is None else f"exit status {result.returncode}"
        output = (result.stderr.strip() or result.stdout.strip())[-_OUTPUT_LIMIT:]
        super().__init__(
            f"command failed ({status}, {result.duration_s:.1f} s): {shlex.join(result.argv)}",
            where=result.host,
            why=output or "it printed nothing",
            next_step=next_step,
        )


def run(
    argv: Sequence[str],
    *,
    timeout_s: float = 60.0,
    stdin: str | bytes | Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> CommandResult:
    """Run `argv` on this machine and wait at most `timeout_s` seconds.

    `stdin` is text or bytes to feed, or a path whose content is fed.
    A missing executable gives returncode 127, as a shell would.
    """
    return _run(tuple(argv), "localhost", timeout_s, stdin, env, cwd)


@dataclass(frozen=True, slots=True)
class Ssh:
    """How to reach one host: strict host keys, key file, one shared connection."""

    host: str
    address: str
    port: int = 22
    user: str = "root"
    key_file: Path | None = None
    known_hosts: Path | None = None
    control_dir: Path | None = None

    def argv(self) -> list[str]:
        """Return the ssh command line up to and including the destination."""
        options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "ConnectTimeout=10",
            "ServerAliveInterval=5",
            "ServerAliveCountMax=3",
            "LogLevel=ERROR",
        ]
        if self.known_hosts:
            options.append(f"UserKnownHostsFile={self.known_hosts}")
        if self.control_dir:
            options += [
                "ControlMaster=auto",
                f"ControlPath={self.control_dir}/%C",
                "ControlPersist=60",
            ]
        command = ["ssh", "-T", "-p", str(self.port)]
        if self.key_file:
            command += ["-i", str(self.key_file), "-o", "IdentitiesOnly=yes"]
        for option in options:
            command += ["-o", option]
        return [*command, f"{self.user}@{self.address}"]

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 60.0,
        stdin: str | bytes | Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> CommandResult:
        """Run `argv` on the host; the same result and bounds as `run`."""
        words = ["env", *(f"{k}={v}" for k, v in {**_C_LOCALE, **(env or {})}.items()), *argv]
        result = _run((*self.argv(), shlex.join(words)), self.host, timeout_s, stdin, None, None)
        return CommandResult(
            tuple(argv), self.host, result.returncode, result.stdout, result.stderr, result.duration_s
        )


def _run(
    argv: tuple[str, ...],
    host: str,
    timeout_s: float,
    stdin: str | bytes | Path | None,
    env: Mapping[str, str] | None,
    cwd: Path | None,
) -> CommandResult:
    started = time.monotonic()
    feed = stdin.encode() if isinstance(stdin, str) else stdin
    source = feed.open("rb") if isinstance(feed, Path) else None
    try:
        process = subprocess.Popen(
            argv,
            stdin=source or (subprocess.PIPE if feed is not None else subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **_C_LOCALE, **(env or {})},
            cwd=cwd,
            start_new_session=True,  # Ctrl-C reaches gonogo, which ends its children in order
        )
    except OSError as error:
        return CommandResult(argv, host, 127, "", f"{argv[0]}: {error.strerror}", 0.0)
    finally:
        if source:
            source.close()
    returncode: int | None
    try:
        out, err = process.communicate(feed if isinstance(feed, bytes) else None, timeout=timeout_s)
        returncode = process.returncode
    except subprocess.TimeoutExpired:
        _end_group(process)
        out, err = _rest(process)
        returncode = None
    except BaseException:
        _end_group(process)
        raise
    return CommandResult(argv, host, returncode, _text(out), _text(err), time.monotonic() - started)


def _rest(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """Return what an ended process wrote; a shared SSH connection may hold its pipes open for long."""
    try:
        return process.communicate(timeout=0.5)
    except subprocess.TimeoutExpired as late:
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()
        # typed as text by the library's stubs; bytes here, and None where nothing came
        return bytes(late.output or b""), bytes(late.stderr or b"")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(timeout=3)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
        return


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def run_lines(
    argv: Sequence[str],
    on_line: Callable[[str], None],
    *,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> CommandResult:
    """Run `argv` here and hand over each line of its output (both streams) as it comes.

    `on_line` is also called with "" about twice a second while the command is silent; what it
    raises ends the command and goes on. The result's `stdout` holds the last lines.
    """
    started = time.monotonic()
    tail: deque[str] = deque(maxlen=60)
    try:
        process = subprocess.Popen(
            tuple(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_C_LOCALE, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        return CommandResult(tuple(argv), "localhost", 127, "", f"{argv[0]}: {error.strerror}", 0.0)
    returncode: int | None = None
    with process:
        try:
            if _pump(process, on_line, tail, started + timeout_s):
                returncode = process.wait(timeout=10)
            else:
                _end_group(process)
        except BaseException:
            _end_group(process)
            raise
    return CommandResult(
        tuple(argv), "localhost", returncode, "\n".join(tail), "", time.monotonic() - started
    )


def _pump(
    process: subprocess.Popen[bytes], on_line: Callable[[str], None], tail: deque[str], until: float
) -> bool:
    """Hand over output until it ends (True) or the time is up (False)."""
    assert process.stdout is not None  # noqa: S101  opened as a pipe by the caller
    os.set_blocking(process.stdout.fileno(), False)
    rest = b""
    while time.monotonic() < until:
        readable, _, _ = select.select([process.stdout], [], [], 0.5)
        if not readable:
            on_line("")
            continue
        chunk = process.stdout.read(65536)
        if chunk == b"":
            return True
        *lines, rest = (rest + (chunk or b"")).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            tail.append(_text(line))
            on_line(_text(line))
    return False


def start_daemon(argv: Sequence[str], log_file: Path) -> int:
    """Start a process that outlives us, its output appended to `log_file`; returns its pid."""
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            tuple(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )
    return process.pid
