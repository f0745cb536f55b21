// JSON of plain structs: a Table names the members of a struct, and this reads and writes them by
// their types.
#pragma once
#include <limits>
#include <type_traits>

#include "model/fields.hpp"

namespace spell::model {

/// Specialised with `static constexpr Field<T> fields[]` for each struct.
template <class T>
struct Table;
/// Specialised with `read` and `write` for each type that is no struct of members.
template <class T>
struct Codec;

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;
template <class T>
inline constexpr bool is_vector = false;
template <class T>
inline constexpr bool is_vector<std::vector<T>> = true;
template <class T>
inline constexpr bool is_map = false;
template <class T>
inline constexpr bool is_map<std::map<std::string, T>> = true;

template <class T>
Problem read_value(const json& j, T& out, Unknown unknown) {
  auto read_element = [=](const json& e, auto& value) { return read_value(e, value, unknown); };
  if constexpr (requires { Table<T>::fields; }) {
    return read_object<T>(j, out, Table<T>::fields, unknown);
  } else if constexpr (requires { &Codec<T>::read; }) {
    return Codec<T>::read(j, out);
  } else if constexpr (std::is_same_v<T, bool>) {
    return read_bool(j, out);
  } else if constexpr (std::is_integral_v<T>) {
    constexpr bool wide = sizeof(T) == sizeof(std::int64_t);
    constexpr std::int64_t least =
        wide ? -integer_limit : std::int64_t{std::numeric_limits<T>::min()};
    constexpr std::int64_t most =
        wide ? integer_limit : std::int64_t{std::numeric_limits<T>::max()};
    std::int64_t value = 0;
    auto problem = read_int(j, value, least, most);
    if (!problem) out = static_cast<T>(value);
    return problem;
  } else if constexpr (is_optional<T>) {
    return read_optional(j, out, read_element);
  } else if constexpr (is_vector<T>) {
    return read_list(j, out, SIZE_MAX, read_element);
  } else if constexpr (is_map<T>) {
    return read_map(j, out, SIZE_MAX, [=](const std::string&, const json& e, auto& value) {
      return read_element(e, value);
    });
  } else {
    return read_text(j, out, std::size_t{1} << 26);
  }
}

template <class T>
json write_object(const T& object);

template <class T>
json write_value(const T& value) {
  if constexpr (requires { Table<T>::fields; }) {
    return write_object(value);
  } else if constexpr (requires { &Codec<T>::write; }) {
    return Codec<T>::write(value);
  } else if constexpr (is_optional<T>) {
    return value ? write_value(*value) : json(nullptr);
  } else if constexpr (is_vector<T>) {
    json list = json::array();
    for (auto& element : value) list.push_back(write_value(element));
    return list;
  } else if constexpr (is_map<T>) {
    json object = json::object();
    for (auto& [name, element] : value) object[name] = write_value(element);
    return object;
  } else {
    return value;
  }
}

template <class T>
json write_object(const T& object) {
  json::object_t out;
  for (auto& field : Table<T>::fields) out.emplace(field.name, field.write(object));
  return out;
}

/// A member that is read and written by its type.
template <auto pointer, class T>
constexpr Field<T> member_of(std::string_view name, bool required) {
  return {
      name,
      [](const json& j, T& out, Unknown unknown) { return read_value(j, out.*pointer, unknown); },
      required, [](const T& object) { return write_value(object.*pointer); }};
}

/// A message as a whole; the error has `code`.
template <class T>
Result<T> read_message(const json& j, Unknown unknown, const char* code) {
  T message;
  if (auto problem = read_value(j, message, unknown)) return problem.error(code);
  return message;
}

}  // namespace spell::model

#define SPELL_MEMBER(Type, name) ::spell::model::member_of<&Type::name, Type>(#name, false)
#define SPELL_REQUIRED(Type, name) ::spell::model::member_of<&Type::name, Type>(#name, true)
