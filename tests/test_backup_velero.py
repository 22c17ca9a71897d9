"""fixtures.backup_velero: without a bucket, a node agent or a volume's bytes a backup is none."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from fixtures import backup_velero, backup_volume
from fixtures.backup_box import Lost
from fixtures.backup_velero import VeleroDrill, local_claim_objects, read_velero
from fixtures.backup_velero_rules import (
    Velero,
    backup_object,
    backup_problems,
    is_agent,
    not_saved,
    restore_object,
    restore_problems,
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
ON_HOST = {
    "metadata": {"name": "pvc-1"},
    "spec": {"hostPath": {"path": "/x"}, "claimRef": {"namespace": "sophia-mcp", "name": "data-postgres-0"}},
}
LOCAL = {
    "metadata": {"name": "pvc-2"},
    "spec": {"local": {"path": "/x"}, "claimRef": {"namespace": "a", "name": "b"}},
}


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
        ({"status": {"phase": "Completed"}}, [changed(SAVED, phase="Failed", message="x")], "is Failed: x"),
        ({"status": {"phase": "Completed"}}, [changed(SAVED, phase="Failed")], "0 volumes"),
        ({"status": {"phase": "Completed"}}, [SAVED, changed(SAVED)], "is not begun"),
        ({"status": {"phase": "Completed"}}, [changed(SAVED, phase="Completed")], "no byte"),
        ({"status": {"phase": "Completed", "warnings": 1}}, [SAVED], "1 warnings"),  # a hostPath volume
        ({"status": {"phase": "PartiallyFailed", "failureReason": "x"}}, [SAVED], "PartiallyFailed: x"),
        ({"status": {"phase": "PartiallyFailed", "errors": 2}}, [SAVED], "PartiallyFailed: 2 errors"),
        ({"status": {"phase": "FailedValidation", "validationErrors": ["no location"]}}, [], "no location"),
        ({"status": {"phase": "InProgress"}}, [SAVED], "InProgress: no reason given"),  # the bound is over
        ({}, [SAVED], "absent"),
    ],
)
def test_a_backup_without_volume_data_is_none(
    backup: dict[str, Any], volumes: list[dict[str, Any]], why: str
) -> None:
    assert why in "; ".join(backup_problems(backup, volumes, 1))


def test_a_whole_backup_has_no_problem() -> None:
    assert backup_problems({"status": {"phase": "Completed"}}, [SAVED], 1) == []


@pytest.mark.parametrize(
    ("restore", "volumes", "why"),
    [
        ({"status": {"phase": "Completed"}}, [], "0 volumes"),
        ({"status": {"phase": "PartiallyFailed", "errors": 1}}, [SAVED], "PartiallyFailed: 1 errors"),
        ({}, [SAVED], "absent"),
    ],
)
def test_a_restore_without_volume_data_is_none(
    restore: dict[str, Any], volumes: list[dict[str, Any]], why: str
) -> None:
    assert why in "; ".join(restore_problems(restore, volumes, 1))


def test_a_restore_into_what_is_there_has_warnings_and_no_problem() -> None:
    assert restore_problems({"status": {"phase": "Completed", "warnings": 2}}, [SAVED], 1) == []


def test_claims_that_no_node_agent_reads_are_named() -> None:
    free = {"metadata": {"name": "pvc-3"}, "spec": {"hostPath": {"path": "/x"}}}
    assert not_saved([LOCAL, ON_HOST, free]) == [
        "sophia-mcp/data-postgres-0: not saved, pvc-1 is a hostPath volume"
    ]


def test_the_drills_own_claim_can_be_read() -> None:
    found = {body["kind"]: body for _, body in local_claim_objects("gonogo-drill-1", "image", "r")}
    assert found["PersistentVolumeClaim"]["metadata"]["annotations"] == {"volumeType": "local"}
    assert "annotations" not in found["Pod"]["metadata"]


def test_the_restore_is_into_another_namespace() -> None:
    backup, restore = backup_object("velero", "n", "r"), restore_object("velero", "n", "n-other", "r")
    assert backup["spec"]["defaultVolumesToFsBackup"] is True
    assert restore["spec"]["namespaceMapping"] == {"n": "n-other"}
    bare = backup_object("velero", "n-bare", "r", source="n", volumes=False)
    assert bare["spec"]["includedNamespaces"] == ["n"]
    assert bare["spec"]["defaultVolumesToFsBackup"] is False


class FakeKube:
    """An API server with a Velero whose volumes are saved or not; helpers hold files."""

    server = "https://fake"

    def __init__(
        self, *, saved: bool = True, agents: int = 1, restored: str = "Completed", on_host: bool = False
    ) -> None:
        self.saved, self.agents, self.restored, self.on_host = saved, agents, restored, on_host
        self.made: dict[str, Any] = {}
        self.deleted: list[str] = []
        self.forgets = True

    def get(self, path: str, _query: object = None) -> Any:
        if path == "/apis/velero.io/v1":
            return {"resources": []}
        if "/restores/" in path or "/backups/" in path:
            found = self.made.get(path)
            phase = self.restored if "/restores/" in path else "Completed"
            return found and {**found, "status": {"phase": phase}}
        if path.endswith("/pods/helper"):
            return {"status": {"phase": "Running"}}
        return None

    def list_all(self, path: str, *, labels: str = "", **_: str) -> Listing:
        rows: tuple[Any, ...] = ()
        if path.endswith("/backupstoragelocations"):
            rows = (LOCATION,)
        elif path.endswith("/daemonsets"):
            rows = (AGENT,) * self.agents
        elif path.endswith("/podvolumebackups"):
            rows = (SAVED,) if self.saved and not labels.endswith("-bare") else ()
        elif path.endswith("/podvolumerestores"):
            rows = (SAVED,)
        elif path.endswith("/backuprepositories"):
            rows = ({"metadata": {"name": "repository"}},)
        elif path.endswith("/persistentvolumes") and self.on_host:
            rows = (ON_HOST, *self._own_on_host())
        return Listing(rows, "1")

    def _own_on_host(self) -> tuple[Any, ...]:
        """Every claim that is not deleted yet, on a provisioner that does not know the annotation."""
        names = [path.split("/")[4] for path in self.made if path.endswith("/persistentvolumeclaims/data")]
        return tuple(
            {
                "metadata": {"name": f"pvc-{name}"},
                "spec": {"hostPath": {}, "claimRef": {"namespace": name, "name": "data"}},
            }
            for name in names
            if f"/api/v1/namespaces/{name}" not in self.deleted
        )

    def apply(self, path: str, body: Any) -> Any:
        self.made[path] = body
        return body

    def create(self, path: str, body: Any) -> Any:
        self.made[f"{path}/{body['metadata']['name']}"] = body
        if body["kind"] == "DeleteBackupRequest" and self.forgets:
            del self.made[path.replace("deletebackuprequests", "backups/") + body["spec"]["backupName"]]
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
    """Return the digests that helpers give, in turn: before, after. What is written later is lost."""
    digests = [{"content ./a": "1", "content ./empty": ""}, {"content ./a": "1", "content ./empty": ""}]
    answers, times = iter(digests), iter((105.0, 100.0))
    monkeypatch.setattr(backup_volume, "fill", lambda _: None)
    monkeypatch.setattr(backup_volume, "tick", lambda _: None)
    monkeypatch.setattr(backup_volume, "digest", lambda _: next(answers))
    monkeypatch.setattr(backup_volume, "newest", lambda _: next(times))
    monkeypatch.setattr(backup_velero, "_TICK_S", 0.0)
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
    assert (seen.lacking, seen.compared, seen.volumes_saved, seen.not_saved) == ((), 2, 1, ())
    assert seen.rpo_s == 5.0
    assert seen.rto_s is not None
    assert [undo.done for undo in said.undos] == [False, True]
    requests = [path for path in kube.made if "/deletebackuprequests/" in path]
    assert len(requests) == 2  # the backup, and the one without volumes
    assert not any("/backups/" in path for path in kube.made)
    assert any(path.endswith("/backuprepositories/repository") for path in kube.deleted)
    assert one.close() == []


@pytest.mark.usefixtures("files")
def test_its_controls_are_red(tmp_path: Path) -> None:
    without_volumes, changed_file = drill(FakeKube(), tmp_path)[0].run().control
    assert "0 volumes, 1 were to be saved" in without_volumes
    assert "content ./empty" in changed_file


def test_a_file_that_did_not_come_back_is_seen(files: list[dict[str, str]], tmp_path: Path) -> None:
    del files[1]["content ./a"]
    assert "content ./a: 1 before, absent after" in drill(FakeKube(), tmp_path)[0].run().lacking


@pytest.mark.usefixtures("files")
def test_no_volume_saved_and_no_agent_are_red(tmp_path: Path) -> None:
    kube = FakeKube(saved=False)
    seen = drill(kube, tmp_path)[0].run()
    assert any("0 volumes" in one for one in seen.lacking)
    assert not any("/restores/" in path for path in kube.made)  # and nothing was destroyed for it
    kube = FakeKube(agents=0)
    assert any("no node agent" in one for one in drill(kube, tmp_path)[0].run().lacking)
    assert not kube.made  # nothing is made where it could not be saved


@pytest.mark.usefixtures("files")
def test_a_restore_that_failed_in_part_is_red(tmp_path: Path) -> None:
    seen = drill(FakeKube(restored="PartiallyFailed"), tmp_path)[0].run()
    assert any("the restore is PartiallyFailed" in one for one in seen.lacking)
    assert seen.compared == 0


@pytest.mark.usefixtures("files")
def test_a_volume_on_the_hosts_path_is_named_and_red_if_it_is_the_drills(tmp_path: Path) -> None:
    seen = drill(FakeKube(on_host=True), tmp_path)[0].run()
    assert "sophia-mcp/data-postgres-0: not saved, pvc-1 is a hostPath volume" in seen.not_saved
    assert len(seen.lacking) == 1
    assert "/data: not saved" in seen.lacking[0]  # the deployment's own is told, and is not the drill's


@pytest.mark.usefixtures("files")
def test_a_backup_that_is_not_deleted_leaves_the_undo_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_velero, "_GONE_S", 0.0)
    kube = FakeKube()
    kube.forgets = False
    one, said = drill(kube, tmp_path)
    assert one.run().compared == 2
    assert [undo.done for undo in said.undos] == [False]


def test_a_cluster_without_velero_cannot_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    kube = FakeKube()
    monkeypatch.setattr(kube, "get", lambda *_: None)
    with pytest.raises(Lost, match="no Velero"):
        read_velero(kube)  # type: ignore[arg-type]
