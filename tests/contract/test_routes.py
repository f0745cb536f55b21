"""Every route, with what it should take and what it should refuse. Each answer is checked against the document on its way in."""
import hashlib
import json
import os
import struct
import subprocess
import urllib.parse
import uuid

import pytest

from api import METHODS, Connection
from spellfs import Objects, text_of

NO_SUCH_ID = "0" * 40


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """A repository of one commit as (workspace, commit, tree, pack)."""
    folder = tmp_path_factory.mktemp("repository")
    environment = dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null")

    def git(*words, **options):
        return subprocess.run(["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True,
                              capture_output=True, env=environment, **options).stdout
    git("init", "-q")
    (folder / "hello.txt").write_text("from the repository\n")
    git("add", "hello.txt")
    git("commit", "-q", "-m", "first")
    commit, tree = git("rev-parse", "HEAD", "HEAD^{tree}").decode().split()
    return commit, commit, tree, git("pack-objects", "--stdout", "-q", "--revs", input=b"HEAD\n")


def code_of(answer, status, code):
    assert (answer.status, answer.code) == (status, code), answer.body
    return answer.json["error"]["message"]


# The service itself

def test_openapi(service, document):
    assert service.get("/v1/openapi.json").body == document.text


def test_health(service):
    assert service.get("/healthz").status == 200


def test_install(packages_service):
    """A machine gets a script for the address at which it asked, that believes a package by its hash alone."""
    service, folder = packages_service
    package = folder / "spell-worker-service_0.1.0_amd64.deb"
    package.write_bytes(os.urandom(300_000))
    (folder / "spell-cli_0.1.0_amd64.deb").write_bytes(b"another")
    (folder / "notes.txt").write_text("no package")
    (folder / "folder_1_amd64.deb").mkdir()
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    listed = service.get("/install/SHA256SUMS").body.decode().splitlines()
    assert [line.split("  ")[1] for line in listed] == ["spell-cli_0.1.0_amd64.deb", package.name]
    assert listed[1] == f"{digest}  {package.name}"
    assert service.get(f"/install/{package.name}").body == package.read_bytes()
    script = service.get("/install/worker.sh").body.decode()
    assert f"'amd64 {package.name} {digest}" in script and "spell-cli" not in script
    assert f"--unix-socket {service.socket_path}" in script and "@" not in script
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)

    package.write_bytes(b"a later build")  # is seen without a restart
    assert hashlib.sha256(b"a later build").hexdigest() in service.get("/install/worker.sh").body.decode()
    package.unlink()
    assert "--packages" in code_of(service.get("/install/worker.sh"), 404, "not_found")


@pytest.mark.parametrize("name", ["notes.txt", "folder_1_amd64.deb", "%2e%2e_1_amd64.deb", "a_b_c_d.deb", "worker.sh.deb"])
def test_install_gives_packages_only(packages_service, name):
    service, folder = packages_service
    (folder / "notes.txt").write_text("no package")
    code_of(service.get(f"/install/{name}"), 404, "not_found")
    code_of(service.get("/install/..%2fspell.db"), 400, "invalid_path")


def test_status(service):
    info = service.get("/v1/status").json["service"]
    assert info["owner"] == service.owner
    os.kill(info["pid"], 0)
    assert len(info["machines"]) == 1


def test_stop_service(own_service):
    pid = own_service.pid()
    code_of(own_service.post("/v1/service/stop", {"handover": 1}), 400, "invalid_request")
    code_of(own_service.post("/v1/service/stop", {"now": True}), 400, "invalid_request")
    code_of(own_service.post("/v1/service/stop", b"{"), 400, "invalid_json")
    assert own_service.pid() == pid
    answer = own_service.post("/v1/service/stop", {"handover": False})
    assert answer.status == 202
    assert answer.json["pid"] == pid


# Runs

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


# Resources

