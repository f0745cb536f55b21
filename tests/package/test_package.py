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


def symbols(library):
    """Demangled names that a library exports."""
    return [line.split(" ", 2)[2] for line in run("nm", "-DC", "--defined-only", "--without-symbol-versions", library).stdout.splitlines()]


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


def test_the_library_exports_its_own_names_only(library_folder):
    names = symbols(library_folder / "libspell.so")
    public = ("spell::", "typeinfo for spell::Error", "typeinfo name for spell::Error", "vtable for spell::Error")
    assert [name for name in names if not name.startswith(public)] == []
    inner = ("spell::detail", "spell::base", "spell::model", "spell::net", "spell::git", "spell::proc")
    assert [name for name in names if name.startswith(inner) or " spell::detail::" in name] == []
    for name in ["spell::Client::from_environment()", "spell::Run::logs(spell::LogOptions) const", "spell::version()",
                 "spell::inspect(spell::Code const&)"]:
        assert name in names
    assert any(name.startswith("spell::to_json(") for name in names)


def test_the_library_exports_what_the_command_line_uses(library_folder):
    """It stands on the public headers alone, so a program of anybody's can do what it does."""
    objects = [*(BUILD / "CMakeFiles/spell-cli.dir").rglob("*.o")]
    used = {line.strip()[2:] for line in run("nm", "-uC", *objects).stdout.splitlines() if line.strip().startswith("U spell::")}
    missing = {name for name in used if not name.startswith("spell::cli::")} - set(symbols(library_folder / "libspell.so"))
    assert len(objects) > 20 and missing == set()


@pytest.mark.parametrize("library", ["spell::spell", "spell::static"])
def test_find_package(prefix, environment, tmp_path, library):
    build = tmp_path / "build"
    run("cmake", "-G", "Ninja", "-S", EXAMPLE, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", f"-DSPELL_LIBRARY={library}", env=environment)
    run("cmake", "--build", build, env=environment)
    needed = run("readelf", "-d", build / "hello-run").stdout
    assert ("libspell.so" in needed) == (library == "spell::spell")
    check_hello(build / "hello-run", environment)


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


def test_pkg_config(prefix, environment, tmp_path):
    flags = run("pkg-config", "--cflags", "--libs", "spell", env=environment).stdout.split()
    run("g++", "-std=c++20", EXAMPLE / "main.cpp", "-o", tmp_path / "shared", *flags)
    check_hello(tmp_path / "shared", environment)


def test_pkg_config_static(prefix, library_folder, environment, tmp_path):
    flags = run("pkg-config", "--static", "--cflags", "--libs", "spell", env=environment).stdout.split()
    flags = [str(library_folder / "libspell.a") if flag == "-lspell" else flag for flag in flags]
    run("g++", "-std=c++20", EXAMPLE / "main.cpp", "-o", tmp_path / "static", *flags)
    assert "libspell.so" not in run("readelf", "-d", tmp_path / "static").stdout
    check_hello(tmp_path / "static", environment)


def test_the_reference_manual(tmp_path):
    """What the comments of the headers name is there."""
    if not shutil.which("doxygen"):
        pytest.skip("doxygen is not installed")
    done = run("doxygen", "docs/Doxyfile", cwd=SOURCE, env={**os.environ, "SPELL_MANUAL": str(tmp_path)}, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert (tmp_path / "html" / "classspell_1_1Client.html").exists()
def test_the_workflow_example(prefix, environment, tmp_path):
    """Built against the install and sent to a machine; here, too, where it finds what it has made before."""
    if subprocess.run(["/usr/bin/python3", "-c", "import torch"], capture_output=True).returncode != 0:
        pytest.skip("PyTorch is not here (package python3-torch)")
    build, work = tmp_path / "build", tmp_path / "char-rnn"
    run("cmake", "-G", "Ninja", "-S", SOURCE / "examples/char-rnn-workflow", "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", env=environment)
    run("cmake", "--build", build, env=environment)
    shutil.copytree(SOURCE / "examples/char-rnn", work)
    for words in ("init -q", "add .", "-c user.name=a -c user.email=a@b commit -q -m first"):
        run("git", "-C", work, *words.split(), env=environment)
    create = [prefix / "bin/spell", "workflow", "create", "--repo", f"char-rnn={work}"]
    sent = run(*create, "--program", build / "pipeline", "--", "/usr/bin/python3", "20", cwd=tmp_path, env=environment)
    text = sent.stdout.splitlines()[-1]
    assert text.startswith("The ") and "checkpoints/step-20.pt, step 20" in sent.stdout, sent.stdout
    shown = json.loads(run(prefix / "bin/spell", "workflow", "info", "1", "--json", env=environment).stdout)["workflow"]
    manager, fetch, train, sample = shown["runs"]
    assert [run_["key"] for run_ in shown["runs"]] == ["", "fetch", "train", "sample"] and shown["status"] == "complete"
    assert (train["mounts"], sample["mounts"]) == ([fetch["id"]], [train["id"]])
    here = run(*create, "--local", build / "pipeline", "/usr/bin/python3", "20", cwd=tmp_path, env=environment)
    assert here.stdout.splitlines()[-1] == text, here.stdout  # the same commit and data give the same text


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
