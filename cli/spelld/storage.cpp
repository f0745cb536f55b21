#include "storage.hpp"

#include <sys/stat.h>

#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/spell_dir.hpp"
#include "base/text.hpp"
#include "lock.hpp"
#include "model/run.hpp"
#include "net/client.hpp"
#include "service/storage.hpp"

namespace spell::daemon {

namespace {

using nlohmann::json;

Result<json> ask(const base::SpellDirs& dirs, const std::string& route, const json& body) {
  net::HttpClient client("unix:" + dirs.socket);
  net::ClientRequest request;
  request.method = "POST";
  request.target = "/v1/service/" + route;
  request.headers = {{"Content-Type", "application/json"}};
  if (!body.is_null()) request.body = body.dump();
  auto answer = client.send(request);
  if (!answer) return answer.error();
  auto parsed = model::parse_json(answer->body, std::size_t{64} << 20);
  if (!parsed) return base::error("invalid_answer", "the service did not answer in JSON");
  if (answer->status != 200) {
    json error = parsed->is_object() ? parsed->value("error", json::object()) : json::object();
    return base::error(
        error.value("code", "internal"),
        error.value("message", "the service answered " + std::to_string(answer->status)));
  }
  return parsed;
}

/// Asks the service, or holds its folder while `at_rest` works on it.
Result<json> carry_out(const StorageOptions& options, const std::string& route, const json& body,
                       const std::function<Result<json>(service::Storage&)>& at_rest) {
  auto dirs = base::resolve_spell_dirs(options.spell_dir, base::Environment::current());
  if (!dirs) return dirs.error();
  auto held = take_lock(dirs->lock);
  if (!held) return held.error();
  if (held->other) return ask(*dirs, route, body);
  auto opened = service::StorageAtRest::open(dirs->state, base::user_name());
  if (!opened) return opened.error();
  return at_rest((*opened)->storage());
}

int fail(const Error& error) {
  std::cerr << "spelld: " << error.message() << std::endl;
  return error.code() == "invalid_configuration" ? 3 : 1;
}

}  // namespace

int collect(const StorageOptions& options) {
  ::umask(077);
  json body = options.spare ? json{{"spare", *options.spare}} : json::object();
  // Without a service nothing is on its way but what may be resumed within a day.
  std::chrono::seconds spare(options.spare.value_or(24 * 3600));
  auto done = carry_out(options, "collect", body, [&](service::Storage& storage) -> Result<json> {
    auto collected = storage.collect(spare);
    if (!collected) return collected.error();
    return json{{"collected",
                 {{"objects", collected->objects},
                  {"bytes", collected->bytes},
                  {"log_bytes", collected->log_bytes}}}};
  });
  if (!done) return fail(done.error());
  if (options.json) {
    std::cout << done->dump() << std::endl;
    return 0;
  }
  auto& collected = (*done)["collected"];
  std::cout << "Freed " << base::format_size(collected.value("bytes", std::int64_t{0})) << ": "
            << collected.value("objects", std::int64_t{0}) << " objects that nothing named any more"
            << std::endl;
  return 0;
}

int check(const StorageOptions& options) {
  ::umask(077);
  auto done = carry_out(options, "check", nullptr, [](service::Storage& storage) -> Result<json> {
    auto checked = storage.check();
    if (!checked) return checked.error();
    return json{{"check",
                 {{"packs", checked->packs},
                  {"objects", checked->objects},
                  {"bytes", checked->bytes},
                  {"damaged", checked->damaged},
                  {"hurt", checked->hurt}}}};
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
  std::cout << checked.value("packs", std::int64_t{0}) << " packs, "
            << checked.value("objects", std::int64_t{0}) << " objects, "
            << base::format_size(checked.value("bytes", std::int64_t{0}))
            << " read: " << (fine ? "all is as it was written" : "something is damaged")
            << std::endl;
  return fine ? 0 : 1;
}

}  // namespace spell::daemon
