"""Programs of workflows that are built on their machine."""
import shutil

import pytest

from faults import await_service, kill_service
from harness import BUILD, PATIENCE, wait_for

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
    return place.spell("logs", "-v", manager(place, number)["id"], check=0).stdout


def test_a_program_of_the_sdk_is_built_once(place, tmp_path):
    source = project(tmp_path / "flow", "cmake_minimum_required(VERSION 3.20)\nproject(flow LANGUAGES CXX)\nfind_package(spell 0.1 REQUIRED)\n"
                     "add_executable(pipeline main.cpp)\ntarget_link_libraries(pipeline PRIVATE spell::static)\n", main_cpp=PIPELINE)
    (source / "build").mkdir()
    (source / "build/CMakeCache.txt").write_text("of another machine\n")
    done = create(place, "--build", f"{source}:pipeline", check=0)
    assert done.stdout == "in workflow 1\n", done
    run = manager(place, 1)
    assert run["status"] == "complete" and run["output_files"] == 0, run
    assert "Run is building" in log_of(place, 1) and "Program built with" in log_of(place, 1)
    sent = place.spell("ls", "--json", "uploads/workflows/1/source", check=0).json["entries"]
    assert [entry["name"] for entry in sent] == ["CMakeLists.txt", "main.cpp"], sent  # not the folder of another build
    again = create(place, "--build", source, check=0)  # the same target by its place
    assert again.stdout == "in workflow 2\n" and "Program built with" in log_of(place, 2)
    third = create(place, "--build", source, check=0)
    assert third.stdout == "in workflow 3\n" and "Program built before" in log_of(place, 3)
    (source / "main.cpp").write_text(PIPELINE.replace("in workflow", "changed, in workflow"))
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
    assert "'nothing' undeclared" in log
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


def test_a_build_can_be_ended(place, tmp_path):
    told = tmp_path / "told"
    source = project(tmp_path / "p", C_PROJECT + f'execute_process(COMMAND sh -c "touch {told}; sleep 1000")\n')
    create(place, "-b", "--build", source, check=0)
    wait_for(told.exists, what="the build")
    assert manager(place, 1)["status"] == "building"
    place.spell("workflow", "kill", 1, check=0)
    place.spell("wait", manager(place, 1)["id"])
    assert manager(place, 1)["status"] == "killed"  # that nothing is left of it the fixture sees


def test_a_build_outlives_the_service(place, tmp_path):
    """It is done anew: by a worker that finds it in the middle."""
    told, go = tmp_path / "told", tmp_path / "go"
    source = project(tmp_path / "p", C_PROJECT + f'execute_process(COMMAND sh -c "echo begun >> {told}; while [ ! -e {go} ]; do sleep 0.02; done")\n'
                     "add_executable(p main.c)\n", main_c=PRINTS.format("built"))
    create(place, "-b", "--build", source, check=0)
    wait_for(told.exists, what="the build")
    killed = kill_service(place)
    place.spell("status", check=0)
    assert await_service(place, killed)
    wait_for(lambda: told.read_text().count("begun") == 2, what="the build, done anew")
    go.touch()
    place.spell("wait", manager(place, 1)["id"], check=0)
    assert place.spell("logs", manager(place, 1)["id"], check=0).stdout == "built\n"
