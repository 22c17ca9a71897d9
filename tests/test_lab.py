import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from provisioners.base import Cluster, Node, Step
from provisioners.errors import CleanupIncomplete, InputError, ProvisionError, TargetRefused
from provisioners.inventory import write_inventory
from provisioners.lab import capabilities, engine, hosts
from provisioners.lab import lab as lab_module
from provisioners.lab.engine import Engine
from provisioners.lab.images import image_names
from provisioners.lab.lab import Lab
from provisioners.lab.loader import load_images, prune_archives
from provisioners.lab.node_image import node_image
from provisioners.lab.paths import lab_dir
from provisioners.lab.state import lock, write_facts, write_secret
from provisioners.shell import CommandResult, Ssh
from provisioners.steps import QuietProgress, check_graph
from provisioners.upstream.addons import addon_images
from provisioners.upstream.layout import host_nameservers


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("GONOGO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GONOGO_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("GONOGO_K3S_BIN", raising=False)
    return tmp_path


def needed_by(steps: Sequence[Step], name: str) -> set[str]:
    """Return all that has to end before a step starts."""
    by_name = {step.name: step for step in steps}
    found: set[str] = set()
    todo = [name]
    while todo:
        for need in by_name[todo.pop()].needs:
            if need not in found:
                found.add(need)
                todo.append(need)
    return found


def test_the_list_of_steps_is_a_graph_that_overlaps_what_is_independent():
    steps = Lab().steps()
    check_graph(steps)
    assert not {"build kubernetes", "build kine"} & needed_by(steps, "hosts")
    assert "node image" not in needed_by(steps, "build kubernetes")
    assert "swarm init" not in needed_by(steps, "nodes")  # kubelets and Swarm start side by side
    assert "control plane" not in needed_by(steps, "swarm labels")
    assert {"control plane", "hosts", "add-on images"} <= needed_by(steps, "add-ons")
    assert {"server base", "server images", "hosts"} <= needed_by(steps, "load server images")


def test_a_given_k3s_takes_the_place_of_upstream(monkeypatch, folders):
    monkeypatch.setenv("GONOGO_K3S_BIN", str(folders / "k3s"))
    lab = Lab()
    steps = lab.steps()
    check_graph(steps)
    names = {step.name for step in steps}
    assert lab.level == "lab-k3s"
    assert "k3s server" in names
    assert not {"control plane", "build kubernetes"} & names
    assert "k3s ready" in needed_by(steps, "load server images")
    assert "hosts" in needed_by(steps, "k3s install")


def test_nodes_are_the_guides_hosts_in_its_order():
    nodes = Lab(nodes=5).nodes
    assert [node.address for node in nodes] == [f"172.30.0.{11 + i}" for i in range(5)]
    roles = ["production", "ai-core", "mcp-hub", "data-pipeline", "development"]
    assert [node.labels["instance-role"] for node in nodes] == roles
    assert [node.control_plane for node in nodes] == [True, False, False, False, False]


def test_current_is_as_large_as_its_inventory():
    assert len(Lab.current().nodes) == 3
    write_inventory(lab_dir() / "inventory.yaml", Lab(nodes=5).nodes)
    assert len(Lab.current().nodes) == 5
    assert len(Lab.current().cluster().nodes) == 5


def test_nothing_runs_is_a_status_not_an_error(monkeypatch):
    monkeypatch.setattr(lab_module, "running_engine", lambda: None)
    status = Lab().status()
    assert not status.up
    assert status.engine == "not running"
    assert not Lab().is_up()
    with pytest.raises(TargetRefused, match="not up"):
        Lab().pin("0")


def test_down_of_nothing_is_quiet_and_leaves_no_state(monkeypatch):
    monkeypatch.setattr(lab_module, "running_engine", lambda: None)
    folder = lab_dir()
    Lab().down(lambda _: None)
    assert not folder.exists()


def test_down_without_the_engine_that_holds_the_lab_is_not_called_done(monkeypatch):
    monkeypatch.setattr(lab_module, "running_engine", lambda: None)
    write_facts({"docker_host": "unix:///var/run/docker.sock"})
    with pytest.raises(CleanupIncomplete, match="does not answer") as caught:
        Lab().down(lambda _: None)
    assert caught.value.where == "unix:///var/run/docker.sock"


def test_a_second_up_is_told_who_holds_the_lab(monkeypatch):
    with lock(), pytest.raises(TargetRefused, match=str(os.getpid())):
        Lab().up(QuietProgress())


def test_a_secret_file_is_never_readable_by_others(folders):
    path = folders / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_secret(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_nameservers_on_loopback_are_not_given_to_pods(monkeypatch, folders):
    stub, behind = folders / "stub.conf", folders / "behind.conf"
    monkeypatch.setattr("provisioners.upstream.layout._RESOLV_CONFS", (stub, behind))
    assert host_nameservers() == ()
    stub.write_text("nameserver 127.0.0.53\nsearch x\n")
    assert host_nameservers() == ()
    behind.write_text("nameserver 127.0.0.1\nnameserver 192.0.2.53\n")
    assert host_nameservers() == ("192.0.2.53",)


@dataclass
class FakeEngine:
    """An outer engine with containers and images; every call is kept."""

    states: dict[str, str] = field(default_factory=dict)
    images: tuple[str, ...] = ()
    calls: list[list[str]] = field(default_factory=list)
    host: str = "unix:///fake.sock"

    def run(self, argv, *, timeout_s=60.0, stdin=None):
        del timeout_s, stdin
        self.calls.append(list(argv))
        code, out = 0, ""
        if argv[:2] == ["container", "ls"]:
            out = "\n".join(
                f'{{"Names": "{name}", "State": "{state}"}}' for name, state in self.states.items()
            )
        elif argv[0] == "logs":
            out = "systemd[1]: Stopping\r\n\x1b[0;1;31mkubelet[7]: no more memory\x1b[0m\r\n"
        elif argv[:2] == ["image", "ls"]:
            out = "\n".join(self.images)
        elif argv[:2] == ["image", "inspect"]:
            names = argv[4:]
            code = 0 if set(names) <= set(self.images) else 1
            out = "\n".join(f"sha256:{name}" for name in names)
        elif argv[0] == "save":
            Path(argv[argv.index("--output") + 1]).write_text("tar", encoding="ascii")
        return CommandResult(tuple(argv), "localhost", code, out, "" if code == 0 else "No such image", 0.0)


def test_a_host_that_died_is_named_with_its_last_lines():
    lab = Lab()
    states = {f"gonogo-lab-node{i}": "running" for i in (1, 2, 3)}
    fake = FakeEngine(states=states)
    lab.hosts.require_alive(fake)  # type: ignore[arg-type]
    fake.states["gonogo-lab-node2"] = "exited"
    with pytest.raises(ProvisionError, match="no more memory") as caught:
        lab.hosts.require_alive(fake)  # type: ignore[arg-type]
    assert caught.value.where == "node2"
    assert "\x1b" not in str(caught.value)
    assert "exited" in caught.value.what


def test_more_hosts_than_asked_for_are_not_forgotten():
    states = {f"gonogo-lab-node{i}": "running" for i in (1, 2, 3, 4, 5)}
    with pytest.raises(TargetRefused, match="gonogo-lab-node4, gonogo-lab-node5"):
        Lab(nodes=3).hosts.start(FakeEngine(states=states), lambda _: None)  # type: ignore[arg-type]


def test_a_dead_host_ends_a_wait_and_explains_a_failure(monkeypatch):
    lab = Lab()
    monkeypatch.setattr(lab_module, "_ALIVE_EVERY_S", 0.0)

    def dead():
        raise ProvisionError("the node host died", where="node2")

    monkeypatch.setattr(lab, "_require_alive", dead)
    with pytest.raises(ProvisionError, match="node host died"):
        lab._watched(lambda say: say("waiting"))(lambda _: None)

    def fails(_say):
        raise ProvisionError("connection refused")

    with pytest.raises(ProvisionError, match="node host died"):
        lab._watched(fails)(lambda _: None)
    monkeypatch.setattr(lab_module, "_LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(lab, "_require_alive", lambda: None)
    with pytest.raises(ProvisionError, match="connection refused"):
        lab._watched(fails)(lambda _: None)


def test_a_host_that_the_engine_sees_dead_only_a_moment_later_is_still_named(monkeypatch):
    lab = Lab()
    monkeypatch.setattr(lab_module, "_LOOK_EVERY_S", 0.0)
    looks = []

    def dead_at_third_look():
        looks.append(1)
        if len(looks) == 3:
            raise ProvisionError("the node host died", where="node2")

    def no_connection(_say):
        CommandResult(("true",), "node2", 255, "", "Connection refused", 0.0).check()

    monkeypatch.setattr(lab, "_require_alive", dead_at_third_look)
    with pytest.raises(ProvisionError, match="node host died"):
        lab._watched(no_connection)(lambda _: None)


def run_argv(monkeypatch: pytest.MonkeyPatch, *, privileged: bool) -> list[str]:
    monkeypatch.setattr(hosts, "may_be_privileged", lambda: privileged)
    monkeypatch.setattr(hosts, "allowed_capabilities", lambda: ("SYS_ADMIN", "NET_ADMIN"))
    lab = Lab()
    return lab.hosts._run_argv(lab.nodes[0])


def test_a_host_gets_all_that_this_machine_can_give(monkeypatch):
    whole = run_argv(monkeypatch, privileged=True)
    assert "--privileged" in whole
    assert "--cap-add" not in whole
    part = run_argv(monkeypatch, privileged=False)
    assert "--privileged" not in part
    assert part[part.index("--cap-add") + 1] == "SYS_ADMIN"
    assert "systempaths=unconfined" in part
    for argv in (whole, part):
        assert argv[argv.index("--label") + 1] == "gonogo=lab"
        volumes = [word for word in argv if word.startswith("type=volume")]
        assert len(volumes) == 4
        assert all("volume-label=gonogo=lab" in word for word in volumes)


def test_hosts_of_another_recipe_key_or_level_are_stale(monkeypatch):
    argv = run_argv(monkeypatch, privileged=True)
    key = lab_dir() / "id_ed25519.pub"
    key.write_text("one")
    before = hosts._recipe(argv)
    assert hosts._recipe(argv) == before
    assert hosts._recipe([*argv, "x"]) != before
    key.write_text("two")
    assert hosts._recipe(argv) != before
    monkeypatch.setenv("GONOGO_K3S_BIN", "/k3s")
    assert "gonogo.level=lab-k3s" in run_argv(monkeypatch, privileged=True)


def test_capabilities_by_bit():
    assert capabilities.allowed_capabilities(0b11) == ("CHOWN", "DAC_OVERRIDE")
    without_resource = ((1 << 38) - 1) & ~(1 << 24)
    assert "SYS_RESOURCE" not in capabilities.allowed_capabilities(without_resource)
    assert len(capabilities.allowed_capabilities(without_resource)) == 37


@dataclass
class FakeNodeSsh:
    docker: set[str]
    containerd: set[str]
    loads: list[str] = field(default_factory=list)
    broken: bool = False

    def run(self, argv, *, timeout_s=60.0, stdin=None):
        del timeout_s, stdin
        out = ""
        if argv[:3] == ["docker", "image", "ls"]:
            out = "\n".join(self.docker)
        elif argv[-2:] == ["ls", "--quiet"]:
            out = "\n".join(f"docker.io/{name}" for name in self.containerd)
        elif argv[:2] == ["docker", "load"]:
            self.loads.append("docker")
            self.docker |= {"gonogo/a:1", "gonogo/b:1"}
        elif "import" in argv:
            self.loads.append("containerd")
            self.containerd |= set() if self.broken else {"gonogo/a:1", "gonogo/b:1"}
        return CommandResult(tuple(argv), "node", 0, out, "", 0.0)


IMAGES = ("gonogo/a:1", "gonogo/b:1")


def loading(
    monkeypatch: pytest.MonkeyPatch, *nodes: FakeNodeSsh, images: tuple[str, ...] = IMAGES
) -> tuple[FakeEngine, Cluster]:
    fake = FakeEngine(images=images)
    monkeypatch.setattr("provisioners.lab.loader.Engine", lambda *_: fake)
    members = tuple(Node(name=f"node{i}", ssh=cast("Ssh", ssh), index=i) for i, ssh in enumerate(nodes))
    return fake, Cluster(kind="lab", level="lab-upstream", nodes=members, extra={"docker_host": "unix:///x"})


def test_images_of_older_recipes_are_removed_and_present_ones_kept(monkeypatch):
    present = (*addon_images(), *image_names(), node_image())
    fake = FakeEngine(images=(*present, "gonogo/node:old"))
    lab_module._prune_images(fake)  # type: ignore[arg-type]
    assert fake.calls[-1] == ["image", "rm", "gonogo/node:old"]
    fake = FakeEngine(images=present)
    lab_module._prune_images(fake)  # type: ignore[arg-type]
    assert len(fake.calls) == 1


def test_only_what_is_lacking_is_loaded(monkeypatch):
    whole = FakeNodeSsh(set(IMAGES), set(IMAGES))
    half = FakeNodeSsh(set(IMAGES), {"gonogo/a:1"})
    empty = FakeNodeSsh(set(), set())
    fake, cluster = loading(monkeypatch, whole, half, empty)
    assert load_images(cluster, IMAGES) == {"node0": 0, "node1": 1, "node2": 2}
    assert (whole.loads, half.loads, empty.loads) == ([], ["containerd"], ["containerd", "docker"])
    assert load_images(cluster, IMAGES) == {"node0": 0, "node1": 0, "node2": 0}
    assert len([call for call in fake.calls if call[0] == "save"]) == 1


def test_pods_only_images_stay_out_of_docker(monkeypatch):
    empty = FakeNodeSsh(set(), set())
    _, cluster = loading(monkeypatch, empty)
    load_images(cluster, IMAGES, docker=False)
    assert empty.loads == ["containerd"]


def test_an_archive_is_used_again_and_old_ones_are_pruned(monkeypatch, folders):
    fake, cluster = loading(monkeypatch, FakeNodeSsh(set(), set()))
    load_images(cluster, IMAGES)
    _, again = loading(monkeypatch, FakeNodeSsh(set(), set()))
    load_images(again, IMAGES)
    folder = folders / "cache" / "images"
    assert len(list(folder.glob("*.tar"))) == 1
    assert len([call for call in fake.calls if call[0] == "save"]) == 1
    for number in range(6):
        (folder / f"{number}.tar").write_text("")
        os.utime(folder / f"{number}.tar", (number, number))
    (folder / ".cut.tar").write_text("")
    prune_archives()
    assert len(list(folder.iterdir())) == 4


def test_an_image_that_does_not_exist_or_does_not_arrive_is_named(monkeypatch):
    _, cluster = loading(monkeypatch, FakeNodeSsh(set(), set()), images=())
    with pytest.raises(InputError, match="No such image"):
        load_images(cluster, IMAGES)
    _, cluster = loading(monkeypatch, FakeNodeSsh(set(), set(), broken=True))
    with pytest.raises(ProvisionError, match=r"still missing after the load: gonogo/a:1, gonogo/b:1"):
        load_images(cluster, IMAGES)


def test_the_socket_path_fits_whatever_the_state_folder(monkeypatch):
    monkeypatch.setenv("GONOGO_STATE", "/" + "long/" * 40)
    assert len(str(engine.run_dir() / "exec/containerd/containerd.sock")) < 100


def test_a_pid_file_of_another_process_is_not_ours(monkeypatch, folders):
    monkeypatch.setattr(engine, "run_dir", lambda: folders)
    (folders / "docker.pid").write_text(str(os.getpid()))
    assert engine._own_pid() is None
    (folders / "docker.pid").write_text("cut off")
    assert engine._own_pid() is None


def test_only_our_kinds_of_processes_are_ended(monkeypatch, folders):
    monkeypatch.setattr(engine, "run_dir", lambda: folders)
    path = f"{folders}/docker.sock"
    script = f"import time; time.sleep(30) # {path}"
    bystander = subprocess.Popen([sys.executable, "-c", script])
    ours = subprocess.Popen(["containerd-shim-of-a-test", "-c", script], executable=sys.executable)
    try:
        for _ in range(100):
            if ours.pid in engine.own_processes():
                break
        assert list(engine.own_processes()) == [ours.pid]
        engine._end_left_over()
        assert ours.wait(timeout=5) < 0
        assert bystander.poll() is None
    finally:
        for process in (bystander, ours):
            process.kill()
            process.wait()


def test_an_engine_that_ends_at_its_start_says_why_at_once(monkeypatch, folders):
    log = folders / "dockerd.log"
    log.write_text("failed to start daemon: no such driver\n")
    process = subprocess.Popen([sys.executable, "-c", ""])
    monkeypatch.setattr(engine.Engine, "answers", lambda _self: False)
    with pytest.raises(ProvisionError, match="no such driver") as caught:
        engine._await_answer(Engine("unix:///x"), process.pid, log)
    assert "ended at its start" in caught.value.what
    process.wait()
