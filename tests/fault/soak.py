#!/usr/bin/env python3
"""Random runs and random accidents for some minutes, then every promise that can be checked is checked.

soak.py --minutes N [--seed S]. The seed decides what is done, not when: a seed that failed is likely, not sure, to fail again.
A run's program is this file too (`soak.py program SEED`), so that what it prints and writes is known beforehand.
"""
import argparse
import contextlib
import errno
import hashlib
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time

TRAPPED = b"\ntrapped\n"


class Plan:
    """What a program does: a function of its seed."""

    def __init__(self, seed):
        rng = random.Random(f"plan {seed}")
        self.exit = rng.choice([0, 0, 0, 1, 7, 77])
        self.pieces = [rng.randbytes(rng.choice([1, 10, 100, 10_000, 200_000])) for _ in range(rng.choice([0, 1, 5, 20]))]
        self.pause = rng.choice([0, 0, 0.01, 0.2])
        self.traps = rng.random() < 0.4
        self.daemon = rng.random() < 0.3
        self.endless = rng.random() < 0.15  # ends when it is ended
        self.outputs = {f"out/{i % 3}/{i}": rng.randbytes(rng.choice([0, 100, 100_000])) for i in range(rng.choice([0, 1, 10, 60]))}

    @property
    def output(self):
        return b"".join(self.pieces)


