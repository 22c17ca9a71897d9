"""The Swarm side: recorded objects, the rules of waiting, stack files, and a Target over canned answers."""

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioners import swarm_wait, tally
from provisioners.base import Bundle, Cluster, Kill, Node, Side
from provisioners.errors import InputError, NotReady, ProvisionError
from provisioners.shell import CommandResult, Ssh
from provisioners.swarm_objects import (
    SwarmService,
    ended_slots,
    parse_node,
    parse_service,
    parse_task,
    restarts,
    shared_network,
    unhealthy_words,
)
from provisioners.swarm_stack import prepare_stack
from provisioners.swarm_target import SwarmTarget, compare_contents
from provisioners.swarm_wait import (
    Seen,
    TaskRow,
    parse_service_row,
    parse_task_row,
    service_failure,
    waits_for,
)

RECORDED = json.loads((Path(__file__).parent / "recorded" / "swarm.json").read_text())


def service(name: str) -> SwarmService:
    rows = [parse_service(row, "sophia") for row in RECORDED["services"]]
    return next(row for row in rows if row.name == name)


def test_a_recorded_service_is_read():
    asana = service("asana-v2")
    assert (asana.replicas, asana.image) == (1, "gonogo/mcp-asana-v2:a0cd6b5f1ef2")
    assert [(port.target, port.published, port.mode) for port in asana.ports] == [(9004, 9004, "host")]
    assert asana.addresses == {}
    assert asana.memory_limit_bytes
    assert service("net-probe").replicas is None


def test_the_same_spec_has_the_same_hash_and_another_has_not():
    row = RECORDED["services"][0]
    again = {**row, "Version": {"Index": 99999}, "UpdatedAt": "later"}
    assert parse_service(again, "sophia").spec_hash == parse_service(row, "sophia").spec_hash
    other = {**row, "Spec": {**row["Spec"], "Labels": {}}}
    assert parse_service(other, "sophia").spec_hash != parse_service(row, "sophia").spec_hash


def test_a_recorded_task_is_read_with_its_overlay_address():
    task = next(parse_task(row) for row in RECORDED["tasks"] if row["ServiceID"] == service("asana-v2").id)
    network = shared_network(service("asana-v2"), [service("asana-v2"), service("redis")])
    assert task.running
    assert len(task.container_id) == 64
    assert task.addresses[network].startswith("10.")
    assert "/" not in task.addresses[network]


def test_the_network_that_most_services_share_is_chosen():
    services = [parse_service(row, "sophia") for row in RECORDED["services"]]
    chosen = shared_network(service("net-probe"), services)
    assert chosen in service("asana-v2").networks


def test_recorded_nodes_are_ready_and_a_drained_or_lost_one_is_not():
    row = RECORDED["nodes"][0]
    assert {parse_node(one).state for one in RECORDED["nodes"]} == {"ready"}
    assert parse_node({**row, "Spec": {**row["Spec"], "Availability": "drain"}}).state == "drain"
    assert parse_node({**row, "Status": {"State": "down"}}).state == "down"


def test_restarts_count_the_slots_earlier_tasks():
    row = RECORDED["tasks"][0]
    old = {**row, "ID": "old", "Status": {"State": "failed"}, "DesiredState": "shutdown"}
    other = {**row, "ID": "other", "Slot": 99, "NodeID": "else"}
    tasks = [parse_task(one) for one in (row, old, other)]
    assert restarts(tasks[0], tasks) == 1


def test_a_slot_whose_task_ended_and_that_nobody_fills_has_ended():
    known = service("asana-v2")
    row = next(one for one in RECORDED["tasks"] if one["ServiceID"] == known.id)
    done = {**row, "Status": {"State": "complete"}, "DesiredState": "shutdown"}
    failed = {**row, "Status": {"State": "failed"}, "DesiredState": "shutdown"}
    heir = {**row, "ID": "heir", "Status": {"State": "preparing"}, "DesiredState": "running"}
    assert ended_slots(known, [parse_task(row)]) == ()
    assert len(ended_slots(known, [parse_task(done)])) == 1
    assert len(ended_slots(known, [parse_task(failed)])) == 1, "given up after max_attempts"
    assert ended_slots(known, [parse_task(failed), parse_task(heir)]) == ()
    assert ended_slots(known, [parse_task(done), parse_task(heir)]) == ()


