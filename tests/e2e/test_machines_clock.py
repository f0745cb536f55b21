"""Clocks that are wrong: of a machine, and of the service while it works. Leases, fences and the order of what happened do not depend on
them; tokens and certificates are judged by the clock of whoever judges."""
import datetime
import json
import signal

import pytest

from wrong_clock import Clock
from harness import wait_for
from machines import WAITS, Machine, check_waited, gate, spell, submit, wait_run
from team import PASSWORD, Team


HOUR = 3600


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def time_of(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def check_times(team, number, began, offset=0):
    """Of the run and its log, by the service's clock: in order, and of the time in which it happened."""
    run = wait_run(team, number, "complete")
    shift = datetime.timedelta(seconds=offset)
    times = [time_of(run[name]) for name in ("created_at", "started_at", "ended_at")]
    entries = spell(team, "logs", "-v", "--json", number, check=0).stdout.splitlines()
    times_of_log = [time_of(json.loads(entry)["timestamp"]) for entry in entries]
    assert times == sorted(times) and times_of_log, run
    for time in times + times_of_log:
        assert began + shift <= time <= now() + shift, (time, began, shift)


def test_a_join_token_is_good_for_an_hour(place):
    clock = Clock(place)
    place.environment.update(clock.environment)
    team = Team(place)
    early, late = Machine(team, "early", start=False), Machine(team, "late", start=False)
    clock.set(HOUR - 60)
    assert early.join().returncode == 0
    clock.set(HOUR + 60)
    refused = late.join()
    assert refused.returncode == 1 and refused.json["error"]["code"] == "join_token_expired", refused
    assert "get-token" in refused.json["error"]["message"]
    late.token = spell(team, "machine", "get-token", "late", "--json", check=0).json["token"]
    assert late.join().returncode == 0


@pytest.mark.parametrize("offset", [-HOUR, HOUR])
def test_a_machine_whose_clock_is_an_hour_off(place, offset):
    clock, team, before = Clock(place), Team(place), dict(place.environment)
    clock.set(offset)
    place.environment.update(clock.environment)
    box = Machine(team, "box", start=False)
    joined = box.join()
    assert joined.returncode == 0, joined
    box.start()
    place.environment = before
    began = now()
    number = submit(team, "-m", "box", "--cpus", "1", WAITS)
    (gate(box, number) / "go").touch()
    check_waited(team, number)
    check_times(team, number, began)
    box.close()


def test_a_machine_whose_clock_is_years_off_says_so(place):
    clock, team = Clock(place), Team(place)
    for offset in (-40 * 24 * HOUR, 20_000 * 24 * HOUR):
        clock.set(offset)
        box = Machine(team, f"box{offset < 0}", start=False)
        refused = place.program("spell-worker", "join", box.url, "-", "--state", box.folder, input=box.token, env=clock.environment)
        assert refused.returncode == 1 and "clock" in refused.stderr, refused
        assert box.join().returncode == 0  # the token has not been used up


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
def test_the_service_s_clock_jumps_in_the_middle_of_a_run(place, jump):
    """Nobody is lost by it, no run ends before it began, and what came before keeps its time."""
    clock, before = Clock(place), dict(place.environment)
    place.environment.update(clock.environment)
    team = Team(place)
    place.environment = before
    box = Machine(team, "box", "--lost-after", "60")
    number = submit(team, "-m", "box", "--cpus", "1", WAITS)
    folder = gate(box, number)
    clock.set(jump)
    after = submit(team, "-m", "box", "--cpus", "1", "echo after")
    began = now()
    check_times(team, after, began - datetime.timedelta(seconds=60), jump)
    assert spell(team, "machine", "info", "box", "--json", check=0).json["machine"]["connected"]
    (folder / "go").touch()
    run = check_waited(team, number)
    times = [run[name] for name in ("created_at", "started_at", "ended_at")]
    assert times == sorted(times), run
    box.close()


def test_certificates_are_renewed_and_nobody_notices(place):
    """Eleven months later, and nine years: the service's certificate is another one under the same authority. People and machines go on."""
    clock, DAY = Clock(place), 24 * HOUR
    place.environment.update(clock.environment)
    team = Team(place)
    place.spell("login", team.url, "--user", "ada", "--password-stdin", "--fingerprint", team.fingerprint, input=PASSWORD + "\n", check=0)
    box = Machine(team, "box")
    number = submit(team, "-m", "box", "--cpus", "1", WAITS)
    folder, file = gate(box, number), team.data / "keys" / "service.pem"
    seen = [file.read_bytes()]
    for days in (340, 9 * 365):
        clock.set(days * DAY)
        team.running.signal(signal.SIGHUP)  # what it does once a day by itself
        wait_for(lambda: file.read_bytes() != seen[-1], what="another certificate")
        seen.append(file.read_bytes())
        # Who knew the authority knows the service; the machine connects anew, too.
        # (The file is written before the door shows what is in it.)
        login = ("login", team.url, "--user", "ada", "--password-stdin")
        found = wait_for(lambda: (said := place.spell(*login, input=PASSWORD + "\n")).returncode == 0 and said, what="the door to show it")
        assert "fingerprint" not in found.stderr.lower(), found
        place.spell("whoami", check=0)
        team.stop()
        team.start()
        assert file.read_bytes() == seen[-1]
        wait_for(lambda: spell(team, "machine", "info", "box", "--json", check=0).json["machine"]["connected"], what="the machine")
    assert len(set(seen)) == 3
    (folder / "go").touch()
    check_waited(team, number)
    # A machine's credential is good for ten years; then it is told how to get another.
    clock.set(11 * 365 * DAY)
    box.kill()
    box.start(connected=False)
    box.running.wait_output("certificate", stream="stderr")
    box.close()
