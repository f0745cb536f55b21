#include <atomic>

#include "support.hpp"

using namespace spell;
using namespace spell::spellfs;
namespace fs = std::filesystem;

namespace {

struct Stored {
  std::unique_ptr<ChunkStore> store = make_memory_store();
  SaveResult result;
  explicit Stored(const std::string& path, SaveOptions options = {}) {
    PackInFile pack;
    options.missing = [&](auto names) { return store->missing("ann", names); };
    result = save(path, options, pack.writer).value();
    pack.finish();
    store->add_pack("ann", pack.fd.get(), pack.size).value();
  }
};

std::int64_t mtime_of(const std::string& path) {
  struct stat st;
  REQUIRE(::lstat(path.c_str(), &st) == 0);
  return st.st_mtim.tv_sec * 1'000'000'000LL + st.st_mtim.tv_nsec;
}

void set_time(const std::string& path, std::int64_t seconds, long ns) {
  timespec times[2] = {{seconds, ns}, {seconds, ns}};
  REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0);
}

/// Everything below, as text: names, modes, times, contents.
std::string picture(const std::string& root) {
  std::map<std::string, std::string> lines;
  auto add = [&](const fs::path& path) {
    struct stat st;
    REQUIRE(::lstat(path.c_str(), &st) == 0);
    std::string line = std::to_string(st.st_mode) + " " + std::to_string(mtime_of(path));
    if (S_ISREG(st.st_mode)) line += " " + base::hex(base::sha256(slurp(path)));
    if (S_ISLNK(st.st_mode)) line += " " + fs::read_symlink(path).string();
    lines[fs::relative(path, root).string()] = line;
  };
  add(root);
  for (auto& entry : fs::recursive_directory_iterator(root)) add(entry.path());
  std::string out;
  for (auto& [path, line] : lines) out += path + ": " + line + "\n";
  return out;
}

