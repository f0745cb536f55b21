"""Code: what is missing, what is sent, and a run that has it."""
import os
import subprocess
import uuid

import pytest

from api import code_of

NO_SUCH_ID = "0" * 40


@pytest.fixture
def pack(tmp_path):
    """A repository of one commit, which no other test has, as (workspace, commit, tree, pack)."""
    folder = tmp_path
    environment = dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null")

    def git(*words, **options):
        return subprocess.run(["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True,
                              capture_output=True, env=environment, **options).stdout
    git("init", "-q")
    (folder / "hello.txt").write_text("from the repository\n")
    git("add", "hello.txt")
    git("commit", "-q", "-m", uuid.uuid4().hex)
    commit, tree = git("rev-parse", "HEAD", "HEAD^{tree}").decode().split()
    return commit, commit, tree, git("pack-objects", "--stdout", "-q", "--revs", input=b"HEAD\n")


def test_code(service, pack):
    workspace, commit, tree, data = pack
    path = service.of_owner(f"repositories/{workspace}")
    ask = {"commit": commit, "trees": [tree, NO_SUCH_ID]}
    assert service.post(f"{path}/missing", ask).json == {"has_commit": False, "trees": []}
    git = {"Content-Type": "application/vnd.git.pack"}
    code_of(service.post(f"{path}/packs?commit={commit}&repository=r", b"no pack", headers=git), 400, "bad_pack")
    code_of(service.post(f"{path}/packs?commit={commit}&repository=r", data[:-1] + b"x", headers=git), 400, "bad_pack")
    code_of(service.post(f"{path}/packs?commit={NO_SUCH_ID}&repository=r", data, headers=git), 409, "incomplete_pack")
    assert service.post(f"{path}/missing", ask).json == {"has_commit": False, "trees": []}
    assert service.post(f"{path}/packs?commit={commit}&repository=r", data, headers=git).json == {"commit": commit}
    assert service.post(f"{path}/missing", ask).json == {"has_commit": True, "trees": [tree]}

    number = service.run("cat hello.txt", code={"workspace": workspace, "commit": commit, "repository": "r", "message": "first"})
    run = service.wait(number)
    assert (run["user_exit_code"], run["git_commit"], run["description"]) == (0, commit, "first")
    assert service.get(service.of_owner(f"runs/{number}/log?format=text&output_only=1")).body == b"from the repository\n"
    listed = service.get(service.of_owner("repositories")).json["repositories"]
    assert [r["runs"] for r in listed if r["workspace"] == workspace] == [1]

    for bad in ({}, {"commit": "HEAD"}, {"commit": 1}, {"commit": commit, "trees": tree}, {"commit": commit, "trees": ["x"]},
                {"commit": commit, "blobs": []}, []):
        code_of(service.post(f"{path}/missing", bad), 400, "invalid_request")
    code_of(service.post(service.of_owner("repositories/x/missing"), ask), 400, "invalid_request")
    code_of(service.post(service.of_owner("repositories/x/packs?commit=" + commit), data, headers=git), 400, "invalid_request")
    for query in ("", "?commit=HEAD", "?commit="):
        code_of(service.post(f"{path}/packs{query}", data, headers=git), 400, "invalid_request")
