"""Machines, and the workers that speak for them: joining, credentials, what a worker may say and what it may not."""
import json
import threading
import uuid

import pytest

HELLO = {"version": "0.1.0", "boot_id": "b", "cores": 8, "memory": 64 * 10**9, "disk_free": 10**12,
         "gpus": [{"index": n, "uuid": f"GPU-{n}", "name": "Tesla V100-SXM2-16GB", "memory": 16 * 10**9} for n in range(4)]}


def code_of(answer, status, code):
    assert (answer.status, answer.code) == (status, code), answer.body
    return answer.json["error"]["message"]


class Worker:
    """A worker that has joined, as the wire knows it."""

    def __init__(self, service, join, **hello):
        self.service, self.hello = service, {**HELLO, **hello}
        answer = service.post("/v1/join", {"protocol": 1, "name": "host", "version": "0.1.0", "public_key": "", "hello": self.hello},
                              headers=bearer(join["token"]))
        assert answer.status == 201, answer.body
        self.id, self.name, self.token = (answer.json[key] for key in ("machine", "name", "token"))
        self.answer, self.seen = answer.json, 0

    def post(self, route, body, **options):
        return self.service.post(f"/v1/machines/{self.id}/{route}", body, headers=bearer(self.token), **options)

    def sync(self, **members):
        answer = self.post("sync", {"protocol": 1, "seen": self.seen, **members})
        assert answer.status == 200, answer.body
        return answer.json

    def poll(self, wait_ms=0, **members):
        """The commands that come; they are acknowledged with the next poll."""
        commands = self.sync(wait_ms=max(1, wait_ms), **members)["commands"]
        if commands:
            self.seen = commands[-1]["number"]
        return commands

    def greet(self, **holds):
        return self.poll(hello=self.hello, holds=holds)

    def report(self, start, *steps, result=None, first=1):
        events = [{"number": first + n, "status": step, "text": f"Run is {step}"} for n, step in enumerate(steps)]
        report = {"run": start["run"], "epoch": start["epoch"], "events": events}
        if result:
            report["result"] = {"status": result, "exit_code": 0 if result == "complete" else 1}
        return self.sync(reports=[report])["refused"]


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def name(service):
    name = "m" + uuid.uuid4().hex[:12]
    yield name
    for one in service.get(service.of_owner("machines")).json["machines"]:
        if one["name"].startswith(name):
            assert service.request("DELETE", service.of_owner(f"machines/{one['name']}")).status == 200


def add(service, name, **members):
    answer = service.post(service.of_owner("machines"), {"name": name, **members})
    assert answer.status == 201, answer.body
    return answer.json["join"]


@pytest.fixture
def worker(service, name):
    worker = Worker(service, add(service, name))
    worker.greet()
    return worker


def machine(service, name):
    return service.get(service.of_owner(f"machines/{name}")).json["machine"]


def test_a_machine_joins_and_runs_something(service, name):
    join = add(service, name, serves=["T4"], cpus=4, gpus=2)
    assert join["url"] == f"unix:{service.socket_path}" and join["machine"] == name
    known = machine(service, name)
    assert (known["joined"], known["connected"], known["serves"]) == (False, False, ["t4"])
    assert "get-token" in code_of(service.post(service.of_owner("runs"), {"command": "x", "machine_type": name}), 422, "unknown_machine_type")
    worker = Worker(service, join)
    assert (worker.name, worker.answer["lost_after"], worker.answer["certificate"]) == (name, 600, "")
    assert machine(service, name)["joined"] and not machine(service, name)["connected"]
    number = service.run("train", machine_type="t4", gpus=2)
    assert service.get(service.of_owner(f"runs/{number}")).json["run"]["reason"] == "waiting for a t4 machine: it is not connected"
    start, = worker.greet()
    assert start["type"] == "start" and (start["start"]["gpus"], start["start"]["cpus"]) == (2, 4)
    known = machine(service, name)
    assert known["connected"] and known["runs"] == [number] and known["used"]["gpus"] == 2 and known["offered"]["cpus"] == 4
    waiting = service.run("train", machine_type=name)
    reason = service.get(service.of_owner(f"runs/{waiting}")).json["run"]["reason"]
    assert reason == f"waiting for machine {name}: 1 GPU wanted, 0 free of 2"
    assert worker.report(start, "building", "running", "saving", "pushing", result="complete") == {}
    assert service.wait(number)["status"] == "complete"
    forget, start = worker.poll()
    assert (forget["type"], start["type"], start["start"]["number"]) == ("forget", "start", waiting)
    service.request("DELETE", service.of_owner(f"machines/{name}"))
    assert service.wait(waiting)["reason_code"] == "machine_removed"
    code_of(worker.post("sync", {"protocol": 1}), 401, "unauthorized")


