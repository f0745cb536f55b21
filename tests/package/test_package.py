"""The package as its users meet it: installed into a prefix of its own, built against in every documented way, and run."""
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from built import BUILD, SOURCE, run
from exported import exported, symbols

EXAMPLE = SOURCE / "examples" / "hello-run"


@pytest.fixture(scope="session")
def prefix(tmp_path_factory):
    """An install that has been moved after it was made: nothing in it may know where it was."""
    made = tmp_path_factory.mktemp("made") / "prefix"
    run("cmake", "--install", BUILD, "--prefix", made)
    moved = tmp_path_factory.mktemp("moved") / "spell"
    shutil.move(made, moved)
    return moved


@pytest.fixture(scope="session")
def library_folder(prefix):
    return next(prefix.rglob("libspell.so")).parent


@pytest.fixture
def environment(prefix, library_folder, tmp_path):
    """Of somebody who has just this Spell, with a folder of its own that is gone at the end, service included."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("SPELL_")}
    variables |= {
        "SPELL_DIR": str(tmp_path / "spell"),
        "PATH": f"{prefix}/bin:{variables['PATH']}",
        "LD_LIBRARY_PATH": str(library_folder),
        "PKG_CONFIG_PATH": str(library_folder / "pkgconfig"),
    }
    yield variables
    run(prefix / "bin" / "spell", "service", "stop", env=variables, check=False)


def check_hello(program, environment):
    done = run(program, env=environment)
    assert done.stdout == "hello\n"
    done = run(program, "echo out; echo err >&2; exit 7", env=environment, check=False)
    assert (done.returncode, done.stdout) == (7, "out\nerr\n"), done.stderr


def test_all_parts_are_installed(prefix, library_folder):
    for path in ["bin/spell", "bin/spelld", "libexec/spell/spell-supervisor", "share/spell/openapi.json",
                 "libexec/spell/sdk/lib/libspell.a", "libexec/spell/sdk/lib/cmake/spell/spellConfig.cmake"]:
        assert (prefix / path).is_file(), path
    installed = {path.name for path in (prefix / "include" / "spell").iterdir()}
    assert installed == {path.name for path in (SOURCE / "include" / "spell").iterdir()}
    assert (library_folder / "libspell.a").is_file()
    assert (library_folder / "libspell.so").is_symlink()


def test_the_prefix_is_named_nowhere(prefix):
    for path in [*prefix.rglob("*.cmake"), *prefix.rglob("*.pc")]:
        text = path.read_text()
        assert str(SOURCE) not in text and str(BUILD) not in text and "/made" not in text, path


def test_versions_agree(prefix, library_folder, environment):
    version = re.search(r"project\(spell VERSION (\S+)", (SOURCE / "CMakeLists.txt").read_text())[1]
    assert run("pkg-config", "--modversion", "spell", env=environment).stdout.strip() == version
    assert version in run(prefix / "bin" / "spell", "--version", env=environment).stdout
    assert version in run(prefix / "bin" / "spelld", "--version", env=environment).stdout


def test_the_library_exports_what_is_listed(library_folder):
    """Who has linked it needs all of these, and sees nothing of Boost, OpenSSL and the others inside."""
    library, listed = library_folder / "libspell.so", (SOURCE / "tests/package/libspell.names").read_text().splitlines()
    found = exported(library)
    assert found == listed, (
        f"new: {sorted(set(found) - set(listed))}; gone, which breaks programs that use it: {sorted(set(listed) - set(found))}; "
        "where that is meant: tests/package/exported.py LIBRARY > tests/package/libspell.names")
    assert [name for letter, name in symbols(library, "-D") if letter in "Ww" and not name.startswith("spell::")] == []


def test_the_static_libraries_leave_other_versions_of_boost_alone(library_folder):
    """What its headers make in each object is under a name of ours, so a program may bring a Boost of its own."""
    for archive in sorted(library_folder.glob("libspell*.a")):
        names = {name for _, name in symbols(archive, "-g")}
        assert len(names) > 10 and [name for name in names if re.search(r"(?<!\w)boost::", name)] == [], archive
    assert any("spell_boost::asio" in name for _, name in symbols(library_folder / "libspell.a", "-g"))


def needed(program):
    """Shared libraries."""
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", run("readelf", "-d", program).stdout))


def check_needs_what_a_machine_has(program):
    """One that has nothing but the worker."""
    assert needed(program) <= {"libc.so.6", "libm.so.6", "libssl.so.3", "libcrypto.so.3", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


@pytest.fixture(scope="session")
def self_contained():
    if "SPELL_SELF_CONTAINED:BOOL=ON" not in (BUILD / "CMakeCache.txt").read_text() or not (BUILD / "lib/libspell_libgit2_gaps.a").exists():
        pytest.skip("built without the libraries' archives")


def test_the_static_libraries_have_the_others_inside_under_names_of_their_own(self_contained, library_folder):
    ours = r"spell|DW\.ref\.|boost_asio_detail_posix_thread_function$"
    for archive in sorted(library_folder.glob("libspell*.a")):
        listed = subprocess.run(["nm", "-g", "--defined-only", "--quiet", archive], capture_output=True, text=True, check=True).stdout
        names = {line.split()[2] for line in listed.splitlines() if len(line.split()) == 3}
        assert [name for name in names if not name.startswith("_Z") and not re.match(ours, name)] == [], archive
    assert {"spell_own_sqlite3_open_v2", "spell_own_git_libgit2_init", "spell_own_ZSTD_versionNumber"} <= {name for _, name in symbols(library_folder / "libspell.a", "-g")}


def test_the_library_exports_what_the_command_line_uses(library_folder):
    """It stands on the public headers alone, so a program of anybody's can do what it does."""
    objects = [*(BUILD / "CMakeFiles/spell-cli.dir").rglob("*.o")]
    used = {line.strip()[2:] for line in run("nm", "-uC", *objects).stdout.splitlines() if line.strip().startswith("U spell::")}
    missing = {name for name in used if not name.startswith("spell::cli::")} - {name for _, name in symbols(library_folder / "libspell.so", "-D")}
    assert objects and len(used) > 100 and missing == set()


