"""The outer Docker engine: the one that runs the node hosts, on this machine.

An engine that already answers is used as it is. Where none runs, one of our own is started
with its own data folder, socket and pid file, so that a user's engine is never touched.
Its socket is named in every call; `DOCKER_HOST` and contexts of the user play no part in that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provisioners.errors import CleanupIncomplete, NotReady, TargetRefused
from provisioners.lab.paths import cache_dir, lab_dir, state_dir
from provisioners.shell import CommandResult, run, start_daemon

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LABEL = "gonogo=lab"
INSTALL = "install it: apt-get install -y docker.io (or docker-ce)"

_START_BOUND_S = 60.0
_STOP_BOUND_S = 60.0
_LEFT_OVER_BOUND_S = 5.0


@dataclass(frozen=True, slots=True)
class Engine:
    """One Docker engine, reached by its socket."""

    host: str  # unix:///path
    client: str = "docker"
    ours: bool = False

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 60.0,
        stdin: str | bytes | Path | None = None,
    ) -> CommandResult:
        """Run `docker argv...` against this engine."""
        return run(self.argv(argv), timeout_s=timeout_s, stdin=stdin)

    def argv(self, argv: Sequence[str]) -> list[str]:
        """Return the whole command line of a docker call."""
        return [self.client, "-H", self.host, *argv]

    def answers(self) -> bool:
        """Return whether an engine listens there."""
        result = self.run(["version", "--format", "{{.Server.Version}}"], timeout_s=15)
        return result.ok and bool(result.stdout.strip())

    def version(self) -> str:
        """Return the engine's version."""
        return self.run(["version", "--format", "{{.Server.Version}}"], timeout_s=15).check().stdout.strip()

    def has_image(self, tag: str) -> bool:
        """Return whether the engine holds an image of that name."""
        return self.run(["image", "inspect", "--format", "{{.Id}}", tag]).ok

    def labelled(self, kind: str) -> tuple[str, ...]:
        """Return the names of what carries our label: `container`, `network` or `volume`."""
        flags = {"container": ["--all", "--format", "{{.Names}}"]}.get(kind, ["--format", "{{.Name}}"])
        result = self.run([kind, "ls", *flags, "--filter", f"label={LABEL}"]).check()
        return tuple(sorted(result.stdout.split()))


def find_binary(name: str) -> str | None:
    """Return the path of a program; sbin folders are looked into even when PATH lacks them."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")


def run_dir() -> Path:
    """Return our folder of sockets and pid files; short, for a socket's path is bounded."""
    digest = hashlib.sha256(str(state_dir()).encode()).hexdigest()[:8]
    return Path("/run") / f"gonogo-{digest}"


def own_engine() -> Engine:
    """Return our own engine's door, whether or not it runs."""
    return Engine(f"unix://{run_dir()}/docker.sock", find_binary("docker") or "docker", ours=True)


def running_engine() -> Engine | None:
    """Return the engine in use: ours if it runs, else the one this machine offers, else None."""
    own = own_engine()
    if _own_pid() and own.answers():
        return own
    for host in (os.environ.get("DOCKER_HOST", ""), "unix:///var/run/docker.sock"):
        socket = host.removeprefix("unix://")
        if host.startswith("unix://") and Path(socket).exists():
            engine = Engine(host, own.client)
            if engine.answers():
                return engine
    return None


def start_engine(say: Callable[[str], None]) -> Engine:
    """Return a running engine, starting our own where this machine runs none."""
    engine = running_engine()
    if engine:
        return engine
    dockerd = find_binary("dockerd")
    if not dockerd or not find_binary("docker"):
        raise TargetRefused("no Docker engine on this machine", where="localhost", next_step=INSTALL)
    engine = own_engine()
    folder = run_dir()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = lab_dir() / "dockerd.log"
    pid = _own_pid()
    if not pid:
        (folder / "docker.pid").unlink(missing_ok=True)
        say("starting our own dockerd")
        pid = start_daemon(_daemon_argv(dockerd, folder), log)
    _await_answer(engine, pid, log)
    return engine


