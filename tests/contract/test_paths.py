"""Every path, with what it does not have."""
from api import METHODS, Connection, code_of

NO_SUCH_ID = "0" * 40


def test_methods_that_a_path_does_not_have(service, document):
    for path, described in document.json["paths"].items():
        for method in METHODS:
            if method not in described:
                target = path.replace("{owner}", service.owner).replace("{run}", "1").replace("{path}", "runs").replace("{alias}", "a")
                target = target.replace("{name}", NO_SUCH_ID).replace("{machine}", "m")
                code_of(service.request(method.upper(), target), 405, "method_not_allowed")


def test_paths_that_are_no_routes(service):
    for path in ("/", "/v1", "/v2/status", "/v1/statuses", "/v1/status/x", f"/v1/owners/{service.owner}",
                 service.of_owner("runs/1/nonsense"), service.of_owner("runs/1/log/x"), "/favicon.ico", "/metrics/x"):
        code_of(service.get(path), 404, "route_not_found")


def test_head_of_a_described_path_has_no_body(service):
    connection = Connection(service.socket_path, 60)
    connection.request("HEAD", "/v1/status")
    response = connection.getresponse()
    assert response.read() == b""
    assert response.status in (200, 405)
    connection.close()
