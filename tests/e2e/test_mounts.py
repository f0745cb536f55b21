"""Data of earlier runs and uploads in a run's place: where it is, that nobody's data is changed, what is refused, what survives."""
import os
import shutil
import signal
import subprocess

import pytest

from faults import Gate
from harness import Place, found_below, processes_of, wait_for
from test_fence_of_a_run import NobodysPlace, bare, containment  # noqa: F401, a fixture


@pytest.fixture(params=["own", "nobody"])
def place(request):
    """As whoever runs the tests, and as a user without rights."""
    if request.param == "nobody" and os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    place = NobodysPlace() if request.param == "nobody" else Place()
    if containment(place) == "best_effort":
        place.close()
        pytest.skip(f"{request.param}: no namespaces are to be had here; what then becomes of mounts has tests of its own")
    yield place
    complaints = place.close()
    assert not complaints, "\n".join(complaints)


@pytest.fixture
def data(place, spell, repo):
    """Run 1, which leaves a folder and a file."""
    spell("run", "mkdir -p data/sub; echo one > data/one; echo two > data/sub/two; chmod +x data/one; ln -s one data/link; echo file > single",
          cwd=repo, check=0)
    return "runs/1/data"


def info(spell, run):
    return spell("info", run, "--json", check=0).json["run"]


def output(spell, run):
    return spell("logs", run, check=0).stdout


def whole_log(spell, run):
    """With what the service has to say, which goes to stderr."""
    result = spell("logs", run, "-v", check=0)
    return result.stderr + result.stdout


def names(spell, path):
    return {entry["path"] for entry in spell("ls", "--json", path, check=0).json["entries"]}


def trees(place):
    return sorted(path.name for path in found_below(place.spell_dir, "[tf]*") if path.parent.name == "trees" and path.suffix not in (".use", ".sum"))


def test_data_is_where_it_was_asked_for(place, spell, repo, data):
    done = spell("run", "--mount", data, "--mount", f"{data}:/spell-set/a/b", "-m", f"{data}/sub:../up/deep", "--mount", "runs/1/single:/data/input.txt",
                 "cat data/one ../up/deep/two /spell-set/a/b/sub/two /data/input.txt; readlink data/link; test -x data/one", cwd=repo / "sub", check=0)
    assert "one\ntwo\ntwo\nfile\none\n" in done.stdout
    assert info(spell, 2)["mounts"] == [{"resource": data, "at": "/spell/sub/data"}, {"resource": data, "at": "/spell-set/a/b"},
                                        {"resource": "runs/1/single", "at": "/data/input.txt"},
                                        {"resource": f"{data}/sub", "at": "/spell/up/deep"}]
    assert f"{data} on /spell/sub/data" in spell("info", 2, check=0).stdout
    log = whole_log(spell, 2)
    assert "Run is mounting" in log and f"Mounted {data} to /spell-set/a/b (3 files, 8 B)" in log and ", from the cache" in log
    for made in ("/spell-set", "/data/input.txt"):
        assert not os.path.exists(made)
    assert names(spell, "runs/2") == set()  # mounts are no outputs, nor are their places


def test_a_repository_folder_under_a_mount_is_covered_and_unchanged(place, spell, data):
    repo = place.make_repository("covered", {"data/own.txt": "own\n", "kept.txt": "kept\n"})
    spell("run", "--mount", data, "ls data; cat data/one; echo out > out", cwd=repo, check=0)
    assert "own.txt" not in output(spell, 2) and "one\n" in output(spell, 2)
    assert names(spell, "runs/2") == {"out"}


