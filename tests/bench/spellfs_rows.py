"""Rows of SpellFS, beside restic, borg and cp on the same data. All data is in one folder, which is removed.

Stores are new in each round; the data itself is made once a row, and is in memory for everybody.
"""
import contextlib
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import time

from place import PATIENCE, PROGRAMS, Skipped, output_of, place, seconds_of
from rows import Measures, row

GIB = 1 << 30
SCALE = float(os.environ.get("SPELL_BENCH_SCALE", "1"))  # smaller data while one works on the code; the table needs 1


def scaled(number):
    return max(1, int(number * SCALE))


def write_noise(path, size, seed):
    generator = random.Random(seed)
    with open(path, "wb") as file:
        while size > 0:
            part = min(size, 1 << 24)
            file.write(generator.randbytes(part))
            size -= part


def make_files(folder, count, size):
    for i in range(count):
        below = folder / str(i // 1000)
        below.mkdir(parents=True, exist_ok=True)
        write_noise(below / f"{i}.bin", size, i)


def bytes_below(folder):
    return sum(path.stat().st_size for path in pathlib.Path(folder).rglob("*") if path.is_file())


class Tools:
    """Spell, restic and borg, each with a store that can be made anew."""

    def __init__(self, here):
        self.here = here
        self.environment = {**here.environment, "RESTIC_PASSWORD": "x", "RESTIC_CACHE_DIR": str(here.root / "restic-cache"),
                            "BORG_BASE_DIR": str(here.root / "borg-base"), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
        self.roots = {}

    def store(self, name):
        return self.here.root / f"store-{name}"

    def anew(self, name):
        for folder in (self.store(name), self.here.root / "restic-cache", self.here.root / "borg-base"):
            shutil.rmtree(folder, ignore_errors=True)
        if name == "restic":
            self.run("restic", "-q", "-r", self.store(name), "init")
        if name == "borg":
            self.run("borg", "init", "-e", "none", self.store(name))
        subprocess.run(["sync"], check=True)

    def run(self, *command):
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=PATIENCE,
                              env=self.environment, cwd=self.here.work)
        if done.returncode != 0:
            raise RuntimeError(f"{command} -> {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def seconds(self, *command):
        return seconds_of(*command, env=self.environment, cwd=self.here.work)

    def save(self, name, path, cache=None):
        """Seconds for a whole command; durable."""
        if name == "restic":
            return self.seconds("restic", "-q", "-r", self.store(name), "backup", path)
        if name == "borg":
            return self.seconds("borg", "create", f"{self.store(name)}::{random.getrandbits(64)}", path)
        program = [PROGRAMS / "spell_bench_spellfs", "save", self.store(name), path, *([cache] if cache else [])]
        begin = time.perf_counter()
        said = self.run(*program).split()
        took = time.perf_counter() - begin
        self.new_bytes, self.peak, self.root = int(said[1]), int(said[2]), said[3]
        return took

    def floor(self, what, source, size=0):
        target = self.here.root / f"floor-{what}"
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(["sync"], check=True)
        return self.seconds(PROGRAMS / "spell_bench_floor_spellfs", what, source, target, size)


@contextlib.contextmanager
def tools(*needed):
    for tool in needed:
        if not shutil.which(tool):
            raise Skipped(f"{tool} is not installed")
    with place() as here:
        yield Tools(here), here.root / "data"


def first_save(peer, count, size, unit):
    """Measures of saving new files: of bytes in MB/s, of many small ones in files/s."""
    with tools(peer) as (t, data):
        make_files(data, count, size)
        amount = count * size / 1e6 if unit == "MB/s" else count

        def sample(name):
            t.anew(name)
            return amount / t.save(name, data)
        notes = []
        yield Measures(lambda: sample("spell"), lambda: amount / t.floor("save", data), lambda: sample(peer), notes)
        files = sum(1 for _ in t.store("spell").rglob("*"))
        notes.append(f"{files} inodes for {count} files; {t.peak / 1000:.0f} MB resident at most; the peer is {peer}")


@row("spellfs-first", "SpellFS: first save, 2 GiB of noise in 2,000 files", "MB/s", "3 × restic, 0.8 × floor")
def spellfs_first():
    yield from first_save("restic", 2000, scaled(2 * GIB // 2000), "MB/s")


@row("spellfs-first-borg", "… beside borg", "MB/s", "1.6 × borg")
def spellfs_first_borg():
    yield from first_save("borg", 2000, scaled(2 * GIB // 2000), "MB/s")


@row("spellfs-small", "… 100,000 files of 4 KB", "files/s", "3 × restic; a hundredth of the inodes")
def spellfs_small():
    yield from first_save("restic", scaled(100_000), 4096, "files/s")


@row("spellfs-small-borg", "… beside borg", "files/s", "2 × borg")
def spellfs_small_borg():
    yield from first_save("borg", scaled(100_000), 4096, "files/s")


def unchanged(count, size):
    with tools() as (t, data):
        make_files(data, count, size)
        t.anew("spell")
        cache = t.here.root / "cache"
        t.save("spell", data, cache)
        t.save("spell", data, cache)  # files of the very last moment are remembered now
        yield Measures(lambda: t.save("spell", data, cache) * 1000)


@row("spellfs-again", "SpellFS: 2,000 files again, unchanged", "ms", "25")
def spellfs_again():
    yield from unchanged(2000, 100_000)


@row("spellfs-again-many", "… 100,000 files", "ms", "600")
def spellfs_again_many():
    yield from unchanged(100_000, 1000)


@row("spellfs-change", "SpellFS: 2 GiB file, 1 % changed in 20 places", "MB/s", "3.5 × restic; half of its new bytes")
def spellfs_change():
    with tools("restic") as (t, data):
        data.mkdir()
        size, notes, new = scaled(2 * GIB), [], {"spell": [], "restic": []}
        write_noise(data / "file", size, 0)
        for name in new:
            t.anew(name)
            t.save(name, data)
        generator, changed = random.Random(1), set()

        def change():
            with open(data / "file", "r+b") as file:
                for _ in range(20):
                    file.seek(generator.randrange(size - size // 2000))
                    file.write(generator.randbytes(size // 2000))

        def sample(name):
            # Both save each change: whoever comes first makes it.
            if name not in changed:
                changed.add(name)
            if len(changed) == 1:
                change()
            if len(changed) == 2:
                changed.clear()
            before = bytes_below(t.store(name))
            took = t.save(name, data)
            new[name].append((bytes_below(t.store(name)) - before) / 1e6)
            return size / took / 1e6
        yield Measures(lambda: sample("spell"), peer=lambda: sample("restic"), notes=notes)
        notes.append("MB stored anew each time: " + "; ".join(f"{name} {', '.join(f'{n:.1f}' for n in all_)}" for name, all_ in new.items()))


@row("spellfs-restore", "SpellFS: restore of 2 GiB in 2,000 files", "MB/s", "2 × restic, 0.8 × floor")
def spellfs_restore():
    with tools("restic") as (t, data):
        size = scaled(2 * GIB // 2000)
        make_files(data, 2000, size)
        for name in ("spell", "restic"):
            t.anew(name)
            t.save(name, data)
        t.floor("save", data)
        os.rename(t.here.root / "floor-save", t.here.root / "packs")
        target = t.here.root / "target"

        def sample(*command):
            shutil.rmtree(target, ignore_errors=True)
            subprocess.run(["sync"], check=True)
            return 2000 * size / 1e6 / t.seconds(*command)
        yield Measures(lambda: sample(PROGRAMS / "spell_bench_spellfs", "restore", t.store("spell"), t.root, target),
                       lambda: 2000 * size / 1e6 / t.floor("restore", t.here.root / "packs", size),
                       lambda: sample("restic", "-q", "-r", t.store("restic"), "restore", "latest", "--target", target))


@row("spellfs-materialise", "SpellFS: a tree from its chunks, 10,000 files, 2 GB", "MB/s", "0.8 × cp")
def spellfs_materialise():
    with tools() as (t, data):
        count = scaled(10_000)
        make_files(data, count, 200_000)
        t.anew("spell")
        t.save("spell", data)
        target = t.here.root / "target"

        def sample(*command):
            shutil.rmtree(target, ignore_errors=True)
            subprocess.run(["sync"], check=True)
            return count * 0.2 / t.seconds(*command)
        yield Measures(lambda: sample(PROGRAMS / "spell_bench_spellfs", "restore", t.store("spell"), t.root, target),
                       peer=lambda: sample("cp", "-a", "--reflink=never", data, target))


@row("spellfs-mount", "SpellFS: a mount of a cached tree of 100,000 files, above a run without", "ms", "100")
def spellfs_mount():
    with place() as here:
        data = here.root / "data"
        for i in range(count := scaled(100_000)):
            if i % 1000 == 0:
                (below := data / str(i // 1000)).mkdir(parents=True)
            (below / str(i)).write_bytes(b"%d" % i)
        here.spell("upload", "-q", data)
        mounted = ["run", "-m", "uploads/data", "test -e data/0/0 && echo more >> data/0/0"]
        here.spell(*mounted)  # brings it into the cache

        def sample():
            bare = seconds_of(PROGRAMS / "spell", "run", "true", **here.options)
            return (seconds_of(PROGRAMS / "spell", *mounted, **here.options) - bare) * 1000
        yield Measures(sample, notes=[f"{count} files; the run writes into one of them"])


@row("spellfs-add", "SpellFS: one file more in a folder of 100,000", "ms", "20, under 200 KB")
def spellfs_add():
    with tools() as (t, data):
        data.mkdir()
        for i in range(100_000):
            (data / str(i)).write_bytes(b"%d" % i)
        t.anew("spell")
        t.save("spell", data)
        fresh, notes, stored = t.here.root / "fresh", [], []

        def sample():
            fresh.write_bytes(os.urandom(1000))
            before = bytes_below(t.store("spell") / "packs")
            said = t.run(PROGRAMS / "spell_bench_spellfs", "add", t.store("spell"), t.root, fresh, f"new-{random.getrandbits(64)}").split()
            t.root = said[2]
            stored.append(bytes_below(t.store("spell") / "packs") - before)
            return float(said[0]) * 1000
        yield Measures(sample, notes=notes)
        notes.append(f"bytes stored: {', '.join(map(str, stored))}")


@row("spellfs-ls", "SpellFS: `spell ls` of a folder of 100,000, to its last line", "ms", "")
def spellfs_ls():
    with place() as here:
        (data := here.root / "data").mkdir()
        for i in range(count := scaled(100_000)):
            (data / str(i)).write_bytes(b"%d" % i)
        here.spell("upload", "-q", data)
        first, notes = [], []

        def sample():
            begin = time.perf_counter()
            with subprocess.Popen([PROGRAMS / "spell", "ls", "uploads/data"], stdout=subprocess.PIPE, **here.options) as listing:
                listing.stdout.readline()
                first.append((time.perf_counter() - begin) * 1000)
                listed = 1 + sum(1 for _ in listing.stdout)
            took = (time.perf_counter() - begin) * 1000
            if (listing.returncode, listed) != (0, count):
                raise RuntimeError(f"spell ls -> {listing.returncode}, {listed} lines")
            return took
        yield Measures(sample, peer=lambda: seconds_of("ls", "-l", data) * 1000, notes=notes)
        notes.append(f"the first line after {statistics.median(first):.0f} ms; the peer is ls -l of the folder itself")


CHECKPOINTS = """
import os, sys, torch
torch.manual_seed(0)
model = torch.nn.Sequential(*[torch.nn.Linear(256, 256) for _ in range(24)])
for i in range(20):
    with torch.no_grad():
        for k, p in enumerate(model.parameters()):
            if k % 4 // 2 == i % 2: p += 0.01 * torch.randn_like(p)
    torch.save(model.state_dict(), os.path.join(sys.argv[1], 'checkpoint.pt'))
    print(i, flush=True)
    sys.stdin.readline()
"""


@row("spellfs-torch", "SpellFS: 20 checkpoints, half of the tensors changed each time", "MB", "not above restic", repeatable=False)
def spellfs_torch():
    python = "/usr/bin/python3"
    if subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode != 0:
        raise Skipped("python3-torch is not installed")
    with tools("restic") as (t, data):
        data.mkdir()
        size = {}

        def both():
            for name in ("spell", "restic"):
                t.anew(name)
            trainer = subprocess.Popen([python, "-c", CHECKPOINTS, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            while trainer.stdout.readline():
                for name in ("spell", "restic"):
                    t.save(name, data)
                trainer.stdin.write("\n")
                trainer.stdin.flush()
            trainer.wait()
            size["spell"], size["restic"] = bytes_below(t.store("spell") / "packs") / 1e6, bytes_below(t.store("restic")) / 1e6
            return size["spell"]
        yield Measures(both, peer=lambda: size["restic"])


@row("spellfs-memory", "SpellFS: resident at 1 TB stored (index of 16 million objects), the larger of service and client", "MB", "150",
     repeatable=False)
def spellfs_memory():
    with place() as here:
        data, store, notes = here.root / "data", here.spell_dir / "objects", []
        make_files(data, 200, 1_000_000)
        large = here.root / "large"
        write_noise(large, scaled(2_000_000_000), 0)
        store.mkdir(parents=True)
        output_of(PROGRAMS / "spell_bench_spellfs", "fill", store, scaled(8192), 2048)

        def figure():
            here.spell("status")
            peaks = {"client that uploads 200 files": peak_of(here, "upload", "-q", data),
                     "copies them back": peak_of(here, "cp", "-q", "uploads/data", here.root / "back"),
                     "uploads one file of 2 GB": peak_of(here, "upload", "-q", large),
                     "copies it back": peak_of(here, "cp", "-q", "uploads/large", here.root / "large-back")}
            here.spell("run", "head -c 200000000 /dev/urandom > out")
            here.spell("du", "--by", "run")
            status = pathlib.Path(f"/proc/{here.service()['pid']}/status").read_text()
            peaks["service, with a run that saves 200 MB"] = int(status.split("VmHWM:")[1].split()[0]) / 1000
            index = (store / "index.db").stat().st_size / 1e9
            notes.append(f"index of {index:.2f} GB; " + "; ".join(f"{who} {peak:.0f} MB" for who, peak in peaks.items()))
            return max(peaks.values())
        yield Measures(figure, notes=notes)


def peak_of(here, *arguments):
    """Megabytes that a whole command had resident at most."""
    script = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    return int(output_of(sys.executable, "-c", script, PROGRAMS / "spell", *arguments, **here.options).split()[-1]) / 1000
