"""What a worker may not say: of runs that are not its own, with tokens that are outdated, in every field, and at random. Whatever it says,
it reaches nothing but the story of the runs that are its own now."""
import datetime
import json
import os
import random
import struct
import threading

import pytest

from api import PACK, code_of
from spellfs import Objects, text_of
from workers import HELLO, Worker, add, bearer, machine

OBJECT = "c" + "0" * 64
ROUTES = ["sync", "log", "metrics", "objects", "missing", "objects/read", "code"]


def run_of(service, start):
    return service.get(service.of_owner(f"runs/{start['start']['number']}")).json["run"]


def printed(service, start):
    """The run's output, as far as it is in its log."""
    lines = service.get(service.of_owner(f"runs/{start['start']['number']}/log?format=jsonl")).body.splitlines()
    return [entry for entry in map(json.loads, lines) if entry["kind"] == "output"]


def frame(data=b"x", kind=1, flags=0, reserved=0, sequence=0, time=1, size=None):
    return struct.pack("<IBBHQq", len(data) if size is None else size, kind, flags, reserved, sequence, time) + data


def report_of(run, epoch, **result):
    event = {"number": 1, "status": "running", "text": "stolen"}
    return {"protocol": 1, "reports": [{"run": run, "epoch": epoch, "events": [event],
                                        "result": {"status": "complete", "exit_code": 0, **result}}]}


def say(worker, route, run, epoch, machine=None):
    """One of a worker's requests about a run."""
    query = f"?run={run}&epoch={epoch}"
    if route == "sync":
        return worker.post("sync", report_of(run, epoch), machine)
    if route in ("missing", "objects/read"):
        return worker.post(route, {"run": run, "epoch": epoch, "names": [OBJECT]}, machine)
    if route in ("log", "metrics"):
        return worker.post(f"{route}{query}&offset=0&now_us=1", frame(b"stolen"), machine, "application/vnd.spell.log")
    if route == "objects":
        return worker.post("objects" + query, b"x", machine, "application/octet-stream")
    return worker.service.get(f"/v1/machines/{machine or worker.id}/code{query}&have=", headers=bearer(worker.token))


@pytest.mark.parametrize("route", ROUTES)
def test_a_worker_reaches_only_its_own_machine_and_runs(service, worker, name, ended_run, route):
    other = Worker(service, add(service, f"{name}-o"))
    other.greet()
    service.run("x", machine_type=name)
    start, = worker.poll()
    run, epoch, before = start["run"], start["epoch"], run_of(service, start)

    def refused(answer, *ways):
        if answer.status == 200 and route == "sync":
            assert answer.json["refused"] == {} or set(answer.json["refused"].values()) <= set(ways), answer.body
        else:
            assert answer.status in (400, 401, 404, 409) and answer.code in ways, answer.body
        assert run_of(service, start) == before and printed(service, start) == []

    refused(say(other, route, run, epoch, worker.id), "unauthorized")
    refused(say(other, route, run, epoch), "stale_epoch")
    # An earlier or a later fencing token of its own run.
    for wrong in (epoch - 1, epoch + 1, 2**53 - 1):
        refused(say(worker, route, run, wrong), "stale_epoch", "invalid_request")
    ended = service.get(service.of_owner(f"runs/{ended_run}")).json["run"]
    for stranger in ("", "0" * 32, "f" * 32, "..", "..%2F..%2Fspell.db", "x" * 3000):
        refused(say(worker, route, stranger, epoch), "run_not_found", "invalid_request")
    assert service.get(service.of_owner(f"runs/{ended_run}")).json["run"] == ended
    # Holding what is not one's own gives nothing but the order to forget it.
    assert {c["type"] for c in other.greet(**{run: epoch})} == {"forget"}
    refused(say(other, route, run, epoch), "stale_epoch")


