#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include <chrono>
#include <set>

#include "support.hpp"

using namespace spell;
using namespace spell::spellfs;
namespace fs = std::filesystem;

namespace {

struct Saved {
  PackInFile pack;
  SaveResult result;
  std::unique_ptr<ChunkStore> store = make_memory_store();
  explicit Saved(const std::string& folder, const SaveOptions& options = {}) {
    result = save(folder, options, pack.writer).value();
    pack.finish();
    store->add_pack("ann", pack.fd.get(), pack.size).value();
  }
  Entry at(const std::string& path) const {
    return find(*store, result.tree.value(), path).value();
  }
  bool has(const std::string& path) const {
    return result.tree && find(*store, *result.tree, path).ok();
  }
  std::string content(const std::string& path) const {
    Entry entry = at(path);
    return read(*store, entry.node, entry.size, 0, static_cast<std::size_t>(entry.size)).value();
  }
};

KnownFile state_of(const std::string& path) {
  struct stat st;
  REQUIRE(::lstat(path.c_str(), &st) == 0);
  return {st.st_size, st.st_mtim.tv_sec * 1'000'000'000LL + st.st_mtim.tv_nsec,
          st.st_ctim.tv_sec * 1'000'000'000LL + st.st_ctim.tv_nsec, st.st_ino, st.st_mode};
}

void set_mtime(const std::string& path, std::int64_t ns) {
  timespec times[2] = {{0, UTIME_OMIT}, {ns / 1'000'000'000, ns % 1'000'000'000}};
  REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0);
}

}  // namespace

