"""Environments: packages and setup commands of runs, built once and shared. The packages are wheels made here; no index is asked."""
import base64
import hashlib
import os
import re
import shutil
import signal
import subprocess
import zipfile

import pytest

import machines
from environments import built, info, log_of
from harness import PATIENCE, found_below, processes_of, wait_for

pytestmark = pytest.mark.skipif(subprocess.run(["/usr/bin/python3", "-c", "import ensurepip, venv"]).returncode != 0,
                                reason="this machine has no python3-venv")
BUILDS = 180  # seconds: pip takes its time


def make_wheel(folder, name, version, source="", requires=()):
    """A wheel of one module, as the format's description has it."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {f"{name}.py": f"version = '{version}'\n{source}",
             f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(f"Requires-Dist: {one}\n" for one in requires),
             f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
             f"{info}/entry_points.txt": f"[console_scripts]\n{name}-says = {name}:says\n"}
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


@pytest.fixture
def wheels(place):
    folder = place.work / "wheels"
    make_wheel(folder, "spelltoy", "1.0", "def says():\n    print('toy', version)\n")
    make_wheel(folder, "spelltwo", "2.0", "def says():\n    print('two')\n", requires=["spelltoy"])
    return folder


@pytest.fixture
def boxes(team):
    """Two machines of a team's service."""
    made = [machines.Machine(team, name) for name in ("box", "spare")]
    yield made
    for machine in made:
        machine.close()


@pytest.fixture
def run(spell, repo, wheels):
    """`spell run` with the wheels as all that pip knows."""
    def submit(*arguments, cwd=repo, **options):
        return spell("run", "-e", "PIP_NO_INDEX=1", "-e", f"PIP_FIND_LINKS={wheels}", *arguments, cwd=cwd, timeout=BUILDS, **options)
    return submit


TOY = 'python3 -c "import spelltoy; print(spelltoy.version)"'


def test_a_package_is_built_once_and_shared(spell, repo, run):
    first = run("--pip", "spelltoy", TOY, check=0)
    assert first.stdout == "1.0\n"
    log = log_of(spell, 1)
    assert "Building the environment: pip install spelltoy" in log and "Successfully installed spelltoy-1.0" in log
    assert "Environment built: " in log
    # Another command, another commit: the same environment.
    (repo / "hello.txt").write_text("changed\n")
    assert run("--pip", "spelltoy", "spelltoy-says; which python; echo $VIRTUAL_ENV $SPELL_ENV", check=0).stdout == (
        "toy 1.0\n/spell-env/venv/bin/python\n/spell-env/venv /spell-env\n")
    log = log_of(spell, 2)
    assert "Retrieving cached environment…" in log and "Building the environment" not in log
    layers = [info(spell, number)["environment"] for number in (1, 2)]
    assert layers[0] == layers[1] and layers[0][0]["packages"] == ["spelltoy==1.0"] and layers[0][0]["method"] == "pip"
    assert "spelltoy==1.0" in spell("info", 1, check=0).stdout
    # It is nobody's to change, and no output.
    assert run("--pip", "spelltoy", "touch /spell-env/x 2> /dev/null || echo refused", check=0).stdout == "refused\n"
    assert spell("ls", "runs/1", check=0).stdout.strip() == ""
    # Nothing of it is there for who asks for nothing.
    assert spell("run", f"{TOY} || ls /spell-env", cwd=repo).returncode != 0


def test_requirements_count_by_their_content(place, spell, repo, run):
    (repo / "req").mkdir()
    (repo / "req/all.txt").write_text("# what is needed\n-r more.txt\nspelltwo == 2.0  # with a comment\n")
    (repo / "req/more.txt").write_text("spelltoy\n")
    place.git("add", ".", cwd=repo)
    place.git("commit", "-qm", "requirements", cwd=repo)
    assert run("--pip-req", "req/all.txt", "spelltwo-says", check=0).stdout == "two\n"
    assert sorted(info(spell, 1)["environment"][0]["packages"]) == ["spelltoy==1.0", "spelltwo==2.0"]
    # Comments, code, the file's place and the folder do not count; the snapshot of what is not committed does.
    (repo / "req/all.txt").write_text("-r ../other.txt\n\nspelltwo == 2.0\n")
    (repo / "req/more.txt").rename(repo / "other.txt")
    place.git("add", ".", cwd=repo)
    assert run("--pip-req", "all.txt", "spelltwo-says", cwd=repo / "req", check=0).stdout == "two\n"
    assert not built(spell, 2)
    (repo / "req/all.txt").write_text("spelltoy\n")
    assert run("--pip-req", "req/all.txt", TOY, check=0).stdout == "1.0\n"
    assert built(spell, 3)
    assert (info(spell, 3)["requirements"], info(spell, 3)["pip"]) == ("req/all.txt", [])


