"""kill -9 of the service, at every state of a run: nobody notices but the service."""
import json
import os
import pathlib
import signal
import stat
import subprocess

import pytest

from faults import (Gate, await_service, ended, info, kill_service, lines, lock_holder, output_of, printing,
                    run_folders, same_bytes, service, start_run, suspend, the_supervisor)
from harness import BUILD, PATIENCE, processes_of, wait_for, wait_gone


@pytest.fixture
def gate(place):
    return Gate(place.work / "gate")


def journal_has(place, words):
    return any(words in (folder / "journal").read_text(errors="replace")
               for folder in run_folders(place) if (folder / "journal").exists())


def once(place, number, count):
    """The run's log is lines(count), and its entries are those of a life without accidents, each once."""
    assert same_bytes(output_of(place, number), lines(count))
    texts = [entry["log"] for entry in map(json.loads, place.spell("logs", "-v", "--json", number, check=0).stdout.splitlines())
             if entry["status_event"] or entry["status"] != "running"]
    for words in ("Run created", "Run is building", "Run is running", "Run is saving", "Run is pushing", f"Run {number} complete"):
        assert sum(text.startswith(words) for text in texts) == 1, texts


def test_killed_while_runs_are_queued(place, gate):
    """Acknowledged is durable; after a restart they go in order."""
    first = start_run(place, gate.waiting)
    second = start_run(place, "--after", first, "echo second")
    third = start_run(place, "--after", second, "exit 3")
    dead = kill_service(place)
    gate.open()
    assert place.spell("wait", first, second, third).returncode == 3
    assert service(place) != dead
    assert [info(place, n)["status"] for n in (first, second, third)] == ["complete"] * 3
    assert output_of(place, second) == b"second\n"
    assert [run["id"] for run in place.spell("ps", "--json", check=0).json["runs"]] == [1, 2, 3]


def test_killed_while_runs_are_being_submitted(place):
    """Eight requests wait in the socket of a service that stands still and then dies: each is sent again, and makes one run."""
    place.spell("status", check=0)
    suspend(service(place))
    callers = [place.start("run", "-f", "--json", "-b", f"echo {i} >> {place.work}/done") for i in range(8)]
    try:
        wait_for(lambda: all(is_connected(caller) for caller in callers), what="all callers")
    finally:
        kill_service(place)
    results = [caller.finish() for caller in callers]
    assert [result.returncode for result in results] == [0] * 8, results
    numbers = sorted(result.json["run"]["id"] for result in results)
    assert numbers == list(range(1, 9))
    place.spell("wait", *numbers, check=0)
    assert sorted((place.work / "done").read_text().split()) == list("01234567")
    assert len(place.spell("ps", "--json", check=0).json["runs"]) == 8


def is_connected(running):
    assert running.process.poll() is None, running.finish()
    try:
        return any(os.readlink(entry).startswith("socket:") for entry in pathlib.Path(f"/proc/{running.process.pid}/fd").iterdir())
    except OSError:
        return False  # a descriptor was closed just now


@pytest.mark.parametrize("released", ["before the new service looks", "after it has started another"])
def test_killed_while_a_supervisor_is_being_started(place, released):
    """The start of a supervisor takes as long as a test wants: the service dies within it, and the command runs once."""
    first, second, end = (Gate(place.work / name) for name in ("start-1", "start-2", "end"))
    slow = place.work / "libexec"
    slow.mkdir()
    count, log_of_starts = place.work / "count", place.work / "starts"
    log_of_starts.touch()
    starts = lambda: len(log_of_starts.read_text())
    program = slow / "spell-supervisor"
    program.write_text(f"""#!/bin/bash
case $1 in */runs/*) echo >> {log_of_starts}; read -r _ < {place.work}/start-$(wc -l < {log_of_starts});; esac
exec {BUILD}/bin/spell-supervisor "$@"
""")
    program.chmod(stat.S_IRWXU)
    env = {"SPELL_LIBEXEC": str(slow)}
    number = place.spell("run", "-f", "-b", "--json", f"echo >> {count}; {printing(10)}; {end.waiting}", env=env, check=0).json["run"]["id"]
    wait_for(lambda: starts() == 1, what="the supervisor's start")
    kill_service(place)
    if released.startswith("before"):
        first.open()
        wait_for(lambda: any((folder / "spool").exists() for folder in run_folders(place)), what="the spool")
        place.spell("ps", env=env, check=0)
    else:
        place.spell("ps", env=env, check=0)
        wait_for(lambda: starts() == 2, what="another start")
        first.open()
        second.open()
    end.open()
    run = ended(place, number)
    assert (run["status"], run["user_exit_code"]) == ("complete", 0), run
    assert count.read_text() == "\n", "the command has run more than once"
    once(place, number, 10)


