#include "git/stat_cache.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <type_traits>

#include "base/file.hpp"
#include "base/hash.hpp"

namespace spell::git {

namespace {

// The file: magic, SHA-256 of the rest, the rest. Numbers in the machine's own order: the file
// never leaves it.
constexpr std::string_view magic = "spell stat cache 1\n";
constexpr std::int64_t racy_ns = 2'000'000'000;
constexpr std::size_t most_roots = 32, most_sent = 8, most_sent_blobs = 100'000;

class CacheWriter {
 public:
  std::string bytes;
  template <class T>
  void value(const T& v) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes.append(reinterpret_cast<const char*>(&v), sizeof v);
  }
  void text(std::string_view t) {
    value(static_cast<std::uint32_t>(t.size()));
    bytes += t;
  }
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  bool good = true;
  template <class T>
  T value() {
    T v{};
    if (bytes_.size() < sizeof v) return good = false, v;
    std::memcpy(&v, bytes_.data(), sizeof v);
    bytes_.remove_prefix(sizeof v);
    return v;
  }
  std::string text() {
    auto size = value<std::uint32_t>();
    if (bytes_.size() < size) return good = false, std::string();
    std::string t(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
    return t;
  }
  bool more() const { return good && !bytes_.empty(); }

 private:
  std::string_view bytes_;
};

std::int64_t nanoseconds(const timespec& t) { return t.tv_sec * 1'000'000'000LL + t.tv_nsec; }

}  // namespace

FileState file_state(const struct stat& st) {
  FileState state;
  state.size = st.st_size;
#ifdef __APPLE__
  state.mtime_ns = nanoseconds(st.st_mtimespec);
  state.ctime_ns = nanoseconds(st.st_ctimespec);
#else
  state.mtime_ns = nanoseconds(st.st_mtim);
  state.ctime_ns = nanoseconds(st.st_ctim);
#endif
  state.inode = st.st_ino;
  state.mode = st.st_mode;
  return state;
}

StatCache::StatCache(const std::string& folder, const std::string& work_tree)
    : work_tree_(work_tree) {
  if (folder.empty()) return;
  file_ = folder + "/" + base::hex(base::sha256(work_tree)).substr(0, 32);
  load();
}

void StatCache::load() {
  auto bytes = base::read_file(file_, 256 << 20);
  if (!bytes || !bytes->starts_with(magic) || bytes->size() < magic.size() + 32) return;
  auto payload = std::string_view(*bytes).substr(magic.size() + 32);
  auto digest = base::sha256(payload);
  if (std::memcmp(digest.data(), bytes->data() + magic.size(), digest.size()) != 0) return;
  Reader in(payload);
  for (auto n = in.value<std::uint32_t>(); n > 0 && in.good; --n) {
    auto path = in.text();
    Entry entry;
    entry.state.size = in.value<std::int64_t>();
    entry.state.mtime_ns = in.value<std::int64_t>();
    entry.state.ctime_ns = in.value<std::int64_t>();
    entry.state.inode = in.value<std::uint64_t>();
    entry.state.mode = in.value<std::uint32_t>();
    entry.ids.raw = in.value<Oid>();
    entry.ids.clean = in.value<Oid>();
    if (in.good) entries_.emplace_hint(entries_.end(), std::move(path), entry);
  }
  for (auto n = in.value<std::uint32_t>(); n > 0 && in.good; --n) {
    auto commit = in.value<Oid>();
    roots_.emplace_back(commit, in.value<Oid>());
  }
  while (in.more()) {
    auto tree = in.value<Oid>();
    std::vector<Oid> blobs;
    for (auto n = in.value<std::uint32_t>(); n > 0 && in.good; --n)
      blobs.push_back(in.value<Oid>());
    sent_order_.push_back(tree);
    sent_[tree] = std::move(blobs);
  }
}

std::optional<StatCache::Ids> StatCache::find(const std::string& path,
                                              const FileState& state) const {
  auto at = entries_.find(path);
  if (at == entries_.end() || at->second.state != state) return std::nullopt;
  return at->second.ids;
}

void StatCache::put(const std::string& path, const FileState& state, const Ids& ids,
                    std::int64_t now_ns) {
  if (file_.empty() || std::max(state.mtime_ns, state.ctime_ns) > now_ns - racy_ns) return;
  entries_[path] = {state, ids};
  changed_ = true;
}

std::optional<Oid> StatCache::find_root(const Oid& commit) const {
  for (auto& [known, root] : roots_)
    if (known == commit) return root;
  return std::nullopt;
}

void StatCache::put_root(const Oid& commit, const Oid& root) {
  if (find_root(commit)) return;
  if (roots_.size() >= most_roots) roots_.erase(roots_.begin());
  roots_.emplace_back(commit, root);
  changed_ = true;
}

void StatCache::put_sent(const Oid& tree, std::vector<Oid> blobs) {
  if (blobs.empty() || blobs.size() > most_sent_blobs || sent_.contains(tree)) return;
  if (sent_order_.size() >= most_sent) {
    sent_.erase(sent_order_.front());
    sent_order_.erase(sent_order_.begin());
  }
  sent_order_.push_back(tree);
  sent_[tree] = std::move(blobs);
  changed_ = true;
}

void StatCache::save() {
  if (file_.empty() || !changed_) return;
  std::erase_if(entries_,
                [&](auto& entry) { return !base::exists(work_tree_ + "/" + entry.first); });
  CacheWriter out;
  out.value(static_cast<std::uint32_t>(entries_.size()));
  for (auto& [path, entry] : entries_) {
    out.text(path);
    out.value(entry.state.size);
    out.value(entry.state.mtime_ns);
    out.value(entry.state.ctime_ns);
    out.value(entry.state.inode);
    out.value(entry.state.mode);
    out.value(entry.ids.raw);
    out.value(entry.ids.clean);
  }
  out.value(static_cast<std::uint32_t>(roots_.size()));
  for (auto& [commit, root] : roots_) {
    out.value(commit);
    out.value(root);
  }
  for (auto& tree : sent_order_) {
    out.value(tree);
    auto& blobs = sent_[tree];
    out.value(static_cast<std::uint32_t>(blobs.size()));
    for (auto& blob : blobs) out.value(blob);
  }
  std::string bytes(magic);
  auto digest = base::sha256(out.bytes);
  bytes.append(reinterpret_cast<const char*>(digest.data()), digest.size());
  bytes += out.bytes;
  // A cache that cannot be written costs time, nothing else.
  auto folder = file_.substr(0, file_.rfind('/'));
  if (base::make_folders(folder) && base::write_file(file_, bytes, 0600, false)) changed_ = false;
}

}  // namespace spell::git
