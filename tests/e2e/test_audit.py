"""Who did what: every route that changes something leaves a row of the audit, or there is a reason why not."""
import re

from harness import SOURCE, wait_for
from team import PASSWORD, Team

ROUTES = re.findall(r'\{Route::\w+,\s*"(\w+)",\s*"([^"]+)",\s*"(\w+)",\s*Access::(\w+)\}', (SOURCE / "src/model/routes.cpp").read_text())
ON_THEIR_RECORD = "the run's record says who made it, and when"
NAMES_NOTHING = "what is sent has no name yet, and nobody sees it: what names it is noted"
CHANGES_NOTHING = "asks, in a body"
OF_A_WORKER = "a machine's word on its own runs, whose records hold it; its joining is noted"
NOT_NOTED = {
    "create_run": ON_THEIR_RECORD, "rerun": ON_THEIR_RECORD, "create_workflow": ON_THEIR_RECORD,
    "send_objects": NAMES_NOTHING, "send_code": NAMES_NOTHING,
    "objects_missing": CHANGES_NOTHING, "read_objects": CHANGES_NOTHING, "code_missing": CHANGES_NOTHING, "check": CHANGES_NOTHING,
    "collect": "frees only what nothing names any more; must work when nothing can be written",
    "stop_service": "stands in the service's log; must work when nothing can be written",
    **dict.fromkeys(("machine_sync", "machine_log", "machine_objects", "machine_metrics", "machine_missing", "machine_read",
                     "machine_claim_layer", "machine_put_layer"), OF_A_WORKER),
}
TWO_WAY = {"exec", "forward"}  # ask with GET, and get into a run