void make_example(const std::string& root) {
  for (int i = 0; i < 200; ++i)
    write(root + "/many/" + std::to_string(i), noise(static_cast<std::size_t>(i) * 300, 1));
  write(root + "/large", noise(9 << 20, 2));
  write(root + "/empty", "");
  write(root + "/deep/er/and/deeper/x", "x");
  write(root + "/new\nline", "-");
  write(root + "/-rf", "-");
  write(root + "/\xff\xfe", "no text");
  write(root + "/" + std::string(255, 'n'), "long");
  fs::create_directory(root + "/nothing");
  fs::create_symlink("../../outside", root + "/deep/link");
  fs::create_symlink("/etc/passwd", root + "/absolute");
  ::chmod((root + "/large").c_str(), 0755);
  ::chmod((root + "/deep/er").c_str(), 0500);
  set_time(root + "/deep/link", 1'000'000'000, 5);
  set_time(root + "/large", -5, 999'999'999);
  set_time(root + "/many", 1'200'000'000, 123'456'789);
}

}  // namespace

TEST_CASE("what is restored is what was saved") {
  TemporaryFolder folder;
  std::string in = folder / "in", out = folder / "out";
  make_example(in);
  Stored saved(in);
  RestoreOptions options;
  options.threads = GENERATE(1, 4);
  options.durable = GENERATE(false, true);
  auto restored = restore(*saved.store, saved.result.root, out, options);
  REQUIRE(restored);
  CHECK(picture(out) == picture(in));
  CHECK(restored->files == saved.result.files);
  CHECK(restored->bytes == saved.result.bytes);
  // Nothing beside it.
  CHECK(std::distance(fs::directory_iterator(folder.path), fs::directory_iterator()) == 2);
  ::chmod((in + "/deep/er").c_str(), 0700);
  ::chmod((out + "/deep/er").c_str(), 0700);
}

TEST_CASE("a single file is saved and restored, large, small and empty") {
  TemporaryFolder folder;
  std::size_t size = GENERATE(0, 5, 16 << 10, 100'000, 9 << 20);
  write(folder / "a.bin", noise(size, 3));
  ::chmod((folder / "a.bin").c_str(), 0640);
  set_time(folder / "a.bin", 1'000'000'000, 7);
  fs::create_symlink("a.bin", folder / "link");
  for (std::string name : {"a.bin", "link"}) {
    Stored saved(folder / name);
    auto& root = saved.result.root;
    CHECK_FALSE(saved.result.tree);
    CHECK(root.name == name);
    CHECK(root.type == EntryType::file);
    CHECK(root.size == static_cast<std::int64_t>(size));
    CHECK(root.mode == 0640);
    CHECK(saved.result.files == 1);
    REQUIRE(restore(*saved.store, root, folder / "back"));
    CHECK(slurp(folder / "back") == slurp(folder / "a.bin"));
    CHECK(mtime_of(folder / "back") == 1'000'000'000'000'000'007);
    fs::remove(folder / "back");
  }
}

TEST_CASE("holes come back as holes") {
  TemporaryFolder folder;
  std::string in = folder / "in", out = folder / "out";
  std::int64_t size = GENERATE(3 << 20, 40 << 20);
  {
    auto fd = base::open(in, O_RDWR | O_CREAT).value();
    REQUIRE(::ftruncate(fd.get(), size) == 0);
    base::pwrite_all(fd.get(), noise(100'000, 5), size / 2).value();
  }
  Stored saved(in);
  REQUIRE(restore(*saved.store, saved.result.root, out));
  struct stat st;
  REQUIRE(::stat(out.c_str(), &st) == 0);
  CHECK(st.st_size == size);
  CHECK(st.st_blocks * 512 < 400'000);
  CHECK(slurp(in) == slurp(out));
}

TEST_CASE("what exists is never replaced, and a failure leaves nothing") {
  TemporaryFolder folder;
  make_example(folder / "in");
  Stored saved(folder / "in");
  auto others = [&] {
    return std::distance(fs::directory_iterator(folder.path), fs::directory_iterator());
  };
  fs::create_directory(folder / "there");
  CHECK(restore(*saved.store, saved.result.root, folder / "there").error().code() == "exists");
  fs::create_symlink("nowhere", folder / "link");
  CHECK(restore(*saved.store, saved.result.root, folder / "link").error().code() == "exists");
  CHECK(others() == 3);
  CHECK(restore(*saved.store, saved.result.root, folder / "no/such").error().code() == "not_found");
  auto empty = make_memory_store();
  CHECK(restore(*empty, saved.result.root, folder / "out").error().code() == "object_not_found");
  Entry wrong = saved.result.root;
  ++wrong.size;
  CHECK(restore(*saved.store, wrong, folder / "out").error().code() == "damaged");
  CHECK(others() == 3);

  std::stop_source stop;
  RestoreOptions options;
  options.stop = stop.get_token();
  options.progress = [&](std::int64_t, std::int64_t) { stop.request_stop(); };
  auto stopped = restore(*saved.store, saved.result.root, folder / "out", options);
  CHECK(stopped.error().code() == "canceled");
  CHECK(others() == 3);
  ::chmod((folder / "in/deep/er").c_str(), 0700);
}

TEST_CASE("a read-only copy can be written by nobody, and no file sets an id") {
  TemporaryFolder folder;
  write(folder / "in/sub/x", "x");
  ::chmod((folder / "in/sub/x").c_str(), 06755);
  Stored saved(folder / "in");
  for (bool read_only : {false, true}) {
    RestoreOptions options;
    options.read_only = read_only;
    REQUIRE(restore(*saved.store, saved.result.root, folder / "out", options));
    struct stat st;
    REQUIRE(::stat((folder / "out/sub/x").c_str(), &st) == 0);
    CHECK((st.st_mode & 07777) == (read_only ? 0555u : 0755u));
    REQUIRE(::stat((folder / "out/sub").c_str(), &st) == 0);
    CHECK(bool(st.st_mode & 0200) == !read_only);
    fs::permissions(folder / "out/sub", fs::perms::owner_all);
    fs::permissions(folder / "out", fs::perms::owner_all);
    fs::remove_all(folder / "out");
  }
}

TEST_CASE("progress of restoring ends with the totals") {
  TemporaryFolder folder;
  make_example(folder / "in");
  Stored saved(folder / "in");
  std::int64_t files = 0, bytes = 0, calls = 0;
  RestoreOptions options;
  options.progress = [&](std::int64_t f, std::int64_t b) {
    CHECK(b >= bytes);
    files = f, bytes = b, ++calls;
  };
  REQUIRE(restore(*saved.store, saved.result.root, folder / "out", options));
  CHECK(files == saved.result.files);
  CHECK(bytes == saved.result.bytes);
  CHECK(calls > 5);
  ::chmod((folder / "in/deep/er").c_str(), 0700);
  ::chmod((folder / "out/deep/er").c_str(), 0700);
}
