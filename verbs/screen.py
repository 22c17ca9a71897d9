"""What a person sees while steps run: one line a step on stderr, spinners on a terminal.

Plain lines when stderr is no terminal or CI is set; no colour with NO_COLOR. The same
object keeps the table of steps that the report prints.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from reports.model import StepTime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HEARTBEAT_S = 15.0


class Screen:
    """Shows steps and remembers their times, in seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._running: dict[str, float] = {}
        self._said: dict[str, float] = {}
        self._steps: list[StepTime] = []
        self._prefix = ""
        self._live: Any = None
        self._tasks: dict[str, Any] = {}
        if sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb":
            self._live = _spinners()

    @property
    def steps(self) -> list[StepTime]:
        """The steps that have ended, in the order of their start."""
        with self._lock:
            return sorted(self._steps, key=lambda step: step.started_s)

    def elapsed_s(self) -> float:
        """Seconds since this screen was made."""
        return time.monotonic() - self._start

    @contextmanager
    def group(self, prefix: str) -> Iterator[Screen]:
        """Show the steps inside with a common first word."""
        before, self._prefix = self._prefix, f"{prefix}: "
        try:
            yield self
        finally:
            self._prefix = before

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """Time one step of the launcher; the value says one-line notes."""
        self.started(name)
        try:
            yield lambda text: self.note(name, text)
        except BaseException as error:
            self.failed(name, str(error).split("\n", 1)[0] or type(error).__name__)
            raise
        self.finished(name, 0.0, cached=False)

    def started(self, name: str) -> None:
        name = self._prefix + name
        with self._lock:
            self._running[name] = self._said[name] = time.monotonic()
            if self._live:
                self._live.start()
                self._tasks[name] = self._live.add_task(name, total=None, note="")

    def note(self, name: str, text: str) -> None:
        name = self._prefix + name
        with self._lock:
            if self._live and name in self._tasks:
                self._live.update(self._tasks[name], note=text)
                return
            # Without a terminal a note is a line, so it is held to one in a while.
            now = time.monotonic()
            if now - self._said.get(name, 0.0) >= _HEARTBEAT_S:
                self._said[name] = now
                self._line(f"... {name}: {text}")

    def finished(self, name: str, seconds: float, cached: bool) -> None:
        del seconds  # measured here, with the same clock as everything else
        self._end(self._prefix + name, "cached" if cached else "done", "")

    def failed(self, name: str, text: str) -> None:
        self._end(self._prefix + name, "failed", text)

    def say(self, text: str = "") -> None:
        """Print one line for people."""
        with self._lock:
            self._line(text, stamp=False)

    def close(self) -> None:
        """Take spinners off the terminal."""
        with self._lock:
            if self._live:
                self._live.stop()

    def _end(self, name: str, status: str, note: str) -> None:
        with self._lock:
            begun = self._running.pop(name, time.monotonic())
            took = time.monotonic() - begun
            self._steps.append(StepTime(name, round(begun - self._start, 3), round(took, 3), status, note))
            if self._live and name in self._tasks:
                self._live.remove_task(self._tasks.pop(name))
            mark = {"done": "ok  ", "cached": "ok  ", "failed": "FAIL"}[status]
            text = "cached" if status == "cached" else f"{took:.1f} s"
            self._line(f"{mark} {name} ({text}){': ' + note if note else ''}")

    def _line(self, text: str, *, stamp: bool = True) -> None:
        head = f"[{self.elapsed_s():6.1f} s] " if stamp else ""
        if self._live:
            self._live.console.print(head + text, markup=False, highlight=False)
        else:
            sys.stderr.write(f"{head}{text}\n")
            sys.stderr.flush()


def _spinners() -> Any:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