class Acts:
    """One method for each route: does it, and returns what the audit must say, (action, thing, detail)."""

    def __init__(self, team):
        self.team = team

    def ask(self, method, path, body=None, status=200):
        got, _, answer = self.team.request(method, path, body, self.team.token)
        assert got == status, (method, path, got, answer)
        return answer

    def owned(self, method, path, body=None, status=200):
        return self.ask(method, f"/v1/owners/acme/{path}", body, status)

    def run(self, command="true", status=None):
        """A run's number; `status`: that it has reached. None: it has ended."""
        number = self.owned("POST", "runs", {"command": command}, 201)["run"]["id"]
        wait_for(lambda: (run := self.owned("GET", f"runs/{number}")["run"]) and (run["status"] == status if status else run["ended_at"]))
        return number

    def end(self, number):
        self.owned("POST", f"runs/{number}/kill")
        wait_for(lambda: self.owned("GET", f"runs/{number}")["run"]["ended_at"])

    def machine(self, name):
        return self.owned("POST", "machines", {"name": name}, 201)["join"]["token"]

    def stop_run(self):
        number = self.run("sleep 1000", "running")
        self.owned("POST", f"runs/{number}/stop")
        self.end(number)
        return "run.stop", f"runs/{number}", "by ada"

    def kill_run(self):
        number = self.run("sleep 1000", "running")
        self.end(number)
        return "run.kill", f"runs/{number}", "by ada"

    def archive_run(self):
        number = self.run()
        self.owned("POST", f"runs/{number}/archive", {"archived": True})
        return "run.archive", f"runs/{number}", "by ada"

    def label_run(self):
        number = self.run()
        self.owned("POST", f"runs/{number}/labels", {"add": ["x"]})
        return "run.label", f"runs/{number}", "by ada"

    def delete_run(self):
        number = self.run()
        self.owned("DELETE", f"runs/{number}")
        return "run.delete", f"runs/{number}", "by ada"

    def change_workflow(self, how, method="POST", path="/{}", body=None):
        number = self.owned("POST", "workflows", {}, 201)["workflow"]["id"]
        if method == "DELETE":
            self.owned("POST", f"workflows/{number}/stop")
        self.owned(method, f"workflows/{number}{path.format(how)}", body)
        return f"workflow.{how}", f"workflows/{number}", "by ada"

    def stop_workflow(self):
        return self.change_workflow("stop")

    def kill_workflow(self):
        return self.change_workflow("kill")

    def finish_workflow(self):
        return self.change_workflow("finish", body={"exit_code": 0})

    def delete_workflow(self):
        return self.change_workflow("delete", "DELETE", "")

    def exec(self):
        number = self.run("sleep 1000", "running")
        self.team.spell("exec", number, "true", check=0)
        self.end(number)
        return "run.exec", f"runs/{number}", "by ada"

    def forward(self):
        number = self.run("sleep 1000", "running")
        connection = self.team.connect()
        connection.request("GET", f"/v1/owners/acme/runs/{number}/forward?port=1", headers={
            "Authorization": f"Bearer {self.team.token}", "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})
        assert connection.getresponse().status == 101
        connection.close()
        self.end(number)
        return "run.forward", f"runs/{number}", "by ada"

    def put_upload(self, name="data"):
        (self.team.place.work / "file").write_text("content")
        self.team.spell("upload", "file", "-n", name, check=0)
        return "upload.put", f"uploads/{name}", ""

    def delete_upload(self):
        self.put_upload("gone")
        self.owned("DELETE", "uploads/gone")
        return "upload.delete", "uploads/gone", "by ada"

    def put_link(self, alias="x"):
        self.put_upload()
        self.owned("PUT", f"links/{alias}", {"resource": "uploads/data"})
        return "link.set", alias, "uploads/data"

    def delete_link(self):
        self.put_link("y")
        self.owned("DELETE", "links/y")
        return "link.delete", "y", "by ada"

    def put_quota(self):
        self.owned("PUT", "quotas/bob", {"runs": 3, "log_bytes": 5000})
        return "quota.set", "bob", "runs 3, log_bytes 5000"

    def put_budget(self, name="costly"):
        self.owned("POST", "projects", {"name": name}, 201)
        self.owned("PUT", f"budgets/project/{name}", {"amount": "2500.5", "monthly": True})
        return "budget.set", f"project {name}", "$2500.5 a month"

    def delete_budget(self):
        self.put_budget("cheap")
        self.owned("DELETE", "budgets/project/cheap")
        return "budget.rm", "project cheap", "$2500.5 a month"

    def put_secret(self, name="token"):
        self.owned("PUT", f"secrets/{name}", {"value": "a secret value"})
        return "secret.set", name, ""

    def delete_secret(self):
        self.put_secret("gone")
        self.owned("DELETE", "secrets/gone")
        return "secret.rm", "gone", ""

    def create_project(self, name="p"):
        self.owned("POST", "projects", {"name": name}, 201)
        return "project.create", name, ""

    def edit_project(self):
        self.create_project("before")
        self.owned("PATCH", "projects/before", {"name": "after", "archived": True, "keep_days": 3})
        return "project.edit", "before", "name after, archived, keep_days 3"

    def project_runs(self):
        self.create_project("group")
        self.owned("POST", "projects/group/runs", {"add": [self.run()]})
        return "project.runs", "group", "1 added, 0 removed"

    def login(self):
        self.team.log_in("ada", PASSWORD)
        return "login", None, "a test"

    def logout(self):
        token = self.team.log_in("ada", PASSWORD)
        assert self.team.request("POST", "/v1/logout", token=token)[0] == 200
        return "logout", None, ""

    def change_password(self):
        self.ask("POST", "/v1/user/password", {"old": PASSWORD, "new": PASSWORD + "!"})
        self.ask("POST", "/v1/user/password", {"old": PASSWORD + "!", "new": PASSWORD})
        return "user.password", "ada", ""

    def add_user(self, name="bob"):
        self.ask("POST", "/v1/users", {"name": name, "role": "member", "password": PASSWORD}, 201)
        return "user.add", name, "member"

    def add_owner(self, name="lab"):
        self.ask("POST", "/v1/owners", {"name": name, "members": ["ada"]}, 201)
        return "owner.add", name, "ada"

    def owner_members(self):
        self.add_user("pat")
        self.add_owner("club")
        self.ask("POST", "/v1/owners/club/members", {"add": ["pat"]})
        return "owner.add-member", "club", "pat"

    def edit_user(self):
        self.add_user("eve")
        self.ask("PATCH", "/v1/users/eve", {"disabled": True})
        return "user.disable", "eve", ""

    def reset_user(self):
        self.add_user("kim")
        self.ask("POST", "/v1/users/kim/reset")
        return "user.reset", "kim", ""

    def create_token(self, name="script"):
        return "token.create", self.ask("POST", "/v1/tokens", {"name": name}, 201)["token"]["id"], name

    def revoke_token(self):
        _, token, _ = self.create_token("gone")
        self.ask("DELETE", f"/v1/tokens/{token}")
        return "token.revoke", token, "ada: gone"

    def create_machine(self):
        self.machine("box")
        return "machine.add", "box", ""

    def edit_machine(self):
        self.machine("desk")
        self.owned("PATCH", "machines/desk", {"drained": True})
        return "machine.drain", "desk", ""

    def delete_machine(self):
        self.machine("gone")
        self.owned("DELETE", "machines/gone")
        return "machine.remove", "gone", ""

    def interrupt_machine(self):
        self.machine("spot")
        self.owned("POST", "machines/spot/interrupt", {"in": 5})
        return "machine.interrupt", "spot", "in 5 s"

    def machine_token(self):
        self.machine("more")
        self.owned("POST", "machines/more/token", status=201)
        return "machine.get-token", "more", ""

    def create_machine_type(self, name="v100"):
        self.owned("POST", "machine-types", {"name": name}, 201)
        return "machine-type.add", name, ""

    def edit_machine_type(self):
        self.create_machine_type("k80")
        self.owned("PATCH", "machine-types/k80", {"gpus": 4})
        return "machine-type.scale", "k80", ""

    def delete_machine_type(self):
        self.create_machine_type("gone")
        self.owned("DELETE", "machine-types/gone")
        return "machine-type.delete", "gone", ""

    def machine_type_token(self):
        self.create_machine_type("t4")
        self.owned("POST", "machine-types/t4/token", status=201)
        return "machine-type.get-token", "t4", ""

    def delete_environment(self):
        number = self.owned("POST", "runs", {"command": "true", "setup": "touch made"}, 201)["run"]["id"]
        run = wait_for(lambda: (found := self.owned("GET", f"runs/{number}")["run"])["ended_at"] and found)
        assert run["status"] == "complete", run
        name = run["environment"][0]["name"]
        self.owned("DELETE", f"environments/{name}")
        return "environment.rm", name, None

    def put_price_list(self):
        self.owned("PUT", "price-list", {"csv": "name,price\nv100,2.5\n"})
        return "prices.set", "prices", "1 price"

    def join(self):
        token = self.machine("new")
        place = self.team.place
        folder = place.root / "worker"
        folder.mkdir(mode=0o700)
        place.program("spell-worker", "join", self.team.url, "-", "--state", folder, input=token + "\n", check=0)
        return "machine.join", "new", None

    def back_up(self):
        folder = self.team.place.root / "backup"
        self.team.run("backup", folder, "--data", self.team.data)
        return "service.backup", str(folder), ""


def test_what_changes_something_is_noted_or_has_a_reason_not_to_be(place):
    changing = {operation for method, _, operation, _ in ROUTES if method != "GET"} | TWO_WAY
    assert changing and {name for name in vars(Acts) if name in {row[2] for row in ROUTES}} == changing - set(NOT_NOTED)
    assert set(NOT_NOTED) < changing
    team = Team(place, "--with-worker")
    acts, missing = Acts(team), []
    for operation in sorted(changing - set(NOT_NOTED)):
        action, thing, detail = getattr(acts, operation)()
        rows = acts.ask("GET", f"/v1/audit?action={action}")["audit"]
        if not any(row["action"] == action and thing in (None, row["thing"]) and detail in (None, row["detail"]) and row["request_id"]
                   for row in rows):
            missing.append((operation, action, thing, detail, rows))
    assert not missing
    everything = acts.ask("GET", "/v1/audit?limit=1000")["audit"]
    assert {row["user"] for row in everything} == {"ada", "local", "new"}
    assert "a secret value" not in str(everything) and PASSWORD not in str(everything)


def test_what_was_refused_is_not_noted(place):
    team = Team(place)
    member = team.add_user("bob")
    before = team.request("GET", "/v1/audit?limit=1000", token=team.token)[2]
    for method, path, body in (("PUT", "/v1/owners/acme/secrets/token", {"value": "x"}), ("DELETE", "/v1/owners/acme/secrets/none", None),
                               ("PUT", "/v1/owners/acme/quotas/bob", {"runs": 3}), ("PUT", "/v1/owners/acme/budgets/user/bob", {"amount": "3"}),
                               ("PUT", "/v1/owners/acme/budgets/project/none", {"amount": "3"}), ("PUT", "/v1/owners/acme/links/x", {"resource": "uploads/none"}),
                               ("PATCH", "/v1/owners/acme/projects/none", {"archived": True}), ("DELETE", "/v1/owners/acme/machines/none", None),
                               ("POST", "/v1/users", {"name": "eve", "role": "member"})):
        assert team.request(method, path, body, member)[0] >= 400, path
    (place.work / "thesis.tex").write_text("years of work")
    assert team.run("backup", place.work, "--data", team.data).returncode == 1
    assert team.request("GET", "/v1/audit?limit=1000", token=team.token)[2] == before


def test_a_restore_is_noted(place):
    team = Team(place)
    team.run("backup", place.root / "backup", "--data", team.data)
    team.stop()
    restored = place.root / "restored"
    assert team.run("restore", place.root / "backup", "--data", restored).returncode == 0
    team.data = restored
    team.start()
    row = team.request("GET", "/v1/audit?action=service.restore", token=team.token)[2]["audit"][0]
    assert row["user"] == "local" and row["thing"].startswith("20") and row["detail"] == "the backup's time"
