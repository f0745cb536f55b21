"""All routes by all callers: the table of src/model/routes.cpp says who may use what, and the service does as it says."""
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import tempfile

import pytest

from api import SOURCE
from conftest import BUILD
from database import changing

ROLES = ("viewer", "member", "administrator")
ROW = re.compile(r'\{Route::\w+,\s*"(\w+)",\s*"([^"]+)",\s*"(\w+)",\s*Access::(\w+)\}')
ROUTES = ROW.findall((SOURCE / "src/model/routes.cpp").read_text())


def secret(prefix, name):
    return prefix + hashlib.sha256(name.encode()).hexdigest()


# Whose credentials are for one workflow: of a member, of one who was disabled since, and of a run that has ended.
WORKFLOWS = ("flow", "orphan", "past")
CALLERS = {"nobody": None, **{name: secret("spw_", name) for name in WORKFLOWS}, **{role: secret("spu_", role) for role in ROLES}, "box": secret("spm_", "box"), "other": secret("spm_", "other"),
           "joiner": secret("spj_", "joiner"), "disabled": secret("spu_", "disabled"), "expired": secret("spu_", "expired"),
           "unknown": secret("spu_", "unknown")}


def may(caller, access):
    if access == "anyone":
        return True
    if access == "joiner":
        return caller == "joiner"
    if access == "machine":
        return caller == "box"  # its name is in the path
    role = access.removeprefix("workflow_")
    if caller == "flow":
        return role != access
    return caller in ROLES[ROLES.index(role):]


def fill(database):
    """The callers' tokens, as they are kept."""
    with changing(database) as db:
        for name in (*ROLES, "disabled", "expired"):
            role = name if name in ROLES else "administrator"
            db.execute("INSERT INTO user VALUES (?, ?, '', ?, 1, 0)", (name, role, name == "disabled"))
            db.execute("INSERT INTO member VALUES ('', ?)", (name,))
        for name, token in CALLERS.items():
            if token and name not in ("unknown", *WORKFLOWS):
                kind = {"spu_": "access", "spm_": "machine", "spj_": "join"}[token[:4]]
                user, machine = (name, "") if kind == "access" else ("", name)
                db.execute("INSERT INTO token VALUES (?, ?, ?, ?, ?, '', 1, ?, 0, '')",
                           (name, hashlib.sha256(token.encode()).hexdigest(), kind, user, machine,
                            1 if name == "expired" else 4 * 10**15 if kind == "join" else 0))
        for number, name in enumerate((*WORKFLOWS, "child"), 1):
            creator, workflow = "disabled" if name == "orphan" else "member", number if name != "child" else 1
            db.execute("INSERT INTO run (id, owner, number, status, final, version, archived, created_us, placed_us, started_us, ended_us, creator,"
                       " machine, reason_code, reason, log_bytes, outputs, output_files, output_bytes, epoch, entries, taken, wanted, project, labels,"
                       " identity, workspace, request, workflow, manages) VALUES (?, 'team', ?, ?, ?, 1, 0, 1, 0, 0, 0, ?, '', '', '', 0, '', 0, 0,"
                       " 0, 0, 0, '', '', '', '', '', '{\"command\": \"true\"}', ?, ?)",
                       (name, number, "complete" if name == "past" else "machine_requested", name == "past", creator, workflow, name != "child"))
            if name == "child":
                continue
            db.execute("INSERT INTO workflow VALUES ('team', ?, ?, 'running', '', ?, ?, NULL, '', '', '', 1, 0)", (number, name, creator, number))
            db.execute("INSERT INTO token VALUES (?, ?, 'workflow', ?, '', '', 1, 0, 0, ?)",
                       (name, hashlib.sha256(CALLERS[name].encode()).hexdigest(), creator, name))


@pytest.fixture(scope="module")
def port():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="spell-roles-"))
    program, data = BUILD / "bin/spelld", folder / "data"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPELL_")}
    subprocess.run([program, "init", "--data", data, "--admin", "ada"], env=environment, check=True, capture_output=True, timeout=60)
    fill(data / "spell.db")
    read, write = os.pipe()
    with open(folder / "log", "wb") as log:
        service = subprocess.Popen([program, "serve", "--data", data, "--listen", "127.0.0.1:0", "--ready-fd", str(write)], env=environment,
                                   pass_fds=[write], stderr=log)
    os.close(write)
    with os.fdopen(read) as ready:
        said = ready.read()
    assert said.startswith("ready "), (folder / "log").read_text()
    try:
        yield int(said.split()[1])
        assert service.poll() is None, "the service has ended"
    finally:
        service.terminate()
        service.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


