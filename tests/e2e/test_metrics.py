"""What a run reports of itself, from within and from without."""
import csv
import io
import json
import os
import signal
import urllib.error
import urllib.request

import pytest

from harness import wait_for
from test_streams import start_run

POST = """
import json, os, sys, urllib.request
def send(**point):
    request = urllib.request.Request("http://" + os.environ["SPELL_METRICS"] + "/user-metrics", json.dumps(point).encode())
    return urllib.request.urlopen(request).read()
"""


def points(spell, number, *name):
    return spell("metrics", number, *name, "--json", check=0).json["metrics"]


def values(spell, number, name):
    return [(point["index"], point.get("number", point.get("text"))) for point in points(spell, number, name)]


@pytest.fixture
def program():
    return os.path.join(os.environ["SPELL_BUILD"], "bin", "spell")


def test_numbers_and_texts_as_they_were_sent(place, spell, repo, program):
    command = (f"for i in 1 2 3; do {program} send-metric loss 0.$i; done; {program} send-metric -i 10 loss -5e-3; {program} send-metric loss 7; "
               f"{program} send-metric note 'warmed up'; {program} send-metric loss NaN")
    spell("run", command, cwd=repo, check=0)
    assert values(spell, 1, "loss")[:5] == [(0, 0.1), (1, 0.2), (2, 0.3), (10, -0.005), (11, 7)]
    assert values(spell, 1, "note") == [(0, "warmed up")]
    names = {metric["name"]: metric for metric in points(spell, 1)}
    assert list(names) == ["loss", "note"] and names["loss"]["points"] == 6
    assert (names["loss"]["least"], names["loss"]["most"]) == (-0.005, 7)
    table = spell("metrics", 1, check=0).stdout
    assert "NAME" in table and "warmed up" in table
    curve = spell("metrics", 1, "loss", check=0).stdout
    assert "-0.005" in curve and "7" in curve and "points" in curve
    rows = list(csv.reader(io.StringIO(spell("metrics", 1, "--csv", check=0).stdout)))
    assert rows[0] == ["run_id", "metric_name", "timestamp", "index", "value"] and len(rows) == 8
    assert rows[1][:2] == ["1", "loss"] and rows[1][3:] == ["0", "0.1"] and rows[1][2].endswith("Z")
    # Nothing is sent from outside of a run, and nothing goes wrong.
    spell("send-metric", "loss", "1", check=0)
    assert len(values(spell, 1, "loss")) == 6


def test_wrong_words(spell, repo):
    spell("run", "true", cwd=repo, check=0)
    assert points(spell, 1) == [] and points(spell, 1, "loss") == []
    for wrong in (("metrics",), ("metrics", "x"), ("metrics", 1, "--csv", "--json"), ("send-metric", "a"), ("send-metric", "-i", "x", "a", "1")):
        refused = spell(*wrong)
        assert refused.returncode == 2 and refused.stderr.count("\n") >= 1, refused
    assert "run_not_found" in spell("metrics", 99, "--json", check=1).stderr


def test_a_program_in_another_language(spell, repo):
    (repo / "send.py").write_text(POST + """
for step in range(50):
    send(name="train/loss", type="number", number=1 / (step + 1))
for bad in ({}, {"name": "x"}, {"name": "x", "type": "number", "number": "y"}):
    try:
        send(**bad)
        print("taken")
    except urllib.error.HTTPError as error:
        print(error.code, json.load(error)["error"]["code"])
""")
    spell("run", "--include-untracked", "-f", "python3 send.py", cwd=repo, check=0)
    assert spell("logs", 1).stdout.count("400 invalid_metric") == 3
    assert values(spell, 1, "train/loss") == [(step, 1 / (step + 1)) for step in range(50)]


