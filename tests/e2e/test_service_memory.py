"""The memory of service, worker and client does not grow with what is stored."""
import hashlib
import os
import subprocess
import sys

from faults import service
from machines import Machine, submit, wait_run
from storage import Api, Objects
from team import Team

MB = 1 << 20


def peak(pid):
    """The most memory that was ever resident, in bytes."""
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmHWM")


def client_peak(place, *arguments):
    """The same of a command, in its life. A small process starts it: what is resident where a process is made counts for the new one."""
    script = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", script, place.programs / "spell", *arguments], env=place.environment, cwd=place.work,
                          capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) << 10


def test_memory_stays_flat_whatever_the_size_of_a_file_or_a_pack(place):
    """A pack of 320 MB comes, and a file of it goes: both by pieces."""
    api = Api(place)
    pid = service(place)
    api.upload("small", {"a": b"a"})
    before = peak(pid)
    files, hashes = {}, {}
    objects = Objects()
    for number in range(160):
        data = os.urandom(MB) * 2  # what is in a pack twice is there once: random, and long
        data = data[:MB + 7] + data[:1]
        name = f"file-{number:03}"
        hashes[name] = hashlib.sha256(data).digest()
        files[name] = (len(data), objects.file(data))
    folder = objects.folder(files)
    pack = objects.pack()
    assert len(pack) > 160 * MB
    answer = api.request("POST", api.of_owner("objects"), pack, {"Content-Type": "application/octet-stream"})
    assert answer.status == 200, answer.body
    assert api.put("big", folder, sum(size for size, _ in files.values())).status == 200
    for name in list(files)[::16]:
        assert hashlib.sha256(api.read(f"uploads/big/{name}").body).digest() == hashes[name]
    assert service(place) == pid
    assert peak(pid) - before < 48 * MB, f"{before >> 20} MB before, {peak(pid) >> 20} MB after"


def test_memory_stays_flat_whatever_the_size_of_one_file(place):
    """One file of 400 MB is uploaded, read whole and in part, copied back, mounted and saved by a run."""
    size, seed = 400 * MB, os.urandom(MB)
    path = place.work / "large"
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for i in range(size // MB):
            piece = i.to_bytes(8, "little") * 512 + seed[4096:]  # a megabyte of which a chunk is new
            digest.update(piece)
            file.write(piece)
    place.spell("upload", "-n", "small", "/etc/hostname", check=0)
    pid = service(place)
    before = peak(pid)
    client = {"upload": client_peak(place, "upload", "large"), "upload again": client_peak(place, "upload", "large")}
    api = Api(place)
    found, length = hashlib.sha256(), 0
    for piece in api.pieces("uploads/large"):
        found.update(piece)
        length += len(piece)
    assert (length, found.digest()) == (size, digest.digest())
    client["cp"] = client_peak(place, "cp", "uploads/large", "back")
    assert (place.work / "back").stat().st_size == size
    place.spell("run", "-f", "--mount", "uploads/large", "cp large copy", check=0)
    assert place.spell("info", 1, "--json", check=0).json["run"]["output_bytes"] == size
    assert service(place) == pid
    assert peak(pid) - before < 96 * MB, f"{before >> 20} MB before, {peak(pid) >> 20} MB after"
    assert max(client.values()) < 150 * MB, {what: peak >> 20 for what, peak in client.items()}


def test_a_machine_saves_and_mounts_a_large_file_piece_by_piece(place):
    team, size = Team(place), 300 * MB
    box = Machine(team, "box")
    try:
        saved = submit(team, "-m", "box", f"head -c {size} /dev/urandom > large; sha256sum < large > sum")
        wait_run(team, saved, "complete")
        mounts = submit(team, "-m", "box", "--mount", f"runs/{saved}:before", "test \"$(sha256sum < before/large)\" = \"$(cat before/sum)\"")
        assert wait_run(team, mounts, "complete")["user_exit_code"] == 0
        peaks = {"worker": peak(box.running.process.pid), "service": peak(team.running.process.pid)}
    finally:
        box.close()
    assert max(peaks.values()) < 150 * MB, {who: most >> 20 for who, most in peaks.items()}
