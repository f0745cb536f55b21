"""What the commands of the command line do beyond the first run."""
import contextlib
import json
import os
import pathlib
import subprocess

import pytest

from harness import wait_for


def new_run(spell, *arguments, cwd):
    return spell("run", "-b", "--json", *arguments, cwd=cwd, check=0).json["run"]["id"]


def descriptors_of(pid):
    """What the process has open."""
    found = []
    for descriptor in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(descriptor))
    return found


def run_info(spell, number):
    return spell("info", number, "--json", check=0).json["run"]


def test_options_reach_the_run(spell, repo):
    number = spell("run", "-b", "--json", "-d", "a try", "--label", "a", "--label", "b", "-e", "X=1", "-e", "MINE", "--timeout", "1.5",
                   "echo $X $MINE", cwd=repo, env={"MINE": "two words"}, check=0).json["run"]["id"]
    spell("wait", number, check=0)
    run = run_info(spell, number)
    assert run["description"] == "a try"
    assert sorted(run["labels"]) == ["a", "b"]
    assert run["env"] == {"X": "1", "MINE": "two words"}
    assert run["timeout"] == 90
    assert spell("logs", number, check=0).stdout == "1 two words\n"


def test_description_is_the_commits_message(spell, repo):
    assert run_info(spell, new_run(spell, "true", cwd=repo))["description"] == "first"
    spell("wait", 1, check=0)


def test_options_from_a_file(spell, place, repo):
    saved = place.work / "saved.yaml"
    spell("run", "--save-command", saved, "-e", "A=x: y # z", "--label", "l", "-d", "text", "printf", "%s|", "a b", "it's",
          cwd=repo, check=0)
    again = spell("run", "--from-file", saved, cwd=repo, check=0)
    assert again.stdout == "a b|it's|"
    first, second = run_info(spell, 1), run_info(spell, 2)
    for field in ("command", "env", "labels", "description"):
        assert first[field] == second[field]
    spell("run", "--from-file", saved, "-d", "other", "true", cwd=repo, check=0)
    third = run_info(spell, 3)
    assert (third["command"], third["description"], third["labels"]) == ("true", "other", ["l"])
    saved.write_text("stop-condition: x\ncommand: 'true'\n")
    assert "--stop-condition is not available" in spell("run", "--from-file", saved, cwd=repo, check=2).stderr
    saved.write_text("[not a map")
    spell("run", "--from-file", saved, cwd=repo, check=3)


def test_background_prints_the_number_for_scripts(spell, repo):
    result = spell("run", "-b", "true", cwd=repo, check=0)
    assert result.stdout == "1\n"
    assert "Casting spell #1" in result.stderr
    assert spell("wait", result.stdout.strip(), check=0).stdout == "Run 1 complete\n"


def test_rerun(spell, repo):
    spell("run", "cat hello.txt", "--label", "kept", cwd=repo, check=0)
    assert spell("rerun", 1, check=0).stdout == "hello\n"
    run = run_info(spell, 2)
    assert run["git_commit"] == run_info(spell, 1)["git_commit"]
    assert run["labels"] == ["kept"]


def test_idempotent(spell, repo):
    spell("run", "--idempotent", "echo once", cwd=repo, check=0)
    again = spell("run", "--idempotent", "echo once", cwd=repo, check=0)
    assert again.stdout == "once\n"
    assert [run["id"] for run in spell("ps", "--json").json["runs"]] == [1]


def test_labels_archive_rm(spell, repo):
    spell("run", "true", cwd=repo, check=0)
    spell("run", "true", cwd=repo, check=0)
    assert sorted(spell("label", 1, "x", "--add", "y", "--json", check=0).json["run"]["labels"]) == ["x", "y"]
    assert spell("label", 1, "--remove", "x", "--json", check=0).json["run"]["labels"] == ["y"]
    assert spell("ps", "-q", "-l", "y", check=0).stdout == "1\n"
    spell("archive", 1, check=0)
    assert spell("ps", "-q", check=0).stdout == "2\n"
    assert spell("ps", "-q", "-a", check=0).stdout == "1\n2\n"
    spell("archive", 1, "--undo", check=0)
    assert spell("ps", "-q", check=0).stdout == "1\n2\n"

    refused = spell("rm", 1, check=2)
    assert "-f" in refused.stderr
    assert spell("ps", "-q", check=0).stdout == "1\n2\n"
    spell("rm", "-f", 1, check=0)
    assert spell("ps", "-q", "-a", check=0).stdout == "2\n"
    spell("info", 1, check=1)
    assert new_run(spell, "true", cwd=repo) == 3
    spell("wait", 3, check=0)


def test_projects(spell, repo):
    spell("project", "create", "p1", "-d", "the first", check=0)
    spell("run", "-p", "p1", "true", cwd=repo, check=0)
    spell("run", "true", cwd=repo, check=0)
    assert spell("ps", "-q", "-p", "p1", check=0).stdout == "1\n"
    spell("project", "add-runs", "p1", 2, check=0)
    assert spell("project", "get", "p1", "--json", check=0).json["project"]["runs"] == 2
    spell("project", "remove-runs", "p1", 1, check=0)
    assert spell("ps", "-q", "-p", "p1", check=0).stdout == "2\n"
    assert spell("project", "edit", "p1", "--name", "p2", "--json", check=0).json["project"]["name"] == "p2"
    assert spell("project", "list", "-q", check=0).stdout == "p2\n"
    spell("project", "archive", "p2", check=0)
    assert spell("project", "list", "-q", check=0).stdout == ""
    assert spell("project", "list", "-q", "-a", check=0).stdout == "p2\n"
    assert spell("project", "get", "nobody", check=1).stderr.startswith("spell: ")


