from typing import Any

import pytest
import yaml

from provisioners.compose import Fit, Project, kubernetes_bundle
from provisioners.compose.rules import Route, RuleError, routes_of
from provisioners.tiers import Tiers
from tests.compose.conftest import Load

NONE = Tiers(namespace="test")
ANNOTATION = "traefik.ingress.kubernetes.io"


def kinds(
    project: Project, kind: str, tiers: Tiers = NONE, fit: Fit | None = None
) -> dict[str, dict[str, Any]]:
    files = kubernetes_bundle(project, tiers, fit or Fit())[0].files
    objects = [item for text in files.values() for item in yaml.load_all(text, Loader=yaml.CSafeLoader)]
    return {item["metadata"]["name"]: item for item in objects if item["kind"] == kind}


def losses(project: Project) -> dict[str, Any]:
    return {loss.path: loss for loss in kubernetes_bundle(project, NONE, Fit())[1]}


def labelled(*labels: str, more: str = "") -> str:
    lines = "".join(f"      - '{label}'\n" for label in labels)
    return f"services:\n  web:\n    image: x\n{more}    labels:\n{lines}"


# -- rules ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("Host(`a.example.com`)", [Route("a.example.com")]),
        ("Host(`A.example.com`) && PathPrefix(`/api`)", [Route("a.example.com", "/api")]),
        ('Host("a.com") && Path("/x")', [Route("a.com", "/x", exact=True)]),
        ("Host(`a.com`, `b.com`)", [Route("a.com"), Route("b.com")]),
        ("Host(`a.com`) || Host(`b.com`) && Path(`/x`)", [Route("a.com"), Route("b.com", "/x", exact=True)]),
        (
            "(Host(`a.com`) || Host(`b.com`)) && (PathPrefix(`/x`) || PathPrefix(`/y`))",
            [Route("a.com", "/x"), Route("a.com", "/y"), Route("b.com", "/x"), Route("b.com", "/y")],
        ),
        ("PathPrefix(`/`)", [Route()]),
        ("HostRegexp(`{sub:[a-z]+}.example.com`)", [Route("*.example.com")]),
        (r"HostRegexp(`^[^.]+\.example\.com$`)", [Route("*.example.com")]),
    ],
)
def test_rules(rule: str, wanted: list[Route]) -> None:
    assert list(routes_of(rule)[0]) == wanted


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("Host(`a.com`) && Headers(`X-A`, `b`)", "not headers"),
        ("Host(`a.com`) && Method(`GET`)", "not method"),
        ("Host(`a.com`) && ClientIP(`10.0.0.0/8`)", "not clientip"),
        ("PathRegexp(`^/a`)", "not pathregexp"),
        ("Path(`/{id:[0-9]+}`)", "regular expression"),
        ("HostRegexp(`(a|b)\\.example\\.com`)", "regular expression"),
        ("!Host(`a.com`)", "must not be"),
        ("Host(`a.com`) && Host(`b.com`)", "two hosts"),
        ("Host(`a.com`", "too soon"),
        ("Host(`a.com`))", "cannot be read"),
        ("Host()", "is empty"),
        ("", "too soon"),
        ("Host(`a b`)", "no host name"),
        ("Host(`${X}`)", "no host name"),
        ("€", "cannot be read"),
    ],
)
def test_rules_that_an_ingress_cannot_say(rule: str, why: str) -> None:
    with pytest.raises(RuleError, match=why):
        routes_of(rule)


def test_a_rule_that_explodes_is_bounded() -> None:
    part = "(" + " || ".join(f"Host(`h{number}.com`)" for number in range(9)) + ")"
    with pytest.raises(RuleError, match="more than"):
        routes_of(f"{part} && {part} && {part}")
    with pytest.raises(RuleError, match="deep"):
        routes_of("(" * 1000 + "Host(`a.com`)")
    with pytest.raises(RuleError, match="parts"):
        routes_of("Host(`a.com`)" * 9000)


# -- Traefik's labels ---------------------------------------------------------------------------------


def test_labels_become_an_ingress(load: Load) -> None:
    project = load(
        labelled(
            "traefik.enable=true",
            "traefik.http.routers.w.rule=Host(`a.example.com`) && PathPrefix(`/api`)",
            "traefik.http.routers.w.entrypoints=websecure",
            "traefik.http.routers.w.tls.certresolver=le",
            "traefik.http.routers.w.middlewares=auth@docker,other@file",
            "traefik.http.middlewares.auth.basicauth.users=me:$$apr1$$abcdefgh$$0123456789abcdefghijk",
            "traefik.http.services.w.loadbalancer.server.port=8080",
            "traefik.http.services.w.loadbalancer.sticky.cookie=true",
            "traefik.docker.network=public",
            "mine=yes",
        )
    )
    (body,) = kinds(project, "Ingress").values()
    assert body["metadata"]["name"] == "web"
    assert body["spec"]["ingressClassName"] == "traefik"
    (rule,) = body["spec"]["rules"]
    assert rule["host"] == "a.example.com"
    (path,) = rule["http"]["paths"]
    assert (path["path"], path["pathType"]) == ("/api", "Prefix")
    assert path["backend"]["service"] == {"name": "web", "port": {"number": 8080}}
    assert body["spec"]["tls"] == [{"hosts": ["a.example.com"], "secretName": "web-tls"}]
    assert body["metadata"]["annotations"] == {
        f"{ANNOTATION}/router.entrypoints": "websecure",
        f"{ANNOTATION}/router.tls": "true",
        f"{ANNOTATION}/router.tls.certresolver": "le",
        f"{ANNOTATION}/router.middlewares": "test-auth@kubernetescrd,other@file",
    }
    service = kinds(project, "Service")["web"]
    assert [port["port"] for port in service["spec"]["ports"]] == [8080]
    assert service["metadata"]["annotations"] == {f"{ANNOTATION}/service.sticky.cookie": "true"}
    pod = kinds(project, "Deployment")["web"]["spec"]["template"]
    assert pod["metadata"]["annotations"] == {"mine": "yes"}
    assert pod["spec"]["containers"][0]["ports"][0]["containerPort"] == 8080
    text = str(kubernetes_bundle(project, NONE, Fit()))
    assert "apr1" not in text
    found = losses(project)
    assert found["services.web.labels[5]"].outcome.value == "approximated"
    assert found["services.web.labels[8]"].outcome.value == "dropped"
    assert all(found[f"services.web.labels[{number}]"].target for number in range(8))


