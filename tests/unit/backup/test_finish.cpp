// The last of a run that is halted because its machine goes.
#include <algorithm>
#include <thread>

#include "base/clock.hpp"
#include "support.hpp"

using namespace spell;
using namespace spell::backup;

namespace {

using std::chrono::milliseconds;

std::string bytes_of(std::size_t size, char first) {
  std::string out(size, first);
  // Not to be compressed or shared.
  std::uint32_t state = static_cast<unsigned char>(first) * 2654435761U + 1;
  for (auto& c : out) state = state * 1664525U + 1013904223U, c = static_cast<char>(state >> 24);
  return out;
}

/// A vault at the end of a slow line.
struct Slow final : Safe {
  Vault& vault;
  std::int64_t speed;  ///< bytes a second
  Slow(Vault& to, std::int64_t s) : vault(to), speed(s) {}
  Result<> send_pack(const PackFile& pack, std::int64_t size) override {
    std::this_thread::sleep_for(std::chrono::microseconds(size * 1'000'000 / speed));
    return vault.send_pack(pack, size);
  }
  Result<> record(const Tree& tree) override { return vault.record(tree); }
  const spellfs::ObjectSource& objects() const override { return vault.objects(); }
};

bool has(const std::vector<std::string>& list, const std::string& what) {
  return std::find(list.begin(), list.end(), what) != list.end();
}

}  // namespace

TEST_CASE("what was closed just before counts, what is open does not") {
  Backed run;
  run.options.rules.settle = 60'000'000'000;  // nothing settles by itself
  run.start();
  write(run / "done", "whole");
  std::filesystem::create_directories(run / "sub");
  write(run / "part.tmp", "renamed");
  std::filesystem::rename(run / "part.tmp", run / "part");
  std::ofstream open(run / "open");
  open << "ha";
  open.flush();
  auto finished = run.backup->finish(milliseconds(20'000));
  REQUIRE(finished);
  CHECK(finished->torn == std::vector<std::string>{"open"});
  CHECK(finished->left.empty());
  CHECK(run.vault.content("done") == "whole");
  CHECK(run.vault.content("part") == "renamed");
  CHECK_FALSE(run.vault.content("open"));
  // Nothing more comes.
  write(run / "late", "x");
  CHECK_FALSE(run.vault.content("late"));
}

TEST_CASE("a growing file is saved as far as it came") {
  Backed run;
  run.options.rules.grows = [](const std::string& path) { return path.ends_with(".log"); };
  run.options.rules.growth = 60'000'000'000;
  run.start();
  std::ofstream log(run / "train.log");
  log << "epoch 1\n";
  log.flush();
  auto finished = run.backup->finish(milliseconds(20'000));
  REQUIRE(finished);
  CHECK(finished->torn.empty());
  CHECK(run.vault.content("train.log") == "epoch 1\n");
}

TEST_CASE("a folder that was being made is torn as a whole, and holds back nobody") {
  Backed run;
  run.options.rules.quiet = 60'000'000'000;
  run.start();
  std::filesystem::create_directories(run / "step-2");
  write(run / "step-2/weights", "w");
  write(run / "step-2/optimizer", "o");
  write(run / "metrics", "m");
  auto finished = run.backup->finish(milliseconds(20'000));
  REQUIRE(finished);
  CHECK(finished->torn == std::vector<std::string>{"step-2/optimizer", "step-2/weights"});
  CHECK(run.vault.content("metrics") == "m");
  CHECK_FALSE(run.vault.content("step-2/weights"));
}

TEST_CASE("where not all can be sent in time, the newest comes first, with what names it") {
  Backed run;
  Slow slow(run.vault, 1 << 20);
  run.options.rules.container = [](const std::string& path) { return path == "checkpoints"; };
  std::atomic<bool> trees{true};
  run.options.alive = [&] { return trees.load(); };
  run.backup = Backup::start(run.options, slow).value();
  write(run / "first", bytes_of(1 << 20, '0'));
  REQUIRE(run.comes("first", bytes_of(1 << 20, '0')));  // and the speed is known
  trees = false;                                        // nothing more is sent until the end
  std::filesystem::create_directories(run / "checkpoints");
  // Too much for the time that is left.
  write(run / "checkpoints/1", bytes_of(6 << 20, '1'));
  std::this_thread::sleep_for(milliseconds(20));
  write(run / "checkpoints/2", bytes_of(1 << 20, '2'));
  write(run / "latest", "2");
  auto finished = run.backup->finish(milliseconds(4000));
  REQUIRE(finished);
  CHECK(finished->torn.empty());
  // What is small and came last may be too late on a busy computer.
  CHECK(std::find(finished->left.begin(), finished->left.end(), "checkpoints/1") !=
        finished->left.end());
  CHECK_FALSE(run.vault.content("checkpoints/1"));
  CHECK(run.vault.content("checkpoints/2") == bytes_of(1 << 20, '2'));
  CHECK(run.vault.content("first") == bytes_of(1 << 20, '0'));
}

TEST_CASE("where nothing can be sent any more, what is safe stays, and what is not is named") {
  Backed run;
  run.start();
  write(run / "old", "safe");
  REQUIRE(run.comes("old", "safe"));
  run.vault.away = true;
  write(run / "new", "not safe");
  auto began = base::boot_ns();
  auto finished = run.backup->finish(milliseconds(300));
  REQUIRE(finished);
  CHECK(base::boot_ns() - began < 20'000'000'000);
  CHECK(finished->left == std::vector<std::string>{"new"});
  CHECK(finished->torn.empty());
  CHECK(run.vault.content("old") == "safe");
}

TEST_CASE("no time at all") {
  Backed run;
  run.start();
  write(run / "file", bytes_of(3 << 20, 'x'));
  auto finished = run.backup->finish(milliseconds(0));
  REQUIRE(finished);
  CHECK((run.vault.content("file") || has(finished->left, "file")));
}
