"""Workflows: a program that starts runs, on a machine of the service or here, with credentials that are its own and end with it."""
import http.client
import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess

import pytest

from faults import Gate, await_service, kill_service
from harness import BUILD, PATIENCE, wait_for
from machines import Machine
from machines import spell as team_spell
from test_secrets import arguments_with, files_with
from wire import Wire

SPELL = shlex.quote(str(BUILD / "bin/spell"))
FLOW = shlex.quote(str(BUILD / "bin/spell_flow"))  # flow.cpp


def run(key, command, *options):
    """A shell command that makes a run of its workflow and prints nothing but that one's output."""
    return f"{SPELL} run -q -f --key {key} {' '.join(options)} {shlex.quote(command)} 2> /dev/null"


def workflow(place, number):
    return place.spell("workflow", "info", number, "--json", check=0).json["workflow"]


def ended(place, number):
    """The workflow when it has ended, and with it its runs."""
    found = workflow(place, number)
    if found["run"]:
        place.spell("wait", found["run"])
    for run in workflow(place, number)["runs"]:
        place.spell("wait", run["id"])
    return workflow(place, number)


def start(place, script, *options):
    """The workflow of a shell script, in the background."""
    made = place.spell("workflow", "create", "-b", "--json", *options, script, check=0).json["workflow"]
    assert made["status"] == "running" and made["run"], made
    return made


def log_of(place, number):
    return place.spell("logs", number, check=0).stdout


def ask(path, method, target, token=None, body=None):
    """(status, answer) over a Unix socket."""
    connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(path))
    connection.request(method, target, body, {"Authorization": f"Bearer {token}"} if token else {})
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return answer.status, content


CHAIN = "; ".join(("set -e", run("fetch", "echo one > out.txt"),
                   run("train", "cat out.txt > model; echo two >> model", "--mount runs/$(($SPELL_RUN + 1))/out.txt"),
                   run("sample", "cat model", "--mount runs/$(($SPELL_RUN + 2))/model")))


def test_a_chain_and_its_graph(place):
    followed = place.spell("workflow", "create", "-d", "letters", CHAIN, check=0)
    assert followed.stdout == "one\ntwo\n", followed
    assert "Casting workflow #1" in followed.stderr and "Following workflow at run 1." in followed.stderr, followed
    found = workflow(place, 1)
    assert (found["status"], found["user_exit_code"], found["run"], found["description"]) == ("complete", 0, 1, "letters")
    assert [(run["id"], run["key"], run["manages"], run["mounts"], run["status"]) for run in found["runs"]] == [
        (1, "", True, [], "complete"), (2, "fetch", False, [], "complete"), (3, "train", False, [2], "complete"), (4, "sample", False, [3], "complete")]
    assert found["runs_by_status"] == {"complete": 4}
    assert place.spell("info", 3, "--json", check=0).json["run"]["workflow"] == 1
    assert "1 as train" in place.spell("info", 3, check=0).stdout
    assert [run["id"] for run in place.spell("ps", "--json", "-w", 1, check=0).json["runs"]] == [1, 2, 3, 4]
    shown = place.spell("workflow", "info", 1, check=0).stdout
    assert "train" in shown and "MOUNTS" in shown, shown
    assert [each["id"] for each in place.spell("workflow", "list", "--json", check=0).json["workflows"]] == [1]
    # Started again a run is found by its key; nobody makes one in a workflow that has ended.
    refused = place.spell("run", "-f", "--key", "more", "true", env={"SPELL_WORKFLOW_ID": "1"}, check=1)
    assert "workflow 1 has ended: complete" in refused.stderr, refused
    again = place.spell("run", "-f", "-b", "-q", "--key", "fetch", "echo one > out.txt", env={"SPELL_WORKFLOW_ID": "1"}, check=0)
    assert again.stdout == "2\n", again
    conflict = place.spell("run", "-f", "--key", "fetch", "true", env={"SPELL_WORKFLOW_ID": "1"}, check=1)
    assert "'command'" in conflict.stderr, conflict
    assert place.spell("rerun", 1).returncode == 1  # it would manage nothing
    # Its runs stay when it is forgotten.
    assert place.spell("workflow", "rm", 1, check=2).stderr.count("-f deletes") == 1
    place.spell("workflow", "rm", "-f", 1, check=0)
    assert place.spell("workflow", "info", 1, "--json", check=1).stderr.count("workflow_not_found") == 1
    assert place.spell("info", 3, "--json", check=0).json["run"]["workflow"] is None


