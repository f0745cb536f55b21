"""What nothing names any more goes, what is named stays, and what is on its way arrives; damage is found and named."""
import contextlib
import json
import os
import shutil
import socket
import sqlite3
import threading
import time

from faults import ended, info, kill_service, output_of, service, start_run
from harness import PATIENCE, wait_for
from storage import Api, Objects, text_of

KB = 1 << 10


def stored(place):
    return place.spell("status", "--json", check=0).json["service"]["storage_bytes"]


def spelld(place, *arguments):
    """The daemon's own commands: (exit status, what they print)."""
    result = place.start(*arguments, program="spelld").finish()
    return result.returncode, result.stdout + result.stderr


def reads(api, name, files):
    return all(api.read(f"uploads/{name}/{path}").body == data for path, data in files.items())


def test_a_removed_upload_frees_its_bytes_and_no_other(place):
    api = Api(place)
    shared, mine, other = (os.urandom(400 * KB) for _ in range(3))
    kept = {"shared": shared, "other": other}
    assert api.upload("gone", {"shared": shared, "mine": mine}).status == 200
    assert api.upload("kept", kept).status == 200
    before = stored(place)
    assert api.collect(spare=0)["objects"] == 0
    assert stored(place) >= before - 8 * KB and reads(api, "kept", kept)
    assert api.remove("gone").status == 200
    assert api.collect(spare=0)["objects"] > 4
    assert 380 * KB < before - stored(place) < 440 * KB
    assert api.uploads() == ["kept"] and reads(api, "kept", kept)
    # What has gone is missing, and can be sent again.
    assert api.upload("again", {"mine": mine}).status == 200
    assert reads(api, "again", {"mine": mine})
    assert spelld(place, "fsck") == (0, spelld(place, "fsck")[1])


def test_a_service_that_does_not_run_is_collected_by_the_program(place):
    api = Api(place)
    files = {"a": os.urandom(300 * KB)}
    api.upload("kept", files)
    api.upload("gone", {"b": os.urandom(300 * KB)})
    api.remove("gone")
    place.spell("service", "stop", check=0)
    status, said = spelld(place, "gc", "--spare", "0")
    assert status == 0 and "Freed" in said
    status, said = spelld(place, "gc", "--spare", "0", "--json")
    assert (status, json.loads(said)["collected"]["objects"]) == (0, 0)
    assert spelld(place, "fsck")[0] == 0
    api = Api(place)
    assert api.uploads() == ["kept"] and reads(api, "kept", files)


def test_a_removed_run_frees_its_outputs_and_its_log(place):
    number = start_run(place, "head -c 500000 /dev/urandom > out; yes | head -c 300000")
    assert ended(place, number)["status"] == "complete"
    kept = start_run(place, "echo kept > out; echo said")
    ended(place, kept)
    before = stored(place)
    place.spell("rm", "-f", number, check=0)
    api = Api(place)
    assert api.collect(spare=0)["bytes"] > 450_000
    assert before - stored(place) > 450_000
    assert not [log for log in (place.spell_dir / "logs").glob("*/*") if log.stat().st_size > 1000]
    assert api.read(f"runs/{kept}/out").body == b"kept\n"
    assert output_of(place, kept) == b"said\n"


def test_the_service_collects_by_itself_after_a_removal(place):
    api = Api(place)
    api.upload("data", {"a": os.urandom(500 * KB)})
    before = stored(place)
    assert api.upload("data", {"a": b"small"}).status == 200  # replaced is removed
    wait_for(lambda: stored(place) < before - 400 * KB, timeout=60, what="a collection")
    assert reads(api, "data", {"a": b"small"})


def test_a_removal_that_a_dead_service_did_not_get_to_is_collected_by_the_next(place):
    api = Api(place)
    api.upload("data", {"a": os.urandom(500 * KB)})
    before = stored(place)
    assert api.remove("data").status == 200
    place.spell("service", "stop", check=0)
    wait_for(lambda: stored(place) < before - 400 * KB, timeout=60, what="a collection")


def test_what_is_on_its_way_is_spared(place):
    """Between the packs of an upload and its name: a collection in between takes nothing of it, also not after a restart."""
    api = Api(place)
    objects = Objects()
    data = os.urandom(300 * KB)
    node = objects.folder({"a": data})
    assert api.send(objects).status == 200
    assert api.collect()["objects"] == 0
    place.spell("service", "stop", check=0)
    api = Api(place)
    assert api.collect()["objects"] == 0
    assert api.missing([entry[0] for entry in objects.list]) == set()
    assert api.put("data", node, len(data)).status == 200
    assert reads(api, "data", {"a": data})


