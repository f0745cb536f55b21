"""What is a user's alone: his secrets, and what he may use."""

from api import code_of


def test_secrets(service):
    path = service.of_owner("secrets")
    put = lambda name, value: service.request("PUT", f"{path}/{name}", {"value": value})
    secret = put("token", "a value").json["secret"]
    assert set(secret) == {"name", "created_at"} and secret["name"] == "token"
    assert service.get(path).json["secrets"] == [secret]
    assert put("token", "another").json["secret"]["created_at"] > secret["created_at"]
    for bad in ("abc", "", "x" * 65537, "a\0bcd", "\ud800abc"):
        code_of(put("token", bad), 400, "invalid_request" if "\ud800" not in bad else "invalid_json")
    for bad in ("-x", ".x", "a%20b", "x" * 65):
        code_of(put(bad, "a value"), 400, "invalid_request")
    for bad in ({}, {"value": 1}, {"value": "a value", "more": 1}, []):
        code_of(service.request("PUT", f"{path}/token", bad), 400, "invalid_request")
    code_of(service.post(service.of_owner("runs"), {"command": "true", "secrets": {"X": "none"}}), 404, "secret_not_found")
    code_of(service.post(service.of_owner("runs"), {"command": "true", "secrets": {"X": "token"}, "env": {"X": "1"}}), 400, "invalid_request")
    number = service.run("true", secrets={"X": "token"})
    assert service.wait(number)["secrets"] == {"X": "token"}
    assert service.request("DELETE", f"{path}/token").json["secret"]["name"] == "token"
    code_of(service.request("DELETE", f"{path}/token"), 404, "secret_not_found")


def test_quotas(service):
    path = service.of_owner("quotas")
    put = lambda user, body: service.request("PUT", f"{path}/{user}", body)
    quota = put("ada", {"runs": 3, "bytes": 5_000_000, "log_bytes": None}).json["quota"]
    assert quota == {"user": "ada", "runs": 3, "bytes": 5_000_000, "log_bytes": None, "runs_of": {}, "running": 0, "stored_bytes": 0}
    assert put("*", {"log_bytes": 10_000_000_000}).json["quota"]["user"] == "*"
    assert [quota["user"] for quota in service.get(path).json["quotas"]] == ["*", "ada"]
    assert put("ada", {"runs": 4}).json["quota"]["bytes"] is None
    assert put("ada", {"runs_of": {"V100": 0, "k80": 3}}).json["quota"]["runs_of"] == {"v100": 0, "k80": 3}
    assert put("ada", {"runs_of": {"k80": 3}}).json["quota"]["runs_of"] == {"k80": 3}
    for bad in ({"runs_of": 1}, {"runs_of": {"v100": -1}}, {"runs_of": {"v100": None}}, {"runs_of": {"": 1}}, {"runs_of": {"A": 1, "a": 1}}, {"runs_of": {f"t{i}": 1 for i in range(101)}}):
        code_of(put("ada", bad), 400, "invalid_request")
    for bad in ({"runs": -1}, {"runs": "1"}, {"log_bytes": 1}, {"bytes": 2**53}, {"days": 1}, []):
        code_of(put("ada", bad), 400, "invalid_request")
    code_of(put("-x", {"runs": 1}), 400, "invalid_request")
    put("*", {})
    put("ada", {})
    assert service.get(path).json["quotas"] == []


def test_budgets(service):
    path = service.of_owner("budgets")
    put = lambda whose, body: service.request("PUT", f"{path}/{whose}", body)
    owner = path.split("/")[3]
    service.post(service.of_owner("projects"), {"name": "costly"})
    budget = put("project/costly", {"amount": "20.50"}).json["budget"]
    assert budget == {"kind": "project", "name": "costly", "amount": "20.5", "monthly": False, "spent": "0", "reserved": "0"}
    assert put(f"user/{owner}", {"amount": "1000000", "monthly": True}).json["budget"]["monthly"] is True
    assert [(b["kind"], b["name"]) for b in service.get(path).json["budgets"]] == [("project", "costly"), ("user", owner)]
    assert put("project/costly", {"amount": "0"}).json["budget"]["amount"] == "0"
    for bad in ({}, {"amount": 1}, {"amount": "-1"}, {"amount": "1e3"}, {"amount": ""}, {"amount": "0.0000000001"}, {"amount": "99999999999"},
                {"amount": None}, {"amount": "1", "monthly": 1}, {"amount": "1", "per": "month"}, []):
        code_of(put("project/costly", bad), 400, "invalid_request")
    for bad in ("team/x", "project/-x", "workflow/x", "workflow/0", "workflow/01", "workflow/99999999999999999999"):
        code_of(put(bad, {"amount": "1"}), 400, "invalid_request")
    code_of(put("project/none", {"amount": "1"}), 404, "project_not_found")
    code_of(put("user/nobody", {"amount": "1"}), 404, "user_not_found")
    code_of(put("workflow/999", {"amount": "1"}), 404, "workflow_not_found")
    for whose in ("project/costly", f"user/{owner}"):
        assert service.request("DELETE", f"{path}/{whose}").json["budget"]["kind"] == whose.split("/")[0]
        code_of(service.request("DELETE", f"{path}/{whose}"), 404, "budget_not_found")
    assert service.get(path).json["budgets"] == []
