"""kill -9 of the service before each step that reaches the disk, in an upload, a removal, a collection: what was acknowledged
is there, what was not is whole or not there at all, nothing has to be cleaned by hand."""
import http.client
import os

import pytest

from faults import ended, lock_holder, start_run
from harness import wait_for
from storage import Api, Objects, killer

KB = 1 << 10
GONE = (ConnectionError, http.client.HTTPException, FileNotFoundError)


@pytest.fixture
def arm(place):
    environment, arm = killer(place.root)
    place.environment.update(environment)
    yield arm
    arm(None)


def fsck(place):
    result = place.start("fsck", program="spelld").finish()
    assert result.returncode == 0, result.stdout + result.stderr


def died(place):
    wait_for(lambda: lock_holder(place) is None, what="the end of the service")


def at_every_step(place, arm, operation, check, most=400):
    """Does `operation(api, step)` with a kill before step 1, 2, 3 … until one ends without; `check(api, step, answered)` afterwards,
    by a new service."""
    for step in range(1, most):
        api = Api(place)
        arm(step)
        try:
            answered = operation(api, step)
        except GONE:
            answered = None
        killed = answered is None
        arm(None)
        if killed:
            died(place)
        api = Api(place)
        check(api, step, answered)
        packs = place.spell_dir / "objects/packs"
        assert not [path.name for path in packs.iterdir() if path.suffix != ".pack"], "a temporary file stays"
        if not killed:
            assert step > 3, "nothing was killed"
            return step
    raise AssertionError("there is no end of steps")


def test_an_upload_that_is_cut_at_every_step(place, arm):
    contents = {}

    def upload(api, step):
        files = contents[step] = {"a": os.urandom(40 * KB), "b": b"b%d" % step}
        objects = Objects()
        node = objects.folder(files)
        if api.send(objects).status != 200:
            return "refused"
        return api.put(f"u{step}", node, sum(map(len, files.values()))).status

    def check(api, step, answered):
        listed = api.uploads()
        assert answered in (None, 200), answered
        assert answered is None or f"u{step}" in listed
        for name in listed:  # acknowledged or not: what is named is whole
            for path, data in contents[int(name[1:])].items():
                assert api.read(f"uploads/{name}/{path}").body == data, name

    at_every_step(place, arm, upload, check)
    fsck(place)


def test_a_replacement_that_is_cut_at_every_step(place, arm):
    """The name has the old content or the new one, each whole."""
    contents = [{"a": b"first"}]
    Api(place).upload("data", contents[0])

    def replace(api, step):
        contents.append({"a": os.urandom(20 * KB)})
        return api.upload("data", contents[-1]).status

    def check(api, step, answered):
        found = api.read("uploads/data/a").body
        assert found in ([contents[-1]["a"]] if answered else [old["a"] for old in contents]), answered
        contents[:] = [{"a": found}]

    at_every_step(place, arm, replace, check)
    fsck(place)


def test_a_removal_that_is_cut_at_every_step(place, arm):
    number = {}
    kept = {"a": os.urandom(30 * KB)}
    Api(place).upload("kept", kept)

    def remove(api, step):
        if "run" not in number:
            arm(None)
            number["run"] = start_run(place, "head -c 30000 /dev/urandom > out; echo said")
            assert ended(place, number["run"])["status"] == "complete"
            arm(step)
        removed = api.request("DELETE", api.of_owner(f"runs/{number['run']}")).status
        return 200 if removed == 404 else removed

    def check(api, step, answered):
        found = api.read(f"runs/{number['run']}/out")
        assert found.status == 404 if answered else found.status in (200, 404)
        if found.status == 200:
            assert len(found.body) == 30_000
        else:
            number.pop("run")
        assert api.read("uploads/kept/a").body == kept["a"]

    at_every_step(place, arm, remove, check)
    # Logs of removed runs whose removal was cut go with a collection.
    Api(place).collect(spare=0)
    assert len([log for log in (place.spell_dir / "logs").glob("*/*") if log.is_file()]) <= 2 * len(number)
    fsck(place)


