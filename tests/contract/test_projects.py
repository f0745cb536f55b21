"""Projects."""
import uuid

from api import code_of


def test_projects(service):
    name = "p" + uuid.uuid4().hex[:8]
    path = service.of_owner("projects")
    made = service.post(path, {"name": name, "description": "ä"})
    assert (made.status, made.json["project"]["name"], made.json["project"]["runs"]) == (201, name, 0)
    code_of(service.post(path, {"name": name}), 409, "project_exists")
    for bad in ({}, {"name": ""}, {"name": "a b"}, {"name": "../x"}, {"name": 1}, {"name": name, "archived": True},
                {"name": name, "description": 1}, {"name": name, "description": "x" * 10241}, []):
        code_of(service.post(path, bad), 400, "invalid_request")
    code_of(service.post(path, b'{"name"'), 400, "invalid_json")
    assert service.get(f"{path}/{name}").json == made.json
    code_of(service.get(f"{path}/none"), 404, "project_not_found")

    number = service.run("true", project=name)
    other = service.run("true")
    changed = service.post(f"{path}/{name}/runs", {"add": [other]})
    assert changed.json["project"]["runs"] == 2
    assert service.get(service.of_owner(f"runs?project={name}")).json["runs"][0]["id"] == other
    assert service.post(f"{path}/{name}/runs", {"remove": [number]}).json["project"]["runs"] == 1
    code_of(service.post(f"{path}/{name}/runs", {"add": [number, 999999]}), 404, "run_not_found")
    assert service.get(f"{path}/{name}").json["project"]["runs"] == 1
    for bad in ({"add": 1}, {"add": ["1"]}, {"add": [0]}, {"add": [1.5]}, {"runs": [1]}, []):
        code_of(service.post(f"{path}/{name}/runs", bad), 400, "invalid_request")
    code_of(service.post(f"{path}/none/runs", {"add": [other]}), 404, "project_not_found")

    edited = service.request("PATCH", f"{path}/{name}", {"name": name + "x", "description": "new", "archived": True})
    assert edited.json["project"] | {"created_at": None} == {
        "name": name + "x", "description": "new", "archived": True, "runs": 1, "created_at": None, "keep_days": 0, "keep_runs": 0}
    kept = service.request("PATCH", f"{path}/{name}x", {"keep_days": 30, "keep_runs": 5}).json["project"]
    assert (kept["keep_days"], kept["keep_runs"], kept["description"]) == (30, 5, "new")
    assert service.request("PATCH", f"{path}/{name}x", {"keep_runs": 0}).json["project"] == kept | {"keep_runs": 0}
    assert name + "x" not in [project["name"] for project in service.get(path).json["projects"]]
    assert name + "x" in [project["name"] for project in service.get(path + "?archived=1").json["projects"]]
    assert service.get(service.of_owner(f"runs/{other}")).json["run"]["project"] == name + "x"
    service.post(path, {"name": name})
    code_of(service.request("PATCH", f"{path}/{name}", {"name": name + "x"}), 409, "project_exists")
    code_of(service.request("PATCH", f"{path}/none", {"description": ""}), 404, "project_not_found")
    for bad in ({"name": None}, {"archived": 1}, {"runs": []}, {"keep_days": -1}, {"keep_runs": "5"}, {"keep_days": 1000001}, {"keep_runs": 1.5}):
        code_of(service.request("PATCH", f"{path}/{name}", bad), 400, "invalid_request")
    for run in (number, other):
        service.wait(run)
