"""fixtures.backup_s3 and the part storage-s3: what the store answers decides; no key is on a command line."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from fixtures.backup_box import LocalBox, Lost
from fixtures.backup_s3 import _CURL, ObjectStore, StoreError, run_trial
from provisioners.kube import Listing
from provisioners.parts import part, storage_s3
from provisioners.shell import CommandResult

if TYPE_CHECKING:
    from collections.abc import Sequence

MANIFEST = Path(storage_s3.__file__).parent / "manifests" / "s3.yaml"


class FakeClient:
    """A client in front of a bucket in memory; what is not curl runs on this machine."""

    where = "fake"

    def __init__(self, flaw: str = "") -> None:
        self.flaw = flaw
        self.objects: dict[str, bytes] = {}
        self.argv: list[str] = []

    def run(self, argv: Sequence[str], timeout_s: float = 60.0) -> CommandResult:
        self.argv += argv
        if argv[2] != _CURL:
            return LocalBox().run(argv, timeout_s)
        status, said = self.answer(*argv[4:])
        return CommandResult(tuple(argv), "fake", 0 if status else 7, str(status or ""), said, 0.0)

    def answer(self, method: str, key: str, into: str, send: str, wrong: str) -> tuple[int, str]:
        if self.flaw == "down":
            return 0, "curl: (7) could not connect"
        if wrong and self.flaw != "open":
            return 403, ""
        if method == "PUT":
            data = Path(send).read_bytes()
            self.objects[key] = data[:-1] if self.flaw == "loses" else data
            return 507 if self.flaw == "full" else 200, ""
        if key not in self.objects and method == "GET":
            return 404, ""
        if method == "DELETE":
            if self.flaw != "keeps":
                self.objects.pop(key, None)
            return 204, ""
        if into != "/dev/null":
            Path(into).write_bytes(self.objects[key])
        return 200, ""


def test_what_is_put_comes_back() -> None:
    client = FakeClient()
    seen = run_trial(ObjectStore(client), bytes(range(250)) * 200)
    assert seen.whole
    assert not client.objects


@pytest.mark.parametrize(
    ("flaw", "same", "wrong", "removed"),
    [("loses", False, 403, True), ("open", True, 0, True), ("keeps", True, 403, False)],
)
def test_a_store_that_is_wrong_is_seen(flaw: str, same: bool, wrong: int, removed: bool) -> None:
    seen = run_trial(ObjectStore(FakeClient(flaw)), bytes(range(250)) * 20)
    assert (seen.same, seen.wrong_key_status, seen.removed, seen.whole) == (same, wrong, removed, False)


def test_a_full_store_fails_and_one_that_is_down_cannot_be_looked_at() -> None:
    with pytest.raises(StoreError, match="status 507"):
        run_trial(ObjectStore(FakeClient("full")), bytes(range(250)) * 1)
    with pytest.raises(Lost, match="could not connect"):
        run_trial(ObjectStore(FakeClient("down")), bytes(range(250)) * 1)


@pytest.mark.parametrize("key", ["", "../x", "a b", "a;b", "/a", "A"])
def test_a_strange_name_is_not_sent(key: str) -> None:
    client = FakeClient()
    with pytest.raises(ValueError, match="no name of an object"):
        ObjectStore(client).remove(key)
    assert not client.argv


def test_curl_reads_the_keys_from_its_input() -> None:
    assert "--user" not in _CURL
    assert "-K -" in _CURL
    assert "-K -" in storage_s3._MAKE_BUCKET


class FakeKube:
    def __init__(self, status: str = "200") -> None:
        self.status = status
        self.made: dict[str, Any] = {}

    def get(self, path: str) -> Any:
        return self.made.get(path)

    def apply(self, path: str, body: Any) -> Any:
        self.made[path] = body
        return body

    def list_all(self, path: str, **_: str) -> Listing:
        running = {"metadata": {"name": "s3-client-1"}, "status": {"phase": "Running"}}
        return Listing((running,) if self.status else (), "1")

    def exec(self, *_: object) -> CommandResult:
        return CommandResult(("sh",), "pod", 0, self.status, "", 0.0)


def test_keys_are_made_once() -> None:
    kube: Any = FakeKube()
    first = storage_s3.keep_keys(kube)
    assert storage_s3.keep_keys(kube) == first
    assert len(first["secret"]) >= 32
    assert storage_s3.keep_keys(FakeKube()) != first  # type: ignore[arg-type]
    held = storage_s3.secret_object(first)["data"]
    assert base64.b64decode(held["secret"]).decode() == first["secret"]


def test_the_bucket_is_awaited() -> None:
    for status in ("200", "409"):
        assert storage_s3.bucket_lacking(FakeKube(status)) == ""  # type: ignore[arg-type]
    assert "403" in storage_s3.bucket_lacking(FakeKube("403"))  # type: ignore[arg-type]
    assert storage_s3.bucket_lacking(FakeKube("")) == "no client runs"  # type: ignore[arg-type]


def test_the_manifest_holds_what_the_part_says() -> None:
    text = MANIFEST.read_text(encoding="utf-8")
    bodies = {f"{one['kind']}/{one['metadata']['name']}": one for one in yaml.safe_load_all(text)}
    assert {"Namespace/backup", "Deployment/s3", "Deployment/s3-client", "Service/s3"} <= bodies.keys()
    for name in ("s3", "s3-client"):
        spec = bodies[f"Deployment/{name}"]["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    found = part("storage-s3")
    labels, _, container = found.facts["part.storage-s3.client"].partition("/")[2].rpartition(":")
    client = bodies["Deployment/s3-client"]["spec"]["template"]
    key, _, value = labels.partition("=")
    assert client["metadata"]["labels"][key] == value
    assert client["spec"]["containers"][0]["name"] == container
    assert "SECRET" not in str(found.facts).upper().replace("S3-ROOT", "").replace("STORAGE-S3.SECRET", "")
