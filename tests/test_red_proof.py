"""Red proofs: what ships covers what smoke blocks on and is no older than its checks; how they are kept."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from reports.catalogue import catalogue
from reports.model import Level, Profile, RunError
from reports.red_proof import RedProof, check_sources, code_hash, read_proofs, shipped_proofs, write_proofs
from verbs.selftest import Proof, red_proofs

ROOT = Path(__file__).resolve().parent.parent
SMOKE = [one.id for one in catalogue() if one.blocks(Profile.SMOKE, Level.LAB_UPSTREAM)]
PROOF = RedProof("technical.servers", "server:x", Level.STUB, "FAIL", {"suites/test_a.py::test_b": "12"})
ANEW = "gonogo selftest --write-proofs writes it anew"


@pytest.mark.parametrize("criterion", SMOKE)
def test_what_smoke_blocks_on_was_seen_red_by_the_checks_as_they_are(criterion):
    proof = shipped_proofs().get(criterion)
    assert proof is not None, f"{criterion} was never seen red: {ANEW}"
    changed = proof.stale(check_sources(ROOT / "suites").get(criterion, {}))
    assert not changed, f"changed since {criterion} was seen red: {', '.join(changed)}; {ANEW}"


def test_every_shipped_proof_is_of_a_criterion():
    assert shipped_proofs().keys() <= {one.id for one in catalogue()}


def test_the_checks_of_the_suites_are_found_with_every_criterion_that_they_name():
    found = check_sources(ROOT / "suites")
    check = "suites/platform/test_network_latency.py::"
    for criterion in ("performance.network_latency", "phase2.latency"):
        assert any(name.startswith(check) for name in found[criterion])


def hash_of(text: str) -> str:
    return code_hash(ast.parse(text).body[0])


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("def f():\n    assert x < 1  # of course\n", True),
        ('def f():\n    """Says something."""\n    assert (x\n      < 1)\n', True),
        ("def f():\n    assert x < 2\n", False),
        ("def f():\n    assert x <= 1\n", False),
        ("@mark\ndef f():\n    assert x < 1\n", False),
    ],
)
def test_what_code_does_counts_and_how_it_looks_does_not(text, same):
    assert (hash_of(text) == hash_of("def f():\n    assert x < 1\n")) is same


@pytest.mark.parametrize(
    ("sources", "stale"),
    [
        ({"suites/test_a.py::test_b": "12"}, ()),
        ({"suites/test_a.py::test_b": "13"}, ("suites/test_a.py::test_b",)),
        ({}, ("suites/test_a.py::test_b",)),
        ({"suites/test_a.py::test_b": "12", "suites/test_a.py::new": "1"}, ("suites/test_a.py::new",)),
    ],
)
def test_a_check_that_is_new_gone_or_changed_makes_a_proof_stale(sources, stale):
    assert PROOF.stale(sources) == stale


def test_proofs_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "proofs.json"
    write_proofs(path, [PROOF])
    assert read_proofs(path) == {PROOF.criterion: PROOF}
    assert read_proofs(tmp_path / "none.json") == {}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"version": 2, "proofs": []}',
        '{"version": 1, "proofs": [{"criterion": "a"}]}',
        json.dumps({"version": 1, "proofs": [{"criterion": "a", "mutation": "m", "level": "moon",
                                              "broken": "FAIL", "checks": {}}]}),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_refused_with_the_way_out(tmp_path, text):
    path = tmp_path / "proofs.json"
    path.write_text(text)
    with pytest.raises(RunError, match="selftest --write-proofs"):
        read_proofs(path)


def proof(criterion: str, *, red: bool = True) -> Proof:
    return Proof(criterion, "server:x", "PASS", "FAIL" if red else "PASS", "PASS", red=red, back=True, why="")


def test_only_what_was_shown_is_kept_and_what_was_tried_in_vain_is_dropped():
    kept = {
        "a.old": RedProof("a.old", "m", Level.STUB, "FAIL"),
        "a.lost": RedProof("a.lost", "m", Level.STUB, "FAIL"),
    }
    found = red_proofs([proof("technical.servers"), proof("a.lost", red=False)], kept, ROOT / "suites")
    assert [one.criterion for one in found] == ["a.old", "technical.servers"]
    assert found[1].checks == check_sources(ROOT / "suites")["technical.servers"]
