"""The generator's eye on itself: each flag goes up within a second of its cause, and not without one."""

from collections.abc import Callable, Iterator

from loadtests.host import Tick
from loadtests.watch import CPU, DROPPED, EVERY_S, LAG, STEAL, Limits, Reading, Watch

SECOND = 1_000_000_000
STEP = round(EVERY_S * SECOND)


def ticks(
    cpu: Callable[[float], float] = lambda _t: 0.1,
    steal: Callable[[float], float] = lambda _t: 0.0,
    seconds: float = 6.0,
) -> Iterator[Tick]:
    """Readings every EVERY_S of a machine with two CPUs; `cpu` and `steal` are shares at a time in s."""
    cpu_ns = stolen = 0.0
    for number in range(int(seconds / EVERY_S)):
        at = number * EVERY_S
        yield Tick(number * STEP, round(stolen), round(2 * 100 * at), round(cpu_ns))
        cpu_ns += cpu(at) * STEP
        stolen += steal(at) * 2 * 100 * EVERY_S


def first_flag(watch: Watch, readings: Iterator[Tick], flag: str) -> float | None:
    for tick in readings:
        if flag in watch.look(tick).flags:
            return tick.at_ns / SECOND
    return None


def test_a_quiet_generator_is_never_flagged():
    watch = Watch()
    for tick in ticks():
        watch.sends += 250
        watch.over += 2
        reading = watch.look(tick)
        assert isinstance(reading, Reading)
        assert reading.flags == ()


def test_a_busy_loop_is_flagged_within_a_second():
    at = first_flag(Watch(), ticks(cpu=lambda t: 1.0 if t >= 3 else 0.1), CPU)
    assert at is not None
    assert 3 < at <= 4


def test_cpu_just_under_the_limit_is_not_flagged():
    assert first_flag(Watch(), ticks(cpu=lambda _t: 0.88), CPU) is None


def test_stolen_time_is_flagged_within_a_second():
    at = first_flag(Watch(), ticks(steal=lambda t: 0.10 if t >= 3 else 0.0), STEAL)
    assert at is not None
    assert 3 < at <= 4
    assert first_flag(Watch(), ticks(steal=lambda _t: 0.01), STEAL) is None


def test_late_sends_are_flagged_by_their_share_and_counted_anew_each_time():
    watch = Watch(Limits(lag_ns=500_000))
    readings = iter(ticks())
    for sends, over, flagged in ((100, 1, False), (100, 2, True), (100, 0, False), (0, 0, False)):
        watch.sends, watch.over = sends, over
        assert (LAG in watch.look(next(readings)).flags) is flagged
    watch.dropped = 1
    assert watch.look(next(readings)).flags == (DROPPED,)
    assert watch.look(next(readings)).flags == ()