def test_what_was_collected_before_it_was_named_is_asked_for_again(place):
    api = Api(place)
    objects = Objects()
    data = os.urandom(300 * KB)
    node = objects.folder({"a": data})
    assert api.send(objects).status == 200
    api.collect(spare=0)
    refused = api.put("data", node, len(data))
    assert (refused.status, refused.code) == (409, "incomplete_pack")
    assert api.uploads() == []
    names = {entry[0] for entry in objects.list}
    assert api.missing(names) == names
    assert api.send(objects, only=names).status == 200
    assert api.put("data", node, len(data)).status == 200
    assert reads(api, "data", {"a": data})


def test_uploads_and_runs_go_on_while_it_collects(place):
    """Without sparing anything, over and over: what was acknowledged is there, what was not is refused and sent again."""
    api = Api(place)
    common = os.urandom(200 * KB)
    problems, done, kept = [], threading.Event(), {}

    def upload(worker):
        for number in range(12):
            name, files = f"u{worker}-{number}", {"common": common, "own": os.urandom(50 * KB)}
            for _ in range(200):
                answer = api.upload(name, files)
                if answer.status == 200:
                    break
                if answer.code != "incomplete_pack":
                    problems.append(answer.body)
                    return
            else:
                problems.append(f"{name} never arrived")
            if number % 3 == 2:
                api.remove(name)
            else:
                kept[name] = files

    workers = [threading.Thread(target=upload, args=(n,)) for n in range(3)]
    runs = [start_run(place, f"echo {n} > out; head -c 100000 /dev/urandom > noise") for n in range(4)]
    for worker in workers:
        worker.start()
    collector = threading.Thread(target=lambda: [api.collect(spare=0) for _ in iter(done.is_set, True)])
    collector.start()
    for worker in workers:
        worker.join()
    ends = [ended(place, number) for number in runs]
    done.set()
    collector.join()
    assert not problems, problems
    assert [(run["status"], run["output_files"]) for run in ends] == [("complete", 2)] * 4, ends
    api.collect(spare=0)
    assert sorted(api.uploads()) == sorted(kept)
    for name, files in kept.items():
        assert reads(api, name, files), name
    for n, number in enumerate(runs):
        assert api.read(f"runs/{number}/out").body == f"{n}\n".encode()
        assert len(api.read(f"runs/{number}/noise").body) == 100_000
    assert spelld(place, "fsck")[0] == 0


class Rewriting:
    """A run that goes on, and writes one checkpoint again and again."""

    def __init__(self, place, repo):
        self.place = place
        place.spell("run", "-f", "-b", "while [ ! -e go ]; do sleep 0.02; done", cwd=repo, check=0)
        self.folder = wait_for(lambda: next(place.spell_dir.glob("worker/runs/*/spell"), None), what="the run's folder")
        self.sizes = iter(range(400 * KB, 800 * KB, KB))

    def save(self):
        """Another version, of another size, which is safe then: its bytes."""
        data = os.urandom(next(self.sizes))
        (self.folder / "new").write_bytes(data)
        (self.folder / "new").rename(self.folder / "checkpoint")
        listed = lambda: self.place.spell("ls", "runs/1", "--json").json or {}  # noqa: E731
        wait_for(lambda: any(entry["path"] == "checkpoint" and entry["size"] == len(data) for entry in listed().get("entries", [])),
                 what="the version to be safe")
        return data


class SlowWay:
    """A way to a place's service on which all reads of objects but the first wait until they are let through."""

    def __init__(self, place):
        self.to, self.path = str(place.spell_dir / "spelld.sock"), str(place.root / "slow.sock")
        self.reads, self.lock, self.waits, self.go = 0, threading.Lock(), threading.Event(), threading.Event()
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(self.path)
        self.server.listen()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.server.accept()
                service = socket.socket(socket.AF_UNIX)
                service.connect(self.to)
                threading.Thread(target=self.copy, args=(client, service, self.hold), daemon=True).start()
                threading.Thread(target=self.copy, args=(service, client, lambda piece: None), daemon=True).start()

    def copy(self, source, target, before):
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                before(piece)
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)

    def hold(self, piece):
        if b"/objects/read" not in piece:
            return
        with self.lock:
            self.reads += 1
            first = self.reads == 1
        if not first:
            self.waits.set()
            assert self.go.wait(PATIENCE)


