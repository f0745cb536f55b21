"""Runs: made, listed, looked at, ended, put in order, and their logs."""
import json
import struct
import urllib.parse
import uuid

import pytest

from api import code_of
from test_code import NO_SUCH_ID, pack  # noqa: F401


def test_list_runs(service, ended_run):
    numbers = [service.run("true") for _ in range(3)]
    for number in numbers:
        service.wait(number)
    path = service.of_owner("runs")
    page = service.get(path + "?limit=2").json
    assert [run["id"] for run in page["runs"]] == [numbers[2], numbers[1]]
    page = service.get(path + f"?limit=2&cursor={urllib.parse.quote(page['next'])}").json
    assert page["runs"][0]["id"] == numbers[0]
    assert service.get(path + "?limit=1000").json["next"] is None
    assert [run["id"] for run in service.get(path + "?label=kept").json["runs"]] == [ended_run]
    assert service.get(path + "?active=1").json["runs"] == []
    assert service.get(path + "?project=none").json["runs"] == []
    assert service.get(path + "?repository=none").json["runs"] == []
    for bad in ("limit=0", "limit=1001", "limit=x", "limit=", "limit=1.5", "limit=99999999999999999999", "cursor=x", "cursor=-1"):
        code_of(service.get(path + "?" + bad), 400, "invalid_request")
    code_of(service.get("/v1/owners/nobody/runs"), 404, "owner_not_found")


def test_create_run(service):
    path = service.of_owner("runs")
    key = {"Idempotency-Key": "contract-" + uuid.uuid4().hex}
    first = service.post(path, {"command": "true", "description": "ä"}, headers=key)
    assert first.status == 201
    assert first.json["run"]["already_existed"] is False
    assert first.json["run"]["description"] == "ä"
    again = service.post(path, {"command": "true", "description": "ä"}, headers=key)
    assert again.status == 200
    assert again.json["run"]["already_existed"] is True
    assert again.json["run"]["id"] == first.json["run"]["id"]
    assert "command" in code_of(service.post(path, {"command": "false", "description": "ä"}, headers=key), 409, "key_conflict")
    service.wait(first.json["run"]["id"])
    same = service.post(path, {"command": "true", "description": "ä", "idempotent": True})
    assert (same.status, same.json["run"]["id"]) == (200, first.json["run"]["id"])
    assert "CPU" in code_of(service.post(path, {"command": "true", "machine_type": "no-such"}), 422, "unknown_machine_type")
    code_of(service.post(path, {"command": "true", "project": "no-such"}), 404, "project_not_found")
    code_of(service.post(path, {"command": "true", "after": [9007199254740991]}), 404, "run_not_found")
    code = {"workspace": NO_SUCH_ID, "commit": NO_SUCH_ID}
    code_of(service.post(path, {"command": "true", "code": code}), 409, "commit_not_found")
    code_of(service.post(path, {"command": "true"}, headers={"Idempotency-Key": "x" * 201}), 400, "invalid_request")
    code_of(service.post(path, b""), 400, "invalid_json")
    code_of(service.post(path, []), 400, "invalid_request")
    code_of(service.post("/v1/owners/nobody/runs", {"command": "true"}), 404, "owner_not_found")


def test_ends(service):
    """One wait for any number of runs."""
    path = service.of_owner("ends")
    begin = service.get(path).json
    assert (begin["runs"], begin["complete"]) == ([], True)
    waits = service.run("sleep 1000")
    others = [service.run("true") for _ in range(3)]
    found, at = [], begin["next"]
    while len(found) < 3:
        page = service.get(path + f"?from={at}&wait_ms=60000").json
        assert page["complete"] and page["runs"]  # not before one has ended
        found, at = found + page["runs"], page["next"]
    assert sorted(found) == others
    assert service.get(path + f"?from={begin['next']}").json["runs"] == found  # a cursor stays good
    assert service.get(path + f"?from={at}&wait_ms=1").json == {"runs": [], "next": at, "complete": True}
    service.post(service.of_owner(f"runs/{waits}/kill"))
    assert service.get(path + f"?from={at}&wait_ms=60000").json["runs"] == [waits]
    at = service.get(path).json["next"]
    assert service.request("DELETE", service.of_owner(f"runs/{waits}")).status == 200
    assert service.get(path + f"?from={at}&wait_ms=60000").json["runs"] == [waits]  # it will never be seen again
    # Of another process, or no cursor at all: who asks has to look himself.
    for strange in ("x", ".", "0.0", at.split(".")[0], at.split(".")[0] + ".999", at.split(".")[0] + ".-1"):
        page = service.get(path + f"?from={strange}&wait_ms=60000").json
        assert (page["runs"], page["complete"]) == ([], False)
    for bad in ("wait_ms=60001", "wait_ms=-1", "wait_ms=x"):
        code_of(service.get(path + "?" + bad), 400, "invalid_request")
    code_of(service.get("/v1/owners/nobody/ends"), 404, "owner_not_found")


