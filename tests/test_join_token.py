"""The search for join tokens: on this machine for real, and each place where others read one turns it red."""

from __future__ import annotations

import os
import subprocess
import sys
from base64 import b64encode
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fixtures import join_token_search
from fixtures.join_token import (
    JoinTokens,
    Place,
    Searched,
    Wanted,
    bootstrap_tokens,
    find_tokens,
    parse_search,
    read_by,
    read_tokens,
    search_folder,
    search_objects,
)
from fixtures.join_token_search import Search, passable_by, read_wanted
from fixtures.record import Record
from fixtures.security import CannotTell
from fixtures.target import RunInput
from provisioners.base import Cluster, Node
from provisioners.shell import CommandResult
from suites.security import test_join_token as suite

SECRET = "b4x9c1y7k0q2w5e8r3t6u1i9o"
TOKEN = f"SWMTKN-1-{'a' * 50}-{SECRET}"
WANTED = Wanted({"swarm worker token": TOKEN})
HOST = Searched("node1", 90, 4000, 1200)
KEY = Place("node1", "the key of an authority", "/etc/gonogo/pki/ca.key")
SOUND = JoinTokens(("swarm worker token", "swarm manager token"), (replace(HOST, keys=(KEY,)),), (), 40, 20)
CONTROLS = "process\tcontrol\t7\t0\tcmdline\tpython3\nfile\tcontrol\t0644\t0\t0\t2\t/etc/passwd\n"
SEEN = "journal\t1200\nseen\t90\t4000\t1\t0\t0\t1\n"


def test_a_sound_cluster_passes_and_says_what_was_searched():
    record = Record()
    suite.test_nobody_else_reads_what_lets_a_host_join(SOUND, record)
    (seen,) = record.observations
    assert (seen.observed, seen.samples, record.doubt) == (0.0, 4150, "")
    assert "certificates, signed with /etc/gonogo/pki/ca.key of node1" in seen.why
    assert "swarm worker token" in seen.why


@pytest.mark.parametrize(
    "broken",
    [
        replace(SOUND, hosts=(replace(HOST, places=(Place("node1", "t", "/tmp/x", "user 1000"),)),)),
        replace(SOUND, hosts=(replace(HOST, keys=(replace(KEY, readers="every user of the host"),)),)),
        replace(SOUND, elsewhere=(Place("the run's folder", "t", "logs/x", "whoever"),)),
    ],
)
def test_each_place_that_others_read_is_red(broken: JoinTokens):
    record = Record()
    with pytest.raises(AssertionError, match="1 places: "):
        suite.test_nobody_else_reads_what_lets_a_host_join(broken, record)
    assert record.observations[0].observed == 1.0


@pytest.mark.parametrize(
    ("lacking", "why"),
    [
        (replace(SOUND, names=()), "no manager told a join token of the Swarm"),
        (replace(SOUND, hosts=(HOST,)), "nothing was found by which a host joins Kubernetes"),
        (replace(SOUND, hosts=(replace(HOST, keys=(KEY,), doubts=("x",)),)), "node1: x"),
    ],
)
def test_what_was_not_seen_is_never_green(lacking: JoinTokens, why: str):
    record = Record()
    suite.test_nobody_else_reads_what_lets_a_host_join(lacking, record)
    assert why in record.doubt


def test_a_cluster_with_a_token_of_its_own_needs_no_key():
    own = replace(SOUND, names=(*SOUND.names, "K3s token of node1 (token)"), hosts=(HOST,))
    assert (own.how_kubernetes_joins, own.doubts) == ("K3s token of node1 (token)", ())


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "passable", "readers"),
    [
        (0o600, 0, 0, 2, ""),
        (0o644, 0, 0, 2, "every user of the host"),
        (0o644, 0, 0, 0, ""),  # in a folder that nobody enters
        (0o644, 0, 4, 1, "group 4"),
        (0o640, 0, 4, 2, "group 4"),
        (0o640, 0, 0, 2, ""),
        (0o640, 0, 4, 0, ""),
        (0o600, 1000, 0, 0, "user 1000"),
    ],
)
def test_who_reads_a_file_is_told_by_its_mode_and_its_folders(
    mode: int, uid: int, gid: int, passable: int, readers: str
):
    assert read_by(mode, uid, gid, passable) == readers