def test_list_resource(service, ended_run):
    def entries(path, query=""):
        answer = service.get(service.of_owner("resources" + path) + query)
        assert answer.status == 200, answer.body
        return answer.json
    assert [entry["path"] for entry in entries("/")["entries"]] == ["public", "runs", "uploads"]
    assert str(ended_run) in [entry["path"] for entry in entries("/runs", "?limit=10000")["entries"]]
    assert [(e["path"], e["type"]) for e in entries(f"/runs/{ended_run}")["entries"]] == [("deep", "folder")]
    deep = entries(f"/runs/{ended_run}/deep")
    assert [(e["path"], e["type"], e["size"]) for e in deep["entries"]][0] == ("file", "file", 10)
    assert deep["entries"][1]["link_target"] == "file"
    assert [(e["bytes"], e["files"], bool(e["node"])) for e in (deep["resource"], *deep["entries"])] == [(10, 2, True), (10, 1, True), (0, 1, False)]
    page = entries(f"/runs/{ended_run}/deep", "?limit=1")
    assert page["next"] == "file"
    assert [e["path"] for e in entries(f"/runs/{ended_run}/deep", "?limit=1&after=file")["entries"]] == ["link"]
    itself = entries(f"/runs/{ended_run}/deep/file")
    assert (itself["resource"]["type"], itself["resource"]["size"]) == ("file", 10)
    for none in ("nonsense", "runs/999999", "runs/x", f"runs/{ended_run}/none", f"runs/{ended_run}/deep/file/below"):
        code_of(service.get(service.of_owner("resources/" + none)), 404, "resource_not_found")
    for bad in ("limit=0", "limit=10001", "limit=x"):
        code_of(service.get(service.of_owner("resources/runs?" + bad)), 400, "invalid_request")


def test_read_file(service, ended_run):
    path = service.of_owner(f"files/runs/{ended_run}/deep/file")
    whole = service.get(path)
    assert (whole.status, whole.body) == (200, b"0123456789")
    for asked, got, part in (("bytes=2-4", b"234", "bytes 2-4/10"), ("bytes=7-", b"789", "bytes 7-9/10"),
                             ("bytes=-3", b"789", "bytes 7-9/10"), ("bytes=5-500", b"56789", "bytes 5-9/10")):
        answer = service.get(path, headers={"Range": asked})
        assert (answer.status, answer.body, answer.headers["Content-Range"]) == (206, got, part)
    # A header that is no single range of bytes is ignored.
    for asked in ("bytes=0-1,3-4", "lines=1-2", "bytes=4-2", "bytes=x"):
        assert service.get(path, headers={"Range": asked}).status == 200
    code_of(service.get(path, headers={"Range": "bytes=10-"}), 416, "range_not_satisfiable")
    assert service.get(path, headers={"If-None-Match": whole.headers["ETag"]}).status == 304
    assert service.get(path, headers={"If-None-Match": f'"another", {whole.headers["ETag"]}'}).status == 304
    assert service.get(path, headers={"If-None-Match": '"another"'}).status == 200
    for tag, status in ((whole.headers["ETag"], 206), ('"another"', 200)):
        assert service.get(path, headers={"Range": "bytes=2-4", "If-Range": tag}).status == status
    code_of(service.get(service.of_owner(f"files/runs/{ended_run}/deep")), 400, "invalid_path")
    for none in ("none", "runs", f"runs/{ended_run}/none", "runs/999999/file"):
        code_of(service.get(service.of_owner("files/" + none)), 404, "resource_not_found")


# Uploads

PACK = {"Content-Type": "application/octet-stream"}


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


def upload(service, name, request):
    answer = service.request("PUT", service.of_owner("uploads/" + urllib.parse.quote(name, safe="")), request)
    assert answer.status == 200, answer.body
    return answer.json["upload"]


def test_objects(service, sent):
    path = service.of_owner("objects")
    objects, _ = sent
    code_of(service.post(path, b"no pack", headers=PACK), 400, "bad_pack")
    code_of(service.post(path, objects.pack()[:-1], headers=PACK), 400, "bad_pack")
    other = Objects()
    never = other.folder({"x": os.urandom(20)})
    code_of(service.post(path, other.pack(only=[never]), headers=PACK), 409, "incomplete_pack")
    for bad in ({}, {"names": "x"}, {"names": ["x"]}, {"names": [1]}, {"names": ["s" + "G" * 64]}, {"names": [], "more": 1}, []):
        code_of(service.post(path + "/missing", bad), 400, "invalid_request")
    code_of(service.post(path + "/missing", b"{"), 400, "invalid_json")
    code_of(service.post("/v1/owners/nobody/objects/missing", {"names": []}), 404, "owner_not_found")


