"""What projects, users and workflows may cost at most: kept whoever is killed, and said plainly."""
import signal
from decimal import Decimal

import pytest

from harness import PATIENCE, wait_for, wait_gone
from machines import WAITS, Machine, gate, record, spell, submit, wait_run
from team import Team

A_SECOND = 3600  # dollars an hour: one a second
WORKS = "mkdir out; echo kept > out/file; touch began; exec sleep 1000"


@pytest.fixture
def team(place):
    made = Team(place)
    spell(made, "machine-type", "add", "fast", "--price", A_SECOND, "--cpus", 1, check=0)
    spell(made, "project", "create", "one", check=0)
    yield made
    if made.running.process.poll() is None:
        made.stop()


def budget(team, name="one"):
    found, = [b for b in spell(team, "budget", "list", "--json", check=0).json["budgets"] if b["name"] == name]
    return {what: Decimal(found[what]) for what in ("amount", "spent", "reserved")} | {"kind": found["kind"], "monthly": found["monthly"]}


def test_runs_are_stopped_and_saved_when_a_budget_is_used_up_whoever_is_dead(team):
    box = Machine(team, "box", "--serves", "fast")
    shown = spell(team, "budget", "set", "--project", "one", "8", check=0).stdout
    assert shown == "Budget of project one: $8.00, $0.00 spent\n", shown
    number = submit(team, "-t", "fast", "-p", "one", "--stop-grace", "1", WORKS)
    gate(box, number)
    here = budget(team)
    assert here["spent"] + here["reserved"] == 8 and here["spent"] > 0, here
    # Nobody is left who could tell it to stop.
    supervisors = box.supervisors()
    team.stop(signal.SIGKILL)
    box.kill()
    assert supervisors and not wait_gone(supervisors, PATIENCE)
    team.start()
    box.start()
    run = wait_run(team, number, "stopped")
    assert run["reason_code"] == "budget_exhausted" and "project 'one'" in run["reason"] and "$8" in run["reason"], run
    assert "file" in spell(team, "ls", f"runs/{number}/out", check=0).stdout
    after = budget(team)
    assert after["reserved"] == 0 and 3 < after["spent"] <= 8, after
    assert after["spent"] == Decimal(run["cost"])
    assert spell(team, "cost", "--by", "project", "--json", check=0).json["costs"]["lines"][0]["amount"] == run["cost"]
    noted = {row["action"]: row for row in spell(team, "audit", "--json", check=0).json["audit"]}
    assert noted["budget.100"]["thing"] == "project one" and "of $8" in noted["budget.100"]["detail"], noted
    assert "budget.set" in noted

    # What is left goes to others, to the last; then there is a clear word for it.
    for _ in range(20):
        refused = spell(team, "run", "-f", "-t", "fast", "-p", "one", "--stop-grace", "0", "sleep 1000")
        if "budget_exhausted" in refused.stderr or "is used up: $" in refused.stderr:
            break
    assert refused.returncode == 1 and refused.stdout == "", refused
    assert "the budget of project 'one' is used up: $" in refused.stderr and "`spell budget set` with more makes room" in refused.stderr, refused
    here = budget(team)
    assert here["reserved"] == 0 and 7 < here["spent"] <= 8, here
    table = spell(team, "budget", "list", check=0).stdout
    assert "project one" in table and "$8.00" in table, table
    # A budget below what is spent could not be kept.
    low = spell(team, "budget", "set", "--project", "one", "1", "--json", check=1)
    assert "budget_too_low" in low.stderr, low
    assert "give at least $" in spell(team, "budget", "set", "--project", "one", "1", check=1).stderr
    spell(team, "budget", "set", "--project", "one", "1000", check=0)
    wait_run(team, submit(team, "-t", "fast", "-p", "one", "true"))
    spell(team, "budget", "rm", "--project", "one", check=0)
    assert "no budgets" in spell(team, "budget", "list", check=0).stdout


