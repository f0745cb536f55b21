"""What a workflow's credentials are good for, each thing done for real by its managing run; and where they, and a team's tokens, are never found."""
import contextlib
import http.client
import json
import os
import re
import signal

from faults import Gate, children, suspend
from harness import PATIENCE, processes_of, wait_for
from machines import Machine
from machines import spell as team_spell
from team import PASSWORD
from test_secrets import arguments_with, files_with
from test_workflows import SPELL, ask, ended, run, start, workflow

ALLOWED = f"""
exec 2>&1
set -e
echo data > mine
{SPELL} upload -q --name uploads/workflows/1/data mine
{run("reader", f"cat in; {SPELL} send-metric loss 0.5; {SPELL} send-metric loss 0.25; echo kept > out", "--mount uploads/workflows/1/data:in")}
{SPELL} label -q 3 good
{SPELL} logs -f 3 2> /dev/null
{SPELL} metrics 3 loss --csv | cut -d , -f 1,2,4,5
{SPELL} metrics 3 -q
{SPELL} ls -q runs/3
{SPELL} cp -q runs/3/out got; cat got
{SPELL} cp -q uploads/workflows/1/data back; cat back
{SPELL} cp -q runs/1/other .; cat other
{SPELL} info -q 3
echo $({SPELL} ps -q -w 1)
{SPELL} workflow info -q 1
{SPELL} machine-types --json
{run("killed", "sleep 1000", "-b")}
{SPELL} kill -q 4; {SPELL} wait -q 4 || echo "wait $?"
{run("stopped", "echo begun; sleep 1000", '-b')}
{SPELL} logs -f 5 2> /dev/null | {{ read -r word; echo $word; {SPELL} stop -q 5; cat; }}
{SPELL} wait -q 5 || echo "wait $?"
set +e
refused() {{ said=$({SPELL} "$@" 2>&1); echo "$? $*: $said"; }}
refused upload --name uploads/workflows/2/data mine
refused upload --name data mine
refused rm -f 4
refused rm -f uploads/workflows/1/data
refused archive 4
refused rerun -b 3
refused workflow stop 1
refused workflow list
refused workflow info 2
refused secret list
refused exec 3 true
refused info 1
refused logs 1
refused metrics 1
refused label 1 mine
refused kill 1
refused stop 1
"""


DONE = """uploads/workflows/1/data
data
3
data
run_id,metric_name,index,value
3,loss,0,0.5
3,loss,1,0.25
loss
out
kept
data
of another
3
2 3
1
{types}
4
4
4
wait 125
5
begun
5
5
wait 125
"""


def test_what_they_are_for_is_done(place):
    place.spell("run", "-f", "echo of another > other", check=0)
    done = place.spell("workflow", "create", ALLOWED, check=0)
    lines = done.stdout.splitlines(keepends=True)
    [types] = [line for line in lines if line.startswith("{")]
    assert "price" in json.loads(types)["machine_types"][0]
    count = DONE.count("\n")
    assert "".join(lines[:count]) == DONE.replace("{types}\n", types), done
    refusals = lines[count:]
    assert len(refusals) == ALLOWED.count("\nrefused ") and all(line.startswith("1 ") for line in refusals), done
    assert all("credentials" in line and "workflow 1" in line for line in refusals), done
    found = workflow(place, 1)
    assert [(each["key"], each["status"]) for each in found["runs"]] == [("", "complete"), ("reader", "complete"), ("killed", "killed"), ("stopped", "stopped")]
    assert place.spell("info", 3, "--json", check=0).json["run"]["labels"] == ["good"]
    assert place.spell("info", 1, "--json", check=0).json["run"]["labels"] == []
    # What it has uploaded is its own, and goes with it.
    place.spell("ls", "uploads/workflows/1/data", check=0)
    place.spell("workflow", "rm", "-f", 1, check=0)
    assert "resource_not_found" in place.spell("ls", "uploads/workflows/1/data", "--json", check=1).stderr


