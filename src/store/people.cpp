// Users and whose they are, their tokens and those of machines, and who did what.
#include "base/error.hpp"
#include "store/impl.hpp"

namespace spell::store {

Result<std::vector<UserRecord>> Reader::users() {
  std::vector<UserRecord> out;
  SPELL_TRY(impl_->each(
      "SELECT name, role, password, disabled, created_us, seen_us FROM user ORDER BY name",
      [&](Statement& row) {
        out.push_back({row.text(0), row.text(1), row.text(2), row.integer(3) != 0, row.integer(4),
                       row.integer(5)});
      }));
  return out;
}

Result<std::optional<UserRecord>> Reader::find_user(const std::string& name) {
  std::optional<UserRecord> found;
  SPELL_TRY(impl_->each(
      "SELECT name, role, password, disabled, created_us, seen_us FROM user WHERE name = ?",
      [&](Statement& row) {
        found = {row.text(0),         row.text(1),    row.text(2),
                 row.integer(3) != 0, row.integer(4), row.integer(5)};
      },
      name));
  return found;
}

Result<std::map<std::string, std::int64_t>> Reader::owners() {
  std::map<std::string, std::int64_t> out;
  SPELL_TRY(impl_->each("SELECT name, last_number FROM owner",
                        [&](Statement& row) { out[row.text(0)] = row.integer(1); }));
  return out;
}

Result<std::vector<MemberRecord>> Reader::members() {
  std::vector<MemberRecord> out;
  SPELL_TRY(impl_->each("SELECT owner, user FROM member ORDER BY owner, user", [&](Statement& row) {
    out.push_back({row.text(0), row.text(1)});
  }));
  return out;
}

Result<std::vector<TokenRecord>> Reader::tokens() {
  std::vector<TokenRecord> out;
  SPELL_TRY(impl_->each(
      "SELECT id, hash, kind, user, machine, name, created_us, expires_us, used_us, run FROM token"
      " ORDER BY created_us, id",
      [&](Statement& row) {
        out.push_back({row.text(0), row.text(1), row.text(2), row.text(3), row.text(4), row.text(5),
                       row.integer(6), row.integer(7), row.integer(8), row.text(9)});
      }));
  return out;
}

Result<std::vector<AuditRecord>> Reader::audit(const AuditQuery& query) {
  std::vector<AuditRecord> out;
  SPELL_TRY(impl_->each(
      "SELECT number, time_us, user, action, thing, detail, request FROM audit WHERE number < ?1"
      " AND (?2 = '' OR user = ?2) AND (?3 = '' OR action = ?3 OR"
      " substr(action, 1, length(?3) + 1) = ?3 || '.') ORDER BY number DESC LIMIT ?4",
      [&](Statement& row) {
        out.push_back({row.integer(0), row.integer(1), row.text(2), row.text(3), row.text(4),
                       row.text(5), row.text(6)});
      },
      query.below, query.user, query.action, query.limit));
  return out;
}

Result<> Writer::put_user(const UserRecord& u) {
  return impl_->run(
      "INSERT OR REPLACE INTO user (name, role, password, disabled, created_us, seen_us)"
      " VALUES (?,?,?,?,?,?)",
      u.name, u.role, u.password, u.disabled, u.created_us, u.seen_us);
}

Result<> Writer::put_member(const MemberRecord& m) {
  return impl_->run("INSERT OR REPLACE INTO member (owner, user) VALUES (?,?)", m.owner, m.user);
}

Result<> Writer::delete_member(const MemberRecord& m) {
  return impl_->run("DELETE FROM member WHERE owner = ? AND user = ?", m.owner, m.user);
}

Result<> Writer::put_token(const TokenRecord& t) {
  return impl_->run(
      "INSERT OR REPLACE INTO token (id, hash, kind, user, machine, name, created_us, expires_us,"
      " used_us, run) VALUES (?,?,?,?,?,?,?,?,?,?)",
      t.id, t.hash, t.kind, t.user, t.machine, t.name, t.created_us, t.expires_us, t.used_us,
      t.run);
}

Result<> Writer::delete_token(const std::string& id) {
  return impl_->run("DELETE FROM token WHERE id = ?", id);
}

Result<> Writer::delete_tokens_of_run(const std::string& run) {
  return impl_->run("DELETE FROM token WHERE kind = 'workflow' AND run = ?", run);
}

Result<> Writer::drop_tokens_before(std::int64_t time_us) {
  return impl_->run("DELETE FROM token WHERE expires_us > 0 AND expires_us <= ?", time_us);
}

Result<> Writer::set_seen(const std::string& token, std::int64_t time_us) {
  SPELL_TRY(impl_->run("UPDATE token SET used_us = ? WHERE id = ?", time_us, token));
  return impl_->run(
      "UPDATE user SET seen_us = ? WHERE name = (SELECT user FROM token WHERE id = ?)", time_us,
      token);
}

Result<> Writer::add_audit(const AuditRecord& a) {
  return impl_->run(
      "INSERT INTO audit (time_us, user, action, thing, detail, request) VALUES (?,?,?,?,?,?)",
      a.time_us, a.user, a.action, a.thing, a.detail, a.request);
}

}  // namespace spell::store
