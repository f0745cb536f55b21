#include "client/connection.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "model/run.hpp"
#include "spell/json.hpp"
#include "spell/version.hpp"

namespace spell::detail {

namespace {

/// Whether version `a` ("1.10.2") comes after `b`. What is no version comes after nothing.
bool is_newer_version(const std::string& a, const std::string& b) {
  auto numbers = [](const std::string& version) {
    std::vector<std::int64_t> out;
    for (auto& part : base::split(version, '.')) out.push_back(base::parse_int(part).value_or(-1));
    return out;
  };
  return numbers(a) > numbers(b) && numbers(b).front() >= 0;
}

bool is_success_status(int status) { return status >= 200 && status < 300; }

}  // namespace

Error error_of(int status, std::string_view body) {
  if (auto answer = model::parse_json(body, answer_limit); answer && answer->is_object()) {
    json error = answer->value("error", json::object());
    auto text = [&](const char* name) {
      auto found = error.is_object() ? error.find(name) : error.end();
      return found != error.end() && found->is_string() ? found->get<std::string>() : std::string();
    };
    if (!text("code").empty())
      return Error(text("code"), text("message"))
          .with_http_status(status)
          .with_request_id(text("request_id"));
  }
  return base::error("invalid_answer",
                     "the service answered with HTTP status " + std::to_string(status))
      .with_http_status(status);
}

Result<> Connection::learn_owner(const Call& what, const Limit& limit) {
  if (!needs_owner(what) || !owner().empty()) return ok();
  auto answer = call({.route = model::Route::get_user}, limit);
  auto identity = answer ? member<Identity>(*answer, "identity") : Result<Identity>(answer.error());
  if (!identity) return identity.error();
  std::lock_guard lock(owner_mutex_);
  parts_.owner = identity->owner;
  return ok();
}

Result<json> Connection::call(const Call& what, const Limit& limit) {
  SPELL_TRY(learn_owner(what, limit));
  auto answer = send(make_request(what, owner()), is_repeatable(what.route), limit);
  if (!answer) return answer.error();
  if (!is_success_status(answer->status)) return error_of(answer->status, answer->body);
  if (answer->body.empty()) return json::object();
  auto body = model::parse_json(answer->body, answer_limit);
  if (!body) return base::error("invalid_answer", "the service's answer is not JSON");
  return body;
}

Result<std::string> Connection::fetch(const Call& what, const Limit& limit) {
  SPELL_TRY(learn_owner(what, limit));
  auto answer = send(make_request(what, owner()), is_repeatable(what.route), limit);
  if (!answer) return answer.error();
  if (!is_success_status(answer->status)) return error_of(answer->status, answer->body);
  return std::move(answer->body);
}

Result<std::string> Connection::request(const net::ClientRequest& request, const Limit& limit) {
  auto answer = send(request, request.method == "GET", limit);
  if (!answer) return answer.error();
  if (!is_success_status(answer->status)) return error_of(answer->status, answer->body);
  return std::move(answer->body);
}

Result<net::ClientResponse> Connection::send(const net::ClientRequest& request, bool repeatable,
                                             const Limit& limit) {
  Recovery recovery(*this, limit);
  for (;;) {
    bool asked = false;
    auto answer = attempt(request, limit, asked, recovery);
    if (answer) return answer;
    SPELL_TRY(recovery.after(answer.error(), repeatable || !asked));
  }
}

Result<net::ClientResponse> Connection::attempt(const net::ClientRequest& request,
                                                const Limit& limit, bool& asked,
                                                Recovery& recovery) {
  if (!acquainted_ && request.method != "GET") SPELL_TRY(introduce(limit));
  auto left = limit.left();
  if (!left) return left.error();
  asked = true;
  auto answer = parts_.transport->send(request, *left);
  if (!answer) return answer;
  if (!acquainted_) SPELL_TRY(check_version(answer->headers, limit));
  if (answer->status != 503 && answer->status != 429) return answer;
  recovery.heard(answer->headers);
  return error_of(answer->status, answer->body);
}

Result<std::unique_ptr<Body>> Connection::open(const Call& what, const Limit& limit,
                                               Recovery& recovery) {
  SPELL_TRY(learn_owner(what, limit));
  auto left = limit.left();
  if (!left) return left.error();
  auto body = parts_.transport->open(make_request(what, owner()), *left);
  if (!body) return body;
  if (!acquainted_) SPELL_TRY(check_version((*body)->headers(), limit));
  if (is_success_status((*body)->status())) return body;
  recovery.heard((*body)->headers());
  std::string text;
  char buffer[4096];
  while (text.size() < 65536) {
    auto n = (*body)->read(buffer, sizeof buffer, *left);
    if (!n) return n.error();
    if (*n == 0) break;
    text.append(buffer, *n);
  }
  return error_of((*body)->status(), text);
}

Result<net::MessageStream> Connection::upgrade(const Call& what, const Limit& limit) {
  SPELL_TRY(learn_owner(what, limit));
  Recovery recovery(*this, limit);
  auto once = [&](bool& asked) -> Result<net::MessageStream> {
    if (!acquainted_) SPELL_TRY(introduce(limit));
    auto left = limit.left();
    if (!left) return left.error();
    asked = true;
    auto upgraded = parts_.transport->upgrade(make_request(what, owner()), *left);
    if (!upgraded) return upgraded.error();
    if (!upgraded->stream) {
      recovery.heard(upgraded->response.headers);
      return error_of(upgraded->response.status, upgraded->response.body);
    }
    return std::move(*upgraded->stream);
  };
  for (;;) {
    bool asked = false;
    auto stream = once(asked);
    if (stream) return stream;
    SPELL_TRY(recovery.after(stream.error(), !asked));
  }
}

/// Before anything is changed on a service that has not been looked at.
Result<> Connection::introduce(const Limit& limit) {
  auto left = limit.left();
  if (!left) return left.error();
  auto answer =
      parts_.transport->send(make_request({.route = model::Route::health}, owner()), *left);
  if (!answer) return answer.error();
  return check_version(answer->headers, limit);
}

Result<> Connection::check_version(const net::Headers& headers, const Limit& limit) {
  if (net::find_header(headers, "X-Spell-Version") != version()) SPELL_TRY(examine(limit));
  reached_ = true;
  acquainted_ = true;
  return ok();
}

/// A service of another version: does it speak our protocol, must it make room for us?
Result<> Connection::examine(const Limit& limit) {
  std::unique_lock lock(mutex_);
  auto left = limit.left();
  if (!left) return left.error();
  if (parts_.workflow != 0) {  // its credentials show no more than the protocol
    auto health =
        parts_.transport->send(make_request({.route = model::Route::health}, owner()), *left);
    if (!health) return health.error();
    auto body = model::parse_json(health->body, answer_limit);
    auto protocol = body ? member<std::int64_t>(*body, "protocol").value_or(0) : 0;
    if (protocol == 0 || protocol == api_protocol()) return ok();
    return base::error("incompatible_service",
                       "the service at " + endpoint() + " speaks protocol " +
                           std::to_string(protocol) + ", this program " +
                           std::to_string(api_protocol()) +
                           "; build it with the service's version of libspell");
  }
  auto answer =
      parts_.transport->send(make_request({.route = model::Route::status}, owner()), *left);
  if (!answer) return answer.error();
  if (answer->status == 503 || answer->status == 401 || answer->status == 403)
    return error_of(answer->status, answer->body);
  auto body = model::parse_json(answer->body, answer_limit);
  auto info = body && is_success_status(answer->status) ? member<ServiceInfo>(*body, "service")
                                                        : Result<ServiceInfo>();
  if (!info)
    return base::error("incompatible_service", "what answers at " + endpoint() +
                                                   " is no Spell service that version " +
                                                   version() + " understands");
  if (can_start() && is_newer_version(version(), info->version) && !handed_over_) {
    handed_over_ = true;
    if (stop_service(true, limit)) {
      return base::error("service_unreachable",
                         "the service of version " + info->version + " has ended");
    }
  }
  if (info->protocol != api_protocol())
    return base::error("incompatible_service",
                       "the service at " + endpoint() + " is version " + info->version +
                           " (protocol " + std::to_string(info->protocol) + "), this is version " +
                           version() + " (protocol " + std::to_string(api_protocol()) + "); " +
                           (can_start()                       ? "end it with: spell service stop"
                            : info->protocol > api_protocol() ? "upgrade this program"
                                                              : "upgrade the service"));
  return ok();
}

Result<> Connection::start(std::uint64_t starts_seen, const Limit& limit) {
  std::unique_lock lock(mutex_);
  // Of many threads that find the service gone, one starts it.
  if (!started_.wait(lock, limit.stop(), [&] { return !starting_; }))
    return base::error("canceled", "the call was canceled");
  if (starts_ != starts_seen) return ok();
  starting_ = true;
  lock.unlock();
  auto result = parts_.service->start(limit);
  lock.lock();
  starting_ = false;
  if (result) ++starts_;
  started_.notify_all();
  return result;
}

Result<> Connection::stop_service(bool handover, const Limit& limit) {
  constexpr auto patience = 30s;
  Moment begin = waiter().now();
  bool asked = false;
  std::int64_t pid =
      0;  // of the service that was asked: another may be there as soon as it is gone
  auto pause = 2ms;
  for (;;) {
    bool gone = false;
    if (!asked) {
      auto left = limit.left();
      if (!left) return left.error();
      auto answer = parts_.transport->send(
          make_request({.route = model::Route::stop_service, .body = {{"handover", handover}}},
                       owner()),
          *left);
      asked = answer && (is_success_status(answer->status) || answer->status == 503);
      if (answer && !asked) return error_of(answer->status, answer->body);
      if (auto body = model::parse_json(asked ? answer->body : ""))
        pid = member<std::int64_t>(*body, "pid").value_or(0);
      gone = !answer && answer.error().code() == "service_unreachable";
      if (!answer && !gone && answer.error().code() != "connection_lost") return answer.error();
    } else if (!parts_.service) {
      auto answer =
          parts_.transport->send(make_request({.route = model::Route::health}, owner()), {});
      gone = !answer && answer.error().code() == "service_unreachable";
    }
    auto holder = parts_.service ? parts_.service->holder() : 0;
    if (parts_.service ? holder == 0 || (pid && holder != pid) : gone) break;
    if (waiter().now() - begin > patience)
      return base::error("timeout", "the service has not ended within 30 s" +
                                        (log().empty() ? "" : "; see " + log()));
    SPELL_TRY(waiter().sleep(pause, limit.stop()));
    pause = std::min(pause * 2, 50ms);
  }
  acquainted_ = false;
  return ok();
}

Result<> Recovery::after(const Error& error, bool repeatable) {
  auto told = std::exchange(told_, std::nullopt);
  auto left = limit_.time_left();
  auto what = remedy(error, {.repeatable = repeatable,
                             .can_start = connection_.can_start(),
                             .reached = connection_.reached_,
                             .told_when = told.has_value()});
  if (what == Remedy::none) return error;
  if (told && !left && *told > longest_outage) return error;
  connection_.acquainted_ = false;
  if (what == Remedy::wait || !first_) {
    auto pause = backoff_.next(connection_.waiter().now(), connection_.waiter().random());
    if (!pause) return error;
    if (told) pause = std::max(*pause, *told);
    if (left && *left < *pause) pause = left;
    SPELL_TRY(connection_.waiter().sleep(*pause, limit_.stop()));
  }
  first_ = false;
  if (what == Remedy::start) {
    SPELL_TRY(connection_.start(starts_, limit_));
    starts_ = connection_.starts();
  }
  return ok();
}

void Recovery::reset() {
  first_ = true;
  backoff_.reset();
  starts_ = connection_.starts();
}

}  // namespace spell::detail