def test_credentials_are_the_workflows_alone(place):
    """What the managing run has: a socket on which only its token counts, and a token that reaches its own workflow only."""
    gate, told = Gate(place.root / "gate"), place.root / "told"
    place.spell("run", "-f", "echo of another", check=0)
    made = start(place, f"printf '%s %s' \"$SPELL_TOKEN\" \"$SPELL_BASE_URL\" > {told}.part; mv {told}.part {told}; echo \"$SPELL_TOKEN\"; {gate.waiting}")
    token, url = wait_for(lambda: told.exists() and told.read_text(), what="the managing run").split()
    assert token.startswith("spw_") and len(token) == 68
    outer, inner = place.spell_dir / "spelld.sock", place.spell_dir / "spelld-workflows/spelld.sock"
    wait_for(lambda: place.spell("info", made["run"], "--json", check=0).json["run"]["status"] == "running", what="the news of it")
    if url.startswith("unix:/spell-service/"):  # it sees nothing else of $SPELL_DIR
        place.spell("exec", made["run"], f"test -S {url[5:]} && test ! -e {outer} && test ! -w {os.path.dirname(url[5:])}/.", check=0)
    assert files_with(place.spell_dir, token) == [] and arguments_with(token) == []
    owner = place.spell("status", "--json", check=0).json["service"]["owner"]
    runs = f"/v1/owners/{owner}/runs"
    for path in (inner, outer):
        assert ask(path, "GET", f"{runs}/{made['run']}", token)[0] == 200
        assert [run["id"] for run in ask(path, "GET", runs, token)[1]["runs"]] == [made["run"]]
        for method, target in (("GET", f"{runs}/1"), ("POST", f"{runs}/1/kill"), ("GET", "/v1/status"), ("GET", f"/v1/owners/{owner}/secrets"),
                               ("POST", f"{runs}/{made['run']}/rerun"), ("GET", f"/v1/owners/{owner}/machines"), ("GET", "/v1/tokens"),
                               ("POST", f"/v1/owners/{owner}/workflows/1/stop"), ("POST", "/v1/service/stop")):
            status, answer = ask(path, method, target, token)
            assert (status, answer["error"]["code"]) == (403, "not_permitted"), target
    for stranger in (None, "spw_" + "0" * 64, "nonsense"):
        status, answer = ask(inner, "GET", f"{runs}/{made['run']}", stranger)
        assert (status, answer["error"]["code"]) == (401, "unauthorized"), stranger
    assert ask(outer, "GET", f"{runs}/1", "spw_" + "0" * 64)[0] == 401  # a token that is wrong is not the socket's user
    gate.open()
    assert ended(place, 1)["status"] == "complete"
    assert log_of(place, made["run"]) == "***\n"
    for path in (inner, outer):
        assert ask(path, "GET", f"{runs}/{made['run']}", token)[0] == 401
    assert files_with(place.spell_dir, token) == []


