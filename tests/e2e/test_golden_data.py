"""Data of each released version opens in this one, whole; an older program refuses newer data and changes nothing."""
import json
import os
import re
import shutil
import sys
import time

import pytest

from harness import SOURCE, wait_for

sys.path.insert(0, str(SOURCE / "tests/contract"))
from database import changing  # noqa: E402

GOLDEN = sorted((SOURCE / "tests/golden").glob("v*"), key=lambda path: int(path.name[1:]))
COMMANDS = {"runs.json": ("ps", "--json", "-a", "-n", "100"), "projects.json": ("project", "list", "--json"),
            "links.json": ("link", "--json"), "repositories.json": ("repos", "--json"),
            "outputs.json": ("ls", "--json", "runs/1"), "upload.json": ("ls", "--json", "uploads/data"),
            "workflows.json": ("workflow", "list", "--json")}


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
    elif where.startswith("machines.machines[") and where.endswith(".memory"):
        assert now > 0, where  # its worker says what the computer has on which the test runs
    elif not where.endswith((".bytes", ".stored_bytes")):  # of a repository: how it is packed
        assert now == then, where


def test_all_of_it_is_there(place, golden, repo):
    for name, arguments in COMMANDS.items():
        if not (golden / name).exists():  # older than what it would show
            continue
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


TEAMS = [path for path in GOLDEN if (path / "team").exists()]
NOW = {"connected", "seen_at", "used_at", "runs", "used", "version", "disk_free", "capabilities", "notes"}  # true at one time only


def lasting(value):
    if isinstance(value, dict):
        return {name: lasting(part) for name, part in value.items() if name not in NOW}
    return [lasting(part) for part in value] if isinstance(value, list) else value


@pytest.fixture(params=TEAMS, ids=lambda path: path.name)
def golden_team(place, request):
    """What it said, and its ways in; the service runs, and so does the worker of its machine, each with a copy of its data."""
    folder = place.root / "team"
    shutil.copytree(request.param / "team", folder, symlinks=True)
    for path in folder.rglob("*"):  # Git keeps no modes
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)
    ways = json.loads((folder / "said/ways.json").read_text())
    socket = f"unix:{folder}/data/spelld.sock"
    joined = folder / "worker/joined.json"
    joined.write_text(joined.read_text().replace(ways["socket"], socket))
    service = place.start("serve", "--data", folder / "data", "--listen", "127.0.0.1:0", program="spelld")
    said = service.wait_output("listening on port", stream="stderr")
    url = "https://localhost:" + re.search(rb"listening on port (\d+)", said)[1].decode()
    # They were not written just before the machine's end, which came when a run was heard of last.
    wait_for(lambda: time.time() - max(path.lstat().st_ctime for path in (folder / "worker").rglob("*")) > 2.5, what="the copy to be of age")
    for spool in (folder / "worker").rglob("spool"):
        os.utime(spool)
    place.start("run", "--state", folder / "worker", program="spell-worker").wait_output("connected to", stream="stderr")
    return {**ways, "url": url, "socket": socket, "said": folder / "said"}


def test_a_team_with_its_people_and_machines_is_there(place, golden_team, repo):
    def spell(*arguments, **options):
        return place.spell("--service", golden_team["socket"], *arguments, **{"check": 0, **options})

    then = {path.stem: json.loads(path.read_text()) for path in golden_team["said"].glob("*.json")}
    # The machine's computer has been started anew: what its run had written is saved.
    spell("logs", "-f", 3, check=125)
    run = spell("info", "--json", 3).json["run"]
    assert (run["status"], run["reason_code"]) == ("interrupted", "host_reboot"), run
    assert "begun\n" in spell("logs", 3).stdout
    spell("cp", "runs/3/out/file", "kept")
    assert (place.work / "kept").read_text() == "kept\n"

    for name, arguments in {"users": ("user", "list"), "machines": ("machine", "list"), "types": ("machine-types",),
                            "quotas": ("quota", "list"), "projects": ("project", "list"), "outputs": ("ls", "runs/1")}.items():
        covers(lasting(spell(*arguments, "--json").json), lasting(then[name]), name)
    # What runs have cost that had ended is what they cost now.
    if "costs" in then:
        lines = [[line for line in report["costs"]["lines"] if line["name"] != "3"]
                 for report in (spell("cost", "--by", "run", "--json").json, then["costs"])]
        assert lines[0] == lines[1] and [line["name"] for line in lines[0]] == ["2", "1"]
    if "budgets" in then:
        assert spell("budget", "list", "--json").json["budgets"] == then["budgets"]["budgets"]
        assert {budget["name"]: budget["amount"] for budget in then["budgets"]["budgets"]} == {"golden": "500", "bob": "20.5"}
    # Of versions that had one owner its users are the members.
    owners = spell("owner", "list", "--json").json["owners"]
    assert "owners" not in then or owners == then["owners"]["owners"]
    assert [set(owner["members"]) for owner in owners if owner["own"]] == [{user["name"] for user in then["users"]["users"]}]
    ended = [run for run in then["runs"]["runs"] if run["id"] != 3]
    covers([run for run in spell("ps", "--json", "-a").json["runs"] if run["id"] != 3], ended, "runs")
    rows = spell("audit", "--json", "-n", 100).json["audit"]
    assert all(row in rows for row in then["audit"]["audit"])
    assert spell("logs", 1).bytes == (golden_team["said"] / "log.txt").read_bytes()

    # People come in as before, by token and by password; secrets can be used, and the machine takes runs.
    address = {"SPELL_BASE_URL": golden_team["url"], "SPELL_CERT_SHA256": golden_team["fingerprint"]}
    assert place.spell("whoami", env={**address, "SPELL_TOKEN": golden_team["token"]}, check=0).stdout.startswith("User     ada\n")
    place.spell("login", golden_team["url"], "--user", "ada", "--fingerprint", golden_team["fingerprint"], "--password-stdin",
                input=golden_team["password"] + "\n", check=0)
    place.spell("run", "-f", "-m", "big", "--secret", "TOKEN", "test \"$TOKEN\" = 'a golden value'", cwd=repo, check=0)


def test_there_is_a_folder_for_each_schema():
    text = (SOURCE / "src/store/store.hpp").read_text()
    newest = int(text.partition("schema_version = ")[2].partition(";")[0])
    assert [int(path.name[1:]) for path in GOLDEN] == list(range(2, newest + 1))


def test_newer_data_is_refused_and_left_as_it_is(place):
    shutil.copytree(GOLDEN[-1] / "data", place.spell_dir, dirs_exist_ok=True)
    database = place.spell_dir / "spell.db"
    with changing(database) as connection:
        connection.execute("PRAGMA user_version = 1000")
    before = database.read_bytes()
    refused = place.spell("ps", check=1)
    assert refused.stderr.count("\n") == 1 and "newer version of spell" in refused.stderr, refused
    assert place.spell("ps", "--json", check=1).stderr.count("newer_data") == 1
    assert database.read_bytes() == before
    assert not list(place.spell_dir.glob("spell.db.v*"))
