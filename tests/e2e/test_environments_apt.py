"""Packages of the machine's own distribution: over its system, for the run alone. They are of a repository made here, but for `sl`."""
import os
import re
import signal
import subprocess

import pytest

import apt
import machines
from apt import AptPlace, System
from environments import built, info, log_of
from harness import Place, found_below, processes_of, wait_for
from team import Team

pytestmark = pytest.mark.skipif(apt.why_not() is not None, reason=str(apt.why_not()))
BUILDS = 180  # seconds


def lacks_for_packages(place):
    """What the machine of a personal service says, once it is there."""
    def said():
        machine, = place.spell("machine", "list", "--json", check=0).json["machines"]
        return "lacks_for_packages" in machine["capabilities"] and machine["capabilities"]
    return wait_for(said, what="the machine's worker")["lacks_for_packages"]


@pytest.fixture
def place():
    place = AptPlace()
    yield place
    complaints = place.close()
    assert not complaints, "\n".join(complaints)


@pytest.fixture
def spell(place):
    if lacks := lacks_for_packages(place):
        pytest.skip(f"no packages here: {lacks}")
    return place.spell


@pytest.fixture
def repository(place):
    made = place.repository
    made.add("spelltool", "1.0", {"usr/bin/spelltool": "#!/bin/sh\ncat /usr/share/spelltool/version\n", "usr/share/spelltool/version": "tool 1.0\n"}, Depends="spelllib")
    made.add("spelllib", "2.0", {"usr/share/spelllib/file": "lib\n"}, postinst="echo configured > /etc/spelllib\nrm -f /usr/lib/os-release\nid -u\n")
    return made


@pytest.fixture
def run(spell, repo, repository):
    def submit(*arguments, **options):
        return spell("run", *arguments, cwd=repo, timeout=BUILDS, **options)
    return submit


@pytest.fixture
def boxes(place, repository):
    team = Team(place)
    made = [machines.Machine(team, name) for name in ("box", "spare")]
    yield team, *made
    for machine in made:
        machine.close()


def packages(spell, number):
    return [(layer["method"], layer["packages"]) for layer in info(spell, number)["environment"]]


def test_a_package_is_built_once_for_the_run_alone(spell, repo, run):
    before = System()
    first = run("--apt", "spelltool", "spelltool; cat /etc/spelllib; dpkg -s spelltool | grep ^Status; test -e /usr/lib/os-release || echo gone; test -e /spell-env || echo none", check=0)
    assert first.stdout == "tool 1.0\nconfigured\nStatus: install ok installed\ngone\nnone\n"
    log = log_of(spell, 1)
    assert "Building the environment: apt install spelltool" in log and "Setting up spelltool (1.0)" in log and "Environment built: " in log
    assert run("--apt", "spelltool", "spelltool", check=0).stdout == "tool 1.0\n"
    log = log_of(spell, 2)
    assert "Retrieving cached environment…" in log and "Building the environment" not in log
    # All that was installed is recorded, with its version.
    assert packages(spell, 1) == packages(spell, 2) == [("apt", ["spelllib=2.0", "spelltool=1.0"])]
    assert "spelltool=1.0" in spell("info", 1, check=0).stdout and info(spell, 1)["apt"] == ["spelltool"]
    # It is nobody's to change.
    assert run("--apt", "spelltool", "for path in /usr /etc /var/lib; do touch $path/x 2> /dev/null || echo refused; done; touch /var/tmp/spell-x && rm /var/tmp/spell-x",
               check=0).stdout == "refused\n" * 3
    assert spell("ls", "runs/1", check=0).stdout.strip() == ""
    # This machine is as it was, and a run that asks for nothing has it.
    assert System() == before, before.differences(System())
    assert spell("run", "test -e /usr/lib/os-release && ! which spelltool", cwd=repo).returncode == 0


