#include "service_folder.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/spell_dir.hpp"
#include "model/run.hpp"
#include "net/client.hpp"
#include "settings.hpp"
#include "team.hpp"

namespace spell::daemon {

namespace {

using nlohmann::json;

Result<json> ask(const std::string& socket, const std::string& route, const json& body) {
  net::HttpClient client("unix:" + socket);
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

}  // namespace

Result<FoundService> find_service(const ServiceFolder& folder) {
  std::string data = folder.data;
  if (data.empty() && folder.spell_dir.empty() &&
      base::exists(settings_path(default_data_folder())))
    data = default_data_folder();
  if (!data.empty()) {
    while (data.size() > 1 && data.ends_with('/')) data.pop_back();
    SPELL_TRY(become_owner(data));
    auto settings = read_settings(data);
    if (!settings) return settings.error();
    return FoundService{data, data + "/spelld.sock", data + "/spelld.lock", settings->owner};
  }
  auto dirs = base::resolve_spell_dirs(folder.spell_dir, base::Environment::current());
  if (!dirs) return dirs.error();
  return FoundService{dirs->state, dirs->socket, dirs->lock, base::user_name()};
}

Result<json> carry_out(const ServiceFolder& folder, const std::string& route, const json& body,
                       const std::function<Result<json>(const FoundService&)>& at_rest) {
  auto found = find_service(folder);
  if (!found) return found.error();
  auto held = take_lock(found->lock);
  if (!held) return held.error();
  if (held->other) return ask(found->socket, route, body);
  return at_rest(*found);
}

}  // namespace spell::daemon
