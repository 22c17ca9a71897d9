"""The run folder: what is written is on disk, redacted, chained, and read back as it was."""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import stat
import urllib.parse
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reports.chain import Chain
from reports.model import Criterion, Evidence, Level, Limit, Profile, RunError, Status, Undo
from reports.redact import REDACTED, Redactor
from reports.store import Store, create, open_run

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
SECRET = 'p&ss/w0rd+"x\\ é'


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = create(tmp_path, "lab", Profile.SMOKE, now=NOW)
    made.criteria([Criterion("technical.servers", "All 16", "suite", Limit("==", 16, "servers"))])
    return made


def evidence(check: str = "test_a", status: Status = Status.PASS, **fields: object) -> Evidence:
    return Evidence("technical.servers", check, status, samples=1, **fields)  # type: ignore[arg-type]


def test_create_names_the_folder_by_time_and_target_and_links_latest(tmp_path):
    one = create(tmp_path, "lab", Profile.SMOKE, now=NOW)
    two = create(tmp_path, "configs/My Cluster!.yaml", Profile.NIGHTLY, now=NOW)
    three = create(tmp_path, "lab", Profile.SMOKE, now=NOW)
    assert one.path.name == "20261124T093000Z-lab"
    assert two.path.name == "20261124T093000Z-My-Cluster"
    assert three.path.name == "20261124T093000Z-lab-2"
    assert (tmp_path / "latest").readlink() == Path(three.path.name)
    assert open_run(tmp_path / "latest").path == three.path.resolve()
    assert stat.S_IMODE(one.path.stat().st_mode) == 0o700
    assert one.run()["started_at"] == "2026-11-24T09:30:00.000Z"


def test_a_real_folder_called_latest_is_left_alone(tmp_path):
    (tmp_path / "latest").mkdir()
    with pytest.raises(RunError, match="not a link"):
        create(tmp_path, "lab", Profile.SMOKE, now=NOW)


def test_open_run_says_what_is_wrong(tmp_path):
    with pytest.raises(RunError, match="no such run folder") as missing:
        open_run(tmp_path / "nowhere")
    assert missing.value.exit_code == 2
    with pytest.raises(RunError, match=r"no run\.json"):
        open_run(tmp_path)


def test_criteria_come_back_with_expected_checks_once(store):
    for _ in range(2):
        store.expect("technical.servers", "test_a[swarm]")
    store.expect("technical.servers", "test_a[kubernetes]")
    (one,) = store.read_criteria()
    assert one.checks == ("test_a[swarm]", "test_a[kubernetes]")
    assert one.limit == Limit("==", 16, "servers")
    assert one.profiles == frozenset(Profile)
    assert one.shown_at == frozenset(Level)


def test_two_criteria_of_one_id_and_unknown_criteria_are_refused(store):
    twice = [Criterion("a.b", "A", "suite"), Criterion("a.b", "B", "suite")]
    with pytest.raises(RunError, match=r"listed twice: a\.b"):
        store.criteria(twice)
    with pytest.raises(RunError, match="in no catalogue"):
        store.expect("technical.serverz", "test_a")


def test_evidence_comes_back_in_order_and_bytes_survive(store):
    rows = [
        evidence(observed=float("nan")),
        evidence(why="\udcff\x00\x1b[31m", data={"list": (1, None), "nested": {"b": 1.5}}),
        evidence(status=Status.FAIL, side="swarm", observed="text", attempt=2),
    ]
    for row in rows:
        store.evidence(row)
    found = store.read_evidence()
    assert [row.status for row in found] == [Status.PASS, Status.PASS, Status.FAIL]
    assert found[0].observed == "nan"
    assert found[1].why == "\udcff\x00\x1b[31m"
    assert found[1].data == {"list": [1, None], "nested": {"b": 1.5}}
    assert found[2].attempt == 2
    assert all(row.at.endswith("Z") for row in found)


def test_rows_of_many_processes_make_one_chain(store):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_write_rows, args=(store.path, index)) for index in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert len(store.read_evidence()) == 40
    assert store.problems() == ()


def _write_rows(path: Path, index: int) -> None:
    for number in range(10):
        Store(path).evidence(evidence(f"test_{index}_{number}"))


def test_a_cut_tail_leaves_the_valid_prefix_and_is_reported(store):
    store.evidence(evidence("test_a"))
    store.evidence(evidence("test_b"))
    file = store.path / "evidence.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    assert [row.check for row in store.read_evidence()] == ["test_a"]
    assert "line 2: cut mid-line" in store.problems()[0]


def test_appending_after_a_cut_tail_keeps_its_bytes_and_says_so(store):
    store.evidence(evidence("test_a"))
    file = store.path / "evidence.jsonl"
    with file.open("ab") as out:
        out.write(b'{"check":"half')
    store.evidence(evidence("test_b"))
    assert [row.check for row in store.read_evidence()] == ["test_a", "test_b"]
    assert (store.path / "evidence.jsonl.torn").read_bytes() == b'{"check":"half\n'
    assert "cut by a kill" in store.problems()[0]


@pytest.mark.parametrize("change", ["edit", "remove", "swap", "space", "rehash"])
def test_every_edit_of_a_row_breaks_the_chain(store, change):
    for name in ("test_a", "test_b", "test_c"):
        store.evidence(evidence(name, Status.FAIL))
    file = store.path / "evidence.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    if change == "edit":
        lines[1] = lines[1].replace(b"FAIL", b"PASS")
    elif change == "remove":
        del lines[1]
    elif change == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    elif change == "space":
        lines[1] = lines[1].replace(b'","', b'", "', 1)
    else:
        row = json.loads(lines[1])
        forged = Chain(store.path / "forged.jsonl")
        forged.append({key: value for key, value in row.items() if key not in {"prev", "hash"}})
        lines[1] = forged.path.read_bytes()
    file.write_bytes(b"".join(lines))
    assert [row.check for row in store.read_evidence()] == ["test_a"]
    assert "evidence.jsonl line 2" in store.problems()[0]


