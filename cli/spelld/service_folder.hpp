// The service that a command of spelld is about: a team's or a personal one, running or not.
#pragma once
#include <functional>
#include <string>

#include <nlohmann/json.hpp>

#include "lock.hpp"
#include "spell/result.hpp"

namespace spell::daemon {

struct ServiceFolder {
  std::string data;       ///< of a team's service
  std::string spell_dir;  ///< else of a personal one
  // Neither: the team's service in its usual place, if there is one, else ~/.spell.
};

/// Where its things are.
struct FoundService {
  std::string state, socket, lock, owner;
};
Result<FoundService> find_service(const ServiceFolder&);

/// Asks the service, by way of its socket, where it runs; else holds its folder while `at_rest`
/// works on it.
Result<nlohmann::json> carry_out(
    const ServiceFolder&, const std::string& route, const nlohmann::json& body,
    const std::function<Result<nlohmann::json>(const FoundService&)>& at_rest);

}  // namespace spell::daemon
