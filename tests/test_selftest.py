"""The selftest: what it takes for a criterion to be proven, and the real thing on the no-op target."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fixtures.commands import check
from fixtures.runbooks import read_runbooks
from provisioners import noop
from reports.model import Finding, Status
from verbs.inputs import read_inputs
from verbs.mutations import MUTATIONS, NOISY, READING, TRAFFIC, Mutation, write_given
from verbs.parse import wrong_with
from verbs.selftest import Proof, prove
from verbs.signoff import read_signoffs

ROOT = Path(__file__).resolve().parent.parent
SERVERS = Mutation("server:x", "a server is down", ("technical.servers",))
TRAINING = Mutation("input:signoffs", "over", ("operational.training",))


def found(*pairs: tuple[str, Status]) -> dict[str, Finding]:
    return {
        name: Finding(
            name, status, blocking=True, observed=None, limit="", unit="", samples=1, why="w", evidence=(1,)
        )
        for name, status in pairs
    }


def proof(before: Status, broken: Status, after: Status, mutation: Mutation = SERVERS) -> Proof:
    name = mutation.reds[0]
    runs = found((name, before)), {READING: found((name, broken))}, found((name, after))
    (one,) = prove([mutation], *runs, whole=False)
    return one


@pytest.mark.parametrize(
    ("before", "broken", "after", "shown"),
    [
        (Status.PASS, Status.FAIL, Status.PASS, True),
        (Status.NOT_RUN, Status.FAIL, Status.NOT_RUN, True),
        (Status.PASS, Status.PASS, Status.PASS, False),  # stays green on a broken thing
        (Status.PASS, Status.INCONCLUSIVE, Status.PASS, False),
        (Status.PASS, Status.FAIL, Status.FAIL, False),  # does not come back
        (Status.FAIL, Status.FAIL, Status.FAIL, False),  # red before anything was broken
        (Status.PASS, Status.FAIL, Status.INCONCLUSIVE, False),
        (Status.PASS, Status.MANUAL, Status.PASS, True),
    ],
)
def test_only_what_turned_red_and_came_back_is_shown(before, broken, after, shown):
    mutation = TRAINING if broken is Status.MANUAL else SERVERS
    assert proof(before, broken, after, mutation).shown is shown


def test_a_noisy_result_may_differ_but_not_be_red():
    name = "performance.response"
    assert name in NOISY
    mutation = Mutation("slow", "slow", (name,), TRAFFIC)
    for after, back in ((Status.PASS, True), (Status.INCONCLUSIVE, True), (Status.FAIL, False)):
        runs = found((name, Status.INVALID)), {TRAFFIC: found((name, Status.FAIL))}, found((name, after))
        assert prove([mutation], *runs, whole=False)[0].back is back


def test_a_criterion_that_nothing_is_aimed_at_is_listed_and_not_shown():
    before = found(
        ("technical.servers", Status.PASS), ("phase3.dns_update", Status.PASS), ("phase4.hpa", Status.NOT_RUN)
    )
    proofs = prove(
        [SERVERS], before, {READING: found(("technical.servers", Status.FAIL))}, before, whole=True
    )
    assert [(one.criterion, one.shown) for one in proofs] == [
        ("technical.servers", True),
        ("phase3.dns_update", False),
    ]
    assert "no mutation is aimed at it" in proofs[1].why


def test_every_word_of_the_twin_is_used():
    words = {one.word.partition(":")[0] for one in MUTATIONS if not one.of_input}
    assert words == {word.partition(":")[0] for word in noop.MUTATIONS}
    assert len({one.word for one in MUTATIONS}) == len(MUTATIONS)


def test_what_is_given_is_sound_unless_it_is_meant_to_be_broken(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "ask_gonogo", lambda lines: [wrong_with(line) for line in lines])
    sound = write_given(tmp_path / "sound", frozenset())
    names = frozenset(one.of_input for one in MUTATIONS if one.of_input)
    broken = write_given(tmp_path / "broken", names)
    assert (sound.runbooks, sound.compose, sound.kubeconfig, sound.unlabelled) == (None, None, None, False)
    assert read_inputs(sound.inputs) != read_inputs(broken.inputs)
    assert {one.until for one in read_signoffs(sound.signoffs)} == {"2999-12-31"}
    assert {one.until for one in read_signoffs(broken.signoffs)} == {"2020-12-31"}
    assert broken.runbooks
    assert broken.compose
    assert broken.kubeconfig
    assert all(book.problems for book in read_runbooks(broken.runbooks))
    assert yaml.safe_load(broken.compose.read_text())["services"]
    assert broken.kubeconfig.stat().st_mode & 0o077
    assert broken.unlabelled


@pytest.mark.noop
def test_broken_servers_turn_red_and_come_back(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "gonogo.py"), "selftest", "-k", "primary server", "--json"],
        capture_output=True, text=True, timeout=400, cwd=tmp_path, check=False,
        env={**os.environ, "GONOGO_STATE": str(tmp_path / "state"), "CI": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout
    assert [(one["criterion"], one["broken"]) for one in json.loads(done.stdout)] == [
        ("phase2.primary_tier", "FAIL")
    ]
    assert list(tmp_path.iterdir()) == [tmp_path / "state"]