def test_read_objects(service, sent):
    objects, request = sent
    name = "r" + uuid.uuid4().hex[:8]
    upload(service, name, request)
    path, resource, names = service.of_owner("objects/read"), f"uploads/{name}", [text_of(n) for n, _, _ in objects.list]
    pack = service.post(path, {"path": resource, "names": names})
    assert pack.status == 200 and pack.headers["Content-Type"] == "application/vnd.spell.pack"
    assert pack.body.startswith(b"spellpk\x01\0\0") and pack.body.endswith(b"spellend")
    assert all(n in pack.body for n, _, _ in objects.list) and objects.big[:60_000] in pack.body
    one = service.post(path, {"path": f"{resource}/a", "names": names[:1]})
    assert one.status == 200 and len(one.body) < 300
    for bad in ({}, {"path": resource}, {"names": names}, {"path": resource, "names": []}, {"path": 1, "names": names},
                {"path": resource, "names": names, "more": 1}, {"path": resource, "names": names[:1] * 4097}, []):
        code_of(service.post(path, bad), 400, "invalid_request")
    for nowhere in ("uploads/none", "runs/999999", "uploads", "none"):
        code_of(service.post(path, {"path": nowhere, "names": names}), 404, "resource_not_found")
    code_of(service.post(path, {"path": resource, "names": names + ["s" + "0" * 64]}), 404, "resource_not_found")
    service.request("DELETE", service.of_owner(f"uploads/{name}"))


def test_put_upload(service, sent):
    objects, request = sent
    name = "u" + uuid.uuid4().hex[:8]
    made = upload(service, name, request)
    assert made | {"created_at": None} == {"name": name, "type": "folder", "size": 300_014, "files": 3, "creator": service.owner,
                                           "node": request["node"], "created_at": None}
    listed = service.get(service.of_owner(f"resources/uploads/{name}")).json
    assert (listed["resource"]["mode"], listed["resource"]["modified_at"]) == (0o750, "2026-01-31T12:00:00.000001Z")
    assert (listed["resource"]["bytes"], listed["resource"]["files"]) == (300_014, 3)
    assert [(entry["path"], entry["size"]) for entry in listed["entries"]] == [("a", 14), ("big", 300_000), ("empty", 0)]
    assert name in [entry["path"] for entry in service.get(service.of_owner("resources/uploads")).json["entries"]]
    # A file, also one that is read in ranges.
    path = service.of_owner(f"files/uploads/{name}/big")
    whole = service.get(path)
    assert (whole.status, whole.body) == (200, objects.big)
    part = service.get(path, headers={"Range": "bytes=65530-65540"})
    assert (part.status, part.body, part.headers["ETag"]) == (206, objects.big[65530:65541], whole.headers["ETag"])
    assert service.get(path, headers={"If-None-Match": whole.headers["ETag"]}).status == 304
    assert service.get(service.of_owner(f"files/uploads/{name}/empty")).body == b""
    code_of(service.get(service.of_owner(f"files/uploads/{name}")), 400, "invalid_path")
    # An upload that is a file itself, also an empty one, replaces what had the name.
    upload(service, name, {"type": "file", "node": text_of(objects.file(objects.big)), "size": 300_000})
    assert service.get(service.of_owner(f"files/uploads/{name}"), headers={"Range": "bytes=-5"}).body == objects.big[-5:]
    itself = service.get(service.of_owner(f"resources/uploads/{name}")).json
    assert (itself["resource"]["type"], [e["path"] for e in itself["entries"]]) == ("file", [name])
    code_of(service.get(service.of_owner(f"files/uploads/{name}/below")), 404, "resource_not_found")
    assert upload(service, name, {"type": "file", "node": "", "size": 0})["files"] == 1
    assert service.get(service.of_owner(f"files/uploads/{name}")).body == b""
    # Names of people.
    for strange in ("with space", "ü", "-v", ".hidden", "x" * 255, "a%2fb", "'\"`$(x)"):
        assert upload(service, strange, request)["name"] == strange
        shown = service.get(service.of_owner("resources/uploads/" + urllib.parse.quote(strange, safe="")))
        assert shown.json["resource"]["path"] == "uploads/" + strange
        assert service.request("DELETE", service.of_owner("uploads/" + urllib.parse.quote(strange, safe=""))).status == 200
    assert service.request("DELETE", service.of_owner(f"uploads/{name}")).json["upload"]["size"] == 0
    code_of(service.request("DELETE", service.of_owner(f"uploads/{name}")), 404, "resource_not_found")
    code_of(service.get(service.of_owner(f"files/uploads/{name}")), 404, "resource_not_found")


