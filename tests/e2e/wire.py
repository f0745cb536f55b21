"""What stands between a client and a service: a wire that counts bytes and can be held or cut, and a service that lies."""
import contextlib
import http.server
import json
import os
import select
import socket
import socketserver
import threading
import urllib.parse

from harness import wait_for


class Wire:
    """Forwards every connection to `target`; `path` is its own socket. `sent` and `received` count bytes as the client sees them.
    With `hold_sent` or `hold_received` nothing more passes in that direction once so many bytes have, until it is set to None.
    `hold_answer_to`: from the piece of a request in which these bytes are on, nothing is received."""

    def __init__(self, path, target):
        self.path, self.target = str(path), str(target)
        self.sent = self.received = 0
        self.hold_sent = self.hold_received = self.hold_answer_to = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(64)
        self._open, self._closed = [], False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self):
        return f"unix:{self.path}"

    def reset(self):
        self.sent = self.received = 0

    def held(self):
        """Until it is."""
        wait_for(lambda: (self.hold_sent is not None and self.sent >= self.hold_sent)
                 or (self.hold_received is not None and self.received >= self.hold_received), what="so many bytes")

    def let_go(self):
        self.hold_sent = self.hold_received = self.hold_answer_to = None

    def cut(self):
        """Every connection that is open now."""
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def close(self):
        self._closed = True
        self._listener.close()
        self.cut()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                service = socket.socket(socket.AF_UNIX)
                try:
                    service.connect(self.target)
                except OSError:
                    client.close()
                    continue
                self._open += [client, service]
                threading.Thread(target=self._forward, args=(client, service, "sent"), daemon=True).start()
                threading.Thread(target=self._forward, args=(service, client, "received"), daemon=True).start()

    def _forward(self, source, sink, count):
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                if count == "sent" and self.hold_answer_to and self.hold_answer_to in piece:
                    self.hold_received = self.received
                while (limit := getattr(self, f"hold_{count}")) is not None and getattr(self, count) >= limit and not self._closed:
                    if select.select([sink], [], [], 0.01)[0] and not sink.recv(1, socket.MSG_PEEK):
                        return source.close()
                sink.sendall(piece)
                setattr(self, count, getattr(self, count) + len(piece))
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Liar:
    """A service that says what it is told to. `lists`: {path of a folder: [entries]}; `files`: {path: bytes}; `page`: entries a page.
    `nodes`: {path: name of its folder node}; `objects`: what is read by name (spellfs.Objects). `gate` is waited for before any page but the first of a folder."""

    def __init__(self, path, version, lists, files=None, page=100, gate=None, nodes=None, objects=None):
        liar = self
        self.requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                url = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(url.query))
                parts = [urllib.parse.unquote(part) for part in url.path.split("/")]
                if url.path == "/v1/user":
                    return self.answer(b'{"identity": {"user": {"name": "liar", "role": "member"}, "owner": "liar"}}')
                liar.requests.append(self.path)
                kind, name = (parts[4], "/".join(parts[5:])) if len(parts) > 4 else ("", "")
                if kind == "resources" and name in lists:
                    if "after" in query and gate:
                        gate.wait(60)
                    first = int(query.get("after", 0))
                    last = first + min(page, int(query["limit"]))
                    following = str(last) if last < len(lists[name]) else None
                    node = (nodes or {}).get(name, "")
                    return self.answer(json.dumps({"resource": entry(name, "folder", node=node), "entries": lists[name][first:last],
                                                   "next": following}).encode())
                if kind == "resources" and files and name in files:
                    return self.answer(json.dumps({"resource": entry(name, "file", size=len(files[name])), "entries": [],
                                                   "next": None}).encode())
                if kind == "files" and files and name in files:
                    return self.answer(files[name])
                self.answer(b"{}")

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                liar.requests.append(self.path)
                self.answer(objects.pack({bytes.fromhex(name[1:]) for name in asked["names"]}))

            def answer(self, body):
                self.send_response(200)
                self.send_header("X-Spell-Version", version)
                self.send_header("ETag", '"x"')
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

            def get_request(self):
                request, _ = super().get_request()
                return request, ("client", 0)

        self.address = f"unix:{path}"
        self.server = Server(os.fspath(path), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def entry(path, type, size=0, **more):
    """An entry of a list."""
    return {"path": path, "type": type, "size": size, "mode": 0o755, "modified_at": None, "link_target": "", "node": "", "bytes": 0,
            "files": 0, **more}