def test_what_a_run_writes_into_a_mount_is_its_own(place, spell, repo, data):
    spell("run", "--mount", data, "--mount", f"{data}:/spell-other",
          "echo changed > data/one; rm -r data/sub; mkdir -p data/new/er; echo x > data/new/er/x; cat data/one /spell-other/one; ls /spell-other/sub",
          cwd=repo, check=0)
    assert output(spell, 2) == "changed\none\ntwo\n"
    assert names(spell, "runs/2") == set()
    spell("run", "--mount", data, "cat data/one data/sub/two; ls data", cwd=repo, check=0)
    assert output(spell, 3) == "one\ntwo\nlink\none\nsub\n"
    assert len(trees(place)) == 1
    target = place.work / "target"
    spell("cp", data, target, check=0)
    assert (target / "one").read_text() == "one\n" and (target / "sub/two").read_text() == "two\n"
    wait_for(lambda: not found_below(place.spell_dir, "overlays"), what="the runs' own layers to go")


def test_a_mounted_file_is_read_only(place, spell, repo, data):
    assert "read-only" in spell("run", "--mount", "runs/1/single:f", "LC_ALL=C; cat f; echo x > f; true", cwd=repo, check=0).stdout.lower()
    spell("run", "--mount", "runs/1/single:f", "cat f", cwd=repo, check=0)
    assert output(spell, 3) == "file\n"


def test_one_mount_in_another(place, spell, repo, data):
    spell("run", "--mount", "runs/1/single:data/sub/in", "--mount", data, "--mount", f"{data}/sub:data/new/er",
          "cat data/one data/sub/in data/new/er/two", cwd=repo, check=0)
    assert output(spell, 2) == "one\nfile\ntwo\n"


@pytest.mark.parametrize("mount", ["runs/9", "runs/1/nothing", "runs", "runs/1/single/below", "uploads/none", "uploads", "nothing", "public/none", "runs/../1",
                                   "runs/-1", "runs/99999999999999999999", "a" * 300])
def test_what_is_no_resource_is_refused(place, spell, repo, data, mount):
    refused = spell("run", "--mount", mount, "true", cwd=repo, check=1)
    assert f"Cannot mount resource '{mount}" in refused.stderr.replace('"', "'") or len(mount) > 200
    assert "not a valid resource" in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert len(spell("ps", "--json", "-n", 10, check=0).json["runs"]) == 1


@pytest.mark.parametrize("at", ["/", "/spell", "/proc/x", "/sys", "/dev/null", "/spell-tmp/x", "/usr", "..", "../../x", ".", "/a/../..", "x" * 300])
def test_a_target_that_cannot_be_is_refused(place, spell, repo, data, at):
    refused = spell("run", "--mount", f"{data}:{at}", "true", cwd=repo, check=1)
    assert "cannot mount on" in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert len(spell("ps", "--json", "-n", 10, check=0).json["runs"]) == 1


def test_targets_that_do_not_go_together_are_refused(place, spell, repo, data):
    assert "two mounts" in spell("run", "--mount", data, "--mount", f"{data}/sub:data", "true", cwd=repo, check=1).stderr
    assert "is a file" in spell("run", "--mount", "runs/1/single:x", "--mount", f"{data}:x/y", "true", cwd=repo, check=1).stderr
    assert "s3://" in spell("run", "--mount", "s3://bucket/path/:/mnt/y", "true", cwd=repo, check=2).stderr
    assert "--mount" in spell("run", "--mount", ":", "true", cwd=repo, check=2).stderr


def test_links_of_the_code_lead_no_mount_away(place, spell, repo, data):
    outside = place.work / "outside"
    outside.mkdir(mode=0o777)
    (repo / "link").symlink_to(outside)
    place.git("-c", f"safe.directory={repo}", "add", ".", cwd=repo)
    place.git("-c", f"safe.directory={repo}", "commit", "-q", "-m", "link", cwd=repo)
    for target, why in (("link/below", "a link"), ("link", "a link"), ("hello.txt", "a file"), ("hello.txt/below", "a file")):
        failed = spell("run", "--mount", f"{data}:{target}", "true", cwd=repo, check=125)
        assert "mount failed" in failed.stderr and f"{why} of the code is in the way" in failed.stderr
    assert os.listdir(outside) == []
    assert info(spell, 2)["status"] == "mount_failed" and info(spell, 2)["reason_code"] == "mount_failed"


