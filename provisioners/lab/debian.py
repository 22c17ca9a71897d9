"""Debian root file systems by debootstrap, from the mirror that this machine itself uses.

The mirror, its proxy and its keyring are read from the host's own apt configuration. Where that
names no Debian mirror (another distribution), debootstrap's own default mirror is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provisioners.errors import TargetRefused
from provisioners.lab.engine import find_binary
from provisioners.lab.paths import cache_dir
from provisioners.shell import CommandError, run, run_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from provisioners.lab.engine import Engine

SUITE = "trixie"

_BOUND_S = 900.0
_PACK_BOUND_S = 300.0
_KEYRING = "debian-archive-keyring"
# No fsync per file and no documents: the folder is thrown away once it is an image.
_DPKG = """force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
"""


@dataclass(frozen=True, slots=True)
class DebianSource:
    """Where packages come from: `mirror` is empty when debootstrap's default is to be used."""

    mirror: str = ""
    keyring: str = ""
    proxy: str = ""


def host_source(apt: Path = Path("/etc/apt")) -> DebianSource:
    """Return the Debian mirror, keyring and proxy of this machine's apt configuration."""
    for entry in _entries(apt):
        uris = [u for u in entry.get("uris", "").split() if "security" not in u]
        signed = entry.get("signed-by", "")
        if uris and "main" in entry.get("components", "").split() and _is_debian(uris[0], signed):
            return DebianSource(uris[0], signed or _keyring(), _proxy())
    return DebianSource("", _keyring(), _proxy())


def pack_root(root: Path, archive: Path) -> None:
    """Pack a root file system into `archive`, with its SHA-256 beside it, and drop earlier `base-*` ones.

    A call that is killed leaves nothing that is used.
    """
    part = archive.with_name(f"{archive.name}.part")
    flags = ["--sort=name", "--numeric-owner", "--one-file-system", "--xattrs"]
    run(["tar", *flags, "-C", str(root), "-cf", str(part), "."], timeout_s=_PACK_BOUND_S).check()
    with part.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        os.fsync(stream.fileno())
    archive.with_suffix(".sha256").write_text(digest, encoding="ascii")
    part.replace(archive)
    for old in archive.parent.glob("base-*"):
        if old.stem != archive.stem:
            old.unlink()


@contextlib.contextmanager
def root_filesystem(name: str, packages: Sequence[str], say: Callable[[str], None]) -> Iterator[Path]:
    """Yield a folder holding a minimal Debian with `packages`; it is removed afterwards.

    Left-overs of a killed call are removed first. Downloaded packages are kept in the cache.
    """
    folder = cache_dir() / "rootfs" / name
    _remove(folder)
    try:
        _debootstrap(folder, packages, say)
        yield folder
    finally:
        _remove(folder)


def import_image(engine: Engine, folder: Path, tag: str, changes: Sequence[str]) -> None:
    """Make the folder an image of the engine, by way of one tar file."""
    archive = folder.with_name(f"{folder.name}.tar")
    try:
        run(
            ["tar", "--numeric-owner", "--xattrs", "-C", str(folder), "-cf", str(archive), "."], timeout_s=300
        ).check()
        flags = [word for change in ("LABEL gonogo=lab", *changes) for word in ("--change", change)]
        engine.run(["import", *flags, str(archive), tag], timeout_s=300).check()
    finally:
        archive.unlink(missing_ok=True)


