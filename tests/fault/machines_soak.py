#!/usr/bin/env python3
"""A team's service and three machines, each in a network namespace of its own; random runs and random accidents for some minutes,
then every promise that can be checked is checked.

machines_soak.py --minutes N [--seed S]. Accidents: links are cut and spoiled, every process is killed, workers are frozen, computers
start anew (another boot id), a disk is full.
"""
import argparse
import contextlib
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import threading
import time
import uuid

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
import harness  # noqa: E402
import network  # noqa: E402
import soak  # noqa: E402

MACHINES = 3
BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Site(harness.Place):
    """The programs of a service and its machines. spell() is the service's own user, through its socket."""

    def __init__(self):
        super().__init__()
        self.net = network.Network(MACHINES)
        self.data = self.root / "data"
        self.service, self.port = None, 0
        made = self.program("spelld", "init", "--data", self.data, "--owner", "acme", "--admin", "ada", "--listen", "0.0.0.0:0", "--host",
                            self.net.address(1), "--password-stdin", input="correct horse battery\n")
        assert made.returncode == 0, made
        self.environment["SPELL_BASE_URL"] = f"unix:{self.data}/spelld.sock"

    def run_inside(self, i, *command):
        running = harness.Running([*self.net.inside(i), *map(str, command)], env=self.environment, cwd=self.work)
        self._running.append(running)
        return running

    def start_service(self):
        self.service = self.run_inside(0, self.programs / "spelld", "serve", "--data", self.data, "--listen", f"0.0.0.0:{self.port}")
        said = self.service.wait_output("listening on port", stream="stderr")
        self.port = int(re.search(rb"listening on port (\d+)", said)[1])

    def service_log(self):
        return ""


