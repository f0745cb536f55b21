#include "worker/image_layer.hpp"

#include <sys/stat.h>

#include "temporary_folder.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;

using Words = std::vector<std::string>;

TEST_CASE("what an image says of its variables holds, and nothing else that it says") {
  TemporaryFolder tree;
  auto found = [&] {
    return image_environment(tree.path, {"TZ=Europe/Berlin", "HOME=/home/ada", "PATH=/x"}, "/root",
                             "root");
  };
  Words usual{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
              "HOME=/root",
              "USER=root",
              "LOGNAME=root",
              "SHELL=/bin/sh",
              "LANG=C.UTF-8",
              "TZ=Europe/Berlin"};
  CHECK(found() == usual);
  for (auto* broken : {"", "{", "[]", R"({"config":[]})", R"({"config":{"Env":"A=1"}})",
                       R"({"config":{"Env":[1, "no value", "=x", "A\u0000=1"]}})"}) {
    INFO(broken);
    write(tree.path + "/config.json", broken);
    CHECK(found() == usual);
  }
  write(tree.path + "/config.json",
        R"({"config":{"User":"0","WorkingDir":"/x","Env":["PATH=/opt/bin","A=b=c"]}})");
  auto both = usual;
  both.insert(both.end(), {"PATH=/opt/bin", "A=b=c"});
  CHECK(found() == both);
}

TEST_CASE("an image is fetched by what its name stood for, or by its digest") {
  auto script = [](const char* text, const std::string& digest = "") {
    return image_script(*model::parse_image(text), digest, "/t");
  };
  auto has = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  auto name = script("debian:12");
  CHECK(has(name, "from=docker://debian:12"));
  CHECK(has(name, "from=docker://debian@$digest"));
  CHECK(has(name, "echo debian@\"$digest\" > /t/packages.txt"));
  auto pinned = script("debian:12", "sha256:1");
  CHECK(has(pinned, "from=docker://debian@sha256:1"));
  CHECK(has(pinned, "!= sha256:1 ]"));
  CHECK(has(script("oci:uploads/x:a"), "from=oci:/spell-image:a"));
  CHECK(has(script("docker-archive:uploads/x"), "from=docker-archive:/spell-image"));
}

TEST_CASE("a machine without overlays or the tools cannot have images") {
  TemporaryFolder bin;
  Words environment{"PATH=" + bin.path};
  exec::Capabilities can;
  can.remedy = "no namespaces";
  CHECK(lacks_for_images(can, environment) == "no namespaces");
  can.containment = exec::Containment::user_namespaces;
  can.no_overlays = "an overlay cannot be written to here";
  CHECK(lacks_for_images(can, environment) == "an overlay cannot be written to here");
  can.overlays = true;
  CHECK(lacks_for_images(can, environment) ==
        "it is without skopeo umoci: apt install skopeo umoci");
  for (auto* tool : {"/skopeo", "/umoci"}) {
    write(bin.path + tool, "");
    REQUIRE(::chmod((bin.path + tool).c_str(), 0755) == 0);
  }
  CHECK(lacks_for_images(can, environment).empty());
}
