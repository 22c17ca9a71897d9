"""The Ingress part, its drill and its checks: a real controller on loopback, each way to turn them red."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from fixtures import ingress, ingress_objects
from fixtures.ingress import IngressDrill, Seen
from fixtures.ingress_client import CertificateRefused, Door, IngressMcpClient, leads_to_tls
from fixtures.ingress_deployed import DeployedIngresses, Way, ways_of
from fixtures.ingress_door import find_door
from fixtures.ingress_objects import Backend, Hosts
from fixtures.ladder import Climb, Ladder
from fixtures.record import Record
from fixtures.security import CannotTell
from fixtures.web import Answer, TooSlow, Unreachable, WebError
from provisioners.base import Cluster, Node, Side
from provisioners.parts import NAMES, part, parts
from provisioners.parts import ingress as ingress_part
from provisioners.parts.base import MANIFESTS
from provisioners.shell import Ssh
from provisioners.upstream.pki import CLUSTER_CA, Pki
from suites.platform import test_ingress as suite
from suites.protocol import test_ladder as suite_of_ladder
from tests.ingress_world import SPECS, World, by_name, pods_of_the_door, until, world, wrongs
from tests.security_kube import Kube as Objects

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DOOR = Door("127.0.0.1", 1, 1, "traefik", "kube-system/traefik")


# -- the part --------------------------------------------------------------------------------------


def test_the_part_is_one_of_the_parts():
    assert "ingress" in NAMES
    assert part("ingress") is ingress_part.PART
    assert [one.name for one in parts(["ingress"])] == ["ingress"]
    assert [module.name for module in ingress_part.PART.modules] == ["traefik"]


def test_the_manifest_is_what_k3s_runs():
    text = (MANIFESTS / "ingress.yaml").read_text(encoding="utf-8")
    rows = [row for row in yaml.safe_load_all(text) if row]
    kinds = [row["kind"] for row in rows]
    assert "CustomResourceDefinition" not in kinds
    chosen = next(row for row in rows if row["kind"] == "IngressClass")
    assert chosen["metadata"]["annotations"] == {"ingressclass.kubernetes.io/is-default-class": "true"}
    deployment = next(row for row in rows if row["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    args = pod["containers"][0]["args"]
    assert "--providers.kubernetescrd" not in " ".join(args)
    assert "--providers.kubernetesingress.allowemptyservices=true" in args
    assert "hostNetwork" not in pod
    assert not any("hostPort" in port for port in pod["containers"][0]["ports"]), "80 and 443 may be taken"
    role = next(row for row in rows if row["kind"] == "ClusterRole")
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list", "watch", "update"}


def test_the_certificate_is_made_once_and_is_for_the_domain(tmp_path, monkeypatch):
    monkeypatch.setattr(ingress_part, "lab_dir", lambda: tmp_path)
    first = ingress_part.certificate_secret(ingress_part.default_pki())
    again = ingress_part.certificate_secret(ingress_part.default_pki())
    assert first == again
    assert first["type"] == "kubernetes.io/tls"
    assert (tmp_path / "ingress-pki" / "traefik.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "ingress-pki" / "traefik.crt").unlink()
    assert ingress_part.certificate_secret(ingress_part.default_pki()) != first


def test_the_part_says_what_its_door_lacks():
    kube = Objects()
    assert ingress_part.door_lacks(kube) == "no Service"  # type: ignore[arg-type]
    service = "/api/v1/namespaces/kube-system/services/traefik"
    kube.objects[service] = {"spec": {"ports": [{"name": "web"}, {"name": "websecure", "nodePort": 30443}]}}
    assert ingress_part.door_lacks(kube) == "no node port for web"  # type: ignore[arg-type]


# -- the door --------------------------------------------------------------------------------------


def cluster(**extra: str) -> Cluster:
    nodes = (Node("node1", Ssh("node1", "10.9.9.1")),)
    return Cluster("existing", "existing", nodes, extra=extra)


def traefik_service(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "traefik", "namespace": "kube-system", "labels": {}},
        "spec": {
            "type": "LoadBalancer",
            "ports": [
                {"name": "web", "port": 80, "nodePort": 30080},
                {"name": "websecure", "port": 443, "nodePort": 30443},
            ],
        },
        "status": {"loadBalancer": status},
    }


def klass(name: str = "traefik", default: str = "true") -> dict[str, Any]:
    notes = {"ingressclass.kubernetes.io/is-default-class": default}
    return {
        "metadata": {"name": name, "annotations": notes},
        "spec": {"controller": "traefik.io/ingress-controller"},
    }


def door_cluster(**lists: Any) -> Objects:
    kube = Objects(**{"services": [traefik_service()], **lists})
    kube.lists.setdefault("/apis/networking.k8s.io/v1/ingressclasses", [klass()])
    kube.lists.setdefault(
        "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices",
        [{"endpoints": [{"conditions": {"ready": True}}]}],
    )
    return kube


def find(kube: Objects, **extra: str) -> Door:
    return find_door(kube, cluster(**extra))  # type: ignore[arg-type]


def test_the_door_is_the_load_balancer_or_the_node_ports():
    assert find(door_cluster()) == Door("10.9.9.1", 30080, 30443, "traefik", "kube-system/traefik")
    given = door_cluster(services=[traefik_service(ingress=[{"ip": "10.1.1.1"}])])
    assert find(given) == Door("10.1.1.1", 80, 443, "traefik", "kube-system/traefik")


def test_without_a_controller_nothing_can_be_told():
    none = door_cluster()
    none.lists["/apis/networking.k8s.io/v1/ingressclasses"] = []
    with pytest.raises(CannotTell, match="no ingress controller answers: the cluster has no IngressClass"):
        find(none)
    with pytest.raises(CannotTell, match="no ingress controller answers: 0 Services called traefik"):
        find(door_cluster(services=[]))
    with pytest.raises(CannotTell, match=r"no ingress controller answers: its Service a/b is gone"):
        find(door_cluster(), **{"part.ingress.service": "a/b"})
    gone = door_cluster()
    slices = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices"
    gone.lists[slices] = [{"endpoints": [{"conditions": {"ready": False}}]}]
    with pytest.raises(CannotTell, match="no pod behind its Service kube-system/traefik is ready"):
        find(gone)


def test_two_classes_need_one_default():
    kube = door_cluster()
    rows = [klass(default="false"), klass("nginx", default="false")]
    kube.lists["/apis/networking.k8s.io/v1/ingressclasses"] = rows
    with pytest.raises(CannotTell, match="several IngressClasses and no one default: traefik, nginx"):
        find(kube)
    rows[0] = klass()
    assert find(kube).class_name == "traefik"


def test_a_closed_door_is_unreachable():
    with pytest.raises(Unreachable):
        DOOR.get("a.b", "/")
    with pytest.raises(Unreachable, match=r"https://a\.b/x"):
        DOOR.get_tls("a.b", "/x", b"")


def test_a_door_that_accepts_and_says_nothing_is_cut(tmp_path):
    import socket

    pki = Pki(tmp_path)
    pki.ensure([])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        slow = Door("127.0.0.1", 1, listener.getsockname()[1], "traefik", "x/y")
        with pytest.raises(TooSlow, match=r"within 0\.3 s"):
            slow.get_tls("a.b", "/", pki.certificate(CLUSTER_CA), timeout_s=0.3)


def test_only_the_same_host_by_tls_is_a_redirect_to_tls():
    def answer(status: int, place: str) -> Answer:
        return Answer("http://a.b/", status, {"location": place}, b"", 0.0)

    assert leads_to_tls(answer(301, "https://a.b/x"), "a.b")
    assert leads_to_tls(answer(308, "https://a.b:8443/"), "a.b")
    assert not leads_to_tls(answer(301, "http://a.b/"), "a.b")
    assert not leads_to_tls(answer(301, "https://a.bc/"), "a.b")
    assert not leads_to_tls(answer(200, "https://a.b/"), "a.b")


# -- the objects -----------------------------------------------------------------------------------


def test_the_unknown_host_is_in_no_rule_and_no_certificate():
    hosts = Hosts("gonogo-ab12")
    rows = ingress_objects.ingresses(hosts, ["a", "b"], "traefik", "x@file")
    named = {rule["host"] for row in rows for rule in row["spec"]["rules"]}
    assert hosts.unknown not in named
    assert hosts.unknown not in hosts.certified(["a", "b"])
    assert {host for row in rows for one in row["spec"]["tls"] for host in one["hosts"]} <= set(
        hosts.certified(["a", "b"])
    )
    assert [row["spec"]["ingressClassName"] for row in rows].count(ingress_objects.OTHER_CLASS) == 1


def test_a_backend_is_its_pods_addresses_and_nobody_has_none():
    service, endpoints = ingress_objects.backend_objects(Backend("a", ("10.42.0.7", "10.42.1.7"), 9000))
    assert "selector" not in service["spec"]
    assert [one["addresses"] for one in endpoints["endpoints"]] == [["10.42.0.7"], ["10.42.1.7"]]
    assert endpoints["ports"][0]["port"] == 9000
    assert len(ingress_objects.backend_objects(Backend("nobody", (), 80))) == 1


# -- the suite -------------------------------------------------------------------------------------


def test_one_wrong_thing_is_a_failure_with_its_name():
    record = Record()
    seen = [Seen("a to b", "200", "200"), Seen("c", "404", "200", "answered 200")]
    with pytest.raises(AssertionError, match=r"door: 1 of 2: c: answered 200"):
        suite._hold(seen, "door", record)
    assert record.observations[0].observed == 50.0
    suite._hold(seen[:1], "door", Record())


# -- the real controller ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("ingress")) as found:
        yield found


@pytest.fixture(scope="module")
def drill(place: World) -> Iterator[IngressDrill]:
    one = IngressDrill(place.run_input, None, place.kube, place.door, place.target)
    yield one
    assert one.close() == []
    assert place.kube.get(f"/api/v1/namespaces/{one.namespace}") is None


@pytest.mark.live
def test_a_real_controller_passes_all(place, drill):
    for tried in (drill.rules(), drill.outside_rules(), drill.tls(), drill.redirected()):
        assert wrongs(tried) == "", place.log.read_text(errors="replace")[-2000:]
    assert len(drill.rules()) == 7
    record = Record()
    suite.test_hosts_and_paths_lead_to_their_servers_only(drill, record)
    assert record.observations[0].samples == 7


@pytest.mark.live
def test_every_object_carries_the_run_and_the_drill(place, drill):
    drill.rules()
    rows = place.kube.list_all(f"/apis/networking.k8s.io/v1/namespaces/{drill.namespace}/ingresses").items
    assert len(rows) == 6
    for row in rows:
        labels = row["metadata"]["labels"]
        assert (labels["gonogo.dev/run"], labels["gonogo.dev/drill"]) == ("r1", "ingress")


@contextlib.contextmanager
def changed(place: World, path: str, body: dict[str, Any]) -> Iterator[None]:
    """Replace an object, and put it back."""
    before = place.kube.get(path)
    assert before
    kept = {key: value for key, value in before.items() if key != "status"}
    kept["metadata"] = {
        key: before["metadata"][key] for key in ("name", "namespace", "labels") if key in before["metadata"]
    }
    kept["spec"] = {
        key: value for key, value in kept.get("spec", {}).items() if key not in {"clusterIP", "clusterIPs"}
    }
    if not kept["spec"]:
        del kept["spec"]
    kept["metadata"]["annotations"] = before["metadata"].get("annotations") or {}
    place.kube.delete(path)
    place.kube.apply(path, body)
    try:
        yield
    finally:
        place.kube.delete(path)
        place.kube.apply(path, kept)


def ingress_path(drill: IngressDrill, name: str) -> str:
    return f"/apis/networking.k8s.io/v1/namespaces/{drill.namespace}/ingresses/{name}"


def ingress_body(drill: IngressDrill, name: str, **other: str) -> dict[str, Any]:
    rows = ingress_objects.ingresses(drill.hosts, [one.name for one in SPECS], "traefik", drill.redirect)
    return next(row for row in rows if row["metadata"]["name"] == name)


@pytest.mark.live
def test_a_host_that_leads_to_another_server_is_seen(place, drill):
    assert wrongs(drill.rules()) == ""
    body = ingress_body(drill, "servers")
    first, second = body["spec"]["rules"]
    first["http"], second["http"] = second["http"], first["http"]
    with changed(place, ingress_path(drill, "servers"), body):
        # The reference servers refuse every name but their own, so here it is the server that says no.
        assert until(lambda: "to ai-memory: " in wrongs(drill.rules()))
    assert until(lambda: wrongs(drill.rules()) == "")


@pytest.mark.live
def test_a_rule_for_every_host_is_seen(place, drill):
    body = ingress_body(drill, "empty")
    body["metadata"]["name"] = "everything"
    rule = body["spec"]["rules"][0]
    del rule["host"]
    rule["http"]["paths"][0]["backend"]["service"]["name"] = "ai-memory"
    body["spec"].pop("tls")
    path = ingress_path(drill, "everything")
    drill.rules()
    place.kube.apply(path, body)
    try:
        assert until(lambda: "a host that nobody named" in wrongs(drill.rules()))
    finally:
        place.kube.delete(path)
    assert until(lambda: wrongs(drill.rules()) == "")


@pytest.mark.live
def test_a_controller_that_takes_other_classes_is_seen(place, drill):
    drill.rules()
    body = ingress_body(drill, "elsewhere")
    body["spec"]["ingressClassName"] = "traefik"
    with changed(place, ingress_path(drill, "elsewhere"), body):
        assert until(lambda: "an Ingress of another class" in wrongs(drill.outside_rules()))
    assert until(lambda: wrongs(drill.outside_rules()) == "")


@pytest.mark.live
def test_an_empty_service_that_answers_is_seen(place, drill):
    drill.rules()
    path = f"/api/v1/namespaces/{drill.namespace}/services/nobody"
    address = place.target.replicas("ai-memory")[0].address
    (body,) = by_name(Backend("nobody", (address,), 9000))
    with changed(place, path, body):
        assert until(lambda: "without endpoints" in wrongs(drill.outside_rules()))
    assert until(lambda: wrongs(drill.outside_rules()) == "")


@pytest.mark.live
def test_a_certificate_by_somebody_else_is_seen(place, drill):
    drill.rules()
    _, certificate, key = ingress._signed(drill.hosts.certified([one.name for one in SPECS]))
    path = f"/api/v1/namespaces/{drill.namespace}/secrets/{ingress_objects.CERTIFICATE}"
    with changed(place, path, ingress_objects.certificate_secret(certificate, key)):
        assert until(
            lambda: "self-signed certificate" in wrongs(drill.tls()) or "unable" in wrongs(drill.tls())
        )
    assert until(lambda: wrongs(drill.tls()) == "")


@pytest.mark.live
def test_a_certificate_for_another_name_is_seen(place, drill):
    drill.rules()
    with pytest.raises(CertificateRefused, match="unknown"):
        drill.door.get_tls(drill.hosts.unknown, "/health", drill.authority)
    # The same control on the wanted side: believed under a name that nobody certified, it is red.
    seen = drill._refused(drill.hosts.of("ai-memory"), drill.authority, "a name")
    assert "was believed" in seen.wrong


@pytest.mark.live
def test_plain_http_that_stays_plain_is_seen(place, drill):
    drill.rules()
    body = ingress_body(drill, "redirected")
    body["metadata"]["annotations"] = {}
    with changed(place, ingress_path(drill, "redirected"), body):
        assert until(lambda: "plain HTTP to" in wrongs(drill.redirected()))
    assert until(lambda: wrongs(drill.redirected()) == "")


@pytest.mark.live
def test_the_default_certificate_is_the_labs_and_verified_by_its_authority(place, drill):
    authority = place.pki.certificate(CLUSTER_CA)
    assert until(lambda: answered(place.door, f"x.{ingress_part.DOMAIN}", authority) == 404)
    with pytest.raises(CertificateRefused):
        place.door.get_tls("x.elsewhere.test", "/", authority)


def answered(door: Door, host: str, authority: bytes) -> int:
    try:
        return door.get_tls(host, "/", authority).status
    except WebError:
        return 0


@pytest.mark.live
def test_mcp_goes_through_by_tls_too(place, drill):
    drill.rules()
    for tls in (False, True):
        client = drill.client("github-v2", tls=tls)
        assert client.hello().name == "github"
        assert "describe" in {tool.name for tool in client.tools()}
        assert client.discover().era == "discover"
        assert client.call("describe").structured["service"] == "github-v2"


@pytest.mark.live
def test_the_ladder_by_ingress_holds_and_names_what_is_broken(place, drill):
    drill.rules()

    def by_ingress() -> Climb:
        return Ladder().by_ingress(drill, place.target, SPECS[1])

    assert by_ingress().broken == ""
    assert by_ingress().of == 8
    suite_of_ladder.test_every_rung_by_ingress(drill, place.targets, SPECS[1], Ladder(), Record())
    path = ingress_path(drill, "servers")
    body = ingress_body(drill, "servers")
    body["spec"]["rules"] = body["spec"]["rules"][:1]
    with changed(place, path, body):
        assert until(lambda: "rung 2 of 8, HTTP by Ingress: github-v2." in by_ingress().broken)
        assert "is answered as a host that nobody named: 404" in by_ingress().broken
    assert until(lambda: by_ingress().broken == "")
    secret = f"/api/v1/namespaces/{drill.namespace}/secrets/{ingress_objects.CERTIFICATE}"
    _, certificate, key = ingress._signed(drill.hosts.certified([one.name for one in SPECS]))
    with changed(place, secret, ingress_objects.certificate_secret(certificate, key)):
        assert until(lambda: "rung 3 of 8, TLS by Ingress, verified: https://github" in by_ingress().broken)
    assert until(lambda: by_ingress().broken == "")
    body = ingress_body(drill, "servers")
    body["spec"]["rules"][1]["http"] = body["spec"]["rules"][0]["http"]
    with changed(place, path, body):
        assert until(lambda: "rung 4 of 8, MCP by Ingress: " in by_ingress().broken)
    assert until(lambda: by_ingress().broken == "")


@pytest.mark.live
def test_deployed_ingresses_are_tried_and_a_missing_one_is_seen(place, drill):
    drill.rules()
    host = drill.hosts.of("github-v2")
    good = Way("servers", host, "/", "github-v2", 9006)
    lost = Way("lost", "lost.gonogo.test", "/health", "github-v2", 9006)
    crossed = Way("crossed", host, "/", "ai-memory", 9000)

    def tried(*ways: Way) -> Sequence[Seen]:
        return DeployedIngresses(ways, place.door, place.target, SPECS).tried()

    assert wrongs(tried(good)) == ""
    assert "answered as a host that nobody named: 404" in wrongs(tried(lost))
    assert "github answers, not ai_memory" in wrongs(tried(crossed))


@pytest.mark.live
def test_the_ways_are_read_from_the_converters_manifests():
    rows = ingress_objects.ingresses(Hosts("m"), ["a", "b"], "traefik")
    ways = ways_of([{"kind": "Service", "metadata": {"name": "x"}}, *rows])
    assert Way("servers", "a.m", "/", "a", None) in ways
    assert ways_of([]) == []


@pytest.mark.live
def test_a_controller_that_runs_and_does_not_answer_is_a_failure(place, drill, monkeypatch):
    drill.rules()
    monkeypatch.setattr(ingress, "_SERVED_BOUND_S", 1.0)
    closed = Door("127.0.0.1", 1, 1, "traefik", "kube-system/traefik")
    one = IngressDrill(place.run_input, None, place.kube, closed, place.target)
    try:
        with pytest.raises(AssertionError, match="no ingress controller answers: http"):
            one.rules()
        with pytest.raises(AssertionError, match="not served after"):
            one.tls()
    finally:
        assert one.close() == []
    place.kube.apply(
        "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/traefik-1",
        pods_of_the_door(ready=False),
    )
    try:
        with pytest.raises(CannotTell, match="no ingress controller answers"):
            _ = place.door
    finally:
        place.kube.apply(
            "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/traefik-1",
            pods_of_the_door(ready=True),
        )


def test_one_server_tells_no_hosts_apart(tmp_path, monkeypatch):
    class Lonely:
        side = Side.KUBERNETES

        def replicas(self, service: str) -> list[Any]:
            return []

    from fixtures.target import RunInput

    one = IngressDrill(RunInput(tmp_path, cluster(), SPECS), None, None, DOOR, Lonely())  # type: ignore[arg-type]
    with pytest.raises(CannotTell, match="0 MCP servers are ready"):
        one.rules()
    assert one.close() == []


def test_the_client_is_the_same_as_by_service():
    assert IngressMcpClient(DOOR, "a.b").url == "http://a.b/mcp"
    assert IngressMcpClient(DOOR, "a.b", authority=b"x").url == "https://a.b/mcp"
