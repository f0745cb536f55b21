"""Machine pools: machines are launched when runs want them, ended when none do, and none is left behind, whoever is killed when."""
import json
import os
import re
import shutil
import signal
from decimal import Decimal

import pytest

from harness import PATIENCE, processes_of, wait_for, wait_gone
from machines import spell as spell_of
from pool_program import PoolProgram, end_pool, machines_of
from team import Team

# Prints where it is; goes on where it was.
RESUMES = ("mkdir -p checkpoints; [ -e checkpoints/first ] && echo resumed || { echo one > checkpoints/new; mv checkpoints/new checkpoints/first; "
           "echo begun; sleep 1000; }")


@pytest.fixture
def team(place):
    return Team(place, "--pool-check", "1")


def type_of(spell, kind):
    types = json.loads(spell("machine-type", "list", "--json", check=0).stdout)["machine_types"]
    return next(one for one in types if one["name"] == kind)


def run_of(spell, number):
    answer = json.loads(spell("info", number, "--json", check=0).stdout)
    return answer.get("run", answer)


def submit(spell, *arguments, **options):
    made = json.loads(spell("run", "-f", "-b", "--json", *arguments, check=0, **options).stdout)
    return made.get("run", made)["id"]


def by_hand(team):
    return lambda *arguments, **options: spell_of(team, *arguments, **options)


def kill_machine(folder):
    """Everything that belongs to it, at once."""
    pids = [pid for pid, line in processes_of(folder).items() if "spell-worker" in line or "spell-supervisor" in line]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert not wait_gone(pids, PATIENCE)


def resume_on_another(spell, folder):
    """What docs/pools.md shows first: a machine is launched, vanishes, and the run goes on on another one."""
    made = spell("machine-type", "add", "try-spot", "--spot", "--pool", "local", check=0)
    assert "launched when runs want them" in made.stdout, made
    kind = type_of(spell, "try-spot")
    assert (kind["pool"], kind["min_machines"], kind["max_machines"], kind["pool_problem"]) == ("local", 0, 1, ""), kind
    first = submit(spell, "-t", "try-spot", "--auto-resume", RESUMES)
    wait_for(lambda: "first" in spell("ls", f"runs/{first}/checkpoints").stdout, what="the checkpoint to be safe")
    machine, = machines_of(spell, "try-spot")
    assert machine["phase"] == "up" and machine["runs"] == [first]
    kill_machine(folder / machine["name"])
    assert spell("wait", first, timeout=2 * PATIENCE).returncode == 0
    one = run_of(spell, first)
    assert one["status"] == "interrupted" and one["reason_code"] == "machine_lost" and "vanished" in one["reason"], one
    two = run_of(spell, one["resumed_as_run"])
    assert two["status"] == "complete" and two["machine"] != machine["name"], two
    assert "resumed" in spell("logs", two["id"], check=0).stdout
    end_pool(spell, "try-spot")
    assert not [path for path in folder.iterdir() if not path.name.startswith(".")]
    assert not [line for line in processes_of(folder).values() if "spell-" in line]


def test_a_resume_on_this_computer(place, repo):
    owner = place.spell("status", "--json", check=0).json["service"]["owner"]
    resume_on_another(lambda *arguments, **options: place.spell(*arguments, cwd=repo, **options), place.spell_dir / "pools" / owner / "try-spot")


def test_a_resume_on_a_teams_service(place, team):
    resume_on_another(by_hand(team), team.data / "pools/acme/try-spot")