def test_outputs_that_nobody_sent_are_nobodys(service, worker, name):
    service.run("x", machine_type=name)
    start, = worker.poll()
    for outputs in ("s" + "0" * 64, "nonsense", "c" + "0" * 63, "../../x"):
        taken = worker.post("sync", report_of(start["run"], start["epoch"], outputs=outputs))
        assert taken.status in (400, 409), taken.body
    assert run_of(service, start)["status"] == "machine_requested"


def test_what_another_owner_has_sent_is_no_output(service, worker, name):
    """Who knows a hash has nothing: neither that tree, nor one of his own with that chunk, nor that it is there."""
    foreign, thief, secret = Objects(), Objects(), os.urandom(2000)
    tree, chunk = foreign.folder({"secret": secret}), foreign.file(secret)
    assert service.post("/v1/owners/public/objects", foreign.pack(), headers=PACK).status == 200
    service.run("x", machine_type=name)
    start, = worker.poll()
    own = {"run": start["run"], "epoch": start["epoch"]}
    names = [text_of(tree), text_of(chunk)]
    assert worker.post("missing", {**own, "names": names}).json == {"names": names}
    code_of(worker.post("sync", report_of(**own, outputs=text_of(tree))), 409, "incomplete_pack")
    thief.folder({"mine": (2000, chunk)})
    code_of(worker.post(f"objects?run={own['run']}&epoch={own['epoch']}", thief.pack(), type=PACK["Content-Type"]), 409, "incomplete_pack")
    assert run_of(service, start)["status"] == "machine_requested"
    # Nor of a run that it had and holds no more: what it says of that late is heard.
    assert worker.report(start, "building", "running") == {}
    worker.greet()
    assert run_of(service, start)["status"] == "interrupted"
    stolen = {"outputs": text_of(tree), "files": 1, "bytes": 2000}
    for report in (report_of(**own, outputs=text_of(tree)), {"protocol": 1, "reports": [{**own, "backup": stolen}]}):
        code_of(worker.post("sync", report), 409, "incomplete_pack")
    run = run_of(service, start)
    assert run["status"] == "interrupted" and not run.get("outputs") and not run.get("late_result"), run


@pytest.mark.parametrize("route", ROUTES)
def test_a_start_that_is_given_again_outdates_the_first(service, worker, name, route):
    """A worker that does not hold what it was given has lost it, or is another one: whoever had it must not write any more."""
    service.run("x", machine_type=name)
    first, = worker.poll()
    again, = worker.greet()
    assert (again["type"], again["run"]) == ("start", first["run"]) and again["epoch"] > first["epoch"]
    answer = say(worker, route, first["run"], first["epoch"])
    code = answer.json["refused"][first["run"]] if answer.status == 200 else answer.code
    assert code == "stale_epoch", answer.body
    assert worker.report(again, "building", "running", result="complete") == {}
    run = run_of(service, again)
    assert (run["status"], run["user_exit_code"]) == ("complete", 0)
    assert printed(service, again) == []


def test_two_workers_with_one_credential(service, worker, name):
    """The copy of a computer: the one that is there keeps its place and its runs, the other is told so until the first is gone."""
    copied, going, started = worker.copy(), threading.Event(), []

    def work():
        while not going.is_set():
            started.extend(worker.poll(wait_ms=100))

    first = threading.Thread(target=work)
    first.start()
    try:
        service.run("x", machine_type=name)
        for _ in range(20):
            message = code_of(copied.post("sync", {"protocol": 1, "hello": HELLO, "holds": {}}), 409, "machine_taken")
            assert name in message and "spell machine add" in message
    finally:
        going.set()
        first.join(60)
    start, = started
    assert worker.report(start, "building", "running") == {}
    # The first one ends without a word. Its silence is noticed, and the other gets what it did not finish.
    while (answer := copied.post("sync", {"protocol": 1, "hello": HELLO, "holds": {start["run"]: start["epoch"]}})).status == 409:
        assert answer.code == "machine_taken"
    assert answer.status == 200, answer.body
    assert copied.report(start, result="complete", first=3) == {}
    assert run_of(service, start)["status"] == "complete"


