"""The Kubernetes side over a fake API: the door, and what a target reads, applies and waits for."""

import base64
import copy
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import yaml

from provisioners.base import Bundle, Cluster, Kill, Node, ServiceSpec, Side
from provisioners.errors import CleanupIncomplete, NotReady, ProvisionError, TargetRefused
from provisioners.kube import Kube, KubeError, Resource, WatchExpired, parse_exec_status, parse_watch_line
from provisioners.kube_apply import RUN_LABEL, remove_bundle
from provisioners.kube_objects import parse_entry
from provisioners.kube_target import KubernetesTarget
from provisioners.kube_wait import wait_for_workloads
from provisioners.shell import Ssh
from tests.kube_rows import RECORDED, pod_row, waiting


def test_exec_status_is_read():
    failed = {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "3"}]}}
    assert parse_exec_status(b'{"status": "Success"}') == (0, "")
    assert parse_exec_status(json.dumps(failed).encode()) == (3, "")
    assert parse_exec_status(b"")[0] is None
    assert parse_exec_status(b"garbage")[0] is None
    assert parse_exec_status(b'{"status": "Failure", "message": "gone"}') == (None, "gone")
    missing = b'{"status": "Failure", "message": "exec: \\"x\\": executable file not found in $PATH"}'
    assert parse_exec_status(missing)[0] == 126


def test_watch_lines_are_read_and_an_old_version_is_told_apart():
    assert parse_watch_line(b'{"type": "ADDED", "object": {"a": 1}}').object == {"a": 1}
    with pytest.raises(WatchExpired):
        parse_watch_line(b'{"type": "ERROR", "object": {"code": 410}}')
    with pytest.raises(KubeError, match="the watch ended"):
        parse_watch_line(b'{"type": "ERROR", "object": {"code": 500, "message": "boom"}}')


def test_paths():
    deployment = Resource("apps/v1", "Deployment", "deployments", namespaced=True)
    assert deployment.path("ns", "x") == "/apis/apps/v1/namespaces/ns/deployments/x"
    assert Resource("v1", "Node", "nodes", namespaced=False).path("ns") == "/api/v1/nodes"


def served(*kinds: str) -> list[dict[str, Any]]:
    return [
        {"name": PLURALS.get(kind, f"{kind.lower()}s"), "kind": kind, "namespaced": kind != "Namespace"}
        for kind in kinds
    ]


Answer = tuple[int, dict[str, str], bytes]
NOT_FOUND: Answer = (404, {}, b'{"message": "not found"}')
PLURALS = {"NetworkPolicy": "networkpolicies"}
KINDS = {
    "/api/v1": served(
        "Namespace",
        "Pod",
        "Service",
        "ConfigMap",
        "Secret",
        "ServiceAccount",
        "PersistentVolumeClaim",
        "Event",
    ),
    "/apis/apps/v1": served("Deployment", "StatefulSet", "DaemonSet"),
    "/apis/batch/v1": served("Job", "CronJob"),
    "/apis/policy/v1": served("PodDisruptionBudget"),
    "/apis/networking.k8s.io/v1": served("NetworkPolicy"),
    "/apis/discovery.k8s.io/v1": served("EndpointSlice"),
}
COLLECTIONS = {"nodes", "persistentvolumes", *(row["name"] for rows in KINDS.values() for row in rows)}


