"""The real programs, run as a user runs them: a folder of their own, a hard time limit, and a look at what they left behind."""
import contextlib
import fnmatch
import json
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SPELL_BUILD", SOURCE / "build")).resolve()
PATIENCE = 60  # seconds; nothing here takes nearly as long: who waits so long has failed
FINAL = {"complete", "failed", "build_failed", "mount_failed", "interrupted", "killed", "stopped"}


# A shell's background job ignores ^C, and so would the programs that are started here.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def need_terminals():
    """Skips the test where the host has no pseudo-terminals (a chroot without /dev/pts)."""
    try:
        for end in os.openpty():
            os.close(end)
    except OSError as error:
        pytest.skip(f"no pseudo-terminal can be made here: {error.strerror}")


def found_below(folder, pattern):
    """Paths below a folder whose last part matches. For a folder that others write in: what goes meanwhile is left out (glob() raises)."""
    return [pathlib.Path(above, name) for above, folders, files in os.walk(folder) for name in fnmatch.filter(folders + files, pattern)]


def wait_for(predicate, timeout=PATIENCE, what=None):
    """The first true value of predicate(). For what nothing announces; where there is a log or a process, wait for that."""
    deadline = time.monotonic() + timeout
    pause = 0.005
    while True:
        if value := predicate():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s in vain for {what or predicate}")
        time.sleep(pause)
        pause = min(0.1, pause * 1.5)


def processes_of(path):
    """{pid: command line} of the processes that carry the path in their arguments or environment."""
    needle, found = os.fsencode(path), {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            arguments = pathlib.Path("/proc", entry, "cmdline").read_bytes()
            if needle in arguments or needle in pathlib.Path("/proc", entry, "environ").read_bytes():
                found[int(entry)] = arguments.replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # gone, or another user's
    return found


def wait_gone(pids, timeout):
    """Waits for the end of processes that are nobody's children here; returns those that live on."""
    deadline, living = time.monotonic() + timeout, []
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        with os.fdopen(fd, "rb", buffering=0):
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            if not poll.poll(max(0, deadline - time.monotonic()) * 1000):
                living.append(pid)
    return living


def mounts_below(path):
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if line.split()[4].startswith(f"{path}/")]


class Result:
    def __init__(self, arguments, returncode, stdout, stderr):
        self.arguments, self.returncode = arguments, returncode
        self.bytes, self.stdout, self.stderr = stdout, stdout.decode(errors="replace"), stderr.decode(errors="replace")

    @property
    def json(self):
        return json.loads(self.stdout)

    def __repr__(self):
        return f"{self.arguments} -> {self.returncode}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


class Running:
    """A program in its own process group whose output can be waited for."""

    def __init__(self, arguments, **options):
        self.arguments = arguments
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        start_new_session=True, **options)
        self._changed = threading.Condition()
        self._output = {"stdout": b"", "stderr": b""}
        self._readers = [threading.Thread(target=self._read, args=(name,), daemon=True) for name in self._output]
        for reader in self._readers:
            reader.start()

    def _read(self, name):
        with getattr(self.process, name) as stream:
            while piece := os.read(stream.fileno(), 65536):
                with self._changed:
                    self._output[name] += piece
                    self._changed.notify_all()

    def wait_output(self, expected, timeout=PATIENCE, stream="stdout"):
        """Until `expected` has been printed; returns all of it so far."""
        expected = expected.encode() if isinstance(expected, str) else expected
        with self._changed:
            if not self._changed.wait_for(lambda: expected in self._output[stream], timeout):
                raise AssertionError(f"{self.arguments} did not print {expected!r} but {self._output}")
            return self._output[stream]

    @property
    def printed(self):
        """To stdout, so far."""
        with self._changed:
            return self._output["stdout"].decode(errors="replace")

    def output(self, stream="stdout"):
        """All so far."""
        with self._changed:
            return self._output[stream]

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def finish(self, timeout=PATIENCE):
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.process.wait()
            raise AssertionError(f"{self.arguments} did not end within {timeout} s; it printed {self._output}") from None
        for reader in self._readers:
            reader.join(timeout)
        return Result(self.arguments, self.process.returncode, self._output["stdout"], self._output["stderr"])


