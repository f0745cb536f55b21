#include "catch.hpp"
#include "program.hpp"
#include "progress.hpp"
#include "text.hpp"

using namespace spell::cli;
using namespace std::chrono_literals;

namespace {
ProgressClock::time_point at(std::chrono::milliseconds time) {
  return ProgressClock::time_point(time);
}
constexpr std::int64_t MiB = 1 << 20;
}  // namespace

TEST_CASE("a progress line fits its terminal") {
  for (int width : {10, 40, 60, 80, 200}) {
    std::string line = progress_line("Sending", 50 * MiB, 200 * MiB, 25.0 * MiB, width);
    CHECK(display_width(line) < static_cast<std::size_t>(width));
  }
  std::string line = progress_line("Sending", 50 * MiB, 200 * MiB, 25.0 * MiB, 120);
  CHECK(line.find(" 25 %") != std::string::npos);
  CHECK(line.find("[=======>") != std::string::npos);
  CHECK(line.find("50.0 MiB of 200 MiB, 25.0 MiB/s, 6.0s left") != std::string::npos);
  CHECK(progress_line("Sending", 0, 0, {}, 80).find("0 %") != std::string::npos);
}

TEST_CASE("no time is told that nobody can know") {
  CHECK(progress_numbers(0, 10 * MiB, {}) == "0 B of 10.0 MiB");
  CHECK(progress_numbers(5 * MiB, 10 * MiB, 0.0) == "5.0 MiB of 10.0 MiB, 0 B/s");
  CHECK(progress_numbers(5 * MiB, 10LL << 40, 1.0) == "5.0 MiB of 10.0 TiB, 1 B/s");
  CHECK(progress_numbers(10 * MiB, 10 * MiB, 1.0 * MiB) ==
        "10.0 MiB of 10.0 MiB, 1.0 MiB/s, 0.0s left");
}

TEST_CASE("the rate is that of the last seconds") {
  RateMeter meter;
  CHECK_FALSE(meter.rate());
  meter.add(at(0s), 0);
  CHECK_FALSE(meter.rate());
  // Most of it was there already, then it crawls.
  meter.add(at(1s), 1000 * MiB);
  CHECK(*meter.rate() == Approx(1000.0 * MiB));
  for (int second = 2; second <= 30; ++second) meter.add(at(second * 1s), (1000 + second) * MiB);
  CHECK(*meter.rate() == Approx(1.0 * MiB));
  SECTION("it stops") {
    for (int second = 31; second <= 60; ++second) meter.add(at(second * 1s), 1030 * MiB);
    CHECK(*meter.rate() == 0);
  }
  SECTION("many calls a second cost no more and change nothing") {
    for (int ms = 0; ms <= 20'000; ++ms)
      meter.add(at(30s + std::chrono::milliseconds(ms)), 1030 * MiB + ms * MiB / 1000);
    CHECK(*meter.rate() == Approx(1.0 * MiB).epsilon(0.05));
  }
  SECTION("it begins anew") {
    meter.add(at(31s), 0);
    CHECK_FALSE(meter.rate());
    meter.add(at(32s), 5 * MiB);
    CHECK(*meter.rate() == Approx(5.0 * MiB));
  }
}

namespace {
/// What is written in a minute that brings a MiB a second.
std::string minute(Terminal terminal, Output::Mode mode = Output::Mode::people) {
  FILE* file = std::tmpfile();
  Output out({0, ::fileno(file), ::fileno(file)}, terminal);
  out.set_mode(mode);
  Progress progress(out);
  for (int second = 0; second < 60; ++second)
    progress.update("Copying", second * MiB, 60 * MiB, at(second * 1s));
  progress.finish();
  std::string text(65536, 0);
  text.resize(static_cast<std::size_t>(::pread(::fileno(file), text.data(), text.size(), 0)));
  std::fclose(file);
  return text;
}
}  // namespace

TEST_CASE("progress is a bar on a terminal, a line now and then elsewhere, nothing for programs") {
  Terminal terminal;
  terminal.utf8 = true;
  std::string lines = minute(terminal);
  CHECK(std::count(lines.begin(), lines.end(), '\n') == 5);
  CHECK(lines.find('\r') == std::string::npos);
  CHECK(lines.find("Copying 50 %: 30.0 MiB of 60.0 MiB, 1.0 MiB/s, 30.0s left") !=
        std::string::npos);
  CHECK(minute(terminal, Output::Mode::json).empty());
  CHECK(minute(terminal, Output::Mode::quiet).empty());
  terminal.out = true;
  std::string bar = minute(terminal);
  CHECK(std::count(bar.begin(), bar.end(), '\n') == 0);
  CHECK(bar.find("30.0 MiB of 60.0 MiB, 1.0 MiB/s, 30.0s left") != std::string::npos);
  CHECK(bar.ends_with("\r\x1b[K"));
  CHECK(minute(terminal, Output::Mode::json).empty());
}
