"""Machines, and the workers that speak for them: joining, credentials, and what becomes of their runs. What a worker may not say is in
test_worker_hostile.py."""
import json
import os
import struct
import threading
import urllib.parse

import pytest

from api import PACK, code_of
from spellfs import Objects, text_of
from test_code import pack  # noqa: F401
from workers import HELLO, Worker, add, bearer, machine


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
    queued = service.run("train", machine_type="t4", gpus=2)
    message = code_of(service.request("DELETE", service.of_owner(f"machines/{name}")), 409, "machine_in_use")
    assert f"with {name} (on it: 1, waiting for it alone: 1)" in message
    assert machine(service, name)["connected"]
    service.request("DELETE", service.of_owner(f"machines/{name}?with_runs=1"))
    ends = [(run["status"], run["reason_code"]) for run in map(service.wait, (waiting, queued))]
    assert ends == [("interrupted", "machine_removed"), ("failed", "machine_removed")]
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


def test_a_machine_is_taken_away_and_brought_back(service, worker, name):
    path = service.of_owner(f"machines/{name}/interrupt")
    worker.greet()
    code_of(service.post(path, {"in": 30}), 409, "not_available")  # its worker does not say that it can
    worker.hello = {**worker.hello, "capabilities": {"notice": "1"}}
    worker.greet()
    for wrong in (-1, 86401, 1.5, "30", None):
        code_of(service.post(path, {"in": wrong}), 400, "invalid_request")
    code_of(service.post(service.of_owner("machines/none-of-these/interrupt"), {"in": 0}), 404, "machine_not_found")
    known = service.post(path, {"in": 30}).json["machine"]
    assert known["drained"] and known["going_at"] and known["going"].startswith("asked for by"), known
    notice, = worker.poll()
    assert notice["type"] == "notice" and 0 < notice["remaining_ms"] <= 30_000 and notice["reason"] == known["going"], notice
    assert worker.sync(notice={"kind": "asked", "text": notice["reason"], "remaining_ms": 1000})["commands"] == []
    back = service.request("PATCH", service.of_owner(f"machines/{name}"), {"drained": False}).json["machine"]
    assert worker.poll()[0]["reason_code"] == "withdrawn"
    assert back["going_at"] is None and back["going"] == "" and not back["drained"]


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
    assert "price list" in code_of(service.request("PATCH", f"{types}/CPU", {"price": "1"}), 404, "machine_type_not_found")
    assert "price list" in code_of(service.request("PATCH", f"{types}/{name}-host", {"price": "1"}), 404, "machine_type_not_found")
    assert service.request("DELETE", f"{types}/{kind}").json["removed"] == kind
    code_of(service.request("DELETE", f"{types}/{kind}"), 404, "machine_type_not_found")
    # Its machine serves it all the same: the way out that is named works.
    assert f"machine-type add {kind}`" in code_of(service.request("PATCH", f"{types}/{kind}", {"price": "1"}), 404, "machine_type_not_found")
    assert service.post(types, {"name": kind, "price": "1"}).json["machine_type"]["price"] == "1"


