"""A team's service of its own on loopback TLS, with an administrator who has logged in."""
import json
import re
import signal
import ssl
import http.client

from harness import PATIENCE

PASSWORD = "correct horse battery"


class Team:
    """`place`: whose programs and folder are used; `host`: what others call this computer. The service runs as long as the place,
    or until stop()."""

    def __init__(self, place, *serve_options, name="team", owner="acme", admin="ada", host="127.0.0.1"):
        self.place, self.owner, self.admin, self.host = place, owner, admin, host
        self.data = place.root / name
        made = self.run("init", "--data", self.data, "--owner", owner, "--admin", admin, "--listen", "127.0.0.1:0",
                        "--host", host, "--password-stdin", "--json", input=PASSWORD + "\n")
        assert made.returncode == 0, made
        self.fingerprint = made.json["service"]["fingerprint"]
        self.options, self.running, self.port = serve_options, None, 0
        self.start()
        self.token = self.log_in(admin, PASSWORD)

    def run(self, *arguments, input=None):
        """spelld with these arguments to its end: a Result."""
        return self.place.program("spelld", *arguments, input=input)

    def start(self):
        """The same port again after a stop(): clients find it where it was."""
        self.running = self.place.start("serve", "--data", self.data, "--listen", f"127.0.0.1:{self.port}", *self.options,
                                        program="spelld")
        said = self.running.wait_output("listening on port", stream="stderr")
        self.port = int(re.search(rb"listening on port (\d+)", said)[1])

    def stop(self, number=signal.SIGTERM):
        self.running.signal(number)
        return self.running.finish()

    @property
    def url(self):
        return f"https://{self.host}:{self.port}"

    @property
    def socket(self):
        """The way in of the service's own user, who is its administrator `local` there."""
        return f"unix:{self.data}/spelld.sock"

    def connect(self):
        """A connection that trusts anybody: what is tested here is not TLS."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE, context=context)

    def request(self, method, path, body=None, token=None, headers=None):
        """(status, headers, JSON or bytes)."""
        connection = self.connect()
        headers = dict(headers or {})
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if isinstance(body, (dict, list)):
            body, headers["Content-Type"] = json.dumps(body), "application/json"
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        kind = answer.headers.get("Content-Type", "")
        return answer.status, answer.headers, json.loads(content) if kind.startswith("application/json") else content

    def log_in(self, user, password):
        """A token."""
        status, _, answer = self.request("POST", "/v1/login", {"user": user, "password": password, "name": "a test"})
        assert status == 201, answer
        return answer["login"]["secret"]

    def add_user(self, name, role="member"):
        """A token of a new user, whose password is PASSWORD."""
        status, _, answer = self.request("POST", "/v1/users", {"name": name, "role": role, "password": PASSWORD}, self.token)
        assert status == 201, answer
        return self.log_in(name, PASSWORD)

    def environment(self, token=None):
        """For the command line of somebody who has not logged in: the administrator, or whose token this is."""
        return {"SPELL_BASE_URL": self.url, "SPELL_TOKEN": token or self.token, "SPELL_CERT_SHA256": self.fingerprint}

    def spell(self, *arguments, token=None, env=None, **options):
        """The command line on this service."""
        return self.place.spell(*arguments, env={**self.environment(token), **(env or {})}, **options)
