#include "worker/link.hpp"

#include "base/clock.hpp"
#include "base/error.hpp"
#include "model/run.hpp"

namespace spell::worker {

using model::json;

namespace {

constexpr std::size_t names_at_once = 10'000;

std::string of_run(const std::string& run, std::int64_t epoch) {
  return "?run=" + run + "&epoch=" + std::to_string(epoch);
}

/// The service's own word for what it refuses.
Error refusal(const net::ClientResponse& response) {
  json body = json::parse(response.body, nullptr, false);
  std::string code = "http_" + std::to_string(response.status),
              message = "the service answered " + std::to_string(response.status);
  if (body.is_object())
    if (auto error = body.find("error"); error != body.end() && error->is_object()) {
      if (auto text = error->find("code"); text != error->end() && text->is_string()) code = *text;
      if (auto text = error->find("message"); text != error->end() && text->is_string())
        message = *text;
    }
  return base::error(code, message).with_http_status(response.status);
}

Error bad_answer(const std::string& route) {
  return base::error("bad_answer",
                     "the service's answer to " + route + " is not what the protocol says");
}

}  // namespace

Link::Link(std::string endpoint, std::string token, const std::string& machine)
    : client_(std::move(endpoint)),
      token_(std::move(token)),
      base_("/v1/machines/" + net::percent_encode(machine)) {}

Result<json> Link::post(const std::string& route, net::ClientRequest request,
                        const CallOptions& options) {
  request.method = "POST";
  request.target = base_ + route;
  if (!token_.empty()) request.headers.emplace_back("Authorization", "Bearer " + token_);
  auto response = client_.send(request, options);
  if (!response) return response.error();
  if (response->status >= 400) return refusal(*response);
  json body = json::parse(response->body, nullptr, false);
  if (!body.is_object()) return bad_answer(route);
  return body;
}

Result<model::SyncAnswer> Link::sync(const model::SyncRequest& sync, const CallOptions& options) {
  net::ClientRequest request;
  request.headers.emplace_back("Content-Type", "application/json");
  request.body = model::to_json(sync).dump(-1, ' ', false, json::error_handler_t::replace);
  auto body = post("/sync", std::move(request), options);
  if (!body) return body.error();
  return model::parse_sync_answer(*body);
}

Result<std::int64_t> Link::send_log(const std::string& run, std::int64_t epoch, std::int64_t offset,
                                    std::string frames, const CallOptions& options) {
  net::ClientRequest request;
  request.headers.emplace_back("Content-Type", "application/vnd.spell.log");
  request.body = std::move(frames);
  auto body = post("/log" + of_run(run, epoch) + "&offset=" + std::to_string(offset) +
                       "&now_us=" + std::to_string(base::boot_ns() / 1000),
                   std::move(request), options);
  if (!body) return body.error();
  auto bytes = body->find("bytes");
  if (bytes == body->end() || !bytes->is_number_integer()) return bad_answer("/log");
  return bytes->get<std::int64_t>();
}

Result<std::vector<spellfs::Name>> Link::missing(const std::string& run, std::int64_t epoch,
                                                 std::span<const spellfs::Name> names,
                                                 const CallOptions& options) {
  std::vector<spellfs::Name> missing;
  while (!names.empty()) {
    auto part = names.first(std::min(names.size(), names_at_once));
    names = names.subspan(part.size());
    json question;
    question["run"] = run;
    question["epoch"] = epoch;
    auto& texts = question["names"] = json::array();
    for (auto& name : part) texts.push_back(name.text());
    net::ClientRequest request;
    request.headers.emplace_back("Content-Type", "application/json");
    request.body = question.dump();
    auto body = post("/missing", std::move(request), options);
    if (!body) return body.error();
    auto found = body->find("names");
    if (found == body->end() || !found->is_array()) return bad_answer("/missing");
    for (auto& text : *found) {
      auto name = text.is_string() ? spellfs::Name::parse(text.get_ref<const std::string&>())
                                   : std::nullopt;
      if (!name) return bad_answer("/missing");
      missing.push_back(*name);
    }
  }
  return missing;
}

Result<> Link::send_pack(const std::string& run, std::int64_t epoch, int fd, std::int64_t size,
                         const CallOptions& options) {
  net::ClientRequest request;
  request.headers.emplace_back("Content-Type", "application/octet-stream");
  request.body_fd = fd;
  request.body_size = size;
  auto body = post("/objects" + of_run(run, epoch), std::move(request), options);
  if (!body) return body.error();
  return ok();
}

}  // namespace spell::worker
