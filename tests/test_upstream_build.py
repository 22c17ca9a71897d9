import stat

import pytest

from provisioners.errors import ProvisionError, TargetRefused
from provisioners.upstream import build
from provisioners.upstream.build import KINE, KUBERNETES, MODULES, Module


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of two packages, and a `go` that writes what it is asked for (or fails)."""
    monkeypatch.setenv("GONOGO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "ROOT", tmp_path)
    folder = tmp_path / "sample" / "tool"
    folder.mkdir(parents=True)
    (folder / "main.go").write_text("package main\n")
    (folder.parent / "go.mod").write_text("module sample\n")
    (folder.parent / "go.sum").write_text("")
    go = tmp_path / "go"
    go.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        "env) echo go1.99 ;;\n"
        "list) printf 'a\\nb\\nc\\n' ;;\n"
        "build) echo a >&2; echo b >&2\n"
        "  [ -z \"$GO_FAILS\" ] || { echo '# sample: no such thing' >&2; exit 1; }\n"
        '  while [ "$1" != -o ]; do shift; done; echo binary > "$2"; chmod 755 "$2" ;;\n'
        "esac\n"
    )
    go.chmod(go.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(build, "find_go", lambda: str(go))
    build._go_version.cache_clear()
    yield Module("sample", {"tool": "./tool", "other": "example.org/other"})
    build._go_version.cache_clear()


def test_builds_once_with_progress_and_leaves_nothing_else(module):
    said: list[str] = []
    assert not build.is_built(module)
    build.build(module, said.append)
    assert build.is_built(module)
    assert build.binary(module, "tool").read_text() == "binary\n"
    assert build.binary_folder(module).name.endswith("-go1.99")
    assert "tool: package 2 of at most 3 (b)" in said
    assert [path.name for path in build.binary_folder(module).parent.iterdir()] == [
        build.binary_folder(module).name
    ]
    with pytest.raises(KeyError):
        build.binary(module, "absent")


@pytest.mark.parametrize("name", ["go.mod", "go.sum", "tool/main.go", "tool/extra.go"])
def test_whatever_goes_in_changes_the_key(module, name):
    before = build.source_hash(module)
    assert build.source_hash(module) == before
    path = module.folder / name
    path.write_text((path.read_text() if path.exists() else "") + "// changed\n")
    assert build.source_hash(module) != before


def test_what_a_killed_build_left_is_removed(module):
    left = build.binary_folder(module).with_name(f".{build.binary_folder(module).name}.12345")
    left.mkdir(parents=True)
    build.build(module, lambda _: None)
    assert not left.exists()


def test_a_failing_build_says_why_and_caches_nothing(module, monkeypatch):
    monkeypatch.setenv("GO_FAILS", "1")
    with pytest.raises(ProvisionError, match="no such thing") as caught:
        build.build(module, lambda _: None)
    assert str(module.folder) in caught.value.next_step
    assert not build.is_built(module)
    assert list(build.binary_folder(module).parent.iterdir()) == []


def test_an_interrupt_ends_the_build(module):
    def say(text):
        if "package" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build.build(module, say)
    assert not build.is_built(module)


def test_a_full_cache_needs_no_toolchain(module, monkeypatch):
    build.build(module, lambda _: None)
    folder = build.binary_folder(module)
    monkeypatch.setattr(build, "find_go", lambda: None)
    assert build.binary_folder(module) == folder
    assert build.is_built(module)
    (folder / "tool").unlink()
    assert not build.is_built(module)
    with pytest.raises(TargetRefused, match="no Go toolchain"):
        build.build(module, lambda _: None)


def test_the_real_modules_are_whole():
    assert build.kubernetes_version().startswith("v1.")
    for module in MODULES:
        text = (module.folder / "go.mod").read_text()
        for package in module.packages.values():
            if package.startswith("./"):
                assert (module.folder / package / "main.go").is_file()
            else:
                assert f"tool {package}\n" in text
    assert (
        f"-X k8s.io/component-base/version.gitVersion={build.kubernetes_version()}"
        in build._flags(KUBERNETES)[2]
    )
    assert KINE.cgo
