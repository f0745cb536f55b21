"""A disk that is full under the service: what cannot be kept is refused, nothing that was promised is lost, and all goes on."""
import hashlib
import os
import pathlib
import subprocess

import pytest

from faults import Gate, await_gone, ended, info, kill_service, lines, output_of, printing, run_folders, same_bytes, service, start_run, \
    the_supervisor
from harness import processes_of, wait_for, wait_gone
from storage import Api, Objects


class SmallDisk:
    """A file system of its own below SPELL_DIR, and a file that takes all the room."""

    def __init__(self, folder):
        self.folder, self.filler = folder, folder / "filler"

    def fill(self):
        with open(self.filler, "ab", buffering=0) as file:
            piece = b"x" * (1 << 20)
            while piece:
                try:
                    if file.write(piece) < len(piece):
                        raise OSError
                except OSError:
                    piece = piece[:len(piece) // 2]

    def free(self):
        self.filler.unlink(missing_ok=True)


@pytest.fixture
def disk(place):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "none", place.spell_dir], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"needs root for a small disk: {mounted.stderr.strip()}")
    disk = SmallDisk(place.spell_dir)
    yield disk
    disk.free()
    problems = place._stop_service()
    subprocess.run(["umount", "-l", place.spell_dir], check=True)
    assert not problems, problems


def test_a_cache_that_nobody_uses_goes_before_anything_is_refused_for_long(place, disk, repo):
    data = place.root / "data"
    data.mkdir()
    (data / "noise").write_bytes(os.urandom(6 << 20))
    place.spell("upload", data, check=0)
    place.spell("run", "--mount", "uploads/data", "test -s data/noise", cwd=repo, check=0)
    trees = place.spell_dir / "worker" / "trees"
    assert any(trees.iterdir())
    disk.fill()
    # Whoever asks is told that the disk is full once at the most; nobody has removed anything.
    wait_for(lambda: place.spell("run", "echo there", cwd=repo).stdout == "there\n")
    assert not any(trees.iterdir())


def test_submissions_are_refused_until_there_is_room(place, disk, repo):
    assert place.spell("run", "echo first", cwd=repo, check=0).stdout == "first\n"
    before = service(place)
    (repo / "big").write_bytes(os.urandom(3 << 20))
    place.git("add", "big", cwd=repo)
    place.git("commit", "-q", "-m", "big", cwd=repo)
    disk.fill()
    for _ in range(3):
        refused = place.spell("run", "--json", "echo never > never", cwd=repo, check=1)
        assert '"disk_full"' in refused.stderr, refused
    refused = place.spell("run", "echo never", cwd=repo, check=1)
    assert len([line for line in refused.stderr.strip().splitlines() if "warning" not in line]) == 1, refused
    assert service(place) == before
    # What was promised is still there, and is still read.
    assert output_of(place, 1) == b"first\n"
    assert [run["id"] for run in place.spell("ps", "--json", check=0).json["runs"]] == [1]
    disk.free()
    assert place.spell("run", "wc -c < big", cwd=repo, check=0).stdout == f"{3 << 20}\n"
    assert [run["id"] for run in place.spell("ps", "--json", check=0).json["runs"]] == [1, 2]
    assert service(place) == before


def test_small_submissions_on_a_full_disk(place, disk):
    """Each is refused or carried out; whichever, the answer is true."""
    place.spell("status", check=0)
    before = service(place)
    disk.fill()
    done, refused = [], 0
    for i in range(20):
        result = place.spell("run", "-f", "-b", "--json", "-d", "x" * 4000, f"echo {i} >> {place.work}/done")
        if result.returncode == 0:
            done.append((result.json["run"]["id"], i))
        else:
            refused += 1
            assert result.returncode == 1 and '"disk_full"' in result.stderr, result
    assert refused, "the disk was not full"
    disk.free()
    for number, _ in done:
        assert ended(place, number)["status"] in ("complete", "build_failed", "failed"), info(place, number)
    complete = [i for number, i in done if info(place, number)["status"] == "complete"]
    ran = [int(line) for line in (place.work / "done").read_text().split()] if (place.work / "done").exists() else []
    assert sorted(ran) == complete
    assert place.spell("run", "-f", "echo again", check=0).stdout == "again\n"
    assert [run["id"] for run in place.spell("ps", "--json", check=0).json["runs"]] == list(range(1, len(done) + 2))
    assert service(place) == before


