"""A run whose machine vanishes goes on as another, from what it had saved, and ends as if nothing had been."""
import hashlib
import os
import signal

import pytest

from harness import processes_of, wait_for
from machines import gate, record, spell, submit, wait_run
from team import Team

EPOCHS = 8
# Deterministic, and resumable as the guide says: each epoch leaves a checkpoint. The first run waits in the middle for its end.
TRAIN = f"""
import hashlib, os, pathlib, time
folder = pathlib.Path("checkpoints")
folder.mkdir(exist_ok=True)
last = max((int(path.name) for path in folder.iterdir() if path.name.isdigit()), default=0)
state = (folder / str(last)).read_bytes() if last else b"seed"
print(f"from epoch {{last}}, after run", os.environ.get("SPELL_RESUMED_FROM", "none"), flush=True)
for epoch in range(last + 1, {EPOCHS} + 1):
    state = hashlib.sha256(state).digest()
    (folder / ".part").write_bytes(state)
    (folder / ".part").rename(folder / str(epoch))
    if epoch == 3 and "SPELL_RESUMED_FROM" not in os.environ:
        open("began", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.02)
pathlib.Path("weights").write_bytes(state)
"""


def weights():
    state = b"seed"
    for _ in range(EPOCHS):
        state = hashlib.sha256(state).digest()
    return state


@pytest.fixture
def team(place):
    team = Team(place)
    spell(team, "machine-type", "add", "spot", "--spot", "--default-auto-resume", "--cpus", "2", "--lost-after", "1", check=0)
    return team


def files(team, path):
    listed = spell(team, "ls", path, "--json")
    return {entry["path"]: entry for entry in listed.json["entries"]} if listed.returncode == 0 else {}


def begin(team, boxes, *options):
    """(number, its machine, its /spell): it has saved three epochs, and waits."""
    repo = team.place.make_repository("training", {"train.py": TRAIN})
    number = submit(team, "-m", "spot", *options, "python3 train.py", cwd=repo)
    machine = wait_for(lambda: next((box for box in boxes if box.supervisors()), None), what="its machine")
    folder = gate(machine, number)
    wait_for(lambda: "3" in files(team, f"runs/{number}/checkpoints"), what="its backup")
    return number, machine, folder


def vanish(machine):
    """All that is of it, at once."""
    for pid in processes_of(machine.folder):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    machine.running.finish()


def test_a_lost_machine_costs_nothing_that_was_saved(team, boxes):
    number, machine, _ = begin(team, boxes)
    follower = team.place.start("logs", "-f", str(number), env={"SPELL_BASE_URL": team.socket})
    follower.wait_output("from epoch 0, after run none")
    vanish(machine)
    waited = spell(team, "wait", number, check=0)
    before = record(team, number)
    after = record(team, before["resumed_as_run"])
    assert (before["status"], before["reason_code"], before["auto_resume"]) == ("interrupted", "machine_lost", None), before
    assert (after["status"], after["user_exit_code"], after["resumed_from_run"]) == ("complete", 0, number), after
    assert after["machine"] != machine.name and after["git_commit"] == before["git_commit"] and after["command"] == before["command"]
    assert f"goes on as run {after['id']}" in waited.stdout + waited.stderr
    spell(team, "cp", f"runs/{after['id']}/weights", "weights", check=0)
    assert (team.place.work / "weights").read_bytes() == weights()
    # What it went on with is its own, as it was.
    old, new = files(team, f"runs/{number}/checkpoints"), files(team, f"runs/{after['id']}/checkpoints")
    assert new.keys() == {str(epoch) for epoch in range(1, EPOCHS + 1)}
    for epoch in ("1", "2", "3"):
        assert (old[epoch]["modified_at"], old[epoch]["mode"]) == (new[epoch]["modified_at"], new[epoch]["mode"])
    seen = follower.finish()
    assert seen.returncode == 0, seen
    assert f"from epoch 3, after run {number}" in seen.stdout
    assert f"Run {number} interrupted, {before['output_files']} files safe; goes on as run {after['id']}" in seen.stdout + seen.stderr


