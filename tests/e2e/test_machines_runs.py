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
    smi.write_text("#!/bin/sh\nfor i in 0 1 2 3; do echo \"$i, GPU-$i, Tesla V100, 16384\"; done\n")
    smi.chmod(0o755)
    rig = Machine(team, "rig", "--serves", "V100", config=f'nvidia-smi = "{smi}"\n')
    shown = spell(team, "machine", "info", "rig", "--json", check=0).json
    shown = shown.get("machine", shown)
    assert [gpu["uuid"] for gpu in shown["gpus"]] == [f"GPU-{i}" for i in range(4)]
    number = submit(team, "-m", "V100", "--gpu", "3", 'echo "mine: $CUDA_VISIBLE_DEVICES"; ' + WAITS)
    folder = gate(rig, number)
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
