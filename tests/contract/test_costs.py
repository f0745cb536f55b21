"""Reports of what was spent, as the API has them."""
from api import code_of


def test_a_report_of_each_kind(service):
    path = service.of_owner("costs")
    number = service.run("true")
    service.wait(number)
    for kind in ("run", "workflow", "project", "user", "machine", "type", "day"):
        report = service.get(f"{path}?by={kind}").json["costs"]
        assert report["by"] == kind and report["since"] is None and not report["more"]
        assert set(report["total"]) == {"name", "runs", "time_ms", "amount", "on_demand", "lost_ms", "lost"}
    assert service.get(path).json["costs"]["by"] == "type"
    # A run of a type without a price is in no amount, and is named.
    report = service.get(path).json["costs"]
    assert report["total"]["amount"] == "0" and "CPU" in report["unpriced"]
    run = service.get(service.of_owner(f"runs/{number}")).json["run"]
    assert run["price"] is None and run["cost"] is None


def test_a_window_of_time(service):
    path = service.of_owner("costs")
    report = service.get(f"{path}?since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z&limit=1").json["costs"]
    assert report["since"] == "2026-01-01T00:00:00.000000Z" and report["until"] == "2026-01-02T00:00:00.000000Z"
    assert report["unpriced"] == []
    # What is not over yet is not there yet.
    assert service.get(f"{path}?until=9999-01-01T00:00:00Z").json["costs"]["until"] < "9999"
    ahead = service.get(f"{path}?since=9999-01-01T00:00:00Z").json["costs"]
    assert ahead["lines"] == [] and ahead["since"] == ahead["until"]


def test_what_is_no_report(service):
    path = service.of_owner("costs")
    for query in ("by=week", "by=RUN", "limit=0", "limit=10001", "limit=x", "since=yesterday", "since=2026-13-01T00:00:00Z",
                  "since=1969-12-31T00:00:00Z", "until=-1", "since=99999999999999999999", "since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z"):
        code_of(service.get(f"{path}?{query}"), 400, "invalid_request")
    code_of(service.get(f"{path}?by=%00"), 400, "invalid_path")
    code_of(service.get("/v1/owners/nobody/costs"), 404, "owner_not_found")
    code_of(service.post(path, {}), 405, "method_not_allowed")
