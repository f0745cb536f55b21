"""What nobody who means well would send: a 4xx with a code and one clear line, nothing changed, the same process alive."""
import collections
import contextlib
import json
import os
import pathlib
import re
import socket
import time
import urllib.parse

import pytest

# A body that each operation with one takes, with every member. {run} and {name} stand in paths.
GIT = "a" * 40
POOL = {"pool": "nobody's", "pool_options": {"zone": "b"}, "min_machines": 1, "max_machines": 1, "idle_timeout": 1, "launch_timeout": 1, "max_unused": "1"}
PRICES = {"price": "1.5", "spot_price": "0.5"}
SAMPLES = {
    "stop_service": {"handover": False},
    "create_run": {"command": "true", "machine_type": "CPU", "description": "d", "project": "hostile", "folder": "a/b",
                   "virtual_env": "/v", "env": {"A": "1"}, "secrets": {"B": "hostile"}, "labels": ["l"], "after": [1], "timeout": 60, "stop_grace": 1,
                   "log_limit": 4096, "split_output": False, "save_all": False, "idempotent": False, "pip": ["numpy"], "apt": ["sl", "libc6:i386=2.36-9+deb12u10"], "requirements": "r.txt", "setup": "true", "refresh_environment": True, "priority": "low",
                   "code": {"workspace": GIT, "commit": GIT, "base_commit": GIT, "repository": "r", "message": "m",
                            "github_url": "https://example.org/x"}, "workflow": 1},
    "create_workflow": {"description": "d", "commits": {"label": {"workspace": GIT, "commit": GIT}}, "run": {"command": "true", "labels": ["l"]},
                        "program": {"name": "program", "type": "file", "node": "s" + "0" * 64, "size": 1, "files": 1, "mode": 493}},
    "finish_workflow": {"exit_code": 0},
    "archive_run": {"archived": True},
    "label_run": {"add": ["a"], "remove": ["b"]},
    "create_project": {"name": "another", "description": "d"},
    "edit_project": {"name": "another", "description": "d", "archived": False, "keep_days": 1, "keep_runs": 1},
    "project_runs": {"add": [1], "remove": [1]},
    "code_missing": {"commit": GIT, "trees": [GIT]},
    "objects_missing": {"names": ["s" + "0" * 64]},
    "read_objects": {"path": "runs/1", "names": ["s" + "0" * 64]},
    "put_upload": {"type": "folder", "node": "s" + "0" * 64, "size": 1, "files": 1, "mode": 493, "modified_at": "2026-01-31T12:00:00Z"},
    "collect": {"spare": 100},
    "put_link": {"resource": "runs/999999/x"},
    "put_secret": {"value": "long enough"},
    "put_quota": {"runs": 1, "bytes": 1, "log_bytes": 4096, "runs_of": {"t": 1}},
    "put_budget": {"amount": "1000000", "monthly": True},
    "back_up": {"folder": "relative"},
    "create_machine": {"name": "hostile-box", "serves": ["t"], "allow": ["ada"], "serves_cpu": True, "cpus": 1, "memory": 1, "gpus": 1,
                       "lost_after": 1},
    "edit_machine": {"name": "another", "drained": True},
    "interrupt_machine": {"in": 5},
    "create_machine_type": {"name": "hostile-type", "spot": True, "default_auto_resume": True, "cpus": 1, "memory": 1, "gpus": 1,
                            "lost_after": 1, **POOL, **PRICES},
    "edit_machine_type": {"spot": True, "default_auto_resume": True, "cpus": 1, "memory": 1, "gpus": 1, "lost_after": 1, **POOL, **PRICES},
    "put_price_list": {"csv": "name,price\nhostile,1.5\n"},
}
WRONG = [None, True, False, 0, -1, 1.5, 2**53, 2**64, -2**63, "", " ", "x" * 300_000, "../x", "/x", [], [None], [[]], [{}], {}, {"x": None}]