TEST_CASE("files, folders, links, modes and times come back as they were") {
  TemporaryFolder folder;
  std::string medium = noise(100'000, 1), large = noise(5 << 20, 2);
  write(folder / "small", "hello");
  write(folder / "sub/medium", medium);
  write(folder / "sub/deeper/large", large);
  write(folder / "empty", "");
  write(folder / "exactly", noise(static_cast<std::size_t>(small_file), 3));
  write(folder / "one more", noise(static_cast<std::size_t>(small_file) + 1, 4));
  ::chmod((folder / "small").c_str(), 0751);
  ::chmod((folder / "sub").c_str(), 0700);
  fs::create_symlink("../../../etc/passwd", folder / "sub/link");
  fs::create_symlink("/nowhere", folder / "dangling");
  set_mtime(folder / "small", 1'600'000'000'123'456'789);
  set_mtime(folder / "dangling", 1'600'000'001'000'000'001);
  set_mtime(folder / "sub", 1'500'000'000'000'000'042);

  Saved saved(folder.path);
  CHECK(saved.result.files == 8);
  CHECK(saved.result.bytes ==
        static_cast<std::int64_t>(5 + medium.size() + large.size() + 0 + 2 * small_file + 1));
  CHECK(saved.result.new_bytes > saved.result.bytes);
  CHECK(saved.result.skipped.empty());
  CHECK(saved.content("small") == "hello");
  CHECK(saved.at("small").mode == 0751);
  CHECK(saved.at("small").mtime_ns == 1'600'000'000'123'456'789);
  CHECK(saved.content("sub/medium") == medium);
  CHECK(saved.content("sub/deeper/large") == large);
  CHECK(saved.content("empty").empty());
  CHECK(saved.content("exactly") == noise(static_cast<std::size_t>(small_file), 3));
  CHECK(saved.content("one more") == noise(static_cast<std::size_t>(small_file) + 1, 4));
  CHECK(saved.at("sub").mode == 0700);
  CHECK(saved.at("sub").mtime_ns == 1'500'000'000'000'000'042);
  CHECK(saved.at("sub").type == EntryType::folder);
  CHECK(saved.at("sub").files == 3);
  CHECK(saved.at("sub/link").type == EntryType::link);
  CHECK(saved.at("sub/link").target == "../../../etc/passwd");
  CHECK(saved.at("dangling").target == "/nowhere");
  CHECK(saved.at("dangling").mtime_ns == 1'600'000'001'000'000'001);
  CHECK(saved.at("").files == 8);
  CHECK(saved.at("").depth == 3);
}

TEST_CASE("names are bytes") {
  TemporaryFolder folder;
  std::vector<std::string> names = {
      "-rf", "line\nfeed", "\xff\xfe bad utf-8", std::string(255, 'n'), "...", " ", "\\"};
  for (auto& name : names) write(folder / name, name);
  Saved saved(folder.path);
  for (auto& name : names) CHECK(saved.content(name) == name);
  auto listed = list(*saved.store, *saved.result.tree).value();
  REQUIRE(listed.size() == names.size());
  CHECK(std::is_sorted(listed.begin(), listed.end(),
                       [](auto& a, auto& b) { return a.name < b.name; }));
}

TEST_CASE("holes are kept, and cost nothing") {
  TemporaryFolder folder;
  std::string path = folder / "sparse", head = noise(100'000, 1), tail = noise(50'000, 2);
  constexpr std::int64_t size = 1LL << 30, middle = 600'000'000;
  {
    auto fd = base::open(path, O_CREAT | O_RDWR).value();
    base::pwrite_all(fd.get(), head, 0).value();
    base::pwrite_all(fd.get(), tail, middle).value();
    REQUIRE(::ftruncate(fd.get(), size) == 0);
  }
  struct stat st;
  ::stat(path.c_str(), &st);
  if (st.st_blocks * 512 >= size) {
    WARN("the file system of the temporary folder keeps no holes");
    return;
  }
  Saved saved(folder.path);
  CHECK(saved.result.bytes == size);
  CHECK(saved.result.new_bytes < 400'000);
  Entry entry = saved.at("sparse");
  CHECK(entry.size == size);
  CHECK(read(*saved.store, entry.node, size, 0, 100'000).value() == head);
  CHECK(read(*saved.store, entry.node, size, middle, 50'000).value() == tail);
  CHECK(read(*saved.store, entry.node, size, middle - 10, 20).value() ==
        std::string(10, '\0') + tail.substr(0, 10));
  CHECK(read(*saved.store, entry.node, size, size - 5, 50).value() == std::string(5, '\0'));
}

TEST_CASE("ranges of a file are its bytes") {
  TemporaryFolder folder;
  std::string bytes = noise(3'000'001, 5);
  write(folder / "f", bytes);
  Saved saved(folder.path);
  Entry entry = saved.at("f");
  auto range = [&](std::int64_t from, std::size_t size) {
    return read(*saved.store, entry.node, entry.size, from, size).value();
  };
  for (std::int64_t from : {0, 1, 65'535, 999'999, 2'999'999, 3'000'000})
    for (std::size_t size : {std::size_t{1}, std::size_t{70'000}, std::size_t{1'000'000}, SIZE_MAX})
      CHECK(range(from, size) == bytes.substr(static_cast<std::size_t>(from), size));
  CHECK(range(3'000'001, 1).empty());
  CHECK(range(INT64_MAX, 1).empty());
  CHECK(range(5, 0).empty());
  CHECK(read(*saved.store, entry.node, entry.size, -1, 1).error().code() ==
        "range_not_satisfiable");
  CHECK(read(*saved.store, entry.node, entry.size + 1, 0, 1).error().code() == "damaged");
}

TEST_CASE("a large folder is listed in pages") {
  TemporaryFolder folder;
  for (int i = 0; i < 1'500; ++i) write(folder / ("f" + std::to_string(i)), std::to_string(i));
  Saved saved(folder.path);
  auto all = list(*saved.store, *saved.result.tree).value();
  REQUIRE(all.size() == 1'500);
  std::vector<Entry> paged;
  for (;;) {
    auto page =
        list(*saved.store, *saved.result.tree, paged.empty() ? "" : paged.back().name, 97).value();
    if (page.empty()) break;
    CHECK(page.size() <= 97);
    paged.insert(paged.end(), page.begin(), page.end());
  }
  CHECK(paged == all);
  CHECK(list(*saved.store, *saved.result.tree, "zzz").value().empty());
  CHECK(list(*saved.store, *saved.result.tree, "", 0).value().empty());
  CHECK(saved.content("f777") == "777");
}

TEST_CASE("paths that are not there, or no paths, are not found") {
  TemporaryFolder folder;
  write(folder / "a/b", "x");
  Saved saved(folder.path);
  for (std::string path : {"c", "a/c", "a/b/c", "..", "a/../a", "/a", "a//b", "a/", "./a"})
    CHECK(find(*saved.store, *saved.result.tree, path).error().code() == "resource_not_found");
  CHECK(find(*saved.store, *saved.result.tree, std::string("a\0", 2)).error().code() ==
        "resource_not_found");
  CHECK(find(*saved.store, fake_name(1), "a").error().code() == "object_not_found");
}

TEST_CASE("known files are left out until they change") {
  TemporaryFolder folder;
  SaveOptions options;
  for (std::string name :
       {"kept", "touched", "rewritten", "other mode", "code/kept", "code/deep/kept", "gone/file"}) {
    write(folder / name, "content");
    set_mtime(folder / name, 1'600'000'000'000'000'000);
    options.known[name] = state_of(folder / name);
  }
  fs::create_symlink("kept", folder / "link");
  options.known["link"] = state_of(folder / "link");

  SECTION("nothing changed: nothing to save") {
    PackInFile pack;
    auto result = save(folder.path, options, pack.writer).value();
    CHECK_FALSE(result.tree);
    CHECK(result.files == 0);
    CHECK(result.new_bytes == 0);
    CHECK(pack.writer.objects() == 0);
  }
  SECTION("changes, new files and new empty folders are saved, and only they") {
    write(folder / "rewritten", "CONTENT");
    set_mtime(folder / "rewritten", 1'600'000'000'000'000'000);
    ::chmod((folder / "other mode").c_str(), 0700);
    set_mtime(folder / "touched", 1'600'000'001'000'000'000);
    write(folder / "code/new", "new");
    fs::create_directories(folder / "results/empty");
    fs::remove(folder / "gone/file");
    fs::remove(folder / "link");
    fs::create_symlink("code", folder / "link");
    Saved saved(folder.path, options);
    CHECK(saved.content("rewritten") == "CONTENT");
    CHECK(saved.at("other mode").mode == 0700);
    CHECK(saved.content("touched") == "content");
    CHECK(saved.content("code/new") == "new");
    CHECK(saved.at("link").target == "code");
    CHECK(saved.at("results/empty").type == EntryType::folder);
    for (auto name : {"kept", "code/kept", "code/deep", "gone"}) CHECK_FALSE(saved.has(name));
    CHECK(saved.result.files == 5);
  }
  SECTION("where the content tells, a file that was touched is not saved") {
    std::set<std::string> asked;
    options.same = [&](const std::string& path, int, const std::string& name) {
      asked.insert(path);
      return name == "touched";
    };
    for (auto name : {"touched", "rewritten"}) set_mtime(folder / name, 1'600'000'001'000'000'000);
    write(folder / "code/kept", "more content");
    ::chmod((folder / "other mode").c_str(), 0700);
    Saved saved(folder.path, options);
    CHECK(asked == std::set<std::string>{"touched", "rewritten"});
    CHECK_FALSE(saved.has("touched"));
    for (auto name : {"rewritten", "code/kept", "other mode"}) CHECK(saved.has(name));
  }
}

TEST_CASE("an empty folder alone has nothing to save") {
  TemporaryFolder folder;
  PackInFile pack;
  CHECK_FALSE(save(folder.path, {}, pack.writer).value().tree);
}

TEST_CASE("folders to skip are left out anywhere, and counted") {
  TemporaryFolder folder;
  write(folder / "a.py", "x");
  write(folder / "__pycache__/a.pyc", "x");
  write(folder / "pkg/__pycache__/b.pyc", "x");
  write(folder / "pkg/__pycache__/deep/c.pyc", "x");
  write(folder / "sub/node_modules", "a file of that name");
  SaveOptions options;
  options.skip_folders = {"__pycache__", "node_modules"};
  Saved saved(folder.path, options);
  CHECK(saved.result.left_out == 3);
  CHECK(saved.result.files == 2);
  CHECK(saved.has("sub/node_modules"));
  CHECK_FALSE(saved.has("__pycache__"));
  CHECK_FALSE(saved.has("pkg"));
}

TEST_CASE("what is no file is skipped and said, and the rest is saved") {
  TemporaryFolder folder;
  write(folder / "good", "x");
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string path = folder / "socket";
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  ::close(fd);
  std::vector<std::string> skipped{"pipe: a fifo", "socket: a socket"};
  // Only root can make one.
  if (::mknod((folder / "device").c_str(), S_IFCHR | 0600, makedev(1, 3)) == 0)
    skipped.insert(skipped.begin(), "device: a device");
  Saved saved(folder.path);
  CHECK(saved.result.skipped == skipped);
  CHECK(saved.result.files == 1);
}

TEST_CASE("unreadable files are skipped and said") {
  TemporaryFolder folder;
  write(folder / "good", "x");
  write(folder / "secret", "x");
  write(folder / "closed/file", "x");
  ::chmod((folder / "secret").c_str(), 0);
  ::chmod((folder / "closed").c_str(), 0);
  // Root can read everything, so it becomes somebody else meanwhile.
  bool root = ::geteuid() == 0;
  if (root) {
    ::chmod(folder.path.c_str(), 0755);
    ::chmod((folder / "good").c_str(), 0644);
    REQUIRE(::seteuid(65534) == 0);
  }
  PackInFile pack;
  auto result = save(folder.path, {}, pack.writer);
  if (root) REQUIRE(::seteuid(0) == 0);
  ::chmod((folder / "closed").c_str(), 0700);
  REQUIRE(result);
  REQUIRE(result->skipped.size() == 2);
  CHECK(result->skipped[0].starts_with("closed: "));
  CHECK(result->skipped[1].starts_with("secret: "));
  CHECK(result->files == 1);
}

TEST_CASE("a link in the place of a folder is not followed") {
  TemporaryFolder outside, folder;
  write(outside / "secret", "x");
  fs::create_directory_symlink(outside.path, folder / "way out");
  Saved saved(folder.path);
  CHECK(saved.at("way out").type == EntryType::link);
  CHECK(saved.result.bytes == 0);
}

TEST_CASE("folders within folders have an end") {
  TemporaryFolder folder;
  int at = ::open(folder.path.c_str(), O_RDONLY | O_DIRECTORY);
  for (int i = 0; i < max_depth + 10; ++i) {
    REQUIRE(::mkdirat(at, "d", 0700) == 0);
    int next = ::openat(at, "d", O_RDONLY | O_DIRECTORY);
    ::close(at);
    at = next;
  }
  ::close(::openat(at, "bottom", O_CREAT | O_WRONLY, 0600));
  ::close(at);
  write(folder / "d/d/file", "x");
  Saved saved(folder.path);
  REQUIRE(saved.result.skipped.size() == 1);
  CHECK(saved.content("d/d/file") == "x");
}

TEST_CASE(
    "a file that changes while it is read is read again, then saved as it was read and named") {
  TemporaryFolder folder;
  write(folder / "busy", noise(4 << 20, 1));
  write(folder / "quiet", "x");
  int changes = 0;
  int times = GENERATE(1, 1000);
  SaveOptions options;
  // Reading tells progress every megabyte: that is when somebody else writes.
  options.progress = [&](std::int64_t files, std::int64_t) {
    if (files > 0 || changes >= times) return;
    ++changes;
    std::ofstream(folder / "busy", std::ios::app) << 'y';
  };
  Saved saved(folder.path, options);
  CHECK(saved.content("quiet") == "x");
  std::string bytes = saved.content("busy");
  CHECK(bytes.substr(0, 4 << 20) == noise(4 << 20, 1));
  if (times == 1) {
    CHECK(saved.result.skipped.empty());
    CHECK(bytes == slurp(folder / "busy"));
  } else {
    CHECK(saved.result.skipped == std::vector<std::string>{"busy: changed while it was read"});
  }
}

TEST_CASE("only what is missing is written") {
  TemporaryFolder folder;
  for (int i = 0; i < 40; ++i)
    write(folder / ("f" + std::to_string(i)), noise(200'000, static_cast<std::uint64_t>(i)));
  Saved first(folder.path);
  write(folder / "f7", noise(200'000, 7) + "more");
  write(folder / "new", noise(100'000, 99));
  SaveOptions options;
  options.missing = [&](std::span<const Name> names) { return first.store->missing("ann", names); };
  PackInFile pack;
  auto result = save(folder.path, options, pack.writer).value();
  pack.finish();
  CHECK(result.files == 41);
  CHECK(result.new_bytes < 400'000);
  REQUIRE(first.store->add_pack("ann", pack.fd.get(), pack.size));
  Entry entry = find(*first.store, *result.tree, "f7").value();
  CHECK(read(*first.store, entry.node, entry.size, 0, 1 << 20).value() ==
        noise(200'000, 7) + "more");

  PackInFile nothing;
  CHECK(save(folder.path, options, nothing.writer).value().new_bytes == 0);
  CHECK(nothing.writer.objects() == 0);

  options.missing = [](std::span<const Name>) -> Result<std::vector<Name>> {
    return Error("gone", "no service");
  };
  CHECK(save(folder.path, options, nothing.writer).error().code() == "gone");
}

TEST_CASE("a save in packs of bounded size: each is taken by itself, nothing is sent twice") {
  TemporaryFolder folder;
  for (int i = 0; i < 40; ++i)
    write(folder / ("in/" + std::to_string(100 + i)),
          noise(200'000, static_cast<std::uint64_t>(i % 4 == 3 ? i - 3 : i)));
  auto store = make_memory_store();
  constexpr std::int64_t limit = 1 << 20;
  base::Fd files[2] = {PackInFile::make(), PackInFile::make()};
  std::int64_t packs = 0, sent = 0;
  auto take = [&](std::int64_t size) {
    // A pack is full when it has reached the limit: one object and the index may be above it.
    CHECK(size < limit + 600'000);
    sent += size;
    return store->add_pack("ada", files[packs++ % 2].get(), size);
  };
  PackWriter writer({files[0].get(), limit}, [&](std::int64_t size) -> Result<PackPlace> {
    if (auto taken = take(size); !taken) return taken.error();
    return PackPlace{files[packs % 2].get(), limit};
  });
  SaveOptions options;
  options.missing = [&](auto names) { return store->missing("ada", names); };
  auto saved = save(folder / "in", options, writer).value();
  CHECK(saved.new_bytes > 30 * 200'000);
  CHECK(writer.content() == 30 * 200'000);
  REQUIRE(take(writer.finish().value()).ok());
  CHECK(packs >= 5);
  CHECK(store->owns("ada", *saved.tree).value());
  CHECK(sent < 30 * 200'000 * 102 / 100);
}

TEST_CASE("the same folder has the same tree, small or large, and equal content is written once") {
  TemporaryFolder folder;
  std::string bytes = noise(3 << 20, 1);
  for (std::string name : {"a", "b", "c", "d"}) write(folder / name, bytes);
  Saved one(folder.path), two(folder.path);
  CHECK(one.result.tree == two.result.tree);
  CHECK(one.pack.bytes() == two.pack.bytes());
  CHECK(one.result.bytes == 12 << 20);
  CHECK(one.result.new_bytes < 4 << 20);
}

TEST_CASE("progress ends with the totals") {
  TemporaryFolder folder;
  write(folder / "a", noise(3 << 20, 1));
  write(folder / "b", "x");
  std::int64_t files = 0, bytes = 0, calls = 0;
  SaveOptions options;
  options.progress = [&](std::int64_t f, std::int64_t b) { files = f, bytes = b, ++calls; };
  Saved saved(folder.path, options);
  CHECK(files == 2);
  CHECK(bytes == (3 << 20) + 1);
  CHECK(calls >= 2);
}

TEST_CASE("a pack that cannot be written, and a folder that is not there, are errors") {
  TemporaryFolder folder;
  write(folder / "a", noise(40 << 20, 1));
  PackWriter closed(-1);
  CHECK_FALSE(save(folder.path, {}, closed));
  PackInFile pack;
  CHECK(save(folder / "nowhere", {}, pack.writer).error().code() == "not_found");
}

TEST_CASE("what is to be ignored is not looked into") {
  TemporaryFolder folder;
  write(folder / "in/keep/a", "a");
  write(folder / "in/keep/b.tmp", "b");
  write(folder / "in/out/c", "c");
  std::vector<std::string> asked;
  SaveOptions options;
  options.ignore = [&](const std::string& path, bool is_folder) {
    asked.push_back(path + (is_folder ? "/" : ""));
    return path == "out" || path.ends_with(".tmp");
  };
  PackInFile pack;
  auto saved = save(folder / "in", options, pack.writer).value();
  CHECK(saved.files == 1);
  CHECK(asked == std::vector<std::string>{"keep/", "keep/a", "keep/b.tmp", "out/"});
}

TEST_CASE("a save that is stopped is canceled, and what is no file cannot be saved by itself") {
  TemporaryFolder folder;
  for (int i = 0; i < 10; ++i) write(folder / ("in/" + std::to_string(i)), "x");
  std::stop_source stop;
  SaveOptions options;
  options.stop = stop.get_token();
  options.ignore = [&](const std::string& path, bool) { return stop.request_stop(), path == "0"; };
  PackInFile pack, other;
  CHECK(save(folder / "in", options, pack.writer).error().code() == "canceled");
  CHECK(save("/dev/null", {}, other.writer).error().code() == "not_a_file");
  CHECK(save(folder / "none", {}, other.writer).error().code() == "not_found");
}
