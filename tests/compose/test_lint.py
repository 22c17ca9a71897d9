"""Each trap has broken manifests that the lint reports by rule, file and line, and sound ones that pass.

They are the files `lint/RULE.broken.yaml` and `lint/RULE.sound.yaml` (`RULE.2.broken.yaml` is a second one).
"""

import re
from pathlib import Path

import pytest

from provisioners.compose.lint import lint, lint_folder, lint_texts
from provisioners.compose.lint_rules import RULE_NAMES
from provisioners.compose.validate import MISTYPED
from provisioners.errors import InputError

FIXTURES = Path(__file__).with_name("lint")
BROKEN = sorted(FIXTURES.glob("*.broken.yaml"))
SOURCES = Path(__file__).resolve().parents[2] / "provisioners" / "compose"
SERVICE = (FIXTURES / "service-monitor-selects-nothing.sound.yaml").read_text()


def rule_of(path: Path) -> str:
    return path.name.partition(".")[0]


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.name.removesuffix(".broken.yaml"))
def test_each_trap(path: Path) -> None:
    text = path.read_text()
    sound = path.with_name(path.name.replace(".broken.", ".sound.")).read_text()
    found = lint_texts({"m.yaml": text})
    assert {one.rule for one in found} == {rule_of(path)}
    lines = len(text.splitlines())
    assert all(one.file == "m.yaml" and 1 <= one.line <= lines and one.message for one in found)
    assert not lint_texts({"m.yaml": sound})


def test_every_rule_has_fixtures() -> None:
    invalid = {MISTYPED}
    for file in SOURCES.glob("validate*.py"):
        invalid |= set(re.findall(r'Problem\(\s*"([a-z-]+)"', file.read_text()))
    invalid -= {"duplicate-env"}  # the lint has a rule of its own for it, which says the other line
    assert {rule_of(path) for path in BROKEN} == {*RULE_NAMES, *(f"invalid-{name}" for name in invalid)}
    assert len({path.name for path in FIXTURES.iterdir()}) == 2 * len(BROKEN)


@pytest.mark.parametrize(
    ("name", "line", "path", "words"),
    [
        (
            "unexpanded-variable",
            20,
            "spec.template.spec.containers[0].image",
            "m.yaml:20: unexpanded-variable: ${IMAGE_TAG}",
        ),
        ("invalid-schema", 20, "spec.template.spec.containers[0].imagePullPolcy", "`imagePullPolicy`"),
        ("invalid-type", 22, "spec.template.spec.containers[0].env[0].value", "put quotes around it"),
        ("invalid-schema.4", 1, "apiVersion", "it is in policy/v1"),
        ("invalid-selector", 9, "spec.selector.matchLabels.app", "'web'"),
        ("duplicate-env", 23, "spec.template.spec.containers[0].env[1]", "already at line 22"),
        ("duplicate-object", 9, "", "ConfigMap settings is already at m.yaml:1"),
    ],
)
def test_lines_and_paths(name: str, line: int, path: str, words: str) -> None:
    (found,) = lint_texts({"m.yaml": (FIXTURES / f"{name}.broken.yaml").read_text()})
    assert (found.line, found.path) == (line, path)
    assert words in str(found)


def test_a_folder_is_read_as_one(tmp_path: Path) -> None:
    deployment, service, monitor = SERVICE.split("---\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "monitor.yaml").write_text(monitor)
    assert [one.rule for one in lint(tmp_path)] == ["service-monitor-selects-nothing"]
    (tmp_path / "service.yml").write_text(service)
    (tmp_path / "deployment.json").write_text(deployment)
    (tmp_path / "losses.json").write_text("[1]")
    (tmp_path / "values.yaml").write_text("replicas: 2\n")
    (tmp_path / "notes.txt").write_text("{")
    linted = lint_folder(tmp_path)
    assert not linted.findings
    assert (linted.files, linted.objects, linted.skipped) == (4, 3, ("values.yaml",))


def test_lists_and_several_documents() -> None:
    broken = (FIXTURES / "unexpanded-variable.broken.yaml").read_text()
    inner = "\n".join(f"    {line}" for line in broken.strip().split("\n"))
    text = (
        "apiVersion: v1\nkind: List\nitems:\n  -\n"
        + inner
        + "\n---\n"
        + broken.replace("name: web", "name: b")
    )
    found = [one for one in lint_texts({"m.yaml": text}) if one.rule == "unexpanded-variable"]
    assert [one.line for one in found] == [24, 54]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.yaml", b"a: [\n", "a.yaml:2: this is not YAML"),
        ("a.yaml", b"\x7fELF\x00\x00\x01", "a.yaml: the file is not UTF-8"),
        ("a.yaml", b"name: \xff\xfe\n", "a.yaml:1: the file is not UTF-8"),
        ("a.yaml", b"#" * (17 * 2**20), "MiB"),
        ("a.yaml", b"[" * 100, "nested"),
        ("a.yaml", b"a: {{ .Values.tag }}\n", "a.yaml:1: "),
        ("a.yaml", b"", "nothing was linted"),
        ("a.yaml", b"replicas: 2\n", "nothing was linted"),
        ("a.txt", b"kind: Service\n", "nothing was linted"),
        ("losses.json", b"[]", "nothing was linted"),
    ],
)
def test_what_cannot_be_linted_is_never_green(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        lint(tmp_path)
    assert words in str(caught.value)


def test_every_unreadable_file_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [\n")
    (tmp_path / "b.yaml").write_text("b: {\n")
    (tmp_path / "c.yaml").symlink_to("c.yaml")
    (tmp_path / "d.yaml").symlink_to("gone.yaml")
    (tmp_path / "e.yaml").mkdir()
    (tmp_path / "good.yaml").write_text(SERVICE)
    with pytest.raises(InputError) as caught:
        lint(tmp_path)
    assert "4 of 5 file(s)" in str(caught.value)
    for name in ("a.yaml", "b.yaml", "c.yaml", "d.yaml"):
        assert name in caught.value.why


def test_links_to_folders(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "m.yaml").write_text(SERVICE)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "other").symlink_to(tmp_path / "real")
    assert lint_folder(tmp_path / "in").objects == 3
    assert lint_folder(tmp_path).objects == 3  # once, however many links lead to it
    (tmp_path / "real" / "back").symlink_to(tmp_path)
    with pytest.raises(InputError, match="leads back"):
        lint(tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        lint(tmp_path / "gone")
    (tmp_path / "file.yaml").write_text(SERVICE)
    with pytest.raises(InputError, match="not a folder"):
        lint(tmp_path / "file.yaml")


@pytest.mark.parametrize(
    "text", ["kind: Service", "apiVersion: v1", "apiVersion: 1\nkind: [a]", "kind: Pod\nspec: 3"]
)
def test_half_an_object_is_a_finding_and_no_crash(text: str) -> None:
    assert any(one.rule.startswith("invalid-") for one in lint_texts({"m.yaml": text}))
