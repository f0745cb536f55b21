"""Where a benchmark runs: folders of its own on a real disk, the release's programs, and nothing left behind."""
import contextlib
import ctypes
import json
import os
import pathlib
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from harness import BUILD, processes_of, wait_gone  # noqa: E402

PROGRAMS = BUILD / "bin"
PATIENCE = 300  # seconds; a measurement that hangs ends

# Orphans become this process's children, so that what daemons and supervisors cost can be counted.
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


class Skipped(Exception):
    """What is needed to measure this is not here."""


def output_of(*command, **options):
    """What the program prints; an error with all it said where it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=PATIENCE, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{command} -> {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def seconds_of(*command, **options):
    start = time.perf_counter()
    output_of(*command, **options)
    return time.perf_counter() - start


class Place:
    """A SPELL_DIR, a home and a Git repository. In /var/tmp: that is never in memory."""

    def __init__(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="spell-bench-", dir="/var/tmp"))
        self.spell_dir, self.home, self.work = self.root / "d", self.root / "home", self.root / "work"
        for folder in (self.spell_dir, self.home, self.work):
            folder.mkdir(mode=0o700)
        self.environment = {"SPELL_DIR": str(self.spell_dir), "HOME": str(self.home), "LANG": "C.UTF-8",
                            "PATH": f"{PROGRAMS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.options = {"env": self.environment, "cwd": self.work}
        (self.work / "hello.txt").write_text("hello\n")
        git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]
        for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
            output_of(*git, *arguments, **self.options)

    def program(self, name, *arguments):
        return output_of(PROGRAMS / name, *arguments, **self.options)

    def spell(self, *arguments):
        return self.program("spell", *arguments)

    def service(self):
        """What the service says of itself."""
        return json.loads(self.spell("status", "--json"))["service"]

    def stop_service(self):
        pid = self.service()["pid"]
        self.spell("service", "stop")
        wait_gone([pid], 10)

    def milliseconds(self, *command, runs=20, ignore_failure=False):
        """Median of whole runs of a program, without a shell between."""
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            output_of("hyperfine", "-N", "--style", "none", "--warmup", "3", "--runs", runs, "--export-json", file.name,
                      *(["-i"] if ignore_failure else []), " ".join(map(str, command)), **self.options)
            return statistics.median(json.load(file)["results"][0]["times"]) * 1000

    def close(self):
        """Ends, by force, whatever belongs to this folder, and removes it."""
        while living := processes_of(self.root):
            for pid in living:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_gone(living, 10)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        shutil.rmtree(self.root, ignore_errors=True)


def cpu_seconds():
    """Of all processes that have ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def place(cpu=None):
    """`cpu`: a list that gets the processor seconds of all that ran here."""
    before, here = cpu_seconds(), Place()
    try:
        yield here
    finally:
        here.close()
        if cpu is not None:
            cpu.append(cpu_seconds() - before)
