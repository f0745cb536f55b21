"""The Debian packages: what they hold and need, and a life on a machine that is thrown away afterwards, with systemd as its init."""
import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import time

import pytest

from throwaway import Machine, Unavailable

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SPELL_BUILD", SOURCE / "build")).resolve()
VERSION = re.search(r"project\(spell VERSION (\S+)", (SOURCE / "CMakeLists.txt").read_text())[1]
NAMES = ["libspell-dev", "libspell0", "spell-cli", "spell-worker-service", "spelld"]
PROGRAMS = ["spell-cli", "spell-worker-service", "spelld"]
OLDEST_GLIBC = (2, 35)  # Ubuntu 22.04
OLDEST_GLIBCXX = (3, 4, 30)


def run(*command, check=True, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, **options)
    if check:
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The five, by name. Packed quickly, not small."""
    target = tmp_path_factory.mktemp("built") / "packages"
    run(SOURCE / "cmake/debian/build", BUILD, target, env=dict(os.environ, SPELL_DEB_OPTIONS="-Zgzip -z1"))
    found = {path.name.split("_")[0]: path for path in target.glob("*.deb")}
    assert sorted(found) == NAMES
    return found


@pytest.fixture(scope="module")
def contents(packages, tmp_path_factory):
    """Folders with what each holds."""
    folder = tmp_path_factory.mktemp("contents")
    for name, path in packages.items():
        run("dpkg-deb", "--extract", path, folder / name)
    return folder


def field(package, name):
    return run("dpkg-deb", "--field", package, name).stdout.strip()


def programs_and_libraries(folder):
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.open("rb").read(4) == b"\x7fELF":
            yield path


def test_the_packages_need_libc_and_openssl_alone(packages):
    """But for the library: it shares the C++ library with the program that uses it."""
    for name in PROGRAMS + ["libspell0"]:
        needed = {part.split(" ")[0]: part for part in field(packages[name], "Depends").split(", ")}
        expected = {"libc6", "libssl3"} | ({"libgcc-s1", "libstdc++6"} if name == "libspell0" else set())
        assert set(needed) == expected, name
        least = re.search(r"\(>= (\d+)\.(\d+)\)", needed["libc6"])
        assert tuple(map(int, least.groups())) <= OLDEST_GLIBC, needed["libc6"]
        assert needed["libssl3"] == "libssl3 (>= 3.0.0)"
    assert field(packages["libspell-dev"], "Depends") == f"libspell0 (= {VERSION})"


def test_the_files_ask_for_nothing_newer_than_the_oldest_system_has(contents):
    limits = {"GLIBC": OLDEST_GLIBC, "GLIBCXX": OLDEST_GLIBCXX, "CXXABI": (1, 3, 13), "OPENSSL": (3, 0, 0), "GCC": (3, 0)}
    libraries = {"libc.so.6", "libm.so.6", "libssl.so.3", "libcrypto.so.3", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
    seen = 0
    for path in programs_and_libraries(contents):
        shared = path.name.startswith("libspell")
        needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", run("readelf", "-d", path).stdout))
        assert needed <= libraries | ({"libstdc++.so.6", "libgcc_s.so.1"} if shared else set()), path
        if not re.search(r"Dynamic section", run("readelf", "-d", path).stdout):
            continue  # static: asks for nothing
        for name, version in set(re.findall(r"\(?\b([A-Z]+)_(\d+(?:\.\d+)*)\)? ", run("objdump", "-T", path).stdout)):
            assert tuple(map(int, version.split("."))) <= limits[name], f"{path}: {name}_{version}"
            seen += 1
    assert seen > 20


def test_conflicts_and_sums(packages):
    assert field(packages["spell-cli"], "Conflicts") == "spell"
    folder = packages["spelld"].parent
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert {field(path, "Version") for path in packages.values()} == {VERSION}


def test_copyright_files(contents):
    """Of us, and of each library that is part of a program."""
    for name in PROGRAMS + ["libspell0", "libspell-dev"]:
        documents = contents / name / "usr/share/doc" / name
        assert "Apache-2.0" in (documents / "copyright").read_text()
        assert {"libgit2-dev", "zlib1g-dev"} <= {path.name.removesuffix(".gz") for path in (documents / "libraries").iterdir()}


def test_lintian(packages):
    done = run("lintian", "--allow-root", "--fail-on", "error", *packages.values(), check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_apparmor_profiles_allow_user_namespaces_to_the_supervisors(contents):
    for package, program in [("spelld", "spelld"), ("spell-worker-service", "spell-worker")]:
        profile = (contents / package / "usr/share/spell/apparmor" / program).read_text()
        supervisor = f"/usr/libexec/{program}/spell-supervisor"
        assert f"profile {program} {supervisor} flags=(unconfined) {{\n  userns,\n" in profile
        assert (contents / package / supervisor.lstrip("/")).is_file()


def test_the_apparmor_profiles_are_read_by_its_parser(contents, tmp_path):
    """As they are by version 4, which the systems have that they are for; by an older one without the two lines that are new in 4."""
    parser = shutil.which("apparmor_parser", path="/usr/sbin:/sbin:/usr/bin")
    if not parser:
        pytest.skip("apparmor_parser is not here (package apparmor)")
    knows = int(re.search(r"version (\d+)\.", run(parser, "--version").stdout)[1]) >= 4
    for package, program in [("spelld", "spelld"), ("spell-worker-service", "spell-worker")]:
        text = (contents / package / "usr/share/spell/apparmor" / program).read_text()
        mistaken = text.replace("profile ", "profil ")
        if not knows:
            text, mistaken = ("".join(line for line in lines.splitlines(True) if line.strip() not in ("abi <abi/4.0>,", "userns,"))
                              for lines in (text, mistaken))
        for name, lines, status in (("fine", text, True), ("mistaken", mistaken, False)):
            (tmp_path / name).write_text(lines)
            done = run(parser, "--skip-kernel-load", "--skip-cache", tmp_path / name, check=False)
            assert (done.returncode == 0) == status, done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the root folder")
def test_the_programs_start_where_nothing_else_is(contents, tmp_path):
    """In a root that holds the files of libc6 and libssl3, and ours."""
    for package in ["libc6", "libssl3"]:
        for path in run("dpkg-query", "--listfiles", package).stdout.splitlines():
            source = pathlib.Path(path)
            if ".so" not in source.name or not source.is_file():
                continue
            target = tmp_path / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    for name in PROGRAMS:
        for program in (contents / name / "usr/bin").glob("*"):
            shutil.copy2(program, tmp_path)
            done = run("chroot", tmp_path, f"/{program.name}", "--version")
            assert VERSION in done.stdout


# A life on a machine

@pytest.fixture(scope="module")
def machine(packages):
    try:
        machine = Machine()
    except Unavailable as missing:
        pytest.skip(str(missing))
    try:
        for path in packages.values():
            shutil.copy(path, machine.shared)
        yield machine
    finally:
        machine.end()


@pytest.fixture(scope="module")
def newer(packages, tmp_path_factory):
    """A later version of each program's package: what is in it has been touched, and it says so."""
    folder = tmp_path_factory.mktemp("newer")
    made = {}
    for name in PROGRAMS:
        run("dpkg-deb", "--raw-extract", packages[name], folder / name)
        control = folder / name / "DEBIAN/control"
        control.write_text(control.read_text().replace(f"Version: {VERSION}\n", f"Version: {VERSION}+later\n"))
        made[name] = folder / f"{name}_{VERSION}+later.deb"
        run("dpkg-deb", "--root-owner-group", "-Znone", "--build", folder / name, made[name])
    return made


