// Backups of a real folder: what writers of all kinds finish arrives, whole, and soon.
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <chrono>
#include <random>
#include <set>
#include <thread>

#include "backup/watch.hpp"
#include "base/clock.hpp"
#include "base/hash.hpp"
#include "support.hpp"

using namespace spell;
using namespace spell::backup;

namespace {

std::string noise(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string out(size, '\0');
  for (std::size_t i = 0; i + 8 <= size; i += 8) {
    auto word = random();
    std::memcpy(&out[i], &word, 8);
  }
  return out;
}

/// A checkpoint that knows whether it is whole: a number, bytes made of it.
std::string checkpoint(std::uint32_t number, std::size_t size) {
  std::string out(size, '\0');
  for (std::size_t i = 0; i + 4 <= size; i += 4) {
    std::uint32_t word = number + static_cast<std::uint32_t>(i);
    std::memcpy(&out[i], &word, 4);
  }
  return out;
}
bool is_whole(const std::string& bytes, std::size_t size) {
  std::uint32_t number = 0;
  if (bytes.size() != size) return false;
  std::memcpy(&number, bytes.data(), 4);
  return bytes == checkpoint(number, size);
}

/// A process of its own that does `work` until it is killed.
struct Child {
  pid_t pid;
  explicit Child(const std::function<void()>& work) : pid(::fork()) {
    if (pid == 0) {
      ::signal(SIGIO, SIG_DFL);
      work();
      ::_exit(0);
    }
  }
  bool alive() const {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0;
  }
  void kill() {
    if (pid <= 0) return;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    pid = 0;
  }
  ~Child() { kill(); }
};

/// Rewrites a file in place, piece by piece.
void rewrite(const std::string& path, const std::string& bytes, std::size_t piece, int pause_us) {
  int fd = ::open(path.c_str(), O_WRONLY | O_CREAT, 0644);
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    (void)!::pwrite(fd, bytes.data() + at, std::min(piece, bytes.size() - at),
                    static_cast<off_t>(at));
    if (pause_us) ::usleep(static_cast<useconds_t>(pause_us));
  }
  ::close(fd);
}

}  // namespace

TEST_CASE("what is closed, renamed, linked, removed arrives") {
  Backed run;
  write(run / "before", "was there");
  run.start();
  CHECK(run.comes("before", "was there"));
  write(run / "a", "one");
  CHECK(run.comes("a", "one"));
  write(run / "a.tmp", "two");
  std::filesystem::rename(run / "a.tmp", run / "a");
  CHECK(run.comes("a", "two"));
  CHECK_FALSE(run.vault.content("a.tmp"));
  std::filesystem::create_directories(run / "new/deep");
  write(run / "new/deep/file", "in new folders");
  CHECK(run.comes("new/deep/file", "in new folders"));
  std::filesystem::create_symlink("a", run / "link");
  CHECK(eventually([&] {
    auto tree = run.vault.last();
    auto entry = spellfs::find(*run.vault.store, tree->name, "link");
    return entry && entry->type == spellfs::EntryType::link && entry->target == "a";
  }));
  std::filesystem::rename(run / "new", run / "moved");
  CHECK(run.comes("moved/deep/file", "in new folders"));
  CHECK_FALSE(run.vault.content("new/deep/file"));
  CHECK_FALSE(spellfs::find(*run.vault.store, run.vault.last()->name, "new"));
  std::filesystem::remove_all(run / "moved");
  CHECK(eventually([&] { return !run.vault.content("moved/deep/file"); }));
  CHECK(run.vault.content("a") == "two");
  CHECK(eventually([&] { return run.backup->status().backlog.files == 0; }));
  CHECK(run.backup->status().tree->name == run.vault.last()->name);
}

TEST_CASE("mode, times and size are those of the file") {
  Backed run;
  run.start();
  auto bytes = noise(5 << 20, 1);
  write(run / "big.tmp", bytes);
  ::chmod((run / "big.tmp").c_str(), 0750);
  timespec times[2] = {{1'000'000'000, 5}, {1'000'000'000, 5}};
  ::utimensat(AT_FDCWD, (run / "big.tmp").c_str(), times, 0);
  std::filesystem::rename(run / "big.tmp", run / "big");
  CHECK(run.comes("big", bytes));
  auto entry = spellfs::find(*run.vault.store, run.vault.last()->name, "big").value();
  CHECK(entry.mode == 0750);
  CHECK(entry.mtime_ns == 1'000'000'000'000'000'005);
}