class FakeApi:
    """An API server over a dict of objects by path: enough of it to list, apply, delete and watch."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.scripted: dict[str, list[Answer]] = {}
        self.sticky: set[str] = set()  # paths whose deletion a finalizer holds
        self.version = 1
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet: else each answer waits for an acknowledgement

            def log_message(self, *_args: Any) -> None:
                """Say nothing."""

            def _do(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else {}
                status, headers, data = api.answer(self.command, self.path, body)
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PATCH = do_DELETE = do_POST = _do  # noqa: N815 - the library's names

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, method: str, url: str, body: dict[str, Any]) -> Answer:
        path, _, query = url.partition("?")
        self.asked.append(f"{method} {url}")
        if self.scripted.get(path):
            return self.scripted[path].pop(0)
        if method == "PATCH":
            return self._apply(path, body)
        if method == "DELETE":
            found = self.objects.get(path) if path in self.sticky else self.objects.pop(path, None)
            return (200, {}, b"{}") if found else NOT_FOUND
        return (200, {}, b"") if "watch=true" in query else self._get(path, query)

    def _get(self, path: str, query: str) -> Answer:
        if path in KINDS:
            return as_json({"resources": KINDS[path]})
        if path in self.objects:
            return as_json(self.objects[path])
        if path.rpartition("/")[2] not in COLLECTIONS:
            return NOT_FOUND
        rows = [row for key, row in self.objects.items() if key.rpartition("/")[0] == path]
        for selector in "".join(parse_qs(query).get("labelSelector", [])).split(","):
            key, _, value = selector.partition("=")
            rows = [row for row in rows if not key or selects(row, key, value)]
        return as_json({"items": rows, "metadata": {"resourceVersion": str(self.version)}})

    def _apply(self, path: str, body: dict[str, Any]) -> Answer:
        old = self.objects.get(path)
        meta = {
            key: value for key, value in (old or {}).get("metadata", {}).items() if key != "resourceVersion"
        }
        if not old or {**old, "metadata": meta} != body:
            self.version += 1
            metadata = {**body["metadata"], "resourceVersion": str(self.version)}
            self.objects[path] = {**body, "metadata": metadata}
        return as_json(self.objects[path])


def as_json(row: dict[str, Any]) -> Answer:
    return 200, {}, json.dumps(row).encode()


def selects(row: dict[str, Any], key: str, value: str) -> bool:
    labels = row["metadata"].get("labels") or {}
    return key in labels and (not value or labels[key] == value)


@pytest.fixture
def api(tmp_path):
    fake = FakeApi()
    host, port = fake.server.server_address[:2]
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://{host!s}:{port}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


@pytest.fixture
def kube(api, tmp_path):
    return Kube(tmp_path / "kubeconfig")


def test_one_object_is_read_and_a_missing_one_is_none(api, kube):
    api.objects["/api/v1/namespaces/a"] = {"metadata": {"name": "a"}}
    assert kube.get("/api/v1/namespaces/a") == {"metadata": {"name": "a"}}
    assert kube.get("/api/v1/namespaces/b") is None


def test_a_long_list_is_read_page_by_page(api, kube):
    def page(name: str, more: str) -> Answer:
        row = {
            "items": [{"metadata": {"name": name}}],
            "metadata": {"continue": more, "resourceVersion": "7"},
        }
        return 200, {}, json.dumps(row).encode()

    api.scripted["/api/v1/pods"] = [page("a", "next"), page("b", "")]
    listing = kube.list_all("/api/v1/pods")
    assert [row["metadata"]["name"] for row in listing.items] == ["a", "b"]
    assert listing.resource_version == "7"
    assert "continue=next" in api.asked[-1]


def test_a_busy_server_is_asked_again_after_the_time_it_names(api, kube):
    api.scripted["/version"] = [
        (429, {"Retry-After": "0"}, b""),
        (503, {"Retry-After": "0"}, b""),
        (200, {}, b'{"a": 1}'),
    ]
    assert kube.get("/version") == {"a": 1}


def test_a_server_that_keeps_failing_is_an_error(api, kube):
    api.scripted["/version"] = [(500, {"Retry-After": "0"}, b'{"message": "boom"}')] * 4
    with pytest.raises(KubeError, match="boom"):
        kube.get("/version")


def test_a_missing_permission_names_the_rule(api, kube):
    message = 'pods is forbidden: User "u" cannot list resource "pods" in API group "" in the namespace "a"'
    api.scripted["/api/v1/pods"] = [(403, {}, json.dumps({"message": message}).encode())]
    with pytest.raises(TargetRefused, match=r'apiGroups: \[""\], resources: \["pods"\], verbs: \["list"\]'):
        kube.list_all("/api/v1/pods")


def test_a_server_that_is_not_there_is_an_error_with_its_address(tmp_path, api, kube):
    api.server.shutdown()
    api.server.server_close()
    with pytest.raises(KubeError, match="no answer to GET /version"):
        kube.get("/version")


def test_a_kubeconfig_that_cannot_be_used_is_refused(tmp_path):
    (tmp_path / "bad").write_text("a: b")
    with pytest.raises(TargetRefused, match="kubeconfig cannot be used"):
        Kube(tmp_path / "bad").get("/version")


def test_an_unknown_kind_is_an_error(kube):
    with pytest.raises(KubeError, match="knows no Whale"):
        kube.resource("v1", "Whale")


def test_a_watch_yields_events_and_an_expired_one_says_so(api, kube):
    line = json.dumps({"type": "ADDED", "object": {"metadata": {"name": "a"}}}).encode() + b"\n"
    api.scripted["/api/v1/pods"] = [(200, {}, line * 2), (410, {}, b"{}")]
    assert [event.type for event in kube.watch("/api/v1/pods", "1", 1.0)] == ["ADDED", "ADDED"]
    with pytest.raises(WatchExpired):
        list(kube.watch("/api/v1/pods", "1", 1.0))


def bundle(*names: str) -> Bundle:
    files = {
        f"{name}.yaml": f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: '1'}}\n"
        for name in names
    }
    files["00-namespace.yaml"] = "apiVersion: v1\nkind: Namespace\nmetadata: {name: sophia-mcp}\n"
    return Bundle(Side.KUBERNETES, "sophia-mcp", files, (), {"pw": b"hunter2"})


@pytest.fixture
def target(api, tmp_path):
    nodes = (Node("node1", Ssh("node1", "192.0.2.1")), Node("node2", Ssh("node2", "192.0.2.2")))
    cluster = Cluster("lab", "lab-upstream", nodes, tmp_path / "kubeconfig", run_id="run1")
    return KubernetesTarget(cluster, (ServiceSpec("asana-v2", "secondary", 1, (9004,)),))


def test_applying_twice_changes_nothing(target):
    first = target.apply(bundle("a", "b"))
    assert first.created == ("Namespace/sophia-mcp", "ConfigMap/a", "ConfigMap/b", "Secret/pw")
    second = target.apply(bundle("a", "b"))
    assert (second.created, second.changed, second.removed) == ((), (), ())
    assert len(second.unchanged) == 4


def test_what_left_the_bundle_is_pruned_and_what_is_not_ours_stays(api, target):
    target.apply(bundle("a", "b"))
    foreign = "/api/v1/namespaces/sophia-mcp/configmaps/kube-root-ca.crt"
    api.objects[foreign] = {"metadata": {"name": "kube-root-ca.crt"}}
    assert target.apply(bundle("a")).removed == ("ConfigMap/b",)
    assert foreign in api.objects


def test_everything_applied_carries_the_runs_label(api, target):
    target.apply(bundle("a"))
    assert {row["metadata"]["labels"][RUN_LABEL] for row in api.objects.values()} == {"run1"}


def test_an_object_that_is_refused_is_named(api, target):
    path = "/api/v1/namespaces/sophia-mcp/configmaps/a"
    target.apply(bundle("b"))
    api.scripted[path] = [(422, {}, b'{"message": "field is immutable"}')]
    with pytest.raises(KubeError, match=r"ConfigMap/a was refused[\s\S]*immutable"):
        target.apply(bundle("a"))


def test_removing_removes_what_was_applied(api, target):
    target.apply(bundle("a"))
    target.remove(bundle("a"))
    assert api.objects == {}


def test_what_cannot_be_removed_is_named_with_its_finalizers(api, target, kube):
    target.apply(bundle("a"))
    path = "/api/v1/namespaces/sophia-mcp/configmaps/a"
    api.objects[path]["metadata"]["finalizers"] = ["example.com/hold"]
    api.sticky.add(path)
    with pytest.raises(CleanupIncomplete, match=r"ConfigMap/a \(finalizers: example.com/hold\)"):
        remove_bundle(kube, bundle("a"), timeout_s=0.0)


def deploy(api: FakeApi, **status: Any) -> dict[str, Any]:
    """Put the recorded deployment, its pod and its Service object into the fake."""
    base = "/namespaces/sophia-mcp"
    row = copy.deepcopy(RECORDED["deployments"][0])
    row["status"] |= status
    api.objects[f"/apis/apps/v1{base}/deployments/asana-v2"] = row
    one = pod_row()
    api.objects[f"/api/v1{base}/pods/{one['metadata']['name']}"] = one
    entry = next(row for row in RECORDED["services"] if row["metadata"]["name"] == "asana-v2")
    api.objects[f"/api/v1{base}/services/asana-v2"] = entry
    api.objects["/api/v1/nodes/node1"] = RECORDED["nodes"][0]
    return one


def test_services_and_replicas_are_read(api, target):
    one = deploy(api)
    (service,) = target.services()
    assert (service.name, service.tier, service.desired, service.ready, service.ports) == (
        "asana-v2",
        "secondary",
        1,
        1,
        (9004,),
    )
    assert service.image_id == one["status"]["containerStatuses"][0]["imageID"]
    (replica,) = target.replicas("asana-v2")
    assert (replica.id, replica.ready) == (one["metadata"]["name"], True)
    assert isinstance(target, Kill)


def test_the_node_port_is_entered_on_the_node_of_a_ready_pod(api, target):
    one = deploy(api)
    one["spec"]["nodeName"] = "node2"
    entry = parse_entry(api.objects["/api/v1/namespaces/sophia-mcp/services/asana-v2"])
    assert target.url("asana-v2") == f"http://192.0.2.2:{entry.ports[0].node_port}"
    assert target.service_address("asana-v2") == entry.cluster_ip
    with pytest.raises(ProvisionError, match="no node port for port 1"):
        target.url("asana-v2", 1)


def test_a_local_service_without_ready_pod_cannot_be_entered(api, target):
    one = deploy(api)
    for condition in one["status"]["conditions"]:
        condition["status"] = "False"
    with pytest.raises(NotReady, match="no ready pod"):
        target.url("asana-v2")


def test_a_service_that_is_not_there_is_an_error_that_names_what_is(api, target):
    deploy(api)
    with pytest.raises(ProvisionError, match=r"there is no service nope[\s\S]*asana-v2"):
        target.replicas("nope")


def test_waiting_returns_at_once_when_all_is_ready(api, kube):
    deploy(api)
    said: list[str] = []
    readiness = wait_for_workloads(kube, "sophia-mcp", ["asana-v2"], 5.0, said.append)
    assert readiness.ready == ("asana-v2",)
    assert readiness.failed == ()
    assert readiness.duration_s < 2


def test_a_service_without_workload_has_failed_and_the_others_are_waited_for(api, kube):
    deploy(api)
    readiness = wait_for_workloads(kube, "sophia-mcp", ["asana-v2", "nope"], 5.0, lambda _: None)
    assert readiness.ready == ("asana-v2",)
    assert [one.service for one in readiness.failed] == ["nope"]


def test_a_service_that_is_late_fails_with_what_it_waited_for(api, kube):
    deploy(api, readyReplicas=0)
    readiness = wait_for_workloads(kube, "sophia-mcp", ["asana-v2"], 0.3, lambda _: None)
    assert readiness.failed[0].reason.startswith("not ready after 0 s: waiting for")


def test_a_crashing_service_ends_the_wait_early_with_its_log(api, kube):
    one = deploy(api, readyReplicas=0)
    one["status"]["containerStatuses"][0] |= {
        "state": waiting("CrashLoopBackOff"),
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
        "restartCount": 3,
    }
    for condition in one["status"]["conditions"]:
        condition["status"] = "False" if condition["type"] == "Ready" else "True"
    log = f"/api/v1/namespaces/sophia-mcp/pods/{one['metadata']['name']}/log"
    api.scripted[log] = [(200, {}, b"Traceback: no such table\n")]
    readiness = wait_for_workloads(kube, "sophia-mcp", ["asana-v2"], 30.0, lambda _: None)
    assert readiness.duration_s < 5
    assert "CrashLoopBackOff" in readiness.failed[0].reason
    assert "no such table" in readiness.failed[0].log_tail


def test_a_container_that_its_probe_ended_politely_fails_with_the_probes_words(api, kube):
    one = deploy(api, readyReplicas=0)
    for condition in one["status"]["conditions"]:
        condition["status"] = "False" if condition["type"] == "Ready" else "True"
    container = one["status"]["containerStatuses"][0]
    container["ready"] = False
    later = copy.deepcopy(one)
    later["metadata"]["resourceVersion"] = "2"
    later["status"]["containerStatuses"][0] |= {
        "restartCount": 1,
        "lastState": {"terminated": {"exitCode": 0, "reason": "Completed"}},
    }
    path = "/api/v1/namespaces/sophia-mcp/pods"
    event = json.dumps({"type": "MODIFIED", "object": later}).encode() + b"\n"
    listed = {"items": [one], "metadata": {"resourceVersion": "1"}}
    api.scripted[path] = [(200, {}, json.dumps(listed).encode()), (200, {}, event)]
    said = {"message": "Container asana failed startup probe, will be restarted"}
    rows = {"items": [{"metadata": {"name": "e"}, **said}], "metadata": {}}
    api.scripted["/api/v1/namespaces/sophia-mcp/events"] = [(200, {}, json.dumps(rows).encode())] * 3
    readiness = wait_for_workloads(kube, "sophia-mcp", ["asana-v2"], 20.0, lambda _: None)
    assert readiness.duration_s < 10
    assert readiness.failed[0].reason.startswith("never got ready within its own probes: Container asana")


def test_a_snapshot_holds_objects_and_logs_and_no_secret(api, target, tmp_path):
    deploy(api)
    target.apply(bundle("a"))
    deploy(api)
    target.snapshot(tmp_path / "objects")
    files = {path.name for path in (tmp_path / "objects").rglob("*") if path.is_file()}
    assert {"deployment.json", "pod.json", "service.json", "node.json", "asana-v2.log"} <= files
    text = "".join(path.read_text() for path in (tmp_path / "objects").rglob("*") if path.is_file())
    assert base64.b64encode(b"hunter2").decode() not in text


def test_a_dry_run_is_checked_strictly_and_kept_nowhere(monkeypatch):
    asked = []

    def request(_, *args, **__):
        asked.append(args[2])
        return b"{}"

    monkeypatch.setattr(Kube, "_request", request)
    kube = Kube(Path("kubeconfig"))
    kube.apply("/api/v1/x/a", {"kind": "X"}, dry_run=True)
    kube.apply("/api/v1/x/a", {"kind": "X"})
    assert asked[0] == {**asked[1], "dryRun": "All", "fieldValidation": "Strict"}
    assert "dryRun" not in asked[1]
