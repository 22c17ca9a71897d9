import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioners.compose import (
    Fit,
    Loss,
    Outcome,
    Project,
    count_keys,
    kubernetes_bundle,
    load_project,
    losses_json,
)
from provisioners.compose.losses import Ledger, input_leaves
from provisioners.errors import ProvisionError
from provisioners.tiers import Tiers
from tests.compose.conftest import INPUT, Load

NONE = Tiers(namespace="test")
HEAD = "services:\n  web:\n    image: nginx:1\n"


def losses(project: Project) -> dict[tuple[str, int], Loss]:
    return {(loss.path, loss.line): loss for loss in kubernetes_bundle(project, NONE, Fit())[1]}


def yaml_leaves(path: Path) -> set[tuple[str, int]]:
    """Every leaf of a file as PyYAML sees it, with merge keys left as they are written."""
    found: set[tuple[str, int]] = set()

    def walk(node: yaml.Node | None, at: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                walk(value, f"{at}.{key.value}" if at else key.value)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                walk(item, f"{at}[{index}]")
        elif node is not None:
            found.add((at, node.start_mark.line + 1))

    walk(yaml.compose(path.read_text(), Loader=yaml.SafeLoader), "")
    return found


def is_covered(path: str, entries: set[str]) -> bool:
    while path and path not in entries:
        path = (
            path[: max(path.rfind("."), path.rfind("["))] if max(path.rfind("."), path.rfind("[")) > 0 else ""
        )
    return bool(path)


def test_every_leaf_that_another_parser_finds_is_covered(sample: Project, tiers: Tiers, lab_fit: Fit) -> None:
    _, found = kubernetes_bundle(sample, tiers, lab_fit)
    for file in INPUT:
        entries = {loss.path for loss in found if loss.file == str(file)}
        leaves = yaml_leaves(file)
        assert len(leaves) > 100
        assert not [leaf for leaf in leaves if not is_covered(leaf[0], entries)]


def test_keys_in_are_keys_accounted_for(sample: Project, tiers: Tiers, lab_fit: Fit) -> None:
    _, found = kubernetes_bundle(sample, tiers, lab_fit)
    assert count_keys(sample) == len(list(input_leaves(sample))) > 600
    assert not [loss for loss in found if loss.outcome is Outcome.REFUSED]
    assert all(loss.detail for loss in found if loss.outcome is not Outcome.CONVERTED)
    assert all(loss.line > 0 and loss.file for loss in found)


def test_a_silent_loss_is_an_error_of_the_converter(sample: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provisioners.compose.controller._note_restart", lambda *_: None)
    with pytest.raises(ProvisionError, match="lost in silence") as caught:
        kubernetes_bundle(sample, NONE, Fit())
    assert "deploy.restart_policy.condition" in str(caught.value)
    assert caught.value.exit_code == 6


def test_the_ledger_keeps_the_worst_outcome(load: Load) -> None:
    leaf = load(HEAD).services["web"].image
    assert leaf
    ledger = Ledger()
    ledger.converted(leaf.at, "a")
    ledger.dropped(leaf.at, "why")
    ledger.converted(leaf.at, "b")
    (entry,) = ledger.entries.values()
    assert (entry.outcome, entry.detail, entry.target) == (Outcome.DROPPED, "why", "a, b")


def test_lines_and_paths(load: Load) -> None:
    found = losses(load(HEAD + "    ports:\n      - '80:80'\n    deploy:\n      replicas: 2\nversion: '3'\n"))
    assert found["services.web.ports[0]", 5].outcome is Outcome.APPROXIMATED
    assert found["services.web.deploy.replicas", 7].outcome is Outcome.CONVERTED
    assert found["version", 8].outcome is Outcome.DROPPED


def test_overridden_and_duplicate_values_are_dropped(load: Load) -> None:
    over = "services: {web: {image: nginx:2, environment: [A=2]}}"
    project = load(HEAD + "    environment: {A: 1}\n", over)
    dropped = [loss for loss in losses(project).values() if "overridden" in loss.detail]
    assert {(Path(loss.file).name, loss.path) for loss in dropped} == {
        ("compose-0.yml", "services.web.image"),
        ("compose-0.yml", "services.web.environment.A"),
    }
    project = load(HEAD + "    image: nginx:2\n", duplicates="last")
    found = losses(project)
    assert found["services.web.image", 3].outcome is Outcome.DROPPED
    assert found["services.web.image", 4].outcome is Outcome.CONVERTED


@pytest.mark.parametrize(
    ("body", "path", "outcome"),
    [
        (
            "    deploy: {restart_policy: {condition: on-failure}}",
            "deploy.restart_policy.condition",
            "approximated",
        ),
        ("    deploy: {restart_policy: {condition: any}}", "deploy.restart_policy.condition", "converted"),
        (
            "    deploy: {update_config: {failure_action: rollback}}",
            "deploy.update_config.failure_action",
            "approximated",
        ),
        (
            "    deploy: {placement: {constraints: [node.role == manager]}}",
            "deploy.placement.constraints[0]",
            "approximated",
        ),
        (
            "    deploy: {placement: {constraints: [node.id == x]}}",
            "deploy.placement.constraints[0]",
            "refused",
        ),
        ("    volumes: ['/var/run/docker.sock:/var/run/docker.sock']", "volumes[0]", "dropped"),
        ("    network_mode: host", "network_mode", "dropped"),
        ("    user: nobody", "user", "refused"),
        ("    privileged: true", "privileged", "converted"),
        ("    command:", "command", "dropped"),
        ("    x-mine: {a: 1}", "x-mine", "dropped"),
        ("    healthcheck: {x-note: 1, disable: true}", "healthcheck", "approximated"),
        ("    deploy: {labels: {a: b}}", "deploy.labels.a", "approximated"),
        ("    scale: 2", "scale", "converted"),
        ("    restart: always", "restart", "dropped"),
        ("    gpus: all", "gpus", "approximated"),
        ("    network_mode: none", "network_mode", "approximated"),
        ("    network_mode: service:vpn", "network_mode", "refused"),
        ("    pid: container:other", "pid", "refused"),
        ("    ipc: shareable", "ipc", "dropped"),
    ],
)
def test_outcomes(load: Load, body: str, path: str, outcome: str) -> None:
    found = {loss.path: loss.outcome.value for loss in losses(load(f"{HEAD}{body}\n")).values()}
    assert found[f"services.web.{path}"] == outcome


def test_an_unset_variable_is_told(load: Load) -> None:
    found = losses(load(HEAD + "    environment: ['A=x$NOT_THERE']\n"))
    assert "NOT_THERE is not set and was read as empty" in found["services.web.environment[0]", 4].detail


def test_json(load: Load) -> None:
    found = kubernetes_bundle(load(HEAD), NONE, Fit())[1]
    rows = json.loads(losses_json(found))
    assert list(rows[0]) == ["file", "line", "path", "outcome", "detail", "target"]
    assert len(rows) == len(found)
    assert json.loads(losses_json([])) == []


@given(texts=st.lists(st.text(max_size=20), min_size=4, max_size=4), line=st.integers(1, 10**6))
@settings(deadline=None)
def test_json_of_any_text(texts: list[str], line: int) -> None:
    loss = Loss(texts[0], line, texts[1], Outcome.REFUSED, texts[2], texts[3])
    (row,) = json.loads(losses_json([loss]))
    assert row == {**loss._asdict(), "outcome": "refused"}
    assert len(losses_json([loss, loss]).split("\n")) == 5  # one loss, one line


def test_merge_keys_and_extensions_are_told_once_each(load: Load) -> None:
    text = (
        "x-base: &base {user: '1'}\nx-more: &more {<<: *base, init: true}\n"
        "services:\n  web:\n    <<: [*more]\n    image: a\n"
    )
    project = load(text)
    found = losses(project)
    for place in (("x-more.<<", 2), ("services.web.<<", 5)):
        assert found[place].outcome is Outcome.CONVERTED
        assert found[place].detail.startswith("merge key")
    assert found["x-base", 1].outcome is Outcome.DROPPED
    assert ("services.web.image", 6) in found
    # a value that looks like a merge key is none, and a path that has `x-` inside a word is no extension
    project = load("services: {web-x-1: {image: a, environment: {A: '<<', MAX-x-B: '1'}}}")
    found = losses(project)
    assert found["services.web-x-1.environment.A", 1].target == "env A"
    assert found["services.web-x-1.environment.MAX-x-B", 1].outcome is Outcome.CONVERTED


def test_a_leaf_that_nobody_speaks_of_is_an_error_of_the_converter(load: Load) -> None:
    project = load(HEAD + "    x-mine: 1\n    command:\n")
    with pytest.raises(ProvisionError, match=r"1 of 3 keys would be lost in silence") as caught:
        Ledger().close(project)
    assert "services.web.image" in str(caught.value)
    assert "x-mine" not in str(caught.value)
    ledger = Ledger()
    ledger.converted(project.services["web"].at.entries["image"], "image")
    assert [loss.path.rpartition(".")[2] for loss in ledger.close(project)] == ["image", "x-mine", "command"]


def test_outcomes_of_the_sample(password: Path, tiers: Tiers, lab_fit: Fit) -> None:
    env = {"POSTGRES_PASSWORD_FILE": str(password), "DOCKER_REGISTRY": "r.example.com", "IMAGE_TAG": "1"}
    project = load_project(INPUT, env=env)
    counts = Counter(loss.outcome for loss in kubernetes_bundle(project, tiers, lab_fit)[1])
    assert set(counts) == {Outcome.CONVERTED, Outcome.APPROXIMATED, Outcome.DROPPED}
    wider = kubernetes_bundle(project, tiers, replace(lab_fit, cpus=None, memory=None))[1]
    assert Counter(loss.outcome for loss in wider) == counts  # the file has no limits to fit
