"""What `spell workflow create` says of its managing run, how many of these a machine carries, what is nested, and the graph by names."""
import re

from faults import Gate
from harness import BUILD, wait_for
from machines import Machine
from test_workflows import FLOW, SPELL, run, workflow

VALUE = "s3cr3t-Value/42"


def test_its_options_are_the_managing_runs(place):
    (place.work / "data").write_text("some data\n")
    place.spell("upload", "-q", "data", check=0)
    place.spell("project", "create", "letters", check=0)
    place.spell("secret", "set", "KEYS", input=VALUE, check=0)
    script = f"""echo "$A|$B|${{C-not set}}"; test "$WORD" = {VALUE} && echo "it is $WORD"; cat in; cat /dev/shm/none 2> /dev/null; {run("child", 'echo "${A-none} ${WORD-none}"')}"""
    made = place.spell("workflow", "create", "-e", "A=one word", "--env", "B", "--secret", "KEYS=WORD", "--mount", "uploads/data:in", "-d", "letters of all kinds", "--label", "night",
                       "--label", "long", "-p", "letters", "--timeout", "7", script, env={"B": "from here", "C": "is not asked for"}, check=0)
    assert made.stdout == "one word|from here|not set\nit is ***\nsome data\nnone none\n", made
    manager = place.spell("info", 1, "--json", check=0).json["run"]
    assert (manager["manages"], manager["labels"], manager["project"], manager["timeout"]) == (True, ["night", "long"], "letters", 420), manager
    assert [mount["resource"] for mount in manager["mounts"]] == ["uploads/data"] and manager["env"] == {"A": "one word", "B": "from here"}
    assert workflow(place, 1)["description"] == "letters of all kinds"
    child = place.spell("info", 2, "--json", check=0).json["run"]
    assert (child["labels"], child["mounts"], child["timeout"]) == ([], [], None), child


def test_wrong_options_start_nothing(place):
    for options, status, word in ((("-e", "SPELL_RUN=1"), 1, "SPELL_RUN"), (("-e", "A-B=1"), 2, "A-B"), (("--secret", "NONE"), 1, "NONE"), (("--mount", "uploads/none"), 1, "uploads/none"),
                                  (("-p", "nowhere"), 1, "nowhere"), (("--label", ""), 1, "label"), (("--timeout", "soon"), 2, "--timeout"), (("--timeout", "0"), 2, "timeout"),
                                  (("--gpu", "1"), 2, "--gpu")):
        refused = place.spell("workflow", "create", *options, "true")
        assert refused.returncode == status and word in refused.stderr, refused
    assert place.spell("workflow", "list", "--json", check=0).json == {"workflows": []}
    assert place.spell("ps", "--json", check=0).json == {"runs": []}


def check_one_at_a_time(place, base_url=None):
    """Two managing runs where one has room; runs of the first have theirs."""
    gate, env = Gate(place.root / "gate"), {"SPELL_BASE_URL": base_url} if base_url else {}
    spell = lambda *words, **options: place.spell(*words, env=env, **options)
    first, second = (spell("workflow", "create", "-b", "--json", script, check=0).json["workflow"]["run"] for script in
                     (f"{gate.waiting}; {run('child', 'echo child')}; {gate.waiting}", "true"))
    waiting = lambda: spell("info", second, "--json", check=0).json["run"]
    wait_for(lambda: "managing" in waiting()["reason"], what="the reason")  # before: that the machine is not connected yet
    assert (waiting()["status"], waiting()["reason_code"]) == ("machine_requested", "waiting_for_machine")
    follower = place.start("logs", "-f", first, env=env)
    gate.open()
    follower.wait_output("child")
    assert waiting()["status"] == "machine_requested"
    gate.open()
    spell("wait", first, second, check=0)
    follower.finish()


