"""What compose allows and Kubernetes does not: the output is legal, and a loss says what became of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioners.compose import Fit, Project, convert, kubernetes_bundle
from provisioners.compose.emit import to_yaml
from provisioners.compose.kubernetes import kubernetes_conversion
from provisioners.compose.losses import Loss
from provisioners.compose.naming import annotation_key, host_label, legal_domain
from provisioners.compose.schema_fits import fits
from provisioners.compose.schemas_k8s import load_schemas
from provisioners.compose.validate import check_objects, check_texts, object_problems
from provisioners.errors import InputError, ProvisionError
from provisioners.tiers import Tiers
from tests.compose.conftest import Load

NONE = Tiers("default")
FITS = (
    Fit(),
    Fit(replicas=2, entry="node", policies=True, ingress_domain="x.example.com"),
    Fit(memory="64M"),
)
APPROXIMATED, DROPPED, REFUSED, CONVERTED = "approximated", "dropped", "refused", "converted"
WEB = "services.web."
PLACED = f"{WEB}deploy.placement."

# the keys of the service; where a loss is looked for; its outcome; a part of its words
CASES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "host name with capitals": ({"hostname": "Web_1"}, f"{WEB}hostname", APPROXIMATED, "web-1"),
    "host name with a domain": ({"hostname": "a.b.example.com"}, f"{WEB}hostname", APPROXIMATED, "no domain"),
    "host name too long": ({"hostname": "x" * 70}, f"{WEB}hostname", APPROXIMATED, "at most 63"),
    "host name of nothing": ({"hostname": "__"}, f"{WEB}hostname", REFUSED, "small letters"),
    "label with two slashes": (
        {"deploy": {"labels": {"-x/y/z": "a"}}},
        f"{WEB}deploy.labels",
        APPROXIMATED,
        "x-y/z",
    ),
    "label with an empty part": (
        {"deploy": {"labels": {"a//b": "a"}}},
        f"{WEB}deploy.labels",
        APPROXIMATED,
        "a/b",
    ),
    "labels that become one": ({"labels": {"a b": "1", "a-b": "2"}}, f"{WEB}labels", APPROXIMATED, "a-b-2"),
    "label beyond ASCII": ({"labels": {"é": "1"}}, f"{WEB}labels", APPROXIMATED, "written label"),
    "label of 300 KiB": ({"labels": {"a": "x" * 300_000}}, f"{WEB}labels", REFUSED, "256 KiB"),
    "variable beyond ASCII": (
        {"environment": {"é": "y"}},
        f"{WEB}environment",
        REFUSED,
        "rename the variable",
    ),
    "helper variable": (
        {"environment": {"A": "{{.Task.Slot}}-{{.Node.Hostname}}", "A_0": "x"}},
        f"{WEB}environment.A",
        APPROXIMATED,
        "fields of the pod",
    ),
    "two ports of one name": (
        {"ports": [{"target": 80, "name": "web"}, {"target": 81, "name": "web"}]},
        f"{WEB}ports[1]",
        APPROXIMATED,
        "tcp-81",
    ),
    "port names alike when cut": (
        {
            "ports": [
                {"target": 80, "name": "averyverylongname-1"},
                {"target": 81, "name": "averyverylongname-2"},
            ]
        },
        f"{WEB}ports[1]",
        APPROXIMATED,
        "no two alike",
    ),
    "HTTP over UDP too": (
        {"ports": ["443:443/tcp", "443:443/udp"], "healthcheck": {"test": "curl -f http://localhost:443/"}},
        f"{WEB}ports[1]",
        APPROXIMATED,
        "443",
    ),
    "volume and tmpfs": (
        {"volumes": ["data:/b"], "tmpfs": ["/b/"]},
        f"{WEB}tmpfs",
        REFUSED,
        "mounted at already",
    ),
    "shm_size and a mount": (
        {"shm_size": "64m", "volumes": [{"type": "tmpfs", "target": "/dev/shm"}]},
        f"{WEB}shm_size",
        DROPPED,
        "/dev/shm counts",
    ),
    "mount with a colon": (
        {"volumes": [{"type": "volume", "source": "data", "target": "/a:b"}]},
        f"{WEB}volumes[0]",
        REFUSED,
        "`:`",
    ),
    "volume called as one of ours": (
        {"volumes": ["shm:/a", "tmpfs-0:/b"], "shm_size": "64m", "tmpfs": ["/c"]},
        f"{WEB}tmpfs",
        CONVERTED,
        "",
    ),
    "one volume at two paths": (
        {"volumes": ["data:/a", "data:/b"], "deploy": {"mode": "replicated-job"}},
        f"{WEB}volumes[1]",
        APPROXIMATED,
        "",
    ),
    "two secrets in one place": (
        {"secrets": [{"source": "s", "target": "x"}, {"source": "t", "target": "x"}]},
        f"{WEB}secrets[1]",
        REFUSED,
        "another target",
    ),
    "config where a volume is": (
        {"volumes": ["data:/b"], "configs": [{"source": "c", "target": "/b"}]},
        f"{WEB}configs",
        REFUSED,
        "already",
    ),
    "one config in two places": (
        {"configs": [{"source": "c", "target": "/a"}, {"source": "c", "target": "/b"}]},
        f"{WEB}configs",
        CONVERTED,
        "",
    ),
    "config of mode 1777": (
        {"configs": [{"source": "c", "target": "/b", "mode": 0o1777}]},
        f"{WEB}configs",
        APPROXIMATED,
        "sticky",
    ),
    "host of a wrong name": ({"extra_hosts": ["a_b:10.0.0.1"]}, f"{WEB}extra_hosts", REFUSED, "a_b"),
    "host in capitals": (
        {"extra_hosts": {"DB": "10.0.0.1"}},
        f"{WEB}extra_hosts",
        APPROXIMATED,
        "small letters",
    ),
    "host without an address": (
        {"extra_hosts": ["x:not-an-ip"]},
        f"{WEB}extra_hosts",
        REFUSED,
        "no IP address",
    ),
    "one address twice": (
        {"extra_hosts": ["x:10.0.0.1", "y:10.0.0.1", "z=::1", "y2:[::1]"]},
        f"{WEB}extra_hosts",
        CONVERTED,
        "",
    ),
    "four name servers": (
        {"dns": ["8.8.8.8", "8.8.4.4", "1.1.1.1", "9.9.9.9"]},
        f"{WEB}dns[3]",
        DROPPED,
        "3 name servers",
    ),
    "name server by name": ({"dns": "dns.example.com"}, f"{WEB}dns", REFUSED, "no IP address"),
    "search domain": ({"dns_search": ["a b"]}, f"{WEB}dns_search", REFUSED, "no domain"),
    "privileged without new ones": (
        {"privileged": True, "security_opt": ["no-new-privileges:true"]},
        f"{WEB}security_opt",
        APPROXIMATED,
        "privileged",
    ),
    "pid of the host and init": ({"pid": "host", "init": True}, f"{WEB}init", APPROXIMATED, "pid: host"),
    "reservation over the limit": (
        {"mem_limit": "64m", "mem_reservation": "128m"},
        f"{WEB}mem_reservation",
        APPROXIMATED,
        "Mi is ",
    ),
    "key of a constraint": (
        {"deploy": {"placement": {"constraints": ["node.labels.Foo/Bar==x"]}}},
        f"{PLACED}constraints[0]",
        REFUSED,
        "letters, digits",
    ),
    "value of a constraint": (
        {"deploy": {"placement": {"constraints": ["node.labels.x==é"]}}},
        f"{PLACED}constraints[0]",
        REFUSED,
        "letters, digits",
    ),
    "one spread twice": (
        {
            "deploy": {
                "placement": {"preferences": [{"spread": "node.labels.z"}, {"spread": "node.labels.z"}]}
            }
        },
        f"{PLACED}preferences[1]",
        DROPPED,
        "over z already",
    ),
    "spread over no label": (
        {"deploy": {"placement": {"preferences": [{"spread": "node.labels.a b"}]}}},
        f"{PLACED}preferences[0]",
        REFUSED,
        "not a label",
    ),
    "sysctl of a wrong name": (
        {"sysctls": {"bad name": "1", "net.core.somaxconn": "9"}},
        f"{WEB}sysctls",
        REFUSED,
        "bad name",
    ),
    "sysctl of the node's IPC": (
        {"ipc": "host", "sysctls": {"kernel.shmmax": "1"}},
        f"{WEB}sysctls",
        REFUSED,
        "ipc: host",
    ),
    "user too high": ({"user": "99999999999"}, f"{WEB}user", REFUSED, "2147483647"),
    "user that only looks like a number": ({"user": "²"}, f"{WEB}user", REFUSED, "number"),
    "group too high": ({"group_add": ["2147483648"]}, f"{WEB}group_add", REFUSED, "2147483647"),
    "runtime": ({"runtime": "io.containerd.Kata_v2"}, f"{WEB}runtime", APPROXIMATED, "io.containerd.kata-v2"),
}


def project_of(load: Load, keys: dict[str, Any]) -> Project:
    text = to_yaml(
        {
            "services": {"web": {"image": "nginx:1", **keys}},
            "volumes": {"data": {}, "shm": {}, "tmpfs-0": {}},
            "secrets": {"s": {"environment": "WORD"}, "t": {"environment": "WORD"}},
            "configs": {"c": {"content": "x"}},
        }
    )
    return load(text, env={"WORD": "x"})


def losses_at(losses: tuple[Loss, ...], path: str) -> list[Loss]:
    return [loss for loss in losses if loss.path == path or loss.path.startswith((f"{path}.", f"{path}["))]


@pytest.mark.parametrize(("keys", "path", "outcome", "words"), CASES.values(), ids=CASES)
def test_the_output_is_legal_and_a_loss_says_so(
    load: Load, keys: dict[str, Any], path: str, outcome: str, words: str
) -> None:
    project = project_of(load, keys)
    for fit in FITS:
        made = kubernetes_conversion(project, NONE, fit)
        check_objects(made.documents)
        assert check_texts(made.bundle.files) == sum(map(len, made.documents.values())) > 3
        found = losses_at(made.losses, path)
        assert [loss for loss in found if loss.outcome == outcome and words in loss.detail], found


def pod_of(project: Project) -> dict[str, Any]:
    bundle, _ = kubernetes_bundle(project, NONE, Fit())
    found: dict[str, Any] = next(
        body["spec"]["template"]["spec"]
        for text in bundle.files.values()
        for body in yaml.safe_load_all(text)
        if "template" in body.get("spec", {})
    )
    return found


def test_addresses_are_there_once_with_all_their_names(load: Load) -> None:
    hosts = {"extra_hosts": ["x:10.0.0.1", "bad_:10.0.0.2", "y:10.0.0.1", "z=::1", "z2:[::1]"]}
    assert pod_of(project_of(load, hosts))["hostAliases"] == [
        {"ip": "10.0.0.1", "hostnames": ["x", "y"]},
        {"ip": "::1", "hostnames": ["z", "z2"]},
    ]


def test_a_helper_never_takes_the_name_of_a_variable(load: Load) -> None:
    project = project_of(
        load, {"environment": {"A": "{{.Task.Slot}}-{{.Node.ID}}", "A_0": "own", "A_2": "own"}}
    )
    (container,) = pod_of(project)["containers"]
    values = {entry["name"]: entry.get("value", "field") for entry in container["env"]}
    assert values == {"A": "$(A_1)-$(A_3)", "A_0": "own", "A_1": "field", "A_2": "own", "A_3": "field"}


def test_a_variable_of_the_substitute_takes_the_place_of_the_files_own(load: Load) -> None:
    from provisioners.compose import Substitute

    project = project_of(load, {"environment": {"PORT": "80"}})
    fit = Fit(substitutes={"web": Substitute("server", None, {"PORT": "8080"})})
    made = kubernetes_conversion(project, NONE, fit)
    check_objects(made.documents)
    (loss,) = losses_at(made.losses, "services.web.environment.PORT")
    assert (loss.outcome, "substitute" in loss.detail) == (APPROXIMATED, True)
    with pytest.raises(InputError, match="no name of a variable"):
        kubernetes_bundle(project, NONE, Fit(substitutes={"web": Substitute("server", None, {"é": "1"})}))


def test_names() -> None:
    assert [host_label(name) for name in ("A_b.c", "9z", "__", "x" * 64)] == ["a-b", "9z", "", "x" * 63]
    assert [legal_domain(name) for name in ("A..B_", "-x.y-", "..")] == ["a.b", "x.y", ""]
    assert annotation_key("a b", {"a-b"}) == "a-b-2"
    assert annotation_key("x" * 70, {"x" * 63}) == "x" * 61 + "-2"


def test_an_object_that_kubernetes_refuses_is_our_error_and_nothing_is_written(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: a converter with the old mistake writes nothing and names the place."""
    monkeypatch.setattr("provisioners.compose.workload.host_label", lambda name: name)
    file = tmp_path / "compose.yml"
    file.write_text("services:\n  web:\n    image: nginx:1\n    hostname: Web_1\n", encoding="utf-8")
    with pytest.raises(ProvisionError) as caught:
        convert([file], tmp_path / "out", {})
    assert "Deployment web: spec.template.spec.hostname" in caught.value.why
    assert "report this" in caught.value.next_step
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    assert convert([file], tmp_path / "out", {}).files


