// Secrets of users, as they are encrypted.
#include "base/error.hpp"
#include "store/impl.hpp"

namespace spell::store {

Result<std::vector<SecretRecord>> Reader::secrets(const std::string& owner,
                                                  const std::string& user) {
  std::vector<SecretRecord> out;
  SPELL_TRY(impl_->each(
      "SELECT name, created_us FROM secret WHERE owner = ? AND user = ? ORDER BY name",
      [&](Statement& row) {
        out.push_back({row.text(0), {}, row.integer(1)});
      },
      owner, user));
  return out;
}

Result<std::optional<SecretRecord>> Reader::find_secret(const std::string& owner,
                                                        const std::string& user,
                                                        const std::string& name) {
  std::optional<SecretRecord> found;
  SPELL_TRY(impl_->each(
      "SELECT name, value, created_us FROM secret WHERE owner = ? AND user = ? AND name = ?",
      [&](Statement& row) {
        found = {row.text(0), row.blob(1), row.integer(2)};
      },
      owner, user, name));
  return found;
}

Result<> Writer::put_secret(const std::string& owner, const std::string& user,
                            const SecretRecord& secret) {
  return impl_->run(
      "INSERT OR REPLACE INTO secret (owner, user, name, value, created_us) VALUES (?,?,?,?,?)",
      owner, user, secret.name, Blob{secret.value}, secret.created_us);
}

Result<> Writer::delete_secret(const std::string& owner, const std::string& user,
                               const std::string& name) {
  return impl_->run("DELETE FROM secret WHERE owner = ? AND user = ? AND name = ?", owner, user,
                    name);
}

}  // namespace spell::store
