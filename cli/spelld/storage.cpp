#include "storage.hpp"

#include <sys/stat.h>

#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/count.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "say.hpp"
#include "service/storage.hpp"
#include "spell/json.hpp"
#include "worker/worker.hpp"

namespace spell::daemon {

namespace {

using nlohmann::json;

/// Asks the service, or holds its folder while `at_rest` works on it.
Result<json> on_storage(
    const StorageOptions& options, const std::string& route, const json& body,
    const std::function<Result<json>(service::Storage&, const std::string& folder)>& at_rest) {
  return carry_out(options.service, route, body, [&](const FoundService& found) -> Result<json> {
    if (options.accept_log) {
      auto accepted = service::accept_log(found.state);
      if (!accepted) return accepted.error();
      if (*accepted)
        std::cerr << "spelld: left out " << base::count((*accepted)->lost, "page")
                  << " of changes that cannot be read; the whole log is kept as "
                  << (*accepted)->kept << std::endl;
    }
    auto opened = service::StorageAtRest::open(found.state, found.owner);
    if (!opened) return opened.error();
    return at_rest((*opened)->storage(), found.state);
  });
}

}  // namespace

int collect(const StorageOptions& options) {
  ::umask(077);
  json body = options.spare ? json{{"spare", *options.spare}} : json::object();
  // Without a service nothing is on its way but what may be resumed within a day.
  std::chrono::seconds spare(options.spare.value_or(24 * 3600));
  auto done = on_storage(options, "collect", body,
                         [&](service::Storage& storage, const std::string&) -> Result<json> {
                           auto collected = storage.collect(spare, spare);
                           if (!collected) return collected.error();
                           return json{{"collected",
                                        {{"objects", collected->objects},
                                         {"bytes", collected->bytes},
                                         {"log_bytes", collected->log_bytes},
                                         {"code_bytes", collected->code_bytes},
                                         {"problems", collected->problems}}}};
                         });
  if (!done) return fail(done.error());
  if (options.json) {
    std::cout << done->dump() << std::endl;
    return 0;
  }
  auto& collected = (*done)["collected"];
  for (auto& problem : collected["problems"])
    std::cerr << "spelld: " << problem.get<std::string>() << std::endl;
  std::cout << "Freed " << base::format_size(collected.value("bytes", std::int64_t{0})) << ": "
            << base::count(collected.value("objects", std::int64_t{0}), "object")
            << " that nothing named any more" << std::endl;
  return collected["problems"].empty() ? 0 : 1;
}

int check(const StorageOptions& options) {
  ::umask(077);
  auto done =
      on_storage(options, "check", nullptr,
                 [](service::Storage& storage, const std::string& folder) -> Result<json> {
                   auto checked = storage.check();
                   if (!checked) return checked.error();
                   auto caches = worker::check_caches_at_rest(folder + "/worker");
                   if (!caches) return caches.error();
                   checked->damaged.insert(checked->damaged.end(), caches->begin(), caches->end());
                   return json{{"check", *checked}};
                 });
  if (!done) return fail(done.error());
  auto& checked = (*done)["check"];
  bool fine = checked["damaged"].empty() && checked["hurt"].empty();
  if (options.json) {
    std::cout << done->dump() << std::endl;
    return fine ? 0 : 1;
  }
  for (auto& line : checked["damaged"]) std::cout << "damaged: " << line.get<std::string>() << "\n";
  for (auto& line : checked["hurt"]) std::cout << "hurt: " << line.get<std::string>() << "\n";
  std::cout << base::count(checked.value("packs", std::int64_t{0}), "pack") << ", "
            << base::count(checked.value("objects", std::int64_t{0}), "object") << ", "
            << base::format_size(checked.value("bytes", std::int64_t{0}))
            << " read: " << (fine ? "all is as it was written" : "something is damaged")
            << std::endl;
  return fine ? 0 : 1;
}

}  // namespace spell::daemon
