#include "model/stream.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "model/error_code.hpp"
#include "model/members.hpp"
#include "model/run.hpp"

namespace spell::model {

template <>
struct Table<ExecRequest> {
  static constexpr Field<ExecRequest> fields[] = {
      SPELL_REQUIRED(ExecRequest, command), SPELL_MEMBER(ExecRequest, env),
      SPELL_MEMBER(ExecRequest, terminal),  SPELL_MEMBER(ExecRequest, columns),
      SPELL_MEMBER(ExecRequest, rows),
  };
};
template <>
struct Table<ForwardRequest> {
  static constexpr Field<ForwardRequest> fields[] = {SPELL_MEMBER(ForwardRequest, port)};
};
template <>
struct Table<StatsRequest> {
  static constexpr Field<StatsRequest> fields[] = {SPELL_MEMBER(StatsRequest, interval_ms)};
};

namespace {

bool in_range(std::int64_t value, std::int64_t least, std::int64_t most) {
  return value >= least && value <= most;
}

template <class T>
Result<T> parse(std::string_view text) {
  auto body = parse_json(text, 1 << 20);
  if (!body) return body.error();
  T request;
  // A newer client may ask for more than this worker knows.
  if (auto problem = read_value(*body, request, Unknown::ignore))
    return problem.error("invalid_request");
  return request;
}

}  // namespace

std::string stream_message(char kind, std::string_view text) {
  std::string out(1, kind);
  return out.append(text);
}

std::string failed_message(const Error& error) {
  json body{{"code", error.code()}, {"message", error.message()}};
  return stream_message(stream::failed, body.dump(-1, ' ', false, json::error_handler_t::replace));
}

Error failed_error(std::string_view text) {
  json body = json::parse(text, nullptr, false);
  auto member = [&](const char* name) {
    auto found = body.is_object() ? body.find(name) : body.end();
    return body.is_object() && found != body.end() && found->is_string()
               ? one_line(found->get<std::string>(), 2000)
               : std::string();
  };
  std::string code = member("code");
  return base::error(code.empty() ? "invalid_answer" : code,
                     code.empty() ? "the run's machine failed without a word" : member("message"));
}

std::int64_t number_in(std::string_view text) { return base::parse_int(text).value_or(0); }

std::string resize_text(TerminalSize size) {
  return std::to_string(size.columns) + "x" + std::to_string(size.rows);
}

bool parse_resize(std::string_view text, TerminalSize& out) {
  auto cross = text.find('x');
  if (cross == text.npos) return false;
  auto columns = number_in(text.substr(0, cross)), rows = number_in(text.substr(cross + 1));
  if (!in_range(columns, 1, 10'000) || !in_range(rows, 1, 10'000)) return false;
  out = {static_cast<int>(columns), static_cast<int>(rows)};
  return true;
}

json to_json(const ExecRequest& request) { return write_object(request); }
json to_json(const ForwardRequest& request) { return write_object(request); }
json to_json(const StatsRequest& request) { return write_object(request); }

Result<ExecRequest> parse_exec_request(std::string_view text) {
  auto request = parse<ExecRequest>(text);
  if (!request) return request;
  if (request->command.find_first_not_of(" \t\n") == std::string::npos)
    return base::error("invalid_request", "command: give one");
  for (auto& [name, value] : request->env)
    if (name.empty() || name.find_first_of(std::string_view("=\0", 2)) != name.npos ||
        value.find('\0') != value.npos)
      return base::error("invalid_request", "env: '" + one_line(name, 80) + "' is no name");
  if (request->command.find('\0') != std::string::npos)
    return base::error("invalid_request", "command: has a NUL byte in it");
  if (!in_range(request->columns, 1, 10'000) || !in_range(request->rows, 1, 10'000))
    return base::error("invalid_request", "columns and rows: from 1 to 10000");
  return request;
}

Result<ForwardRequest> parse_forward_request(std::string_view text) {
  auto request = parse<ForwardRequest>(text);
  if (request && !in_range(request->port, 0, 65535))
    return base::error("invalid_request", "port: from 1 to 65535, or 0 for none");
  return request;
}

Result<StatsRequest> parse_stats_request(std::string_view text) {
  auto request = parse<StatsRequest>(text);
  if (request && !in_range(request->interval_ms, 100, 3'600'000))
    return base::error("invalid_request", "interval_ms: from 100 to 3600000");
  return request;
}

}  // namespace spell::model