def test_a_copy_of_a_run_that_goes_on_comes_to_its_end_however_slow_it_is(place, repo):
    run, api = Rewriting(place, repo), Api(place)
    began = run.save()
    way = SlowWay(place)
    copy = place.start("cp", "runs/1", "copy", env={"SPELL_BASE_URL": f"unix:{way.path}"})
    assert way.waits.wait(PATIENCE)
    # Newer versions take the place of the one that is read, and of each other: those go.
    for _ in range(3):
        run.save()
    wait_for(lambda: run.save() and api.collect()["bytes"] > 300 * KB, what="an old version to go")
    way.go.set()
    done = copy.finish()
    assert done.returncode == 0, done
    assert (place.work / "copy/checkpoint").read_bytes() == began
    (run.folder / "go").touch()
    place.spell("wait", 1, check=0)


def test_of_a_run_that_goes_on_its_last_versions_stay_and_older_ones_go(place, repo):
    """A checkpoint that is written again and again takes the room of a few versions, not of all."""
    run, api = Rewriting(place, repo), Api(place)
    folder = run.folder
    for _ in range(3):
        run.save()
    wait_for(lambda: run.save() and api.collect()["bytes"] > 300 * KB, what="an old version to go")
    newest = len(run.save())
    assert place.spell("info", 1, "--json", check=0).json["run"]["status"] == "running"
    place.spell("cp", "runs/1/checkpoint", "copy", check=0)
    assert (place.work / "copy").read_bytes() == (folder / "checkpoint").read_bytes() and newest == (place.work / "copy").stat().st_size
    (folder / "go").touch()
    place.spell("wait", 1, check=0)
    assert api.read("runs/1/checkpoint").status == 200


def test_damage_is_found_and_what_it_hurts_is_named(place):
    api = Api(place)
    api.upload("whole", {"a": os.urandom(100 * KB)})
    packs = set((place.spell_dir / "objects/packs").glob("*.pack"))
    marked = os.urandom(100 * KB)
    api.upload("hurt", {"a": marked})
    number = start_run(place, "echo fine > out")
    ended(place, number)
    place.spell("service", "stop", check=0)
    status, said = spelld(place, "fsck")
    assert status == 0 and "all is as it was written" in said, said
    pack = next(p for p in (place.spell_dir / "objects/packs").glob("*.pack") if p not in packs and marked[:1000] in p.read_bytes())
    data = bytearray(pack.read_bytes())
    at = data.index(marked[:1000]) + 500
    data[at] ^= 1
    os.chmod(pack, 0o600)
    pack.write_bytes(data)
    for running in (False, True):
        if running:
            api = Api(place)
        status, said = spelld(place, "fsck")
        assert status == 1, said
        assert "hurt: uploads/hurt" in said and pack.stem in said, said
        assert "uploads/whole" not in said and "runs/" not in said, said
        status, said = spelld(place, "fsck", "--json")
        assert status == 1 and len(json.loads(said)["check"]["hurt"]) == 1
    # It is reported, never returned.
    assert api.read("uploads/hurt/a").status == 500
    assert len(api.read("uploads/whole/a").body) == 100 * KB


def logs_of(place):
    """Files of logs, the oldest run's first."""
    return sorted((log for log in (place.spell_dir / "logs").glob("*/*") if not log.suffix), key=lambda log: log.name)


def test_a_log_that_lost_something_is_named(place):
    number = start_run(place, "yes | head -c 100000")
    ended(place, number)
    place.spell("service", "stop", check=0)
    log, = logs_of(place)
    os.truncate(log, 50_000)
    status, said = spelld(place, "fsck")
    assert status == 1 and f"hurt: runs/{number}: of its log" in said, said


def flip(path, at, bit=4):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ bit]))