def test_the_files_of_the_chain_have_a_name_of_their_own(team, boxes):
    number, machine, _ = begin(team, boxes)
    assert files(team, f"runs/{number}+").keys() == files(team, f"runs/{number}").keys()
    waits = submit(team, "-m", "spot", "--mount", f"runs/{number}+/weights", "cat weights > copy")
    follower = team.place.start("ls", "-f", f"runs/{number}+", "--json", env={"SPELL_BASE_URL": team.socket})
    vanish(machine)
    after = wait_for(lambda: record(team, number)["resumed_as_run"], what="its successor")
    # A mount of what goes on waits for the chain's end.
    wait_run(team, waits, "complete")
    assert record(team, after)["status"] == "complete"
    for path, source in (("copy", f"runs/{waits}/copy"), ("weights", f"runs/{number}+/weights"), ("same", f"runs/{after}+/weights")):
        spell(team, "cp", source, path, check=0)
        assert (team.place.work / path).read_bytes() == weights()
    assert "weights" not in files(team, f"runs/{number}") and files(team, f"runs/{number}+") == files(team, f"runs/{after}")
    seen = follower.finish()
    assert seen.returncode == 0 and '"path":"weights"' in seen.stdout
    # Who names the interrupted one gets it, and is told what he may have meant.
    old = submit(team, "-m", "spot", "--mount", f"runs/{number}/checkpoints:/spell/old", "ls old > seen")
    wait_run(team, old, "complete")
    log = spell(team, "logs", "-v", old, check=0)
    assert f"went on as run {after}; runs/{number}+ means" in log.stdout + log.stderr
    spell(team, "cp", f"runs/{old}/seen", "seen", check=0)
    assert (team.place.work / "seen").read_text().split() == ["1", "2", "3"]
    spell(team, "link", "best", f"runs/{number}+/weights", check=0)
    spell(team, "cp", "best", "linked", check=0)
    assert (team.place.work / "linked").read_bytes() == weights()
    for path in (f"runs/{number}++", "runs/+", "runs/999+"):
        missing = spell(team, "ls", path)
        assert missing.returncode != 0 and f"there is no '{path}'" in missing.stderr
    refused = spell(team, "run", "-f", "-b", "-m", "spot", "--mount", "runs/999+", "true")
    assert refused.returncode != 0 and "Cannot mount resource 'runs/999+'" in refused.stderr
    # Without its first run the chain is one all the same.
    spell(team, "rm", "-f", number, check=0)
    assert files(team, f"runs/{after}+/checkpoints").keys() == {str(epoch) for epoch in range(1, EPOCHS + 1)}


def test_stop_ends_the_chain(team, boxes):
    number, machine, _ = begin(team, boxes)
    for box in boxes:
        if box is not machine:
            spell(team, "machine", "drain", box.name, check=0)
    vanish(machine)
    after = wait_for(lambda: record(team, number)["resumed_as_run"], what="its successor")
    assert record(team, after)["status"] == "machine_requested"
    assert spell(team, "stop", number, "--json", check=0).json["run"]["id"] == after
    assert record(team, after)["status"] == "killed"
    assert spell(team, "wait", number).returncode == 125
    assert len(spell(team, "ps", "-a", "--json", check=0).json["runs"]) == 2


def test_who_does_not_want_it_is_not_resumed(team, boxes):
    number, machine, _ = begin(team, boxes, "--disable-auto-resume")
    vanish(machine)
    run = wait_run(team, number, "interrupted")
    assert run["resumed_as_run"] is None and run["auto_resume"] is False
    assert len(files(team, f"runs/{number}/checkpoints")) == 3
    refused = spell(team, "run", "--auto-resume", "--disable-auto-resume", "true")
    assert refused.returncode == 2 and "exclude each other" in refused.stderr


def test_a_machine_that_comes_back_ends_its_copy(team, boxes):
    number, machine, folder = begin(team, boxes)
    machine.kill(signal.SIGSTOP)
    after = wait_for(lambda: record(team, number)["resumed_as_run"], what="its successor")
    wait_run(team, after, "complete")
    machine.kill(signal.SIGCONT)
    machine.wait_empty()
    run = record(team, number)
    assert (run["status"], run["reason_code"]) == ("interrupted", "late_result"), run
    assert record(team, after)["status"] == "complete"
    assert len(spell(team, "ps", "-a", "--json", check=0).json["runs"]) == 2