TEST_CASE("a file that is open for writing is not there, however long it says nothing") {
  Backed run;
  run.start();
  int fd = ::open((run / "model").c_str(), O_WRONLY | O_CREAT, 0644);
  REQUIRE(::write(fd, "half", 4) == 4);
  write(run / "other.tmp", "x");
  int again = ::open((run / "second").c_str(), O_WRONLY | O_CREAT, 0644);
  int both = ::open((run / "second").c_str(), O_WRONLY);
  ::close(again);  // a close event, and a writer that is left
  CHECK(run.comes("other.tmp", "x"));
  CHECK_FALSE(run.vault.content("model"));
  CHECK_FALSE(run.vault.content("second"));
  REQUIRE(::write(fd, " whole", 6) == 6);
  ::close(fd);
  ::close(both);
  CHECK(run.comes("model", "half whole"));
  CHECK(run.comes("second", ""));
}

TEST_CASE("a mapping that can be written to is a writer, too") {
  Backed run;
  run.start();
  constexpr std::size_t size = 1 << 20;
  int fd = ::open((run / "mapped").c_str(), O_RDWR | O_CREAT, 0644);
  REQUIRE(::ftruncate(fd, size) == 0);
  auto* memory =
      static_cast<char*>(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  ::close(fd);
  std::memset(memory, 'a', size / 2);
  write(run / "other", "x");
  // Nothing is held up by what was never finished.
  CHECK(run.comes("other", "x"));
  CHECK_FALSE(run.vault.content("mapped"));
  std::memset(memory, 'b', size);
  ::munmap(memory, size);
  CHECK(run.comes("mapped", std::string(size, 'b')));
  for (auto& tree : run.vault.trees())
    if (auto content = run.vault.content(tree, "mapped")) CHECK(*content == std::string(size, 'b'));
}

TEST_CASE("a CSV that is held open is backed up as far as it is") {
  Backed run;
  run.options.rules.grows = [](const std::string& path) { return path.ends_with(".csv"); };
  run.start();
  std::ofstream csv(run / "metrics.csv");
  std::string all;
  for (int i = 0; i < 3; ++i) {
    auto line = "step," + std::to_string(i) + "\n";
    csv << line << std::flush;
    all += line;
    INFO("line " << i << ", there is " << run.vault.content("metrics.csv").value_or("nothing"));
    CHECK(run.comes("metrics.csv", all));
  }
  csv.close();
  for (auto& tree : run.vault.trees())
    if (auto content = run.vault.content(tree, "metrics.csv")) CHECK(all.starts_with(*content));
}

TEST_CASE("a folder of eight files is there as a whole or not at all") {
  std::optional<Backed> place;
  // The promise is to a program that pauses less than the rule says, and this computer may be busy.
  for (bool kept = false; !kept;) {
    Backed& run = place.emplace();
    run.start();
    auto last = base::boot_ns();
    std::int64_t longest = 0;
    auto beat = [&] {
      auto now = base::boot_ns();
      longest = std::max(longest, now - last);
      last = now;
    };
    for (int step = 0; step < 3; ++step) {
      std::string folder = run / ("step-" + std::to_string(step));
      std::filesystem::create_directory(folder);
      for (int i = 0; i < 8; ++i) {
        beat();
        write(folder + "/" + std::to_string(i), noise(100'000, static_cast<std::uint64_t>(i)));
        beat();
        ::usleep(30'000);  // it computes
      }
    }
    write(run / "done", "yes");
    kept = longest < run.options.rules.quiet / 2;
  }
  Backed& run = *place;
  CHECK(run.comes("done", "yes"));
  std::set<int> seen;
  for (auto& tree : run.vault.trees())
    for (int step = 0; step < 3; ++step) {
      auto folder = spellfs::find(*run.vault.store, tree.name, "step-" + std::to_string(step));
      if (!folder) continue;
      CHECK(folder->files == 8);
      seen.insert(step);
    }
  CHECK(seen == std::set<int>{0, 1, 2});
}

TEST_CASE(
    "who wants to write does not wait for a reader, and the version that is read is not torn") {
  Backed run;
  run.options.yield = std::chrono::milliseconds(0);
  constexpr std::size_t size = 96 << 20;
  auto first = checkpoint(1, size), second = checkpoint(2, size);
  run.start();
  write(run / "model", first);
  auto slowest = std::chrono::steady_clock::duration::zero();
  for (int i = 0; i < 20; ++i) {
    auto began = std::chrono::steady_clock::now();
    int fd = ::open((run / "model").c_str(), O_WRONLY);
    slowest = std::max(slowest, std::chrono::steady_clock::now() - began);
    (void)!::pwrite(fd, second.data(), size / 2, 0);
    ::close(fd);
    ::usleep(10'000);
  }
  // A reader that does not let go loses its lease after /proc/sys/fs/lease-break-time, 45 s.
  CHECK(slowest < std::chrono::seconds(10));
  write(run / "model.tmp", second);
  std::filesystem::rename(run / "model.tmp", run / "model");
  CHECK(run.comes("model", second));
}

TEST_CASE("killed at random while a checkpoint is rewritten in place: whole versions only") {
  std::mt19937 random(GENERATE(7u, 8u, 9u));
  constexpr std::size_t size = 3 << 20;
  Backed run;
  std::unique_ptr<Child> child;
  std::mutex mutex;
  run.options.alive = [&] {
    std::lock_guard lock(mutex);
    return child && child->alive();
  };
  for (int life = 0; life < 5; ++life) {
    std::optional<Tree> last = run.vault.last();
    // A resumed run finds what was safe.
    if (auto content = run.vault.content("model")) write(run / "model", *content);
    {
      std::lock_guard lock(mutex);
      child = std::make_unique<Child>([&] {
        for (std::uint32_t i = 1;; ++i) {
          rewrite(run / "model", checkpoint(i * 1000 + static_cast<unsigned>(life), size), 64 << 10,
                  1000);
          ::usleep(120'000);  // it computes
        }
      });
    }
    auto before = run.vault.trees().size();
    run.start(last);
    CHECK(eventually([&] { return run.vault.trees().size() > before; }));
    ::usleep(static_cast<useconds_t>(random() % 300'000));
    auto now = base::boot_ns();
    child->kill();
    // Time enough for a mistake: what its end has closed settles, and is not published.
    ::usleep(250'000);
    auto torn = run.backup->incomplete(now);  // takes in what the end has closed
    std::ifstream in(run / "model", std::ios::binary);
    std::string here{std::istreambuf_iterator<char>(in), {}};
    // What is torn is said to be.
    if (!is_whole(here, size)) CHECK(torn == std::vector<std::string>{"model"});
    run.backup.reset();
  }
  int versions = 0;
  for (auto& tree : run.vault.trees())
    if (auto content = run.vault.content(tree, "model")) {
      ++versions;
      CHECK(is_whole(*content, size));
    }
  CHECK(versions >= 5);
}

TEST_CASE("a large file that is written anew before it can be read is copied first") {
  constexpr std::size_t size = 20 << 20;
  Backed run;
  // Four seconds of that are read at once; the rest is what the writer does not wait for.
  run.options.rate = std::make_shared<Rate>(4'000'000);
  run.options.yield = std::chrono::milliseconds(0);
  run.start();
  Child program([&] {
    for (std::uint32_t number = 1;; ++number) {
      rewrite(run / "model", checkpoint(number, size), 1 << 20, 0);
      ::usleep(300'000);
    }
  });
  CHECK(eventually([&] {
    auto bytes = run.vault.content("model");
    return bytes && is_whole(*bytes, size);
  }));
}

TEST_CASE("a backup that is behind says so, and that it has caught up") {
  Backed run;
  std::vector<Backlog> told;
  run.options.behind_after = std::chrono::milliseconds(200);
  run.options.behind = [&](const Backlog& backlog, std::chrono::seconds) {
    std::lock_guard lock(run.mutex);
    told.push_back(backlog);
  };
  auto times = [&] {
    std::lock_guard lock(run.mutex);
    return told.size();
  };
  run.vault.away = true;
  run.start();
  write(run / "file", "0123456789");
  // Nothing more happens: it is time alone that makes it worth another word.
  CHECK(eventually([&] { return times() >= 2; }));
  run.vault.away = false;
  CHECK(run.comes("file", "0123456789"));
  CHECK(eventually([&] {
    std::lock_guard lock(run.mutex);
    return told.back().files == 0;
  }));
  std::lock_guard lock(run.mutex);
  CHECK(told[0].files == 1);
  CHECK(told[0].bytes == 10);
  CHECK(told[1].files == 1);
}

TEST_CASE("backups that share a rate share it") {
  Rate rate(1'000);
  std::int64_t second = 1'000'000'000;
  CHECK(rate.take(500, 10 * second) == 10 * second + second / 2);
  CHECK(rate.take(1'000, 10 * second) == 11 * second + second / 2);
  CHECK(rate.take(0, 20 * second) == 20 * second);
  CHECK(Rate(250'000'000).take(4'000'000'000'000, 0) == 16'000 * second);
}

TEST_CASE("without leases only what is renamed into place is backed up, and that is said") {
  Backed run;
  run.options.rules.renames_only = true;
  run.start();
  REQUIRE(eventually([&] { return run.backup->status().looked; }));
  write(run / "in-place", "x");
  write(run / ".part", "y");
  std::filesystem::rename(run / ".part", run / "model");
  CHECK(run.comes("model", "y"));
  CHECK_FALSE(run.vault.content("in-place"));
  CHECK(run.said("only files that are renamed into place are backed up"));
}

TEST_CASE("what nobody hears of is found by a look now and then") {
  Backed run;
  run.options.look = std::chrono::seconds(1);
  run.start();
  write(run / "model", "one");
  CHECK(run.comes("model", "one"));
  // Events belong to the name by which a file is changed, and nobody listens at this one.
  std::filesystem::create_hard_link(run / "model", run.top / "elsewhere");
  write(run.top / "elsewhere", "another");
  CHECK(run.comes("model", "another"));
}

TEST_CASE("a slow rate holds up what comes") {
  Backed run;
  run.options.rate = std::make_shared<Rate>(8);
  run.start();
  auto began = base::boot_ns();
  const std::string content = "0123456789abcdef";
  for (auto* name : {"a", "b", "c"}) write(run / name, content);
  for (auto* name : {"a", "b", "c"}) CHECK(run.comes(name, content));
  CHECK(base::boot_ns() - began >= 4'000'000'000);  // each keeps the next waiting for 2 s
}

TEST_CASE("what was there long before an end by force is not torn by it, seen or not") {
  Backed run;
  run.options.rules.settle = 2'000'000'000;
  write(run / "early", "closed long ago");
  // Its ctime is what counts, and cannot be set.
  ::usleep(2'100'000);
  run.start();
  CHECK(eventually([&] { return run.backup->status().looked; }));
  write(run / "late", "just now");
  CHECK(run.backup->incomplete(base::boot_ns()) == std::vector<std::string>{"late"});
  auto end = base::boot_ns();
  // One that has just begun.
  run.start();
  CHECK(run.backup->incomplete(end) == std::vector<std::string>{"late"});
  // This one could not read what is safe.
  run.vault.dark = true;
  run.start(Tree{});
  CHECK_FALSE(run.backup->incomplete(end));
}

TEST_CASE("the version before the one that an end by force has torn is sent before all is over") {
  Backed run;
  run.options.spool = 1;  // the next version waits where it is
  run.start();
  write(run / "model", "version 4");
  CHECK(run.comes("model", "version 4"));
  run.vault.away = true;
  auto asked = run.vault.asked.load();
  write(run / "model", "version 5");
  REQUIRE(eventually([&] { return run.vault.asked > asked; }));
  int fd = ::open((run / "model").c_str(), O_WRONLY | O_TRUNC);
  REQUIRE(::write(fd, "vers", 4) == 4);
  CHECK(run.backup->incomplete(base::boot_ns()) == std::vector<std::string>{"model"});
  CHECK_FALSE(run.backup->flush(std::chrono::milliseconds(1)));
  run.vault.away = false;
  REQUIRE(run.backup->flush(std::chrono::seconds(60)));
  CHECK(run.vault.content("model") == "version 5");
  ::close(fd);
}

TEST_CASE("what is captured and in no tree yet is in one at an end by force") {
  Backed run;
  run.start();
  write(run / "first", "x");
  CHECK(run.comes("first", "x"));
  auto captured = [&](const std::string& name, const std::string& content) {
    auto before = run.backup->status().captured;
    write(run / name, content);
    bool done = eventually([&] { return run.backup->status().captured > before; });
    ::usleep(200'000);  // longer than an end by force would doubt it
    return done;
  };
  // No tree is made while these wait, each in one of its own where there is time for that.
  run.vault.away = true;
  for (auto* name : {"waits-0", "waits-1"}) REQUIRE(captured(name, "x"));
  REQUIRE(captured("model", "version 5"));
  int fd = ::open((run / "model").c_str(), O_WRONLY | O_TRUNC);
  REQUIRE(::write(fd, "vers", 4) == 4);
  CHECK(run.backup->incomplete(base::boot_ns()) == std::vector<std::string>{"model"});
  run.vault.away = false;
  REQUIRE(run.backup->flush(std::chrono::seconds(60)));
  CHECK(run.vault.content("model") == "version 5");
  ::close(fd);
}

TEST_CASE("a computer that stands still in the middle of a folder makes no part of it whole") {
  Backed run;
  run.options.rules.unheard = run.options.rules.quiet / 5;
  run.start();
  constexpr int parts = 12;
  auto part = [&](int i) { return run / ("epoch/part-" + std::to_string(i)); };
  Child writer([&] {
    ::mkdir((run / "epoch").c_str(), 0755);
    for (int i = 0; i < parts; ++i) {
      write(part(i), "x");
      ::usleep(50'000);
    }
  });
  Child clock([&, backup = ::getpid()] {
    for (int i : {2, 5, 8}) {
      while (::access(part(i).c_str(), F_OK) != 0) ::usleep(1'000);
      for (auto pid : {writer.pid, backup}) ::kill(pid, SIGSTOP);
      ::usleep(1'000'000);
      ::kill(backup, SIGCONT);
      ::usleep(20'000);  // it is given a lead
      ::kill(writer.pid, SIGCONT);
    }
  });
  CHECK(run.comes("epoch/part-" + std::to_string(parts - 1), "x"));
  for (auto& tree : run.vault.trees()) {
    int there = 0;
    for (int i = 0; i < parts; ++i)
      there += run.vault.content(tree, "epoch/part-" + std::to_string(i)).has_value();
    CHECK((there == 0 || there == parts));
  }
}

TEST_CASE("while the service is away trees wait in few files") {
  Backed run;
  std::atomic<int> files{0};
  run.options.temporary = [&] { return ++files, unnamed(run.spool); };
  run.options.in_memory = 0;
  run.start();
  run.vault.away = true;
  for (int i = 0; i < 20; ++i) {
    write(run / std::to_string(i), "x");
    ::usleep(60'000);
  }
  CHECK(files <= 4);
  run.vault.away = false;
  CHECK(eventually([&] {
    auto tree = run.vault.last();
    return tree && tree->files == 20;
  }));
}

TEST_CASE("a backup that keeps up leaves the disk alone; one that does not uses the spool") {
  Backed run;
  std::atomic<int> files{0};
  run.options.temporary = [&] { return ++files, unnamed(run.spool); };
  run.options.in_memory = 4;
  run.start();
  // More in all than memory is used for, but never at once; none is large enough to be cloned.
  std::size_t size = 3 << 20;
  for (std::uint64_t i = 0; i < 12; ++i) {
    auto content = noise(size, i);
    write(run / "model", content);
    REQUIRE(run.comes("model", content));
  }
  CHECK(files == 0);
  run.vault.away = true;
  auto name = [](int i) { return "part-" + std::to_string(i); };
  for (int i = 0; i < 16; ++i) write(run / name(i), noise(size, 100 + i));
  CHECK(eventually([&] { return files > 0; }));
  run.vault.away = false;
  for (int i = 0; i < 16; ++i) CHECK(run.comes(name(i), noise(size, 100 + i)));
}

TEST_CASE("a disk that is full, and files that cannot be had, cost no version that is safe") {
  Backed run;
  std::atomic<int> fault{0};
  run.options.temporary = [&]() -> Result<base::Fd> {
    if (fault == 1) return base::error("io_error", "too many open files");
    return fault == 2 ? base::open("/dev/full", O_RDWR) : unnamed(run.spool);
  };
  run.options.in_memory = 0;
  run.start();
  write(run / "model", "whole");
  write(run / "other", "x");
  CHECK(run.comes("model", "whole"));
  int fd = ::open((run / "model").c_str(), O_WRONLY | O_TRUNC);
  REQUIRE(::write(fd, "to", 2) == 2);
  for (int kind = 1; kind <= 2; ++kind) {
    fault = kind;
    auto name = "new-" + std::to_string(kind);
    write(run / name, "new");
    CHECK(eventually(
        [&] { return run.said(kind == 1 ? "too many open files" : "No space left on device"); }));
    fault = 0;
    CHECK(run.comes(name, "new"));
  }
  for (auto& tree : run.vault.trees())
    if (tree.files > 1) CHECK(run.vault.content(tree, "model") == "whole");
  ::close(fd);
  CHECK(run.comes("model", "to"));
}

TEST_CASE("a backup that cannot hear any more ends, and says that it knows nothing") {
  Backed run;
  run.start();
  write(run / "a", "one");
  CHECK(run.comes("a", "one"));
  run.vault.away = true;
  write(run / "b", "two");
  auto asked = run.vault.asked.load();
  REQUIRE(eventually([&] { return run.vault.asked > asked; }));
  rlimit before;
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit none{1, before.rlim_max};
  run.vault.forgetful = true;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  run.vault.away = false;
  bool said = eventually([&] { return run.said("the backup ends"); });
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(said);
  CHECK_FALSE(run.backup->incomplete(base::boot_ns()));
}

TEST_CASE("a file in the place of a folder, and folders too deep for a tree, stop nothing") {
  Backed run;
  run.start();
  write(run / "a", "1");
  std::filesystem::create_directory(run / "out");
  write(run / "out/a", "1");
  CHECK(run.comes("out/a", "1"));
  std::filesystem::remove_all(run / "out");
  write(run / "out", "a file");
  CHECK(eventually([&] {
    auto entry = spellfs::find(*run.vault.store, run.vault.last()->name, "out");
    return entry && entry->type == spellfs::EntryType::file;
  }));
  std::string deep = run / "deep";
  for (int i = 0; i < 300; ++i) deep += "/d";
  std::filesystem::create_directories(deep);
  write(deep + "/file", "x");
  write(run / "after", "x");
  CHECK(run.comes("after", "x"));
}

TEST_CASE("a table that is made anew in place is not taken for one that has grown") {
  Backed run;
  run.options.rules.grows = [](const std::string& path) { return path.ends_with(".csv"); };
  run.start();
  write(run / "table.csv", "1,2\n3,4\n");
  CHECK(run.comes("table.csv", "1,2\n3,4\n"));
  int fd = ::open((run / "table.csv").c_str(), O_WRONLY | O_TRUNC);
  REQUIRE(::write(fd, "1,", 2) == 2);
  ::usleep(500'000);
  write(run / "after", "x");
  CHECK(run.comes("after", "x"));
  CHECK(run.vault.content("table.csv") == "1,2\n3,4\n");
  CHECK(run.backup->incomplete(base::boot_ns())->front() == "table.csv");
  ::close(fd);
}

TEST_CASE("a large file costs its new chunks only") {
  Backed run;
  run.start();
  auto bytes = noise(32 << 20, 3);
  write(run / "model", bytes);
  CHECK(run.comes("model", bytes));
  auto first = run.vault.sent.load();
  CHECK(first > (32 << 20));
  std::memset(&bytes[10 << 20], 'x', 1000);
  int fd = ::open((run / "model").c_str(), O_WRONLY);
  REQUIRE(::pwrite(fd, &bytes[10 << 20], 1000, 10 << 20) == 1000);
  ::close(fd);
  CHECK(run.comes("model", bytes));
  CHECK(run.vault.sent - first < (1 << 20));
}

TEST_CASE(
    "a version that is captured arrives though it is written over while the service is away") {
  Backed run;
  run.vault.away = true;
  run.start();
  write(run / "model", "first");
  CHECK(eventually([&] { return run.backup->status().backlog.files == 1; }));
  // In the spool once it is to be sent; from then on the file may be what it likes.
  REQUIRE(eventually([&] { return run.vault.asked > 0; }));
  write(run / "model", "second");
  CHECK(run.backup->status().backlog.oldest > 0);
  run.vault.away = false;
  CHECK(run.comes("model", "second"));
  std::vector<std::string> versions;
  for (auto& tree : run.vault.trees()) versions.push_back(run.vault.content(tree, "model").value());
  CHECK(versions == std::vector<std::string>{"first", "second"});
}

TEST_CASE("after a kill -9 it goes on from what is safe") {
  Backed run;
  run.start();
  for (int i = 0; i < 20; ++i) write(run / ("file-" + std::to_string(i)), noise(50'000, 1));
  write(run / "goes", "soon");
  CHECK(eventually([&] {
    auto tree = run.vault.last();
    return tree && tree->files == 21 && run.backup->status().backlog.files == 0;
  }));
  auto last = run.vault.last();
  auto sent = run.vault.sent.load();
  run.backup.reset();
  // While nobody listens:
  write(run / "file-3", "other");
  std::filesystem::remove(run / "goes");
  std::filesystem::create_directory(run / "half");
  write(run / "half/a", "a");
  int fd = ::open((run / "half/b").c_str(), O_WRONLY | O_CREAT, 0644);
  run.start(last);
  CHECK(run.comes("file-3", "other"));
  CHECK_FALSE(run.vault.content("goes"));
  CHECK_FALSE(run.vault.content("half/a"));
  REQUIRE(::write(fd, "b", 1) == 1);
  ::close(fd);
  CHECK(run.comes("half/b", "b"));
  CHECK(run.vault.content("half/a") == "a");
  CHECK(run.vault.sent - sent < 20'000);  // what is safe is not sent again
}

TEST_CASE("what the service has lost is sent once more") {
  Backed run;
  run.start();
  write(run / "a", "one");
  CHECK(run.comes("a", "one"));
  run.vault.store = spellfs::make_memory_store();
  run.vault.forgetful = true;
  write(run / "b", "two");
  CHECK(run.comes("b", "two"));
  CHECK(run.vault.content("a") == "one");
}

TEST_CASE("no link leads the backup out of its folder") {
  Backed run;
  std::filesystem::create_directory(run.top / "outside");
  write(run.top / "outside/secret", "secret");
  std::filesystem::create_directory(run / "folder");
  write(run / "folder/secret", "mine");
  run.start();
  CHECK(run.comes("folder/secret", "mine"));
  std::filesystem::rename(run / "folder", run / "away");
  std::filesystem::create_directory_symlink(run.top / "outside", run / "folder");
  write(run.top / "outside/secret", "secret, and more");
  write(run / "after", "x");
  CHECK(run.comes("after", "x"));
  for (auto& tree : run.vault.trees())
    for (auto* path : {"folder/secret", "away/secret"})
      if (auto content = run.vault.content(tree, path)) CHECK(*content == "mine");
}

TEST_CASE("what is left out and what is known stays out") {
  Backed run;
  write(run / "code.py", "print()");
  struct stat st;
  REQUIRE(::stat((run / "code.py").c_str(), &st) == 0);
  run.options.known["code.py"] = spellfs::state_of(st);
  run.options.left_out = [](const std::string& path, bool) { return path == "__pycache__"; };
  run.start();
  std::filesystem::create_directory(run / "__pycache__");
  write(run / "__pycache__/x", "x");
  write(run / "a", "a");
  CHECK(run.comes("a", "a"));
  CHECK(run.vault.last()->files == 1);
  write(run / "code.py", "print(1)");
  CHECK(run.comes("code.py", "print(1)"));
}

TEST_CASE("events that the kernel dropped are made up for by a look") {
  Backed run;
  auto folder = Folder::open(run.folder).value();
  Ledger ledger{LedgerOptions{}};
  auto watch = Watch::start(folder, ledger, {}).value();
  watch.look();
  std::ifstream limit("/proc/sys/fs/inotify/max_queued_events");
  int most = 16'384;
  limit >> most;
  if (most > 100'000) return;
  for (int i = 0; i <= most / 2 && !watch.is_blind(); ++i) {
    int fd = ::open((run / std::to_string(i)).c_str(), O_WRONLY | O_CREAT, 0644);
    ::close(fd);
  }
  std::filesystem::create_directory(run / "last");
  write(run / "last/file", "x");
  watch.pump();
  REQUIRE(watch.is_blind());
  watch.look();
  CHECK_FALSE(watch.is_blind());
  CHECK(ledger.backlog().files == most / 2 + 2);
}