@pytest.mark.parametrize("text,said", [("/etc/passwd", "is a path"), ("./local", "is a path"), ("-r ../../x", "is not a file of the repository"),
                                       ("-r /etc/x", "is not a file of the repository"), ("-e .", "editable"), ("-c other.txt", "-c is not"),
                                       ("-r none.txt", "none.txt is not in the commit"), ("-r req.txt", "names itself"),
                                       ("x @ file:///x", "is a path"), ("--find-links wheels", "--find-links needs"), ("# nothing", "asks for no package")])
def test_wrong_requirements_are_refused_before_anything_runs(place, spell, repo, run, text, said):
    (repo / "req.txt").write_text(f"\n{text}\n")
    place.git("add", ".", cwd=repo)
    refused = run("--json", "--pip-req", "req.txt", "true", check=1)
    assert '"invalid_requirements"' in refused.stderr and said in refused.stderr
    assert spell("ps", "--json", check=0).json["runs"] == []


def test_a_requirements_file_that_is_not_there(spell, repo, run):
    assert "no such file in the commit" in run("--pip-req", "none.txt", "true", check=1).stderr
    (repo / "loose.txt").write_text("spelltoy\n")
    assert "commit it first" in run("-f", "--pip-req", "loose.txt", "true", check=1).stderr
    assert "is not a file of the repository" in run("--pip-req", "../x", "true", check=1).stderr
    assert run("--pip-req", "/etc/passwd", "true").returncode != 0


@pytest.mark.parametrize("options,said", [(["--pip", "./x"], "is a path"), (["--pip", "--no-deps"], "pip"), (["--pip", ""], "empty"),
                                          (["--setup", "  "], "give a command"), (["--refresh-env"], "--refresh-env needs"),
                                          (["--pip-req", ""], "give a file"), (["--stop-condition", "x"], "not available"), (["--conda-file", ""], "give a file")])
def test_wrong_options(spell, repo, options, said):
    refused = spell("run", *options, "true", cwd=repo)
    assert refused.returncode in (1, 2) and said in refused.stderr
    assert spell("ps", "--json", check=0).json["runs"] == []


def test_a_package_that_does_not_exist(spell, run):
    failed = run("--pip", "no-such-package-here", "echo never", check=125)
    assert "never" not in failed.stdout
    record = info(spell, 1)
    assert (record["status"], record["reason_code"]) == ("build_failed", "build_failed")
    assert "pip failed (exit code 1): ERROR:" in record["reason"] and "no-such-package-here" in record["reason"]
    assert "No matching distribution found for no-such-package-here" in log_of(spell, 1)
    # It leaves nothing that is taken for good.
    assert spell("env", "list", "--json", check=0).json["environments"] == [] and record["environment"] == []
    run("--pip", "no-such-package-here", "true", check=125)
    assert built(spell, 2)


def test_setup_is_built_once_on_what_pip_has_left(spell, repo, run):
    setup = 'echo "$PWD $SPELL_ENV"; ls /spell | head -n 3; python -c "import spelltoy" && echo made > there; mkdir bin; printf "#!/bin/sh\\necho tool" > bin/tool; chmod +x bin/tool'
    assert run("--pip", "spelltoy", "--setup", setup, "cat $SPELL_ENV/there; tool; spelltoy-says", check=0).stdout == "made\ntool\ntoy 1.0\n"
    log = log_of(spell, 1)
    assert "/spell-env /spell-env" in log and "hello.txt" not in log
    assert run("--pip", "spelltoy", "--setup", setup, "tool", check=0).stdout == "tool\n"
    assert not built(spell, 2)
    assert run("--pip", "spelltoy", "true", check=0) and not built(spell, 3)
    assert [layer["method"] for layer in info(spell, 2)["environment"]] == ["pip", "setup"]
    assert run("--setup", "echo alone > x", "cat /spell-env/x; ls /spell-env", check=0).stdout == "alone\nx\n"
    assert run("--setup", "echo out; echo what is wrong >&2; exit 7", "true", check=125)
    assert "the setup command failed (exit code 7): what is wrong" in info(spell, 5)["reason"]