def test_recorded_listing_rows_are_read():
    rows = {
        parse_service_row(row, "sophia").name: parse_service_row(row, "sophia")
        for row in RECORDED["service_ls"]
    }
    assert (rows["net-probe"].running, rows["net-probe"].desired) == (3, 3)
    tasks = [parse_task_row(row, "sophia") for row in RECORDED["service_ps"]]
    assert {task.service for task in tasks} == {"asana-v2", "redis", "net-probe"}
    assert all(task.wanted and task.state == "running" for task in tasks)


def test_listing_rows_with_extras_are_read():
    assert parse_service_row({"ID": "1", "Name": "s_a", "Replicas": "1/2 (max 1 per node)"}, "s").running == 1
    past = {
        "ID": "1",
        "Name": " \\_ s_a.1",
        "DesiredState": "Shutdown",
        "CurrentState": "Failed 2s ago",
        "Error": '"x"',
    }
    task = parse_task_row(past, "s")
    assert (task.service, task.slot, task.wanted, task.state, task.error) == ("a", "1", False, "failed", "x")


def row(
    number: int = 1,
    state: str = "failed",
    error: str = "task: non-zero exit (1)",
    *,
    wanted: bool = False,
    slot: str = "1",
) -> TaskRow:
    return TaskRow(f"t{number}", "a", slot, "node1", wanted, state, error)


def test_one_or_two_failures_of_a_slot_may_be_an_accident():
    assert service_failure([row(0, "starting", "", wanted=True), row(1), row(2)], Seen()) == ""


def test_a_slot_that_keeps_failing_has_failed():
    reason = service_failure([row(0, "ready", "", wanted=True), row(1), row(2), row(3)], Seen())
    assert reason.startswith("3 tasks of one slot ended")
    assert "non-zero exit (1)" in reason


def test_failures_from_before_the_wait_do_not_count():
    assert (
        service_failure(
            [row(0, "ready", "", wanted=True), row(1), row(2), row(3)], Seen(before=frozenset({"t3"}))
        )
        == ""
    )


def test_failures_of_different_slots_do_not_add_up():
    tasks = [row(9, "running", "", wanted=True, slot="1"), *(row(i, slot=str(i)) for i in (1, 2, 3))]
    tasks += [row(10 + i, "starting", "", wanted=True, slot=str(i)) for i in (2, 3)]
    assert service_failure(tasks, Seen()) == ""


def test_an_image_that_is_not_there_ends_the_wait_at_once():
    reason = service_failure(
        [row(1, "rejected", "No such image: x:1"), row(2, "pending", "", wanted=True)], Seen()
    )
    assert reason == "rejected by node1: No such image: x:1"


def test_an_unhealthy_container_has_had_its_own_budget():
    reason = service_failure(
        [row(1, error="task: non-zero exit (143): dockerexec: unhealthy container")], Seen()
    )
    assert reason.startswith("never got healthy within its own health check")


def test_a_container_that_its_health_check_ended_politely_has_had_its_budget_too():
    asked: list[str] = []
    said = {"t1": "exit status 7: refused", "t2": ""}
    seen = Seen(health_of=lambda task: (asked.append(task), said[task])[1])  # type: ignore[func-returns-value]
    polite = [row(0, "ready", "", wanted=True), row(2, "complete", "")]
    assert service_failure(polite, seen) == ""
    assert service_failure(polite, seen) == ""
    assert asked == ["t2"]
    reason = service_failure([row(0, "ready", "", wanted=True), row(1, "complete", "")], seen)
    assert reason == "never got healthy within its own health check on node1: exit status 7: refused"


def test_a_service_that_keeps_exiting_with_status_0_has_failed():
    tasks = [row(0, "ready", "", wanted=True), *(row(i, "complete", "") for i in (1, 2, 3))]
    assert service_failure(tasks, Seen()).endswith("it exited with status 0")


def test_the_health_checks_last_words_are_read():
    log = [{"ExitCode": 0, "Output": "ok"}, {"ExitCode": 22, "Output": "curl: (22) 503\n"}]
    assert unhealthy_words({"State": {"Health": {"Status": "unhealthy", "Log": log}}}) == (
        "exit status 22: curl: (22) 503"
    )
    assert unhealthy_words({"State": {"Health": {"Status": "healthy", "Log": log}}}) == ""
    assert unhealthy_words({"State": {}}) == ""


