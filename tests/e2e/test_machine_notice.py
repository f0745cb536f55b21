"""Machines that are taken away with a word before: their runs are told, their newest checkpoints are safe, and they end in time."""
import http.server
import json
import signal
import threading
import time

import pytest

from harness import PATIENCE, wait_for
from machines import Machine, gate, record, spell, submit, wait_run
from team import Team

# Leaves a checkpoint each round. Says what it was told, begins a file that it never finishes, and goes on until it is ended. (One that it had open
# from the start would be no other: but what a backup finds open holds up what comes after it for ten seconds.)
TRAIN = """
import json, os, pathlib, signal, time
folder = pathlib.Path("checkpoints")
folder.mkdir(exist_ok=True)
last = max((int(path.name) for path in folder.iterdir() if path.name.isdigit()), default=0)
signal.signal(signal.SIGUSR1, lambda *_: print("signal USR1", flush=True))
print("from", last, "after", os.environ.get("SPELL_RESUMED_FROM", "none"), sorted(p.name for p in pathlib.Path(".").iterdir() if p.name == "torn"), flush=True)
notice = pathlib.Path(os.environ["SPELL_PREEMPTION_FILE"])
def checkpoint(step):
    (folder / ".part").write_text(f"state {step}")
    (folder / ".part").rename(folder / str(step))
if last:
    checkpoint(last + 1)
    raise SystemExit(0)
checkpoint(1)
open("began", "w").close()
while not notice.exists():
    time.sleep(0.02)
print("told", json.loads(notice.read_text())["kind"], json.loads(notice.read_text())["text"], flush=True)
torn = open("torn", "w")
torn.write("half of it")
torn.flush()
checkpoint(2)
while True:
    time.sleep(0.02)
"""


# Says when the file is there, when it has gone, and ends when it is told to.
HEEDS = """touch began
while [ ! -e "$SPELL_PREEMPTION_FILE" ]; do sleep 0.02; done
echo told
while [ -e "$SPELL_PREEMPTION_FILE" ]; do sleep 0.02; done
echo stays
while [ ! -e go ]; do sleep 0.02; done"""


@pytest.fixture
def team(place):
    team = Team(place)
    spell(team, "machine-type", "add", "spot", "--spot", "--default-auto-resume", "--cpus", "2", "--lost-after", "60", check=0)
    return team


def machine_info(team, name):
    return spell(team, "machine", "info", name, "--json", check=0).json["machine"]


def begin(team, boxes, *options, command=TRAIN):
    repo = team.place.make_repository("training", {"train.py": command})
    number = submit(team, "-m", "spot", *options, "python3 train.py", cwd=repo)
    machine = wait_for(lambda: next((box for box in boxes if box.supervisors()), None), what="its machine")
    gate(machine, number)
    return number, machine


def wait_told(machine, number):
    """Until it has heard that its machine goes, and has finished what it writes then."""
    folder = gate(machine, number)
    wait_for((folder / "checkpoints/2").exists, what="the run to be told")


def logs(team, number):
    """Output, and what Spell says beside it."""
    read = spell(team, "logs", number, check=0)
    return read.stdout + read.stderr


def check_interrupted(team, number, machine, text):
    waited = spell(team, "wait", number, check=0, timeout=2 * PATIENCE)
    before = record(team, number)
    assert (before["status"], before["reason_code"]) == ("interrupted", "machine_notice"), before
    assert text in before["reason"], before
    after = record(team, before["resumed_as_run"])
    assert (after["status"], after["user_exit_code"]) == ("complete", 0), after
    assert after["machine"] != machine.name
    assert f"goes on as run {after['id']}" in waited.stdout + waited.stderr
    return after["id"]


