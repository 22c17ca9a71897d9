"""A run that several workers send: what they ship is one log, and one that is lost breaks it."""

import json
from pathlib import Path
from typing import Any

import pytest

from loadtests.host import Tick, cpu_share, steal_share
from loadtests.plan import make_plan
from loadtests.profile import LoadProfile, LoadTargets, Server
from loadtests.record import read_log
from loadtests.remote import MergedLog, Shipper, Worker, busiest, shifted
from loadtests.sample import ROW_FIELDS, TIMES, TIMES_FIELDS, ErrorKind, Sample, read_samples, read_timings

S = 1_000_000_000


def sample(planned_ns: int, side: int = 0, error: ErrorKind = ErrorKind.NONE, late_ns: int = 1000) -> Sample:
    dropped = error is ErrorKind.DROPPED
    sent_ns = 0 if dropped else planned_ns + late_ns
    return Sample(planned_ns, sent_ns, planned_ns + 5_000_000, 3, 10, 0, 200, 0, side, error, 0)


def tick(at_ns: int, cpu_ns: int, steal: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "at_ns": at_ns,
        "steal_jiffies": steal,
        "total_jiffies": at_ns // 10_000_000,
        "cpu_ns": cpu_ns,
    } | more


def message(number: int, cpus: tuple[int, ...] = (0,), boot: str = "a", **fields: Any) -> dict[str, Any]:
    return {"number": number, "boot": boot, "cpus": list(cpus), **fields}


def rows_of(*samples: Sample) -> dict[str, Any]:
    rows = b"".join(one.pack() for one in samples)
    times = b"".join(TIMES.pack(one.planned_ns + 2_000_000, 7, 0) for one in samples)
    return {"rows": rows, "times": times}


def head(start_ns: int, *, exact: bool = True) -> dict[str, Any]:
    return {"start_ns": start_ns, "wall": "now", "exact_timer": exact, "real_time": True}


@pytest.fixture
def merged(tmp_path):
    url = "http://127.0.0.1:1"
    plan = make_plan(LoadProfile("two", 100, 1, 0), LoadTargets((Server("one", url, url),)))
    log = MergedLog(tmp_path, plan, ["w1", "w2"])
    log.start(100 * S)
    return log


def test_times_of_another_clock_are_moved_and_what_has_none_keeps_none():
    raw = sample(10 * S).pack() + sample(11 * S, error=ErrorKind.DROPPED).pack()
    moved = shifted(raw, ROW_FIELDS, -3 * S)
    assert list(moved["planned_ns"]) == [7 * S, 8 * S]
    assert list(moved["sent_ns"]) == [7 * S + 1000, 0]
    assert list(moved["done_ns"] - moved["planned_ns"]) == [5_000_000] * 2
    assert list(shifted(TIMES.pack(0, 9, 9), TIMES_FIELDS, S)["first_ns"]) == [0]


