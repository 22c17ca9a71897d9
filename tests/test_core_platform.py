"""The core platform: the production file on a no-op twin, entered and called, and each way it breaks."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.core_files import FILES, IMAGES, CoreFiles, find_images, read_core
from fixtures.core_platform import CorePlatform, CoreSeen, Tried, images_of, open_core, played
from fixtures.faults.core_platform import NOT_TAKEN_BACK, main, take_away, undo_of
from fixtures.record import Record
from fixtures.security import CannotTell
from fixtures.target import RunInput
from provisioners.base import Cluster, Node, Side
from provisioners.errors import CleanupIncomplete
from provisioners.kube_apply import read_manifests
from provisioners.shell import Ssh
from provisioners.targets import save_cluster
from suites.platform import test_core_platform as suite
from tests.production import FILES as MOUNTED
from tests.production import NAMESPACE, OVERLAY, REAL, SERVICES
from tests.security_kube import Kube

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reports.model import Undo

CORE = {"sophia-backend", "sophia-unified-chat", "sophia-dashboard", "mcp-gateway"}
NODES = tuple(Node(f"node{n}", Ssh(f"node{n}", "127.0.0.1")) for n in (1, 2, 3))
NOOP = Cluster("noop", "stub", nodes=NODES, run_id="r1")


@pytest.fixture(scope="module")
def core() -> CoreFiles:
    return read_core()


@pytest.fixture
def platform(request: pytest.FixtureRequest) -> Iterator[CorePlatform]:
    with played(replace(NOOP, extra={"break": getattr(request, "param", "")})) as found:
        yield found


def test_the_shipped_file_is_the_production_file_as_it_is():
    assert FILES[0].read_bytes() == REAL.read_bytes()
    assert FILES[1].read_text(encoding="utf-8") == OVERLAY
    for name, text in MOUNTED.items():
        assert (FILES[0].parent / name).read_text(encoding="utf-8") == text


def test_it_is_converted_as_any_workload_into_its_own_namespace(core: CoreFiles):
    bundle = core.bundle({name: f"gonogo/{name}:1" for name in IMAGES}, ["node1", "node2"])
    assert (core.namespace, bundle.namespace) == (NAMESPACE, NAMESPACE)
    assert set(core.services) == CORE
    assert {spec.name for spec in bundle.services} == SERVICES
    pods = [
        body["spec"]["template"]["spec"]["containers"][0]
        for body in read_manifests(bundle.files)
        if body["kind"] in {"Deployment", "StatefulSet"}
    ]
    assert len(pods) == len(SERVICES)
    assert {one["resources"]["requests"]["cpu"] for one in pods} == {"20m"}
    assert {one["image"] for one in pods} == {f"gonogo/{name}:1" for name in IMAGES}


def test_who_calls_whom_is_read_of_the_environments(core: CoreFiles):
    titles = {call.title: call.http for call in core.calls()}
    assert titles["sophia-dashboard -> sophia-unified-chat:8001"]
    assert titles["sophia-backend -> mcp-gateway:8080"]
    assert titles["sophia-backend -> postgres:5432"] is False
    assert len(titles) == 9


def test_the_platform_is_played_entered_and_called_on_the_no_op_target(platform: CorePlatform):
    record = Record()
    suite.test_the_core_platform_is_deployed_entered_and_calls_itself(platform, record)
    (seen,) = record.observations
    assert (seen.observed, record.doubt) == (100.0, "")
    assert seen.samples == len(SERVICES) + len(CORE) + 9
    assert seen.why == "played by the no-op target, namespace sophia-ai"


@pytest.mark.parametrize(
    ("platform", "why"),
    [
        ("server:sophia-unified-chat", "sophia-unified-chat is not ready: nothing listens"),
        ("dns:mcp-gateway", "sophia-backend -> mcp-gateway:8080: "),
        ("server:postgres", "postgres is not ready"),
    ],
    indirect=["platform"],
)
def test_each_part_that_is_broken_is_red(platform: CorePlatform, why: str):
    record = Record()
    with pytest.raises(AssertionError, match=why):
        suite.test_the_core_platform_is_deployed_entered_and_calls_itself(platform, record)
    assert record.observations[0].observed < 100.0  # type: ignore[operator]


class Told:
    """A platform that saw what a test says."""

    def __init__(self, seen: CoreSeen) -> None:
        self._seen = seen

    def seen(self) -> CoreSeen:
        return self._seen


SOUND = CoreSeen("x", NAMESPACE, ("a",), {}, (Tried("in"),), (Tried("call"),), control_failed=True)


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (replace(SOUND, control_failed=False), "a name that nobody made answers too"),
        (replace(SOUND, entries=()), "no service was entered"),
        (replace(SOUND, calls=()), "none calls another"),
    ],
)
def test_what_shows_nothing_is_never_green(seen: CoreSeen, why: str):
    record = Record()
    suite.test_the_core_platform_is_deployed_entered_and_calls_itself(Told(seen), record)  # type: ignore[arg-type]
    assert why in record.doubt


def test_a_wrong_entry_and_a_wrong_call_are_red():
    for broken in (
        replace(SOUND, entries=(Tried("in", "answered 500"),)),
        replace(SOUND, calls=(Tried("call", "refused"),)),
    ):
        with pytest.raises(AssertionError, match=r"answered 500|refused"):
            suite.test_the_core_platform_is_deployed_entered_and_calls_itself(Told(broken), Record())  # type: ignore[arg-type]


# -- what is made is taken away, and nothing else ----------------------------------------------------


class Target:
    """A target that takes a bundle, is never ready, and may refuse to let it go."""

    def __init__(self, *, stays: bool = False) -> None:
        self.done: list[str] = []
        self._stays = stays

    def apply(self, _: Any) -> None:
        self.done.append("apply")
        raise KeyboardInterrupt

    def remove(self, _: Any) -> None:
        self.done.append("remove")
        if self._stays:
            raise CleanupIncomplete("1 object(s) are still there")


class Written:
    """A recorder that keeps the journal."""

    def __init__(self, target: Target) -> None:
        self.rows: list[Undo] = []
        self._target = target

    def undo(self, undo: Undo) -> None:
        self._target.done.append("undo done" if undo.done else "undo")
        self.rows.append(undo)


def test_the_undo_is_written_before_anything_is_applied_and_an_interrupt_cleans_up(
    core: CoreFiles, tmp_path: Path
):
    target = Target()
    bundle = core.bundle(dict.fromkeys(IMAGES, "i"), [])
    platform = CorePlatform(target, core, bundle, "x", undo_of(tmp_path, NAMESPACE))  # type: ignore[arg-type]
    platform.written_to(Written(target))  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        platform.seen()
    assert platform.close() == []
    assert target.done == ["undo", "apply", "remove", "undo done"]


def test_what_is_left_is_named_and_its_undo_stays_open(core: CoreFiles, tmp_path: Path):
    target = Target(stays=True)
    bundle = core.bundle(dict.fromkeys(IMAGES, "i"), [])
    platform = CorePlatform(target, core, bundle, "x", undo_of(tmp_path, NAMESPACE))  # type: ignore[arg-type]
    platform.written_to(Written(target))  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        platform.seen()
    problems = platform.close()  # the undo itself fails: the run folder holds no cluster.json
    assert len(problems) == 2
    assert "still there" in problems[-1]
    assert target.done == ["undo", "apply", "remove"]


def test_only_a_namespace_of_this_run_is_deleted():
    path = f"/api/v1/namespaces/{NAMESPACE}"
    for labels, run_id, gone in (
        ({"gonogo.dev/run": "r1"}, "r1", True),
        ({"gonogo.dev/run": "r2"}, "r1", False),
        ({}, "r1", False),
        ({}, "", False),
    ):
        kube = Kube()
        kube.objects[path] = {"metadata": {"name": NAMESPACE, "labels": labels}}
        assert take_away(kube, NAMESPACE, run_id) is gone  # type: ignore[arg-type]
        assert (path in kube.objects) is not gone
    assert not take_away(Kube(), NAMESPACE, "r1")  # type: ignore[arg-type]


def test_the_undo_is_a_program_that_ends_well_where_the_cluster_is_gone(tmp_path: Path):
    (tmp_path / "cluster.json").write_text(save_cluster(NOOP), encoding="utf-8")
    undo = undo_of(tmp_path, NAMESPACE)
    assert undo.argv[-2:] == ("--namespace", NAMESPACE)
    assert main(undo.argv[2:]) == 0
    config = tmp_path / "kubeconfig"
    config.write_text(json.dumps({"kind": "Config"}), encoding="utf-8")
    config.chmod(0o600)
    broken = replace(NOOP, kind="existing", kubeconfig=config)
    (tmp_path / "cluster.json").write_text(save_cluster(broken), encoding="utf-8")
    assert main(undo.argv[2:]) == NOT_TAKEN_BACK


# -- where it is looked for --------------------------------------------------------------------------


def test_the_lab_s_images_are_taken_from_its_pods_or_nothing_is_deployed():
    named = [f"docker.io/gonogo/{name}:9" for name in IMAGES]
    assert find_images([*named, "postgres:16", "gonogo/other:1"]) == dict(zip(IMAGES, named, strict=True))
    rows = [{"spec": {"containers": [{"image": "postgres:16"}]}}]
    with pytest.raises(CannotTell, match="no pod has the lab's mcp-playwright, postgres, redis"):
        images_of(Kube(pods=rows))  # type: ignore[arg-type]


def test_a_namespace_that_is_there_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = [{"spec": {"containers": [{"image": f"gonogo/{name}:9"} for name in IMAGES]}}]
    kube = Kube(pods=rows)
    kube.objects[f"/api/v1/namespaces/{NAMESPACE}"] = {"metadata": {"name": NAMESPACE}}
    monkeypatch.setattr("fixtures.core_platform.api_of", lambda _: kube)
    cluster = Cluster("lab", "lab-upstream", nodes=NODES)
    with pytest.raises(CannotTell, match="is there already"):
        open_core(RunInput(tmp_path, cluster, ()), {})
    assert kube.sent == []


def test_the_run_s_own_platform_is_looked_at_where_it_is(core: CoreFiles, tmp_path: Path):
    bundle = core.bundle(dict.fromkeys(IMAGES, "i"), [])
    target = Target()
    run = RunInput(tmp_path, Cluster("existing", "hosts"), bundle.services)
    platform = open_core(run, {Side.KUBERNETES: target})  # type: ignore[dict-item]
    assert platform.close() == []
    assert target.done == []