def test_an_interrupted_machine_hands_its_run_on_with_the_last_checkpoint(team, boxes):
    number, machine = begin(team, boxes, "--notice-signal", "usr1")
    assert record(team, number)["notice_signal"] == "USR1"
    shown = spell(team, "machine", "interrupt", machine.name, "--in", "600", check=0)
    assert "machine resume" in shown.stdout, shown
    wait_told(machine, number)
    # A nearer time counts, and this one is soon over.
    spell(team, "machine", "interrupt", machine.name, "--in", "4", check=0)
    after = check_interrupted(team, number, machine, "asked for by")
    log = logs(team, number)
    assert "told asked asked for by" in log and "signal USR1" in log, log
    assert "This machine is taken away in 600 s (asked for by" in log, log
    assert "being written when the run was halted, so not restored: torn" in log, log
    # What it finished when it had been told is there, what it had open is not.
    assert f"from 2 after {number} []" in logs(team, after)
    listed = spell(team, "ls", f"runs/{number}/checkpoints", check=0).stdout
    assert "1" in listed.split() and "2" in listed.split()
    # It stays away until it is brought back.
    known = machine_info(team, machine.name)
    assert known["drained"] and known["going_at"] and known["going"].startswith("asked for by"), known
    assert any(word in spell(team, "machine", "list", check=0).stdout for word in ("going", "gone"))
    back = spell(team, "machine", "resume", machine.name, "--json", check=0).json["machine"]
    assert not back["drained"] and not back["going_at"] and not back["going"], back
    again = submit(team, "-m", machine.name, "true")
    wait_run(team, again, "complete")
    actions = [entry["action"] for entry in spell(team, "audit", "--json", check=0).json["audit"]]
    assert "machine.interrupt" in actions and "machine.resume" in actions, actions


def test_at_once(team, boxes):
    number, machine = begin(team, boxes)
    wait_for(lambda: spell(team, "ls", f"runs/{number}/checkpoints/1").returncode == 0, what="its backup")
    spell(team, "machine", "interrupt", machine.name, "--in", "0", check=0)
    after = check_interrupted(team, number, machine, "asked for by")
    assert f"after {number} []" in logs(team, after) and "from 0" not in logs(team, after)


def test_a_kill_of_all_in_between_changes_nothing(team, boxes):
    number, machine = begin(team, boxes)
    wait_for(lambda: spell(team, "ls", f"runs/{number}/checkpoints/1").returncode == 0, what="its backup to have begun")
    spell(team, "machine", "interrupt", machine.name, "--in", "600", check=0)
    wait_told(machine, number)
    wait_for(lambda: spell(team, "ls", f"runs/{number}/checkpoints/2").returncode == 0, what="its backup")
    goes_at = machine_info(team, machine.name)["going_at"]
    machine.kill(signal.SIGKILL)
    team.stop(signal.SIGKILL)
    team.start()
    machine.start()
    known = machine_info(team, machine.name)
    assert known["going_at"] == goes_at and known["drained"], known
    spell(team, "machine", "interrupt", machine.name, "--in", "2", check=0)
    after = check_interrupted(team, number, machine, "asked for by")
    assert f"from 2 after {number} []" in logs(team, after)
    assert logs(team, number).count("This machine is taken away in") == 1


def test_a_program_that_heeds_the_signal_is_interrupted_too(team, boxes):
    number, machine = begin(team, boxes, "--notice-signal", "TERM", "--disable-auto-resume")
    spell(team, "machine", "interrupt", machine.name, "--in", "60", check=0)
    run = wait_run(team, number, "interrupted")
    assert run["reason_code"] == "machine_notice" and "exit code 143" in run["reason"], run
    assert run["resumed_as_run"] is None


class Cloud(http.server.ThreadingHTTPServer):
    """Azure's metadata service, as far as a worker asks it, which it does each second. Others: tests/unit/worker/cloud_notice_test.cpp."""
    daemon_threads = True
    EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"

    def __init__(self):
        cloud = self
        self.events, self.approved = [], threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, status, body=""):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def do_POST(self):
                wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if wanted == {"StartRequests": [{"EventId": "E"}]} and cloud.events:
                    cloud.approved.set()
                self.answer(200, "{}")

            def do_GET(self):
                if self.headers.get("Metadata") != "true":
                    return self.answer(400)
                self.answer(200, json.dumps({"DocumentIncarnation": 1, "Events": cloud.events}) if self.path == cloud.EVENTS else "vm")

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def says(self, seconds):
        """The machine goes in so many seconds."""
        at = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + seconds))
        self.events = [{"EventId": "E", "EventType": "Preempt", "Resources": ["vm"], "NotBefore": at}]

    def withdraws(self):
        self.events = []


@pytest.fixture
def cloud(team):
    cloud = Cloud()
    team.place.environment["SPELL_METADATA_URL"] = f"http://127.0.0.1:{cloud.server_address[1]}"
    yield cloud
    cloud.shutdown()