def test_an_idle_machine_ends_and_a_removed_one_too(place, team):
    spell = by_hand(team)
    spell("machine-type", "add", "try-spot", "--pool", "local", "--idle-timeout", "1", check=0)
    folder = team.data / "pools/acme/try-spot"
    number = submit(spell, "-t", "try-spot", "echo $$")
    assert spell("wait", number).returncode == 0
    wait_for(lambda: not machines_of(spell, "try-spot"), what="the machine to end")
    assert not list(folder.iterdir())
    # What no machine of this pool can take launches none, and says so.
    huge = submit(spell, "-t", "try-spot", "--cpus", "1000", "true")
    assert "none of its pool can take it: 1000 cores wanted" in run_of(spell, huge)["reason"]
    log = spell("logs", huge, check=0)
    assert "No machine of the pool of try-spot can take this run: 1000 cores wanted" in log.stdout + log.stderr, log
    assert not machines_of(spell, "try-spot")
    spell("kill", huge, check=0)
    second = submit(spell, "-t", "try-spot", "echo begun; sleep 1000")
    wait_for(lambda: run_of(spell, second)["status"] == "running", what="the run to begin")
    machine, = machines_of(spell, "try-spot")
    refused = spell("machine", "rename", machine["name"], "other")
    assert refused.returncode == 1 and "pool" in refused.stderr, refused
    assert spell("machine", "get-token", machine["name"]).returncode == 1
    refused = spell("machine-type", "delete", "try-spot")
    assert refused.returncode == 1 and "--max-machines 0" in refused.stderr, refused
    spell("machine", "remove", "-f", machine["name"], check=0)
    spell("wait", second)
    assert run_of(spell, second)["reason_code"] == "machine_removed"
    wait_for(lambda: not machines_of(spell, "try-spot"), what="the machine to end")
    assert not list(folder.iterdir()) and not [line for line in processes_of(folder).values() if "spell-" in line]
    spell("machine-type", "delete", "try-spot", check=0)


def test_machines_without_a_run_cost_no_more_than_their_cap(place, team):
    spell = by_hand(team)
    kind = lambda: type_of(spell, "try-spot")
    for bad in ("0", "-1", "much", "1e3", "", "0.0000000001", "99999999999999999999"):
        assert "--max-unused" in spell("machine-type", "add", "try-spot", "--pool", "local", "--price", "3600", "--max-unused", bad, check=2).stderr
    refused = spell("machine-type", "add", "try-spot", "--pool", "local", "--max-unused", "20")
    assert refused.returncode == 1 and "the price of try-spot is not known" in refused.stderr and "--price" in refused.stderr, refused
    # A dollar a second: a launch needs 720.
    refused = spell("machine-type", "add", "try-spot", "--pool", "local", "--price", "3600", "--max-unused", "719")
    assert refused.returncode == 1 and "one launch may cost $720 " in refused.stderr, refused
    spell("machine-type", "add", "try-spot", "--pool", "local", "--pool-option", "cores=1", "--price", "3600", "--min-machines", "1",
          "--max-unused", "1000", check=0)
    first = submit(spell, "-t", "try-spot", "true")
    assert spell("wait", first).returncode == 0
    machine, = machines_of(spell, "try-spot")
    # It is to be kept, but there is room for two seconds beside what its end may cost.
    cap = Decimal(kind()["unused_spent"]) + 122
    spell("machine-type", "scale", "try-spot", "--launch-timeout", "1", "--max-unused", cap, check=0)
    wait_for(lambda: not machines_of(spell, "try-spot"), what="the machine to end")
    after = kind()
    assert Decimal(after["max_unused"]) == cap and 0 < Decimal(after["unused_spent"]) <= cap and after["unused_reserved"] == "0", after
    report = json.loads(spell("cost", "--json", check=0).stdout)["costs"]
    line, = report["machine_time"]
    assert abs(sum(Decimal(line[part]) for part in ("start", "idle", "ending")) - Decimal(after["unused_spent"])) < Decimal("0.1"), (line, after)
    assert "Without a run" in (shown := spell("machine-type", "info", "try-spot", check=0).stdout) and "of at most $" in shown, shown
    second = submit(spell, "-t", "try-spot", "true")
    assert "its pool has used up its cap of $" in (reason := run_of(spell, second)["reason"]) and "--max-unused" in reason, reason
    assert "unused.100" in spell("audit", check=0).stdout
    # It is so after a restart, until there is more.
    team.stop(signal.SIGKILL)
    team.start()
    assert kind()["unused_spent"] == after["unused_spent"]
    assert run_of(spell, second)["reason"] == reason and not machines_of(spell, "try-spot")
    spell("machine-type", "scale", "try-spot", "--launch-timeout", "600", "--max-unused", "5000", "--min-machines", "0", check=0)
    assert spell("wait", second).returncode == 0
    spell("machine-type", "scale", "try-spot", "--max-unused", "none", check=0)
    assert kind()["max_unused"] is None
    end_pool(spell, "try-spot")


