"""One name for several services: Docker takes turns; a Service selects the pods of all."""

from typing import Any

import yaml

from provisioners.compose import Fit, kubernetes_bundle
from provisioners.compose.losses import Loss
from provisioners.compose.validate import check_texts
from provisioners.tiers import Tiers
from tests.compose.conftest import Load

FIT = Fit(policies=True)
HEAD = "networks: {n: {}, m: {}}\nservices:\n"


def converted(load: Load, text: str) -> tuple[dict[str, Any], dict[str, Loss]]:
    """Return the objects by kind and name, every one of them valid, and the losses by path."""
    bundle, losses = kubernetes_bundle(load(HEAD + text), Tiers(namespace="test"), FIT)
    assert check_texts(bundle.files) > 0
    found = {}
    for content in bundle.files.values():
        for item in yaml.load_all(content, Loader=yaml.CSafeLoader):
            title = f"{item['kind']}/{item['metadata']['name']}"
            assert title not in found
            found[title] = item
    return found, {loss.path: loss for loss in losses}


def pod_labels(found: dict[str, Any], title: str) -> dict[str, str]:
    return dict(found[title]["spec"]["template"]["metadata"]["labels"])


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def test_one_name_of_two_services_leads_to_the_pods_of_both(load: Load) -> None:
    found, losses = converted(
        load,
        "  blue: {image: x, expose: ['80'], networks: {n: {aliases: [app]}}}\n"
        "  green: {image: x, expose: ['80'], networks: {n: {aliases: [app]}}}\n"
        "  other: {image: x, expose: ['80'], networks: [n]}\n",
    )
    spec = found["Service/app"]["spec"]
    assert selects(spec["selector"], pod_labels(found, "Deployment/blue"))
    assert selects(spec["selector"], pod_labels(found, "Deployment/green"))
    assert not selects(spec["selector"], pod_labels(found, "Deployment/other"))
    assert [(port["port"], port["targetPort"]) for port in spec["ports"]] == [(80, 80)]
    # the controllers select by the service's own name alone: neither takes the other's pods
    assert found["Deployment/blue"]["spec"]["selector"]["matchLabels"] == {"app.kubernetes.io/name": "blue"}
    loss = losses["services.blue.networks.n.aliases[0]"]
    assert (loss.outcome, loss.target) == ("approximated", "Service/app")
    assert "blue and green" in loss.detail


def test_services_with_other_ports_are_reached_by_the_addresses_of_their_pods(load: Load) -> None:
    found, losses = converted(
        load,
        "  a: {image: x, expose: ['1'], networks: {n: {aliases: [jobs]}}}\n"
        "  b: {image: x, expose: ['2'], networks: {n: {aliases: [jobs]}}}\n",
    )
    assert found["Service/jobs"]["spec"]["clusterIP"] == "None"
    assert "ports" not in found["Service/jobs"]["spec"]
    assert "a port may be closed there" in losses["services.a.networks.n.aliases[0]"].detail


def test_one_name_on_two_networks_is_refused_and_nobody_gets_it(load: Load) -> None:
    found, losses = converted(
        load,
        "  a: {image: x, networks: {n: {aliases: [db]}}}\n  b: {image: x, networks: {m: {aliases: [db]}}}\n",
    )
    assert "Service/db" not in found
    for path in ("services.a.networks.n.aliases[0]", "services.b.networks.m.aliases[0]"):
        assert losses[path].outcome == "refused"


def test_the_name_of_another_service_is_refused(load: Load) -> None:
    found, losses = converted(
        load, "  a: {image: x, expose: ['1']}\n  b: {image: x, networks: {n: {aliases: [a, b]}}}\n"
    )
    assert found["Service/a"]["spec"]["selector"] == {"app.kubernetes.io/name": "a"}
    assert losses["services.b.networks.n.aliases[0]"].outcome == "refused"
    assert "services.b.networks.n.aliases[1]" not in losses  # its own name: it has it already


def test_links_give_names_and_written_names_are_followed(load: Load) -> None:
    found, losses = converted(
        load,
        "  db: {image: x, expose: ['5432']}\n"
        "  web: {image: x, links: ['db:main_db'], environment: {URL: 'postgres://u@main_db:5432/main_db'}}\n"
        "  far: {image: x, networks: {m: {aliases: [www.example.com]}}}\n",
    )
    assert found["Service/main-db"]["spec"]["selector"] == {"app.kubernetes.io/name": "db"}
    env = found["Deployment/web"]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert env == [{"name": "URL", "value": "postgres://u@main-db:5432/main_db"}]
    assert losses["services.web.links[0]"].outcome == "approximated"
    assert "with dots" in losses["services.far.networks.m.aliases[0]"].detail


def test_links_of_two_callers_to_other_services_are_kept_apart(load: Load) -> None:
    found, losses = converted(
        load,
        "  d1: {image: x}\n  d2: {image: x}\n"
        "  a: {image: x, links: ['d1:db']}\n  b: {image: x, links: ['d2:db']}\n",
    )
    assert "Service/db" not in found
    assert losses["services.a.links[0]"].outcome == "refused"
