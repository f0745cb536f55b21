"""Uploads and copies: all of it arrives, comes back as it was, and nothing goes over the wire twice."""
import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import pytest

from faults import kill_service
from harness import Place, found_below, wait_for
from storage import Api, Objects, text_of
from test_cli_terminal import Terminal
from wire import Liar, Wire, entry

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "contract"))
from spellfs import text, varint  # noqa: E402

MiB = 1 << 20
PACK = 32 * MiB  # what is sent at once: a lost connection costs no more


def noise(size):
    return os.urandom(size)


def names(spell, path):
    return [found["path"] for found in spell("ls", "--json", path, check=0).json["entries"]]


def uploaded(result):
    assert result.returncode == 0, result
    return result.json["upload"]


def tree(folder):
    """{path: what is there}, as far as it is to come back."""
    found = {}
    for path, folders, files in os.walk(os.fsencode(folder)):
        for name in folders + files:
            full = os.path.join(path, name)
            at, stat = os.path.relpath(full, os.fsencode(folder)), os.lstat(full)
            if os.path.islink(full):
                found[at] = ("link", os.readlink(full))
            elif os.path.isdir(full):
                found[at] = ("folder", stat.st_mode & 0o777, stat.st_mtime_ns)
            else:
                with open(full, "rb") as file:
                    found[at] = ("file", stat.st_mode & 0o777, stat.st_mtime_ns, hashlib.sha256(file.read()).hexdigest())
    return found


@pytest.fixture
def data(place):
    """A folder with one of everything that comes back."""
    folder = place.work / "data"
    (folder / "deep/er").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "deep/er/random").write_bytes(noise(3_000_000))
    (folder / "deep/tool").write_text("#!/bin/sh\n")
    (folder / "deep/tool").chmod(0o751)
    (folder / "nothing").write_bytes(b"")
    (folder / "zeros").write_bytes(bytes(300_000))
    (folder / "link").symlink_to("deep/tool")
    (folder / "far").symlink_to("/etc/passwd")
    (folder / "dangling").symlink_to("../../nowhere")
    with open(folder / "sparse", "wb") as file:
        file.seek(20 * MiB)
        file.write(b"x" * 5000)
        file.truncate(50 * MiB)
    os.utime(folder / "deep/tool", ns=(1, 1_000_000_000_500_000_000))
    os.chmod(folder / "deep/er", 0o500)
    os.utime(folder / "deep", ns=(1, 1_100_000_000_000_000_000))
    yield folder
    with contextlib.suppress(FileNotFoundError):
        os.chmod(folder / "deep/er", 0o700)


@pytest.fixture
def wire(place):
    place.spell("status", check=0)
    wire = Wire(place.root / "wire", place.spell_dir / "spelld.sock")
    yield wire
    wire.close()


def interrupted(running):
    running.signal(signal.SIGINT)
    result = running.finish()
    assert result.returncode == 130 and len(result.stderr.strip().splitlines()) == 1, result
    assert "the same command" in result.stderr
    return result


# ---- what arrives

def test_a_folder_is_uploaded_and_comes_back_as_it_was(place, spell, data):
    info = uploaded(spell("upload", "--json", "data"))
    assert (info["name"], info["type"], info["files"]) == ("data", "folder", 8)
    assert info["size"] == 3_000_000 + 10 + 300_000 + 50 * MiB and info["skipped"] == []
    assert info["sent"] < 4 * MiB and info["deduplicated"] > 0  # a hole costs nothing
    spell("cp", "uploads/data", "back", check=0)
    assert tree(place.work / "back") == tree(data)
    sparse = (place.work / "back/sparse").stat()
    assert sparse.st_blocks * 512 < 2 * MiB
    assert (place.work / "back").stat().st_mtime_ns == data.stat().st_mtime_ns
    os.chmod(place.work / "back/deep/er", 0o700)


def test_what_it_says(place, spell, data):
    said = spell("upload", "data", check=0)
    assert "uploads/data: 8 files" in said.stderr and "sent" in said.stderr and said.stdout == ""
    assert "nothing new to send" in spell("upload", "data", check=0).stderr
    assert spell("upload", "-q", "data", check=0).stdout == "uploads/data\n"
    assert names(spell, "uploads") == ["data"]