@pytest.mark.parametrize("how, final", [("stop", "stopped"), ("kill", "killed")])
def test_the_end_of_a_workflow_ends_all_of_it(place, how, final):
    told = place.root / "told"
    made = start(place, f"""echo "$SPELL_TOKEN" > {told}.part; mv {told}.part {told}
        {run("running", "echo begun; sleep 1000", "-b")}
        {run("waiting", "sleep 1000", "-b", "--after $(($SPELL_RUN + 1))")}
        echo made; sleep 1000""")
    follower = place.start("logs", "-f", made["run"])
    follower.wait_output("made")
    child = place.start("logs", "-f", made["run"] + 1)
    child.wait_output("begun")
    token = told.read_text().strip()
    place.spell("workflow", how, 1, check=0)
    owner = place.spell("status", "--json", check=0).json["service"]["owner"]
    if how == "kill":  # void at once, whatever still runs
        assert ask(place.spell_dir / "spelld.sock", "GET", f"/v1/owners/{owner}/runs", token)[0] == 401
    refused = place.spell("run", "-f", "--key", "x", "true", env={"SPELL_WORKFLOW_ID": "1"}, check=1)
    assert "no more runs can be made" in refused.stderr, refused
    found = ended(place, 1)
    assert found["status"] == final
    assert [run["status"] for run in found["runs"]] == [final, final, "killed"]
    assert place.spell("workflow", how, 1, check=0).returncode == 0  # again: the same
    follower.finish()
    child.finish()


def test_a_managing_run_that_dies_at_once(place):
    ended_badly = place.spell("workflow", "create", "exit 7")
    assert ended_badly.returncode == 7
    found = workflow(place, 1)
    assert (found["status"], found["user_exit_code"]) == ("complete", 7)
    refused = place.spell("run", "-f", "--key", "x", "true", env={"SPELL_WORKFLOW_ID": "1"}, check=1)
    assert "workflow 1 has ended" in refused.stderr
    assert "workflow_not_found" in place.spell("run", "-f", "--json", "--key", "x", "true", env={"SPELL_WORKFLOW_ID": "99"}, check=1).stderr


def test_a_workflow_in_a_workflow_is_the_same_one(place):
    script = f"{SPELL} workflow create -q {shlex.quote(run('deep', 'echo deep'))}"
    assert place.spell("workflow", "create", script, check=0).stdout == "deep\n"
    found = workflow(place, 1)
    assert [(run["manages"], run["status"]) for run in found["runs"]] == [(True, "complete"), (True, "complete"), (False, "complete")]
    assert len(place.spell("workflow", "list", "--json", check=0).json["workflows"]) == 1


def lacking_program():
    """One of the system that names a library which machines do not tell of; None where it is built otherwise."""
    program = shutil.which("ls")
    return program if b"libselinux.so.1\0" in pathlib.Path(program).read_bytes() else None


def test_on_a_machine_that_has_joined(team):
    """The managing run finds the service as its machine does: over TLS, by the key that it was told."""
    box = Machine(team, "box")
    try:
        script = f'{run("child", "echo child")}; echo $SPELL_BASE_URL; test -n "$SPELL_CERT_SHA256" && {SPELL} whoami'
        done = team_spell(team, "workflow", "create", script)
        assert done.stdout.startswith(f"child\n{team.url}\n") and "its own runs and uploads" in done.stdout and done.returncode == 1, done
        found = team_spell(team, "workflow", "info", 1, "--json", check=0).json["workflow"]
        assert (found["status"], found["user_exit_code"], found["creator"]) == ("complete", 1, "local")
        assert team.request("GET", "/v1/owners/acme/workflows", token=team.token)[0] == 200
        # A program that brings its libraries along is carried out; what this computer has counts for nothing, though it is the same here.
        sent = team_spell(team, "workflow", "create", "-q", "--program", BUILD / "bin/spell_flow", "--", "chain", "true", "echo two", check=0)
        assert team_spell(team, "workflow", "info", 2, "--json", check=0).json["workflow"]["runs_by_status"] == {"complete": 3}, sent
        if not (lacking := lacking_program()):
            return
        refused = team_spell(team, "workflow", "create", "--json", "--program", lacking, check=1)
        assert "invalid_program" in refused.stderr and "libselinux.so.1, which machine box does not have" in refused.stderr, refused
    finally:
        box.close()