def test_nothing_of_the_machine_s_own_is_taken_along(place, run, repository):
    repository.add("spelluser", "1.0", postinst="echo 'spell:x:999:' >> /etc/group\necho 'spell:!::' >> /etc/gshadow\nchmod 600 /etc/shadow\n")
    run("--apt", "spelluser", "grep ^spell: /etc/group", check=0)
    tree, = [path for path in found_below(place.spell_dir, "system-*") if path.is_dir()]
    assert (tree / "root/etc/group").exists()
    kept = {str(path.relative_to(tree / "root")) for path in (tree / "root").rglob("*")}
    assert not kept & {"etc/shadow", "etc/gshadow", "var/log", "var/cache", "var/lib/apt/lists", "etc/resolv.conf", "usr/sbin/policy-rc.d"}
    assert (tree / "root/etc/group").stat().st_mode & 0o7777 == 0o644


def test_pip_and_setup_find_the_packages(spell, run, repository):
    repository.add("spellpython", "1.0", {"usr/bin/spellpython": "#!/bin/sh\nexec /usr/bin/python3 \"$@\"\n"})
    setup = "spelltool > said; spellpython -c 'print(1)' >> said"
    both = ["--apt", "spelltool", "--apt", "spellpython", "--setup", setup]
    assert run(*both, "cat $SPELL_ENV/said; spelltool", check=0).stdout == "tool 1.0\n1\ntool 1.0\n"
    assert [layer[0] for layer in packages(spell, 1)] == ["apt", "setup"]
    assert run(*both, "cat $SPELL_ENV/said", check=0) and not built(spell, 2)
    # Upon other packages it is another one.
    other = run("--apt", "spelltool", "--setup", setup, "true", check=125)
    assert "spellpython: command not found" in other.stderr


def test_a_rerun_has_what_the_run_had_and_refresh_what_is_newest(spell, run, repository):
    run("--apt", "spelltool", "spelltool", check=0)
    repository.add("spelltool", "1.1", {"usr/bin/spelltool": "#!/bin/sh\necho tool 1.1\n"}, Depends="spelllib")
    assert run("--apt", "spelltool", "spelltool", check=0).stdout == "tool 1.0\n"
    assert run("--apt", "spelltool", "--refresh-env", "spelltool", check=0).stdout == "tool 1.1\n"
    assert run("--apt", "spelltool", "spelltool", check=0).stdout == "tool 1.1\n"
    assert packages(spell, 4) == [("apt", ["spelllib=2.0", "spelltool=1.1"])]
    # What it had is not kept any more: it is built of these versions.
    assert spell("rerun", 1, check=0, timeout=BUILDS).stdout == "tool 1.0\n" and built(spell, 5)
    assert spell("rerun", 5, check=0, timeout=BUILDS).stdout == "tool 1.0\n" and not built(spell, 6)
    assert spell("rerun", 4, check=0, timeout=BUILDS).stdout == "tool 1.1\n" and not built(spell, 7)
    assert run("--apt", "spelltool=1.0", "spelltool", check=0).stdout == "tool 1.0\n"
    # A version that the distribution has no more.
    name, = [layer["name"] for layer in info(spell, 5)["environment"]]
    spell("env", "rm", name, check=0)
    repository.drop("spelltool", "1.0")
    spell("rerun", 1, check=125, timeout=BUILDS)
    assert "Version '1.0' for 'spelltool' was not found" in info(spell, 9)["reason"]


def test_a_package_that_does_not_exist(spell, run):
    before = System()
    failed = run("--apt", "no-such-package-here", "echo never", check=125)
    assert "never" not in failed.stdout
    record = info(spell, 1)
    assert (record["status"], record["reason_code"]) == ("build_failed", "build_failed")
    assert "apt failed (exit code 100): E: Unable to locate package no-such-package-here" in record["reason"]
    # A name is no pattern, where there is no such package either.
    assert run("--apt", "spell.ool", "true", check=125) and "Unable to locate package spell.ool" in info(spell, 2)["reason"]
    assert spell("env", "list", "--json", check=0).json["environments"] == [] and System() == before


