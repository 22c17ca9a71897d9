"""The log of a load run: packed rows, readings, first errors, an end."""

import json
import time

from loadtests.record import FINISHED, RunLog, read_log
from loadtests.sample import TIMES, ErrorKind, Sample, read_samples, read_timings


def sample(number: int) -> Sample:
    now = time.monotonic_ns()
    return Sample(now, now, now + 1, number, 2, 0, 200, 0, 0, ErrorKind.NONE, 0)


def write(log: RunLog, *samples: Sample) -> None:
    """Hand rows over as the client does: packed, with a timing each."""
    log.write(bytearray().join(one.pack() for one in samples), bytearray(TIMES.pack(1, 2, 3) * len(samples)))


def test_a_tick_makes_rows_readable_and_tells_what_was_counted(tmp_path):
    log = RunLog(tmp_path)
    log.start(123, exact_timer=True)
    write(log, sample(1), sample(2))
    log.totals.sent["kubernetes"] = 2
    log.totals.errors["kubernetes"] = 1
    log.totals.late = log.totals.dropped = 1
    log.tick(flags=["lag"])
    assert read_samples(tmp_path / "requests.bin")["pair"].tolist() == [1, 2]
    lines = read_log(tmp_path / "generator.jsonl")
    assert lines.head["start_ns"] == 123
    assert len(lines.ticks) == len(log.ticks) == 2
    assert [row["flags"] for row in lines.flagged] == [["lag"]]
    last = json.loads((tmp_path / "generator.jsonl").read_text().splitlines()[-1])
    assert last["sent"] == {"swarm": 0, "kubernetes": 2}
    assert last["errors"] == {"swarm": 0, "kubernetes": 1}
    assert (last["late"], last["dropped"]) == (1, 1)
    log.close(FINISHED)


def test_it_is_closed_once_and_says_how_it_ended(tmp_path):
    log = RunLog(tmp_path)
    write(log, sample(1))
    log.rounds = 3
    log.close(FINISHED)
    log.close("stopped")
    log.first_error("swarm", "one", ErrorKind.TIMEOUT, "too late to be kept")
    assert read_log(tmp_path / "generator.jsonl").end == {"end": "finished", "rounds": 3}
    assert read_log(tmp_path / "generator.jsonl").errors == ()
    assert read_timings(tmp_path / "timings.bin")["tls_us"].tolist() == [3]


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
