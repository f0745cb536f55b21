"""What a run leaves: all that is new or changed below /spell, nothing else, and it comes back as it was."""
import hashlib
import os
import subprocess

import pytest

from test_cli_terminal import Terminal


def entries(spell, path):
    return {entry["path"]: entry for entry in spell("ls", "--json", path, check=0).json["entries"]}


def all_below(spell, path):
    """Every path of an output that is no folder."""
    found = set()
    for name, entry in entries(spell, path).items():
        found |= all_below(spell, f"{path}/{name}") if entry["type"] == "folder" else {f"{path}/{name}"}
    return found


def test_new_and_changed_files_are_outputs_and_no_others(place, spell):
    repo = place.make_repository("many", {name: name for name in ("same", "appended", "touched", "anew", "mode", "renamed", "removed", "sub/same")})
    os.symlink("same", repo / "linked")
    place.git("add", "linked", cwd=repo)
    place.git("commit", "-qm", "a link", cwd=repo)
    spell("run", "echo x >> appended; echo new > new; mkdir -p sub/made; echo y > sub/made/deep; chmod +x mode; rm removed; "
          "mv renamed moved; ln -s same link; touch touched; cp anew other; mv other anew; ln -sf same linked; cat same > /dev/null; mkdir empty", cwd=repo, check=0)
    found = all_below(spell, "runs/1")
    # What was touched, or written once more as it was, is no output.
    assert found == {f"runs/1/{name}" for name in ("appended", "new", "sub/made/deep", "mode", "moved", "link")}
    spell("run", "true", cwd=repo, check=0)
    assert entries(spell, "runs/2") == {}
    assert spell("info", 2, "--json", check=0).json["run"]["output_files"] == 0


def test_a_change_of_the_content_alone_is_seen(place, spell):
    # Same size, and the time put back: only the kernel's own mark tells.
    repo = place.make_repository("same", {"weights": "aaaa"})
    spell("run", "touch -r weights /tmp/$SPELL_COMMIT; printf bbbb > weights; touch -r /tmp/$SPELL_COMMIT weights; rm /tmp/$SPELL_COMMIT",
          cwd=repo, check=0)
    spell("cp", "runs/1/weights", place.work, check=0)
    assert (place.work / "weights").read_text() == "bbbb"


def test_the_round_trip(place, spell, repo):
    spell("run", "mkdir -p out/deep/er out/empty; printf '\\000\\377' > out/binary; : > out/nothing; echo '#!/bin/sh' > out/tool; "
          "chmod 751 out/tool; chmod 600 out/binary; ln -s ../tool out/deep/link; ln -s /etc/passwd out/deep/far; "
          "head -c 3000000 /dev/urandom > out/deep/er/random; sha256sum < out/deep/er/random; printf x > $'out/odd \\n\\303\\244 name'; "
          "truncate -s 50M out/sparse; chmod 700 out/deep; touch -d @1000000000.5 out/tool; ln out/binary out/second; ln out/binary out/deep/third",
          cwd=repo, check=0)
    target = place.work / "target"
    spell("cp", "runs/1/out", target, check=0)
    assert oct((target / "tool").stat().st_mode & 0o7777) == "0o751"
    assert oct((target / "binary").stat().st_mode & 0o7777) == "0o600"
    assert oct((target / "deep").stat().st_mode & 0o7777) == "0o700"
    assert (target / "tool").stat().st_mtime == 1000000000.5
    assert (target / "binary").read_bytes() == b"\0\xff"
    for linked in ("second", "deep/third"):  # hard links may have become files, whole ones
        assert (target / linked).read_bytes() == b"\0\377" and oct((target / linked).stat().st_mode & 0o7777) == "0o600"
    assert (target / "nothing").read_bytes() == b""
    assert (target / "empty").is_dir()
    assert (target / "odd \nä name").read_text() == "x"
    assert os.readlink(target / "deep/link") == "../tool" and os.readlink(target / "deep/far") == "/etc/passwd"
    assert hashlib.sha256((target / "deep/er/random").read_bytes()).hexdigest() == spell("logs", 1, check=0).stdout.split()[0]
    assert (target / "sparse").read_bytes() == bytes(50 << 20)
    assert len(spell("ls", "runs/1/out", check=0).stdout.splitlines()) == 8  # no name makes a line of its own


