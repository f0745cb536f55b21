"""The SDK, as programs link it."""
import json
import re
import shutil
import statistics
import subprocess
import tempfile
import time
import pathlib

from place import BUILD, PROGRAMS, output_of, place, seconds_of
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
