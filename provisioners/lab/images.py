"""The images of the reference servers and their backends: one root file system under many names.

Three parts, each cached by a hash of what goes into it:
base layer   Debian with Python, the server's packages, PostgreSQL, Redis, curl (debootstrap and pip)
server layer the reference server's code and start scripts: editing them rebuilds nothing below
names        one image configuration each (`gonogo/mcp-ai-memory`, `gonogo/postgres`, ...), no layer

They enter the engine as one archive, so twenty names cost no more than one.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from provisioners.base import Step
from provisioners.errors import InputError, ProvisionError
from provisioners.lab.archive import Archive, Image, Layer, file_layer
from provisioners.lab.debian import SUITE, pack_root, root_filesystem
from provisioners.lab.engine import start_engine
from provisioners.lab.paths import cache_dir
from provisioners.lab.wheels import install_packages
from provisioners.shell import run
from provisioners.tiers import load_tiers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioners.lab.engine import Engine

BACKENDS = ("postgres", "redis", "net-probe")

_FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
_SERVER = _FIXTURES / "mcp_server"
_PREFIX = "gonogo/"
_PACKAGES = (
    "ca-certificates",
    "curl",
    "iproute2",
    "postgresql",
    "python3",
    "redis-server",
)
_SITE, _APP, _BIN = "opt/gonogo/site", "opt/gonogo/app", "usr/local/bin"
# What an image needs no more once it is made: package tools' data, documents, the cluster that Debian makes
# at install time, and PostgreSQL's just-in-time compiler with LLVM, which is a third of everything.
_DROPPED = (
    "dev/*",
    "etc/apt/*",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/postgresql/*",
    "usr/lib/*-linux-gnu/gconv",
    "usr/lib/*-linux-gnu/libLLVM*",
    "usr/lib/*-linux-gnu/libz3*",
    "usr/lib/*-linux-gnu/perl",
    "usr/lib/llvm-*",
    "usr/lib/postgresql/*/lib/bitcode",
    "usr/lib/postgresql/*/lib/llvmjit*",
    "usr/share/doc/*",
    "usr/share/i18n",
    "usr/share/info/*",
    "usr/share/locale/*",
    "usr/share/man/*",
    "usr/share/perl",
    "usr/share/postgresql/*/man",
    "var/cache/*",
    "var/lib/apt/lists/*",
    "var/lib/postgresql/*",
    "var/log/*",
)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOBODY = "65534:65534"
_RECIPE = 1  # raise it when the code below makes something else of the same inputs
_BOUND_S = 300.0


def image_steps(services: Sequence[str] | None = None) -> tuple[Step, ...]:
    """Return two steps: the base layer (needs no engine), and all images in the engine.

    `services` are the MCP servers' DNS names, by default those of the sample table. The second
    step starts the outer engine if none runs.
    """
    base = Step("server base", build_base, done=lambda: _base_file().exists())
    images = Step(
        "server images",
        lambda say: _build_with(start_engine(say), services, say),
        needs=(base.name,),
        done=lambda: _present(start_engine(lambda _: None), image_names(services)),
    )
    return base, images


def image_names(services: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the full names of all images, with the tag that the present sources give them."""
    servers = sample_services() if services is None else services
    return tuple(tagged(f"{_PREFIX}{name}") for name in (*(f"mcp-{s}" for s in servers), *BACKENDS))


def tagged(image: str) -> str:
    """Return the image with the present tag, if it is one of ours without a tag; else as it is."""
    if image.startswith(_PREFIX) and ":" not in image and "@" not in image:
        return f"{image}:{_tag()}"
    return image


def sample_services() -> tuple[str, ...]:
    """Return the DNS names of the servers and extras in the sample table."""
    tiers = load_tiers(_FIXTURES / "manifests" / "tiers.yaml")
    return (*(row.service for row in tiers.servers), *(row.service for row in tiers.extras))


def build_images(
    engine: Engine, services: Sequence[str] | None = None, say: Callable[[str], None] = lambda _: None
) -> Mapping[str, str]:
    """Put the base and all named images into the engine; return full names by short name."""
    if not _base_file().exists():
        build_base(say)
    _build_with(engine, services, say)
    return {name.partition(":")[0]: name for name in image_names(services)}


def build_base(say: Callable[[str], None]) -> None:
    """Make the base layer as a tar file in the cache; a killed call leaves nothing that is used."""
    archive = _base_file()
    archive.parent.mkdir(parents=True, exist_ok=True)
    with root_filesystem("server", _PACKAGES, say) as root:
        say("installing the server's packages")
        install_packages(_SERVER / "requirements.txt", root, _SITE)
        _slim(root)
        say("packing the base layer")
        pack_root(root, archive)


def _build_with(engine: Engine, services: Sequence[str] | None, say: Callable[[str], None]) -> None:
    base = _base_layer()
    server = server_layer()
    base_name = f"{_PREFIX}base:{_base_key()}"
    images = [Image(base_name, (base,), Cmd=["/bin/sh"])]
    images += [_configured(name, (base, server)) for name in image_names(services)]
    folder = cache_dir() / "server"
    for old in folder.glob("load-*.tar"):
        if not Path("/proc", old.stem.removeprefix("load-")).exists():
            old.unlink(missing_ok=True)  # of a process that was killed
    has_base = engine.has_image(base_name)
    say(f"loading {len(images)} images")
    # An engine that has the base layer does not read it again, so it need not be in the archive; should
    # another kind of engine insist, the whole archive is the second try.
    tries = [True, False] if has_base else [False]
    for left_out in tries:
        path = folder / f"load-{os.getpid()}.tar"
        try:
            Archive(images).write(path, without=(base,) if left_out else ())
            result = engine.run(["load", "--quiet"], stdin=path, timeout_s=_BOUND_S)
        finally:
            path.unlink(missing_ok=True)
        if result.ok:
            break
    result.check("see that the disk is not full: docker system df")
    names = [image.name for image in images]
    if not _present(engine, names):
        missing = [name for name in names if not engine.has_image(name)]
        raise ProvisionError("images are not in the engine after loading them", why=", ".join(missing))
    _drop_stale(engine)


