"""What of a run's place is saved, what is said of it, and that a save that was cut off goes on."""
import hashlib
import os
import signal

from harness import found_below, wait_for
from test_fence_of_a_run import NobodysPlace
from test_mounts import names, whole_log


def test_spellignore_names_what_is_not_saved(place, spell):
    repo = place.make_repository("ignoring", {".spellignore": "*.tmp\n/cache/\n!keep.tmp\n"})
    command = "mkdir -p cache sub/cache; echo 1 > a.tmp; echo 2 > sub/b.tmp; echo 3 > keep.tmp; echo 4 > cache/new; echo 5 > sub/cache/kept; echo 6 > out"
    spell("run", command, cwd=repo, check=0)
    assert names(spell, "runs/1") == {"keep.tmp", "out", "sub"} and names(spell, "runs/1/sub") == {"cache"}
    log = whole_log(spell, 1)
    assert "3 files left out" in log and "Scanning for modified or new files from the run" in log
    assert "Saved 3 files, 6 B" in log and "stored" in log and "/s" in log
    spell("run", "--save-all", command, cwd=repo, check=0)
    assert names(spell, "runs/2") == {"a.tmp", "keep.tmp", "out", "sub", "cache"}


def test_rules_that_a_run_makes_count_too(spell, repo):
    spell("run", "echo '*.big' > .spellignore; echo x > a.big; echo y > b", cwd=repo, check=0)
    assert names(spell, "runs/1") == {".spellignore", "b"}


def test_a_save_that_is_cut_off_goes_on(place, spell, repo):
    size = 300 << 20
    spell("run", "-b", f"head -c {size} /dev/urandom | tee big | sha256sum", cwd=repo, check=0)
    stored = lambda: sum(path.stat().st_size for path in found_below(place.spell_dir, "*.pack"))
    wait_for(lambda: stored() > 32 << 20)
    os.kill(place.service_pid(), signal.SIGKILL)
    before = stored()
    spell("wait", 1, check=0)
    target = place.work / "big"
    spell("cp", "runs/1/big", target, check=0)
    assert hashlib.sha256(target.read_bytes()).hexdigest() == spell("logs", 1, check=0).stdout.split()[0]
    # What had arrived was not sent again: it is stored once.
    assert before > 32 << 20 and stored() < size + (16 << 20)


def said_not_saved(spell, run):
    return sorted(line.split("not saved: ")[1] for line in whole_log(spell, run).splitlines() if "not saved: " in line)


def test_what_is_no_file_is_not_saved_and_said(place, spell, repo):
    command = ("mkfifo pipe; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'; "
               "mknod device c 1 3 2> /dev/null || echo none; echo kept > out; ln -s /dev/zero link")
    done = spell("run", command, cwd=repo, check=0)
    assert names(spell, "runs/1") == {"out", "link"}
    said = said_not_saved(spell, 1)
    devices = [] if "none" in done.stdout else ["device: a device"]  # not everybody may make one
    assert said == [*devices, "pipe: a fifo", "socket: a socket"], said
    assert done.returncode == 0 and spell("info", 1, "--json", check=0).json["run"]["status"] == "complete"


def test_what_cannot_be_read_is_said_and_the_rest_is_saved(place):
    if os.geteuid() == 0:  # who reads all there is
        place.close()
        place = NobodysPlace()
    try:
        repo = place.make_repository()
        place.spell("run", "mkdir closed open; echo x > closed/in; echo x > open/in; echo x > secret; echo x > out; chmod 0 secret closed",
                    cwd=repo, check=0)
        assert names(place.spell, "runs/1") == {"out", "open"}
        said = said_not_saved(place.spell, 1)
        assert len(said) == 2 and said[0].startswith("closed: ") and said[1].startswith("secret: "), said
    finally:
        complaints = place.close()
    assert not complaints, "\n".join(complaints)


def test_names_of_all_kinds_are_saved_and_come_back(place, spell, repo):
    odd = [b"new\nline", b"-rf", b"--help", b"\xff\xfe", "ä".encode(), b"x" * 255, b" ", b"'", b"*", b"\\", b"..."]
    (repo / "make").write_text(f"import os\nos.mkdir('odd')\nfor name in {odd!r}:\n    open(b'odd/' + name, 'wb').write(name)\n")
    place.git("add", "make", cwd=repo)
    spell("run", "python3 make", cwd=repo, check=0)
    spell("cp", "runs/1/odd", "back", check=0)
    back = os.fsencode(place.work / "back")
    assert sorted(os.listdir(back)) == sorted(odd)
    for name in odd:
        assert open(os.path.join(back, name), "rb").read() == name
    assert len(spell("ls", "runs/1/odd", check=0).stdout.splitlines()) == len(odd)


def test_links_that_lead_out_are_kept_and_never_followed(place, spell, repo):
    outside = place.root / "outside"
    outside.mkdir()
    (outside / "secret").write_text("theirs")
    spell("run", f"ln -s {outside} folder; ln -s {outside}/secret file; ln -s ../../.. up; echo mine > out", cwd=repo, check=0)
    assert names(spell, "runs/1") == {"folder", "file", "up", "out"}
    assert spell("info", 1, "--json", check=0).json["run"]["output_bytes"] == 5
    for command in ("ls", "cp"):
        assert spell(command, "runs/1/folder/secret").returncode == 1
    # Neither does a copy write through one that is here already.
    spell("cp", "runs/1", "back", check=0)
    assert os.readlink(place.work / "back/folder") == str(outside)
    spell("run", "mkdir folder; echo evil > folder/secret; echo evil > file", cwd=repo, check=0)
    assert spell("cp", "-f", "runs/2/folder", place.work / "back").returncode == 1
    assert spell("cp", "-f", "runs/2/file", place.work / "back/file", check=0).returncode == 0
    assert (outside / "secret").read_text() == "theirs" and os.listdir(outside) == ["secret"]
    assert (place.work / "back/file").read_text() == "evil\n"
