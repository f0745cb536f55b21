"""Whatever is typed: one clear line that names the thing, the right status, nothing changed, and the service alive."""
import json
import os

import pytest

from descriptors import with_descriptors
from harness import Place

BROKEN = os.fsdecode(b"\xff\xfe\x80")


def refused(spell, *arguments, cwd=None, **options):
    result = spell(*arguments, cwd=cwd, **options)
    assert result.returncode in (1, 2, 3, 4, 5, 6), result
    assert result.stdout == "", result
    lines = [line for line in result.stderr.splitlines() if not line.startswith("✨ not sent")]
    assert len(lines) == 1 and lines[0].startswith("spell: "), result
    assert len(lines[0]) < 400, result
    assert not set(lines[0]) & set(map(chr, range(32))), result
    return result


@pytest.fixture(scope="module")
def place():
    """One for all of this file: nothing here changes it."""
    place = Place()
    yield place
    complaints = place.close()
    assert not complaints, "\n".join(complaints)


@pytest.fixture(scope="module")
def repo(place):
    repo = place.make_repository()
    place.spell("run", "echo text; echo x > made", cwd=repo, check=0)
    return repo


@pytest.fixture
def world(place, spell, repo):
    """A place with one run, of which nothing changes."""
    pid, before = place.service_pid(), spell("ps", "-a", "--json", check=0).stdout
    yield repo
    assert spell("ps", "-a", "--json", check=0).stdout == before
    assert spell("project", "list", "-a", "--json", check=0).json["projects"] == []
    assert place.service_pid() == pid


@pytest.mark.parametrize("command", ["info", "logs", "logs -f", "wait", "stop", "kill", "rm -f", "archive", "archive --undo", "label --add x",
                                     "rerun", "run --after", "ls runs/99", "cp runs/99/x", "cp runs/99"])
def test_no_such_run(world, spell, command):
    number = [] if "99" in command else [99]
    rest = ["true"] if command.startswith("run ") else []
    assert "99" in refused(spell, *command.split(), *number, *rest, cwd=world).stderr


@pytest.mark.parametrize("option", [["-d", BROKEN], ["--label", BROKEN], ["-e", f"A={BROKEN}"], ["-e", f"{BROKEN}=1"], ["-p", BROKEN], ["-t", BROKEN],
                                    ["-m", BROKEN], ["-c", BROKEN], ["--github-url", BROKEN], ["--timeout", BROKEN], ["--after", BROKEN],
                                    ["--from-file", BROKEN], ["--save-command", f"{BROKEN}/x"], [f"--{BROKEN}"]], ids=lambda option: option[0][:12])
def test_invalid_utf8_in_an_option(world, spell, option):
    refused(spell, "run", *option, "true", cwd=world)


@pytest.mark.parametrize("arguments", [["run", BROKEN], ["ps", "-l", BROKEN], ["ps", "-p", BROKEN], ["ps", "-r", BROKEN], ["info", BROKEN], ["ls", BROKEN],
                                       ["ls", f"runs/1/{BROKEN}"], ["cp", f"runs/1/{BROKEN}"], ["project", "create", BROKEN], ["project", "get", BROKEN],
                                       ["label", "1", "--add", BROKEN], ["rm", BROKEN], [BROKEN], ["service", BROKEN]], ids=lambda words: words[0][:8])
def test_invalid_utf8_elsewhere(world, spell, arguments):
    refused(spell, *arguments, cwd=world)


@pytest.mark.parametrize("option", ["--timeout -1", "--timeout 0", "--timeout x", "--timeout 1e999", "--timeout nan", "--timeout 99999999999999",
                                    "--stop-grace -1", "--stop-grace 1.5", "--log-limit -5", "--log-limit 0", "--log-limit 9E99G", "--after -1",
                                    "--after 0", "--after 1,,2", "--after 99999999999999999999"])
def test_numbers(world, spell, option):
    assert refused(spell, "run", *option.split(), "true", cwd=world).returncode == 2


@pytest.mark.parametrize("words", ["ps -n -1", "ps -n 0", "ps -n x", "ps -n 99999999999999999999", "logs 1 -n -1", "logs 1 -n x", "info 0", "info 1 2",
                                   "info", "wait", "stop", "kill", "rm", "label", "cp", "project", "project get", "service", "logs", "rerun", "ps x",
                                   "run", "run -e", "--timeout", "service logs -n -1"])
def test_usage(world, spell, words):
    assert refused(spell, *words.split(), cwd=world).returncode == 2


