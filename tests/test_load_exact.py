"""The exact log of any locustfile: every request, its label, and why it does not count."""

import json
from functools import partial
from typing import Any

import numpy as np
import pytest

from loadtests import exact_summary
from loadtests.errors import LoadInputError, LoadRefused
from loadtests.exact_log import CLOSED, OPEN, ExactLog, MergedExactLog, Observed, ShippedExactLog
from loadtests.exact_summary import summarize_exact
from loadtests.run_file import run_locustfile
from loadtests.sample import ErrorKind, read_samples

MS = 1_000_000


def seen(
    start_ns: int, took_ms: float, *, name: str = "/a", failure: str = "", late_ms: float = 0.0
) -> Observed:
    return Observed(
        method="GET",
        name=name,
        planned_ns=start_ns,
        sent_ns=start_ns + round(late_ms * MS),
        done_ns=start_ns + round((late_ms + took_ms) * MS),
        size_bytes=5,
        status=0 if failure else 200,
        failure=failure,
        planned=late_ms > 0,
    )


def test_every_request_is_kept_and_the_warm_up_is_left_out(tmp_path):
    log = ExactLog(tmp_path, CLOSED, warmup_s=1.0)
    for number in range(100):
        log.observe(seen(log.start_ns + 5 * MS * number, 1))  # within the warm-up
        log.observe(seen(log.start_ns + 1000 * MS + 5 * MS * number, 10 + number))
        log.observe(seen(log.start_ns + 1000 * MS + 5 * MS * number, 3, name="/b", failure="refused"))
    log.close()
    log.observe(seen(log.start_ns, 1))
    found = summarize_exact(tmp_path)
    assert (found.requests, found.warmup, found.invalid) == (200, 100, ())
    assert len(read_samples(tmp_path / "requests.bin")) == 300
    one, two = found.rows
    assert (one.method, one.name, one.n, one.errors) == ("GET", "/a", 100, 0)
    assert one.p50_ms == pytest.approx(np.quantile(np.arange(10, 110), 0.5))
    assert one.p99_ms == pytest.approx(np.quantile(np.arange(10, 110), 0.99))
    assert (two.n, two.errors, two.p50_ms) == (0, 100, None)
    assert found.failures == (("GET /b", "refused"),)
    rows = read_samples(tmp_path / "requests.bin")
    assert set(rows["error"]) == {ErrorKind.NONE, ErrorKind.REFUSED}


def test_the_label_says_what_a_closed_loop_cannot_see(tmp_path):
    for loop in (CLOSED, OPEN):
        folder = tmp_path / loop
        folder.mkdir()
        log = ExactLog(folder, loop)
        log.observe(seen(log.start_ns, 2, late_ms=4.0))
        log.close()
        found = summarize_exact(folder).to_json()
        assert found["loop"] == loop
        assert found["label"].startswith(f"{loop} loop")
        assert (found["rows"][0]["p50_ms"], found["rows"][0]["sent_p50_ms"]) == (6.0, 2.0)
    assert "shown, not judged" in summarize_exact(tmp_path / CLOSED).label


def test_two_workers_are_one_log_with_one_table_of_names(tmp_path):
    merged = MergedExactLog(tmp_path, CLOSED, ["w1", "w2"])
    workers = [ShippedExactLog(partial(merged.take, name)) for name in ("w1", "w2")]
    for number in range(10):
        workers[0].observe(seen(workers[0].start_ns + number, 1, name="/a"))
        workers[1].observe(seen(workers[1].start_ns + number, 7, name="/b"))
        workers[1].observe(seen(workers[1].start_ns + number, 3, name="/a"))
    workers[1].tick()
    for worker in workers:
        worker.close()
    assert merged.open == []
    merged.close()
    found = summarize_exact(tmp_path)
    assert (found.workers, found.requests, found.invalid) == (2, 30, ())
    assert {row.name: (row.n, row.p50_ms) for row in found.rows} == {"/a": (20, 2.0), "/b": (10, 7.0)}


