import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import uuid

import pytest

from api import PACK, PASSWORD, SOURCE, Api, Document, TeamApi
from spellfs import Objects, text_of
from workers import Worker, add

HERE = pathlib.Path(__file__).parent
BUILD = pathlib.Path(os.environ.get("SPELL_BUILD", SOURCE / "build")).resolve()


def pytest_collection_modifyitems(config, items):
    """What all tests have seen is judged by the last one, and only where all of them run."""
    last = [item for item in items if item.name == "test_every_operation_has_succeeded"]
    whole = {item.path for item in items} == set(HERE.glob("test_*.py")) and not config.option.keyword and not any("::" in path for path in config.args)
    items[:] = [item for item in items if item not in last] + (last if whole else [])


@contextlib.contextmanager
def running_service(document):
    folder = tempfile.mkdtemp(prefix="spell-contract-")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPELL_")}
    environment["SPELL_DIR"] = folder
    spell = BUILD / "bin/spell"
    try:
        started = subprocess.run([spell, "status"], env=environment, capture_output=True, text=True, timeout=60)
        assert started.returncode == 0, started.stderr
        yield Api(folder + "/spelld.sock", document)
    finally:
        subprocess.run([spell, "service", "stop"], env=environment, capture_output=True, timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def document():
    return Document()


@pytest.fixture(scope="session")
def service(document):
    """One service for all tests, with an ended run whose outputs can be read."""
    if not (BUILD / "bin/spelld").exists():
        pytest.fail(f"there is no {BUILD}/bin/spelld; SPELL_BUILD names the build folder")
    with running_service(document) as api:
        pid = api.pid()
        yield api
        assert api.pid() == pid, "the service has crashed or was replaced"


@pytest.fixture
def own_service(document):
    """A service that a test may end."""
    with running_service(document) as api:
        yield api


@pytest.fixture(scope="session")
def ended_run(service):
    """A complete run that has printed and saved something."""
    number = service.run("echo one; echo two; mkdir -p deep; printf 0123456789 > deep/file; ln -s file deep/link", labels=["kept"])
    run = service.wait(number)
    assert (run["status"], run["user_exit_code"]) == ("complete", 0), run["reason"]
    return number


@pytest.fixture
def packages_service(document, tmp_path):
    """A service that hands out the packages of a folder: (service, folder)."""
    packages = tmp_path / "packages"
    packages.mkdir()
    folder = tempfile.mkdtemp(prefix="spell-contract-")
    reader, writer = os.pipe()
    command = [BUILD / "bin/spelld", "serve", "--personal", "--spell-dir", folder, "--packages", packages, "--ready-fd", str(writer)]
    program = subprocess.Popen(command, pass_fds=[writer])
    os.close(writer)
    try:
        with open(reader) as ready:
            assert ready.readline() == "ready\n"
        yield Api(folder + "/spelld.sock", document), packages
    finally:
        program.terminate()
        program.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def team(document):
    """A team's service as its administrator sees it."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="spell-team-"))
    program, data = BUILD / "bin/spelld", folder / "data"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPELL_")}
    subprocess.run([program, "init", "--data", data, "--owner", "acme", "--admin", "ada", "--password-stdin"], env=environment, check=True,
                   capture_output=True, text=True, input=PASSWORD + "\n", timeout=60)
    reader, writer = os.pipe()
    with open(folder / "log", "wb") as log:
        service = subprocess.Popen([program, "serve", "--data", data, "--listen", "127.0.0.1:0", "--ready-fd", str(writer)], env=environment,
                                   pass_fds=[writer], stderr=log)
    os.close(writer)
    try:
        with open(reader) as ready:
            said = ready.read()
        assert said.startswith("ready "), (folder / "log").read_text()
        yield TeamApi(int(said.split()[1]), document, "acme").log_in("ada")
        assert service.poll() is None, "the service has ended"
    finally:
        service.terminate()
        service.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def name(service):
    name = "m" + uuid.uuid4().hex[:12]
    yield name
    for one in service.get(service.of_owner("machines")).json["machines"]:
        if one["name"].startswith(name):
            assert service.request("DELETE", service.of_owner(f"machines/{one['name']}?with_runs=1")).status == 200


@pytest.fixture
def worker(service, name):
    worker = Worker(service, add(service, name))
    worker.greet()
    return worker


@pytest.fixture
def sent(service):
    """A folder of three files that has been sent, and is to be named: (objects, request)."""
    objects = Objects()
    big = os.urandom(300_000)
    node = objects.folder({"a": b"first " + os.urandom(8), "big": big, "empty": b""})
    path = service.of_owner("objects")
    names = [text_of(name) for name, _, _ in objects.list]
    assert service.post(path + "/missing", {"names": names}).json == {"names": names}
    pack = objects.pack()
    assert service.post(path, pack, headers=PACK).json == {"bytes": len(pack)}
    assert service.post(path + "/missing", {"names": names}).json == {"names": []}
    objects.big = big
    return objects, {"type": "folder", "node": text_of(node), "size": 300_014, "files": 3, "mode": 0o750,
                     "modified_at": "2026-01-31T12:00:00.000001Z"}
