"""What runs cost: recorded with them, whatever becomes of prices, services and workers, and summed up exactly."""
import json
import signal
import time
from datetime import datetime
from decimal import Decimal

import pytest

from harness import PATIENCE, wait_for, wait_gone
from machines import WAITS, Machine, gate, record, spell, submit, wait_run
from team import Team

KINDS = ("run", "workflow", "project", "user", "machine", "type", "day")
A_SECOND = 3600  # dollars an hour: one a second


@pytest.fixture
def team(place):
    made = Team(place, "--pool-check", "1")
    yield made
    if made.running.process.poll() is None:
        made.stop()


def costs(team, *options, **more):
    return spell(team, "cost", "--json", *options, check=0, **more).json["costs"]


def amount(line, what="amount"):
    return Decimal(line[what])


def moment(text):
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").timestamp()


def same_whatever_it_is_by(team, **more):
    reports = {kind: costs(team, "--by", kind, **more) for kind in KINDS}
    for kind, report in reports.items():
        assert report["by"] == kind
        assert sum(amount(line) for line in report["lines"]) == amount(report["total"]), report
        assert report["total"]["amount"] == reports["run"]["total"]["amount"]
    return reports


def test_a_bill_is_made_of_what_was_recorded_whoever_is_killed(team):
    spell(team, "machine-type", "add", "fast", "--price", A_SECOND, check=0)
    spell(team, "project", "create", "über-alles.1", check=1)  # no name
    spell(team, "project", "create", "one", check=0)
    box = Machine(team, "box", "--serves", "fast")
    first = submit(team, "-t", "FAST", "-p", "one", WAITS)
    wait_for(lambda: record(team, first)["status"] == "running", what="the run to begin")
    going = costs(team)
    assert going["total"]["runs"] == 1 and amount(going["total"]) > 0
    assert costs(team)["total"]["time_ms"] > going["total"]["time_ms"]
    assert "until now, at $3600.00/h" in spell(team, "info", first, check=0).stdout

    spell(team, "machine-type", "set", "fast", "--price", 2 * A_SECOND, check=0)
    team.stop(signal.SIGKILL)
    box.kill()
    team.start()
    box.start()
    (gate(box, first) / "go").touch()
    wait_run(team, first)
    run = record(team, first)
    assert (run["status"], run["price"]) == ("complete", str(A_SECOND)), run
    report = costs(team)
    line, = report["lines"]
    assert (line["name"], line["runs"]) == ("fast", 1)
    # One dollar a second, to the millisecond.
    assert amount(line) == Decimal(line["time_ms"]) / 1000
    assert run["cost"] == line["amount"]
    ended, started, created = (moment(run[key]) for key in ("ended_at", "started_at", "created_at"))
    assert ended - started - 0.002 <= line["time_ms"] / 1000 <= time.time() - created

    second = submit(team, "-t", "fast", "true")
    wait_run(team, second)
    assert record(team, second)["price"] == str(2 * A_SECOND)
    spell(team, "machine-type", "set", "fast", "--price", "0.01", check=0)
    before = same_whatever_it_is_by(team)
    assert before["run"]["total"]["runs"] == 2
    assert [line["name"] for line in before["run"]["lines"]] == [str(second), str(first)]
    assert {line["name"] for line in before["project"]["lines"]} == {"one", ""}
    assert [line["name"] for line in before["machine"]["lines"]] == ["box"]
    team.stop(signal.SIGKILL)
    team.start()
    after = same_whatever_it_is_by(team)
    assert [report["lines"] for report in after.values()] == [report["lines"] for report in before.values()]
    spell(team, "rm", "-f", first, check=0)
    assert costs(team)["total"] == before["run"]["total"]
    # As people see it.
    shown = spell(team, "cost", "--by", "project", check=0).stdout
    assert "(no project)" in shown and "total" in shown and "SAVED BY SPOT" in shown
    assert spell(team, "cost", "--by", "project", "-q", check=0).stdout.split() == ["one"]


def test_what_has_no_price_is_named_and_never_free(team):
    Machine(team, "box", "--serves", "plain")
    number = submit(team, "-t", "plain", "true")
    wait_run(team, number)
    run = record(team, number)
    assert run["price"] is None and run["cost"] is None
    assert "price not known" in spell(team, "info", number, check=0).stdout
    report = costs(team)
    assert report["lines"] == [] and report["unpriced"] == ["plain"] and report["all"] == "0"
    shown = spell(team, "cost", check=0).stdout
    assert "Not counted: plain (price not known" in shown and "$0" not in shown


def test_work_that_was_lost_and_a_machine_that_is_back(team):
    spell(team, "machine-type", "add", "spotty", "--spot", "--price", 2 * A_SECOND, "--spot-price", A_SECOND, "--lost-after", 1, check=0)
    box = Machine(team, "box", "--serves", "spotty")
    number = submit(team, "-t", "spotty", WAITS)
    folder = gate(box, number)
    box.kill()
    wait_for(lambda: record(team, number)["status"] == "interrupted", what="the run to count as lost")
    report = costs(team)
    total = report["total"]
    assert amount(total, "on_demand") == 2 * amount(total) > 0
    assert 0 < amount(total, "lost") <= amount(total)
    # It went on all the time, and says so.
    (folder / "go").touch()
    box.start()
    wait_for(lambda: record(team, number)["status"] == "complete", what="the run's late result")
    later = same_whatever_it_is_by(team)["type"]["total"]
    assert later["runs"] == 1 and later["lost_ms"] == 0 and amount(later) > amount(total)
    assert amount(later) == Decimal(later["time_ms"]) / 1000
    assert "$" in spell(team, "cost", check=0).stdout.splitlines()[1]