def test_a_task_that_no_node_takes_ends_the_wait_after_a_while():
    clock = [0.0]
    seen = Seen(now=lambda: clock[0])
    pending = [row(1, "pending", "no suitable node (insufficient resources on 3 nodes)", wanted=True)]
    assert service_failure(pending, seen) == ""
    clock[0] = 31.0
    assert "insufficient resources" in service_failure(pending, seen)


def test_a_restart_policy_that_gave_up_is_a_failure():
    assert service_failure([row(1)], Seen()).startswith("its restart policy gave up")


def test_what_a_service_waits_for_is_said():
    assert waits_for([row(1, "starting", "", wanted=True)]) == "its health check"
    assert waits_for([]) == "its tasks"


STACK = """
services:
  a:
    image: x
    secrets: [pw]
    configs: [{source: conf, target: /etc/c}]
    deploy: {labels: [k=v]}
  b: {image: y}
networks: {net: {}, outer: {external: true}}
volumes: {data: }
secrets: {pw: {file: ./secrets/pw}}
configs: {conf: {file: ./conf/c}}
"""


def bundle(text: str = STACK, conf: str = "1", secret: bytes = b"hunter2") -> Bundle:
    return Bundle(Side.SWARM, "ns", {"stack.yml": text, "conf/c": conf}, (), {"pw": secret})


def test_secrets_and_configs_are_named_by_their_content():
    stack = prepare_stack(bundle(), "s", "run1")
    document = yaml.safe_load(stack.text)
    name = next(iter(stack.secrets))
    assert stack.secrets == {name: b"hunter2"}
    assert document["secrets"]["pw"] == {"external": True, "name": name}
    assert document["configs"]["conf"] == {"file": f"./{stack.configs[0]}", "name": stack.configs[0]}
    assert stack.files == {stack.configs[0]: b"1"}
    assert "hunter2" not in stack.text


def test_a_changed_secret_or_config_is_a_new_one_and_an_unchanged_one_is_not():
    first = prepare_stack(bundle(), "s", "run1")
    assert prepare_stack(bundle(), "s", "run2").secrets == first.secrets
    assert prepare_stack(bundle(secret=b"other"), "s", "run1").secrets.keys() != first.secrets.keys()
    assert prepare_stack(bundle(conf="2"), "s", "run1").configs != first.configs


def test_what_is_deployed_carries_our_label_and_keeps_its_own():
    document = yaml.safe_load(prepare_stack(bundle(), "s", "run1").text)
    assert document["services"]["a"]["deploy"]["labels"] == {"k": "v", "gonogo": "run1"}
    assert document["services"]["b"]["deploy"]["labels"] == {"gonogo": "run1"}
    assert document["networks"]["net"]["labels"] == {"gonogo": "run1"}
    assert "labels" not in document["networks"]["outer"]
    assert document["volumes"]["data"]["labels"] == {"gonogo": "s"}


def test_a_bundle_without_or_with_two_stack_files_is_refused():
    with pytest.raises(InputError, match="exactly one stack file"):
        prepare_stack(Bundle(Side.SWARM, "ns", {"x.txt": ""}, ()), "s", "")
    with pytest.raises(InputError, match="has 2"):
        prepare_stack(
            Bundle(Side.SWARM, "ns", {"a.yml": "services: {a: {}}", "b.yml": "services: {b: {}}"}, ()),
            "s",
            "",
        )


def test_a_secret_or_config_without_content_is_refused_by_name():
    with pytest.raises(InputError, match="no value for secret pw"):
        prepare_stack(Bundle(Side.SWARM, "ns", {"stack.yml": STACK, "conf/c": ""}, ()), "s", "")
    with pytest.raises(InputError, match="config conf has no content"):
        prepare_stack(Bundle(Side.SWARM, "ns", {"stack.yml": STACK}, (), {"pw": b""}), "s", "")


def test_contents_are_compared_by_what_they_are():
    result = compare_contents({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": ""}, 0.5)
    assert (result.created, result.changed, result.removed, result.unchanged) == (
        ("d",),
        ("b",),
        ("c",),
        ("a",),
    )


@dataclass(frozen=True, slots=True)
class CannedSsh(Ssh):
    """A host that gives recorded answers by the words of the command, and notes what it was asked."""

    answers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)

    def run(self, argv, *, timeout_s=60.0, stdin=None, env=None):
        words = [word for word in argv if word not in {"--format", "{{json .}}"}]
        line = " ".join(words)
        self.asked.append((line, stdin))
        for start, text in self.answers.items():
            if f"{line}$".startswith(start):
                return CommandResult(tuple(argv), self.host, 0, text, "", 0.0)
        return CommandResult(tuple(argv), self.host, 1, "", f"unexpected: {line}", 0.0)


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(one) + "\n" for one in rows)