def test_folders_above_a_file_bound_who_reaches_it(tmp_path: Path):
    inner = tmp_path / "closed"
    inner.mkdir()
    (inner / "file").write_text("x", encoding="utf-8")
    inner.chmod(0o700)
    assert passable_by(str(inner / "file"), os.getgid()) == 0
    assert passable_by("/etc/passwd", 0) == 2


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        SECRET,
        b64encode(TOKEN.encode()).decode(),
        f"docker swarm join --token {TOKEN} 192.0.2.1:2377",
    ],
)
def test_a_token_in_a_file_is_found_in_each_form_and_never_said(tmp_path: Path, text: str):
    (tmp_path / "script.sh").write_bytes(b"\0" * 100 + text.encode() + b"\n")
    (tmp_path / "innocent").write_text("SWMTKN-1-other", encoding="utf-8")
    places, files = search_folder(tmp_path, WANTED)
    assert (len(places), files) == (1, 2)
    assert "script.sh" in places[0].where
    assert SECRET not in repr(places)
    assert SECRET not in repr(WANTED)


def test_a_token_that_lies_across_two_pieces_of_a_file_is_found(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(join_token_search, "_CHUNK", 64)
    (tmp_path / "long").write_bytes(b"x" * 60 + TOKEN.encode() + b"y" * 60)
    assert len(search_folder(tmp_path, WANTED)[0]) == 1


def test_links_large_files_and_a_search_without_time_are_told(tmp_path: Path, monkeypatch):
    (tmp_path / "file").write_text(TOKEN, encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    search = Search(WANTED.to_bytes())
    search.look_at_files([str(tmp_path), str(tmp_path / "absent")])
    assert (search.files, len(search.lines)) == (1, 1)
    monkeypatch.setattr(join_token_search, "LARGEST", 4)
    search = Search(WANTED.to_bytes())
    search.look_at_files([str(tmp_path)])
    assert (search.files, search.too_large, search.lines) == (0, 1, [])
    search.ends = 0.0
    search.look_at_files([str(tmp_path)])
    assert search.seen()[-1] == "0"


@pytest.mark.parametrize(
    ("error", "counts"), [(FileNotFoundError, ("0", "0")), (PermissionError, ("0", "1"))]
)
def test_a_file_that_goes_away_is_nothing_and_one_that_is_closed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError], counts: tuple[str, str]
):
    def refuse(*_: object) -> set[str]:
        raise error

    (tmp_path / "file").write_text(TOKEN, encoding="utf-8")
    monkeypatch.setattr(Search, "_names_in", refuse)
    search = Search(WANTED.to_bytes())
    search.look_at_files([str(tmp_path)])
    assert (search.seen()[2], search.seen()[5]) == counts
    assert search.lines == []


def test_only_folders_of_containers_are_passed_by(tmp_path: Path, monkeypatch):
    for name in ("docker", "containerd"):  # as in /etc: the name alone says nothing
        (tmp_path / name).mkdir()
        (tmp_path / name / "daemon.json").write_text(TOKEN, encoding="utf-8")
    assert len(search_folder(tmp_path, WANTED)[0]) == 2
    monkeypatch.setattr(join_token_search, "PASSED_BY", frozenset({str(tmp_path / "docker")}))
    assert len(search_folder(tmp_path, WANTED)[0]) == 1


def test_a_token_on_a_command_line_and_in_an_environment_is_found():
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()", TOKEN],
        stdin=subprocess.PIPE,
        env={**os.environ, "TOKEN": TOKEN},
    ) as child:
        search = Search(WANTED.to_bytes())
        search.look_at_processes()
        child.communicate(b"")
    rows = {(row[2], row[4]) for row in search.lines}
    assert {(str(child.pid), "cmdline"), (str(child.pid), "environ")} <= rows
    assert search.processes > 1


def test_a_token_in_the_journal_is_found_and_no_journal_is_told():
    search = Search(WANTED.to_bytes())
    search.look_at_journal([sys.executable, "-c", f"print('a'); print('joined with {TOKEN}')"])
    search.look_at_journal(["/no/such/program"])
    assert search.lines == [("journal", "2", "swarm worker token"), ("journal", "-1")]