def test_a_mount_of_an_unfinished_run_waits_for_it(place, spell, repo):
    gate = Gate(place.work / "gate")
    spell("run", "-b", f"{gate.waiting}; mkdir out; echo late > out/x", cwd=repo, check=0)
    spell("run", "-b", "--mount", "runs/1/out:in", "cat in/x", cwd=repo, check=0)
    assert info(spell, 2)["status"] == "machine_requested" and "run 1" in info(spell, 2)["reason"]
    gate.open()
    spell("wait", 2, check=0)
    assert output(spell, 2) == "late\n"
    # It has it from then on, whatever becomes of the other.
    spell("run", "-b", f"{gate.waiting}; exit 3", cwd=repo, check=0)
    spell("run", "-b", "--mount", "runs/3", "true", cwd=repo, check=0)
    gate.open()
    spell("wait", 4, check=125)
    assert info(spell, 4)["reason_code"] == "dependency_failed"


def test_a_path_that_the_awaited_run_does_not_leave_fails_the_mount(place, spell, repo):
    gate = Gate(place.work / "gate")
    spell("run", "-b", f"{gate.waiting}; echo x > x", cwd=repo, check=0)
    spell("run", "-b", "--mount", "runs/1/nothing:in", "true", cwd=repo, check=0)
    spell("run", "-b", "--after", 1, "true", cwd=repo, check=0)
    gate.open()
    spell("wait", 2, check=125)
    run = info(spell, 2)
    assert run["status"] == "mount_failed" and "runs/1/nothing" in run["reason"]
    spell("wait", 3, check=0)


def test_what_a_failed_run_saved_can_be_mounted(place, spell, repo):
    spell("run", "mkdir out; echo partly > out/x; exit 3", cwd=repo, check=3)
    spell("run", "--mount", "runs/1/out", "cat out/x", cwd=repo, check=0)
    assert output(spell, 2) == "partly\n"
    spell("run", "true", cwd=repo, check=0)
    assert "saved no files" in spell("run", "--mount", "runs/3", "true", cwd=repo, check=1).stderr


def test_removing_what_is_mounted_changes_nothing_for_the_run(place, spell, repo, data):
    gate = Gate(place.work / "gate")
    spell("run", "-b", "--mount", data, f"cat data/one; {gate.waiting}; cat data/sub/two", cwd=repo, check=0)
    place.start("logs", "-f", 2).wait_output("one\n")
    spell("rm", "-f", 1, check=0)
    gate.open()
    spell("wait", 2, check=0)
    assert output(spell, 2) == "one\ntwo\n"
    assert "not a valid resource" in spell("rerun", 2, check=1).stderr


@pytest.mark.parametrize("service_runs", [True, False], ids=["the running service", "spelld fsck"])
def test_a_flipped_bit_in_a_cached_tree_is_found_and_mended(place, spell, repo, data, service_runs):
    spell("run", "--mount", data, "cat data/one", cwd=repo, check=0)
    tree, = [path for path in found_below(place.spell_dir, "t*") if path.parent.name == "trees" and not path.suffix]
    wait_for(tree.with_name(tree.name + ".sum").exists, what="the tree's checksum")  # it is made right after the tree
    before = (tree / "one").stat()
    with open(tree / "one", "r+b") as file:
        file.write(b"One\n")
    os.utime(tree / "one", ns=(before.st_atime_ns, before.st_mtime_ns))
    if not service_runs:
        spell("service", "stop", check=0)
        checked = place.start("fsck", program="spelld").finish()
    else:
        checked = spell("fsck", check=1)
        log = spell("service", "logs", check=0).stdout
        assert f"the cached tree {tree} is not as it was made" in log
    assert checked.returncode == 1 and f"damaged: the cached tree {tree} is not as it was made; it was removed" in checked.stdout, checked
    assert not tree.exists()
    spell("run", "--mount", data, "cat data/one", cwd=repo, check=0)
    assert output(spell, 3) == "one\n"
    assert "all is as it was written" in spell("fsck", check=0).stdout


