"""The service itself: what it is, what it hands out, how it ends, its figures and its backup."""
import hashlib
import os
import subprocess

import pytest

from api import code_of


def test_openapi(service, document):
    assert service.get("/v1/openapi.json").body == document.text


def test_health(service):
    assert service.get("/healthz").status == 200


def test_install(packages_service):
    """A machine gets a script for the address at which it asked, that believes a package by its hash alone."""
    service, folder = packages_service
    package = folder / "spell-worker-service_0.1.0_amd64.deb"
    package.write_bytes(os.urandom(300_000))
    (folder / "spell-cli_0.1.0_amd64.deb").write_bytes(b"another")
    (folder / "notes.txt").write_text("no package")
    (folder / "folder_1_amd64.deb").mkdir()
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    listed = service.get("/install/SHA256SUMS").body.decode().splitlines()
    assert [line.split("  ")[1] for line in listed] == ["spell-cli_0.1.0_amd64.deb", package.name]
    assert listed[1] == f"{digest}  {package.name}"
    assert service.get(f"/install/{package.name}").body == package.read_bytes()
    script = service.get("/install/worker.sh").body.decode()
    assert f"'amd64 {package.name} {digest}" in script and "spell-cli" not in script
    assert f"--unix-socket {service.socket_path}" in script and "@" not in script
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)

    package.write_bytes(b"a later build")  # is seen without a restart
    assert hashlib.sha256(b"a later build").hexdigest() in service.get("/install/worker.sh").body.decode()
    package.unlink()
    assert "--packages" in code_of(service.get("/install/worker.sh"), 404, "not_found")


@pytest.mark.parametrize("name", ["notes.txt", "folder_1_amd64.deb", "%2e%2e_1_amd64.deb", "a_b_c_d.deb", "worker.sh.deb"])
def test_install_gives_packages_only(packages_service, name):
    service, folder = packages_service
    (folder / "notes.txt").write_text("no package")
    code_of(service.get(f"/install/{name}"), 404, "not_found")
    code_of(service.get("/install/..%2fspell.db"), 400, "invalid_path")


def test_status(service):
    info = service.get("/v1/status").json["service"]
    assert info["owner"] == service.owner
    os.kill(info["pid"], 0)
    assert len(info["machines"]) == 1


def test_stop_service(own_service):
    pid = own_service.pid()
    code_of(own_service.post("/v1/service/stop", {"handover": 1}), 400, "invalid_request")
    code_of(own_service.post("/v1/service/stop", {"now": True}), 400, "invalid_request")
    code_of(own_service.post("/v1/service/stop", b"{"), 400, "invalid_json")
    assert own_service.pid() == pid
    answer = own_service.post("/v1/service/stop", {"handover": False})
    assert answer.status == 202
    assert answer.json["pid"] == pid


def test_metrics(service, ended_run):
    answer = service.get("/metrics")
    assert answer.status == 200 and answer.type == "text/plain"
    assert b'spell_runs{status="complete"}' in answer.body and b"spell_request_seconds_bucket" in answer.body


def test_backup(service, ended_run, tmp_path):
    backup = service.post("/v1/service/backup", {"folder": str(tmp_path / "backup")}).json["backup"]
    assert backup["folder"] == str(tmp_path / "backup") and backup["new_files"] == backup["files"] > 0
    assert service.post("/v1/service/backup", {"folder": str(tmp_path / "backup")}).json["backup"]["new_files"] < backup["files"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("x")
    code_of(service.post("/v1/service/backup", {"folder": str(tmp_path / "other")}), 409, "not_a_backup")
    code_of(service.post("/v1/service/backup", {"folder": "relative"}), 400, "invalid_request")
    for bad in ({}, {"folder": 1}, {"folder": "/x", "more": 1}, []):
        code_of(service.post("/v1/service/backup", bad), 400, "invalid_request")
