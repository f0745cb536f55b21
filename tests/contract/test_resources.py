"""What is kept, as folders and files, and by short names."""
import uuid

from api import code_of


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


def test_links(service, sent, ended_run):
    path = service.of_owner("links")
    put = lambda alias, resource: service.request("PUT", f"{path}/{alias}", {"resource": resource})
    name = "l" + uuid.uuid4().hex[:8]
    service.upload(name, sent[1])
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
