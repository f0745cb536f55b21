"""What `./dev demo` shows, in few steps, and that what it says to type next can be typed."""
import re
import subprocess

import pytest

from faults import ended, info
from harness import PATIENCE, SOURCE, Result, wait_for


def shell(place, command, cwd):
    done = subprocess.run(["bash", "-c", command], cwd=cwd, env=place.environment, capture_output=True, timeout=PATIENCE)
    return Result(command, done.returncode, done.stdout, done.stderr)


def test_the_demo(place):
    if subprocess.run(["/usr/bin/python3", "-c", "import importlib.util as u; exit(u.find_spec('torch') is None)"]).returncode:
        pytest.skip("needs python3-torch")
    place.environment |= {"STEPS": "3", "TMPDIR": str(place.root)}
    done = shell(place, f"sh {SOURCE}/examples/char-rnn/demo.sh", place.work)
    assert done.returncode == 0, done
    training, _, rest = done.stdout.partition("What it writes now:\n\n")
    assert re.search(r"^step +3/3 +loss ", training, re.M), done
    written, _, listed = rest.partition("\n$ spell ls runs/1\n")
    assert written.startswith("The ") and len(written) > 400, done
    outputs, _, advice = listed.partition("What to type next:\n")
    assert "checkpoints/\n" in outputs and "step-3.pt\n" in outputs, done
    run = info(place, 1)
    assert (run["status"], run["user_exit_code"], run["repository"], run["output_files"]) == ("complete", 0, "char-rnn", 1)

    lines = [line.partition("#")[0].strip() for line in advice.strip().splitlines()]
    there, commands = lines[0], lines[1:]
    assert re.fullmatch(r"cd \S+/char-rnn", there), done
    assert [command.split()[1] for command in commands] == ["ps", "logs", "cp", "run", "logs", "stop"], done
    # Watching ends with the run: it is ended first; and what has not begun would be killed.
    for command in (*commands[:4], commands[5], commands[4]):
        if command == commands[5]:
            wait_for(lambda: info(place, 2)["status"] == "running", what="the second run's begin")
        typed = shell(place, f"{there} && {command}", place.work)
        assert typed.returncode in (0, 125) if "logs -f" in command else typed.returncode == 0, typed
        if command == commands[1]:
            assert "What it writes now:" in typed.stdout, typed
    folder = there.removeprefix("cd ")
    assert (place.root / folder / "checkpoints/step-3.pt").stat().st_size > 100_000
    assert ended(place, 2)["status"] == "stopped"