def test_prices(service, worker, name):
    types, kind = service.of_owner("machine-types"), f"v{name}"
    made = service.post(types, {"name": kind, "price": "3.060000001", "spot_price": "0"}).json["machine_type"]
    assert (made["price"], made["spot_price"], made["hourly"], made["price_from"]) == ("3.060000001", "0", "3.060000001", "set")
    for wrong in ("-1", "-0.5", "10000.000000001", "1e3", "x", " 1", "1.", ".5", "1.0000000001", "9" * 30, 3.06, 3, True, [], {}):
        for field in ("price", "spot_price"):
            assert field in code_of(service.request("PATCH", f"{types}/{kind}", {field: wrong}), 400, "invalid_request")
    changed = service.request("PATCH", f"{types}/{kind}", {"spot": True}).json["machine_type"]
    assert (changed["price"], changed["hourly"]) == ("3.060000001", "0")
    none = service.request("PATCH", f"{types}/{kind}", {"price": "", "spot_price": ""}).json["machine_type"]
    assert (none["price"], none["spot_price"], none["hourly"], none["price_from"]) == (None, None, None, "")

    lists, prices = service.of_owner("price-list"), lambda text: service.request("PUT", service.of_owner("price-list"), {"csv": text})
    assert prices(f"name,price\n{kind},2\np3.2xlarge,2.5\n").json == {"prices": 2}
    listed = {t["name"]: t for t in service.get(types).json["machine_types"]}
    assert (listed[kind]["price"], listed[kind]["price_from"]) == ("2", "price list")
    entries = service.get(service.of_owner("catalogue")).json["catalogue"]
    (v100,) = [e for e in entries if e["instance"] == "p3.2xlarge"]
    assert (v100["name"], v100["price"], v100["spot_price"], v100["price_from"], v100["gpu_memory"]) == ("V100", "2.5", "0.918", "price list", 16 << 30)
    (own,) = [e for e in entries if e["name"] == kind]
    assert (own["price"], own["cloud"], own["sources"]) == ("2", "", [])
    for wrong in ("name\nx\n", "x", "name,price\nx,-1\n", "name,price\nx,1\nX,1\n", "name,price\n" + "x" * 65 + ",1\n", "name,price\n\"x,1\n"):
        assert "line " in code_of(prices(wrong), 400, "invalid_request")
    for empty in ("name,price\n", "# none\n", "\n"):
        assert "has no price" in code_of(prices(empty), 400, "invalid_request")
    code_of(service.request("PUT", lists, {"prices": []}), 400, "invalid_request")
    code_of(service.request("PUT", lists, {"csv": 7}), 400, "invalid_request")
    assert {t["name"]: t for t in service.get(types).json["machine_types"]}[kind]["price"] == "2"
    assert prices("").json == {"prices": 0}
    assert {t["name"]: t for t in service.get(types).json["machine_types"]}[kind]["price"] is None
    service.request("DELETE", f"{types}/{kind}")