def test_a_run_after_one_that_failed(service):
    failed = service.run("exit 3")
    assert service.wait(failed)["user_exit_code"] == 3
    code_of(service.post(service.of_owner("runs"), {"command": "true", "after": [failed]}), 409, "dependency_failed")


def test_get_run(service, ended_run):
    path = service.of_owner(f"runs/{ended_run}")
    run = service.get(path).json["run"]
    assert run["id"] == ended_run
    assert run["output_files"] == 2
    # A final run is answered at once, whatever is waited for.
    assert service.get(path + f"?version={run['version']}&wait_ms=60000").json["run"] == run
    for bad in ("wait_ms=60001", "wait_ms=-1", "wait_ms=x", "version=x"):
        code_of(service.get(path + "?" + bad), 400, "invalid_request")
    for number in ("0", "999999", "x", "1.0", "-1", "99999999999999999999", "%20" + str(ended_run)):
        code_of(service.get(service.of_owner(f"runs/{number}")), 404, "run_not_found")


def test_waiting_for_a_change_ends_with_the_time(service):
    number = service.run("sleep 1000")
    run = service.wait(number, lambda run: run["status"] == "running")
    path = service.of_owner(f"runs/{number}")
    later = service.get(path + f"?version={run['version'] + 1000}&wait_ms=50").json["run"]
    assert later["status"] == "running"
    assert service.post(path + "/kill").status == 200
    assert service.wait(number)["status"] == "killed"


def test_delete_run(service):
    number = service.run("sleep 1000")
    path = service.of_owner(f"runs/{number}")
    code_of(service.request("DELETE", path), 409, "run_not_final")
    service.post(path + "/kill")
    service.wait(number)
    assert service.request("DELETE", path).json["run"]["id"] == number
    code_of(service.get(path), 404, "run_not_found")
    code_of(service.request("DELETE", path), 404, "run_not_found")
    assert service.run("true") > number, "a number was used twice"


@pytest.mark.parametrize("way,end", [("stop", "stopped"), ("kill", "killed")])
def test_stop_and_kill(service, way, end):
    number = service.run("sleep 1000")
    service.wait(number, lambda run: run["status"] == "running")
    path = service.of_owner(f"runs/{number}/{way}")
    assert service.post(path).status == 200
    assert service.wait(number)["status"] == end
    again = service.post(path)
    assert (again.status, again.json["run"]["status"]) == (200, end)
    code_of(service.post(service.of_owner(f"runs/999999/{way}")), 404, "run_not_found")


def test_archive_run(service):
    number = service.run("true")
    service.wait(number)
    path = service.of_owner(f"runs/{number}/archive")
    assert service.post(path).json["run"]["archived"] is True
    listed = [run["id"] for run in service.get(service.of_owner("runs?limit=1000")).json["runs"]]
    assert number not in listed
    assert service.post(path, {"archived": False}).json["run"]["archived"] is False
    code_of(service.post(path, {"archived": "yes"}), 400, "invalid_request")
    code_of(service.post(path, {"hidden": True}), 400, "invalid_request")
    code_of(service.post(path, b"nonsense"), 400, "invalid_json")
    code_of(service.post(service.of_owner("runs/999999/archive")), 404, "run_not_found")


