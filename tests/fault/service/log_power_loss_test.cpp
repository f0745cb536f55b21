// Logs when the power goes at any step of what is written and nothing of it reaches the disk that
// was not synced: every byte that was acknowledged is there, and nothing else is taken for output.
// This program's fsync, fdatasync, ftruncate and unlink stand before those of the C library.
#include <unistd.h>

#include "../disk_calls.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "catch.hpp"
#include "model/log.hpp"
#include "service/log_store.hpp"

using namespace spell;
using namespace spell::service;

namespace {

struct Folder {
  std::string path = "/tmp/spell-log-power-" + base::hex(base::random_bytes(6));
  Folder() { REQUIRE(base::make_folders(path)); }
  ~Folder() {
    disk.folder.clear();
    (void)base::remove_tree(path);
  }
};

const std::vector<std::string> runs = {std::string(32, 'a'), "b" + std::string(31, 'a')};

std::string piece(const std::string& run, std::int64_t offset) {
  std::string text = run.substr(0, 1) + std::to_string(offset) + "\n";
  while (text.size() < 90'000) text += text;
  return text;
}

/// Appends pieces to each log until a step fails; `whole`: what was acknowledged.
void work(const std::string& folder, std::map<std::string, std::string>& whole) {
  LogStore logs(folder);
  for (int i = 0; i < 5; ++i)
    for (auto& run : runs) {
      auto end = static_cast<std::int64_t>(whole[run].size());
      std::string text = piece(run, end), frames;
      model::FrameHeader header;
      header.sequence = static_cast<std::uint64_t>(end);
      header.time_us = 100;
      model::append_frame(frames, header, text);
      auto there = logs.append(run, end, frames, 0);
      if (!there) return;
      REQUIRE(*there == end + static_cast<std::int64_t>(text.size()));
      whole[run] += text;
    }
}

std::string read_all(LogStore& logs, const std::string& run) {
  std::string out;
  for (;;) {
    auto frames = logs.read(run, static_cast<std::int64_t>(out.size()), INT64_MAX, 1 << 20);
    REQUIRE(frames);
    if (frames->empty()) return out;
    model::FrameParser parser;
    parser.feed(*frames);
    for (;;) {
      auto next = parser.next();
      REQUIRE(next);
      if (!*next) break;
      out += (*next)->payload;
    }
  }
}

}  // namespace

TEST_CASE("power that goes at any step of writing logs takes nothing that was acknowledged") {
  // Names early or late; and of what was not synced nothing, or sectors by chance.
  for (unsigned kind = 0; kind < 4; ++kind) {
    INFO("kind " << kind);
    bool through = false;
    int at = 1;
    for (; !through; ++at) {
      INFO("step " << at);
      Folder folder;
      std::map<std::string, std::string> whole;
      // From nothing, or on what is there.
      if (at % 2) work(folder.path, whole);
      disk.watch(folder.path);
      disk.steps = 0;
      disk.fail_at = at / 2 + 1;
      work(folder.path, whole);
      through = !disk.dead && at > 1;
      const bool torn = kind >= 2;
      disk.come_back(kind % 2, torn ? kind * 1000 + static_cast<unsigned>(at) : 0);
      {
        LogStore logs(folder.path);
        for (auto& run : runs) {
          auto size = logs.size(run);
          if (!size) FAIL(size.error().message());
          REQUIRE(*size >= static_cast<std::int64_t>(whole[run].size()));
          auto text = read_all(logs, run);
          REQUIRE(text.starts_with(whole[run]));
          // What stands behind that was sent, too, and may stay; torn, if sectors of it are
          // missing.
          if (!torn)
            REQUIRE((whole[run] + piece(run, static_cast<std::int64_t>(whole[run].size())))
                        .starts_with(text));
          whole[run] = text;
        }
      }
      work(folder.path, whole);
      LogStore logs(folder.path);
      for (auto& run : runs) REQUIRE(read_all(logs, run) == whole[run]);
    }
    CHECK(at > 10);
  }
}