def stop_own_engine(say: Callable[[str], None]) -> None:
    """Stop our own engine and show that nothing of it is left; its images stay cached."""
    pid = _own_pid()
    if pid:
        say("stopping our own dockerd")
        os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + _STOP_BOUND_S
        while _own_pid() and time.monotonic() < until:
            time.sleep(0.1)
        if _own_pid():
            raise CleanupIncomplete(
                f"dockerd (pid {pid}) still runs {_STOP_BOUND_S:.0f} s after SIGTERM",
                where="localhost",
                next_step=f"see {lab_dir() / 'dockerd.log'}, then: kill -9 {pid}",
            )
    _end_left_over()
    for mount in own_mounts():
        run(["umount", "--lazy", mount])
    left = own_mounts()
    if left:
        raise CleanupIncomplete(f"mounts are left: {', '.join(left)}", where="localhost")
    shutil.rmtree(run_dir(), ignore_errors=True)


def own_processes() -> dict[int, str]:
    """Return the processes that work for our engine or our shared SSH connections, by pid.

    They are known by what they are (`containerd`, a shim of it, `ssh:`) and by our own run folder
    on their command line; a user's own docker client or editor is none of them.
    """
    word = f"{run_dir()}/"
    kinds = ("containerd", "dockerd", "docker-proxy", "ssh:")
    found: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                line = (
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
                )
            except OSError:  # it ended meanwhile
                continue
            if word in line and line.split()[0].rpartition("/")[2].startswith(kinds):
                found[int(folder.name)] = line
    return found


def _end_left_over() -> None:
    """End what a killed engine left running; raises CleanupIncomplete naming what does not end."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for pid in own_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
        until = time.monotonic() + _LEFT_OVER_BOUND_S
        while own_processes() and time.monotonic() < until:
            time.sleep(0.05)
    left = own_processes()
    if left:
        names = ", ".join(f"pid {pid} ({line[:80]})" for pid, line in left.items())
        raise CleanupIncomplete(f"processes are left: {names}", where="localhost")


def own_mounts() -> tuple[str, ...]:
    """Return the mount points under our own folders, deepest first."""
    roots = (f"{run_dir()}/", f"{data_root()}/", f"{data_root()}")
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    points = {line.split()[4].encode().decode("unicode_escape") for line in lines}
    return tuple(sorted((p for p in points if p.startswith(roots)), key=len, reverse=True))


def data_root() -> Path:
    """Return the data folder of our own engine: a cache, for it holds the images."""
    return cache_dir() / "docker"


def has_data() -> bool:
    """Return whether our own engine, running or not, holds containers or volumes."""
    folders = (data_root() / "containers", data_root() / "volumes")
    return any(child.is_dir() for folder in folders if folder.is_dir() for child in folder.iterdir())


def _daemon_argv(dockerd: str, folder: Path) -> list[str]:
    return [
        dockerd,
        f"--host=unix://{folder}/docker.sock",
        f"--data-root={data_root()}",
        f"--exec-root={folder}/exec",
        f"--pidfile={folder}/docker.pid",
        "--bridge=none",
        "--containerd-namespace=gonogo",
        "--containerd-plugins-namespace=gonogo-plugins",
        f"--label={LABEL}",
        "--log-level=warn",
    ]


def _own_pid() -> int | None:
    """Return the pid of our dockerd: its pid file's, if that process still is our dockerd."""
    try:
        pid = int((run_dir() / "docker.pid").read_text(encoding="ascii"))
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if f"--pidfile={run_dir()}/docker.pid".encode() in words else None


def _await_answer(engine: Engine, pid: int, log: Path) -> None:
    until = time.monotonic() + _START_BOUND_S
    ended = False
    while time.monotonic() < until and not ended:
        if engine.answers():
            return
        ended = not _is_alive(pid)
        time.sleep(0.2)
    tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
    raise NotReady(
        "our dockerd ended at its start"
        if ended
        else f"our dockerd does not answer after {_START_BOUND_S:.0f} s",
        where=engine.host,
        why="\n        ".join(tail) or "its log is empty",
        next_step=f"see {log}",
    )


def _is_alive(pid: int) -> bool:
    """Return whether the process runs; one that ended and waits for its parent does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def container_states(engine: Engine) -> dict[str, str]:
    """Return the state (`running`, `exited`, ...) of each container with our label."""
    flags = ["--all", "--no-trunc", "--filter", f"label={LABEL}", "--format", "{{json .}}"]
    lines = engine.run(["container", "ls", *flags]).check().stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    return {row["Names"]: row["State"] for row in rows}