@pytest.mark.parametrize("library", ["spell::spell", "spell::static"])
def test_find_package(prefix, environment, tmp_path, library):
    build = tmp_path / "build"
    run("cmake", "-G", "Ninja", "-S", EXAMPLE, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", f"-DSPELL_LIBRARY={library}", env=environment)
    run("cmake", "--build", build, env=environment)
    assert any(name.startswith("libspell.so") for name in needed(build / "hello-run")) == (library == "spell::spell")
    check_hello(build / "hello-run", environment)


def test_add_subdirectory(prefix, environment, tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\nproject(consumer LANGUAGES CXX)\n"
        f"add_subdirectory({SOURCE} spell EXCLUDE_FROM_ALL)\n"
        f"add_executable(consumer {EXAMPLE}/main.cpp)\ntarget_link_libraries(consumer PRIVATE spell::static)\n")
    build = tmp_path / "build"
    run("cmake", "-G", "Ninja", "-S", tmp_path, "-B", build, "-DCMAKE_BUILD_TYPE=Release", env=environment)
    made = run("ninja", "-C", build, "-t", "targets", "all", env=environment).stdout
    assert "spell_unit_base" not in made, "a project's own tests are no part of who uses it"
    # All of Spell is not built once more for that: the consumer's own object is, and the rest is planned.
    objects = [line.split(":")[0] for line in made.splitlines() if line.startswith("CMakeFiles/consumer.dir/") and ".cpp.o:" in line]
    run("ninja", "-C", build, *objects, env=environment)
    assert "libspell.a" in next(line for line in (build / "build.ninja").read_text().splitlines() if line.startswith("build consumer: "))


@pytest.mark.parametrize("wanted, says", [("9.0 REQUIRED", "version"), ("0.1 REQUIRED COMPONENTS nothing", "nothing")])
def test_what_find_package_cannot_give_is_said(prefix, environment, tmp_path, wanted, says):
    (tmp_path / "CMakeLists.txt").write_text(f"cmake_minimum_required(VERSION 3.25)\nproject(consumer LANGUAGES CXX)\nfind_package(spell {wanted})\n")
    refused = run("cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}", env=environment, check=False)
    assert refused.returncode != 0 and says in refused.stderr, refused.stderr


def test_the_asynchronous_example(prefix, environment, tmp_path):
    build = tmp_path / "build"
    run("cmake", "-G", "Ninja", "-S", SOURCE / "examples/async", "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", env=environment)
    run("cmake", "--build", build, env=environment)
    done = run(build / "async", env=environment)
    assert done.stdout == "100 complete, 0 otherwise, 0 canceled\n"
    done = run(build / "async", "3", "echo why >&2; exit 7", env=environment, check=False)
    assert (done.returncode, done.stdout) == (1, "0 complete, 3 otherwise, 0 canceled\n")
    assert "exit code 7" in done.stderr and "why" in done.stderr
    # ^C: what is waited for is killed; of 20 runs most have not begun.
    started = tmp_path / "started"
    waiting = subprocess.Popen([build / "async", "20", f"touch {started}; sleep 1000"], env=environment, stdout=subprocess.PIPE, text=True)
    while not started.exists():
        assert waiting.poll() is None
        time.sleep(0.01)
    waiting.send_signal(signal.SIGINT)
    assert waiting.communicate(timeout=60)[0] == "0 complete, 0 otherwise, 20 canceled\n"
    shown = json.loads(run(prefix / "bin/spell", "ps", "--json", "-n", "20", env=environment).stdout)["runs"]
    assert {run_["status"] for run_ in shown if "sleep 1000" in run_["command"]} <= {"killed", "killing"}


def test_a_service_inside_of_a_program(prefix, environment, tmp_path):
    build = tmp_path / "build"
    run("cmake", "-G", "Ninja", "-S", SOURCE / "examples/embedded", "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", env=environment)
    run("cmake", "--build", build, env=environment)
    environment["SPELL_LIBEXEC"] = str(prefix / "libexec/spell")
    done = run(build / "embedded", tmp_path / "state", env=environment)
    assert done.stdout == "the sum is 5050\n" and done.stderr == ""
    assert not [path for path in (tmp_path / "state").rglob("*") if path.is_socket() and "runs" not in path.parts]


def test_the_programs_of_the_guide(prefix, environment, tmp_path):
    """They compile with warnings as errors; those that need nothing of the computer they are on are run."""
    blocks = re.findall(r"```cpp\n(.*?)```", (SOURCE / "docs/sdk.md").read_text(), re.S)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\nproject(guide LANGUAGES CXX)\nfind_package(spell 0.1 REQUIRED COMPONENTS testing)\n"
        "add_compile_options(-Wall -Wextra -Werror)\n"
        + "".join(f"add_executable(block{n} block{n}.cpp)\ntarget_link_libraries(block{n} spell::testing)\n" for n in range(len(blocks))))
    for n, block in enumerate(blocks):
        (tmp_path / f"block{n}.cpp").write_text(block)
    build = tmp_path / "build"
    run("cmake", "-G", "Ninja", "-S", tmp_path, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", env=environment)
    run("cmake", "--build", build, env=environment)
    for n, block in enumerate(blocks):
        if "CheckpointFolder" in block or "MockService" in block:
            run(build / f"block{n}", cwd=tmp_path, env={**environment, "SPELL_CHECKPOINTS": str(tmp_path / "checkpoints")})
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-7.txt", "step-8.txt", "step-9.txt"]


def test_a_program_that_asks_for_all_there_will_be(prefix, library_folder, environment, tmp_path):
    """It compiles as it is meant to be written, and goes as far as there is a machine for it."""
    compile_ = ["g++", "-std=c++20", "-Wall", "-Wextra", "-Werror"]
    flags = run("pkg-config", "--cflags", "--libs", "spell", env=environment).stdout.split()
    run(*compile_, "-fsyntax-only", SOURCE / "tests/package/pipeline.cpp", *flags)
    program, replaced = re.subn(r'"curl [^"]*"\s*"https:[^"]*"', '"echo a text > input.txt"', (SOURCE / "tests/package/pipeline.cpp").read_text())
    assert replaced == 1  # nothing is to be had of the world here
    (tmp_path / "pipeline.cpp").write_text(program)
    run(*compile_, tmp_path / "pipeline.cpp", "-o", tmp_path / "pipeline", *flags)
    spell = prefix / "bin/spell"
    done = run(spell, "workflow", "create", "--local", tmp_path / "pipeline", cwd=tmp_path, env=environment, check=False)
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("pipeline: ")]
    assert done.returncode == 1 and "no machine type fits: " in told and "CPU: no GPU" in told, done.stderr
    runs = json.loads(run(spell, "workflow", "info", "1", "--json", env=environment).stdout)["workflow"]["runs"]
    assert [(made["key"], made["status"]) for made in runs] == [("fetch", "complete")]
    # With a spot machine to be had, whose price is known, it goes on to the code that this call does not give.
    pool = tmp_path / "pool"
    pool.write_text("#!/bin/sh\necho '{\"machines\": []}'\n")
    pool.chmod(0o755)
    run(spell, "machine-type", "add", "v100-spot", "--spot", "--pool", pool, env=environment)
    done = run(spell, "workflow", "create", "--local", tmp_path / "pipeline", cwd=tmp_path, env=environment, check=False)
    assert "training on v100-spot: 1 x V100 of 16 GB, 8 cores, 61 GB, launched when wanted, spot, $0.918 an hour" in done.stderr, done.stderr
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("pipeline: ")]
    assert done.returncode == 1 and "no commit with the label 'char-rnn'" in told, done.stderr


