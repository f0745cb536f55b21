"""A network that lets nobody out but by an HTTP proxy: a machine and its users reach the team's service through it."""
import base64
import re
import select
import socket
import stat
import threading

import pytest

from harness import wait_for
from machines import WAITS, Machine, check_waited, gate, submit
from team import Team

HOST = "spell.example"  # nobody's name here: only the proxy knows where that is
USER, PASSWORD = "me", "p@ss: word/%"
CREDENTIALS = "me:p%40ss%3A%20word%2F%25"


class Proxy:
    """CONNECT and nothing else, to HOST alone, for who knows the password (`locked`). What it carries it keeps."""

    def __init__(self, locked=False):
        self.locked, self.port = locked, 0
        self.asked, self.carried, self._lines = [], bytearray(), []
        self.open()

    def open(self):
        self._door = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.port = self._door.getsockname()[1]
        threading.Thread(target=self._let_in, args=(self._door,), daemon=True).start()

    def close(self):
        """The proxy dies, and all that goes through it."""
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for line in self._lines:
            try:
                line.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # over before

    def url(self, credentials=""):
        return f"http://{credentials}{'@' if credentials else ''}127.0.0.1:{self.port}"

    def _let_in(self, door):
        while True:
            try:
                line, _ = door.accept()
            except OSError:
                return
            self._lines.append(line)
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = line.recv(1)
            if not piece:
                return
            head += piece
        self.asked.append(head.decode())
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.locked and f"\r\nProxy-Authorization: {wanted}\r\n" not in self.asked[-1]:
            line.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return line.close()
        port = re.match(rf"CONNECT {HOST}:(\d+) HTTP/1.1\r\n", self.asked[-1])
        if not port:
            line.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return line.close()
        far = socket.create_connection(("127.0.0.1", int(port[1])))
        self._lines.append(far)
        line.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        while True:
            for ready in select.select([line, far], [], [])[0]:
                try:
                    piece = ready.recv(65536)
                    if piece:
                        self.carried += piece
                        (far if ready is line else line).sendall(piece)
                except OSError:
                    piece = b""
                if not piece:
                    line.close()
                    return far.close()


@pytest.fixture
def team(place):
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "HTTP_PROXY", "http_proxy"):
        place.environment.pop(name, None)
    return Team(place, host=HOST)


def join(box, proxy_url):
    return box.place.program("spell-worker", "join", box.url, "-", "--state", box.folder, input=box.token, env={"HTTPS_PROXY": proxy_url})


def joined(team, proxy_url):
    """A machine that has joined through the proxy and runs without anything in its environment, as a unit of systemd does."""
    box = Machine(team, "box", start=False)
    done = join(box, proxy_url)
    assert done.returncode == 0, done
    return box


@pytest.mark.parametrize("locked", [False, True], ids=["open", "with a password"])
def test_a_machine_and_its_users_reach_the_service_through_it(place, team, locked):
    proxy = Proxy(locked)
    credentials = CREDENTIALS if locked else ""
    box = joined(team, proxy.url(credentials))
    box.start()
    assert box.url == f"https://{HOST}:{team.port}"
    ways = {"HTTPS_PROXY": proxy.url(credentials)}
    number = team.spell("run", "-f", "-b", "-q", "-m", "box", "echo hello; head -c 300000 /dev/zero > out; sleep 1000", env=ways, check=0).stdout.strip()
    wait_for(lambda: team.spell("logs", number, env=ways, check=0).stdout == "hello\n", what="the run's output")
    assert team.spell("exec", number, "echo inside", env=ways, check=0).stdout == "inside\n"
    wait_for(lambda: "out" in team.spell("ls", f"runs/{number}", env=ways).stdout.split(), what="the file to be safe")
    team.spell("stop", number, env=ways, check=0)
    team.spell("wait", number, env=ways)
    team.spell("cp", f"runs/{number}/out", place.root / "out", env=ways, check=0)
    assert (place.root / "out").read_bytes() == bytes(300_000)
    # All of it went through the proxy, which understood nothing but where to.
    assert len(proxy.asked) > 5 and all(head.startswith(f"CONNECT {HOST}:{team.port} HTTP/1.1\r\n") for head in proxy.asked)
    for secret in (b"Bearer", b"spu_", b"spm_", team.token.encode(), b"hello"):
        assert secret not in proxy.carried
    # Its password is in one file, its owner's, and no one is told it.
    said = box.running.output("stderr") + box.running.output("stdout")
    assert PASSWORD.encode() not in said and CREDENTIALS.encode() not in said
    found = [file for file in box.folder.rglob("*") if file.is_file() and PASSWORD.encode() in file.read_bytes()]
    assert found == ([box.folder / "joined.json"] if locked else []), found
    assert stat.S_IMODE((box.folder / "joined.json").stat().st_mode) == 0o600
    box.close()
    proxy.close()