class Caller:
    def __init__(self, port, token):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def ask(self, method, path, body=None, headers=None):
        """(status, error code)"""
        try:
            self.connection.request(method, path, body, {**self.headers, **(headers or {})})
            answer = self.connection.getresponse()
        except (http.client.HTTPException, ConnectionError):  # closed after the answer before
            self.connection.close()
            self.connection.request(method, path, body, {**self.headers, **(headers or {})})
            answer = self.connection.getresponse()
        content = answer.read()
        code = json.loads(content)["error"]["code"] if answer.status >= 400 else None
        return answer.status, code


def address(path, caller=""):
    """The route with something in its places; the machine is the one that has a token. Of a workflow what is its own."""
    if caller == "flow":
        path = path.replace("uploads/{path...}", "uploads/workflows/1/x1").replace("{workflow}", "1").replace("{run}", "4")
    return re.sub(r"\{[^}]*\}", "x1", path.replace("{machine}", "box").replace("{owner}", "team"))


def test_the_table_is_whole(document):
    assert {row[2] for row in ROUTES} == set(document.operations)
    assert all(row[3] in ("anyone", "joiner", "machine", *ROLES, "workflow_viewer", "workflow_member") for row in ROUTES)


@pytest.mark.parametrize("name", CALLERS)
def test_who_may_use_what(port, name):
    wrong, caller = [], Caller(port, CALLERS[name])
    for method, path, operation, access in ROUTES:
        if operation == "logout":
            continue  # would end what the next rows use
        # A body that no route takes: who is let in is told that, and nothing happens.
        status, code = caller.ask(method, address(path, name), b'{"nonsense": 1}', {"Content-Type": "application/json"})
        let_in = status not in (401, 403) or code == "wrong_password"
        if operation == "back_up" and name == "administrator":
            let_in = code == "not_permitted"  # his role would do, but he has to be on the service's own computer
        if let_in != may(name, access):
            wrong.append(f"{operation} ({access}): {status} {code}")
        elif not let_in:
            kind = 403 if name in (*ROLES, "flow") and access not in ("joiner", "machine") else 401
            if status != kind:
                wrong.append(f"{operation} ({access}): {status} {code}, not {kind}")
    assert not wrong, "\n".join(wrong)


def test_a_workflows_credentials_reach_their_own_workflow_alone(port):
    """Of what they may use, that of others: each route whose path names a run, a workflow or an upload."""
    caller, tried = Caller(port, CALLERS["flow"]), set()
    for method, path, operation, access in ROUTES:
        own = address(path, "flow")
        others = own.replace("/runs/4", "/runs/2").replace("/workflows/1", "/workflows/2")
        if not access.startswith("workflow_") or others == own:
            continue
        body = json.dumps({"type": "file", "node": "", "size": 0} if operation == "put_upload" else {"add": ["x"]} if operation == "label_run" else {})
        status, code = caller.ask(method, others, body.encode(), {"Content-Type": "application/json"})
        assert (status, code) == (403, "not_permitted"), operation
        tried.add(operation)
    assert tried == {"get_run", "stop_run", "kill_run", "label_run", "run_log", "list_metrics", "metric_points", "put_upload", "get_workflow"}
    for name in ("x", "workflows", "workflows/1", "workflows/11/x", "workflows/1/x/y", "workflows/1/..", "workflows/0/x"):
        status, code = caller.ask("PUT", f"/v1/owners/team/uploads/{name}", b'{"type": "file", "node": "", "size": 0}')
        assert status in (400, 403), name
    make = {"command": "true", "workflow": 2}
    assert caller.ask("POST", "/v1/owners/team/runs", json.dumps(make).encode(), {"Idempotency-Key": "k"}) == (403, "not_permitted")
    assert caller.ask("POST", "/v1/owners/team/runs", b'{"command": "true"}') == (400, "invalid_request")  # without a name