class Place:
    """A user's world: home, SPELL_DIR and work in one short temporary folder, and the programs of this build.
    `prefix`: what starts them, such as setpriv with its options. `own_programs`: they are copied into the folder, for a user who
    may not come where this build is."""

    def __init__(self, prefix=(), own_programs=False):
        self.prefix = list(prefix)
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="spe2e-", dir="/tmp"))
        self.spell_dir, self.home, self.work = self.root / "d", self.root / "home", self.root / "work"
        for folder in (self.spell_dir, self.home, self.work):
            folder.mkdir(mode=0o700)
        self.programs = BUILD / "bin"
        if own_programs:
            self.programs = self.root / "bin"
            self.programs.mkdir(mode=0o755)
            for program in ("spell", "spelld", "spell-supervisor"):
                shutil.copy(BUILD / "bin" / program, self.programs / program)
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith(("SPELL_", "GIT_", "VIRTUAL_ENV", "XDG_", "PYENV_"))}
        self.environment.update(SPELL_DIR=str(self.spell_dir), HOME=str(self.home), LANG="C.UTF-8", GIT_CONFIG_NOSYSTEM="1",
                                PATH=f"{self.programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        self._running = []

    def start(self, *arguments, env=None, cwd=None, program="spell"):
        """The program in the background: a Running."""
        command = [*self.prefix, str(self.programs / program), *map(str, arguments)]
        running = Running(command, env={**self.environment, **(env or {})}, cwd=cwd or self.work)
        self._running.append(running)
        return running

    def spell(self, *arguments, **options):
        """The command line to its end; see program()."""
        return self.program("spell", *arguments, **options)

    def program(self, name, *arguments, input=None, env=None, cwd=None, check=None, timeout=PATIENCE):
        """A program to its end. `check`: the exit status that it must have."""
        command = [*self.prefix, str(self.programs / name), *map(str, arguments)]
        process = subprocess.Popen(command, env={**self.environment, **(env or {})}, cwd=cwd or self.work, start_new_session=True,
                                   stdin=subprocess.DEVNULL if input is None else subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        try:
            out, errors = process.communicate(input.encode() if isinstance(input, str) else input, timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, errors = process.communicate()
            raise AssertionError(f"no end within {timeout} s: {Result(arguments, None, out, errors)}") from None
        result = Result(arguments, process.returncode, out, errors)
        assert check is None or result.returncode == check, result
        return result

    def service_pid(self):
        """The personal service's; None where there is none. Starts nothing."""
        status = self.spell("service", "status", "--json")
        found = re.search(r'"pid":\s*(\d+)', status.stdout)
        return int(found[1]) if found else None

    def git(self, *arguments, cwd):
        identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]
        subprocess.run(["git", *identity, *arguments], cwd=cwd, env=self.environment, check=True, capture_output=True, timeout=PATIENCE)

    def make_repository(self, name="repo", files=None):
        """A Git repository of one commit; `files`: {path: text}."""
        folder = self.work / name
        folder.mkdir()
        for path, text in (files or {"hello.txt": "hello\n", "sub/deep.txt": "deep\n"}).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        self.git("init", "-q", cwd=folder)
        self.git("add", ".", cwd=folder)
        self.git("commit", "-q", "-m", "first", cwd=folder)
        return folder

    def service_log(self):
        return "\n".join(file.read_text(errors="replace") for file in sorted(self.spell_dir.glob("*.log")))

    def close(self):
        """Ends what is there and removes it; returns what should not have been there."""
        complaints = []
        for running in self._running:
            if running.process.poll() is None:
                running.signal(signal.SIGKILL)
                running.finish()
        if processes_of(self.root):
            complaints += self._stop_service()
        living = wait_gone(processes_of(self.root), 10)
        if left := {pid: name for pid, name in processes_of(self.root).items() if pid in living}:
            complaints.append(f"processes are left: {left}")
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_gone(left, 10)
        if mounted := mounts_below(self.root):
            complaints.append(f"mounts are left: {mounted}")
        bad = [line for line in self.service_log().splitlines() if re.search(r"\b(crash\w*|fatal)\b", line, re.I)]
        if bad:
            complaints.append("the service's log has: " + "\n".join(bad))
        if not mounted:
            shutil.rmtree(self.root, ignore_errors=True)
        return complaints

    def _stop_service(self):
        try:
            listed = self.spell("ps", "--json", "-n", "1000")
            if listed.returncode == 0:
                active = [run["id"] for run in listed.json["runs"] if run["status"] not in FINAL]
                if active:
                    self.spell("kill", *active)
                    self.spell("wait", *active)
            stopped = self.spell("service", "stop")
            return [] if stopped.returncode == 0 else [f"the service could not be stopped: {stopped}"]
        except (AssertionError, ValueError, KeyError) as problem:
            return [f"the service could not be stopped: {problem}"]
