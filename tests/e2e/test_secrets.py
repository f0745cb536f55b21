"""Secrets: a run has the value, and nothing else does: no log, list, file, argument list, environment of ours."""
import json
import os
import pathlib

import pytest

from faults import Gate, kill_service, service, start_run, info, output_of
from harness import found_below, need_terminals, wait_for

VALUE = "s3cr3t-Value/äö=42"


def files_with(folder, text):
    """Files below the folder whose bytes hold the text, database and journals included."""
    found = []
    for path in found_below(folder, "*"):
        try:
            if path.is_file() and not path.is_symlink() and text.encode() in path.read_bytes():
                found.append(str(path))
        except FileNotFoundError:
            continue  # gone meanwhile
    return found


def arguments_with(text):
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in path.read_bytes():
                found.append(str(path))
        except OSError:
            pass
    return found


@pytest.fixture
def secret(place):
    place.spell("secret", "set", "TOKEN", input=VALUE + "\n", check=0)
    return VALUE


def test_set_list_remove(place, spell):
    done = spell("secret", "set", "B_TOKEN", input="value one", check=0)
    assert done.stdout == "B_TOKEN is set\n"
    assert spell("secret", "set", "A-1", "-q", input="first\n", check=0).stdout == "A-1\n"
    listed = spell("secret", "list", "--json", check=0).json["secrets"]
    assert [secret["name"] for secret in listed] == ["A-1", "B_TOKEN"]
    assert all(set(secret) == {"name", "created_at"} for secret in listed)
    assert spell("secret", "rm", "A-1", check=0).stdout == "A-1 is removed\n"
    assert "secret_not_found" in spell("secret", "rm", "A-1", "--json", check=1).stderr
    assert spell("secret", "list", "-q", check=0).stdout.split() == ["B_TOKEN"]


@pytest.mark.parametrize("name, value, word", [
    ("SHORT", b"abc", "4"), ("LONG", b"x" * 70_000, "65536"), ("BYTES", b"ab\xff\xfecd", "UTF-8"), ("NUL", b"ab\0cd", "NUL"),
    ("-x y", b"fine value", "name"), ("", b"fine value", "")], ids=["short", "long", "no text", "NUL", "bad name", "no name"])
def test_what_cannot_be_a_secret(place, name, value, word):
    refused = place.spell("secret", "set", "--", name, input=value)
    assert refused.returncode in (1, 2) and word in refused.stderr, refused
    assert "fine value" not in refused.stderr
    assert place.spell("secret", "list", "--json", check=0).json == {"secrets": []}


def test_the_run_has_it_and_nobody_else(place, secret, repo):
    spell = place.spell
    gate = Gate(place.work / "gate")
    number = start_run(place, "--secret", "TOKEN", "--secret", "TOKEN=AGAIN", "-e", "PLAIN=x",
                       f'echo "begin $TOKEN $AGAIN"; env | grep -c -e TOKEN -e AGAIN; printf %s "$TOKEN" > {place.work}/got; '
                       f'{gate.waiting}; for i in $(seq 10000); do echo "$TOKEN"; done; '
                       'for ((i = 0; i < ${#TOKEN}; ++i)); do printf %s "${TOKEN:$i:1}"; done; echo; echo end')
    wait_for(lambda: (place.work / "got").exists() and (place.work / "got").read_text() == VALUE, what="the run")
    assert arguments_with(VALUE) == []
    gate.open()
    spell("wait", number, check=0)
    assert output_of(place, number).decode() == "begin *** ***\n2\n" + "***\n" * 10001 + "end\n"
    assert info(place, number)["secrets"] == {"TOKEN": "TOKEN", "AGAIN": "TOKEN"}
    shown = spell("info", number, check=0).stdout
    assert "TOKEN as AGAIN" in shown and VALUE not in shown
    for command in (("info", number, "--json"), ("logs", "-v", "--json", number), ("ps", "-v"), ("secret", "list", "--json"),
                    ("service", "logs")):
        assert VALUE not in spell(*command, check=0).stdout, command
    assert files_with(place.spell_dir, VALUE) == []
    key = place.spell_dir / "keys/secrets.key"
    assert key.stat().st_mode & 0o777 == 0o600 and key.parent.stat().st_mode & 0o777 == 0o700
    # The same again has it too; and the value of now, not that of then.
    spell("secret", "set", "TOKEN", input="another value", check=0)
    spell("rerun", "-b", number, check=0)
    gate.open()
    spell("wait", number + 1, check=0)
    assert (place.work / "got").read_text() == "another value"