def test_many_workflows_take_no_places(place):
    """More workflows than places, whose runs take all of this computer: they end."""
    cores = place.spell("status", "--json", check=0).json["service"]["machines"][0]["places"]
    script = "; ".join(run(key, "true", f"--cpus {cores}") for key in ("a", "b", "c"))
    numbers = [start(place, script)["id"] for _ in range(cores + 2)]
    for number in numbers:
        found = ended(place, number)
        assert found["status"] == "complete" and found["runs_by_status"] == {"complete": 4}, found


def test_fifty_workflows_on_a_machine_with_one_place(team):
    """Each of three chained runs, one of them nested three deep: all end."""
    box = Machine(team, "box")  # of as many cores as one run takes
    try:
        chain = f"exec {FLOW} chain true true true"
        nested = f"{SPELL} workflow create -q {shlex.quote(f'{SPELL} workflow create -q {shlex.quote(chain)}')}"
        started = [team.place.program("spell_flow", "start", count, command, env={"SPELL_BASE_URL": team.socket}, check=0).stdout.split()
                   for count, command in ((1, nested), (49, chain))]
        pairs = [(int(words[i]), int(words[i + 1])) for words in started for i in range(0, len(words), 2)]
        assert [workflow for workflow, _ in pairs] == list(range(1, 51))
        team_spell(team, "wait", *(run for _, run in pairs), check=0, timeout=2 * PATIENCE)
        listed = team_spell(team, "workflow", "list", "--json", check=0).json["workflows"]
        assert [(found["status"], found["user_exit_code"], found["runs_by_status"]) for found in listed] == [
            ("complete", 0, {"complete": 6})] + [("complete", 0, {"complete": 4})] * 49, listed
    finally:
        box.close()


def test_a_manager_that_does_not_stop_making_runs(place):
    """It is told so as soon as its workflow is stopped, whatever it does; none of its runs is left."""
    made = start(place, f"""trap '' TERM; n=0; while true; do n=$((n + 1)); {SPELL} run -q -b -f --key $n 'sleep 1000' || break; done 2>&1; echo stopped""")
    follower = place.start("logs", "-f", made["run"])
    follower.wait_output(f"{made['run'] + 5}\n")
    place.spell("workflow", "stop", 1, check=0)
    follower.finish()
    log = log_of(place, made["run"])
    assert "workflow 1 is stopping; no more runs can be made in it" in log and log.endswith("stopped\n"), log
    found = ended(place, 1)
    counts = dict(found["runs_by_status"])
    if counts.get("complete") == 1:  # the managing run heard of it before it was asked to end
        del counts["complete"]
    assert found["status"] == "stopped" and set(counts) <= {"stopped", "killed"}, found
    assert place.spell("workflow", "stop", 1, check=0).stdout == "Workflow 1 has ended\n"
    assert len(found["runs"]) == place.spell("ps", "--json", "-n", 1000, check=0).json["runs"][-1]["id"]


def test_the_service_may_be_killed_meanwhile(place):
    """The managing run finds the service again where it was, with the credentials that it has."""
    gate = Gate(place.root / "gate")
    made = start(place, f"{run('before', 'echo before')}; {gate.waiting}; {run('after', 'echo after')}")
    follower = place.start("logs", "-f", made["run"])
    follower.wait_output("before")
    killed = kill_service(place)
    place.spell("status", check=0)
    assert await_service(place, killed)
    gate.open()
    assert ended(place, 1)["status"] == "complete"
    assert log_of(place, made["run"]) == "before\nafter\n"
    follower.finish()


def test_the_worker_may_be_killed_meanwhile(team):
    """The managing run outlives its machine's daemon, which keeps none of its credentials on disk."""
    box = Machine(team, "box")
    try:
        gate, told = Gate(team.place.root / "gate"), team.place.root / "told"
        script = f"""{run('before', 'echo before')}; printf %s "$SPELL_TOKEN" > {told}.part; mv {told}.part {told}; {gate.waiting}; {run('after', 'echo after')}"""
        made = team_spell(team, "workflow", "create", "-b", "--json", script, check=0).json["workflow"]
        token = wait_for(lambda: told.exists() and told.read_text(), what="the managing run")
        box.kill()
        assert files_with(box.folder, token) == [] and files_with(team.data, token) == []
        box.start()
        gate.open()
        team_spell(team, "wait", made["run"], check=0)
        found = team_spell(team, "workflow", "info", 1, "--json", check=0).json["workflow"]
        assert (found["status"], found["runs_by_status"]) == ("complete", {"complete": 3}), found
        assert team_spell(team, "logs", made["run"], check=0).stdout == "before\nafter\n"
    finally:
        box.close()


