// Programs that are sent to machines: what they ask for is read from the file, whatever is in it.
#include <algorithm>
#include <random>

#include "base/file.hpp"
#include "catch.hpp"
#include "client/program.hpp"
#include "fake.hpp"
#include "spell/client.hpp"
#include "spell/json.hpp"
#include "spell/workflow.hpp"

using namespace spell;
using namespace spell::detail;

namespace {

/// This test itself.
std::string own_bytes() { return base::read_file("/proc/self/exe", 1LL << 30).value(); }

MachineInfo machine(const std::string& glibc, const std::string& libraries) {
  MachineInfo info;
  info.name = "box";
  info.capabilities = {{"architecture", read_program(own_bytes())->architecture},
                       {"glibc", glibc},
                       {"libraries", libraries}};
  return info;
}

}  // namespace

TEST_CASE("an executable says what it needs") {
  auto needs = read_program(own_bytes());
  REQUIRE(needs);
  CHECK(needs->dynamic);
  CHECK(std::find(needs->libraries.begin(), needs->libraries.end(), "libc.so.6") !=
        needs->libraries.end());
  CHECK(needs->glibc.starts_with("2."));
  CHECK_FALSE(needs->glibc_symbol.empty());
}

TEST_CASE("what a machine lacks is named") {
  ProgramNeeds needs{.architecture = read_program(own_bytes())->architecture,
                     .dynamic = true,
                     .glibc = "2.36",
                     .glibc_symbol = "libc.so.6",
                     .libraries = {"libc.so.6", "libm.so.6", "libstdc++.so.6", "libodd.so.1"}};
  auto why = [&](const MachineInfo& where) {
    auto checked = check_program("p", needs, where, false);
    return checked ? std::string() : checked.error().message();
  };
  CHECK(why(machine("2.35", "libstdc++.so.6 libodd.so.1"))
            .find("needs GLIBC_2.36 of libc.so.6, but machine box has 2.35") != std::string::npos);
  CHECK(why(machine("2.36", "libstdc++.so.6 libodd.so.1")).empty());
  CHECK(why(machine("2.100", "libstdc++.so.6 libodd.so.1")).empty());
  CHECK(why(machine("2.36", "libstdc++.so.6")).find("needs libodd.so.1, which machine box") !=
        std::string::npos);
  CHECK(why(machine("2.36", "")).find("libstdc++.so.6, libodd.so.1") != std::string::npos);
  auto other = machine("2.36", "");
  other.capabilities["architecture"] = "riscv128";
  CHECK(why(other).find("but machine box is riscv128") != std::string::npos);
  CHECK(why(MachineInfo{}).empty());  // an older worker has told nothing
  needs.dynamic = false;
  CHECK(why(machine("2.1", "")).empty());
}

TEST_CASE("this computer's libraries count for the service's own machine alone") {
  auto box = machine("9.9", "");
  box.serves = {"CPU"};
  // How it ends when a service of this machine, reached at a socket, is sent this very test.
  auto end = [](const MachineInfo& where) {
    test::World world;
    world.transport->serve = [&where](const net::ClientRequest& request) -> test::Answer {
      if (request.target.ends_with("/machines"))
        return {200, detail::json{{"machines", {where}}}.dump()};
      return {403, R"({"error":{"code":"not_permitted","message":"later","request_id":"r"}})"};
    };
    WorkflowSpec spec{.run = RunSpec{}, .program = WorkflowProgram{.path = "/proc/self/exe"}};
    auto made = Client(world.connection).workflows().create(spec);
    return made ? std::string() : made.error().message();
  };
  CHECK(end(box).find("later") != std::string::npos);
  box.joined_at = Time{};
  CHECK(end(box).find("which machine box does not have") != std::string::npos);
  box.capabilities["libraries"] = "libstdc++.so.6 libgcc_s.so.1 libssl.so.3 libcrypto.so.3";
  CHECK(end(box).find("libcrypto") == std::string::npos);
}

TEST_CASE("what is no executable is refused") {
  auto code = [](std::string_view bytes) {
    auto needs = read_program(bytes);
    return needs ? std::string() : needs.error().code();
  };
  CHECK(code("") == "invalid_program");
  CHECK(code("#!/bin/sh\necho\n") == "invalid_program");
  CHECK(code(std::string(1000, 'x')) == "invalid_program");
  auto bytes = own_bytes();
  CHECK(code(bytes.substr(0, 63)) == "invalid_program");
  auto narrow = bytes.substr(0, 4096);
  narrow[4] = 1;
  CHECK(code(narrow) == "invalid_program");
}

TEST_CASE("a hurt file hurts nobody") {
  auto bytes = own_bytes();
  std::minstd_rand random(7);
  for (std::size_t cut = 64; cut < 4096; cut += 61) (void)read_program(bytes.substr(0, cut));
  for (int i = 0; i < 200; ++i) {
    std::string hurt = bytes.substr(0, 1 << 16);
    for (int k = 0; k < 40; ++k)
      hurt[random() % (k < 30 ? 1024 : hurt.size())] = static_cast<char>(random());
    (void)read_program(hurt);
  }
}
