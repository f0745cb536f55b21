"""Short forms of two soaks (`./dev soak` is the long one): trainings whose machines are taken away, and checkpoints that are being written
when their run ends. Their seeds are new each time, and printed where they fail."""
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent


def soak(*arguments):
    done = subprocess.run([sys.executable, HERE / arguments[0], *arguments[1:]], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_training_whose_machines_are_taken_away():
    said = soak("resilience_soak.py", "--interruptions", "8")
    if " skipped: " in said:
        pytest.skip(said.strip())
    assert "failures 0" in said and "chains 0" not in said, said


def test_checkpoints_that_are_being_written():
    said = soak("torn.py", "--kills", "4", "--size", "8")
    assert "failures 0" in said and "in place by machine 1" in said, said