def test_a_rerun_has_what_the_run_had_and_refresh_what_is_newest(spell, run, wheels):
    run("--pip", "spelltoy", TOY, check=0)
    make_wheel(wheels, "spelltoy", "1.1", "def says():\n    print('toy', version)\n")
    assert run("--pip", "spelltoy", TOY, check=0).stdout == "1.0\n"
    assert run("--pip", "spelltoy", "--refresh-env", TOY, check=0).stdout == "1.1\n"
    assert run("--pip", "spelltoy", TOY, check=0).stdout == "1.1\n"
    assert [info(spell, number)["environment"][0]["packages"] for number in (1, 2, 3, 4)] == [["spelltoy==1.0"]] * 2 + [["spelltoy==1.1"]] * 2
    assert spell("rerun", 1, check=0, timeout=BUILDS).stdout == "1.0\n"
    assert spell("rerun", 4, check=0, timeout=BUILDS).stdout == "1.1\n" and not built(spell, 6)
    assert spell("rerun", 5, check=0, timeout=BUILDS).stdout == "1.0\n" and not built(spell, 7)


def test_many_at_once_build_it_once(spell, repo, wheels):
    numbers = [spell("run", "-b", "-e", "PIP_NO_INDEX=1", "-e", f"PIP_FIND_LINKS={wheels}", "--pip", "spelltoy", TOY, cwd=repo, check=0).stdout.strip()
               for _ in range(20)]
    spell("wait", *numbers, check=0, timeout=BUILDS)
    assert [spell("logs", number, check=0).stdout for number in numbers] == ["1.0\n"] * 20
    assert sum(built(spell, number) for number in numbers) == 1


def test_a_build_that_is_killed_leaves_nothing_and_nobody(place, spell, repo):
    running = place.start("run", "--setup", "echo begun; sleep 98761 & sleep 98762", "true", cwd=repo)
    running.wait_output("begun", stream="stderr")
    other = spell("run", "-b", "--setup", "echo begun; sleep 98761 & sleep 98762", "true", cwd=repo, check=0).stdout.strip()
    wait_for(lambda: "Waiting for run 1" in log_of(spell, other), what="the other run to wait")
    assert "is in use" in spell("env", "rm", spell("env", "list", "-q", check=0).stdout.strip(), check=1).stderr
    spell("kill", 1, check=0)
    running.finish()
    assert info(spell, 1)["status"] == "killed"
    # The next one builds it itself.
    wait_for(lambda: built(spell, other), what="the other run to build")
    spell("kill", other, check=0)
    spell("wait", other)
    wait_for(lambda: not [line for line in processes_of(place.root).values() if "9876" in line], what="the build's end")
    assert spell("env", "list", "--json", check=0).json["environments"] == []


def test_a_build_that_hangs(spell, repo):
    ended = spell("run", "--timeout", "0.05", "--setup", "echo begun; exec sleep 98763", "true", cwd=repo, check=125)
    assert "begun" in ended.stderr and "it took longer than 3 s" in info(spell, 1)["reason"]
    assert info(spell, 1)["status"] == "build_failed"


def test_the_service_is_killed_during_a_build(place, spell, repo):
    go = place.work / "go"
    command = f"echo begun; while [ ! -e {go} ]; do sleep 0.05; done; echo made > there"
    running = place.start("run", "--setup", command, "cat /spell-env/there", cwd=repo)
    running.wait_output("begun", stream="stderr")
    os.kill(place.service_pid(), signal.SIGKILL)
    spell("ps", check=0)
    go.touch()
    assert running.finish(BUILDS).stdout == "made\n"
    assert spell("run", "--setup", command, "cat /spell-env/there", cwd=repo, check=0).stdout == "made\n"
    assert not built(spell, 2)


def test_a_damaged_environment_is_found_and_built_anew(place, spell, repo, run):
    run("--pip", "spelltoy", TOY, check=0)
    spell("fsck", check=0)
    tree, = [path for path in found_below(place.spell_dir, "layer-*") if path.is_dir()]
    (tree / "venv/lib").chmod(0o755)
    module, = found_below(tree, "spelltoy.py")
    module.write_text("version = 'broken'\n")
    found = spell("fsck")
    assert "is not as it was made" in found.stdout + found.stderr
    assert run("--pip", "spelltoy", TOY, check=0).stdout == "1.0\n"
    assert not built(spell, 2)  # of what the service keeps


