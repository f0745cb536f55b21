#include "model/environment.hpp"

#include <map>

#include "base/error.hpp"
#include "catch.hpp"

using namespace spell;
using namespace spell::model;

namespace {

using Files = std::map<std::string, std::string>;

Result<std::string> gather(const Files& files, const std::string& path = "r.txt",
                           const std::string& folder = "") {
  return gather_requirements(folder, path, [&](const std::string& name) -> Result<std::string> {
    auto found = files.find(name);
    if (found == files.end()) return base::error("not_found", "none");
    return found->second;
  });
}

std::string refusal(const Files& files, const std::string& path = "r.txt") {
  auto text = gather(files, path);
  if (text) return "taken: " + *text;
  CHECK(text.error().code() == "invalid_requirements");
  return text.error().message();
}

}  // namespace

TEST_CASE("requirements are what they ask for, not how they are written") {
  CHECK(*gather({{"r.txt", "# first\n numpy==1 # why\r\n\n  torch \\\n >= 2\n"}}) ==
        "numpy==1\ntorch  >= 2\n");
  CHECK(*gather({{"a/r.txt", "-r ../b.txt\n--requirement=c/d.txt\nx"},
                 {"b.txt", "b\n"},
                 {"a/c/d.txt", "-r../../b.txt\nd\n"}},
                "r.txt", "a") == "b\nb\nd\nx\n");
  CHECK(*gather({{"r.txt",
                  "--index-url https://host/simple\n-f /wheels\nx @ https://host/x.whl\n"
                  "git+https://host/y.git\nz[extra] ; python_version < '4'\n"}}) ==
        "--index-url https://host/simple\n-f /wheels\nx @ https://host/x.whl\n"
        "git+https://host/y.git\nz[extra] ; python_version < '4'\n");
}

TEST_CASE("what a commit does not have, or an environment cannot, is refused by file and line") {
  CHECK(refusal({}) == "r.txt: there is no such file in the commit: commit it first");
  CHECK(refusal({{"r.txt", "a\n-r none.txt\n"}}) ==
        "r.txt line 2: none.txt is not in the commit: commit it first");
  CHECK(refusal({{"r.txt", "-r ../up.txt"}}) ==
        "r.txt line 1: ../up.txt is not a file of the repository");
  CHECK(refusal({{"r.txt", "-r /etc/passwd"}}) ==
        "r.txt line 1: /etc/passwd is not a file of the repository");
  CHECK(refusal({{"r.txt", "\n\n-r r.txt"}}) == "r.txt line 3: r.txt names itself");
  for (auto* path : {"/x", "./x", "../x", "~/x", "file:///x", "dir/x", "x @ file:///x"})
    CHECK(refusal({{"r.txt", path}}).find("is a path") != std::string::npos);
  CHECK(refusal({{"r.txt", "-e ."}}).find("editable") != std::string::npos);
  CHECK(refusal({{"r.txt", "-c c.txt"}}).find("-c is not supported") != std::string::npos);
  CHECK(refusal({{"r.txt", "-f wheels"}}).find("--find-links") != std::string::npos);
  CHECK(refusal({{"r.txt", "\xff"}}) == "r.txt: is no UTF-8 text");
  CHECK(refusal({{"r.txt", std::string(300 << 10, 'x')}}).find("longer than") != std::string::npos);
  CHECK(refusal({}, "../r.txt") == "../r.txt: is not a file of the repository");
  CHECK(refusal({}, "/r.txt") == "/r.txt: is not a file of the repository");
  Files many;
  for (int i = 0; i < 60; ++i)
    many[i == 0 ? "r.txt" : std::to_string(i)] = "-r " + std::to_string(i + 1) + "\n";
  CHECK(refusal(many).find("more than 50 files") != std::string::npos);
}

TEST_CASE("packages of the command line are no options and no paths") {
  for (auto* fine : {"numpy", "numpy==1.26.4", "a[b]>=1,<2", "x @ https://host/x.whl"})
    CHECK(wrong_package(fine).empty());
  for (auto* wrong : {"", "-r x", "--index-url=y", "./x", "/x", "a/b", "#x", "a\nb"})
    CHECK_FALSE(wrong_package(wrong).empty());
}

