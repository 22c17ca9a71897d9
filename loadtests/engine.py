"""The sending process as Locust holds it: started, given its start, read as it goes, ended.

Everything it measures comes by its two files; nothing but `ready` comes by the pipe. A
sender that dies leaves a readable prefix, and says by its exit status that it died.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtests.client import ENDED_EARLY, READY, client_command
from loadtests.plan import SAMPLES_FILE, TICKS_FILE, LoadPlan
from loadtests.sample import TIMES, TIMES_FILE, read_samples_from

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_ROOT = Path(__file__).resolve().parents[1]
_TERM_BOUND_S = 3.0
_MOST_ROWS = 20_000


class Engine:
    """One sender of a plan, in `folder`."""

    def __init__(self, plan: LoadPlan, folder: Path, *, ca_file: Path | None = None) -> None:
        plan.save(folder)
        for name in (SAMPLES_FILE, TICKS_FILE, TIMES_FILE):
            (folder / name).unlink(missing_ok=True)
        self.folder = folder
        self._rows_read = 0
        self._line_bytes = 0
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            client_command(folder, ca_file),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
        )

    def wait_ready(self) -> bool:
        """Return whether the sender said that it is ready; False when it ended instead."""
        assert self._process.stdout is not None  # noqa: S101  it was asked for
        return self._process.stdout.readline().decode().strip() == READY

    def start(self, start_ns: int) -> None:
        """Let it send from `start_ns` on; one that is gone by now shows by its exit status."""
        assert self._process.stdin is not None  # noqa: S101
        with contextlib.suppress(OSError):
            self._process.stdin.write(f"{start_ns}\n".encode())
            self._process.stdin.flush()

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    @property
    def failure(self) -> str:
        """Why the sender did not do its work; empty while it runs, and when it was stopped or done."""
        code = self._process.poll()
        if code is None or code in (0, ENDED_EARLY):
            return ""
        if code < 0:
            return f"the sending process was killed by {signal.Signals(-code).name}"
        return f"the sending process ended with exit status {code}"

    def rows(self) -> npt.NDArray[np.void]:
        """Return the requests that were recorded since the last time, a bounded number."""
        rows = read_samples_from(self.folder / SAMPLES_FILE, self._rows_read)[:_MOST_ROWS]
        self._rows_read += len(rows)
        return rows

    def times_of(self, rows: int) -> bytes:
        """Return the packed timings of the last `rows` requests that `rows` gave, as far as there are any."""
        try:
            with (self.folder / TIMES_FILE).open("rb") as source:
                source.seek((self._rows_read - rows) * TIMES.size)
                return source.read(rows * TIMES.size)
        except OSError:
            return b""

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines of the generator's readings since the last time."""
        try:
            with (self.folder / TICKS_FILE).open("rb") as source:
                source.seek(self._line_bytes)
                raw = source.read()
        except OSError:
            return []
        whole = raw[: raw.rfind(b"\n") + 1]
        self._line_bytes += len(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def end(self) -> None:
        """End the process if it still runs: SIGTERM lets it close its log, SIGKILL if it does not."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                break
            self._process.send_signal(sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_TERM_BOUND_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
