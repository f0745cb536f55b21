"""--exclusive: rather lost work than two copies. Whatever becomes of its machine's worker, a run is dead before another takes its place."""
import contextlib
import os
import signal

import pytest

import faults
from harness import PATIENCE, wait_for, wait_gone
from machines import gate, record, spell, submit, wait_run
from team import Team

LOST_AFTER = 4
# Says all the time that it is alive, where both copies would be seen; waits for its end.
BEATS = """echo "$SPELL_RUN" >> {shared}/order
touch began; echo finished > out.txt
if [ -n "$SPELL_RESUMED_FROM" ]; then date +%s.%N > {shared}/after; exit 0; fi
trap '' TERM HUP
while :; do date +%s.%N > {shared}/.beat; mv {shared}/.beat {shared}/beat; sleep 0.01; done
"""


@pytest.fixture
def team(place):
    team = Team(place)
    spell(team, "machine-type", "add", "spot", "--spot", "--cpus", "2", "--lost-after", LOST_AFTER, check=0)
    return team


def begin(team, boxes, *options):
    """(number, its machine, where its copies write): what it has finished is safe."""
    shared = team.place.root / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    number = submit(team, "-m", "spot", "--exclusive", *options, BEATS.format(shared=shared))
    machine = wait_for(lambda: next((box for box in boxes if box.supervisors()), None), what="its machine")
    gate(machine, number)
    wait_for(lambda: record(team, number)["output_files"] >= 2, what="its backup")
    return number, machine, shared


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["frozen worker", "dead worker"])
def test_the_old_command_is_dead_before_another_takes_its_place(team, boxes, how):
    number, machine, shared = begin(team, boxes, "--auto-resume")
    assert record(team, number)["exclusive"]
    # The worker alone: its command goes on, and nobody is there to end it but its supervisor.
    machine.kill(how)
    after = wait_for(lambda: record(team, number)["resumed_as_run"], what="its successor")
    assert record(team, number)["reason_code"] == "machine_lost"
    assert wait_run(team, after, "complete")["exclusive"]
    assert float((shared / "beat").read_text()) < float((shared / "after").read_text())
    assert not machine.supervisors()
    if how == signal.SIGSTOP:
        machine.kill(signal.SIGCONT)
    else:
        machine.start()
    machine.wait_empty()
    assert (record(team, number)["status"], record(team, number)["reason_code"]) == ("interrupted", "late_result")
    assert (shared / "order").read_text().split() == [str(number), str(after)]


@pytest.mark.parametrize("first", ["supervisor", "command"], ids=["supervisor thaws first", "command thaws first"])
def test_a_frozen_machine_that_thaws_after_its_successor_has_finished_changes_nothing(team, boxes, first):
    number, machine, shared = begin(team, boxes, "--auto-resume")
    frozen = machine.freeze()
    after = wait_for(lambda: record(team, number)["resumed_as_run"], what="its successor")
    assert record(team, number)["reason_code"] == "machine_lost"
    ended = wait_run(team, after, "complete")
    listed = spell(team, "ls", f"runs/{after}", "--json", check=0).json
    beat = (shared / "beat").read_text()
    (supervisor, init), = faults.supervised(machine.folder / "worker/runs").values()
    commands = [pid for pid in frozen if pid not in (supervisor, machine.running.process.pid)]
    assert supervisor in frozen and init in commands
    for pid in ([supervisor] if first == "supervisor" else commands):
        with contextlib.suppress(ProcessLookupError):  # it had ended when all stood still
            os.kill(pid, signal.SIGCONT)
    if first == "supervisor":
        # It ends what stands still before that does a single step.
        assert not wait_gone(commands, PATIENCE)
        assert (shared / "beat").read_text() == beat
    for pid in frozen:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    machine.wait_empty()
    assert not machine.supervisors() and not wait_gone(commands, PATIENCE)
    # The old record alone has become another one.
    assert (record(team, number)["status"], record(team, number)["reason_code"]) == ("interrupted", "late_result")
    assert record(team, after) == ended
    assert spell(team, "ls", f"runs/{after}", "--json", check=0).json == listed
    assert (shared / "order").read_text().split() == [str(number), str(after)]
    waited = spell(team, "wait", number, check=0)
    assert f"run {after}" in waited.stdout + waited.stderr, waited


def test_what_it_has_left_is_delivered_when_its_machine_is_back(team, boxes):
    number, machine, shared = begin(team, boxes, "--disable-auto-resume")
    machine.kill(signal.SIGSTOP)
    wait_for(lambda: not machine.supervisors(), what="its end")
    wait_run(team, number, "interrupted")
    machine.kill(signal.SIGCONT)
    machine.wait_empty()
    run = record(team, number)
    assert (run["status"], run["reason_code"], run["user_signal"]) == ("interrupted", "lease_expired", signal.SIGKILL), run
    assert "--exclusive" in run["reason"]
    assert "out.txt" in spell(team, "ls", f"runs/{number}", check=0).stdout


def test_on_this_computer_there_is_no_other_copy(place, spell, repo):
    done = place.spell("run", "-f", "--exclusive", "--save-command", "again.yaml", "echo alone", cwd=repo, check=0)
    assert "alone" in done.stdout
    assert "exclusive: true" in (repo / "again.yaml").read_text()
    assert "Exclusive" in place.spell("info", 1, check=0).stdout
    refused = place.spell("workflow", "create", "--local", "--exclusive", "true", cwd=repo)
    assert refused.returncode == 2 and "--exclusive is about the managing run" in refused.stderr