def test_the_pool_of_a_type(service, name, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho '{\"machines\": []}'\n")
    program.chmod(0o755)
    tmp_path.chmod(0o755)
    types, kind = service.of_owner("machine-types"), f"p{name}"
    pool = {"pool": str(program), "pool_options": {"zone": "b"}, "max_machines": 0}
    for wrong in ({"pool": "nonsense"}, {"pool": "/nobody/is/here"}, {"pool": str(tmp_path)}, {"pool": 7}, {"pool": "x\0y"}, {"max_machines": 1},
                  {"pool_options": {"a": "b"}}, {**pool, "min_machines": 1}, {**pool, "max_machines": 10_001}, {**pool, "min_machines": -1},
                  {**pool, "idle_timeout": -1}, {**pool, "launch_timeout": 2**40}, {**pool, "pool_options": {"a b": "c"}},
                  {**pool, "pool_options": {"a": "b\nc"}}, {**pool, "pool_options": {"a": 1}}, {**pool, "pool_options": {"a": "b", "A": "c"}},
                  {**pool, "pool_options": {f"o{i}": "" for i in range(101)}}):
        code_of(service.post(types, {"name": kind, **wrong}), 400, "invalid_request")
    made = service.post(types, {"name": kind, **pool}).json["machine_type"]
    assert (made["pool"], made["pool_options"], made["min_machines"], made["max_machines"], made["idle_timeout"], made["pool_problem"]) == (
        str(program), {"zone": "b"}, 0, 0, 0, "")
    code_of(service.post(service.of_owner("runs"), {"command": "x", "machine_type": kind}), 422, "unknown_machine_type")
    code_of(service.request("PATCH", f"{types}/{kind}", {"min_machines": 2}), 400, "invalid_request")
    changed = service.request("PATCH", f"{types}/{kind}", {"idle_timeout": 60, "pool_options": {}}).json["machine_type"]
    assert (changed["idle_timeout"], changed["pool_options"], changed["pool"]) == (60, {}, str(program))
    none = service.request("PATCH", f"{types}/{kind}", {"pool": ""}).json["machine_type"]
    assert (none["pool"], none["max_machines"], none["idle_timeout"]) == ("", 0, 0)
    service.request("DELETE", f"{types}/{kind}")


def test_what_a_pools_machines_may_cost_without_a_run(service, name, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho '{\"machines\": []}'\n")
    program.chmod(0o755)
    tmp_path.chmod(0o755)
    types, kind = service.of_owner("machine-types"), f"u{name}"
    pool = {"pool": str(program), "max_machines": 0, "launch_timeout": 60}
    change = lambda **fields: service.request("PATCH", f"{types}/{kind}", fields)
    for wrong in ("0", "-1", "0.0", "1e3", "x", " 1", "$1", "1.", "0.0000000001", "9" * 30, 20, True, [], {}):
        assert "max_unused" in code_of(service.post(types, {"name": kind, **pool, "price": "3.6", "max_unused": wrong}), 400, "invalid_request")
    assert "'pool'" in code_of(service.post(types, {"name": kind, "price": "3.6", "max_unused": "20"}), 400, "invalid_request")
    assert "--price" in code_of(service.post(types, {"name": kind, **pool, "max_unused": "20"}), 422, "price_not_known")
    # Nothing could ever be launched: 180 s at $3.6/h are $0.18.
    assert "$0.18 " in code_of(service.post(types, {"name": kind, **pool, "price": "3.6", "max_unused": "0.179999999"}), 409, "budget_too_low")
    assert kind not in {one["name"] for one in service.get(types).json["machine_types"]}
    made = service.post(types, {"name": kind, **pool, "price": "3.6", "max_unused": "20.5"})
    assert made.status == 201, made
    caps = lambda one: (one["max_unused"], one["unused_spent"], one["unused_reserved"])
    listed = lambda: {one["name"]: one for one in service.get(types).json["machine_types"]}[kind]
    assert caps(made.json["machine_type"]) == caps(listed()) == ("20.5", "0", "0")
    code_of(change(price=""), 422, "price_not_known")
    assert caps(change(idle_timeout=60).json["machine_type"]) == ("20.5", "0", "0")  # it stays
    assert caps(change(max_unused="0.18").json["machine_type"]) == ("0.18", "0", "0")
    assert kind not in {budget["name"] for budget in service.get(service.of_owner("budgets")).json["budgets"]}
    assert caps(change(max_unused="", price="").json["machine_type"]) == caps(listed()) == (None, None, None)
    # It goes with its pool, and with its type.
    assert change(max_unused="20", price="3.6").json["machine_type"]["max_unused"] == "20"
    assert caps(change(pool="").json["machine_type"]) == caps(listed()) == (None, None, None)
    assert change(**pool).json["machine_type"]["max_unused"] is None
    assert change(max_unused="20").json["machine_type"]["max_unused"] == "20"
    service.request("DELETE", f"{types}/{kind}")
    assert service.post(types, {"name": kind, **pool, "price": "3.6"}).json["machine_type"]["max_unused"] is None
    service.request("DELETE", f"{types}/{kind}")


def test_what_a_worker_fetches_and_what_it_sends(service, worker, name, pack, sent):
    """Code and mounts, metrics and outputs; the log is above all in test_worker_hostile.py."""
    workspace, commit, _, code = pack
    objects, request = sent
    repository = service.of_owner(f"repositories/{workspace}/packs?commit={commit}&repository=r")
    assert service.post(repository, code, headers={"Content-Type": "application/vnd.git.pack"}).status == 201
    service.upload(name, request)
    number = service.run("x", machine_type=name, code={"workspace": workspace, "commit": commit}, mounts=[{"resource": f"uploads/{name}", "at": "/data"}])
    start, = worker.poll()
    own, query = {"run": start["run"], "epoch": start["epoch"]}, f"?run={start['run']}&epoch={start['epoch']}"
    given = service.get(f"/v1/machines/{worker.id}/code{query}&have=", headers=bearer(worker.token)).body
    assert given.startswith(b"PACK") and struct.unpack(">I", given[8:12]) == (3,)  # a commit, its folder, a file
    read = worker.post("objects/read", {**own, "names": [request["node"]]})
    assert next(data for name, _, data in objects.list if text_of(name) == request["node"]) in read.body
    code_of(worker.post("objects/read", {**own, "names": ["s" + "0" * 64]}), 404, "resource_not_found")

    worker.report(start, "building", "mounting", "running")
    line = b'["loss",0,0.5]\n'
    points = struct.pack("<IBBHQq", len(line), 1, 0, 0, 0, 1) + line
    assert worker.post(f"metrics{query}&offset=0&now_us=1", points, type="application/vnd.spell.log").json == {"bytes": len(line)}
    outputs = Objects()
    tree = text_of(outputs.folder({"made": os.urandom(30)}))
    assert worker.post("missing", {**own, "names": [tree, request["node"]]}).json == {"names": [tree]}
    packed = outputs.pack()
    assert worker.post("objects" + query, packed, type=PACK["Content-Type"]).json == {"bytes": len(packed)}
    assert worker.post("missing", {**own, "names": [tree]}).json == {"names": []}
    event = {"number": 4, "status": "saving", "text": "Run is saving"}
    result = {"status": "complete", "exit_code": 0, "outputs": tree, "output_files": 1, "output_bytes": 30}
    assert worker.sync(reports=[{**own, "events": [event], "result": result}])["refused"] == {}
    assert service.wait(number)["status"] == "complete"
    assert [entry["path"] for entry in service.get(service.of_owner(f"resources/runs/{number}")).json["entries"]] == ["made"]
    assert [metric["name"] for metric in service.get(service.of_owner(f"runs/{number}/metrics")).json["metrics"]] == ["loss"]
    service.request("DELETE", service.of_owner(f"uploads/{name}"))


def test_what_is_backed_up_of_a_run_is_its_outputs_while_it_runs(service, worker, name):
    number = service.run("x", machine_type=name)
    start, = worker.poll()
    own, query = {"run": start["run"], "epoch": start["epoch"]}, f"?run={start['run']}&epoch={start['epoch']}"
    worker.report(start, "building", "running")

    def back_up(tree, by=worker, **changes):
        return by.post("sync", {"protocol": 1, "reports": [{**own, "backup": {"outputs": tree, "files": 1, "bytes": 30}, **changes}]})

    def listed():
        return [entry["path"] for entry in service.get(service.of_owner(f"resources/runs/{number}")).json["entries"]]

    trees = []
    for made in ("first", "second"):
        objects = Objects()
        trees.append(text_of(objects.folder({made: os.urandom(30)})))
        code_of(back_up(trees[-1]), 409, "incomplete_pack")  # what was not sent is nobody's
        assert worker.post("objects" + query, objects.pack(), type=PACK["Content-Type"]).status == 200
        assert back_up(trees[-1]).json["refused"] == {}
        assert listed() == [made]
    run = service.get(service.of_owner(f"runs/{number}")).json["run"]
    assert (run["status"], run["outputs"], run["output_files"], run["output_bytes"]) == ("running", trees[1], 1, 30)
    code_of(back_up("no name"), 400, "invalid_request")
    assert back_up(trees[0], epoch=start["epoch"] + 1).json["refused"] == {start["run"]: "stale_epoch"}
    other = Worker(service, add(service, f"{name}-o"))
    other.greet()
    assert back_up(trees[0], other).json["refused"] == {start["run"]: "stale_epoch"}
    assert listed() == ["second"]
    worker.report(start, "saving", result="complete")
    assert service.wait(number)["status"] == "complete" and listed() == []
    back_up(trees[0])  # too late
    assert listed() == []


@pytest.mark.parametrize("kind", ["exec", "forward", "stats"])
def test_streams_of_a_run(service, name, kind):
    """The worker is ordered to come for its end, and both have theirs then. What they say is shown in tests/e2e/test_streams.py."""
    worker = Worker(service, add(service, name), capabilities={"streams": "1"})
    worker.greet()
    number = service.run("x", machine_type=name)
    start, = worker.poll()
    path = service.of_owner(f"runs/{number}/{kind}")
    code_of(service.get(path), 426, "stream_wanted")
    with service.stream(path) as early:
        code_of(early(), 409, "run_not_running")
    worker.report(start, "building", "running")
    with service.stream(path) as users:
        order, = worker.poll(wait_ms=20000)
        assert (order["type"], order["run"], order["kind"]) == ("open_stream", start["run"], kind)
        own = f"/v1/machines/{worker.id}/streams/"
        with service.stream(own + "0" * 32, bearer(worker.token)) as nobodys:
            code_of(nobodys(), 404, "stream_not_found")
        with service.stream(own + order["stream"], bearer(worker.token)) as workers:
            assert [end().status for end in (users, workers)] == [101, 101]
        with service.stream(own + order["stream"], bearer(worker.token)) as again:
            code_of(again(), 404, "stream_not_found")


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


def test_list_machines(service):
    machines = service.get(service.of_owner("machines")).json["machines"]
    assert [machine["connected"] for machine in machines] == [True]
    assert "CPU" in machines[0]["serves"]
    code_of(service.get("/v1/owners/nobody/machines"), 404, "owner_not_found")


def test_workers_routes_need_a_machines_token(service, document):
    name = service.get(service.of_owner("machines")).json["machines"][0]["name"]
    for operation, (method, path, described) in document.operations.items():
        if "security" not in described:
            continue
        target = path.replace("{machine}", urllib.parse.quote(name)) + "?run=0&epoch=1&offset=0"
        for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer spm_" + "0" * 64}, {"Authorization": "Basic eDp4"}):
            code_of(service.request(method, target, {"protocol": 1}, headers=headers), 401, "unauthorized")
