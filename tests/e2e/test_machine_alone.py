"""A machine that has not heard of its service for very long: its runs end as on a machine that is taken away, then it ends itself, and what
they leave lies where `spell-worker salvage` finds it."""
import signal

import pytest

from harness import wait_for
from machines import Machine, gate, record, spell, submit
from team import Team

# Have something safe. One heeds the word that its machine goes, and goes on until it is ended; the other ends when it is told to.
GOES_ON = """echo begin; echo safe > safe.txt; touch began
while [ ! -e "$SPELL_PREEMPTION_FILE" ]; do sleep 0.02; done
echo told; echo row >> table.csv
while :; do sleep 1; done"""
ENDS = """echo begin; echo safe > safe.txt; touch began
while [ ! -e go ]; do sleep 0.02; done
echo end; echo late > late.txt"""


@pytest.fixture
def team(place):
    team = Team(place)
    spell(team, "machine-type", "add", "spot", "--spot", "--cpus", "2", "--lost-after", "1", check=0)
    return team


@pytest.fixture
def box(team):
    config = f"notice-seconds = 2\nend-after = 1\nend-anyway = 3\non-end = \"ls $SPELL_WORKER_STATE/worker/runs > {team.place.root}/ended\"\n"
    box = Machine(team, "box", "--serves", "spot", config=config)
    yield box
    box.close()


def begin(team, box, command):
    number = submit(team, "-m", "spot", "--disable-auto-resume", command)
    folder = gate(box, number)
    wait_for(lambda: record(team, number)["output_files"] >= 2, what="its backup")
    return number, folder


def salvage(team, box, number):
    team.start()
    done = box.place.program("spell-worker", "salvage", box.folder)
    assert done.returncode == 0 and f"run {number}: delivered" in done.stdout, done
    return record(team, number)


def check_end(team, box):
    """Not before the last time, though it might have ended long before with nothing here."""
    said = box.running.finish()
    assert said.returncode == 0 and "its service has not been heard of for 3 s: its runs and this worker end" in said.stderr, said
    assert (team.place.root / "ended").read_text().strip(), "on-end comes when all is written, and what is left is there"
    assert not box.supervisors()


def test_it_ends_its_runs_at_last_and_they_are_delivered_from_its_disk(team, box):
    number, _ = begin(team, box, GOES_ON)
    team.stop(signal.SIGKILL)
    check_end(team, box)
    run = salvage(team, box, number)
    assert run["status"] == "interrupted" and "its service has not been heard of for 3 s" in run["reason"], run
    log = spell(team, "logs", number, check=0)
    assert log.stdout.split() == ["begin", "told"], log
    assert "This machine is taken away in" in log.stderr + log.stdout
    listed = spell(team, "ls", f"runs/{number}", check=0).stdout
    assert "safe.txt" in listed and "table.csv" in listed, listed


def test_what_ended_there_unheard_is_delivered_too(team, box):
    number, folder = begin(team, box, ENDS)
    team.stop(signal.SIGKILL)
    (folder / "go").touch()
    check_end(team, box)
    run = salvage(team, box, number)
    assert (run["status"], run["user_exit_code"]) == ("complete", 0), run
    assert spell(team, "logs", number, check=0).stdout.split() == ["begin", "end"]
    assert "late.txt" in spell(team, "ls", f"runs/{number}", check=0).stdout


def test_with_nothing_left_it_ends_early(team, box):
    team.stop(signal.SIGKILL)
    said = box.running.finish()
    assert said.returncode == 0 and "has not been heard of for 1 s and more: this worker ends" in said.stderr, said
    assert (team.place.root / "ended").read_text() == ""
    team.start()
