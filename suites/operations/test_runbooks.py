"""Runbooks cover what the migration asks for, and every command of theirs can be run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fixtures.record import Record
    from fixtures.runbooks import Runbook

# Neither is a command of these programs; a check that lets them pass shows nothing.
NO_COMMANDS = (
    "kubectl frobnicate pods",
    "kubectl get gonogo-no-such-kind",
    "gonogo no-such-verb",
    "no-such-program",
)


@pytest.mark.criterion("operational.runbooks", "phase4.runbooks")
def test_every_command_exists_and_parses(
    runbooks: Sequence[Runbook], commands_wrong: Callable[[str], str], record: Record
) -> None:
    commands = sum(len(one.commands) for one in runbooks)
    wrong = [problem for one in runbooks for problem in one.problems]
    record(
        observed=len(wrong),
        unit="commands wrong",
        samples=commands,
        why=f"{commands} commands of {len(runbooks)} runbooks",
        runbooks={one.name: len(one.commands) for one in runbooks},
        problems=wrong[:50],
    )
    assert not wrong, f"{len(wrong)} of {commands} commands: {'; '.join(wrong[:10])}"
    believed = [text for text in NO_COMMANDS if not commands_wrong(text)]
    assert not believed, f"control: {', '.join(believed)} is taken for a command"


@pytest.mark.parametrize(
    "topic",
    [
        pytest.param(topic, marks=pytest.mark.criterion("operational.runbooks", "phase4.runbooks"))
        for topic in ("deploy", "rollback", "node", "backup")
    ]
    + [pytest.param("incident", marks=pytest.mark.criterion("operational.incident_response"))],
)
def test_topic_has_a_runbook(runbooks: Sequence[Runbook], topic: str, record: Record) -> None:
    found = [one for one in runbooks if topic in one.name.lower()]
    record(
        observed=", ".join(one.name for one in found),
        samples=len(runbooks),
        titles=[one.title for one in found],
    )
    assert found, f"no runbook of {len(runbooks)} is about {topic} (a file with that word in its name)"
    assert any(one.commands for one in found), f"{found[0].name} holds no command"
