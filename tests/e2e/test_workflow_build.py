"""Programs of workflows that are built on their machine."""
import json
import os
import re
import shutil

import pytest

from faults import await_service, kill_and_wait, kill_service, run_folders
from harness import BUILD, PATIENCE, SOURCE, Place, processes_of, wait_for
from machines import Machine
from machines import spell as team_spell

if not (shutil.which("cmake") and shutil.which("c++")):
    pytest.skip("there are no cmake and C++ compiler", allow_module_level=True)
if not (BUILD / "sdk/lib/libspell.a").exists():
    pytest.skip("this build has no SDK (its libraries are shared ones)", allow_module_level=True)

C_PROJECT = "cmake_minimum_required(VERSION 3.20)\nproject(p LANGUAGES C)\n"
PRINTS = '#include <stdio.h>\nint main(int n, char** a) {{ for (int i = 1; i < n; ++i) printf("[%s]", a[i]); puts("{}"); return 0; }}\n'
PIPELINE = r"""
#include <spell/spell.hpp>
#include <iostream>
int main() try {
  auto client = spell::Client::from_environment().value();
  auto flow = spell::Workflow::current_or_create(client).value();
  flow.run("child", {.command = "echo of the child > out"}).value().wait_success().value();
  std::cout << "in workflow " << flow.id() << "\n";
} catch (const spell::Error& e) {
  std::cerr << e << "\n";
  return 1;
}
"""


@pytest.fixture
def place(place):
    """Where runs have no fence of their own nothing is built."""
    place.spell("run", "-f", "true", check=0)
    machine = place.spell("status", "--json", check=0).json["service"]["machines"][0]
    if machine["capabilities"]["lacks_for_builds"]:
        pytest.skip(f"nothing can be built here: no {machine['capabilities']['lacks_for_builds']}")
    return place


def project(folder, lists, **files):
    folder.mkdir(exist_ok=True)
    (folder / "CMakeLists.txt").write_text(lists)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def create(place, *options, check=None):
    return place.spell("workflow", "create", *options, check=check, timeout=3 * PATIENCE)


def manager(place, number):
    found = place.spell("workflow", "info", number, "--json", check=0).json["workflow"]
    return place.spell("info", found["run"], "--json", check=0).json["run"]


def log_of(place, number):
    log = place.spell("logs", "-v", manager(place, number)["id"], check=0)
    return log.stdout + log.stderr


def test_a_program_of_the_sdk_is_built_once(place, tmp_path):
    page = re.search(r"\n\n(    find_package\(spell .*?)\n\n", (SOURCE / "docs/workflows.md").read_text(), re.S)[1]
    source = project(tmp_path / "flow", "cmake_minimum_required(VERSION 3.20)\nproject(flow LANGUAGES CXX)\n" + page, pipeline_cpp=PIPELINE)
    (source / "build").mkdir()
    (source / "build/CMakeCache.txt").write_text("of another machine\n")
    done = create(place, "--build", f"{source}:pipeline", check=0)
    assert done.stdout == "in workflow 1\n", done
    run = manager(place, 1)
    assert run["status"] == "complete" and run["output_files"] == 0, run
    assert "Run is building" in log_of(place, 1) and "Program built with" in log_of(place, 1)
    sent = place.spell("ls", "--json", "uploads/workflows/1/source", check=0).json["entries"]
    assert [entry["path"] for entry in sent] == ["CMakeLists.txt", "pipeline.cpp"], sent  # not the folder of another build
    again = create(place, "--build", source, check=0)  # the same target by its place
    assert again.stdout == "in workflow 2\n" and "Program built with" in log_of(place, 2)
    third = create(place, "--build", source, check=0)
    assert third.stdout == "in workflow 3\n" and "Program built before" in log_of(place, 3)
    (source / "pipeline.cpp").write_text(PIPELINE.replace("in workflow", "changed, in workflow"))
    assert create(place, "--build", source, check=0).stdout == "changed, in workflow 4\n"


def test_what_cannot_be_built_says_why(place, tmp_path):
    def failed(*words, **project_of):
        done = create(place, "--build", project(tmp_path / "p", **project_of))
        number = place.spell("workflow", "list", "-q", check=0).stdout.split()[-1]
        run = manager(place, number)
        assert done.returncode != 0 and run["status"] == "build_failed" and run["reason_code"] == "build_failed", (done, run)
        assert "\n" not in run["reason"] and all(word in run["reason"] for word in words), run
        assert place.spell("workflow", "info", number, "--json", check=0).json["workflow"]["status"] == "build_failed"
        return log_of(place, number)
    log = failed("main.c", "error", lists=C_PROJECT + "add_executable(p main.c)\n", main_c="int main(void) { return nothing; }\n")
    assert "‘nothing’ undeclared" in log
    failed("CMake Error", lists=C_PROJECT + "find_package(nobody REQUIRED)\n")
    failed("no program", lists=C_PROJECT)
    two = C_PROJECT + "add_executable(one main.c)\nadd_executable(two main.c)\n"
    failed("several programs: one, two", lists=two, main_c=PRINTS.format("hello"))
    done = create(place, "--build", f"{tmp_path / 'p'}:two", "--", "a b", check=0)
    assert done.stdout == "[a b]hello\n", done


