#include "net/http.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

namespace spell::net {

namespace {

char lower_char(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool same_name(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (lower_char(a[i]) != lower_char(b[i])) return false;
  return true;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = lower_char(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/// In queries '+' stands for a space.
Result<std::string> decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      out += ' ';
    } else if (text[i] != '%') {
      out += text[i];
    } else {
      int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
      int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0)
        return base::error("invalid_path", "the path or query has a bad % escape");
      out += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  if (!base::valid_text(out))
    return base::error("invalid_path", "the path or query is not valid UTF-8 text");
  return out;
}

}  // namespace

std::string_view find_header(const Headers& headers, std::string_view name) {
  for (auto& [field, value] : headers)
    if (same_name(field, name)) return value;
  return {};
}

Result<Target> parse_target(std::string_view target) {
  if (target.empty() || target[0] != '/')
    return base::error("invalid_path", "the path does not begin with '/'");
  std::string_view path = target.substr(0, target.find_first_of("?#"));
  Target out;
  for (std::string_view rest = path; !rest.empty();) {
    rest.remove_prefix(1);
    std::string_view part = rest.substr(0, rest.find('/'));
    rest.remove_prefix(part.size());
    if (part.empty()) continue;
    auto segment = decode(part, false);
    if (!segment) return segment.error();
    // An escaped '/' would become a path of its own wherever segments are joined.
    if (*segment == "." || *segment == ".." || segment->find('/') != std::string::npos)
      return base::error("invalid_path", "the path has a component '.', '..' or an escaped '/'");
    out.segments.push_back(std::move(*segment));
  }
  std::string_view query = target.substr(path.size());
  query = query.substr(0, query.find('#'));
  if (query.empty()) return out;
  query.remove_prefix(1);
  while (!query.empty()) {
    std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    if (pair.empty()) continue;
    auto equals = pair.find('=');
    auto name = decode(pair.substr(0, equals), true);
    auto value = decode(
        equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1), true);
    if (!name) return name.error();
    if (!value) return value.error();
    if (!out.query.emplace(std::move(*name), std::move(*value)).second)
      return base::error("invalid_path", "the query has a parameter twice");
  }
  return out;
}

Result<std::string> percent_decode(std::string_view component) { return decode(component, false); }

std::string percent_encode(std::string_view component) {
  static constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  for (unsigned char c : component) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      out += static_cast<char>(c);
    } else {
      out += '%';
      out += digits[c >> 4];
      out += digits[c & 15];
    }
  }
  return out;
}

}  // namespace spell::net