@pytest.mark.parametrize("spoken, way_out", [(0, "upgrade the worker"), (-1, "upgrade the worker"), (2, "upgrade the service"),
                                             (2**53, "upgrade the service")])
def test_another_version_is_told_which_side_to_upgrade(service, name, spoken, way_out):
    """Before anything else of its message is looked at: it may have members that this version does not know."""
    join = add(service, name)
    joining = {"protocol": spoken, "hello": {**HELLO, "new": 1}, "new": [1]}
    assert way_out in code_of(service.post("/v1/join", joining, headers=bearer(join["token"])), 400, "unsupported_protocol")
    worker = Worker(service, join)  # the token has not been used up
    assert way_out in code_of(worker.post("sync", {"protocol": spoken, "new": {"x": 1}}), 400, "unsupported_protocol")
    assert not machine(service, name)["connected"]


def test_what_names_no_protocol_is_no_message_of_a_worker(service, worker):
    for wrong in ("1", None, 1.5, [], {}, True):
        code_of(worker.post("sync", {"protocol": wrong}), 400, "invalid_request")
    for body in ({}, {"seen": 1}, [], "x", 1, None):
        code_of(worker.post("sync", json.dumps(body).encode()), 400, "invalid_request")


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
              "reports": [{"run": start["run"], "epoch": 9, "events": [event], "result": result,
                           "backup": {"outputs": "", "files": 0, "bytes": 0}}]}
    pid = service.pid()
    for path in paths(sample):
        for value in VALUES:
            answer = worker.post("sync", changed(sample, path, value))
            assert answer.status < 500, (path, value, answer.body)
    code_of(worker.post("sync", {"protocol": 1, "x": 1}), 400, "invalid_request")
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


def test_every_field_of_a_join_hostile(service, name):
    token = add(service, name)["token"]
    sample = {"protocol": 1, "name": "host", "version": "0.1.0", "public_key": "", "hello": {**HELLO, "capabilities": {"streams": "1"},
                                                                                             "shares": ["/data"], "notes": ["n"]}}
    pid, joined = service.pid(), 0
    for path in paths(sample):
        for value in VALUES:
            answer = service.post("/v1/join", changed(sample, path, value), headers=bearer(token))
            assert answer.status in (201, 400, 413), (path, value, answer.body)
            if answer.status == 201:
                joined += 1
                token = service.post(service.of_owner(f"machines/{name}/token")).json["join"]["token"]
    assert joined and service.pid() == pid
    assert machine(service, name)["name"] == name


def test_every_field_of_a_log_frame_hostile(service, worker, name):
    number = service.run("x", machine_type=name)
    start, = worker.poll()
    worker.report(start, "building", "running")
    route = f"log?run={start['run']}&epoch={start['epoch']}"

    def send(data, offset=0, now_us="1"):
        return worker.post(f"{route}&offset={offset}&now_us={now_us}", data, type="application/vnd.spell.log")

    for bad in (frame(size=0), frame(size=2), frame(size=2**32 - 1), frame(kind=0), frame(kind=2), frame(kind=3), frame(kind=255),
                frame(flags=4), frame(flags=255), frame(reserved=1), frame(sequence=1), frame(sequence=2**64 - 1), frame()[:-1], frame()[:23],
                b"x", frame() + b"x", frame() + frame()):
        assert send(bad).code == "bad_frame"
    for bad in ("-1", "x", str(2**63), ""):
        assert send(frame(), now_us=bad or "%00").status == 400
        assert send(frame(), offset=bad or "%00").status == 400
    assert send(frame(sequence=9), offset=9).json == {"bytes": 0}  # a gap is not filled
    assert printed(service, start) == []
    # Times from the beginning and the end of the world: the service knows better.
    for at, (time, now) in enumerate([(2**63 - 1, 0), (-2**63, 2**63 - 1), (2**63 - 1, 2**63 - 1), (0, 2**63 - 1), (-2**63, 0)]):
        assert send(frame(b"\n", sequence=at, time=time), at, str(now)).json == {"bytes": at + 1}
    entries = [json.loads(line) for line in service.get(service.of_owner(f"runs/{number}/log?format=jsonl")).body.splitlines()]
    times = [entry["timestamp"] for entry in entries]
    latest = datetime.datetime.now(datetime.timezone.utc).isoformat()
    assert len(times) >= 5 and all(time.endswith("Z") and "1970" <= time < latest for time in times), times