def test_uploads_that_are_not_what_they_say(service, sent):
    """Each is refused and leaves what has the name as it was."""
    objects, request = sent
    name = "u" + uuid.uuid4().hex[:8]
    before = upload(service, name, request)
    path = service.of_owner(f"uploads/{name}")
    small = next(text_of(n) for n, kind, data in objects.list if kind == b"c" and len(data) == 14)
    big = text_of(objects.file(objects.big))
    for change, status, code in (
            ({"size": 300_013}, 400, "invalid_request"), ({"size": 0}, 400, "invalid_request"),
            ({"files": 4}, 400, "invalid_request"), ({"files": 0}, 400, "invalid_request"),
            ({"type": "file"}, 400, "invalid_request"), ({"type": "link"}, 400, "invalid_request"),
            ({"node": ""}, 400, "invalid_request"), ({"node": "x"}, 400, "invalid_request"),
            ({"node": small}, 400, "invalid_request"), ({"node": big}, 400, "invalid_request"),
            ({"type": "file", "node": small, "size": 13}, 400, "invalid_request"),
            ({"type": "file", "node": small, "size": 14, "files": 2}, 400, "invalid_request"),
            ({"type": "file", "node": small, "size": 300_000}, 400, "invalid_request"),
            ({"type": "file", "node": big, "size": 299_999}, 400, "invalid_request"),
            ({"type": "file", "node": big, "size": 14}, 400, "invalid_request"),
            ({"type": "file", "node": small, "size": 0}, 400, "invalid_request"),
            ({"mode": 0o10000}, 400, "invalid_request"), ({"mode": -1}, 400, "invalid_request"),
            ({"modified_at": "yesterday"}, 400, "invalid_request"), ({"owner": "x"}, 400, "invalid_request"),
            ({"node": "s" + "0" * 64}, 409, "incomplete_pack"),
            ({"node": text_of(os.urandom(32))}, 409, "incomplete_pack")):
        code_of(service.request("PUT", path, request | change), status, code)
    for without in ("type", "node", "size"):
        code_of(service.request("PUT", path, {k: v for k, v in request.items() if k != without}), 400, "invalid_request")
    for bad in ("a:b", "a\nb", "\x7f", "x" * 256):
        code_of(service.request("PUT", service.of_owner("uploads/" + urllib.parse.quote(bad, safe="")), request), 400, "invalid_request")
    code_of(service.request("PUT", path, b"{"), 400, "invalid_json")
    code_of(service.request("PUT", service.of_owner("uploads/a%2Fb"), request), 400, "invalid_path")
    code_of(service.request("PUT", "/v1/owners/nobody/uploads/x", request), 404, "owner_not_found")
    listed = service.get(service.of_owner("resources/uploads")).json["entries"]
    assert [(entry["node"], entry["bytes"]) for entry in listed if entry["path"] == name] == [(before["node"], before["size"])]
    assert service.request("DELETE", path).json["upload"] == before


def test_public_uploads(service, sent):
    """Everybody reads them; on a personal service its user writes them."""
    objects, request = sent
    name = "p" + uuid.uuid4().hex[:8]
    path = f"/v1/owners/public/uploads/{name}"
    # What one owner has sent is not another's: public's objects are sent to it.
    code_of(service.request("PUT", path, request), 409, "incomplete_pack")
    assert len(service.post("/v1/owners/public/objects/missing", {"names": [request["node"]]}).json["names"]) == 1
    assert service.post("/v1/owners/public/objects", objects.pack(), headers=PACK).status == 200
    assert service.request("PUT", path, request).json["upload"]["name"] == name
    assert name in [entry["path"] for entry in service.get(service.of_owner("resources/public")).json["entries"]]
    assert name not in [entry["path"] for entry in service.get(service.of_owner("resources/uploads")).json["entries"]]
    assert service.get(service.of_owner(f"files/public/{name}/big")).body == objects.big
    code_of(service.get("/v1/owners/public/runs"), 404, "owner_not_found")
    assert service.request("DELETE", path).status == 200
    code_of(service.request("DELETE", path), 404, "resource_not_found")
    code_of(service.get(service.of_owner(f"files/public/{name}/big")), 404, "resource_not_found")