def test_a_package_that_cannot_be_installed(spell, run, repository):
    repository.add("spellbroken", "1.0", postinst="echo what is wrong >&2\nexit 7\n")
    repository.add("spelllost", "1.0", Depends="no-such-dependency")
    before = System()
    run("--apt", "spellbroken", "true", check=125)
    assert "apt failed (exit code 100): dpkg: error processing package spellbroken" in info(spell, 1)["reason"] and "what is wrong" in log_of(spell, 1)
    run("--apt", "spelllost", "true", check=125)
    assert "no-such-dependency" in info(spell, 2)["reason"]
    assert System() == before


@pytest.mark.parametrize("package", ["", "-y", "--allow-unauthenticated", "-oDpkg::Pre-Invoke::=id", "./x.deb", "/tmp/x.deb", "sl/sid", "sl-", "s*", "?all", "~nsl", "sl^", "sl;id", "sl id",
                                     "$(id)", "sl\nid", "SL", "sl=", "sl=1 2", "sl:"])
def test_what_is_no_name_of_a_package_is_refused(place, repo, package):
    refused = place.spell("run", f"--apt={package}", "true", cwd=repo)
    assert refused.returncode in (1, 2) and "apt" in refused.stderr, refused
    assert place.spell("ps", "--json", check=0).json["runs"] == []


@pytest.mark.parametrize("what", ["run", "worker"])
def test_a_build_that_is_killed_leaves_the_machine_as_it_was(place, spell, run, repository, repo, what):
    slow = f"sleep 98764.{os.getpid()}{what == 'run':d}"  # of this test alone
    repository.add("spellslow", "1.0", {"usr/bin/spellslow": "#!/bin/sh\n"}, postinst=f"echo begun\n{slow}\n")
    before = System()
    running = place.start("run", "--apt", "spellslow", "true", cwd=repo)
    running.wait_output("begun", stream="stderr")
    if what == "run":
        spell("kill", 1, check=0)
        running.finish()
    else:
        supervisors = [pid for pid, line in processes_of(place.root).items() if "spell-supervisor" in line]
        for pid in [place.service_pid(), *supervisors]:
            os.kill(pid, signal.SIGKILL)
        spell("kill", 1, check=0)
        spell("wait", 1)
    wait_for(lambda: subprocess.run(["pgrep", "-xf", slow], stdout=subprocess.DEVNULL).returncode == 1, what="the build's end")
    assert System() == before, before.differences(System())
    assert spell("env", "list", "--json", check=0).json["environments"] == []
    assert run("--apt", "spelltool", "spelltool", check=0).stdout == "tool 1.0\n"


def test_a_damaged_layer_is_found_and_fetched_anew(place, spell, run):
    run("--apt", "spelltool", "true", check=0)
    spell("fsck", check=0)
    tree, = [path for path in found_below(place.spell_dir, "system-*") if path.is_dir()]
    (tree / "root/usr/share/spelltool/version").write_text("broken\n")
    found = spell("fsck")
    assert "is not as it was made" in found.stdout + found.stderr
    assert run("--apt", "spelltool", "spelltool; test -e /usr/lib/os-release || echo gone", check=0).stdout == "tool 1.0\ngone\n"
    assert not built(spell, 2)


def test_another_machine_fetches_what_one_has_built(boxes, repo):
    team, box, spare = boxes
    for name in ("box", "spare"):
        ended = machines.spell(team, "run", "-t", name, "--apt", "spelltool", "spelltool; test -e /usr/lib/os-release || echo gone", cwd=repo, timeout=BUILDS, check=0)
        assert ended.stdout == "tool 1.0\ngone\n"
    log = machines.spell(team, "logs", "-v", 2, check=0).stderr
    assert "Retrieving cached environment…" in log and "Building the environment" not in log
    # Two that begin at once, on two machines.
    numbers = [machines.spell(team, "run", "-b", "-t", name, "--apt", "spelllib", "cat /etc/spelllib", cwd=repo, check=0).stdout.strip() for name in ("box", "spare")]
    machines.spell(team, "wait", *numbers, timeout=BUILDS, check=0)
    assert sum("Building the environment" in machines.spell(team, "logs", "-v", number, check=0).stderr for number in numbers) == 1