def install(machine, *paths):
    for path in paths:
        shutil.copy(path, machine.shared)
    machine.run("dpkg", "--install", *(f"/run/shared/{pathlib.Path(path).name}" for path in paths))


def main_pid(machine, unit):
    return int(machine.run("systemctl", "show", "--value", "--property", "MainPID", unit).stdout)


def spell_words(*words):
    """The command line as the administrator calls it at the service's own computer."""
    return ["env", "-C", "/run/repository", "SPELL_OWNER=team", "SPELL_DIR=/run/spell-test",
            "spell", "--service", "unix:/var/lib/spelld/spelld.sock", *map(str, words)]


def spell(machine, *words, check=True):
    return machine.run(*spell_words(*words), check=check)


def make_repository(machine):
    machine.sh("rm -rf /run/repository; git init -q -b main /run/repository; cd /run/repository; echo hello > file; git add file;"
               "git -c user.name=a -c user.email=a@b commit -q -m first")


def held_run(machine, *options):
    """The number of a run that has begun, and goes on when told so."""
    started = spell(machine, "run", "--force", "--background", "--quiet", *options,
                    "cat file; mkfifo gate; echo began; cat gate; rm gate; echo after; exit 7")
    number = int(started.stdout)
    shown = shlex.join(spell_words("logs", number))
    machine.sh(f"until {shown} | grep -qx began; do sleep 0.05; done")
    return number


