// Every error code the service answers with, and its HTTP status: the one table.
#pragma once
#include <span>
#include <string>
#include <string_view>

namespace spell::model {

struct ErrorRow {
  std::string_view code;
  int http_status;
  std::string_view meaning;
};
std::span<const ErrorRow> error_codes();
/// 500 for a code that is not in the table.
int http_status(std::string_view code);

/// A message may repeat what a caller sent: valid UTF-8, control characters as '?', cut after about
/// `limit` bytes.
std::string one_line(std::string_view text, std::size_t limit = 1000);

}  // namespace spell::model
