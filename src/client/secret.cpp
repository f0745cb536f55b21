#include "spell/secret.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "client/connection.hpp"
#include "spell/json.hpp"

namespace spell {

namespace {

using namespace detail;
using model::Route;

Result<SecretInfo> secret_of(const Result<json>& answer) {
  if (!answer) return answer.error();
  return member<SecretInfo>(*answer, "secret");
}

}  // namespace

Result<SecretInfo> Secrets::set(const std::string& name, const std::string& value,
                                CallOptions options) const {
  // Invalid text would be replaced on its way, and another secret be kept than was given.
  if (!base::valid_text(value))
    return base::error("invalid_request", "a secret must be UTF-8 text without NUL");
  return secret_of(connection_->call(
      {.route = Route::put_secret, .names = {name}, .body = {{"value", value}}}, options));
}

Result<std::vector<SecretInfo>> Secrets::list(CallOptions options) const {
  auto answer = connection_->call({.route = Route::list_secrets}, options);
  if (!answer) return answer.error();
  return member<std::vector<SecretInfo>>(*answer, "secrets");
}

Result<SecretInfo> Secrets::remove(const std::string& name, CallOptions options) const {
  return secret_of(connection_->call({.route = Route::delete_secret, .names = {name}}, options));
}

}  // namespace spell
