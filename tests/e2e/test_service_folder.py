"""Folders that the service cannot use, or can use in another way only."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from faults import lock_holder, service
from harness import BUILD, PATIENCE, Result, wait_gone

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def refusal(result, *names):
    """One line that names the thing and the way out; exit 1, or 3 where the configuration is wrong."""
    lines = [line for line in result.stderr.strip().splitlines() if "warning" not in line]
    assert result.returncode in (1, 3) and len(lines) == 1 and result.stdout == "", result
    assert all(str(name) in lines[0] for name in names), lines[0]
    return lines[0]


@pytest.mark.parametrize("arguments", [["ps"], ["run", "-f", "true"], ["service", "status"]])
def test_a_file_in_its_place(place, arguments):
    path = place.root / "file"
    path.write_text("mine")
    line = refusal(place.spell(*arguments, env={"SPELL_DIR": str(path)}), path)
    assert "SPELL_DIR" in line
    assert path.read_text() == "mine"


def test_below_a_file(place):
    (place.root / "file").write_text("mine")
    refusal(place.spell("ps", env={"SPELL_DIR": f"{place.root}/file/below"}), place.root / "file", "SPELL_DIR")


@root
def test_of_somebody_else(place):
    path = place.root / "theirs"
    path.mkdir(mode=0o700)
    os.chown(path, 65534, 65534)
    refusal(place.spell("ps", env={"SPELL_DIR": str(path)}), path, "65534", "SPELL_DIR")
    assert not list(path.iterdir())


def test_that_others_can_write_to(place):
    path = place.root / "open"
    path.mkdir()
    path.chmod(0o777)
    refusal(place.spell("ps", env={"SPELL_DIR": str(path)}), path, "chmod")
    assert not list(path.iterdir())


def test_not_writable(place):
    path = place.root / "readonly"
    path.mkdir(mode=0o500)
    if os.geteuid() == 0:  # whom no mode keeps out
        if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
            pytest.skip("a read-only folder for root needs a mount namespace, and this root is no mount")
        script = f'mount -t tmpfs -o ro,mode=700 none {path} && exec "$@"'
        process = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", BUILD / "bin/spell", "ps"], capture_output=True,
                                 env={**place.environment, "SPELL_DIR": str(path)}, timeout=PATIENCE)
        result = Result(["ps"], process.returncode, process.stdout, process.stderr)
    else:
        result = place.spell("ps", env={"SPELL_DIR": str(path)})
    refusal(result, path, "SPELL_DIR")


def test_in_use_from_another_host(place):
    """The lock says who holds it. A folder that two computers share, with a lock that both see."""
    place.spell("status", check=0)
    holder, lock = lock_holder(place), place.spell_dir / "spelld.lock"
    lock.write_text(json.dumps({**holder, "host": "elsewhere"}) + "\n")
    socket, aside = place.spell_dir / "spelld.sock", place.spell_dir / "aside"
    socket.rename(aside)  # another computer's socket reaches nobody
    try:
        refusal(place.spell("ps"), "elsewhere", "SPELL_DIR")
        assert lock_holder(place)["host"] == "elsewhere"
    finally:
        aside.rename(socket)
    assert service(place) == holder["pid"]


def test_too_long_for_a_socket(place):
    """The state is where it was asked for; the socket is where there is room, for this user alone."""
    long = place.root / "-".join(["long"] * 30)
    runtime = place.root / "run"
    runtime.mkdir(mode=0o700)
    env = {"SPELL_DIR": str(long), "XDG_RUNTIME_DIR": str(runtime)}
    assert place.spell("run", "-f", "echo fine", env=env, check=0).stdout == "fine\n"
    status = place.spell("status", "--json", env=env, check=0).json["service"]
    assert status["location"].startswith(f"unix:{runtime}/") and status["spell_dir"] == str(long)
    assert any("too long" in note for note in status["notes"])
    folders, sockets = (sorted(path for path in runtime.iterdir() if path.is_dir() == folder) for folder in (True, False))
    assert len(sockets) == 1 and sockets[0].stat().st_mode & 0o777 == 0o600
    assert all(folder.stat().st_mode & 0o777 == 0o700 for folder in folders)  # that of workflows
    # A run does not reach it there either.
    inside = place.spell("run", "-f", f"ls {sockets[0]}", env=env)
    assert inside.returncode != 0, inside
    # Who has no runtime folder later finds the same service.
    again = place.spell("status", "--json", env={"SPELL_DIR": str(long)}, check=0).json["service"]
    assert again["pid"] == status["pid"]
    place.spell("service", "stop", env=env, check=0)
    assert not wait_gone([status["pid"]], 10)


def test_a_relative_folder_with_strange_letters(place):
    name = "a b'c\"d$e;ü\\"
    (place.work / "sub").mkdir()
    env = {"SPELL_DIR": f"../{name}"}
    assert place.spell("run", "-f", "echo fine", env=env, check=0, cwd=place.work / "sub").stdout == "fine\n"
    assert (place.work / name / "spelld.sock").exists()
    pid = place.spell("service", "status", "--json", env=env, cwd=place.work / "sub").json["service"]["pid"]
    assert place.spell("service", "stop", env={"SPELL_DIR": str(place.work / name)}, check=0)
    assert not wait_gone([pid], 10)


def network_folder():
    """Of a mount of a network file system that this computer happens to have; None."""
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, path, kind, *_ = line.split()
        if kind.split(".")[0] in ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse", "ceph", "lustre", "afs") and os.access(path, os.W_OK):
            try:
                return pathlib.Path(tempfile.mkdtemp(prefix="spe2e-", dir=path))
            except OSError:
                continue
    return None


def test_on_a_network_file_system(place):
    """Where there is none, the unit tests of `base` show the same with a file system that only says so."""
    folder = network_folder()
    if not folder:
        pytest.skip("no network file system is mounted here")
    try:
        state = place.root / "state"
        env = {"SPELL_DIR": str(folder), "XDG_STATE_HOME": str(state)}
        assert place.spell("run", "-f", "echo fine", env=env, check=0).stdout == "fine\n"
        status = place.spell("status", "--json", env=env, check=0).json["service"]
        assert status["location"].startswith(f"unix:{state}/") and any("network" in note for note in status["notes"])
        place.spell("service", "stop", env=env, check=0)
        assert not wait_gone([status["pid"]], 10)
    finally:
        shutil.rmtree(folder)
