#include "worker/layers.hpp"

#include <unistd.h>

#include <set>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "catch.hpp"
#include "model/image.hpp"

using namespace spell;
using namespace spell::worker;

namespace {

model::StartCommand asks(std::vector<std::string> pip, std::string requirements = "",
                         std::string setup = "") {
  model::StartCommand start;
  start.owner = "ada";
  start.request.command = "true";
  start.request.pip = std::move(pip);
  if (!requirements.empty()) start.request.requirements = "r.txt";
  start.request.requirements_text = std::move(requirements);
  start.request.setup = std::move(setup);
  return start;
}

const LayerBase usual{"debian 12", "x86_64", "/usr/bin/python3.11", "/usr/bin/python3"};

std::string name(const model::StartCommand& start, const std::string& below = "",
                 const LayerBase& on = usual) {
  return layer_name(layers_of(start).back(), on, start.owner, below);
}

}  // namespace

TEST_CASE("an environment is pip below setup, and none where nothing is asked for") {
  CHECK(layers_of(asks({})).empty());
  auto both = layers_of(asks({"a"}, "b\n", "make it"));
  REQUIRE(both.size() == 2);
  CHECK(both[0].method == "pip");
  CHECK(both[0].made_of == "a -r r.txt");
  CHECK(both[1].method == "setup");
  CHECK(layers_of(asks({}, "", "x"))[0].method == "setup");
}

TEST_CASE("packages of apt lie below all, in whatever order they are asked for") {
  auto start = asks({"a"}, "", "make it");
  start.request.apt = {"sl", "cowsay=3.03"};
  auto layers = layers_of(start);
  REQUIRE(layers.size() == 3);
  CHECK(layers[0].method == "apt");
  CHECK(layers[0].made_of == "sl cowsay=3.03");
  CHECK(layers[1].method == "pip");
  std::swap(start.request.apt[0], start.request.apt[1]);
  CHECK(layers_of(start)[0].inputs == layers[0].inputs);
  start.request.env["PIP_INDEX_URL"] = "https://host";
  CHECK(layers_of(start)[0].inputs == layers[0].inputs);
  CHECK(layer_name(layers[0], usual, "ada", "one machine") !=
        layer_name(layers[0], usual, "ada", "another"));
}

TEST_CASE("an image is below all, and conda packages below those of pip") {
  auto start = asks({"a"}, "", "make it");
  start.request.apt = {"sl"};
  start.request.image = "debian:12";
  start.request.conda_file = "env.yml";
  start.request.conda_text = "dependencies: [numpy]";
  auto layers = layers_of(start);
  std::string methods;
  for (auto& layer : layers) methods += layer.method + " ";
  CHECK(methods == "image apt conda pip setup ");
  CHECK(layers[0].made_of == "debian:12");
  CHECK(layers[2].inputs == start.request.conda_text);
  // One that a resource holds counts by its content, whatever that is called.
  auto inputs = [&](const std::string& image, const std::string& node) {
    start.request.image = image;
    start.mounts = {{"uploads/x", std::string(model::image_source), "folder", node}};
    return layers_of(start)[0].inputs;
  };
  auto one = inputs("oci:uploads/x", "1");
  CHECK(inputs("oci:uploads/y", "1") == one);
  std::set<std::string> others{one, inputs("oci:uploads/x", "2"), inputs("oci:uploads/x:tag", "1"),
                               inputs("docker-archive:uploads/x", "1")};
  CHECK(others.size() == 4);
}

TEST_CASE("conda packages are made by what there is, and recorded to the byte") {
  auto start = asks({"a"});
  start.request.conda_file = "env.yml";
  auto layers = layers_of(start);
  LayerBase base = usual;
  auto script = [&](const char* program, bool pinned) {
    base.conda = program;
    return layer_script(layers[0], base, start.request, "/t", pinned);
  };
  auto has = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  CHECK(has(script("/x/micromamba", false),
            "/x/micromamba create -y -p /spell-env/conda -f /t/environment.yml"));
  CHECK(has(script("/x/conda", false),
            "/x/conda env create -p /spell-env/conda -f /t/environment.yml"));
  CHECK(
      has(script("/x/conda", true), "/x/conda create -y -p /spell-env/conda --file /t/pinned.txt"));
  CHECK(packages_of("# platform\n@EXPLICIT\nhttps://h/linux-64/x-1-0.conda\n") ==
        std::vector<std::string>{"https://h/linux-64/x-1-0.conda"});
  // pip's packages go on top of them.
  base.python3 = "/spell-env/conda/bin/python3";
  CHECK(has(layer_script(layers[1], base, start.request, "/t", false),
            "/spell-env/conda/bin/python3 -m venv --system-site-packages /spell-env/venv"));
}

