"""Backups: made while the service goes on, whole whenever they are cut off, and a service again when they are restored."""
import json
import os
import pathlib
import shutil
import signal
import sqlite3

import pytest

from faults import Gate, info, output_of, start_run
from harness import found_below, wait_for
from storage import killer


def spelld(place, *arguments, check=0, env=None):
    done = place.start(*arguments, program="spelld", env=env).finish()
    assert check is None or done.returncode == check, done
    return done


def backup(place, folder, **options):
    return spelld(place, "backup", folder, "--json", **options)


class Restored:
    """Looks at the service that a backup becomes."""

    def __init__(self, place, folder, name="restored"):
        self.place, self.folder = place, place.root / name
        self.said = spelld(place, "restore", folder, "--data", self.folder, "--json").json["restored"]
        self.env = {"SPELL_DIR": str(self.folder)}

    def spell(self, *arguments, **options):
        return self.place.spell(*arguments, env=self.env, **options)

    def close(self):
        self.spell("service", "stop", check=0)
        assert spelld(self.place, "fsck", check=None, env=self.env).returncode == 0
        shutil.rmtree(self.folder)


@pytest.fixture
def filled(place, repo):
    """A service that has something of everything."""
    place.spell("project", "create", "p", check=0)
    place.spell("run", "-b", "-p", "p", "--label", "kept", "seq 1000; mkdir out; seq 5000 > out/numbers", cwd=repo, check=0)
    (place.work / "data").mkdir()
    (place.work / "data/table").write_text("1 2 3\n" * 1000)
    place.spell("upload", "data", check=0)
    place.spell("secret", "set", "TOKEN", input="a value to keep", check=0)
    place.spell("wait", 1, check=0)
    return place


def as_it_was(restored, place, repo):
    assert restored.spell("logs", 1, check=0).bytes == b"".join(b"%d\n" % i for i in range(1, 1001))
    for path, text in (("runs/1/out/numbers", "".join(f"{i}\n" for i in range(1, 5001))), ("uploads/data/table", "1 2 3\n" * 1000)):
        copied = place.root / "copied"
        restored.spell("cp", "-f", path, copied, check=0)
        assert copied.read_text() == text
        copied.unlink()
    run = restored.spell("info", 1, "--json", check=0).json["run"]
    assert (run["status"], run["project"], run["labels"]) == ("complete", "p", ["kept"])


def test_there_and_back(filled, repo):
    place, folder = filled, filled.root / "backup"
    first = backup(place, folder).json["backup"]
    assert first["new_files"] == first["files"] > 4
    again = backup(place, folder).json["backup"]
    assert (again["files"], again["new_files"]) == (first["files"], 0)
    place.spell("run", "-b", "echo more", cwd=repo, check=0)
    place.spell("wait", 2, check=0)
    third = backup(place, folder).json["backup"]
    assert third["files"] > first["files"] and third["new_files"] <= 4, third
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(list(folder.glob("db-*"))) == 1 and not [p for p in folder.rglob(".unfinished-*")]

    text = spelld(place, "restore", folder, "--data", place.root / "shown").stdout
    assert "2 runs" in text and "Nothing is missing" in text
    shutil.rmtree(place.root / "shown")
    restored = Restored(place, folder)
    assert (restored.said["runs"], restored.said["missing"], restored.said["interrupted"]) == (2, [], [])
    as_it_was(restored, place, repo)
    # Numbers that may have been given after the backup are not given again; secrets can be read; code is there.
    restored.spell("run", "-b", "--secret", "TOKEN", "test \"$TOKEN\" = 'a value to keep'", cwd=repo, check=0)
    number = restored.spell("ps", "--json", check=0).json["runs"][-1]["id"]
    assert number == 1003
    restored.spell("wait", number, check=0)
    restored.spell("rerun", "-b", 2, check=0)
    restored.spell("wait", number + 1, check=0)
    with sqlite3.connect(restored.folder / "spell.db") as db, sqlite3.connect(place.spell_dir / "spell.db") as other:
        ids = [d.execute("SELECT value FROM meta WHERE key = 'incarnation'").fetchone()[0] for d in (db, other)]
    assert ids[0] != ids[1]
    restored.close()


def test_without_a_service(filled, repo):
    place, folder = filled, filled.root / "backup"
    place.spell("service", "stop", check=0)
    backup(place, folder)
    restored = Restored(place, folder)
    as_it_was(restored, place, repo)
    restored.close()


def test_while_runs_go_on(filled, repo):
    """A run that prints all the time: its log in the backup is a beginning of what it printed, and it is never started again."""
    place, folder = filled, filled.root / "backup"
    gate = Gate(place.work / "gate")
    number = start_run(place, f"i=0; while ! [ -e {place.work}/end ]; do echo $((i++)); done; touch {place.work}/ran-$i; {gate.waiting}")
    waiting = start_run(place, "--after", number, f"touch {place.work}/second")
    wait_for(lambda: len(output_of(place, number)) > 10_000, what="output")
    for _ in range(3):
        backup(place, folder)
    (place.work / "end").touch()
    gate.open()
    place.spell("wait", number, waiting, check=0)
    (place.work / "second").unlink()
    whole = output_of(place, number)
    restored = Restored(place, folder)
    assert len(restored.said["interrupted"]) == 2 and restored.said["missing"] == []
    kept = restored.spell("logs", number, check=0).bytes
    assert len(kept) > 10_000 and whole.startswith(kept)
    for run in (number, waiting):
        shown = restored.spell("info", run, "--json", check=0).json["run"]
        assert (shown["status"], shown["reason_code"]) == ("interrupted", "service_restored") and "spell rerun" in shown["reason"]
    restored.spell("wait", number, waiting)
    assert not (place.work / "second").exists()
    restored.close()