def test_a_run_with_a_user_of_its_own(place, repository, repo):
    team = Team(place)
    box = machines.Machine(team, "own", users=True)
    try:
        shown = machines.spell(team, "machine", "info", "own", "--json", check=0).json["machine"]
        if shown["capabilities"]["isolation"] != "users":
            pytest.skip(f"runs cannot have users of their own here: {shown['notes']}")
        command = "id -u; spelltool; cat $SPELL_ENV/said; (echo x > /usr/x) 2> /dev/null || echo refused; touch /tmp/x /var/tmp/x"
        ended = machines.spell(team, "run", "-t", "own", "--apt", "spelltool", "--setup", "spelltool > said; id -u >> said", command, cwd=repo, timeout=BUILDS, check=0)
        assert re.fullmatch(r"[1-9]\d*\ntool 1\.0\ntool 1\.0\n[1-9]\d*\nrefused\n", ended.stdout), ended
    finally:
        box.close()


def test_a_machine_that_cannot_says_so_and_is_given_no_such_run(repo):
    other = Place(prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"], own_programs=True)
    try:
        for folder in (other.root, other.spell_dir, other.home, other.work):
            os.chown(folder, 65534, 65534)
        said = lacks_for_packages(other)
        assert "root" in said or "namespaces" in said
        refused = other.spell("run", "-f", "--json", "--apt", "sl", "true", check=2)
        assert '"not_available"' in refused.stderr and said in refused.stderr and "can have apt packages: " in refused.stderr
        assert other.spell("ps", "--json", check=0).json["runs"] == []
    finally:
        assert not other.close()


def test_defaults_of_a_project(place, spell, repo, run):
    (repo / "spell.toml").write_text('apt = ["spelltool"]\n')
    assert run("-f", "spelltool", check=0).stdout == "tool 1.0\n"
    assert run("-f", "--apt", "spelllib", "which spelltool || cat /etc/spelllib", check=0).stdout == "configured\n"


def test_a_package_of_the_distribution_itself(repo):
    if why := apt.no_mirror():
        pytest.skip(why)
    plain = Place()
    try:
        before = System()
        repo = plain.make_repository()
        ended = plain.spell("run", "--apt", "sl", "which sl; dpkg-query -W -f '${Version}\\n' sl", cwd=repo, timeout=BUILDS, check=0)
        path, version = ended.stdout.splitlines()
        assert path == "/usr/games/sl"
        record = plain.spell("info", 1, "--json", check=0).json["run"]
        assert f"sl={version}" in record["environment"][0]["packages"]  # and what it needs, where that is missing
        assert plain.spell("run", "--apt", "sl", "test -x /usr/games/sl", cwd=repo, timeout=BUILDS, check=0)
        assert not os.path.exists("/usr/games/sl") and System() == before, before.differences(System())
    finally:
        assert not plain.close()


def test_what_makes_an_environment_again(spell, repo, run, repository):
    run("--apt", "spelltool", "--setup", "spelltool > said", "true", check=0)
    exported = spell("env", "export", 1, check=0).stdout
    assert exported == 'apt = [\n  "spelllib=2.0",\n  "spelltool=1.0",\n]\nsetup = "spelltool > said"\n'
    assert spell("env", "export", 1, "--json", check=0).json["environment"] == {"image": "", "apt": ["spelllib=2.0", "spelltool=1.0"], "conda_file": "", "pip": [],
                                                                                        "setup": "spelltool > said", "env": {}}
    repository.add("spelltool", "1.1", {"usr/bin/spelltool": "#!/bin/sh\necho tool 1.1\n"}, Depends="spelllib")
    (repo / "spell.toml").write_text(exported)
    assert run("-f", "cat $SPELL_ENV/said", check=0).stdout == "tool 1.0\n"
    assert packages(spell, 2)[0] == ("apt", ["spelllib=2.0", "spelltool=1.0"])