def test_a_flipped_bit_in_a_log_is_found_and_never_shown(place):
    # A part of a log has at most a frame of 1 MiB more than 256 KiB.
    number = start_run(place, "seq 700000")
    other = start_run(place, "seq 700000")
    for each in (number, other):
        ended(place, each)
    place.spell("service", "stop", check=0)
    log, _ = logs_of(place)
    flip(log, 2_000_000)
    status, said = spelld(place, "fsck")
    assert status == 1 and f"hurt: runs/{number}: of its log" in said and f"runs/{other}:" not in said, said
    found = place.spell("fsck", check=1)
    assert found.stdout == said, found.stdout
    assert len(place.spell("fsck", "--json", check=1).json["check"]["hurt"]) == 1
    whole = place.spell("logs", other, check=0).stdout
    shown = place.spell("logs", number)
    assert shown.returncode == 1 and "damaged" in shown.stderr, shown.stderr
    assert whole.count("\n") == 700_000 and len(shown.stdout) > 100_000 and whole.startswith(shown.stdout)
    # What lies behind the damage is there.
    assert place.spell("logs", number, "-n", "5", check=0).stdout == whole[whole.index("699996\n"):]


def test_a_flipped_bit_in_the_database_is_found_and_never_shown(place):
    number, other = start_run(place, "echo recognisable-" + "x" * 3000), start_run(place, "echo other")
    for each in (number, other):
        ended(place, each)
    place.spell("service", "stop", check=0)
    database = place.spell_dir / "spell.db"
    flip(database, database.read_bytes().index(b"recognisable-") + 3)
    status, said = spelld(place, "fsck")
    assert status == 1 and f"damaged: the database {database}: what stands in page" in said and "(table run" in said, said
    assert "restore it from a backup (spelld restore)" in said and f"hurt: runs/{number}: what the database knows" in said, said
    assert place.spell("fsck", check=1).stdout == said
    refused = place.spell("info", number, check=1)
    assert "recog" not in refused.stdout + refused.stderr and "damaged" in refused.stderr and refused.stderr.count("\n") == 1, refused
    assert "recog" not in place.spell("ps", "-a").stdout
    # It is not in the backup as if it were whole, and what can be read is there.
    assert spelld(place, "backup", place.root / "backup")[0] == 1
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as read:
        assert read.execute("SELECT count(*) FROM run").fetchone() == (2,)


