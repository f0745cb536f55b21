"""What a command finds around it: the same whoever started the service, and live to whoever looks."""
import os
import re
import resource
import signal
import statistics
import subprocess
import time

import pytest

from harness import BUILD, PATIENCE, need_terminals, wait_for

PROBE = """env -0 | sort -z | tr '\\0' '\\n'
echo "== session"; ps -o pid=,sid=,pgid= -p $$ | awk '{print ($1 == $2 && $1 == $3) ? "own" : "foreign"}'
echo "== status"; grep -E '^(Sig(Blk|Ign)|Umask)' /proc/self/status
echo "== limits"; cat /proc/self/limits
echo "== descriptors"; ls -l /proc/$$/fd > fds; sed -n 's/.* \\([0-9]* -> .*\\)/\\1/p' fds; rm fds
"""


def sections(output):
    """{name of the section: its lines}; the environment is ""."""
    found, name = {"": []}, ""
    for line in output.splitlines():
        if line.startswith("== "):
            name = line[3:]
            found[name] = []
        else:
            found[name].append(line)
    return found


def wild_shell():
    """A process that starts the service leaves all of this to it."""
    os.umask(0o777)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT, signal.SIGUSR1, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM, signal.SIGUSR2])
    for what, soft in ((resource.RLIMIT_NOFILE, 200), (resource.RLIMIT_STACK, 1 << 20), (resource.RLIMIT_FSIZE, 1 << 26),
                       (resource.RLIMIT_CPU, 1000), (resource.RLIMIT_CORE, 1 << 20), (resource.RLIMIT_MEMLOCK, 4096)):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def run_from_wild_shell(place, repo, *arguments):
    """`spell` from a process with everything set that a process can inherit, on a terminal that is about to go."""
    environment = {**place.environment, "PATH": f"/nowhere:{place.environment['PATH']}", "LANG": "tlh_KL", "LC_ALL": "C", "TZ": "Asia/Tokyo",
                   "USER": "somebody", "SHELL": "/bin/false", "TMPDIR": str(place.work), "LD_LIBRARY_PATH": "/nowhere", "PYTHONPATH": "/nowhere",
                   "PYTHONUNBUFFERED": "", "BASH_ENV": "/nowhere/rc", "ENV": "/nowhere/rc", "SPELL_RUN": "77", "SPELL_ROOT": "/wild",
                   "SPELL_METRICS": "wild:1", "GIT_DIR": str(repo / ".git"), "FROM_THE_SHELL": "1", "BASH_FUNC_ls%%": "() { echo wild; }"}
    leaked, other = os.pipe()
    need_terminals()
    leader, terminal = os.openpty()
    try:
        return subprocess.run([BUILD / "bin/spell", *arguments], cwd=repo, env=environment, stdin=terminal, capture_output=True,
                              text=True, preexec_fn=wild_shell, pass_fds=(leaked, other, terminal), timeout=PATIENCE)
    finally:
        for descriptor in (leaked, other, leader, terminal):
            os.close(descriptor)


def test_the_shell_that_started_the_service_leaves_no_trace(place, spell, repo):
    spell("run", "-f", PROBE, cwd=repo, check=0)
    spell("service", "stop", check=0)
    started = run_from_wild_shell(place, repo, "run", "-b", "-f", PROBE)
    assert started.returncode == 0, started.stderr
    spell("wait", 2, check=0)
    plain, wild = (re.sub(r"pipe:\[\d+\]", "pipe", spell("logs", number, check=0).stdout) for number in (1, 2))
    own = lambda text: re.sub(r"SPELL_RUN=\d\n|SPELL_METRICS=127.0.0.1:\d+\n", "", text)  # what each run has for itself
    assert own(wild) == own(plain)

    found = sections(plain)
    environment = dict(line.split("=", 1) for line in found[""])
    assert set(environment) - {"PWD", "SHLVL", "_"} <= {
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "PYTHONUNBUFFERED", "SPELL_RUN", "SPELL_COMMIT", "SPELL_REPO",
        "SPELL_ROOT", "SPELL_CHECKPOINTS", "SPELL_MACHINE", "SPELL_METRICS", "SPELL_PREEMPTION_FILE"}
    assert (environment["PYTHONUNBUFFERED"], environment["SPELL_RUN"], environment["SPELL_REPO"]) == ("1", "1", "repo")
    assert environment["SPELL_COMMIT"] == spell("info", 1, "--json").json["run"]["git_commit"]
    assert found["session"] == ["own"]
    status = dict(line.split(":\t") for line in found["status"])
    assert status["Umask"] == "0022"
    assert int(status["SigBlk"], 16) == 0
    assert int(status["SigIgn"], 16) & ((1 << 31) - 1) == 0
    assert found["descriptors"] == ["0 -> /dev/null", "1 -> pipe", "2 -> pipe"]
    limits = {line[:25].strip(): line[26:].split()[0] for line in found["limits"]}
    assert (limits["Max cpu time"], limits["Max file size"]) == ("unlimited", "unlimited")
    assert int(limits["Max stack size"]) == 8 << 20