def test_names_that_are_no_text(place, spell, repo):
    spell("run", r"mkdir $'d\377'; echo deep > $'d\377/f\376'; echo other > $'g\377'; echo third > d", cwd=repo, check=0)
    shown = "d\ufffd"
    assert set(entries(spell, "runs/1")) == {shown, "g\ufffd", "d"}
    spell("cp", "runs/1", place.work / "all", check=0)
    raw = os.fsencode(place.work) + b"/all/"  # a copy has the names that the run gave, byte for byte
    assert open(raw + b"d\377/f\376").read() == "deep\n"
    assert {open(raw + name).read() for name in (b"g\377", b"d")} == {"other\n", "third\n"}
    spell("cp", f"runs/1/{shown}/f\ufffd", place.work / "one", check=0)
    assert (place.work / "one").read_text() == "deep\n"
    for path in (f"runs/1/{shown}/nothing", "runs/1/x\ufffd", "runs/1/g\ufffd/below", "runs/1/d/\ufffd"):
        assert "there is no" in spell("ls", path, check=1).stderr


def test_what_is_left_out_is_said(place, spell, repo):
    command = "mkdir -p __pycache__ node_modules/x kept; echo a > __pycache__/a; echo b > node_modules/x/b; echo c > kept/c"
    spell("run", command, cwd=repo, check=0)
    assert set(entries(spell, "runs/1")) == {"kept"}
    assert "2" in [line for line in spell("logs", "-v", 1, check=0).stderr.splitlines() if "left out" in line][0]
    spell("run", "--save-all", command, cwd=repo, check=0)
    assert set(entries(spell, "runs/2")) == {"kept", "__pycache__", "node_modules"}


def test_nothing_of_the_users_is_overwritten_unasked(place, spell, repo):
    spell("run", "mkdir out; echo theirs > out/file; echo other > out/other", cwd=repo, check=0)
    (place.work / "out").mkdir()
    mine = place.work / "out/file"
    mine.write_text("mine")
    for arguments in (["runs/1/out"], ["runs/1/out/file", "out"], ["runs/1/out/file", "out/file"]):
        refused = spell("cp", *arguments, check=1)
        assert "file" in refused.stderr and "-f" in refused.stderr
        assert mine.read_text() == "mine"
    for answer, text in (("n", "mine"), ("y", "theirs\n")):
        terminal = Terminal(place, "cp", "-i", "runs/1/out/file", "out", cwd=place.work)
        terminal.wait_for("out/file? [y/N]")
        terminal.type(answer + "\n")
        terminal.finish()
        assert mine.read_text() == text
    mine.write_text("mine")
    spell("cp", "-f", "runs/1/out", check=0)
    assert mine.read_text() == "theirs\n" and (place.work / "out/other").read_text() == "other\n"


@pytest.mark.parametrize("target", ["/proc/nothing/here", "/dev/full/x", "file/below"])
def test_a_destination_that_cannot_be_written(place, spell, repo, target):
    spell("run", "echo x > result", cwd=repo, check=0)
    (place.work / "file").write_text("no folder")
    refused = spell("cp", "runs/1/result", target, check=1)
    assert len(refused.stderr.strip().splitlines()) == 1
    assert target.split("/")[-2] in refused.stderr


def test_a_full_disk_at_the_destination_leaves_no_half_file(place, spell, repo):
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system that is too small")
    small = place.work / "small"
    small.mkdir()
    spell("run", "head -c 3000000 /dev/urandom > large", cwd=repo, check=0)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        assert "space" in spell("cp", "runs/1/large", small, check=1).stderr
        assert os.listdir(small) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_paths_that_lead_nowhere(spell, repo):
    spell("run", "echo x > result", cwd=repo, check=0)
    for path in ("runs/1/../../x", "../x", "runs/2", "runs/1/nothing", "runs/0", "runs/-1", "runs/x", "runs/1/result/below", "elsewhere/1"):
        for command in (["ls", path], ["cp", path]):
            refused = spell(*command)
            assert refused.returncode in (1, 2) and refused.stdout == "", refused
            assert len(refused.stderr.strip().splitlines()) == 1 and refused.stderr.startswith("spell: "), refused
