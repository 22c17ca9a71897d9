"""Runbooks: our own can be run, and each way in which one can be wrong is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixtures.commands import check
from fixtures.commands.check import ask_gonogo, problems
from fixtures.commands.words import read_script
from fixtures.runbooks import OWN, Runbook, read_runbooks
from verbs.parse import wrong_with

if TYPE_CHECKING:
    from collections.abc import Iterator

TITLE = "# Runbook\n"


@pytest.fixture(scope="module", autouse=True)
def in_this_process() -> Iterator[None]:
    """Ask the command line here: a process of its own for each question takes most of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "ask_gonogo", lambda lines: [wrong_with(line) for line in lines])
        yield


def book(text: str) -> str:
    return f"{TITLE}```sh\n{text}\n```\n"


def words(*lines: str) -> list[tuple[str, ...]]:
    return [command.words for command in read_script(lines).commands]


def test_our_runbooks_cover_the_guide_and_can_be_run():
    ours = read_runbooks(OWN)
    assert {one.name for one in ours} == {
        "backup-and-restore", "deploy-and-upgrade", "incident-response", "node-failure", "rollback-to-swarm",
    }  # fmt: skip
    assert [problem for one in ours for problem in one.problems] == []
    assert min(len(one.commands) for one in ours) >= 15
    used = {command.words[0] for one in ours for command in one.commands}
    assert {"kubectl", "docker", "gonogo"} <= used


BROKEN = [
    ("kubectl gett pods", "no verb 'gett'"),
    ("kubectl get podz", "no kind of object podz"),
    ("kubectl get pods,podz -n x", "no kind of object podz"),
    ("kubectl -n x get", "names no kind"),
    ("kubectl", "without a verb"),
    ("kubectl rollout undone deployment/x", "rollout knows no 'undone'"),
    ("kubectl rollout undo deploymnt/x", "no kind of object deploymnt"),
    ("kubectl top", "needs one more word"),
    ("kubectl exec x -- no-such-program -x", "no program 'no-such-program'"),
    ("sudo no-such-program", "no program 'no-such-program'"),
    ("ssh node1 'ls | no-such-program'", "no program 'no-such-program'"),
    ("echo $(no-such-program)", "no program 'no-such-program'"),
    ('echo "$(no-such-program x)"', "no program 'no-such-program'"),
    ("true && no-such-program", "no program 'no-such-program'"),
    ("cat x | no-such-program > y", "no program 'no-such-program'"),
    ("docker stak deploy", "docker knows no 'stak'"),
    ("docker stack deployed x", "docker stack knows no 'deployed'"),
    ("docker node", "docker node knows no"),
    ("k3s etcd-snapshots", "k3s knows no"),
    ("k3s kubectl gett pods", "no verb 'gett'"),
    ("velero backup creates x", "velero backup knows no 'creates'"),
    ("systemctl restrat k3s", "systemctl knows no 'restrat'"),
    ("gonogo no-such-verb", "No such command"),
    ("gonogo run --profle smoke", "No such option: --profle"),
    ("gonogo signoff operational.training --by Ana", "Missing option '--until'"),
    ("gonogo verify", "Missing argument"),
    (".venv/bin/gonogo lab dwn", "No such command 'dwn'"),
    ("echo $NOWHERE", "$NOWHERE is not set"),
    ("echo 'open", "cannot be read: No closing quotation"),
    ("if true; then ls", "bash:"),
]
SOUND = [
    ["kubectl get pods -A -o wide | tee pods.txt"],
    ["kubectl -n x exec statefulset/y -- psql -U z -c 'SELECT 1; SELECT 2'"],
    ["kubectl apply -f a.yaml", "kubectl delete -f a.yaml"],
    ["export N=x", "kubectl get pods -n $N --selector app=$N 2>&1 > out"],
    ["for N in a b; do", "  kubectl drain $N \\", "    --timeout=5m", "done"],
    ["cat > x.yaml <<EOF", "kind: no-such-program $THING", "EOF", "ls x.yaml"],
    ["awk '{print $NF}' x  # a comment with an ' in it"],
    ["$ ls"],
    ["ls  # gonogo no-such-verb"],
]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Runbook]:
    """Each line and each block in a runbook of its own, all of them read at once."""
    folder = tmp_path_factory.mktemp("runbooks")
    for number, (line, _) in enumerate(BROKEN):
        (folder / f"broken{number}.md").write_text(book(line), encoding="utf-8")
    for number, lines in enumerate(SOUND):
        (folder / f"sound{number}.md").write_text(book("\n".join(lines)), encoding="utf-8")
    return {one.name: one for one in read_runbooks(folder)}


@pytest.mark.parametrize("number", range(len(BROKEN)), ids=[line for line, _ in BROKEN])
def test_a_broken_command_is_seen(read, number):
    said = "\n".join(read[f"broken{number}"].problems)
    assert BROKEN[number][1] in said
    assert f"broken{number}.md:3: " in said


@pytest.mark.parametrize("number", range(len(SOUND)))
def test_a_sound_command_is_believed(read, number):
    assert read[f"sound{number}"].problems == ()


def test_a_runbook_without_a_command_a_title_or_an_end_is_seen(tmp_path):
    path = tmp_path / "one.md"
    for text, said in (
        (TITLE, "holds no command"),
        ("```sh\nls\n```\n", "no title"),
        (f"{TITLE}```sh\nls\n", "not closed"),
        (f"{TITLE}```yaml\nno-such-program: 1\n```\n", "holds no command"),
    ):
        path.write_text(text, encoding="utf-8")
        assert any(said in problem for problem in read_runbooks(tmp_path)[0].problems), text


def test_a_folder_without_runbooks_cannot_be_looked_at(tmp_path):
    with pytest.raises(FileNotFoundError, match="no runbook"):
        read_runbooks(tmp_path)


def test_words_are_split_as_a_shell_does():
    assert words("A=1 B=2 ls -l 'a b' > out 2>&1 && echo ok; cat <in | wc -l") == [
        ("ls", "-l", "a b"), ("echo", "ok"), ("cat",), ("wc", "-l"),
    ]  # fmt: skip


def test_a_process_of_its_own_is_asked_and_says_the_same():
    assert ask_gonogo([["plan", "--json"], ["plan", "--jsn"], ["--version"]])[0::2] == ["", ""]
    assert problems([]) == []
