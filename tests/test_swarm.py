import json
from dataclasses import dataclass, field

import pytest

from provisioners.base import Node, StepResult
from provisioners.errors import CleanupIncomplete, InputError, NotReady, TargetRefused
from provisioners.shell import CommandResult
from provisioners.steps import QuietProgress, run_steps
from provisioners.swarm import SwarmProvisioner


@dataclass
class World:
    """What the engines of all hosts know; `calls` are every argv with its stdin."""

    members: dict[str, str] = field(default_factory=dict)  # host -> address of its manager
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, tuple[str, ...], str]] = field(default_factory=list)
    stuck: set[str] = field(default_factory=set)


@dataclass
class FakeSsh:
    host: str
    address: str
    world: World

    def run(self, argv: list[str], *, timeout_s: float = 60.0, stdin: str | None = None) -> CommandResult:
        del timeout_s
        self.world.calls.append((self.host, tuple(argv), stdin or ""))
        code, out = self._answer(list(argv), stdin)
        return CommandResult(tuple(argv), self.host, code, out, "" if code == 0 else "refused", 0.0)

    def _answer(self, argv: list[str], stdin: str | None) -> tuple[int, str]:
        world = self.world
        if argv[:2] == ["docker", "info"]:
            manager = world.members.get(self.host)
            remote = [{"Addr": f"{manager}:2377"}] if manager else None
            return 0, json.dumps(
                {"LocalNodeState": "active" if manager else "inactive", "RemoteManagers": remote}
            )
        if argv[:3] == ["docker", "swarm", "init"]:
            world.members[self.host] = self.address
        elif argv[:3] == ["docker", "swarm", "join-token"]:
            return 0, "SWMTKN-secret\n"
        elif argv[0] == "curl":
            world.members[self.host] = json.loads(stdin or "")["RemoteAddrs"][0].split(":")[0]
        elif argv[:3] == ["docker", "node", "ls"]:
            rows = [{"Hostname": h, "Status": world.states.get(h, "Ready")} for h in world.members]
            return 0, "\n".join(json.dumps(row) for row in rows)
        elif argv[:3] == ["docker", "node", "inspect"]:
            return 0, json.dumps(world.labels.get(argv[-1], {}))
        elif argv[:3] == ["docker", "node", "update"]:
            pairs = [word.removeprefix("--label-add=").split("=") for word in argv[3:-1]]
            world.labels.setdefault(argv[-1], {}).update(dict(pairs))
        elif argv[:3] == ["docker", "swarm", "leave"] and self.host not in world.stuck:
            world.members.pop(self.host, None)
        return 0, ""


def nodes_of(world: World, count: int = 3) -> tuple[Node, ...]:
    return tuple(
        Node(
            name=f"node{i}",
            ssh=FakeSsh(f"node{i}", f"192.0.2.{i}", world),  # type: ignore[arg-type]
            control_plane=i == 1,
            labels={"instance-role": f"role{i}"},
            index=i - 1,
        )
        for i in range(1, count + 1)
    )


def up(nodes: tuple[Node, ...]) -> tuple[StepResult, ...]:
    return run_steps(SwarmProvisioner(nodes).steps(), progress=QuietProgress())


def test_makes_one_swarm_with_labels():
    world = World()
    up(nodes_of(world))
    assert world.members == {"node1": "192.0.2.1", "node2": "192.0.2.1", "node3": "192.0.2.1"}
    assert world.labels["node3"] == {"instance-role": "role3"}


def test_doing_it_again_changes_nothing():
    world = World()
    up(nodes_of(world))
    world.calls.clear()
    results = up(nodes_of(world))
    assert results[0].cached
    changing = [argv for _, argv, _ in world.calls if argv[0] == "curl" or "update" in argv or "init" in argv]
    assert changing == []


def test_the_join_token_is_in_no_process_list():
    world = World()
    up(nodes_of(world))
    assert any("SWMTKN-secret" in stdin for _, _, stdin in world.calls)
    assert not any("SWMTKN" in word for _, argv, _ in world.calls for word in argv)


def test_a_host_of_another_swarm_is_refused_and_left_alone():
    world = World(members={"node2": "198.51.100.9"})
    with pytest.raises(TargetRefused, match=r"another swarm, managed by 198\.51\.100\.9") as caught:
        up(nodes_of(world))
    assert caught.value.where == "node2"
    assert world.members["node2"] == "198.51.100.9"
    assert not any("leave" in argv for _, argv, _ in world.calls)


def test_a_node_that_does_not_get_ready_is_named_after_the_bound(monkeypatch):
    monkeypatch.setattr("provisioners.swarm._READY_BOUND_S", 0.2)
    world = World(states={"node3": "Down"})
    with pytest.raises(NotReady, match="node3"):
        up(nodes_of(world))


def test_down_takes_all_out_and_leaves_foreign_swarms():
    world = World()
    up(nodes_of(world))
    SwarmProvisioner(nodes_of(world)).down(lambda _: None)
    assert world.members == {}
    world = World()
    up(nodes_of(world, 2))
    world.members["node3"] = "198.51.100.9"
    SwarmProvisioner(nodes_of(world)).down(lambda _: None)
    assert world.members == {"node3": "198.51.100.9"}


def test_what_is_left_after_down_is_named():
    world = World(stuck={"node2"})
    up(nodes_of(world))
    with pytest.raises(CleanupIncomplete, match="node2") as caught:
        SwarmProvisioner(nodes_of(world)).down(lambda _: None)
    assert caught.value.exit_code == 5


def test_no_nodes_is_refused():
    with pytest.raises(InputError):
        SwarmProvisioner(())