def test_ls_and_cp(spell, place, repo):
    spell("run", "mkdir -p out/in; head -c 2048 /dev/zero > out/big; echo x > out/in/deep; ln -s big out/link", cwd=repo, check=0)
    listed = spell("ls", "runs/1/out", check=0).stdout
    assert [line.split()[-1] for line in listed.splitlines()] == ["big", "in/", "big"]
    assert "2048" in listed and "link -> big" in listed
    assert "2.0 KiB" in spell("ls", "-h", "runs/1/out", check=0).stdout
    entries = spell("ls", "--json", "runs/1/out", check=0).json["entries"]
    assert {entry["path"]: entry["type"] for entry in entries} == {"big": "file", "in": "folder", "link": "link"}

    target = place.work / "target"
    target.mkdir()
    spell("cp", "runs/1/out", target, check=0)
    assert (target / "out/big").read_bytes() == bytes(2048)
    assert (target / "out/in/deep").read_text() == "x\n"
    (target / "out/big").write_text("mine")
    refused = spell("cp", "runs/1/out/big", target / "out", check=1)
    assert "-f" in refused.stderr or "exist" in refused.stderr
    assert (target / "out/big").read_text() == "mine"
    spell("cp", "-f", "runs/1/out/big", target / "out", check=0)
    assert (target / "out/big").read_bytes() == bytes(2048)
    spell("ls", "runs/99", check=1)


def test_several_runs_are_all_done_whatever_becomes_of_one(spell, repo):
    number = new_run(spell, "sleep 1000", cwd=repo)
    result = spell("kill", 99, number, check=1)
    assert "99" in result.stderr
    spell("wait", number, check=125)
    assert run_info(spell, number)["status"] == "killed"


def test_following_as_json(spell, repo):
    result = spell("run", "--json", "echo one; echo two", cwd=repo, check=0)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert lines[0]["run"]["id"] == 1
    assert lines[-1]["run"]["status"] == "complete"
    output = [line["log"] for line in lines[1:-1] if line["kind"] == "output"]
    assert output == ["one", "two"]
    assert result.stderr == ""


def test_errors_as_json(spell, repo):
    error = json.loads(spell("info", "99", "--json", check=1).stderr)["error"]
    assert error["code"] == "run_not_found" and "99" in error["message"]
    error = json.loads(spell("run", "--json", "--stop-condition", "x", "true", cwd=repo, check=2).stderr)["error"]
    assert error["code"] == "not_available" and "--stop-condition" in error["message"]


def test_split_output(spell, repo):
    result = spell("run", "--split-output", "echo out; echo err >&2", cwd=repo, check=0)
    assert result.stdout == "out\n"
    assert "err\n" in result.stderr


def test_a_reader_that_leaves_ends_the_viewing_quietly(place, repo):
    command = "spell run 'seq 1000000; sleep 1000' | head -n 3"
    process = subprocess.run(["bash", "-c", command + '; echo "${PIPESTATUS[0]}"'], cwd=repo, env=place.environment,
                             capture_output=True, text=True, timeout=60)
    assert process.stdout == "1\n2\n3\n141\n"
    assert "spell:" not in process.stderr
    assert place.spell("kill", 1, check=0)


def test_untracked_and_changed_files_are_named(spell, repo):
    (repo / "new.txt").write_text("new")
    (repo / "hello.txt").write_text("changed\n")
    result = spell("run", "cat hello.txt; ls", cwd=repo, check=0)
    assert result.stdout == "changed\nhello.txt\nsub\n"
    assert "untracked" in result.stderr and "uncommitted" in result.stderr
    assert spell("run", "--include-untracked", "ls", cwd=repo, check=0).stdout == "hello.txt\nnew.txt\nsub\n"
    spell("run", "--require-clean", "true", cwd=repo, check=6)


@pytest.mark.parametrize("service", ["status", "logs"])
def test_looking_at_the_service_does_not_start_it(place, spell, service):
    spell("service", service, check=1)
    assert place.service_pid() is None


def test_service(place, spell, repo):
    spell("run", "true", cwd=repo, check=0)
    assert place.service_pid()
    assert "spelld" in spell("status", check=0).stdout
    spell("service", "logs", "-n", "5", check=0)
    spell("service", "stop", check=0)
    assert place.service_pid() is None
    spell("service", "stop", check=0)
    assert spell("ps", "-q", check=0).stdout == "1\n"


def test_the_service_log_is_followed_into_the_file_that_takes_its_place(place, spell):
    spell("ps", check=0)
    log, = place.spell_dir.glob("*.log")
    following = place.start("service", "logs", "-f", "-n", "0")
    wait_for(lambda: "anon_inode:inotify" in descriptors_of(following.process.pid), what="its watch")
    with open(log, "a") as file:
        file.write("written later\n")
    following.wait_output("written later\n")
    spell("service", "stop", check=0)
    os.truncate(log, 11 << 20)  # so long that the next service begins another
    spell("ps", check=0)
    following.wait_output(f'"pid":{place.service_pid()}')
    assert log.with_name(log.name + ".1").exists()


def test_repos(spell, place, repo):
    other = place.make_repository("other", {"a": "1"})
    for folder in (repo, repo, other):
        spell("run", "true", cwd=folder, check=0)
    found = spell("repos", "--json", check=0).json["repositories"]
    assert {entry["name"]: entry["runs"] for entry in found} == {"repo": 2, "other": 1}
    assert spell("ps", "-q", "-r", "other", check=0).stdout == "3\n"
