"""Objects that are sent, the uploads that name them, and what becomes of them without a name."""
import copy
import os
import urllib.parse
import uuid

import pytest

from api import PACK, code_of
from spellfs import Objects, text_of


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
    service.upload(name, request)
    path, resource, names = service.of_owner("objects/read"), f"uploads/{name}", [text_of(n) for n, _, _ in objects.list]
    pack = service.post(path, {"path": resource, "names": names})
    assert pack.status == 200 and pack.headers["Content-Type"] == "application/vnd.spell.pack"
    assert pack.body.startswith(b"spellpk\x01\0\0") and pack.body.endswith(b"spellend")
    assert all(n in pack.body for n, _, _ in objects.list) and objects.big[:60_000] in pack.body
    # As a part of the version that is read: which of them that is, is said beside it.
    assert service.post(f"{path}?tree={request['node']}", {"path": resource, "names": names}).body == pack.body
    assert service.post(f"{path}?tree=s{'0' * 64}", {"path": resource, "names": names}).status == 200
    code_of(service.post(f"{path}?tree=nonsense", {"path": resource, "names": names}), 400, "invalid_request")
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
    made = service.upload(name, request)
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
    service.upload(name, {"type": "file", "node": text_of(objects.file(objects.big)), "size": 300_000})
    assert service.get(service.of_owner(f"files/uploads/{name}"), headers={"Range": "bytes=-5"}).body == objects.big[-5:]
    itself = service.get(service.of_owner(f"resources/uploads/{name}")).json
    assert (itself["resource"]["type"], [e["path"] for e in itself["entries"]]) == ("file", [name])
    code_of(service.get(service.of_owner(f"files/uploads/{name}/below")), 404, "resource_not_found")
    assert service.upload(name, {"type": "file", "node": "", "size": 0})["files"] == 1
    assert service.get(service.of_owner(f"files/uploads/{name}")).body == b""
    # Names of people.
    for strange in ("with space", "ü", "-v", ".hidden", "x" * 255, "a%2fb", "'\"`$(x)"):
        assert service.upload(strange, request)["name"] == strange
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
    before = service.upload(name, request)
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


@pytest.fixture(scope="module")
def lab(team):
    """A team's second owner, for its one member, who is not of the first."""
    name = "lab-" + uuid.uuid4().hex[:8]
    assert team.post("/v1/owners", {"name": name}).status == 201
    member = team.add_user("eve-" + uuid.uuid4().hex[:8], owner=name)
    assert member.owner == name
    return member


def public(service):
    """public/ as an owner, for who may fill it."""
    other = copy.copy(service)
    other.owner = "public"
    return other


def test_public_is_read_by_everybody_and_filled_by_the_administrator(team, lab):
    viewer = team.add_user("zoe-" + uuid.uuid4().hex[:8], role="viewer")
    name, content = "p" + uuid.uuid4().hex[:8], os.urandom(500)
    objects = Objects()
    body = {"type": "file", "node": text_of(objects.file(content)), "size": 500}
    shelf = public(team)
    assert shelf.post(shelf.of_owner("objects"), objects.pack(), headers=PACK).status == 200
    shelf.upload(name, body)
    # One's own owners are others; and who only looks leaves nothing anywhere.
    for reader, refusal in ((lab, (404, "owner_not_found")), (viewer, (403, "not_permitted"))):
        mine = public(reader)
        code_of(mine.post(mine.of_owner("objects"), objects.pack(), headers=PACK), *refusal)
        code_of(mine.post(mine.of_owner("objects/missing"), {"names": [body["node"]]}), *refusal)
        for at in (name, "another"):
            code_of(mine.request("PUT", mine.of_owner(f"uploads/{at}"), {"type": "file", "node": "", "size": 0}), *refusal)
        code_of(mine.request("DELETE", mine.of_owner(f"uploads/{name}")), *refusal)
        assert [entry["path"] for entry in reader.get(reader.of_owner("resources/public")).json["entries"]] == [name]
        assert reader.get(reader.of_owner(f"files/public/{name}")).body == content
    assert shelf.request("DELETE", shelf.of_owner(f"uploads/{name}")).status == 200
    code_of(lab.get(lab.of_owner(f"files/public/{name}")), 404, "resource_not_found")