def test_label_run(service):
    number = service.run("true", labels=["a"])
    path = service.of_owner(f"runs/{number}/labels")
    labelled = service.post(path, {"add": ["b", "c"], "remove": ["a", "never"]})
    assert sorted(labelled.json["run"]["labels"]) == ["b", "c"]
    for bad in ({"add": "b"}, {"add": [1]}, {"add": ["a b"]}, {"add": [""]}, {"remove": [None]}, {"labels": []}, [],
                {"add": [f"l{n}" for n in range(51)]}):
        code_of(service.post(path, bad), 400, "invalid_request")
    code_of(service.post(path, b"{}}"), 400, "invalid_json")
    code_of(service.post(service.of_owner("runs/999999/labels"), {"add": ["a"]}), 404, "run_not_found")
    assert sorted(service.wait(number)["labels"]) == ["b", "c"]


def test_rerun(service, ended_run):
    path = service.of_owner(f"runs/{ended_run}/rerun")
    key = {"Idempotency-Key": uuid.uuid4().hex}
    made = service.post(path, headers=key)
    assert made.status == 201
    assert made.json["run"]["id"] > ended_run
    assert made.json["run"]["command"] == service.get(service.of_owner(f"runs/{ended_run}")).json["run"]["command"]
    again = service.post(path, headers=key)
    assert (again.status, again.json["run"]["id"]) == (200, made.json["run"]["id"])
    service.wait(made.json["run"]["id"])
    service.post(service.of_owner(f"runs/{made.json['run']['id']}/labels"), {"remove": ["kept"]})
    code_of(service.post(service.of_owner("runs/999999/rerun")), 404, "run_not_found")


def test_run_log(service, document, ended_run):
    path = service.of_owner(f"runs/{ended_run}/log")
    output, entries, at = b"", [], 0
    frames = service.get(path).body
    while at < len(frames):
        size, kind, flags, zero, sequence, _ = struct.unpack_from("<IBBHQq", frames, at)
        payload = frames[at + 24:at + 24 + size]
        at += 24 + size
        assert zero == 0 and len(payload) == size
        if kind == 1:
            assert sequence == len(output)
            output += payload
        else:
            assert sequence == len(entries) + 1
            entries.append(payload.partition(b"\0")[0].decode())
    assert output == b"one\ntwo\n"
    assert entries[0] == "machine_requested" and entries[-1] == "complete"

    text = service.get(path + "?format=text").body
    assert b"one\ntwo\n" in text and f"Run {ended_run} complete".encode() in text
    assert service.get(path + "?format=text&output_only=1").body == output
    assert service.get(path + "?format=text&output_only=1&tail=1").body == b"two\n"
    assert service.get(path + "?format=text&output_only=1&tail=0").body == b""
    assert service.get(path + "?format=text&output_only=1&cursor=4.0").body == b"two\n"
    assert service.get(path + "?follow=1").body == frames

    validator = document.validator({"$ref": "#/components/schemas/LogEntry"}, is_answer=True)
    lines = [json.loads(line) for line in service.get(path + "?format=jsonl").body.splitlines()]
    for line in lines:
        validator.validate(line)
        assert line["run"] == ended_run
    assert "".join(line["log"] for line in lines if line["kind"] == "output") == "one\ntwo\n"
    assert [line["status"] for line in lines if line["status_event"]][-1] == "complete"

    events = service.get(path + "?format=sse").body.decode().strip().split("\n\n")
    assert len(events) == len(lines)
    for event in events:
        head, data = event.split("\n")
        validator.validate(json.loads(data.removeprefix("data: ")))
    cursor = head.removeprefix("id: ")
    assert service.get(path + f"?cursor={cursor}").body == b""
    assert service.get(path, headers={"Last-Event-ID": cursor}).body == b""

    for bad in ("format=xml", "cursor=x", "cursor=1", "cursor=-1.0", "cursor=1.2.3", "tail=-1", "tail=x"):
        code_of(service.get(path + "?" + bad), 400, "invalid_request")
    code_of(service.get(service.of_owner("runs/999999/log")), 404, "run_not_found")


