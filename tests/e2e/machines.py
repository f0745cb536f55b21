"""Machines of a team's service: workers of their own, each with a folder of its own, on this computer."""
import contextlib
import os
import signal

import faults
from harness import PATIENCE, processes_of, wait_for

CORES = 2
# Prints, waits for the file `go` in its folder, prints again, leaves a file.
WAITS = "echo begin; touch began; while [ ! -e go ]; do sleep 0.02; done; rm go began; echo end; echo result > out.txt"


def spell(team, *arguments, env=None, **options):
    """The command line, as the service's own user: what is tested here is the machines' way in, not that of users."""
    return team.place.spell(*arguments, env={"SPELL_BASE_URL": team.socket, **(env or {})}, **options)


def record(team, number):
    return spell(team, "info", number, "--json", check=0).json["run"]


class Machine:
    """A machine that `team` has added and that has joined. Its runs are the worker's own user, so that tests can look at them;
    `users`: as root each has one of its own."""

    def __init__(self, team, name, *options, config="", start=True, owner=None, users=False, cores=CORES):
        self.team, self.place, self.name = team, team.place, name
        self.folder = self.place.root / f"machine-{name}"
        self.folder.mkdir(mode=0o700, exist_ok=True)
        (self.folder / "worker.toml").write_text(("" if users else 'run-users = "none"\n') + config)
        self.running = None
        added = spell(team, "machine", "add", name, "--cpus", cores, *options, "--json", env={"SPELL_OWNER": owner or team.owner}, check=0).json
        self.url, self.token = added["url"], added["token"]
        if start:
            joined = self.join()
            assert joined.returncode == 0, joined
            self.start()

    def worker(self, *arguments, input=None):
        return self.place.program("spell-worker", *arguments, "--state", self.folder, input=input)

    def join(self, token=None, url=None):
        return self.worker("join", url or self.url, "-", "--json", input=(token or self.token) + "\n")

    def start(self, connected=True):
        self.running = self.place.start("run", "--state", self.folder, program="spell-worker")
        if connected:
            self.wait_connected()

    def wait_connected(self):
        self.running.wait_output("connected to", stream="stderr")

    def status(self):
        return self.worker("status", "--json").json

    def kill(self, number=signal.SIGKILL):
        """The daemon alone: what it has started goes on."""
        os.kill(self.running.process.pid, number)
        return self.running.finish() if number in (signal.SIGKILL, signal.SIGTERM) else None

    def freeze(self):
        """All of its processes stand still, those of its runs too, as in a machine that is frozen: their ids."""
        frozen = []
        # What does not stand still yet may make others: parents first, until there are no new ones.
        while new := [pid for mine in processes_of(self.folder) for pid in (mine, *faults.descendants(mine)) if pid not in frozen]:
            for pid in dict.fromkeys(new):
                with contextlib.suppress(ProcessLookupError):
                    faults.suspend(pid)
                frozen.append(pid)
        return frozen

    def supervisors(self):
        return [pid for pid, line in processes_of(self.folder).items() if "spell-supervisor" in line]

    def wait_empty(self):
        """Until nothing of a run is left here."""
        runs = self.folder / "worker/runs"
        wait_for(lambda: not [run for run in runs.iterdir() if not run.name.startswith(".")], what=f"{runs} to be empty")

    def close(self):
        if self.running and self.running.process.poll() is None:
            os.kill(self.running.process.pid, signal.SIGCONT)
            self.kill(signal.SIGTERM)


def wait_run(team, number, status=None):
    """The run's record at its end."""
    spell(team, "wait", number, timeout=2 * PATIENCE)
    run = spell(team, "info", number, "--json", check=0).json
    run = run.get("run", run)
    assert status is None or run["status"] == status, (run, spell(team, "logs", number).stdout)
    return run


def submit(team, *arguments, cwd=None):
    """The number of a new run."""
    made = spell(team, "run", "-f", "-b", "--json", *arguments, cwd=cwd, check=0).json
    return made.get("run", made)["id"]


def gate(machine, number):
    """The run's own folder, once its command has begun."""
    runs = machine.folder / "worker/runs"
    return wait_for(lambda: next((run / "spell" for run in runs.iterdir() if (run / "spell/began").exists()), None)
                    if runs.exists() else None, what=f"run {number} to begin on {machine.name}")


def check_waited(team, number):
    run = wait_run(team, number, "complete")
    printed = [line for line in spell(team, "logs", number, check=0).stdout.splitlines() if line in ("begin", "end")]
    assert printed == ["begin", "end"], printed
    assert spell(team, "ls", f"runs/{number}", check=0).stdout.count("out.txt") == 1
    return run