TEST_CASE("a layer's name is all that made it, and nothing else") {
  auto first = name(asks({"a", "b"}));
  CHECK(first.size() == 32);
  std::set<std::string> others{first,
                               name(asks({"b", "a"})),
                               name(asks({"a b"})),
                               name(asks({"a"}, "b\n")),
                               name(asks({}, "", "a\nb\n")),
                               name(asks({"a", "b"}), "below")};
  auto other = asks({"a", "b"});
  other.owner = "bob";
  others.insert(name(other));
  other = asks({"a", "b"});
  other.request.env["PIP_INDEX_URL"] = "https://host";
  others.insert(name(other));
  auto machine = usual;
  machine.python = "/usr/bin/python3.12";
  others.insert(name(asks({"a", "b"}), "", machine));
  // The same text, however it was given: options and file are one to pip.
  CHECK(others.size() == 8);
  CHECK(name(asks({"a"}, "b\n")) == name(asks({}, "a\nb\n")));

  other = asks({"a", "b"});
  other.request.command = "another";
  other.request.folder = "sub";
  other.request.env["SEED"] = "1";
  other.request.code = model::CodeRef{};
  other.request.code->commit = "anything";
  other.request.refresh_environment = true;
  other.run = "run";
  CHECK(name(other) == first);
}

TEST_CASE("builds get the variables of pip, npm and proxies alone") {
  auto start = asks({"a"});
  start.request.env = {{"PIP_NO_INDEX", "1"},
                       {"npm_config_registry", "x"},
                       {"https_proxy", "p"},
                       {"PASSWORD", "x"},
                       {"PATH", "/x"}};
  CHECK(build_variables(start.request) ==
        std::vector<std::string>{"PIP_NO_INDEX=1", "https_proxy=p", "npm_config_registry=x"});
}

TEST_CASE("the machine's own programs") {
  std::string folder = "/tmp/spell-layers-" + base::hex(base::random_bytes(6));
  REQUIRE(base::make_folders(folder + "/bin"));
  REQUIRE(base::write_file(folder + "/os-release", "NAME=x\nID=debian\nVERSION_ID=\"12\"\n"));
  auto none = base_of({"PATH=" + folder + "/bin"}, folder + "/os-release");
  CHECK(none.system == "debian 12");
  CHECK(none.python.empty());
  REQUIRE(base::write_file(folder + "/bin/python3.99", "#!/bin/sh\n", 0755));
  REQUIRE(::symlink("python3.99", (folder + "/bin/python3").c_str()) == 0);
  auto found = base_of({"PATH=relative:/none:" + folder + "/bin"}, folder + "/os-release");
  CHECK(found.python3 == folder + "/bin/python3");
  CHECK(found.python == folder + "/bin/python3.99");
  CHECK(base_of({}, folder + "/none").system == "linux");
  REQUIRE(base::remove_tree(folder));
}

TEST_CASE("what pip says of itself is cut into packages") {
  CHECK(packages_of("a==1\n\n# comment\n b==2 \r\nc @ https://x\n") ==
        std::vector<std::string>{"a==1", "b==2", "c @ https://x"});
  CHECK(packages_of(std::string(100'000, '\n') + std::string(5000, 'x')).empty());
}

TEST_CASE("the record of a run's environment") {
  std::string folder = "/tmp/spell-layers-" + base::hex(base::random_bytes(6));
  REQUIRE(base::make_folders(folder));
  CHECK_FALSE(read_environment_record(folder)->has_value());
  REQUIRE(write_environment_record(folder, {"/tree", "key", true}));
  auto read = read_environment_record(folder);
  REQUIRE(read);
  REQUIRE(*read);
  CHECK((*read)->tree == "/tree");
  CHECK((*read)->venv);
  REQUIRE(base::write_file(folder + "/environment", "{"));
  CHECK(read_environment_record(folder).error().code() == "damaged");
  REQUIRE(base::remove_tree(folder));
}
