from typing import Any

import pytest
import yaml

from provisioners.compose import Fit, Project, kubernetes_bundle
from provisioners.compose.lint import lint_texts
from provisioners.compose.peers import peers_of, references
from provisioners.errors import InputError
from provisioners.tiers import Tiers
from tests.compose.conftest import Load
from tests.compose.policy_eval import Pod, allows

NONE = Tiers(namespace="test")
ON = Fit(policies=True)
OUTSIDE = Pod(namespace="", address="203.0.113.7")
DNS = Pod({"k8s-app": "kube-dns"}, "kube-system")


def rendered(project: Project, tiers: Tiers = NONE, fit: Fit = ON) -> list[dict[str, Any]]:
    files = kubernetes_bundle(project, tiers, fit)[0].files
    return [item for text in files.values() for item in yaml.load_all(text, Loader=yaml.CSafeLoader)]


class World:
    """The policies of a project, and its pods by the name of their workload."""

    def __init__(self, project: Project, tiers: Tiers = NONE, fit: Fit = ON) -> None:
        objects = rendered(project, tiers, fit)
        self.namespace = objects[0]["metadata"]["name"]
        self.policies = [item for item in objects if item["kind"] == "NetworkPolicy"]
        self.pods = {
            item["metadata"]["name"]: Pod(item["spec"]["template"]["metadata"]["labels"], self.namespace)
            for item in objects
            if "template" in item.get("spec", {})
        }

    def reaches(self, source: str | Pod, target: str | Pod, port: int, protocol: str = "TCP") -> bool:
        one = self.pods[source] if isinstance(source, str) else source
        other = self.pods[target] if isinstance(target, str) else target
        return allows(self.policies, one, other, port, protocol)


# -- the lab's input -----------------------------------------------------------------------------


def test_everything_that_the_suites_measure_still_passes(sample: Project, tiers: Tiers, lab_fit: Fit) -> None:
    world = World(sample, tiers, Fit(**{**_fields(lab_fit), "policies": True}))
    ports = {row.service: row.port for row in tiers.servers} | {row.service: row.port for row in tiers.parts}
    assert len(world.pods) == 21
    for server in tiers.servers:
        for callee in server.calls:
            assert world.reaches(server.service, callee, ports[callee]), (server.service, callee)
        assert world.reaches(OUTSIDE, server.service, server.port)
        # latency: from a server, and from the probe of another node, by address and by Service
        assert world.reaches(server.service, "net-probe", 7777)
        assert world.reaches("net-probe", server.service, server.port)
    assert world.reaches("net-probe", "net-probe", 7777)
    assert world.reaches("net-probe", "net-probe", 7776)  # refused by the pod itself, not held back
    for name in world.pods:
        assert world.reaches(name, DNS, 53, "UDP")
        assert world.reaches(name, DNS, 53, "TCP")


def test_what_the_lab_has_no_reason_for_is_denied(sample: Project, tiers: Tiers) -> None:
    world = World(sample, tiers)
    assert not world.reaches("gong-v2", "postgres", 5432)  # it joins sophia-network alone
    assert world.reaches("ai-memory", "postgres", 5432)
    assert not world.reaches("ai-memory", "postgres", 22)
    assert not world.reaches(OUTSIDE, "postgres", 5432)  # it is exposed, not published
    assert not world.reaches(Pod({}, "other"), "net-probe", 7777)
    assert not world.reaches(Pod({}, world.namespace), "net-probe", 7777)  # of our namespace, of no network
    assert not world.reaches("gong-v2", Pod({}, "other"), 80)
    assert not world.reaches("gong-v2", Pod({}, "kube-system"), 53, "UDP")  # not the DNS
    assert world.reaches(Pod({"app": "prometheus"}, "monitoring"), "net-probe", 7777)
    assert not world.reaches(Pod({"app": "prometheus"}, "monitoring"), "net-probe", 7776)


def test_no_policies_unless_they_are_wanted(sample: Project, tiers: Tiers, lab_fit: Fit) -> None:
    assert not [item for item in rendered(sample, tiers, lab_fit) if item["kind"] == "NetworkPolicy"]
    wanted = Tiers(namespace="x", policies=True)
    assert [item for item in rendered(sample, wanted, Fit()) if item["kind"] == "NetworkPolicy"]
    assert not [
        item for item in rendered(sample, wanted, Fit(policies=False)) if item["kind"] == "NetworkPolicy"
    ]


def test_what_gonogo_starts_itself_reaches_everything_when_asked(sample: Project, tiers: Tiers) -> None:
    probe = Pod({"gonogo.dev/probe": "x"}, "sophia-mcp")
    assert not World(sample, tiers).reaches(probe, "postgres", 5432)
    world = World(sample, tiers, Fit(policies=True, probe_access=True))
    assert world.reaches(probe, "postgres", 5432)
    assert world.reaches(probe, OUTSIDE, 443)
    assert not world.reaches(Pod({"gonogo.dev/probe": "x"}, "other"), "postgres", 5432)


