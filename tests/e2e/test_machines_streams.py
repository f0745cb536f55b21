"""Inside runs on machines that have joined: through a team's service, over TLS, by who may."""
import hashlib
import json
import random
import signal
import socket
import threading

import pytest

from harness import wait_for
from machines import Machine, submit
from team import Team
from test_streams import SERVER, connect, processes_with, read_all, refuses


@pytest.fixture
def team(place):
    return Team(place)


@pytest.fixture
def box(team):
    machine = Machine(team, "box")
    yield machine
    machine.close()


@pytest.fixture
def server(team, box):
    """A run's number, and the port that it listens on."""
    repo = team.place.make_repository("repo", {"server.py": SERVER})
    number = submit(team, "-m", "box", "exec /usr/bin/python3 server.py", cwd=repo)
    wait_for(lambda: "ready" in team.spell("logs", number).stdout, what="the run's first output")
    yield number, int(team.spell("logs", number, check=0).stdout.split("ready on ")[1].split(".")[0])
    team.spell("kill", number, check=0)
    team.spell("wait", number)


def start(team, *arguments, token=None):
    return team.place.start(*arguments, env=team.environment(token))


def start_forward(team, number, port):
    forward = start(team, "forward", "-q", number, f"0:{port}")
    return forward, int(forward.wait_output("\n").split(b":")[1])


def test_commands_figures_and_ports_are_reached_over_tls(team, server):
    number, port = server
    blob = random.Random(1).randbytes(4 << 20)
    echoed = team.spell("exec", number, "cat", input=blob, check=0)
    assert hashlib.sha256(echoed.bytes).hexdigest() == hashlib.sha256(blob).hexdigest()
    assert team.spell("stats", "--json", number, check=0).json["stats"]["processes"] == 1
    here = start_forward(team, number, port)[1]
    answers = {}

    def ask(i):
        with connect(here, b"e" if i % 2 else b"h") as line:
            line.sendall(blob[i:200_000])
            line.shutdown(socket.SHUT_WR)
            answers[i] = read_all(line)
    threads = [threading.Thread(target=ask, args=(i,), daemon=True) for i in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    sent = [blob[i:200_000] for i in range(40)]
    assert [i for i in range(40) if answers.get(i) != (sent[i] if i % 2 else hashlib.sha256(sent[i]).hexdigest().encode())] == []


def test_the_worker_s_death_ends_what_is_open_and_not_the_run(team, box, server):
    number, port = server
    forward, here = start_forward(team, number, port)
    command = start(team, "exec", number, "echo here; exec sleep 98771")
    command.wait_output("here")
    figures = start(team, "stats", "-f", "--json", number)
    figures.wait_output("cpu_millis")
    with connect(here, b"w") as line:
        assert line.recv(4) == b"here"
        box.kill()
        for program in (forward, command, figures):
            result = program.finish()
            assert (result.returncode, result.stderr.count("\n")) == (1, 1) and "was lost" in result.stderr, result
        with pytest.raises(ConnectionResetError):
            line.recv(1)
    assert refuses(here)
    wait_for(lambda: not processes_with("98771"), what="the end of the command")
    away = team.spell("exec", "--json", number, "true", check=1)
    assert json.loads(away.stderr)["error"]["code"] == "machine_away"
    box.start()
    wait_for(lambda: team.spell("exec", number, "echo again").stdout == "again\n", what="a command in the run")
    with connect(start_forward(team, number, port)[1], b"e!") as line:
        assert line.recv(1) == b"!"


def test_others_do_not_get_in_and_may_look_on(team, server):
    number, port = server
    viewer, member = team.add_user("vera", "viewer"), team.add_user("mel")
    for token in (viewer, member):
        for arguments in (["exec", number, "true"], ["forward", number, f"0:{port}"]):
            refused = team.spell(*arguments, token=token, check=1)
            assert refused.stderr.count("\n") == 1, refused
            told = json.loads(team.spell(arguments[0], "--json", *arguments[1:], token=token, check=1).stderr)
            assert told["error"]["code"] == "not_permitted"
        assert team.spell("stats", "--json", number, token=token, check=0).json["stats"]["run"] == number
        assert [stats["run"] for stats in team.spell("top", "--json", token=token, check=0).json["stats"]] == [number]
    assert team.spell("exec", number, "echo fine", check=0).stdout == "fine\n"


def test_a_user_who_is_disabled_is_thrown_out(team, server):
    number, port = server
    root = team.add_user("rose", "administrator")
    command = start(team, "exec", number, "echo here; exec sleep 98772", token=root)
    command.wait_output("here")
    forward = start(team, "forward", "-q", number, f"0:{port}", token=root)
    here = int(forward.wait_output("\n").split(b":")[1])
    with connect(here, b"w") as line:
        assert line.recv(4) == b"here"
        team.spell("user", "disable", "rose", check=0)
        assert command.finish().returncode == 1 and forward.finish().returncode == 1
        with pytest.raises(ConnectionResetError):
            line.recv(1)
    wait_for(lambda: not processes_with("98772"), what="the end of the command")
    # The run and others' ways into it are untouched.
    wait_for(lambda: team.spell("exec", number, "echo fine").stdout == "fine\n", what="a command of somebody else's")


def test_of_a_machine_that_is_removed_nothing_stays_open(team, box):
    """Even where its worker does not heed: here it cannot."""
    number = submit(team, "-m", "box", "echo begun; sleep 98773")
    wait_for(lambda: "begun" in team.spell("logs", number).stdout, what="the run")
    command = start(team, "exec", number, "echo here; exec sleep 98774")
    command.wait_output("here")
    box.kill(signal.SIGSTOP)
    team.spell("machine", "remove", "-f", "box", check=0)
    result = command.finish()
    assert result.returncode == 1 and result.stderr.count("\n") == 1, result
    box.kill(signal.SIGCONT)
    wait_for(lambda: not processes_with("98773") and not processes_with("98774"), what="the end of the run")


def test_a_frozen_service_does_not_tear_what_is_open(team, server):
    number, port = server
    here = start_forward(team, number, port)[1]
    with connect(here, b"e") as line:
        line.sendall(b"one")
        assert line.recv(3) == b"one"
        team.running.signal(signal.SIGSTOP)
        line.sendall(b"two")
        team.running.signal(signal.SIGCONT)
        assert line.recv(3) == b"two"