@pytest.mark.parametrize("words", ["Run is building", "Run is running", "Run is saving", "Run is pushing", '"result":{'])
def test_killed_as_soon_as_a_step_is_on_disk(place, repo, words):
    """The worker's journal says how far it is; the service dies right after each of its lines."""
    command = f"mkdir out; for i in $(seq 200); do echo $i > out/$i; done; {printing(1000)}; exit 9"
    number = place.spell("run", "-b", "--json", command, cwd=repo, check=0).json["run"]["id"]
    wait_for(lambda: journal_has(place, words) or not run_folders(place), what=words)
    dead = kill_service(place)
    run = ended(place, number)
    assert service(place) != dead
    assert (run["status"], run["user_exit_code"], run["output_files"]) == ("complete", 9, 200), run
    once(place, number, 1000)
    place.spell("cp", f"runs/{number}/out", place.work / "copy", check=0)
    assert {f.name: f.read_text() for f in (place.work / "copy").iterdir()} == {str(i): f"{i}\n" for i in range(1, 201)}
    assert not run_folders(place)


def test_killed_again_and_again_under_a_run_that_prints(place, gate):
    """20 MB, a follower, and the service dies five times: the command goes on undisturbed, and nobody misses a byte."""
    count, expected = 200_000, lines(200_000)
    number = start_run(place, f"{printing(count)}; {gate.waiting}; mkdir out; echo result > out/file; exit 5")
    following = place.start("logs", "-f", number)
    dead = set()
    for at in (0, 2, 4, 6, 8):
        following.wait_output(lines(1, count * at // 10))
        supervisor = the_supervisor(place)
        dead.add(kill_service(place))
        # Nobody calls: the follower brings it back by itself.
        wait_for(lambda: (h := lock_holder(place)) and h["pid"] not in dead, what="the service that the follower starts")
        assert the_supervisor(place) == supervisor
    following.wait_output(expected[-100:])
    gate.open()
    followed = following.finish()
    assert followed.returncode == 5
    assert same_bytes(followed.bytes, expected)
    run = ended(place, number)
    assert (run["status"], run["user_exit_code"], run["output_files"]) == ("complete", 5, 1), run
    once(place, number, count)
    place.spell("cp", f"runs/{number}/out/file", place.work / "copy", check=0)
    assert (place.work / "copy").read_text() == "result\n"


@pytest.mark.parametrize("watching", [["run"], ["logs", "-f"], ["wait"]])
def test_who_watches_heals_by_himself(place, gate, watching):
    command = f"echo before; {gate.waiting}; echo after; exit 6"
    if watching == ["run"]:
        watcher = place.start("run", "-f", command)
        watcher.wait_output("before\n")
    else:
        number = start_run(place, command)
        watcher = place.start(*watching, number)
        if watching == ["wait"]:  # which prints nothing
            beside = place.start("logs", "-f", number)
            beside.wait_output("before\n")
        else:
            watcher.wait_output("before\n")
    dead = kill_service(place)
    await_service(place, dead)
    gate.open()
    result = watcher.finish()
    if watching == ["wait"]:  # it would bring the service back once more
        beside.finish()
    assert result.returncode == 6, result
    if watching != ["wait"]:
        assert result.stdout == "before\nafter\n"
        assert "unreachable" not in result.stderr and "error" not in result.stderr, result


def test_a_run_ends_while_nobody_is_there(place, gate):
    """The service is gone and nobody calls the command line: the supervisor brings it back, and the run gets complete."""
    number = start_run(place, f"echo before; {gate.waiting}; echo after; echo kept > file; exit 4")
    follower = place.start("logs", "-f", number)
    follower.wait_output("before\n")
    follower.signal(signal.SIGKILL)
    follower.finish()
    dead = kill_service(place)
    gate.open()
    revived = await_service(place, dead)
    # The folder goes when the service has taken everything.
    wait_for(lambda: not run_folders(place), what="the end of the run")
    run = info(place, number)
    assert service(place) == revived
    assert (run["status"], run["user_exit_code"], run["output_files"]) == ("complete", 4, 1), run
    assert output_of(place, number) == b"before\nafter\n"


def test_a_supervisor_that_is_alone_starts_the_service_again(place, gate):
    """In the middle of a run too, after some seconds: nobody has to call for its log to be kept safe."""
    number = start_run(place, f"{gate.waiting}; echo done")
    supervisor = the_supervisor(place)
    dead = kill_service(place)
    revived = await_service(place, dead)
    assert the_supervisor(place) == supervisor and processes_of(gate.path)
    assert info(place, number)["status"] == "running"
    gate.open()
    assert ended(place, number)["status"] == "complete"
    assert output_of(place, number) == b"done\n"
    assert service(place) == revived


def test_a_stopped_service_comes_back_for_the_end_of_a_run(place, gate):
    """`service stop` is for now; a run that ends later is not left lying about."""
    number = start_run(place, f"{gate.waiting}; echo done")
    the_supervisor(place)
    place.spell("service", "stop", check=0)
    assert lock_holder(place) is None
    gate.open()
    wait_for(lambda: lock_holder(place), what="the service that the supervisor starts")
    assert ended(place, number)["status"] == "complete"
    assert output_of(place, number) == b"done\n"


def test_a_computer_that_sleeps(place, gate):
    """SIGSTOP of all our processes stands for a computer that is suspended: on waking, each finds that it has not heard of the
    others for long. None may be declared lost by another, no run ends, no byte is missing."""
    number = start_run(place, f"echo before; {gate.waiting}; {printing(1000)}")
    following = place.start("logs", "-f", number)
    following.wait_output("before\n")
    supervisor = the_supervisor(place)
    everybody = [service(place), supervisor, following.process.pid]
    before = service(place)
    for pid in everybody:
        suspend(pid)
    assert wait_gone(everybody, 1) == everybody
    gate.open()
    for pid in everybody:
        os.kill(pid, signal.SIGCONT)
    result = following.finish()
    assert (result.returncode, same_bytes(result.bytes, b"before\n" + lines(1000))) == (0, True)
    run = ended(place, number)
    assert (run["status"], run["reason_code"]) == ("complete", ""), run
    assert service(place) == before


def test_a_clock_that_has_gone_on_for_two_hours(place, gate):
    """The other half of a long sleep: a service that wakes into a CLOCK_BOOTTIME two hours later than its journal, its supervisor
    and its runs, and finds them all the same. A time namespace has such a clock, for processes that are started in it."""
    late = ["unshare", "-T", "--boottime", "7200", "--monotonic", "7200"]
    tried = subprocess.run([*late, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"needs root for another clock: {tried.stderr.strip()}")
    number = start_run(place, "--timeout", "60", f"echo before; {gate.waiting}; {printing(1000)}")
    follower = place.start("logs", "-f", number)
    follower.wait_output("before\n")
    follower.signal(signal.SIGKILL)  # it would start the service again, by the old clock
    follower.process.wait()
    queued = start_run(place, "--after", number, "echo queued")
    supervisor = the_supervisor(place)
    os.kill(service(place), signal.SIGTERM)
    wait_for(lambda: not lock_holder(place), what="the end of the service")
    later = subprocess.run([*late, BUILD / "bin/spell", "ps", "--json"], env=place.environment, capture_output=True, timeout=PATIENCE)
    assert [run["status"] for run in json.loads(later.stdout)["runs"]] == ["running", "machine_requested"], later
    assert the_supervisor(place) == supervisor
    gate.open()
    assert [(ended(place, n)["status"], info(place, n)["reason_code"]) for n in (number, queued)] == [("complete", "")] * 2
    assert same_bytes(output_of(place, number), b"before\n" + lines(1000))
