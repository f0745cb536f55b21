"""What the administrator of a service relies on: figures, the log, room on the disk, retention, quotas."""
import json
import os
import re
import shutil
import subprocess

import pytest

from faults import Gate
from harness import wait_for
from operated import Operated
from storage import Connection
from wrong_clock import Clock


@pytest.fixture
def team(place):
    made = []

    def make(settings="", **options):
        made.append(Operated(place, settings, **options))
        return made[0]
    make.made = made
    yield make
    for team in made:
        if team.process.poll() is None:
            listed = team.spell("ps", "--json").json["runs"]
            active = [run["id"] for run in listed if not run["ended_at"]]
            if active:
                team.spell("kill", *active)
                team.spell("wait", *active)
            team.stop()


def get(socket, target):
    connection = Connection(socket)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def figures(text):
    """{name with labels: value}; every line is one that Prometheus reads, and is announced."""
    found, announced = {}, set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            announced.add(line.split()[2])
        if line.startswith("#"):
            continue
        match = re.fullmatch(r'([a-z_]+)(\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})? ([-+0-9.e]+|[+]Inf)', line)
        assert match, line
        name = re.sub("_(bucket|sum|count)$", "", match[1])
        assert name in announced or match[1] in announced, line
        assert match[1] + (match[2] or "") not in found, line
        found[match[1] + (match[2] or "")] = float(match[3])
    return found


