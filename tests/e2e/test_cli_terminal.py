"""The command line on a terminal: what is seen, what is asked, and ^C."""
import fcntl
import os
import pty
import re
import select
import struct
import termios
import time

import pytest

from harness import BUILD, PATIENCE, need_terminals


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, place, *arguments, cwd, columns=80, env=None):
        need_terminals()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execve(BUILD / "bin/spell", ["spell", *map(str, arguments)], {**place.environment, "TERM": "xterm", **(env or {})})
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.bytes = b""

    def _read(self, deadline):
        if not select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]:
            raise AssertionError(f"nothing more came after {self.bytes!r}")
        try:
            piece = os.read(self.fd, 65536)
        except OSError:
            piece = b""  # the other end is closed
        self.bytes += piece
        return piece

    def wait_for(self, expected):
        deadline = time.monotonic() + PATIENCE
        while expected.encode() not in self.bytes:
            assert self._read(deadline), f"{expected!r} is not in {self.bytes!r}"

    def type(self, text):
        os.write(self.fd, text.encode())

    def finish(self):
        """The exit status."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    @property
    def screen(self):
        """The lines that stay: what was overwritten from a line's beginning is gone; no colours."""
        text = re.sub(r"\x1b\[[0-9;]*m", "", self.bytes.decode())
        return [line.rsplit("\r\x1b[K", 1)[-1] for line in text.replace("\r\n", "\n").split("\n")]


def test_a_run_as_its_user_sees_it(place, repo):
    terminal = Terminal(place, "run", "echo Hello World", cwd=repo)
    assert terminal.finish() == 0
    screen = terminal.screen
    total = next(line for line in screen if "Total run time" in line)
    assert re.fullmatch(r"🎉 Total run time: \d+\.\d+s", total)
    assert [line for line in screen if line] == [
        "💫 Casting spell #1…",
        "✨ Stop viewing logs with ^C",
        "✨ Machine_Requested… done",
        "✨ Building… done",
        "✨ Run is running",
        "Hello World",
        "✨ Saving… done",
        "✨ Pushing… done",
        total,
        "🎉 Run 1 complete",
    ]


def test_a_run_that_fails_says_so(place, repo):
    terminal = Terminal(place, "run", "exit 3", cwd=repo)
    assert terminal.finish() == 3
    assert terminal.screen[-2] == "💥 Run 1 ended with exit code 3"


def test_interrupt_leaves_the_run_alone(place, spell, repo):
    terminal = Terminal(place, "run", "echo ready; sleep 1000", cwd=repo)
    terminal.wait_for("ready")
    terminal.type("\x03")
    assert terminal.finish() == 130
    for command in ("spell stop 1", "spell kill 1", "spell logs -f 1"):
        assert any(command in line for line in terminal.screen)
    assert spell("info", 1, "--json", check=0).json["run"]["status"] == "running"
    spell("kill", 1, check=0)


def test_why_a_run_waits_is_shown(place, spell, repo):
    running = spell("run", "-b", "-q", "sleep 1000", cwd=repo, check=0).stdout.strip()
    terminal = Terminal(place, "run", "--after", running, "true", cwd=repo, columns=100)
    terminal.wait_for(f"Machine_Requested… waiting for run {running}")
    terminal.type("\x03")
    assert terminal.finish() == 130
    spell("kill", 2, running, check=0)


@pytest.mark.parametrize("answer,status", [("n", 1), ("y", 0)])
def test_untracked_files_are_asked_about(place, spell, repo, answer, status):
    (repo / "new.txt").write_text("new")
    terminal = Terminal(place, "run", "true", cwd=repo)
    terminal.wait_for("new.txt. Run without them? [y/N] ")
    terminal.type(answer + "\n")
    assert terminal.finish() == status
    assert len(spell("ps", "--json", check=0).json["runs"]) == (1 if answer == "y" else 0)


def test_no_repository_is_asked_about(place, spell):
    terminal = Terminal(place, "run", "pwd", cwd=place.work)
    terminal.wait_for("no Git repository here. Run without any files? [y/N] ")
    terminal.type("y\n")
    assert terminal.finish() == 0
    assert "/spell" in terminal.screen


def test_rm_asks(place, spell, repo):
    spell("run", "true", cwd=repo, check=0)
    for answer, left in (("\n", "1\n"), ("y\n", "")):
        terminal = Terminal(place, "rm", 1, cwd=repo)
        terminal.wait_for("[y/N] ")
        terminal.type(answer)
        assert terminal.finish() == (1 if left else 0)
        assert spell("ps", "-q", check=0).stdout == left


def test_a_table_fits_its_terminal(place, spell, repo):
    long = "echo " + "x" * 300
    spell("run", long, cwd=repo, check=0)
    narrow = Terminal(place, "ps", cwd=repo, columns=60, env={"COLUMNS": "60"})
    assert narrow.finish() == 0
    assert all(len(line) <= 60 for line in narrow.screen)
    assert any("…" in line for line in narrow.screen)
    whole = Terminal(place, "ps", "--no-trunc", cwd=repo, columns=60)
    assert whole.finish() == 0
    assert any(long in line for line in whole.screen)
    assert long in spell("ps", check=0).stdout


def test_colour_is_for_terminals_that_want_it(place, spell, repo):
    spell("run", "false", cwd=repo, check=1)
    coloured = Terminal(place, "ps", cwd=repo)
    coloured.finish()
    assert b"\x1b[31mComplete (1)" in coloured.bytes
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = Terminal(place, "ps", cwd=repo, env=env)
        plain.finish()
        assert b"\x1b[3" not in plain.bytes
    assert "\x1b" not in spell("ps", check=0).stdout


def test_without_utf8_the_marks_are_ascii(place, repo):
    terminal = Terminal(place, "run", "true", cwd=repo, env={"LANG": "C", "LC_ALL": "C"})
    assert terminal.finish() == 0
    assert all(byte < 0x80 for byte in terminal.bytes)
    assert "* Casting spell #1..." in terminal.screen