def test_the_program_that_runs_on_hosts_runs_here_and_finds_its_controls(tmp_path: Path):
    """As on a host: its source on the command line, the values on standard input."""
    source = Path(join_token_search.__file__).read_text(encoding="utf-8")
    source = source.replace(
        "search.look_at_files(ROOTS)", f"search.look_at_files([{str(tmp_path)!r}, '/etc'])"
    )
    (tmp_path / "leak").write_text(SECRET, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", "-c", source, "marker-0123456789"],
        input=WANTED.to_stdin(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    seen = parse_search("here", done.stdout)
    assert "a control that is there was not found" not in seen.doubts
    assert [place.what for place in seen.places] == ["swarm worker token"]
    assert "leak" in seen.places[0].where
    assert SECRET not in done.stdout + done.stderr
    assert read_wanted(WANTED.to_stdin()) == WANTED.to_bytes()


def test_lines_become_places_and_what_was_not_seen_becomes_a_doubt():
    text = (
        CONTROLS
        + "process\tt\t12\t0\tcmdline\tk3s\nprocess\tt\t13\t0\tenviron\tk3s\n"
        + "process\tt\t14\t33\tenviron\tsh\n"
        + "file\tt\t0600\t0\t0\t2\t/root/.bash_history\nkey\t0640\t0\t42\t2\t/etc/kubernetes/pki/ca.key\n"
        + "journal\t10\tt\nseen\t90\t4000\t1\t0\t0\t1\n"
    )
    seen = parse_search("n", text)
    readers = [place.readers for place in seen.places]
    assert readers == ["every user of the host", "", "user 33", "", "its groups"]
    assert "shell history /root/.bash_history" in str(seen.places[3])
    assert [key.readers for key in seen.keys] == ["group 42"]
    assert seen.doubts == ()
    assert parse_search("n", SEEN).doubts == ("a control that is there was not found",)
    assert "its journal shows nothing" in parse_search("n", CONTROLS + SEEN.replace("1200", "-1")).doubts
    assert (
        "2 files could not be read" in parse_search("n", CONTROLS + SEEN.replace("\t0\t1", "\t2\t1")).doubts
    )
    assert len(parse_search("n", "").doubts) == 3


def test_objects_that_are_no_secrets_are_searched():
    meta: dict[str, Any] = {"name": "join", "namespace": "kube-system"}
    rows = [{"kind": "ConfigMap", "metadata": meta, "data": {"a.sh": f"join --token {TOKEN}"}}]
    places, count = search_objects(rows, WANTED)
    assert (len(places), count) == (1, 1)
    assert "kube-system/ConfigMap join" in str(places[0])
    assert search_objects([{"kind": "ConfigMap", "metadata": meta}], WANTED) == ((), 1)


def test_bootstrap_tokens_are_read_of_their_secrets():
    data = {
        "token-id": b64encode(b"abcdef").decode(),
        "token-secret": b64encode(b"0123456789abcdef").decode(),
    }
    kind = "bootstrap.kubernetes.io/token"
    assert bootstrap_tokens([{"type": kind, "data": data}, {"type": "Opaque", "data": data}]) == {
        "bootstrap token abcdef": "abcdef.0123456789abcdef"
    }


@dataclass(frozen=True)
class Door:
    """A host that is a Swarm manager and holds K3s's token, or does not answer."""

    answers: bool = True

    def run(self, argv: Any, **_: Any) -> CommandResult:
        words = tuple(argv)
        if not self.answers:
            return CommandResult(words, "n", 255, "", "no route", 0.1)
        if words[0] == "docker":
            return CommandResult(words, "n", 0, f"{TOKEN}{words[-1]}\n", "", 0.1)
        rows = "/var/lib/rancher/k3s/server/token\tK10ab::server:0123456789abcdef\n"
        return CommandResult(words, "n", 0, rows, "", 0.1)


def test_tokens_of_both_sides_are_read_and_a_silent_host_is_no_verdict(tmp_path: Path):
    node = Node("n", Door())  # type: ignore[arg-type]
    wanted = read_tokens([node, node], None)
    assert set(wanted.values) == {
        "swarm worker token", "swarm manager token", "K3s token of n (token)",
    }  # fmt: skip
    assert "0123456789abcdef" in wanted.all_forms()["K3s token of n (token)"]
    with pytest.raises(CannotTell, match="cannot be searched over SSH: no route"):
        read_tokens([Node("n", Door(answers=False))], None)  # type: ignore[arg-type]
    with pytest.raises(CannotTell, match="no hosts"):
        find_tokens(RunInput(tmp_path, Cluster("noop", "stub"), ()))