def test_what_is_no_project_starts_nothing(place, tmp_path):
    for options, status, word in ((("--build", tmp_path), 1, "no CMake project"), (("--build", "nowhere:x"), 1, "no CMake project"),
                                  (("--build", tmp_path, "--program", "x"), 2, "give one of them"), (("--local", "--build", tmp_path), 2, "--build is for")):
        refused = create(place, *options, check=status)
        assert word in refused.stderr, refused
    project(tmp_path, C_PROJECT)
    assert "CMake target" in create(place, "--build", f"{tmp_path}:a b", check=1).stderr
    assert place.spell("workflow", "list", "--json", check=0).json == {"workflows": []}


def gated(folder, told, go):
    """A project whose build tells that it has begun, and waits."""
    wait = f"echo begun >> {told}; while [ ! -e {go} ]; do sleep 0.02; done"
    return project(folder, C_PROJECT + f'execute_process(COMMAND sh -c "{wait}")\nadd_executable(p main.c)\n', main_c=PRINTS.format("built"))


def begun(told, times=1):
    wait_for(lambda: told.exists() and told.read_text().count("begun") == times, what=f"build {times}")


def check_built(place, number, how):
    run = manager(place, number)["id"]
    place.spell("wait", run, check=0)
    assert place.spell("logs", run, check=0).stdout == "built\n"
    assert f"Program built {how}" in log_of(place, number)


def test_a_build_is_fenced_as_its_run_is(place, tmp_path):
    """And what it makes is for later runs to execute, not to change."""
    look = """for v in SPELL_TOKEN SPELL_BASE_URL MY_VARIABLE; do printenv $v && echo leaks $v; done
for f in /spell-build/source /spell-build/sdk/lib; do touch $f/x 2> /dev/null && echo writes $f; done
test -e /spell-service && echo sees the service
ls -A "$1" | grep . && echo sees "$1"
echo looked
"""
    source = project(tmp_path / "p", C_PROJECT + f"execute_process(COMMAND sh ${{CMAKE_SOURCE_DIR}}/look.sh {place.spell_dir})\nadd_executable(p main.c)\n",
                     look_sh=look, main_c="syntax error\n")
    create(place, "-e", "MY_VARIABLE=1", "--build", source)
    log = log_of(place, 1)
    assert "looked" in log and "leaks" not in log and "writes" not in log and "sees" not in log, log
    program = '#include <unistd.h>\n#include <sys/stat.h>\n#include <stdio.h>\nint main(void) { printf("%d %d", chmod("/spell-program", 0777) != 0, ' \
              'access("/spell-build/source", F_OK) != 0 || access("/spell-build/sdk/lib", F_OK) != 0); return 0; }\n'
    source = project(tmp_path / "q", C_PROJECT + "add_executable(p main.c)\n", main_c=program)
    for _ in range(2):
        assert create(place, "--build", source, check=0).stdout == "1 1"


def test_two_that_want_the_same_build_it_once(place, tmp_path):
    told, go = tmp_path / "told", tmp_path / "go"
    source = gated(tmp_path / "p", told, go)
    for _ in range(3):
        create(place, "-b", "--build", source, check=0)
    begun(told)
    wait_for(lambda: all(manager(place, number)["status"] == "building" for number in (1, 2, 3)), what="three that build")
    builder = next(folder for folder in run_folders(place) if (folder / "compile").exists())
    run = json.loads((builder / "journal").read_text().splitlines()[0])["told"]["commands"][0]["start"]["number"]
    building = next(number for number in (1, 2, 3) if manager(place, number)["id"] == run)
    place.spell("workflow", "kill", building, check=0)
    begun(told, 2)  # another does it
    go.touch()
    others = [number for number in (1, 2, 3) if number != building]
    for number in others:
        place.spell("wait", manager(place, number)["id"], check=0)
    assert told.read_text().count("begun") == 2
    logs = [log_of(place, number) for number in others]
    assert all("built\n" in log for log in logs) and sorted("Program built with" in log for log in logs) == [False, True], logs


def test_a_build_can_be_ended(place, tmp_path):
    told = tmp_path / "told"
    for number, how in enumerate(("kill", "stop"), 1):
        source = gated(tmp_path / "p", told, tmp_path / "never")
        create(place, "-b", "--build", source, check=0)
        begun(told, number)
        assert manager(place, number)["status"] == "building"
        place.spell("workflow", how, number, check=0)
        place.spell("wait", manager(place, number)["id"])
        assert manager(place, number)["status"] == "killed"  # it had not begun; that nothing is left of it the fixture sees
    create(place, "-b", "--timeout", "0.01", "--build", source, check=0)
    place.spell("wait", manager(place, 3)["id"])
    assert (manager(place, 3)["status"], "longer than" in manager(place, 3)["reason"]) == ("build_failed", True), manager(place, 3)


