"""Who uses a team's service: how each of these routes answers. What comes of it is shown in tests/e2e/test_people.py and test_owners.py."""
import uuid

import pytest

from api import PASSWORD, code_of


def added(team, name):
    user = team.add_user(name)
    user.name = name
    return user


@pytest.fixture(scope="module")
def bob(team):
    """A member."""
    return added(team, "bob-" + uuid.uuid4().hex[:8])


@pytest.fixture
def eve(team):
    """Another, whom a test may turn out."""
    return added(team, "eve-" + uuid.uuid4().hex[:8])


def test_logins(team, eve):
    identity = eve.get("/v1/user").json["identity"]
    assert (identity["user"]["name"], identity["user"]["role"], identity["owner"], identity["owners"]) == (eve.name, "member", "acme", ["acme"])
    code_of(team.post("/v1/login", {"user": eve.name, "password": "something else"}), 401, "wrong_password")
    assert eve.post("/v1/logout").status == 200
    code_of(eve.get("/v1/user"), 401, "unauthorized")


def test_passwords(team, eve):
    code_of(eve.post("/v1/user/password", {"old": "something else", "new": "a new long one"}), 401, "wrong_password")
    code_of(eve.post("/v1/user/password", {"old": PASSWORD, "new": "short"}), 422, "weak_password")
    assert eve.post("/v1/user/password", {"old": PASSWORD, "new": "a new long one"}).json["user"]["name"] == eve.name
    made = team.post(f"/v1/users/{eve.name}/reset", {}).json
    assert made["user"]["name"] == eve.name and team.log_in(eve.name, made["password"]).get("/v1/user").status == 200
    assert team.post(f"/v1/users/{eve.name}/reset", {"password": PASSWORD}).json["password"] == ""
    code_of(team.post("/v1/users/nobody/reset", {}), 404, "user_not_found")
    code_of(eve.get("/v1/user"), 401, "unauthorized")  # what he had open before the reset


def test_users(team, eve):
    made = team.post("/v1/users", {"name": f"{eve.name}-2", "role": "viewer"}).json
    assert made["user"]["role"] == "viewer" and len(made["password"]) >= 20
    code_of(team.post("/v1/users", {"name": eve.name}), 409, "user_exists")
    assert {eve.name, f"{eve.name}-2", "ada"} <= {user["name"] for user in eve.get("/v1/users").json["users"]}
    code_of(eve.request("PATCH", f"/v1/users/{eve.name}", {"role": "administrator"}), 403, "not_permitted")
    assert team.request("PATCH", f"/v1/users/{eve.name}", {"role": "viewer"}).json["user"]["role"] == "viewer"
    assert team.request("PATCH", f"/v1/users/{eve.name}", {"disabled": True}).json["user"]["disabled"]
    code_of(team.request("PATCH", "/v1/users/ada", {"disabled": True}), 409, "last_administrator")
    code_of(eve.get("/v1/users"), 401, "unauthorized")


def test_tokens(bob):
    made = bob.post("/v1/tokens", {"name": "nightly", "days": 30}).json
    assert (made["token"]["name"], made["token"]["kind"], made["token"]["user"]) == ("nightly", "access", bob.name)
    assert [token["kind"] for token in bob.get("/v1/tokens").json["tokens"]] == ["login", "access"]
    code_of(bob.get("/v1/tokens?user=ada"), 403, "not_permitted")
    path = f"/v1/tokens/{made['token']['id']}"
    assert bob.request("DELETE", path).status == 200
    code_of(bob.request("DELETE", path), 404, "token_not_found")


def test_priorities(team, bob):
    path, run = "/v1/owners/acme/runs", lambda priority: {"command": "true", "priority": priority}
    assert "administrators" in code_of(bob.post(path, run("high")), 403, "not_permitted")
    code_of(bob.post("/v1/owners/acme/workflows", {"run": run("high")}), 403, "not_permitted")
    for wrong in ("urgent", "High", 1, None, []):
        code_of(bob.post(path, run(wrong)), 400, "invalid_request")


def test_owners(team, bob):
    lab = "lab-" + uuid.uuid4().hex[:8]
    made = team.post("/v1/owners", {"name": lab, "members": []}).json["owner"]
    assert made == {"name": lab, "own": False, "last_run": 0, "members": []}
    code_of(team.post("/v1/owners", {"name": lab}), 409, "owner_exists")
    code_of(bob.post("/v1/owners", {"name": "mine"}), 403, "not_permitted")
    assert lab not in [owner["name"] for owner in bob.get("/v1/owners").json["owners"]]
    assert team.post(f"/v1/owners/{lab}/members", {"add": [bob.name]}).json["owner"]["members"] == [bob.name]
    assert lab in [owner["name"] for owner in bob.get("/v1/owners").json["owners"]]
    assert team.post(f"/v1/owners/{lab}/members", {"remove": [bob.name]}).json["owner"]["members"] == []


def test_the_audit(team, bob):
    rows = team.get(f"/v1/audit?action=user.add&limit=1000").json["audit"]
    assert [row["user"] for row in rows if row["thing"] == bob.name] == ["ada"]
    first = team.get("/v1/audit?limit=1").json
    second = team.get(f"/v1/audit?limit=1&cursor={first['next']}").json
    assert len(first["audit"]) == len(second["audit"]) == 1 and first["audit"] != second["audit"]
    code_of(bob.get("/v1/audit"), 403, "not_permitted")