def waits_to_write(mark):
    """Whether a process of the run is inside write(1, …): all of its pipe is full."""
    for pid in processes_of(mark):
        try:
            if pathlib.Path(f"/proc/{pid}/syscall").read_text().startswith("1 0x1 "):
                return True
        except OSError:
            continue
    return False


def test_output_waits_for_room_and_no_byte_is_dropped(place, disk):
    """The command stands still while the disk is full, and goes on when there is room."""
    gate, mark, count = Gate(place.work / "gate"), place.root / "mark", 60_000
    number = start_run(place, "-e", f"MARK={mark}", f"echo begin; {gate.waiting}; {printing(count)}; echo end")
    following = place.start("logs", "-f", number)
    following.wait_output("begin\n")
    before = service(place)
    disk.fill()
    gate.open()
    wait_for(lambda: waits_to_write(mark), what="a command that waits")
    disk.free()
    result = following.finish()
    assert result.returncode == 0, result.stderr
    assert same_bytes(result.bytes, b"begin\n" + lines(count) + b"end\n")
    assert ended(place, number)["status"] == "complete"
    assert same_bytes(output_of(place, number), result.bytes)
    assert service(place) == before


def test_a_service_that_is_killed_on_a_full_disk(place, disk):
    """It comes back there, or says in one line why not; with room again all is as it was."""
    gate = Gate(place.work / "gate")
    number = start_run(place, f"echo begin; {gate.waiting}; echo end; exit 3")
    place.start("logs", "-f", number).wait_output("begin\n")
    supervisor = the_supervisor(place)
    disk.fill()
    kill_service(place)
    result = place.spell("ps", "--json")
    if result.returncode == 0:
        assert [run["id"] for run in result.json["runs"]] == [number]
    else:
        assert result.returncode == 1 and "disk_full" in result.stderr, result
    assert the_supervisor(place) == supervisor
    disk.free()
    gate.open()
    run = ended(place, number)
    assert (run["status"], run["user_exit_code"]) == ("complete", 3), run
    assert output_of(place, number) == b"begin\nend\n"


def test_an_end_that_finds_no_room_is_kept_until_there_is_some(place, disk):
    """What cannot be stored now is stored later; the run's folder goes only then."""
    gate, mark = Gate(place.work / "gate"), place.root / "mark"
    number = start_run(place, "-e", f"MARK={mark}", f"echo begin; echo kept > out; {gate.waiting}; echo end; exit 3")
    place.start("logs", "-f", number).wait_output("begin\n")
    before = service(place)
    disk.fill()
    gate.open()
    assert not await_gone(mark)
    disk.free()
    run = ended(place, number)
    assert (run["status"], run["user_exit_code"], run["output_files"]) == ("complete", 3, 1), run
    assert output_of(place, number) == b"begin\nend\n"
    wait_for(lambda: not run_folders(place), what="the end of the folder")
    assert service(place) == before


def refused_run(place):
    """Whether a submission is refused for want of room."""
    result = place.spell("run", "-f", "-b", "--json", "true")
    assert result.returncode in (0, 1), result
    if result.returncode == 1:
        assert '"disk_full"' in result.stderr, result
    return result.returncode == 1


def await_room(place):
    """Until new work is taken again, which nobody but the service decides."""
    wait_for(lambda: (place.spell_dir / "reserve").exists() and not refused_run(place), timeout=60, what="room")
    assert (place.spell_dir / "reserve").stat().st_blocks * 512 >= 1 << 20