def test_undo_is_open_until_it_is_done(store):
    store.undo(Undo("1", "kill", "node1", ("docker", "start", "x")))
    store.undo(Undo("2", "drain", "node2", ("kubectl", "uncordon", "node2")))
    store.undo(Undo("1", "kill", "node1", (), done=True))
    assert [record.id for record in store.read_undo()] == ["2"]
    assert store.read_undo()[0].argv == ("kubectl", "uncordon", "node2")


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
        urllib.parse.quote(SECRET),
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote_plus(SECRET),
        json.dumps(SECRET)[1:-1],
    ],
)
def test_no_form_of_a_secret_reaches_any_file(store, form):
    store.add_secret(SECRET)
    store.evidence(evidence(why=f"url http://u:{form}@host", data={form: [form]}))
    store.write_text("logs/a.txt", f"password={form}\n")
    store.write_json("config.json", {"db": form})
    store.undo(Undo("1", f"say {form}", "node1", (form,)))
    for file in store.files():
        assert form.encode() not in file.read_bytes(), file
    assert REDACTED in (store.path / "logs/a.txt").read_text()
    assert store.problems() == ()


def test_a_secret_learnt_late_is_taken_out_when_the_run_is_sealed(store):
    store.evidence(evidence(why=f"saw {SECRET}"))
    (store.folder("logs") / "raw.log").write_text(f"raw {SECRET}")
    store.samples_dir.joinpath("rows.bin").write_bytes(SECRET.encode())
    store.add_secret(SECRET)
    store.seal()
    assert REDACTED in (store.path / "logs/raw.log").read_text()
    assert store.read_evidence()[0].why == f"saw {REDACTED}"
    assert store.problems() == ()
    assert store.samples_dir.joinpath("rows.bin").read_bytes() == SECRET.encode(), (
        "fixed rows are never rewritten"
    )


def test_secrets_file_is_learnt_and_a_bad_one_is_refused(store, tmp_path):
    named = tmp_path / "secrets.json"
    named.write_text(json.dumps({"db": base64.b64encode(b"hunter2!").decode()}))
    store.add_secrets_file(named)
    store.write_text("a.txt", "hunter2!")
    assert (store.path / "a.txt").read_text() == REDACTED
    named.write_text('{"db": "***"}')
    with pytest.raises(RunError, match="cannot be read"):
        store.add_secrets_file(named)


def test_redactor_leaves_short_values_and_numbers_of_others_alone():
    redactor = Redactor()
    redactor.add("ab")
    redactor.add("  \n")
    redactor.add("12345678")
    assert redactor.json({"n": 12345678, "m": 1234567, "t": "ab"}) == {"n": REDACTED, "m": 1234567, "t": "ab"}


def test_overlong_text_is_cut_with_its_length(store):
    store.evidence(evidence(why="x" * 1_000_000))
    why = store.read_evidence()[0].why
    assert len(why) < 70_000
    assert why.endswith("… [1000000 characters]")
    assert store.problems() == ()


@pytest.mark.parametrize("rel", ["../out.txt", "/etc/out.txt", "a/../../out.txt"])
def test_no_file_is_written_outside_the_run(store, rel):
    with pytest.raises(RunError, match="inside its folder"):
        store.write_text(rel, "x")


def test_files_are_private_and_writing_leaves_no_temporary(store):
    path = store.write_text("logs/a.txt", "\udc80 text")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "\\udc80 text"
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


def test_a_folder_that_cannot_be_written_ends_with_code_3(store, monkeypatch):
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(RunError, match="No space left on device") as text:
        store.write_text("a.txt", "x")
    with pytest.raises(RunError, match="No space left on device") as row:
        store.evidence(evidence())
    assert (text.value.exit_code, row.value.exit_code) == (3, 3)


def test_unreadable_json_names_the_file(store):
    (store.path / "steps.json").write_text("{")
    with pytest.raises(RunError, match=r"steps\.json: not readable JSON") as bad:
        store.read_steps()
    assert bad.value.exit_code == 3
    store.write_json("steps.json", {"a": 1})
    with pytest.raises(RunError, match="expected a list, found dict"):
        store.read_steps()


def test_seal_lists_every_file_and_resealing_renews_rendered_ones_only(store):
    store.write_text("logs/a.txt", "a")
    store.write_text("report.md", "one")
    store.seal()
    sealed = store.read_manifest()
    assert set(sealed) == {"run.json", "criteria.jsonl", "logs/a.txt", "report.md"}
    store.write_text("logs/a.txt", "b")
    store.write_text("report.md", "two")
    store.reseal_rendered()
    again = store.read_manifest()
    assert again["logs/a.txt"] == sealed["logs/a.txt"]
    assert again["report.md"] != sealed["report.md"]


def test_a_collection_is_expected_in_one_write_and_nothing_of_a_bad_one(tmp_path):
    store = create(tmp_path, "lab", Profile.SMOKE)
    store.criteria([Criterion("a.one", "One", "suite", red_proof="x at level stub")])
    store.expect_all([("a.one", "t1"), ("a.one", "t2"), ("a.one", "t1")])
    store.expect("a.one", "t2")
    assert open_run(store.path).read_criteria()[0].checks == ("t1", "t2")
    assert open_run(store.path).read_criteria()[0].red_proof == "x at level stub"
    with pytest.raises(RunError, match="in no catalogue"):
        store.expect_all([("a.one", "t3"), ("no.such", "t4")])
    assert open_run(store.path).read_criteria()[0].checks == ("t1", "t2")
