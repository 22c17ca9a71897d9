"""A pod behind a Service goes on answering until no Service sends to it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from provisioners.compose import Fit, Outcome, Patch, Project, kubernetes_bundle
from provisioners.compose.lint import lint_folder
from provisioners.compose.validate import check_texts, object_problems
from provisioners.tiers import Tiers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.compose.conftest import Load

NONE = Tiers(namespace="test")
WAIT = {"preStop": {"sleep": {"seconds": 5}}}


def pod(project: Project, kind: str, fit: Fit | None = None) -> dict[str, Any]:
    bundle, _ = kubernetes_bundle(project, NONE, fit or Fit())
    assert check_texts(dict(bundle.files))
    bodies = [body for text in bundle.files.values() for body in yaml.safe_load_all(text)]
    (found,) = [body for body in bodies if body["kind"] == kind]
    return dict(found["spec"]["template"]["spec"])


@pytest.mark.parametrize(
    ("body", "kind", "waits"),
    [
        ("ports: ['80:80']", "Deployment", True),
        ("expose: [80]", "Deployment", True),
        ("ports: ['53:53/udp']", "Deployment", True),
        ("ports: ['80:80']\n    volumes: ['data:/data']", "StatefulSet", True),
        ("init: true", "Deployment", False),  # no port, so no Service leads to it
        ("ports: ['80:80']\n    deploy: {mode: global}", "DaemonSet", False),
        ("ports: ['80:80']\n    deploy: {mode: replicated-job}", "Job", False),
    ],
)
def test_who_waits(load: Load, body: str, kind: str, waits: bool) -> None:
    spec = pod(load(f"services:\n  web:\n    image: nginx:1\n    {body}\nvolumes: {{data: }}\n"), kind)
    assert spec["containers"][0].get("lifecycle") == (WAIT if waits else None)
    assert spec["terminationGracePeriodSeconds"] == (15 if waits else 10)


def test_a_port_that_others_call_counts(load: Load) -> None:
    text = "services: {web: {image: 'nginx:1', environment: [API=http://api:8000]}, api: {image: 'a:1'}}"
    bundle, _ = kubernetes_bundle(load(text), NONE, Fit())
    assert "preStop" in bundle.files["core/api.yaml"]
    assert "preStop" not in bundle.files["core/web.yaml"]


def test_the_time_that_the_file_gives_comes_after_it(load: Load) -> None:
    head = "services:\n  web:\n    image: nginx:1\n    stop_grace_period: 1m\n"
    assert pod(load(head), "Deployment")["terminationGracePeriodSeconds"] == 60
    project = load(f"{head}    stop_signal: SIGTERM\n    expose: [80]\n")
    assert pod(project, "Deployment")["terminationGracePeriodSeconds"] == 65
    losses = {loss.path: loss for loss in kubernetes_bundle(project, NONE, Fit())[1]}
    assert losses["services.web.stop_grace_period"].detail.startswith("5 s longer")
    image = losses["services.web.image"]
    assert image.outcome is Outcome.CONVERTED
    assert "lifecycle.preStop" in image.target
    assert "before it is told to stop" in image.detail


def test_a_patch_takes_its_place(load: Load) -> None:
    own = {"exec": {"command": ["/drain"]}}
    path = "spec.template.spec.containers[0].lifecycle.preStop"
    fit = replace(Fit(), patches=(Patch("Deployment", "web", path, own),))
    spec = pod(load("services: {web: {image: 'nginx:1', expose: [80]}}"), "Deployment", fit)
    assert spec["containers"][0]["lifecycle"] == {"preStop": own}


def test_the_validation_knows_it(load: Load) -> None:
    bundle, _ = kubernetes_bundle(load("services: {web: {image: 'nginx:1', expose: [80]}}"), NONE, Fit())
    (body,) = [
        one for one in yaml.safe_load_all(bundle.files["core/web.yaml"]) if one["kind"] == "Deployment"
    ]
    assert not object_problems(body)
    body["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] = "5s"
    assert "a whole number is wanted" in str(object_problems(body)[0])


def test_the_lint_asks_nobody_for_it(load: Load, tmp_path: Path) -> None:
    bundle, _ = kubernetes_bundle(load("services: {web: {image: 'nginx:1', expose: [80]}}"), NONE, Fit())
    text = bundle.files["core/web.yaml"]
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "web.yaml").write_text(text)
    (tmp_path / "theirs").mkdir()
    without = text.replace(
        "        lifecycle:\n          preStop:\n            sleep:\n              seconds: 5\n", ""
    )
    assert without != text
    (tmp_path / "theirs" / "web.yaml").write_text(without)
    ours, theirs = (lint_folder(tmp_path / name).findings for name in ("ours", "theirs"))
    assert [one.rule for one in ours] == [one.rule for one in theirs]
    assert not [one for one in (*ours, *theirs) if "preStop" in str(one)]
