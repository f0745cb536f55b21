"""A team's service and its machines, each in a network namespace of its own, and what can befall them."""
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import uuid

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
import clock  # noqa: E402
import faults  # noqa: E402
import harness  # noqa: E402
import network  # noqa: E402

BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Site(harness.Place):
    """The programs of a service and its machines. spell() is the service's own user, through its socket.
    `clocked`: their clocks can be put forward, see clock.py; spell's cannot."""

    def __init__(self, machines, seed=0, clocked=False):
        super().__init__()
        self.clock = clock.Clock(self.root) if clocked else None
        self.net = network.Network(machines, seed)
        self.data = self.root / "data"
        self.service, self.port, self.boxes = None, 0, []
        made = self.program("spelld", "init", "--data", self.data, "--owner", "acme", "--admin", "ada", "--listen", "0.0.0.0:0", "--host",
                            self.net.address(1), "--password-stdin", input="correct horse battery\n")
        assert made.returncode == 0, made
        self.environment["SPELL_BASE_URL"] = f"unix:{self.data}/spelld.sock"
        self.start_service()

    def run_inside(self, i, *command):
        settings = self.clock.settings if self.clock else []
        running = harness.Running([*self.net.inside(i), *settings, *map(str, command)], env=self.environment, cwd=self.work)
        self._running.append(running)
        return running

    def start_service(self):
        self.service = self.run_inside(0, self.programs / "spelld", "serve", "--data", self.data, "--listen", f"0.0.0.0:{self.port}")
        said = self.service.wait_output("listening on port", stream="stderr")
        self.port = int(re.search(rb"listening on port (\d+)", said)[1])

    def kill_service(self):
        self.service.signal(signal.SIGKILL)
        self.service.finish()

    def service_log(self):
        return ""

    def left(self):
        """What has no place on a site whose runs have all ended."""
        return [path for box in self.boxes for path in box.left()] + list((self.data / "incoming").glob("*"))

    def close(self):
        """Ends everything; returns what should not have been there."""
        complaints = []
        for box in self.boxes:
            box.end()
        for running in self._running:
            if running.process.poll() is None:
                running.signal(signal.SIGTERM)
                running.finish()
        for box in self.boxes:
            box.unmount()
        complaints += super().close()
        self.net.close()
        spaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
        if self.net.tag in spaces:
            complaints.append(f"network namespaces are left: {spaces}")
        return complaints


class Box:
    """A machine that has joined. `small`: its folder lies on a disk of its own."""

    def __init__(self, site, i, *options, small=False):
        self.site, self.i, self.name, self.small = site, i, f"box{i}", small
        self.folder = site.root / self.name
        self.folder.mkdir(mode=0o700)
        self.boot, self.daemon = [], None
        if small:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m,mode=700", "tmpfs", self.folder], check=True)
        site.boxes.append(self)
        # The programs of the runs leave traces outside of their folders.
        (self.folder / "worker.toml").write_text('run-users = "none"\n')
        added = site.spell("machine", "add", self.name, "--cpus", "3", *options, "--json", check=0).json
        joined = self.worker("join", f"https://{site.net.address(i)}:{site.port}", "-", input=added["token"])
        assert joined.returncode == 0, joined
        self.start()

    def worker(self, *arguments, input=None):
        command = [*self.site.net.inside(self.i), self.site.programs / "spell-worker", *arguments, "--state", self.folder]
        return subprocess.run(list(map(str, command)), input=input, text=True, capture_output=True, env=self.site.environment, timeout=60)

    def start(self):
        self.daemon = self.site.run_inside(self.i, *self.boot, self.site.programs / "spell-worker", "run", "--state", self.folder)

    def info(self):
        return self.site.spell("machine", "info", self.name, "--json", check=0).json["machine"]

    # ---- its processes

    def supervised(self):
        """(supervisor, its init) of each run whose command has not ended."""
        found = faults.supervised(self.folder / "worker/runs").values()
        return [(supervisor, init) for supervisor, init in found if pathlib.Path(f"/proc/{init}").exists()]

    def supervisors(self):
        return [supervisor for supervisor, _ in self.supervised()]

    def inits(self):
        return [init for _, init in self.supervised()]

    def commands(self):
        return [child for init in self.inits() for child in faults.children(init)]

    # ---- what befalls it

    def kill(self):
        self.daemon.signal(signal.SIGKILL)
        self.daemon.finish()

    @contextlib.contextmanager
    def frozen(self):
        self.daemon.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.daemon.signal(signal.SIGCONT)

    @contextlib.contextmanager
    def cut(self):
        self.site.net.cut(self.i)
        try:
            yield
        finally:
            self.site.net.mend(self.i)

    @contextlib.contextmanager
    def spoiled(self):
        self.site.net.spoil(self.i)
        try:
            yield
        finally:
            self.site.net.mend(self.i)

    @contextlib.contextmanager
    def full_disk(self):
        filler = self.folder / "filler"
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        # And what is less than such a piece.
        with contextlib.suppress(OSError), open(filler, "ab", buffering=0) as file:
            while True:
                file.write(bytes(512))
        try:
            yield
        finally:
            filler.unlink(missing_ok=True)

    def reboot(self):
        """All processes end, in no order; what comes next sees another boot id, and a CLOCK_BOOTTIME that has begun again."""
        pids = [self.daemon.process.pid, *self.supervisors(), *self.inits()]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.daemon.finish()
        harness.wait_gone(pids, 10)
        other = self.site.root / f"boot-{uuid.uuid4()}"
        other.write_text(f"{uuid.uuid4()}\n")
        uptime = float(pathlib.Path("/proc/uptime").read_text().split()[0])
        back = str(5 - int(uptime))
        self.boot = ["unshare", "-m", "-T", "--boottime", back, "--monotonic", back, "sh", "-c",
                     f'mount --bind {other} {BOOT_ID} && exec "$@"', "sh"]
        self.start()

    # ---- its end

    def left(self):
        """What should not be there when all runs have ended."""
        runs, incoming = self.folder / "worker/runs", self.folder / "worker/incoming"
        return [path for path in [*runs.glob("*"), *(runs / ".parked").glob("*"), *incoming.glob("*")]
                if path.name != ".parked" and not path.name.startswith("spare-")]

    def end(self):
        if self.daemon and self.daemon.process.poll() is None:
            self.daemon.signal(signal.SIGCONT)
            self.daemon.signal(signal.SIGTERM)
            self.daemon.finish()

    def unmount(self):
        if self.small:
            subprocess.run(["umount", "-l", self.folder], check=True)
            self.small = False