def test_the_reserve_is_given_up_for_statuses_and_made_anew(place, disk):
    gate = Gate(place.work / "gate")
    active = start_run(place, gate.waiting)
    waiting = [start_run(place, "--after", active, "true") for _ in range(20)]
    before = service(place)
    assert (place.spell_dir / "reserve").stat().st_blocks * 512 >= 1 << 20
    disk.fill()
    for number in waiting:
        place.spell("label", number, "on-a-full-disk", check=0)
        place.spell("kill", number, check=0)
        assert info(place, number)["status"] == "killed"
    assert not (place.spell_dir / "reserve").exists()
    assert refused_run(place)
    kill_service(place)
    assert [info(place, number)["status"] for number in waiting] == ["killed"] * len(waiting)
    assert refused_run(place) and service(place) != before
    disk.free()
    await_room(place)
    gate.open()
    assert ended(place, active)["status"] == "complete"


def test_uploads_are_refused_while_the_disk_is_full(place, disk):
    """At each step, the pack and the name; what was there stays, and what was sent is not sent again."""
    api = Api(place)
    files = {"a": os.urandom(300_000)}
    assert api.upload("data", files).status == 200
    objects = Objects()
    new = os.urandom(300_000)
    node = objects.folder({"a": new})
    assert api.send(objects).status == 200
    disk.fill()
    refused = api.put("data", node, len(new))
    assert (refused.status, refused.code) == (507, "disk_full")
    refused = api.upload("more", {"b": os.urandom(3_000_000)})
    assert (refused.status, refused.code) == (507, "disk_full")
    assert api.uploads() == ["data"] and api.read("uploads/data/a").body == files["a"]
    disk.free()
    await_room(place)
    assert api.missing([entry[0] for entry in objects.list]) == set()
    assert api.put("data", node, len(new)).status == 200
    assert api.read("uploads/data/a").body == new
    assert api.upload("more", {"b": os.urandom(3_000_000)}).status == 200


def test_what_is_removed_on_a_full_disk_makes_room(place, disk):
    """The collection works within the reserve; then all goes on by itself."""
    api = Api(place)
    kept = {"a": os.urandom(200_000)}
    assert api.upload("kept", kept).status == 200
    assert api.upload("big", {str(n): os.urandom(1_000_000) for n in range(20)}).status == 200
    disk.fill()
    assert refused_run(place)
    assert api.remove("big").status == 200
    await_room(place)
    assert api.read("uploads/kept/a").body == kept["a"]
    assert place.start("fsck", program="spelld").finish().returncode == 0


def test_a_save_that_finds_no_room_is_made_when_there_is_some(place, disk):
    """Outputs that did not fit stay with the worker, and are saved when they do."""
    gate = Gate(place.work / "gate")
    number = start_run(place, f"head -c 5000000 /dev/urandom > out; sha256sum < out; {gate.waiting}")
    wait_for(lambda: output_of(place, number), what="the file")
    disk.fill()
    gate.open()
    assert refused_run(place)
    disk.free()
    run = ended(place, number)
    assert (run["status"], run["output_files"]) == ("complete", 1), run
    assert hashlib.sha256(Api(place).read(f"runs/{number}/out").body).hexdigest().encode() == output_of(place, number).split()[0]
    await_room(place)


def test_a_service_that_nobody_calls_stays_until_it_has_everything(place, disk):
    """Idle is not who has outputs to save for which there is no room yet."""
    gate = Gate(place.work / "gate")
    started = place.start("serve", "--personal", "--spell-dir", place.spell_dir, "--idle-seconds", "1", program="spelld")
    wait_for(lambda: (place.spell_dir / "spelld.sock").exists(), what="the socket")
    number = start_run(place, f"head -c 5000000 /dev/urandom > out; sha256sum < out; {gate.waiting}")
    wait_for(lambda: output_of(place, number), what="the file")
    disk.fill()
    gate.open()
    assert wait_gone([started.process.pid], 1.8) == [started.process.pid]
    disk.free()
    assert started.finish().returncode == 0
    assert "ended: idle" in place.service_log() and not run_folders(place)
    run = info(place, number)
    assert (run["status"], run["output_files"]) == ("complete", 1), run
    assert hashlib.sha256(Api(place).read(f"runs/{number}/out").body).hexdigest().encode() == output_of(place, number).split()[0]
