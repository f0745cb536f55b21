"""A machine to throw away: a system's files (this one's, or those of another root folder) under an overlay that keeps what is
changed, with its own processes and network, and systemd as their init. Nothing of it is left when it ends."""
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile

# Runs in new namespaces, as the first process there. $1: a folder for the changes; $2: one that both sides see; $3: the system.
SCRIPT = r"""
set -e
mount -t tmpfs spell-test "$1"
mkdir "$1/changes" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=$3,upperdir=$1/changes,workdir=$1/work" "$1/root"
root=$1/root
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t sysfs sys "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for folder in run tmp; do mount -t tmpfs spell-test "$root/$folder"; done
mkdir "$root/run/shared" "$root/run/changes" "$root/run/old"
mount --bind "$2" "$root/run/shared"
mount --bind "$1/changes" "$root/run/changes"
rm -f "$root/usr/sbin/policy-rc.d" # of a container, where nothing may be started
cd "$root"
pivot_root . run/old
umount -l /run/old
rmdir /run/old
exec env -i container=test NOTIFY_SOCKET=/run/shared/ready PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --unit=basic.target --show-status=no
"""


SYSTEM = re.compile(r"^0::.*/(?!spell)[^/]+\.(service|scope)$", re.M)  # of /proc/PID/cgroup: services that are not Spell's


class Unavailable(Exception):
    """No such machine can be had here; says why."""


class Machine:
    def __init__(self, system="/"):
        self.system = pathlib.Path(system)
        if not (self.system / "lib/systemd/systemd").exists():
            raise Unavailable(f"systemd is not installed in {system}")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="spell-machine-"))
        for name in ("own", "shared"):
            (self.folder / name).mkdir()
        self.shared = self.folder / "shared"  # /run/shared there
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net", "--cgroup", "--propagation", "private",
                   "bash", "-c", SCRIPT, "bash", str(self.folder / "own"), str(self.shared), str(system)]
        self.log = open(self.folder / "log", "w+")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(self.shared / "ready"))
            self.program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True)
            if not self._started(ready):
                self.log.seek(0)
                why = " ".join(self.log.read().split())[-300:]
                self.end()
                raise Unavailable(f"no system starts here: {why or 'systemd says nothing'}")
        self.init = int(pathlib.Path(f"/proc/{self.program.pid}/task/{self.program.pid}/children").read_text().split()[0])
        self.run("ip", "link", "set", "lo", "up")

    def _started(self, ready):
        ended = os.pidfd_open(self.program.pid)
        try:
            while True:
                there, _, _ = select.select([ready, ended], [], [], 60)
                if ready in there:
                    if b"READY=1" in ready.recv(4096):
                        return True
                else:
                    return False
        finally:
            os.close(ended)

    def run(self, *words, check=True, **options):
        """A command there, as its root."""
        if "input" not in options:
            options["stdin"] = subprocess.DEVNULL
        command = ["nsenter", "--target", str(self.init), "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--root", "--wd",
                   "env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
        if check:
            assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def sh(self, script, **options):
        return self.run("bash", "-ec", script, **options)

    def changes(self):
        """All names that differ from the system below: made, changed or removed."""
        return set(self.run("find", "/run/changes", "-mindepth", "1", "-printf", "/%P\\n").stdout.splitlines())

    def processes(self):
        """Program and arguments of each that lives there, but for the system's own services, which come and go."""
        there = os.readlink(f"/proc/{self.init}/ns/pid")
        found = []
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(folder / "ns/pid") == there:
                    words = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
                    if not SYSTEM.search((folder / "cgroup").read_text()):
                        found.append(" ".join(word.decode(errors="replace") for word in words))
            except OSError:
                pass  # it has ended meanwhile
        return sorted(found)

    def mounts(self):
        """Where something is mounted there."""
        return sorted(line.split()[4] for line in self.path("/proc/1/mountinfo").read_text().splitlines())

    def path(self, name):
        """Where a file of the machine is reached from here."""
        return pathlib.Path(f"/proc/{self.init}/root{name}")

    def end(self):
        if self.program.poll() is None:
            os.killpg(self.program.pid, signal.SIGKILL)
        self.program.wait()
        self.log.close()
        shutil.rmtree(self.folder)
