"""Runs on machines that have joined: what they need arrives, what they leave is kept, whatever happens in between."""
import os
import signal

import pytest

from harness import wait_for
from machines import WAITS, Machine, check_waited, gate, spell, submit, wait_run
from team import Team


@pytest.fixture
def team(place):
    return Team(place)


@pytest.fixture
def boxes(team):
    made = [Machine(team, "box"), Machine(team, "desk")]
    yield made
    for machine in made:
        machine.close()


def test_code_mounts_outputs_and_log_go_to_the_machine_and_back(team, boxes):
    place = team.place
    repo = place.make_repository("project", {"train.py": "print(open('data/in.txt').read() * 2)\n", "sub/x": "x\n"})
    data = place.root / "data-set"
    data.mkdir()
    (data / "in.txt").write_text("word")
    spell(team, "upload", data, "--name", "words", check=0)
    number = submit(team, "-m", "desk", "--mount", "uploads/words:data", "python3 train.py && echo saved > sub/out.txt", cwd=repo)
    run = wait_run(team, number, "complete")
    assert run["machine"] == "desk"
    assert "wordword" in spell(team, "logs", number, check=0).stdout
    place_for = place.root / "back"
    spell(team, "cp", f"runs/{number}", place_for, check=0)
    assert (place_for / "sub/out.txt").read_text() == "saved\n"
    # The outputs of one machine's run are another's mount; unchanged code is not fetched again.
    (repo / "train.py").write_text("print(open('before/sub/out.txt').read())\n")
    later = submit(team, "-m", "box", "--mount", f"runs/{number}:before", "python3 train.py", cwd=repo)
    wait_run(team, later, "complete")
    assert "saved" in spell(team, "logs", later, check=0).stdout
    for machine in boxes:
        machine.wait_empty()


@pytest.mark.parametrize("who", ["worker", "service", "both"])
def test_kill_9_in_the_middle_hurts_nothing(team, boxes, who):
    box = boxes[0]
    number = submit(team, "-m", "box", WAITS)
    folder = gate(box, number)
    if who in ("service", "both"):
        team.stop(signal.SIGKILL)
    if who in ("worker", "both"):
        box.kill()
    (folder / "go").touch()
    if who in ("worker", "both"):
        box.start(connected=False)
    if who in ("service", "both"):
        team.start()
    check_waited(team, number)
    box.wait_empty()


def test_a_run_ends_while_the_service_is_away_and_is_delivered_afterwards(team, boxes):
    box = boxes[0]
    number = submit(team, "-m", "box", WAITS)
    folder = gate(box, number)
    team.stop()
    box.running.wait_output("tried again", stream="stderr")
    assert box.status()["state"] == "connecting" and box.status()["code"] in ("service_unreachable", "connection_lost")
    (folder / "go").touch()
    wait_for(lambda: not box.supervisors(), what="the run's end")
    team.start()
    check_waited(team, number)
    box.wait_empty()


def test_a_frozen_worker_thaws(team, boxes):
    box = boxes[0]
    number = submit(team, "-m", "box", WAITS)
    folder = gate(box, number)
    box.kill(signal.SIGSTOP)
    (folder / "go").touch()
    wait_for(lambda: not box.supervisors(), what="the run's end")
    box.kill(signal.SIGCONT)
    check_waited(team, number)
    box.wait_empty()


def test_a_lost_supervisor_ends_its_run(team, boxes):
    box = boxes[0]
    number = submit(team, "-m", "box", "touch began; sleep 1000")
    gate(box, number)
    for pid in box.supervisors():
        os.kill(pid, signal.SIGKILL)
    run = wait_run(team, number, "failed")
    assert run["reason_code"] == "supervisor_lost"
    box.wait_empty()


def test_each_run_sees_the_gpus_that_are_its_own(team):
    smi = team.place.root / "smi"
    smi.write_text("#!/bin/sh\nfor i in 0 1 2 3; do echo \"$i, GPU-$i, Tesla V100, 16384, 1$i, 2$i, 38, 109.39\"; done\n")
    smi.chmod(0o755)
    rig = Machine(team, "rig", "--serves", "V100", config=f'nvidia-smi = "{smi}"\n')
    shown = spell(team, "machine", "info", "rig", "--json", check=0).json
    shown = shown.get("machine", shown)
    assert [gpu["uuid"] for gpu in shown["gpus"]] == [f"GPU-{i}" for i in range(4)]
    # How fast its four GPUs are is known by its own name, too; what the same work costs elsewhere is the catalogue's.
    compared = spell(team, "machine-types", "compare", "V100", "rig", "--purchase", "2000", check=0)
    assert "rig does 295 % of the work of v100 in an hour" in compared.stderr and "$9.027/h" in compared.stdout, compared
    number = submit(team, "-m", "V100", "--gpu", "3", 'echo "mine: $CUDA_VISIBLE_DEVICES"; ' + WAITS)
    folder = gate(rig, number)
    wait_for(lambda: spell(team, "info", number, "--json", check=0).json["run"]["status"] == "running", what="the service to hear that it runs")
    figures = spell(team, "stats", "--json", number, check=0).json["stats"]["gpus"]
    assert [(gpu["index"], gpu["use_percent"], gpu["memory"], gpu["power_milliwatts"]) for gpu in figures] == [
        (i, 20 + i, (10 + i) << 20, 109390) for i in range(3)]
    shown = spell(team, "stats", number, check=0).stdout
    assert "Tesla V100" in shown and "22%" in shown and "23%" not in shown
    other = submit(team, "-m", "V100", "--gpu", "1", 'echo "mine: $CUDA_VISIBLE_DEVICES."')
    wait_run(team, other, "complete")
    assert "mine: GPU-3." in spell(team, "logs", other, check=0).stdout
    # The choice outlives the worker.
    rig.kill()
    rig.start()
    again = submit(team, "-m", "V100", "--gpu", "1", 'echo "mine: $CUDA_VISIBLE_DEVICES."')
    wait_run(team, again, "complete")
    assert "mine: GPU-3." in spell(team, "logs", again, check=0).stdout
    (folder / "go").touch()
    check_waited(team, number)
    assert "mine: GPU-0,GPU-1,GPU-2" in spell(team, "logs", number, check=0).stdout
    rig.close()


