"""What ends, or does not end, a run: a log that is full, a word that comes too late, a wish to be rid of it."""
import pytest

from harness import found_below, wait_for


def start(place, repo, command, *options):
    """A run whose command has said that it is ready."""
    number = int(place.spell("run", "-b", "-q", *options, command, cwd=repo, check=0).stdout)
    place.start("logs", "-f", number).wait_output("ready\n")
    return number


def info(spell, number):
    return spell("info", number, "--json", check=0).json["run"]


def outputs(spell, number):
    return {entry["path"] for entry in spell("ls", "--json", f"runs/{number}", check=0).json["entries"]}


def test_a_command_that_prints_more_than_its_log_may_hold_waits(place, spell, repo):
    number = int(spell("run", "-b", "-q", "--log-limit", "100K", "seq 2000000; echo end", cwd=repo, check=0).stdout)
    told = wait_for(lambda: [line for line in spell("logs", "-v", number, check=0).stderr.splitlines() if "log" in line and "waits" in line], 20)
    assert info(spell, number)["status"] == "running", told
    text = spell("logs", number, check=0).stdout
    assert 100_000 <= len(text) < 4 << 20
    spell("stop", number, check=0)
    spell("wait", number, check=125)
    whole = spell("logs", number, check=0).stdout  # no line is missing in what there is
    assert whole.startswith(text) and whole.splitlines()[:-1] == [str(line) for line in range(1, len(whole.splitlines()))]


@pytest.mark.parametrize("command", ["stop", "kill"])
def test_what_has_ended_stays_as_it_ended(spell, repo, command):
    spell("run", "echo x > made; exit 3", cwd=repo, check=3)
    before = info(spell, 1)
    spell(command, 1)
    after = info(spell, 1)
    assert (after["status"], after["user_exit_code"], after["ended_at"]) == ("complete", 3, before["ended_at"])
    assert outputs(spell, 1) == {"made"}
    spell("wait", 1, check=3)


def test_a_run_that_is_going_on_cannot_be_removed(place, spell, repo):
    number = start(place, repo, "echo ready; exec sleep 1000")
    refused = spell("rm", "-f", number, check=1)
    assert str(number) in refused.stderr and ("kill" in refused.stderr or "stop" in refused.stderr)
    assert info(spell, number)["status"] == "running"
    spell("kill", number, check=0)
    spell("wait", number, check=125)
    spell("rm", "-f", number, check=0)
    wait_for(lambda: not [path for path in found_below(place.spell_dir / "logs", "*") if path.is_file()], 10, "the end of its log")