def _debootstrap(folder: Path, packages: Sequence[str], say: Callable[[str], None]) -> None:
    program = find_binary("debootstrap")
    if not program:
        raise TargetRefused(
            "no debootstrap", where="localhost", next_step="install it: apt-get install -y debootstrap"
        )
    source = host_source()
    config = folder / "etc/dpkg/dpkg.cfg.d/gonogo"
    config.parent.mkdir(parents=True)
    config.write_text(_DPKG, encoding="ascii")
    # One folder a root: two debootstraps that fetch the same packages into one would undo each other's work.
    debs = cache_dir() / "debs" / folder.name
    debs.mkdir(parents=True, exist_ok=True)
    argv = [program, "--variant=minbase", f"--cache-dir={debs}", f"--include={','.join(packages)}"]
    if source.keyring:
        argv.append(f"--keyring={source.keyring}")
    argv += [SUITE, str(folder), *([source.mirror] if source.mirror else [])]
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    if source.proxy:
        env["http_proxy"] = source.proxy
    result = run_lines(argv, _stages(say), timeout_s=_BOUND_S, env=env)
    if not result.ok:
        raise CommandError(
            result,
            next_step=f"check that apt-get update works here; then run it again (log: {folder}/debootstrap)",
        )
    for rest in ("var/cache/apt/archives", "var/lib/apt/lists", "var/log", "debootstrap"):
        shutil.rmtree(folder / rest, ignore_errors=True)
    (folder / "var/log").mkdir(parents=True, exist_ok=True)
    (folder / "var/cache/apt/archives/partial").mkdir(parents=True, exist_ok=True)


def _stages(say: Callable[[str], None]) -> Callable[[str], None]:
    """Turn debootstrap's lines into counts, for its own lines are many and say little."""
    counts = {"Retrieving": 0, "Extracting": 0, "Unpacking": 0, "Configuring": 0}
    last = "starting debootstrap"

    def on_line(line: str) -> None:
        nonlocal last
        words = line.removeprefix("I: ").split()
        if words and words[0] in counts:
            counts[words[0]] += 1
            last = f"{words[0].lower()} package {counts[words[0]]}"
        say(last)

    return on_line


def _remove(folder: Path) -> None:
    """Remove a root file system, unmounting what debootstrap mounted in it (proc, sys)."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    inside = [line.split()[4] for line in lines if line.split()[4].startswith(f"{folder}/")]
    for point in sorted(inside, key=len, reverse=True):
        run(["umount", "--lazy", point]).check()
    if folder.exists():
        shutil.rmtree(folder)
    folder.with_name(f"{folder.name}.tar").unlink(missing_ok=True)


def _is_debian(uri: str, signed: str) -> bool:
    return _KEYRING in signed or uri.rstrip("/").rsplit("/", 1)[-1] == "debian"


def _keyring() -> str:
    for suffix in ("pgp", "gpg"):
        path = Path(f"/usr/share/keyrings/{_KEYRING}.{suffix}")
        if path.exists():
            return str(path)
    return ""


def _proxy() -> str:
    if os.environ.get("http_proxy"):
        return os.environ["http_proxy"]
    result = run(["apt-config", "shell", "P", "Acquire::http::Proxy"])
    return result.stdout.strip().removeprefix("P=").strip("'\"") if result.ok else ""


def _entries(apt: Path) -> Iterator[dict[str, str]]:
    """Yield every `deb` source of sources.list, *.list and *.sources as lower-case fields."""
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]:
        if path.is_file():
            yield from _one_line_entries(path.read_text(encoding="utf-8", errors="replace"))
    for path in sorted((apt / "sources.list.d").glob("*.sources")):
        for block in path.read_text(encoding="utf-8", errors="replace").split("\n\n"):
            entry = _deb822(block)
            if "deb" in entry.get("types", "").split() and entry.get("enabled", "yes") != "no":
                yield entry


def _one_line_entries(text: str) -> Iterator[dict[str, str]]:
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if not words or words[0] != "deb":
            continue
        options = ""
        if words[1:] and words[1].startswith("["):
            end = next((i for i, word in enumerate(words) if word.endswith("]")), 0)
            options = " ".join(words[1 : end + 1]).strip("[] ")
            words = [words[0], *words[end + 1 :]]
        signed = next((o.split("=", 1)[1] for o in options.split() if o.startswith("signed-by=")), "")
        if len(words) > 3:  # noqa: PLR2004  deb URI SUITE COMPONENT...
            yield {"uris": words[1], "components": " ".join(words[3:]), "signed-by": signed}


def _deb822(block: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    key = ""
    for line in block.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace() and key:
            fields[key] += " " + line.strip()
        elif ":" in line:
            key, _, value = line.partition(":")
            key = key.strip().lower()
            fields[key] = value.strip()
    return fields