def test_they_are_told_of_the_ends_of_their_own_runs(place):
    """The one wait for any number of runs, and lists that ask for those of another workflow."""
    gate, told = Gate(place.root / "gate"), place.root / "told"
    os.mkfifo(place.root / "go")
    start(place, f"""printf %s "$SPELL_TOKEN" > {told}.part; mv {told}.part {told}; read -r _ < {place.root}/go
        {run("own", "true")}; {gate.waiting}""")
    token = wait_for(lambda: told.exists() and told.read_text(), what="the managing run")
    place.spell("workflow", "create", "-q", run("foreign", "true"), check=0)
    service = place.spell_dir / "spelld.sock"
    owner = place.spell("status", "--json", check=0).json["service"]["owner"]
    ends, runs = f"/v1/owners/{owner}/ends", f"/v1/owners/{owner}/runs"

    def since(cursor, token=None):
        status, answer = ask(service, "GET", f"{ends}?from={cursor}", token)
        assert status == 200 and answer["complete"], answer
        return answer["runs"]
    theirs, everybodys = (ask(service, "GET", ends, caller)[1]["next"] for caller in (token, None))
    place.spell("run", "-f", "true", check=0)
    place.spell("workflow", "create", "-q", run("foreign", "true"), check=0)
    assert since(theirs, token) == [] and len(since(everybodys)) == 3
    # A long wait of theirs, then, sleeps through the ends of others: it ends with the one of their own.
    (place.root / "go").write_text("\n")
    status, answer = ask(service, "GET", f"{ends}?from={theirs}&wait_ms=60000", token)
    own = [each["id"] for each in workflow(place, 1)["runs"] if each["key"] == "own"]
    assert (status, answer["runs"]) == (200, own)
    assert sorted(since(everybodys)) == [4, 5, 6, *own]
    assert [each["id"] for each in ask(service, "GET", f"{runs}?workflow=1", token)[1]["runs"]] == [*own, 1]
    assert ask(service, "GET", f"{runs}?workflow=2", token)[0] == 403
    gate.open()
    assert ended(place, 1)["status"] == "complete"


class Stream:
    """An answer that has no end yet."""

    def __init__(self, team, path, token):
        self.connection = team.connect()
        self.connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        self.answer, self.text = None, b""

    def until(self, expected):
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200
        while expected not in self.text:
            self.text += (piece := self.answer.read1())
            assert piece, self.text

    def ends(self):
        """Waits for its end, which may be that of the connection."""
        try:
            self.answer = self.answer or self.connection.getresponse()
            return self.answer.read()
        except (http.client.HTTPException, ConnectionError, OSError) as end:
            assert not isinstance(end, TimeoutError), "it goes on"
            return b""

    def goes_on(self):
        """Whether all that there is has been read, and no end of it has come."""
        self.connection.sock.settimeout(0.2)
        try:
            while self.answer.read1():
                pass
        except TimeoutError:
            return True
        return False


def test_a_kill_ends_what_they_have_open(team):
    """Not only new requests are refused: a follower of a log and a long wait end at once, though the run cannot hear of the kill yet."""
    box, told = Machine(team, "box"), team.place.root / "told"
    try:
        script = f"""{run("child", "echo begun; sleep 1000", "-b")}; printf %s "$SPELL_TOKEN" > {told}.part; mv {told}.part {told}; sleep 1000"""
        team_spell(team, "workflow", "create", "-b", script, check=0)
        token = wait_for(lambda: told.exists() and told.read_text(), what="the managing run")
        follow = "/v1/owners/acme/runs/2/log?follow=1&format=text"
        theirs, ours = Stream(team, follow, token), Stream(team, follow, team.token)
        for stream in (theirs, ours):
            stream.until(b"begun")
        waiting = Stream(team, "/v1/owners/acme/ends?wait_ms=60000", token)
        os.kill(box.running.process.pid, signal.SIGSTOP)
        team_spell(team, "workflow", "kill", 1, check=0)
        theirs.ends()
        waiting.ends()
        assert team_spell(team, "info", 2, "--json", check=0).json["run"]["ended_at"] is None and ours.goes_on()
        assert team.request("GET", "/v1/owners/acme/runs/2", token=token)[0] == 401
        os.kill(box.running.process.pid, signal.SIGCONT)
        team_spell(team, "wait", 1, 2, check=125)
    finally:
        box.close()


