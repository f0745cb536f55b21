"""A disk without room from step 1, 2, 3 … on of an upload, a run, a collection: what was there stays, what is refused is refused
in one word, what was taken is carried out when there is room again."""
import os
import time

import pytest

from faults import ended, service
from harness import wait_for
from storage import Api, Objects, filler

KB = 1 << 10


@pytest.fixture
def arm(place):
    environment, arm = filler(place.root)
    place.environment.update(environment)
    yield arm
    arm(None)


def full(answer):
    assert answer.status in (200, 507) and (answer.status == 200 or answer.code == "disk_full"), answer.body
    return answer.status == 507


def await_room(place):
    """Until new work is taken again, by itself."""
    wait_for(lambda: place.spell("run", "-f", "-b", "true").returncode == 0, what="room")


def at_every_step(place, arm, operation, check, most=300):
    """Does `operation(step)` without room from step 1, 2, 3 … on, until one is through before. It returns whether something was refused;
    `check(step, refused)` comes when there is room again. The service lives through all of it."""
    pid, through = service(place), 0
    for step in range(1, most):
        arm(step)
        refused = operation(step)
        arm(None)
        await_room(place)
        check(step, refused)
        assert service(place) == pid
        through = 0 if refused else through + 1
        if through == 3:  # what it does by the side may meet the step as well
            assert step > 6, "nothing was refused"
            return
    raise AssertionError("there is no end of steps")


def test_an_upload_that_finds_no_room_at_any_step(place, arm):
    api, contents = Api(place), {}

    def upload(step):
        contents[step] = {"a": os.urandom(40 * KB), "b": b"b%d" % step}
        objects = Objects()
        node = objects.folder(contents[step])
        return full(api.send(objects)) or full(api.put("data", node, sum(map(len, contents[step].values()))))

    def check(step, refused):
        if refused:
            found = {name: api.read(f"uploads/data/{name}").body for name in "ab"} if "data" in api.uploads() else None
            assert found in (None, *contents.values()) and found != contents[step]
            assert api.upload("data", contents[step]).status == 200
        for name, data in contents[step].items():
            assert api.read(f"uploads/data/{name}").body == data

    at_every_step(place, arm, upload, check)
    assert place.start("fsck", program="spelld").finish().returncode == 0


def test_a_collection_that_finds_no_room_at_any_step(place, arm, repo):
    api = Api(place)
    kept = {"a": os.urandom(20 * KB), "b": os.urandom(20 * KB)}
    objects = Objects()
    node = objects.folder(kept)
    objects.folder({str(n): os.urandom(30 * KB) for n in range(4)})  # in the same pack: it has to be written anew
    assert api.send(objects).status == 200 and api.put("kept", node, 40 * KB).status == 200
    number = place.spell("run", "-b", "--json", "true", cwd=repo, check=0).json["run"]["id"]
    assert ended(place, number)["status"] == "complete"

    def collect(step):
        arm(None)
        assert api.upload("gone", {"a": os.urandom(30 * KB)}).status == 200
        assert api.remove("gone").status == 200
        (repo / "own").write_bytes(os.urandom(20 * KB))
        place.git("add", "own", cwd=repo)
        gone = place.spell("run", "-b", "--json", "true", cwd=repo, check=0).json["run"]["id"]
        ended(place, gone)
        place.spell("rm", "-f", gone, check=0)
        arm(step)
        answer = api.request("POST", "/v1/service/collect", {"spare": 0})
        return full(answer) or bool(answer.json["collected"]["problems"])

    def check(step, refused):
        for name, data in kept.items():
            assert api.read(f"uploads/kept/{name}").body == data
        assert api.request("POST", "/v1/service/check").json["check"]["hurt"] == []

    at_every_step(place, arm, collect, check)
    again = place.spell("rerun", "--json", "-b", number, check=0).json["run"]["id"]
    assert ended(place, again)["status"] == "complete"
    place.spell("service", "stop", check=0)  # packs whose entry found no room are taken in by the next one
    api = Api(place)
    api.collect(spare=0)
    assert sum(path.stat().st_size for path in (place.spell_dir / "objects/packs").iterdir()) < 100 * KB


def test_a_run_that_finds_no_room_at_any_step(place, arm):
    """From its submission to the saving of its outputs: refused, or carried out to its end."""
    api, numbers = Api(place), {}

    def status_of(number):
        return api.request("GET", api.of_owner(f"runs/{number}")).json["run"]["status"]

    def submit(step):
        result = place.spell("run", "-f", "-b", "--json", f"echo {step} > out; head -c 30000 /dev/urandom > noise; echo said")
        if result.returncode != 0:
            assert result.returncode == 1 and '"disk_full"' in result.stderr, result
            return True
        numbers[step] = result.json["run"]["id"]
        # To its end, or to where it is without room; a moment more, for what meets the same.
        wait_for(lambda: arm.met() or status_of(numbers[step]) == "complete", what="a step without room")
        time.sleep(0.05 if arm.met() else 0)
        return arm.met()

    def check(step, refused):
        if step not in numbers:
            return
        run = ended(place, numbers[step])
        # A run whose place could not be made has not begun; every other is complete, with all it left.
        if run["status"] != "complete":
            assert run["status"] in ("build_failed", "failed") and run["reason_code"] == "disk_full", run
            return
        assert run["output_files"] == 2 and run["user_exit_code"] == 0, run
        assert api.read(f"runs/{run['id']}/out").body == b"%d\n" % step
        assert place.spell("logs", run["id"], check=0).bytes == b"said\n"

    at_every_step(place, arm, submit, check)
    assert place.start("fsck", program="spelld").finish().returncode == 0
