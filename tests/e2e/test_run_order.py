"""Which run starts when, what it waits for meanwhile, and that one request makes one run."""
import http.client
import json
import os
import socket

import pytest

from harness import PATIENCE, wait_for


def start(spell, repo, *arguments):
    return int(spell("run", "-b", "-q", *arguments, cwd=repo, check=0).stdout)


def info(spell, number):
    return spell("info", number, "--json", check=0).json["run"]


def reasons(spell, *numbers):
    return [(run["status"], run["reason_code"]) for run in map(lambda number: info(spell, number), numbers)]


def places(spell):
    machine = lambda: spell("status", "--json", check=0).json["service"]["machines"][0]
    return wait_for(lambda: machine()["connected"] and machine()["places"])


class Gates:
    """Commands that end when they are told to, with the status they are told."""

    def __init__(self, place):
        self.folder = place.root / "gates"
        self.folder.mkdir()

    def command(self, name):
        # A FIFO outside of every run: the run waits in `read` until somebody writes.
        os.mkfifo(self.folder / name)
        return f"echo started; read status < {self.folder / name}; exit $status"

    def open(self, name, status=0):
        with open(self.folder / name, "w") as gate:
            gate.write(f"{status}\n")


@pytest.fixture
def gates(place):
    return Gates(place)


def test_more_runs_than_places_wait_in_order(place, spell, repo, gates):
    room = places(spell)
    assert room >= 2
    busy = [start(spell, repo, gates.command(f"busy{number}")) for number in range(room)]
    waiting = [start(spell, repo, gates.command(f"waiting{number}")) for number in range(3)]
    for number in busy:
        place.start("logs", "-f", number).wait_output("started")
    assert reasons(spell, *waiting) == [("machine_requested", "waiting_for_machine")] * 3
    reason = info(spell, waiting[0])["reason"]
    assert "CPU" in reason and f"{room} of {room} places busy" in reason
    assert reason in spell("info", waiting[0], check=0).stdout
    assert reason in spell("ps", "-v", "--no-trunc", check=0).stdout
    assert spell("status", "--json").json["service"]["machines"][0]["busy"] == room

    for freed, (name, started, still) in enumerate([("busy0", waiting[0], waiting[1:]), ("waiting0", waiting[1], waiting[2:])]):
        gates.open(name)
        place.start("logs", "-f", started).wait_output("started")
        assert reasons(spell, *still) == [("machine_requested", "waiting_for_machine")] * len(still)
    spell("kill", *busy[1:], *waiting[1:], check=0)
    spell("wait", waiting[0], check=0)
    spell("wait", waiting[2], check=125)


@pytest.mark.parametrize("cores", ["all", "one"])
def test_a_place_for_each_core_and_two_at_least(place, spell, cores):
    usable = os.sched_getaffinity(0)
    if cores == "one":
        place.prefix = ["taskset", "-c", str(min(usable))]
    assert places(spell) == (max(2, len(usable)) if cores == "all" else 2)


def test_after_others(place, spell, repo, gates):
    first, second = (start(spell, repo, gates.command(name)) for name in ("first", "second"))
    last = start(spell, repo, "--after", f"{first},{second}", "echo last")
    run = info(spell, last)
    assert (run["status"], run["after"]) == ("machine_requested", [first, second])
    assert run["reason"] == f"waiting for run {first}"
    gates.open("first")
    spell("wait", first, check=0)
    assert info(spell, last)["status"] == "machine_requested"
    assert info(spell, last)["reason"] == f"waiting for run {second}"
    gates.open("second")
    spell("wait", last, check=0)
    assert spell("logs", last, check=0).stdout == "last\n"
    assert info(spell, last)["started_at"] > info(spell, second)["ended_at"]


@pytest.mark.parametrize("end", ["exit code", "kill"])
def test_after_one_that_fails(place, spell, repo, gates, end):
    first = start(spell, repo, gates.command("first"))
    second = start(spell, repo, "--after", first, "touch made")
    third = start(spell, repo, "--after", second, "touch made")
    if end == "kill":
        spell("kill", first, check=0)
    else:
        gates.open("first", 5)
    for number, cause in ((second, first), (third, second)):
        assert spell("wait", number, check=125)
        run = info(spell, number)
        assert run["status"] == "failed" and str(cause) in run["reason"], run
        assert run["started_at"] is None


