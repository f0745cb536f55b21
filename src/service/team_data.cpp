#include "service/team_data.hpp"

#include <algorithm>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/password.hpp"
#include "base/text.hpp"
#include "store/store.hpp"

namespace spell::service {

Result<> check_user_name(const std::string& name) {
  bool upper = std::any_of(name.begin(), name.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
  if (!base::valid_name(name) || upper)
    return base::error("invalid_request",
                       "a user's name is 1 to 64 lower-case letters, digits, '.', '_' and '-', not "
                       "beginning with '.' or '-'");
  if (name == local_user)
    return base::error("invalid_request",
                       "no user can be called local: it is whoever comes by the service's own "
                       "socket");
  return ok();
}

Result<> make_team_data(const std::string& state_folder, const std::string& administrator,
                        const std::string& password) {
  SPELL_TRY(check_user_name(administrator));
  SPELL_TRY(base::check_password_rules(password));
  auto hash = base::hash_password(password);
  if (!hash) return hash.error();
  auto writer = store::Writer::open(state_folder + "/spell.db");
  if (!writer) return writer.error();
  std::int64_t now = base::unix_us();
  SPELL_TRY(writer->begin());
  SPELL_TRY(writer->put_user({administrator, "administrator", *hash, false, now, 0}));
  SPELL_TRY(writer->put_member({"", administrator}));
  SPELL_TRY(writer->add_audit(
      {0, now, local_user, "user.add", administrator, "administrator, by spelld init", ""}));
  return writer->commit();
}

}  // namespace spell::service