TEST_CASE("packages of apt are names and versions, and nothing else that apt understands") {
  for (auto* fine : {"sl", "g++", "libstdc++6", "python3.11", "0ad", "sl=5.02-1+b1", "libc6:i386",
                     "libc6:i386=2.36-9+deb12u10", "x11-apps=7.7+9", "vim=2:9.0.1378-2~bpo1"})
    CHECK(wrong_apt_package(fine).empty());
  for (auto* wrong : {"",         "-y",     "--force-yes", "-o=x",      "./x.deb", "/x.deb",
                      "x.deb/",   "sl/sid", "sl-",         "s*",        "sl?",     "?all",
                      "~n.",      "^sl",    "sl^",         "Sl",        "s",       "sl=",
                      "sl==1",    "sl=-1",  "sl=$(x)",     "sl:",       "sl:-x",   "sl:i386:i386",
                      "sl ;true", "sl\n",   "sl=1 cowsay", "\xc3\xa4x", "!sl",     "sl=1/x"})
    CHECK_FALSE(wrong_apt_package(wrong).empty());
  CHECK(wrong_apt_package("-y").starts_with("is an option: give NAME or NAME=VERSION"));
}

TEST_CASE("a layer of pinned packages has a name of its own") {
  auto name = std::string(32, 'a');
  CHECK(pinned_layer(name, {"x==1"}) != pinned_layer(name, {"x==2"}));
  CHECK(pinned_layer(name, {"x==1"}) != pinned_layer(std::string(32, 'b'), {"x==1"}));
  CHECK(pinned_layer(name, {"x==1"}).size() == 32);
}

TEST_CASE("claims of layers as they are on the wire") {
  LayerClaim claim;
  claim.name = std::string(32, 'a');
  claim.method = "pip";
  claim.wait_ms = 5;
  auto read = parse_layer_claim(to_json(claim));
  REQUIRE(read);
  CHECK(read->name == claim.name);
  CHECK(read->wait_ms == 5);
  for (auto* wrong :
       {R"({"name":"x","method":"pip"})", R"({"name":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"})",
        R"({"name":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","method":"brew"})",
        R"({"name":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","method":"pip","wait_ms":-1})",
        R"({"name":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","method":"pip","more":1})"})
    CHECK(parse_layer_claim(json::parse(wrong)).error().code() == "invalid_request");
  CHECK(parse_layer_built(json::parse(R"({"name":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":-1})"))
            .error()
            .code() == "invalid_request");
}

TEST_CASE("a conda file is one of the commit, and asks for nothing of pip") {
  auto read = [](const Files& files, const std::string& path = "env.yml") {
    auto text = read_conda_file("sub", path, [&](const std::string& name) -> Result<std::string> {
      auto found = files.find(name);
      if (found == files.end()) return base::error("not_found", "none");
      return found->second;
    });
    return text ? *text : text.error().code() + ": " + text.error().message();
  };
  CHECK(read({{"sub/env.yml", "dependencies:\n- numpy\n- pip\n"}}) ==
        "dependencies:\n- numpy\n- pip\n");
  CHECK(read({{"env.yml", "x"}}, "../env.yml") == "x");
  CHECK(read({}) ==
        "invalid_requirements: sub/env.yml: there is no such file in the commit: commit it first");
  CHECK(read({}, "../../x") == "invalid_requirements: ../../x: is not a file of the repository");
  CHECK(read({{"sub/env.yml", " \n"}}) == "invalid_requirements: sub/env.yml: asks for no package");
  CHECK(read({{"sub/env.yml", "\xff"}}) == "invalid_requirements: sub/env.yml: is no UTF-8 text");
  for (auto* line : {"- pip:", "  -  pip :  # more", "- \"pip\":"})
    CHECK(read({{"sub/env.yml", std::string("dependencies:\n") + line + "\n  - x\n"}}) ==
          "invalid_requirements: sub/env.yml line 2: packages of pip are asked for by themselves: "
          "--pip, --pip-req");
}
