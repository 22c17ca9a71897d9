"""From a config to the workloads of both sides, before anything is up."""

from pathlib import Path

import pytest
import yaml

from provisioners.base import Cluster, Node, Side
from provisioners.compose.validate import check_texts
from provisioners.errors import InputError
from provisioners.shell import Ssh
from tests.production import NAMESPACE, PORTS, SERVICES, config_table, production_config
from verbs.config import load_config
from verbs.targets import fit_of
from verbs.workload import convert, read_project

NODES = tuple(
    Node(name, Ssh(name, f"192.0.2.{index}")) for index, name in enumerate(("node1", "node2", "node3"), 1)
)


def bundles(config_file: Path) -> tuple[dict[Side, str], set[str]]:
    config = load_config(str(config_file))
    project, tiers = read_project(config)
    cluster = Cluster(kind="lab", level="lab-upstream", nodes=NODES)
    workload = convert(config, project, tiers, cluster)
    refused = {f"{loss.path}: {loss.detail}" for loss in workload.losses if loss.outcome == "refused"}
    assert check_texts(workload.bundles[Side.KUBERNETES].files) > len(SERVICES)
    assert {service.name for service in workload.bundles[Side.SWARM].services} == SERVICES
    return {side: "".join(bundle.files.values()) for side, bundle in workload.bundles.items()}, refused


def test_the_production_file_fits_the_lab_with_nothing_refused(tmp_path: Path) -> None:
    texts, refused = bundles(production_config(tmp_path))
    assert refused == set()
    for text in texts.values():
        assert "scoobyjava15" not in text  # every image is stood in for
    assert f"namespace: {NAMESPACE}" in texts[Side.KUBERNETES]
    # passwords of the file are in no text of Kubernetes, whose Secrets are made apart
    assert "sophia_password" not in texts[Side.KUBERNETES]


def test_the_environment_of_a_substitute_reaches_both_sides(tmp_path: Path) -> None:
    config = load_config(str(production_config(tmp_path)))
    project, tiers = read_project(config)
    cluster = Cluster(kind="lab", level="lab-upstream", nodes=NODES)
    assert fit_of(config, cluster).substitutes["nginx"].environment == {"PORT": "8088"}
    workload = convert(config, project, tiers, cluster)
    stack = yaml.load(workload.bundles[Side.SWARM].files["stack.yml"], yaml.CSafeLoader)
    kubernetes = [
        body
        for text in workload.bundles[Side.KUBERNETES].files.values()
        for body in yaml.load_all(text, yaml.CSafeLoader)
        if body and body["kind"] in {"Deployment", "StatefulSet"}
    ]
    assert {body["metadata"]["name"] for body in kubernetes} == SERVICES
    for name, port in PORTS.items():
        assert stack["services"][name]["environment"]["PORT"] == str(port)
        (box,) = next(
            body["spec"]["template"]["spec"]["containers"]
            for body in kubernetes
            if body["metadata"]["name"] == name
        )
        assert {"name": "PORT", "value": str(port)} in box["env"]
        assert box["args"] == ["python3", "-m", "mcp_server"]
        assert port in {row["containerPort"] for row in box["ports"]}


def test_without_the_files_that_are_mounted_it_is_refused(tmp_path: Path) -> None:
    config = production_config(tmp_path)
    (tmp_path / "configs/nginx.conf").unlink()
    with pytest.raises(InputError, match=r"production.yml:\d+: ./configs/nginx.conf is not there"):
        bundles(config)


def test_an_image_that_the_lab_does_not_build_is_told_before_anything_starts(tmp_path: Path) -> None:
    file = production_config(tmp_path)
    table = config_table("lab")
    del table["substitutes"]["sophia-backend"], table["substitutes"]["nginx"]
    table["images"] = {"*/sophia-*": "gonogo/mcp-{service}"}
    file.write_text(yaml.safe_dump(table))
    with pytest.raises(InputError) as caught:
        read_project(load_config(str(file)))
    assert caught.value.why == "sophia-backend wants gonogo/mcp-sophia-backend"
    assert "gonogo/mcp-playwright" in caught.value.next_step
    table["target"]["kind"] = "existing"  # there, images are the user's own business
    file.write_text(yaml.safe_dump(table))
    assert read_project(load_config(str(file)))


def test_the_built_in_config_wants_only_what_the_lab_builds() -> None:
    assert read_project(load_config("lab"))


def test_the_environment_of_a_substitute_is_text(tmp_path: Path) -> None:
    file = production_config(tmp_path)
    table = config_table("lab")
    table["substitutes"]["nginx"]["environment"] = {"PORT": 8088}
    file.write_text(yaml.safe_dump(table))
    with pytest.raises(InputError, match=r"substitutes.nginx.environment.PORT"):
        load_config(str(file))
