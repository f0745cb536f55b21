"""Whose turn it is among runs that wait for the same machine."""
from test_run_order import info, places, start


def drained(spell):
    """This computer takes no runs until the function that is returned is called."""
    [machine] = spell("machine", "list", "--json", check=0).json["machines"]
    spell("machine", "drain", machine["name"], check=0)
    return lambda: spell("machine", "resume", machine["name"], check=0)


def order(spell, *numbers):
    for number in numbers:
        assert spell("wait", number).returncode == 0
    return sorted(numbers, key=lambda number: info(spell, number)["started_at"])


def test_priorities(spell, repo):
    room = places(spell)
    go = drained(spell)
    whole = ("--cpus", room)
    low = start(spell, repo, "--priority", "low", *whole, "true")
    usual = start(spell, repo, *whole, "true")
    high = start(spell, repo, "--priority", "high", *whole, "true")
    first = start(spell, repo, "--priority", "low", *whole, "true")
    urgent = start(spell, repo, "--priority", "high", "--after", first, *whole, "true")
    assert [info(spell, number)["priority"] for number in (low, usual, high)] == ["low", "normal", "high"]
    assert "low" in spell("info", low, check=0).stdout and "Priority" not in spell("info", usual, check=0).stdout
    go()
    # What the urgent one waits for goes before what it would go before itself, and both are as high as the other.
    assert order(spell, low, usual, high, first, urgent) == [high, first, urgent, usual, low]
    refused = spell("run", "--priority", "urgent", "true", cwd=repo)
    assert refused.returncode == 2 and "low, normal or high" in refused.stderr, refused


def test_runs_of_a_workflow_have_its_priority(place, spell, repo):
    own = f"{place.programs}/spell run -b -f --key"
    made = spell("workflow", "create", "-b", "--json", "--priority", "high",
                 f"{own} one true && {own} other --priority low true", cwd=repo, check=0).json["workflow"]
    assert spell("wait", made["run"]).returncode == 0, spell("logs", made["run"]).stdout
    runs = spell("workflow", "info", made["id"], "--json", check=0).json["workflow"]["runs"]
    priorities = {run["id"]: info(spell, run["id"])["priority"] for run in runs}
    assert sorted(priorities.values()) == ["high", "high", "low"] and priorities[made["run"]] == "high", priorities


def test_a_quota_for_a_machine_type(spell, repo):
    [machine] = spell("machine", "list", "--json", check=0).json["machines"]
    user = spell("whoami", "--json", check=0).json["identity"]["user"]["name"]
    said = spell("quota", "set", user, "--runs-of", f"{machine['name'].upper()}=1", "--runs-of", "V100=3", "--json", check=0)
    assert said.json["quota"]["runs_of"] == {machine["name"].lower(): 1, "v100": 3}
    assert "there is no machine type v100 yet" in said.stderr and machine["name"].lower() not in said.stderr
    assert spell("quota", "set", user, "--runs-of", "V100=none", "--runs", "9", "--json",
                 check=0).json["quota"]["runs_of"] == {machine["name"].lower(): 1}
    assert f"9, {machine['name'].lower()} 1" in spell("quota", "list", check=0).stdout
    there = start(spell, repo, "-t", machine["name"], "sleep 1000")
    held = start(spell, repo, "-t", machine["name"], "true")
    other = start(spell, repo, "true")
    assert spell("wait", other).returncode == 0  # of another type
    assert info(spell, held)["reason_code"] == "waiting_for_quota"
    assert f"{user} may have 1 run of type {machine['name'].lower()} at once" in spell("info", held, check=0).stdout
    spell("kill", there, check=0)
    assert spell("wait", held).returncode == 0
    for wrong in ("V100", "=1", "V100=x", "V100=-1", "a/b=1"):
        refused = spell("quota", "set", user, "--runs-of", wrong)
        assert refused.returncode in (1, 2) and refused.stderr.count("\n") == 1, refused
