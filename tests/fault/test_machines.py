"""A service and three machines in network namespaces: each kind of accident once, in the middle of a run. The long form, with chance
and many runs at once, is machines_soak.py (`./dev soak`)."""
import datetime
import itertools
import os
import pathlib
import signal
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import network  # noqa: E402
from machines_site import Box, Site, faults, harness  # noqa: E402

LOST_AFTER = 4  # seconds, of the machine that is to count as lost
LINES = 400
HOUR = 3600


@pytest.fixture(scope="module")
def site():
    if reason := network.why_not():
        pytest.skip(reason)
    site = Site(machines=3)
    try:
        Box(site, 1)
        Box(site, 2, "--lost-after", LOST_AFTER)
        Box(site, 3, small=True)
        yield site
    finally:
        complaints = site.close()
    assert not complaints, "\n".join(complaints)


@pytest.fixture(autouse=True)
def nothing_is_left(request):
    site = request.getfixturevalue("clocked" if "clocked" in request.fixturenames else "site")
    yield
    harness.wait_for(lambda: not site.left(), what=f"the end of {site.left()}")


class Job:
    """A run that prints, leaves a file, waits for go(), and does both again. It must be carried out once."""

    numbers = itertools.count(1)

    def __init__(self, site, box, lines=LINES, size=10):
        self.site, self.box, self.lines = site, box, lines
        name = f"job-{next(self.numbers)}"
        self.witness, self.there = site.work / f"{name}.begun", site.work / f"{name}.there"
        self.gate = faults.Gate(site.work / f"{name}.gate")
        command = (f"echo begun >> {self.witness}; mkdir out; head -c {size} /dev/zero > out/first; {faults.printing(lines)}; "
                   f"touch {self.there}; {self.gate.waiting}; {faults.printing(lines, lines)}; head -c {size} /dev/zero > out/second; exit 3")
        self.number = faults.start_run(site, "-m", box.name, command)
        self.files = {"first": size, "second": size}

    def begun(self):
        """Its command runs, and the service knows."""
        harness.wait_for(self.there.exists, what=f"run {self.number} to begin")
        harness.wait_for(lambda: self.info()["status"] == "running", what=f"run {self.number} to be known to run")
        return self

    def saved(self):
        """Its first file is safe: what is closed just before an end by force counts as torn."""
        self.begun()
        harness.wait_for(lambda: self.info()["output_files"] == 1, what=f"the file of run {self.number} to be safe")
        return self

    def go(self):
        self.gate.open()

    def info(self):
        return faults.info(self.site, self.number)

    def check(self, *ways, status="complete", code=3, reason=""):
        """Its end, once all of it has come; `ways`: of the two halves, those that must be there. `reason` None: whichever."""
        self.site.spell("wait", self.number, timeout=2 * harness.PATIENCE)
        harness.wait_for(lambda: not self.box.left(), what=f"the end of {self.box.left()}")
        run = self.info()
        assert (run["status"], run["user_exit_code"]) == (status, code) and reason in (None, run["reason_code"]), run
        assert self.witness.read_text() == "begun\n"
        halves = ways or ("first", "second")
        assert faults.same_bytes(faults.output_of(self.site, self.number), faults.lines(self.lines * len(halves)))
        target = self.site.work / f"copy-{self.number}"
        self.site.spell("cp", f"runs/{self.number}/out", target, check=0)
        assert {file.name: file.stat().st_size for file in target.iterdir()} == {name: self.files[name] for name in halves}
        return run


def test_kill_9_of_the_worker(site):
    box = site.boxes[0]
    job = Job(site, box).begun()
    box.kill()
    job.go()
    box.start()
    job.check()


@pytest.mark.parametrize("who", ["supervisor", "init", "command", "everything"])
def test_kill_9_in_a_run(site, who):
    box = site.boxes[0]
    job = Job(site, box).saved()
    victims = {"supervisor": box.supervisors(), "init": box.inits(), "command": box.commands()}
    victims["everything"] = [box.daemon.process.pid, *itertools.chain(*victims.values())]
    assert victims[who]
    for pid in victims[who]:
        os.kill(pid, signal.SIGKILL)
    if who == "everything":
        box.daemon.finish()
        box.start()
    if who == "command":
        assert job.check("first", code=137)["user_signal"] == signal.SIGKILL
    else:
        job.check("first", status="failed", reason="supervisor_lost", code=None)


def test_kill_9_of_the_service(site):
    box = site.boxes[0]
    job = Job(site, box).begun()
    site.kill_service()
    job.go()
    harness.wait_for(lambda: not box.supervised(), what="the command's end")
    site.start_service()
    job.check()


def test_a_link_is_cut_for_a_while(site):
    box = site.boxes[0]
    job = Job(site, box).begun()
    with box.cut():
        job.go()
        harness.wait_for(lambda: not box.supervised(), what="the command's end")
        harness.wait_for(lambda: site.net.wires[box.i].swallowed, what="packets that go nowhere")
        assert job.info()["status"] == "running"
    job.check()


