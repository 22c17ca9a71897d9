"""Applying: what counts as a change, and what manifests are refused."""

import base64
from typing import Any

import pytest

from provisioners.errors import InputError
from provisioners.kube_apply import is_changed, read_manifests, secret_object, with_content_id


def test_a_status_written_meanwhile_is_no_change():
    before = {"metadata": {"resourceVersion": "1", "generation": 1}, "spec": {"a": 1}, "status": {"x": 1}}
    after = {"metadata": {"resourceVersion": "2", "generation": 1}, "spec": {"a": 1}, "status": {"x": 2}}
    assert not is_changed(before, before, {})
    assert not is_changed(before, after, {"spec": {"a": 1}})


@pytest.mark.parametrize(
    "after",
    [
        {"metadata": {"resourceVersion": "2", "generation": 2}, "data": {"a": "1"}},
        {"metadata": {"resourceVersion": "2", "generation": 1}, "data": {"a": "2"}},
        {
            "metadata": {
                "resourceVersion": "2",
                "generation": 1,
                "managedFields": [{"manager": "gonogo", "operation": "Apply", "fieldsV1": {"f:x": {}}}],
            },
            "data": {"a": "1"},
        },
    ],
)
def test_a_new_generation_value_or_owned_field_is_a_change(after):
    before = {"metadata": {"resourceVersion": "1", "generation": 1}, "data": {"a": "1"}}
    assert is_changed(before, after, {"data": {"a": "x"}})


def test_manifests_are_read_and_what_is_none_is_refused_by_file():
    files = {
        "b.yaml": "kind: List\napiVersion: v1\nitems: [{kind: A, apiVersion: v1, metadata: {name: x}}]\n---\n"
    }
    assert [one["kind"] for one in read_manifests(files)] == ["A"]
    with pytest.raises(InputError, match=r"x\.yaml"):
        read_manifests({"x.yaml": "a: b"})
    with pytest.raises(InputError, match="without a name"):
        read_manifests({"x.yaml": "{kind: A, apiVersion: v1}"})
    with pytest.raises(InputError, match="not a manifest"):
        read_manifests({"x.yaml": "a: [b"})


def test_a_secret_has_a_legal_name_and_its_own_key():
    row = secret_object("PG_Password", b"\x00\xff", "ns")
    assert row["metadata"] == {"name": "pg-password", "namespace": "ns"}
    assert base64.b64decode(row["data"]["PG_Password"]) == b"\x00\xff"


def test_a_changed_config_changes_the_pods_that_use_it_and_no_others():
    def bodies(value: str) -> list[dict[str, Any]]:
        volume = {"name": "v", "configMap": {"name": "conf"}}
        return [
            {"kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"a": value}},
            {
                "kind": "Deployment",
                "metadata": {"name": "user"},
                "spec": {"template": {"spec": {"volumes": [volume]}}},
            },
            {"kind": "Deployment", "metadata": {"name": "other"}, "spec": {"template": {"spec": {}}}},
        ]

    one, two = bodies("1"), bodies("2")
    assert with_content_id(one[1], one) == with_content_id(one[1], bodies("1"))
    assert with_content_id(one[1], one) != with_content_id(two[1], two)
    assert with_content_id(one[2], one) == one[2]
    assert with_content_id(one[0], one) == one[0]
