"""Clusters, workloads and bundles survive being saved; secrets do not travel with them."""

import json
from pathlib import Path

import pytest

from provisioners.base import Bundle, Cluster, Node, ServiceSpec, Side
from provisioners.errors import InputError
from provisioners.shell import Ssh
from provisioners.targets import (
    load_bundle,
    load_cluster,
    load_workload,
    open_targets,
    save_bundle,
    save_cluster,
    save_workload,
)

SPECS = (ServiceSpec("a", "primary", 2, (9000, 9001), ("b",), mcp=True), ServiceSpec("b", "x", 1, ()))


def cluster() -> Cluster:
    ssh = Ssh("n1", "10.0.0.1", 2222, "admin", Path("/k"), Path("/h"), Path("/c"))
    return Cluster(
        kind="lab",
        level="lab-upstream",
        nodes=(
            Node("n1", ssh, control_plane=True, labels={"r": "x"}, gpus=2, index=3),
            Node("n2", Ssh("n2", "::1")),
        ),
        kubeconfig=Path("/kubeconfig"),
        kube_context="ctx",
        run_id="run",
        extra={"ipvs": "no"},
    )


def test_a_cluster_survives_being_saved():
    assert load_cluster(save_cluster(cluster())) == cluster()


def test_a_cluster_without_kubeconfig_survives_too():
    plain = Cluster("noop", "stub")
    assert load_cluster(save_cluster(plain)) == plain


def test_a_workload_survives_being_saved():
    assert load_workload(save_workload(SPECS)) == SPECS


def test_a_bundle_survives_and_its_secrets_are_names_only():
    bundle = Bundle(Side.SWARM, "ns", {"stack.yml": "services: {}\n"}, SPECS, {"pw": b"hunter2"})
    text = save_bundle(bundle)
    assert "hunter2" not in text
    assert "aHVudGVyMg" not in text
    assert load_bundle(text, {"pw": b"hunter2", "other": b"x"}) == bundle


def test_a_bundle_whose_secret_has_no_value_is_refused_by_name():
    text = save_bundle(Bundle(Side.SWARM, "ns", {}, (), {"pw": b"1", "key": b"2"}))
    with pytest.raises(InputError, match="key, pw"):
        load_bundle(text, {})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "lab"}', '{"services": [{}]}'])
@pytest.mark.parametrize("load", [load_cluster, load_workload, lambda text: load_bundle(text, {})])
def test_what_is_no_such_file_is_refused(load, text):
    with pytest.raises(InputError, match="is not a"):
        load(text)


def test_an_unknown_side_is_refused():
    row = json.loads(save_bundle(Bundle(Side.SWARM, "ns", {}, ())))
    with pytest.raises(InputError, match="nomad"):
        load_bundle(json.dumps({**row, "side": "nomad"}), {})


def test_opening_targets_contacts_nothing():
    targets = open_targets(cluster(), SPECS)
    assert {side: target.side for side, target in targets.items()} == {side: side for side in Side}
    assert [node.name for node in targets[Side.SWARM].nodes] == ["n1", "n2"]


def test_a_side_may_live_on_some_of_the_hosts():
    some = Cluster(
        "existing", "existing", cluster().nodes, extra={"swarm_nodes": "n2", "kubernetes_nodes": "n1"}
    )
    targets = open_targets(some, ())
    assert [node.name for node in targets[Side.SWARM].nodes] == ["n2"]
    assert [node.name for node in targets[Side.KUBERNETES].nodes] == ["n1"]
