#include "service/guesses.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

#include "base/hash.hpp"

namespace spell::service {

namespace {

constexpr std::int64_t forgotten_after_s = 3600;
constexpr std::size_t most_entries = 10'000;

struct Rule {
  std::string key;
  int free;
  std::int64_t longest_s;
};

std::array<Rule, 3> rules(const std::string& user, const std::string& address) {
  return {{{"both " + user + " " + address, 5, 60},
           {"address " + address, 20, 60},
           {"user " + user, 100, 10}}};
}

}  // namespace

std::string guesser(const std::string& address) {
  in6_addr parsed{};
  std::string plain = address.substr(0, address.find('%'));
  if (::inet_pton(AF_INET6, plain.c_str(), &parsed) != 1 || IN6_IS_ADDR_V4MAPPED(&parsed))
    return address;
  return base::hex(std::string_view(reinterpret_cast<const char*>(parsed.s6_addr), 8));
}

std::int64_t Guesses::begin(const std::string& user, const std::string& address,
                            std::int64_t now_s) {
  std::lock_guard lock(mutex_);
  auto all = rules(user, address);
  std::int64_t wait = 0;
  for (auto& rule : all)
    if (auto found = entries_.find(rule.key); found != entries_.end())
      wait = std::max(wait, found->second.until_s - now_s);
  if (wait > 0) return wait;
  make_room(now_s);
  for (auto& rule : all) {
    Entry& entry = entries_[rule.key];
    if (now_s - entry.last_s > forgotten_after_s) entry = {};
    ++entry.wrong;
    entry.last_s = now_s;
    if (entry.wrong >= rule.free) {
      int doublings = std::min(entry.wrong - rule.free, 10);
      entry.until_s = now_s + std::min(rule.longest_s, std::int64_t{1} << doublings);
    }
  }
  return 0;
}

void Guesses::right(const std::string& user, const std::string& address) {
  std::lock_guard lock(mutex_);
  for (auto& rule : rules(user, address)) {
    auto found = entries_.find(rule.key);
    if (found == entries_.end()) continue;
    // His own is forgotten, others' guesses are not.
    found->second.until_s = 0;
    if (rule.key.starts_with("both ") || --found->second.wrong <= 0) entries_.erase(found);
  }
}

void Guesses::make_room(std::int64_t now_s) {
  if (entries_.size() < most_entries) return;
  std::erase_if(entries_,
                [&](auto& entry) { return now_s - entry.second.last_s > forgotten_after_s; });
  while (entries_.size() >= most_entries)
    entries_.erase(std::min_element(entries_.begin(), entries_.end(), [](auto& a, auto& b) {
      return a.second.last_s < b.second.last_s;
    }));
}

}  // namespace spell::service
