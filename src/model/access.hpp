// Who may use a route: the one place where roles are named. Which route asks for what is said in
// the table of routes.
#pragma once
#include <optional>
#include <string_view>

namespace spell::model {

/// What a user is on this service, from least to most.
enum class Role {
  viewer,         ///< sees the team's runs, logs, outputs and costs; changes nothing
  member,         ///< besides makes runs and uploads, and changes those that are his own
  administrator,  ///< may do everything
};
std::string_view name_of(Role);
std::optional<Role> parse_role(std::string_view name);

/// What a route asks of its caller.
enum class Access {
  anyone,   ///< no token
  joiner,   ///< a join token
  machine,  ///< the credential of the machine in the path
  viewer,   ///< a user of at least this role
  member,
  administrator,
  workflow_viewer,  ///< a viewer; or a workflow's credential, for what is that workflow's or may be
                    ///< read by everybody
  workflow_member,  ///< a member; or a workflow's credential, for what is that workflow's
};

}  // namespace spell::model