SENDS = """python3 -c '
import json, os, urllib.request
def send(points):
    urllib.request.urlopen(urllib.request.Request("http://" + os.environ["SPELL_METRICS"] + "/user-metrics", json.dumps(points).encode())).read()
for start in range(0, 200, 20):
    send([{"name": name, "type": "number", "number": value / 10, "index": value} for value in range(start, start + 20) for name in ("loss", "rate")])
send({"name": "loss", "type": "number", "number": -1, "index": -7})
send({"name": "note", "type": "text", "text": "the end"})
'"""


def test_ranges_of_metric_points(service):
    """By name, by index (both ends are in it), and page by page, each point once."""
    number = service.run(SENDS)
    assert service.wait(number)["user_exit_code"] == 0
    path = service.of_owner(f"runs/{number}/metrics/points?limit=10000")

    def indexes(query, name="loss"):
        page = service.get(path + query).json
        assert page["final"] and all(point["name"] == name for point in page["metrics"])
        assert all(point["number"] == point["index"] / 10 for point in page["metrics"] if point["index"] >= 0)
        return [point["index"] for point in page["metrics"]]
    everything = [*range(200), -7]
    assert indexes("&name=loss") == everything and indexes("&name=rate", "rate") == [*range(200)]
    for query, expected in (("&first=5&last=9", [*range(5, 10)]), ("&first=19&last=20", [19, 20]), ("&first=190", [*range(190, 200)]), ("&last=3", [0, 1, 2, 3, -7]),
                            ("&first=-7&last=-7", [-7]), ("&first=7&last=7", [7]), ("&first=8&last=7", []), ("&first=200", []), ("&last=-8", []),
                            ("&first=-9007199254740991&last=9007199254740991", everything)):
        assert indexes("&name=loss" + query) == expected, query
    assert len(service.get(path + "&first=5&last=9").json["metrics"]) == 10  # of all names
    assert service.get(path + "&name=none&first=0").json["metrics"] == []
    for query, expected in (("", [index for start in range(0, 200, 20) for index in range(start, start + 20) for _ in range(2)] + [-7, 0]),
                            ("&name=rate&first=15&last=104", [*range(15, 105)])):
        seen, cursor, pages, final = [], "0", 0, False
        while not final:
            page = service.get(service.of_owner(f"runs/{number}/metrics/points?limit=7&from={cursor}{query}")).json
            assert page["final"] or page["next"] != cursor
            seen += [point["index"] for point in page["metrics"]]
            cursor, final, pages = page["next"], page["final"], pages + 1
        assert seen == expected and pages > 3, query
    waited = service.get(path + "&name=loss&first=1000&wait_ms=60000").json  # of a run that has ended there is nothing to wait for
    assert waited["final"] and waited["metrics"] == []


DIFFERENT = {"command": "false", "machine_type": "CPU", "description": "another", "project": "", "folder": "sub", "virtual_env": "/opt/venv", "env": {"A": "2"},
             "secrets": {"KEYS": "keys"}, "labels": ["b"], "after": [1], "timeout": 61, "stop_grace": 31, "log_limit": 8192, "split_output": True, "save_all": True,
             "code": {}, "mounts": [{"resource": "uploads/conflict"}], "cpus": 1, "memory": 1 << 20,
             "gpus": 1, "gpu_name": "A100"}


