import _thread
import threading
import time

import pytest

from provisioners.base import Step, StepResult
from provisioners.errors import InputError, ProvisionError
from provisioners.steps import QuietProgress, StepsStopped, check_graph, for_each, run_steps


class Recording(QuietProgress):
    def __init__(self) -> None:
        self.lines: list[tuple[object, ...]] = []

    def started(self, name):
        self.lines.append(("started", name))

    def note(self, name, text):
        self.lines.append(("note", name, text))

    def finished(self, name, seconds, cached):
        self.lines.append(("finished", name, cached))

    def failed(self, name, text):
        self.lines.append(("failed", name, text))


def results_of(error: BaseException) -> tuple[StepResult, ...]:
    return error.step_results  # type: ignore[attr-defined, no-any-return]


def quick(_say):
    return None


def test_runs_in_the_order_of_needs_and_reports_each():
    order = []
    steps = [
        Step("c", lambda _: order.append("c"), needs=("a", "b")),
        Step("b", lambda _: order.append("b"), needs=("a",)),
        Step("a", lambda _: order.append("a")),
    ]
    results = run_steps(steps, progress=QuietProgress())
    assert order == ["a", "b", "c"]
    assert [result.name for result in results] == ["a", "b", "c"]
    assert all(not result.cached and not result.error for result in results)
    assert results[0].started_s <= results[1].started_s <= results[2].started_s


def test_independent_steps_overlap():
    both_here = threading.Barrier(2, timeout=5)

    def meet(_say):
        both_here.wait()

    steps = [Step(name, meet) for name in ("a", "b")]
    run_steps(steps, progress=QuietProgress(), workers=2)  # one after the other would break the barrier


def test_a_step_that_is_done_is_cached_and_not_run():
    progress = Recording()

    def never(_say):
        pytest.fail("ran although done")

    (result,) = run_steps([Step("a", never, done=lambda: True)], progress=progress)
    assert result.cached
    assert ("finished", "a", True) in progress.lines


def test_first_failure_lets_running_steps_end_and_starts_no_new_ones():
    release = threading.Event()
    ran = []

    def fails(_say):
        release.set()
        raise ProvisionError("broken")

    def slow(_say):
        assert release.wait(5)
        time.sleep(0.05)
        ran.append("slow")

    steps = [
        Step("slow", slow),
        Step("fails", fails),
        Step("after", lambda _: ran.append("after"), needs=("fails",)),
        Step("later", lambda _: ran.append("later"), needs=("slow",)),
    ]
    with pytest.raises(ProvisionError, match="broken") as caught:
        run_steps(steps, progress=QuietProgress())
    assert ran == ["slow"]
    by_name = {result.name: result for result in results_of(caught.value)}
    assert by_name["fails"].error == "broken"
    assert not by_name["slow"].error
    assert set(by_name) == {"slow", "fails"}


def test_an_interrupt_stops_running_steps_by_their_say():
    seen = []

    def interrupting(_say):
        _thread.interrupt_main()

    def long(say):
        try:
            for _ in range(200):
                say("still here")
                time.sleep(0.02)
        except StepsStopped:
            seen.append("stopped")
            raise

    started = time.monotonic()
    steps = [Step("long", long), Step("trigger", interrupting)]
    with pytest.raises(KeyboardInterrupt) as caught:
        run_steps(steps, progress=QuietProgress())
    assert {result.name for result in results_of(caught.value)} == {"long", "trigger"}
    assert time.monotonic() - started < 3
    assert seen == ["stopped"]


@pytest.mark.parametrize(
    ("steps", "word"),
    [
        ([Step("a", quick), Step("a", quick)], "one name: a"),
        ([Step("a", quick, needs=("b",))], "needs b"),
        ([Step("a", quick, needs=("b",)), Step("b", quick, needs=("a",))], "circle: a, b"),
    ],
)
def test_a_list_that_is_no_graph_is_refused_before_anything_runs(steps, word):
    with pytest.raises(InputError, match=word):
        check_graph(steps)
    with pytest.raises(InputError):
        run_steps(steps, progress=QuietProgress())


def test_for_each_keeps_order_and_raises_after_all_ended():
    ended = []

    def call(number):
        if number == 1:
            raise ProvisionError("one")
        time.sleep(0.02)
        ended.append(number)
        return number * 10

    assert for_each([2, 3], call) == (20, 30)
    ended.clear()
    with pytest.raises(ProvisionError, match="one"):
        for_each([1, 2, 3], call)
    assert sorted(ended) == [2, 3]
    assert for_each([], call) == ()
