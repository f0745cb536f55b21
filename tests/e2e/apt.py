"""A repository of Debian packages made here, and a place in which the machine's apt knows no other: nothing of the machine is changed for that."""
import functools
import hashlib
import http.server
import os
import pathlib
import shutil
import subprocess
import threading

import pytest

from harness import Place

APT = pathlib.Path("/etc/apt")


def why_not():
    """Why runs on this machine cannot have packages of apt; none: they can."""
    if os.geteuid() != 0:
        return "packages of apt take root"
    for program in ("apt-get", "dpkg", "dpkg-deb", "nsenter", "unshare"):
        if not shutil.which(program):
            return f"this machine has no {program}"
    return None


def no_mirror():
    """Why the machine's own mirror cannot be used; none: it can."""
    shown = subprocess.run(["apt-get", "download", "--print-uris", "sl"], capture_output=True, text=True, cwd="/tmp")
    if shown.returncode != 0:
        return f"this machine's apt knows no package sl: {shown.stderr.strip().splitlines()[-1:]}"
    url = shown.stdout.split("'")[1]
    target = f"/tmp/spell-mirror-{os.getpid()}"
    got = subprocess.run(["/usr/lib/apt/apt-helper", "download-file", url, target], capture_output=True, text=True)
    pathlib.Path(target).unlink(missing_ok=True)
    return None if got.returncode == 0 else f"no mirror of this machine's apt can be reached: {got.stderr.strip().splitlines()[-1:]}"


class Repository:
    """Packages at an address of loopback, as `deb [trusted=yes] URL ./` names them."""

    def __init__(self, folder):
        self.folder = folder
        self.folder.mkdir(parents=True)
        self.packages = {}
        quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=folder))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.line = f"deb [trusted=yes] http://127.0.0.1:{self.server.server_port} ./\n"
        self.write()

    def add(self, name, version, files=None, postinst="", **fields):
        """A package; `files`: {path: text}, those in a bin folder are programs."""
        made = self.folder / f"build-{name}"
        shutil.rmtree(made, ignore_errors=True)
        (made / "DEBIAN").mkdir(parents=True)
        control = {"Package": name, "Version": version, "Architecture": "all", "Maintainer": "A Test <test@example.org>", "Description": "made by a test",
                   **{key.replace("_", "-"): value for key, value in fields.items()}}
        (made / "DEBIAN/control").write_text("".join(f"{key}: {value}\n" for key, value in control.items()))
        if postinst:
            (made / "DEBIAN/postinst").write_text("#!/bin/sh\nset -e\n" + postinst)
            (made / "DEBIAN/postinst").chmod(0o755)
        for path, text in (files or {}).items():
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_text(text)
            (made / path).chmod(0o755 if "/bin/" in f"/{path}" else 0o644)
        file = f"{name}_{version.replace(':', '%3a')}_all.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-b", made, self.folder / file], check=True, capture_output=True)
        shutil.rmtree(made)
        content = (self.folder / file).read_bytes()
        self.packages[name, version] = {**control, "Filename": f"./{file}", "Size": len(content), "SHA256": hashlib.sha256(content).hexdigest()}
        self.write()

    def drop(self, name, version):
        del self.packages[name, version]
        self.write()

    def write(self):
        text = "\n".join("".join(f"{key}: {value}\n" for key, value in package.items()) for package in self.packages.values())
        (self.folder / "Packages").write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        (self.folder / "Release").write_text(f"Suite: stable\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n {digest} {len(text)} Packages\n")

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class AptPlace(Place):
    """Its programs see an /etc/apt that knows the repository alone, in a mount namespace of their own."""

    def __init__(self):
        super().__init__()
        self.repository = Repository(self.root / "repository")
        own = self.root / "apt"
        shutil.copytree(APT, own, symlinks=True)
        for listed in [*own.glob("sources.list"), *(own / "sources.list.d").iterdir()]:
            listed.unlink()
        (own / "sources.list").write_text(self.repository.line)
        self.holder = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c", f"mount --bind {own} {APT} && echo ready && exec sleep infinity"],
                                       stdout=subprocess.PIPE, text=True)
        if self.holder.stdout.readline() != "ready\n":
            super().close()
            pytest.skip("no mount namespace can be made here")
        inner = f'folder=$PWD; exec nsenter -t {self.holder.pid} -m -r -- sh -c \'cd "$0" && exec "$@"\' "$folder" "$@"'
        self.prefix = ["sh", "-c", inner, "sh"]

    def close(self):
        complaints = super().close()
        self.holder.kill()
        self.holder.wait()
        self.repository.close()
        return complaints


class System:
    """What this machine's own packages are made of, as it is now."""

    def __init__(self):
        self.database = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in pathlib.Path("/var/lib/dpkg").rglob("*") if path.is_file()}
        self.files = {}
        for top in ("/etc", "/usr/bin", "/usr/sbin", "/usr/games", "/usr/lib", "/usr/share", "/var/lib/apt", "/var/cache/apt", "/opt"):
            for folder, _, names in os.walk(top):
                for name in names:
                    path = os.path.join(folder, name)
                    status = os.lstat(path)
                    self.files[path] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino)

    def __eq__(self, other):
        return self.database == other.database and self.files == other.files

    def differences(self, other):
        return [path for mine, its in ((self.database, other.database), (self.files, other.files)) for path in {*mine, *its} if mine.get(path) != its.get(path)]