@pytest.mark.parametrize("case", ["lost", "silent", "gap"])
def test_a_worker_that_is_not_heard_out_makes_the_run_invalid(tmp_path, case):
    merged = MergedExactLog(tmp_path, CLOSED, ["w1", "w2"])
    messages: list[dict[str, Any]] = []
    worker = ShippedExactLog(messages.append)
    worker.observe(seen(worker.start_ns, 1))
    worker.tick()
    worker.close()
    merged.take("w1", messages[0])
    if case != "gap":
        merged.take("w1", messages[1])
    else:
        merged.take("w1", {**messages[1], "number": 5})
    if case == "lost":
        merged.lose("w2", "lost")
    merged.close()
    (why,) = summarize_exact(tmp_path).invalid
    wanted = {
        "lost": "worker 2 of 2 (w2) lost",
        "silent": "1 of 2 workers",
        "gap": "did not say how they ended",
    }
    assert wanted[case] in why


def test_what_makes_numbers_count_for_nothing(tmp_path, monkeypatch):
    log = ExactLog(tmp_path, CLOSED)
    log.tick()
    assert [why.split(":")[0] for why in summarize_exact(tmp_path).invalid] == [
        "the log has no end",
        "no request was sent outside the warm-up",
    ]
    log.observe(seen(log.start_ns, 1))
    log.fail("a request went to a stranger")
    assert summarize_exact(tmp_path).invalid == ("a request went to a stranger",)
    lines = (tmp_path / "exact.jsonl").read_text().splitlines()
    ticks = [
        {"at_ns": at * 500 * MS, "steal_jiffies": 0, "total_jiffies": at * 100, "cpu_ns": cpu * MS}
        for at, cpu in enumerate((0, 50, 100, 580, 1070, 1100, 1120))
    ]
    text = [line for line in lines if "at_ns" not in line and "end" not in json.loads(line)]
    text += [*map(json.dumps, ticks), json.dumps({"end": "finished"})]
    (tmp_path / "exact.jsonl").write_text("\n".join(text) + "\n")
    assert summarize_exact(tmp_path).invalid == (
        "the generator was saturated: 97% of a core in its busiest second",
    )
    monkeypatch.setattr(exact_summary, "MOST_CPU", 1.0)
    assert summarize_exact(tmp_path).invalid == ()
    stolen = [{**one, "steal_jiffies": place * 5} for place, one in enumerate(ticks)]
    text = [line for line in text if "at_ns" not in line] + [*map(json.dumps, stolen)]
    (tmp_path / "exact.jsonl").write_text("\n".join(text) + "\n")
    assert "the hypervisor took over 2%" in summarize_exact(tmp_path).invalid[0]


def test_what_is_no_exact_log_is_an_input_error(tmp_path):
    with pytest.raises(LoadInputError, match="no exact log"):
        summarize_exact(tmp_path)
    (tmp_path / "exact.jsonl").write_text('{"loop": "sideways"}\n')
    with pytest.raises(LoadInputError, match="not an exact log"):
        summarize_exact(tmp_path)
    assert exact_summary.main([str(tmp_path)]) == 2


def test_a_locustfile_that_cannot_be_run_is_refused_before_anything_is_started(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("")
    good: dict[str, Any] = {"host": "http://127.0.0.1:1", "duration_s": 1.0}
    with pytest.raises(LoadInputError, match="not a file"):
        run_locustfile(tmp_path / "none.py", tmp_path / "out", **good)
    with pytest.raises(LoadRefused, match=r"192\.0\.2\.1"):
        run_locustfile(file, tmp_path / "out", **{**good, "host": "http://192.0.2.1"})
    for fields in ({"duration_s": float("nan")}, {"users": 0}, {"spawn_per_s": -1}, {"cpus": "zero"}):
        with pytest.raises(LoadInputError):
            run_locustfile(file, tmp_path / "out", **{**good, **fields})
    assert not (tmp_path / "out").exists()