def test_what_is_removed_leaves_the_backup(filled, repo):
    place, folder = filled, filled.root / "backup"
    backup(place, folder)
    logs = {path.name for path in (folder / "logs").rglob("*") if path.is_file()}
    place.spell("rm", "-f", 1, check=0)
    place.spell("rm", "-f", "uploads/data", check=0)
    spelld(place, "gc", "--spare", "0")
    done = backup(place, folder).json["backup"]
    assert not logs & {path.name for path in (folder / "logs").rglob("*") if path.is_file()}
    assert not list((folder / "objects/packs").iterdir()), done
    restored = Restored(place, folder)
    assert restored.said["missing"] == [] and restored.said["runs"] == 0
    restored.close()


def test_killed_at_every_step(filled, repo):
    """The last whole backup stays whole: after each kill it is restored, and the next call finishes the new one."""
    place, folder = filled, filled.root / "backup"
    place.spell("service", "stop", check=0)
    backup(place, folder)
    place.spell("run", "-b", "echo more; seq 100 > more", cwd=repo, check=0)
    place.spell("wait", 2, check=0)
    place.spell("rm", "-f", "uploads/data", check=0)
    place.spell("service", "stop", check=0)
    spelld(place, "gc", "--spare", "0")
    whole = place.root / "before"
    shutil.copytree(folder, whole)
    (environment, kill_at), seen = killer(place.root), set()
    step = 0
    while True:
        step += 1
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
        kill_at(step)
        killed = backup(place, folder, check=None, env=environment).returncode != 0
        kill_at(None)
        restored = Restored(place, folder)
        assert restored.said["missing"] == [], step
        seen.add(restored.said["runs"])
        shutil.rmtree(restored.folder)
        if not killed:
            break
        if step % 5 == 0:
            backup(place, folder)
            assert sorted(p.name for p in folder.iterdir() if p.name.startswith("db-")) == [json.loads((folder / "backup.json").read_text())["database"]]
    assert step > 10 and seen == {1, 2}


def test_a_restore_that_is_killed(filled, repo):
    """What it was making is nowhere to be taken for data; the next attempt makes it."""
    place, folder = filled, filled.root / "backup"
    backup(place, folder)
    (environment, kill_at), data = killer(place.root), place.root / "restored"
    for step in (1, 5, 20):
        kill_at(step)
        spelld(place, "restore", folder, "--data", data, check=-signal.SIGKILL, env=environment)
        kill_at(None)
        assert not data.exists()
    restored = Restored(place, folder)
    assert not list(place.root.glob("*.restoring"))
    as_it_was(restored, place, repo)
    restored.close()


def test_what_is_damaged_or_lost_is_listed(filled, repo):
    place, folder = filled, filled.root / "backup"
    backup(place, folder)
    for path in sorted((folder / "objects/packs").iterdir()):
        os.truncate(path, path.stat().st_size // 2)
    for path in (folder / "logs").rglob("*"):
        if path.is_file():
            path.unlink()
    restored = Restored(place, folder)
    missing = "\n".join(restored.said["missing"])
    assert "runs/1" in missing and "uploads/data" in missing and "log" in missing, missing
    assert "missing: " in spelld(place, "restore", folder, "--data", place.root / "other").stdout
    database = next(folder.glob("db-*"))
    database.write_bytes(database.read_bytes()[:-100])
    refused = spelld(place, "restore", folder, "--data", place.root / "third", "--json", check=1)
    assert json.loads(refused.stderr)["error"]["code"] == "damaged" and not (place.root / "third").exists()


@pytest.mark.parametrize("what, code", [("a folder with something in it", "not_a_backup"), ("other data", "not_a_backup"),
                                        ("in the data", "invalid_request"), ("no room", "not_permitted")])
def test_where_no_backup_may_be(filled, what, code):
    place, folder = filled, filled.root / "backup"
    if what == "a folder with something in it":
        folder.mkdir()
        (folder / "letters").write_text("dear")
    elif what == "other data":
        backup(place, folder)
        record = json.loads((folder / "backup.json").read_text())
        (folder / "backup.json").write_text(json.dumps(record | {"incarnation": "0" * 32}))
    elif what == "in the data":
        folder = place.spell_dir / "backup"
    else:
        folder = pathlib.Path("/proc/1/backup")
        code = None
    before = sorted(found_below(place.root, "letters"))
    refused = backup(place, folder, check=1)
    error = json.loads(refused.stderr)["error"]
    assert refused.stderr.count("\n") == 1 and (code is None or error["code"] == code), refused
    assert sorted(found_below(place.root, "letters")) == before


def test_where_nothing_is_restored(filled):
    place, folder = filled, filled.root / "backup"
    backup(place, folder)
    for source, data, code in ((place.root / "none", place.root / "x", "not_a_backup"), (place.work, place.root / "x", "not_a_backup"),
                               (folder, place.spell_dir, "file_exists"), (folder, folder / "x", "invalid_request")):
        refused = spelld(place, "restore", source, "--data", data, "--json", check=1)
        assert json.loads(refused.stderr)["error"]["code"] == code, refused
    assert not (place.root / "x").exists()
    record = json.loads((folder / "backup.json").read_text())
    (folder / "backup.json").write_text(json.dumps(record | {"format": 99}))
    refused = spelld(place, "restore", folder, "--data", place.root / "x", "--json", check=1)
    assert json.loads(refused.stderr)["error"]["code"] == "newer_data"