def test_a_budget_reaches_what_goes_on_and_more_money_lets_it_go_on(team):
    box = Machine(team, "box", "--serves", "fast")
    number = submit(team, "-t", "fast", "-p", "one", WAITS)
    folder = gate(box, number)
    spell(team, "budget", "set", "--project", "one", "60", "--per", "month", check=0)
    first = budget(team)
    assert first["monthly"] is True and first["spent"] + first["reserved"] == 60, first
    # Another one waits for what is reserved, and begins with what is given back.
    second = submit(team, "-t", "fast", "-p", "one", "true")
    waiting = record(team, second)
    assert (waiting["status"], waiting["reason_code"]) == ("machine_requested", "waiting_for_budget"), waiting
    assert "waiting for the budget of project 'one'" in waiting["reason"] and "of $60 a month spent" in waiting["reason"]
    assert "waiting_for_budget" in spell(team, "info", second, "--json", check=0).stdout
    spell(team, "budget", "set", "--project", "one", "10000000", check=0)
    wait_run(team, second)
    assert budget(team)["reserved"] > 7000
    team.stop(signal.SIGKILL)
    team.start()
    wait_for(lambda: budget(team)["spent"] > first["spent"] + 2, what="time to pass")
    (folder / "go").touch()
    wait_run(team, number)
    after = budget(team)
    assert after["reserved"] == 0
    assert after["spent"] == sum(Decimal(record(team, of)["cost"]) for of in (number, second))


def test_a_run_that_goes_on_is_stopped_by_a_budget_that_is_set_later(team):
    box = Machine(team, "box", "--serves", "fast")
    number = submit(team, "-t", "fast", "-p", "one", "--stop-grace", "1", WORKS)
    gate(box, number)
    spent = Decimal(record(team, number)["cost"])
    spell(team, "budget", "set", "--project", "one", f"{spent + 6:.2f}", check=0)
    team.stop(signal.SIGKILL)
    supervisors = box.supervisors()
    assert not wait_gone(supervisors, PATIENCE)
    team.start()
    run = wait_run(team, number, "stopped")
    assert run["reason_code"] == "budget_exhausted", run
    assert Decimal(run["cost"]) <= budget(team)["amount"]
    assert "file" in spell(team, "ls", f"runs/{number}/out", check=0).stdout


def test_who_may_set_what(team):
    Machine(team, "box", "--serves", "plain")
    bob, vera = team.add_user("bob"), team.add_user("vera", "viewer")
    spell(team, "budget", "set", "--user", "bob", "5", "--per", "month", check=0)
    assert "user bob" in team.spell("budget", "list", token=vera, check=0).stdout
    for token in (bob, vera):
        assert "administrator" in team.spell("budget", "set", "--user", "bob", "500", token=token, check=1).stderr
        assert team.spell("budget", "rm", "--user", "bob", token=token, check=1).stderr.count("\n") == 1
    # What has no price is in no budget: it is refused, not passed over.
    refused = team.spell("run", "-f", "-t", "plain", "true", token=bob, check=1)
    assert "the price of plain is not known, so the budget of user 'bob' cannot be kept" in refused.stderr, refused
    spell(team, "machine-type", "add", "plain", "--price", "0", check=0)
    team.spell("run", "-f", "-t", "plain", "true", token=bob, check=0)
    for words in ([], ["5"], ["--user", "bob"], ["--user", "bob", "--project", "one", "5"], ["--user", "bob", "-5"], ["--user", "bob", "much"],
                  ["--user", "bob", "5", "--per", "week"], ["--user", "bob", "5", "6"], ["--user", "bob", "1e3"]):
        wrong = spell(team, "budget", "set", *words, check=2)
        assert wrong.stderr.count("\n") == 1 and wrong.stdout == "", wrong
    for words, what in ((["--user", "bbo", "5"], "no user 'bbo'"), (["--project", "none", "5"], "no project 'none'"),
                        (["--workflow", "9", "5"], "no workflow 9"), (["--workflow", "x", "5"], "number")):
        wrong = spell(team, "budget", "set", *words, check=1)
        assert what in wrong.stderr and wrong.stderr.count("\n") == 1, wrong
    assert "no budget of project one" in spell(team, "budget", "rm", "--project", "one", check=1).stderr
    assert spell(team, "budget", "list", "-q", check=0).stdout.split() == ["user", "bob"]


def test_what_a_refusal_for_want_of_a_price_says_works(place, repo):
    """Of type CPU too, which `machine-type set` does not change."""
    me = place.spell("whoami", "--json", check=0).json["identity"]["user"]["name"]
    place.spell("budget", "set", "--user", me, 5, check=0)
    refused = place.spell("run", "-f", "true", cwd=repo, check=1).stderr
    assert "the price of CPU is not known" in refused and "`spell machine-type prices FILE`" in refused and "CPU,0.50,0.50" in refused, refused
    (place.work / "prices.csv").write_text("name,price,spot_price\nCPU,0.50,0.50\n")
    place.spell("machine-type", "prices", place.work / "prices.csv", check=0)
    place.spell("run", "-f", "true", cwd=repo, check=0)
    assert place.spell("info", 1, "--json", check=0).json["run"]["price"] == "0.5"
