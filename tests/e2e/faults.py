"""Finding and hurting the processes of a Place, and programs whose every byte of output is known."""
import contextlib
import fcntl
import json
import os
import pathlib
import signal
import sys
import threading

from harness import processes_of, wait_for, wait_gone

LINE = "{:09d} " + "x" * 89 + "\n"  # 100 bytes


def lines(count, first=0):
    return "".join(LINE.format(i) for i in range(first, first + count)).encode()


def printing(count, first=0):
    """A shell command whose output is lines(count, first)."""
    return f"""python3 -c 'import sys; [sys.stdout.write("%09d %s\\n" % (i, "x" * 89)) for i in range({first}, {first + count})]'"""


class Gate:
    """Where a command waits until a test lets it go on. A named pipe: nobody polls."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        os.mkfifo(self.path)

    @property
    def waiting(self):
        """A shell command that ends when the gate is opened."""
        return f"read -r _ < {self.path}"

    def open(self):
        """Lets one command through, which may not have come yet."""
        def write():
            with contextlib.suppress(FileNotFoundError, BrokenPipeError):  # the test is over
                with open(self.path, "w") as pipe:
                    pipe.write("go\n")
        threading.Thread(target=write, daemon=True).start()


def kill_and_wait(pid, timeout=10):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    assert not wait_gone([pid], timeout), f"process {pid} survives SIGKILL"


def suspend(pid):
    """SIGSTOP, until every thread stands still: the signal alone returns before that. Error ProcessLookupError where it has ended."""
    os.kill(pid, signal.SIGSTOP)

    def stands():
        try:
            states = {stat.read_text().rpartition(")")[2].split()[0] for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/stat")}
        except OSError:
            states = set()
        if not states - {"Z", "X"}:
            os.kill(pid, 0)  # else it has ended
        return states == {"T"} or states == {"Z"}

    wait_for(stands, what=f"a stand-still of {pid}")


def lock_holder(place):
    """What the lock of a living service says; None where nobody holds it. Asks and starts nobody."""
    try:
        with open(place.spell_dir / "spelld.lock") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read()
                return json.loads(text) if text.endswith("\n") else None
    except FileNotFoundError:
        pass
    return None


def service(place):
    """The id of the living service's process."""
    holder = lock_holder(place)
    assert holder, "there is no service"
    return holder["pid"]


def kill_service(place):
    """kill -9; returns the id of the dead."""
    pid = service(place)
    kill_and_wait(pid)
    return pid


def await_service(place, other_than):
    """The id of the service that came in the place of another, started by nobody here."""
    return wait_for(lambda: (h := lock_holder(place)) and h["pid"] != other_than and h["pid"], what="a new service")


def run_folders(place):
    return [f for f in sorted((place.spell_dir / "worker/runs").glob("*")) if not f.name.startswith(".")]


def supervised(runs):
    """{folder of a run: (id of its supervisor, id of its init)}"""
    found = {}
    for folder in sorted(f for f in runs.glob("*") if not f.name.startswith(".")):
        with contextlib.suppress(OSError):
            fields = dict(field.split(b"=", 1) for field in (folder / "lock").read_bytes().split(b"\0") if b"=" in field)
            if b"pid" in fields and b"init" in fields:
                found[folder] = int(fields[b"pid"]), int(fields[b"init"])
    return found


def supervisors(place):
    """{folder of a run: id of its supervisor}"""
    return {folder: supervisor for folder, (supervisor, _) in supervised(place.spell_dir / "worker/runs").items()}


def parent(pid):
    """The id of a process's parent; None where the process is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None


def children(pid):
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and parent(entry) == pid]


def descendants(pid):
    """Its children, theirs, and so on."""
    found = children(pid)
    for child in found:
        found += children(child)
    return found


def the_supervisor(place):
    return wait_for(lambda: list(supervisors(place).values()), what="a supervisor")[0]


def await_gone(path, timeout=15):
    """Until no process carries the path any more; returns those that do."""
    marked = processes_of(path)
    living = wait_gone(marked, timeout)
    return {pid: marked[pid] for pid in living} or processes_of(path)


def start_run(place, *arguments):
    """The number of a new run that nobody follows."""
    return place.spell("run", "-f", "-b", "--json", *arguments, check=0).json["run"]["id"]


def info(place, number):
    return place.spell("info", number, "--json", check=0).json["run"]


def ended(place, number):
    """The run, once it has ended."""
    place.spell("wait", number)
    return info(place, number)


def output_of(place, number):
    return place.spell("logs", number, check=0).bytes


def same_bytes(found, expected):
    """Not `==` in an assertion: a report of 20 MB helps nobody."""
    if found == expected:
        return True
    at = next((i for i, (a, b) in enumerate(zip(found, expected)) if a != b), min(len(found), len(expected)))
    print(f"{len(found)} bytes instead of {len(expected)}; they differ at {at}: {found[at:at + 120]!r} / {expected[at:at + 120]!r}",
          file=sys.stderr)
    return False