@pytest.mark.parametrize("words", ["-e =x true", "-e 1A=x true", "--label a/b true", "--label -x true", "-p nobody true", "--github-ref x true",
                                   "-t CPU -m CPU true"])
def test_names(world, spell, words):
    refused(spell, "run", *words.split(), cwd=world)
    refused(spell, "run", "-e", "A B=x", "true", cwd=world)
    refused(spell, "run", "--label", "", "true", cwd=world)
    refused(spell, "run", "", cwd=world)
    refused(spell, "run", " \n", cwd=world)


@pytest.mark.parametrize("text,status,names", [
    ("no-such-key: 1\ncommand: x", 2, "no-such-key"), ("stop-condition: x\ncommand: x", 2, "--stop-condition"), ("gpu: x\ncommand: x", 1, "no GPU is called 'x'"), ("memory: much\ncommand: x", 2, "--memory"), ("[broken", 3, "line 1"), ("just text", 3, "map"),
    ("", 3, "map"), ("command: {a: b: c}", 3, "line 1"), ("env: {A: [1]}\ncommand: x", 3, "env"), ("background: perhaps\ncommand: x", 2, "background"),
    ("timeout: soon\ncommand: x", 2, "timeout"), ("json: true\ncommand: x", 3, "json"), ("label: &a [*a]\ncommand: x", 3, "label"),
    ('command: "a\\0b"', 1, "NUL"), ("command: x\nenv: \xff", 2, "env")])
def test_a_file_of_options(world, place, spell, text, status, names):
    file = place.work / "options.yaml"
    file.write_bytes(text.encode("latin-1"))
    result = refused(spell, "run", "--from-file", file, cwd=world)
    assert result.returncode == status and names in result.stderr, result


def test_a_file_of_options_that_is_none(world, place, spell):
    for path in (place.work / "nothing.yaml", place.work, "/dev/null", "/proc/self/mem"):
        result = refused(spell, "run", "--from-file", path, "true", cwd=world)
        assert result.returncode == 3 and str(path) in result.stderr
    result = refused(spell, "run", "--save-command", "/proc/nothing/x", "true", cwd=world)
    assert "/proc/nothing/x" in result.stderr


@pytest.mark.parametrize("key", ["command", "description", "env: {A", "project", "machine-type"])
def test_ten_megabytes(world, place, spell, key):
    file = place.work / "options.yaml"
    file.write_text(f"{key}: \"{'x' * 10_000_000}\"{'}' if '{' in key else ''}\n" + ("" if key == "command" else "command: 'true'\n"))
    refused(spell, "run", "--from-file", file, cwd=world)


@pytest.mark.parametrize("command", ["ps", "info 1", "logs 1", "ls runs/1", "status", "run --help", "ps --json", "service logs"])
def test_a_reader_that_is_gone(world, place, command):
    status, errors = with_descriptors(place, f"spell {command} | false", world)
    assert status in (0, 141) and "spell:" not in errors
    status, errors = with_descriptors(place, f"spell {command} > /dev/full", world)
    assert status == 1 and ("No space left" in errors)
    # The number of a closed descriptor is the next one's that is opened; nothing may be written to that.
    status, errors = with_descriptors(place, f"spell {command} >&-", world)
    assert status == 0 and "spell:" not in errors
    status, errors = with_descriptors(place, f"spell {command} >&- 2>&- <&-", world)
    assert status == 0


def test_an_error_as_json_is_an_error_body(world, spell):
    for arguments in (["info", "99"], ["ps", "-n", "x"], ["nothing"], ["run", "-t", "K80", "true"], ["run", "--gpu", "100", "true"], ["run", "--stop-condition", "x", "true"], ["ls", "../x"]):
        result = spell(*arguments, "--json", cwd=world) if arguments[0] != "run" else spell("run", "--json", *arguments[1:], cwd=world)
        body = json.loads(result.stderr.splitlines()[-1])
        assert result.returncode != 0 and result.stdout == "" and {"code", "message"} <= set(body["error"]), result


@pytest.mark.parametrize("name,value,status", [("SPELL_BASE_URL", "http://xyz", 3), ("SPELL_OWNER", "../x", 1), ("SPELL_OWNER", "somebody", 1),
                                               ("SPELL_DIR", "/dev/null/x", 3)])
def test_the_environment(world, spell, name, value, status):
    result = refused(spell, "ps", cwd=world, env={name: value})
    assert result.returncode == status, result
