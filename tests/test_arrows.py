"""The arrows of the design: who may import whom, read from the source text."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "provisioners",
    "fixtures",
    "suites",
    "loadtests",
    "reports",
    "verbs",
    "gonogo",
    "conftest",
    "tests",
}
ALLOWED = {
    "provisioners": {"provisioners"},
    "loadtests": {"loadtests"},
    "reports": {"reports"},
    "fixtures": {"fixtures", "provisioners", "loadtests", "reports.model"},
    "suites": {"provisioners.base", "provisioners.errors", "reports.model", "fixtures", "suites"},
    "verbs": PACKAGES - {"suites", "tests", "conftest"},
}


def imports(path: Path) -> set[str]:
    """Every module of ours that a file names in an import, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return {name for name in found if name.split(".")[0] in PACKAGES}


def broken(layer: str, names: set[str]) -> set[str]:
    allowed = ALLOWED[layer]
    return {name for name in names if not any(name == a or name.startswith(f"{a}.") for a in allowed)}


@pytest.mark.parametrize("layer", sorted(ALLOWED))
def test_arrows(layer: str) -> None:
    files = [path for path in (ROOT / layer).rglob("*.py") if "upstream/kubernetes" not in str(path)]
    assert files
    wrong = {
        str(path.relative_to(ROOT)): sorted(found)
        for path in files
        if (found := broken(layer, imports(path)))
    }
    assert not wrong


def test_a_broken_arrow_is_seen() -> None:
    assert broken("reports", {"provisioners.shell"}) == {"provisioners.shell"}
    assert broken("fixtures", {"reports.store"}) == {"reports.store"}
    assert broken("suites", {"provisioners.kube"}) == {"provisioners.kube"}
    assert not broken("suites", {"provisioners.base"})
