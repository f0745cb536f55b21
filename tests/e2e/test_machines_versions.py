"""A worker and a service that are not of one version, seen from the worker's side; the service's side: tests/contract/test_worker_hostile.py."""
import http.server
import json
import socketserver
import threading

from harness import wait_for

TOO_NEW = {"error": {"code": "unsupported_protocol", "message": "the worker speaks protocol 1, this service 3: upgrade the worker",
                     "request_id": "r"}}


class NewerService:
    """A service of a version to come. It does not know this worker's protocol until `speaks` is set; then it says more than the worker knows."""

    def __init__(self, path):
        service = self
        self.speaks, self.synced, self.address = False, [], f"unix:{path}"

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not service.speaks:
                    return self.answer(400, TOO_NEW)
                if self.path == "/v1/join":
                    return self.answer(201, {"machine": "id", "name": "box", "token": "spm_" + "0" * 64, "certificate": "", "incarnation": "i",
                                             "lost_after": 600, "new": {"x": 1}})
                service.synced.append(body)
                commands = [{"number": 7, "type": "dance", "run": "r", "epoch": 1, "reason_code": "", "reason": "", "start": None, "new": [1]}]
                self.answer(200, {"incarnation": "i", "lease_ms": 3000, "lost_after": 600, "refused": {}, "new": 1,
                                  "commands": commands if body["seen"] < 7 else []})

            def answer(self, status, body):
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("X-Spell-Version", "9.0.0")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

            def get_request(self):
                request, _ = super().get_request()
                return request, ("worker", 0)

        self.server = Server(str(path), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def test_a_service_that_is_newer(place):
    service, folder = NewerService(place.root / "new.sock"), place.root / "box"

    def worker(*arguments, **options):
        return place.program("spell-worker", *arguments, "--state", folder, **options)

    refused = worker("join", service.address, "-", input="spj_" + "0" * 64)
    assert refused.returncode == 1 and "upgrade the worker" in refused.stderr and len(refused.stderr.splitlines()) == 1, refused
    assert worker("status", "--json").json["state"] != "connected"
    service.speaks = True
    assert worker("join", service.address, "-", input="spj_" + "0" * 64).returncode == 0
    # The service is upgraded under a worker that has joined, and back again.
    service.speaks = False
    daemon = place.start("run", "--state", folder, program="spell-worker")
    daemon.wait_output("upgrade the worker", stream="stderr")
    status = worker("status", "--json").json
    assert (status["state"], status["code"]) == ("connecting", "unsupported_protocol"), status
    service.speaks = True
    daemon.wait_output("connected to", stream="stderr")
    # A command that it does not know it acknowledges, and does nothing.
    wait_for(lambda: any(body["seen"] == 7 for body in service.synced), what="the acknowledgement")
    assert daemon.process.poll() is None
    daemon.process.terminate()
    assert daemon.finish().returncode == 0
    service.close()
