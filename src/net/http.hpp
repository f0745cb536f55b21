// Plain values of HTTP, shared by client and server.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spell/result.hpp"

namespace spell::net {

using Headers = std::vector<std::pair<std::string, std::string>>;
/// Case-insensitive; "" if there is none.
std::string_view find_header(const Headers&, std::string_view name);

/// A parsed request target. `segments` are percent-decoded path components.
struct Target {
  std::vector<std::string> segments;
  std::map<std::string, std::string> query;
};
/// Error `invalid_path`: bad escapes, NUL, invalid UTF-8 in path or query, not beginning with '/'.
/// Empty segments are dropped; "." and ".." are refused.
Result<Target> parse_target(std::string_view target);
std::string percent_encode(std::string_view component);
/// Error `invalid_path`: a bad escape, NUL or invalid UTF-8.
Result<std::string> percent_decode(std::string_view component);

}  // namespace spell::net
