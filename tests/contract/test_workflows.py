"""Workflows: what makes one, what its runs are, what ends it."""
import uuid

from api import code_of
from test_code import NO_SUCH_ID, pack  # noqa: F401


def test_workflows(service, pack):
    path = service.of_owner("workflows")
    workspace, commit, _, data = pack
    code_of(service.post(path, {"commits": {"x": {"workspace": NO_SUCH_ID, "commit": NO_SUCH_ID}}}), 409, "commit_not_found")
    sent = service.post(service.of_owner(f"repositories/{workspace}/packs?commit={commit}&repository=flow"), data,
                        headers={"Content-Type": "application/vnd.git.pack"})
    assert sent.status in (200, 201), sent.body
    code = {"workspace": workspace, "commit": commit, "repository": "flow"}
    body, key = {"description": "ä", "commits": {"it": code}}, {"Idempotency-Key": uuid.uuid4().hex}
    made = service.post(path, body, headers=key)
    assert made.status == 201 and made.json["run"] is None
    number = made.json["workflow"]["id"]
    assert service.post(path, body, headers=key).json["workflow"]["id"] == number
    for other, field in (({}, "description"), ({**body, "description": "another"}, "description"), ({**body, "commits": {}}, "commits"),
                         ({**body, "commits": {"that": code}}, "commits"), ({**body, "run": {"command": "true"}}, "run")):
        assert f"workflow {number}, which differs in '{field}'" in code_of(service.post(path, other, headers=key), 409, "key_conflict"), other
    shown = service.get(f"{path}/{number}").json["workflow"]
    assert (shown["status"], shown["run"], shown["commits"]["it"]["commit"], shown["runs"]) == ("running", None, commit, [])

    def run(name, **members):
        return service.post(service.of_owner("runs"), {"command": "cat hello.txt", "workflow": number, **members}, headers={"Idempotency-Key": name} if name else {})
    first = run("one", code={"label": "it"}).json["run"]
    assert (first["workflow"], first["key"], first["manages"], first["git_commit"]) == (number, "one", False, commit)
    assert run("one", code={"label": "it"}).json["run"]["id"] == first["id"]
    assert "'command'" in code_of(run("one", code={"label": "it"}, command="false"), 409, "key_conflict")
    code_of(run("two", code={"label": "other"}), 422, "unknown_commit_label")
    code_of(run("", command="true"), 400, "invalid_request")
    code_of(service.post(service.of_owner("runs"), {"command": "true", "code": {"label": "it"}}), 422, "unknown_commit_label")
    code_of(service.post(service.of_owner("runs"), {"command": "true", "workflow": 999999}, headers=key), 404, "workflow_not_found")
    assert service.wait(first["id"])["user_exit_code"] == 0
    assert [each["id"] for each in service.get(service.of_owner(f"runs?workflow={number}")).json["runs"]] == [first["id"]]
    assert [each["key"] for each in service.get(f"{path}/{number}").json["workflow"]["runs"]] == ["one"]

    code_of(service.request("DELETE", f"{path}/{number}"), 409, "workflow_not_final")
    for bad in ({}, {"exit_code": -1}, {"exit_code": 256}, {"exit_code": "0"}, {"exit_code": 0, "x": 1}):
        code_of(service.post(f"{path}/{number}/finish", bad), 400, "invalid_request")
    assert service.post(f"{path}/{number}/finish", {"exit_code": 3}).json["workflow"]["user_exit_code"] == 3
    code_of(run("two", command="true"), 409, "workflow_ended")
    for how in ("stop", "kill"):  # has ended: nothing changes
        assert service.post(f"{path}/{number}/{how}").json["workflow"]["status"] == "complete"
    assert service.request("DELETE", f"{path}/{number}").json["workflow"]["id"] == number
    for method, target in (("GET", ""), ("DELETE", ""), ("POST", "/stop"), ("POST", "/kill")):
        code_of(service.request(method, f"{path}/{number}{target}"), 404, "workflow_not_found")
        code_of(service.request(method, f"{path}/x{target}"), 404, "workflow_not_found")
    assert service.get(service.of_owner(f"runs/{first['id']}")).json["run"]["workflow"] is None

