#include "worker/run_users.hpp"

#include <grp.h>
#include <pwd.h>

#include <optional>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"

namespace spell::worker {

namespace {

std::optional<std::uint32_t> parse_id(const std::string& text) {
  auto value = base::parse_int(text);
  if (!value || *value < 1 || *value >= 0xffffffffLL) return std::nullopt;
  return static_cast<std::uint32_t>(*value);
}

/// The name of somebody who has a number of the range; "" if nobody does.
std::string somebody_in(UserRange range) {
  auto within = [&](std::uint32_t id) { return id >= range.first && id <= range.last; };
  std::string found;
  ::setpwent();
  while (passwd* entry = found.empty() ? ::getpwent() : nullptr)
    if (within(entry->pw_uid)) found = std::string("the user ") + entry->pw_name;
  ::endpwent();
  ::setgrent();
  while (group* entry = found.empty() ? ::getgrent() : nullptr)
    if (within(entry->gr_gid)) found = std::string("the group ") + entry->gr_name;
  ::endgrent();
  return found;
}

std::string record_of(const std::string& run_folder) { return run_folder + "/user"; }

std::optional<std::uint32_t> read_record(const std::string& run_folder) {
  auto text = base::read_file(record_of(run_folder), 32);
  return text ? parse_id(std::string(base::trim(*text))) : std::nullopt;
}

}  // namespace

Result<UserRange> parse_run_users(const std::string& text) {
  auto dash = text.find('-');
  auto first = dash == text.npos ? std::nullopt : parse_id(text.substr(0, dash)),
       last = dash == text.npos ? std::nullopt : parse_id(text.substr(dash + 1));
  auto bad = [&](const std::string& why) {
    return base::error("invalid_configuration", "run users " + text + ": " + why);
  };
  if (!first || !last) return bad("give a range of user ids, such as 1900000000-1900000999");
  if (*last < *first || *last - *first < 9) return bad("give at least ten ids");
  UserRange range{*first, *last};
  if (auto somebody = somebody_in(range); !somebody.empty())
    return bad("that has the id of " + somebody + "; give a range that is nobody's");
  return range;
}

RunUsers::RunUsers(UserRange range, std::uint64_t begin)
    : range_(range),
      next_(range.first +
            static_cast<std::uint32_t>(begin % (std::uint64_t{range.last} - range.first + 1))) {}

Result<std::uint32_t> RunUsers::take(const std::string& run, const std::string& run_folder) {
  hold(run, run_folder);
  std::uint32_t user = 0;
  {
    std::lock_guard lock(mutex_);
    if (auto found = by_run_.find(run); found != by_run_.end()) return found->second;
    std::uint64_t all = std::uint64_t{range_.last} - range_.first + 1;
    if (taken_.size() >= all)
      return base::error("no_isolation", "all " + std::to_string(all) + " run users are taken");
    auto advance = [&] { next_ = next_ == range_.last ? range_.first : next_ + 1; };
    while (taken_.contains(next_)) advance();
    user = next_;
    advance();
    taken_.insert(user);
    by_run_[run] = user;
  }
  SPELL_TRY(base::write_file(record_of(run_folder), std::to_string(user) + "\n", 0600, false));
  return user;
}

void RunUsers::hold(const std::string& run, const std::string& run_folder) {
  auto user = read_record(run_folder);
  if (!user) return;
  std::lock_guard lock(mutex_);
  by_run_[run] = *user;
  taken_.insert(*user);
}

void RunUsers::release(const std::string& run) {
  std::lock_guard lock(mutex_);
  auto found = by_run_.find(run);
  if (found == by_run_.end()) return;
  taken_.erase(found->second);
  by_run_.erase(found);
}

}  // namespace spell::worker