def test_list_info_rm(spell, run):
    assert spell("env", "list", check=0).stdout.splitlines()[:1] != [""]
    run("--pip", "spelltoy", "true", check=0)
    run("--setup", "echo x > x", "true", check=0)
    listed = spell("env", "list", "--json", check=0).json["environments"]
    assert [(layer["method"], layer["made_of"], layer["state"], layer["runs"]) for layer in listed] == [
        ("setup", "echo x > x", "ready", []), ("pip", "spelltoy", "ready", [])]
    name = listed[1]["name"]
    assert name[:12] in spell("env", "list", check=0).stdout
    assert "spelltoy==1.0" in spell("env", "info", name[:8], check=0).stdout
    assert spell("env", "info", name, "--json", check=0).json["environment"]["packages"] == ["spelltoy==1.0"]
    assert "is removed" in spell("env", "rm", name[:8], check=0).stdout
    assert "environment_not_found" in spell("env", "info", name, "--json", check=1).stderr
    run("--pip", "spelltoy", TOY, check=0)
    assert built(spell, 3) and info(spell, 1)["environment"][0]["packages"] == ["spelltoy==1.0"]


def test_another_machine_fetches_what_one_has_built(team, boxes, repo, wheels):
    box, spare = boxes
    options = ["-e", "PIP_NO_INDEX=1", "-e", f"PIP_FIND_LINKS={wheels}", "--pip", "spelltoy", TOY]
    assert machines.spell(team, "run", "-t", "box", *options, cwd=repo, timeout=BUILDS, check=0).stdout == "1.0\n"
    assert machines.spell(team, "run", "-t", "spare", *options, cwd=repo, timeout=BUILDS, check=0).stdout == "1.0\n"
    log = machines.spell(team, "logs", "-v", 2, check=0).stderr
    assert "Retrieving cached environment…" in log and "Building the environment" not in log
    # Two that begin at once, on two machines.
    options = ["--setup", "echo once; sleep 1; date +%N > made", "cat /spell-env/made"]
    numbers = [machines.spell(team, "run", "-b", "-t", name, *options, cwd=repo, check=0).stdout.strip() for name in ("box", "spare")]
    machines.spell(team, "wait", *numbers, timeout=BUILDS, check=0)
    made = {machines.spell(team, "logs", number, check=0).stdout for number in numbers}
    assert len(made) == 1 and re.fullmatch(r"\d+\n", made.pop())


def test_a_worker_that_is_killed_during_a_build(team, boxes, repo):
    box, _ = boxes
    count = team.place.work / "count"
    command = f"echo x >> {count}; while [ ! -e {team.place.work}/go ]; do sleep 0.05; done; echo made > there"
    number = machines.spell(team, "run", "-b", "-t", "box", "--setup", command, "cat /spell-env/there", cwd=repo, check=0).stdout.strip()
    wait_for(lambda: count.exists(), what="the build")
    box.kill()
    wait_for(lambda: count.read_text() == "x\n")
    box.start()
    wait_for(lambda: count.read_text() == "x\nx\n", what="the build anew")
    (team.place.work / "go").touch()
    machines.spell(team, "wait", number, check=0, timeout=BUILDS)
    assert machines.spell(team, "logs", number, check=0).stdout == "made\n"


def test_defaults_of_a_project(place, spell, repo, run):
    (repo / "spell.toml").write_text('pip_req = "sub/../requirements.txt"\nlabels = ["of-the-project"]\nenv = {COLOUR = "red", SIZE = "1"}\ntimeout = 30\nauto_resume = true\n')
    (repo / "requirements.txt").write_text("spelltoy\n")
    place.git("add", ".", cwd=repo)
    place.git("commit", "-qm", "defaults", cwd=repo)
    ended = run("-e", "SIZE=2", f"{TOY}; echo $COLOUR $SIZE", cwd=repo / "sub", check=0)
    assert ended.stdout == "1.0\nred 2\n"
    record = info(spell, 1)
    assert (record["labels"], record["timeout"], record["auto_resume"], record["requirements"]) == (["of-the-project"], 1800, True, "../requirements.txt")
    other = run("--label", "mine", "--disable-auto-resume", "--timeout", "1", "true", check=0)
    record = info(spell, 2)
    assert (record["labels"], record["timeout"], record["auto_resume"]) == (["mine"], 60, False), other
    for options in (["--no-defaults"], ["-c", "HEAD"]):
        run(*options, "true", check=0)
    assert [info(spell, number)["labels"] for number in (3, 4)] == [[], []]