def test_a_workflow_with_its_managing_run(service):
    path = service.of_owner("workflows")
    made = service.post(path, {"run": {"command": "sleep 1000", "labels": ["m"]}})
    assert made.status == 201 and made.json["run"]["manages"] and made.json["workflow"]["run"] == made.json["run"]["id"]
    number, run = made.json["workflow"]["id"], made.json["run"]["id"]
    code_of(service.post(f"{path}/{number}/finish", {"exit_code": 0}), 400, "invalid_request")
    code_of(service.post(service.of_owner(f"runs/{run}/rerun")), 400, "invalid_request")
    assert service.post(f"{path}/{number}/kill").json["workflow"]["status"] in ("killing", "killed")
    assert service.wait(run)["status"] == "killed"
    assert service.get(f"{path}/{number}").json["workflow"]["status"] == "killed"
    page = service.get(path + "?limit=1").json
    assert [each["id"] for each in page["workflows"]] == [number]
    assert service.get(path + f"?limit=1000&cursor={number}").json["next"] is None
    for bad in ("limit=0", "limit=1001", "cursor=x"):
        code_of(service.get(f"{path}?{bad}"), 400, "invalid_request")

def test_what_makes_no_workflow(service):
    path, before = service.of_owner("workflows"), service.get(service.of_owner("workflows")).json
    program = {"name": "p", "type": "file", "node": "", "size": 0}
    project = {"type": "folder", "node": "s" + "0" * 64, "size": 5}
    for bad, code in (([], 400), ({"x": 1}, 400), ({"run": {}}, 400), ({"run": {"command": "true", "workflow": 1}}, 400), ({"program": program}, 400),
                      ({"run": {"command": "true", "machine_type": "K80"}}, 400), ({"commits": {"a b": {"commit": NO_SUCH_ID}}}, 400),
                      ({"commits": {"a": {"label": "b"}}}, 400),
                      ({"run": {"command": "true"}, "program": {**program, "name": "../x"}}, 400), ({"run": {"command": "true"}, "program": {**program, "type": "folder"}}, 400),
                      ({"run": {"command": "true"}, "program": {**program, "size": 9}}, 400),
                      ({"build": project}, 400), ({"run": {"command": "true"}, "build": {**project, "type": "file"}}, 400),
                      ({"run": {"command": "true"}, "build": {**project, "target": "a b"}}, 400), ({"run": {"command": "true"}, "build": {**project, "target": "-x"}}, 400),
                      ({"run": {"command": "true"}, "build": {**project, "name": "x"}}, 400), ({"run": {"command": "true"}, "build": project, "program": program}, 400),
                      ({"run": {"command": "true", "build": "x"}}, 400), ({"description": "x" * 20000}, 400)):
        code_of(service.post(path, bad), code, "invalid_request")
    code_of(service.post(path, {"run": {"command": "true", "code": {"label": "a"}}}), 422, "unknown_commit_label")
    code_of(service.post(path, {"run": {"command": "true", "code": {"workspace": NO_SUCH_ID, "commit": NO_SUCH_ID}}}), 409, "commit_not_found")
    code_of(service.post(path, {"run": {"command": "true", "project": "no-such"}}), 404, "project_not_found")
    code_of(service.post(path, {"run": {"command": "true", "mounts": [{"resource": "uploads/none"}]}}), 422, "invalid_mount")
    missing = {**program, "node": "s" + "0" * 64, "size": 5}
    code_of(service.post(path, {"run": {"command": "true"}, "program": missing}), 409, "incomplete_pack")
    code_of(service.post(path, {"run": {"command": "true"}, "build": project}), 409, "incomplete_pack")
    code_of(service.post(service.of_owner("runs"), {"command": "true", "build": "x"}), 400, "invalid_request")
    assert service.get(path).json == before


def test_a_project_that_is_to_be_built(service, sent):
    _, folder = sent
    path, before = service.of_owner("workflows"), service.get(service.of_owner("workflows")).json
    made = service.post(path, {"run": {"command": "exec \"$SPELL_PROGRAM\""}, "build": {**folder, "target": "pipeline"}})
    if made.status != 201:  # there is no SDK in this build, or no compiler here
        assert code_of(made, made.status, {409: "sdk_missing", 422: "cannot_build"}[made.status]).count("--program") == 1
        assert service.get(path).json == before
        return
    number, run = made.json["workflow"]["id"], made.json["run"]["id"]
    ended = service.wait(run)
    assert (ended["status"], ended["reason_code"]) == ("build_failed", "build_failed") and "CMakeLists.txt" in ended["reason"], ended
    kept = [entry["path"] for entry in service.get(service.of_owner("resources/uploads")).json["entries"]]
    assert {f"workflows/{number}/sdk", f"workflows/{number}/source"} <= set(kept), kept
    code_of(service.post(service.of_owner(f"runs/{run}/rerun")), 400, "invalid_request")