def check_goes_on(machine, number):
    release = shlex.join(spell_words("exec", number, "sh", "-c", "echo released > gate"))
    # Its worker may just be finding it again; and the command may end with the run that it releases.
    machine.sh(f"until {release} 2> /run/said || grep -q 'has ended' /run/said; do sleep 0.1; done")
    assert spell(machine, "wait", number, check=False).returncode == 7
    assert spell(machine, "logs", number).stdout == "hello\nbegan\nreleased\nafter\n"


def left(machine, before):
    """What is on the machine's disk now and was not before, but for the packaging system's own books and caches."""
    books = ("var/lib/dpkg/", "var/lib/apt/", "var/lib/PackageKit/", "var/tmp/systemd-private-", "var/log/", "var/cache/",
             "var/lib/systemd/", "etc/ld.so.cache", "etc/.pwd.lock")
    books += tuple(f"etc/{name}-" for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid"))
    found = []
    for name in sorted(machine.changes() - before):
        own, below = machine.path(name), pathlib.Path(name)
        same = (own.is_dir() and below.is_dir()) or (own.is_file() and below.is_file() and own.read_bytes() == below.read_bytes())
        if not same and not name.lstrip("/").startswith(books):
            found.append(name)
    return found


def test_a_service_is_installed_upgraded_under_a_run_and_removed(machine, packages, newer):
    before, had = machine.changes(), machine.processes()
    install(machine, packages["spelld"], packages["spell-cli"])

    # It waits for its data; nobody was asked anything.
    assert machine.run("systemctl", "is-enabled", "spelld").stdout.strip() == "enabled"
    assert machine.run("systemctl", "is-active", "spelld", check=False).stdout.strip() == "inactive"
    assert machine.run("stat", "-c", "%U %a", "/var/lib/spelld").stdout.split() == ["spelld", "700"]
    machine.run("spelld", "init", "--host", "localhost")
    machine.sh("sed -i '/^with_worker/d' /var/lib/spelld/spelld.toml; echo 'with_worker = true' >> /var/lib/spelld/spelld.toml")
    machine.run("systemctl", "start", "spelld")
    pid = main_pid(machine, "spelld")
    assert machine.run("stat", "-c", "%U", f"/proc/{pid}").stdout.strip() == "spelld"

    # A run under exactly the unit's settings has a process and a mount namespace of its own.
    make_repository(machine)
    shown = spell(machine, "run", "cat file; pwd; id -un; echo $$; grep -c /spell /proc/self/mounts; "
                  "grep NoNewPrivs /proc/self/status; touch /usr/here 2> /dev/null || echo refused").stdout.split("\n")
    assert shown[:3] == ["hello", "/spell", "spelld"] and int(shown[3]) < 10 and int(shown[4]) > 0
    assert shown[5:7] == ["NoNewPrivs:\t1", "refused"]
    assert "user_namespaces" in spell(machine, "status").stdout

    # Upgraded, it is another process; the run does not notice.
    number = held_run(machine)
    install(machine, newer["spelld"], newer["spell-cli"])
    assert main_pid(machine, "spelld") not in (0, pid)
    check_goes_on(machine, number)

    # Under a run it stays.
    number = held_run(machine)
    refused = machine.run("dpkg", "--remove", "spelld", check=False)
    assert refused.returncode == 1 and "not removed, for runs of this computer go on: " in refused.stderr, refused
    assert machine.run("systemctl", "is-active", "spelld").stdout.strip() == "active"
    check_goes_on(machine, number)

    # Removed, it keeps its data; purged, nothing is left.
    machine.run("dpkg", "--remove", "spelld", "spell-cli")
    assert machine.processes() == had
    assert machine.run("test", "-e", "/var/lib/spelld/spell.db", check=False).returncode == 0
    machine.run("dpkg", "--purge", "spelld", "spell-cli")
    assert left(machine, before) == []
    assert machine.run("getent", "passwd", "spelld", check=False).returncode == 2


def wait_for(comes_true):
    for _ in range(100):
        if comes_true():
            return
        time.sleep(0.1)
    assert comes_true()


def scopes(machine):
    return machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "spell-run-*").stdout.splitlines()


