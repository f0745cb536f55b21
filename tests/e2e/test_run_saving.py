"""What of a run's place is saved, what is said of it, and that a save that was cut off goes on."""
import hashlib
import os
import signal

from harness import found_below, wait_for
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