def test_the_same_mounts_are_the_same_run_for_idempotent(place, spell, repo, data):
    first = spell("run", "--idempotent", "--mount", data, "--json", "-b", "true", cwd=repo, check=0).json["run"]
    again = spell("run", "--idempotent", "--mount", f"{data}/:data", "--json", "-b", "true", cwd=repo, check=0).json["run"]
    assert again["id"] == first["id"] and again["already_existed"]
    for other in ([f"{data}:other"], [f"{data}/sub:data"], [data, "--mount", "runs/1/single"]):
        made = spell("run", "--idempotent", "--mount", *other, "--json", "-b", "true", cwd=repo, check=0).json["run"]
        assert made["id"] != first["id"] and not made["already_existed"]


def test_a_rerun_has_the_same_mounts(place, spell, repo, data):
    spell("run", "--mount", f"{data}:/spell-set", "cat /spell-set/one", cwd=repo, check=0)
    spell("rerun", 2, check=0)
    assert output(spell, 3) == "one\n" and info(spell, 3)["mounts"] == info(spell, 2)["mounts"]


def test_two_runs_that_want_the_same_at_once_have_it_made_once(place, spell, repo):
    spell("run", "mkdir d; for i in $(seq 3000); do echo $i > d/$i; done", cwd=repo, check=0)
    for _ in range(2):
        spell("run", "-b", "--mount", "runs/1/d", "ls d | wc -l", cwd=repo, check=0)
    spell("wait", 2, 3, check=0)
    assert output(spell, 2) == output(spell, 3) == "3000\n"
    logs = whole_log(spell, 2) + whole_log(spell, 3)
    assert logs.count(", from the cache") == 1 and len(trees(place)) == 1


def test_trees_of_the_cache_share_files_by_reflink_at_most(place, spell, repo):
    """Never as one inode: what is done to one tree is not done to another."""
    spell("run", "mkdir a b; yes | head -c 100000 > a/same; cp a/same b/same; echo a > a/own; echo b > b/own", cwd=repo, check=0)
    for run in (2, 3):
        spell("run", "--mount", "runs/1/a", "--mount", "runs/1/b", "--mount", "runs/1/a/same:single",
              "cmp a/same b/same; cmp a/same single; echo x >> a/same", cwd=repo, check=0)
        assert output(spell, run) == ""
    stats = [file.stat() for tree in found_below(place.spell_dir, "[tf]*") if tree.parent.name == "trees" and tree.suffix not in (".use", ".sum")
             for file in ([tree] if tree.is_file() else tree.iterdir())]
    assert len(stats) == 5 and {stat.st_nlink for stat in stats} == {1} and len({stat.st_ino for stat in stats}) == 5
    assert sum(stat.st_size for stat in stats) == 300_004


def test_a_service_killed_while_it_brings_a_tree_leaves_no_half_of_it(place, spell, repo):
    spell("run", "mkdir d; seq 5000 | split -l 1 -a 4 - d/", cwd=repo, check=0)
    for _ in range(3):
        spell("run", "-b", "--mount", "runs/1/d", "ls d | wc -l; cat d/* | tail -1", cwd=repo, check=0)
        last = max(run["id"] for run in spell("ps", "--json", check=0).json["runs"])
        begun = lambda: [path for path in found_below(place.spell_dir, ".*") if path.parent.name == "trees"]
        wait_for(lambda: begun() or trees(place) or info(spell, last)["status"] == "complete")
        if pid := place.service_pid():
            os.kill(pid, signal.SIGKILL)
        spell("wait", last, check=0)
        assert output(spell, last) == "5000\n5000\n"
        # The next one finds nothing but whole trees.
        for path in found_below(place.spell_dir, "trees"):
            for tree in trees(place):
                assert len(os.listdir(path / tree)) == 5000
    assert len(trees(place)) == 1


