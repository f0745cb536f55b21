"""Layers of environments, as workers claim, bring and share them, and as people list and remove them."""
import threading

import pytest

from api import PACK, code_of
from spellfs import Objects, text_of
from workers import Worker, add

NAME, OTHER = "a" * 32, "b" * 32


class Builder:
    """A run that wants an environment, on a machine of its own."""

    def __init__(self, service, name, **members):
        self.service = service
        self.worker = Worker(service, add(service, name))
        self.worker.greet()
        self.number = service.run("true", machine_type=name, **{"pip": ["numpy"], **members})
        self.start, = [command["start"] for command in self.worker.poll()]

    @property
    def query(self):
        return f"?run={self.start['run']}&epoch={self.start['epoch']}"

    def claim(self, name=NAME, **members):
        return self.worker.post("layers/claim" + self.query, {"name": name, "method": "pip", "base": "debian 12", "made_of": "numpy", **members})

    def put(self, name=NAME, **members):
        return self.worker.post("layers" + self.query, {"name": name, **members})

    def send(self, files):
        objects = Objects()
        node = objects.folder(files)
        assert self.worker.post("objects" + self.query, objects.pack(), type=PACK["Content-Type"]).status == 200
        return {"node": text_of(node), "size": sum(map(len, files.values())), "files": len(files)}

    def build(self, name=NAME, content=b"numpy", packages=("numpy==1",)):
        assert self.claim(name).json["state"] == "build"
        built = self.send({"lib": content})
        answer = self.put(name, packages=list(packages), **built)
        assert answer.status == 200 and answer.json["state"] == "ready", answer.body
        return built

    def info(self):
        return self.service.get(self.service.of_owner(f"runs/{self.number}")).json["run"]

    def end(self):
        self.worker.report(self.start, "building", "running", "saving", "pushing", result="complete")


@pytest.fixture
def builder(service, name):
    made = []

    def make(**members):
        made.append(Builder(service, f"{name}-{len(made)}", **members))
        return made[-1]
    yield make
    for one in made:
        one.end()
    for layer in service.get(service.of_owner("environments")).json["environments"]:
        service.request("DELETE", service.of_owner(f"environments/{layer['name']}"))


def environments(service):
    return service.get(service.of_owner("environments")).json["environments"]


def test_one_builds_and_all_have_it(service, builder):
    first, second = builder(), builder()
    assert first.claim().json["state"] == "build"
    assert first.claim().json["state"] == "build"  # asked again after a lost answer
    waiting = second.claim().json
    assert (waiting["state"], waiting["builder"]) == ("wait", first.number)
    layer, = environments(service)
    assert (layer["state"], layer["base"], layer["made_of"]) == ("building", "debian 12", "numpy")
    answers = []
    waiter = threading.Thread(target=lambda: answers.append(second.claim(wait_ms=60000).json))
    waiter.start()
    built = first.send({"lib": b"numpy"})
    assert first.put(packages=["numpy==1"], **built).json["state"] == "ready"
    waiter.join(30)
    assert answers and (answers[0]["state"], answers[0]["node"], answers[0]["size"]) == ("ready", built["node"], 5)
    for run in (first, second):
        assert run.info()["environment"] == [{"name": NAME, "method": "pip", "packages": ["numpy==1"]}]
        assert run.info()["pip"] == ["numpy"]
    layer = service.get(service.of_owner("environments/aaaa")).json["environment"]
    assert (layer["state"], layer["packages"], layer["files"]) == ("ready", ["numpy==1"], 1)
    assert sorted(layer["runs"]) == sorted([first.number, second.number])


def test_what_is_in_use_stays(service, builder):
    run = builder()
    assert run.claim().json["state"] == "build"
    assert f"by run {run.number}" in code_of(service.request("DELETE", service.of_owner(f"environments/{NAME}")), 409, "environment_in_use")
    run.put(**run.send({"lib": b"x"}))
    code_of(service.request("DELETE", service.of_owner(f"environments/{NAME}")), 409, "environment_in_use")
    run.end()
    assert service.request("DELETE", service.of_owner(f"environments/{NAME}")).json["environment"]["name"] == NAME
    code_of(service.get(service.of_owner(f"environments/{NAME}")), 404, "environment_not_found")
    code_of(service.request("DELETE", service.of_owner("environments/none")), 404, "environment_not_found")
    assert run.info()["environment"][0]["name"] == NAME  # what it had is known still


