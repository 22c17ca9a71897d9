"""The command line: verbs, exit codes and messages, run as a user runs them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def gonogo(*argv: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "gonogo.py"), *argv],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        check=False,
    )


VERBS = (
    "run lab plan doctor convert deploy provision compare report verify diff cutover signoff sweep selftest"
)


def test_help_names_every_verb_of_the_design() -> None:
    done = gonogo("--help")
    assert done.returncode == 0
    for verb in VERBS.split():
        assert f"\n  {verb}" in done.stdout


def test_help_does_not_import_what_is_slow() -> None:
    code = "import sys, gonogo; gonogo.main.__call__; print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, timeout=60
    )
    for heavy in ("numpy", "pandas", "kubernetes", "locust", "pydantic", "yaml", "mcp", "pytest"):
        assert f"'{heavy}'" not in done.stdout


def test_plan_is_the_whole_guide_as_json() -> None:
    done = gonogo("plan", "--json")
    assert done.returncode == 0
    rows = json.loads(done.stdout)
    ids = [row["id"] for row in rows]
    assert len(ids) == len(set(ids))
    assert {"technical.servers", "performance.response", "rollback.post_mortem"} <= set(ids)
    servers = next(row for row in rows if row["id"] == "technical.servers")
    assert servers["limit"] == {"op": "==", "value": 16, "unit": "servers"}
    assert ["smoke", "lab-upstream"] in servers["blocking"]
    assert not next(row for row in rows if row["id"] == "metric.cost")["blocking"] or all(
        pair == ["cutover", "hosts"]
        for pair in next(row for row in rows if row["id"] == "metric.cost")["blocking"]
    )


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["run", "--target", "/no/such.yaml"], "no target"),
        (["run", "--target", "noop", "--profile", "weekly"], "no profile"),
        (["convert"], "-o DIR"),
        (["report", "/no/such/run"], "no such run folder"),
        (["verify", "/no/such/run"], "no such run folder"),
        (["convert", "--lint", "/no/such"], "not a folder"),
        (["provision", "nomad", "--inventory", "/dev/null"], ""),
        (["signoff", "x", "--by", "A", "--until", "2999-01-01"], "no criterion 'x'"),
        (["selftest", "--target", "lab"], "no selftest on 'lab'"),
        (["nosuch"], "No such command"),
    ],
)
def test_wrong_input_ends_with_2_and_says_what(argv: list[str], words: str) -> None:
    done = gonogo(*argv)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_stdout_that_closes_is_a_quiet_end() -> None:
    done = subprocess.run(  # noqa: S602  the pipe is what is tested
        f"{sys.executable} {ROOT / 'gonogo.py'} plan | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "criterion" in done.stdout
    assert "Traceback" not in done.stderr
