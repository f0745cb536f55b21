"""What is measured: each row of the table, its floor and its peer."""
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
import typing

from place import PATIENCE, PROGRAMS, Skipped, output_of, place, seconds_of

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests/contract"))
from database import changing  # noqa: E402


@dataclasses.dataclass
class Measures:
    """How to take one sample each, in the row's unit."""
    figure: typing.Callable
    floor: typing.Optional[typing.Callable] = None
    peer: typing.Optional[typing.Callable] = None
    notes: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Row:
    name: str
    what: str
    unit: str
    asked: str
    open: typing.Callable       # a context manager that yields Measures
    repeatable: bool = True     # False: a count, the same each time


ROWS = []


def row(name, what, unit, asked, repeatable=True):
    def add(function):
        ROWS.append(Row(name, what, unit, asked, contextlib.contextmanager(function), repeatable))
        return function
    return add


@row("runs", "1,000 runs of `true`, one SDK client", "runs/s", "300, 0.4 × floor, 0.5 × tsp")
def runs(count=1000):
    notes, submitted, cpu = [], [], {"runs": [], "floor": [], "tsp": []}

    def figure():
        with place(cpu["runs"]) as here:
            here.spell("status")
            took = json.loads(here.program("spell_bench_runs", count))
            submitted.append(took["submitted"])
            return count / took["complete"]

    def floor():
        with place(cpu["floor"]) as here:
            return count / float(here.program("spell_bench_floor_runs", count, 4, here.work))

    def peer():
        with place(cpu["tsp"]) as here:
            here.environment.update(TS_SOCKET=str(here.root / "tsp"), TMPDIR=str(here.work), TS_MAXFINISHED=str(2 * count))
            output_of("tsp", "-S", "2", **here.options)
            start = time.perf_counter()
            output_of("bash", "-c", f"for ((i = 0; i < {count}; ++i)); do tsp true; done", **here.options)
            while output_of("tsp", "-l", **here.options).count(" finished ") < count:
                output_of("tsp", "-w", **here.options)
            took = time.perf_counter() - start
            output_of("tsp", "-K", **here.options)
            return count / took

    yield Measures(figure, floor, peer if shutil.which("tsp") else None, notes)
    each = ", ".join(f"{name} {statistics.median(used) / count * 1000:.1f} ms" for name, used in cpu.items() if used)
    notes.append(f"all submitted within {statistics.median(submitted):.2f} s; processor time for one: {each}")


CALL = re.compile(r"^(\d+) +([\d.]+) (?:<\.\.\. )?(\w+)")


def syncs_of(trace):
    """(start, end, path) of each call in strace's lines `PID TIME call(FD<PATH>) = 0 <SECONDS>`."""
    started, found = {}, []
    for text in trace.splitlines():
        if not (call := CALL.match(text)):
            continue
        if "<... " not in text:
            path = re.search(r"\(\d+<([^>]*)>", text)
            started[call[1]] = (float(call[2]), path[1] if path else "?")
        if took := re.search(r"<([\d.]+)>$", text):
            begin, path = started.pop(call[1])
            found.append((begin, max(float(call[2]), begin + float(took[1])), path))
    return found


def in_a_row(calls):
    """The longest chain of calls of which each began after the one before had ended."""
    chain, end = [], 0
    for call in sorted(calls, key=lambda call: call[1]):
        if call[0] >= end:
            chain.append(call)
            end = call[1]
    return chain


@row("fsyncs", "fsyncs in a row for a run", "", "at most 6", repeatable=False)
def fsyncs():
    if not shutil.which("strace"):
        raise Skipped("strace is not installed")
    notes = []

    def figure():
        with place() as here:
            here.program("spell_bench_runs", 1)
            trace = here.root / "trace"
            tracer = subprocess.Popen(
                ["strace", "-f", "-y", "-ttt", "-T", "-e", "trace=fsync,fdatasync,sync_file_range,msync,sync,syncfs", "-o", trace,
                 "-p", str(here.service()["pid"])], stderr=subprocess.PIPE, text=True)
            if "attached" not in (said := tracer.stderr.readline()):
                tracer.kill()
                raise Skipped(f"strace cannot look at spelld: {said.strip()}")
            here.program("spell_bench_runs", 1)
            time.sleep(0.3)  # what comes after the end belongs to the run, too
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=PATIENCE)
            calls = syncs_of(trace.read_text())
            chain = in_a_row(calls)
            notes.append(f"{len(calls)} in all; in a row: " + ", ".join(pathlib.Path(path).name for _, _, path in chain))
            return len(chain)

    yield Measures(figure, notes=notes)