@pytest.fixture
def target():
    ids = " ".join(one["ID"] for one in RECORDED["services"])
    answers = {
        "docker service ls -q": ids,
        "docker service ps -q": " ".join(one["ID"] for one in RECORDED["tasks"]),
        "docker inspect --type service": json.dumps(RECORDED["services"]),
        "docker node ls -q": " ".join(one["ID"] for one in RECORDED["nodes"]),
        "docker inspect --type node": json.dumps(RECORDED["nodes"]),
        "docker ps -q": "",
        "docker exec": "done",
        "docker kill": "",
    }
    for one in RECORDED["services"]:
        tasks = [task for task in RECORDED["tasks"] if task["ServiceID"] == one["ID"]]
        answers[f"docker service ps -q --no-trunc {one['ID']}$"] = " ".join(task["ID"] for task in tasks)
        answers["docker inspect --type task " + " ".join(task["ID"] for task in tasks) + "$"] = json.dumps(
            tasks
        )
    answers["docker inspect --type task"] = json.dumps(RECORDED["tasks"])
    ordered = dict(sorted(answers.items(), key=lambda item: -len(item[0])))
    nodes = tuple(
        Node(
            f"node{number}",
            CannedSsh(f"node{number}", f"192.0.2.{number}", answers=ordered, asked=[]),
            number == 1,
        )
        for number in (1, 2, 3)
    )
    return SwarmTarget(Cluster("lab", "lab-upstream", nodes))


def test_services_tell_wanted_and_running_tasks(target):
    services = {one.name: one for one in target.services()}
    assert (services["net-probe"].desired, services["net-probe"].ready) == (3, 3)
    assert services["asana-v2"].ports == (9004,)


def test_all_services_and_tasks_are_read_with_one_call_each(target):
    target.services()
    manager = [line for line, _ in target.nodes[0].ssh.asked if "service" in line or "task" in line]
    assert len(manager) == 4


def test_a_replica_is_its_container_on_its_node(target):
    (replica,) = target.replicas("asana-v2")
    assert len(replica.id) == 64
    assert replica.node in {"node1", "node2", "node3"}
    assert replica.address.startswith("10.")
    assert replica.ready


def test_host_mode_is_entered_on_the_node_of_a_running_task(target):
    (replica,) = target.replicas("asana-v2")
    address = next(node.address for node in target.nodes if node.name == replica.node)
    assert target.url("asana-v2") == f"http://{address}:9004"


def test_a_port_that_is_not_published_and_a_service_that_is_not_there_are_errors(target):
    with pytest.raises(ProvisionError, match="does not publish port 1"):
        target.url("asana-v2", 1)
    with pytest.raises(ProvisionError, match="there is no service nope"):
        target.replicas("nope")


def test_host_mode_without_a_running_task_is_not_ready(target):
    dead = [{**task, "Status": {"State": "failed"}} for task in RECORDED["tasks"]]
    for node in target.nodes:
        for key in node.ssh.answers:
            if key.startswith("docker inspect --type task"):
                node.ssh.answers[key] = json.dumps(dead)
    with pytest.raises(NotReady, match="no running task"):
        target.url("asana-v2")


def test_a_swarm_target_can_kill(target):
    assert isinstance(target, Kill)


def test_dns_round_robin_has_no_virtual_address(target):
    assert target.service_address("asana-v2") is None
    assert target.dns_name("asana-v2") == "asana-v2"


def test_exec_and_kill_go_to_the_replicas_own_node(target):
    (replica,) = target.replicas("asana-v2")
    assert target.exec(replica, ["true"]).stdout == "done"
    target.kill(replica)
    asked = [line for node in target.nodes if node.name == replica.node for line, _ in node.ssh.asked]
    assert f"docker exec {replica.id} true" in asked
    assert f"docker kill -s KILL {replica.id}" in asked