def test_a_program_that_is_killed_leaves_its_runs(place):
    """They go on, and are ended by who asks for it; started anew the program may make none in its name."""
    ended_badly = place.spell("workflow", "create", f"{run('left', 'echo begun; sleep 1000', '-b')}; kill -9 $$", check=137)
    assert workflow(place, 1)["user_exit_code"] == 137, ended_badly
    child = place.start("logs", "-f", 2)
    child.wait_output("begun")
    refused = place.spell("workflow", "rm", "-f", 1, check=1)
    assert "has runs that have not ended" in refused.stderr, refused
    place.spell("workflow", "stop", 1, check=0)
    child.finish()
    found = workflow(place, 1)
    assert (found["status"], found["runs_by_status"]) == ("complete", {"complete": 1, "stopped": 1}), found
    place.spell("workflow", "rm", "-f", 1, check=0)


def test_a_program_here(place):
    done = place.spell("workflow", "create", "--local", f"{run('a', 'echo from a run')}; echo $SPELL_WORKFLOW_ID; exit 3", check=3)
    assert done.stdout == "from a run\n1\n", done
    found = workflow(place, 1)
    assert (found["status"], found["user_exit_code"], found["run"]) == ("complete", 3, None)
    assert [run["key"] for run in found["runs"]] == ["a"]
    older = place.spell("workflow", "--local", "echo older form", check=0)
    assert older.stdout == "older form\n" and workflow(place, 2)["status"] == "complete"
    as_json = place.spell("workflow", "create", "--json", "--local", "echo not here", check=0)
    assert as_json.json["workflow"]["id"] == 3 and "not here" in as_json.stderr


def test_a_script_that_was_killed_finds_its_runs_again(place):
    """Started again it makes those that it had not made yet; a run without a name, which it could not find, is refused."""
    number = place.spell("workflow", "create", "--local", "--json", "exit 0", check=0).json["workflow"]["id"]
    refused = place.spell("run", "-f", "true", env={"SPELL_WORKFLOW_ID": str(number)}, check=2)
    assert "--key is missing" in refused.stderr and "--idempotent" in refused.stderr and refused.stderr.count("\n") == 1, refused
    first, told = Gate(place.root / "first"), place.root / "told"
    made = start(place, f"""{run('a', 'echo a')}; {SPELL} run -q -f --idempotent 'echo b'; {SPELL} run -q -f -b --idempotent 'echo c'
        echo "$SPELL_TOKEN $SPELL_BASE_URL" > {told}.part; mv {told}.part {told}; {first.waiting}""")
    token, url = wait_for(lambda: told.exists() and told.read_text(), what="the managing run").split()
    if url.startswith("unix:/spell-service/"):
        url = f"unix:{place.spell_dir}/spelld-workflows/spelld.sock"
    again = {"SPELL_TOKEN": token, "SPELL_BASE_URL": url, "SPELL_WORKFLOW_ID": str(made["id"]),
             "SPELL_OWNER": place.spell("status", "--json", check=0).json["service"]["owner"]}

    def manage(last):  # what the program does, as far as it comes
        for words in (("--key", "a", "echo a"), ("--idempotent", "echo b"), ("--idempotent", "echo c"), ("--key", "d", "echo d"))[:last]:
            place.spell("run", "-q", "-f", *words, env=again, check=0)
    manage(3)
    assert len(workflow(place, made["id"])["runs"]) == 4
    manage(4)
    manage(4)
    runs = workflow(place, made["id"])["runs"]
    assert [run["key"] for run in runs if not run["key"].startswith("spec-")] == ["", "a", "d"] and len(runs) == 5, runs
    first.open()
    ended(place, made["id"])


