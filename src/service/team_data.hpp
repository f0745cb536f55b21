// The first content of a team's data, before any service has served it.
#pragma once
#include <string>

#include "spell/result.hpp"

namespace spell::service {

/// Who comes by the service's own socket without a token: its own user, or root.
inline constexpr const char* local_user = "local";

/// A user's name: 1 to 64 lower-case letters, digits, '.', '_' and '-', not beginning with '.' or
/// '-'; not `local`, which is whoever comes by the service's own socket. Error `invalid_request`.
Result<> check_user_name(const std::string& name);

/// Makes the database in `state_folder`, which exists, with its first administrator. Errors:
/// `invalid_request`, `weak_password`, `disk_full`, `io_error`.
Result<> make_team_data(const std::string& state_folder, const std::string& administrator,
                        const std::string& password);

}  // namespace spell::service