def test_metrics(place, repo):
    spell, socket = place.spell, place.spell_dir / "spelld.sock"
    gate = Gate(place.work / "gate")
    spell("run", "-b", "true", cwd=repo, check=0)
    spell("run", "-b", gate.waiting, cwd=repo, check=0)
    spell("run", "-b", "--after", 2, "true", cwd=repo, check=0)
    spell("wait", 1, check=0)
    for _ in range(5):
        spell("info", 1, check=0)
    spell("info", 99, check=1)
    status, headers, text = get(socket, "/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = figures(text)
    assert found['spell_runs{status="complete"}'] == 1
    assert found["spell_queue_runs"] == 1 and 0 <= found["spell_queue_oldest_seconds"] < 600
    assert sum(value for name, value in found.items() if name.startswith("spell_machine_connected")) == 1
    assert sum(value for name, value in found.items() if name.startswith("spell_machine_runs")) == 1
    assert found["spell_disk_bytes"] > found["spell_disk_free_bytes"] > 0 and found["spell_disk_full"] == 0
    assert found["spell_database_up"] == 1 and found["process_resident_memory_bytes"] > 1 << 20
    assert found['spell_requests_total{operation="create_run",code="2xx"}'] == 3
    assert found['spell_requests_total{operation="get_run",code="4xx"}'] == 1
    buckets = [(name, value) for name, value in found.items() if name.startswith('spell_request_seconds_bucket{operation="get_run"')]
    values = [value for _, value in buckets]
    assert values == sorted(values) and buckets[-1][0].endswith('le="+Inf"}') and values[-1] >= 6
    assert found['spell_request_seconds_count{operation="get_run"}'] == values[-1]
    gate.open()
    spell("wait", 2, 3, check=0)
    assert figures(get(socket, "/metrics")[2])['spell_runs{status="complete"}'] == 3


def test_the_log_has_who_asked_for_what(place, repo):
    spell = place.spell
    spell("secret", "set", "TOKEN", input="a hidden value", check=0)
    spell("run", "-b", "--secret", "TOKEN", "true", cwd=repo, check=0)
    error = json.loads(spell("info", 99, "--json", check=1).stderr)["error"]
    lines = [json.loads(line) for line in place.service_log().splitlines()]
    assert all({"time", "pid", "message"} <= set(line) for line in lines)
    failed = [line for line in lines if line.get("request_id") == error["request_id"]]
    assert len(failed) == 1, lines
    assert (failed[0]["status"], failed[0]["code"], failed[0]["method"]) == (404, "run_not_found", "GET")
    assert failed[0]["path"].endswith("/runs/99") and failed[0]["user"] and failed[0]["took_us"] >= 0
    made = [line for line in lines if line.get("path", "").endswith("/runs") and line.get("method") == "POST"]
    assert [line["status"] for line in made] == [201]
    assert not [line for line in lines if line.get("method") == "GET" and line["status"] < 400]
    assert "a hidden value" not in place.service_log()


def test_below_the_share_that_stays_free_no_new_runs(place, repo, team):
    service = team(with_worker=True)
    gate = Gate(place.work / "gate")
    first = service.spell("run", "-b", "--json", gate.waiting + "; echo done", cwd=repo, check=0).json["run"]["id"]
    service.stop()
    service.serve("keep_free = 99")
    refused = service.spell("run", "-b", "true", cwd=repo, check=1)
    assert refused.stderr.count("\n") == 1 and "99 %" in refused.stderr and "spell rm" in refused.stderr
    assert "disk_low" in service.spell("rerun", "-b", "--json", first, check=1).stderr
    assert "99 %" in service.spell("status", check=0).stdout
    gate.open()
    service.spell("wait", first, check=0)
    assert service.spell("logs", first, check=0).stdout == "done\n"
    service.stop()
    service.serve("keep_free = 1")
    service.run("true", cwd=repo, check=0)


def test_below_five_percent_no_new_runs(place, repo, team):
    """As it is without a setting, on a disk that really is so full; and again after a restart."""
    folder = place.root / "team"
    folder.mkdir(mode=0o700)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m,mode=700", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a disk of its own needs root")
    try:
        service = team(with_worker=True)
        service.run("true", cwd=repo, check=0)
        number = service.spell("run", "-b", "--json", "mkfifo gate; echo begun; cat gate > kept", cwd=repo, check=0).json["run"]["id"]
        wait_for(lambda: service.spell("logs", number, check=0).stdout == "begun\n", what="the run")
        with open(folder / "filler", "wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, shutil.disk_usage(folder).free - (16 << 20))
        for _ in range(2):
            refused = service.spell("run", "-b", "--json", "true", cwd=repo, check=1)
            assert "disk_low" in refused.stderr and "5 %" in refused.stderr, refused
            service.stop()
            service.serve()
        service.spell("exec", number, "sh", "-c", "echo saved > gate")  # it may end with the run that it releases
        service.spell("wait", number, check=0)
        service.spell("cp", f"runs/{number}/kept", place.work / "kept", check=0)
        assert (place.work / "kept").read_text() == "saved\n"
        (folder / "filler").unlink()
        service.run("true", cwd=repo, check=0)
    finally:
        if team.made:
            team.made[0].stop()
        subprocess.run(["umount", "-l", folder], check=True)


def test_retention_by_age(place, repo, team):
    """By the service's clock, which is looked at after a start, too. Runs with labels stay, and so does what goes on."""
    clock = Clock(place)
    place.environment.update(clock.environment)
    service = team("keep_days = 30")
    spell = service.spell
    labelled = service.run("--label", "kept", "echo kept > out", cwd=repo, check=0)
    old = service.run("echo old > out", cwd=repo, check=0)
    small = ("--cpus", "1", "--memory", "100M")
    going = spell("run", "-b", "--json", *small, "echo begun; sleep 1000", cwd=repo, check=0).json["run"]["id"]
    wait_for(lambda: spell("logs", going, check=0).stdout == "begun\n", what="the run")
    service.stop()
    clock.set(29 * 24 * 3600)
    service.serve()
    young = service.run(*small, "echo young > out", cwd=repo, check=0)
    runs = lambda: [run["id"] for run in spell("ps", "--json", check=0).json["runs"]]
    assert runs() == [labelled, old, going, young]
    service.stop()
    clock.set(31 * 24 * 3600)
    service.serve()
    wait_for(lambda: old not in runs(), what="the removal")
    assert runs() == [labelled, going, young]
    spell("kill", going, check=0)
    spell("wait", going)


def test_retention_by_size(place, repo, team):
    service = team()
    big = "head -c 100000 /dev/urandom > big"
    labelled = service.run("--label", "kept", big, cwd=repo, check=0)
    old = service.run(big, cwd=repo, check=0)
    service.stop()
    service.serve('keep_bytes = "250K"')
    new = service.run(big, cwd=repo, check=0)
    runs = lambda: [run["id"] for run in service.spell("ps", "--json", check=0).json["runs"]]
    wait_for(lambda: old not in runs(), what="the removal")
    assert runs() == [labelled, new]
    assert "run_not_found" in service.spell("info", old, "--json", check=1).stderr


def test_settings_that_make_no_sense(place, team):
    service = team(with_worker=False)
    service.stop()
    path = service.data / "spelld.toml"
    good = path.read_text()
    for line in ("keep_free = 100", "keep_free = -1", "keep_days = \"x\"", "keep_bytes = \"much\"", "keep_weeks = 1"):
        name = line.partition("=")[0]
        path.write_text("".join(l + "\n" for l in good.splitlines() if not l.startswith(name)) + line + "\n")
        refused = place.start("serve", "--data", service.data, program="spelld").finish()
        assert refused.returncode == 3 and refused.stderr.count("\n") == 1 and name.strip() in refused.stderr, refused
    path.write_text(good)
    service.serve()


def test_quotas(place, repo, team):
    service = team()
    spell = service.spell
    shown = spell("quota", "set", "*", "--log-bytes", "1M", "--json", check=0).json["quota"]
    assert (shown["user"], shown["log_bytes"], shown["runs"]) == ("*", 1 << 20, None)
    spell("quota", "set", "local", "--log-bytes", "8K", "--bytes", "10K", check=0)
    assert "local" in spell("quota", "list", check=0).stdout
    # The log of a run is no longer than allowed, whatever it asks for; what was printed until then is there.
    # (More is printed than a pipe holds: else the command ends before it has to wait.)
    number = spell("run", "-b", "--json", "--log-limit", "1G", "trap 'exit 7' TERM; seq 1000000 & wait", cwd=repo, check=0).json["run"]["id"]
    wait_for(lambda: "log is full (8.0 KiB)" in spell("info", number, check=0).stdout, what="a full log")
    assert spell("logs", number, check=0).stdout.startswith("1\n2\n3\n")
    stored = spell("info", number, "--json", check=0).json["run"]["log_bytes"]
    service.stop()
    service.serve()
    wait_for(lambda: "log is full (8.0 KiB)" in spell("info", number, check=0).stdout, what="a log that still is full")
    assert spell("info", number, "--json", check=0).json["run"]["log_bytes"] == stored
    spell("kill", number, check=0)
    spell("wait", number)
    spell("rm", "-f", number, check=0)
    # Who keeps too much makes nothing new, and is told how much it is; nothing that is there goes.
    number = service.run("head -c 20000 /dev/urandom > big", cwd=repo, check=0)
    refused = spell("run", "-b", "true", cwd=repo, check=1)
    assert refused.stderr.count("\n") == 1 and "KiB of at most 10.0 KiB" in refused.stderr and "spell rm" in refused.stderr
    assert "quota_exceeded" in spell("upload", str(repo / "hello.txt"), "--json", check=1).stderr
    service.stop()
    service.serve()
    assert "quota_exceeded" in spell("run", "-b", "--json", "true", cwd=repo, check=1).stderr
    assert spell("ls", f"runs/{number}", check=0).stdout
    spell("rm", "-f", number, check=0)
    service.run("true", cwd=repo, check=0)
    spell("quota", "rm", "local", check=0)
    [left] = spell("quota", "list", "--json", check=0).json["quotas"]
    assert left["user"] == "*"
    assert "no user 'bbo'" in spell("quota", "set", "bbo", "--runs", "1", check=1).stderr
    spell("quota", "rm", "bbo", check=0)
    for wrong in (("set", "x"), ("set", "x", "--runs", "-1"), ("set", "x", "--bytes", "much"), ("set", "a/b", "--runs", "1"), ("rm",)):
        refused = spell("quota", *wrong)
        assert refused.returncode in (1, 2) and refused.stderr.count("\n") == 1, refused


def test_runs_at_once(place, repo, team):
    service = team()
    spell = service.spell
    gates = [Gate(place.work / f"gate{i}") for i in range(2)]
    spell("quota", "set", "*", "--runs", "1", check=0)
    first, second = (spell("run", "-b", "--json", "--cpus", "1", "--memory", "100M", gate.waiting, cwd=repo, check=0).json["run"]["id"] for gate in gates)
    wait_for(lambda: spell("info", first, "--json", check=0).json["run"]["status"] == "running", what="the first")
    waiting = spell("info", second, "--json", check=0).json["run"]
    assert (waiting["status"], waiting["reason_code"]) == ("machine_requested", "waiting_for_quota"), waiting
    assert "1 run at once" in waiting["reason"]
    # Neither is forgotten: who runs, and that no more than one may.
    service.process.kill()
    service.process.wait()
    service.serve()
    third = spell("run", "-b", "--json", "--cpus", "1", "--memory", "100M", "true", cwd=repo, check=0).json["run"]["id"]
    for number in (second, third):
        assert spell("info", number, "--json", check=0).json["run"]["reason_code"] == "waiting_for_quota"
    assert spell("info", first, "--json", check=0).json["run"]["status"] == "running"
    spell("quota", "rm", "*", check=0)
    wait_for(lambda: spell("info", second, "--json", check=0).json["run"]["status"] == "running", what="the second")
    for gate in gates:
        gate.open()
    spell("wait", first, second, third, check=0)