def test_labels_of_deploy_count_too(load: Load) -> None:
    project = load(
        "services:\n  web:\n    image: x\n    expose: ['80']\n    deploy:\n      labels:\n"
        "        traefik.http.routers.w.rule: Host(`a.com`)\n"
    )
    assert kinds(project, "Ingress")["web"]["spec"]["rules"][0]["host"] == "a.com"
    assert "annotations" not in kinds(project, "Deployment")["web"]["metadata"]


def test_two_routers_are_two_ingresses(load: Load) -> None:
    project = load(
        labelled(
            "traefik.http.routers.plain.rule=Host(`a.com`)",
            "traefik.http.routers.plain.entrypoints=web",
            "traefik.http.routers.safe.rule=Host(`a.com`)",
            "traefik.http.routers.safe.tls=true",
            more="    ports: ['80:80']\n",
        )
    )
    found = kinds(project, "Ingress")
    assert set(found) == {"web-plain", "web-safe"}
    assert "tls" not in found["web-plain"]["spec"]
    assert found["web-safe"]["spec"]["tls"]


def test_traefik_enable_false(load: Load) -> None:
    project = load(labelled("traefik.enable=false", "traefik.http.routers.w.rule=Host(`a.com`)"))
    assert not kinds(project, "Ingress")
    assert losses(project)["services.web.labels[1]"].outcome.value == "dropped"


@pytest.mark.parametrize(
    ("label", "why"),
    [
        ("traefik.http.routers.w.rule=Host(`a.com`) && Query(`a`, `b`)", "not query"),
        ("traefik.http.routers.w.rule=Host(`a.com`)", "no port is known"),
        ("traefik.http.services.w.loadbalancer.server.port=many", "no port"),
        ("traefik.tcp.routers.db.rule=HostSNI(`*`)", "for HTTP"),
        ("traefik.frontend.rule=Host:a.com", "Traefik 1"),
    ],
)
def test_labels_that_are_refused(load: Load, label: str, why: str) -> None:
    project = load(labelled(label))
    assert not kinds(project, "Ingress")
    said = losses(project)["services.web.labels[0]"]
    assert said.outcome.value == "refused"
    assert why in said.detail


def test_one_host_leads_to_one_service(load: Load) -> None:
    text = "services:\n" + "".join(
        f"  {name}: {{image: x, expose: ['80'], labels: ['traefik.http.routers.r.rule=Host(`a.com`)']}}\n"
        for name in ("one", "two")
    )
    project = load(text)
    assert set(kinds(project, "Ingress")) == {"one"}
    assert "leads to one already" in losses(project)["services.two.labels[0]"].detail


# -- nginx-proxy, and a domain on request --------------------------------------------------------------


def test_virtual_host(load: Load) -> None:
    project = load(
        "services: {web: {image: x, environment: {VIRTUAL_HOST: 'a.com,*.b.com', VIRTUAL_PORT: 8080, "
        "VIRTUAL_PATH: /x, LETSENCRYPT_HOST: a.com}}}"
    )
    (body,) = kinds(project, "Ingress").values()
    assert [rule["host"] for rule in body["spec"]["rules"]] == ["a.com", "*.b.com"]
    assert body["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"] == {"number": 8080}
    assert "ingressClassName" not in body["spec"]
    assert body["spec"]["tls"][0]["secretName"] == "web-tls"
    assert "Ingress/web" in losses(project)["services.web.environment.VIRTUAL_HOST"].target
    regex = load("services: {web: {image: x, environment: ['VIRTUAL_HOST=~^a.*']}}")
    assert not kinds(regex, "Ingress")
    assert losses(regex)["services.web.environment[0]"].outcome.value == "refused"


def test_a_domain_on_request(sample: Project, tiers: Tiers) -> None:
    assert not kinds(sample, "Ingress", tiers)
    found = kinds(sample, "Ingress", tiers, Fit(ingress_domain="apps.example.com", ingress_class="traefik"))
    assert len(found) == 18  # the servers and the extras; redis speaks no HTTP, postgres is not published
    body = found["hubspot"]["spec"]
    assert body["ingressClassName"] == "traefik"
    assert body["rules"][0]["host"] == "hubspot.apps.example.com"
    assert body["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"] == {"number": 9017}
    by_file = Tiers(namespace="x", ingress_domain="example.com")
    assert kinds(sample, "Ingress", by_file)["hubspot"]["spec"]["rules"][0]["host"] == "hubspot.example.com"
