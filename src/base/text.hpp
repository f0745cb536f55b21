// Small work on text: validity, splitting, quoting, numbers with units, patterns.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace spell::base {

/// Valid UTF-8 without NUL.
bool valid_text(std::string_view text);
/// Valid UTF-8: each invalid byte becomes U+FFFD.
std::string to_utf8(std::string_view bytes);
std::vector<std::string> split(std::string_view text, char separator);
std::string_view trim(std::string_view text);
std::string join(const std::vector<std::string>& parts, std::string_view separator);
/// ASCII letters only.
std::string lower(std::string_view text);
/// A whole decimal number, nothing around it.
std::optional<std::int64_t> parse_int(std::string_view text);
/// "512", "10K", "64M", "2G", "1T", also "KiB", "KB" (powers of 1024 for K…; all mean the same
/// here): bytes.
std::optional<std::int64_t> parse_size(std::string_view text);
/// "1.5 GiB"
std::string format_size(std::int64_t bytes);
/// For a shell, as one word.
std::string shell_quote(std::string_view word);
/// A name for labels, projects, machines: 1 to 64 of letters, digits, '.', '_', '-', not beginning
/// with '-' or '.'.
bool valid_name(std::string_view name);
/// A relative path of plain components: no empty one, no "." or "..", no NUL, not absolute; "" is
/// fine.
bool safe_relative_path(std::string_view path);

}  // namespace spell::base
