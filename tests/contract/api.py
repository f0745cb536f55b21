"""A client of the API that believes nothing: every answer is checked against src/share/openapi.json as it comes."""
import contextlib
import copy
import http.client
import json
import pathlib
import re
import socket
import ssl
import unicodedata
import urllib.parse
import warnings

import jsonschema

SOURCE = pathlib.Path(__file__).resolve().parents[2]
PASSWORD = "correct horse battery"
METHODS = ("get", "post", "patch", "delete", "put")
STREAM = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
PACK = {"Content-Type": "application/octet-stream"}


def code_of(answer, status, code):
    """The message of an error that must be this one."""
    assert (answer.status, answer.code) == (status, code), answer.body
    return answer.json["error"]["message"]


def closed(schema):
    """The schema with every described object closed: an answer with a member that is not described is an error."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: closed(value) for key, value in schema.items()}
    if out.get("type") == "object" and isinstance(out.get("properties"), dict):
        out.setdefault("additionalProperties", False)
    return out


class Document:
    """The OpenAPI file."""

    def __init__(self):
        self.text = (SOURCE / "src/share/openapi.json").read_bytes()
        self.json = json.loads(self.text)
        self._closed = dict(self.json, components=closed(copy.deepcopy(self.json["components"])))
        self.operations, self.succeeded = {}, set()
        for path, methods in self.json["paths"].items():
            for method, operation in methods.items():
                self.operations[operation["operationId"]] = (method.upper(), path, operation)

    def resolve(self, node):
        while "$ref" in node:
            target = self.json
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    def validator(self, schema, is_answer):
        document = self._closed if is_answer else self.json
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            resolver = jsonschema.RefResolver("", document)
        return jsonschema.Draft202012Validator(closed(schema) if is_answer else schema, resolver=resolver)

    def find(self, method, target):
        """The operation that a request reaches; None if there is none."""
        path = target.partition("?")[0]
        for operation, (its_method, template, _) in self.operations.items():
            pattern = re.escape(template).replace(r"\{path\}", ".*")
            pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", pattern)
            if its_method == method and re.fullmatch(pattern, path):
                return operation
        return None

    def request_schema(self, operation):
        body = self.operations[operation][2].get("requestBody", {})
        return body.get("content", {}).get("application/json", {}).get("schema")

    def accepts(self, operation, body):
        return self.validator(self.request_schema(operation), is_answer=False).is_valid(body)

    def check(self, operation, answer):
        """Whether the operation may answer so: status, type, body."""
        declared = self.operations[operation][2]["responses"].get(str(answer.status))
        assert declared, f"{operation}: status {answer.status} is not described: {answer.body[:300]}"
        declared = self.resolve(declared)
        if content := declared.get("content"):
            assert answer.type in content, f"{operation}: content type {answer.type!r} is not described"
            if answer.type == "application/json":
                self.check_json(content[answer.type].get("schema", {}), answer, operation)
            for name in declared.get("headers", {}):
                assert answer.headers.get(name), f"{operation}: no header {name}"
        else:
            assert answer.body == b"", f"{operation}: a body with status {answer.status}"
        if answer.status == 101 or 200 <= answer.status < 300:
            self.succeeded.add(operation)

    def check_json(self, schema, answer, what):
        errors = [f"{what} {answer.status}: /{'/'.join(map(str, e.absolute_path))}: {e.message}"
                  for e in self.validator(schema, is_answer=True).iter_errors(answer.json)]
        assert not errors, "\n".join(errors)

    def check_error(self, answer, what):
        self.check_json({"$ref": "#/components/schemas/Error"}, answer, what)
        assert answer.status >= 400, what
        message = answer.json["error"]["message"]
        one_line = message and len(message) <= 1001 and all(unicodedata.category(c) != "Cc" for c in message)
        assert one_line, f"{what}: not one clear line: {message[:1200]!r}"
        assert answer.json["error"]["request_id"] == answer.headers.get("X-Request-Id"), what


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.type = headers.get("Content-Type", "").partition(";")[0]

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json["error"]["code"]


class Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Api:
    def __init__(self, socket_path, document, timeout=60):
        self.socket_path, self.document, self.timeout = socket_path, document, timeout
        self.owner = self.get("/v1/status").json["service"]["owner"]

    def connect(self):
        return Connection(self.socket_path, self.timeout)

    def request(self, method, target, body=None, headers=None, checked=True):
        """`body`: bytes, or what becomes JSON. The answer has been checked against the document."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        connection = self.connect()
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        finally:
            connection.close()
        if checked:
            self.check(method, target, answer)
        return answer

    @contextlib.contextmanager
    def stream(self, target, headers=None):
        """Asks for a stream. Gives a function that waits for its answer, which is checked; the stream lasts as long as the block."""
        connection = self.connect()
        headers = {**STREAM, **(headers or {})}
        connection.request("GET", target, headers=headers)

        def answer():
            with connection.getresponse() as response:
                got = Answer(response.status, response.headers, response.read())
            self.check("GET", target, got)
            return got
        try:
            yield answer
        finally:
            connection.close()

    def raw(self, data):
        """Sends bytes as they are. Returns the answer, or None where the service closed without one."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(self.timeout)
            connection.connect(self.socket_path)
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before all of it was read
            try:
                response = http.client.HTTPResponse(connection)
                response.begin()
                return Answer(response.status, response.headers, response.read())
            except (http.client.BadStatusLine, ConnectionResetError):
                return None

    def check(self, method, target, answer):
        what = f"{method} {target[:200]}"
        operation = self.document.find(method, target)
        if operation:
            self.document.check(operation, answer)
        else:
            assert answer.status >= 400, f"{what} is not described and answers {answer.status}"
        if answer.status >= 400:
            self.document.check_error(answer, what)

    def get(self, target, **options):
        return self.request("GET", target, **options)

    def post(self, target, body=None, **options):
        return self.request("POST", target, body, **options)

    def of_owner(self, path):
        return f"/v1/owners/{urllib.parse.quote(self.owner)}/{path}"

    def run(self, command, **members):
        """Submits a run; its number."""
        answer = self.post(self.of_owner("runs"), {"command": command, **members})
        assert answer.status == 201, answer.body
        return answer.json["run"]["id"]

    def upload(self, name, request):
        answer = self.request("PUT", self.of_owner("uploads/" + urllib.parse.quote(name, safe="")), request)
        assert answer.status == 200, answer.body
        return answer.json["upload"]

    def wait(self, number, until=lambda run: run["ended_at"] is not None):
        run = self.get(self.of_owner(f"runs/{number}")).json["run"]
        while not until(run):
            assert run["ended_at"] is None, f"run {number} ended {run['status']}: {run['reason']}"
            run = self.get(self.of_owner(f"runs/{number}?version={run['version']}&wait_ms=20000")).json["run"]
        return run

    def pid(self):
        return self.get("/v1/status").json["service"]["pid"]

    def everything(self):
        """What is kept, to see that nothing has changed."""
        runs, cursor = [], ""
        while cursor is not None:
            page = self.get(self.of_owner("runs?archived=1&limit=1000" + (f"&cursor={cursor}" if cursor else ""))).json
            runs += page["runs"]
            cursor = page["next"]
        return {"runs": runs,
                "projects": self.get(self.of_owner("projects?archived=1")).json,
                "uploads": self.get(self.of_owner("resources/uploads?limit=10000")).json,
                "links": self.get(self.of_owner("links")).json,
                "secrets": self.get(self.of_owner("secrets")).json,
                "repositories": self.get(self.of_owner("repositories")).json}


class TeamApi(Api):
    """A team's service, for whose token this is, as one of this owner. It trusts anybody: what is tested is not TLS."""

    def __init__(self, port, document, owner, token=None, timeout=60):
        # Not that of Api: nobody may ask yet.
        self.port, self.document, self.owner, self.token, self.timeout = port, document, owner, token, timeout

    def connect(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=self.timeout, context=context)

    def request(self, method, target, body=None, headers=None, checked=True):
        credentials = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return super().request(method, target, body, {**credentials, **(headers or {})}, checked)

    def log_in(self, user, password=PASSWORD):
        """The service for this user."""
        answer = self.post("/v1/login", {"user": user, "password": password})
        assert answer.status == 201, answer.body
        return TeamApi(self.port, self.document, answer.json["login"]["owner"], answer.json["login"]["secret"])

    def add_user(self, name, **members):
        """The service for a new user."""
        answer = self.post("/v1/users", {"name": name, "password": PASSWORD, **members})
        assert answer.status == 201, answer.body
        return self.log_in(name)
