"""The end of a run is the end of all its processes, whoever ends it and however they hide."""
import os
import signal
import time

import pytest

from faults import Gate, await_gone, children, ended, info, kill_and_wait, output_of, run_folders, start_run, the_supervisor
from harness import mounts_below, processes_of, wait_for

# Each starts something that has left its session, its parent or its terminal, and ignores what is polite.
RUNAWAYS = """
trap '' TERM HUP INT
(trap '' TERM HUP; setsid sleep 1001 & )
nohup sleep 1002 > /dev/null 2>&1 &
(setsid bash -c 'trap "" TERM HUP; (sleep 1003 &) ; sleep 1004' &)
python3 -c '
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
os.closerange(0, 256)
time.sleep(1005)' &
wait $!
trap - TERM HUP INT
"""
DESCENDANTS = 6


class Tree:
    """A run with daemons; their environment has a mark by which they are found outside."""

    def __init__(self, place, command, *arguments):
        self.place, self.mark = place, place.root / "mark"
        self.number = start_run(place, "-e", f"MARK={self.mark}", *arguments, RUNAWAYS + command)
        self.log = place.start("logs", "-f", self.number)
        self.log.wait_output("ready\n")
        wait_for(lambda: len(self.sleepers()) >= DESCENDANTS - 1, what="the daemons")
        self.supervisor = the_supervisor(place)

    def sleepers(self):
        return {pid: line for pid, line in processes_of(self.mark).items() if "sleep" in line}

    def check_gone(self):
        assert not await_gone(self.mark), "processes of the run have survived it"
        assert not mounts_below(self.place.spell_dir)


def outputs(place, number):
    return place.spell("ls", f"runs/{number}").stdout.split()


def await_safe(place, number, name):
    """What is closed just before an end by force counts as torn: a version that is safe by then does not."""
    wait_for(lambda: name in outputs(place, number), what=f"{name} to be safe")


def test_stop_saves_outputs(place):
    tree = Tree(place, "trap 'echo bye; echo more > late; exit 3' TERM; echo kept > early; echo ready; sleep 1000 & wait")
    place.spell("stop", tree.number, check=0)
    run = ended(place, tree.number)
    tree.check_gone()
    assert (run["status"], run["reason_code"], run["user_exit_code"]) == ("stopped", "stopped_by_user", 3), run
    assert output_of(place, tree.number) == b"ready\nbye\n"
    assert {"early", "late"} <= set(outputs(place, tree.number))


def test_stop_grace(place):
    """Who does not want to end is ended when the grace is over, and what he has written is saved."""
    tree = Tree(place, "trap '' TERM; echo kept > early; echo ready; while :; do sleep 1000; done", "--stop-grace", "1")
    began = time.monotonic()
    place.spell("stop", tree.number, check=0)
    run = ended(place, tree.number)
    assert 1 <= time.monotonic() - began < 15
    tree.check_gone()
    assert (run["status"], run["user_signal"]) == ("stopped", signal.SIGKILL), run
    assert "early" in outputs(place, tree.number)


def test_kill_saves_nothing(place):
    tree = Tree(place, "trap 'echo bye; exit 3' TERM; echo lost > early; echo ready; sleep 1000 & wait")
    place.spell("kill", tree.number, check=0)
    run = ended(place, tree.number)
    tree.check_gone()
    assert (run["status"], run["reason_code"], run["output_files"]) == ("killed", "killed_by_user", 0), run
    assert output_of(place, tree.number) == b"ready\n"
    assert outputs(place, tree.number) == []


def test_kill_of_a_run_that_is_being_stopped(place):
    tree = Tree(place, "trap '' TERM; echo ready; while :; do sleep 1000; done", "--stop-grace", "600")
    place.spell("stop", tree.number, check=0)
    assert info(place, tree.number)["status"] == "stopping"
    place.spell("kill", tree.number, check=0)
    assert ended(place, tree.number)["status"] == "killed"
    tree.check_gone()


def test_timeout_is_a_stop(place):
    """The shortest that can be asked for is given in minutes, as a fraction where that is understood."""
    shortest = place.spell("run", "-f", "-b", "--json", "--timeout", "0.02", "true")
    if shortest.returncode:
        pytest.skip("timeouts are whole minutes here; shorter ones are in the tests of the worker")
    tree = Tree(place, "echo kept > early; echo ready; sleep 1000", "--timeout", "0.02")
    run = ended(place, tree.number)
    tree.check_gone()
    assert (run["status"], run["reason_code"]) == ("stopped", "timeout"), run
    assert "early" in outputs(place, tree.number)


def test_end_of_the_first_process_is_the_end(place):
    """Children that live on hold neither the run nor its log open."""
    tree_mark = place.root / "mark"
    result = place.spell("run", "-f", "-e", f"MARK={tree_mark}", RUNAWAYS + "echo last; exit 2", check=2)
    assert result.stdout == "last\n"
    assert not await_gone(tree_mark)


def test_stop_of_a_queued_run_is_a_kill(place):
    gate = Gate(place.work / "gate")
    first = start_run(place, gate.waiting)
    second = start_run(place, "--after", first, f"touch {place.work}/has-run")
    assert info(place, second)["status"] == "machine_requested"
    place.spell("stop", second, check=0)
    assert ended(place, second)["status"] == "killed"
    gate.open()
    assert ended(place, first)["status"] == "complete"
    assert not (place.work / "has-run").exists()
    assert outputs(place, second) == []


def test_kill_9_of_the_supervisor(place):
    tree = Tree(place, "echo kept > early; echo ready; sleep 1000")
    await_safe(place, tree.number, "early")
    kill_and_wait(tree.supervisor)
    run = ended(place, tree.number)
    tree.check_gone()
    assert (run["status"], run["reason_code"]) == ("failed", "supervisor_lost"), run
    assert output_of(place, tree.number) == b"ready\n"
    assert "early" in outputs(place, tree.number)
    assert tree.log.finish().returncode == 125
    wait_for(lambda: not run_folders(place), what="the end of the run's folder")


def test_kill_9_of_the_init_within(place):
    """Nobody of the tree outlives the first process of its namespace. What became of the command nobody knows then: the run is not complete."""
    tree = Tree(place, "echo kept > early; echo ready; sleep 1000")
    await_safe(place, tree.number, "early")
    inits = children(tree.supervisor)
    assert inits
    for pid in inits:
        kill_and_wait(pid)
    run = ended(place, tree.number)
    tree.check_gone()
    assert (run["status"], run["reason_code"], run["user_exit_code"]) == ("failed", "supervisor_lost", None), run
    assert output_of(place, tree.number) == b"ready\n"
    assert "early" in outputs(place, tree.number)


def test_kill_9_of_the_command(place):
    """From outside, as by a kernel that is out of memory: how it ended is known, so the run is complete, with that."""
    tree = Tree(place, "echo kept > early; echo ready; exec sleep 1000")
    await_safe(place, tree.number, "early")
    for pid in [pid for pid, line in tree.sleepers().items() if line.split() == ["sleep", "1000"]]:
        kill_and_wait(pid)
    run = ended(place, tree.number)
    tree.check_gone()
    assert (run["status"], run["user_exit_code"], run["user_signal"]) == ("complete", 137, signal.SIGKILL), run
    assert output_of(place, tree.number) == b"ready\n"
    assert "early" in outputs(place, tree.number)
