"""spell-worker salvage: what a dead machine has left on its disk is delivered from there to the runs it belongs to."""
import os
import signal

import pytest

from harness import processes_of, wait_for
from machines import Machine, gate, record, spell, submit, wait_run
from team import Team

# Has something safe, then prints and writes on when it is told to, and goes on.
COMMAND = """echo begin; echo safe > safe.txt; touch began
while [ ! -e go ]; do sleep 0.02; done
echo late; echo late > late.txt; echo row >> table.csv; touch told
while :; do sleep 1; done"""


@pytest.fixture
def team(place):
    team = Team(place)
    spell(team, "machine-type", "add", "spot", "--spot", "--cpus", "2", "--lost-after", "1", check=0)
    return team


def names(team, path):
    listed = spell(team, "ls", path, "--json")
    return {entry["path"] for entry in listed.json["entries"]} if listed.returncode == 0 else set()


def salvage(machine, folder, *options):
    return machine.place.program("spell-worker", "salvage", folder, *options)


def die(machine, number):
    """Its worker first, so that nobody hears of what the command does then; then all. Returns where its disk is mounted."""
    folder = gate(machine, number)
    wait_for(lambda: "safe.txt" in names(machine.team, f"runs/{number}"), what="its backup")
    machine.kill(signal.SIGKILL)
    (folder / "go").touch()
    wait_for(lambda: (folder / "told").exists())
    spool = folder.parent / "spool"
    wait_for(lambda: b"late\n" in spool.read_bytes())
    assert_alive = salvage(machine, machine.folder)
    assert assert_alive.returncode == 1 and f"run {number} goes on here: this machine is not dead" in assert_alive.stderr
    for pid in processes_of(machine.folder):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    wait_for(lambda: not processes_of(machine.folder))
    disk = machine.place.root / "disk"
    (disk / "var/lib").mkdir(parents=True)
    machine.folder.rename(disk / "var/lib/spell-worker")
    return disk


def test_what_a_dead_machine_has_left_is_delivered(team):
    box = Machine(team, "box", "--serves", "spot")
    number = submit(team, "-m", "spot", COMMAND)
    disk = die(box, number)
    before = wait_run(team, number, "interrupted")
    assert before["reason_code"] == "machine_lost" and "late" not in spell(team, "logs", number).stdout
    waiting = submit(team, "-m", "spot", "true")
    done = salvage(box, disk)
    assert done.returncode == 0 and f"run {number}: delivered: " in done.stdout, done
    run = record(team, number)
    assert (run["status"], run["reason_code"]) == ("interrupted", "salvaged"), run
    assert spell(team, "logs", number, check=0).stdout.split().count("late") == 1
    # What lay closed on a disk that lost its power is not sure to be whole; what grows is, as far as it is.
    assert {"safe.txt", "table.csv"} <= names(team, f"runs/{number}") and "late.txt" not in names(team, f"runs/{number}")
    assert "late.txt" in names(team, f"runs/{number}/.incomplete")
    again = salvage(box, disk / "var/lib/spell-worker")
    assert again.returncode == 0 and "nothing is left there" in again.stdout
    assert not [run for run in (disk / "var/lib/spell-worker/worker/runs").iterdir() if not run.name.startswith(".")]
    # No run was given to it meanwhile.
    assert record(team, waiting)["status"] == "machine_requested"


def test_it_can_be_killed_and_repeated(team):
    box = Machine(team, "box", "--serves", "spot")
    number = submit(team, "-m", "spot", COMMAND)
    disk = die(box, number)
    wait_run(team, number, "interrupted")
    team.stop()
    first = box.place.start("salvage", str(disk), program="spell-worker")
    first.wait_output("tried again until it works", stream="stderr")
    in_use = salvage(box, disk)
    assert in_use.returncode == 1 and "that machine is not dead" in in_use.stderr
    first.signal(signal.SIGKILL)
    first.finish()
    team.start()
    done = salvage(box, disk, "--json")
    assert done.returncode == 0, done
    assert [(run["run"], run["status"], run["wanted"]) for run in done.json["runs"]] == [(number, "interrupted", True)]
    assert done.json["damaged"] == 0 and record(team, number)["reason_code"] == "salvaged"


def test_what_cannot_be_salvaged_is_said(team):
    box = Machine(team, "box", "--serves", "spot")
    for folder, text in (("nowhere", "there is no folder"), (team.data, "there is no worker's folder in")):
        refused = salvage(box, folder)
        assert refused.returncode == 1 and text in refused.stderr, refused
    refused = salvage(box, box.folder)
    assert refused.returncode == 1 and "that machine is not dead, and delivers by itself" in refused.stderr, refused
    number = submit(team, "-m", "spot", COMMAND)
    disk = die(box, number)
    wait_run(team, number, "interrupted")
    state = disk / "var/lib/spell-worker"
    run = next(run for run in (state / "worker/runs").iterdir() if not run.name.startswith("."))
    journal = (run / "journal").read_bytes()
    (run / "journal").write_text("not a journal\n")
    damaged = salvage(box, disk)
    assert damaged.returncode == 1 and "is put aside" in damaged.stderr and "cannot be read" in damaged.stderr, damaged
    assert record(team, number)["reason_code"] == "machine_lost" and "safe.txt" in names(team, f"runs/{number}")
    # A credential that is void, and none.
    next((state / "worker/runs/.parked").iterdir()).rename(run)
    (run / "journal").write_bytes(journal)
    spell(team, "machine", "remove", "-f", "box", check=0)
    void = salvage(box, disk)
    assert void.returncode == 1 and "credential" in void.stderr and "get-token" in void.stderr, void
    assert (run / "journal").exists()
    (state / "joined.json").unlink()
    none = salvage(box, disk)
    assert none.returncode == 1 and "spell machine get-token" in none.stderr, none