def test_policies_pass_the_lint_and_come_out_the_same(sample: Project, tiers: Tiers) -> None:
    fit = Fit(policies=True, cpus=1, memory="1G", replicas=2, images={"*": "example.com/{service}:1"})
    bundle = kubernetes_bundle(sample, tiers, fit)[0]
    assert not lint_texts(dict(bundle.files))
    assert bundle == kubernetes_bundle(sample, tiers, fit)[0]


# -- single rules ----------------------------------------------------------------------------------

TWO_NETWORKS = """
services:
  web: {image: x, ports: ['80:80'], networks: [front, back]}
  api: {image: x, expose: ['8000'], networks: [back]}
  db: {image: x, expose: ['5432', '53/udp'], networks: [data]}
  any: {image: x, networks: [data]}
networks: {front: {}, back: {}, data: {internal: true}}
"""


def test_networks_in_common(load: Load) -> None:
    world = World(load(TWO_NETWORKS))
    assert world.reaches("web", "api", 8000)
    assert not world.reaches("web", "api", 8001)
    assert not world.reaches("web", "db", 5432)
    assert not world.reaches("api", "db", 5432)
    assert world.reaches("any", "db", 5432)
    assert world.reaches("any", "db", 53, "UDP")
    assert not world.reaches("any", "db", 53, "TCP")
    assert world.reaches("db", "any", 1234)  # it lists no port, so its Service is headless and any port is it
    assert world.reaches("web", "web", 9)  # copies of one service


def test_the_outside(load: Load) -> None:
    world = World(load(TWO_NETWORKS))
    assert world.reaches(OUTSIDE, "web", 80)
    assert not world.reaches(OUTSIDE, "web", 81)
    assert not world.reaches(OUTSIDE, "api", 8000)
    assert world.reaches("web", OUTSIDE, 443)
    assert world.reaches("web", Pod(address="192.168.1.5"), 5432)  # a database beside the cluster
    assert world.reaches("web", Pod(address="2001:db8::1"), 443)
    assert not world.reaches("web", Pod(address="10.43.0.1"), 443)
    assert not world.reaches("db", OUTSIDE, 443)  # its networks are internal
    assert world.reaches("db", DNS, 53, "UDP")
    own = World(load(TWO_NETWORKS), fit=Fit(policies=True, cluster_ranges=("10.0.0.0/8",)))
    assert not own.reaches("web", Pod(address="10.1.2.3"), 443)


@pytest.mark.parametrize(
    "said",
    [
        "depends_on: [b]",
        "links: ['b:db']",
        "environment: ['URL=http://b:80/x']",
        "environment: {DB_HOST: b}",
        "environment: ['LIST=c:1,b:80']",
        "command: ['--upstream=http://b:80']",
        "environment: ['JDBC=jdbc:postgresql://b:80/x']",
    ],
)
def test_callees_without_a_network_in_common(load: Load, said: str) -> None:
    text = (
        "services:\n  a: {image: x, networks: [one], %s}\n  b: {image: x, expose: ['80'], networks: [two]}\n"
        "  c: {image: x, networks: [one]}\nnetworks: {one: {}, two: {}}\n"
    )
    world = World(load(text % said))
    assert world.reaches("a", "b", 80)
    assert not world.reaches("c", "b", 80)
    assert not world.reaches("b", "a", 80)
    assert not World(load(text % "environment: [MODE=b, POSTGRES_DB=b]")).reaches("a", "b", 80)


def test_a_call_across_networks_is_told(load: Load) -> None:
    text = (
        "services:\n  a: {image: x, networks: [one], environment: ['URL=http://b:80']}\n"
        "  b: {image: x, expose: ['80'], networks: [two]}\nnetworks: {one: {}, two: {internal: true}}\n"
    )
    found = {loss.path: loss for loss in kubernetes_bundle(load(text), NONE, ON)[1]}
    assert "no network in common" in found["services.a.environment[0]"].detail
    assert "NetworkPolicy/a" in found["services.a.environment[0]"].target
    assert found["services.a.networks[0]"].target == "NetworkPolicy/a"
    assert (
        "internal"
        in found["networks.two.internal" if "networks.two.internal" in found else "networks.two"].detail
    )
    off = {loss.path: loss for loss in kubernetes_bundle(load(text), NONE, Fit())[1]}
    assert "NetworkPolicy" not in str(off)


def test_names_of_other_namespaces(load: Load) -> None:
    text = "services: {a: {image: x, environment: ['URL=http://db.data.svc.cluster.local:5432']}}"
    world = World(load(text))
    assert world.reaches("a", Pod({}, "data"), 5432)
    assert not world.reaches("a", Pod({}, "other"), 5432)