def test_a_cloud_says_so(team, cloud):
    box = Machine(team, "box", "--serves", "spot", config='notice = "azure"\n')
    spare = Machine(team, "spare", "--serves", "spot", config='notice = "none"\n', start=False)
    try:
        number, _ = begin(team, [box])
        cloud.says(600)
        known = wait_for(lambda: machine_info(team, "box") if machine_info(team, "box")["going_at"] else None, what="the notice to be heard of")
        assert known["going"] == "preempted, Azure" and not known["drained"], known
        wait_told(box, number)
        assert spare.join().returncode == 0
        spare.start()
        assert not cloud.approved.is_set()
        cloud.says(5)
        after = check_interrupted(team, number, box, "preempted, Azure")
        assert f"from 2 after {number}" in logs(team, after)
        assert cloud.approved.wait(PATIENCE)  # nothing is left to do there
        assert "machine.notice" in [entry["action"] for entry in spell(team, "audit", "--json", check=0).json["audit"]]
    finally:
        box.close()
        spare.close()


def test_a_cloud_that_takes_its_notice_back(team, cloud):
    """The file goes, the log says so, and run and machine go on as before."""
    box = Machine(team, "box", "--serves", "spot", config='notice = "azure"\n')
    try:
        number = submit(team, "-m", "spot", "--cpus", "1", HEEDS)
        folder = gate(box, number)
        cloud.says(600)
        wait_for(lambda: "told" in logs(team, number), what="the run to be told")
        assert machine_info(team, "box")["going_at"]
        cloud.withdraws()
        wait_for(lambda: "stays" in logs(team, number), what="the file to go")
        wait_for(lambda: not machine_info(team, "box")["going_at"], what="the service to hear of it")
        assert "The machine stays after all" in logs(team, number)
        # Another run is taken there, and the first is backed up and comes to its end.
        other = submit(team, "-m", "spot", "--cpus", "1", "true")
        wait_run(team, other, "complete")
        (folder / "checkpoint").write_text("as before")
        wait_for(lambda: spell(team, "ls", f"runs/{number}/checkpoint").returncode == 0, what="its backup")
        (folder / "go").touch()
        assert wait_run(team, number, "complete")["machine"] == "box"
        actions = [entry["action"] for entry in spell(team, "audit", "--json", check=0).json["audit"]]
        assert actions.count("machine.notice") == 2 and not cloud.approved.is_set(), actions
    finally:
        box.close()


def test_sigterm_is_the_end_of_a_machine_that_says_so(team):
    box = Machine(team, "box", "--serves", "spot", config="sigterm-is-notice = true\nnotice-seconds = 5\n")
    try:
        number, _ = begin(team, [box], "--disable-auto-resume")
        ended = box.kill(signal.SIGTERM)
        run = record(team, number)
        assert (run["status"], run["reason_code"]) == ("interrupted", "machine_notice"), (run, ended)
        assert "shutting down" in run["reason"]
        assert not box.supervisors()
    finally:
        box.close()


def test_sigpwr_ends_the_runs_and_not_the_worker(team):
    box = Machine(team, "box", "--serves", "spot", config="notice-seconds = 3\n")
    try:
        number, _ = begin(team, [box], "--disable-auto-resume")
        box.kill(signal.SIGPWR)
        run = wait_run(team, number, "interrupted")
        assert run["reason_code"] == "machine_notice" and "SIGPWR" in run["reason"], run
        box.wait_empty()
        assert box.running.process.poll() is None
        assert machine_info(team, "box")["going"] == "power failure, SIGPWR"
    finally:
        box.close()


def test_what_is_refused(team, boxes):
    def refused(*arguments, status):
        answer = spell(team, "machine", "interrupt", *arguments)
        assert answer.returncode == status and len(answer.stderr.splitlines()) == 1, answer
        return answer.stderr

    assert "no machine 'none'" in refused("none", status=1)
    for wrong in ("-1", "1.5", "soon", "86401"):
        assert "--in" in refused("box", f"--in={wrong}", status=2)
    assert not machine_info(team, "box")["going_at"]
    bad = spell(team, "run", "-m", "spot", "--notice-signal", "KILL", "true")
    assert bad.returncode != 0 and "HUP, INT, TERM, USR1, USR2" in bad.stderr, bad
