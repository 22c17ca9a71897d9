"""RBAC, pod security, secrets and ports: each rule turns red on a broken thing, and its suite with it."""

from __future__ import annotations

import base64
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast

import pytest

from fixtures import rbac as rules
from fixtures.faults.journal import Journal
from fixtures.pod_security import BASELINE, RESTRICTED, TOKEN, RunPods, breaches, templates_of
from fixtures.ports import Opened, expected_ports, host_ports, look_at, node_ports, read_listeners
from fixtures.record import Record
from fixtures.secret_places import AtRest, Places, at_rest, forms, looks_secret, values_of
from provisioners.base import Cluster, Node
from provisioners.shell import Ssh
from suites.security import test_pod_security as pod_suite
from suites.security import test_ports as port_suite
from suites.security import test_rbac_matrix as rbac_suite
from suites.security import test_secrets as secret_suite
from tests.security_kube import Kube

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.ports import Ports
    from fixtures.target import RunInput

# -- RBAC ------------------------------------------------------------------------------------------

CLUSTER = Cluster("lab", "lab-upstream", namespace="apps")


class Guard(BaseHTTPRequestHandler):
    """An API server that refuses all but what `open_paths` names to the token `t`."""

    open_paths: tuple[str, ...] = ()

    def do_GET(self) -> None:
        known = self.headers.get("authorization") == "Bearer t"
        allowed = known and any(part in self.path for part in self.open_paths)
        self.send_response(200 if allowed else 403 if known else 401)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def guard() -> Iterator[tuple[str, type[Guard]]]:
    handler = type("Here", (Guard,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()


def an_rbac(url: str, kube: Kube | None = None) -> tuple[rules.Rbac, Kube]:
    pods = [{"metadata": {"name": "p"}, "spec": {"serviceAccountName": "web"}}]
    lists = {"namespaces__apps__pods": pods}
    for namespace in ("apps", "kube-system"):
        lists |= {f"namespaces__{namespace}__{kind}": [] for kind in ("secrets", "configmaps")}
    kube = kube or Kube(**lists, nodes=[])
    kube.may = lambda spec: "system:masters" in spec["groups"]
    return rules.Rbac(cast("Any", kube), url, "", Journal(None)), kube


def hold(check: Any, *args: Any) -> Record:
    record = Record()
    check(*args, record)
    return record


def test_a_closed_cluster_is_green(guard: tuple[str, type[Guard]]) -> None:
    rbac, _ = an_rbac(guard[0])
    record = hold(rbac_suite.test_the_workloads_accounts_may_do_nothing_of_it, rbac, CLUSTER)
    seen = record.observations[0]
    assert (seen.observed, record.doubt) == (100.0, "")
    assert seen.samples == 2 * len(rules.forbidden("apps")), "the pods' account and the default one"
    assert seen.data["tried_with_a_token"] == 10
    hold(rbac_suite.test_nobody_without_a_name_may_do_any_of_it, rbac, CLUSTER)


def test_a_right_too_many_is_red(guard: tuple[str, type[Guard]]) -> None:
    rbac, kube = an_rbac(guard[0])
    kube.may = lambda spec: (
        "system:masters" in spec["groups"]
        or (spec["user"].endswith(":web") and spec["resourceAttributes"].get("subresource") == "exec")
    )
    with pytest.raises(AssertionError, match=r"apps:web may create pods/exec in apps"):
        hold(rbac_suite.test_the_workloads_accounts_may_do_nothing_of_it, rbac, CLUSTER)


def test_a_token_that_reads_what_the_review_denies_is_red(guard: tuple[str, type[Guard]]) -> None:
    url, handler = guard
    handler.open_paths = ("/nodes",)
    rbac, _ = an_rbac(url)
    with pytest.raises(AssertionError, match="may not list nodes in the whole cluster, but got status 200"):
        hold(rbac_suite.test_the_workloads_accounts_may_do_nothing_of_it, rbac, CLUSTER)


def test_a_denial_without_its_control_decides_nothing(guard: tuple[str, type[Guard]]) -> None:
    rbac, kube = an_rbac(guard[0])
    kube.may = lambda _: False
    record = hold(rbac_suite.test_nobody_without_a_name_may_do_any_of_it, rbac, CLUSTER)
    assert "the question shows nothing" in record.doubt
    row = rules.Row("x", "read", expected=False, reviewed=False, control=True, status=403, control_status=404)
    assert "our own request got status 404" in row.doubt


def test_a_deployer_is_made_with_its_undo_first_and_held_to_its_role(
    guard: tuple[str, type[Guard]], tmp_path: Any
) -> None:
    url, handler = guard
    events: list[str] = []

    class Recorder:
        def undo(self, undo: Any) -> None:
            events.append(f"undo {undo.done}")

    class Noting(Kube):
        def apply(self, path: str, body: Any) -> Any:
            events.append(body["kind"])
            return super().apply(path, body)

    noting = Noting(
        nodes=[], **{f"namespaces__kube-system__{kind}": [] for kind in ("secrets", "configmaps")}
    )
    noting.get = lambda path, query=None: {"items": []}  # type: ignore[method-assign]
    noting.may = lambda spec: (
        "system:masters" in spec["groups"]
        or (
            spec["resourceAttributes"].get("namespace", "").startswith("gonogo-rbac-")
            and spec["resourceAttributes"]["resource"] in {"deployments", "services", "configmaps", "pods"}
        )
    )
    journal = Journal(cast("Any", Recorder()))
    rbac = rules.Rbac(cast("Any", noting), url, "", journal)
    run = cast("RunInput", type("Run", (), {"cluster": CLUSTER, "folder": tmp_path}))
    handler.open_paths = ("/namespaces/gonogo-rbac-",)
    # its own Secrets would be readable by that path: the matrix has to see it
    with pytest.raises(AssertionError, match="may not list secrets in gonogo-rbac"):
        hold(rbac_suite.test_a_deployer_may_deploy_and_nothing_else, rbac, run)
    handler.open_paths = (
        "/deployments",
        "gonogo-rbac-",
    )
    assert events[:2] == ["undo False", "Namespace"]
    row = rules.Row("d", "patch deployments", expected=True, reviewed=False, control=True)
    assert row.why == "d may not patch deployments"


# -- pod security ----------------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "c",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}


def test_a_pod_of_the_restricted_profile_has_no_breach() -> None:
    assert breaches(GOOD) == ()


@pytest.mark.parametrize(
    ("pod", "container", "profile", "what"),
    [
        ({"hostNetwork": True}, {}, BASELINE, "hostNetwork"),
        ({"volumes": [{"name": "a", "hostPath": {"path": "/etc"}}]}, {}, BASELINE, "hostPath /etc"),
        ({}, {"securityContext": {"privileged": True}}, BASELINE, "c: privileged"),
        (
            {},
            {"securityContext": {"capabilities": {"add": ["CAP_SYS_ADMIN"]}}},
            BASELINE,
            "c: capability SYS_ADMIN",
        ),
        ({}, {"ports": [{"hostPort": 80}]}, BASELINE, "c: hostPort 80"),
        ({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, {}, BASELINE, "seccomp Unconfined"),
        ({"securityContext": {"sysctls": [{"name": "kernel.x"}]}}, {}, BASELINE, "sysctl kernel.x"),
        ({}, {"securityContext": {"runAsUser": 0}}, RESTRICTED, "c: runAsUser 0"),
        ({}, {"securityContext": {}}, RESTRICTED, "c: not all capabilities are dropped"),
        ({"securityContext": {}}, {}, RESTRICTED, "c: runAsNonRoot is not true"),
        ({"securityContext": {}}, {}, RESTRICTED, "c: seccomp is not RuntimeDefault"),
        ({"volumes": [{"name": "a", "nfs": {}}]}, {}, RESTRICTED, "volume of kind nfs"),
        (
            {"volumes": [{"name": "kube-api-access-1", "projected": {}}]},
            {},
            TOKEN,
            "a ServiceAccount token is mounted",
        ),
    ],
)  # fmt: skip
def test_each_breach_is_seen(pod: Any, container: Any, profile: str, what: str) -> None:
    spec = {**GOOD, **pod, "containers": [{**GOOD["containers"][0], **container}]}
    assert (profile, what) in {(one.profile, one.what) for one in breaches(spec)}


def some_pods(spec: Any, template: Any = None) -> RunPods:
    pod = {"metadata": {"name": "p", "labels": {"app.kubernetes.io/name": "web"}}, "spec": spec}
    return RunPods("apps", [pod], {"web": template or {}})


def test_the_pod_suites_turn_red_and_say_who_asked() -> None:
    hold(pod_suite.test_pods_keep_to_the_baseline_profile, some_pods(GOOD))
    hold(pod_suite.test_pods_carry_no_token, some_pods(GOOD))
    bad = {**GOOD, "hostNetwork": True}
    with pytest.raises(AssertionError, match=r"hostNetwork \(web\), as the input asks"):
        hold(pod_suite.test_pods_keep_to_the_baseline_profile, some_pods(bad, bad))
    with pytest.raises(AssertionError, match=r"hostNetwork \(web\)\n"):
        hold(pod_suite.test_pods_keep_to_the_baseline_profile, some_pods(bad))
    token = {**GOOD, "volumes": [{"name": "kube-api-access-1", "projected": {}}]}
    with pytest.raises(AssertionError, match="token is mounted"):
        hold(pod_suite.test_pods_carry_no_token, some_pods(token))
    with pytest.raises(AssertionError, match="has no pod"):
        hold(pod_suite.test_pods_carry_no_token, RunPods("apps", []))


def test_templates_are_read_from_manifests() -> None:
    text = "kind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {hostPID: true}}}\n"
    text += "---\nkind: Service\n"
    assert templates_of([text]) == {"web": {"hostPID": True}}


# -- secrets ---------------------------------------------------------------------------------------

VALUE = "correct-horse"
HIDDEN = base64.b64encode(VALUE.encode()).decode()


def container(**more: Any) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", **more}]}}


def a_map(value: str, key: str = "conf") -> dict[str, Any]:
    return {"kind": "ConfigMap", "metadata": {"name": "m"}, "data": {key: value}}


def places(*rows: Any, **values: str) -> Places:
    return Places(cast("Any", Kube(serviceaccounts=[])), "apps", rows, values or {"db/password": VALUE})


@pytest.mark.parametrize(
    ("row", "where"),
    [
        (container(env=[{"name": "A", "value": f"x{VALUE}"}]), "environment A"),
        (container(args=["--key", VALUE]), "command"),
        (a_map(f"password: {VALUE}"), "data conf"),
        (a_map(HIDDEN), "data conf"),
        ({"kind": "Pod", "metadata": {"name": "p", "annotations": {"n": VALUE}}}, "annotation n"),
        (container(env=[{"name": "URL", "value": "redis://u:secret1@host"}]), "an address with a password"),
        (container(env=[{"name": "API_KEY", "value": "abc"}]), "named like a secret"),
        (a_map("-----BEGIN RSA PRIVATE KEY-----"), "a private key"),
    ],
)
def test_each_place_of_a_value_is_found_and_the_value_not_said(row: Any, where: str) -> None:
    found = places(row).leaks()
    assert len(found) == 1
    assert where in found[0]
    assert VALUE not in found[0]
    assert HIDDEN not in found[0]


def test_what_only_names_a_secret_is_no_leak() -> None:
    sound = container(
        env=[
            {"name": "POSTGRES_PASSWORD_FILE", "value": "/run/secrets/x"},
            {"name": "URL", "value": "redis://:$(REDIS_PASSWORD)@redis"},
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
            {"name": "TOKEN", "value": "$(FROM_SECRET)"},
        ]
    )
    assert places(sound).leaks() == ()
    assert looks_secret("TOKEN", "true") == ""
    assert forms("short") == ()


def test_values_are_read_of_secrets_but_not_of_tokens() -> None:
    rows: list[dict[str, Any]] = [
        {"metadata": {"name": "db"}, "data": {"password": HIDDEN, "tiny": "YWI="}},
        {
            "metadata": {"name": "t"},
            "type": "kubernetes.io/service-account-token",
            "data": {"token": HIDDEN},
        },
    ]
    assert values_of(rows) == {"db/password": VALUE}


def test_the_secrets_suite_turns_red_and_says_how_they_rest() -> None:
    plain = AtRest(encrypted=False, why="neither")
    record = hold(secret_suite.test_no_value_lies_outside_secrets, places(container()), plain)
    assert (record.observations[0].observed, record.observations[0].why) == (
        100.0,
        "Secrets at rest: neither",
    )
    with pytest.raises(AssertionError, match="1 places: ConfigMap m: data conf"):
        hold(secret_suite.test_no_value_lies_outside_secrets, places(a_map(VALUE)), plain)


@pytest.mark.parametrize(
    ("text", "encrypted"),
    [
        ("kube-apiserver --encryption-provider-config=/etc/x --foo", True),
        ("/usr/bin/k3s server --secrets-encryption", True),
        ("secrets-encryption: true\n", True),
        ("kubenode kube-apiserver --anonymous-auth=false", False),
        ("k3s server --secrets-encryption=false", False),
        ("", None),
    ],
)
def test_encryption_at_rest_is_read_of_flags(text: str, *, encrypted: bool | None) -> None:
    assert at_rest(text).encrypted is encrypted


def test_a_default_account_that_reads_secrets_is_red_and_an_operator_is_named(
    guard: tuple[str, type[Guard]],
) -> None:
    names = [("apps", "web"), ("other", "default"), ("velero", "velero"), ("kube-system", "x")]
    rows = [{"metadata": {"namespace": space, "name": name}} for space, name in names]
    kube = Kube(serviceaccounts=rows)
    rbac, _ = an_rbac(guard[0], kube)
    found = Places(cast("Any", kube), "apps", [container()], {})
    kube.may = lambda spec: "system:masters" in spec["groups"] or "velero" in spec["user"]
    record = hold(secret_suite.test_no_account_of_pods_reads_secrets, found, rbac)
    assert record.observations[0].why == "operators that may read them too: velero/velero"
    assert record.observations[0].samples == 3
    rbac, _ = an_rbac(guard[0], kube)
    kube.may = lambda spec: "system:masters" in spec["groups"] or "other:default" in spec["user"]
    with pytest.raises(AssertionError, match="other/default"):
        hold(secret_suite.test_no_account_of_pods_reads_secrets, found, rbac)


# -- ports -----------------------------------------------------------------------------------------

SS = """\
LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))
LISTEN 0 128 127.0.0.1:10248 0.0.0.0:* users:(("kubelet",pid=2,fd=9))
LISTEN 0 4096 *:10250 *:* users:(("kubelet",pid=2,fd=9))
LISTEN 0 128 [::]:9999 [::]:* users:(("python3",pid=7,fd=3))
LISTEN 0 128 [::1]:631 [::]:*
LISTEN 0 128 [::ffff:127.0.0.1]:8005 *:* users:(("java",pid=8,fd=3))
"""


def test_listeners_on_the_loopback_are_left_out() -> None:
    found = {one.port: one.owner for one in read_listeners(SS)}
    assert found == {22: "sshd", 10250: "kubelet", 9999: "python3"}


def test_what_objects_publish_is_expected() -> None:
    service = {
        "metadata": {"namespace": "a", "name": "s"},
        "spec": {"ports": [{"nodePort": 30001}, {"nodePort": 30002, "protocol": "UDP"}, {"port": 1}]},
    }
    assert node_ports([service]) == {30001: "NodePort of a/s"}
    pod = {
        "metadata": {"namespace": "a", "name": "p"},
        "spec": {"nodeName": "n", "hostNetwork": True, "containers": [{"ports": [{"containerPort": 9100}]}]},
    }
    assert host_ports([pod]) == {"n": {9100: "pod a/p"}}


def test_an_open_port_that_nobody_expects_is_red_and_its_process_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as ssh, socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        node = Node("node1", Ssh("node1", "127.0.0.1", port=ssh.getsockname()[1]))
        listeners = read_listeners(f'LISTEN 0 1 0.0.0.0:{port} 0.0.0.0:* users:(("nc",pid=1,fd=3))')
        seen = look_at(node, {}, listeners)
        assert f"node1:{port} (nc)" in seen.unexpected
        assert seen.sees_open
        assert seen.sees_closed
        assert f"node1:{port}" not in str(look_at(node, {port: "NodePort"}, listeners).unexpected)
    assert 2377 not in expected_ports(node, {})


class Look:
    def __init__(self, seen: Opened) -> None:
        self.seen = seen

    def look(self, _: Node) -> Opened:
        return self.seen


@pytest.mark.parametrize(
    ("opened", "sees_open", "sees_closed", "doubt"),
    [((22, 10250), True, True, ""), ((), False, True, "nothing is"), ((22,), True, False, "answers for it")],
)
def test_the_port_suite(opened: Any, sees_open: Any, sees_closed: Any, doubt: str) -> None:
    node = Node("node1", Ssh("node1", "127.0.0.1"))
    seen = Opened("node1", 50, opened, expected_ports(node, {}), {}, sees_open, sees_closed)
    record = hold(port_suite.test_no_port_answers_that_nobody_expects, node, cast("Ports", Look(seen)))
    assert doubt in record.doubt
    assert bool(doubt) == bool(record.doubt)
    if 10250 in opened:
        assert "10250: kubelet" in record.observations[0].why


def test_the_port_suite_turns_red() -> None:
    node = Node("node1", Ssh("node1", "127.0.0.1"))
    seen = Opened(
        "node1", 50, (22, 2375), expected_ports(node, {}), {2375: "dockerd"}, sees_open=True, sees_closed=True
    )
    with pytest.raises(AssertionError, match=r"node1:2375 \(dockerd\)"):
        hold(port_suite.test_no_port_answers_that_nobody_expects, node, cast("Ports", Look(seen)))
