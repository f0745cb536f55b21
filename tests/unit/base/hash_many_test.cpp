#include "base/hash_many.hpp"

#include <string>
#include <vector>

#include "catch.hpp"

using namespace spell::base;

namespace {

std::string text(std::size_t size, char seed) {
  std::string out(size, seed);
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<char>(seed + i * i % 251);
  return out;
}

void check(const std::vector<std::string>& texts) {
  std::vector<std::string_view> views(texts.begin(), texts.end());
  std::vector<Digest> digests(texts.size());
  sha256_many('c', views, digests);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    INFO("text " << i << " of " << texts[i].size() << " bytes");
    REQUIRE(digests[i] == sha256("c" + texts[i]));
  }
}

}  // namespace

TEST_CASE("many texts have the hashes that each has by itself, whatever their lengths") {
  std::vector<std::string> texts;
  check(texts);
  for (std::size_t size = 0; size < 300; ++size) texts.push_back(text(size, 'a'));
  check(texts);
  for (std::size_t size : {65'536, 16'384, 524'288, 1, 0, 63, 64, 100'003})
    texts.push_back(text(size, 'z'));
  check(texts);
}

TEST_CASE("a few texts, too") {
  for (std::size_t count = 1; count <= 9; ++count) {
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < count; ++i) texts.push_back(text(1'000 * (count - i) + i, 'k'));
    check(texts);
  }
}