def test_the_name(place, spell, data):
    for arguments, name in ((["data"], "data"), (["data/"], "data"), (["./data/."], "data"), (["data/zeros"], "zeros"),
                            (["data", "-n", "other"], "other"), (["data", "-n", "uploads/third"], "third")):
        assert uploaded(spell("upload", "--json", *arguments))["name"] == name, arguments
    assert uploaded(spell("upload", "--json", ".", cwd=data / "deep"))["name"] == "deep"
    assert set(names(spell, "uploads")) == {"data", "zeros", "other", "third", "deep"}


def test_a_single_file(place, spell, data):
    for name in ("zeros", "nothing", "sparse", "deep/tool"):
        info = uploaded(spell("upload", "--json", "-n", "one", data / name))
        assert (info["type"], info["size"], info["files"]) == ("file", (data / name).stat().st_size, 1)
        spell("cp", "-f", "uploads/one", "one", check=0)
        assert (place.work / "one").read_bytes() == (data / name).read_bytes()
        assert (place.work / "one").stat().st_mode == (data / name).stat().st_mode


@pytest.mark.parametrize("mtime", [1_700_000_000_123_456_789, 1_000_000_000_000_000_001, 1, -999_999_999])
def test_times_come_back_to_the_nanosecond_and_holes_as_holes(place, spell, data, mtime):
    """Of a file and a folder that are uploads themselves, and of a file in a folder."""
    for path in (data / "sparse", data / "deep", data):
        os.utime(path, ns=(1, mtime))
    uploaded(spell("upload", "--json", "data"))
    uploaded(spell("upload", "--json", "-n", "one", "data/sparse"))
    for resource, at in (("one", "one"), ("data/sparse", "sparse"), ("data/deep", "deep"), ("data", "all")):
        spell("cp", f"uploads/{resource}", at, check=0)
        found = os.stat(place.work / at)
        assert found.st_mtime_ns == mtime, (resource, found.st_mtime_ns)
        if resource in ("one", "data/sparse"):
            assert found.st_size == 50 * MiB and found.st_blocks * 512 < 2 * MiB
    for folder in place.work.glob("*/**/er"):
        os.chmod(folder, 0o700)


def test_a_link_that_is_named_is_followed_others_are_kept(place, spell, data):
    (place.work / "to").symlink_to("data/deep")
    uploaded(spell("upload", "--json", "to"))
    assert names(spell, "uploads/to") == ["er", "tool"]
    uploaded(spell("upload", "--json", "data"))
    found = {e["path"]: e["link_target"] for e in spell("ls", "--json", "uploads/data", check=0).json["entries"] if e["type"] == "link"}
    assert found == {"link": "deep/tool", "far": "/etc/passwd", "dangling": "../../nowhere"}


def test_an_empty_folder(place, spell):
    (place.work / "empty").mkdir()
    assert uploaded(spell("upload", "--json", "empty"))["files"] == 0
    assert names(spell, "uploads/empty") == []
    spell("cp", "uploads/empty", "back", check=0)
    assert os.listdir(place.work / "back") == []


def test_an_upload_takes_the_place_of_another(place, spell):
    (place.work / "x").write_text("first")
    spell("upload", "x", check=0)
    (place.work / "x").unlink()
    (place.work / "x").mkdir()
    (place.work / "x/y").write_text("second")
    spell("upload", "x", check=0)
    assert names(spell, "uploads") == ["x"] and names(spell, "uploads/x") == ["y"]


def test_names_that_are_odd(place, spell):
    odd = [b"new\nline", b"-rf", b"--help", b"\xff\xfe", "ä".encode(), b"x" * 255, b"a b", b"'", b"*"]
    folder = place.work / "odd"
    folder.mkdir()
    for name in odd:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(name)
    assert uploaded(spell("upload", "--json", "odd"))["files"] == len(odd)
    assert len(spell("ls", "uploads/odd", check=0).stdout.splitlines()) == len(odd)
    spell("cp", "uploads/odd", "back", check=0)
    back = tree(place.work / "back")
    for name in odd:
        assert name in back, name
    for name in (b"-rf", b"--help"):
        assert uploaded(spell("upload", "--json", "--", name.decode(), cwd=folder))["name"] == name.decode()
    refused = spell("upload", "new\nline", cwd=folder, check=1)
    assert "-n" in refused.stderr and len(refused.stderr.strip().splitlines()) == 1
    assert uploaded(spell("upload", "--json", "-n", "fine", "new\nline", cwd=folder))["name"] == "fine"