def test_a_worker_is_installed_joins_is_upgraded_under_a_run_and_removed(machine, packages, newer):
    install(machine, packages["spelld"], packages["spell-cli"])
    machine.run("spelld", "init", "--host", "localhost", "--listen", "127.0.0.1:8443")
    machine.run("systemctl", "start", "spelld")
    make_repository(machine)
    # A disk of its own, which has what users of their own for runs need; the overlay of this machine has not.
    machine.sh("mkdir /var/lib/spell-worker; mount -t tmpfs -o mode=700 disk /var/lib/spell-worker")
    before, had, mounted = machine.changes(), machine.processes(), machine.mounts()

    # By the two lines that the service prints: the package comes from itself, over a connection that is pinned.
    lines = spell(machine, "machine", "add", "box").stdout.splitlines()
    fetch, join = lines[-2:]
    machine.sh(fetch)
    assert machine.run("systemctl", "is-active", "spell-worker").stdout.strip() == "active"  # waits quietly
    assert "has not joined" in machine.run("spell-worker", "status").stdout
    assert machine.sh(join).stdout.startswith("Joined https://localhost:8443 as box: ")
    assert machine.run("systemctl", "is-enabled", "spell-worker").stdout.strip() == "enabled"
    pid = main_pid(machine, "spell-worker")
    command = machine.path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
    assert command == ["/usr/bin/spell-worker", "run", "--state", "/var/lib/spell-worker"]

    # A run by that command line, under exactly the unit's settings: a place and a user of its own, and a unit.
    shown = spell(machine, "run", "-m", "box", "cat file; pwd; echo $$; id -u; cat /proc/self/cgroup; "
                  "grep NoNewPrivs /proc/self/status; ls -A /var/lib/spell-worker 2> /dev/null | wc -l").stdout.split("\n")
    isolated = "users" in spell(machine, "machine", "info", "box").stdout  # tmpfs can do it since Linux 6.3
    assert shown[:2] == ["hello", "/spell"] and int(shown[2]) < 10 and (int(shown[3]) > 60000) == isolated, shown
    assert re.search(r"/spell-run-[0-9a-f]{32}\.scope$", "\n".join(shown), re.M), shown
    assert shown[-3:] == ["NoNewPrivs:\t1", "0", ""], shown

    # Whatever becomes of the unit, its runs go on: killed with all that is in it, stopped, and upgraded.
    number = held_run(machine, "-m", "box")
    assert [unit.split()[3] for unit in scopes(machine)] == ["running"]
    machine.run("systemctl", "kill", "--kill-who=all", "--signal=KILL", "spell-worker")
    check_goes_on(machine, number)
    assert main_pid(machine, "spell-worker") not in (0, pid)
    number = held_run(machine, "-m", "box")
    machine.run("systemctl", "stop", "spell-worker")
    install(machine, newer["spell-worker-service"])
    machine.run("systemctl", "start", "spell-worker")
    check_goes_on(machine, number)
    number, pid = held_run(machine, "-m", "box"), main_pid(machine, "spell-worker")
    install(machine, newer["spell-worker-service"])
    assert main_pid(machine, "spell-worker") not in (0, pid)

    # It is not removed under a run, nor does the run notice that somebody tried.
    refused = machine.run("dpkg", "--purge", "spell-worker-service", check=False)
    assert refused.returncode == 1 and "not removed, for runs are here: " in refused.stderr, refused
    assert machine.run("systemctl", "is-active", "spell-worker").stdout.strip() == "active"
    check_goes_on(machine, number)
    machine.sh("until spell-worker status | grep -q '^0 runs'; do sleep 0.1; done")
    wait_for(lambda: scopes(machine) == [])

    # Removed, the machine still is who it was; purged, nothing is left.
    machine.run("dpkg", "--remove", "spell-worker-service")
    assert machine.processes() == had
    install(machine, packages["spell-worker-service"])
    assert spell(machine, "run", "-m", "box", "echo again").stdout == "again\n"
    machine.sh("until spell-worker status | grep -q '^0 runs'; do sleep 0.1; done")
    machine.run("dpkg", "--purge", "spell-worker-service")
    assert machine.processes() == had
    assert machine.mounts() == mounted
    assert [name for name in left(machine, before) if not name.startswith("/var/lib/spelld/")] == []
    machine.run("dpkg", "--purge", "spelld", "spell-cli")