def test_what_went_on_when_a_backup_was_made_is_billed_after_its_restore(team, place):
    spell(team, "machine-type", "add", "fast", "--price", A_SECOND, check=0)
    spell(team, "project", "create", "one", check=0)
    spell(team, "budget", "set", "--project", "one", "100000", check=0)
    box = Machine(team, "box", "--serves", "fast")
    number = submit(team, "-t", "fast", "-p", "one", WAITS)
    folder = gate(box, number)
    before = amount(costs(team)["total"])
    assert team.run("backup", place.root / "backup", "--data", team.data).returncode == 0
    team.stop(signal.SIGKILL)
    team.data = place.root / "restored"
    assert team.run("restore", place.root / "backup", "--data", team.data).returncode == 0
    team.start()
    run = record(team, number)
    assert (run["status"], run["reason_code"]) == ("interrupted", "service_restored"), run
    first = costs(team)["total"]
    assert first["runs"] == 1 and amount(first) >= before > 0 and run["cost"] == first["amount"], (first, before)
    # What it may cost beyond that is still reserved: it may go on, and it does.
    held, = spell(team, "budget", "list", "--json", check=0).json["budgets"]
    assert held["spent"] == first["amount"] and Decimal(held["spent"]) + Decimal(held["reserved"]) == 7200, held
    (folder / "go").touch()
    box.wait_empty()
    later = costs(team)["total"]
    assert later["runs"] == 1 and amount(later) > amount(first), (first, later)
    assert amount(later) == Decimal(record(team, number)["cost"])
    after, = spell(team, "budget", "list", "--json", check=0).json["budgets"]
    assert after["spent"] == later["amount"] and after["reserved"] == "0", after


def test_machines_without_a_run_are_a_line_of_their_own(team):
    spell(team, "machine-type", "add", "pooled", "--price", A_SECOND, "--pool", "local", "--pool-option", "cores=1", "--idle-timeout", 1, check=0)
    number = submit(team, "-t", "pooled", "true")
    wait_run(team, number)
    wait_for(lambda: not [m for m in spell(team, "machine", "list", "--json", check=0).json["machines"] if m["pool"]], what="the machine to end")
    report = costs(team)
    line, = report["machine_time"]
    assert (line["type"], line["machines"]) == ("pooled", 1)
    assert amount(line, "start") > 0 and amount(line, "idle") >= 1
    parts = sum(amount(line, part) for part in ("start", "idle", "ending"))
    assert amount(report, "all") == amount(report["total"]) + parts
    assert costs(team)["machine_time"] == report["machine_time"]  # it is gone, and costs no more
    shown = spell(team, "cost", check=0).stdout
    assert "MACHINES WITHOUT A RUN" in shown and "In all $" in shown


def test_who_may_see_it_and_what_is_no_report(team):
    vera = team.add_user("vera", "viewer")
    report = json.loads(team.spell("cost", "--json", token=vera, check=0).stdout)["costs"]
    assert report["lines"] == [] and report["total"]["amount"] == "0"
    assert "Nothing was spent." in team.spell("cost", token=vera, check=0).stdout
    for words in (["--by", "week"], ["--since", "tomorrow"], ["--since", "99999999999d"], ["--since", "9999-01-01"], ["--since", "-1d"],
                  ["--since", ""], ["-n", "0"], ["-n", "x"], ["extra"]):
        refused = spell(team, "cost", *words, check=2)
        assert refused.stderr.count("\n") == 1 and refused.stdout == "", refused


def test_a_run_stops_in_time_with_the_service_down(team):
    spell(team, "machine-type", "add", "fast", "--price", A_SECOND, check=0)
    box = Machine(team, "box", "--serves", "fast")
    number = submit(team, "-t", "fast", "--max-cost", "8", "--stop-grace", "1",
                    "mkdir out; echo kept > out/file; touch began; exec sleep 1000")
    gate(box, number)
    team.stop(signal.SIGKILL)
    supervisors = box.supervisors()
    assert supervisors and not wait_gone(supervisors, PATIENCE)
    team.start()
    run = wait_run(team, number, "stopped")
    assert run["reason_code"] == "max_cost" and "$8" in run["reason"] and run["max_cost"] == "8", run
    assert Decimal(run["cost"]) <= 8
    ran = datetime.fromisoformat(run["ended_at"].replace("Z", "+00:00")) - datetime.fromisoformat(run["started_at"].replace("Z", "+00:00"))
    assert 3 < ran.total_seconds() <= 8 and Decimal(run["cost"]) > 3, run
    assert "file" in spell(team, "ls", f"runs/{number}/out", check=0).stdout
    # What it needs is refused where it is not there, and what is no amount.
    refused = spell(team, "run", "-f", "-t", "box", "--max-cost", "8", "true")
    assert refused.returncode == 0, refused  # by the machine's name: its type has a price
    Machine(team, "chest", "--serves", "plain")
    refused = spell(team, "run", "-f", "-t", "plain", "--max-cost", "8", "true")
    assert refused.returncode != 0 and "the price of plain is not known" in refused.stderr, refused
    for bad in ("0", "-1", "much", "1e3", "", "0.0000000001", "99999999999999999999"):
        refused = spell(team, "run", "-f", "-t", "fast", "--max-cost", bad, "true", check=2)
        assert "--max-cost" in refused.stderr, refused
