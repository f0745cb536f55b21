#include "model/access.hpp"

namespace spell::model {

namespace {
constexpr struct {
  Role role;
  std::string_view name;
} roles[] = {
    {Role::viewer, "viewer"}, {Role::member, "member"}, {Role::administrator, "administrator"}};
}  // namespace

std::string_view name_of(Role role) {
  for (auto& row : roles)
    if (row.role == role) return row.name;
  return {};
}

std::optional<Role> parse_role(std::string_view name) {
  for (auto& row : roles)
    if (row.name == name) return row.role;
  return std::nullopt;
}

}  // namespace spell::model
