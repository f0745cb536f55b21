#include "worker/cdi.hpp"

#include <unistd.h>

#include "temporary_folder.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;

namespace {

/// A machine whose driver has two libraries, and where its specifications lie.
struct Driver {
  Driver() {
    write(top.path + "/lib/libcuda.so.535.1", "driver");
    write(top.path + "/lib/libother.so.2", "other");
    REQUIRE(::symlink("libcuda.so.535.1", (top.path + "/lib/libcuda.so.1").c_str()) == 0);
    REQUIRE(::symlink("libcuda.so.1", (top.path + "/lib/libcuda.so").c_str()) == 0);
  }
  void specify(const std::string& name, const std::string& kind, const std::string& members) const {
    write(top.path + "/cdi/" + name,
          R"({"cdiVersion": "0.5.0", "kind": ")" + kind + "\", " + members + "}");
  }
  std::string mount(const std::string& name) const {
    return R"({"hostPath": ")" + top.path + "/lib/" + name + R"(", "containerPath": "/usr/lib/)" +
           name + R"(", "options": ["ro"]})";
  }
  Result<DeviceEdits> edits(const std::vector<std::string>& gpus = {"GPU-1"}) const {
    return gpu_edits({top.path + "/none", top.path + "/cdi"}, gpus);
  }
  TemporaryFolder top;
};

using Links = std::vector<std::pair<std::string, std::string>>;

}  // namespace

TEST_CASE("an image gets the driver's libraries, under all names that they have") {
  Driver driver;
  driver.specify("nvidia.json", "nvidia.com/gpu",
                 R"(
    "containerEdits": {
      "env": ["NVIDIA_VISIBLE_DEVICES=void", "wrong"],
      "mounts": [)" + driver.mount("libcuda.so.535.1") +
                     R"(],
      "hooks": [{"args": ["nvidia-ctk", "hook", "create-symlinks", "--link", "libcuda.so.1::/usr/lib/libcuda.so"]},
                {"args": ["nvidia-ctk", "hook", "update-ldcache", "--folder", "/usr/lib", "--folder=/opt/lib"]},
                {"args": ["nvidia-ctk", "hook", "chmod", "--mode", "755"]},
                {"args": ["nvidia-ctk", "hook", "enable-cuda-compat"]}]},
    "devices": [{"name": "0", "containerEdits": {"mounts": [{"hostPath": "relative"}]}},
                {"name": "all", "containerEdits": {"mounts": [)" +
                     driver.mount("libother.so.2") + R"(]}}])");
  auto edits = driver.edits({"GPU-1", "GPU-2"});
  REQUIRE(edits);
  REQUIRE(edits->binds.size() == 2);  // what both GPUs need once
  CHECK(edits->binds[0].from == driver.top.path + "/lib/libcuda.so.535.1");
  CHECK(edits->binds[0].to == "/usr/lib/libcuda.so.535.1");
  CHECK(edits->binds[0].read_only);
  CHECK(edits->links == Links{{"libcuda.so.535.1", "/usr/lib/libcuda.so.1"},
                              {"libcuda.so.1", "/usr/lib/libcuda.so"}});
  CHECK(edits->env == std::vector<std::string>{"NVIDIA_VISIBLE_DEVICES=void"});
  CHECK(edits->libraries == std::vector<std::string>{"/usr/lib", "/opt/lib"});
  REQUIRE(edits->notices.size() == 1);
  CHECK(edits->notices[0].find("enable-cuda-compat") != std::string::npos);
}

TEST_CASE("what a specification names must be there, and what is none is said") {
  Driver driver;
  auto nothing = driver.edits();
  REQUIRE(nothing);
  CHECK(nothing->binds.empty());
  CHECK(nothing->notices.at(0).find("no specification in /etc/cdi") != std::string::npos);
  write(driver.top.path + "/cdi/nvidia.yaml", "kind: nvidia.com/gpu");
  CHECK(driver.edits()->notices.at(0).find("nvidia.yaml is YAML") != std::string::npos);
  driver.specify("net.json", "vendor.com/net",
                 R"("containerEdits": {"mounts": [{"hostPath": "x"}]})");
  CHECK(driver.edits()->binds.empty());
  for (
      std::string members :
      {R"("containerEdits": {"mounts": [{"hostPath": "/none", "containerPath": "/x"}]})",
       R"("containerEdits": {"mounts": [{"hostPath": "/etc/passwd", "containerPath": "/x/../y"}]})",
       R"("containerEdits": {"mounts": [7]})",
       R"("devices": [{"name": "GPU-1", "containerEdits": {"mounts": [{"hostPath": "/none", "containerPath": "/x"}]}}])"}) {
    CAPTURE(members);
    driver.specify("gpu.json", "vendor.com/gpu", members);
    CHECK(driver.edits().error().code() == "mount_failed");
  }
  write(driver.top.path + "/cdi/gpu.json", "{");
  CHECK(driver.edits().error().message().find("gpu.json is no JSON object") != std::string::npos);
  for (auto* harmless :
       {R"("devices": {})", R"("devices": [1, {"name": 2}])", R"("containerEdits": [])",
        R"("containerEdits": {"env": 1, "hooks": [{"args": 1}, {}]})"}) {
    driver.specify("gpu.json", "vendor.com/gpu", harmless);
    CHECK(driver.edits());
  }
}