def test_a_run_can_be_killed_while_it_mounts(place, spell, repo):
    spell("run", "mkdir d; seq 5000 | split -l 1 -a 4 - d/", cwd=repo, check=0)
    spell("run", "-b", "--mount", "runs/1/d", "true", cwd=repo, check=0)
    wait_for(lambda: info(spell, 2)["status"] != "machine_requested")
    spell("kill", 2, check=0)
    spell("wait", 2)
    assert info(spell, 2)["status"] in ("killed", "complete")
    spell("run", "--mount", "runs/1/d", "ls d | wc -l", cwd=repo, check=0)
    assert output(spell, 3) == "5000\n"


def test_status_says_how_data_is_mounted_and_kept(place, spell, repo, data):
    status = spell("status", check=0).stdout
    assert "mounts: " in status and "kept for the next runs" in status
    assert "mounts" in spell("status", "--json", check=0).json["service"]["machines"][0]["capabilities"]


def test_a_local_path_is_uploaded_where_it_changed_and_mounted(place, spell, repo):
    folder = repo / "sets"
    folder.mkdir()
    (folder / "a").write_text("first\n")
    (folder / "big").write_bytes(os.urandom(300_000))
    (place.work / "one.txt").write_text("one\n")
    if place.prefix:
        for path in (folder, *folder.iterdir(), place.work / "one.txt"):
            os.chown(path, 65534, 65534)
    mounts = ("--mount", "./sets", "--mount", f"{place.work}/one.txt:/spell-one")
    done = spell("run", "-f", *mounts, "cat sets/a /spell-one", cwd=repo, check=0)
    assert done.stdout == "first\none\n"
    assert info(spell, 1)["mounts"] == [{"resource": "uploads/sets", "at": "/spell/sets"}, {"resource": "uploads/one.txt", "at": "/spell-one"}]
    assert "(0 B sent)" in spell("run", "-f", "--mount", "./sets", "true", cwd=repo, check=0).stderr
    (folder / "a").write_text("second\n")
    assert spell("run", "-f", *mounts, "cat sets/a", cwd=repo, check=0).stdout == "second\n"
    assert "--mount ./nothing" in spell("run", "-f", "--mount", "./nothing", "true", cwd=repo, check=1).stderr
    assert len(spell("ps", "--json", check=0).json["runs"]) == 3


def test_replacing_an_upload_changes_nothing_for_a_run_that_has_it(place, spell, repo):
    (place.work / "set").write_text("old\n")
    if place.prefix:
        os.chown(place.work / "set", 65534, 65534)
    spell("upload", "set", check=0)
    gate = Gate(place.work / "gate")
    spell("run", "-b", gate.waiting, cwd=repo, check=0)
    spell("run", "-b", "--after", 1, "--mount", "uploads/set", "cat set", cwd=repo, check=0)
    same = ["run", "-b", "--json", "--idempotent", "--mount", "uploads/set", "cat set"]
    first = spell(*same, cwd=repo, check=0).json["run"]["id"]
    assert spell(*same, cwd=repo, check=0).json["run"]["id"] == first
    (place.work / "set").write_text("new\n")
    spell("upload", "set", check=0)
    assert spell(*same, cwd=repo, check=0).json["run"]["id"] != first  # the same name, another content
    spell("rm", "-f", "uploads/set", check=0)
    gate.open()
    spell("wait", 2, check=0)
    assert output(spell, 2) == "old\n"
    assert "not a valid resource" in spell("run", "--mount", "uploads/set", "true", cwd=repo, check=1).stderr


def test_an_alias_can_be_mounted(place, spell, repo, data):
    spell("link", "mine", data, check=0)
    spell("run", "--mount", "mine", "--mount", "mine/sub:deep", "cat mine/one deep/two", cwd=repo, check=0)
    assert output(spell, 2) == "one\ntwo\n"