@pytest.mark.parametrize("text,said", [("x = 1", "line 1: x is not known"), ("\npip = 3", "line 2: pip must be a list of texts"), ("pip = [1]", "pip must be"),
                                       ("timeout = 'x'", "timeout must be a number"), ("[broken", "line 1"), ("pip_req = '../x'", "is not a file of the repository"),
                                       ("pip_req = '/etc/passwd'", "is not a file of the repository"), ("mounts = ['/etc']", "is a path of a computer"),
                                       ("mounts = ['./x']", "is a path of a computer"), ("mounts = ['machine:/data']", "is a path of a computer"),
                                       ("mounts = ['s3://x/y']", "not available"), ("env = ['A=1']", "env must be a table"), ("save_all = 1", "save_all must be true or false")])
def test_wrong_defaults_are_refused_with_file_and_line(spell, repo, text, said):
    (repo / "spell.toml").write_text(text + "\n")
    refused = spell("run", "-f", "true", cwd=repo, check=3)
    assert "spell.toml, line " in refused.stderr and said in refused.stderr
    assert spell("run", "-f", "--no-defaults", "true", cwd=repo, check=0)


def test_defaults_that_are_no_plain_file(spell, repo):
    (repo / "spell.toml").symlink_to("/etc/passwd")
    assert "is not a plain file" in spell("run", "-f", "true", cwd=repo, check=3).stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="users of their own take root")
def test_a_build_has_the_user_of_its_run(team, repo):
    box = machines.Machine(team, "own", users=True)
    try:
        shown = machines.spell(team, "machine", "info", "own", "--json", check=0).json["machine"]
        if shown["capabilities"]["isolation"] != "users":
            pytest.skip(f"runs cannot have users of their own here: {shown['notes']}")
        options = ["-t", "own", "--setup", "id -u > who; /usr/bin/python3 -m venv --without-pip venv", "cat $SPELL_ENV/who; id -u; which python; ls -ld /spell-env/who"]
        for _ in range(2):
            built, own, python, listed = machines.spell(team, "run", *options, cwd=repo, timeout=BUILDS, check=0).stdout.splitlines()
            assert int(built) > 0 and int(own) > 0 and python == "/spell-env/venv/bin/python" and listed.startswith("-rw-r--r-- ")
    finally:
        box.close()


def test_what_makes_an_environment_again(spell, repo, run, wheels):
    run("--pip", "spelltoy", "--setup", "echo made > there", TOY, check=0)
    exported = spell("env", "export", 1, check=0).stdout
    assert exported == f'pip = [\n  "spelltoy==1.0",\n]\nsetup = "echo made > there"\n[env]\nPIP_FIND_LINKS = "{wheels}"\nPIP_NO_INDEX = "1"\n'
    make_wheel(wheels, "spelltoy", "1.1", "def says():\n    print('toy', version)\n")
    (repo / "spell.toml").write_text(exported)
    assert spell("run", "-f", f"{TOY}; cat $SPELL_ENV/there", cwd=repo, timeout=BUILDS, check=0).stdout == "1.0\nmade\n"
    spell("run", "-f", "--no-defaults", "true", cwd=repo, check=0)
    assert "asked for no environment" in spell("env", "export", 3, check=1).stderr
    assert "environment_not_found" in spell("env", "export", 3, "--json", check=1).stderr
    run("--pip", "no-such-package-here", "true", "--no-defaults", check=125)
    assert "was not given the pip part of its environment" in spell("env", "export", 4, check=1).stderr
    assert "run_not_found" in spell("env", "export", 99, "--json", check=1).stderr
    assert spell("env", "export", "x").returncode != 0 and spell("env", "export").returncode == 2


def test_packages_of_npm_by_a_setup_command(spell, repo):
    if not shutil.which("npm") or subprocess.run(["npm", "view", "left-pad@1.3.0", "version"], capture_output=True, timeout=BUILDS).returncode != 0:
        pytest.skip("there is no npm here, or its registry cannot be reached")
    use = "node -e 'console.log(require(process.env.SPELL_ENV + \"/node_modules/left-pad\")(\"x\", 5))'"
    registry = subprocess.run(["npm", "config", "get", "registry"], capture_output=True, text=True).stdout.strip()
    asked = ("run", "-e", f"npm_config_registry={registry}", "--setup", "npm install left-pad@1.3.0", use)
    assert spell(*asked, cwd=repo, timeout=BUILDS, check=0).stdout == "    x\n"
    assert spell(*asked, cwd=repo, check=0).stdout == "    x\n" and not built(spell, 2)
