// Reading from a store elsewhere.
#include <atomic>
#include <set>
#include <thread>

#include "spellfs/remote_store.hpp"
#include "support.hpp"

using namespace spell;
using namespace spell::spellfs;
namespace fs = std::filesystem;

namespace {

/// A store of the owner ann on this disk, and what is asked of it.
struct Elsewhere {
  TemporaryFolder folder;
  std::unique_ptr<PackStore> packs = std::move(open_pack_store(folder / "store")).value();
  std::size_t limit = 8 << 20;
  std::mutex mutex;
  std::vector<std::vector<Name>> asked;
  std::size_t largest = 0;

  SaveResult put(const std::string& path) {
    auto writer = packs->writer("ann").value();
    auto saved = save(path, {}, *writer).value();
    writer->finish().value();
    return saved;
  }
  FetchObjects fetch() {
    return [this](std::span<const Name> names) {
      auto pack = packs->pack_of("ann", names, limit);
      std::lock_guard lock(mutex);
      asked.emplace_back(names.begin(), names.end());
      if (pack) largest = std::max(largest, pack->size());
      return pack;
    };
  }
  std::size_t bytes_asked_for() const {
    std::size_t bytes = 0;
    std::set<Name> seen;
    for (auto& names : asked)
      for (auto& name : names)
        if (seen.insert(name).second)
          for (Kind kind : {Kind::chunk, Kind::file, Kind::folder})
            if (auto object = packs->get(kind, name)) bytes += object->size();
    return bytes;
  }
};

std::string contents(const std::string& root) {
  std::string out;
  std::set<std::string> paths;
  for (auto& entry : fs::recursive_directory_iterator(root)) paths.insert(entry.path());
  for (auto& path : paths)
    out += fs::relative(path, root).string() +
           (fs::is_regular_file(path) ? base::hex(base::sha256(slurp(path))) : "") + "\n";
  return out;
}

void make_many(const std::string& root) {
  for (int i = 0; i < 600; ++i) write(root + "/many/" + std::to_string(i), noise(1000, 100 + i));
  for (int i = 0; i < 50; ++i)
    write(root + "/folders/" + std::to_string(i) + "/file", noise(20'000, 1000 + i));
  write(root + "/large", noise(9 << 20, 2));
  write(root + "/empty", "");
  write(root + "/dull", std::string(300'000, 'x'));
}

}  // namespace

TEST_CASE("a tree is restored from elsewhere with few questions and bounded answers") {
  Elsewhere there;
  make_many(there.folder / "from");
  auto saved = there.put(there.folder / "from");
  there.limit = GENERATE(64 << 10, 8 << 20);
  RemoteOptions options;
  if (there.limit < 1 << 20) options.memory = 100'000;  // less than one answer holds, sometimes
  auto store = make_remote_store(there.fetch(), options);
  restore(*store, saved.root, there.folder / "to").value();
  CHECK(contents(there.folder / "to") == contents(there.folder / "from"));
  CHECK(there.largest < there.limit + max_object + 100'000);
  if (there.limit > 1 << 20) CHECK(there.asked.size() < 30);
}

TEST_CASE("who only looks does not fetch what is in files") {
  Elsewhere there;
  make_many(there.folder / "from");
  auto saved = there.put(there.folder / "from");
  auto store = make_remote_store(there.fetch());
  for (int i = 0; i < 50; ++i)
    REQUIRE(find(*store, *saved.tree, "folders/" + std::to_string(i) + "/file"));
  CHECK(list(*store, find(*store, *saved.tree, "many").value().node).value().size() == 600);
  CHECK(there.bytes_asked_for() < 200'000);
  CHECK(there.asked.size() < 10);
}

TEST_CASE("a wrong bit anywhere in an answer is never taken for data") {
  std::string bytes = noise(700, 1), pack;
  Name name = name_of(Kind::chunk, bytes);
  PackFileWriter writer;
  Frame frame{Kind::chunk, Codec::raw, 700, 700, 0, name};
  writer.append(frame, bytes).value();
  writer.finish().value();
  pack = writer.take();
  std::string answer = pack;
  auto store = [&] {
    return make_remote_store([&](auto) -> Result<std::string> { return answer; });
  };
  REQUIRE(store()->get(Kind::chunk, name).value() == bytes);
  for (std::size_t i = 0; i < pack.size(); ++i) {
    answer = pack;
    answer[i] = static_cast<char>(answer[i] ^ (1 << i % 8));
    auto got = store()->get(Kind::chunk, name);
    REQUIRE_FALSE(got);
    CHECK((got.error().code() == "bad_pack" || got.error().code() == "damaged"));
  }
  for (std::size_t i = 0; i < pack.size(); ++i) {
    answer = pack.substr(0, i);
    REQUIRE(store()->get(Kind::chunk, name).error().code() == "bad_pack");
  }
}

TEST_CASE("a damaged answer is asked for again the next time") {
  std::string bytes = noise(700, 1);
  Name name = name_of(Kind::chunk, bytes);
  int calls = 0;
  auto store = make_remote_store([&](auto) -> Result<std::string> {
    PackFileWriter writer;
    std::string sent = ++calls == 2 ? std::string(700, 'x') : bytes;
    writer.append({Kind::chunk, Codec::raw, 700, 700, 0, name}, sent).value();
    writer.finish().value();
    if (calls == 1) return base::error("timeout", "no answer");
    return writer.take();
  });
  CHECK(store->get(Kind::chunk, name).error().code() == "timeout");
  CHECK(store->get(Kind::chunk, name).error().code() == "damaged");
  CHECK(store->get(Kind::chunk, name).value() == bytes);
  CHECK(store->get(Kind::chunk, name).value() == bytes);
  CHECK(calls == 3);
  CHECK(store->get(Kind::folder, name).error().code() == "object_not_found");
}

TEST_CASE("an answer without what was asked for ends the reading, and nothing else is kept of it") {
  int calls = 0;
  auto store = make_remote_store([&](auto) -> Result<std::string> {
    ++calls;
    PackFileWriter writer;
    writer.append({Kind::chunk, Codec::raw, 5, 5, 0, name_of(Kind::chunk, "other")}, "other")
        .value();
    writer.finish().value();
    return writer.take();
  });
  CHECK(store->get(Kind::chunk, fake_name(1)).error().code() == "object_not_found");
  CHECK(store->get(Kind::chunk, name_of(Kind::chunk, "other")).value() == "other");
  CHECK(calls == 2);
}

TEST_CASE("threads that want the same object ask once") {
  std::string bytes = noise(700, 1);
  Name name = name_of(Kind::chunk, bytes);
  std::atomic<int> calls = 0, wanting = 0, good = 0;
  auto store = make_remote_store([&](auto) -> Result<std::string> {
    ++calls;
    while (wanting < 4) std::this_thread::yield();
    PackFileWriter writer;
    writer.append({Kind::chunk, Codec::raw, 700, 700, 0, name}, bytes).value();
    writer.finish().value();
    return writer.take();
  });
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      ++wanting;
      auto got = store->get(Kind::chunk, name);
      good += got && *got == bytes;
    });
  for (auto& thread : threads) thread.join();
  CHECK(good == 4);
  CHECK(calls == 1);
}

TEST_CASE("objects are packed only for whom they belong to, in order, as many as fit") {
  Elsewhere there;
  auto writer = there.packs->writer("ann").value();
  std::vector<Name> names;
  for (int i = 0; i < 5; ++i) {
    std::string bytes = noise(100'000, static_cast<std::uint64_t>(i));
    names.push_back(name_of(Kind::chunk, bytes));
    writer->add(Kind::chunk, names.back(), bytes).value();
  }
  writer->finish().value();
  auto frames = [&](std::size_t limit) {
    return PackFileReader::open(there.packs->pack_of("ann", names, limit).value()).value().frames();
  };
  CHECK(frames(1).size() == 1);
  CHECK(frames(250'000).size() == 2);
  CHECK(frames(1 << 20).size() == 5);
  CHECK(frames(1 << 20)[4].name == names[4]);
  CHECK(there.packs->pack_of("bob", names, 1).error().code() == "object_not_found");
  names.push_back(fake_name(1));
  CHECK(there.packs->pack_of("ann", names, 1 << 20).error().code() == "object_not_found");
}