@row("submit", "submissions, 16 clients, durable", "/s", "6,000")
def submit(count=8000):
    def figure():
        with place() as here:
            blocker = json.loads(here.spell("run", "-b", "-f", "--json", "sleep 1000"))["run"]["id"]
            owner = here.service()["owner"]
            return count / float(here.program("spell_bench_submit", here.spell_dir / "spelld.sock", owner, count, 16, blocker))

    def floor():
        with place() as here:
            return count / float(here.program("spell_bench_floor_submit", here.work / "floor.db", count))

    yield Measures(figure, floor)


@row("run", "`spell run true`, service warm", "ms", "40, 1.5 × srun")
def run():
    with place() as here:
        here.spell("run", "-f", "true")
        unshare = ["unshare", "-pfm", *([] if os.geteuid() == 0 else ["-r"]), "bash", "-c", "true"]
        srun = shutil.which("srun")
        yield Measures(lambda: here.milliseconds("spell", "run", "-f", "true"), lambda: here.milliseconds(*unshare),
                       (lambda: here.milliseconds("srun", "true")) if srun else None,
                       [] if srun else ["Slurm is not installed: no peer"])


def store_runs(here, count):
    """Copies of a real run, put straight into the database, until there are so many."""
    here.spell("run", "-f", "true")
    here.stop_service()
    with changing(here.spell_dir / "spell.db") as db:
        columns = [name for _, name, *_ in db.execute("PRAGMA table_info(run)")]
        other = {"id": "printf('%032x', n)", "number": "n", "created_us": "created_us + n"}
        numbers = f"WITH RECURSIVE copy(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM copy WHERE n < {count})"
        model = db.execute("SELECT id FROM run WHERE number = 1").fetchone()[0]
        db.execute(f"{numbers} INSERT INTO run ({', '.join(columns)}) SELECT {', '.join(other.get(c, c) for c in columns)}"
                   " FROM run, copy WHERE number = 1")
        columns = [name for _, name, *_ in db.execute("PRAGMA table_info(event)")]
        db.execute(f"{numbers} INSERT INTO event ({', '.join(columns)}) SELECT"
                   f" {', '.join('printf(%s, n)' % repr('%032x') if c == 'run' else c for c in columns)}"
                   " FROM event, copy WHERE run = ?", (model,))
        db.execute("UPDATE owner SET last_number = ?", (count,))
    stored = sum(here.service()["runs_by_status"].values())
    assert stored == count, stored


@row("version", "`spell --version`", "ms", "5")
def version():
    with place() as here:
        yield Measures(lambda: here.milliseconds("spell", "--version"), lambda: here.milliseconds("true"))


@row("ps", "`spell ps`, 10,000 runs stored", "ms", "20")
def ps():
    with place() as here:
        store_runs(here, 10_000)
        yield Measures(lambda: here.milliseconds("spell", "ps"), lambda: here.milliseconds("true"))


def median_echo(key, keys=200):
    """Milliseconds from a byte's way out to its way back; `key` sends one and waits for it."""
    for _ in range(20):
        key()
    taken = []
    for _ in range(keys):
        begin = time.perf_counter()
        key()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken) * 1000


@row("service-exec", "a key echoed by `spell exec -t`", "ms", "5")
def exec_echo():
    def through(command, **options):
        """A program on a terminal of its own, whose echo of a key is waited for."""
        master, slave = os.openpty()
        program = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=subprocess.DEVNULL, start_new_session=True, **options)
        os.close(slave)
        try:
            while b"here" not in os.read(master, 4096):
                pass

            def key():
                os.write(master, b"x")
                while b"x" not in os.read(master, 4096):
                    pass

            return median_echo(key)
        finally:
            program.kill()
            program.wait()
            os.close(master)

    with place() as here:
        number = json.loads(here.spell("run", "-b", "-f", "--json", "sleep 1000"))["run"]["id"]
        while json.loads(here.spell("info", "--json", number))["run"]["status"] != "running":
            time.sleep(0.05)
        # cat on a terminal: its line discipline echoes each key at once
        yield Measures(lambda: through([f"{PROGRAMS}/spell", "exec", "-t", str(number), "echo here; cat"], **here.options),
                       lambda: through(["sh", "-c", "stty raw; echo here; exec cat"], **here.options))


