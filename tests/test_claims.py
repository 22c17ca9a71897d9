"""The drill of claims: on played storage, each way in which a volume fails turns it red and is cleaned up."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fixtures import claims as module
from fixtures.claim_objects import NO_CLASS, Said, claim, read_said, reader, writer
from fixtures.claims import CLASSES, Claims, default_class, pinned_to
from fixtures.record import Record
from fixtures.security import CannotTell
from fixtures.target import RunInput
from provisioners.base import Cluster
from provisioners.kube import Listing
from suites.data import test_claims as suite
from tests.security_kube import Kube as Plain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from reports.model import Undo

IMAGE = "gonogo/net-probe:1"
DIGEST = "a" * 64
CLASS = {
    "metadata": {
        "name": "local-path",
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
    },
    "provisioner": "rancher.io/local-path",
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "WaitForFirstConsumer",
}


class Storage(Plain):
    """An API server whose claims bind and whose pods say what a volume would; each can be broken."""

    def __init__(self) -> None:
        super().__init__()
        self.binds = True
        self.binds_anything = False
        self.remembers = "claimed"  # what the second pod still finds: claimed, own, both or nothing
        self.writes = True
        self.selected = True
        self.reclaim = "Delete"
        self.workload: list[tuple[str, str]] = [("redis-data", "Bound")]
        self.volumes: list[dict[str, Any]] = []

    def list_all(self, path: str, *, labels: str = "", fields: str = "") -> Listing:
        del labels, fields
        if path == CLASSES:
            return Listing((CLASS,), "1")
        if path == "/api/v1/pods":
            return Listing(({"metadata": {}, "spec": {"containers": [{"image": IMAGE}]}},), "1")
        if path == "/api/v1/persistentvolumes":
            return Listing(tuple(self.volumes), "1")
        if path.endswith("/persistentvolumeclaims"):
            rows = [{"metadata": {"name": name}, "status": {"phase": phase}} for name, phase in self.workload]
            return Listing(tuple(rows), "1")
        return Listing((), "1")

    def apply(self, path: str, body: Any) -> Any:
        super().apply(path, body)
        if body["kind"] == "Namespace":
            self.objects[f"{path}/serviceaccounts/default"] = {}
        if body["kind"] == "PersistentVolumeClaim":
            unknown = body["spec"].get("storageClassName") == NO_CLASS
            bound = self.binds_anything if unknown else self.binds
            notes = {"volume.kubernetes.io/selected-node": "n1"} if self.selected else {}
            meta = {**body["metadata"], "annotations": notes}
            self.objects[path] = {
                **body, "metadata": meta, "status": {"phase": "Bound" if bound else "Pending"},
                "spec": {**body["spec"], "volumeName": "pv-1" if bound else ""},
            }  # fmt: skip
            if bound and not unknown:
                self.volumes.append(self._volume(body["metadata"]["namespace"]))
        if body["kind"] == "Pod":
            phase = "Succeeded" if self.binds else "Pending"
            conditions = [{"message": "waits for a volume to be bound"}]
            self.objects[path] = {
                **body, "status": {"phase": phase, "conditions": conditions},
                "spec": {**body["spec"], "nodeName": "n1"},
            }  # fmt: skip
        return body

    def _volume(self, namespace: str) -> dict[str, Any]:
        terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "values": ["n1"]}]}]
        volume = {
            "metadata": {"name": "pv-1"},
            "spec": {
                "claimRef": {"namespace": namespace},
                "persistentVolumeReclaimPolicy": self.reclaim,
                "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
            },
        }
        self.objects["/api/v1/persistentvolumes/pv-1"] = volume
        return volume

    def delete(self, path: str, *, grace_s: int | None = None) -> bool:
        del grace_s
        if path.startswith("/api/v1/persistentvolumes/") or (
            path.count("/") == 4 and self.reclaim == "Delete"
        ):
            self.volumes.clear()
            self.objects.pop("/api/v1/persistentvolumes/pv-1", None)
        for known in [known for known in self.objects if known.startswith(f"{path}/")]:
            del self.objects[known]
        return super().delete(path)

    def log(self, namespace: str, pod: str, **_: Any) -> str:
        del namespace
        if pod == "writer":
            return (
                f"claimed-synced yes\nclaimed {DIGEST}\nown {DIGEST}\nended yes\n"
                if self.writes
                else "ended yes\n"
            )
        told = {"claimed": ("claimed",), "own": ("own",), "both": ("claimed", "own")}.get(self.remembers, ())
        lines = [f"{place} {DIGEST if place in told else '-'}" for place in ("claimed", "own")]
        return "\n".join([*lines, "ended yes"])


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Storage:
    for name in ("_POD_S", "_GONE_S"):
        monkeypatch.setattr(module, name, 0.0)
    return Storage()


@pytest.fixture
def drill(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Claims:
    run = RunInput(tmp_path, Cluster("lab", "lab-upstream", namespace="apps", run_id="r1"), ())
    found = Claims(run, None, storage)  # type: ignore[arg-type]

    def finish(undo: Undo) -> str:  # what the undo's program does, on the played API server
        for word, path in zip(undo.argv, undo.argv[1:], strict=False):
            if word == "--delete":
                storage.delete(path)
        found._journal.leave(undo)
        return ""

    monkeypatch.setattr(found._journal, "finish", finish)
    return found


def test_sound_storage_passes_tells_its_class_and_leaves_nothing(drill: Claims, storage: Storage):
    record = Record()
    suite.test_claims_are_bound_and_another_pod_reads_what_the_first_one_wrote(drill, record)
    (seen,) = record.observations
    assert (seen.observed, seen.samples, record.doubt) == (100.0, 2, "")
    assert "local-path (rancher.io/local-path, reclaim policy Delete, WaitForFirstConsumer)" in seen.why
    assert "pinned to n1" in seen.why
    assert drill.close() == []
    assert not storage.objects
    assert not storage.volumes


@pytest.mark.parametrize(
    ("attribute", "value", "why"),
    [
        ("binds", False, "the claim is Pending: "),
        ("remembers", "", "the volume forgot"),
        ("writes", False, "could not write and sync"),
        (
            "workload",
            [("redis-data", "Pending"), ("b", "Bound")],
            "the workload's claim redis-data is Pending",
        ),
    ],
)
def test_each_broken_volume_is_red(drill: Claims, storage: Storage, attribute: str, value: Any, why: str):
    setattr(storage, attribute, value)
    record = Record()
    with pytest.raises(AssertionError, match=why):
        suite.test_claims_are_bound_and_another_pod_reads_what_the_first_one_wrote(drill, record)
    assert record.observations[0].observed == 0.0
    assert drill.close() == []
    assert not storage.objects


@pytest.mark.parametrize(
    ("attribute", "value", "why"),
    [
        ("binds_anything", True, f"a claim of class {NO_CLASS} is Bound, not Pending"),
        ("remembers", "both", "a volume that a pod has for itself kept the sentinel too"),
    ],
)
def test_a_control_that_does_not_turn_red_is_no_proof(
    drill: Claims, storage: Storage, attribute: str, value: Any, why: str
):
    setattr(storage, attribute, value)
    record = Record()
    suite.test_claims_are_bound_and_another_pod_reads_what_the_first_one_wrote(drill, record)
    assert record.doubt == why


def test_a_pod_that_waits_for_something_else_is_no_verdict_on_storage(drill: Claims, storage: Storage):
    storage.binds = storage.selected = False
    with pytest.raises(CannotTell, match="waits for a volume"):
        drill.tried()


def test_a_volume_that_is_retained_is_taken_away_too(drill: Claims, storage: Storage):
    storage.reclaim = "Retain"
    assert drill.tried().problems() == []
    assert drill.close() == []
    assert not storage.volumes


def test_what_cannot_be_removed_is_named(drill: Claims, storage: Storage, monkeypatch: pytest.MonkeyPatch):
    drill.tried()
    monkeypatch.setattr(drill._journal, "finish", lambda _: "")
    (problem,) = drill.close()
    assert f"namespace {drill.name} is there" in problem


def test_another_digest_is_another_content():
    said = Said(DIGEST, DIGEST, synced=True, ended=True)
    seen = module.Claimed(
        default_class([CLASS]), "Bound", "pv", (), said, replace(said, claimed="b" * 64, own=""),
        ("n", "n"), "Pending", 1.0,
    )  # fmt: skip
    assert seen.problems() == ["the second pod read something else than the first one wrote"]


@pytest.mark.parametrize("rows", [[], [CLASS, CLASS], [{"metadata": {"name": "x"}}]])
def test_without_one_default_class_nothing_can_be_told(rows: Sequence[Any]):
    with pytest.raises(CannotTell, match="are the default"):
        default_class(rows)
    assert pinned_to({}) == ()


def test_the_pods_words_are_what_is_read(tmp_path: Path):
    """The pods' own commands, run here on two folders in place of their mounts."""

    def run(body: Any) -> Said:
        command = [word.replace("/$place", f"{tmp_path}/$place") for word in
                   body["spec"]["containers"][0]["command"]]  # fmt: skip
        return read_said(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert run(reader("w", IMAGE)) == Said(ended=True)
    assert run(writer("w", IMAGE, "s")) == Said(ended=True)  # no folder to write to: nothing is synced
    for place in ("claimed", "own"):
        (tmp_path / place).mkdir()
    wrote = run(writer("w", IMAGE, "s"))
    assert (wrote.synced, wrote.ended, len(wrote.claimed)) == (True, True, 64)
    (tmp_path / "own" / "sentinel").unlink()
    assert run(reader("w", IMAGE)) == Said(wrote.claimed, "", ended=True)
    assert read_said("noise\n") == Said()
    assert "storageClassName" not in claim("a", "w")["spec"]