def test_names_that_begin_alike(service, builder):
    run = builder()
    run.build(NAME)
    run.build("a" * 31 + "b", b"other")
    assert "several" in code_of(service.get(service.of_owner("environments/aaaaaa")), 404, "environment_not_found")
    assert service.get(service.of_owner("environments/" + "a" * 31 + "b")).status == 200
    code_of(service.get(service.of_owner("environments/aaa"), checked=False), 404, "environment_not_found")


def test_a_build_that_is_given_up_leaves_nothing(service, builder):
    first, second = builder(), builder()
    assert first.claim().json["state"] == "build"
    assert first.put().json["state"] == "build"
    assert environments(service) == []
    assert second.claim().json["state"] == "build"
    code_of(first.put(**first.send({"lib": b"late"})), 409, "stale_epoch")


def test_the_claim_of_a_run_that_has_ended_is_nobodys(service, builder):
    first, second = builder(), builder()
    assert first.claim().json["state"] == "build"
    assert second.claim().json["state"] == "wait"
    first.end()
    assert second.claim().json["state"] == "build"
    code_of(first.claim(), 404, "run_not_found")


def test_what_was_not_sent_is_not_taken(builder):
    run = builder()
    assert run.claim().json["state"] == "build"
    code_of(run.put(node="s" + "0" * 64, size=1, files=1), 409, "incomplete_pack")
    code_of(run.put(node="x"), 400, "invalid_request")
    code_of(run.put(OTHER, **run.send({"lib": b"x"})), 409, "stale_epoch")  # it has not claimed that
    code_of(run.worker.post("layers" + run.query, {"name": NAME, "size": -1}, checked=False), 400, "invalid_request")


@pytest.mark.parametrize("wrong", [{"name": "x"}, {"method": "brew"}, {"wait_ms": -1}, {"wait_ms": 60001}, {"more": 1}, {"name": None}, {"base": "x" * 2000}])
def test_wrong_claims(builder, wrong):
    run = builder()
    body = {"name": NAME, "method": "pip", **wrong}
    code_of(run.worker.post("layers/claim" + run.query, body, checked=False), 400, "invalid_request")
    code_of(run.worker.post(f"layers/claim?run={run.start['run']}&epoch=99", {"name": NAME, "method": "pip"}), 409, "stale_epoch")
    code_of(run.worker.post("layers/claim?run=none&epoch=1", {"name": NAME, "method": "pip"}), 404, "run_not_found")


def test_a_layer_that_is_lost_is_built_anew(builder):
    run = builder()
    built = run.build()
    assert run.claim(lost="s" + "1" * 64).json["state"] == "ready"
    assert run.claim(lost=built["node"]).json["state"] == "build"
    other = builder()
    assert other.claim().json["state"] == "wait"


def test_refresh_and_pins(service, builder):
    builder().build()
    fresh = builder(refresh_environment=True)
    assert fresh.claim().json["state"] == "build"
    assert builder().claim().json["state"] == "ready"  # meanwhile
    fresh.put(packages=["numpy==2"], **fresh.send({"lib": b"numpy 2"}))
    assert fresh.claim().json["state"] == "ready"
    last = builder()
    assert last.claim().json["state"] == "ready" and last.info()["environment"][0]["packages"] == ["numpy==2"]


@pytest.mark.parametrize("body", [{"pip": ["-r x"]}, {"pip": ["./x"]}, {"pip": [""]}, {"pip": "numpy"}, {"setup": " "}, {"refresh_environment": True},
                                  {"requirements": "/etc/passwd"}, {"requirements_text": "numpy"}, {"pinned": ["numpy==1"]}, {"apt": ["-y"]}, {"apt": ["./x.deb"]}, {"apt": ["sl/sid"]}, {"apt": ["sl-"]}, {"apt": ["s*"]}, {"apt": ["?all"]},
                                  {"apt": ["sl="]}, {"apt": ["sl; true"]}, {"apt": ["sl\n"]}, {"apt": [""]}, {"apt": "sl"}, {"pinned_apt": ["sl=1"]}])
def test_what_is_no_environment_is_refused(service, body):
    code_of(service.post(service.of_owner("runs"), {"command": "true", **body}, checked=False), 400, "invalid_request")


def test_requirements_need_a_commit(service):
    code_of(service.post(service.of_owner("runs"), {"command": "true", "requirements": "r.txt"}), 422, "invalid_requirements")
