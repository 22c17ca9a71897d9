"""The Locust listener: exact rows from events, readings, first errors, an end."""

import json
import time

from loadtests.record import FINISHED, RunLog, read_log
from loadtests.sample import ErrorKind, Sample, read_samples


def sample(*, side: int = 0, error: ErrorKind = ErrorKind.NONE, late_ns: int = 0) -> Sample:
    now = time.monotonic_ns()
    sent = 0 if error is ErrorKind.DROPPED else now + late_ns
    return Sample(now, sent, now + late_ns + 1, 1, 2, 0, 200, 0, side, error, 0)


def fire(log: RunLog, **fields) -> None:
    """Call the listener with what Locust passes."""
    event = {
        "request_type": "GET",
        "name": "swarm health",
        "response_time": 1.0,
        "response_length": 2,
        "exception": None,
        "context": {},
        "start_time": 0.0,
        "url": "http://127.0.0.1:1",
    }
    log.on_request(**{**event, **fields})


def test_the_exact_sample_of_an_event_is_kept_and_others_are_not(tmp_path):
    log = RunLog(tmp_path)
    exact = sample()
    fire(log, context={"sample": exact}, response_time=999.0)
    fire(log)
    fire(log, context=None)
    fire(log, context={"sample": "no"})
    log.rounds = 3
    log.close(FINISHED)
    fire(log, context={"sample": exact})
    log.close("stopped")
    rows = read_samples(tmp_path / "requests.bin")
    assert len(rows) == 1
    assert rows[0]["planned_ns"] == exact.planned_ns
    assert read_log(tmp_path / "generator.jsonl").end == {"end": "finished", "rounds": 3}


def test_a_tick_makes_rows_readable_and_counts_by_side(tmp_path):
    log = RunLog(tmp_path)
    log.start(123, exact_timer=True)
    log.append(sample())
    log.append(sample(side=1, error=ErrorKind.TIMEOUT, late_ns=2_000_000))
    log.append(sample(side=1, error=ErrorKind.DROPPED))
    log.tick()
    assert len(read_samples(tmp_path / "requests.bin")) == 3
    lines = read_log(tmp_path / "generator.jsonl")
    assert lines.head["start_ns"] == 123
    assert len(lines.ticks) == len(log.ticks) == 2
    last = json.loads((tmp_path / "generator.jsonl").read_text().splitlines()[-1])
    assert last["sent"] == {"swarm": 1, "kubernetes": 1}
    assert last["errors"] == {"swarm": 0, "kubernetes": 2}
    assert (last["late"], last["dropped"]) == (1, 1)
    log.close(FINISHED)


def test_what_the_first_error_of_a_kind_said_is_kept_once(tmp_path):
    log = RunLog(tmp_path)
    for detail in ("first", "second"):
        log.first_error("swarm", "one", ErrorKind.TIMEOUT, detail)
    log.first_error("swarm", "one", ErrorKind.STATUS, "x" * 9999)
    log.close(FINISHED)
    first, second = read_log(tmp_path / "generator.jsonl").errors
    assert (first["server"], first["error"], first["detail"]) == ("one", "timeout", "first")
    assert len(second["detail"]) == 400


def test_lines_that_a_kill_cut_are_read_up_to_the_cut(tmp_path):
    log = RunLog(tmp_path)
    log.start(5, exact_timer=False)
    log.close(FINISHED)
    path = tmp_path / "generator.jsonl"
    path.write_bytes(path.read_bytes()[:-4])
    assert read_log(path).end == {}
    assert read_log(path).head["start_ns"] == 5
    assert read_log(tmp_path / "none").ticks == ()