@pytest.fixture(scope="module")
def clocked():
    """Another site, with two machines: one that may be away for ten minutes, as any, and one that may for two hours."""
    if reason := network.why_not():
        pytest.skip(reason)
    site = Site(machines=2, clocked=True)
    try:
        Box(site, 1)
        Box(site, 2, "--lost-after", 2 * HOUR)
        yield site
    finally:
        complaints = site.close()
    assert not complaints, "\n".join(complaints)


def time_of(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_a_link_is_cut_for_half_a_minute(clocked):
    job = Job(clocked, clocked.boxes[0]).begun()
    with job.box.cut():
        clocked.clock.forward(30)
        job.go()
        harness.wait_for(lambda: not job.box.supervised(), what="the command's end")
        assert job.info()["status"] == "running"
    with clocked.clock.fast():
        job.check()


def test_a_link_is_cut_for_an_hour(clocked):
    """By the clocks of service and workers, which see every second of it. Whether the run counts as interrupted is a matter of how
    long its machine may be away; its command goes on in any case, and in the end all of it is there."""
    patient, usual = (Job(clocked, box).begun() for box in reversed(clocked.boxes))
    with usual.box.cut(), patient.box.cut():
        for box in clocked.boxes:
            harness.wait_for(lambda box=box: not box.info()["connected"], what="the dead line to be noticed")
        clocked.clock.forward(5 * 60)
        assert (usual.info()["status"], patient.info()["status"]) == ("running", "running")
        began, ahead = time.time(), clocked.clock.ahead
        clocked.clock.forward(HOUR - 5 * 60)
        lost = harness.wait_for(lambda: (run := usual.info())["ended_at"] and run, what="the loss of its machine")
        assert (lost["status"], lost["reason_code"]) == ("interrupted", "machine_lost"), lost
        # Ten minutes after its line was found dead.
        assert -60 <= time_of(lost["ended_at"]) - (began + ahead) - 5 * 60 <= 90, (lost, began, ahead)
        assert patient.info()["status"] == "running"
        assert len(usual.box.supervised()) == len(patient.box.supervised()) == 1
        for job in (usual, patient):
            job.go()
            harness.wait_for(lambda: not job.box.supervised(), what="the command's end")
    with clocked.clock.fast():  # who has tried for an hour does not try every second
        harness.wait_for(lambda: usual.info()["status"] == "complete", what="the late result")
        usual.check(reason="late_result")
        patient.check()
        after = Job(clocked, usual.box)
        after.go()
        after.check(reason=None)


@pytest.mark.parametrize("how", ["cut", "frozen"])
def test_a_machine_that_is_out_of_reach_for_too_long(site, how):
    """The run counts as interrupted, and what the machine brings late is its end all the same."""
    box = site.boxes[1]
    job = Job(site, box).begun()
    with getattr(box, how)():
        site.spell("wait", job.number)
        run = job.info()
        assert (run["status"], run["reason_code"]) == ("interrupted", "machine_lost"), run
        job.go()
        harness.wait_for(lambda: not box.supervised(), what="the command's end")
    harness.wait_for(lambda: job.info()["status"] == "complete", what="the late result")
    job.check(reason="late_result")
    after = Job(site, box)
    after.go()
    after.check(reason=None)


def test_packets_are_dropped_and_delayed(site):
    box = site.boxes[0]
    with box.spoiled():
        job = Job(site, box, lines=5000, size=300_000)
        job.begun().go()
        job.check()
    assert site.net.count("dropped") > 0 and site.net.count("delayed") > 0


def test_a_computer_starts_anew(site):
    box = site.boxes[0]
    job = Job(site, box).saved()
    box.reboot()
    job.check("first", status="interrupted", reason="host_reboot", code=None)
    after = Job(site, box)
    after.go()
    after.check()


def test_a_computer_starts_anew_before_anything_is_safe(site):
    """Of the folder that was being made nothing counts, what lies there whole neither."""
    box, there = site.boxes[0], site.work / "half-made"
    number = faults.start_run(site, "-m", box.name, f"mkdir made; echo whole > made/part-0; exec 3> made/part-1; touch {there}; sleep 1000")
    harness.wait_for(there.exists, what=f"run {number} to begin")
    box.reboot()
    site.spell("wait", number, timeout=2 * harness.PATIENCE)
    run = harness.wait_for(lambda: not box.left() and faults.info(site, number), what=f"the end of run {number}")
    assert (run["status"], run["reason_code"]) == ("interrupted", "host_reboot"), run
    copy = site.work / f"copy-{number}"
    site.spell("cp", f"runs/{number}", copy, check=0)
    files = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    assert files == {".incomplete/made/part-0", ".incomplete/made/part-1"}


def test_a_disk_is_full(site):
    box = site.boxes[2]
    job = Job(site, box, lines=40_000).begun()  # the second half is 4 MB: more than a pipe holds
    with box.full_disk():
        job.go()
        harness.wait_for(lambda: job.info()["reason_code"] == "log_full", what="the log to be full")
    job.check()
