"""provisioners.parts.velero: its kinds once, the store's keys, and nothing said to be there before it is."""

from __future__ import annotations

import base64
import functools
from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml

from provisioners.base import Cluster
from provisioners.errors import NotReady
from provisioners.kube import Resource
from provisioners.parts import part, parts, storage_s3, velero
from provisioners.parts.base import MANIFESTS, PartContext, await_rollout
from provisioners.upstream.build import VELERO

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {"access": b"gonogo1", "secret": b"sesame"}
IMAGE = "gonogo/velero:0123456789ab"
LOCATION = "/apis/velero.io/v1/namespaces/velero/backupstoragelocations/default"


def definition(plural: str, version: str) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.velero.io"},
        "spec": {
            "group": "velero.io",
            "names": {"kind": plural.title(), "plural": plural},
            "versions": [{"name": version}],
        },
    }


@pytest.fixture
def crds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two definitions, one of each folder, in place of those of a built module."""
    for folder, plural, version in (("crds", "backups", "v1"), ("crds-v2alpha1", "datauploads", "v2alpha1")):
        (tmp_path / folder).mkdir()
        text = yaml.safe_dump(definition(plural, version))
        (tmp_path / folder / f"velero.io_{plural}.yaml").write_text(text)
    monkeypatch.setattr(velero, "asset", lambda _, folder: tmp_path / folder)
    monkeypatch.setattr(velero, "_CRD_BOUND_S", 0.0)
    monkeypatch.setattr(velero, "_LOCATION_BOUND_S", 0.0)
    monkeypatch.setattr(velero, "await_rollout", functools.partial(await_rollout, bound_s=0.0))
    return tmp_path


class FakeKube:
    """An API server that keeps what is applied; workloads are whole at once, a location is as told."""

    def __init__(self, phase: str = "Available", message: str = "", *, serves: bool = True) -> None:
        self.held: dict[str, Any] = {}
        self.writes: list[str] = []
        self.phase, self.message, self.serves = phase, message, serves
        secret = f"/api/v1/namespaces/{storage_s3.NAMESPACE}/secrets/{storage_s3.SECRET}"
        data = {name: base64.b64encode(value).decode() for name, value in KEYS.items()}
        self.held[secret] = {"data": data}

    def get(self, path: str, _query: object = None) -> Any:
        if path.startswith("/apis/velero.io/") and path.count("/") == 3:
            names = [one.rpartition("/")[2].split(".")[0] for one in self.held if "customresource" in one]
            return {"resources": [{"name": name} for name in names] if self.serves else []}
        found = self.held.get(path)
        if path == LOCATION and found:
            return {**found, "status": {"phase": self.phase, "message": self.message}}
        if found and found.get("kind") == "Deployment":
            return self._whole(found, readyReplicas=1, updatedReplicas=1)
        if found and found.get("kind") == "DaemonSet":
            ready = {"desiredNumberScheduled": 3, "numberReady": 3, "updatedNumberScheduled": 3}
            return self._whole(found, **ready)
        return found

    @staticmethod
    def _whole(found: Any, **status: int) -> Any:
        meta = {**found["metadata"], "generation": 1}
        return {**found, "metadata": meta, "status": {"observedGeneration": 1, **status}}

    def apply(self, path: str, body: Any) -> Any:
        if self.held.get(path) != body:
            self.writes.append(path)
        self.held[path] = body
        return body

    def resource(self, api_version: str, kind: str) -> Resource:
        namespaced = kind not in {"Namespace", "ClusterRoleBinding"}
        return Resource(api_version, kind, f"{kind.lower()}s", namespaced)


def applied(kube: FakeKube) -> None:
    context = PartContext(Cluster("lab", "lab-upstream"), cast("Any", kube), {"velero": IMAGE})
    velero.apply(context, lambda _: None)


def manifest(kind: str) -> dict[str, Any]:
    text = (MANIFESTS / "velero.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = next(one for one in yaml.safe_load_all(text) if one["kind"] == kind)
    return found


def test_it_is_a_part_that_needs_the_store() -> None:
    names = [one.name for one in parts(["velero"])]
    assert names == ["storage-s3", "velero"]
    assert "velero-plugin-for-aws" in part("velero").stand_in


@pytest.mark.usefixtures("crds")
def test_applied_twice_it_changes_nothing() -> None:
    kube = FakeKube()
    applied(kube)
    assert any(path.endswith("/backups.velero.io") for path in kube.writes)
    assert any(path.endswith("/datauploads.velero.io") for path in kube.writes)
    kube.writes.clear()
    applied(kube)
    assert kube.writes == []


def test_a_definition_of_another_version_is_applied_again(crds: Path) -> None:
    kube = FakeKube()
    velero.apply_definitions(cast("Any", kube), lambda _: None)
    path = crds / "crds" / "velero.io_backups.yaml"
    path.write_text(path.read_text() + "# changed\n")
    kube.writes.clear()
    velero.apply_definitions(cast("Any", kube), lambda _: None)
    assert [one.rpartition("/")[2] for one in kube.writes] == ["backups.velero.io"]


@pytest.mark.usefixtures("crds")
def test_kinds_that_are_not_served_are_named() -> None:
    with pytest.raises(NotReady) as caught:
        velero.apply_definitions(cast("Any", FakeKube(serves=False)), lambda _: None)
    assert "backups, datauploads" in str(caught.value)


@pytest.mark.usefixtures("crds")
def test_a_bucket_that_is_not_reached_is_told_in_veleros_words() -> None:
    with pytest.raises(NotReady) as caught:
        applied(FakeKube("Unavailable", "the bucket is absent"))
    assert "Unavailable: the bucket is absent" in str(caught.value)


def test_a_location_that_is_absent_or_not_looked_at_is_not_available() -> None:
    kube = FakeKube(phase="Unavailable", message="Access Denied")
    assert velero.location_lacking(cast("Any", kube)) == "the location is absent"
    kube.held[LOCATION] = {"metadata": {}}
    assert velero.location_lacking(cast("Any", kube)) == "Unavailable: Access Denied"
    kube.held[LOCATION], kube.phase = {"metadata": {}}, "Available"
    assert velero.location_lacking(cast("Any", kube)) == ""


@pytest.mark.usefixtures("crds")
def test_it_has_the_stores_keys_and_no_other() -> None:
    kube = FakeKube()
    applied(kube)
    secret = next(
        body for body in kube.held.values() if body.get("metadata", {}).get("name") == velero.SECRET
    )
    text = base64.b64decode(secret["data"]["cloud"]).decode()
    assert text == "[default]\naws_access_key_id=gonogo1\naws_secret_access_key=sesame\n"
    assert not any("sesame" in str(body) for body in kube.held.values() if body.get("kind") != "Secret")


def test_one_image_holds_all_that_velero_starts() -> None:
    (image,) = velero.images()
    assert {path.name for path in image.files.values()} == set(VELERO.packages)
    assert next(iter(image.files)) == "velero"  # it is what starts
    # Velero starts each executable below /plugins, and restored pods wait with /velero-restore-helper.
    assert velero.PLUGIN.startswith("plugins/")
    assert "velero-restore-helper" in image.files


def test_the_location_gives_both_ways_to_the_store_what_they_read() -> None:
    spec = manifest("BackupStorageLocation")["spec"]
    # Without s3Url the uploader of volumes knows no store behind a provider's name of ours.
    assert {"s3Url", "region"} <= spec["config"].keys()
    source = (VELERO.folder / "s3plugin" / "main.go").read_text(encoding="utf-8")
    assert f'RegisterObjectStore("{spec["provider"]}"' in source
    assert spec["credential"] == {"name": velero.SECRET, "key": "cloud"}


def test_node_agents_see_the_kubelets_folder_on_every_node_and_are_not_privileged() -> None:
    spec = manifest("DaemonSet")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    mounts = {one["name"]: one for one in container["volumeMounts"]}
    assert mounts["host-pods"]["mountPropagation"] == "HostToContainer"
    paths = {one["name"]: one["hostPath"]["path"] for one in spec["volumes"] if "hostPath" in one}
    assert paths == {"host-pods": "/var/lib/kubelet/pods"}
    assert container["securityContext"] == {"privileged": False}
    assert {"operator": "Exists"} in spec["tolerations"]