def test_a_network_that_several_files_share(load: Load) -> None:
    one = World(
        load("services: {a: {image: x, networks: [p]}}\nnetworks: {p: {external: true, name: shared}}")
    )
    text = "services: {b: {image: x, expose: ['80'], networks: [q]}}\nnetworks: {q: {name: shared}}"
    other = World(load(text))
    one.policies += other.policies
    assert one.reaches("a", other.pods["b"], 80)
    assert one.reaches(other.pods["b"], "a", 80)
    assert not one.reaches(other.pods["b"], Pod({}, "elsewhere"), 80)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "[::1]"])
def test_a_port_on_loopback_is_for_nobody_outside(load: Load, host: str) -> None:
    project = load(f"services: {{db: {{image: x, ports: ['{host}:5432:5432']}}}}")
    assert not World(project).reaches(OUTSIDE, "db", 5432)
    service = next(item for item in rendered(project) if item["kind"] == "Service")
    assert service["spec"]["type"] == "ClusterIP"


def test_what_an_ingress_shows_is_open(load: Load) -> None:
    project = load(
        "services: {web: {image: x, networks: [n], labels: ['traefik.http.routers.w.rule=Host(`a.com`)', "
        "'traefik.http.services.w.loadbalancer.server.port=81']}}\nnetworks: {n: {}}"
    )
    world = World(project)
    assert world.reaches(Pod({}, "kube-system"), "web", 81)
    assert not world.reaches(Pod({}, "kube-system"), "web", 82)


def test_names_and_ranges_that_cannot_be(load: Load) -> None:
    text = "services: {a: {image: x, networks: [a_b, a-b]}}\nnetworks: {a_b: {}, a-b: {}}"
    with pytest.raises(InputError, match="a_b and a-b both become a-b"):
        rendered(load(text))
    assert rendered(load(text), fit=Fit())
    with pytest.raises(InputError, match="no network"):
        rendered(load("services: {a: {image: x}}"), fit=Fit(policies=True, cluster_ranges=("10.42/99",)))
    none = World(load("services: {a: {image: x}}"), fit=Fit(policies=True, monitoring=()))
    assert not none.reaches(Pod({}, "monitoring"), "a", 80)


# -- who calls whom ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("redis://redis:6379", [("redis", 6379)]),
        ("redis://:pw@redis/0", [("redis", 6379)]),
        ("postgresql+asyncpg://u:p@db/x", [("db", 5432)]),
        ("jdbc:mysql://db:3307/x", [("db", 3307)]),
        ("mongodb://m1,m2:1/x", [("m1", 27017), ("m2", 1)]),
        ("kafka1:9092,kafka2:9092", [("kafka1", 9092), ("kafka2", 9092)]),
        ("host=db port=5432", [("db", None)]),
        ("u:p@tcp(db:3306)/x", [("db", 3306)]),
        ("http://192.168.1.1:9000/x", [("192.168.1.1", 9000)]),
        ("x:99999", []),
        ("production", []),
        ("/etc/redis:ro", []),
    ],
)
def test_hosts_in_texts(text: str, wanted: list[tuple[str, int | None]]) -> None:
    assert [(one.host, one.port) for one in references(text) if one.surely] == wanted


def test_ports_that_only_callers_name(load: Load) -> None:
    text = (
        "services:\n  backend: {image: x}\n  mongo: {image: y}\n  both: {image: z, expose: ['80']}\n"
        "  web: {image: x, environment: ['A=http://backend:8080', MONGO_HOST=mongo, MONGO_PORT=27018, "
        "'B=http://both:81', 'C=http://both']}\n"
    )
    project = load(text)
    found = {
        item["metadata"]["name"]: item["spec"]
        for item in rendered(project, fit=Fit())
        if item["kind"] == "Service"
    }
    assert [port["port"] for port in found["backend"]["ports"]] == [8080]
    assert found["backend"]["type"] == "ClusterIP"
    assert [port["port"] for port in found["mongo"]["ports"]] == [27018]
    assert [port["port"] for port in found["both"]["ports"]] == [80, 81]
    assert found["web"]["clusterIP"] == "None"
    losses = {loss.path: loss for loss in kubernetes_bundle(project, NONE, Fit())[1]}
    said = losses["services.web.environment[0]"]
    assert (said.outcome.value, "Service/backend port 8080" in said.target) == ("approximated", True)
    peers = peers_of(project, NONE)
    assert peers.callers("backend") == ("web",)
    assert not peers.callers("web")


def _fields(fit: Fit) -> dict[str, Any]:
    return {name: getattr(fit, name) for name in fit.__dataclass_fields__}
