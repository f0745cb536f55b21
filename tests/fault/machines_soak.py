#!/usr/bin/env python3
"""A team's service and three machines, each in a network namespace of its own; random runs and random accidents for some minutes,
then every promise that can be checked is checked.

machines_soak.py --minutes N [--seed S]. Accidents: links are cut and spoiled, every process is killed, workers are frozen, computers
start anew (another boot id), a disk is full. Each happens to each machine once, in random order, before chance alone decides.
The long cut outlasts the time after which a machine counts as lost, which is shortened to seconds here. (An hour by the programs'
clocks: test_machines.py.)
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

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import network  # noqa: E402
import soak  # noqa: E402
from machines_site import Box, Site, harness  # noqa: E402

MACHINES = 3
LOST_AFTER = 12  # seconds, of all but the first machine


class MachinesSoak(soak.Soak):
    def __init__(self, site, seed, end, longest):
        super().__init__(site, seed, end)
        self.longest = longest
        self.counts = dict.fromkeys(("cuts", "long cuts", "spoiled links", "kills of workers", "kills of supervisors", "kills of inits",
                                     "kills of commands", "kills of the service", "freezes", "reboots", "full disks", "bytes compared"), 0)
        self.killed = set()  # seeds of the programs
        self.service_may_go = threading.Lock()
        site.spell("machine-type", "add", "ANY", "--cpus", "1", check=0)
        self.boxes = [Box(site, i, "--serves", "ANY", *(["--lost-after", LOST_AFTER] if i > 1 else []), small=i == MACHINES)
                      for i in range(1, MACHINES + 1)]

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
        accidents = [self.cut, self.spoil, self.kill_worker, self.kill_supervisor, self.kill_init, self.kill_command, self.freeze,
                     self.reboot, self.cut_long if box.i > 1 else self.cut, *([self.fill] if box.small else [])]
        first = rng.sample(accidents, len(accidents))
        while self.going():
            time.sleep(rng.uniform(0.2, 3))
            (first.pop() if first else rng.choice(accidents))(box, rng, rng.uniform(0, self.longest))

    def cut(self, box, rng, seconds):
        self.count("cuts")
        with box.cut():
            time.sleep(self.longest if rng.random() < 0.3 else seconds)

    def cut_long(self, box, rng, seconds):
        # A service that starts gives every machine its whole time to come back.
        with self.service_may_go, box.cut():
            self.count("long cuts")
            time.sleep(LOST_AFTER * 2 + min(seconds, 3))

    def spoil(self, box, rng, seconds):
        self.count("spoiled links")
        with box.spoiled():
            time.sleep(seconds)

    def kill_worker(self, box, rng, seconds):
        self.count("kills of workers")
        box.kill()
        time.sleep(rng.choice([0, seconds]))
        box.start()

    def kill_supervisor(self, box, rng, seconds):
        self.kill_one("kills of supervisors", box.supervisors, rng)

    def kill_init(self, box, rng, seconds):
        self.kill_one("kills of inits", box.inits, rng)

    def kill_command(self, box, rng, seconds):
        self.kill_one("kills of commands", box.commands, rng, known=self.killed)

    def kill_one(self, what, find, rng, known=None):
        """Where there is one in time. `known`: gets the seed of the program; who is not known is spared."""
        with contextlib.suppress(AssertionError, OSError):
            pid = rng.choice(sorted(harness.wait_for(find, 20)))
            if known is not None:
                program = re.search(rb"program[ \0](\d+)", pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())
                if not program:
                    return
                known.add(int(program[1]))
            os.kill(pid, signal.SIGKILL)
            self.count(what)

    def freeze(self, box, rng, seconds):
        self.count("freezes")
        with box.frozen():
            time.sleep(seconds)

    def reboot(self, box, rng, seconds):
        self.count("reboots")
        box.reboot()

    def fill(self, box, rng, seconds):
        self.count("full disks")
        with box.full_disk():
            time.sleep(seconds)

    def break_service(self):
        rng = random.Random(f"{self.seed} service")
        while self.going():
            time.sleep(rng.uniform(1, 6))
            with self.service_may_go:
                self.count("kills of the service")
                self.place.kill_service()
                time.sleep(rng.choice([0, rng.uniform(0, self.longest)]))
                self.place.start_service()

    def torment(self):
        actors = [threading.Thread(target=self.guard, args=actor) for actor in
                  [(self.submit, "a"), (self.submit, "b"), (self.break_service,), *((self.hurt, box) for box in self.boxes)]]
        for actor in actors:
            actor.start()
        for actor in actors:
            actor.join()

    def end_all(self):
        super().end_all()
        # A machine that comes back goes on with what was given up, until it ends or somebody ends it.
        for run in self.place.spell("ps", "--json", "-n", "100000", check=0).json["runs"]:
            if run["reason_code"] == "machine_lost":
                self.meant.setdefault(run["id"], set()).add("stop")
                self.place.spell("stop", run["id"], check=0)
        # What a machine that counted as lost brings late is still its run's.
        for box in self.boxes:
            try:
                harness.wait_for(lambda box=box: not box.left(), 120)
            except AssertionError:
                self.fail(f"left on {box.name}: {box.left()}; {box.daemon._output}")

    def ended_by_accident(self, seed, run):
        """How a run may end here that may not elsewhere."""
        how = run["status"], run["reason_code"]
        if how in (("interrupted", "host_reboot"), ("build_failed", "disk_full")):
            return True
        if how == ("interrupted", "machine_lost"):
            # It was lost before it had heard of the run: else its end would have come late.
            return not (self.place.root / "witness" / str(seed)).exists() and run["log_bytes"] == 0
        by_kill = (run["user_exit_code"], run["user_signal"]) == (137, signal.SIGKILL)
        return seed in self.killed and how in (("complete", ""), ("complete", "late_result")) and by_kill

    def check_run(self, seed, run):
        if not self.ended_by_accident(seed, run):
            return super().check_run(seed, run)
        plan, what = soak.Plan(seed), f"run {run['id']} (program {seed}, {run['status']}, {run['reason_code']})"
        witness = self.place.root / "witness" / str(seed)
        if witness.exists() and len(witness.read_text().splitlines()) > 1:
            self.fail(f"{what} has been carried out more than once")
        log = self.place.spell("logs", run["id"], check=0).bytes
        self.count("bytes compared", len(log))
        if run["log_bytes"] != len(log) or not plan.output.startswith(log.removesuffix(soak.TRAPPED)):
            self.fail(f"{what}: {self.difference(log, plan.output)}")
        if run["status"] != "build_failed" and log:
            self.check_files(what, plan, run["id"], by_force=True)

    def check_followers(self, runs):
        pass

    def check_leftovers(self):
        self.place.service.signal(signal.SIGTERM)
        self.place.service.finish()
        if left := self.place.left():
            self.fail(f"left: {left}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    options = parser.parse_args()
    if reason := network.why_not():
        print(f"machines soak: skipped: {reason}")
        return 0
    print(f"machines soak: seed {options.seed}, {options.minutes:g} minutes", flush=True)
    site, test, runs, statuses = Site(MACHINES, options.seed), None, 0, {}
    try:
        # A cut link for half a minute has its place where there are minutes.
        test = MachinesSoak(site, options.seed, 0, longest=30 if options.minutes >= 4 else 3)
        test.end = time.monotonic() + options.minutes * 60
        test.torment()
        runs, statuses = test.check()
        test.counts.update({f"packets {what}": site.net.count(what) for what in ("swallowed", "dropped", "delayed")})
        if options.minutes >= 4 and (never := [what for what, count in test.counts.items() if not count]):
            test.fail(f"never happened: {never}")
    except Exception as problem:
        if not test:
            raise
        test.fail(repr(problem))
    finally:
        complaints = site.close()
        for complaint in complaints if test else []:
            test.fail(complaint)
    figures = {"runs": runs, **statuses, **test.counts, "failures": len(test.failures)}
    print("machines soak: " + ", ".join(f"{name} {value}" for name, value in figures.items()))
    if test.failures:
        print(f"machines soak: failed; again: tests/fault/machines_soak.py --minutes {options.minutes:g} --seed {options.seed}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
