"""How the rate of a load run goes over time: steady, ramp, spike, soak. Stdlib only.

A shape is a list of stages: a share of the measured time, and the factor of the profile's
rate at its start and at its end, straight in between. The shape lies in the schedule, not
in a number of users: a slow server gets the same requests at the same times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

STEADY = "steady"
RAMP = "ramp"
SPIKE = "spike"
SOAK = "soak"


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the measured time, and the factors of the rate at its two ends (0..1)."""

    share: float
    start: float
    end: float

    @property
    def mean(self) -> float:
        """The mean factor of the stage."""
        return (self.start + self.end) / 2


SHAPES: dict[str, tuple[Stage, ...]] = {
    STEADY: (Stage(1.0, 1.0, 1.0),),
    # The same as steady, by another name: what differs is the profile's length.
    SOAK: (Stage(1.0, 1.0, 1.0),),
    # From a tenth to the full rate, which is then held long enough to be judged.
    RAMP: (Stage(0.7, 0.1, 1.0), Stage(0.3, 1.0, 1.0)),
    # A quarter of the rate, all of it at once, and back: the time after it shows the recovery.
    SPIKE: (Stage(0.4, 0.25, 0.25), Stage(0.2, 1.0, 1.0), Stage(0.4, 0.25, 0.25)),
}


def is_flat(shape: str) -> bool:
    """Return whether the rate never changes."""
    return all(stage.start == stage.end == 1.0 for stage in SHAPES[shape])


def first_factor(shape: str) -> float:
    """Return the factor with which a shape begins: that of the warm-up."""
    return SHAPES[shape][0].start


def mean_factor(shape: str) -> float:
    """Return the mean factor over the measured time."""
    return sum(stage.share * stage.mean for stage in SHAPES[shape])


def time_of(shape: str, sends: float, rate_per_s: float, duration_s: float) -> float:
    """Return after how many seconds of measured time `sends` sends (a real number) are planned.

    Beyond the last stage the last factor holds.
    """
    begin_s = 0.0
    for stage in SHAPES[shape]:
        length_s = stage.share * duration_s
        inside = stage.mean * rate_per_s * length_s
        if sends <= inside:
            return begin_s + _within(stage, sends, rate_per_s, length_s)
        sends -= inside
        begin_s += length_s
    return begin_s + sends / (rate_per_s * SHAPES[shape][-1].end)


def _within(stage: Stage, sends: float, rate_per_s: float, length_s: float) -> float:
    """Invert the count of sends since the start of a stage: a line's area is a square."""
    start = stage.start * rate_per_s
    slope = (stage.end - stage.start) * rate_per_s / length_s
    if slope == 0:
        return sends / start
    return (math.sqrt(start * start + 2 * slope * sends) - start) / slope
