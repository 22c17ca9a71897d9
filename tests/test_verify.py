"""verify: any edited byte is found, and a forged result does not survive being computed again."""

from __future__ import annotations

import json
import random
import shutil

import pytest

from reports.model import RunError
from reports.render import render_all
from reports.store import MANIFEST, Store
from reports.verify import verify
from tests.sample_run import sample_run


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    return sample_run(tmp_path_factory.mktemp("sealed"), failing=2)


@pytest.fixture
def run(sealed, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(sealed.path, path)
    return Store(path)


def said(store: Store) -> str:
    return "\n".join(str(problem) for problem in verify(store.path))


def test_an_untouched_run_has_no_problem(run):
    assert verify(run.path) == ()


def test_a_run_rendered_again_has_no_problem(run):
    render_all(run)
    assert verify(run.path) == ()


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError):
        verify(tmp_path)


def test_one_flipped_byte_of_any_file_is_found(run):
    draw = random.Random(5)
    for path in [*run.files(), run.path / MANIFEST]:
        whole = path.read_bytes()
        at = draw.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << draw.randrange(8))]) + whole[at + 1 :])
        assert verify(run.path), f"{path.name} byte {at}"
        path.write_bytes(whole)
    assert verify(run.path) == ()


def test_missing_added_and_linked_files_are_named(run):
    (run.path / "losses.json").unlink()
    (run.path / "notes.txt").write_text("x")
    (run.path / "link").symlink_to("run.json")
    text = said(run)
    assert "losses.json: is missing" in text
    assert "notes.txt: was added" in text
    assert "link: is a link" in text


def test_a_missing_seal_is_a_problem(run):
    (run.path / MANIFEST).unlink()
    assert f"{MANIFEST}: is missing or empty" in said(run)


def test_an_edited_row_is_found_under_a_new_seal(run):
    path = run.path / "evidence.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"FAIL"', b'"PASS"').replace(b"15.0", b"16.0"))
    run.seal()
    assert "hash chain broken" in said(run)


def test_a_forged_verdict_is_found_under_a_new_seal(run):
    report = run.read_json("report.json")
    report["verdict"], report["exit_code"] = "GO", 0
    run.write_json("report.json", report)
    run.seal()
    assert (
        "report.json: is not what the evidence gives (NO-GO (smoke, lab-upstream) when computed again)"
        in said(run)
    )


@pytest.mark.parametrize("name", ["report.html", "report.md", "junit.xml"])
def test_a_forged_page_is_found_under_a_new_seal(run, name):
    path = run.path / name
    path.write_text(path.read_text().replace("FAIL", "PASS"))
    run.seal()
    assert f"{name}: is not what the evidence gives" in said(run)


def test_forged_windows_are_found_under_a_new_seal(run):
    path = run.path / "load/windows.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["kubernetes_ms"] *= 0.5
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    render_all(run)
    run.seal()
    assert "load/comparison.json: is not what load/windows.jsonl gives" in said(run)


def test_a_comparison_that_its_evidence_does_not_say_is_found(run):
    said_before = run.read_json("load/comparison.json")
    said_before["inputs"]["rules"]["margin_ratio"] = 0.5
    from reports.compare import compare, read_inputs

    rules, conditions, counts = read_inputs(said_before)
    run.write_json("load/comparison.json", compare(run.read_windows(), counts, rules, conditions).to_json())
    render_all(run)
    run.seal()
    assert "has no row of load::paired that says what load/comparison.json gives" in said(run)


@pytest.mark.parametrize(
    "name", ["run.json", "criteria.jsonl", "load/comparison.json", "steps.json", "waivers.json"]
)
@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"a": 1}', '[{"a": 1}]'])
def test_garbage_in_any_file_is_reported_not_raised(run, name, content):
    (run.path / name).write_text(content)
    run.seal()
    assert verify(run.path)