def test_pkg_config(prefix, environment, tmp_path):
    flags = run("pkg-config", "--cflags", "--libs", "spell", env=environment).stdout.split()
    run("g++", "-std=c++20", EXAMPLE / "main.cpp", "-o", tmp_path / "shared", *flags)
    check_hello(tmp_path / "shared", environment)


def test_pkg_config_static(self_contained, prefix, library_folder, environment, tmp_path):
    """As a program that is sent to a machine. This one has libraries of its own, of the same names as some that are inside."""
    flags = run("pkg-config", "--static", "--cflags", "--libs", "spell", env=environment).stdout.split()
    flags = [str(library_folder / "libspell.a") if flag == "-lspell" else flag for flag in flags if flag != "-lstdc++"]
    own = ("sqlite3_initialize", "sqlite3_open_v2", "git_libgit2_init", "ZSTD_compressCCtx", "inflate", "deflate", "crc32", "gss_import_name")
    (tmp_path / "own.cpp").write_text("#include <cstdlib>\nextern \"C\" {\n" + "".join(f"void {name}() {{ std::abort(); }}\n" for name in own) + "}\n")
    run("g++", "-std=c++20", EXAMPLE / "main.cpp", tmp_path / "own.cpp", "-o", tmp_path / "static", *flags, "-static-libstdc++", "-static-libgcc")
    check_needs_what_a_machine_has(tmp_path / "static")
    check_hello(tmp_path / "static", environment)