def test_a_variable_of_the_caller(spell, repo):
    command = 'printf "%s|" "$TAKEN" "$GIVEN" "$EMPTY" "${LEFT-unset}"'
    result = spell("run", "-e", "TAKEN", "-e", "GIVEN=a=b c", "-e", "EMPTY=", command, cwd=repo, check=0,
                   env={"TAKEN": "from here", "LEFT": "behind"})
    assert result.stdout == "from here|a=b c||unset|"
    refused = spell("run", "-e", "NOT_SET_HERE", "true", cwd=repo, check=2)
    assert "NOT_SET_HERE" in refused.stderr
    assert len(spell("ps", "--json").json["runs"]) == 1


def test_nothing_is_read_from_the_callers_stdin(spell, repo):
    assert spell("run", "cat; readlink /proc/self/fd/0", cwd=repo, input="for the command line only", check=0).stdout == "/dev/null\n"


def test_a_temporary_folder_of_its_own(place, spell, repo):
    command = 'test -z "$(ls -A "$TMPDIR")" && touch "$(mktemp -p "$TMPDIR" XXXXXXmine)" && stat -c %a "$TMPDIR"'
    assert spell("run", command, cwd=repo, check=0).stdout == "700\n"
    wait_for(lambda: not _left_behind(place.root, "mine"), 10, "the end of the folder")
    assert spell("ls", "--json", "runs/1", check=0).json["entries"] == []


def _left_behind(root, suffix):
    everywhere = os.listdir("/tmp") + os.listdir("/var/tmp") + [name for _, folders, files in os.walk(root) for name in files + folders]
    return [name for name in everywhere if re.fullmatch(r"\w{6}" + suffix, name)]


@pytest.mark.parametrize("line", ["print({})", "sys.stdout.write('\\r' + {})"], ids=["line", "progress bar"])
def test_output_is_seen_while_the_command_runs(place, spell, repo, line):
    script = "import sys, time\nfor step in range(7): " + line.format("f'{time.time()} step{step}'") + "; time.sleep(0.05)\ntime.sleep(5)"
    running = place.start("run", "python3", "-c", script, cwd=repo)
    delays = []
    for step in range(7):
        output = running.wait_output(f" step{step}").decode()
        delays.append(time.time() - float(re.search(rf"([\d.]+) step{step}", output)[1]))
    assert statistics.median(delays) < 0.2, delays
    spell("kill", 1, check=0)
    assert running.finish().returncode == 125


def test_python_is_there_also_where_debian_has_none(place, spell, repo):
    if any(os.path.exists(f"{folder}/python") for folder in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")):
        pytest.skip("this machine has a python")
    assert spell("run", "python", "-c", "print(1)", cwd=repo, check=0).stdout == "1\n"
    # It comes last: any other that the user puts into PATH is before it.
    (repo / "python").write_text("#!/bin/sh\necho mine\n")
    (repo / "python").chmod(0o755)
    command = 'PATH="/spell:$PATH" python'
    assert spell("run", "--include-untracked", command, cwd=repo, check=0).stdout == "mine\n"


@pytest.fixture
def venv(place):
    folder = place.work / "venv"
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", folder], check=True, capture_output=True, timeout=PATIENCE)
    return folder


def test_the_active_virtual_environment(place, spell, repo, venv):
    command = ["python", "-c", "import os, sys; print(sys.prefix, os.environ.get('VIRTUAL_ENV'))"]
    active = {"VIRTUAL_ENV": str(venv)}
    assert spell("run", *command, cwd=repo, env=active, check=0).stdout == f"{venv} {venv}\n"
    assert f"using the virtual environment {venv}" in spell("logs", "-v", 1, check=0).stderr
    assert spell("rerun", 1, check=0).stdout == f"{venv} {venv}\n"  # it is part of the run's record
    assert spell("run", "--no-venv", *command, cwd=repo, env=active, check=0).stdout == "/usr None\n"
    assert "virtual environment" not in spell("logs", "-v", 3, check=0).stderr
    assert spell("run", *command, cwd=repo, check=0).stdout == "/usr None\n"


def test_a_virtual_environment_that_is_gone_is_said(place, spell, repo, venv):
    spell("run", "true", cwd=repo, env={"VIRTUAL_ENV": str(venv)}, check=0)
    venv.rename(place.work / "elsewhere")
    spell("rerun", 1, check=0)
    assert f"{venv} is not on this machine" in spell("logs", "-v", 2, check=0).stderr


@pytest.mark.parametrize("command,status", [("true", 0), ("exit 3", 3), ("no-such-command-at-all", 127), ("/etc/passwd", 126),
                                            ("kill -SEGV $$", 139), ("exit 255", 255), ("sh -c 'kill -TERM $$'", 143)])
def test_wait_ends_as_the_command_did(spell, repo, command, status):
    spell("run", "-b", command, cwd=repo, check=0)
    spell("wait", 1, check=status)
    spell("wait", 1, check=status)  # also long after
    spell("logs", "-f", 1, check=status)


def test_a_command_that_leaves_children_ends_with_its_first_process(place, spell, repo):
    result = spell("run", "setsid sleep 1000 & echo said; exit 4", cwd=repo, check=4)
    assert result.stdout == "said\n"
    wait_for(lambda: not [pid for pid in os.listdir("/proc") if pid.isdigit() and _is_sleeper_of(place, pid)], 10, "the child's end")


def _is_sleeper_of(place, pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as environment, open(f"/proc/{pid}/cmdline", "rb") as arguments:
            return arguments.read() == b"sleep\0001000\0" and b"SPELL_REPO=repo" in environment.read()
    except OSError:
        return False
