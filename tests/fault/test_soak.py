"""A short soak; `./dev soak` is the long one. Its seed is new each time, and printed where it fails."""
import pathlib
import subprocess
import sys


def test_soak():
    soak = pathlib.Path(__file__).with_name("soak.py")
    done = subprocess.run([sys.executable, soak, "--minutes", "0.15"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failures 0" in done.stdout and " runs 0," not in done.stdout, done.stdout
