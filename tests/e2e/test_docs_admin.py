"""docs/admin.md is true: its commands are run, in their order, on a service of their own."""
import re
import shlex
import shutil
import signal
import socket
import subprocess

import pytest

from harness import SOURCE, wait_for
from storage import Connection

DOCUMENT = SOURCE / "docs/admin.md"


def commands():
    """The lines of its shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(), re.S)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class World:
    def __init__(self, place):
        self.place, self.port, self.server = place, free_port(), None
        self.data, self.backup = place.root / "srv", place.root / "backup"
        self.fingerprint = self.password = ""
        self.environment = dict(place.environment)
        known = place.spell("--help", check=0).stdout
        self.words = set(re.findall(r"^  ([a-z-]+)  ", known, re.M))
        self.skipped = []

    def line(self, text):
        for name, value in (("/srv/spell-restored", str(self.data) + "-restored"), ("/srv/spell", str(self.data)),
                            ("/backup/spell", str(self.backup)), ("0.0.0.0:8443", f"127.0.0.1:{self.port}"),
                            ("https://spell.example.org:8443", f"https://localhost:{self.port}"), ("FINGERPRINT", self.fingerprint)):
            text = text.replace(name, value)
        return text

    def run(self, text):
        line = self.line(text)
        words = shlex.split(line)
        spell = words[words.index("|") + 1:] if "|" in words else words
        if spell[0] == "spell" and spell[1] not in self.words:
            return self.skipped.append(text)
        if words[:2] == ["spelld", "serve"]:
            return self.serve(words)
        wanted = self.password if "--password-stdin" in words else ""
        done = subprocess.run(["bash", "-c", line], env=self.environment, cwd=self.place.work, input=wanted, capture_output=True,
                              text=True, timeout=60)
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        if words[:2] == ["spelld", "init"]:
            self.fingerprint = re.search(r"Fingerprint\s+([0-9a-f]{64})", done.stdout)[1]
            self.password = re.search(r"Password\s+(\S+)", done.stdout)[1] + "\n"
        if words[1:3] == ["user", "reset"]:
            self.password = done.stdout.split()[-1] + "\n"
        return done.stdout

    def serve(self, words):
        self.server = subprocess.Popen(words, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=open(self.place.root / "server.log", "wb"), start_new_session=True)
        wait_for((self.data / "spelld.sock").exists, what="the service")
        connection = Connection(self.data / "spelld.sock")
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()
        if "login" not in self.words:
            self.environment["SPELL_OWNER"] = "team"
            self.environment["SPELL_BASE_URL"] = f"unix:{self.data}/spelld.sock"

    def close(self):
        if self.server and self.server.poll() is None:
            self.server.send_signal(signal.SIGTERM)
            assert self.server.wait(20) == 0, (self.place.root / "server.log").read_text()


@pytest.fixture
def world(place):
    if not shutil.which("curl"):
        pytest.skip("there is no curl here")
    world = World(place)
    yield world
    world.close()


def test_its_commands(world):
    outputs = {line: world.run(line) for line in commands()}
    assert len(outputs) > 20
    said = lambda word: next(text for line, text in outputs.items() if word in line)
    assert '"status":"ok"' in said("/healthz").replace(" ", "")
    assert "spell_storage_bytes" in said("/metrics")
    assert "Nothing is missing" in said("spelld restore")
    # Only what this version's command line does not have at all may be left out.
    assert all(re.search(r"\bspell (\S+)", line)[1] not in world.words for line in world.skipped)
