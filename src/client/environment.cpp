#include "spell/environment.hpp"

#include "client/connection.hpp"
#include "spell/json.hpp"

namespace spell {

using namespace detail;
using model::Route;

Result<std::vector<EnvironmentInfo>> Environments::list(CallOptions options) const {
  auto answer = connection_->call({.route = Route::list_environments}, options);
  if (!answer) return answer.error();
  return member<std::vector<EnvironmentInfo>>(*answer, "environments");
}

Result<EnvironmentInfo> Environments::get(const std::string& name, CallOptions options) const {
  auto answer = connection_->call({.route = Route::get_environment, .names = {name}}, options);
  if (!answer) return answer.error();
  return member<EnvironmentInfo>(*answer, "environment");
}

Result<EnvironmentInfo> Environments::remove(const std::string& name, CallOptions options) const {
  auto answer = connection_->call({.route = Route::delete_environment, .names = {name}}, options);
  if (!answer) return answer.error();
  return member<EnvironmentInfo>(*answer, "environment");
}

}  // namespace spell