@pytest.mark.parametrize("mine,theirs", [("", "public"), ("public", "")])
def test_who_knows_a_hash_has_nothing(service, mine, theirs):
    """Neither by asking what is missing, nor in a tree, nor as an upload: what another owner has sent is not there."""
    mine, theirs = mine or service.owner, theirs or service.owner
    of = lambda owner, path: f"/v1/owners/{urllib.parse.quote(owner)}/{path}"
    secret, foreign = os.urandom(2000), Objects()
    chunk = foreign.file(secret)
    tree = foreign.folder({"secret": secret})
    assert service.post(of(theirs, "objects"), foreign.pack(), headers=PACK).status == 200
    # Asking.
    names = sorted(text_of(name) for name in (chunk, tree))
    assert sorted(service.post(of(mine, "objects/missing"), {"names": names}).json["names"]) == names
    # A tree of mine with their chunk, and with their folder's content.
    thief = Objects()
    stolen = thief.folder({"mine": (2000, chunk)})
    code_of(service.post(of(mine, "objects"), thief.pack(), headers=PACK), 409, "incomplete_pack")
    above = Objects()
    above.add(b"t", b"\x01\x00\x01\x02\x01x" + b"\xed\x03" + b"\0" * 8 + b"\xd0\x0f\x01\x01" + tree + b"\x00")
    code_of(service.post(of(mine, "objects"), above.pack(), headers=PACK), 409, "incomplete_pack")
    # Their tree, their chunk, my refused tree as an upload.
    for body in ({"type": "folder", "node": text_of(tree), "size": 2000}, {"type": "file", "node": text_of(chunk), "size": 2000},
                 {"type": "folder", "node": text_of(stolen), "size": 2000}):
        code_of(service.request("PUT", of(mine, "uploads/stolen"), body), 409, "incomplete_pack")
    assert sorted(service.post(of(mine, "objects/missing"), {"names": names}).json["names"]) == names
    shown = "public" if mine == "public" else "uploads"
    # By name, beside something that may be read.
    name = "n" + uuid.uuid4().hex[:8]
    assert service.request("PUT", of(mine, f"uploads/{name}"), {"type": "file", "node": "", "size": 0}).status == 200
    read = lambda: service.post(service.of_owner("objects/read"), {"path": f"{shown}/{name}", "names": [text_of(chunk)]})
    code_of(read(), 404, "resource_not_found")
    assert "stolen" not in [entry["path"] for entry in service.get(service.of_owner(f"resources/{shown}")).json["entries"]]
    # Who has the bytes may have them: they are sent, and stored once.
    assert service.post(of(mine, "objects"), foreign.pack(), headers=PACK).status == 200
    assert service.post(of(mine, "objects/missing"), {"names": names}).json["names"] == []
    assert secret in read().body


def test_collect_check_and_usage(service, sent, ended_run):
    """Over the API; what they do is shown in tests/e2e/test_storage_collect.py."""
    name = "c" + uuid.uuid4().hex[:8]
    upload(service, name, sent[1])
    assert set(service.post("/v1/service/collect").json["collected"]) == {"objects", "bytes", "log_bytes"}
    assert service.post("/v1/service/collect", {"spare": 86400}).status == 200
    for bad in ({"spare": -1}, {"spare": "1"}, {"spare": 1.5}, {"older": 1}, []):
        code_of(service.post("/v1/service/collect", bad), 400, "invalid_request")
    code_of(service.post("/v1/service/collect", b"{"), 400, "invalid_json")
    checked = service.post("/v1/service/check").json["check"]
    assert (checked["damaged"], checked["hurt"]) == ([], []) and checked["objects"] > 5
    path = service.of_owner("usage")
    assert service.get(f"{path}?path=uploads/{name}").json["usage"]["bytes"] == 300_014
    assert service.get(f"{path}?path=runs/{ended_run}").json["usage"] | {"stored_bytes": 0} == {
        "path": f"runs/{ended_run}", "bytes": 10, "files": 2, "stored_bytes": 0}
    page = service.get(f"{path}?by=run&limit=1").json
    assert len(page["usage"]) == 1
    assert service.get(f"{path}?by=run&after=999999").json == {"usage": [], "next": None}
    assert [row["name"] for row in service.get(f"{path}?by=kind").json["usage"]] == ["outputs", "uploads", "code", "logs"]
    for bad in ("by=x", "limit=0", "by=run&limit=1001", "by=run&after=x"):
        code_of(service.get(f"{path}?{bad}"), 400, "invalid_request")
    code_of(service.get(f"{path}?path=uploads/none"), 404, "resource_not_found")
    code_of(service.get(f"{path}?path=../x"), 400, "invalid_path")
    service.request("DELETE", service.of_owner(f"uploads/{name}"))


def test_pages_of_uploads(service, sent):
    names = [f"page{n}" for n in range(5)]
    for name in names:
        upload(service, name, sent[1])
    page = service.get(service.of_owner("resources/uploads?limit=2&after=page")).json
    assert ([entry["path"] for entry in page["entries"]], page["next"]) == (["page0", "page1"], "page1")
    page = service.get(service.of_owner("resources/uploads?limit=3&after=page1")).json
    assert ([entry["path"] for entry in page["entries"]], page["next"]) == (["page2", "page3", "page4"], None)
    for name in names:
        service.request("DELETE", service.of_owner("uploads/" + name))
    code_of(service.get(service.of_owner("resources/uploads?after=%25zz")), 400, "invalid_request")


# Links

