"""Workers that have joined, as the wire knows them."""
import copy
import uuid

HELLO = {"version": "0.1.0", "boot_id": "b", "cores": 8, "memory": 64 * 10**9, "disk_free": 10**12,
         "gpus": [{"index": n, "uuid": f"GPU-{n}", "name": "Tesla V100-SXM2-16GB", "memory": 16 * 10**9} for n in range(4)]}


class Worker:
    """A worker that has joined, as the wire knows it."""

    def __init__(self, service, join, **hello):
        self.service, self.hello = service, {**HELLO, **hello}
        answer = service.post("/v1/join", {"protocol": 1, "name": "host", "version": "0.1.0", "public_key": "", "hello": self.hello},
                              headers=bearer(join["token"]))
        assert answer.status == 201, answer.body
        self.id, self.name, self.token = (answer.json[key] for key in ("machine", "name", "token"))
        self.answer, self.seen, self.instance = answer.json, 0, uuid.uuid4().hex

    def post(self, route, body, machine=None, type="application/json", **options):
        """`machine`: the id of another than its own."""
        headers = {**bearer(self.token), "X-Spell-Worker": self.instance, "Content-Type": type}
        return self.service.post(f"/v1/machines/{machine or self.id}/{route}", body, headers=headers, **options)

    def copy(self):
        """Another one with the same credential, as in the copy of a computer's disk."""
        other = copy.copy(self)
        other.seen, other.instance = 0, uuid.uuid4().hex
        return other

    def sync(self, **members):
        answer = self.post("sync", {"protocol": 1, "seen": self.seen, **members})
        assert answer.status == 200, answer.body
        return answer.json

    def poll(self, wait_ms=0, **members):
        """The commands that come; they are acknowledged with the next poll."""
        commands = self.sync(wait_ms=max(1, wait_ms), **members)["commands"]
        if commands:
            self.seen = commands[-1]["number"]
        return commands

    def greet(self, **holds):
        return self.poll(hello=self.hello, holds=holds)

    def report(self, start, *steps, result=None, first=1):
        events = [{"number": first + n, "status": step, "text": f"Run is {step}"} for n, step in enumerate(steps)]
        report = {"run": start["run"], "epoch": start["epoch"], "events": events}
        if result:
            report["result"] = {"status": result, "exit_code": 0 if result == "complete" else 1}
        return self.sync(reports=[report])["refused"]


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def add(service, name, **members):
    answer = service.post(service.of_owner("machines"), {"name": name, **members})
    assert answer.status == 201, answer.body
    return answer.json["join"]


def machine(service, name):
    return service.get(service.of_owner(f"machines/{name}")).json["machine"]