def test_wrong_used_and_foreign_join_tokens(service, name):
    join = add(service, name)
    body = {"protocol": 1, "hello": HELLO}
    for wrong in ("spj_" + "0" * 64, "spj_", "spj_" + "é".encode().hex(), join["token"][:-1], join["token"] + "0"):
        code_of(service.post("/v1/join", body, headers=bearer(wrong)), 401, "unauthorized")
    code_of(service.post("/v1/join", body), 401, "unauthorized")
    again = service.post(service.of_owner(f"machines/{name}/token")).json["join"]
    code_of(service.post("/v1/join", body, headers=bearer(join["token"])), 401, "unauthorized")
    worker = Worker(service, again)
    assert f"get-token" in code_of(service.post("/v1/join", body, headers=bearer(again["token"])), 401, "join_token_used")
    # A worker's token is no join token, and no user's; a join token opens nothing else.
    code_of(service.post("/v1/join", body, headers=bearer(worker.token)), 401, "unauthorized")
    code_of(service.get(service.of_owner("runs"), headers=bearer(worker.token), checked=False), 401, "unauthorized")
    third = service.post(service.of_owner(f"machines/{name}/token")).json["join"]
    code_of(service.get(service.of_owner("runs"), headers=bearer(third["token"]), checked=False), 401, "unauthorized")


def test_another_worker_takes_the_place_of_the_first(service, worker, name):
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(worker.post("sync", {"protocol": 1, "seen": worker.seen, "wait_ms": 20000})))
    waiting.start()
    other = Worker(service, service.post(service.of_owner(f"machines/{name}/token")).json["join"])
    waiting.join(10)
    assert not waiting.is_alive()
    code_of(worker.post("sync", {"protocol": 1}), 401, "unauthorized")
    other.greet()
    assert machine(service, name)["connected"]


def test_names_are_taken_once(service, worker, name):
    code_of(service.post(service.of_owner("machines"), {"name": name.upper()}), 409, "name_taken")
    code_of(service.post(service.of_owner("machines"), {"name": "CPU"}), 409, "name_taken")
    here = next(m["name"] for m in service.get(service.of_owner("machines")).json["machines"] if m["places"])
    code_of(service.post(service.of_owner("machines"), {"name": here}), 409, "name_taken")
    code_of(service.request("DELETE", service.of_owner(f"machines/{here}")), 403, "not_permitted")
    code_of(service.request("PUT", service.of_owner(f"links/{name}"), {"resource": "runs/1"}), 409, "name_taken")


def test_drain_resume_and_rename(service, worker, name):
    path = service.of_owner(f"machines/{name}")
    assert service.request("PATCH", path, {"drained": True}).json["machine"]["drained"]
    number = service.run("x", machine_type=name)
    assert service.get(service.of_owner(f"runs/{number}")).json["run"]["reason"].endswith("1 drained")
    assert worker.poll() == []
    service.request("PATCH", path, {"drained": False})
    start, = worker.poll()
    assert service.request("PATCH", path, {"name": f"{name}-b"}).json["machine"]["runs"] == [number]
    code_of(service.get(path), 404, "machine_not_found")
    assert worker.report(start, "building", "running", result="complete") == {}
    run = service.wait(number)
    assert (run["status"], run["machine"]) == ("complete", f"{name}-b")