def test_a_shell_script_is_killed_and_started_again(place):
    """Killed after any of its steps it ends with the same runs, each made once."""
    script = place.root / "manage"
    script.write_text(f"""for name in a b c; do
  {SPELL} run -q -f --key $name "echo $name" || exit 1
  {SPELL} run -q -f --idempotent "echo again $name" || exit 1
  test -e {place.root}/dies-after-$name && rm {place.root}/dies-after-$name && kill -9 $$
done
exit 0""")
    for name in "ab":
        (place.root / f"dies-after-{name}").touch()
    made = start(place, f"while ! sh {script}; do :; done")
    found = ended(place, made["id"])
    assert log_of(place, made["run"]).count("a\n") >= 2
    assert found["runs_by_status"] == {"complete": 7} and found["user_exit_code"] == 0, found
    assert sorted(run["key"] for run in found["runs"] if not run["key"].startswith("spec-")) == ["", "a", "b", "c"]


def test_a_program_is_killed_and_started_again(place):
    """Killed when the service has its run and it does not know that yet, it goes on with that very run."""
    place.spell("workflow", "create", "--local", "kill -9 $PPID", check=-signal.SIGKILL)  # the command itself, so that nobody ends the workflow
    assert workflow(place, 1)["status"] == "running"
    wire, witness = Wire(place.root / "wire", place.spell_dir / "spelld.sock"), place.root / "witness"
    commands = (f"echo one >> {witness}; echo one > out", f"echo two >> {witness}; cat before/out")
    for key in ("run-1", "run-2"):
        wire.hold_answer_to = f": {key}\r\n".encode()  # of its Idempotency-Key
        program = place.start("chain", *commands, program="spell_flow", env={"SPELL_BASE_URL": wire.address, "SPELL_WORKFLOW_ID": "1"})
        wait_for(lambda: workflow(place, 1)["runs"][-1:] and workflow(place, 1)["runs"][-1]["key"] == key, what=key)
        program.signal(signal.SIGKILL)
        program.finish()
        wire.let_go()
    wire.close()
    place.program("spell_flow", "chain", *commands, env={"SPELL_WORKFLOW_ID": "1"}, check=0)
    found = workflow(place, 1)
    assert [(each["key"], each["status"], each["mounts"]) for each in found["runs"]] == [("run-1", "complete", []), ("run-2", "complete", [1])], found
    assert witness.read_text() == "one\ntwo\n" and log_of(place, 2) == "one\n"
    place.spell("workflow", "stop", 1, check=0)
    assert workflow(place, 1)["status"] == "stopped"


def test_commits_by_label(place, repo):
    """Repositories are sent before anything starts, each pinned to a commit."""
    other = place.make_repository("other", {"hello.txt": "first\n"})
    (other / "hello.txt").write_text("second\n")
    place.git("commit", "-q", "-am", "second", cwd=other)
    first = subprocess.run(["git", "rev-parse", "HEAD~1"], cwd=other, capture_output=True, text=True, check=True).stdout.strip()
    script = "; ".join(f"{SPELL} run -q --key {label} --commit-label {label} 'cat hello.txt'" for label in ("here", "old", "new"))
    done = place.spell("workflow", "create", "--repo", f"here={repo}", "-r", f"old={other}:HEAD~1", "--github-repo", f"new=file://{other}", script, check=0)
    assert done.stdout.endswith("hello\nfirst\nsecond\n"), done
    assert f"Syncing repo {repo}." in done.stderr
    assert place.spell("workflow", "create", "-q", "cat deep.txt", cwd=repo / "sub", check=0).stdout == "deep\n"  # the one around here
    found = workflow(place, 1)
    assert found["commits"]["old"]["commit"] == first and set(found["commits"]) == {"here", "old", "new"}
    unknown = place.spell("run", "--key", "x", "--commit-label", "nobody", "true", env={"SPELL_WORKFLOW_ID": str(place.spell("workflow", "create", "--local", "-r", f"here={repo}", "-q", "true", check=0) and 3)})
    assert unknown.returncode == 6 and "it has: here" in unknown.stderr, unknown
    outside = place.spell("run", "--commit-label", "here", "--json", "true", check=6)
    assert "--commit-label here: this run is of no workflow" in outside.stderr and "unknown_commit_label" in outside.stderr, outside