def test_a_personal_service_starts_with_the_computer(machine, packages):
    install(machine, packages["spelld"], packages["spell-cli"])
    # As on a system without polkit, which answers differently from system to system.
    machine.sh("rm -f /usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service; systemctl stop polkit || true")
    if machine.run("systemctl", "start", "dbus.socket", "systemd-logind", "systemd-user-sessions", check=False).returncode != 0:
        pytest.skip("there are no sessions without dbus and systemd-logind")
    machine.run("useradd", "--create-home", "--shell", "/bin/bash", "ada")

    def ada(script, check=True):
        """In a session of hers."""
        return machine.run("systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--uid=ada", "-p", "PAMName=login",
                           "-p", "WorkingDirectory=/home/ada", "bash", "-ec", script, check=check)

    if not ada("echo $XDG_RUNTIME_DIR").stdout.strip():
        pytest.skip("there are no sessions without libpam-systemd")
    unit = "/home/ada/.config/systemd/user/spell.service"
    refused = ada("spell service enable", check=False)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1 and "loginctl enable-linger ada" in refused.stderr, refused
    assert not machine.path(unit).exists()
    machine.run("loginctl", "enable-linger", "ada")
    ada("spell service enable")
    assert machine.path(unit).exists()

    # The computer starts, and nobody has logged in.
    manager = "user@" + machine.run("id", "-u", "ada").stdout.strip()
    machine.run("systemctl", "restart", manager)
    ada("systemctl --user is-active spell")
    status = ada("systemctl --user show --value -p MainPID spell; spell service status --json").stdout.split("\n")
    assert f'"pid":{status[0]},' in status[1].replace(" ", ""), status

    # Its runs outlive it.
    ada("git init -q; git -c user.name=a -c user.email=a@b commit -q --allow-empty -m first;"
        "spell run -f -b 'mkfifo gate; echo began; cat gate; exit 7'; until spell logs 1 | grep -qx began; do sleep 0.05; done")
    ada("systemctl --user restart spell")
    ada("spell exec 1 sh -c 'echo released > gate'", check=False)  # it may end with the run that it releases
    assert ada("spell logs -f 1; spell wait 1", check=False).stdout.split() == ["began", "released"]
    assert ada("spell wait 1", check=False).returncode == 7
    ada("spell service disable")
    assert not machine.path(unit).exists()
    ada("systemctl --user stop spell")
    machine.run("systemctl", "stop", manager)
    machine.run("userdel", "--remove", "ada", check=False)
    machine.run("dpkg", "--purge", "spelld", "spell-cli")
