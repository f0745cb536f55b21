"""A computer that starts anew in the middle of runs.

All processes are killed, and what comes next lives in a mount namespace whose kernel tells another boot id, and in a time
namespace whose CLOCK_BOOTTIME has begun again: the two things by which a process can know.
"""
import contextlib
import os
import pathlib
import signal
import subprocess
import uuid

import pytest

from faults import Gate, await_gone, ended, info, kill_and_wait, lines, output_of, printing, run_folders, same_bytes, service, \
    start_run, supervisors, suspend, the_supervisor
from harness import BUILD, Running, processes_of, wait_for

BOOT_ID = "/proc/sys/kernel/random/boot_id"


@pytest.fixture
def reboot(place):
    """Ends all processes; returns a function like place.spell for the time after."""
    boot_id = place.root / "boot_id"
    boot_id.write_text(f"{uuid.uuid4()}\n")
    uptime = float(pathlib.Path("/proc/uptime").read_text().split()[0])
    back = str(5 - int(uptime))
    new_boot = ["unshare", "-m", "-T", "--boottime", back, "--monotonic", back, "sh", "-c",
                f'mount --bind {boot_id} {BOOT_ID} && exec "$@"', "sh"]
    tried = subprocess.run([*new_boot, "cat", BOOT_ID], capture_output=True, text=True)
    if tried.stdout != boot_id.read_text():
        pytest.skip(f"needs root for another boot id: {tried.stderr.strip()}")

    def spell(*arguments):
        running = Running([*new_boot, str(BUILD / "bin/spell"), *map(str, arguments)], env=place.environment, cwd=place.work)
        return running.finish()

    def restart():
        # First all stand still: who sees a service or a supervisor go would do something about it.
        still = set()
        while found := set(processes_of(place.root)) - still:
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            still |= found
        for pid in still:
            kill_and_wait(pid)
        assert not await_gone(place.root / "mark")
        return spell

    return restart


def test_reboot_in_the_middle_of_runs(place, repo, reboot):
    gate = Gate(place.work / "gate")
    mark = ["-e", f"MARK={place.root}/mark"]
    running = place.spell("run", "-b", "--json", *mark, f"mkdir out; echo kept > out/file; {printing(5000)}; {gate.waiting}", cwd=repo,
                          check=0).json["run"]["id"]
    place.start("logs", "-f", running).wait_output(lines(1, 4999))
    queued = start_run(place, *mark, "--after", running, "echo never")
    independent = start_run(place, *mark, gate.waiting)
    waiting = start_run(place, *mark, "echo later")
    wait_for(lambda: info(place, independent)["started_at"], what="both runs")
    wait_for(lambda: info(place, running)["output_files"] == 1, what="the file to be safe")
    spell = reboot()
    assert spell("ps").returncode == 0
    run = ended(place, running)
    assert (run["status"], run["reason_code"], run["user_exit_code"]) == ("interrupted", "host_reboot", None), run
    assert run["output_files"] == 1, run
    assert same_bytes(output_of(place, running), lines(5000))
    place.spell("cp", f"runs/{running}/out/file", place.work / "copy", check=0)
    assert (place.work / "copy").read_text() == "kept\n"
    assert ended(place, independent)["reason_code"] == "host_reboot"
    # Who waited for a success waits in vain; who waited for a place gets one.
    assert ended(place, queued)["reason_code"] == "dependency_failed"
    assert ended(place, waiting)["status"] == "complete"
    assert output_of(place, waiting) == b"later\n"
    # Times are those of the calendar, whatever the clock of the last boot said.
    for number in (running, independent, waiting):
        run = info(place, number)
        assert run["created_at"] <= run["started_at"] <= run["ended_at"], run
    wait_for(lambda: not run_folders(place), what="the end of the folders")


def test_an_end_that_nobody_had_heard_of_before_the_reboot(place, reboot):
    """The run had ended by itself, which its spool tells: it is complete, not interrupted."""
    gate = Gate(place.work / "gate")
    number = start_run(place, "-e", f"MARK={place.root}/mark", f"{gate.waiting}; echo done; echo kept > file; exit 3")
    the_supervisor(place)
    suspend(service(place))
    gate.open()
    spool = run_folders(place)[0] / "spool"
    wait_for(lambda: b"ended_us=" in spool.read_bytes(), what="the end frame")
    spell = reboot()
    assert spell("ps").returncode == 0
    run = ended(place, number)
    assert (run["status"], run["user_exit_code"], run["output_files"]) == ("complete", 3, 1), run
    assert output_of(place, number) == b"done\n"
    assert run["created_at"] <= run["started_at"] <= run["ended_at"], run
