"""fixtures.backup_velero: without a bucket, a node agent or a volume's bytes a backup is none."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from fixtures import backup_velero, backup_volume
from fixtures.backup_box import Lost
from fixtures.backup_velero import (
    Velero,
    VeleroDrill,
    backup_object,
    backup_problems,
    is_agent,
    read_velero,
    restore_object,
)
from fixtures.target import RunInput
from provisioners.base import Cluster
from provisioners.kube import Listing

if TYPE_CHECKING:
    from pathlib import Path

    from reports.model import Undo

LOCATION = {
    "metadata": {"name": "default", "namespace": "velero"},
    "status": {"phase": "Available"},
}
AGENT = {
    "metadata": {"name": "node-agent", "namespace": "velero"},
    "spec": {
        "template": {"spec": {"containers": [{"command": ["/velero"], "args": ["node-agent", "server"]}]}}
    },
    "status": {"desiredNumberScheduled": 3, "numberReady": 3},
}
SAVED = {"spec": {"volume": "data"}, "status": {"phase": "Completed", "progress": {"totalBytes": 262_200}}}


def changed(row: dict[str, Any], **status: object) -> dict[str, Any]:
    row = copy.deepcopy(row)
    row["status"] = status
    return row


def test_a_whole_velero_lacks_nothing() -> None:
    assert Velero((LOCATION,), (AGENT,)).lacking() == []


@pytest.mark.parametrize(
    ("velero", "why"),
    [
        (Velero((), (AGENT,)), "no bucket"),
        (Velero((LOCATION,), ()), "no node agent"),
        (
            Velero(
                (changed(LOCATION, phase="Unavailable", message="unable to locate ObjectStore plugin"),),
                (AGENT,),
            ),
            "unable to locate ObjectStore plugin",
        ),
        (Velero((changed(LOCATION),), (AGENT,)), "not looked at"),
        (Velero((LOCATION,), (changed(AGENT, desiredNumberScheduled=3, numberReady=1),)), "1 of 3"),
        (Velero((LOCATION,), (changed(AGENT),)), "0 of 0"),
    ],
)
def test_what_velero_lacks_is_named(velero: Velero, why: str) -> None:
    assert why in "; ".join(velero.lacking())


def test_the_node_agent_is_known_by_what_it_runs() -> None:
    assert is_agent(AGENT)
    other = copy.deepcopy(AGENT)
    other["spec"]["template"]["spec"]["containers"] = [{"args": ["server"]}]  # type: ignore[index]
    assert not is_agent(other)


@pytest.mark.parametrize(
    ("backup", "volumes", "why"),
    [
        ({"status": {"phase": "Completed"}}, [], "0 volumes"),  # what it is without a node agent
        ({"status": {"phase": "Completed"}}, [changed(SAVED, phase="Failed")], "0 volumes"),
        ({"status": {"phase": "Completed"}}, [changed(SAVED, phase="Completed")], "no byte"),
        ({"status": {"phase": "PartiallyFailed", "failureReason": "x"}}, [SAVED], "PartiallyFailed: x"),
        ({"status": {"phase": "FailedValidation", "validationErrors": ["no location"]}}, [], "no location"),
        ({}, [SAVED], "absent"),
    ],
)
def test_a_backup_without_volume_data_is_none(
    backup: dict[str, Any], volumes: list[dict[str, Any]], why: str
) -> None:
    assert why in "; ".join(backup_problems(backup, volumes, 1))


def test_a_whole_backup_has_no_problem() -> None:
    assert backup_problems({"status": {"phase": "Completed"}}, [SAVED], 1) == []


def test_the_restore_is_into_another_namespace() -> None:
    backup, restore = backup_object("velero", "n", "r"), restore_object("velero", "n", "n-other", "r")
    assert backup["spec"]["defaultVolumesToFsBackup"] is True
    assert restore["spec"]["namespaceMapping"] == {"n": "n-other"}


class FakeKube:
    """An API server with a Velero whose volumes are saved or not; helpers hold files."""

    server = "https://fake"

    def __init__(self, *, saved: bool = True, agents: int = 1, flaw: str = "") -> None:
        self.saved, self.agents, self.flaw = saved, agents, flaw
        self.made: dict[str, Any] = {}
        self.deleted: list[str] = []

    def get(self, path: str, _query: object = None) -> Any:
        if path == "/apis/velero.io/v1":
            return {"resources": []}
        if "/restores/" in path or "/backups/" in path:
            found = self.made.get(path.rpartition("/")[0])
            return found and {**found, "status": {"phase": "Completed"}}
        if path.endswith("/pods/helper"):
            return {"status": {"phase": "Running"}}
        return None

    def list_all(self, path: str, **_: str) -> Listing:
        if path.endswith("/backupstoragelocations"):
            return Listing((LOCATION,), "1")
        if path.endswith("/daemonsets"):
            return Listing((AGENT,) * self.agents, "1")
        if path.endswith("/podvolumebackups"):
            return Listing((SAVED,) if self.saved else (), "1")
        return Listing((), "1")

    def apply(self, path: str, body: Any) -> Any:
        self.made[path] = body
        return body

    def create(self, path: str, body: Any) -> Any:
        self.made[path] = body
        return body

    def delete(self, path: str, *, grace_s: int | None = None) -> bool:
        self.deleted.append(path)
        return True


class Said:
    def __init__(self) -> None:
        self.undos: list[Undo] = []

    def undo(self, undo: Undo) -> None:
        self.undos.append(undo)

    def evidence(self, _: object) -> None: ...

    def expect(self, *_: str) -> None: ...


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Return the digests that helpers give, in turn: before, after."""
    digests = [{"content ./a": "1", "content ./empty": ""}, {"content ./a": "1", "content ./empty": ""}]
    answers = iter(digests)
    monkeypatch.setattr(backup_volume, "fill", lambda _: None)
    monkeypatch.setattr(backup_volume, "digest", lambda _: next(answers))
    return digests


