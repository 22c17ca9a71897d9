"""Whole files as people have them, through the verb: its exit code, its account, what it writes, twice."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from provisioners.compose import load_yaml
from provisioners.compose.validate import check_texts
from provisioners.errors import InputError
from tests.compose.test_losses import is_covered, yaml_leaves
from verbs.convert import convert_command

FILES = Path(__file__).parent / "files" / "wild"
ENV = {
    "HF_TOKEN": "hf-example",
    "APP_SETTINGS": "level: info",
    "APP_TOKEN": "example",
    "NPM_TOKEN": "example",
}
# What a file names that no pod can have; each is told, the rest is written, and the code is 2.
REFUSED = {
    "develop-models.yml": {
        "services.chat.models",
        "services.chat.post_start",
        "services.chat.pre_stop",
        "services.database",
        "models",
    },
    "gpus-list.yml": {"services.render.gpus[0]"},
    "hardened.yml": {
        "services.edge.cgroup_parent",
        "services.camera.devices",
        "services.camera.device_cgroup_rules",
        "services.camera.uts",
    },
    "nfs-and-ipam.yml": {"volumes.media"},
    "ollama-webui.yml": {"services.open-webui.extra_hosts[0]"},
    "ports-and-hosts.yml": {"services.beside.network_mode", "services.beside.pid"},
    "traefik-labels.yml": {"services.admin.labels.traefik.http.routers.admin.rule"},
    "v2-links.yml": {"services.db.volumes_from"},
}
# Files that are not read at all, and what the user is told.
BROKEN = {
    "collide.yml": "my_app and my-app both become my-app",
    "cycle.yml": "goes round in a circle",
    "duplicates.yml": "services.web.image is already at line 3",
    "list-at-top.yml": "a compose file is a table",
    "merge-bomb.yml": "its aliases expand to more than",
    "misspelt.yml": "did you mean `deploy`?",
    "required-unset.yml": "give the tag of nginx",
    "unknown-top.yml": "did you mean `services`?",
    "version-1.yml": "this is a file of version 1",
}
SOUND = sorted({path.name for path in FILES.glob("*.yml")} - BROKEN.keys())
WEB = "services:\n  web:\n    image: nginx:1.27\n    ports: ['80:80']\n"
# Files whose bytes an editor would not keep.
BYTES = {
    "crlf": (WEB.replace("\n", "\r\n").encode(), ""),
    "bom": (b"\xef\xbb\xbf" + WEB.encode(), ""),
    "no-last-line-end": (WEB.rstrip().encode(), ""),
    "document-marks": (f"---\n{WEB}...\n".encode(), ""),
    "utf-16": (WEB.encode("utf-16"), "the file is not UTF-8"),
    "utf-16-without-mark": (WEB.encode("utf-16-le"), "the file is not UTF-8"),
    "latin-1": (WEB.replace("nginx:1.27", "n\u00e9:1").encode("latin-1"), "the file is not UTF-8"),
    "tabs": (WEB.replace("    ", "\t").encode(), "cannot start any token"),
    "comments": (b"# services:\n#   web: {image: nginx}\n", "the file is empty"),
    "empty": (b"", "the file is empty"),
    "blank": (b"\n\n   \n", "the file is empty"),
    "null": (b"~\n", "the file is empty"),
    "text": (b"just words\n", "a compose file is a table"),
    "no-services": (b"services: {}\n", "there are no services"),
    "null-services": (b"services:\n", "there are no services"),
    "null-service": (b"services: {web: }\n", "the service is empty"),
    "two-documents": (f"{WEB}---\n{WEB}".encode(), "the file has 2 YAML documents"),
    "control-character": (WEB.encode().replace(b"nginx", b"ngi\x07nx"), "control characters are not allowed"),
    "unclosed": (b'services: {web: {image: "nginx}}\n', "this is not YAML"),
    "unclosed-variable": (WEB.replace("nginx", "${NGINX").encode(), "not closed"),
    "binary": (bytes(range(256)) * 4, "the file is not UTF-8"),
}


@pytest.fixture(autouse=True)
def _variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COMPOSE_PROFILES", "REGISTRY", "TAG", "PLAIN", "PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)


def convert(file: Path, out: Path) -> int:
    return convert_command([file], out, env_files=[], duplicates="error", lint=None, json_output=False)


def written(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def objects(folder: Path) -> dict[str, dict[str, object]]:
    import yaml

    bodies = (body for path in folder.rglob("*.yaml") for body in yaml.safe_load_all(path.read_text()))
    return {f"{body['kind']}/{body['metadata']['name']}": body for body in bodies}


def container(folder: Path, title: str) -> dict[str, object]:
    body: dict[str, object] = objects(folder)[title]["spec"]["template"]["spec"]["containers"][0]  # type: ignore[index]
    return body


def test_there_are_enough() -> None:
    assert len(SOUND) + len(BROKEN) >= 32
    assert not (BROKEN.keys() | REFUSED.keys()) - {path.name for path in FILES.glob("*.yml")}


@pytest.mark.parametrize("name", SOUND)
def test_it_converts_with_the_code_that_it_says(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert convert(FILES / name, out) == (2 if name in REFUSED else 0)
    losses = json.loads((out / "losses.json").read_text())
    refused = [loss for loss in losses if loss["outcome"] == "refused"]
    assert {loss["path"] for loss in refused} == REFUSED.get(name, set())
    assert all(loss["detail"] for loss in losses if loss["outcome"] != "converted")
    sources = {loss["file"] for loss in losses}
    assert str(FILES / name) in sources
    for source in sources:
        entries = {loss["path"] for loss in losses if loss["file"] == source}
        leaves = yaml_leaves(Path(source))
        assert leaves
        assert not [leaf for leaf in leaves if not is_covered(leaf[0], entries)]


@pytest.mark.parametrize("name", SOUND)
def test_what_it_writes_is_valid_and_the_same_twice(name: str, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        convert(FILES / name, tmp_path / folder)
    found = written(tmp_path / "one")
    assert found == written(tmp_path / "two")
    texts = {path: content.decode() for path, content in found.items() if path.endswith(".yaml")}
    assert check_texts(texts) >= 5
    # only what the file itself escapes, for a shell or a program to read
    said = "".join(path.read_text() for path in FILES.rglob("*") if path.is_file())
    escaped = set(re.findall(r"\$(\$\{[^}]*\})", said)) | {"${expanded}"}  # the latter in single quotes
    assert set(re.findall(r"\$\{[^}]*\}?", "".join(texts.values()))) <= escaped
    assert not re.search(r"image: .*[${}]", "".join(texts.values()))


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        convert(FILES / name, tmp_path / "out")
    assert caught.value.exit_code == 2
    assert BROKEN[name] in str(caught.value)
    assert name == "collide.yml" or name in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", BYTES)
def test_odd_bytes(name: str, tmp_path: Path) -> None:
    content, message = BYTES[name]
    file, out = tmp_path / "compose.yml", tmp_path / "out"
    file.write_bytes(content)
    if not message:
        assert convert(file, out) == 0
        assert container(out, "Deployment/web")["image"] == "nginx:1.27"
        (line,) = [
            loss["line"] for loss in json.loads((out / "losses.json").read_text()) if "ports" in loss["path"]
        ]
        assert (
            line
            == content.decode("utf-8-sig").replace("\r\n", "\n").split("\n").index("    ports: ['80:80']") + 1
        )
        return
    with pytest.raises(InputError) as caught:
        convert(file, out)
    assert caught.value.exit_code == 2
    assert message in str(caught.value)
    assert not out.exists()


# -- what a reviewer looks at ------------------------------------------------------------------------


def amounts(folder: Path, service: str) -> object:
    resources = container(folder, f"Deployment/{service}")["resources"]
    assert isinstance(resources, dict)
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"]
    return resources["limits"]["nvidia.com/gpu"]


def test_all_gpus_are_one_and_told(tmp_path: Path) -> None:
    convert(FILES / "vllm-reservations.yml", tmp_path)
    assert {name: amounts(tmp_path, name) for name in ("vllm", "embeddings", "reranker")} == {
        "vllm": 1,
        "embeddings": 2,
        "reranker": 1,
    }
    losses = {loss["path"]: loss for loss in json.loads((tmp_path / "losses.json").read_text())}
    place = "deploy.resources.reservations.devices[0]"
    assert losses[f"services.vllm.{place}"]["outcome"] == "approximated"
    assert "give their count" in losses[f"services.reranker.{place}"]["detail"]
    assert losses[f"services.embeddings.{place}"]["outcome"] == "converted"
    legacy = objects(tmp_path)["Deployment/legacy"]["spec"]["template"]["spec"]  # type: ignore[index]
    assert legacy["runtimeClassName"] == "nvidia"


def test_the_short_key_of_gpus(tmp_path: Path) -> None:
    convert(FILES / "gpus-list.yml", tmp_path / "list")
    assert amounts(tmp_path / "list", "train") == 3  # two, and the one that it names
    assert "nvidia.com/gpu" not in str(container(tmp_path / "list", "Deployment/render"))
    convert(FILES / "ollama-webui.yml", tmp_path / "all")
    body = objects(tmp_path / "all")["StatefulSet/ollama"]
    assert body["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1  # type: ignore[index]


def test_an_image_is_no_call(tmp_path: Path) -> None:
    convert(FILES / "images-as-values.yml", tmp_path)
    found = objects(tmp_path)
    ports = found["Service/postgres"]["spec"]["ports"]  # type: ignore[index]
    assert [port["port"] for port in ports] == [5432]
    ports = found["Service/worker"]["spec"]["ports"]  # type: ignore[index]
    assert [port["port"] for port in ports] == [9100, 9200]  # as its caller says, and no version of an image
    assert "app.kubernetes.io/name: worker" in (tmp_path / "extra" / "caller.yaml").read_text()
    assert "app.kubernetes.io/name: worker" not in (tmp_path / "extra" / "runner.yaml").read_text()


def test_names_are_legal_and_followed(tmp_path: Path) -> None:
    convert(FILES / "odd-names.yml", tmp_path)
    found = objects(tmp_path)
    services = {title.partition("/")[2] for title in found if title.startswith("Service/")}
    assert {"my-service", "db-primary", "upper"} < services
    assert all(re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", name) for name in services)
    env = {one["name"]: one["value"] for one in container(tmp_path, "Deployment/upper")["env"]}  # type: ignore[attr-defined]
    assert env == {"TARGET": "http://my-service:80", "DB_HOST": "db-primary"}


def test_pods_that_share_a_network_are_not_torn_apart_in_silence(tmp_path: Path) -> None:
    convert(FILES / "ports-and-hosts.yml", tmp_path)
    losses = {loss["path"]: loss for loss in json.loads((tmp_path / "losses.json").read_text())}
    assert "one pod" in losses["services.beside.network_mode"]["detail"]
    assert losses["services.hostly.network_mode"]["outcome"] == "dropped"


def test_a_repaired_file_converts(tmp_path: Path) -> None:
    """Every broken file is one edit away from a sound one: the duplicates, with the last one of each."""
    file = FILES / "duplicates.yml"
    code = convert_command([file], tmp_path, env_files=[], duplicates="last", lint=None, json_output=False)
    assert code == 0
    assert container(tmp_path, "Deployment/web")["image"] == "nginx:1.27"
    assert load_yaml(tmp_path / "00-namespace.yaml")