def test_what_the_pool_says_is_what_the_run_waits_for(place, team):
    spell, pool = by_hand(team), PoolProgram(place)
    pool.fail("launch", "echo 'working on it' >&2; echo 'no capacity in zone b' >&2; exit 75")
    spell("machine-type", "add", "spot", "--pool", pool.path, "--pool-option", "zone=b", "--pool-option", "disk=a b'c", "--spot", check=0)
    number = submit(spell, "-t", "spot", "true")
    says = "waiting for a spot machine: the pool says: no capacity in zone b"
    wait_for(lambda: run_of(spell, number)["reason"] == says, what="the reason")
    assert type_of(spell, "spot")["pool_problem"] == "no capacity in zone b"
    assert "no capacity in zone b" in spell("machine-type", "list", check=0).stderr
    wait_for(lambda: len(pool.calls("launch")) >= 3, what="two more tries")
    names = [name for name, in pool.calls("launch")]
    assert len(set(names)) == len(names)  # none is used twice
    wait_for(lambda: {name for name, in pool.calls("terminate")} >= set(names[:2]), what="those that failed to be ended")
    # What the program is told, and what it is not.
    told = (pool.folder / f"environment.{names[0]}").read_text().splitlines()
    expected = {"SPELL_POOL_TYPE=spot", "SPELL_POOL_OWNER=acme", f"SPELL_POOL_NAME={names[0]}", "SPELL_POOL_OPTION_ZONE=b", "SPELL_POOL_SPOT=1",
                "SPELL_POOL_OPTION_DISK=a b'c", f"SPELL_POOL_URL={team.url}", "SPELL_POOL_PERSONAL=0"}
    assert expected <= set(told), told
    assert not [line for line in told if "spj_" in line] and not [line for line in told if line.startswith("SPELL_") and "POOL" not in line]
    token = (pool.folder / f"told.{names[0]}").read_text()
    assert re.fullmatch(r"spj_[0-9a-f]{64}\.[0-9a-f]{64}\n", token)
    # It is void with the launch.
    refused = place.program("spell-worker", "join", team.url, "-", "--state", place.root / "w", input=token)
    assert refused.returncode == 1, refused
    # It works now: 1 is starting.
    pool.fail("launch", "")
    wait_for(lambda: run_of(spell, number)["reason"] == "waiting for a spot machine: 1 is starting", what="a launch")
    spell("kill", number, check=0)
    end_pool(spell, "spot")
    assert pool.machines() == []
    assert token.strip() not in team.running.output("stderr").decode()


def test_what_hangs_is_killed_and_tried_again(place, team):
    spell, pool = by_hand(team), PoolProgram(place)
    pool.hold("launch", "before")
    spell("machine-type", "add", "spot", "--pool", pool.path, "--launch-timeout", "1", check=0)
    number = submit(spell, "-t", "spot", "true")
    wait_for(lambda: len(pool.calls("launch")) >= 2, what="another try")
    reason = run_of(spell, number)["reason"]
    assert "within 1 s" in type_of(spell, "spot")["pool_problem"] and reason.startswith("waiting for a spot machine: "), reason
    pool.release("launch", "before")
    # It is launched, and does not join.
    wait_for(pool.machines, what="a machine")
    wait_for(lambda: "has not joined within 1 s" in type_of(spell, "spot")["pool_problem"], what="its end")
    pool.hold("terminate", "before")
    pool.wait_held("terminate", "before")
    assert [one for one in machines_of(spell, "spot") if one["phase"] == "ending"]
    pool.release("terminate", "before")
    spell("kill", number, check=0)
    end_pool(spell, "spot")
    assert pool.machines() == []


def test_an_end_that_fails_is_tried_until_it_succeeds(place, team):
    spell, pool = by_hand(team), PoolProgram(place)
    pool.fail("terminate", "echo 'the cloud is away' >&2; exit 1")
    spell("machine-type", "add", "spot", "--pool", pool.path, "--min-machines", "1", check=0)
    wait_for(pool.machines, what="a machine")
    spell("machine-type", "scale", "spot", "--min-machines", "0", "--max-machines", "0", check=0)
    wait_for(lambda: "could not be ended: the cloud is away" in spell("machine-type", "list", "--json", check=0).stdout
             or len(pool.calls("terminate")) >= 2, what="the second try")
    machine, = machines_of(spell, "spot")
    refused = spell("machine", "remove", machine["name"])
    assert refused.returncode == 1 and "-f" in refused.stderr, refused
    pool.fail("terminate", "")
    wait_for(lambda: not machines_of(spell, "spot"), what="the machine to end")
    assert pool.machines() == []


