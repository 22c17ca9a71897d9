"""Open loop for ordinary Locust tasks: a task begins at its planned time, whoever is busy.

    class Person(ArrivalUser, FastHttpUser):
        arrivals_per_s = 20

        @task
        def call(self):
            self.client.get("/health")

Users take turns at one schedule; each waits for the next planned time and then runs a
task, so give `-u` enough of them: a start that finds all busy is late, and its latency
counts from the planned time all the same. The first request of a task carries that
time; requests that follow in the same task begin when they begin. With workers each
takes an equal part of the rate.
"""

from __future__ import annotations

import random
import time
from typing import Any, ClassVar

import gevent
from locust import User
from locust.runners import WorkerRunner

from loadtests.errors import LoadInputError
from loadtests.shape import SHAPES, STEADY, time_of

_JITTER = 0.5


class _Schedule:
    """The planned times of one User class in this process, handed out in order."""

    def __init__(self, rate_per_s: float, shape: str, shape_s: float) -> None:
        self._rate = rate_per_s
        self._shape = shape
        self._shape_s = shape_s
        self._start_ns = time.monotonic_ns() + 50_000_000
        self._taken = 0
        self._draw = random.Random()  # noqa: S311  a schedule, not a secret

    def next_ns(self) -> int:
        """Return the next planned time; between two of them lies half a slot to one and a half."""
        sends = self._taken + self._draw.random() * _JITTER
        self._taken += 1
        return self._start_ns + round(time_of(self._shape, sends, self._rate, self._shape_s) * 1e9)


class ArrivalUser(User):
    """Mixed into a user class: its tasks begin at planned times.

    `arrivals_per_s` is the total rate of the class over all its users and workers, at the
    shape's highest; `shape` is steady, ramp, spike or soak over `shape_s` seconds.
    """

    abstract = True
    arrivals_per_s: ClassVar[float] = 1.0
    shape: ClassVar[str] = STEADY
    shape_s: ClassVar[float] = 60.0
    _schedule: ClassVar[_Schedule | None] = None
    _started_for: ClassVar[float] = -1.0

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._planned_ns = 0

    def wait_time(self) -> float:
        """Return how long to wait for the next planned time of the class, and remember it."""
        self._planned_ns = self._timetable().next_ns()
        return max(0.0, (self._planned_ns - time.monotonic_ns()) / 1e9)

    def on_start(self) -> None:
        """Wait for the first planned time: Locust waits after tasks only."""
        super().on_start()
        gevent.sleep(self.wait_time())

    def context(self) -> dict[str, Any]:
        """Give the planned time to the first request of a task; the others have none."""
        planned_ns, self._planned_ns = self._planned_ns, 0
        return {"planned_ns": planned_ns} if planned_ns else {}

    def _timetable(self) -> _Schedule:
        """Return the schedule of this class and test run, made by the first user that asks."""
        cls = type(self)
        started = float(getattr(self.environment.stats.total, "start_time", 0.0))
        if cls._schedule is None or cls._started_for != started:
            if not cls.arrivals_per_s > 0 or cls.shape not in SHAPES or not cls.shape_s > 0:
                raise LoadInputError(
                    f"{cls.__name__}: arrivals_per_s and shape_s must be above 0, shape one of {list(SHAPES)}"
                )
            cls._schedule = _Schedule(cls.arrivals_per_s / self._parts(), cls.shape, cls.shape_s)
            cls._started_for = started
        return cls._schedule

    def _parts(self) -> int:
        """Return over how many workers the rate is divided."""
        options = self.environment.parsed_options
        if not isinstance(self.environment.runner, WorkerRunner) or options is None:
            return 1
        return max(1, int(options.processes or options.expect_workers or 1))