def test_without_namespaces_data_is_copied_and_that_is_said(bare):  # noqa: F811
    repo = bare.make_repository()
    bare.spell("run", "mkdir data; echo one > data/one; chmod +x data/one; ln -s one data/link; truncate -s 3M data/sparse", cwd=repo, check=0)
    done = bare.spell("run", "-m", "runs/1/data:in/data", "-m", "runs/1/data/one:single",
                      "cat in/data/link single; test -x in/data/one; echo more >> in/data/one; echo new > in/data/new; echo out > out", cwd=repo, check=0)
    assert "one\none\n" in done.stdout
    log = bare.spell("logs", 2, "-v", check=0)
    said = [line for line in (log.stderr + log.stdout).splitlines() if "Copied runs/1/data" in line]
    assert len(said) == 2 and all("by reflink" in line or "as a copy" in line for line in said), said
    # What it wrote there is nobody's, neither output nor data of others.
    assert {entry["path"] for entry in bare.spell("ls", "--json", "runs/2", check=0).json["entries"]} == {"out"}
    again = bare.spell("run", "-m", "runs/1/data", "cat data/one; ls data", cwd=repo, check=0)
    assert "one\n" in again.stdout and "more" not in again.stdout and "new" not in again.stdout
    assert "from the cache" in bare.spell("logs", 3, "-v", check=0).stderr
    # Nothing can be mounted elsewhere: that fails the run, and says why.
    # One in another, where folders have to be made; no link in the data is followed for it.
    nested = bare.spell("run", "-m", "runs/1/data", "-m", "runs/1/data/one:data/new/er/one", "cat data/new/er/one", cwd=repo, check=0)
    assert "one\n" in nested.stdout
    assert "a link" in bare.spell("run", "-m", "runs/1/data", "-m", "runs/1/data/one:data/link/x", "true", cwd=repo, check=125).stderr
    assert bare.spell("run", "-m", "runs/1/data:/data", "true", cwd=repo).returncode != 0
    log = bare.spell("logs", 6, "-v", check=0)
    assert "only paths below /spell can be had here" in log.stderr + log.stdout


@pytest.fixture
def reflinking(bare):  # noqa: F811
    """A world without namespaces whose SPELL_DIR is on a file system that can share blocks."""
    if not (mkfs := shutil.which("mkfs.xfs", path="/usr/sbin:/sbin:/usr/bin")):
        pytest.skip("there is no mkfs.xfs")
    image = bare.root / "xfs"
    with open(image, "wb") as file:
        file.truncate(320 << 20)  # the least that it takes
    subprocess.run([mkfs, "-q", "-m", "reflink=1", image], check=True)
    mounted = subprocess.run(["mount", "-o", "loop", image, bare.spell_dir], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no image can be mounted here: {mounted.stderr.strip()}")
    bare.spell_dir.chmod(0o700)
    yield bare
    problems = bare._stop_service()
    wait_for(lambda: not processes_of(bare.spell_dir), what="the end of what stands in its folder")
    subprocess.run(["umount", bare.spell_dir], check=True)  # not lazily: the loop device goes with it
    assert not problems, problems


def test_where_the_file_system_can_a_copy_is_a_reflink_and_takes_no_room(reflinking):
    place, repo, size = reflinking, reflinking.make_repository(), 16 << 20
    place.spell("run", f"mkdir data; head -c {size} /dev/urandom > data/noise; sha256sum < data/noise", cwd=repo, check=0)
    sum_ = place.spell("logs", 1, check=0).stdout
    place.spell("run", "--mount", "runs/1/data", "sha256sum < data/noise", cwd=repo, check=0)  # brings it into the cache

    def used():
        os.sync()
        disk = os.statvfs(place.spell_dir)
        return (disk.f_blocks - disk.f_bfree) * disk.f_frsize

    gate, before = Gate(place.work / "gate"), used()
    run = place.start("run", "--mount", "runs/1/data", f"sha256sum < data/noise; {gate.waiting}; echo more >> data/noise", cwd=repo)
    run.wait_output(sum_.encode().strip())
    assert used() - before < size / 4
    gate.open()
    assert run.finish().returncode == 0
    log = place.spell("logs", 3, "-v", check=0)
    assert "from the cache, by reflink" in log.stderr + log.stdout
    # What that run wrote into it is its own.
    assert sum_ in place.spell("run", "--mount", "runs/1/data", "sha256sum < data/noise", cwd=repo, check=0).stdout
