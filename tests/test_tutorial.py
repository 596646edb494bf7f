"""The tutorial works: its commands run in order in an empty folder, and it shows what they print."""

from pathlib import Path

import pytest
from docs.walkthrough import PAGE, Command, commands, is_real, renewed, run


@pytest.mark.slow
def test_the_commands_of_the_tutorial_run_and_print_what_it_shows(tmp_path: Path) -> None:
    done = list(run(PAGE.read_text(encoding="utf-8"), tmp_path))
    for command in done:
        assert is_real(command), f"$ {command.line}\n{command.printed}\nThe page shows:\n{command.shown}"
    verbs = {command.line.split()[1] for command in done if command.line.startswith("fathom ")}
    assert verbs == {"check-data", "plan", "run", "status", "report", "audit"}
    assert (tmp_path / "runs/mine/report/report.html").is_file()


def test_a_console_block_is_commands_and_their_output() -> None:
    assert commands("$ one\n$ two --x\na\n  b\n") == [("one", ""), ("two --x", "a\n  b\n")]


@pytest.mark.parametrize(
    ("shown", "printed", "real"),
    [
        ("3 runs in 2.5 s\n", "4 runs in 10 s\n", True),  # numbers may differ
        ("took 50 s, in 0123abcdef01\n", "took 1.5 min, in fedcba987654\n", True),
        ("3 runs\n", "3 failures\n", False),
        ("3 runs\n", "3 runs\n1 failure\n", False),  # nothing may be left out unseen
        ("3 runs\n...\n", "3 runs\n1 failure\n", True),
        ("3 failures\n...\n", "3 runs\n1 failure\n", False),
        ("", "anything\n", True),
    ],
)
def test_an_output_is_real_if_it_has_the_words_of_the_command(shown: str, printed: str, real: bool) -> None:
    assert is_real(Command("fathom status x", shown, printed)) is real


def test_a_page_is_renewed_but_for_what_leaves_lines_out() -> None:
    page = "$ one\n1\n$ two\n1\n...\n"
    done = [Command("one", "1\n", "2\n"), Command("two", "1\n...\n", "2\n3\n")]
    assert renewed(page, done) == "$ one\n2\n$ two\n1\n...\n"


def test_a_failing_command_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="status 3"):
        list(run("```console\n$ exit 3\n```\n", tmp_path))


def test_a_block_with_a_name_is_a_file(tmp_path: Path) -> None:
    page = "```python\n# hello.py\nprint(6 * 7)\n```\n\n```console\n$ python hello.py\n42\n```\n"
    (command,) = run(page, tmp_path)
    assert command == Command("python hello.py", "42\n", "42\n")
