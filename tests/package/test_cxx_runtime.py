"""Why libspell.so shares the C++ library with the program that uses it (docs/dependencies.md): with one of its own inside, as with
-static-libstdc++, what passes the border of an SDK breaks. Fails on the day that a compiler makes it possible."""
import signal
import subprocess

import pytest

LIBRARY = """
#include <functional>
#include <stdexcept>
#include <string>
std::string long_text() { return std::string(100, 'x'); }
bool catches(const std::function<void()>& call) {
  try { call(); } catch (const std::exception&) { return true; }
  return false;
}
"""
PROGRAM = """
#include <cstdlib>
#include <functional>
#include <new>
#include <stdexcept>
#include <string>
std::string long_text();
bool catches(const std::function<void()>&);
constexpr long mark = 0x5be11;
void* operator new(std::size_t size) {
  auto* block = static_cast<long*>(std::malloc(size + 16));
  *block = mark;
  return block + 2;
}
void operator delete(void* at) noexcept {
  if (!at) return;
  long* block = static_cast<long*>(at) - 2;
  if (*block != mark) std::abort();
  std::free(block);
}
void operator delete(void* at, std::size_t) noexcept { operator delete(at); }
int main(int, char** words) {
  if (*words[1] == 's') return long_text().size() != 100;
  return !catches([] { throw std::runtime_error("thrown by a callback"); });
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cxx")
    (folder / "library.cpp").write_text(LIBRARY)
    (folder / "program.cpp").write_text(PROGRAM)
    (folder / "map").write_text('{ global: extern "C++" { long_text*; catches*; }; local: *; };')

    def build(name, *options):
        library = folder / f"lib{name}.so"
        common = ["g++", "-std=c++20", "-O2"]
        subprocess.run([*common, "-fPIC", "-shared", folder / "library.cpp", "-o", library, f"-Wl,--version-script={folder}/map", *options],
                       check=True)
        subprocess.run([*common, folder / "program.cpp", library, "-o", folder / name], check=True)
        return lambda what: subprocess.run([folder / name, what], stderr=subprocess.DEVNULL).returncode

    return build


def test_a_shared_c_plus_plus_library_lets_strings_and_exceptions_pass(program):
    shared = program("shared")
    assert (shared("string"), shared("exception")) == (0, 0)


def test_one_inside_breaks_replaced_operators_and_exceptions(program):
    inside = program("inside", "-static-libstdc++", "-static-libgcc")
    assert (inside("string"), inside("exception")) == (-signal.SIGABRT, -signal.SIGABRT)