def test_the_reference_manual(tmp_path):
    """What the comments of the headers name is there."""
    if not shutil.which("doxygen"):
        pytest.skip("doxygen is not installed")
    done = run("doxygen", "docs/Doxyfile", cwd=SOURCE, env={**os.environ, "SPELL_MANUAL": str(tmp_path)}, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert (tmp_path / "html" / "classspell_1_1Client.html").exists()


def built_example(name, prefix, environment, build):
    """Of those whose programs are sent to machines. Nothing is installed but the package and OpenSSL's."""
    without = [f"-DCMAKE_DISABLE_FIND_PACKAGE_{package}=ON" for package in ("SQLite3", "ZLIB")]
    environment = {**environment, "PKG_CONFIG_LIBDIR": "/nowhere"}
    run("cmake", "-G", "Ninja", "-S", SOURCE / "examples" / name, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", *without, env=environment)
    run("cmake", "--build", build, env=environment)
    for program in build.iterdir():
        if program.is_file() and program.open("rb").read(4) == b"\x7fELF":
            check_needs_what_a_machine_has(program)


# What they write where there is no PyTorch: which character follows which.
STANDS_IN = {"train.py": """import argparse, json, os
parser = argparse.ArgumentParser()
for name in ("--data", "--steps"):
    parser.add_argument(name, required=True)
parser.add_argument("--resume", action="store_true")
args = parser.parse_args()
follows, text = {}, open(args.data).read()
for one, next in zip(text, text[1:]):
    counts = follows.setdefault(one, {})
    counts[next] = counts.get(next, 0) + 1
os.makedirs("checkpoints")
with open(f"checkpoints/step-{args.steps}.pt", "w") as file:
    json.dump(follows, file)
print("trained with", len(text), "characters", flush=True)
""", "sample.py": """import json, os
[name] = os.listdir("checkpoints")
follows = json.load(open(f"checkpoints/{name}"))
print(f"checkpoints/{name}, step {name[5:-3]}")
text = "The "
while len(text) < 60:
    counts = follows[text[-1]]
    text += max(sorted(counts), key=lambda next: counts[next] / (1 + text.count(text[-1] + next)))
print(" ".join(text.split()))
"""}


@pytest.fixture(scope="module")
def pipeline(prefix, tmp_path_factory):
    build = tmp_path_factory.mktemp("char-rnn-workflow")
    built_example("char-rnn-workflow", prefix, os.environ, build)
    return build / "pipeline"


@pytest.mark.parametrize("network", ["standing in", "PyTorch"])
def test_the_workflow_example(pipeline, prefix, environment, tmp_path, network):
    """Built against the install and sent to a machine; here, too, where it finds what it has made before."""
    if network == "PyTorch" and subprocess.run(["/usr/bin/python3", "-c", "import torch"], capture_output=True).returncode != 0:
        pytest.skip("PyTorch is not here (package python3-torch)")
    work = tmp_path / "char-rnn"
    shutil.copytree(SOURCE / "examples/char-rnn", work)
    for name, text in STANDS_IN.items() if network == "standing in" else ():
        (work / name).write_text(text)
    for words in ("init -q", "add .", "-c user.name=a -c user.email=a@b commit -q -m first"):
        run("git", "-C", work, *words.split(), env=environment)
    create = [prefix / "bin/spell", "workflow", "create", "--repo", f"char-rnn={work}"]
    sent = run(*create, "--program", pipeline, "--", "/usr/bin/python3", "20", cwd=tmp_path, env=environment)
    text = sent.stdout.splitlines()[-1]
    assert text.startswith("The ") and "checkpoints/step-20.pt, step 20" in sent.stdout, sent.stdout
    shown = json.loads(run(prefix / "bin/spell", "workflow", "info", "1", "--json", env=environment).stdout)["workflow"]
    manager, fetch, train, sample = shown["runs"]
    assert [run_["key"] for run_ in shown["runs"]] == ["", "fetch", "train", "sample"] and shown["status"] == "complete"
    assert (train["mounts"], sample["mounts"]) == ([fetch["id"]], [train["id"]])
    here = run(*create, "--local", pipeline, "/usr/bin/python3", "20", cwd=tmp_path, env=environment)
    assert here.stdout.splitlines()[-1] == text, here.stdout  # the same commit and data give the same text


@pytest.mark.parametrize("how", [("--program",), ("--local",)])
def test_the_example_that_watches_metrics(prefix, environment, tmp_path, how):
    built_example("metrics-workflow", prefix, environment, tmp_path / "build")
    spell = prefix / "bin/spell"
    done = run(spell, "workflow", "create", *how, tmp_path / "build/search", cwd=tmp_path, env=environment)
    found = re.search(r"best rate: (\S+), in (runs/(\d+)/model.txt)\n", done.stdout)
    assert found, done
    shown = json.loads(run(spell, "workflow", "info", "1", "--json", env=environment).stdout)["workflow"]
    children = {each["id"]: each for each in shown["runs"] if each["key"]}
    assert {each["key"] for each in children.values()} == {"rate-0.5", "rate-0.1", "rate-0.02"}
    assert children[int(found[3])]["key"] == f"rate-{found[1]}"
    assert sorted(each["status"] for each in children.values()) == ["killed", "killed", "stopped"] and children[int(found[3])]["status"] == "stopped"
    assert run(spell, "ps", "-q", "--label", "best", env=environment).stdout.split() == [found[3]]
    run(spell, "cp", found[2], "here", cwd=tmp_path, env=environment)
    assert 0 < float((tmp_path / "here").read_text()) < 1
    assert "loss" in run(spell, "metrics", found[3], env=environment).stdout


def test_the_example_that_goes_on_where_it_was(prefix, environment, tmp_path):
    """Ended by force in its first run, stopped in its second, it has the weights of one that was left alone."""
    built_example("spot-resume", prefix, environment, tmp_path / "build")
    spell, program = prefix / "bin/spell", ("--mount", tmp_path / "build/train:bin/train")

    def ended(*options):  # what it printed
        return run(spell, "run", "-q", "-f", *options, cwd=tmp_path, env=environment, check=False).stdout.splitlines()
    newest = "ls checkpoints | tr -dc '0-9\\n' | sort -n | tail -1"
    first = ended(*program, f"bin/train 100000 & until test \"$({newest})\" -ge 20; do sleep 0.01; done 2> /dev/null; kill -9 $!; wait $!")
    assert "epoch 19" in first and "weights" not in first[-1]
    second = subprocess.Popen([spell, "run", "-q", "-f", *program, "--mount", "runs/1/checkpoints:before", "bin/train 100000 before"], cwd=tmp_path,
                              env=environment, stdout=subprocess.PIPE, text=True)
    begun = int(re.fullmatch(r"going on after epoch (\d+)\n", second.stdout.readline())[1])
    assert begun >= 20
    while second.stdout.readline() != f"epoch {begun + 10}\n":
        assert second.poll() is None
    run(spell, "stop", "2", env=environment)
    second.communicate(timeout=60)
    saved = run(spell, "ls", "runs/2/checkpoints", env=environment).stdout
    last = max(int(step) for step in re.findall(r"(?m)(?<![.\w])step-(\d+)\.txt$", saved))
    assert last >= begun + 9
    resumed = ended(*program, "--mount", "runs/2/checkpoints:before", f"bin/train {last + 10} before")
    assert resumed[0] == f"going on after epoch {last}" and len(resumed) == 12
    assert resumed[-1].startswith("weights 0x") and resumed[-1] == ended(*program, f"bin/train {last + 10}")[-1]


def test_every_header_compiles_by_itself(prefix, tmp_path):
    for header in sorted((prefix / "include" / "spell").iterdir()):
        (tmp_path / "one.cpp").write_text(f'#include <spell/{header.name}>\n#include <spell/{header.name}>\nint main() {{}}\n')
        run("g++", "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{prefix}/include", tmp_path / "one.cpp")


def test_public_headers_need_the_standard_library_alone(prefix):
    for header in (prefix / "include" / "spell").iterdir():
        included = re.findall(r'#include [<"]([^>"]+)[>"]', header.read_text())
        other = [name for name in included if "/" in name and not name.startswith("spell/")]
        bridges = {"json.hpp": "nlohmann/", "asio.hpp": "boost/asio/"}
        assert all(name.startswith(bridges.get(header.name, "none")) for name in other), header