def test_links(service, sent, ended_run):
    path = service.of_owner("links")
    put = lambda alias, resource: service.request("PUT", f"{path}/{alias}", {"resource": resource})
    name = "l" + uuid.uuid4().hex[:8]
    upload(service, name, sent[1])
    assert put("data", f"uploads/{name}").json["link"] | {"created_at": None} == {
        "alias": "data", "resource": f"uploads/{name}", "created_at": None}
    assert service.get(service.of_owner("files/data/big")).body == sent[0].big
    assert service.get(service.of_owner("resources/data")).json["resource"]["files"] == 3
    # An alias of an alias names what that one names now.
    assert put("big", "data/big/").json["link"]["resource"] == f"uploads/{name}/big"
    assert put("data", f"runs/{ended_run}/deep").json["link"]["resource"] == f"runs/{ended_run}/deep"
    assert service.get(service.of_owner("files/big"), headers={"Range": "bytes=0-3"}).body == sent[0].big[:4]
    assert service.get(service.of_owner("files/data/file")).body == b"0123456789"
    assert [link["alias"] for link in service.get(path).json["links"]] == ["big", "data"]
    top = service.get(service.of_owner("resources/")).json["entries"]
    assert [(e["path"], e["type"], e["link_target"]) for e in top if e["type"] == "link"] == [
        ("big", "link", f"uploads/{name}/big"), ("data", "link", f"runs/{ended_run}/deep")]
    machine = service.get(service.of_owner("machines")).json["machines"][0]["name"]
    for taken in ("runs", "uploads", "public", "s3", "Runs", "cpu", "CPU", machine, machine.upper()):
        code_of(put(taken, f"uploads/{name}"), 409, "name_taken")
    for bad in ("-x", ".x", "a%20b", "x" * 65):
        code_of(put(bad, f"uploads/{name}"), 400, "invalid_request")
    for bad in ("", "runs", "uploads", "public"):
        code_of(put("x", bad), 400, "invalid_request")
    for none in ("nonsense", "uploads/none", "runs/999999", f"uploads/{name}/none", f"runs/{ended_run}/none", "s3:"):
        code_of(put("x", none), 404, "resource_not_found")
    for bad in ("/etc", "../x", "runs/../x", "a//b"):
        code_of(put("x", bad), 400, "invalid_path")
    for bad in ({}, {"resource": 1}, {"resource": "x", "more": 1}, []):
        code_of(service.request("PUT", f"{path}/x", bad), 400, "invalid_request")
    code_of(service.request("PUT", f"{path}/x", b"{"), 400, "invalid_json")
    # In a run that goes on there may be something later.
    number = service.run("sleep 1000")
    assert put("later", f"runs/{number}/model").status == 200
    service.post(service.of_owner(f"runs/{number}/kill"))
    service.wait(number)
    code_of(service.get(service.of_owner("files/later")), 404, "resource_not_found")
    # What a link names may go; the link then names nothing.
    service.request("DELETE", service.of_owner(f"uploads/{name}"))
    code_of(service.get(service.of_owner("files/big")), 404, "resource_not_found")
    for alias in ("big", "data", "later"):
        assert service.request("DELETE", f"{path}/{alias}").json["link"]["alias"] == alias
    code_of(service.request("DELETE", f"{path}/big"), 404, "resource_not_found")
    assert service.get(path).json["links"] == []


# Secrets

def test_secrets(service):
    path = service.of_owner("secrets")
    put = lambda name, value: service.request("PUT", f"{path}/{name}", {"value": value})
    secret = put("token", "a value").json["secret"]
    assert set(secret) == {"name", "created_at"} and secret["name"] == "token"
    assert service.get(path).json["secrets"] == [secret]
    assert put("token", "another").json["secret"]["created_at"] > secret["created_at"]
    for bad in ("abc", "", "x" * 65537, "a\0bcd", "\ud800abc"):
        code_of(put("token", bad), 400, "invalid_request" if "\ud800" not in bad else "invalid_json")
    for bad in ("-x", ".x", "a%20b", "x" * 65):
        code_of(put(bad, "a value"), 400, "invalid_request")
    for bad in ({}, {"value": 1}, {"value": "a value", "more": 1}, []):
        code_of(service.request("PUT", f"{path}/token", bad), 400, "invalid_request")
    code_of(service.post(service.of_owner("runs"), {"command": "true", "secrets": {"X": "none"}}), 404, "secret_not_found")
    code_of(service.post(service.of_owner("runs"), {"command": "true", "secrets": {"X": "token"}, "env": {"X": "1"}}), 400, "invalid_request")
    number = service.run("true", secrets={"X": "token"})
    assert service.wait(number)["secrets"] == {"X": "token"}
    assert service.request("DELETE", f"{path}/token").json["secret"]["name"] == "token"
    code_of(service.request("DELETE", f"{path}/token"), 404, "secret_not_found")


