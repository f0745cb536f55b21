// What the log shows of secrets: nothing, however their bytes arrive.
#include "supervisor/mask.cpp"

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/file.hpp"
#include "runs.hpp"

using namespace spell;
using namespace spell::supervisor;

namespace {

/// The masked text of pieces that arrive one after the other.
std::string masked(const std::vector<std::string>& secrets,
                   const std::vector<std::string>& pieces) {
  std::vector<const char*> texts;
  for (auto& secret : secrets) texts.push_back(secret.c_str());
  MaskValues values;
  REQUIRE(values.set({texts.data(), texts.size()}));
  auto mask = std::make_unique<Mask>();
  std::string out;
  auto add = [&](const std::string& piece, bool last) {
    std::string data(mask->held(), '\0');
    data += piece;
    data.resize(mask->apply(values, data.data(), data.size(), last));
    out += data;
  };
  for (auto& piece : pieces) add(piece, false);
  add("", true);
  return out;
}

/// The same by the definition: every place that a value covers, found in the whole text.
std::string by_definition(const std::vector<std::string>& secrets, const std::string& text) {
  std::string out;
  std::size_t end = 0;
  for (std::size_t at = 0; at <= text.size(); ++at) {
    if (end && at == end) {
      out += "***";
      end = 0;
    }
    if (at == text.size()) break;
    for (auto& secret : secrets)
      if (text.compare(at, secret.size(), secret) == 0) end = std::max(end, at + secret.size());
    if (!end) out += text[at];
  }
  return out;
}

}  // namespace

TEST_CASE("a value is hidden wherever it is cut") {
  std::string text = "key=hunter22, again hunter22hunter22.\n";
  for (std::size_t a = 0; a <= text.size(); ++a)
    for (std::size_t b = a; b <= text.size(); ++b)
      REQUIRE(masked({"hunter22"}, {text.substr(0, a), text.substr(a, b - a), text.substr(b)}) ==
              "key=***, again ******.\n");
}

TEST_CASE("values that overlap, or begin alike, leave nothing of each other") {
  CHECK(masked({"abcd", "cdef"}, {"xabcdefx"}) == "x***x");
  CHECK(masked({"abcd", "abcdefgh"}, {"abcdefg", "h abcdefg", "."}) == "*** ***efg.");
  CHECK(masked({"aaaa"}, {"aaa", "aaa", "b"}) == "***b");
  CHECK(masked({"line\none"}, {"a line\n", "one b"}) == "a *** b");
}

TEST_CASE("what only looked like a value is there, whole and in order") {
  CHECK(masked({"secret"}, {"sec", "ret", "sec", "tion", "se"}) == "***sectionse");
  CHECK(masked({"abc"}, {"abc"}) == "abc");  // too short to be masked: refused before
}

TEST_CASE("any text in any pieces is masked as the definition says") {
  std::mt19937 random(20261126);
  auto text_of = [&](std::size_t size) {
    std::string text;
    while (text.size() < size) text += "ab\n"[random() % 3];
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> secrets;
    for (unsigned i = 0; i <= random() % 4; ++i) secrets.push_back(text_of(4 + random() % 5));
    std::string text = text_of(random() % 60);
    std::vector<std::string> pieces;
    for (std::size_t at = 0; at < text.size(); at += pieces.back().size())
      pieces.push_back(text.substr(at, 1 + random() % 9));
    CAPTURE(secrets, text, pieces);
    REQUIRE(masked(secrets, pieces) == by_definition(secrets, text));
  }
}

TEST_CASE("a run's spool never holds the value, however often and in what pieces it is printed") {
  using namespace spell::exec::testing;
  bool split = GENERATE(false, true);
  Scratch scratch;
  auto what = launch(scratch.run_folder(),
                     "for ((i = 0; i < 10000; ++i)); do echo \"$i $KEY\"; done; printf 'tail '; "
                     "for ((i = 0; i < ${#KEY}; ++i)); do printf %s \"${KEY:$i:1}\"; sleep 0.002; "
                     "done; printf '\\nerr %s\\n' \"$KEY\" >&2; printf s3cr");
  what.env.push_back("KEY=s3cr3t value");
  what.masks = {"s3cr3t value"};
  what.split_output = split;
  auto state = run(what);
  CHECK(state.exit->code == 0);
  std::string expected;
  for (int i = 0; i < 10000; ++i) expected += std::to_string(i) + " ***\n";
  expected += "tail ***";
  auto output = output_of(what.folder);
  std::string out = output.all;
  if (split) {
    CHECK(output.errors == "\nerr ***\n");
    CHECK(out.size() == expected.size() + output.errors.size() + 4);
  } else {
    CHECK((out == expected + "\nerr ***\ns3cr"));
  }
  CHECK(output.gapless);
  CHECK(state.output_bytes == static_cast<std::int64_t>(out.size()));
  CHECK(base::read_file(what.folder + "/spool")->find("s3cr3t") == std::string::npos);
}