@pytest.mark.parametrize("seed", range(3))
def test_messages_at_random(service, worker, name, seed):
    """What another machine's worker says of this one's run, in the right form or not: the run does not notice."""
    rng, other = random.Random(seed), Worker(service, add(service, f"{name}-o"))
    other.greet()
    service.run("x", machine_type=name)
    start, = worker.poll()
    worker.report(start, "building")
    before, pid = run_of(service, start), service.pid()
    report = {"run": start["run"], "epoch": start["epoch"],
              "events": [{"number": 2, "status": "running", "text": "t", "age_us": 0, "log_offset": 0, "reason_code": ""}],
              "result": {"status": "complete", "exit_code": 0, "signal": None, "log_bytes": 0, "outputs": "", "ended_age_us": 0}}
    sample = {"protocol": 1, "seen": 0, "wait_ms": 0, "hello": HELLO, "holds": {start["run"]: start["epoch"]},
              "numbers": {service.owner: 1}, "reports": [report, report]}

    def anything(depth=0):
        return rng.choice([None, True, rng.getrandbits(70) - 2**69, rng.random() * 10**rng.randrange(-300, 300), "", start["run"],
                           rng.choice(["complete", "running", "killed", "stale_epoch", "..", "\ud800", "\x00", "x" * 300]),
                           [] if depth > 3 else [anything(depth + 1) for _ in range(rng.randrange(3))],
                           {} if depth > 3 else {rng.choice(["run", "epoch", "x", "status"]): anything(depth + 1)}])

    for _ in range(100):
        message = sample
        for path in rng.sample(list(paths(sample)), rng.randrange(4)):
            try:
                message = changed(message, path, anything())
            except (KeyError, TypeError, IndexError):
                pass  # what was to be changed has gone with an earlier change
        body = bytearray(json.dumps(message).encode())
        for _ in range(rng.choice([0, 0, 0, 1, 5])):
            body[rng.randrange(len(body))] = rng.randrange(256)
        answer = other.post("sync", bytes(body[:rng.choice([len(body), len(body), len(body), rng.randrange(len(body))])]))
        assert answer.status < 500, (bytes(body), answer.body)
        assert run_of(service, start) == before, bytes(body)
    assert service.pid() == pid
    assert worker.report(start, "running", result="complete", first=2) == {}
    assert run_of(service, start)["status"] == "complete"


def test_what_a_worker_may_bring_of_a_run_ends_somewhere(service, worker, name):
    """The limit of the run's log, and what a run may say while it is being stopped: a worker that lets more through is not believed."""
    number = service.run("x", machine_type=name, log_limit=4096)
    start, = worker.poll()
    worker.report(start, "building", "running")

    def send(route, size, offset):
        return worker.post(f"{route}?run={start['run']}&epoch={start['epoch']}&offset={offset}&now_us=1",
                           frame(b"x" * size, sequence=offset), type="application/vnd.spell.log")
    size, stored = 1 << 20, 0
    while (answer := send("log", size, stored)).status == 200:
        stored = answer.json["bytes"]
        assert stored <= 4096 + (32 << 20)
    assert (answer.status, answer.code) == (413, "too_large") and stored == 32 << 20
    assert send("log", 4096, stored).json == {"bytes": stored + 4096}  # to the byte
    assert send("log", 1, stored + 4096).code == "too_large"
    assert service.get(service.of_owner(f"runs/{number}")).json["run"]["log_bytes"] == stored + 4096
    # Of its metrics not even what lies far behind what is there.
    assert send("metrics", 1, 1 << 30).code == "too_large"