# Projects

def test_projects(service):
    name = "p" + uuid.uuid4().hex[:8]
    path = service.of_owner("projects")
    made = service.post(path, {"name": name, "description": "ä"})
    assert (made.status, made.json["project"]["name"], made.json["project"]["runs"]) == (201, name, 0)
    code_of(service.post(path, {"name": name}), 409, "project_exists")
    for bad in ({}, {"name": ""}, {"name": "a b"}, {"name": "../x"}, {"name": 1}, {"name": name, "archived": True},
                {"name": name, "description": 1}, {"name": name, "description": "x" * 10241}, []):
        code_of(service.post(path, bad), 400, "invalid_request")
    code_of(service.post(path, b'{"name"'), 400, "invalid_json")
    assert service.get(f"{path}/{name}").json == made.json
    code_of(service.get(f"{path}/none"), 404, "project_not_found")

    number = service.run("true", project=name)
    other = service.run("true")
    changed = service.post(f"{path}/{name}/runs", {"add": [other]})
    assert changed.json["project"]["runs"] == 2
    assert service.get(service.of_owner(f"runs?project={name}")).json["runs"][0]["id"] == other
    assert service.post(f"{path}/{name}/runs", {"remove": [number]}).json["project"]["runs"] == 1
    code_of(service.post(f"{path}/{name}/runs", {"add": [number, 999999]}), 404, "run_not_found")
    assert service.get(f"{path}/{name}").json["project"]["runs"] == 1
    for bad in ({"add": 1}, {"add": ["1"]}, {"add": [0]}, {"add": [1.5]}, {"runs": [1]}, []):
        code_of(service.post(f"{path}/{name}/runs", bad), 400, "invalid_request")
    code_of(service.post(f"{path}/none/runs", {"add": [other]}), 404, "project_not_found")

    edited = service.request("PATCH", f"{path}/{name}", {"name": name + "x", "description": "new", "archived": True})
    assert edited.json["project"] | {"created_at": None} == {
        "name": name + "x", "description": "new", "archived": True, "runs": 1, "created_at": None, "keep_days": 0, "keep_runs": 0}
    kept = service.request("PATCH", f"{path}/{name}x", {"keep_days": 30, "keep_runs": 5}).json["project"]
    assert (kept["keep_days"], kept["keep_runs"], kept["description"]) == (30, 5, "new")
    assert service.request("PATCH", f"{path}/{name}x", {"keep_runs": 0}).json["project"] == kept | {"keep_runs": 0}
    assert name + "x" not in [project["name"] for project in service.get(path).json["projects"]]
    assert name + "x" in [project["name"] for project in service.get(path + "?archived=1").json["projects"]]
    assert service.get(service.of_owner(f"runs/{other}")).json["run"]["project"] == name + "x"
    service.post(path, {"name": name})
    code_of(service.request("PATCH", f"{path}/{name}", {"name": name + "x"}), 409, "project_exists")
    code_of(service.request("PATCH", f"{path}/none", {"description": ""}), 404, "project_not_found")
    for bad in ({"name": None}, {"archived": 1}, {"runs": []}, {"keep_days": -1}, {"keep_runs": "5"}, {"keep_days": 1000001}, {"keep_runs": 1.5}):
        code_of(service.request("PATCH", f"{path}/{name}", bad), 400, "invalid_request")
    for run in (number, other):
        service.wait(run)


# Code