def test_a_run_that_waits_takes_no_place(place, spell, repo, gates):
    first = start(spell, repo, gates.command("first"))
    waiting = [start(spell, repo, "--after", first, "true") for _ in range(3)]
    assert spell("run", "echo free", cwd=repo, check=0).stdout == "free\n"
    gates.open("first")
    spell("wait", *waiting, check=0)


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_a_waiting_run_is_ended_at_once(place, spell, repo, gates, ending):
    first = start(spell, repo, gates.command("first"))
    second = start(spell, repo, "--after", first, "true")
    spell(ending, second, check=0)
    spell("wait", second, check=125)
    assert info(spell, second)["status"] in ("killed", "stopped")
    assert info(spell, second)["started_at"] is None
    gates.open("first")
    spell("wait", first, check=0)


def test_unknown_machines_are_refused_with_those_that_exist(spell, repo):
    name = spell("status", "--json").json["service"]["machines"][0]["name"]
    for option in (["-t", "V100x4"], ["-m", "nobodys-box"], ["--machine-type", "k80"]):
        refused = spell("run", *option, "true", cwd=repo, check=1)
        assert "CPU" in refused.stderr and name in refused.stderr
    for option in (["-t", "cpu"], ["-m", name.upper()], ["-t", name]):
        spell("run", *option, "true", cwd=repo, check=0)
    assert len(spell("ps", "--json").json["runs"]) == 3


def test_reuse(spell, repo):
    spell("run", "--idempotent", "-e", "A=1", "echo $A", cwd=repo, check=0)
    for other in (["-e", "A=2", "echo $A"], ["-e", "A=1", "echo  $A"], ["-e", "A=1", "-c", "HEAD", "--timeout", "5", "echo $A"]):
        spell("run", "--idempotent", *other, cwd=repo, check=0)
    assert len(spell("ps", "--json").json["runs"]) == 4
    again = spell("run", "--idempotent", "-e", "A=1", "--json", "-b", "echo $A", cwd=repo, check=0).json["run"]
    assert (again["id"], again["already_existed"]) == (1, True)
    (repo / "hello.txt").write_text("other code\n")
    assert spell("run", "--idempotent", "-e", "A=1", "--json", "-b", "echo $A", cwd=repo, check=0).json["run"]["id"] == 5
    spell("wait", 5, check=0)
    # One that failed is no answer to who asks for it again.
    spell("run", "--idempotent", "exit 3", cwd=repo, check=3)


class Service:
    """The API itself, as any program may use it."""

    def __init__(self, place):
        self.path, self.owner = str(place.spell_dir / "spelld.sock"), place.spell("status", "--json", check=0).json["service"]["owner"]

    def call(self, method, route, body=None, key=None):
        connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self.path)
        headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
        connection.request(method, f"/v1/owners/{self.owner}{route}", json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text)


def test_one_key_makes_one_run(place, spell):
    service = Service(place)
    body = {"command": "true"}
    status, first = service.call("POST", "/runs", body, "a-key")
    assert status in (200, 201)
    spell("wait", first["run"]["id"], check=0)
    spell("service", "stop", check=0)
    service = Service(place)
    status, again = service.call("POST", "/runs", body, "a-key")
    assert status in (200, 201) and again["run"]["id"] == first["run"]["id"]
    status, conflict = service.call("POST", "/runs", {"command": "false"}, "a-key")
    assert status == 409 and set(conflict["error"]) == {"code", "message", "request_id"}
    status, other = service.call("POST", "/runs", body, "another-key")
    assert other["run"]["id"] == first["run"]["id"] + 1
    spell("wait", other["run"]["id"], check=0)
    assert len(spell("ps", "--json").json["runs"]) == 2


def test_numbers_are_never_used_twice(place, spell):
    for _ in range(2):
        spell("run", "-f", "true", check=0)
    spell("rm", "-f", 1, 2, check=0)
    spell("service", "stop", check=0)
    assert int(spell("run", "-f", "-b", "-q", "true", check=0).stdout) == 3
    spell("wait", 3, check=0)
