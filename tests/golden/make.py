#!/usr/bin/python3
"""Makes the golden data folder of a version: what its service leaves on disk, and what it said of it.

    tests/golden/make.py BUILD     # the programs of that version are in BUILD/bin

The folder's name is that of the schema. It is made once, when the version is released, and never again: later versions must open it.

    vN/data       of a personal service; vN/said: what it said
    vN/team/data  of a team's service; vN/team/worker: of its machine box, whose computer lost power in the middle of run 3
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
KEPT = ("spell.db", "objects/packs", "logs", "code", "keys", "spelld.toml")
COMMANDS = {"runs.json": ("ps", "--json", "-a", "-n", "100"), "projects.json": ("project", "list", "--json"),
            "links.json": ("link", "--json"), "repositories.json": ("repos", "--json"),
            "outputs.json": ("ls", "--json", "runs/1"), "upload.json": ("ls", "--json", "uploads/data"),
            "workflows.json": ("workflow", "list", "--json"), "log.txt": ("logs", "1"), "file.txt": ("cp", "-f", "runs/1/out/result", "copied")}
TEAM_COMMANDS = {"users.json": ("user", "list", "--json"), "machines.json": ("machine", "list", "--json"),
                 "owners.json": ("owner", "list", "--json"),
                 "types.json": ("machine-types", "--json"), "quotas.json": ("quota", "list", "--json"), "budgets.json": ("budget", "list", "--json"),
                 "audit.json": ("audit", "--json"), "costs.json": ("cost", "--by", "run", "--json"), "runs.json": ("ps", "--json", "-a"), "projects.json": ("project", "list", "--json"),
                 "outputs.json": ("ls", "--json", "runs/1"), "log.txt": ("logs", "1")}


def world(folder, environment):
    """Something of everything that a service keeps."""
    def spell(*arguments, **options):
        return subprocess.run(["spell", *arguments], env=environment, cwd=folder / "repo", check=True, capture_output=True, **options).stdout

    (folder / "repo").mkdir()
    for line in ("init -q -b main", "-c user.name=Ada -c user.email=ada@example.org commit -q --allow-empty -m first"):
        subprocess.run(["git", *line.split()], cwd=folder / "repo", env=environment, check=True)
    (folder / "repo/hello.txt").write_text("hello\n")
    for line in ("add .", "-c user.name=Ada -c user.email=ada@example.org commit -q -m second"):
        subprocess.run(["git", *line.split()], cwd=folder / "repo", env=environment, check=True)
    (folder / "repo/data").mkdir()
    (folder / "repo/data/table").write_text("1 2 3\n" * 100)
    spell("project", "create", "golden", "-d", "for later versions")
    spell("run", "-f", "-p", "golden", "--label", "kept", "-e", "SEED=1",
          "cat hello.txt; printf 'bytes \\377\\000\\n'; mkdir out; echo $SEED > out/result; ln -s result out/link")
    subprocess.run(["spell", "run", "-f", "exit 3"], env=environment, cwd=folder / "repo", capture_output=True)
    spell("upload", "data", "-n", "data")
    spell("link", "best", "runs/1/out")
    spell("run", "-f", "--mount", "runs/1/out:in", "--mount", "uploads/data", "--after", "1", "cat in/result data/table | tail -n 3")
    if b"secret" in subprocess.run(["spell", "--help"], env=environment, capture_output=True).stdout:
        spell("secret", "set", "TOKEN", input=b"a golden value")
        spell("run", "-f", "--secret", "TOKEN", "echo $TOKEN")
    spell("workflow", "create", "-d", "a run manages it", "echo managed")
    spell("workflow", "create", "--local", "--repo", "golden=.", "spell run -f --key child --commit-label golden 'cat hello.txt'")
    for name, arguments in COMMANDS.items():
        out = spell(*arguments)
        (folder / name).write_bytes((folder / "repo/copied").read_bytes() if name == "file.txt" else out)


def team_world(build, golden):
    os.environ["SPELL_BUILD"] = str(build)
    sys.path.insert(0, str(HERE.parent / "e2e"))
    from harness import Place
    from machines import Machine, spell
    from team import PASSWORD, Team
    place = Place()
    with contextlib.ExitStack() as ending:
        ending.callback(place.close)
        team = Team(place)
        team.add_user("bob")
        team.add_user("vera", "viewer")
        spell(team, "user", "disable", "vera", check=0)
        spell(team, "owner", "add", "lab", "-m", "bob", check=0)
        spell(team, "machine-type", "add", "--name", "big", "--cpus", "1", "--memory", "1G", "--price", "1.5", check=0)
        if "--pool " in spell(team, "machine-type", "add", "--help", check=0).stdout:
            spell(team, "machine-type", "add", "spot", "--spot", "--pool", "local", "--pool-option", "cores=1", "--max-machines", "0", check=0)
        spell(team, "quota", "set", "bob", "--runs", "2", check=0)
        spell(team, "project", "create", "golden", "-d", "for later versions", check=0)
        spell(team, "budget", "set", "--project", "golden", "500", check=0)
        spell(team, "budget", "set", "--user", "bob", "20.5", "--per", "month", check=0)
        # By its socket: no certificate that ends one day.
        box = Machine(team, "box", "--serves", "big", "--memory", "4G", start=False)
        assert box.join(url=team.socket).returncode == 0
        box.start()
        token = team.spell("access-tokens", "create", "ci", check=0).stdout.strip()
        team.spell("secret", "set", "TOKEN", input="a golden value", check=0)
        repo = place.make_repository()
        team.spell("run", "-f", "-m", "box", "-p", "golden", "--label", "kept", "--secret", "TOKEN",
                   "cat hello.txt; echo $TOKEN; mkdir out; echo result > out/file", cwd=repo, check=0)
        team.spell("run", "-f", "-m", "big", "exit 3", cwd=repo, check=3)
        team.spell("run", "-f", "-b", "-m", "box", "mkdir out; echo kept > out/file; echo begun; exec sleep 1000", cwd=repo, check=0)
        place.start("--service", team.socket, "logs", "-f", "3").wait_output("begun")
        (golden / "said").mkdir(parents=True)
        for name, arguments in TEAM_COMMANDS.items():
            (golden / "said" / name).write_bytes(spell(team, *arguments, check=0).bytes)
        (golden / "said/ways.json").write_text(json.dumps({"token": token, "password": PASSWORD, "fingerprint": team.fingerprint,
                                                           "socket": team.socket}) + "\n")
        team.stop()
        box.kill()
        for pid in box.supervisors():
            os.kill(pid, signal.SIGKILL)
        keep(team.data, golden / "data", KEPT)
        keep(box.folder, golden / "worker", ("joined.json", "worker.toml", "worker/runs", "worker/code", "worker/trees"))
        for lock in (golden / "worker").glob("worker/runs/*/lock"):  # of a computer that has been started anew since
            lock.write_bytes(re.sub(rb"boot=[0-9a-f-]{36}", b"boot=" + b"0" * 36, lock.read_bytes()))


def schema_of(database):
    """Of a service that has ended: all of it stands in one file then."""
    assert not list(database.parent.glob(database.name + "-*")), f"{database} is in use"
    with contextlib.closing(sqlite3.connect(f"file:{database}?immutable=1", uri=True)) as opened:
        return opened.execute("PRAGMA user_version").fetchone()[0]


def keep(folder, target, parts):
    special = lambda here, names: [name for name in names if not (pathlib.Path(here, name).is_file() or pathlib.Path(here, name).is_dir())]
    for part in parts:
        if (folder / part).is_dir():
            shutil.copytree(folder / part, target / part, ignore=special, symlinks=True)
        elif (folder / part).is_file():
            (target / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / part, target / part)


def main(build):
    with tempfile.TemporaryDirectory(prefix="spell-golden-") as scratch:
        scratch = pathlib.Path(scratch)
        home = scratch / "d"
        home.mkdir(mode=0o700)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("SPELL_", "GIT_", "XDG_"))}
        environment.update(SPELL_DIR=str(home), HOME=str(scratch), PATH=f"{build}/bin:/usr/bin:/bin", LANG="C.UTF-8")
        world(scratch, environment)
        owner = json.loads(subprocess.run(["spell", "status", "--json"], env=environment, check=True, capture_output=True).stdout)
        subprocess.run(["spell", "service", "stop"], env=environment, check=True, capture_output=True)
        golden = HERE / f"v{schema_of(home / 'spell.db')}"
        shutil.rmtree(golden, ignore_errors=True)
        keep(home, golden / "data", KEPT)
        (golden / "said").mkdir()
        for name in COMMANDS:
            shutil.copy(scratch / name, golden / "said" / name)
        (golden / "said/status.json").write_text(json.dumps({"owner": owner["service"]["owner"], "version": owner["service"]["version"]}) + "\n")
        team_world(build, golden / "team")
        files = [path for path in golden.rglob("*") if path.is_file()]
        print(f"{golden}: {len(files)} files, {sum(path.stat().st_size for path in files)} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]).resolve())
