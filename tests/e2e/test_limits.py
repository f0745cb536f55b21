"""Limits of a run: who is over his memory is ended as a whole, says so, and leaves his files; nothing of the limits stays behind."""
import os
import pathlib
import signal

import pytest

from faults import Gate, await_gone, ended, kill_and_wait, output_of, run_folders, start_run, supervised, the_supervisor
from harness import PATIENCE, wait_for, wait_gone
from machines import Machine, spell, submit, wait_run
from team import Team

# Uses more and more memory until it is ended.
HOG = "tail /dev/zero"
LINE = "the run went over its memory limit of 64.0 MiB and was ended (--memory asks for more)"


@pytest.fixture(autouse=True)
def controllers():
    """The hierarchies in which this user can make groups that limit memory: {controller: folder}."""
    found = {}
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        number, names, path = line.split(":", 2)
        for top in [f"/sys/fs/cgroup/{name}" for name in names.split(",")] if names else ["/sys/fs/cgroup"]:
            for name in ("memory", "cpu"):
                folder = pathlib.Path(top + path)
                known = name in names.split(",") or (not names and name in controllers_of(folder))
                if known and os.access(folder, os.W_OK):
                    found.setdefault(name, folder)
    if "memory" not in found:
        pytest.skip("this user can make no control groups that limit memory")
    return found


def controllers_of(folder):
    file = folder / "cgroup.controllers"
    return file.read_text().split() if file.exists() else []


def groups(folder):
    """The control groups of the run in a folder, there or not."""
    return [pathlib.Path(line) for line in (folder / "groups").read_text().splitlines()]


def groups_of(run):
    """Of a run that may be gone, by its id."""
    return [above for top in ("/sys/fs/cgroup",) for above, _, _ in os.walk(top) if above.endswith(run)]


def log_of(place, number):
    """With what the system says of it."""
    return place.spell("logs", number).stderr


def test_a_run_over_its_memory_is_ended_as_a_whole_and_saved(place):
    mark = place.root / "mark"
    command = f"echo kept > early; (setsid sleep 1001 &); echo begin; {HOG}; echo goes on; sleep 1000"
    number = start_run(place, "--memory", "64M", "-e", f"MARK={mark}", command)
    run = ended(place, number)
    assert (run["status"], run["user_exit_code"], run["user_signal"], run["reason_code"]) == ("complete", 137, signal.SIGKILL, "memory_limit"), run
    assert run["reason"] == "went over its memory limit of 64.0 MiB"
    assert log_of(place, number).count(LINE) == 1, log_of(place, number)
    assert output_of(place, number).startswith(b"begin\n")
    assert not await_gone(mark), "processes of the run have survived it"
    assert "early" in place.spell("ls", f"runs/{number}").stdout
    assert place.spell("wait", number).returncode == 137
    wait_for(lambda: not run_folders(place), what="the end of the run's folder")


def test_within_its_limits_a_run_is_in_groups_that_go_with_it(place, controllers):
    number = start_run(place, "--memory", "64M", "--cpus", "1", "echo begin; sleep 1000")
    place.start("logs", "-f", number).wait_output("begin\n")
    [folder] = run_folders(place)
    made = groups(folder)
    limits = {name: file.read_text().strip() for group in made for name in ("memory.limit_in_bytes", "memory.max", "cpu.cfs_quota_us", "cpu.max")
              if (file := group / name).exists()}
    assert str(64 << 20) in limits.values(), limits
    if "cpu" in controllers and os.cpu_count() > 1:
        assert set(limits.values()) & {"100000", "100000 100000"}, limits
    inside = {int(line) for group in made for line in (group / "cgroup.procs").read_text().split()}
    assert inside and the_supervisor(place) not in inside
    # `spell exec` is in there, too.
    assert folder.name in place.spell("exec", number, "cat", "/proc/self/cgroup", check=0).stdout
    place.spell("stop", number, check=0)
    assert ended(place, number)["status"] == "stopped"
    assert not groups_of(folder.name)
    assert "limit" not in log_of(place, number)


def test_a_run_that_asks_for_nothing_is_in_no_group_of_its_own(place):
    number = start_run(place, "echo begin; sleep 1000")
    place.start("logs", "-f", number).wait_output("begin\n")
    [folder] = run_folders(place)
    assert not (folder / "groups").exists() and not groups_of(folder.name)
    assert "limited" not in log_of(place, number)
    place.spell("kill", number, check=0)


def test_kill_9_of_the_supervisor_leaves_no_group(place):
    number = start_run(place, "--memory", "64M", "echo begin; sleep 1000")
    place.start("logs", "-f", number).wait_output("begin\n")
    [folder] = run_folders(place)
    assert groups_of(folder.name)
    kill_and_wait(the_supervisor(place))
    assert ended(place, number)["reason_code"] == "supervisor_lost"
    assert not groups_of(folder.name)


@pytest.fixture
def box(place):
    machine = Machine(Team(place), "box", config="")
    yield machine
    machine.close()


def test_the_worker_may_die_with_the_supervisor(box):
    number = submit(box.team, "-m", "box", "--memory", "64M", "echo begin; sleep 1000")
    [(folder, (supervisor, _))] = wait_for(lambda: supervised(box.folder / "worker/runs"), what="the supervisor").items()
    assert groups_of(folder.name)
    box.kill()
    kill_and_wait(supervisor)
    box.start()
    wait_run(box.team, number)
    assert not groups_of(folder.name)


def test_a_supervisor_tells_of_the_limit_after_its_worker_has_died(box):
    """What became of the run while nobody was there is in its folder."""
    gate = Gate(box.place.root / "gate")
    number = submit(box.team, "-m", "box", "--memory", "64M", f"echo kept > early; echo begin; {gate.waiting}; {HOG}; echo goes on")
    spell_log = box.place.start("logs", "-f", number, env={"SPELL_BASE_URL": box.team.socket})
    spell_log.wait_output("begin\n")
    [(supervisor, _)] = supervised(box.folder / "worker/runs").values()
    box.kill()
    gate.open()
    assert not wait_gone([supervisor], PATIENCE)
    box.start()
    run = wait_run(box.team, number, "complete")
    assert (run["user_exit_code"], run["reason_code"]) == (137, "memory_limit"), run
    assert spell(box.team, "logs", number).stderr.count(LINE) == 1
    assert "early" in spell(box.team, "ls", f"runs/{number}", check=0).stdout


def test_a_machine_says_whether_it_limits(box):
    shown = spell(box.team, "machine", "info", "box", "--json", check=0).json["machine"]
    assert shown["capabilities"]["lacks_for_limits"] == ""
    assert not [note for note in shown["notes"] if "limits" in note]
