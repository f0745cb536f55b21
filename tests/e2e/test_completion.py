"""What the shells' functions ask, the functions themselves, and the manual pages: all from the commands' own definitions."""
import os
import re
import shutil
import subprocess

import pytest

from harness import need_terminals

BASH = """
source <("$1" completion bash)
COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2))
_spell
printf '%s\\n' "${COMPREPLY[@]}"
"""

# A shell on a terminal: types each line and a TAB, and keeps what has become of it.
ZSH = r"""
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'PROMPT=; unsetopt beep; stty -echo'
zpty -w z "$1"
zpty -w z 'shown() { print -r -- "$BUFFER" >> $HOME/shown; BUFFER=; }; zle -N shown; bindkey "^T" shown'
zpty -w z 'print REA""DY'
zpty -r -m z out '*READY*'
for line in "${@:2}"; do zpty -w -n z "$line"$'\t\x14'; done
zpty -w z 'print DO""NE'
zpty -r -m z out '*DONE*'
zpty -d z
"""


@pytest.fixture
def asked(spell):
    def ask(*words):
        return [line.split("\t")[0] for line in spell("__complete", *words, check=0).stdout.splitlines()]
    return ask


def test_commands_and_options(asked, spell):
    shown = re.findall(r"^  ([a-z-]+)  ", spell("--help", check=0).stdout, re.M)
    assert asked("") == shown and "__complete" not in shown
    assert asked("re") == [name for name in shown if name.startswith("re")]
    assert asked("machine", "re") == ["resume", "rename", "remove"]
    options = asked("run", "--")
    assert {"--machine-type", "--mount", "--json"} <= set(options)
    # One that was given is not offered again, but for a list.
    again = asked("run", "--machine-type", "CPU", "--mount", "a", "-d", "x", "--")
    assert "--machine-type" not in again and "--description" not in again and "--mount" in again
    assert asked("nonsense", "") == [] and asked("run", "") == []


def test_names_of_what_the_service_has(asked, spell, repo, place):
    assert asked("logs", "") == []  # none runs, and none is started
    assert place.service_pid() is None
    spell("run", "mkdir out; echo x > out/file", cwd=repo, check=0)
    spell("run", "-b", "sleep 1000", cwd=repo, check=0)
    assert asked("logs", "") == ["2", "1"] and asked("stop", "") == ["2"]
    assert asked("ls", "ru") == ["runs/"] and asked("cp", "runs/1/o") == ["runs/1/out/"]
    assert asked("cp", "runs/1/out/") == ["runs/1/out/file"]
    assert "CPU" in asked("run", "-t", "")
    assert asked("user", "role", "ada", "m") == ["member"]
    spell("kill", 2, check=0)
    spell("wait", 2)


def test_bash_completes(place):
    program = os.path.join(os.environ["SPELL_BUILD"], "bin", "spell")

    def complete(*words):
        environment = {**place.environment, "PATH": os.path.dirname(program) + ":" + os.environ["PATH"]}
        done = subprocess.run(["bash", "--norc", "-c", BASH, "bash", program, "spell", *words], env=environment, capture_output=True,
                              text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()
    assert complete("upl") == ["upload"] and complete("machine", "dr") == ["drain"]
    assert complete("run", "--machine") == ["--machine-type"]


@pytest.mark.parametrize("form", ["sourced", "a file of fpath"])
def test_zsh_completes(place, spell, form):
    """From its first TAB on, whichever way it has come there."""
    if not shutil.which("zsh"):
        pytest.skip("zsh is not installed")
    need_terminals()
    script = spell("completion", "zsh", check=0).stdout
    subprocess.run(["zsh", "-n", "/dev/stdin"], input=script, text=True, check=True, timeout=60)
    functions = place.home / "functions"
    functions.mkdir()
    (functions / ("_spell" if form != "sourced" else "spell.zsh")).write_text(script)
    before = f"fpath=({functions} $fpath); autoload -Uz compinit; compinit -u -D" + ("; source ~/functions/spell.zsh" if form == "sourced" else "")
    lines = {"spell upl": "spell upload ", "spell machine dr": "spell machine drain ", "spell run --machine-t": "spell run --machine-type ",
             "spell user role ada mem": "spell user role ada member ", "spell nonsense x": "spell nonsense x"}
    subprocess.run(["zsh", "-f", "-c", ZSH, "zsh", before, *lines], env={**place.environment, "TERM": "dumb"}, cwd=place.work, check=True, capture_output=True, timeout=60)
    assert (place.home / "shown").read_text().splitlines() == list(lines.values())


def test_wrong_shell(spell):
    refused = spell("completion", "tcsh", check=2)
    assert "bash and zsh" in refused.stderr


def test_manual_pages(spell, place):
    folder = place.work / "man"
    folder.mkdir()
    spell("__manual", folder, check=0)
    pages = {page.stem: page.read_text() for page in folder.iterdir()}
    shown = re.findall(r"^  ([a-z-]+)  ", spell("--help", check=0).stdout, re.M)
    assert {"spell", "spell-machine-add"} | {f"spell-{name}" for name in shown} <= set(pages)
    assert "\\-\\-machine\\-type" in pages["spell-run"] and ".SH OPTIONS" in pages["spell-run"]
    for name, text in pages.items():
        # Each line that begins like an instruction is one.
        for line in text.splitlines():
            assert not line.startswith(("'",)) and (not line.startswith(".") or re.match(r"\.(TH|SH|TP|B|BR|nf|fi)\b", line)), (name, line)
    assert spell("__manual", place.work / "nowhere").returncode == 1