def write_patiently(path, content):
    """Also where the disk is full for a while."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            return
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            time.sleep(0.1)


def program(seed, witness):
    plan = Plan(seed)
    with open(witness, "a") as file:
        file.write("started\n")

    def on_stop(*_):
        os.write(1, TRAPPED)
        os._exit(7)

    if plan.traps:
        signal.signal(signal.SIGTERM, on_stop)
    if plan.daemon and os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            os.closerange(0, 64)
            time.sleep(3600)
        os._exit(0)
    for path, content in plan.outputs.items():
        write_patiently(pathlib.Path(path), content)
    for piece in plan.pieces:
        while piece:
            piece = piece[os.write(1, piece):]
        time.sleep(plan.pause)
    if plan.endless:
        time.sleep(3600)
    os._exit(plan.exit)


class Soak:
    def __init__(self, place, seed, end):
        self.place, self.seed, self.end = place, seed, end
        self.lock, self.failures = threading.Lock(), []
        self.runs = {}       # seed of the program -> its number; None where the submission was not acknowledged
        self.meant = {}      # number -> what was done to it on purpose
        self.followers = []
        self.counts = dict.fromkeys(("kills of the service", "ends of the service", "suspensions", "kills of supervisors", "stops", "kills",
                                     "bytes compared"), 0)
        self.memory = 0
        (place.root / "witness").mkdir()

    def fail(self, text):
        with self.lock:
            self.failures.append(text)
        print(f"soak: FAILED: {text}", flush=True)

    def count(self, what, by=1):
        with self.lock:
            self.counts[what] += by

    def going(self):
        return time.monotonic() < self.end

    def active(self):
        listed = self.place.spell("ps", "--json", "-n", "200")
        if listed.returncode:
            self.fail(f"ps: {listed}")
            return []
        return [run["id"] for run in listed.json["runs"] if run["ended_at"] is None]

    # ---- the actors, each a thread with a random sequence of its own

    def submit(self, name):
        rng = random.Random(f"{self.seed} {name}")
        while self.going():
            if len(self.active()) > 12:
                time.sleep(0.2)
                continue
            seed = rng.getrandbits(48)
            options = ["--label", f"soak-{seed}", "--stop-grace", "2"]
            with self.lock:
                known = [number for number in self.runs.values() if number]
            if known and rng.random() < 0.1:
                options += ["--after", rng.choice(known)]
                may_fail = True
            else:
                may_fail = False
            with self.lock:
                self.runs[seed] = None
            command = f"exec /usr/bin/python3 {pathlib.Path(__file__).resolve()} program {seed} {self.place.root}/witness/{seed}"
            done = self.place.spell("run", "-f", "-b", "--json", *options, command)
            if done.returncode == 0:
                with self.lock:
                    self.runs[seed] = done.json["run"]["id"]
            elif not (may_fail and "dependency_failed" in done.stderr):
                self.fail(f"submission: {done}")
            time.sleep(rng.choice([0, 0.05, 0.5]))

    def meddle(self):
        rng = random.Random(f"{self.seed} meddle")
        while self.going():
            time.sleep(rng.uniform(0.1, 0.8))
            numbers = self.active()
            if not numbers:
                continue
            number, how = rng.choice(numbers), rng.choice(["stop", "kill", "look", "look", "follow", "follow", "wait"])
            if how in ("stop", "kill"):
                with self.lock:
                    self.meant.setdefault(number, set()).add(how)
                done = self.place.spell(how, number)
                if done.returncode:
                    self.fail(f"{how}: {done}")
                self.count(how + "s")
            elif how == "look":
                for arguments in (["info", number], ["logs", "-n", "5", number], ["status"]):
                    if (done := self.place.spell(*arguments)).returncode:
                        self.fail(f"{arguments}: {done}")
            elif sum(f.process.poll() is None for _, _, f in self.followers) < 4:
                arguments = ["logs", "-f", number] if how == "follow" else ["wait", number]
                self.followers.append((number, how, self.place.start(*arguments)))

    def break_service(self):
        rng = random.Random(f"{self.seed} service")
        while self.going():
            time.sleep(rng.choice([rng.uniform(0, 0.3), rng.uniform(0, 4)]))
            holder = faults.lock_holder(self.place)
            if not holder:
                continue
            self.look_at_memory(holder["pid"])
            try:
                if rng.random() < 0.15:
                    os.kill(holder["pid"], signal.SIGTERM)
                    self.count("ends of the service")
                elif rng.random() < 0.15:
                    os.kill(holder["pid"], signal.SIGSTOP)
                    time.sleep(rng.uniform(0, 2))
                    os.kill(holder["pid"], signal.SIGCONT)
                    self.count("suspensions")
                else:
                    os.kill(holder["pid"], signal.SIGKILL)
                    self.count("kills of the service")
            except ProcessLookupError:
                continue

    def break_supervisors(self):
        rng = random.Random(f"{self.seed} supervisors")
        while self.going():
            time.sleep(rng.uniform(1, 5))
            found = sorted(faults.supervisors(self.place).items())
            if not found:
                continue
            folder, pid = rng.choice(found)
            # The id could be another's by now.
            if folder.name not in harness.processes_of(folder).get(pid, ""):
                continue
            self.count("kills of supervisors")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def look_at_memory(self, pid):
        try:
            text = pathlib.Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return
        for line in text.splitlines():
            if line.startswith("VmHWM"):
                self.memory = max(self.memory, int(line.split()[1]) << 10)

    def torment(self):
        actors = [threading.Thread(target=self.guard, args=(actor, *arguments)) for actor, *arguments in
                  ((self.submit, "a"), (self.submit, "b"), (self.meddle,), (self.break_service,), (self.break_supervisors,))]
        for actor in actors:
            actor.start()
        for actor in actors:
            actor.join()

    def guard(self, actor, *arguments):
        try:
            actor(*arguments)
        except Exception as problem:  # a broken actor is a failure, not a silence
            self.fail(f"{actor.__name__}: {problem!r}")

    # ---- the promises

    def check(self):
        self.end_all()
        listed = self.place.spell("ps", "--json", "-n", "100000", check=0).json["runs"]
        by_label = {}
        for run in listed:
            by_label.setdefault(run["labels"][0], []).append(run)
        if sorted(run["id"] for run in listed) != list(range(1, len(listed) + 1)):
            self.fail("the numbers of the runs are not 1, 2, 3 …")
        for seed, number in self.runs.items():
            found = by_label.pop(f"soak-{seed}", [])
            if len(found) > 1 or number and [run["id"] for run in found] != [number]:
                self.fail(f"run {number} is there as {[run['id'] for run in found]}")
            for run in found:
                self.check_run(seed, run)
        if by_label:
            self.fail(f"runs that nobody submitted: {by_label}")
        lost = sum(run["reason_code"] == "supervisor_lost" for run in listed)
        killed = self.counts["kills of supervisors"] + self.counts.get("kills of inits", 0)
        if lost > killed:
            self.fail(f"{lost} supervisors are said to be lost; {killed} were killed")
        self.check_followers({run["id"]: run for run in listed})
        self.check_leftovers()
        return len(listed), {status: sum(run["status"] == status for run in listed) for status in sorted({run["status"] for run in listed})}

    def end_all(self):
        deadline = time.monotonic() + 120
        while active := self.active():
            for number in active:
                self.meant.setdefault(number, set()).add("stop")
            stopped = self.place.spell("stop", *active)
            waited = self.place.spell("wait", *active, timeout=120)
            if stopped.returncode or waited.returncode in range(1, 7) and "spell:" in waited.stderr:
                self.fail(f"{stopped} {waited}")
            if time.monotonic() > deadline:
                return self.fail(f"runs do not end: {active}")
        return None

    def check_run(self, seed, run):
        plan, number = Plan(seed), run["id"]
        what = f"run {number} (program {seed}, {run['status']}, {run['reason_code']})"
        meant = self.meant.get(number, set())
        supervisor_lost = run["status"] == "failed" and run["reason_code"] == "supervisor_lost"
        allowed = (run["status"] == "complete" and not plan.endless or run["status"] == "stopped" and "stop" in meant or
                   run["status"] == "killed" and meant & {"stop", "kill"} or supervisor_lost or
                   run["status"] == "failed" and run["reason_code"] == "dependency_failed")
        if not allowed:
            self.fail(f"{what}: {run['reason']}")
        started = self.place.root / "witness" / str(seed)
        lines = started.read_text().splitlines() if started.exists() else []
        if len(lines) > 1 or run["status"] == "complete" and not lines:
            self.fail(f"{what} has been carried out {len(lines)} times")
        log = self.place.spell("logs", number, check=0).bytes
        self.count("bytes compared", len(log))
        if run["status"] == "complete":
            if run["user_exit_code"] != plan.exit and not (meant and plan.traps and log.endswith(TRAPPED)):
                self.fail(f"{what} has exit code {run['user_exit_code']} instead of {plan.exit}")
            if log != plan.output:
                self.fail(f"{what}: {self.difference(log, plan.output)}")
        elif not plan.output.startswith(log) and not (plan.traps and plan.output.startswith(log.removesuffix(TRAPPED))):
            self.fail(f"{what}: {self.difference(log, plan.output)}")
        if run["log_bytes"] != len(log):
            self.fail(f"{what}: log_bytes {run['log_bytes']}, its log has {len(log)}")
        entries = self.place.spell("logs", "-v", "--json", number, check=0).stdout.splitlines()
        events = [entry for entry in entries if '"status_event":true' in entry]
        if len(events) != len(set(events)):
            self.fail(f"{what}: an entry comes twice: {events}")
        self.check_outputs(what, plan, run, printed=bool(log.removesuffix(TRAPPED)))

    def check_outputs(self, what, plan, run, printed):
        number = run["id"]
        if run["status"] == "killed" and run["output_files"]:
            self.fail(f"{what} has saved outputs")
        # A program prints when it has written its outputs, unless it is stopped.
        kept = run["status"] in ("complete", "stopped") or run["reason_code"] == "supervisor_lost"
        if kept and (run["status"] == "complete" or printed):
            self.check_files(what, plan, number, by_force=run["status"] != "complete" or run["user_signal"])

    def check_files(self, what, plan, number, by_force):
        """`by_force`: what was closed just before the end has been put aside then, and is there."""
        if not plan.outputs:
            return
        target, found = pathlib.Path(tempfile.mkdtemp(dir=self.place.root)), {}
        for folder in ("out", ".incomplete/out") if by_force else ("out",):
            below = target / folder.replace("/", "-")
            below.mkdir()
            copied = self.place.spell("cp", f"runs/{number}/{folder}", below / "out")
            found |= {str(path.relative_to(below)): path.read_bytes() for path in below.rglob("*") if path.is_file()}
        if found != plan.outputs:
            self.fail(f"{what}: its outputs are {sorted(found)} instead of {sorted(plan.outputs)}, or differ; {copied.stderr}")
        shutil.rmtree(target)

    @staticmethod
    def difference(found, expected):
        at = next((i for i, (a, b) in enumerate(zip(found, expected)) if a != b), min(len(found), len(expected)))
        return (f"its log has {len(found)} bytes (sha256 {hashlib.sha256(found).hexdigest()[:12]}) instead of {len(expected)}; "
                f"they differ at {at}: {found[at:at + 40]!r} / {expected[at:at + 40]!r}")

    def check_followers(self, runs):
        for number, how, follower in self.followers:
            result, run = follower.finish(120), runs[number]
            expected = run["user_exit_code"] if run["status"] == "complete" else 125
            if result.returncode != expected:
                self.fail(f"{how} of run {number} ({run['status']}) ended with {result.returncode} instead of {expected}: {result.stderr}")
            if how == "follow":
                log = self.place.spell("logs", number, check=0).bytes
                self.count("bytes compared", len(log))
                if result.bytes != log:
                    self.fail(f"the follower of run {number}: {self.difference(result.bytes, log)}")

    def check_leftovers(self):
        """Before the service ends, and after."""
        harness.wait_for(lambda: not faults.run_folders(self.place), 30, "the end of the runs' folders")
        if holder := faults.lock_holder(self.place):
            self.look_at_memory(holder["pid"])
        if self.memory > 256 << 20:
            self.fail(f"the service has used {self.memory >> 20} MiB")
        self.place.spell("service", "stop", check=0)
        for folder in ("incoming", "worker/incoming", "worker/runs"):
            # spare-N: empty folders that the worker keeps for the next runs.
            if left := [path for path in (self.place.spell_dir / folder).glob("*") if not path.name.startswith("spare-")]:
                self.fail(f"left in {folder}: {left}")
        with sqlite3.connect(self.place.spell_dir / "spell.db") as database:
            if (told := database.execute("PRAGMA integrity_check").fetchall()) != [("ok",)]:
                self.fail(f"the database: {told}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    options = parser.parse_args()
    print(f"soak: seed {options.seed}, {options.minutes:g} minutes", flush=True)
    place = harness.Place()
    soak = Soak(place, options.seed, time.monotonic() + options.minutes * 60)
    runs, statuses = 0, {}
    try:
        soak.torment()
        runs, statuses = soak.check()
    except Exception as problem:
        soak.fail(repr(problem))
    finally:
        log = place.service_log()
        for complaint in place.close():
            soak.fail(complaint)
    figures = {"runs": runs, **statuses, **soak.counts, "followers": len(soak.followers),
               "peak memory of the service": f"{soak.memory >> 20} MiB", "failures": len(soak.failures)}
    print("soak: " + ", ".join(f"{name} {value}" for name, value in figures.items()))
    if soak.failures:
        print("soak: the end of the service's log:\n" + "\n".join(log.splitlines()[-20:]))
        print(f"soak: failed with seed {options.seed}; again: ./dev soak --minutes {options.minutes:g} --seed {options.seed}")
        return 1
    return 0


if sys.argv[1:2] == ["program"]:
    program(*sys.argv[2:4])
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import faults  # noqa: E402
import harness  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