def test_the_quick_check_says_what_jsonschema_says(load: Load) -> None:
    from jsonschema import Draft202012Validator

    made = kubernetes_conversion(
        project_of(load, {"ports": ["80:80"], "volumes": ["data:/b"]}), NONE, FITS[1]
    )
    changes: tuple[tuple[str, object], ...] = (
        ("apiVersion", 1),
        ("metadata", []),
        ("spec", {"strange": 1}),
        ("metadata", {"labels": {"a": 1}}),
    )
    seen = set()
    for body in (one for bodies in made.documents.values() for one in bodies):
        schema = load_schemas().kinds[f"{body['apiVersion']}/{body['kind']}"]
        for changed in (body, *({**body, key: value} for key, value in changes)):
            sound = not list(Draft202012Validator(schema).iter_errors(changed))
            assert fits(changed, schema) is sound
            seen.add(sound)
    assert seen == {True, False}
    assert not fits({}, {"type": "object", "oneOf": []})  # a keyword that it does not know


def test_large_projects_are_sampled_by_shape_and_small_ones_are_not() -> None:
    def service(number: int, port: str) -> dict[str, Any]:
        ports = [{"name": port, "port": 80, "protocol": "TCP"}]
        spec = {"selector": {"a": "b"}, "ports": ports}
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"s{number}"}, "spec": spec}

    assert object_problems(service(0, "A_"))
    with pytest.raises(ProvisionError, match="1 thing"):
        check_objects({"f": [service(0, "a"), service(1, "A_")]})
    many = [service(number, "a") for number in range(500)]
    wrong_type = service(501, "a") | {"metadata": {"name": 1}}
    with pytest.raises(ProvisionError):
        check_objects({"f": [*many, wrong_type]})
