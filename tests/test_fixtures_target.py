"""fixtures.target and fixtures.inside: what a run folder gives, and looking from inside a replica."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, cast

import pytest

from fixtures.inside import CannotLook, look_inside
from fixtures.target import read_run
from provisioners.base import Bundle, Cluster, Replica, ServiceSpec, Side
from provisioners.errors import InputError
from provisioners.shell import CommandResult
from provisioners.targets import save_bundle, save_cluster, save_workload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from provisioners.base import Target

SPEC = ServiceSpec("hubspot", "primary", 1, (9017,), ("ai-memory",), mcp=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cluster.json").write_text(save_cluster(Cluster("noop", "stub")), encoding="utf-8")
    (tmp_path / "workload.json").write_text(save_workload([SPEC]), encoding="utf-8")
    return tmp_path


def test_run_folder(folder: Path) -> None:
    run = read_run(folder)
    assert run.cluster.kind == "noop"
    assert run.workload == (SPEC,)


@pytest.mark.parametrize(
    ("file", "text"), [("cluster.json", "{}"), ("workload.json", "[1]"), ("workload.json", "")]
)
def test_folder_that_is_no_run(file: str, text: str, folder: Path) -> None:
    (folder / file).write_text(text, encoding="utf-8")
    with pytest.raises(pytest.UsageError, match="cannot be read as a run folder"):
        read_run(folder)


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(pytest.UsageError, match=r"cluster\.json"):
        read_run(tmp_path / "nowhere")


def test_bundle_gets_its_secrets_from_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle(Side.SWARM, "ns", {"a.yaml": "x: 1\n"}, (SPEC,), {"password": b"s3cret"})
    (folder / "manifests" / "swarm").mkdir(parents=True)
    text = save_bundle(bundle)
    assert "s3cret" not in text
    (folder / "manifests" / "swarm" / "bundle.json").write_text(text, encoding="utf-8")
    secrets = folder / "secrets.json"
    secrets.write_text(json.dumps({"password": base64.b64encode(b"s3cret").decode()}), encoding="utf-8")
    monkeypatch.setenv("GONOGO_SECRETS_FILE", str(secrets))
    assert read_run(folder).bundle(Side.SWARM) == bundle
    monkeypatch.delenv("GONOGO_SECRETS_FILE")
    with pytest.raises(InputError, match="no value for 1 secret"):
        read_run(folder).bundle(Side.SWARM)


@pytest.mark.parametrize("node", ["a test of our own may call its argument so"])
def test_names_of_checks_are_free_elsewhere(node: str) -> None:
    assert node


class Says:
    """A target whose replicas answer one thing to whatever is run in them."""

    def __init__(self, stdout: str, returncode: int | None = 0) -> None:
        self.result = CommandResult((), "node1", returncode, stdout, "no such file", 0.1)
        self.asked: Sequence[str] = ()

    def exec(self, replica: Replica, argv: Sequence[str], timeout_s: float = 30.0) -> CommandResult:
        del replica, timeout_s
        self.asked = argv
        return self.result


REPLICA = Replica("a", "net-probe", "node1", "10.0.0.1", ready=True)


def test_look_reads_the_last_json_line() -> None:
    target = Says('warning: {\n{"ok": false, "error": "gaierror"}\n', 1)
    assert look_inside(cast("Target", target), REPLICA, ["resolve", "x"]) == {
        "ok": False,
        "error": "gaierror",
    }
    assert list(target.asked) == ["gonogo-probe", "resolve", "x"]


@pytest.mark.parametrize(("stdout", "returncode"), [("", 127), ("[1]", 0), ('{"ok": true}', None), ("{", 0)])
def test_look_without_eyes_is_no_finding(stdout: str, returncode: int | None) -> None:
    with pytest.raises(CannotLook, match="net-probe on node1"):
        look_inside(cast("Target", Says(stdout, returncode)), REPLICA, ["resolve", "x"])
    assert not issubclass(CannotLook, AssertionError)