def test_who_follows_sees_each_point_once_through_crashes(place, spell, repo):
    (repo / "send.py").write_text(POST + """
import time, urllib.error
step = 0
while not os.path.exists(sys.argv[1]):
    try:
        send(name="step", type="number", number=step, index=step)
        step += 1
    except (urllib.error.URLError, ConnectionError):
        pass  # the worker is away: this point was not taken
    time.sleep(0.002)
print("sent", step)
""")
    end = place.work / "end"
    spell("run", "-b", "--include-untracked", "-f", f"python3 send.py {end}", cwd=repo, check=0)
    follower = place.start("metrics", "-f", "--json", 1, "step")
    seen = lambda: follower.printed.count("\n")
    for _ in range(3):
        before = seen()
        wait_for(lambda: seen() > before + 20, what="points")
        os.kill(place.service_pid(), signal.SIGKILL)
        spell("status", check=0)
    before = seen()
    wait_for(lambda: seen() > before + 20, what="points after the last crash")
    end.write_text("")
    followed = follower.finish()
    assert followed.returncode == 0
    spell("wait", 1, check=0)
    sent = int(spell("logs", 1).stdout.split("sent ")[1])
    steps = [json.loads(line)["index"] for line in followed.stdout.splitlines()]
    # A point whose answer was lost with the worker may have been taken, and is then sent again by this program.
    assert sorted(set(steps)) == list(range(sent)) and len(steps) <= sent + 3
    assert steps == [point["index"] for point in points(spell, 1, "step")]


def test_points_of_the_last_moment(spell, repo, program):
    """They arrive before the run is final."""
    (repo / "send.py").write_text(POST + """
import urllib.request
many = [{"name": "x", "type": "number", "number": n} for n in range(1000)]
request = urllib.request.Request("http://" + os.environ["SPELL_METRICS"] + "/user-metrics", json.dumps(many).encode())
for _ in range(20):
    urllib.request.urlopen(request).read()
""")
    spell("run", "--include-untracked", "-f", "python3 send.py", cwd=repo, check=0)
    assert [index for index, _ in values(spell, 1, "x")] == list(range(20_000))
    [summary] = points(spell, 1)
    assert (summary["points"], summary["last"]["number"]) == (20_000, 999)
    spell("rm", "-f", 1, check=0)


def test_many_points(place, spell, repo):
    """More than is read at once, in three readers: one that follows from the first on, one that comes afterwards, one that asks for the table."""
    (repo / "send.py").write_text(POST + """
import http.client
connection = http.client.HTTPConnection(os.environ["SPELL_METRICS"])
for start in range(0, 50_000, 1000):
    connection.request("POST", "/user-metrics", json.dumps([{"name": "x", "type": "number", "number": n, "index": n} for n in range(start, start + 1000)]))
    connection.getresponse().read()
""")
    spell("run", "-b", "--include-untracked", "-f", "python3 send.py", cwd=repo, check=0)
    follower = place.start("metrics", "-f", "--csv", 1, "x")
    spell("wait", 1, check=0)
    rows = spell("metrics", 1, "x", "--csv", check=0).stdout
    assert [int(line.rpartition(",")[2]) for line in rows.splitlines()[1:]] == list(range(50_000))
    assert follower.finish().stdout == rows
    [summary] = points(spell, 1)
    assert (summary["points"], summary["least"], summary["most"], summary["last"]["index"]) == (50_000, 0, 49_999, 49_999)


def test_a_run_that_ended_is_not_heard_any_more(place, spell, repo):
    number = start_run(place, "echo $SPELL_METRICS ready; exec sleep 1000")
    where = spell("logs", number).stdout.split(" ready")[0].split()[-1]
    assert where.startswith("127.0.0.1:")
    body = json.dumps({"name": "x", "type": "number", "number": 1}).encode()
    urllib.request.urlopen(f"http://{where}/user-metrics", body).read()
    wait_for(lambda: values(spell, number, "x") == [(0, 1)], what="the point")
    spell("kill", number, check=0)
    spell("wait", number, check=125)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://{where}/user-metrics", body)
    assert values(spell, number, "x") == [(0, 1)]
