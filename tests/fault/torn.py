#!/usr/bin/env python3
"""Checkpoints that are being written when their run ends: what is saved is one version that was finished, always.

torn.py [--kills N] [--size MEGABYTES] [--seed S]. Programs that write in the ways of WRITERS end in the ways of ENDS, each in each, at
random moments, round by round until the large one, which is rewritten in place, has been ended so often. The content carries its own
checksum. A run's program is this file too (`torn.py write …`); where it finds a version, of the run that it goes on from, it looks
whether that is whole, says which it is, and goes on with the next.
"""
import argparse
import contextlib
import ctypes
import hashlib
import mmap
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid

PIECES, PARTS, LINE = 16, 8, 64
BLOCK = 64 << 10
KEPT = 3  # folders


# ---- what is written, and how one sees that it is whole

def content(version, size):
    """Pieces that make up a version. Its last bytes are the checksum of all before."""
    sum_, made = hashlib.sha256(), 0
    body, piece = size - 32, max(BLOCK, size // PIECES)
    while made < body:
        part = b"" if made else b"torn" + version.to_bytes(8, "big")
        while len(part) < min(piece, body - made):
            part += hashlib.sha256(b"%d %d" % (version, made + len(part))).digest() * (BLOCK // 32)
        part = part[:body - made]
        sum_.update(part)
        made += len(part)
        yield part
    yield sum_.digest()


class Torn(Exception):
    pass


def version_of(path):
    """Of a file that is whole."""
    data = memoryview(path.read_bytes())
    if data[:4] != b"torn" or hashlib.sha256(data[:-32]).digest() != data[-32:]:
        raise Torn(f"{path.name}: no whole version in its {len(data)} bytes, which begin with {bytes(data[:12])!r}")
    return int.from_bytes(data[4:12], "big")


def line_of(number):
    return b"%010d,%s\n" % (number, hashlib.sha256(b"%d" % number).hexdigest()[:LINE - 12].encode())


class InPlace:
    """One file, written over where it is, every other time made anew."""

    def __init__(self, size, rng, pause):
        self.size, self.rng, self.pause, self.path = size, rng, pause, pathlib.Path("model")

    @staticmethod
    def found(folder):
        """The version that is there, 0: none; Torn where it is not whole."""
        path = folder / "model"
        return version_of(path) if path.exists() else 0

    def write(self, version):
        with open(self.path, "r+b" if self.path.exists() and self.rng.random() < 0.5 else "wb", buffering=0) as file:
            for piece in content(version, self.size):
                file.write(piece)
                self.pause()


class Mapped(InPlace):
    """Written through a mapping; its descriptor is closed before."""

    def write(self, version):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
        libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(fd, self.size)
        at = libc.mmap(None, self.size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, fd, 0)
        assert at not in (None, ctypes.c_void_p(-1).value), os.strerror(ctypes.get_errno())
        os.close(fd)
        done = 0
        for piece in content(version, self.size):
            ctypes.memmove(at + done, piece, len(piece))
            done += len(piece)
            self.pause()
        assert libc.munmap(at, self.size) == 0


class Folder(InPlace):
    """A new folder of eight files for each version, straight in its place."""

    @staticmethod
    def found(folder):
        newest = 0
        for path in folder.glob("step-*"):
            version = int(path.name.removeprefix("step-"))
            parts = {part.name: version_of(part) for part in path.iterdir()}
            if parts != {f"part-{i}": version for i in range(PARTS)}:
                raise Torn(f"{path.name}: {parts}")
            newest = max(newest, version)
        return newest

    def write(self, version):
        target = pathlib.Path(f"step-{version}")
        target.mkdir()
        for i in range(PARTS):
            with open(target / f"part-{i}", "wb", buffering=0) as file:
                for piece in content(version, self.size // PARTS):
                    file.write(piece)
            self.pause()
            self.pause()
        shutil.rmtree(".old", ignore_errors=True)
        if (old := pathlib.Path(f"step-{version - KEPT}")).exists():
            old.rename(".old")


class Table(InPlace):
    """A table that stays open and grows line by line."""

    @staticmethod
    def found(folder):
        path = folder / "table.csv"
        data = path.read_bytes() if path.exists() else b""
        if data != b"".join(map(line_of, range(len(data) // LINE))):
            raise Torn(f"{path.name}: its {len(data)} bytes are not whole lines, or not these")
        return len(data) // LINE

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.file = open("table.csv", "ab", buffering=0)
        self.lines = self.file.tell() // LINE

    def write(self, version):
        for _ in range(self.rng.randrange(1, 2000)):
            self.file.write(line_of(self.lines))
            self.lines += 1


WRITERS = {"in place": InPlace, "mapped": Mapped, "folder": Folder, "table": Table}


def program(kind, size, seed, witness, stubborn):
    """Writes versions until it is ended."""
    rng = random.Random(f"{seed} {os.environ.get('SPELL_RUN')}")
    if stubborn == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def burst(*_):
        """No memory is left in the middle of whatever it does."""
        held = []
        while True:
            held.append(b"x" * (8 << 20))

    signal.signal(signal.SIGUSR1, burst)
    try:
        version = WRITERS[kind].found(pathlib.Path())
    except Torn as torn:
        print(f"torn: {torn}", flush=True)
        sys.exit(9)
    print(f"found {version}", flush=True)
    size, slow = int(size), max(1.0, int(size) / 50e6)
    length = 0.0

    def pause():
        time.sleep(length * rng.uniform(0, 2))

    writer = WRITERS[kind](size, rng, pause)
    while True:
        version += 1
        length = rng.uniform(0.2, 0.8) / PIECES * min(slow, 2)
        writer.write(version)
        with open(witness, "a") as file:
            file.write(f"{version}\n")
        time.sleep(rng.uniform(0.2, 1.0) * slow if kind != "table" else 0.05)


if __name__ == "__main__" and sys.argv[1:2] == ["write"]:
    program(*sys.argv[2:7])

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
import faults  # noqa: E402
import harness  # noqa: E402
from machines import Machine, spell, wait_run  # noqa: E402
from team import Team  # noqa: E402

PATIENCE = 120
BOOT_ID = "/proc/sys/kernel/random/boot_id"


# ---- what the host can do

def memory_limit():
    """(a new memory cgroup that can be limited, its file for the limit), or why there is none."""
    for top, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = pathlib.Path(top, f"spell-torn-{uuid.uuid4().hex[:8]}")
        try:
            group.mkdir()
        except OSError:
            continue
        if os.access(group / limit, os.W_OK):
            return (group, group / limit), ""
        group.rmdir()
    return None, "no cgroup of memory can be made here"


def other_boot(root):
    """What starts a program in a boot of its own, or why it cannot."""
    other = root / f"boot-{uuid.uuid4()}"
    other.write_text(f"{uuid.uuid4()}\n")
    command = ["unshare", "-m", "sh", "-c", f'mount --bind {other} {BOOT_ID} && exec "$@"', "sh"]
    tried = subprocess.run([*command, "cat", BOOT_ID], capture_output=True, text=True)
    return (command, "") if tried.stdout == other.read_text() else (None, f"another boot id: {tried.stderr.strip()}")


def lose_power(folder, rng):
    """What a disk may have of files that were closed and never synced: not all of their pages, whatever size and time say, or the
    first ones only of those that grow or were new."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        st = path.stat()
        if path.suffix == ".csv":
            os.truncate(path, st.st_size // LINE * rng.randrange(3) // 3 * LINE)
        elif rng.random() < 0.2:
            os.truncate(path, 0)
        else:
            with open(path, "r+b") as file:
                file.seek(rng.randrange(max(1, st.st_size // 4096)) * 4096)
                file.write(bytes(min(4096, st.st_size - file.tell())))
        os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))


class Subject:
    """A run that is to be ended."""

    def __init__(self, test, kind, end, size):
        self.test, self.kind, self.end = test, kind, end
        self.witness = test.place.root / "witness" / uuid.uuid4().hex
        self.stubborn = end == "stop" and test.rng.random() < 0.5
        seed, how = test.rng.getrandbits(32), "stubborn" if self.stubborn else "obedient"
        command = f"exec /usr/bin/python3 {pathlib.Path(__file__).resolve()} write '{kind}' {size} {seed} {self.witness} {how}"
        options = ["--timeout", test.timeout / 60] if end == "timeout" else ["--stop-grace", "1"]
        made = test.spell("run", "-f", "-b", "--json", "-m", test.target(end), "--cpus", 1, "--memory", "500M", *options, command, check=0)
        self.number = made.json["run"]["id"]
        self.was_safe = False

    def __str__(self):
        return f"run {self.number} ({self.kind}, {self.end})"

    def info(self):
        return self.test.spell("info", self.number, "--json", check=0).json["run"]

    def wait_safe(self):
        """Until a version is safe; by its end it may not have come so far."""
        run = harness.wait_for(lambda: (run := self.info()) and (run["output_files"] > 0 or run["ended_at"]) and run, PATIENCE,
                               f"anything of {self} to be safe")
        self.was_safe = run["output_files"] > 0 and not run["ended_at"]
        return self.was_safe

    def pid(self):
        found = {pid: line for pid, line in harness.processes_of(self.witness).items() if line.startswith("/usr/bin/python3 ")}
        return next(iter(found), None)


class Torment:
    ENDS = ("machine", "power", "signal", "oom", "stop", "timeout")

    def __init__(self, place, seed, timeout=6):
        self.place, self.rng, self.timeout = place, random.Random(seed), timeout
        self.failures, self.skipped, self.lock = [], {}, threading.Lock()
        self.counts, self.safe = {}, 0
        (place.root / "witness").mkdir()
        self.team = Team(place)
        for name, lost_after in (("gone", 1), ("dark", 60)):  # the dark one is back before it is lost
            self.spell("machine-type", "add", f"{name}-type", "--spot", "--default-auto-resume", "--cpus", "1", "--lost-after", lost_after,
                       check=0)
        self.boxes = {name: Machine(self.team, name, *options, config="cores = 32\n", cores=32) for name, options in
                      {"here": (), "gone": ("--serves", "gone-type"), "dark": ("--serves", "dark-type"),
                       "spare": ("--serves", "gone-type", "--serves", "dark-type")}.items()}
        self.limit, why = memory_limit()
        if not self.limit:
            self.skipped["oom"] = why
        if why := other_boot(place.root)[1]:
            self.skipped["power"] = why

    def spell(self, *arguments, **options):
        return spell(self.team, *arguments, **options)

    @staticmethod
    def target(end):
        return {"machine": "gone-type", "power": "dark-type"}.get(end, "here")

    def fail(self, text):
        with self.lock:
            self.failures.append(text)
        print(f"torn: FAILED: {text}", flush=True)

    # ---- one round

    def round(self, sizes, ends=ENDS):
        """`sizes`: {kind of writer: bytes of a version}. Each in each end, all at once."""
        self.spell("machine", "drain", "spare", check=0)
        subjects = [Subject(self, kind, end, size) for end in ends if end not in self.skipped for kind, size in sizes.items()]
        actors = [threading.Thread(target=self.guard, args=(self.act, end, [s for s in subjects if s.end == end], self.rng.random()))
                  for end in ends if end not in self.skipped]
        for actor in actors:
            actor.start()
        for actor in actors:
            actor.join()
        for box in self.boxes.values() if not self.failures else ():
            box.wait_empty()

    def guard(self, actor, *arguments):
        try:
            actor(*arguments)
        except Exception as problem:
            self.fail(f"{actor.__name__} {arguments[0]}: {problem!r}")

    def act(self, end, subjects, moment):
        for subject in subjects:
            subject.wait_safe()
        rng = random.Random(moment)
        time.sleep(rng.uniform(0, 2))
        {"machine": self.lose, "power": self.lose, "signal": self.kill, "oom": self.run_out, "stop": self.stop,
         "timeout": lambda *_: None}[end](end, subjects, rng)
        for subject in subjects:
            self.check(subject)

    def lose(self, end, subjects, rng):
        box = self.boxes["gone" if end == "machine" else "dark"]
        while found := harness.processes_of(box.folder):
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            harness.wait_gone(found, 10)
        box.running.finish()
        if end == "power":
            for run in (box.folder / "worker/runs").iterdir():
                if not run.name.startswith("."):
                    lose_power(run / "spell", rng)
            command, _ = other_boot(self.place.root)
            command += [str(self.place.programs / "spell-worker"), "run", "--state", str(box.folder)]
            box.running = harness.Running(command, env=self.place.environment, cwd=self.place.work)
            box.wait_connected()

    def kill(self, end, subjects, rng):
        for subject in subjects:
            os.kill(harness.wait_for(subject.pid, what=f"{subject}'s process"), signal.SIGKILL)

    def run_out(self, end, subjects, rng):
        group, limit = self.limit
        limit.write_text(f"{64 << 20}")
        for subject in subjects:
            pid = harness.wait_for(subject.pid, what=f"{subject}'s process")
            (group / "cgroup.procs").write_text(str(pid))
            os.kill(pid, signal.SIGUSR1)

    def stop(self, end, subjects, rng):
        self.spell("stop", *(subject.number for subject in subjects), check=0)

    # ---- the promise

    # A machine that is back by then has brought the end of what had been given up.
    ENDED = {"machine": ("interrupted", "machine_lost", "late_result"), "power": ("interrupted", "host_reboot"), "signal": ("complete", ""),
             "oom": ("complete", ""), "stop": ("stopped", "stopped_by_user"), "timeout": ("stopped", "timeout")}

    def check(self, subject):
        run = harness.wait_for(lambda: (run := subject.info())["ended_at"] and run, PATIENCE, f"the end of {subject}")
        status, *reasons = self.ENDED[subject.end]
        if run["status"] != status or run["reason_code"] not in reasons:
            return self.fail(f"{subject} ended as {run['status']}, {run['reason_code']}: {run['reason']}; {self.log(subject.number)}")
        found = self.saved(subject, subject.number)
        if subject.end in ("machine", "power") and found is not None:
            self.check_successor(subject, run, found)
        with self.lock:
            self.counts[subject.kind, subject.end] = self.counts.get((subject.kind, subject.end), 0) + 1
            self.safe += bool(found)
        return self.spell("rm", "-f", subject.number)

    def saved(self, subject, number):
        """The version that is; None where that is a failure."""
        target = self.place.root / "saved" / str(number)
        target.parent.mkdir(exist_ok=True)
        copied = self.spell("cp", f"runs/{number}", target, timeout=PATIENCE)
        try:
            version = WRITERS[subject.kind].found(target) if target.exists() else 0
            if version == 0 and subject.was_safe:
                raise Torn(f"nothing is saved, and something was; {copied}")
            return version
        except Torn as torn:
            return self.fail(f"{subject}: {torn}; {self.log(number)}")
        finally:
            shutil.rmtree(target, ignore_errors=True)

    def check_successor(self, subject, run, found):
        box = self.boxes["gone" if subject.end == "machine" else "dark"]
        after = harness.wait_for(lambda: subject.info()["resumed_as_run"], PATIENCE, f"the successor of {subject}")
        with self.lock:
            self.spell("machine", "resume", "spare", check=0)
            if box.running.process.poll() is not None:
                box.start()
        said = harness.wait_for(lambda: re.search(r"(?m)^(found \d+|torn: .*)$", self.spell("logs", after).stdout), PATIENCE,
                                f"run {after} to look at what it goes on from")
        # What its predecessor's machine brought later is the predecessor's alone.
        if not said[1].startswith("found ") or not 0 < int(said[1].split()[1]) <= found:
            self.fail(f"{subject} goes on as run {after}, which said '{said[1]}'; saved is {found}; {self.log(after)}")
        self.spell("kill", after)
        wait_run(self.team, after)
        self.spell("rm", "-f", after)

    def log(self, number):
        return self.spell("logs", "-v", number).stdout[-3000:]

    def close(self):
        for box in self.boxes.values():
            box.close()
        if self.limit:
            with contextlib.suppress(OSError):
                self.limit[0].rmdir()

    def figures(self):
        told = [f"{kind} by {end} {count}" for (kind, end), count in sorted(self.counts.items())]
        told += [f"{end} skipped ({why})" for end, why in self.skipped.items()]
        return ", ".join([*told, f"with a version saved {self.safe}", f"failures {len(self.failures)}"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="of the large one (default: %(default)s)")
    parser.add_argument("--size", type=float, default=200, help="megabytes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    options = parser.parse_args()
    print(f"torn: seed {options.seed}, {options.kills} ends of a program that rewrites {options.size:g} MB in place", flush=True)
    place = harness.Place()
    large, small = int(options.size * 1e6), 8_000_000
    test = None
    try:
        test = Torment(place, options.seed, timeout=12 if large > 50e6 else 6)
        while sum(count for (kind, _), count in test.counts.items() if kind == "in place") < options.kills and not test.failures:
            test.round({"in place": large, "mapped": small, "folder": small, "table": small})
    except Exception as problem:
        if not test:
            raise
        test.fail(repr(problem))
    finally:
        if test:
            test.close()
        complaints = place.close()
        for complaint in complaints if test else []:
            test.fail(complaint)
    print(f"torn: {test.figures()}")
    if test.failures:
        print(f"torn: failed; again: tests/fault/torn.py --kills {options.kills} --size {options.size:g} --seed {options.seed}")
    return 1 if test.failures else 0


if __name__ == "__main__":
    sys.exit(main())
