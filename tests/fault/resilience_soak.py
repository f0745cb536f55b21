#!/usr/bin/env python3
"""A real training (examples/spot-resume) whose machines are taken away again and again, at random: its chain completes, and its weights
are those of an undisturbed run, bit for bit.

resilience_soak.py [--interruptions N] [--seed S]. A team's service and three spot machines, each in a network namespace of its own, lost
after one second; two trainings at a time, every other one with checkpoints that are folders of eight files. An interruption is a cut
network, the death of all of a machine's processes, a machine that freezes and thaws (one of them when all is over), one that starts
anew, or one with notice. The seed decides what is done and when, in epochs of the training; the programs' own pace it does not decide.
"""
import argparse
import contextlib
import importlib.util
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
from machines_site import Box, Site, faults, harness  # noqa: E402

MACHINES, CHAINS, EPOCHS, LAST = 3, 2, 14, 4  # none is interrupted in its last epochs
PATIENCE = 180
TRAIN = HERE.parents[1] / "examples/spot-resume/train.py"


def why_not():
    """Why this computer cannot do it; "" if it can."""
    if not importlib.util.find_spec("torch"):
        return "PyTorch is not here (package python3-torch)"
    return network.why_not()


def processes_of(box):
    """All that is of a machine: its daemon, what that has started, and what that has."""
    found, below = set(harness.processes_of(box.folder)), {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (parent := faults.parent(entry)):
            below.setdefault(parent, []).append(int(entry))
    waiting = list(found)
    while waiting:
        children = [child for child in below.get(waiting.pop(), []) if child not in found]
        found.update(children)
        waiting += children
    return found


def signal_all(box, number):
    """Until nobody is left who has not got it: they go on to start others meanwhile. Returns who got it."""
    told = set()
    while fresh := processes_of(box) - told:
        for pid in sorted(fresh):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        told |= fresh
    return told


class Chain:
    """A training, and the runs in which it is carried out."""

    def __init__(self, site, folders):
        self.site, self.folders = site, folders
        command = f"exec /usr/bin/python3 train.py --epochs {EPOCHS}" + (" --folders" if folders else "")
        made = site.spell("run", "-f", "-b", "--json", "-m", "spot", command, cwd=site.work / "training", check=0)
        self.numbers = [made.json["run"]["id"]]
        self.follower = site.start("logs", "-f", str(self.numbers[0]))
        self.at_its_end = contextlib.ExitStack()

    def run(self, number):
        return self.site.spell("info", number, "--json", check=0).json["run"]

    def newest(self):
        run = self.run(self.numbers[-1])
        while run["resumed_as_run"]:
            self.numbers.append(run["resumed_as_run"])
            run = self.run(self.numbers[-1])
        return run

    def over(self):
        """Its end is known: the newest run has ended, or an earlier one has, late, as it should."""
        self.newest()
        runs = [self.run(number) for number in self.numbers]
        return runs[-1]["ended_at"] is not None or any(run["status"] == "complete" for run in runs)

    def epochs(self):
        """Numbers of those that were told, in all of its runs, as they came."""
        return [int(number) for number in re.findall(rb"(?m)^epoch (\d+)/", self.follower.output())]


class ResilienceSoak:
    def __init__(self, site, seed, interruptions):
        self.site, self.seed = site, seed
        self.failures, self.lock = [], threading.Lock()
        kinds = ["cut", "kill", "freeze", "reboot"]
        self.counts = {kind: 0 for kind in kinds}
        if "interrupt" in site.spell("machine", "--help").stdout:
            kinds.append("notice")
        self.counts |= {"notice": 0, "chains": 0, "runs": 0, "late results": 0}
        # Each kind as often as the others, in random order.
        rng = random.Random(f"{seed} kinds")
        self.planned = [kinds[i % len(kinds)] for i in range(interruptions)]
        rng.shuffle(self.planned)
        self.thaws_late = threading.Lock()  # one at a time
        site.spell("machine-type", "add", "spot", "--spot", "--default-auto-resume", "--cpus", "1", "--lost-after", "1", check=0)
        self.boxes = {box.name: box for box in (Box(site, i, "--serves", "spot") for i in range(1, MACHINES + 1))}
        self.hands = {name: threading.Lock() for name in self.boxes}
        site.make_repository("training", {"train.py": TRAIN.read_text()})
        self.weights = None
        self.undisturbed = threading.Thread(target=self.guard, args=(self.train_undisturbed,))
        self.undisturbed.start()

    def fail(self, text):
        with self.lock:
            self.failures.append(text)
        print(f"resilience soak: FAILED: {text}", flush=True)

    def guard(self, actor, *arguments):
        try:
            actor(*arguments)
        except Exception as problem:  # a broken actor is a failure, not a silence
            self.fail(f"{actor.__name__}: {problem!r}")

    def train_undisturbed(self):
        alone = self.site.root / "alone"
        alone.mkdir()
        subprocess.run(["/usr/bin/python3", TRAIN, "--epochs", str(EPOCHS)], cwd=alone, check=True, stdout=subprocess.DEVNULL,
                       timeout=PATIENCE)
        self.weights = (alone / "weights.bin").read_bytes()

    # ---- interruptions

    def claim(self):
        with self.lock:
            return self.planned.pop() if self.planned else None

    def give_back(self, kind):
        """Nobody was interrupted by it."""
        with self.lock:
            self.planned.append(kind)

    def torment(self):
        actors = [threading.Thread(target=self.guard, args=(self.train, i)) for i in range(CHAINS)]
        for actor in actors:
            actor.start()
        for actor in actors:
            actor.join()

    def train(self, actor):
        rng = random.Random(f"{self.seed} {actor}")
        folders = bool(actor % 2)
        while self.planned and not self.failures:
            chain = Chain(self.site, folders)
            folders = not folders
            with chain.at_its_end:
                self.interrupt(chain, rng)
                harness.wait_for(chain.over, PATIENCE, "the end of the chain")
            self.check(chain)

    def interrupt(self, chain, rng):
        """Until it has come near its end, or none is planned any more."""
        while kind := self.claim():
            pause = rng.choice([0, 1, 1, 2]), rng.uniform(0, 0.7), rng.uniform(0, 2)
            run = harness.wait_for(lambda: chain.over() or (run := chain.newest())["status"] == "running" and run, PATIENCE,
                                   "the chain to go on")
            told = len(chain.epochs())
            late = lambda: any(epoch > EPOCHS - LAST for epoch in chain.epochs())
            if run is True or not harness.wait_for(
                    lambda: len(chain.epochs()) >= told + pause[0] or chain.run(run["id"])["status"] != "running", PATIENCE, "epochs"):
                return self.give_back(kind)
            time.sleep(pause[1])
            if late():
                return self.give_back(kind)
            box = self.boxes[run["machine"]]
            with contextlib.ExitStack() as until:
                until.enter_context(self.hands[box.name])
                if chain.run(run["id"])["status"] != "running":
                    self.give_back(kind)
                    continue
                ended = lambda: harness.wait_for(lambda: chain.run(run["id"])["ended_at"], PATIENCE, f"run {run['id']} to be interrupted")
                getattr(self, kind)(box, ended, pause[2], chain, until)
            run = chain.run(run["id"])
            if run["status"] == "interrupted" or run["reason_code"] == "late_result":
                with self.lock:
                    self.counts[kind] += 1
            elif run["status"] == "complete":
                self.give_back(kind)
            else:
                self.fail(f"run {run['id']} was to be interrupted by {kind}, and is {run['status']}: {run['reason']}")
        return None

    def cut(self, box, ended, pause, chain, until):
        with box.cut():
            ended()
            time.sleep(pause)

    def kill(self, box, ended, pause, chain, until):
        signal_all(box, signal.SIGKILL)
        box.daemon.finish()
        ended()
        time.sleep(pause)
        box.start()

    def freeze(self, box, ended, pause, chain, until):
        frozen = signal_all(box, signal.SIGSTOP)

        def thaw():
            for pid in frozen:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

        # Whatever happens here: nobody else ends one who stands still.
        with contextlib.ExitStack() as thawing:
            thawing.callback(thaw)
            ended()
            if self.thaws_late.acquire(blocking=False):
                chain.at_its_end.callback(self.thaws_late.release)
                chain.at_its_end.enter_context(until.pop_all())  # its box is nobody else's till then
                chain.at_its_end.enter_context(thawing.pop_all())
            else:
                time.sleep(pause)

    def reboot(self, box, ended, pause, chain, until):
        box.reboot()
        ended()

    def notice(self, box, ended, pause, chain, until):
        self.site.spell("machine", "interrupt", box.name, "--in", round(2 * pause), check=0)
        ended()
        signal_all(box, signal.SIGKILL)
        box.daemon.finish()
        time.sleep(pause)
        self.site.spell("machine", "resume", box.name, check=0)
        box.start()

    # ---- the promises

    def check(self, chain):
        first = chain.numbers[0]
        waited = self.site.spell("wait", first, timeout=PATIENCE)
        chain.newest()
        runs = [chain.run(number) for number in chain.numbers]
        what = "chain of " + ", ".join(f"run {run['id']} ({run['status']}, {run['reason_code']})" for run in runs)
        with self.lock:
            self.counts["chains"] += 1
            self.counts["runs"] += len(runs)
            self.counts["late results"] += sum(run["status"] == "complete" and run["reason_code"] == "late_result" for run in runs)
        done = [run for run in runs if run["status"] == "complete" and run["user_exit_code"] == 0]
        if waited.returncode != 0 or not done:
            return self.fail(f"{what}: {waited}; {self.tail(chain)}")
        end = runs.index(done[0])
        if any(run["status"] != "interrupted" for run in runs[:end]):
            self.fail(f"{what}: what comes before its end is not interrupted")
        # An interruption may have come before the late result.
        if any(run["status"] not in ("stopped", "killed", "complete", "interrupted") for run in runs[end + 1:]):
            self.fail(f"{what}: what comes after its end has not been stopped")
        self.undisturbed.join()
        for run in done:
            target = self.site.root / f"weights-{run['id']}"
            self.site.spell("cp", f"runs/{run['id']}/weights.bin", target, check=0)
            if target.read_bytes() != self.weights:
                self.fail(f"{what}: the weights of run {run['id']} are not those of an undisturbed run")
        self.check_starts(what, runs)
        followed = chain.follower.finish(PATIENCE)
        if end == len(runs) - 1 and (followed.returncode != 0 or "\nweights " not in followed.stdout):
            self.fail(f"{what}: its follower: {followed}")
        return None

    def check_starts(self, what, runs):
        """What was safe once is there ever after."""
        begun = []
        for run in runs:
            log = self.site.spell("logs", run["id"], check=0).stdout
            if found := re.search(r"(?m)^(?:beginning|going on after epoch (\d+))$", log):
                begun.append(int(found[1] or 0))
        if begun != sorted(begun):
            self.fail(f"{what}: it went on after epochs {begun}")

    def tail(self, chain):
        """Of each of its runs the end of its log, and what is safe of it."""
        text = ""
        for number in chain.numbers:
            log, copy = self.site.spell("logs", "-v", number).stdout, self.site.root / f"failed-{number}"
            self.site.spell("cp", f"runs/{number}", copy)
            files = sorted(str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file())
            text += f"\n--- run {number}\n{log[-3000:]}\n--- its files: {' '.join(files)}"
        return text

    def finish(self):
        self.undisturbed.join()
        for box in self.boxes.values():
            try:
                harness.wait_for(lambda box=box: not box.left(), PATIENCE)
            except AssertionError:
                self.fail(f"left on {box.name}: {box.left()}; {box.daemon._output}")
        listed = self.site.spell("ps", "-a", "--json", "-n", "100000", check=0).json["runs"]
        if len(listed) != self.counts["runs"]:
            self.fail(f"{len(listed)} runs were made; the chains have {self.counts['runs']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interruptions", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    options = parser.parse_args()
    if reason := why_not():
        print(f"resilience soak: skipped: {reason}")
        return 0
    print(f"resilience soak: seed {options.seed}, {options.interruptions} interruptions", flush=True)
    began, site, test = time.monotonic(), Site(MACHINES, options.seed), None
    try:
        test = ResilienceSoak(site, options.seed, options.interruptions)
        test.torment()
        test.finish()
    except Exception as problem:
        if not test:
            raise
        test.fail(repr(problem))
    finally:
        complaints = site.close()
        for complaint in complaints if test else []:
            test.fail(complaint)
    figures = {**test.counts, "seconds": round(time.monotonic() - began), "failures": len(test.failures)}
    if "notice" not in test.counts or not test.counts["notice"]:
        figures["notice"] = "0 (this service has none)" if options.interruptions >= 8 else 0
    print("resilience soak: " + ", ".join(f"{name} {value}" for name, value in figures.items()))
    if test.failures:
        print(f"resilience soak: failed; again: tests/fault/resilience_soak.py --interruptions {options.interruptions} --seed {options.seed}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