def listing(target: SwarmTarget, tasks: list[dict[str, Any]], replicas: str) -> None:
    """Let the manager list one service with these tasks."""
    answers = target.nodes[0].ssh.answers  # type: ignore[attr-defined]
    name = "sophia_net-probe"
    found = next(one for one in RECORDED["services"] if one["Spec"]["Name"] == name)
    found = {**copy.deepcopy(found), "UpdateStatus": {}}
    found["Spec"]["TaskTemplate"]["ContainerSpec"].pop("Healthcheck", None)
    base = {"Name": f"{name}.1", "Node": "node1", "DesiredState": "Shutdown", "Error": ""}
    wait = {
        "docker service ls --filter": lines([{"ID": found["ID"], "Name": name, "Replicas": replicas}]),
        "docker service ps --no-trunc": lines([{**base, **task} for task in tasks]),
        "docker inspect --type service": json.dumps([found]),
        "docker service logs": "the last words",
    }
    rest = {key: value for key, value in answers.items() if key not in wait}
    answers.clear()
    answers.update({**wait, **rest})


def test_a_service_that_runs_already_is_ready_at_once(target):
    running = {"ID": "t1", "DesiredState": "Running", "CurrentState": "Running 9 minutes ago"}
    listing(target, [running], "3/3")
    readiness = target.wait_ready(["net-probe"], 10.0, lambda _: None)
    assert readiness.ready == ("net-probe",)
    assert readiness.duration_s < 1


def test_a_service_that_no_check_vouches_for_must_run_a_while_after_a_crash(target, monkeypatch):
    monkeypatch.setattr(tally, "SETTLE_S", 0.5)
    monkeypatch.setattr(swarm_wait, "_POLL_S", 0.1)
    running = {"ID": "t1", "DesiredState": "Running", "CurrentState": "Running 1 second ago"}
    listing(target, [running, {"ID": "t0", "CurrentState": "Failed 5 seconds ago"}], "3/3")
    readiness = target.wait_ready(["net-probe"], 0.2, lambda _: None)
    assert readiness.ready == ()
    assert "a few seconds without a crash" in readiness.failed[0].reason
    assert target.wait_ready(["net-probe"], 10.0, lambda _: None).duration_s >= 0.5


def test_a_service_that_gave_up_ends_the_wait_early_with_its_log(target):
    listing(target, [{"ID": "t0", "CurrentState": "Failed 5 seconds ago", "Error": "exit (1)"}], "0/3")
    readiness = target.wait_ready(["net-probe", "nope"], 60.0, lambda _: None)
    assert readiness.duration_s < 5
    reasons = {one.service: (one.reason, one.log_tail) for one in readiness.failed}
    assert reasons["net-probe"] == (
        "its restart policy gave up, the last ended on node1: exit (1)",
        "the last words",
    )
    assert reasons["nope"][0] == "there is no service nope in stack sophia"


def test_a_secrets_value_travels_on_stdin_only(target):
    answers = {
        "docker version": "26.1.5",
        "docker network ls": lines([]),
        "docker secret ls": lines([]),
        "docker config ls": lines([]),
        "docker secret create": "",
        "mktemp": "/tmp/gonogo.x",
        "tee": "",
        "rm": "",
        "env -C /tmp/gonogo.x docker stack deploy": "",
    }
    manager = target.nodes[0].ssh
    manager.answers.update(answers)
    target.apply(bundle())
    for line, _ in manager.asked:
        assert "hunter2" not in line
    assert [stdin for line, stdin in manager.asked if line.startswith("docker secret create")] == [b"hunter2"]
    deploy = next(line for line, _ in manager.asked if "stack deploy" in line)
    assert "--prune --resolve-image never --detach -c - sophia" in deploy
    assert manager.asked[-1][0].startswith(("docker", "rm"))
    assert any(line == "rm -rf /tmp/gonogo.x" for line, _ in manager.asked)


def test_a_command_whose_process_never_began_is_asked_for_again(target, monkeypatch):
    replica = target.replicas("asana-v2")[0]
    reset = (
        "OCI runtime exec failed: waiting for init preliminary setup: read init-p: connection reset by peer"
    )
    answers = [(126, reset), (126, reset), (0, "")]
    asked = []

    def run(_self, argv, **_):
        asked.append(argv)
        code, words = answers.pop(0)
        return CommandResult(tuple(argv), "node1", code, "", words, 0.0)

    monkeypatch.setattr(CannedSsh, "run", run)
    assert target.exec(replica, ["true"]).ok
    assert len(asked) == 3
    answers[:] = [(126, "permission denied"), (0, "")]
    assert not target.exec(replica, ["nothing"]).ok
    answers[:] = [(126, reset)] * 9
    assert not target.exec(replica, ["true"]).ok
    assert len(answers) == 6