def test_what_a_machine_shares_can_be_mounted_and_nothing_else(team):
    shared, open_to_all, private = (team.place.root / name for name in ("shared", "open", "private"))
    for folder in (shared, open_to_all, private):
        folder.mkdir()
        (folder / "word").write_text(f"of {folder.name}\n")
    (shared / "way-out").symlink_to(private)
    box = Machine(team, "box", config=f'share = ["{shared}", "{open_to_all}:rw"]\n')
    number = submit(team, "-m", "box", "--mount", f"machine:{shared}:in", "--mount", f"machine:{open_to_all}:out",
                    "cat in/word; touch in/more 2> /dev/null || echo read-only; echo kept > out/more")
    wait_run(team, number, "complete")
    assert spell(team, "logs", number, check=0).stdout.splitlines()[-2:] == ["of shared", "read-only"]
    assert (open_to_all / "more").read_text() == "kept\n" and not (shared / "more").exists()
    for path in (private, f"{shared}/way-out", f"{shared}/../private", team.place.root, f"{shared}ed"):
        refused = spell(team, "run", "-f", "-b", "-q", "-m", "box", "--mount", f"machine:{path}:in", "cat in/word")
        if refused.returncode == 0:
            run = wait_run(team, refused.stdout.strip(), "mount_failed")
            assert "of private" not in spell(team, "logs", refused.stdout.strip(), check=0).stdout and run["reason"], run
        else:
            assert f"Cannot mount resource 'machine:{path}'" in refused.stderr, refused
    box.close()


def test_who_needs_a_machine_keeps_it_or_ends_with_it(team):
    """A run that is there, one that waits for it by name, and one that another machine can take."""
    box, desk = Machine(team, "box", "--serves", "v100"), Machine(team, "desk", "--serves", "v100")
    there, busy = submit(team, "-m", "box", "sleep 1000"), submit(team, "-m", "desk", "sleep 1000")
    waits, either = submit(team, "-m", "box", "true"), submit(team, "-m", "v100", "true")
    refused = spell(team, "machine", "remove", "box", check=1)
    assert "on it: 1, waiting for it alone: 1" in refused.stderr and "remove -f box" in refused.stderr, refused
    assert '"machine_in_use"' in spell(team, "machine", "remove", "box", "--json", check=1).stderr
    assert spell(team, "machine", "remove", "-f", "box", check=0).stdout == "box has been removed\n"
    assert wait_run(team, there, "interrupted")["reason_code"] == "machine_removed"
    assert wait_run(team, waits, "failed")["reason"] == "machine box has been removed, and no other can take this run"
    spell(team, "machine", "rename", "desk", "table", check=0)
    assert spell(team, "info", either, "--json", check=0).json["run"]["status"] == "machine_requested"
    named = submit(team, "-m", "table", "true")
    spell(team, "machine", "rename", "table", "desk", check=0)
    spell(team, "kill", busy, check=0)
    for run in (either, named):
        assert wait_run(team, run, "complete")["machine"] == "desk"
    wait_for(lambda: not box.supervisors())
    box.close()
    desk.close()


def test_a_machine_may_be_for_some_alone(team):
    bob, eve = team.add_user("bob"), team.add_user("eve")
    run = lambda token, *words: team.spell("run", "-f", "-b", "-q", *words, token=token)
    wrong = spell(team, "machine", "add", "lab", "--allow", "bbo", check=1)
    assert "no user and no project 'bbo'" in wrong.stderr and "machine" not in spell(team, "machine", "list", "-q", check=0).stdout
    # A type that nobody serves yet, and one that nobody knows.
    spell(team, "machine-type", "add", "v100", check=0)
    for kind in ("v100", "k80"):
        refused = run(bob, "-m", kind, "true")
        assert refused.returncode == 1 and f"--serves {kind}" in refused.stderr and "none has joined yet" in refused.stderr, refused
    spell(team, "project", "create", "genomes", check=0)
    lab = Machine(team, "lab", "--allow", "bob", "--allow", "genomes", "--serves", "v100")
    refused = run(eve, "-m", "v100", "true")
    assert refused.returncode == 1 and "takes runs of eve" in refused.stderr and "--allow eve" in refused.stderr, refused
    refused = run(bob, "-m", "k80", "true")
    assert "there are: CPU, lab, v100" in refused.stderr, refused
    for made in (run(bob, "-m", "v100", "true"), run(eve, "-m", "lab", "-p", "genomes", "true")):
        assert made.returncode == 0, made
        assert wait_run(team, made.stdout.strip(), "complete")["machine"] == "lab"
    lab.close()
