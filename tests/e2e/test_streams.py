"""Inside a running run: commands, and what it uses."""
import hashlib
import json
import os
import signal
import subprocess
import time

import pytest

from harness import FINAL, wait_for
from test_cli_terminal import Terminal

SLEEPER = "echo ready; exec sleep 1000"


def start_run(place, command=SLEEPER, *options):
    """The number of a run that has printed `ready`."""
    folder = place.work / "repo"
    if not folder.exists():
        place.make_repository()
    number = place.spell("run", "-b", "-q", *options, command, cwd=folder, check=0).stdout.strip()
    wait_for(lambda: "ready" in place.spell("logs", number).stdout, what="the run's first output")
    return number


@pytest.fixture
def run(place):
    return start_run(place)


def processes_with(text):
    """Those whose command line holds the text, wherever."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and text.encode() in open(f"/proc/{entry}/cmdline", "rb").read() and int(entry) != os.getpid():
                found.append(int(entry))
        except OSError:
            continue
    return found


# ---- exec

def test_a_command_sees_what_the_run_sees(place):
    number = start_run(place, "echo made > here.txt; " + SLEEPER, "-e", "FRUIT=apple")
    inside = place.spell("exec", number, "cat here.txt; pwd; echo $FRUIT $SPELL_ROOT; exit 7", check=7)
    lines = inside.stdout.split("\n")
    assert lines[0] == "made" and lines[2].startswith("apple ")
    assert place.spell("exec", "-e", "FRUIT=pear", number, "echo $FRUIT", check=0).stdout == "pear\n"


def test_output_errors_and_input_are_what_they_were_byte_for_byte(place, run):
    blob = bytes(range(256)) * 20_000  # 5 MB: many windows
    echoed = place.spell("exec", run, "cat", input=blob, check=0)
    assert hashlib.sha256(echoed.bytes).hexdigest() == hashlib.sha256(blob).hexdigest()
    both = place.spell("exec", run, "sh", "-c", "echo out; echo err >&2", check=0)
    assert (both.stdout, both.stderr) == ("out\n", "err\n")


def test_the_exit_status_is_the_commands_own(place, run):
    assert place.spell("exec", run, "true").returncode == 0
    assert place.spell("exec", run, "exit 200").returncode == 200
    assert place.spell("exec", run, "kill -TERM $$").returncode == 128 + signal.SIGTERM
    assert place.spell("exec", run, "no-such-program-here").returncode == 127


def test_a_terminal_has_its_size_and_takes_keys(place, run):
    screen = Terminal(place, "exec", "-t", run, "bash --norc --noprofile -i", cwd=place.work, columns=93)
    screen.wait_for("# ")  # the shell's prompt
    screen.type("stty size; tty\r")
    screen.wait_for("24 93")
    screen.wait_for("/dev/pts/")
    screen.type("sleep 98769\r")
    wait_for(lambda: processes_with("98769"), what="the sleep")
    screen.type("\x03")  # ^C ends the sleep, not the shell
    wait_for(lambda: not processes_with("98769"), what="the sleep's end")
    screen.type("echo al''ive; exit 5\r")
    screen.wait_for("alive")
    assert screen.finish() == 5


def test_signals_reach_the_command(place, run):
    inside = place.start("exec", run, "trap 'echo got it; exit 9' INT; echo here; while :; do sleep 0.1; done")
    inside.wait_output("here")
    os.kill(inside.process.pid, signal.SIGINT)
    result = inside.finish()
    assert (result.returncode, "got it" in result.stdout) == (9, True)


def test_who_is_killed_leaves_nothing_inside(place, run):
    inside = place.start("exec", run, "echo here; sleep 98761 & sleep 98762")
    inside.wait_output("here")
    wait_for(lambda: processes_with("98762"))
    inside.signal(signal.SIGKILL)
    wait_for(lambda: not processes_with("98761") and not processes_with("98762"), what="the end of the command")
    assert place.spell("info", run, "--json").json["run"]["status"] == "running"


def test_one_that_floods_is_noticed_when_it_is_killed(place, run):
    """Its input is not read, so both directions are held up: its end must be seen all the same."""
    flood = subprocess.Popen([place.programs / "spell", "exec", run, "echo here; exec sleep 98763"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, env=place.environment, cwd=place.work)
    assert flood.stdout.read(5) == b"here\n"
    os.set_blocking(flood.stdin.fileno(), False)
    sent = 0
    idle = 0
    while idle < 5:
        try:
            sent += os.write(flood.stdin.fileno(), b"x" * 65536)
            idle = 0
        except BlockingIOError:
            idle += 1
            time.sleep(0.05)
    assert sent < 8 << 20
    flood.kill()
    flood.wait()
    wait_for(lambda: not processes_with("98763"), what="the end of the command")
    for end in (flood.stdin, flood.stdout):
        end.close()


def test_the_run_s_end_is_the_command_s(place, run):
    inside = place.start("exec", run, "echo here; exec sleep 98764")
    inside.wait_output("here")
    place.spell("kill", run, check=0)
    result = inside.finish()
    assert result.returncode == 1 and "ended" in result.stderr
    wait_for(lambda: not processes_with("98764"))


def test_output_that_nobody_reads_holds_the_command_up(place, run):
    reader = subprocess.Popen([place.programs / "spell", "exec", run, "exec yes"], stdout=subprocess.PIPE, env=place.environment,
                              cwd=place.work)
    assert reader.stdout.read(4) == b"y\ny\n"
    sizes = lambda: [int(open(f"/proc/{pid}/statm").read().split()[1]) * 4096
                     for pid in [reader.pid, *processes_with(str(place.spell_dir))]]
    time.sleep(1)
    before = sizes()
    time.sleep(1)
    assert max(after - was for was, after in zip(before, sizes())) < 20 << 20
    reader.kill()
    reader.wait()
    reader.stdout.close()
    assert place.spell("exec", run, "echo fine", check=0).stdout == "fine\n"


def test_the_service_s_death_ends_the_command_and_not_the_run(place, run):
    inside = place.start("exec", run, "echo here; exec sleep 98765")
    inside.wait_output("here")
    os.kill(place.service_pid(), signal.SIGKILL)
    assert inside.finish().returncode == 1
    wait_for(lambda: not processes_with("98765"), what="the end of the command")
    # The service is back, and meets its machine again in a moment.
    wait_for(lambda: place.spell("exec", run, "echo again").stdout == "again\n", what="a command in the run")


def test_what_is_not_running_is_refused_in_a_line(place, run):
    place.spell("kill", run, check=0)
    place.spell("wait", run)
    for arguments in (["exec", run, "true"], ["stats", run]):
        refused = place.spell(*arguments)
        assert refused.returncode == 1 and "ended" in refused.stderr and refused.stderr.count("\n") == 1, refused
        assert json.loads(place.spell(*arguments[:1], "--json", *arguments[1:]).stderr)["error"]["code"] == "run_not_running"
    assert place.spell("exec", "999", "true").returncode == 1
    for wrong in (["exec", run], ["exec"], ["exec", "x", "true"], ["stats"]):
        assert place.spell(*wrong).returncode == 2, wrong


def test_many_at_once(place, run):
    several = [place.start("exec", run, f"echo {i}; cat") for i in range(40)]
    for i, inside in enumerate(several):
        inside.wait_output(f"{i}\n")
    assert all(inside.finish().returncode == 0 for inside in several)


# ---- stats and top

def test_figures_of_what_a_run_does(place):
    number = start_run(place, "echo ready; while :; do :; done")
    sample = place.spell("stats", "--json", number, check=0).json["stats"]
    assert sample["run"] == int(number) and sample["cpu_millis"] > 300 and sample["memory"] > 100_000
    assert sample["processes"] >= 1 and sample["memory_total"] > sample["memory"]
    shown = place.spell("stats", number, check=0).stdout
    assert "CORES" in shown and "MEMORY" in shown
    top = place.spell("top", "--json", check=0).json["stats"]
    assert [stats["run"] for stats in top] == [int(number)]
    assert number in place.spell("top", check=0).stdout


def test_followed_figures_end_with_the_run(place, run):
    figures = place.start("stats", "-f", "--json", run)
    figures.wait_output('"cpu_millis"')
    place.spell("stop", run, check=0)
    assert figures.finish().returncode == 0