@pytest.mark.parametrize("whose", ["that of public/", "from public/", "of a team's other owner", "of a team's first owner"])
def test_who_knows_a_hash_has_nothing(service, team, lab, whose):
    """Neither by asking what is missing, nor in a tree, nor as an upload: what another owner has sent is not there."""
    mine, theirs = {"that of public/": (service, public(service)), "from public/": (public(service), service),
                    "of a team's other owner": (team, lab), "of a team's first owner": (lab, team)}[whose]
    secret, foreign = os.urandom(2000), Objects()
    chunk = foreign.file(secret)
    tree = foreign.folder({"secret": secret})
    assert theirs.post(theirs.of_owner("objects"), foreign.pack(), headers=PACK).status == 200
    # Asking.
    names = sorted(text_of(name) for name in (chunk, tree))
    assert sorted(mine.post(mine.of_owner("objects/missing"), {"names": names}).json["names"]) == names
    # A tree of mine with their chunk, and with their folder's content.
    thief = Objects()
    stolen = thief.folder({"mine": (2000, chunk)})
    code_of(mine.post(mine.of_owner("objects"), thief.pack(), headers=PACK), 409, "incomplete_pack")
    above = Objects()
    above.add(b"t", b"\x01\x00\x01\x02\x01x" + b"\xed\x03" + b"\0" * 8 + b"\xd0\x0f\x01\x01" + tree + b"\x00")
    code_of(mine.post(mine.of_owner("objects"), above.pack(), headers=PACK), 409, "incomplete_pack")
    # Their tree, their chunk, my refused tree as an upload.
    for body in ({"type": "folder", "node": text_of(tree), "size": 2000}, {"type": "file", "node": text_of(chunk), "size": 2000},
                 {"type": "folder", "node": text_of(stolen), "size": 2000}):
        code_of(mine.request("PUT", mine.of_owner("uploads/stolen"), body), 409, "incomplete_pack")
    assert sorted(mine.post(mine.of_owner("objects/missing"), {"names": names}).json["names"]) == names
    shown, reader = ("public", service) if mine.owner == "public" else ("uploads", mine)
    # By name, beside something that may be read.
    name = "n" + uuid.uuid4().hex[:8]
    assert mine.request("PUT", mine.of_owner(f"uploads/{name}"), {"type": "file", "node": "", "size": 0}).status == 200
    read = lambda: reader.post(reader.of_owner("objects/read"), {"path": f"{shown}/{name}", "names": [text_of(chunk)]})
    code_of(read(), 404, "resource_not_found")
    assert "stolen" not in [entry["path"] for entry in reader.get(reader.of_owner(f"resources/{shown}")).json["entries"]]
    # Who has the bytes may have them: they are sent, and stored once.
    assert mine.post(mine.of_owner("objects"), foreign.pack(), headers=PACK).status == 200
    assert mine.post(mine.of_owner("objects/missing"), {"names": names}).json["names"] == []
    assert secret in read().body


def test_collect_check_and_usage(service, sent, ended_run):
    """Over the API; what they do is shown in tests/e2e/test_storage_collect.py."""
    name = "c" + uuid.uuid4().hex[:8]
    service.upload(name, sent[1])
    assert set(service.post("/v1/service/collect").json["collected"]) == {"objects", "bytes", "log_bytes", "code_bytes", "problems"}
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
        service.upload(name, sent[1])
    page = service.get(service.of_owner("resources/uploads?limit=2&after=page")).json
    assert ([entry["path"] for entry in page["entries"]], page["next"]) == (["page0", "page1"], "page1")
    page = service.get(service.of_owner("resources/uploads?limit=3&after=page1")).json
    assert ([entry["path"] for entry in page["entries"]], page["next"]) == (["page2", "page3", "page4"], None)
    for name in names:
        service.request("DELETE", service.of_owner("uploads/" + name))
    code_of(service.get(service.of_owner("resources/uploads?after=%25zz")), 400, "invalid_request")