def test_a_collection_that_is_cut_at_every_step(place, arm):
    kept = {f"k{n}": {"a": os.urandom(20 * KB), "b": os.urandom(20 * KB)} for n in range(3)}
    api = Api(place)
    objects = Objects()
    nodes = {name: objects.folder(files) for name, files in kept.items()}
    for n in range(8):
        objects.folder({"gone": os.urandom(20 * KB)})  # in the same pack: it has to be written anew
    assert api.send(objects).status == 200
    for name, node in nodes.items():
        assert api.put(name, node, 40 * KB).status == 200

    def collect(api, step):
        arm(None)
        assert api.upload("gone", {"a": os.urandom(30 * KB)}).status == 200
        assert api.remove("gone").status == 200
        arm(step)
        answer = api.request("POST", "/v1/service/collect", {"spare": 0})
        return answer.status

    def check(api, step, answered):
        assert answered in (None, 200)
        for name, files in kept.items():
            for path, data in files.items():
                assert api.read(f"uploads/{name}/{path}").body == data, name

    at_every_step(place, arm, collect, check)
    fsck(place)
    api = Api(place)
    api.collect(spare=0)
    size = sum(path.stat().st_size for path in (place.spell_dir / "objects/packs").iterdir())
    assert size < 140 * KB, "what nothing names is still there"


def test_a_collection_without_a_service_that_is_cut_at_every_step(place, arm):
    """`spelld gc` holds the folder's lock, which goes with it; the service that comes finds all."""
    kept = {"a": os.urandom(20 * KB), "b": os.urandom(20 * KB)}
    for step in range(1, 400):
        api = Api(place)
        assert api.upload("kept", kept).status == 200
        assert api.upload("gone", {"a": os.urandom(30 * KB)}).status == 200
        assert api.remove("gone").status == 200
        place.spell("service", "stop", check=0)
        arm(step)
        result = place.start("gc", "--spare", "0", program="spelld").finish()
        arm(None)
        assert result.returncode in (0, -9, 137), result.stderr
        api = Api(place)
        assert api.uploads() == ["kept"]
        for path, data in kept.items():
            assert api.read(f"uploads/kept/{path}").body == data
        if result.returncode == 0:
            break
    assert step > 3, "nothing was killed"
    fsck(place)


def test_a_collection_of_code_that_is_cut_at_every_step(place, arm):
    repo = place.make_repository("repo", {"kept": "kept\n"})
    (repo / "own").write_text("0\n")
    place.git("add", "own", cwd=repo)

    def run():
        number = place.spell("run", "-b", "--json", "cat kept own", cwd=repo, check=0).json["run"]["id"]
        assert ended(place, number)["status"] == "complete"
        return number
    kept = run()

    def collect(api, step):
        arm(None)
        (repo / "own").write_text(f"{step}\n")
        (repo / "big").write_bytes(os.urandom(20 * KB))
        place.git("add", "-A", cwd=repo)
        number = run()
        assert api.request("DELETE", api.of_owner(f"runs/{number}")).status == 200
        arm(step)
        return api.request("POST", "/v1/service/collect", {"spare": 0}).status

    def check(api, step, answered):
        assert answered in (None, 200)
        fsck(place)

    at_every_step(place, arm, collect, check)
    api = Api(place)
    assert api.collect(spare=0)["problems"] == []
    again = place.spell("rerun", "--json", "-b", kept, check=0).json["run"]["id"]
    assert ended(place, again)["status"] == "complete" and place.spell("logs", again, check=0).bytes == b"kept\n0\n"
    store, = (place.spell_dir / "code").glob("*/*.git")
    assert sum(path.stat().st_size for path in (store / "objects/pack").iterdir()) < 15 * KB, "what nothing names is still there"
    assert not [path.name for path in store.iterdir() if path.name.startswith("spell-") and path.suffix != ".lock"]