@pytest.mark.parametrize("moment", ["launch before", "launch after", "terminate before", "terminate after"])
def test_a_service_that_is_killed_leaves_no_machine(place, team, moment):
    """Between the record and the launch, after the launch, before and after an end; the program goes on, or has been killed too."""
    spell, pool = by_hand(team), PoolProgram(place)
    action, when = moment.split()
    pool.hold(action, when)
    spell("machine-type", "add", "spot", "--pool", pool.path, check=0)
    number = submit(spell, "-t", "spot", "true")
    if action == "terminate":
        wait_for(pool.machines, what="a machine")
        spell("machine-type", "scale", "spot", "--max-machines", "0", check=0)
    pool.wait_held(action, when)
    name, = [machine["name"] for machine in machines_of(spell, "spot")]
    team.stop(signal.SIGKILL)
    team.start()
    if action == "launch" and when == "after":
        # Listed: it is waited for, not launched anew.
        wait_for(lambda: pool.calls("list")[1:], what="a look at what is there")
        assert [name] in [[one["name"]] for one in machines_of(spell, "spot")]
        assert len(pool.calls("launch")) == 1
    elif action == "launch":
        wait_for(lambda: name not in [one["name"] for one in machines_of(spell, "spot")], what="the first to be given up")
    pool.release(action, when)
    if action == "launch" and when == "before":
        # Whoever was left behind goes on: what he has launched is nobody's, and is ended.
        wait_for(lambda: [name] in pool.calls("terminate"), what="its end")
    spell("kill", number)
    end_pool(spell, "spot")
    wait_for(lambda: not pool.machines(), what="all machines to be gone")


def test_a_machine_that_nobody_knows_is_ended(place, team):
    spell, pool = by_hand(team), PoolProgram(place)
    spell("machine-type", "add", "spot", "--pool", pool.path, check=0)
    (pool.folder / "machines/spot-left-behind").touch()
    wait_for(lambda: not pool.machines(), what="it to be ended")
    # A list that cannot be read says nothing.
    pool.fail("list", "echo nonsense; exit 0")
    wait_for(lambda: "could not be listed" in type_of(spell, "spot")["pool_problem"], what="the problem")
    assert ["spot-left-behind"] in pool.calls("terminate")
    pool.fail("list", "")
    wait_for(lambda: type_of(spell, "spot")["pool_problem"] == "", what="the problem to be over")


def test_a_machine_without_its_service_ends_by_itself(place, team):
    spell = by_hand(team)
    spell("machine-type", "add", "try-spot", "--pool", "local", "--min-machines", "1", "--pool-option", "end_after=1", check=0)
    folder = team.data / "pools/acme/try-spot"
    first = wait_for(lambda: next((one for one in machines_of(spell, "try-spot") if one["connected"]), None), what="a machine")
    team.stop(signal.SIGKILL)
    wait_for(lambda: not [line for line in processes_of(folder).values() if "spell-" in line], what="the worker to end")
    assert not (folder / first["name"] / "worker/joined.json").exists()
    team.start()
    wait_for(lambda: [one for one in machines_of(spell, "try-spot") if one["name"] != first["name"] and one["connected"]], what="another one")
    assert first["name"] not in [one["name"] for one in machines_of(spell, "try-spot")]
    end_pool(spell, "try-spot")
    assert not list(folder.iterdir())


