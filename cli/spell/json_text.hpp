// The API's objects as JSON texts, {"run": {…}}; keeps the JSON library out of the commands' own
// files.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "spell/client.hpp"

namespace spell::cli {

/// {"NAME": value}. Instantiated for the SDK's value types and vectors of them.
template <class T>
std::string json_text(std::string_view name, const T& value);

/// {"usage": …} of one resource, which the API calls by its path.
std::string json_usage(const UsageInfo& usage);
/// {"url", "token", …}, as whoever joins reads it.
std::string json_text(const JoinToken& token);
/// An element of {"entries": […]}.
std::string json_element(const ResourceInfo& entry);
/// A log entry as the API's JSON lines have it.
std::string json_text(const LogEntry& entry);
/// A point of a metric, likewise.
std::string json_text(const Metric& point);
/// {"user": {…}, "password"}, {"token": {…}, "secret"}
std::string json_text(const NewUser& made);
std::string json_text(const NewToken& made);
/// {"error": {"code", "message"}}
std::string json_text(const Error& error);
/// {"NAME": {"key": "value", …}} for what the API knows nothing of.
using Fields = std::vector<std::pair<std::string, std::string>>;
std::string json_fields(std::string_view name, const Fields& fields);

/// The same JSON for a reader's eyes.
std::string indent_json(const std::string& compact);

}  // namespace spell::cli