class Box:
    """A machine. `small`: its folder lies on a disk of its own."""

    def __init__(self, site, i, small):
        self.site, self.i, self.name = site, i, f"box{i}"
        self.folder = site.root / self.name
        self.folder.mkdir(mode=0o700)
        self.small, self.boot, self.daemon = small, [], None
        self.busy = threading.Lock()  # one accident at a time
        if small:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m,mode=700", "tmpfs", self.folder], check=True)
        # The programs of the runs leave traces outside of their folders.
        (self.folder / "worker.toml").write_text('run-users = "none"\n')
        added = site.spell("machine", "add", self.name, "--serves", "ANY", "--cpus", "3", "--json", check=0).json
        joined = self.worker("join", f"https://{site.net.address(i)}:{site.port}", "-", input=added["token"])
        assert joined.returncode == 0, joined
        self.start()

    def worker(self, *arguments, input=None):
        command = [*self.site.net.inside(self.i), self.site.programs / "spell-worker", *arguments, "--state", self.folder]
        return subprocess.run(list(map(str, command)), input=input, text=True, capture_output=True, env=self.site.environment, timeout=60)

    def start(self):
        self.daemon = self.site.run_inside(self.i, *self.boot, self.site.programs / "spell-worker", "run", "--state", self.folder)

    def pids(self, what):
        return [pid for pid, line in harness.processes_of(self.folder).items() if what in line]

    def kill(self):
        self.daemon.signal(signal.SIGKILL)
        self.daemon.finish()

    def reboot(self):
        """All processes end at once; what comes next sees another boot id, and a CLOCK_BOOTTIME that has begun again."""
        self.kill()
        for pid in self.pids("spell-supervisor"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        harness.wait_gone(self.pids("spell-supervisor"), 10)
        other = self.site.root / f"boot-{uuid.uuid4()}"
        other.write_text(f"{uuid.uuid4()}\n")
        uptime = float(pathlib.Path("/proc/uptime").read_text().split()[0])
        back = str(5 - int(uptime))
        self.boot = ["unshare", "-m", "-T", "--boottime", back, "--monotonic", back, "sh", "-c",
                     f'mount --bind {other} {BOOT_ID} && exec "$@"', "sh"]
        self.start()

    @contextlib.contextmanager
    def full_disk(self):
        filler = self.folder / "filler"
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        try:
            yield
        finally:
            filler.unlink()

    def left(self):
        """What should not be there when all runs have ended."""
        runs = self.folder / "worker/runs"
        return [path for path in [*runs.glob("*"), *(self.folder / "worker/incoming").glob("*")] if not path.name.startswith("spare-")]

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            self.daemon.signal(signal.SIGCONT)
            self.daemon.signal(signal.SIGTERM)
        self.daemon.finish()
        if self.small:
            subprocess.run(["umount", "-l", self.folder], check=True)


class MachinesSoak(soak.Soak):
    def __init__(self, site, seed, end, longest):
        super().__init__(site, seed, end)
        self.longest = longest
        self.counts = dict.fromkeys(("cuts", "spoiled links", "kills of workers", "kills of supervisors", "kills of the service", "freezes",
                                     "reboots", "full disks", "bytes compared"), 0)
        site.start_service()
        site.spell("machine-type", "add", "ANY", "--cpus", "1", check=0)
        self.boxes = [Box(site, i, small=i == MACHINES) for i in range(1, MACHINES + 1)]

    def submit(self, name):
        rng = random.Random(f"{self.seed} {name}")
        while self.going():
            if len(self.active()) > 10:
                time.sleep(0.2)
                continue
            seed = rng.getrandbits(48)
            command = f"exec /usr/bin/python3 {HERE}/soak.py program {seed} {self.place.root}/witness/{seed}"
            target = rng.choice(["ANY", "ANY", *(box.name for box in self.boxes)])
            with self.lock:
                self.runs[seed] = None
            done = self.place.spell("run", "-f", "-b", "--json", "-m", target, "--label", f"soak-{seed}", "--stop-grace", "2", command)
            if done.returncode == 0:
                with self.lock:
                    self.runs[seed] = done.json["run"]["id"]
            elif not self.away(done):
                self.fail(f"submission: {done}")
            time.sleep(rng.choice([0, 0.1, 0.5]))

    @staticmethod
    def away(done):
        return any(word in done.stderr for word in ("cannot reach", "was lost", "service_unreachable"))

    def active(self):
        while True:
            listed = self.place.spell("ps", "--json", "-n", "200")
            if listed.returncode == 0:
                return [run["id"] for run in listed.json["runs"] if run["ended_at"] is None]
            if not self.away(listed):
                self.fail(f"ps: {listed}")
                return []
            time.sleep(0.2)

    def hurt(self, box):
        rng = random.Random(f"{self.seed} {box.name}")
        accidents = ["cut", "spoil", "worker", "supervisor", "freeze", "reboot", *(["full"] if box.small else [])]
        while self.going():
            time.sleep(rng.uniform(0.2, 3))
            accident, how_long = rng.choice(accidents), rng.uniform(0, self.longest)
            if accident == "cut":
                self.count("cuts")
                self.place.net.cut(box.i)
                time.sleep(how_long)
                self.place.net.mend(box.i)
            elif accident == "spoil":
                self.count("spoiled links")
                self.place.net.spoil(box.i)
                time.sleep(how_long)
                self.place.net.mend(box.i)
            elif accident == "worker":
                self.count("kills of workers")
                box.kill()
                time.sleep(rng.choice([0, how_long]))
                box.start()
            elif accident == "supervisor" and (pids := box.pids("spell-supervisor")):
                self.count("kills of supervisors")
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(sorted(pids)), signal.SIGKILL)
            elif accident == "freeze":
                self.count("freezes")
                box.daemon.signal(signal.SIGSTOP)
                time.sleep(how_long)
                box.daemon.signal(signal.SIGCONT)
            elif accident == "reboot" and rng.random() < 0.4:
                self.count("reboots")
                box.reboot()
            elif accident == "full":
                self.count("full disks")
                with box.full_disk():
                    time.sleep(how_long)

    def break_service(self):
        rng = random.Random(f"{self.seed} service")
        while self.going():
            time.sleep(rng.uniform(1, 6))
            self.count("kills of the service")
            self.place.service.signal(signal.SIGKILL)
            self.place.service.finish()
            time.sleep(rng.choice([0, rng.uniform(0, self.longest)]))
            self.place.start_service()

    def torment(self):
        actors = [threading.Thread(target=self.guard, args=actor) for actor in
                  [(self.submit, "a"), (self.submit, "b"), (self.break_service,), *((self.hurt, box) for box in self.boxes)]]
        for actor in actors:
            actor.start()
        for actor in actors:
            actor.join()

    def check_run(self, seed, run):
        # The worker's disk, not the program, may have said no; the machine may have begun anew.
        if run["reason_code"] in ("disk_full", "host_reboot", "run_folder_lost", "log_full"):
            witness = self.place.root / "witness" / str(seed)
            if witness.exists() and len(witness.read_text().splitlines()) > 1:
                self.fail(f"run {run['id']} has been carried out more than once")
            log, expected = self.place.spell("logs", run["id"], check=0).bytes, soak.Plan(seed).output
            self.count("bytes compared", len(log))
            if not expected.startswith(log.removesuffix(soak.TRAPPED)):
                self.fail(f"run {run['id']} ({run['reason_code']}): {self.difference(log, expected)}")
            return
        super().check_run(seed, run)

    def check_followers(self, runs):
        pass

    def check_leftovers(self):
        for box in self.boxes:
            try:
                harness.wait_for(lambda box=box: not box.left(), 60)
            except AssertionError:
                self.fail(f"left on {box.name}: {box.left()}")
            box.close()
        self.place.service.signal(signal.SIGTERM)
        self.place.service.finish()
        if left := list((self.place.data / "incoming").glob("*")):
            self.fail(f"left in incoming: {left}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    options = parser.parse_args()
    if reason := network.why_not():
        print(f"machines soak: skipped: {reason}")
        return 0
    print(f"machines soak: seed {options.seed}, {options.minutes:g} minutes", flush=True)
    site, test, runs, statuses = Site(), None, 0, {}
    try:
        # A cut link for half a minute has its place where there are minutes.
        test = MachinesSoak(site, options.seed, time.monotonic() + options.minutes * 60, longest=30 if options.minutes >= 2 else 2)
        test.end = time.monotonic() + options.minutes * 60
        test.torment()
        runs, statuses = test.check()
    except Exception as problem:
        if not test:
            raise
        test.fail(repr(problem))
    finally:
        daemons = [running for running in site._running if running.process.poll() is None]
        for running in daemons:
            running.signal(signal.SIGKILL)
        if test:
            for complaint in site.close():
                test.fail(complaint)
        subprocess.run(["umount", "-l", site.root / f"box{MACHINES}"], capture_output=True)
        site.net.close()
    figures = {"runs": runs, **statuses, **test.counts, "netem": site.net.spoils, "failures": len(test.failures)}
    print("machines soak: " + ", ".join(f"{name} {value}" for name, value in figures.items()))
    if test.failures:
        print(f"machines soak: failed; again: tests/fault/machines_soak.py --minutes {options.minutes:g} --seed {options.seed}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
