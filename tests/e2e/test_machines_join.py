"""Joining a service: what a token is good for, whom a machine believes, and what `leave` leaves."""
import json
import re
import shutil
import signal
import stat
import subprocess

import pytest

from harness import wait_for
from machines import Machine, spell, submit, wait_run
from team import Team


@pytest.fixture
def team(place):
    return Team(place)


def error_of(result):
    assert result.returncode == 1, result
    return json.loads(result.stdout)["error"]


def test_a_daemon_waits_quietly_and_begins_when_its_machine_has_joined(team):
    box = Machine(team, "box", start=False)
    box.start(connected=False)
    box.running.wait_output("has not joined", stream="stderr")
    assert box.status()["state"] == "waiting"
    joined = box.join()
    assert joined.returncode == 0, joined
    assert joined.json["machine"] == "box" and joined.json["connected"] and joined.json["cores"] >= 1
    assert box.status()["state"] == "connected"
    secret = box.folder / "joined.json"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert box.token not in secret.read_text()
    assert wait_run(team, submit(team, "-m", "box", "true"), "complete")["machine"] == "box"
    assert box.worker("leave", "--json").returncode == 0
    assert not secret.exists() and not (box.folder / "worker").exists()
    box.running.wait_output("has not joined", stream="stderr")
    box.close()


def test_a_token_is_good_once_and_for_its_own_service(place, team):
    box = Machine(team, "box")
    used = error_of(box.join())
    assert used["code"] == "join_token_used" and "get-token" in used["message"], used
    assert box.status()["state"] == "connected"  # nothing has changed
    assert error_of(box.join(token="spj_" + "0" * 64 + box.token[68:]))["code"] == "unauthorized"
    for text in ("nonsense", "spj_123", box.token + "0", "spm_" + "0" * 64):
        wrong = error_of(box.join(token=text))
        assert wrong["code"] == "invalid_token" and text not in wrong["message"]
    # Made by another service: its key is another one, and nothing is told to this one.
    other = Team(place, name="other", owner="others")
    stray = Machine(other, "stray", start=False)
    foreign = error_of(stray.join(url=team.url))
    assert foreign["code"] == "untrusted_service" and "key" in foreign["message"], foreign
    assert stray.join().returncode == 0
    # It belongs to one service at a time.
    third = Machine(team, "third", start=False)
    both = error_of(stray.join(token=third.token, url=team.url))
    assert both["code"] == "already_joined" and "leave" in both["message"]
    box.close()


def test_a_machine_that_joins_anew_takes_the_place_of_the_one_before(team):
    first = Machine(team, "box")
    again = spell(team, "machine", "get-token", "box", "--json", check=0).json
    second = Machine.__new__(Machine)
    second.__dict__ = dict(first.__dict__, folder=first.place.root / "machine-second", token=again["token"], running=None)
    assert second.join().returncode == 0
    second.start()
    first.running.wait_output("token", stream="stderr")  # said in words, and the worker goes on trying
    assert first.running.process.poll() is None and first.status()["state"] == "connecting"
    assert wait_run(team, submit(team, "-m", "box", "true"), "complete")
    first.close()
    second.close()


def test_a_copy_of_a_machine_is_refused_while_the_first_is_there(team):
    """Two workers with one name and one credential, as after the copy of a disk."""
    first = Machine(team, "box")
    second = Machine.__new__(Machine)
    second.__dict__ = dict(first.__dict__, folder=first.place.root / "machine-copy", running=None)
    shutil.copytree(first.folder, second.folder)
    begun = team.place.work / "begun"
    waiting = submit(team, "-m", "box", "--cpus", "1", f"echo $$ >> {begun}; touch began; while [ ! -e {begun}.go ]; do sleep 0.02; done")
    wait_for(begun.exists, what="the run to begin")
    second.start(connected=False)
    second.running.wait_output("another worker is connected as machine 'box'", stream="stderr")
    assert second.status()["code"] == "machine_taken" and first.status()["state"] == "connected"
    assert wait_run(team, submit(team, "-m", "box", "--cpus", "1", "true"), "complete")
    assert not second.supervisors()
    (team.place.work / "begun.go").touch()
    assert wait_run(team, waiting, "complete")
    assert len(begun.read_text().splitlines()) == 1
    first.wait_empty()
    # When the first has gone, the copy is the machine.
    first.close()
    second.wait_connected()
    second.close()


def test_bad_input_is_refused_by_name(place):
    worker = lambda *arguments, **options: place.program("spell-worker", *arguments, "--state", place.root / "w", **options)
    token = "spj_" + "0" * 64
    for url in ("http://127.0.0.1:1", "box", "https://", "unix:", "https://a b"):
        refused = worker("join", url, "-", input=token)
        assert refused.returncode == 1 and "no address of a service" in refused.stderr, refused
    nobody = worker("join", "https://127.0.0.1:1", "-", input=token)
    assert nobody.returncode == 1 and "127.0.0.1:1" in nobody.stderr and len(nobody.stderr.splitlines()) == 1
    assert "no token" in worker("join", "https://127.0.0.1:1", "-", input="\n").stderr
    assert worker("leave").returncode == 1 and "has not joined" in worker("leave").stderr
    assert worker("nonsense").returncode == 2
    (place.root / "w/worker.toml").write_text("cores = 0\n")
    wrong = worker("run")
    assert wrong.returncode == 3 and "line 1" in wrong.stderr and "cores" in wrong.stderr, wrong
    (place.root / "w/worker.toml").write_text("\nnonsense = 1\n")
    assert "line 2" in worker("run").stderr and "'nonsense'" in worker("run").stderr
    (place.root / "w").chmod(0o777)
    assert worker("run").returncode == 3


def test_a_dead_line_is_noticed_at_both_ends(place):
    """Where nothing comes any more, nobody says so: both ends of a machine's connections, and of a user's, ask every 20 s and wait 30."""
    if not shutil.which("ss"):
        pytest.skip("there is no ss here")
    team = Team(place)
    box = Machine(team, "box")
    follower = place.start("logs", "-f", str(submit(team, "-m", "box", "echo begun; sleep 1000")), env=team.environment())
    follower.wait_output("begun")

    def watched():
        """Of the established connections at the service's port, by process: seconds until the next question."""
        port = team.port
        shown = subprocess.run(["ss", "-Htnop", "state", "established", f"( sport = :{port} or dport = :{port} )"],
                               capture_output=True, text=True, check=True).stdout
        ends = [(re.search(r'\(\("([^"]+)"', line), re.search(r"timer:\(keepalive,([\d.]+)(ms|sec)", line)) for line in shown.splitlines()]
        # One that has just sent something has another timer for a moment.
        if not all(who and timer for who, timer in ends):
            return None
        return {who[1]: float(timer[1]) / (1000 if timer[2] == "ms" else 1) for who, timer in ends}
    ends = wait_for(watched, what="all connections to be quiet")
    assert {"spelld", "spell-worker", "spell"} <= ends.keys() and max(ends.values()) <= 20, ends
    spell(team, "kill", 1, check=0)
    wait_run(team, 1)
    box.close()
