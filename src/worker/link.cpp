#include "worker/link.hpp"

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "model/run.hpp"

namespace spell::worker {

using model::json;

namespace {

constexpr std::size_t names_at_once = 10'000;

std::string of_run(const std::string& run, std::int64_t epoch) {
  return "?run=" + run + "&epoch=" + std::to_string(epoch);
}

Error bad_answer(const std::string& route) {
  return base::error("bad_answer",
                     "the service's answer to " + route + " is not what the protocol says");
}

net::ClientRequest question_about(const std::string& run, std::int64_t epoch,
                                  std::span<const spellfs::Name> names) {
  json question;
  question["run"] = run;
  question["epoch"] = epoch;
  auto& texts = question["names"] = json::array();
  for (auto& name : names) texts.push_back(name.text());
  net::ClientRequest request;
  request.headers.emplace_back("Content-Type", "application/json");
  request.body = question.dump();
  return request;
}

}  // namespace

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

bool may_pass(const Error& error) {
  if (error.http_status() == 0)
    return error.code() == "service_unreachable" || error.code() == "connection_lost" ||
           error.code() == "timeout";
  switch (error.http_status()) {
    case 408:
    case 429:
    case 502:
    case 503:
    case 504:
    case 507:
      return true;
    default:
      return false;
  }
}

Link::Link(Way way, const std::string& machine)
    : client_(way.dial ? net::HttpClient(std::move(way.endpoint), std::move(way.dial))
                       : net::HttpClient(std::move(way.endpoint), 16, std::move(way.trust),
                                         std::move(way.identity), std::move(way.proxy))),
      instance_(base::hex(base::random_bytes(8))),
      token_(std::move(way.token)),
      base_("/v1/machines/" + net::percent_encode(machine)) {}

void Link::authorize(net::ClientRequest& request) const {
  if (!token_.empty()) request.headers.emplace_back("Authorization", "Bearer " + token_);
  request.headers.emplace_back("X-Spell-Worker", instance_);
}

Result<net::ClientResponse> Link::send(const std::string& route, net::ClientRequest request,
                                       const CallOptions& options) {
  request.method = "POST";
  request.target = base_ + route;
  authorize(request);
  auto response = client_.send(request, options);
  if (response && response->status >= 400) return refusal(*response);
  return response;
}

Result<json> Link::post(const std::string& route, net::ClientRequest request,
                        const CallOptions& options) {
  auto response = send(route, std::move(request), options);
  if (!response) return response.error();
  json body = json::parse(response->body, nullptr, false);
  if (!body.is_object()) return bad_answer(route);
  return body;
}

Result<net::MessageStream> Link::open_stream(const std::string& id, const CallOptions& options) {
  net::ClientRequest request;
  request.target = base_ + "/streams/" + net::percent_encode(id);
  authorize(request);
  auto upgraded = client_.upgrade(std::move(request), options);
  if (!upgraded) return upgraded.error();
  if (!upgraded->stream) return refusal(upgraded->response);
  return std::move(*upgraded->stream);
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
  return send_frames("/log", run, epoch, offset, std::move(frames), options);
}

Result<std::int64_t> Link::send_metrics(const std::string& run, std::int64_t epoch,
                                        std::int64_t offset, std::string frames,
                                        const CallOptions& options) {
  return send_frames("/metrics", run, epoch, offset, std::move(frames), options);
}

Result<std::int64_t> Link::send_frames(const std::string& route, const std::string& run,
                                       std::int64_t epoch, std::int64_t offset, std::string frames,
                                       const CallOptions& options) {
  net::ClientRequest request;
  request.headers.emplace_back("Content-Type", "application/vnd.spell.log");
  request.body = std::move(frames);
  auto body = post(route + of_run(run, epoch) + "&offset=" + std::to_string(offset) +
                       "&now_us=" + std::to_string(base::boot_ns() / 1000),
                   std::move(request), options);
  if (!body) return body.error();
  auto bytes = body->find("bytes");
  if (bytes == body->end() || !bytes->is_number_integer()) return bad_answer(route);
  return bytes->get<std::int64_t>();
}

Result<std::vector<spellfs::Name>> Link::missing(const std::string& run, std::int64_t epoch,
                                                 std::span<const spellfs::Name> names,
                                                 const CallOptions& options) {
  std::vector<spellfs::Name> missing;
  while (!names.empty()) {
    auto part = names.first(std::min(names.size(), names_at_once));
    names = names.subspan(part.size());
    auto body = post("/missing", question_about(run, epoch, part), options);
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
  return body ? ok() : Result<>(body.error());
}

Result<> Link::send_pack(const std::string& run, std::int64_t epoch, std::string_view pack,
                         const CallOptions& options) {
  net::ClientRequest request;
  request.headers.emplace_back("Content-Type", "application/octet-stream");
  request.lent = pack;
  auto body = post("/objects" + of_run(run, epoch), std::move(request), options);
  return body ? ok() : Result<>(body.error());
}

Result<std::int64_t> Link::fetch_code(const std::string& run, std::int64_t epoch,
                                      const std::vector<std::string>& have, int fd,
                                      const CallOptions& options) {
  net::ClientRequest request;
  request.target = base_ + "/code" + of_run(run, epoch) + "&have=" + base::join(have, ",");
  authorize(request);
  auto stream = client_.open(request, options);
  if (!stream) return stream.error();
  std::string buffer(256 << 10, '\0'), refused;
  std::int64_t size = 0;
  for (;;) {
    auto got = stream->read(buffer.data(), buffer.size(), options);
    if (!got) return got.error();
    if (*got == 0) break;
    std::string_view piece(buffer.data(), *got);
    if (stream->status() >= 400) {
      refused.append(piece.substr(0, (64 << 10) - refused.size()));
      continue;
    }
    SPELL_TRY(base::write_all(fd, piece));
    size += static_cast<std::int64_t>(piece.size());
  }
  if (stream->status() >= 400) return refusal({stream->status(), {}, refused});
  return size;
}

Result<std::string> Link::read_objects(const std::string& run, std::int64_t epoch,
                                       std::span<const spellfs::Name> names,
                                       const CallOptions& options) {
  auto response = send("/objects/read", question_about(run, epoch, names), options);
  if (!response) return response.error();
  return std::move(response->body);
}

Result<model::LayerAnswer> Link::ask_layer(const std::string& route, const json& body,
                                           const CallOptions& options) {
  net::ClientRequest request;
  request.headers.emplace_back("Content-Type", "application/json");
  request.body = body.dump();
  auto answer = post(route, std::move(request), options);
  if (!answer) return answer.error();
  return model::parse_layer_answer(*answer);
}

Result<model::LayerAnswer> Link::claim_layer(const std::string& run, std::int64_t epoch,
                                             const model::LayerClaim& claim,
                                             const CallOptions& options) {
  return ask_layer("/layers/claim" + of_run(run, epoch), model::to_json(claim), options);
}

Result<model::LayerAnswer> Link::put_layer(const std::string& run, std::int64_t epoch,
                                           const model::LayerBuilt& built,
                                           const CallOptions& options) {
  return ask_layer("/layers" + of_run(run, epoch), model::to_json(built), options);
}

}  // namespace spell::worker
