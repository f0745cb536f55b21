#include "say.hpp"

#include <iostream>

#include "base/text.hpp"

namespace spell::worker_program {

namespace {

std::string containment(const model::WorkerHello& hello) {
  auto found = hello.capabilities.find("containment");
  return found == hello.capabilities.end() ? "" : found->second;
}

}  // namespace

int fail(const Error& error, bool json) {
  if (json)
    std::cout << nlohmann::json{{"error", {{"code", error.code()}, {"message", error.message()}}}}
                     .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
              << std::endl;
  else
    std::cerr << "spell-worker: " << error.message() << std::endl;
  return error.code() == "invalid_configuration" ? 3 : 1;
}

std::string describe(const model::WorkerHello& hello) {
  std::string text = std::to_string(hello.cores) + (hello.cores == 1 ? " core, " : " cores, ") +
                     base::format_size(hello.memory) + " memory";
  if (!hello.gpus.empty())
    text += ", " + std::to_string(hello.gpus.size()) + " GPU" +
            (hello.gpus.size() == 1 ? " (" : "s (") + hello.gpus.front().name + ")";
  if (hello.disk_free >= 0) text += ", " + base::format_size(hello.disk_free) + " free";
  if (auto fence = containment(hello); !fence.empty()) text += "; containment: " + fence;
  return text;
}

nlohmann::json hello_json(const model::WorkerHello& hello) {
  nlohmann::json gpus = nlohmann::json::array();
  for (auto& gpu : hello.gpus)
    gpus.push_back(
        {{"index", gpu.index}, {"uuid", gpu.uuid}, {"name", gpu.name}, {"memory", gpu.memory}});
  return {{"cores", hello.cores},         {"memory", hello.memory},
          {"disk_free", hello.disk_free}, {"containment", containment(hello)},
          {"gpus", std::move(gpus)},      {"notes", hello.notes}};
}

}  // namespace spell::worker_program
