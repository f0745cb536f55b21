"""The commands that everybody types first."""
import pytest

from harness import FINAL


def new_run(spell, *arguments, cwd):
    """The number of a run that was started in the background."""
    return spell("run", "-b", "--json", *arguments, cwd=cwd, check=0).json["run"]["id"]


def test_version_starts_nothing(place, spell):
    assert spell("--version", check=0).stdout.strip()
    assert not list(place.spell_dir.iterdir())


def test_first_run(spell, repo):
    result = spell("run", "true", cwd=repo, check=0)
    assert result.stdout == ""
    for words in ("Casting spell #1", "Run is running", "Saving", "Pushing", "Total run time", "Run 1 complete"):
        assert words in result.stderr, result


@pytest.mark.parametrize("command,status", [("false", 1), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137),
                                            ("no-such-command-at-all", 127), ("/etc/passwd", 126)])
def test_exit_status_is_the_commands(spell, repo, command, status):
    spell("run", command, cwd=repo, check=status)
    run = spell("info", "1", "--json", check=0).json["run"]
    assert (run["status"], run["user_exit_code"]) == ("complete", status)


def test_output_is_the_commands_alone(spell, repo):
    command = "cat hello.txt; echo to stderr >&2; printf '\\377no newline'"
    result = spell("run", command, cwd=repo, check=0)
    assert result.bytes == b"hello\nto stderr\n\xffno newline"
    assert spell("logs", "1", check=0).bytes == result.bytes


def test_words_are_quoted_and_options_may_follow(spell, repo):
    assert spell("run", "--", "printf", "%s|", "a b", "*", "$HOME", cwd=repo, check=0).stdout == "a b|*|$HOME|"
    assert spell("run", "echo $GREETING", "-e", "GREETING=a=b", cwd=repo, check=0).stdout == "a=b\n"


def test_folder_of_the_user(spell, repo):
    assert spell("run", "cat deep.txt", cwd=repo / "sub", check=0).stdout == "deep\n"


def test_background_wait_and_logs(spell, place, repo):
    number = new_run(spell, "echo ready; exec sleep 1000", cwd=repo)
    assert number == 1
    following = place.start("logs", "-f", number)
    following.wait_output("ready\n")
    run = spell("info", number, "--json", check=0).json["run"]
    assert run["status"] == "running"
    assert spell("stop", number, check=0)
    waited = spell("wait", number)
    assert waited.returncode == 125
    assert following.finish().returncode == 125
    assert spell("info", number, "--json").json["run"]["status"] == "stopped"


def test_wait_reports_the_first_that_failed(spell, repo):
    numbers = [new_run(spell, command, cwd=repo) for command in ("true", "exit 3", "exit 4")]
    assert numbers == [1, 2, 3]
    spell("wait", *numbers, check=3)
    spell("wait", 1, check=0)


def test_kill_ends_the_whole_tree(spell, place, repo):
    number = new_run(spell, "setsid sleep 1000 & (sleep 1000 &) ; echo ready; sleep 1000", cwd=repo)
    place.start("logs", "-f", number).wait_output("ready\n")
    spell("kill", number, check=0)
    spell("wait", number, check=125)
    assert spell("info", number, "--json").json["run"]["status"] == "killed"


def test_ps(spell, repo):
    spell("run", "true", cwd=repo, check=0)
    spell("run", "--label", "bad", "false", cwd=repo, check=1)
    runs = spell("ps", "--json", check=0).json["runs"]
    assert {(run["id"], run["status"], run["user_exit_code"]) for run in runs} == {(1, "complete", 0), (2, "complete", 1)}
    assert {run["command"] for run in runs} == {"true", "false"}
    assert [run["id"] for run in spell("ps", "--json", "-l", "bad", check=0).json["runs"]] == [2]
    table = spell("ps", check=0).stdout.splitlines()
    assert table[0].split()[:4] == ["ID", "REPOSITORY", "COMMAND", "STATUS"]
    assert "Complete (0)" in table[1] and "Complete (1)" in table[2]
    assert all(status in FINAL for status in (run["status"] for run in runs))


def test_outputs(spell, place, repo):
    spell("run", "mkdir out; echo result > out/file; rm hello.txt", cwd=repo, check=0)
    assert "out" in spell("ls", "runs/1", check=0).stdout
    spell("cp", "runs/1/out/file", place.work / "copy", check=0)
    assert (place.work / "copy").read_text() == "result\n"


def test_without_a_repository(spell, place):
    refused = spell("run", "true", check=4)
    assert len(refused.stderr.strip().splitlines()) == 1
    assert spell("run", "-f", "pwd; ls", check=0).stdout.startswith("/spell")
    assert spell("ps", "--json").json["runs"][0]["id"] == 1


@pytest.mark.parametrize("arguments,status,names", [
    (["run", "--no-such-option", "true"], 2, "--no-such-option"), (["run"], 2, ""), (["no-such-command"], 2, "no-such-command"),
    (["run", "-t", "no-such-type", "true"], 1, "no-such-type"), (["run", "-c", "no-such-ref", "true"], 5, "no-such-ref"),
    (["wait", "99"], 1, "99"), (["logs", "99"], 1, "99"), (["info", "x"], 2, "x"), (["ls", "runs/1/../../x"], 1, "..")])
def test_bad_input_is_one_line_and_makes_no_run(spell, repo, arguments, status, names):
    result = spell(*arguments, cwd=repo)
    assert result.returncode == status, result
    assert result.stdout == ""
    assert names in result.stderr
    assert spell("ps", "--json", check=0).json["runs"] == []