def test_code(service, pack):
    workspace, commit, tree, data = pack
    path = service.of_owner(f"repositories/{workspace}")
    ask = {"commit": commit, "trees": [tree, NO_SUCH_ID]}
    assert service.post(f"{path}/missing", ask).json == {"has_commit": False, "trees": []}
    git = {"Content-Type": "application/vnd.git.pack"}
    code_of(service.post(f"{path}/packs?commit={commit}&repository=r", b"no pack", headers=git), 400, "bad_pack")
    code_of(service.post(f"{path}/packs?commit={commit}&repository=r", data[:-1] + b"x", headers=git), 400, "bad_pack")
    code_of(service.post(f"{path}/packs?commit={NO_SUCH_ID}&repository=r", data, headers=git), 409, "incomplete_pack")
    assert service.post(f"{path}/missing", ask).json == {"has_commit": False, "trees": []}
    assert service.post(f"{path}/packs?commit={commit}&repository=r", data, headers=git).json == {"commit": commit}
    assert service.post(f"{path}/missing", ask).json == {"has_commit": True, "trees": [tree]}

    number = service.run("cat hello.txt", code={"workspace": workspace, "commit": commit, "repository": "r", "message": "first"})
    run = service.wait(number)
    assert (run["user_exit_code"], run["git_commit"], run["description"]) == (0, commit, "first")
    assert service.get(service.of_owner(f"runs/{number}/log?format=text&output_only=1")).body == b"from the repository\n"
    listed = service.get(service.of_owner("repositories")).json["repositories"]
    assert [r["runs"] for r in listed if r["workspace"] == workspace] == [1]

    for bad in ({}, {"commit": "HEAD"}, {"commit": 1}, {"commit": commit, "trees": tree}, {"commit": commit, "trees": ["x"]},
                {"commit": commit, "blobs": []}, []):
        code_of(service.post(f"{path}/missing", bad), 400, "invalid_request")
    code_of(service.post(service.of_owner("repositories/x/missing"), ask), 400, "invalid_request")
    code_of(service.post(service.of_owner("repositories/x/packs?commit=" + commit), data, headers=git), 400, "invalid_request")
    for query in ("", "?commit=HEAD", "?commit="):
        code_of(service.post(f"{path}/packs{query}", data, headers=git), 400, "invalid_request")


# Machines

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


# Every path

def test_methods_that_a_path_does_not_have(service, document):
    for path, described in document.json["paths"].items():
        for method in METHODS:
            if method not in described:
                target = path.replace("{owner}", service.owner).replace("{run}", "1").replace("{path}", "runs").replace("{alias}", "a")
                target = target.replace("{name}", NO_SUCH_ID).replace("{machine}", "m")
                code_of(service.request(method.upper(), target), 405, "method_not_allowed")


def test_paths_that_are_no_routes(service):
    for path in ("/", "/v1", "/v2/status", "/v1/statuses", "/v1/status/x", "/v1/owners", f"/v1/owners/{service.owner}",
                 service.of_owner("runs/1/nonsense"), service.of_owner("runs/1/log/x"), "/favicon.ico", "/metrics/x"):
        code_of(service.get(path), 404, "route_not_found")


def test_head_of_a_described_path_has_no_body(service):
    connection = Connection(service.socket_path, 60)
    connection.request("HEAD", "/v1/status")
    response = connection.getresponse()
    assert response.read() == b""
    assert response.status in (200, 405)
    connection.close()


# Quotas, figures, backups

def test_quotas(service):
    path = service.of_owner("quotas")
    put = lambda user, body: service.request("PUT", f"{path}/{user}", body)
    quota = put("ada", {"runs": 3, "bytes": 5_000_000, "log_bytes": None}).json["quota"]
    assert quota == {"user": "ada", "runs": 3, "bytes": 5_000_000, "log_bytes": None, "running": 0, "stored_bytes": 0}
    assert put("*", {"log_bytes": 10_000_000_000}).json["quota"]["user"] == "*"
    assert [quota["user"] for quota in service.get(path).json["quotas"]] == ["*", "ada"]
    assert put("ada", {"runs": 4}).json["quota"]["bytes"] is None
    for bad in ({"runs": -1}, {"runs": "1"}, {"log_bytes": 1}, {"bytes": 2**53}, {"days": 1}, []):
        code_of(put("ada", bad), 400, "invalid_request")
    code_of(put("-x", {"runs": 1}), 400, "invalid_request")
    put("*", {})
    put("ada", {})
    assert service.get(path).json["quotas"] == []


def test_metrics(service, ended_run):
    answer = service.get("/metrics")
    assert answer.status == 200 and answer.type == "text/plain"
    assert b'spell_runs{status="complete"}' in answer.body and b"spell_request_seconds_bucket" in answer.body


def test_backup(service, ended_run, tmp_path):
    backup = service.post("/v1/service/backup", {"folder": str(tmp_path / "backup")}).json["backup"]
    assert backup["folder"] == str(tmp_path / "backup") and backup["new_files"] == backup["files"] > 0
    assert service.post("/v1/service/backup", {"folder": str(tmp_path / "backup")}).json["backup"]["new_files"] < backup["files"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("x")
    code_of(service.post("/v1/service/backup", {"folder": str(tmp_path / "other")}), 409, "not_a_backup")
    code_of(service.post("/v1/service/backup", {"folder": "relative"}), 400, "invalid_request")
    for bad in ({}, {"folder": 1}, {"folder": "/x", "more": 1}, []):
        code_of(service.post("/v1/service/backup", bad), 400, "invalid_request")
