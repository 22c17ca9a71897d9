"""Server images: archives, names and tags without an engine; and the images themselves, in the lab part."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.mcp_server.table import ALL
from provisioners.errors import InputError, ProvisionError
from provisioners.lab import images, wheels
from provisioners.lab.archive import Archive, Image, Layer, file_layer
from provisioners.lab.engine import Engine, start_engine
from provisioners.shell import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPTS = sorted(Path(images.__file__).parents[2].glob("fixtures/mcp_server/image/gonogo-*"))


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        names = [entry.name for entry in tar.getmembers()]
        assert len(names) == len(set(names))
        streams = {entry.name: tar.extractfile(entry) for entry in tar.getmembers() if entry.isfile()}
        return {name: stream.read() for name, stream in streams.items() if stream}


def test_an_archive_holds_each_layer_once_and_its_digests_are_right(tmp_path: Path) -> None:
    base, top = file_layer({"a/b": (0o644, b"base")}), file_layer({"a/c": (0o755, b"top")})
    both = [Image(f"x/{name}:1", (base, top), Cmd=[name]) for name in ("one", "two")]
    Archive(both).write(tmp_path / "all.tar")
    files = members(tmp_path / "all.tar")
    rows = json.loads(files["manifest.json"])
    assert [row["RepoTags"] for row in rows] == [["x/one:1"], ["x/two:1"]]
    for row in rows:
        config = files[row["Config"]]
        assert row["Config"] == f"{hashlib.sha256(config).hexdigest()}.json"
        digests = [f"sha256:{hashlib.sha256(files[layer]).hexdigest()}" for layer in row["Layers"]]
        assert json.loads(config)["rootfs"]["diff_ids"] == digests
    Archive(both).write(tmp_path / "thin.tar", without=(base,))
    assert files.keys() - members(tmp_path / "thin.tar").keys() == {base.member}


def test_a_layer_depends_on_content_alone() -> None:
    files = {"opt/b": (0o644, b"1"), "opt/a": (0o755, b"2")}
    assert file_layer(files).digest == file_layer(dict(reversed(files.items()))).digest
    assert file_layer(files).digest != file_layer({**files, "opt/a": (0o644, b"2")}).digest


def test_names_cover_the_sample_input() -> None:
    names = images.image_names()
    short = {name.partition(":")[0] for name in names}
    assert short == {f"gonogo/mcp-{service}" for service in ALL} | {
        "gonogo/postgres",
        "gonogo/redis",
        "gonogo/net-probe",
    }
    assert len({name.partition(":")[2] for name in names}) == 1


def test_tags_go_on_our_own_names_only() -> None:
    assert images.tagged("gonogo/redis") in images.image_names()
    for other in ("redis:7-alpine", "registry.example/gonogo/redis", "gonogo/redis:mine"):
        assert images.tagged(other) == other


def test_the_server_layer_holds_code_and_scripts() -> None:
    layer = images.server_layer()
    assert isinstance(layer.content, bytes)
    import io

    with tarfile.open(fileobj=io.BytesIO(layer.content)) as tar:
        modes = {entry.name: entry.mode for entry in tar.getmembers() if entry.isfile()}
        owners = {(entry.uid, entry.gid, entry.mtime) for entry in tar.getmembers()}
    assert modes["opt/gonogo/app/mcp_server/app.py"] == 0o644
    for program in ("gonogo-probe", "gonogo-postgres", "gonogo-redis"):
        assert modes[f"usr/local/bin/{program}"] == 0o755
    assert owners == {(0, 0, 0)}


def test_images_without_a_base_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GONOGO_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="gonogo lab up"):
        images._base_layer()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_start_scripts_parse(script: Path) -> None:
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0


def test_packages_are_locked_exactly() -> None:
    text = (SCRIPTS[0].parents[1] / "requirements.txt").read_text()
    rows = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(rows) > 10
    assert all(line.count("==") == 1 for line in rows)


def test_python_version_is_read_from_the_root(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    link = tmp_path / "usr/bin/python3"
    link.symlink_to("python3.13")
    assert wheels._python_version(tmp_path) == (3, 13)
    link.unlink()
    link.symlink_to("pypy")
    with pytest.raises(ProvisionError, match="pypy"):
        wheels._python_version(tmp_path)


def test_a_package_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/python3").symlink_to("python3.13")
    lock = tmp_path / "requirements.txt"
    lock.write_text(f"{tmp_path}/nothing-1.0-py3-none-any.whl\n")
    with pytest.raises(CommandError, match="pip"):
        wheels.install_packages(lock, tmp_path, "site")


# The lab part: real containers, one network namespace, no network.


@pytest.fixture(scope="module")
def engine() -> Engine:
    built = start_engine(lambda _: None)
    images.build_images(built)
    return built


@pytest.fixture(scope="module")
def stack(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """PostgreSQL, Redis, a probe and a server that share one loopback; yields the prefix of their names."""
    secret = tmp_path_factory.mktemp("secret") / "password"
    secret.write_text('se"cret x\n')
    prefix = f"gonogo-test-{time.time_ns()}"
    mount = ["-v", f"{secret}:/run/secrets/p:ro", "-e", "POSTGRES_PASSWORD_FILE=/run/secrets/p"]
    database = ["-e", "POSTGRES_USER=sophia", "-e", 'POSTGRES_DB=so"phia', "--network", "none"]
    urls = ["-e", "REDIS_URL=redis://127.0.0.1:6379"]
    urls += ["-e", "POSTGRES_URL=postgresql://sophia@127.0.0.1:5432/so%22phia"]
    shared = ["--network", f"container:{prefix}-postgres"]
    start(engine, prefix, "postgres", [*mount, *database])
    start(engine, prefix, "redis", shared, ["redis-server", "--appendonly", "yes"])
    start(engine, prefix, "net-probe", shared)
    start(engine, prefix, "mcp-ai-memory", [*shared, *mount, *urls])
    yield prefix
    names = [f"{prefix}-{name}" for name in ("mcp-ai-memory", "net-probe", "redis", "postgres")]
    engine.run(["rm", "--force", "--volumes", *names]).check()


def start(
    engine: Engine, prefix: str, short: str, flags: list[str], command: list[str] | None = None
) -> None:
    name = ["--name", f"{prefix}-{short}", "--label", "gonogo=test"]
    image = images.tagged(f"gonogo/{short}")
    engine.run(["run", "--detach", *name, *flags, image, *(command or [])]).check()


def inside(engine: Engine, container: str, *argv: str) -> Any:
    return engine.run(["exec", container, *argv]).check().stdout


@pytest.mark.lab
def test_loading_again_needs_no_base(engine: Engine) -> None:
    began = time.monotonic()
    assert len(images.build_images(engine)) == len(images.image_names())
    assert time.monotonic() - began < 10


@pytest.mark.lab
def test_a_server_reaches_its_backends(engine: Engine, stack: str) -> None:
    server = f"{stack}-mcp-ai-memory"
    until = time.monotonic() + 60
    while not engine.run(["exec", server, "curl", "-fs", "localhost:9000/ready"]).ok:
        assert time.monotonic() < until, engine.run(["logs", server]).stderr
        time.sleep(0.3)
    ready = json.loads(inside(engine, server, "curl", "-s", "localhost:9000/ready"))
    assert ready == {"ready": True, "backends": {"postgres": "ok", "redis": "ok"}}
    assert inside(engine, server, "id", "-u").strip() == "65534"
    assert inside(engine, f"{stack}-redis", "redis-cli", "config", "get", "dir").split() == ["dir", "/data"]
    assert "accepting" in inside(engine, f"{stack}-postgres", "pg_isready", "-U", "sophia")
    trip = json.loads(inside(engine, server, "gonogo-probe", "tcp", "127.0.0.1", "7777", "--count", "3"))
    assert len(trip["rtt_ms"]) == 3


@pytest.mark.lab
def test_a_wrong_password_is_refused(engine: Engine, stack: str) -> None:
    words = ["exec", "-e", "PGPASSWORD=wrong", f"{stack}-postgres", "psql", "-h", "127.0.0.1"]
    result = engine.run([*words, "-U", "sophia", "-c", "select 1", "postgres"])
    assert not result.ok
    assert "password authentication failed" in result.stderr


@pytest.mark.lab
def test_a_database_without_a_password_does_not_start(engine: Engine) -> None:
    result = engine.run(["run", "--rm", "--network", "none", images.tagged("gonogo/postgres")])
    assert result.returncode == 1
    assert "POSTGRES_PASSWORD_FILE" in result.stderr


@pytest.mark.lab
def test_every_image_stops_when_told(engine: Engine, stack: str) -> None:
    for short in ("mcp-ai-memory", "net-probe", "redis", "postgres"):
        engine.run(["stop", "--time", "20", f"{stack}-{short}"], timeout_s=40).check()
        code = engine.run(["inspect", "--format", "{{.State.ExitCode}}", f"{stack}-{short}"]).stdout.strip()
        assert code == "0", short
    engine.run(["start", f"{stack}-postgres"]).check()  # its data folder is taken as it is
    until = time.monotonic() + 20
    while not engine.run(["exec", f"{stack}-postgres", "pg_isready"]).ok:
        assert time.monotonic() < until
        time.sleep(0.3)


def test_a_layer_file_is_packed_from_disk(tmp_path: Path) -> None:
    content = file_layer({"x": (0o644, b"x")}).content
    assert isinstance(content, bytes)
    (tmp_path / "layer").write_bytes(content)
    layer = Layer(hashlib.sha256(content).hexdigest(), tmp_path / "layer")
    Archive([Image("x/y:1", (layer,))]).write(tmp_path / "a.tar")
    assert members(tmp_path / "a.tar")[layer.member] == content
