"""Services without an image of their own: those that are only built, and those of a provider."""

from pathlib import Path

import yaml

from provisioners.compose import convert, swarm_bundle
from provisioners.compose.fit import Fit
from provisioners.tiers import Tiers
from tests.compose.conftest import Load


def test_a_service_that_is_only_built_gets_the_name_that_compose_gives_it(tmp_path: Path, load: Load) -> None:
    file = tmp_path / "c.yml"
    text = "name: shop\nservices: {api: {build: .}, web: {build: {context: w}, image: 'w:1'}}\n"
    file.write_text(text, encoding="utf-8")
    result = convert([file], tmp_path / "out", env={})
    assert not result.refused
    body = (tmp_path / "out" / "core" / "api.yaml").read_text(encoding="utf-8")
    assert "image: shop-api\n" in body
    by_path = {loss.path: loss for loss in result.losses}
    assert by_path["services.api.build"].outcome == "approximated"
    assert "shop-api" in by_path["services.api.build"].detail
    assert by_path["services.web.build"].outcome == "dropped"
    stack = yaml.safe_load(swarm_bundle(load(text), Tiers(namespace="t"), Fit()).files["stack.yml"])
    assert stack["services"]["api"]["image"] == "shop-api"


def test_a_service_of_a_provider_is_refused_and_the_rest_converts(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text(
        "services:\n  web: {image: 'x:1', depends_on: [db]}\n"
        "  db: {provider: {type: cloud, options: {type: mysql}}}\n",
        encoding="utf-8",
    )
    result = convert([file], tmp_path / "out", env={})
    assert [loss.path for loss in result.refused] == ["services.db"]
    assert (tmp_path / "out" / "core" / "web.yaml").is_file()
    assert not list((tmp_path / "out").rglob("db.yaml"))