def held_by(service):
    """What the service's process holds, and its files that are nothing yet: {what: how many}."""
    process, folder = pathlib.Path(f"/proc/{service.pid()}"), pathlib.Path(service.socket_path).parent
    held = collections.Counter({"threads": len(os.listdir(process / "task")),
                                "arriving": sum(len(files) for _, _, files in os.walk(folder / "incoming"))})
    for entry in os.listdir(process / "fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            held[re.sub(r":\[\d+\]|[0-9a-f]{32,}| \(deleted\)", "", os.readlink(process / "fd" / entry))] += 1
    for name in [name for name in held if "/spell.db" in name]:
        held[name] //= 100  # readers are kept, as many as there once were requests at a time
    return held


@pytest.fixture(scope="module", autouse=True)
def nothing_leaks(service, ended_run):
    """Around all tests of this file: no descriptor, thread or file more than before."""
    assert service.get(service.of_owner(f"files/runs/{ended_run}/deep/file")).body == b"0123456789"  # what is read once stays open
    before = held_by(service)
    yield
    deadline = time.monotonic() + 60
    # Connections are closed when the last answer is written; threads end when there was nothing for them for a while.
    while more := held_by(service) - before:
        assert time.monotonic() < deadline, f"more than before: {dict(more)}"
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def nothing_changes(service, ended_run):
    """Around every test of this file: what is kept stays as it is, and so does the process."""
    service.post(service.of_owner("projects"), {"name": "hostile"})
    before, pid = service.everything(), service.pid()
    yield
    assert service.everything() == before
    assert service.pid() == pid


def target_of(service, document, operation, run=1):
    method, path, _ = document.operations[operation]
    path = path.replace("uploads/{path}", "uploads/hostile").replace("{workflow}", "999999")
    path = path.replace("{owner}", service.owner).replace("{run}", str(run)).replace("{path}", f"runs/{run}")
    name = GIT if "repositories" in path else "hostile"
    return method, path.replace("{name}", name).replace("{machine}", "m").replace("{alias}", "a").replace("{kind}", "project").replace("{user}", "hostile")


def refused(answer, *codes):
    """A 4xx; its form was checked on its way in."""
    assert answer is not None, "closed without an answer"
    assert 400 <= answer.status < 500, answer.body[:500]
    if codes:
        assert answer.code in codes, answer.body[:500]
    return answer


def members(sample, path=()):
    """Paths of every member and element in a body."""
    items = sample.items() if isinstance(sample, dict) else enumerate(sample) if isinstance(sample, list) else ()
    for key, value in items:
        yield path + (key,)
        yield from members(value, path + (key,))


def with_member(sample, path, value):
    changed = json.loads(json.dumps(sample))
    at = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return changed


def test_every_json_body_has_a_sample(document):
    # Those of people are no business of a personal service: test_roles.py has them.
    taken = {o for o, (_, _, described) in document.operations.items()
             if document.request_schema(o) and "security" not in described and described["tags"] != ["people"]}
    assert taken == set(SAMPLES)
    for operation, sample in SAMPLES.items():
        assert document.accepts(operation, sample)


@pytest.mark.parametrize("operation", SAMPLES)
def test_wrong_types_in_every_member(service, document, operation, ended_run):
    """What the schema refuses, the service refuses."""
    method, target = target_of(service, document, operation, ended_run)
    tried = 0
    for path in members(SAMPLES[operation]):
        for value in WRONG:
            body = with_member(SAMPLES[operation], path, value)
            if document.accepts(operation, body):
                continue
            tried += 1
            answer = refused(service.request(method, target, body), "invalid_request")
            named = next(part for part in reversed(path) if isinstance(part, str))
            message = answer.json["error"]["message"]
            assert named in message or str(path[0]) in message, f"{operation} {path} = {value!r}: {message}"
    assert tried > 5


@pytest.mark.parametrize("operation", SAMPLES)
def test_unknown_members(service, document, operation, ended_run):
    method, target = target_of(service, document, operation, ended_run)
    places = [()] + [path for path in members(SAMPLES[operation])]
    for path in places:
        at = SAMPLES[operation]
        for key in path:
            at = at[key]
        if not isinstance(at, dict):
            continue
        for name in ("unknown-member", "Command", "__proto__", "a\nb", "x" * 5000, "ä", "'\"<"):
            body = with_member(SAMPLES[operation], path + (name,), [1])
            assert not document.accepts(operation, body)
            refused(service.request(method, target, body), "invalid_request")


@pytest.mark.parametrize("operation", SAMPLES)
def test_nul_and_invalid_utf8_in_every_text(service, document, operation, ended_run):
    method, target = target_of(service, document, operation, ended_run)
    marker = "SPELLMARKER"
    for path in members(SAMPLES[operation]):
        for bad in (b"\\u0000", b"\x00", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\\ud800", b"\xf4\x90\x80\x80", b"a\xe4"):
            body = json.dumps(with_member(SAMPLES[operation], path, marker)).encode().replace(marker.encode(), bad)
            refused(service.request(method, target, body), "invalid_json", "invalid_request")
    for bad in (b"\\u0000", b"\x00", b"\xff", b"\\ud800"):
        refused(service.request(method, target, b'{"' + bad + b'": 1}'), "invalid_json", "invalid_request")


@pytest.mark.parametrize("operation", SAMPLES)
def test_broken_json(service, document, operation, ended_run):
    method, target = target_of(service, document, operation, ended_run)
    whole = json.dumps(SAMPLES[operation]).encode()
    cuts = [whole[:size] for size in range(1, len(whole), max(1, len(whole) // 40))]
    twice = whole[:-1] + b", " + whole[1:]
    for body in cuts + [twice, b"nonsense", b"'a'", whole + b"x", whole + b"\0", b"{} {}", b"[" * 100_000, b'{"a":' * 100_000,
                        b"\xef\xbb", b"NaN", b"[1e999]", b"// c\n{}"]:
        refused(service.request(method, target, body), "invalid_json", "invalid_request")
    for body in (b"[]", b"null", b"1", b'"x"', b"true"):
        refused(service.request(method, target, body), "invalid_request")


@pytest.mark.parametrize("operation", SAMPLES)
def test_ten_megabytes_of_json(service, document, operation, ended_run):
    method, target = target_of(service, document, operation, ended_run)
    for body in (b'{"command": "' + b"x" * 10_000_000 + b'"}', b"[" * 10_000_000, b'{"a": [' + b"1," * 5_000_000 + b"1]}",
                 b" " * 10_000_000):
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        answer = refused(service.raw(head.encode() + body), "too_large")
        assert answer.status == 413
        service.check(method, target, answer)
    # The same without saying how long it will be.
    chunk = b"x" * 65536
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = (f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n") * 160 + b"0\r\n\r\n"
    assert refused(service.raw(head.encode() + chunks), "too_large").status == 413


def test_leaving_a_folder_by_its_path(service, ended_run):
    for kind in ("files", "resources"):
        for path in (f"runs/{ended_run}/../../x", f"runs/{ended_run}/%2e%2e/%2e%2e/x", f"runs/{ended_run}/..%2f..%2fx",
                     f"runs/{ended_run}/%2e%2e%2fx", "..", "../runs", "%2e%2e", ".", f"./runs/{ended_run}", "%2fetc%2fpasswd",
                     f"runs/{ended_run}/deep%2ffile", f"runs/{ended_run}/./deep", "../../../../../../etc/passwd", f"runs/{ended_run}/%2E./x",
                     f"runs/{ended_run}/..\\..\\x", f"runs/{ended_run}/%5c..%5cx", "runs//..//x", f"runs/{ended_run}/.../x"):
            answer = refused(service.get(service.of_owner(f"{kind}/{path}"), checked=False))
            assert answer.code in ("invalid_path", "resource_not_found", "route_not_found"), answer.body
            service.document.check_error(answer, path)
            assert b"root:" not in answer.body
    for path in ("/v1/owners/../status", "/v1/../etc/passwd", "/v1/owners/%2e%2e/runs", "//..//", "/..", "/%2e%2e/%2e%2e"):
        refused(service.get(path, checked=False))


def test_nul_and_invalid_utf8_in_every_path_and_query(service, document, ended_run):
    bad_bytes = ("%00", "a%00b", "%ff", "%c0%80", "%ed%a0%80", "%", "%2", "%zz", "%e4")
    for operation, (method, path, described) in document.operations.items():
        for bad in bad_bytes:
            for parameter in map(document.resolve, described.get("parameters", [])):
                if parameter["in"] == "header":
                    continue
                target = path
                if parameter["in"] == "path":
                    target = target.replace("{" + parameter["name"] + "}", bad)
                target = target_of_path(service, target, ended_run)
                if parameter["in"] == "query":
                    target += f"?{parameter['name']}={bad}"
                answer = refused(service.request(method, target, checked=False), "invalid_path")
                document.check_error(answer, f"{method} {target}")
            target = target_of_path(service, path, ended_run)
            refused(service.request(method, f"{target}?{bad}=1", checked=False), "invalid_path")


def test_control_characters_in_every_path_and_query(service, document, ended_run):
    """They are text, so some are answered; none is repeated as it is in an error's line."""
    for operation, (method, path, described) in document.operations.items():
        for parameter in map(document.resolve, described.get("parameters", [])):
            for bad in ("a%0Ab", "%1b%5b2J", "%7f", "%C2%85", "x" * 5000):
                target = path
                if parameter["in"] == "path":
                    target = target.replace("{" + parameter["name"] + "}", bad)
                target = target_of_path(service, target, ended_run)
                if parameter["in"] == "query":
                    target += f"?{parameter['name']}={bad}"
                elif parameter["in"] == "header":
                    continue
                assert service.request(method, target).status < 500


def target_of_path(service, path, run):
    for name, value in {"owner": service.owner, "run": run, "path": f"runs/{run}", "machine": "m", "name": "hostile"}.items():
        path = path.replace("{" + name + "}", str(value))
    return path


def test_raw_bytes_in_the_request_line_and_the_header(service):
    runs = service.of_owner("runs").encode()
    for line in (b"GET /v1/st\0atus HTTP/1.1", b"GET /v1/\xff HTTP/1.1", b"GET  HTTP/1.1", b"GET v1/status HTTP/1.1",
                 b"GET /v1/status HTTP/9.9", b"\x16\x03\x01\x02\x00", b"G\0T /v1/status HTTP/1.1", b"GET /v1/status",
                 b"GET /" + b"x" * 100_000 + b" HTTP/1.1", b"GET http://other/v1/nonsense HTTP/1.1"):
        answer = service.raw(line + b"\r\nHost: x\r\n\r\n")
        if answer is not None:  # closing at once is an answer to what is no HTTP
            refused(answer)
            service.document.check_error(answer, repr(line[:40]))
    for field in (b"X: " + b"y" * 200_000, b"X\0: 1", b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Content-Length: x",
                  b"Content-Length: 1\r\nContent-Length: 2", b"Transfer-Encoding: nonsense", b"\r\n".join(b"X%d: 1" % n for n in range(20_000))):
        answer = service.raw(b"POST " + runs + b" HTTP/1.1\r\nHost: x\r\n" + field + b"\r\n\r\n")
        if answer is not None:
            refused(answer)
            service.document.check_error(answer, repr(field[:40]))
    body = b'{"command": "true"}'
    for key in (b"\xff", b"a\xc0\x80", b"x" * 201):
        answer = service.raw(b"POST " + runs + b" HTTP/1.1\r\nHost: x\r\nIdempotency-Key: " + key +
                             b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        refused(answer, "invalid_request")


def test_a_request_that_ends_too_early(service):
    runs = service.of_owner("runs")
    whole = f'POST {runs} HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n{{"command": "true"'.encode()
    for size in range(1, len(whole), 7):
        answer = service.raw(whole[:size])
        if answer is not None:
            refused(answer)


def test_clients_that_say_nothing_hold_nobody_up(service):
    idle = []
    try:
        for _ in range(50):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(service.socket_path)
            idle.append(connection)
        assert service.get("/healthz").status == 200
    finally:
        for connection in idle:
            connection.close()


def test_credentials_in_an_address_are_neither_kept_nor_repeated(service):
    body = {"command": "true", "code": {"commit": GIT, "github_url": "https://ada:hunter2@example.org/x"}}
    answer = refused(service.post(service.of_owner("runs"), body), "invalid_request")
    assert b"hunter2" not in answer.body


def test_names_that_belong_to_the_service(service):
    for name in ("SPELL_TOKEN", "SPELL_RUN", "A=B", "", "1A", "A B", "A\nB"):
        refused(service.post(service.of_owner("runs"), {"command": "true", "env": {name: "x"}}), "invalid_request")


def test_owners_that_are_somebody_else(service):
    for owner in ("nobody", service.owner + "x", "%20", "-", urllib.parse.quote("ä")):
        refused(service.get(f"/v1/owners/{owner}/runs"), "owner_not_found")