def test_a_build_whose_supervisor_is_killed_has_failed(place, tmp_path):
    told = tmp_path / "told"
    create(place, "-b", "--build", gated(tmp_path / "p", told, tmp_path / "never"), check=0)
    begun(told)
    supervisors = [pid for pid, line in processes_of(place.spell_dir).items() if "spell-supervisor" in line]
    for pid in supervisors[:1]:
        kill_and_wait(pid)
    place.spell("wait", manager(place, 1)["id"])
    assert "supervisor was lost" in manager(place, 1)["reason"], manager(place, 1)


def test_a_build_outlives_the_service(place, tmp_path):
    """It is done anew: by a worker that finds it in the middle."""
    told, go = tmp_path / "told", tmp_path / "go"
    create(place, "-b", "--build", gated(tmp_path / "p", told, go), check=0)
    begun(told)
    killed = kill_service(place)
    place.spell("status", check=0)
    assert await_service(place, killed)
    begun(told, 2)
    go.touch()
    check_built(place, 1, "with")
    assert told.read_text().count("begun") == 2


def test_a_service_without_an_sdk_says_so(tmp_path):
    alone = Place(own_programs=True)
    try:
        project(tmp_path, C_PROJECT)
        refused = create(alone, "--build", tmp_path, check=1)
        assert "no SDK" in refused.stderr and "--program" in refused.stderr, refused
        assert alone.spell("workflow", "list", "--json", check=0).json == {"workflows": []}
    finally:
        complaints = alone.close()
    assert not complaints, complaints


def test_only_machines_that_can_build_are_given_builds(team, tmp_path):
    """A machine whose compilers are hidden from it says so before anything waits for it."""
    if os.getuid() != 0:
        pytest.skip("hiding compilers takes root")
    source = project(tmp_path / "p", C_PROJECT + "add_executable(p main.c)\n", main_c=PRINTS.format("built"))
    hide = "for c in c++ g++ clang++; do [ ! -e /usr/bin/$c ] || mount --bind /dev/null /usr/bin/$c || exit 9; done; exec \"$0\" \"$@\""
    team.place.prefix = ["unshare", "-m", "sh", "-c", hide]
    bare = Machine(team, "bare")
    team.place.prefix = []
    refused = team_spell(team, "workflow", "create", "--build", source, check=1)
    assert "bare (it has no C++ compiler (c++))" in refused.stderr and "--program" in refused.stderr, refused
    assert team_spell(team, "workflow", "list", "--json", check=0).json == {"workflows": []}
    full = Machine(team, "full")
    if (lacks := team_spell(team, "machine", "info", "full", "--json", check=0).json["machine"]["capabilities"]["lacks_for_builds"]):
        pytest.skip(f"nothing can be built here: no {lacks}")
    for _ in range(3):
        assert team_spell(team, "workflow", "create", "--build", source, check=0, timeout=3 * PATIENCE).stdout == "built\n"
    for machine in (bare, full):
        machine.close()


def test_a_build_has_its_runs_user(team, tmp_path):
    """Who can read what is there for all and nothing else; nor is the program his to change."""
    if os.getuid() != 0:
        pytest.skip("users for runs take root")
    box = Machine(team, "box", start=False)
    (box.folder / "worker.toml").write_text("")  # with users
    assert box.join().returncode == 0
    box.start()
    can = team_spell(team, "machine", "info", "box", "--json", check=0).json["machine"]["capabilities"]
    if can["isolation"] != "users":
        pytest.skip("no users for runs are to be had here")
    look = f'id -u; touch /spell-build/source/x; ls {tmp_path} {team.data}; cat /etc/shadow'
    source = project(tmp_path / "p", C_PROJECT + f'execute_process(COMMAND sh -c "{look}" OUTPUT_VARIABLE said ERROR_VARIABLE said)\nmessage("${{said}}")\n'
                     "add_executable(p main.c)\n", main_c="syntax error\n")
    team_spell(team, "workflow", "create", "--build", source)
    log = team_spell(team, "logs", "-v", 1, check=0)
    said = log.stdout + log.stderr
    assert len(re.findall("Read-only file system|Permission denied|No such file", said)) == 4 and "root:" not in said, said
    (source / "main.c").write_text('#include <stdio.h>\n#include <unistd.h>\n#include <sys/stat.h>\n'
                                   'int main(void) { printf("%d %d\\n", getuid() != 0, chmod("/spell-program", 0777)); return 0; }\n')
    for _ in range(2):
        assert team_spell(team, "workflow", "create", "--build", source, check=0).stdout == "1 -1\n"
    uploaded = project(tmp_path / "data", "x")
    team_spell(team, "upload", uploaded, "-n", "data", check=0)
    assert team_spell(team, "run", "-f", "--mount", "uploads/data:/deep/er/data", "cat /deep/er/data/CMakeLists.txt", check=0).stdout == "x"
    box.close()