def test_the_parts_of_two_workers_are_one_log(merged, tmp_path):
    merged.take("w1", message(0, lines=[head(100 * S), tick(100 * S, 0)]))
    merged.take("w2", message(0, boot="b", lines=[head(7 * S), tick(7 * S, 0)]))
    merged.take("w1", message(1, lines=[tick(102 * S, S // 5)], **rows_of(sample(101 * S))))
    late = sample(8 * S, side=1, late_ns=2_000_000)
    lost = sample(8 * S + S // 2, side=1, error=ErrorKind.DROPPED)
    failed = {"error": "dropped", "side": "kubernetes", "server": "one", "detail": "busy"}
    flags = tick(9 * S, S, flags=["lag"])
    merged.take("w2", message(1, boot="b", lines=[failed, flags], **rows_of(late, lost)))
    for name in ("w1", "w2"):
        merged.take(name, message(2, end="finished"))
    assert merged.ended
    merged.close()
    assert (merged.why, merged.broken) == ("", "")
    rows = read_samples(tmp_path / "requests.bin")
    assert list(rows["planned_ns"]) == [101 * S, 101 * S, 101 * S + S // 2]
    assert list(read_timings(tmp_path / "timings.bin")["first_ns"] - rows["planned_ns"]) == [2_000_000] * 3
    log = read_log(tmp_path / "generator.jsonl")
    assert (log.head["start_ns"], log.head["workers"], log.head["exact_timer"]) == (100 * S, 2, True)
    assert log.errors == (failed,)
    assert log.end["end"] == "finished"
    assert [one["rows"] for one in log.end["workers"]] == [1, 2]
    assert cpu_share(log.ticks, 100 * S, 102 * S) == pytest.approx(0.5), "the busier of the two"
    assert log.flagged[0]["flags"] == ["lag"]
    last = json.loads((tmp_path / "generator.jsonl").read_text().splitlines()[-2])
    assert last["sent"] == {"swarm": 1, "kubernetes": 1}
    assert last["errors"] == {"swarm": 0, "kubernetes": 1}
    assert (last["late"], last["dropped"]) == (1, 1)


def test_stolen_time_is_that_of_the_worst_machine(merged, tmp_path):
    merged.take("w1", message(0, lines=[head(100 * S), tick(100 * S, 0), tick(101 * S, 0, steal=10)]))
    merged.take("w2", message(0, boot="b", lines=[head(100 * S), tick(100 * S, 0), tick(101 * S, 0)]))
    merged.close()
    log = read_log(tmp_path / "generator.jsonl")
    assert steal_share(log.ticks, 100 * S, 101 * S) == pytest.approx(0.1)


def test_workers_on_one_core_are_added_up_and_others_are_not():
    ticks = [Tick(0, 0, 0, 0), Tick(S, 0, 0, S // 2)]

    def worker(boot: str, *cpus: int) -> Worker:
        return Worker("w", 0, machine={"boot": boot, "cpus": cpus}, ticks=ticks)

    assert busiest([worker("a", 0), worker("a", 0)], 0, S) == pytest.approx(1.0)
    assert busiest([worker("a", 0), worker("a", 1)], 0, S) == pytest.approx(0.5)
    assert busiest([worker("a", 0), worker("b", 0)], 0, S) == pytest.approx(0.5)
    assert busiest([worker("a", 0, 1), worker("a", 0, 1)], 0, S) == pytest.approx(0.5)
    assert busiest([worker("a", 0, 1)] * 4, 0, S) == pytest.approx(1.0)


def test_a_missing_message_breaks_the_run_and_is_said(merged, tmp_path):
    merged.take("w1", message(0, lines=[head(100 * S)]))
    merged.take("w1", message(2, end="finished"))
    merged.take("w2", message(0, end="finished"))
    merged.close()
    assert "worker 1 of 2 (w1): 1 of its messages are missing" in merged.why
    assert read_log(tmp_path / "generator.jsonl").end["end"] == "stopped"


def test_a_lost_a_silent_and_a_failed_worker_each_break_the_run(tmp_path):
    url = "http://127.0.0.1:1"
    plan = make_plan(LoadProfile("two", 100, 1, 0), LoadTargets((Server("one", url, url),)))
    said = {}
    for case in ("lost", "silent", "failed", "stopped"):
        (tmp_path / case).mkdir()
        log = MergedLog(tmp_path / case, plan, ["w1", "w2"])
        log.take("w1", message(0, end="finished"))
        if case == "lost":
            log.lose("w2", "lost after 0 requests")
        if case == "failed":
            log.take("w2", message(0, end="stopped", broken="killed by SIGKILL"))
        if case == "stopped":
            log.take("w2", message(0, end="stopped"))
        log.close()
        said[case] = log.why
        assert read_log(tmp_path / case / "generator.jsonl").end["end"] == "stopped"
    assert said == {
        "lost": "worker 2 of 2 (w2): lost after 0 requests",
        "silent": "worker 2 of 2 did not say how it ended",
        "failed": "worker 2 of 2 (w2): killed by SIGKILL",
        "stopped": "",
    }


def test_a_stranger_and_a_late_message_change_nothing(merged, tmp_path):
    merged.take("w3", message(0, **rows_of(sample(101 * S))))
    merged.close()
    merged.take("w1", message(0, **rows_of(sample(101 * S))))
    merged.close()
    assert not len(read_samples(tmp_path / "requests.bin"))


class FakeEngine:
    """Gives what a sender would have written, in portions."""

    def __init__(self, *portions: tuple[list[dict[str, Any]], int]) -> None:
        self.folder = Path()
        self._portions = list(portions)
        self._rows = 0

    def lines(self) -> list[dict[str, Any]]:
        lines, self._rows = self._portions.pop(0) if self._portions else ([], 0)
        return lines

    def rows(self) -> Any:
        count, self._rows = self._rows, 0
        return shifted(b"".join(sample(n * S).pack() for n in range(count)), ROW_FIELDS, 0)

    def times_of(self, rows: int) -> bytes:
        return TIMES.pack(1, 1, 1) * rows


def test_a_shipper_numbers_its_messages_and_ends_with_the_log():
    sent: list[dict[str, Any]] = []
    shipper = Shipper(FakeEngine(([head(1)], 0), ([], 3), ([], 0), ([{"end": "finished"}], 1)), sent.append)  # type: ignore[arg-type]
    for _ in range(4):
        shipper.ship()
    assert shipper.ended
    shipper.fail("too late to fail")
    assert [one["number"] for one in sent] == list(range(4))
    assert sent[0]["lines"] == [head(1)]
    assert [len(one.get("rows", b"")) // 40 for one in sent] == [0, 3, 1, 0]
    assert sent[-1]["end"] == "finished"
    failing = Shipper(FakeEngine(), sent.append)  # type: ignore[arg-type]
    failing.fail("killed by SIGKILL")
    assert (sent[-1]["end"], sent[-1]["broken"]) == ("stopped", "killed by SIGKILL")
