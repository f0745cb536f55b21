// What `./dev bench spellfs` times: saving into a store, restoring, one file more. Prints seconds,
// then what else is to be said, in one line.
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/file.hpp"
#include "base/id.hpp"
#include "spellfs/pack_index.hpp"
#include "spellfs/pack_store.hpp"
#include "spellfs/tree.hpp"

using namespace spell;
using namespace spell::spellfs;

namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::int64_t peak_kilobytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

Entry root_of(const std::string& text) {
  Entry root;
  char type = 0, name[66] = {};
  long long size = 0, files = 0;
  if (std::sscanf(text.c_str(), "%c:%65[^:]:%lld:%lld:%d", &type, name, &size, &files,
                  &root.depth) != 5)
    std::abort();
  root.type = type == 't' ? EntryType::folder : EntryType::file;
  root.mode = type == 't' ? 0755 : 0644;
  root.node = Name::parse(name).value();
  root.size = size;
  root.files = files;
  return root;
}

std::string text_of(const Entry& root) {
  return std::string(root.type == EntryType::folder ? "t:" : "f:") + root.node.text() + ":" +
         std::to_string(root.size) + ":" + std::to_string(root.files) + ":" +
         std::to_string(root.depth);
}

/// An index as of a store of so many packs; of the packs there are only the names.
void fill(const std::string& folder, std::uint64_t packs, std::uint64_t objects) {
  auto index = PackIndex::open(folder + "/index.db").value();
  std::uint64_t number = 0, step = UINT64_MAX / (packs * objects);
  for (std::uint64_t k = 0; k < packs; ++k) {
    std::vector<Indexed> all(objects);
    std::int64_t offset = 16;
    for (auto& [frame, facts] : all) {
      // Spread evenly, in their order: as many as would take hours to come in another.
      std::uint64_t key = number++ * step;
      for (int i = 0; i < 8; ++i)
        frame.name.digest[static_cast<std::size_t>(i)] =
            static_cast<std::uint8_t>(key >> (56 - 8 * i));
      frame.raw = frame.stored = 64 << 10;
      frame.offset = offset;
      facts.totals.size = frame.raw;
      offset += 44 + frame.stored;
    }
    std::string id = base::Id::make().text();
    base::write_file(folder + "/packs/" + id + ".pack", "", 0600, false).value();
    index->add(id, "bench", offset, std::move(all)).value();
  }
}

}  // namespace

int main(int count, char** words) {
  std::string what = count > 1 ? words[1] : "";
  auto word = [&](int i) { return std::string(i < count ? words[i] : ""); };
  auto start = Clock::now();
  auto store = std::move(open_pack_store(word(2))).value();
  if (what == "save") {  // STORE PATH [CACHE]: durable
    auto writer = store->writer("bench").value();
    SaveOptions options;
    options.cache = word(4);
    options.ask_bytes = 1 << 20;  // the store is here: to ask it costs nothing
    options.missing = [&](auto names) { return store->missing("bench", names); };
    auto saved = save(word(3), options, *writer).value();
    writer->finish().value();
    std::printf("%.6f %lld %lld %s\n", since(start), static_cast<long long>(saved.new_bytes),
                static_cast<long long>(peak_kilobytes()), text_of(saved.root).c_str());
  } else if (what == "restore") {  // STORE ROOT TARGET
    restore(*store, root_of(word(3)), word(4)).value();
    std::printf("%.6f %lld\n", since(start), static_cast<long long>(peak_kilobytes()));
  } else if (what == "add") {  // STORE ROOT FILE NAME: one file more, durable
    auto writer = store->writer("bench").value();
    SaveOptions options;
    options.missing = [&](auto names) { return store->missing("bench", names); };
    Entry file = save(word(4), options, *writer).value().root;
    auto root = edit(*store, root_of(word(3)).node, {{word(5), file}}, *writer).value();
    long long bytes = writer->finish().value();
    std::printf("%.6f %lld %s\n", since(start), bytes, text_of(root).c_str());
  } else if (what == "fill") {  // STORE PACKS OBJECTS
    store.reset();
    fill(word(2), std::stoull(word(3)), std::stoull(word(4)));
  } else {
    std::fprintf(stderr, "usage: spell_bench_spellfs save|restore|add|fill STORE …\n");
    return 2;
  }
}