def test_who_has_no_such_secret_is_told(place, secret, repo):
    refused = place.spell("run", "-b", "--secret", "NONE", "true", cwd=repo, check=1)
    assert refused.stderr.count("\n") == 1 and "spell secret set NONE" in refused.stderr
    for wrong in (("--secret", "=X"), ("--secret", "TOKEN="), ("--secret", "TOKEN", "-e", "TOKEN=1"),
                  ("--secret", "TOKEN=A", "--secret", "TOKEN=A"), ("--secret", "TOKEN=SPELL_X"), ("--secret", "TOKEN=1X")):
        refused = place.spell("run", "-b", *wrong, "true", cwd=repo)
        assert refused.returncode in (1, 2) and refused.stderr.count("\n") == 1, (wrong, refused)
    assert place.spell("ps", "--json", check=0).json["runs"] == []


def test_a_secret_that_is_removed_before_the_run_starts(place, secret, repo):
    gate = Gate(place.work / "gate")
    first = start_run(place, gate.waiting)
    number = start_run(place, "--after", first, "--secret", "TOKEN", f"touch {place.work}/ran")
    place.spell("secret", "rm", "TOKEN", check=0)
    gate.open()
    place.spell("wait", number)
    run = info(place, number)
    assert (run["status"], run["reason_code"]) == ("failed", "secret_not_found") and "TOKEN" in run["reason"], run
    assert not (place.work / "ran").exists()


def test_killed_before_the_run_is_started(place, secret, repo):
    """The worker keeps no value on disk: after its death it gets it again, and the run starts once."""
    gate, slow = Gate(place.work / "gate"), place.work / "libexec"
    slow.mkdir()
    (slow / "spell-supervisor").write_text(f"#!/bin/sh\ncase \"$1\" in */worker/runs/*) echo > {place.work}/begun; read -r _ < {gate.path};; esac\n"
                                           f'exec {place.programs}/spell-supervisor "$@"\n')
    (slow / "spell-supervisor").chmod(0o755)
    place.spell("service", "stop", check=0)
    place.environment["SPELL_LIBEXEC"] = str(slow)
    number = start_run(place, "--secret", "TOKEN", f'echo "$TOKEN" | tee -a {place.work}/got')
    wait_for((place.work / "begun").exists, what="the start of a supervisor")
    dead = kill_service(place)
    del place.environment["SPELL_LIBEXEC"]
    place.spell("status", check=0)
    assert service(place) != dead
    gate.open()
    place.spell("wait", number)
    assert info(place, number)["status"] == "complete", info(place, number)
    assert output_of(place, number) == b"***\n"
    assert (place.work / "got").read_text() == VALUE + "\n"
    assert files_with(place.spell_dir, VALUE) == []


def test_killed_while_the_run_prints(place, secret, repo):
    gate = Gate(place.work / "gate")
    half = len(VALUE) // 2
    number = start_run(place, "--secret", "TOKEN", f'printf "a %s" "${{TOKEN:0:{half}}}"; {gate.waiting}; echo "${{TOKEN:{half}}} z"')
    wait_for(lambda: output_of(place, number).startswith(b"a "), what="the first output")
    kill_service(place)
    place.spell("status", check=0)
    gate.open()
    place.spell("wait", number, check=0)
    assert output_of(place, number) == b"a *** z\n"
    assert files_with(place.spell_dir, VALUE[:half + 4]) == []


def test_another_key(place, secret, repo):
    """Whoever lost the key file is told what to do; nothing starts with an empty value."""
    kill_service(place)
    (place.spell_dir / "keys/secrets.key").write_text(os.urandom(32).hex() + "\n")
    number = start_run(place, "--secret", "TOKEN", "true")
    place.spell("wait", number)
    assert info(place, number)["reason_code"] == "secret_not_found"
    place.spell("secret", "set", "TOKEN", input="new value", check=0)
    number = start_run(place, "--secret", "TOKEN", 'echo ${#TOKEN}')
    place.spell("wait", number, check=0)
    assert output_of(place, number) == b"9\n"


def test_asked_for_on_a_terminal_without_echo(place):
    need_terminals()
    import pty
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(str(place.programs / "spell"), ["spell", "secret", "set", "TYPED"], place.environment)
    seen = b""
    while b"not shown" not in seen:
        seen += os.read(terminal, 4096)
    os.write(terminal, b"typed value\n")
    try:
        while piece := os.read(terminal, 4096):
            seen += piece
    except OSError:
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, seen
    os.close(terminal)
    assert b"TYPED is set" in seen and b"typed value" not in seen
    assert [s["name"] for s in place.spell("secret", "list", "--json", check=0).json["secrets"]] == ["TYPED"]