def test_a_key_of_another_spec_names_what_differs(service, document, pack):
    """Each member of a submission: one that is there only the second time, or only the first, or says something else."""
    path, wrong = service.of_owner("runs"), []
    members = document.resolve(document.request_schema("create_run"))["properties"]
    assert set(DIFFERENT) <= set(members)
    workspace, commit, _, data = pack
    sent = service.post(service.of_owner(f"repositories/{workspace}/packs?commit={commit}&repository=other"), data, headers={"Content-Type": "application/vnd.git.pack"})
    assert sent.status in (200, 201), sent.body
    code = {"workspace": workspace, "commit": commit, "repository": "other"}
    plain, key = {"command": "true"}, {"Idempotency-Key": uuid.uuid4().hex}
    first = service.post(path, plain, headers=key).json["run"]["id"]

    def differs(body, key, field):
        answer = service.post(path, body, headers=key, checked=False)
        if answer.status != 409 or answer.code != "key_conflict" or f"'{field}'" not in answer.json["error"]["message"]:
            wrong.append(f"{field}: {answer.status} {answer.body[:200]}")
    for field, value in DIFFERENT.items():
        if field == "project":
            continue  # needs one that is there: below
        differs({**plain, field: value or code}, key, field)
    differs({**plain, "idempotent": True}, key, "idempotent")
    project = "p" + uuid.uuid4().hex[:8]
    assert service.post(service.of_owner("projects"), {"name": project}).status == 201
    differs({**plain, "project": project}, key, "project")
    full = {**plain, "description": "one", "env": {"A": "1", "B": "2"}, "labels": ["a"], "timeout": 60, "stop_grace": 5, "log_limit": 4096, "split_output": True, "save_all": True, "cpus": 1,
            "memory": 4096, "machine_type": "CPU", "project": project, "gpus": 0}
    other = {"Idempotency-Key": uuid.uuid4().hex}
    second = service.post(path, full, headers=other)
    assert second.status == 201, second.body
    assert service.post(path, dict(reversed(full.items())), headers=other).json["run"]["id"] == second.json["run"]["id"]
    for field in full:
        if field != "command":
            differs({name: value for name, value in full.items() if name != field}, other, field)
        if field not in ("split_output", "save_all", "machine_type", "project", "gpus", "cpus"):
            differs({**full, field: DIFFERENT[field]}, other, field)
    assert not wrong, "\n".join(wrong)
    flow = service.post(service.of_owner("workflows"), {}).json["workflow"]["id"]  # has names of its own
    third = service.post(path, {**plain, "workflow": flow}, headers=key)
    assert third.status == 201 and third.json["run"]["workflow"] == flow
    for number in (first, second.json["run"]["id"], third.json["run"]["id"]):
        service.wait(number)
    assert service.post(service.of_owner(f"workflows/{flow}/finish"), {"exit_code": 0}).status == 200
    assert service.request("DELETE", service.of_owner(f"workflows/{flow}")).status == 200


def test_run_metrics(service, document, ended_run):
    names, points = service.of_owner(f"runs/{ended_run}/metrics"), service.of_owner(f"runs/{ended_run}/metrics/points")
    assert service.get(names).json == {"metrics": []}
    assert service.get(points).json == {"metrics": [], "next": "0", "final": True}
    assert service.get(points + "?wait_ms=60000&name=x&first=-3&last=9&limit=10").json["final"]
    for bad in ("from=-1", "from=x", "limit=0", "limit=10001", "first=x", "last=1.5", "wait_ms=-1", "wait_ms=60001"):
        code_of(service.get(points + "?" + bad), 400, "invalid_request")
    for path in ("runs/999999/metrics", "runs/999999/metrics/points"):
        code_of(service.get(service.of_owner(path)), 404, "run_not_found")
    assert service.get(service.of_owner(f"runs/{ended_run}/metrics/other")).status == 404


def test_parameters(service):
    made = service.post(service.of_owner("runs"), {"command": "echo :x:", "params": {"x": "1"}}).json["run"]
    assert (made["command"], made["params"]) == ("echo 1", {"x": "1"})
    assert service.wait(made["id"])["user_exit_code"] == 0
    for params in ({"y": "1"}, {"x": 1}, {"": "1"}, {"x": "1", "a b": "2"}, [], {"x": None}):
        code_of(service.post(service.of_owner("runs"), {"command": "echo :x:", "params": params}), 400, "invalid_request")
    again = service.post(service.of_owner(f"runs/{made['id']}/rerun")).json["run"]
    assert (again["command"], again["params"]) == ("echo 1", {"x": "1"})
    flow = service.post(service.of_owner("workflows"), {"run": {"command": "echo :x:", "params": {"x": "1"}}})
    assert flow.json["run"]["command"] == "echo 1"
    code_of(service.post(service.of_owner("workflows"), {"run": {"command": "echo", "params": {"x": "1"}}}), 400, "invalid_request")
