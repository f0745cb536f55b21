#include <functional>
#include <memory>
#include <string>

#include "catch.hpp"
#include "spell/function.hpp"

using spell::Function;

namespace {
int twice(int n) { return 2 * n; }
}  // namespace

TEST_CASE("a function of the caller's is called with what is given, and gives what it returns") {
  Function<int(int)> function = twice;
  CHECK(function(4) == 8);
  auto kept = std::make_unique<int>(3);  // what cannot be copied can be called too
  function = [kept = std::move(kept)](int n) { return *kept * n; };
  CHECK(function(4) == 12);
  std::string told;
  Function<void(const std::string&)> tell = [&](std::string_view text) { return told = text; };
  tell("so");
  CHECK(told == "so");
  Function<std::unique_ptr<int>(std::unique_ptr<int>)> passes = [](auto in) { return in; };
  CHECK(*passes(std::make_unique<int>(5)) == 5);
}

TEST_CASE("copies of a function share what is called") {
  Function<int()> function = [n = 0]() mutable { return ++n; };
  auto copy = function;
  CHECK(function() == 1);
  CHECK(copy() == 2);
}

TEST_CASE("what is no function is none") {
  using Text = Function<void(const std::string&)>;
  CHECK_FALSE(Text());
  CHECK_FALSE(Text(nullptr));
  CHECK_FALSE(Text(std::function<void(const std::string&)>()));
  CHECK_FALSE(Function<int(int)>(static_cast<int (*)(int)>(nullptr)));
  CHECK(Function<int(int)>(twice));
  // Overloads tell callers apart by what they can be called with.
  CHECK_FALSE(std::is_constructible_v<Text, int (*)(int)>);
  CHECK_FALSE(std::is_constructible_v<Function<std::string()>, int (*)()>);
}
