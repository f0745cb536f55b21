"""Data of each released version opens in this one, whole; an older program refuses newer data and changes nothing."""
import json
import shutil
import sqlite3

import pytest

from harness import SOURCE

GOLDEN = sorted((SOURCE / "tests/golden").glob("v*"), key=lambda path: int(path.name[1:]))
COMMANDS = {"runs.json": ("ps", "--json", "-a", "-n", "100"), "projects.json": ("project", "list", "--json"),
            "links.json": ("link", "--json"), "repositories.json": ("repos", "--json"),
            "outputs.json": ("ls", "--json", "runs/1"), "upload.json": ("ls", "--json", "uploads/data")}


@pytest.fixture(params=GOLDEN, ids=lambda path: path.name)
def golden(place, request):
    shutil.copytree(request.param / "data", place.spell_dir, dirs_exist_ok=True)
    said = request.param / "said"
    owner = json.loads((said / "status.json").read_text())["owner"]
    mine = place.spell("status", "--json", check=0).json["service"]["owner"]
    if owner != mine:
        pytest.skip(f"the folder's owner is {owner}, here it is {mine}")
    return said


def covers(now, then, where=""):
    """All that was said then is said now; more may be said."""
    if isinstance(then, dict):
        for name, value in then.items():
            assert name in now, f"{where}.{name} is gone"
            covers(now[name], value, f"{where}.{name}")
    elif isinstance(then, list):
        assert len(now) == len(then), where
        for index, (new, old) in enumerate(zip(now, then)):
            covers(new, old, f"{where}[{index}]")
    elif not where.endswith((".bytes", ".stored_bytes")):  # of a repository: how it is packed
        assert now == then, where


def test_all_of_it_is_there(place, golden, repo):
    for name, arguments in COMMANDS.items():
        covers(place.spell(*arguments, check=0).json, json.loads((golden / name).read_text()), name)
    assert place.spell("logs", "1", check=0).bytes == (golden / "log.txt").read_bytes()
    place.spell("cp", "runs/1/out/result", "copied", check=0)
    assert (place.work / "copied").read_bytes() == (golden / "file.txt").read_bytes()
    # It can be used: mounted, run again, written to.
    last = max(run["id"] for run in json.loads((golden / "runs.json").read_text())["runs"])
    place.spell("run", "-b", "--mount", "best:in", "--mount", "uploads/data", "cat in/result data/table", cwd=repo, check=0)
    place.spell("rerun", "-b", 1, check=0)
    place.spell("wait", last + 1, last + 2, check=0)
    assert place.spell("logs", last + 1, check=0).stdout.startswith("1\n1 2 3\n")
    if (golden.parent / "data/keys").exists():
        place.spell("run", "-b", "--secret", "TOKEN", "test \"$TOKEN\" = 'a golden value'", cwd=repo, check=0)
        place.spell("wait", last + 3, check=0)
    place.spell("service", "stop", check=0)
    checked = place.start("fsck", program="spelld").finish()
    assert checked.returncode == 0 and "all is as it was written" in checked.stdout, checked


def test_there_is_a_folder_for_each_schema():
    text = (SOURCE / "src/store/store.hpp").read_text()
    newest = int(text.partition("schema_version = ")[2].partition(";")[0])
    assert GOLDEN and int(GOLDEN[-1].name[1:]) <= newest


def test_newer_data_is_refused_and_left_as_it_is(place):
    shutil.copytree(GOLDEN[-1] / "data", place.spell_dir, dirs_exist_ok=True)
    database = place.spell_dir / "spell.db"
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA user_version = 1000")
    connection.close()
    before = database.read_bytes()
    refused = place.spell("ps", check=1)
    assert refused.stderr.count("\n") == 1 and "newer version of spell" in refused.stderr, refused
    assert place.spell("ps", "--json", check=1).stderr.count("newer_data") == 1
    assert database.read_bytes() == before
    assert not list(place.spell_dir.glob("spell.db.v*"))