def test_machine_types(service, worker, name):
    kind = f"t{name}"
    types = service.of_owner("machine-types")
    made = service.post(types, {"name": kind.upper(), "gpus": 2, "lost_after": 30, "spot": True}).json["machine_type"]
    assert (made["name"], made["gives"]["gpus"], made["lost_after"], made["machines"]) == (kind, 2, 30, 0)
    code_of(service.post(types, {"name": kind}), 409, "name_taken")
    code_of(service.post(types, {"name": name}), 409, "name_taken")
    assert f"--serves {kind}" in code_of(service.post(service.of_owner("runs"), {"command": "x", "machine_type": kind}), 422,
                                         "unknown_machine_type")
    join = service.post(f"{types}/{kind}/token").json["join"]
    joining = {"protocol": 1, "name": f"{name}-host", "hello": HELLO}
    joined = service.post("/v1/join", joining, headers=bearer(join["token"]))
    assert joined.status == 201 and joined.json["name"] == f"{name}-host" and joined.json["lost_after"] == 30
    assert service.request("PATCH", f"{types}/{kind}", {"gpus": 4}).json["machine_type"]["gives"]["gpus"] == 4
    listed = {t["name"]: t for t in service.get(types).json["machine_types"]}
    assert listed[kind]["machines"] == 1 and "CPU" in listed
    code_of(service.request("PATCH", f"{types}/none", {"gpus": 1}), 404, "machine_type_not_found")
    assert service.request("DELETE", f"{types}/{kind}").json["removed"] == kind
    code_of(service.request("DELETE", f"{types}/{kind}"), 404, "machine_type_not_found")


def test_what_cannot_be_had_is_refused(service, worker, name):
    runs = service.of_owner("runs")
    assert "5 GPUs: " in code_of(service.post(runs, {"command": "x", "machine_type": name, "gpus": 5}), 422, "machine_too_small")
    assert "9 cores: " in code_of(service.post(runs, {"command": "x", "machine_type": name, "cpus": 9}), 422, "machine_too_small")
    assert "A100" in code_of(service.post(runs, {"command": "x", "machine_type": name, "gpu_name": "A100"}), 422, "machine_too_small")


def test_a_machine_for_some(service, name):
    worker = Worker(service, add(service, name, allow=["somebody-else", "vision"]))
    worker.greet()
    assert service.owner in code_of(service.post(service.of_owner("runs"), {"command": "x", "machine_type": name}), 422,
                                    "machine_not_allowed")
    service.post(service.of_owner("projects"), {"name": "vision"})
    service.run("x", machine_type=name, project="vision")
    assert [c["type"] for c in worker.poll()] == ["start"]


def test_a_worker_reaches_only_its_own_machine_and_runs(service, worker, name, ended_run):
    other = Worker(service, add(service, f"{name}-o"))
    other.greet()
    service.run("x", machine_type=name)
    start, = worker.poll()
    stolen = {"run": start["run"], "epoch": start["epoch"]}
    # Of another machine's route, of another's run, of a run's earlier or later epoch.
    code_of(service.post(f"/v1/machines/{worker.id}/sync", {"protocol": 1}, headers=bearer(other.token)), 401, "unauthorized")
    assert other.report(start, "building", "running", result="complete") == {start["run"]: "stale_epoch"}
    for epoch in (0, start["epoch"] + 1, 2**53 - 1):
        assert worker.report({**start, "epoch": epoch}, "building", result="complete") == {start["run"]: "stale_epoch"}
    query = f"run={start['run']}&epoch={start['epoch']}"
    frames = {**bearer(other.token), "Content-Type": "application/octet-stream"}
    log = service.post(f"/v1/machines/{other.id}/log?{query}&offset=0&now_us=1", b"x", headers=frames)
    assert log.status in (400, 409) and log.code in ("stale_epoch", "bad_frame"), log.body
    pack = service.post(f"/v1/machines/{other.id}/objects?{query}", b"x", headers=frames)
    assert pack.status == 409 and pack.code == "stale_epoch", pack.body
    code_of(other.post("missing", {**stolen, "names": []}), 409, "stale_epoch")
    # Holding what is not one's own gives nothing but the order to forget it.
    assert {c["type"] for c in other.greet(**{start["run"]: start["epoch"]})} == {"forget"}
    run = service.get(service.of_owner(f"runs/{start['start']['number']}")).json["run"]
    assert (run["status"], run["machine"]) == ("machine_requested", "")
    # Outputs that nobody sent are nobody's.
    result = {"status": "complete", "exit_code": 0, "outputs": "s" + "0" * 64}
    taken = worker.post("sync", {"protocol": 1, "reports": [{**stolen, "events": [], "result": result}]})
    assert taken.status in (400, 409), taken.body


