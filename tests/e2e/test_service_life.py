"""How the personal service comes, stays, goes, and makes room for a newer one."""
import fcntl
import http.server
import json
import os
import pty
import signal
import socket
import socketserver
import stat
import threading

import pytest

from faults import Gate, ended, kill_service, lock_holder, output_of, run_folders, service, start_run, \
    the_supervisor
from harness import BUILD, need_terminals, wait_for, wait_gone
from storage import Api


def starts(place):
    return place.service_log().count("started, version")


def test_ten_at_once_start_one(place):
    callers = [place.start("status", "--json") for _ in range(10)]
    results = [caller.finish() for caller in callers]
    assert [result.returncode for result in results] == [0] * 10, results
    assert len({result.json["service"]["pid"] for result in results}) == 1
    assert starts(place) == 1
    assert stat.S_IMODE((place.spell_dir / "spelld.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE(place.spell_dir.stat().st_mode) == 0o700


def test_ten_at_once_after_a_kill_start_one(place):
    place.spell("status", check=0)
    dead = kill_service(place)
    results = [caller.finish() for caller in [place.start("run", "-f", "echo", i) for i in range(10)]]
    assert sorted(result.stdout for result in results) == [f"{i}\n" for i in range(10)], results
    assert starts(place) == 2 and service(place) != dead
    assert sorted(run["id"] for run in place.spell("ps", "--json", check=0).json["runs"]) == list(range(1, 11))


@pytest.mark.parametrize("left", ["as they were", "an empty lock", "a lock of garbage", "no socket"])
def test_what_a_killed_service_leaves_needs_no_hand(place, left):
    place.spell("status", check=0)
    dead = kill_service(place)
    lock, sock = place.spell_dir / "spelld.lock", place.spell_dir / "spelld.sock"
    assert lock.exists() and sock.is_socket()
    if left == "an empty lock":
        lock.write_text("")
    elif left == "a lock of garbage":
        lock.write_bytes(b"\xff\0{" * 2000)
    elif left == "no socket":
        sock.unlink()
    assert place.spell("run", "-f", "echo fine", check=0).stdout == "fine\n"
    assert service(place) != dead


def test_survives_the_terminal(place):
    """Started from a terminal that is closed: the kernel sends SIGHUP to all of its session."""
    gate = Gate(place.work / "gate")
    need_terminals()
    shell, terminal = pty.fork()
    if shell == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests were started with nohup
        os.chdir(place.work)
        command = f"spell run -f -b '{gate.waiting}; echo done' && echo submitted; exec sleep 1000"
        os.execve("/bin/bash", ["bash", "-c", command], place.environment)
    said = b""
    while b"submitted" not in said:
        said += os.read(terminal, 65536)
    before, supervisor = service(place), the_supervisor(place)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(shell, 0)[1]) == -signal.SIGHUP
    assert os.getsid(before) == before and os.getsid(supervisor) == supervisor
    gate.open()
    assert ended(place, 1)["status"] == "complete"
    assert output_of(place, 1) == b"done\n"
    assert service(place) == before


def test_ends_when_idle_and_not_before(place):
    gate = Gate(place.work / "gate")
    started = place.start("serve", "--personal", "--spell-dir", place.spell_dir, "--idle-seconds", "1", program="spelld")
    wait_for(lambda: (place.spell_dir / "spelld.sock").exists(), what="the socket")
    number = start_run(place, gate.waiting)
    queued = start_run(place, "--after", number, "echo queued")
    # An unfinished run is something to do, however long nobody calls.
    assert wait_gone([started.process.pid], 2.5) == [started.process.pid]
    gate.open()
    result = started.finish()
    assert result.returncode == 0, result
    assert "ended: idle" in place.service_log()
    assert lock_holder(place) is None and not run_folders(place)
    assert [ended(place, n)["status"] for n in (number, queued)] == ["complete"] * 2
    assert output_of(place, queued) == b"queued\n"


def test_a_joined_machine_keeps_a_service_that_nobody_calls(place):
    started = place.start("serve", "--personal", "--spell-dir", place.spell_dir, "--idle-seconds", "1", program="spelld")
    wait_for(lambda: (place.spell_dir / "spelld.sock").exists(), what="the socket")
    api = Api(place)
    join = api.request("POST", api.of_owner("machines"), {"name": "box"}).json["join"]
    hello = {"version": "0.1.0", "boot_id": "b", "cores": 1, "memory": 10**9, "disk_free": 10**9, "gpus": []}
    joined = api.request("POST", "/v1/join", {"protocol": 1, "name": "box", "version": "0.1.0", "public_key": "", "hello": hello},
                         {"Authorization": f"Bearer {join['token']}"}).json
    seen = api.request("POST", f"/v1/machines/{joined['machine']}/sync", {"protocol": 1, "seen": 0, "hello": hello, "holds": {}},
                       {"Authorization": f"Bearer {joined['token']}", "X-Spell-Worker": "1" * 32})
    assert seen.status == 200, seen.body
    assert wait_gone([started.process.pid], 1.8) == [started.process.pid]
    assert api.request("DELETE", api.of_owner("machines/box")).status == 200
    result = started.finish()
    assert result.returncode == 0, result
    assert "ended: idle" in place.service_log()


def test_ten_minutes_are_the_default(place):
    help = place.program("spelld", "serve", "--help", check=0).stdout
    assert "--idle-seconds INT=600" in help, help


def test_a_second_service_leaves_the_first_alone(place):
    place.spell("status", check=0)
    before = service(place)
    second = place.start("serve", "--personal", "--spell-dir", place.spell_dir, program="spelld").finish()
    assert second.returncode == 0, second
    assert service(place) == before and starts(place) == 1


class OtherService:
    """What a service of another version shows: the lock, the socket, /v1/status, and an end when it is asked for one."""

    def __init__(self, place, version, protocol):
        self.asked, self._folder = [], place.spell_dir
        self._lock = open(place.spell_dir / "spelld.lock", "a+")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._lock.truncate(0)
        self._lock.write(json.dumps({"host": socket.gethostname(), "boot_id": "", "pid": os.getpid(), "version": version}) + "\n")
        self._lock.flush()
        (place.spell_dir / "spelld.sock").unlink(missing_ok=True)
        other = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, status, body):
                text = json.dumps(body).encode()
                self.send_response(status)
                for name, value in (("Content-Type", "application/json"), ("Content-Length", len(text)), ("X-Spell-Version", version),
                                    ("Connection", "close")):
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(text)

            def do_GET(self):
                if self.path.partition("?")[0] == "/v1/status":
                    return self.answer(200, {"service": {"version": version, "protocol": protocol, "owner": "ada", "user": "ada",
                                                         "pid": os.getpid(), "from_the_future": {}}})
                other.asked.append(("GET", self.path))
                return self.answer(200 if self.path == "/healthz" else 404, {"status": "ok"})

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                other.asked.append(("POST", self.path, json.loads(body or b"null")))
                if "stop" not in self.path:
                    return self.answer(400, {"error": {"code": "invalid_request", "message": "what?", "request_id": "1"}})
                self.answer(202, {"pid": os.getpid()})
                threading.Thread(target=other.end).start()
                return None

            def address_string(self):
                return "unix"

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

        self._server = Server(str(place.spell_dir / "spelld.sock"), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def changed(self):
        return [what for what in self.asked if what[0] == "POST"]

    def end(self):
        if self._lock.closed:
            return
        self._server.shutdown()
        self._server.server_close()
        (self._folder / "spelld.sock").unlink(missing_ok=True)
        self._lock.close()


def test_an_older_service_makes_room_under_a_running_run(place):
    gate = Gate(place.work / "gate")
    number = start_run(place, f"echo before; {gate.waiting}; echo after; exit 3")
    supervisor = the_supervisor(place)
    kill_service(place)
    older = OtherService(place, "0.0.1", 1)
    try:
        assert place.spell("ps", "--json", check=0).json["runs"][0]["id"] == number
        assert [(path, body) for _, path, body in older.changed] == [(older.changed[0][1], {"handover": True})]
        assert place.spell("status", "--json", check=0).json["service"]["pid"] == service(place) != os.getpid()
        assert the_supervisor(place) == supervisor
    finally:
        older.end()
    gate.open()
    run = ended(place, number)
    assert (run["status"], run["user_exit_code"]) == ("complete", 3)
    assert output_of(place, number) == b"before\nafter\n"


def test_a_service_that_is_asked_makes_room_under_a_running_run(place):
    """What a newer command line asks of this very program."""
    gate = Gate(place.work / "gate")
    number = start_run(place, f"echo before; {gate.waiting}; echo after; exit 3")
    supervisor, older = the_supervisor(place), service(place)
    asked = Api(place).request("POST", "/v1/service/stop", {"handover": True})
    assert (asked.status, asked.json["pid"]) == (202, older), asked.body
    assert not wait_gone([older], 10)
    assert "ended: hand-over" in place.service_log()
    assert place.spell("status", "--json", check=0).json["service"]["pid"] != older
    assert the_supervisor(place) == supervisor
    gate.open()
    run = ended(place, number)
    assert (run["status"], run["user_exit_code"]) == ("complete", 3)
    assert output_of(place, number) == b"before\nafter\n"


def test_an_older_service_that_speaks_another_protocol_makes_room_too(place):
    older = OtherService(place, "0.0.1", 0)
    try:
        assert place.spell("run", "-f", "echo new", check=0).stdout == "new\n"
        assert len(older.changed) == 1
    finally:
        older.end()


@pytest.mark.parametrize("arguments", [["ps"], ["run", "-f", "true"], ["logs", "1"], ["wait", "1"]])
def test_a_newer_service_of_another_protocol_is_left_alone(place, arguments):
    newer = OtherService(place, "99.0.0", 99)
    try:
        result = place.spell(*arguments, check=1)
        line = [line for line in result.stderr.strip().splitlines() if "warning" not in line]
        assert len(line) == 1 and "99.0.0" in line[0] and "protocol" in line[0], result
        assert result.stdout == ""
        assert not newer.changed
    finally:
        newer.end()


def test_a_newer_service_of_our_protocol_serves_us(place):
    """Unknown members are ignored; a newer service is not replaced by an older one."""
    newer = OtherService(place, "99.0.0", 1)
    try:
        assert place.spell("service", "status", "--json", check=0).json["service"]["version"] == "99.0.0"
        assert not newer.changed
    finally:
        newer.end()


def test_something_else_on_the_socket_gets_one_line(place):
    with open(place.spell_dir / "spelld.lock", "a+") as lock, socket.socket(socket.AF_UNIX) as listener:
        fcntl.flock(lock, fcntl.LOCK_EX)
        listener.bind(str(place.spell_dir / "spelld.sock"))
        listener.listen(64)

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

        threading.Thread(target=serve, daemon=True).start()
        result = place.spell("ps", check=1)
        listener.shutdown(socket.SHUT_RDWR)
    assert len(result.stderr.strip().splitlines()) == 1, result
    assert str(place.spell_dir) in result.stderr


def test_a_file_of_somebodys_in_the_place_of_the_socket_is_left_alone(place):
    (place.spell_dir / "spelld.sock").write_text("mine")
    result = place.spell("ps", check=1)
    assert len(result.stderr.strip().splitlines()) == 1 and str(place.spell_dir / "spelld.sock") in result.stderr, result
    assert (place.spell_dir / "spelld.sock").read_text() == "mine"
