"""A command is bounded whatever it leaves behind, and what it said is kept."""

import pytest

from provisioners.shell import CommandError, run


def test_a_process_that_holds_the_pipes_does_not_hold_us():
    result = run(["sh", "-c", "setsid sleep 4 & echo said; sleep 4"], timeout_s=0.3)
    assert result.returncode is None
    assert result.stdout == "said\n"
    assert result.duration_s < 3


def test_output_that_is_no_text_is_kept():
    assert run(["printf", r"a\377"]).stdout == "a\\xff"


def test_a_missing_program_is_what_a_shell_says():
    assert run(["/no/such/program"]).returncode == 127


def test_a_failed_command_shows_what_to_paste():
    with pytest.raises(CommandError, match=r"exit status 3[\s\S]*sh -c 'echo why >&2; exit 3'[\s\S]*why"):
        run(["sh", "-c", "echo why >&2; exit 3"]).check()