def test_as_many_managing_runs_as_this_computer_carries(place):
    service = place.start("serve", "--personal", "--spell-dir", place.spell_dir, "--managing-runs", 1, program="spelld")
    wait_for(lambda: (place.spell_dir / "spelld.sock").exists(), what="the service")
    check_one_at_a_time(place)
    place.spell("service", "stop", check=0)
    service.finish()


def test_as_many_managing_runs_as_a_teams_machines_carry(team):
    settings = team.data / "spelld.toml"
    assert team.stop().returncode == 0
    text, count = re.subn(r"^managing_runs = 50$", "managing_runs = 1", settings.read_text(), flags=re.M)
    assert count == 1
    settings.write_text(text)
    team.start()
    box = Machine(team, "box")
    try:
        check_one_at_a_time(team.place, team.socket)
    finally:
        box.close()


def test_nested_programs(place, repo):
    """A program sent along, and one that the C++ library starts, are of the workflow that they are started in, which has its repositories already."""
    script = f"""exec 2>&1
        {SPELL} workflow create -q --program {FLOW} -- chain 'echo one > out' 'cat before/out'
        {SPELL} workflow create -q --program {FLOW}.none
        made=$({FLOW} start 1 'echo from the library; exit 3'); echo $made
        {SPELL} wait -q 5; echo "wait $?"
        {SPELL} workflow create -q --repo a={repo} true || echo "repo $?"
        """
    lines = place.spell("workflow", "create", script, check=0).stdout.splitlines()
    assert lines[:4] == [f"spell: there is no program {BUILD}/bin/spell_flow.none", "1 5", "5", "wait 3"], lines
    assert "workflow 1 has its repositories already" in lines[4] and "--commit-label LABEL" in lines[4] and lines[5:] == ["repo 1"], lines
    found = workflow(place, 1)["runs"]
    assert [(each["manages"], each["mounts"]) for each in found] == [(True, []), (True, []), (False, []), (False, [3]), (True, [])], found
    assert [each["key"] for each in found][2:4] == ["run-1", "run-2"]
    assert place.spell("logs", 4, check=0).stdout == "one\n" and place.spell("logs", 5, check=0).stdout == "from the library\n"
    assert [each["id"] for each in place.spell("workflow", "list", "--json", check=0).json["workflows"]] == [1]
    assert all(place.spell("info", number, "--json", check=0).json["run"]["workflow"] == 1 for number in range(1, 6))


def test_the_graph_by_names(place):
    """A mount of another run's outputs is in the graph whatever it is called by, once; `info` shows what and where."""
    place.spell("run", "-f", "echo old > old", check=0)
    script = "; ".join(("set -e", run("make", "mkdir d; echo one > d/out; echo two > other"), f"{SPELL} link -q best runs/2/d", f"{SPELL} link -q all runs/2",
                        run("file", "cat out; echo three > end", "--mount runs/2/d/out"), run("alias", "cat out", "--mount best/out"),
                        run("both", "cat a/out b", "--mount best:a --mount all/other:b"), run("outside", "cat old end", "--mount runs/1/old --mount runs/3/end")))
    made = place.spell("workflow", "create", "--local", script)
    assert (made.returncode, made.stdout.splitlines()[-6:]) == (0, ["one", "one", "one", "two", "old", "three"]), made
    place.spell("unlink", "best", check=0)  # the graph is that of the runs, not of what names mean now
    found = workflow(place, 1)["runs"]
    assert [(each["key"], each["mounts"]) for each in found] == [("make", []), ("file", [2]), ("alias", [2]), ("both", [2]), ("outside", [1, 3])], found
    shown = {int(line.split()[0]): line for line in place.spell("workflow", "info", 1, check=0).stdout.splitlines() if line.split()[:1] and line.split()[0].isdigit()}
    assert "1, 3" in shown[6] or "1 3" in shown[6] or "1,3" in shown[6], shown
    for number, mounts in ((3, ["runs/2/d/out on "]), (4, ["best/out on "]), (5, ["best on ", "all/other on "])):
        text = place.spell("info", number, check=0).stdout
        assert all(mount in text for mount in mounts), text
