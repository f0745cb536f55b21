#include "service/reads.hpp"

#include <memory>

#include "catch.hpp"

using namespace spell::service;
using spell::spellfs::Name;
using spell::spellfs::PackStore;

namespace {

Name tree_of(std::size_t number) {
  Name name;
  name.digest[0] = static_cast<std::uint8_t>(number);
  name.digest[1] = static_cast<std::uint8_t>(number >> 8);
  return name;
}

/// A pin that shows whether it is held.
struct Pinned {
  std::shared_ptr<void> held = std::make_shared<int>();
  PackStore::Pin pin() const { return PackStore::Pin(held); }
  bool is_held() const { return held.use_count() > 1; }
};

constexpr Reads::Clock::time_point start{};
constexpr auto almost = Reads::kept - std::chrono::seconds(1);

}  // namespace

TEST_CASE("what is read stays as long as it is read, and a while longer") {
  Reads reads;
  Pinned one, other;
  CHECK_FALSE(reads.renew("ada", tree_of(1), start));
  reads.hold("ada", tree_of(1), one.pin(), start);
  reads.hold("ada", tree_of(2), other.pin(), start);
  CHECK_FALSE(reads.renew("eve", tree_of(1), start));
  CHECK(reads.let_go(start + almost) == 2);
  CHECK(reads.renew("ada", tree_of(1), start + almost));
  CHECK(reads.let_go(start + Reads::kept) == 1);
  CHECK(one.is_held());
  CHECK_FALSE(other.is_held());
  CHECK(reads.let_go(start + almost + Reads::kept) == 0);
  CHECK_FALSE(one.is_held());
  CHECK_FALSE(reads.renew("ada", tree_of(1), start));
}

TEST_CASE("who reads very many versions holds the last of them") {
  Reads reads;
  Pinned first, second;
  reads.hold("ada", tree_of(0), first.pin(), start);
  reads.hold("ada", tree_of(1), second.pin(), start);
  CHECK(reads.renew("ada", tree_of(0), start + std::chrono::seconds(1)));
  for (std::size_t i = 2; i <= Reads::most; ++i)
    reads.hold("ada", tree_of(i), {}, start + std::chrono::seconds(1));
  CHECK(first.is_held());
  CHECK_FALSE(second.is_held());
  CHECK(reads.let_go(start + std::chrono::seconds(1)) == Reads::most);
}
