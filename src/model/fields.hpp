// Reading JSON objects by tables: a table names the members of a type and how each is read. One
// pass over the object, no exceptions. What is wrong comes back as a Problem that names the member
// by its path ("code.commit", "labels[2]").
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "spell/result.hpp"

namespace spell::model {

using nlohmann::json;

/// The largest integer that every JSON reader keeps exactly.
inline constexpr std::int64_t integer_limit = (std::int64_t{1} << 53) - 1;

/// Seconds.
inline constexpr std::int64_t day = 24 * 3600, year = 365 * day;

/// Empty: nothing is wrong.
struct Problem {
  std::string path{}, text{};
  explicit operator bool() const noexcept { return !text.empty(); }
  /// The same problem, seen from the object or list that holds the member.
  Problem within(std::string_view outer) && {
    if (!text.empty())
      path = path.empty() || path[0] == '[' ? std::string(outer) + path
                                            : std::string(outer) + '.' + path;
    return std::move(*this);
  }
  Error error(std::string_view code) const;
};

/// Requests are refused for a member nobody knows; answers may have members of a later version.
enum class Unknown { refuse, ignore };

template <class T>
struct Field {
  std::string_view name;
  Problem (*read)(const json&, T&, Unknown);
  bool required = false;
  json (*write)(const T&) = nullptr;
};

/// For messages: quoted, on one line, cut when long.
std::string in_quotes(std::string_view text);

Problem read_bool(const json&, bool& out);
Problem read_int(const json&, std::int64_t& out, std::int64_t least = 0,
                 std::int64_t most = integer_limit);
/// Text that is valid UTF-8 without NUL.
Problem read_text(const json&, std::string& out, std::size_t limit = std::size_t{1} << 20);
Problem read_name(const json&, std::string& out);
/// RFC 3339; microseconds since 1970.
Problem read_time(const json&, std::int64_t& out);

/// Null stands for "not set".
template <class T, class Read>
Problem read_optional(const json& j, std::optional<T>& out, Read read) {
  out.reset();
  if (j.is_null()) return {};
  T value{};
  if (auto problem = read(j, value)) return problem;
  out = std::move(value);
  return {};
}

template <class T, class Read>
Problem read_list(const json& j, std::vector<T>& out, std::size_t most, Read read) {
  if (!j.is_array()) return {"", "must be a list"};
  if (j.size() > most)
    return {"", "has " + std::to_string(j.size()) + " entries, at most " + std::to_string(most) +
                    " are allowed"};
  out.clear();
  out.reserve(j.size());
  for (auto& element : j) {
    T value{};
    if (auto problem = read(element, value))
      return std::move(problem).within('[' + std::to_string(out.size()) + ']');
    out.push_back(std::move(value));
  }
  return {};
}

/// `read(key, element, value)`: may refuse the key too.
template <class T, class Read>
Problem read_map(const json& j, std::map<std::string, T>& out, std::size_t most, Read read) {
  if (!j.is_object()) return {"", "must be an object"};
  if (j.size() > most)
    return {"", "has " + std::to_string(j.size()) + " entries, at most " + std::to_string(most) +
                    " are allowed"};
  out.clear();
  for (auto it = j.begin(); it != j.end(); ++it) {
    T value{};
    if (auto problem = read(it.key(), it.value(), value))
      return std::move(problem).within(in_quotes(it.key()));
    out.emplace_hint(out.end(), it.key(), std::move(value));
  }
  return {};
}

template <class T>
Problem read_object(const json& j, T& out, std::span<const Field<T>> fields, Unknown unknown) {
  if (!j.is_object()) return {"", "must be an object"};
  std::uint64_t seen = 0;
  for (auto it = j.begin(); it != j.end(); ++it) {
    std::size_t at = 0;
    while (at < fields.size() && fields[at].name != it.key()) ++at;
    if (at == fields.size()) {
      if (unknown == Unknown::refuse) return {in_quotes(it.key()), "is not a known field"};
      continue;
    }
    if (auto problem = fields[at].read(it.value(), out, unknown))
      return std::move(problem).within(fields[at].name);
    seen |= std::uint64_t{1} << at;
  }
  for (std::size_t at = 0; at < fields.size(); ++at)
    if (fields[at].required && !(seen >> at & 1))
      return {std::string(fields[at].name), "is missing"};
  return {};
}

}  // namespace spell::model
