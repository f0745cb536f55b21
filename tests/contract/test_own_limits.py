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
    assert quota == {"user": "ada", "runs": 3, "bytes": 5_000_000, "log_bytes": None, "running": 0, "stored_bytes": 0}
    assert put("*", {"log_bytes": 10_000_000_000}).json["quota"]["user"] == "*"
    assert [quota["user"] for quota in service.get(path).json["quotas"]] == ["*", "ada"]
    assert put("ada", {"runs": 4}).json["quota"]["bytes"] is None
    for bad in ({"runs": -1}, {"runs": "1"}, {"log_bytes": 1}, {"bytes": 2**53}, {"days": 1}, []):
        code_of(put("ada", bad), 400, "invalid_request")
    code_of(put("-x", {"runs": 1}), 400, "invalid_request")
    put("*", {})
    put("ada", {})
    assert service.get(path).json["quotas"] == []
