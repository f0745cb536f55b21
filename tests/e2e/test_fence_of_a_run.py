"""A run reaches neither the service nor its folder nor another run, and nothing of it is left. As root and as anybody."""
import json
import os
import pathlib
import subprocess

import pytest

from harness import PATIENCE, SOURCE, Place, processes_of, wait_for

ATTACK = SOURCE / "tests/e2e/attack.py"
NOBODY = 65534


def give(folder, user):
    for parent, folders, files in os.walk(folder):
        for name in [".", *folders, *files]:
            os.chown(os.path.join(parent, name), user, user, follow_symlinks=False)


class NobodysPlace(Place):
    """The world of a user without any rights."""

    def __init__(self):
        super().__init__(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"], own_programs=True)
        give(self.root, NOBODY)

    def make_repository(self, name="repo", files=None):
        folder = super().make_repository(name, files)
        give(folder, NOBODY)
        return folder


@pytest.fixture(params=["me", "nobody"])
def place(request):
    """As whoever runs the tests, and as nobody where that is root."""
    if request.param == "nobody":
        if os.geteuid() != 0:
            pytest.skip("only root can be somebody else")
    place = NobodysPlace() if request.param == "nobody" else Place()
    yield place
    complaints = place.close()
    assert not complaints, "\n".join(complaints)


def containment(place):
    """Known as soon as the machine has joined."""
    machine = lambda: place.spell("status", "--json", check=0).json["service"]["machines"][0]
    return wait_for(lambda: machine()["capabilities"].get("containment"))


@pytest.fixture
def fenced(place):
    if containment(place) == "best_effort":
        pytest.skip("no namespaces are to be had here: " + place.spell("status").stdout)
    return place


SECRET = f"of-the-other-run-{os.getpid()}"  # of tests that run beside this one, too, the processes are looked through


@pytest.fixture
def attacked(fenced):
    """A place with a run that has a secret, and the attack in its repository."""
    repo = fenced.make_repository("repo", {"attack.py": ATTACK.read_text()})
    fenced.spell("run", "-b", "-e", f"SECRET={SECRET}", f"echo {SECRET} > own-file; echo ready; exec sleep 1000", cwd=repo, check=0)
    fenced.start("logs", "-f", 1).wait_output("ready\n")
    fenced.repo = repo
    return fenced


def target_of(place):
    """What an attacker would like to know, as arguments."""
    sleeper = next(pid for pid, name in processes_of(SECRET).items() if name.split()[0] == "sleep")
    return json.dumps({"folder": str(place.spell_dir), "inode": place.spell_dir.stat().st_ino, "service": place.service_pid(),
                       "other": sleeper, "secret": SECRET, "spell": str(place.programs / "spell")})


def test_the_attack_would_be_noticed(attacked):
    """From outside, as the same user, it finds all that it looks for: without this the next test says nothing."""
    result = subprocess.run([*attacked.prefix, "/usr/bin/python3", attacked.repo / "attack.py", target_of(attacked)], env=attacked.environment, cwd=attacked.work,
                            capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    assert {"folder by path", "folder by /proc", "socket", "environment", "signal", "secret file", "spell"} <= set(result.stdout.splitlines())


def test_nothing_is_reached_from_inside(attacked):
    target = target_of(attacked)
    result = attacked.spell("run", "/usr/bin/python3", "attack.py", target, "kill everybody", cwd=attacked.repo)
    assert result.stdout.splitlines() == ["end of the attack"], result
    assert result.returncode == 0, result
    again = json.loads(target_of(attacked))
    assert (again["service"], again["other"]) == (json.loads(target)["service"], json.loads(target)["other"])
    assert attacked.spell("info", 1, "--json", check=0).json["run"]["status"] == "running"


def test_its_own_processes_are_all_that_a_run_sees(attacked):
    command = "ls /proc | grep -c '^[0-9]*$'; kill -9 1; kill -STOP 1; cat /proc/1/environ; echo alive"
    result = attacked.spell("run", command, cwd=attacked.repo, check=0)
    lines = result.stdout.splitlines()
    assert int(lines[0]) <= 4 and lines[-1] == "alive"
    assert "SECRET" not in result.stdout


def test_what_the_host_mounts_later_and_nothing_of_a_run_passes(attacked):
    """A run's mounts are its own."""
    def mounts():
        lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
        return {line for line in lines if "/spe2e-" not in line or str(attacked.root) in line}  # other tests have theirs

    before = mounts()
    attacked.spell("run", "true", cwd=attacked.repo, check=0)
    assert mounts() == before


def test_a_user_name_and_the_files_are_the_users(fenced):
    repo = fenced.make_repository()
    owner = NOBODY if isinstance(fenced, NobodysPlace) else os.geteuid()
    assert fenced.spell("run", "id -u; stat -c %u hello.txt . $TMPDIR", cwd=repo, check=0).stdout.split() == [str(owner)] * 4


# In a user namespace of one's own one may forbid further ones, as a machine's owner may.
NO_NAMESPACES = ["unshare", "-Ur", "sh", "-c", 'for kind in user mnt pid; do echo 0 > /proc/sys/user/max_${kind}_namespaces || exit; done; exec "$@"', "sh"]


@pytest.fixture
def bare():
    """A world without namespaces."""
    if (tried := subprocess.run([*NO_NAMESPACES, "true"], capture_output=True, text=True, timeout=PATIENCE)).returncode != 0:
        pytest.skip(f"namespaces cannot be forbidden here: {tried.stderr}")
    place = Place(NO_NAMESPACES)
    yield place
    complaints = place.close()
    assert not complaints, "\n".join(complaints)


def test_without_namespaces_it_is_said_and_works(bare):
    repo = bare.make_repository()
    assert containment(bare) == "best_effort"
    status = bare.spell("status", check=0).stdout
    assert "containment: best" in status
    assert "set user.max_user_namespaces=" in status
    assert "workflows: without namespaces their managing runs have all of your rights" in status
    assert bare.spell("workflow", "create", "-q", f"test -S {bare.spell_dir}/spelld.sock && echo it is there", check=0).stdout == "it is there\n"
    bare.spell("workflow", "rm", "-f", 1, check=0)
    bare.spell("rm", "-f", 1, check=0)
    result = bare.spell("run", "cat deep.txt; pwd; echo $SPELL_ROOT; echo x > made; echo t > $TMPDIR/t; python -c 'print(1)'", cwd=repo / "sub", check=0)
    text, folder, root, one = result.stdout.splitlines()
    assert (text, folder, one) == ("deep", f"{root}/sub", "1")
    assert root.startswith(str(bare.spell_dir))
    assert "containment: best effort" in bare.spell("logs", "-v", 2, check=0).stderr
    bare.spell("cp", "runs/2/sub/made", bare.work, check=0)
    assert (bare.work / "made").read_text() == "x\n"
    assert not os.path.exists(root)


def test_without_namespaces_the_whole_tree_ends_too(bare):
    repo = bare.make_repository()
    bare.spell("run", "-b", "setsid sleep 1111 & (setsid setsid sleep 1111 &) ; echo ready; exec sleep 1111", cwd=repo, check=0)
    bare.start("logs", "-f", 1).wait_output("ready\n")
    sleepers = lambda: [name for name in processes_of(bare.spell_dir).values() if name.startswith("sleep")]
    wait_for(lambda: len(sleepers()) == 3, 10, "the three sleepers")
    bare.spell("kill", 1, check=0)
    bare.spell("wait", 1, check=125)
    assert sleepers() == []
