// One call of the API: a route of the table, what fills its path, and whether it may be made twice.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "model/routes.hpp"
#include "net/client.hpp"

namespace spell::detail {

using nlohmann::json;

struct Call {
  model::Route route;
  std::vector<std::string> names{};  ///< for the path's {…} after {owner}, in order
  std::vector<std::pair<std::string, std::string>> query{};
  json body{};  ///< null: none
  net::Headers headers{};
  int body_fd = -1;  ///< instead of body: a pack
  std::int64_t body_size = 0;
  std::function<void(std::int64_t sent)> progress{};
  std::string owner{};  ///< "": the connection's
};

/// {owner} and names are percent-encoded; a name for {path...} keeps its slashes.
net::ClientRequest make_request(const Call&, const std::string& owner);

/// Whether its path names the connection's owner.
bool needs_owner(const Call&);

/// Whether carrying the call out twice is the same as once, so that it may be sent again after a
/// lost connection.
bool is_repeatable(model::Route);

}  // namespace spell::detail