def test_a_flipped_bit_in_the_log_of_the_database_is_no_end_of_it(place):
    """SQLite alone would leave out in silence what stands behind it."""
    number = start_run(place, "true")
    ended(place, number)
    kill_service(place)
    log = place.spell_dir / "spell.db-wal"
    whole = log.read_bytes()
    assert len(whole) > 10 * 4120
    for at in (20, len(whole) // 2, len(whole) - 2000):
        log.write_bytes(whole)
        flip(log, at)
        refused = place.spell("ps", check=1)
        assert "spell.db-wal is damaged" in refused.stderr and "spelld restore" in refused.stderr and refused.stderr.count("\n") == 1, refused
        assert spelld(place, "fsck")[0] == 1
    log.write_bytes(whole)
    assert info(place, number)["status"] == "complete"


def test_projects_remove_what_they_keep_no_longer(place):
    """Neither labelled runs, nor those that go on, nor what somebody waits for."""
    place.spell("project", "create", "p", check=0)
    run = lambda *arguments: start_run(place, "-p", "p", *arguments)
    old = [run("echo x > out") for _ in range(3)]
    labelled = run("--label", "best", "echo x > out")
    other = start_run(place, "echo x > out")
    for number in (*old, labelled, other):
        ended(place, number)
    awaited = run("true")
    ended(place, awaited)
    gate = place.work / "gate"
    os.mkfifo(gate)
    active = run(f"read -r _ < {gate}")
    waiting = run("--after", f"{active},{awaited}", "true")
    newest = run("true")
    ended(place, newest)
    api = Api(place)
    edited = api.request("PATCH", api.of_owner("projects/p"), {"keep_runs": 1})
    assert (edited.status, edited.json["project"]["keep_runs"]) == (200, 1)
    listed = lambda: {run["id"] for run in place.spell("ps", "--json", "-n", "1000", check=0).json["runs"]}
    left = {labelled, other, awaited, active, waiting, newest}
    wait_for(lambda: listed() == left, what="the end of old runs")
    assert api.read(f"runs/{old[0]}/out").status == 404
    assert api.read(f"runs/{labelled}/out").body == b"x\n"
    with open(gate, "w") as pipe:
        pipe.write("go\n")
    assert place.spell("wait", waiting).returncode == 0
    # An end makes others old.
    wait_for(lambda: listed() == {labelled, other, newest} or listed() == {labelled, other, waiting} or None, what="the end of others")
    assert max(listed() - {labelled, other}) == newest, "the newest is kept"
    assert info(place, labelled)["status"] == "complete"


def test_usage(place):
    api = Api(place)
    shared, own = os.urandom(200 * KB), os.urandom(100 * KB)
    api.upload("one", {"shared": shared, "own": own, "zeros": bytes(100 * KB)})
    api.upload("two", {"shared": shared})
    number = start_run(place, "head -c 60000 /dev/urandom > out; echo 0123456789")
    ended(place, number)

    def usage(query):
        answer = api.request("GET", api.of_owner("usage" + query))
        assert answer.status == 200, answer.body
        return answer.json
    one = usage("?path=uploads/one")["usage"]
    assert (one["path"], one["bytes"], one["files"]) == ("uploads/one", 400 * KB, 3)
    assert 300 * KB < one["stored_bytes"] < 420 * KB
    both = usage("?path=uploads/")["usage"]
    assert (both["bytes"], both["files"]) == (600 * KB, 4)
    assert both["stored_bytes"] < one["stored_bytes"] + 8 * KB
    assert usage("?path=uploads/one/own")["usage"]["bytes"] == 100 * KB
    assert usage("")["usage"]["bytes"] == 600 * KB + 60_000
    by_run = usage("?by=run")
    assert [(row["name"], row["bytes"], row["files"]) for row in by_run["usage"]] == [(f"runs/{number}", 60_000, 1)]
    assert by_run["next"] is None
    kinds = {row["name"]: row for row in usage("?by=kind")["usage"]}
    assert set(kinds) == {"outputs", "uploads", "code", "logs"}
    assert (kinds["outputs"]["bytes"], kinds["uploads"]["bytes"]) == (60_000, 600 * KB)
    assert kinds["logs"]["bytes"] == 11 and kinds["logs"]["stored_bytes"] > 0
    assert api.request("GET", api.of_owner("usage?path=uploads/none")).code == "resource_not_found"
    assert api.request("GET", api.of_owner("usage?by=colour")).code == "invalid_request"
    # What a tree takes is found out once: nothing of it is read again.
    for pack in (place.spell_dir / "objects" / "packs").glob("*.pack"):
        pack.write_bytes(bytes(pack.stat().st_size))
    assert usage("?by=run") == by_run
    assert service(place)
    assert text_of(b"") == ""


# ---- the code of runs

def run_in(place, folder, *arguments):
    """The run, once it has ended."""
    return ended(place, place.spell("run", "-b", "--json", *arguments, cwd=folder, check=0).json["run"]["id"])


def code_packs(place):
    return sorted((place.spell_dir / "code").glob("*/*.git/objects/pack/*.pack"))


def test_the_code_that_only_a_removed_run_named_is_freed(place):
    repo, other = (place.make_repository(name, {"shared": name}) for name in ("repo", "other"))
    api = Api(place)
    noise = os.urandom(300 * KB)
    (repo / "big").write_bytes(noise)
    place.git("add", "big", cwd=repo)
    first = run_in(place, repo, "cat shared")["id"]  # a snapshot
    place.git("commit", "-q", "-m", "big", cwd=repo)
    second = run_in(place, repo, "cat shared")["id"]  # a commit of the same tree
    place.git("rm", "-q", "big", cwd=repo)
    third = run_in(place, repo, "cat shared")["id"]
    apart = run_in(place, other, "cat shared")["id"]
    used = lambda: sum(pack.stat().st_size for pack in code_packs(place))
    before = used()
    assert api.collect(spare=0)["code_bytes"] == 0
    place.spell("rm", "-f", first, check=0)
    assert api.collect(spare=0)["code_bytes"] < 10 * KB and used() > 300 * KB, "another run names it, too"
    place.spell("rm", "-f", second, check=0)
    collected = api.collect(spare=0)
    assert collected["code_bytes"] > 290 * KB and collected["problems"] == []
    assert used() < before - 290 * KB
    for number, said in ((third, b"repo"), (apart, b"other")):
        again = place.spell("rerun", "--json", "-b", number, check=0).json["run"]["id"]
        assert ended(place, again)["user_exit_code"] == 0 and output_of(place, again) == said
    assert spelld(place, "fsck")[0] == 0
    # What has gone can come again.
    place.git("reset", "-q", "--hard", cwd=repo)
    assert output_of(place, run_in(place, repo, "wc -c < big")["id"]) == b"%d\n" % len(noise)


def test_the_code_of_a_refused_submission_goes_and_comes_again(place):
    repo = place.make_repository()
    run_in(place, repo, "true")
    (repo / "new").write_bytes(os.urandom(100 * KB))
    place.git("add", "new", cwd=repo)
    refused = place.spell("run", "-b", "--mount", "uploads/none", "true", cwd=repo, check=1)  # its code has come by then
    assert "Cannot mount resource" in refused.stderr
    assert Api(place).collect()["code_bytes"] > 90 * KB
    assert run_in(place, repo, "test -s new")["user_exit_code"] == 0


def test_submissions_go_on_while_code_is_collected(place):
    """Without sparing anything, over and over: each run has its code, whatever others remove."""
    first = place.make_repository("w0", {"shared": "shared\n", "own": "0\n"})
    folders = [first] + [place.work / f"w{n}" for n in (1, 2)]
    for folder in folders[1:]:
        shutil.copytree(first, folder)  # the same workspace
    api, done, kept, problems = Api(place), threading.Event(), {}, []

    def submit(worker):
        try:
            for number in range(8):
                text = f"{number % 3}\n"  # what the others send and remove, too
                (folders[worker] / "own").write_text(text)
                (folders[worker] / f"more-{worker}").write_bytes(os.urandom(20 * KB))
                place.git("add", "-A", cwd=folders[worker])
                run = run_in(place, folders[worker], f"cat own shared; wc -c < more-{worker}")
                found = output_of(place, run["id"])
                if (run["status"], found) != ("complete", f"{text}shared\n{20 * KB}\n".encode()):
                    problems.append((run, found))
                if number % 3 == 0:
                    kept[run["id"]] = found
                else:
                    place.spell("rm", "-f", run["id"], check=0)
        except BaseException as error:
            problems.append(error)
            raise

    workers = [threading.Thread(target=submit, args=(n,)) for n in range(3)]
    collector = threading.Thread(target=lambda: [problems.extend(api.collect(spare=0)["problems"]) for _ in iter(done.is_set, True)])
    for thread in (*workers, collector):
        thread.start()
    for worker in workers:
        worker.join()
    done.set()
    collector.join()
    assert not problems, problems
    assert len(kept) == 9
    api.collect(spare=0)
    assert spelld(place, "fsck")[0] == 0
    again = {number: place.spell("rerun", "--json", "-b", number, check=0).json["run"]["id"] for number in kept}
    for number, rerun in again.items():
        assert ended(place, rerun)["status"] == "complete" and output_of(place, rerun) == kept[number]


def test_damaged_code_is_found_and_the_runs_that_it_hurts_are_named(place):
    repo, other = (place.make_repository(name, {"file": name * 1000}) for name in ("repo", "other"))
    hurt = [run_in(place, repo, "true")["id"] for _ in range(2)]
    packs = set(code_packs(place))
    fine = run_in(place, other, "true")["id"]
    place.spell("service", "stop", check=0)
    assert spelld(place, "fsck")[0] == 0
    pack, = packs
    good = pack.read_bytes()
    os.chmod(pack, 0o600)
    # One bit would do, but for those that zlib never looks at.
    quarter = len(good) // 4
    pack.write_bytes(good[:quarter] + bytes(2 * quarter) + good[3 * quarter:])
    status, said = spelld(place, "fsck")
    assert status == 1 and str(pack) in said, said
    assert all(f"hurt: runs/{number}: its code" in said for number in hurt) and f"runs/{fine}:" not in said, said
    # Nothing is freed where something is not whole, and it is said.
    place.spell("rm", "-f", hurt[0], check=0)
    pack.unlink()
    collected = Api(place).collect(spare=0)
    assert len(collected["problems"]) == 1 and "was not collected" in collected["problems"][0]
    # It is tried again within the hour.
    with contextlib.closing(sqlite3.connect(f"file:{place.spell_dir}/spell.db?mode=ro", uri=True)) as database:
        due = lambda: int(dict(database.execute("SELECT key, value FROM meta")).get("collect_due_us", 0))
        wait_for(lambda: time.time() < due() / 1e6 < time.time() + 3600, what="the next collection to be due")
