"""The SDK, as programs link it."""
import json
import re
import shutil
import statistics
import subprocess
import tempfile
import time
import pathlib

from place import BUILD, PROGRAMS, Skipped, output_of, place, seconds_of
from rows import SOURCE, Measures, row

FLAGS = ["g++", "-std=c++20", f"-I{SOURCE}/include"]


@row("sdk-waits", "10,000 waits at once on one client: memory of the program", "MB", "100, one thread")
def waits(count=10_000):
    notes, seen = [], []

    def figure():
        with place() as here:
            here.spell("status")
            seen.append(json.loads(here.program("spell_bench_waits", count)))
            return seen[-1]["memory"]

    yield Measures(figure, notes=notes)
    threads = max(sample["threads"] for sample in seen)
    told = statistics.median(sample["told"] for sample in seen)
    notes.append(f"{threads} threads in all, of which one is the program's own; all told {told:.2f} s after the first ended")


@row("sdk-size", "what libspell adds to a stripped program that links it statically", "MB", "8", repeatable=False)
def size():
    def figure():
        with tempfile.TemporaryDirectory() as folder:
            prefix, build = pathlib.Path(folder) / "prefix", pathlib.Path(folder) / "build"
            output_of("cmake", "--install", BUILD, "--prefix", prefix)
            output_of("cmake", "-G", "Ninja", "-S", SOURCE / "examples/hello-run", "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}",
                      "-DSPELL_LIBRARY=spell::static", "-DCMAKE_BUILD_TYPE=Release")
            output_of("cmake", "--build", build)
            output_of("strip", build / "hello-run")
            empty = pathlib.Path(folder) / "empty"
            subprocess.run(["g++", "-O2", "-s", "-x", "c++", "-", "-o", empty], input="int main() {}", text=True, check=True)
            return ((build / "hello-run").stat().st_size - empty.stat().st_size) / 1e6

    yield Measures(figure)


SENDS_POINTS = """
import http.client, json, os, sys
connection = http.client.HTTPConnection(os.environ["SPELL_METRICS"])
for start in range(0, int(sys.argv[1]), 1000):
    points = [{"name": "loss", "type": "number", "number": n, "index": n} for n in range(start, start + 1000)]
    connection.request("POST", "/user-metrics", json.dumps(points))
    answer = connection.getresponse()
    assert answer.read() is not None and answer.status < 300, answer.status
"""


@row("sdk-metrics", "1,000,000 points of one run: sent by its program, stored, and read back by `spell metrics --csv`", "s", "")
def metrics(count=1_000_000):
    notes = []

    def figure():
        with place() as here:
            (here.work / "send.py").write_text(SENDS_POINTS)
            start = time.perf_counter()
            run = here.spell("run", "-b", "-q", "-f", "--include-untracked", f"python3 send.py {count}").strip()
            here.spell("wait", run)
            sent = time.perf_counter() - start
            lines = here.spell("metrics", run, "loss", "--csv").splitlines()
            taken = time.perf_counter() - start
            assert [int(line.split(",")[3]) for line in lines[1:]] == list(range(count))
            peak = pathlib.Path("/proc", str(here.service()["pid"]), "status").read_text()
            memory = int(re.search(r"VmHWM:\s+(\d+)", peak)[1]) / 1024
            notes[:] = [f"sent and stored within {sent:.2f} s; the service's memory at most {memory:.0f} MiB"]
            return taken

    yield Measures(figure, notes=notes)


def compile_seconds(source):
    start = time.perf_counter()
    subprocess.run([*FLAGS, "-x", "c++", "-", "-c", "-o", "/dev/null"], input=source, text=True, check=True)
    return time.perf_counter() - start


@row("sdk-compile", "a program that only includes <spell/spell.hpp>; floor: the standard headers of it", "s", "1")
def compile_time():
    names = sorted({name for path in (SOURCE / "include/spell").glob("*.hpp") if path.name not in ("json.hpp", "asio.hpp")
                    for name in re.findall(r"#include <(\w+)>", path.read_text())})
    standard = "".join(f"#include <{name}>\n" for name in names) + "int main() {}\n"
    yield Measures(lambda: compile_seconds("#include <spell/spell.hpp>\nint main() {}\n"), lambda: compile_seconds(standard))