def _configured(name: str, layers: tuple[Layer, Layer]) -> Image:
    """Return one named image: what it runs, as whom, and how it is told to stop."""
    short = name.removeprefix(_PREFIX).partition(":")[0]
    paths = [f"PATH={_PATH}"]
    if short == "postgres":
        version = f"/usr/lib/postgresql/{_postgres_major()}/bin"
        environment = [f"PATH={version}:{_PATH}", "PGDATA=/var/lib/postgresql/data/cluster"]
        start = {"Entrypoint": [f"/{_BIN}/gonogo-postgres"], "Cmd": ["postgres"], "StopSignal": "SIGINT"}
        return Image(name, layers, Env=environment, **start)
    if short == "redis":
        start = {"Entrypoint": [f"/{_BIN}/gonogo-redis"], "Cmd": ["redis-server"], "WorkingDir": "/data"}
        return Image(name, layers, Env=paths, **start)
    if short == "net-probe":
        return Image(name, layers, Env=paths, Cmd=["gonogo-probe", "echo"], User=_NOBODY)
    python = ["PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1", f"PYTHONPATH=/{_APP}:/{_SITE}"]
    environment = [*paths, *python, f"MCP_SERVER={short.removeprefix('mcp-')}"]
    return Image(name, layers, Env=environment, Cmd=["python3", "-m", "mcp_server"], User=_NOBODY)


@functools.cache
def server_layer() -> Layer:
    """Return the upper layer: code and start scripts, the same bytes for the same sources."""
    files: dict[str, tuple[int, bytes]] = {}
    for path in sorted(_SERVER.glob("*.py")):
        files[f"{_APP}/mcp_server/{path.name}"] = (0o644, path.read_bytes())
    files[f"{_BIN}/gonogo-probe"] = (0o755, (_SERVER / "probe.py").read_bytes())
    for path in sorted((_SERVER / "image").iterdir()):
        place = f"{_BIN}/{path.name}" if path.suffix == "" else f"opt/gonogo/{path.name}"
        files[place] = (0o755 if path.suffix == "" else 0o644, path.read_bytes())
    return file_layer(files)


def _base_layer() -> Layer:
    try:
        digest = _base_file().with_suffix(".sha256").read_text(encoding="ascii")
    except OSError as error:
        raise InputError(
            "the base layer is not built", where=str(_base_file()), next_step="gonogo lab up"
        ) from error
    return Layer(digest, _base_file())


def _base_file() -> Path:
    return cache_dir() / "server" / f"base-{_base_key()}.tar"


@functools.cache
def _base_key() -> str:
    lines = (_SERVER / "requirements.txt").read_text(encoding="utf-8").splitlines()
    locked = [line for line in lines if line and not line.startswith("#")]
    recipe = [_RECIPE, SUITE, platform.machine(), _PACKAGES, _DROPPED, locked]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]


@functools.cache
def _tag() -> str:
    """Return the tag of all images: it stands for the base, the server's sources and this recipe."""
    text = f"{_base_key()} {server_layer().digest} {Path(__file__).read_text(encoding='utf-8')}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@functools.cache
def _postgres_major() -> str:
    """Return PostgreSQL's major version in the base layer, read from its list of files."""
    listing = run(["tar", "-tf", str(_base_file()), "--wildcards", "./usr/lib/postgresql/*/bin/postgres"])
    words = listing.check("remove the file, it is built again").stdout.split("/")
    return words[4]


def _present(engine: Engine, names: Sequence[str]) -> bool:
    """Return whether the engine has all of the images."""
    return engine.run(["image", "inspect", "--format", "{{.Id}}", *names]).ok


def _drop_stale(engine: Engine) -> None:
    """Remove images of earlier sources from the engine; one that is in use stays."""
    listing = engine.run(["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]).check().stdout.split()
    ours = [n for n in listing if n.startswith((f"{_PREFIX}mcp-", *(f"{_PREFIX}{b}:" for b in BACKENDS)))]
    stale = [name for name in ours if not name.endswith(f":{_tag()}")]
    stale += [n for n in listing if n.startswith(f"{_PREFIX}base:") and not n.endswith(f":{_base_key()}")]
    if stale:
        engine.run(["image", "rm", *stale])


def _slim(root: Path) -> None:
    for pattern in _DROPPED:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for cached in root.glob("usr/lib/python3*/**/__pycache__"):
        shutil.rmtree(cached, ignore_errors=True)
    for folder in ("data", "var/lib/postgresql/data"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    # Byte code that holds no time stamp: it is the same in every build, and is not checked at start.
    compile_all = ["python3", "-m", "compileall", "-q", "-j", "2", "--invalidation-mode", "unchecked-hash"]
    folders = [f"/{_SITE}", *(f"/{path.relative_to(root)}" for path in root.glob("usr/lib/python3.*"))]
    # Status 1 says that some file does not compile: packages ship templates and tests that never do.
    run(["chroot", str(root), *compile_all, *folders], timeout_s=_BOUND_S)
    # Whether all of it fits together is known here, not when a server of a running lab fails to start.
    imports = "import mcp.server, uvicorn, redis.asyncio, psycopg, prometheus_client"
    run(["chroot", str(root), "env", f"PYTHONPATH=/{_SITE}", "python3", "-B", "-c", imports]).check()
