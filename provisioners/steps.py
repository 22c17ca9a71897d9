"""Run a list of steps as the graph that their `needs` make, overlapping independent ones.

The first failure lets running steps end, starts no new ones, then is raised again with
the results so far on it as `step_results`. Ctrl-C takes the same way out, and steps that
run then are stopped by their next `say`.
"""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from provisioners.base import Step, StepResult
from provisioners.errors import InputError, ProvisionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_POLL_S = 0.5  # a signal handler of Python runs only between waits, so no wait is longer


class StepsStopped(ProvisionError):
    """Raised inside a running step, by its `say`, once the whole list is being stopped."""


class Progress(Protocol):
    """Who is told how the steps go. Calls come from several threads."""

    def started(self, name: str) -> None:
        """Say that the step runs now."""

    def note(self, name: str, text: str) -> None:
        """Show one line of the step's progress."""

    def finished(self, name: str, seconds: float, cached: bool) -> None:
        """Say that the step ended well; `cached` when it was done before."""

    def failed(self, name: str, text: str) -> None:
        """Say that the step failed, and why."""


class QuietProgress:
    """Tells nobody."""

    def started(self, name: str) -> None:
        """Ignore the start of a step."""

    def note(self, name: str, text: str) -> None:
        """Ignore a note."""

    def finished(self, name: str, seconds: float, cached: bool) -> None:
        """Ignore the end of a step."""

    def failed(self, name: str, text: str) -> None:
        """Ignore a failure: it is raised anyway."""


def run_steps(steps: Sequence[Step], *, progress: Progress, workers: int = 4) -> tuple[StepResult, ...]:
    """Run the steps, each after those it needs, and return how each went, in the order of ending.

    Raises InputError when the list is not a graph (unknown name, double name, circle),
    else whatever the first failing step raised, with `step_results` set on it.
    """
    check_graph(steps)
    pool = ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="step")
    flight = _Flight({step.name: step for step in steps}, progress, time.monotonic())
    try:
        flight.loop(pool)
    except BaseException as error:  # KeyboardInterrupt too: what runs ends in order, then it goes on
        flight.stopping = True
        pool.shutdown(wait=True, cancel_futures=True)
        error.step_results = tuple(flight.results.values())  # type: ignore[attr-defined]
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    if flight.error is not None:
        flight.error.step_results = tuple(flight.results.values())  # type: ignore[attr-defined]
        raise flight.error
    return tuple(flight.results.values())


def check_graph(steps: Sequence[Step]) -> None:
    """Raise InputError when the steps' names and needs are not a graph without circles."""
    names = [step.name for step in steps]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InputError(f"two steps have one name: {', '.join(doubled)}")
    needs = {step.name: set(step.needs) for step in steps}
    for name, wanted in needs.items():
        unknown = sorted(wanted - needs.keys())
        if unknown:
            raise InputError(f"step {name!r} needs {', '.join(unknown)}, which is no step of the list")
    while needs:
        free = {name for name, wanted in needs.items() if not wanted}
        if not free:
            raise InputError(f"steps need each other in a circle: {', '.join(sorted(needs))}")
        needs = {name: wanted - free for name, wanted in needs.items() if name not in free}


@dataclass(slots=True)
class _Flight:
    """The steps of one call of `run_steps`: waiting, running and ended."""

    waiting: dict[str, Step]
    progress: Progress
    began: float
    running: dict[Future[None], str] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    results: dict[str, StepResult] = field(default_factory=dict)
    error: BaseException | None = None
    stopping: bool = False

    def loop(self, pool: ThreadPoolExecutor) -> None:
        while self.waiting or self.running:
            if self.error is None and not self.stopping:
                self._start(pool)
            if not self.running:
                return
            done, _ = wait(self.running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                self._collect(future)

    def _start(self, pool: ThreadPoolExecutor) -> None:
        ready = [s for s in self.waiting.values() if self.ended.issuperset(s.needs)]
        for step in ready:
            del self.waiting[step.name]
            self.running[pool.submit(self._run_one, step)] = step.name

    def _collect(self, future: Future[None]) -> None:
        error = future.exception()
        name = self.running.pop(future)
        if error is None:
            self.ended.add(name)
        self.error = self.error or error

    def _run_one(self, step: Step) -> None:
        """Run one step, in a thread of the pool, and book how it went."""

        def say(text: str) -> None:
            if self.stopping:
                raise StepsStopped(f"step {step.name!r} was stopped")
            self.progress.note(step.name, text)

        start = time.monotonic()
        offset = start - self.began
        self.progress.started(step.name)
        try:
            cached = step.done is not None and step.done()
            if not cached:
                step.run(say)
        except BaseException as error:
            text = str(error) or type(error).__name__
            self.results[step.name] = StepResult(step.name, offset, time.monotonic() - start, error=text)
            self.progress.failed(step.name, text)
            raise
        seconds = time.monotonic() - start
        self.results[step.name] = StepResult(step.name, offset, seconds, cached=cached)
        self.progress.finished(step.name, seconds, cached)


def for_each(items: Sequence[_Item], call: Callable[[_Item], _Result]) -> tuple[_Result, ...]:
    """Return `call(item)` of every item, all at once; all end before the first error is raised."""
    with ThreadPoolExecutor(max_workers=max(1, len(items)), thread_name_prefix="each") as pool:
        futures = [pool.submit(call, item) for item in items]
        wait(futures)
        return tuple(future.result() for future in futures)
