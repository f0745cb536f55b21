"""Runs of different people on one machine: what one may reach of another's, and of the worker's. A table, tried from inside of a run, and
from outside as the control that would find all of it."""
import json
import os
import subprocess

import pytest

from harness import PATIENCE, wait_for
from machines import Machine, submit, wait_run
from team import Team

VALUE = "the value that is eves alone"

# Prints the name of each row whose attempt leads somewhere. `target`: all that an attacker could know or guess.
ATTACK = r'''
import glob, json, os, socket, sys, urllib.request
target = json.loads(sys.argv[1])
run, worker, value = target["run"], target["worker"], target["value"].encode()
def content(path):
    with open(path, "rb") as file:
        return file.read(1 << 20)
def found(pattern, what):
    for path in glob.glob(pattern):
        try:
            if what in content(path):
                return True
        except OSError:
            pass
def connects(path):
    with socket.socket(socket.AF_UNIX, target["kind"]) as end:
        end.connect(path)
        return True
def sends(port):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/user-metrics", b'{"name": "stolen", "value": 1}', {"Content-Type": "application/json"})
    return urllib.request.urlopen(request, timeout=20).status < 300
def signals(name):
    mine = os.getpid()
    return any(name in content(f"/proc/{pid}/cmdline") and os.kill(int(pid), 0) is None for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != mine)
TABLE = {
    "files": lambda: content(run + "/spell/own"),
    "files, to write": lambda: open(run + "/spell/added", "w"),
    "files by another process": lambda: any(os.path.exists(f"/proc/{pid}/root/spell/own") or os.path.exists(f"/proc/{pid}/cwd/own") for pid in os.listdir("/proc")),
    "temporary files": lambda: os.path.exists("/tmp/of-eve"),
    "environment": lambda: found("/proc/[0-9]*/environ", value),
    "processes": lambda: signals(b"987654"),
    "supervisor": lambda: connects(run + "/sock"),
    "what was asked for": lambda: found(run + "/*", b"echo begun"),
    "cached data": lambda: os.listdir(worker + "/worker/trees"),
    "cached code": lambda: os.listdir(worker + "/worker/code"),
    "the worker's credential": lambda: b"spm_" in content(worker + "/joined.json"),
    "the worker's files": lambda: os.listdir(worker),
    "the worker's environment": lambda: found("/proc/[0-9]*/environ", target["mark"].encode()),
    "the service": lambda: os.listdir(target["service"]),
    "metrics": lambda: sends(target["port"]),
    "the user": lambda: os.getuid() == target["uid"],
}
for row, attempt in TABLE.items():
    try:
        if attempt():
            print(row)
    except (OSError, ValueError):
        pass
print("end of the table")
'''
ROWS = [line.split('"')[1] for line in ATTACK.splitlines() if line.startswith('    "') and "lambda" in line]


@pytest.fixture
def team(place):
    return Team(place)


@pytest.fixture
def box(team):
    if os.geteuid() != 0:
        pytest.skip("only root can give runs users of their own")
    box = Machine(team, "box", "--cpus", "8", users=True)
    shown = team.spell("machine", "info", "box", "--json", check=0).json["machine"]
    if shown["capabilities"]["isolation"] != "users":
        box.close()
        pytest.skip(f"runs cannot have users of their own here: {shown['notes']}")
    yield box
    box.close()


def test_a_run_reaches_nothing_of_another_nor_of_the_worker(team, box):
    place = team.place
    eve, bob = team.add_user("eve"), team.add_user("bob")
    data = place.root / "data"
    data.mkdir()
    (data / "rows").write_text("eve's data\n")
    team.spell("upload", data, "--name", "rows", token=eve, check=0)
    team.spell("secret", "set", "KEY", input=VALUE, token=eve, check=0)
    repo = place.make_repository("repo", {"attack.py": ATTACK})
    begin = "id -u; echo $SPELL_METRICS; cat in/rows > own; touch /tmp/of-eve; ls /tmp/of-eve; echo begun; sleep 987654"
    first = team.spell("run", "-b", "-q", "-m", "box", "--cpus", "1", "--secret", "KEY", "--mount", "uploads/rows:in", begin,
                       cwd=repo, token=eve, check=0).stdout.strip()
    said = wait_for(lambda: (text := team.spell("logs", first, check=0).stdout).endswith("begun\n") and text.splitlines(), what="eve's run")
    uid, metrics = int(said[0]), said[1]
    assert uid >= 1_900_000_000 and said[2] == "/tmp/of-eve", said
    [folder] = [run for run in (box.folder / "worker/runs").iterdir() if (run / "spell/own").exists()]
    target = {"run": str(folder), "worker": str(box.folder), "service": str(team.data), "value": VALUE, "uid": uid, "kind": 5,
              "port": int(metrics.rsplit(":", 1)[1].split("/")[0]), "mark": f"SPELL_DIR={place.spell_dir}"}

    # From outside root reaches it all, but what each run has for itself: without this the next lines say nothing.
    outside = subprocess.run(["/usr/bin/python3", repo / "attack.py", json.dumps(target)], env=place.environment, capture_output=True, text=True,
                             timeout=PATIENCE)
    assert outside.stdout.splitlines() == [row for row in ROWS if row not in ("temporary files", "metrics", "the user")] + ["end of the table"], outside

    second = team.spell("run", "-b", "-q", "-m", "box", "--cpus", "1", f"/usr/bin/python3 attack.py '{json.dumps(target)}'", cwd=repo, token=bob,
                        check=0).stdout.strip()
    assert wait_run(team, second, "complete")["machine"] == "box"
    assert team.spell("logs", second, check=0).stdout == "end of the table\n"
    assert team.spell("info", first, "--json", check=0).json["run"]["status"] == "running"
    assert team.spell("metrics", first, "--json", check=0).json["metrics"] == []
    assert "not_permitted" in team.spell("exec", "--json", first, "true", token=bob, check=1).stderr
    team.spell("kill", first, check=0)
    wait_run(team, first)


def test_a_plain_user_s_machine_says_that_it_isolates_nothing(team):
    """Not even there: its runs are one owner's, whoever else there is."""
    box = Machine(team, "box")  # as root without users of their own for runs; else a plain user's
    shown = team.spell("machine", "info", "box", check=0).stdout
    assert "isolation: none" in shown and "runs of one owner only" in shown, shown
    team.spell("owner", "add", "lab", check=0)
    refused = team.spell("run", "-f", "-m", "box", "true", env={"SPELL_OWNER": "lab"}, check=1)
    assert "no machine serves 'box'" in refused.stderr, refused
    assert wait_run(team, submit(team, "-m", "box", "true"), "complete")
    box.close()