@row("log", "200 MB printed, followed live, identical", "MB/s", "100")
def log(size=200_000_000):
    chatter = f"{PROGRAMS}/spell_bench_chatter {size}"
    expected = hashlib.sha256(output_of_bytes(chatter)).hexdigest()
    with place() as here:
        here.spell("run", "-f", "true")

        def figure():
            out = here.root / "followed"
            took = seconds_of("bash", "-c", f"spell run -f '{chatter}' > {out}", **here.options)
            with open(out, "rb") as file:
                assert hashlib.file_digest(file, "sha256").hexdigest() == expected, "the followed log differs from what was printed"
            here.spell("rm", "-f", json.loads(here.spell("ps", "--json", "-n", "1"))["runs"][0]["id"])
            return size / took / 1e6

        def floor():
            command = f"{chatter} | spell_bench_floor_log {here.work.parent}/one {here.work.parent}/two"
            return size / seconds_of("bash", "-c", command, **here.options) / 1e6

        yield Measures(figure, floor)


def output_of_bytes(command):
    return subprocess.run(command.split(), check=True, capture_output=True, timeout=PATIENCE).stdout


def numbers_in(path, *names):
    """The sums of a /proc file's `Name: NUMBER` lines."""
    text = pathlib.Path(path).read_text()
    return sum(int(found) for name in names for found in re.findall(rf"^{name}:\s+(\d+)", text, re.M))


@row("idle", "idle `spelld`", "MB resident", "25, no wake-ups to speak of", repeatable=False)
def idle(rest=20, watched=30):
    notes = []

    def figure():
        with place() as here:
            here.spell("run", "-f", "true")
            for _ in range(4):
                here.spell("run", "-f", "true")
            pid = here.service()["pid"]
            time.sleep(rest)

            def switches():
                return {task: numbers_in(task / "status", "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")
                        for task in pathlib.Path(f"/proc/{pid}/task").iterdir()}
            before = switches()
            time.sleep(watched)
            after = switches()
            woken = {task.name: n - before.get(task, 0) for task, n in after.items() if n != before.get(task, 0)}
            pss = numbers_in(f"/proc/{pid}/smaps_rollup", "Pss") * 1024 / 1e6
            notes.append(f"{sum(woken.values())} wake-ups in {watched} s, {len(after)} threads; {pss:.1f} MB proportional (Pss)")
            return numbers_in(f"/proc/{pid}/status", "VmRSS") * 1024 / 1e6

    yield Measures(figure, notes=notes)


def standard_headers_of(header):
    """The standard headers that a public header includes, by itself or through others of ours."""
    found, open_names, seen = set(), [header], set()
    while open_names:
        name = open_names.pop()
        if name in seen:
            continue
        seen.add(name)
        text = (SOURCE / "include" / name).read_text()
        found.update(re.findall(r"^#include <([^/>]+)>", text, re.M))
        open_names += re.findall(r'^#include [<"](spell/[^>"]+)[>"]', text, re.M)
    return sorted(found)


@row("header", "`#include <spell/spell.hpp>` above its standard headers", "s", "0.3")
def header():
    notes = []
    with place() as here:
        standard = "".join(f"#include <{name}>\n" for name in standard_headers_of("spell/spell.hpp"))
        (here.work / "standard.cpp").write_text(standard)
        (here.work / "ours.cpp").write_text(standard + "#include <spell/spell.hpp>\n")

        def compile_time(name):
            return seconds_of("g++", "-std=c++20", "-fsyntax-only", f"-I{SOURCE}/include", name, env={**here.environment, "CCACHE_DISABLE": "1"},
                              cwd=here.work)
        yield Measures(lambda: compile_time("ours.cpp") - compile_time("standard.cpp"),
                       lambda: compile_time("standard.cpp"), notes=notes)
    notes.append("the floor is the standard headers alone")
