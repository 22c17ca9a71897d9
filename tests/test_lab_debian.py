from pathlib import Path

import pytest

from provisioners.lab import debian
from provisioners.lab.debian import DebianSource, host_source, root_filesystem
from provisioners.lab.node_image import node_image

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@pytest.fixture
def apt(tmp_path, monkeypatch):
    monkeypatch.setattr(debian, "_proxy", lambda: "")
    monkeypatch.setattr(debian, "_keyring", lambda: KEYRING)
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def write(apt: Path, name: str, text: str) -> None:
    (apt / name).write_text(text)


def test_a_deb822_source(apt):
    write(
        apt,
        "sources.list.d/debian.sources",
        "Types: deb\n# a comment\nURIs: http://mirror.example/debian\nSuites: bookworm\n bookworm-updates\n"
        f"Components: main\nSigned-By: {KEYRING}\n\n"
        "Types: deb\nURIs: http://mirror.example/debian-security\nSuites: x-security\nComponents: main\n",
    )
    assert host_source(apt) == DebianSource("http://mirror.example/debian", KEYRING)


def test_a_one_line_source_with_options(apt):
    write(
        apt,
        "sources.list",
        "# deb http://no.example/debian x main\n"
        "deb http://security.example/debian-security bookworm-security main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main contrib\n",
    )
    assert host_source(apt) == DebianSource("http://mirror.example/debian", "/k.gpg")


def test_other_archives_are_not_debian(apt):
    write(apt, "sources.list", "deb http://archive.example/ubuntu noble main\n")
    write(
        apt,
        "sources.list.d/a.sources",
        "Types: deb\nEnabled: no\nURIs: http://off.example/debian\nComponents: main\n\n"
        "Types: deb-src\nURIs: http://src.example/debian\nComponents: main\n\n"
        "Types: deb\nURIs: http://apps.example/debian\nComponents: contrib\n",
    )
    assert host_source(apt) == DebianSource("", KEYRING)  # debootstrap's own default


def test_debootstrap_is_asked_for_the_host_s_mirror_and_the_folder_is_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("GONOGO_CACHE", str(tmp_path))
    monkeypatch.setattr(
        debian, "host_source", lambda: DebianSource("http://mirror.example/debian", KEYRING, "http://proxy:1")
    )
    program = tmp_path / "debootstrap"
    program.write_text(
        '#!/bin/sh\necho "$@" "$http_proxy" > "$0.called"\necho "I: Retrieving a 1.0"\n'
        'for word; do case "$word" in */rootfs/*) touch "$word/made";; esac; done\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(debian, "find_binary", lambda _: str(program))
    left = tmp_path / "rootfs" / "sample" / "left"
    left.mkdir(parents=True)
    said: list[str] = []
    with root_filesystem("sample", ["a", "b"], said.append) as folder:
        assert (folder / "made").exists()
        assert not left.exists()
        assert "force-unsafe-io" in (folder / "etc/dpkg/dpkg.cfg.d/gonogo").read_text()
    assert not folder.exists()
    called = Path(f"{program}.called").read_text().split()
    assert called[-4:] == ["trixie", str(folder), "http://mirror.example/debian", "http://proxy:1"]
    assert "--include=a,b" in called
    assert f"--keyring={KEYRING}" in called
    assert "retrieving package 1" in said


def test_the_node_image_s_name_follows_its_recipe(monkeypatch):
    before = node_image()
    assert before == node_image()
    monkeypatch.setattr("provisioners.lab.node_image._PACKAGES", ("systemd-sysv",))
    assert node_image() != before
