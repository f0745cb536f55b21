#!/usr/bin/python3
"""Makes the golden data folder of a version: what its service leaves on disk, and what it said of it.

    tests/golden/make.py BUILD     # the programs of that version are in BUILD/bin

The folder's name is that of the schema. It is made once, when the version is released, and never again: later versions must open it.
"""
import json
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
KEPT = ("spell.db", "objects/packs", "logs", "code", "keys", "spelld.toml")
COMMANDS = {"runs.json": ("ps", "--json", "-a", "-n", "100"), "projects.json": ("project", "list", "--json"),
            "links.json": ("link", "--json"), "repositories.json": ("repos", "--json"),
            "outputs.json": ("ls", "--json", "runs/1"), "upload.json": ("ls", "--json", "uploads/data"),
            "log.txt": ("logs", "1"), "file.txt": ("cp", "-f", "runs/1/out/result", "copied")}


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
    for name, arguments in COMMANDS.items():
        out = spell(*arguments)
        (folder / name).write_bytes((folder / "repo/copied").read_bytes() if name == "file.txt" else out)


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
        with sqlite3.connect(home / "spell.db") as database:
            database.execute("PRAGMA journal_mode = DELETE")
            schema = database.execute("PRAGMA user_version").fetchone()[0]
        database.close()
        golden = HERE / f"v{schema}"
        shutil.rmtree(golden, ignore_errors=True)
        for part in KEPT:
            if (home / part).is_dir():
                shutil.copytree(home / part, golden / "data" / part)
            elif (home / part).exists():
                (golden / "data" / part).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(home / part, golden / "data" / part)
        (golden / "said").mkdir()
        for name in COMMANDS:
            shutil.copy(scratch / name, golden / "said" / name)
        (golden / "said/status.json").write_text(json.dumps({"owner": owner["service"]["owner"], "version": owner["service"]["version"]}) + "\n")
        # Git keeps no empty folders, and takes nested repositories for its own.
        files = [path for path in (golden / "data").rglob("*") if path.is_file()]
        print(f"{golden}: {len(files)} files, {sum(path.stat().st_size for path in files)} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]).resolve())
