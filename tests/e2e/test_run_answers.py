"""What a program that calls the command line can count on: JSON of every command, statuses, and nothing accepted that is not there."""
import json
import os

import pytest

from descriptors import with_descriptors
from harness import Place


@pytest.fixture(scope="module")
def shared():
    """A place with some of everything, for what only looks."""
    place = Place()
    repo = place.make_repository()
    place.spell("run", "echo text; mkdir made; echo x > made/file", cwd=repo, check=0)
    place.spell("run", "false", cwd=repo, check=1)
    place.spell("project", "create", "p1", check=0)
    place.repo = repo
    yield place
    complaints = place.close()
    assert not complaints, "\n".join(complaints)


ONE_OBJECT = [
    ("ps", "runs", list), ("ps -a -v", "runs", list), ("info 1", "run", dict), ("wait 1", "run", dict), ("ls", "entries", list), ("ls runs", "entries", list),
    ("ls runs/1/made", "entries", list), ("repos", "repositories", list), ("status", "service", dict), ("service status", "service", dict),
    ("project list", "projects", list), ("project get p1", "project", dict), ("project edit p1 -d text", "project", dict),
    ("project add-runs p1 1", "project", dict), ("project remove-runs p1 1", "project", dict), ("project archive p1", "project", dict),
    ("label 1 --add x", "run", dict), ("archive 2", "run", dict), ("archive 2 --undo", "run", dict), ("stop 1", "run", dict), ("kill 1", "run", dict),
    ("cp -f runs/1/made ../copy", "files", int), ("run -b true", "run", dict), ("rerun -b 1", "run", dict)]


@pytest.mark.parametrize("command,member,kind", ONE_OBJECT, ids=[row[0] for row in ONE_OBJECT])
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_json_of_a_command(shared, command, member, kind, first):
    words = command.split()
    # --json is every command's, and may stand before its name.
    words = ["--json", *words] if first else [*words[:1], "--json", *words[1:]] if words[0] not in ("project", "service") else [*words, "--json"]
    result = shared.spell(*words, cwd=shared.repo)
    answer = json.loads(result.stdout)
    assert result.returncode == 0 and result.stderr == "", result
    assert list(answer) == [member] and type(answer[member]) is kind, result


def test_json_lines_of_what_goes_on(shared):
    for command in ("logs 1", "logs -f 1", "logs -v 1"):
        lines = [json.loads(line) for line in shared.spell(*command.split(), "--json", check=0).stdout.splitlines()]
        entries = [line for line in lines if "log" in line]
        assert lines == entries or (list(lines[-1]) == ["run"] and lines[:-1] == entries)
        assert all({"status", "log", "status_event", "level", "timestamp", "important"} <= set(entry) for entry in entries)
        assert [entry["log"] for entry in entries if entry["kind"] == "output"] == ["text"]
        assert entries[-1]["status"] == "complete"
    assert [list(json.loads(line)) for line in shared.spell("wait", "1", "2", "--json", check=1).stdout.splitlines()] == [["run"], ["run"]]
    followed = [json.loads(line) for line in shared.spell("rerun", "1", "--json", check=0).stdout.splitlines()]
    assert list(followed[0]) == list(followed[-1]) == ["run"]
    for line in shared.spell("service", "logs", "--json", check=0).stdout.splitlines():
        assert {"time", "message"} <= set(json.loads(line))


def test_a_run_tells_all_that_is_promised_of_it(shared):
    run = shared.spell("info", 1, "--json", check=0).json["run"]
    assert {"id", "status", "user_exit_code", "command", "creator", "git_commit", "github_url", "description", "created_at", "started_at", "ended_at",
            "workspace", "project", "resumed_as_run", "resumed_from_run", "labels", "already_existed", "reason", "reason_code"} <= set(run)
    assert (run["status"], run["user_exit_code"], run["output_files"], run["output_bytes"]) == ("complete", 0, 1, 2)
    assert run["created_at"] <= run["started_at"] <= run["ended_at"]
    for time in ("created_at", "started_at", "ended_at"):
        assert len(run[time]) == len("2026-01-01T00:00:00.000000Z") and run[time].endswith("Z")


RUN_OPTIONS = """--machine-type --mount --pip --pip-req --setup --refresh-env --apt --conda-file --docker-image --from --env --secret --gpu --cpus --memory --after --checkpoints
    --commit-ref --github-url --github-ref --description --label --project --param --timeout --stop-grace --log-limit --append --exclusive --with-history
    --stop-condition --auto-resume --disable-auto-resume --distributed --tensorboard-dir --idempotent --force --background --verbose --require-clean
    --include-untracked --save-all --no-venv --from-file --save-command --json""".split()
