"""Does the command line understand these words? Parsed by the real one, and nothing is run.

`python -m verbs.parse` reads a JSON list of argv lists on stdin and prints a list of what is
wrong with each, empty where it parses. Runbooks are checked with it.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def wrong_with(argv: Sequence[str]) -> str:
    """Return what the command line says against an argv, or an empty text."""
    import typer

    from gonogo import app

    try:
        _parse(typer.main.get_command(app), "gonogo", list(argv), None)
    except Exception as error:
        message = getattr(error, "format_message", None)
        if callable(message):  # a usage error
            return str(message()).split("\n", 1)[0]
        if hasattr(error, "exit_code"):  # --help or --version: shown, and done
            return "" if error.exit_code == 0 else f"exit {error.exit_code}"
        raise
    return ""


def _parse(command: Any, name: str, argv: list[str], parent: Any) -> None:
    """Parse one level as `main` would, then the verb that it names."""
    with command.make_context(name, argv, parent=parent) as context:
        if not hasattr(command, "resolve_command"):
            return
        rest = [*getattr(context, "_protected_args", ()), *context.args]
        if rest:
            verb, chosen, left = command.resolve_command(context, rest)
            _parse(chosen, verb, left, context)


if __name__ == "__main__":
    json.dump([wrong_with(argv) for argv in json.load(sys.stdin)], sys.stdout)