def test_another_owner_is_not_there(port):
    for name in ROLES:
        caller = Caller(port, CALLERS[name])
        for method, path, operation, access in ROUTES:
            if "{owner}" in path and may(name, access):
                status, code = caller.ask(method, address(path).replace("/team/", "/other/"), b"{}")
                assert (status, code) == (404, "owner_not_found"), operation


def test_strangers_bodies_are_not_taken(port):
    """Who is not known is answered when the head is there; of his terabyte no byte is waited for."""
    for path in ("/v1/owners/team/objects", "/v1/machines/box/objects", "/v1/owners/team/repositories/x/packs"):
        for name in ("nobody", "unknown", "viewer"):
            caller = Caller(port, CALLERS[name])
            connection = caller.connection
            connection.putrequest("POST", path)
            connection.putheader("Content-Length", str(1 << 40))
            for field, value in caller.headers.items():
                connection.putheader(field, value)
            connection.endheaders(b"the first bytes")
            answer = connection.getresponse()
            assert answer.status in (401, 403), (path, name)
    status, code = Caller(port, None).ask("POST", "/v1/login", b" " * (65 << 10))
    assert (status, code) == (413, "too_large")


def test_old_tls_is_not_spoken(port):
    for version, spoken in ((ssl.TLSVersion.TLSv1, False), (ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)):
        caller = Caller(port, CALLERS["viewer"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")  # this side would
        context.minimum_version = context.maximum_version = version
        caller.connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
        if spoken:
            assert caller.ask("GET", "/v1/user") == (200, None)
        else:
            with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION|protocol version"):
                caller.connection.connect()


def test_hostile_logins(port):
    for body in (b"", b"{", b"[]", b"null", b'"x"', b'{"user": 1, "password": "x"}', b'{"user": "ada"}', b'{"password": "x"}',
                 b'{"user": "ada", "password": ["x"]}', b'{"user": "ada", "password": "x", "admin": true}', b'{"user": "a\\u0000", "password": "x"}',
                 b'{"user": "ada", "user": "bob", "password": "x"}', b'{"user": "\xff", "password": "x"}',
                 json.dumps({"user": "x" * 2000, "password": "x"}).encode(), b"[" * 60000):
        status, code = Caller(port, None).ask("POST", "/v1/login", body)
        assert (status, code) in ((400, "invalid_request"), (400, "invalid_json")), body[:80]
    for user in ("../ada", "ada'--", "Ada", "local", "", "x" * 65, "ада"):
        status, code = Caller(port, None).ask("POST", "/v1/login", json.dumps({"user": user, "password": "x"}).encode())
        assert (status, code) == (401, "wrong_password"), user


def test_authorization_fields_of_every_kind(port):
    for value in ("", "Bearer", "Bearer ", "bearer " + CALLERS["administrator"], "Basic YWRhOmFkYQ==", "Bearer " + "x" * 8000,
                  "Bearer " + CALLERS["administrator"].upper(), "Bearer " + CALLERS["administrator"] + " ", CALLERS["administrator"],
                  "Bearer " + hashlib.sha256(CALLERS["administrator"].encode()).hexdigest()):
        status, _ = Caller(port, None).ask("GET", "/v1/users", headers={"Authorization": value})
        # White space behind a field's value is no part of it.
        assert status == (200 if value == f"Bearer {CALLERS['administrator']} " else 401), value


@pytest.mark.parametrize("name", CALLERS)
def test_who_may_log_out(port, name):
    """The row that test_who_may_use_what leaves out, and the last test here: it ends the tokens of those who may."""
    [(method, path, _, access)] = [row for row in ROUTES if row[2] == "logout"]
    caller = Caller(port, CALLERS[name])
    before = caller.ask("GET", "/v1/owners/team/runs")
    status, code = caller.ask(method, path)
    if may(name, access):
        assert status < 300 and before[0] == 200 and caller.ask("GET", "/v1/owners/team/runs")[0] == 401
    else:
        assert (status, code) == ((403, "not_permitted") if name == "flow" else (401, "unauthorized"))
        assert caller.ask("GET", "/v1/owners/team/runs") == before  # nothing has changed for him