def test_bad_repositories_start_nothing(place, repo):
    def refused(status, word, *options):
        done = place.spell("workflow", "create", *options, "true", check=status)
        assert word in done.stderr and done.stderr.count("\n") <= 3, done
    refused(6, "given twice", "-r", f"a={repo}", "-r", f"a={repo}")
    refused(4, "a: ", "-r", f"a={place.root}")
    refused(5, "nowhere", "-r", f"a={repo}:nowhere")
    refused(2, "LABEL=PATH", "-r", str(repo))
    refused(2, "LABEL=PATH", "-r", "=x")
    refused(1, "label", "-r", f"a b={repo}")
    (repo / "hello.txt").write_text("changed\n")
    refused(6, "a: ", "-r", f"a={repo}")
    assert place.spell("workflow", "create", "true", cwd=repo, check=6).stderr
    refused(2, "not available", "--pip", "x")
    assert place.spell("workflow", "create", check=2).stderr
    assert place.spell("workflow", "--program", "x", "--local", "y", check=2).stderr
    assert "did you mean" in place.spell("workflow", "lst", check=2).stderr
    assert place.spell("workflow", "list", "--json", check=0).json == {"workflows": []}
    assert place.spell("ps", "--json", check=0).json == {"runs": []}


PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) printf("[%s]", argv[i]);
  printf(" in workflow %s\n", getenv("SPELL_WORKFLOW_ID"));
  return 5;
}
"""


def test_a_program_that_was_built_here(place, tmp_path):
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler")
    (tmp_path / "p.c").write_text(PROGRAM)
    (tmp_path / "l.c").write_text("int answer(void) { return 42; }\n")
    (tmp_path / "q.c").write_text("int answer(void); int main(void) { return answer(); }\n")
    for command in ("cc p.c -o pipeline", "cc -shared -fPIC l.c -o libmissing.so.7 -Wl,-soname,libmissing.so.7", "cc q.c -o lacking ./libmissing.so.7",
                    "cc -c p.c -o object"):
        subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    done = place.spell("workflow", "create", "--program", tmp_path / "pipeline", "--", "one", "two words", check=5)
    assert done.stdout == "[one][two words] in workflow 1\n", done
    assert place.spell("info", 1, "--json", check=0).json["run"]["output_files"] == 0
    place.spell("cp", "uploads/workflows/1/pipeline", "copied", check=0)
    assert (place.work / "copied").read_bytes() == (tmp_path / "pipeline").read_bytes()

    def refused(name, *words):
        done = place.spell("workflow", "create", "--program", tmp_path / name, "--json", check=1)
        assert "invalid_program" in done.stderr and all(word in done.stderr for word in words), done
    refused("lacking", "libmissing.so.7")
    refused("libmissing.so.7", "shared library")
    refused("object", "no executable")
    refused("p.c", "ELF")
    refused("nowhere", "no program")
    wrong = bytearray((tmp_path / "pipeline").read_bytes())
    wrong[18:20] = (21).to_bytes(2, "little")
    (tmp_path / "foreign").write_bytes(wrong)
    refused("foreign", "ppc64le")
    (tmp_path / "cut").write_bytes(wrong[:40])
    refused("cut", "ELF")
    assert len(place.spell("workflow", "list", "--json", check=0).json["workflows"]) == 1
    place.spell("workflow", "rm", "-f", 1, check=0)
    assert place.spell("ls", "uploads/workflows/1/pipeline").returncode == 1
    if here := lacking_program():  # but for what this computer has
        assert place.spell("workflow", "create", "-q", "--program", here, "--", "-d", "/", check=0).stdout == "/\n"
