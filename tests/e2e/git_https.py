"""A Git host on loopback: `git http-backend` behind TLS, with an authority of its own."""
import contextlib
import http.server
import os
import ssl
import subprocess
import threading

from harness import PATIENCE


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.serve(b"")

    def do_POST(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.serve(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return self.serve(body)

    def serve(self, body):
        path, _, query = self.path.partition("?")
        self.server.asked.append(path)
        if path.startswith("/private/"):
            return self.answer(401, {"WWW-Authenticate": 'Basic realm="git"'}, b"")
        environment = {"PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(self.server.folder), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
                       "QUERY_STRING": query, "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                       "CONTENT_LENGTH": str(len(body)), "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                       "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
        said = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, timeout=PATIENCE).stdout
        head, _, content = said.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        return self.answer(int(fields.pop("Status", "200").split()[0]), fields, content)

    def answer(self, status, fields, content):
        self.send_response(status)
        for name, value in {**fields, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


class GitHost:
    """`folder`: its repositories are served as https://localhost:PORT/NAME; below /private/ everybody is asked for a password.
    `certificate`: the file that gets it; it is its own authority."""

    def __init__(self, folder, certificate):
        key = certificate.with_name("key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                        "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
                       check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)

        class Server(http.server.ThreadingHTTPServer):
            def finish_request(self, request, client_address):
                # The handshake is the connection's own thread's; who turns away says nothing more.
                with contextlib.suppress(OSError):
                    request.settimeout(PATIENCE)
                    super().finish_request(context.wrap_socket(request, server_side=True), client_address)

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.folder, self._server.asked = folder, []
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self):
        return f"https://localhost:{self._server.server_port}"

    @property
    def asked(self):
        return self._server.asked

    def close(self):
        self._server.shutdown()
        self._server.server_close()