def test_what_cannot_be_uploaded_is_said_and_the_rest_is(place, spell):
    folder = place.work / "mixed"
    folder.mkdir()
    (folder / "good").write_text("good")
    os.mkfifo(folder / "fifo")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / "socket"))
    result = spell("upload", "mixed", check=1)
    assert "fifo" in result.stderr and "socket" in result.stderr and "uploads/mixed: 1 file" in result.stderr
    assert names(spell, "uploads/mixed") == ["good"]
    said = spell("upload", "--json", "mixed", check=1)
    assert len(said.json["upload"]["skipped"]) == 2
    server.close()


def test_unreadable_files_are_said(place):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    other = Place(prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"], own_programs=True)
    try:
        other.root.chmod(0o755)
        for folder in (other.spell_dir, other.home, other.work):
            os.chown(folder, 65534, 65534)
        folder = other.work / "mine"
        folder.mkdir()
        (folder / "good").write_text("good")
        (folder / "secret").write_text("secret")
        (folder / "secret").chmod(0)
        (folder / "closed").mkdir(mode=0)
        (folder / "closed").chmod(0)
        result = other.spell("upload", "mine", check=1)
        assert "secret" in result.stderr and "closed" in result.stderr and "good" not in result.stderr
        assert [e["path"] for e in other.spell("ls", "--json", "uploads/mine", check=0).json["entries"]] == ["good"]
        refused = other.spell("upload", "mine/secret", check=1)
        assert "secret" in refused.stderr and len(refused.stderr.strip().splitlines()) == 1
    finally:
        assert not other.close()


def test_a_file_that_changes_all_the_time_is_said(place, spell):
    # In memory, since a busy disk can keep a writer waiting for as long as a file is read; and large, so that writers get their turns.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as root:
        folder = pathlib.Path(root) / "busy"
        folder.mkdir()
        (folder / "still").write_text("still")
        (folder / "log").write_bytes(noise(128 * MiB))
        writers = [subprocess.Popen(["bash", "-c", 'while printf %08d $((n++)) 1<> "$0"; do :; done', folder / "log"]) for _ in range(2)]
        try:
            result = spell("upload", folder, check=1)
        finally:
            for writer in writers:
                writer.kill()
                writer.wait()
        assert "log: changed while it was read" in result.stderr and "still" not in result.stderr
        assert names(spell, "uploads/busy") == ["log", "still"]
        assert spell("upload", folder, check=0).stderr.count("\n") == 1


def test_what_is_left_out(place, spell):
    folder = place.work / "code"
    for path in (".git/config", "sub/__pycache__/x.pyc", "node_modules/a/b", "keep.txt", "a.tmp", "sub/b.tmp", "sub/kept.tmp", "logs/x"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    (folder / ".spellignore").write_text("*.tmp\n!kept.tmp\n/logs/\n")
    said = spell("upload", "code", check=0)
    assert "6 files left out" in said.stderr and "--all" in said.stderr, said
    assert names(spell, "uploads/code") == [".spellignore", "keep.txt", "sub"] and names(spell, "uploads/code/sub") == ["kept.tmp"]
    assert uploaded(spell("upload", "--json", "--all", "code"))["left_out"] == 0
    assert len(names(spell, "uploads/code")) == 7


@pytest.mark.parametrize("arguments, status, says", [
    (["upload"], 2, "needs a PATH"),
    (["upload", "a", "b"], 2, "unexpected argument"),
    (["upload", "-c", "a"], 2, "-c is not available"),
    (["upload", "nothing"], 1, "nothing"),
    (["upload", "/dev/null"], 1, "neither a file nor a folder"),
    (["upload", "-n", "", "here"], 2, "--name"),
    (["upload", "-n", "a/b", "here"], 1, "no upload"),
    (["upload", "-n", "uploads/..", "here"], 1, "-n"),
    (["upload", "-n", "runs/1", "here"], 1, "no upload"),
    (["upload", "-n", "a:b", "here"], 1, "-n"),
    (["upload", "-n", "x" * 256, "here"], 1, "-n"),
    (["rm", "-f", "uploads/none"], 1, "uploads/none"),
    (["rm", "-f", "uploads/a/b"], 1, "no upload"),
    (["rm", "-f", "runs/1"], 2, "spell rm 1"),
    (["rm", "uploads/none"], 2, "-f"),
    (["link", "a", "b", "c"], 2, "unexpected argument"),
    (["link", "none"], 1, "none"),
    (["link", "a", "uploads/none"], 1, "uploads/none"),
    (["link", "a", "../x"], 1, "../x"),
    (["unlink"], 2, "ALIAS"),
    (["unlink", "none"], 1, "none"),
    (["cp", "uploads"], 1, "more than one"),
    (["cp", "uploads/none"], 1, "uploads/none"),
    (["ls", "uploads/none"], 1, "uploads/none"),
])
def test_what_is_asked_wrongly(place, spell, arguments, status, says):
    (place.work / "here").write_text("x")
    result = spell(*arguments)
    assert result.returncode == status and says in result.stderr and result.stdout == "", result
    assert len(result.stderr.strip().splitlines()) == 1 and result.stderr.startswith("spell: "), result
    assert names(spell, "uploads") == []


# ---- nothing twice

def test_nothing_is_sent_twice(place, spell, wire):
    folder = place.work / "data"
    folder.mkdir()
    (folder / "a").write_bytes(noise(8 * MiB))
    (folder / "b").write_bytes((folder / "a").read_bytes())
    assert uploaded(spell("upload", "--json", "data", "--service", wire.address))["sent"] < 9 * MiB
    assert wire.sent < 9 * MiB
    with open(folder / "a", "r+b") as file:
        file.seek(4 * MiB)
        file.write(b"changed")
    wire.reset()
    info = uploaded(spell("upload", "--json", "data", "-n", "again", "--service", wire.address))
    assert wire.sent < 2 * MiB and info["deduplicated"] > 14 * MiB
    wire.reset()
    assert uploaded(spell("upload", "--json", "data", "--service", wire.address))["sent"] == 0
    assert wire.sent < 100_000


def test_an_unchanged_folder_is_not_read_again(place, spell, data):
    if not shutil.which("strace"):
        pytest.skip("there is no strace")
    (data / "private").write_text("private")
    os.utime(data, ns=(1, 1_000_000_000_000_000_000))
    for file in data.rglob("*"):  # what changed just now may change again within the same tick
        if not file.is_symlink() and file.is_file():
            os.utime(file, ns=(1, 1_000_000_000_000_000_000))
    time.sleep(2.1)
    spell("upload", "data", check=0)

    def opened():
        trace = place.work / "trace"
        subprocess.run(["strace", "-f", "-qq", "-e", "trace=openat,open", "-o", trace, place.programs / "spell", "upload", "data"],
                       env=place.environment, cwd=place.work, check=True, timeout=120, capture_output=True)
        return {name for name in ("random", "tool", "zeros", "sparse", "private") if re.search(f'"[^"]*{name}"', trace.read_text())}
    assert opened() == set()
    (data / "private").write_text("changed")
    assert opened() == {"private"}
    spell("rm", "-f", "uploads/data", check=0)
    spell("upload", "data", check=0)
    spell("cp", "uploads/data/private", check=0)
    assert (place.work / "private").read_text() == "changed"


@pytest.mark.parametrize("how", ["^C", "kill -9"])
def test_an_upload_that_was_interrupted_goes_on_where_it_was(place, spell, wire, how):
    size = 3 * PACK
    (place.work / "large").write_bytes(noise(size))
    wire.hold_sent = 2 * PACK
    running = place.start("upload", "large", "--service", wire.address)
    wire.held()
    if how == "^C":
        interrupted(running)
    else:
        running.signal(signal.SIGKILL)
        running.finish()
    assert names(spell, "uploads") == []
    wire.hold_sent = None
    wire.cut()
    wire.reset()
    info = uploaded(spell("upload", "--json", "large", "--service", wire.address))
    assert wire.sent < size - PACK / 2 and info["sent"] <= wire.sent
    spell("cp", "uploads/large", "back", check=0)
    assert (place.work / "back").read_bytes() == (place.work / "large").read_bytes()


def test_a_lost_connection_costs_one_pack(place, spell, wire):
    size = 3 * PACK
    (place.work / "large").write_bytes(noise(size))
    wire.hold_sent = PACK + PACK // 2
    running = place.start("upload", "--json", "large", "--service", wire.address)
    wire.held()
    wire.hold_sent = None
    wire.cut()
    uploaded(running.finish())
    assert wire.sent < size + 1.2 * PACK


def test_an_upload_survives_its_service(place, spell):
    (place.work / "large").write_bytes(noise(3 * PACK))
    running = place.start("upload", "--json", "large")
    wait_for(lambda: found_below(place.spell_dir, "*.pack"), what="a pack that has arrived")
    kill_service(place)
    uploaded(running.finish())
    spell("cp", "uploads/large", "back", check=0)
    assert (place.work / "back").read_bytes() == (place.work / "large").read_bytes()


@pytest.fixture
def stored(place, spell):
    """An upload of one large and many small files."""
    folder = place.work / "stored"
    (folder / "small").mkdir(parents=True)
    (folder / "large").write_bytes(noise(40 * MiB))
    for i in range(200):
        (folder / f"small/{i}").write_bytes(noise(5000))
    os.chmod(folder / "small", 0o510)
    spell("upload", "stored", check=0)
    os.chmod(folder / "small", 0o700)
    expected = tree(folder)
    expected[b"small"] = ("folder", 0o510, expected[b"small"][2])
    return expected


@pytest.mark.parametrize("how", ["^C", "kill -9"])
def test_a_copy_that_was_interrupted_goes_on_where_it_was(place, spell, wire, stored, how):
    wire.hold_received = 25 * MiB
    running = place.start("cp", "uploads/stored", "back", "--service", wire.address)
    wire.held()
    if how == "^C":
        interrupted(running)
    else:
        running.signal(signal.SIGKILL)
        running.finish()
    wire.hold_received = None
    wire.cut()
    wire.reset()
    spell("cp", "uploads/stored", "back", "--service", wire.address, check=0)
    assert wire.received < 41 * MiB - 20 * MiB
    assert tree(place.work / "back") == stored
    wire.reset()
    again = spell("cp", "uploads/stored", "back2", "--service", wire.address, check=0)
    assert wire.received > 40 * MiB and "here already" not in again.stderr


def test_what_is_here_is_not_fetched_again(place, spell, wire, stored):
    (place.work / "into").mkdir()
    spell("cp", "uploads/stored", "into", check=0)
    (place.work / "into/stored/small/7").unlink()
    again = spell("cp", "uploads/stored", "into", "--service", wire.address, check=0)
    assert wire.received < 200_000 and "Copied 1 file; 200 files here already" in again.stderr
    # The same size and time is not the same content.
    changed = place.work / "into/stored/small/8"
    stat = changed.stat()
    changed.write_bytes(noise(5000))
    os.utime(changed, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert "small/8 exists already" in spell("cp", "uploads/stored", "into", check=1).stderr
    assert "Copied 1 file;" in spell("cp", "-f", "uploads/stored", "into", check=0).stderr
    assert changed.read_bytes() == (place.work / "stored/small/8").read_bytes()


def test_a_part_that_was_damaged_is_fetched_anew(place, spell, wire, stored):
    wire.hold_received = 20 * MiB
    running = place.start("cp", "uploads/stored/large", "back", "--service", wire.address)
    wire.held()
    interrupted(running)
    wire.hold_received = None
    part, = place.work.glob(".spell-*.part")
    with open(part, "r+b") as file:  # as a power loss may leave it
        file.seek(MiB)
        file.write(bytes(4096))
    spell("cp", "uploads/stored/large", "back", check=0)
    assert (place.work / "back").read_bytes() == (place.work / "stored/large").read_bytes()
    assert not list(place.work.glob(".spell-*"))


def test_a_copy_survives_a_lost_connection_and_its_service(place, spell, wire, stored):
    wire.hold_received = 10 * MiB
    running = place.start("cp", "uploads/stored", "back", "--service", wire.address)
    wire.held()
    wire.hold_received = None
    wire.cut()
    assert running.finish().returncode == 0
    assert tree(place.work / "back") == stored
    assert wire.received < 60 * MiB
    running = place.start("cp", "uploads/stored", "second")
    wait_for(lambda: list((place.work / "second").glob(".spell-*")) or running.process.poll() is not None, what="a file half here")
    kill_service(place)
    assert running.finish().returncode == 0
    assert tree(place.work / "second") == stored


def test_two_copies_at_once_do_not_hurt_each_other(place, spell, stored):
    (place.work / "back").mkdir()
    both = [place.start("cp", "-f", "uploads/stored", "back") for _ in range(2)]
    assert [copy.finish().returncode for copy in both] == [0, 0]
    assert {path: what for path, what in tree(place.work / "back/stored").items() if what[0] == "file"} == \
        {path: what for path, what in stored.items() if what[0] == "file"}
    assert not list(place.work.rglob(".spell-*"))


# ---- a service that lies

@pytest.fixture
def version(spell):
    return spell("--version", check=0).stdout.split()[1]


def folder_entry(name, node, depth):
    return b"\x02" + text(name) + varint(0o755) + bytes(8) + varint(0) + varint(0) + varint(depth) + node + b"\x00"


def link_entry(name, target):
    return b"\x03" + text(name) + varint(0o777) + bytes(8) + text(target) + b"\x00"


def folder_of(objects, *entries):
    return objects.add(b"t", b"\x01\x00" + varint(len(entries)) + b"".join(entries))


@pytest.fixture
def copy_of(place, spell, version):
    """What `cp` says of a tree as no Spell would write it: one line."""
    def copied(objects, node):
        liar = Liar(place.root / "liar", version, {"runs/1": []}, nodes={"runs/1": text_of(node)}, objects=objects)
        refused = spell("cp", "runs/1", "back", "--service", liar.address, check=1)
        liar.close()
        assert len(refused.stderr.strip().splitlines()) == 1
        return refused.stderr
    return copied


@pytest.mark.parametrize("name", ["../evil", "..", ".", "", "a/b", "/tmp/spell-evil", "x\0y"])
def test_no_name_leads_out_of_the_destination(place, copy_of, name):
    objects = Objects()
    copy_of(objects, objects.folder({"good": b"good", name: b"evil"}))
    assert not (place.work / "evil").exists() and not os.path.exists("/tmp/spell-evil")


def test_no_link_is_followed_on_the_way(place, copy_of):
    outside = place.root / "outside"
    outside.mkdir()
    objects = Objects()
    inner = objects.folder({"f": b"evil"})
    copy_of(objects, folder_of(objects, link_entry(b"x", os.fsencode(outside)), folder_entry(b"x", inner, 1)))
    assert os.listdir(outside) == []


def test_folders_that_are_deeper_than_they_say(copy_of):
    objects = Objects()
    node = objects.folder({})
    for depth in range(1, 400):
        node = folder_of(objects, folder_entry(b"d", node, min(depth, 255)))
    copy_of(objects, node)


def test_another_file_than_was_named_is_refused(copy_of):
    class Swapped(Objects):
        def pack(self, only=None):
            honest = self.list
            self.list = [(name, kind, b"evil" if data == b"good" else data) for name, kind, data in honest]
            try:
                return super().pack(only)
            finally:
                self.list = honest
    objects = Swapped()
    assert "is damaged" in copy_of(objects, objects.folder({"file": b"good"}))


# ---- lists

def test_the_first_lines_come_before_the_last_are_asked_for(place, spell, version):
    gate = threading.Event()
    liar = Liar(place.root / "liar", version, {"uploads/big": [entry(f"{i:06}", "file", i) for i in range(20_000)]}, page=5000, gate=gate)
    running = place.start("ls", "uploads/big", "--service", liar.address)
    running.wait_output("000100")
    gate.set()
    lines = running.finish().stdout.splitlines()
    liar.close()
    assert len(lines) == 20_000 and [line.split()[-1] for line in lines] == [f"{i:06}" for i in range(20_000)]


def test_a_large_folder_is_listed_whole(place, spell):
    folder = place.work / "many"
    folder.mkdir()
    expected = [f"{i:06}" for i in range(100_000)]
    for name in expected:
        os.close(os.open(folder / name, os.O_CREAT | os.O_WRONLY))
    spell("upload", "many", check=0)
    assert names(spell, "uploads/many") == expected
    assert spell("ls", "-q", "uploads/many", check=0).stdout.split() == expected
    # By pages: none holds all of it, and the next begins behind the last.
    api = Api(place)
    page = api.request("GET", api.of_owner("resources/uploads/many?limit=10000&after=049999")).json
    assert [entry["path"] for entry in page["entries"]] == expected[50_000:60_000] and page["next"] == "059999"


# ---- room

def test_du(place, spell, repo, data):
    spell("upload", "data", check=0)
    spell("upload", "-n", "same", "data", check=0)
    spell("run", "-f", "head -c 100000 /dev/urandom > out; cp out again", cwd=repo, check=0)
    one = spell("du", "--json", "uploads/data", check=0).json["usage"]
    assert one["path"] == "uploads/data" and one["files"] == 8 and one["bytes"] == 3_000_000 + 10 + 300_000 + 50 * MiB
    assert 3_000_000 < one["stored_bytes"] < 3_200_000  # a hole, and zeros, take no room
    run = spell("du", "--json", "runs/1", check=0).json["usage"]
    assert (run["bytes"], run["files"]) == (200_000, 2) and 100_000 < run["stored_bytes"] < 110_000
    kinds = {row["name"]: row for row in spell("du", "--json", check=0).json["usage"]}
    assert kinds["uploads"]["bytes"] == 2 * one["bytes"] and kinds["uploads"]["stored_bytes"] < 1.1 * one["stored_bytes"]
    runs = spell("du", "--json", "--by", "run", check=0).json["usage"]
    assert [(row["name"], row["bytes"]) for row in runs] == [("runs/1", 200_000)]
    shown = spell("du", "-h", "uploads/data", "runs/1", check=0).stdout
    assert [line.split()[-1] for line in shown.splitlines()] == ["NAME", "uploads/data", "runs/1"] and "53.1 MiB" in shown
    assert "uploads" in spell("du", check=0).stdout
    for arguments, status, says in ((["--by", "size"], 2, "run or kind"), (["--by", "run", "runs/1"], 2, "--by"),
                                    (["runs/9"], 1, "runs/9"), (["a//b"], 1, "a//b")):
        refused = spell("du", *arguments, check=status)
        assert says in refused.stderr and len(refused.stderr.strip().splitlines()) == 1


def test_how_long_a_project_keeps_its_runs(place, spell):
    spell("project", "create", "p", check=0)
    shown = spell("project", "edit", "p", "--keep-days", 30, "--keep-runs", 5, check=0).stdout
    assert "30 days" in shown and "5 runs" in shown
    project = spell("project", "edit", "p", "--keep-days", 0, "--json", check=0).json["project"]
    assert (project["keep_days"], project["keep_runs"]) == (0, 5)
    for wrong in ("-1", "x", "1.5", "99999999999"):
        refused = spell("project", "edit", "p", f"--keep-runs={wrong}")
        assert refused.returncode in (1, 2) and len(refused.stderr.strip().splitlines()) == 1, refused
    assert spell("project", "get", "p", "--json", check=0).json["project"]["keep_runs"] == 5


# ---- names, removal

def test_links(place, spell, data):
    spell("upload", "data", check=0)
    assert "best is uploads/data/deep" in spell("link", "best", "uploads/data/deep", check=0).stdout
    assert spell("link", "best", check=0).stdout == "uploads/data/deep\n"
    assert spell("link", "--json", check=0).json["links"][0]["resource"] == "uploads/data/deep"
    assert names(spell, "best") == ["er", "tool"] and names(spell, "best/er") == ["random"]
    spell("cp", "best/tool", check=0)
    assert (place.work / "tool").read_text() == "#!/bin/sh\n"
    spell("cp", "best", check=0)
    assert (place.work / "best/tool").exists()
    os.chmod(place.work / "best/er", 0o700)
    spell("link", "best", "uploads/data", check=0)
    assert "deep" in names(spell, "best")
    for taken in ("runs", "uploads", "public", "s3"):
        assert taken in spell("link", taken, "uploads/data", check=1).stderr
    spell("unlink", "best", check=0)
    assert spell("link", "-q", check=0).stdout == "" and "tool" in names(spell, "uploads/data/deep")
    assert spell("ls", "best").returncode == 1


def test_rm_asks(place, spell, data):
    spell("upload", "data", check=0)
    for answer, left in (("n", ["data"]), ("y", [])):
        terminal = Terminal(place, "rm", "uploads/data", cwd=place.work)
        terminal.wait_for("uploads/data for good? [y/N]")
        terminal.type(answer + "\n")
        terminal.finish()
        assert names(spell, "uploads") == left
    spell("upload", "data", check=0)
    assert "uploads/data deleted" in spell("rm", "-f", "uploads/data", check=0).stdout
    assert spell("upload", "data").returncode == 0  # and can come again


def test_a_bar_on_a_terminal(place, spell, wire):
    (place.work / "large").write_bytes(noise(2 * PACK))
    wire.hold_sent = 1
    terminal = Terminal(place, "upload", "large", "--service", wire.address, cwd=place.work, columns=100)
    wire.held()
    time.sleep(1.1)  # a bar is for what takes longer than a second
    wire.hold_sent = None
    assert terminal.finish() == 0
    assert b" of 64.0 MiB" in terminal.bytes and b"/s" in terminal.bytes
    assert "Uploaded uploads/large" in "".join(terminal.screen)