def drill(kube: FakeKube, folder: Path) -> tuple[VeleroDrill, Said]:
    said = Said()
    run = RunInput(folder, Cluster(kind="lab", level="lab-upstream", run_id="run-1"), ())
    return VeleroDrill(kube, "image", run, said), said  # type: ignore[arg-type]


@pytest.mark.usefixtures("files")
def test_the_drill_removes_all_and_wrote_its_undo_first(tmp_path: Path) -> None:
    kube = FakeKube()
    one, said = drill(kube, tmp_path)
    seen = one.run()
    assert (seen.lacking, seen.compared, seen.volumes_saved) == ((), 2, 1)
    assert seen.control
    assert seen.rto_s is not None
    assert [undo.done for undo in said.undos] == [False, True]
    assert any(path.endswith("/deletebackuprequests") for path in kube.made)
    assert one.close() == []


def test_a_file_that_did_not_come_back_is_seen(files: list[dict[str, str]], tmp_path: Path) -> None:
    del files[1]["content ./a"]
    assert "content ./a: 1 before, absent after" in drill(FakeKube(), tmp_path)[0].run().lacking


@pytest.mark.usefixtures("files")
def test_no_volume_saved_and_no_agent_are_red(tmp_path: Path) -> None:
    seen = drill(FakeKube(saved=False), tmp_path)[0].run()
    assert any("0 volumes" in one for one in seen.lacking)
    kube = FakeKube(agents=0)
    assert any("no node agent" in one for one in drill(kube, tmp_path)[0].run().lacking)
    assert not kube.made  # nothing is made where it could not be saved


def test_a_cluster_without_velero_cannot_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    kube = FakeKube()
    monkeypatch.setattr(kube, "get", lambda *_: None)
    with pytest.raises(Lost, match="no Velero"):
        read_velero(kube)  # type: ignore[arg-type]
    assert backup_velero.GROUP == "velero.io/v1"
