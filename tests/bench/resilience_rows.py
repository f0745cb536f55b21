"""Machines that go, and what their runs lose by it."""
import concurrent.futures
import contextlib
import datetime
import hashlib
import itertools
import json
import os
import pathlib
import signal
import socket
import statistics
import time

from place import PATIENCE, PROGRAMS, Skipped, output_of, processes_of, wait_gone
from rows import Measures, row
from service_rows import cpu_seconds, joined, team

LOST_AFTER = 10  # seconds: of spot machines, if nobody says otherwise
STEP = 0.01      # between two looks at what nothing tells of


def time_of(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def awaited(look, what):
    """The first true value of it."""
    end = time.monotonic() + PATIENCE
    while not (value := look()):
        if time.monotonic() > end:
            raise RuntimeError(f"waited {PATIENCE} s in vain for {what}")
        time.sleep(STEP)
    return value


class Site:
    """A team's service and machines that come and go."""

    def __init__(self, service):
        self.service, self.boxes, self.numbers = service, {}, itertools.count()

    def box(self, *options):
        """The name of a new machine, which is there."""
        name = f"box{next(self.numbers)}"
        self.boxes[name], _ = joined(self.service, name, *options)
        return name

    def folder(self, name):
        return self.service.here.root / name

    def lose(self, name):
        """All its processes, at once: none of them sees another one go. Returns when that was."""
        at = time.time()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            known = set()
            while found := set(processes_of(self.folder(name))) - known:
                for pid in found:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
                known |= found
        self.boxes[name].wait(PATIENCE)
        wait_gone(known, PATIENCE)
        return at

    def run(self, *arguments):
        """The number of a new run, which is running."""
        made = json.loads(self.service.spell("run", "-f", "-b", "--json", *arguments))["run"]
        awaited(lambda: (run := self.info(made["id"]))["status"] == "running" or run["ended_at"], f"run {made['id']} to run")
        return made["id"]

    def info(self, number):
        return json.loads(self.service.spell("info", number, "--json"))["run"]

    def ended(self, number):
        return awaited(lambda: (run := self.info(number))["ended_at"] and run, f"the end of run {number}")

    def interrupted(self, number):
        run = self.ended(number)
        if run["status"] != "interrupted":
            raise RuntimeError(f"run {number} is {run['status']}: {run['reason']}")
        return run

    def names(self, path):
        try:
            return {entry["path"] for entry in json.loads(self.service.spell("ls", path, "--json"))["entries"]}
        except RuntimeError:
            return set()  # nothing of it is there yet

    def close(self):
        for worker in self.boxes.values():
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.send_signal(signal.SIGTERM)
                worker.wait(PATIENCE)


@contextlib.contextmanager
def site():
    with team() as service:
        here = Site(service)
        try:
            yield here
        finally:
            here.close()


def until_interrupted(lose):
    """Measures of lose(site, box): the time until its run is `interrupted`, in times that which is set."""
    with site() as here:
        def figure():
            box = here.box("--lost-after", LOST_AFTER)
            run = here.run("-m", box, "sleep 1000")
            time.sleep(1.5)  # a backup of it has begun
            at = lose(here, box)
            taken = time_of(here.interrupted(run)["ended_at"]) - at
            here.lose(box)
            return taken / LOST_AFTER
        yield Measures(figure)


@row("resilience-lost", f"a machine dies (its connection with it): until its run is `interrupted`, lost after {LOST_AFTER} s", "× the set time",
     "1.2")
def lost():
    yield from until_interrupted(lambda here, box: here.lose(box))


@row("resilience-silent", f"a machine falls silent: until its run is `interrupted`, lost after {LOST_AFTER} s", "× the set time", "1.2")
def silent():
    def freeze(here, box):
        here.boxes[box].send_signal(signal.SIGSTOP)
        return time.time()

    yield from until_interrupted(freeze)


@row("resilience-notice", "`spell machine interrupt --in 2`: from when the machine goes until its run is `interrupted`", "s", "1")
def notice(within=2):
    if "interrupt" not in output_of(PROGRAMS / "spell", "machine", "--help"):
        raise Skipped("there is no `spell machine interrupt`")
    with site() as here:
        def figure():
            box = here.box("--lost-after", LOST_AFTER)
            run = here.run("-m", box, "sleep 1000")
            time.sleep(1.5)
            at = time.time() + within
            here.service.spell("machine", "interrupt", box, "--in", within)
            taken = time_of(here.interrupted(run)["ended_at"]) - at
            here.lose(box)
            return taken
        yield Measures(figure)


@row("resilience-resume", "from `interrupted` to the resumed run `running` on a free machine, ten files of 1 MB put back, median of 10", "s", "1.5")
def resume(losses=10):
    # Each has something new to show for itself: else the next one is made to wait.
    command = "mkdir -p out; for i in 0 1 2 3 4 5 6 7 8 9; do head -c 1000000 /dev/urandom > out/$i; done; touch life-$SPELL_RUN; sleep 1000"
    with site() as here:
        here.service.spell("machine-type", "add", "spot", "--spot", "--default-auto-resume", "--cpus", "2", "--lost-after", 1)

        def figure():
            run, taken = None, []
            for _ in range(losses):
                here.box("--serves", "spot", "--cpus", 2)
                if run is None:
                    run = here.run("-m", "spot", command)
                    here.box("--serves", "spot", "--cpus", 2)
                awaited(lambda: f"life-{run}" in here.names(f"runs/{run}"), "its files to be safe")
                here.lose(here.info(run)["machine"])
                before = here.interrupted(run)
                run = before["resumed_as_run"]
                awaited(lambda: here.info(run)["started_at"], f"run {run} to run")
                taken.append(time_of(here.info(run)["started_at"]) - time_of(before["ended_at"]))
            here.service.spell("kill", run)
            here.ended(run)
            return statistics.median(taken)
        yield Measures(figure)


# A file of 200 KB in place ten times a second; when it was closed goes to the witness.
WRITES = """
import os, socket, sys, time
witness = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
for n in range(100000):
    with open(f"file-{n}", "wb") as file:
        file.write(os.urandom(200_000))
    witness.sendall(f"{n} {time.time()}\\n".encode())
    time.sleep(0.1)
"""


@row("resilience-safe", "files finished more than 3 s before their machine is lost that are missing, of 20 losses", "", "none", repeatable=False)
def safe(losses=20, at_once=4):
    notes = []

    def lose_one(here, n):
        """How long before the loss each file was finished, and the numbers of those that are safe."""
        box = here.box("--lost-after", 2)
        with socket.create_server(("127.0.0.1", 0)) as witness:
            run = here.run("-m", box, "--include-untracked", f"exec python3 writes.py {witness.getsockname()[1]}")
            told, _ = witness.accept()
        time.sleep(5 + n / losses * 3)
        at = here.lose(box)
        here.interrupted(run)
        there = here.names(f"runs/{run}")
        with told, told.makefile() as text:
            lines = [line.split() for line in text]
        return [at - float(when) for number, when in lines], {int(name[5:]) for name in there if name.startswith("file-")}

    def figure():
        finished, missing, oldest = 0, 0, 0.0
        with site() as here:
            (here.service.here.work / "writes.py").write_text(WRITES)
            with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
                for closed, there in pool.map(lambda n: lose_one(here, n), range(losses)):
                    finished += sum(age > 3 for age in closed)
                    missing += sum(age > 3 and number not in there for number, age in enumerate(closed))
                    oldest = max([oldest, *(age for number, age in enumerate(closed) if number not in there)])
        if not finished:
            raise RuntimeError("no file was finished in time")
        notes.append(f"{finished} files were finished more than 3 s before; the oldest that is missing was finished {oldest:.2f} s before")
        return missing

    yield Measures(figure, notes=notes)


def sha_seconds(size):
    """Of one core, for so many bytes."""
    data = os.urandom(1 << 20)
    begin = time.process_time()
    for _ in range(size >> 20):
        hashlib.sha256(data).digest()
    return time.process_time() - begin


def sha_note():
    has = "sha_ni" in pathlib.Path("/proc/cpuinfo").read_text()
    return f"this processor has {'' if has else 'no '}SHA-NI; the floor is SHA-256 alone"


STREAMS = """
import os, time
begin = time.monotonic()
for n in range(100000):
    with open(f"file-{n % 8}", "wb") as file:
        file.write(os.urandom(25_000_000))
    time.sleep(max(0, begin + (n + 1) / 2 - time.monotonic()))
"""


@row("resilience-cost", "processor time of the worker while a run writes 50 MB/s of noise that is backed up", "% of a core", "10 with SHA-NI")
def cost(watched=15):
    notes = [sha_note()]
    with site() as here:
        (here.service.here.work / "streams.py").write_text(STREAMS)

        def figure():
            box = here.box()
            run = here.run("-m", box, "--include-untracked", "exec python3 streams.py")
            time.sleep(5)
            before, begin = cpu_seconds(here.boxes[box].pid), time.monotonic()
            time.sleep(watched)
            used = (cpu_seconds(here.boxes[box].pid) - before) / (time.monotonic() - begin) * 100
            backlog = here.info(run).get("backlog")
            notes[1:] = [f"not safe after {watched + 5} s: {backlog}"] if backlog else []
            here.service.spell("kill", run)
            here.ended(run)
            here.boxes[box].send_signal(signal.SIGTERM)
            here.boxes[box].wait(PATIENCE)
            return used
        yield Measures(figure, lambda: sha_seconds(50_000_000) * 100, notes=notes)


@row("resilience-share", "one checkpoint of 200 MB a minute: processor time of its backup, of a minute of one core", "%", "2")
def share(size=200_000_000):
    notes = [sha_note()]
    with site() as here:
        def figure():
            box = here.box()
            run = here.run("-m", box, f"sleep 3; head -c {size} /dev/urandom > .part; mv .part checkpoint; sleep 1000")
            time.sleep(1.5)
            before, begin = cpu_seconds(here.boxes[box].pid), time.monotonic()
            awaited(lambda: "checkpoint" in here.names(f"runs/{run}"), "the checkpoint to be safe")
            used = cpu_seconds(here.boxes[box].pid) - before
            notes[1:] = [f"{used:.2f} s of processor time; safe within {time.monotonic() - begin - 1.5:.1f} s of the beginning of its writing"]
            here.service.spell("kill", run)
            here.ended(run)
            here.boxes[box].send_signal(signal.SIGTERM)
            here.boxes[box].wait(PATIENCE)
            return used / 60 * 100
        yield Measures(figure, lambda: sha_seconds(size) / 60 * 100, notes=notes)
