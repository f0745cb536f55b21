"""The storage of a Place over its API, byte by byte as a client of another make would use it."""
import http.client
import json
import pathlib
import socket
import subprocess
import sys
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "contract"))
from spellfs import Objects, text_of  # noqa: E402

__all__ = ["Api", "Objects", "text_of", "killer", "filler"]


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=120)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json["error"]["code"]


class Api:
    """`place`: its service is started if there is none."""

    def __init__(self, place):
        self.place = place
        self.owner = place.spell("status", "--json", check=0).json["service"]["owner"]

    def request(self, method, target, body=None, headers=None):
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        connection = Connection(self.place.spell_dir / "spelld.sock")
        try:
            connection.request(method, target, body, headers)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def of_owner(self, path, owner=None):
        return f"/v1/owners/{urllib.parse.quote(owner or self.owner)}/{path}"

    def missing(self, names):
        answer = self.request("POST", self.of_owner("objects/missing"), {"names": [text_of(name) for name in names]})
        assert answer.status == 200, answer.body
        return {bytes.fromhex(name[1:]) for name in answer.json["names"]}

    def send(self, objects, only=None):
        return self.request("POST", self.of_owner("objects"), objects.pack(only), {"Content-Type": "application/octet-stream"})

    def put(self, name, node, size, type="folder"):
        return self.request("PUT", self.of_owner(f"uploads/{name}"), {"type": type, "node": text_of(node), "size": size})

    def remove(self, name):
        return self.request("DELETE", self.of_owner(f"uploads/{name}"))

    def upload(self, name, files):
        """A folder of files {name: bytes} as uploads/NAME; the answer of its last step."""
        objects = Objects()
        node = objects.folder(files)
        sent = self.send(objects, only=self.missing([entry[0] for entry in objects.list]))
        return sent if sent.status != 200 else self.put(name, node, sum(map(len, files.values())))

    def uploads(self):
        return [entry["path"] for entry in self.request("GET", self.of_owner("resources/uploads?limit=10000")).json["entries"]]

    def read(self, path):
        return self.request("GET", self.of_owner(f"files/{path}"))

    def pieces(self, path):
        """The content of a file, megabyte by megabyte."""
        connection = Connection(self.place.spell_dir / "spelld.sock")
        try:
            connection.request("GET", self.of_owner(f"files/{path}"))
            response = connection.getresponse()
            assert response.status == 200
            yield from iter(lambda: response.read(1 << 20), b"")
        finally:
            connection.close()

    def collect(self, **options):
        answer = self.request("POST", "/v1/service/collect", options)
        assert answer.status == 200, answer.body
        return answer.json["collected"]


def killer(folder):
    """Ends spelld by SIGKILL at the Nth step that reaches the disk: (environment, function that sets N).
    Steps are counted while the file that N is read from is there; it is removed by setting None."""
    return _accident(folder, "KILL_AT")


def filler(folder):
    """The same for a disk that has no room from the Nth step on that needs some, until it is removed. `met()` of the function says
    whether that step has come."""
    return _accident(folder, "FULL_AT")


def _accident(folder, variable):
    library, trigger = pathlib.Path(folder) / "disk_at.so", pathlib.Path(folder) / variable.lower()
    met = trigger.with_suffix(".met")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, pathlib.Path(__file__).with_name("disk_at.c"), "-ldl"], check=True)

    def arm(step):
        trigger.unlink(missing_ok=True)
        met.unlink(missing_ok=True)
        if step is not None:
            part = trigger.with_suffix(".part")
            part.write_text(f"{step}\n")
            part.rename(trigger)
    arm.met = met.exists
    return {"LD_PRELOAD": str(library), variable: str(trigger)}, arm