VALUES = [None, True, 0, -1, 2**53, 1.5, "", "x" * 70_000, [], {}, [1], {"x": 1}]


def paths(sample, path=()):
    for key, value in (sample.items() if isinstance(sample, dict) else enumerate(sample) if isinstance(sample, list) else ()):
        yield path + (key,)
        yield from paths(value, path + (key,))


def changed(sample, path, value):
    copy = json.loads(json.dumps(sample))
    at = copy
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return copy


def test_every_field_of_a_sync_hostile(service, worker, name):
    service.run("x", machine_type=name)
    start, = worker.poll()
    event = {"number": 1, "status": "building", "text": "t", "important": False, "age_us": 0, "log_offset": 0, "reason_code": ""}
    result = {"status": "complete", "reason_code": "", "reason": "", "exit_code": 0, "signal": None, "log_bytes": 0, "outputs": "",
              "output_files": 0, "output_bytes": 0, "ended_age_us": 0}
    sample = {"protocol": 1, "incarnation": "", "seen": 0, "wait_ms": 0, "hello": HELLO, "holds": {start["run"]: start["epoch"]},
              "reports": [{"run": start["run"], "epoch": 9, "events": [event], "result": result}]}
    pid = service.pid()
    for path in paths(sample):
        for value in VALUES:
            answer = worker.post("sync", changed(sample, path, value))
            assert answer.status < 500, (path, value, answer.body)
    for unknown in ({"x": 1}, {"protocol": 2}, {"protocol": 0}):
        code_of(worker.post("sync", {"protocol": 1, **unknown}), 400, "invalid_request")
    assert service.pid() == pid
    # Nothing of it reached the run: its epoch was never the right one.
    worker.greet(**{start["run"]: start["epoch"]})
    run = service.get(service.of_owner(f"runs/{start['start']['number']}")).json["run"]
    assert run["status"] == "machine_requested"


def test_a_run_of_its_own_with_hostile_numbers(service, worker, name):
    """A worker can spoil its own run's story, not the service."""
    number = service.run("x", machine_type=name)
    start, = worker.poll()
    event = {"number": 2**53 - 1, "status": "complete", "text": "\x1b[2J" + "x" * 100_000, "age_us": 2**53 - 1, "log_offset": 2**53 - 1}
    refused = worker.sync(reports=[{"run": start["run"], "epoch": start["epoch"], "events": [event]}])["refused"]
    assert refused == {}
    result = {"status": "complete", "exit_code": 0, "log_bytes": 2**53 - 1, "ended_age_us": 2**53 - 1}
    worker.sync(reports=[{"run": start["run"], "epoch": start["epoch"], "events": [], "result": result}])
    run = service.wait(number)
    assert run["log_bytes"] == 0 and run["created_at"] <= run["ended_at"]
    log = service.get(service.of_owner(f"runs/{number}/log?format=jsonl"), checked=False)
    assert log.status == 200 and b"Run created" in log.body


def test_a_machine_that_goes_away_and_comes_back(service, name):
    worker = Worker(service, add(service, name, lost_after=1))
    worker.greet()
    number = service.run("x", machine_type=name)
    start, = worker.poll()
    worker.report(start, "building", "running")
    # A poll whose connection ends is how a worker goes.
    body = json.dumps({"protocol": 1, "seen": worker.seen, "wait_ms": 20000})
    gone = service.raw((f"POST /v1/machines/{worker.id}/sync HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {worker.token}\r\n"
                        f"Content-Length: {len(body)}\r\n\r\n{body}").encode())
    assert gone is None
    run = service.wait(number)
    assert (run["status"], run["reason_code"]) == ("interrupted", "machine_lost")
    assert not machine(service, name)["connected"]
    # Its log and its result come late, and are the run's all the same.
    assert [c["type"] for c in worker.greet(**{start["run"]: start["epoch"]})] == []
    assert worker.report(start, "saving", result="complete", first=3) == {}
    run = service.get(service.of_owner(f"runs/{number}")).json["run"]
    assert (run["status"], run["user_exit_code"], run["reason_code"]) == ("complete", 0, "late_result")
    assert [c["type"] for c in worker.poll()] == ["forget"]