def test_a_frozen_manager_that_thaws_makes_no_run(team):
    """Its machine stands still until it counts as lost; awake again, it is nobody any more."""
    box, said = Machine(team, "box", "--lost-after", "3"), team.place.root / "said"
    try:
        script = f"""n=0; while n=$((n + 1)); {SPELL} run -q -b -f --json --key $n true 2> {said}.part > {said}.out; do :; done; mv {said}.part {said}"""
        made = team_spell(team, "workflow", "create", "-b", "--json", script, check=0).json["workflow"]
        runs = lambda: team_spell(team, "workflow", "info", 1, "--json", check=0).json["workflow"]["runs"]
        wait_for(lambda: len(runs()) > 3, what="runs of the managing run")
        suspend(box.running.process.pid)
        frozen = list(processes_of(f"{said}.part"))
        for pid in frozen:  # a shell first, then what it has begun, which may just have ended
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
            frozen += [child for child in children(pid) if child not in frozen]
        team_spell(team, "wait", made["run"], timeout=2 * PATIENCE)
        assert team_spell(team, "info", made["run"], "--json", check=0).json["run"]["reason_code"] == "machine_lost"
        before = [each["id"] for each in runs()]
        for pid in frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        wait_for(said.exists, what="the end of the managing run's loop")
        assert '"unauthorized"' in said.read_text(), said.read_text()
        box.kill(signal.SIGCONT)
        box.wait_empty()
        assert [each["id"] for each in runs()] == before
    finally:
        box.close()


def test_tokens_are_in_no_log_and_in_no_list_of_processes(team):
    """Of a team: that of a workflow, of who logs in, of a machine, those to join with; at the moment when runs of it are there, and later."""
    gate, told = Gate(team.place.root / "gate"), team.place.root / "told"
    box = Machine(team, "box")
    try:
        script = f"""printf %s "$SPELL_TOKEN" > {told}.part; mv {told}.part {told}; {run("child", f"echo begun; {gate.waiting}")}; echo "$SPELL_TOKEN" """
        made = team.spell("workflow", "create", "-b", "--json", script, check=0).json["workflow"]
        token = wait_for(lambda: told.exists() and told.read_text(), what="the managing run")
        follower = team.place.start("logs", "-f", made["run"], env=team.environment())
        follower.wait_output("begun")
        join = box.token
        kept = re.search(r"spm_\w+", (box.folder / "joined.json").read_text())[0]  # a machine keeps its own, and nothing else

        def check():
            for secret, places in ((token, [told]), (team.token, []), (join, []), (kept, [box.folder / "joined.json"]), (PASSWORD, [])):
                assert files_with(team.place.root, secret) == [str(path) for path in places], secret[:4]
                assert arguments_with(secret) == [], secret[:4]
                for daemon in (team.running, box.running):
                    assert secret.encode() not in daemon.output("stderr") + daemon.output("stdout"), secret[:4]
        check()
        gate.open()
        follower.finish()
        team_spell(team, "wait", made["run"], check=0)
        assert team_spell(team, "logs", made["run"], check=0).stdout == "begun\n***\n"
        assert team.request("GET", "/v1/owners/acme/runs", token=token)[0] == 401
        check()
        assert team.stop().returncode == 0  # what it keeps is on its disk now
        check()
    finally:
        box.close()