@row("sdk-follow", "a log follower's first line after the service has come back", "ms", "100")
def follow(rounds=5):
    if not shutil.which("bash"):
        return

    def figure():
        with place() as here:
            took = []
            run = here.spell("run", "-b", "-q", "while sleep 0.002; do date +%s%N; done").strip()
            follower = subprocess.Popen([PROGRAMS / "spell", "logs", "-f", run], stdout=subprocess.PIPE, text=True, **here.options)
            for _ in range(rounds):
                follower.stdout.readline()
                pid = here.service()["pid"]
                subprocess.run(["kill", "-9", str(pid)], check=True)
                here.spell("status")  # starts another one, and returns when it answers
                back = time.time()
                # What was said while it was away comes first; then lines of after its return.
                while int(follower.stdout.readline()) / 1e9 < back:
                    pass
                took.append(time.time() - back)
            here.spell("kill", run)
            follower.kill()
            follower.wait()
            return statistics.median(took) * 1000

    yield Measures(figure)


@row("sdk-chain", "a workflow of three chained runs of `true`: `spell workflow create --program` to its end", "ms", "400")
def chain():
    with place() as here:
        create = (PROGRAMS / "spell", "workflow", "create", "-q", "--program", PROGRAMS / "spell_flow", "--", "chain", "true", "true", "true")
        seconds_of(*create, **here.options)  # the program is here from then on
        yield Measures(lambda: 1000 * seconds_of(*create, **here.options))


@row("sdk-build", "`spell workflow create --build` of an unchanged project to its end; floor: the same program by --program", "ms", "100 above the floor")
def build():
    if not (BUILD / "sdk/lib/libspell.a").exists():
        raise Skipped("this build has no SDK")
    with tempfile.TemporaryDirectory() as folder, place() as here:
        source, floor = pathlib.Path(folder) / "source", pathlib.Path(folder) / "ends"
        source.mkdir()
        (source / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.20)\nproject(p LANGUAGES C)\nadd_executable(ends ends.c)\n")
        (source / "ends.c").write_text("int main(void) { return 0; }\n")
        output_of("gcc", "-O2", source / "ends.c", "-o", floor)
        create = (PROGRAMS / "spell", "workflow", "create", "-q")
        built, sent = (*create, "--build", source), (*create, "--program", floor)
        first = seconds_of(*built, **here.options)
        seconds_of(*sent, **here.options)
        yield Measures(lambda: 1000 * seconds_of(*built, **here.options), lambda: 1000 * seconds_of(*sent, **here.options),
                       notes=[f"the first start, with the build: {first:.2f} s"])


@row("sdk-children", "1,000 runs of `true`, made and awaited by the program of one workflow", "runs/s", "300")
def children(count=1000):
    notes = []

    def figure():
        with place() as here:
            here.spell("status")
            took = json.loads(here.spell("workflow", "create", "-q", f"exec {PROGRAMS / 'spell_flow'} many {count} true"))
            notes[:] = [f"all made within {took['made']:.2f} s"]
            return count / took["ended"]

    yield Measures(figure, notes=notes)


def resident(pid):
    """Megabytes."""
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) / 1024


@row("sdk-many", "10,000 runs of `true` of one workflow, made and awaited by its program", "runs/s", "", repeatable=False)
def many(count=10_000):
    notes = []

    def figure():
        with place() as here:
            here.spell("status")
            before = resident(here.service()["pid"])
            took = json.loads(here.spell("workflow", "create", "-q", f"exec {PROGRAMS / 'spell_flow'} many {count} true"))
            after = resident(here.service()["pid"])
            shown = seconds_of(PROGRAMS / "spell", "workflow", "info", 1, "--json", **here.options)
            listed = seconds_of(PROGRAMS / "spell", "ps", "-w", 1, "-n", count + 1, "--json", **here.options)
            graph = json.loads(here.spell("workflow", "info", 1, "--json"))["workflow"]
            assert graph["runs_by_status"] == {"complete": count + 1} and len(graph["runs"]) == count + 1
            notes[:] = [f"all made within {took['made']:.1f} s; its graph in {shown:.2f} s, its runs listed in {listed:.2f} s; "
                        f"the service {before:.0f} MB before, {after:.0f} after, {resident(here.service()['pid']):.0f} in the end"]
            return count / took["ended"]

    yield Measures(figure, notes=notes)