def test_what_a_machine_without_its_service_has_of_runs_is_kept_for_salvage(place, team):
    """It ends its runs when it has been alone for very long, and itself; what they had not delivered is put aside."""
    spell = by_hand(team)
    spell("machine-type", "add", "try-spot", "--spot", "--pool", "local", "--pool-option", "end_after=1", "--pool-option", "end_anyway=2", check=0)
    folder = team.data / "pools/acme/try-spot"
    number = submit(spell, "-t", "try-spot", "echo safe > safe.txt; touch began; while [ ! -e $SPELL_PREEMPTION_FILE ]; do sleep 0.02; done; "
                    "echo late; echo row >> table.csv; exit 3")
    wait_for(lambda: run_of(spell, number)["output_files"] >= 2, what="its backup")
    machine, = machines_of(spell, "try-spot")
    team.stop(signal.SIGKILL)
    left = folder / f".left-{machine['name']}"
    wait_for(left.exists, what="the machine's end")
    wait_for(lambda: not [line for line in processes_of(folder).values() if "spell-" in line], what="its processes to end")
    team.start()
    wait_for(lambda: run_of(spell, number)["status"] == "interrupted", what="the run to be lost")
    wait_for(lambda: not machines_of(spell, "try-spot"), what="its machine to be gone")
    # The credential went with the machine: another one of its name may deliver.
    added = json.loads(spell("machine", "add", machine["name"], "--json", check=0).stdout)
    joined = place.program("spell-worker", "join", team.url, "-", "--state", left, input=added["token"] + "\n")
    assert joined.returncode == 0, joined
    done = place.program("spell-worker", "salvage", left)
    assert done.returncode == 0 and f"run {number}: delivered" in done.stdout, done
    assert "late" in spell("logs", number, check=0).stdout.split()
    assert "table.csv" in spell("ls", f"runs/{number}", check=0).stdout
    shutil.rmtree(left)


def test_bad_input_is_refused_by_name(place, team):
    pool = PoolProgram(place)

    def refused(*options, code=1, action=("add", "spot")):
        result = spell_of(team, "machine-type", *action, *options)
        assert result.returncode == code and len(result.stderr.strip().splitlines()) == 1, result
        return result.stderr

    assert "aws, gcp, local, ssh" in refused("--pool", "nonsense")
    assert "there is no file /nobody" in refused("--pool", "/nobody/here")
    assert "absolute path" in refused("--pool", "./program")
    assert "there is no pool '../pools/local'" in refused("--pool", "../pools/local")
    assert "there is no pool 'parts.sh'" in refused("--pool", "parts.sh")
    plain = place.root / "plain"
    plain.write_text("#!/bin/sh\n")
    assert "is no program" in refused("--pool", plain)
    assert "is no program" in refused("--pool", place.root)
    plain.chmod(0o777)
    assert "others may write" in refused("--pool", plain)
    plain.chmod(0o755)
    shared = place.root / "shared"
    shared.mkdir()
    shutil.copy(plain, shared / "program")
    shared.chmod(0o777)
    assert "others may write" in refused("--pool", shared / "program")
    assert "'min_machines' (3)" in refused("--pool", pool.path, "--min-machines", 3, "--max-machines", 2)
    assert "--min-machines -1" in refused("--pool", pool.path, "--min-machines", -1, code=2)
    assert "--idle-timeout soon" in refused("--pool", pool.path, "--idle-timeout", "soon", code=2)
    assert "'max_machines' is a pool's" in refused("--max-machines", 2)
    assert "NAME=VALUE" in refused("--pool", pool.path, "--pool-option", "zone", code=2)
    assert "'pool_options'" in refused("--pool", pool.path, "--pool-option", "a b=1")
    assert "twice" in refused("--pool", pool.path, "--pool-option", "a=1", "--pool-option", "A=1")
    # Nothing has changed.
    assert "spot" not in [one["name"] for one in json.loads(spell_of(team, "machine-type", "list", "--json", check=0).stdout)["machine_types"]]
    member = team.add_user("bob")
    answer = team.request("POST", "/v1/owners/acme/machine-types", {"name": "spot", "pool": str(pool.path)}, member)
    assert answer[0] == 403, answer
    # A program that becomes somebody else's is not called any more.
    spell_of(team, "machine-type", "add", "spot", "--pool", pool.path, check=0)
    wait_for(lambda: pool.calls("list"), what="the first call")
    pool.path.chmod(0o777)
    wait_for(lambda: "others may write" in type_of(by_hand(team), "spot")["pool_problem"], what="the problem")
    spell_of(team, "machine-type", "scale", "spot", "--pool", "none", check=0)
    assert type_of(by_hand(team), "spot")["pool"] == ""