def test_who_is_named_in_no_proxy_is_reached_without_it(place, team):
    proxy = Proxy()
    for names in (HOST, f"lab.example, .EXAMPLE:{team.port}", "*"):
        refused = team.spell("whoami", env={"HTTPS_PROXY": proxy.url(), "NO_PROXY": names}, check=1)
        assert HOST in refused.stderr and "proxy" not in refused.stderr and len(refused.stderr.splitlines()) == 1, refused
    assert proxy.asked == []
    # This computer itself never is reached through one; who is not named, is.
    team.spell("whoami", env={"HTTPS_PROXY": proxy.url(), "SPELL_BASE_URL": f"https://127.0.0.1:{team.port}"}, check=0)
    assert proxy.asked == []
    team.spell("whoami", env={"HTTPS_PROXY": proxy.url(), "NO_PROXY": "other.example"}, check=0)
    assert len(proxy.asked) >= 1
    proxy.close()


@pytest.mark.parametrize("url, says", [
    ("http://127.0.0.1:1", "the proxy 127.0.0.1:1 cannot be reached"), ("socks5://127.0.0.1:1", "socks5"), ("http://me:secret%@x:1", "USER:PASSWORD"),
    ("locked", "answered 407"), ("wrong", "answered 407"), ("silent", "closed the connection")])
def test_what_is_wrong_with_a_proxy_is_told_in_a_line_without_its_password(place, team, url, says):
    proxy = Proxy(locked=True)
    silent = socket.create_server(("127.0.0.1", 0))

    def hang_up():
        while True:
            try:
                silent.accept()[0].close()
            except OSError:
                return
    threading.Thread(target=hang_up, daemon=True).start()
    url = {"locked": proxy.url(), "wrong": proxy.url("me:secret"), "silent": f"http://me:secret@127.0.0.1:{silent.getsockname()[1]}"}.get(url, url)
    box = Machine(team, "box", start=False)
    for refused in (team.spell("whoami", env={"HTTPS_PROXY": url}), join(box, url)):
        assert refused.returncode in (1, 3) and says in refused.stderr and len(refused.stderr.splitlines()) == 1, refused
        assert "secret" not in refused.stderr + refused.stdout
    assert join(box, proxy.url(CREDENTIALS)).returncode == 0  # the token has not been used up
    proxy.close()
    silent.shutdown(socket.SHUT_RDWR)
    silent.close()


def test_a_proxy_that_dies_and_comes_back(place, team):
    """The run goes on; the worker tries ever less often, says why in `spell-worker status`, and delivers everything afterwards."""
    proxy = Proxy()
    box = joined(team, proxy.url())
    box.start()
    number = submit(team, "-m", "box", "--cpus", "1", WAITS)
    folder = gate(box, number)
    proxy.close()
    (folder / "go").touch()
    wait_for(lambda: not box.supervisors(), what="the command's end")
    wait_for(lambda: f"the proxy 127.0.0.1:{proxy.port} cannot be reached" in str(box.status()), what="the worker to say so")
    assert box.status()["state"] == "connecting"
    proxy.open()
    check_waited(team, number)
    box.close()
    proxy.close()