TYPE_OPTIONS = "--name --instance-type --spot --default-auto-resume --storage-size --min-machines --max-machines --idle-timeout".split()
COMMANDS = """run logs ps info stop kill rm archive label ls cp upload link unlink stats login logout whoami access-tokens repos status project wait top exec
    forward rerun cost secret metrics send-metric workflow hyper machine-type machine-types service""".split()


def test_every_option_is_there_or_refused_by_name(shared):
    before = shared.spell("ps", "-q", "-a", check=0).stdout
    offered = shared.spell("run", "--help", check=0).stdout
    refused = [option for option in RUN_OPTIONS if f"{option} " not in offered.replace(",", " ").replace("\n", " ")]
    assert "--stop-condition" in refused and "--env" not in refused
    for option in refused:
        for words in ([option, "1", "true"], [f"{option}=1", "true"], ["echo x", option, "1"]):
            result = shared.spell("run", *words, cwd=shared.repo, check=2)
            assert f"{option} is not available" in result.stderr, result
    assert "is not available" in shared.spell("run", "-m", "s3://bucket/path", "true", cwd=shared.repo, check=2).stderr
    assert shared.spell("ps", "-q", "-a", check=0).stdout == before


def test_every_option_of_a_machine_type_is_there_or_refused_by_name(shared):
    offered = shared.spell("machine-type", "add", "--help", check=0).stdout.replace(",", " ").split()
    refused = [option for option in TYPE_OPTIONS if option not in offered]
    assert "--instance-type" in refused and "--spot" not in refused
    for command in ("add", "scale"):
        for option in refused:
            for words in ([option, "1", "t4"], [f"{option}=1", "t4"], ["t4", option, "1"]):
                assert f"{option} is not available" in shared.spell("machine-type", command, *words, check=2).stderr
    assert "t4" not in shared.spell("machine-types", check=0).stdout


def test_every_command_is_there_or_refused_by_name(shared):
    overview = [line.split()[0] for line in shared.spell("--help", check=0).stdout.splitlines() if line.startswith("  ")]
    refused = [command for command in COMMANDS if command not in overview]
    assert "hyper" in refused and "run" not in refused
    for command in refused:
        for words in ([command], [command, "list"], [command, "--local", "x"]):
            assert f"{command} is not available" in shared.spell(*words, check=2).stderr
    for command in set(COMMANDS) - set(refused):
        help = shared.spell(command, "--help", check=0)
        assert help.stdout.startswith(f"Usage: spell {command}") and help.stderr == ""


def test_the_service_looked_at_and_ended(place, spell, repo):
    assert spell("service", "stop", check=0)
    assert not place.service_pid()
    spell("run", "-b", "echo ready; exec sleep 1000", cwd=repo, check=0)
    place.start("logs", "-f", 1).wait_output("ready\n")
    pid = place.service_pid()
    status = spell("service", "status", check=0).stdout
    assert str(pid) in status and str(place.spell_dir) in status
    assert json.loads(spell("service", "logs", "-n", 1, check=0).stdout)["pid"] == pid
    assert spell("service", "logs", "-n", 0, check=0).stdout == ""
    assert spell("service", "stop", "--json", check=0).json == {"service": {"state": "stopped"}}
    # The run does not mind, and who asks for it has the service back.
    assert spell("info", 1, "--json", check=0).json["run"]["status"] == "running"
    assert place.service_pid() not in (None, pid)
    spell("kill", 1, check=0)
    spell("wait", 1, check=125)


@pytest.mark.skipif(os.path.isdir("/run/systemd/system"), reason="there is a systemd here")
@pytest.mark.parametrize("command", ["enable", "disable"])
def test_without_systemd_no_unit_is_promised(place, spell, command):
    refused = spell("service", command, check=1)
    assert "systemd" in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert list(place.home.rglob("*")) == []


def test_a_command_that_the_kernel_will_not_take(place, spell, repo):
    file = place.work / "options.yaml"
    file.write_text(f"command: \": {'x' * 200_000}\"\n")
    result = spell("run", "--from-file", file, cwd=repo, check=126)  # as a shell would say
    assert "Argument list too long" in result.stdout
    assert spell("run", "-e", f"V={'x' * 120_000}", "echo ${#V}", cwd=repo, check=0).stdout == "120000\n"


def test_a_run_whose_output_nobody_reads_is_whole(place, spell, repo):
    for number, ends in enumerate([">&-", ">&- 2>&- <&-", "| false"], 1):
        with_descriptors(place, f"spell run --json 'cat hello.txt; seq 1000 | tail -1; echo x > made' {ends}", repo)
        assert spell("wait", number, check=0)
        assert spell("logs", number, check=0).stdout == "hello\n1000\n"
        assert [entry["path"] for entry in spell("ls", "--json", f"runs/{number}", check=0).json["entries"]] == ["made"]
