// What the tests of backups share: a folder, a store that keeps what is sent, and waiting for what
// must come.
#pragma once
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "backup/backup.hpp"
#include "base/error.hpp"
#include "catch.hpp"
#include "spellfs/store.hpp"
#include "spellfs/tree.hpp"

namespace spell::backup {

struct TemporaryFolder {
  std::filesystem::path path;
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "backup-XXXXXX").string();
    if (!::mkdtemp(name.data())) std::abort();
    path = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
  std::string operator/(const std::string& below) const { return (path / below).string(); }
};

inline void write(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// A file without a name in `folder`.
inline Result<base::Fd> unnamed(const std::string& folder) {
  return base::open(folder, O_TMPFILE | O_RDWR);
}

inline bool eventually(const std::function<bool()>& true_by_then) {
  for (int i = 0; i < 6000; ++i) {
    if (true_by_then()) return true;
    ::usleep(5000);
  }
  return false;
}

/// Keeps packs in memory, checked as the service does it.
class Vault final : public Safe {
 public:
  std::unique_ptr<spellfs::ChunkStore> store = spellfs::make_memory_store();
  std::atomic<bool> away{false}, forgetful{false}, dark{false};
  std::atomic<std::int64_t> sent{0}, asked{0};

  /// What it has, while it can be read.
  struct Seen final : spellfs::ObjectSource {
    const Vault& vault;
    explicit Seen(const Vault& of) : vault(of) {}
    Result<std::string> get(spellfs::Kind kind, const spellfs::Name& name) const override {
      if (vault.dark) return base::error("service_unreachable", "away");
      return vault.store->get(kind, name);
    }
  } seen{*this};

  Result<> send_pack(const PackFile& pack, std::int64_t size) override {
    ++asked;
    if (away) return base::error("service_unreachable", "away");
    if (forgetful.exchange(false)) return base::error("incomplete_pack", "something is gone");
    SPELL_TRY(store->add_pack("me", pack.fd(), size));
    sent += size;
    return ok();
  }
  Result<> record(const Tree& tree) override {
    if (away) return base::error("service_unreachable", "away");
    auto owned = store->owns("me", tree.name);
    if (!owned) return owned.error();
    if (!*owned) return base::error("incomplete_pack", "the tree is not there");
    std::lock_guard lock(mutex_);
    trees_.push_back(tree);
    return ok();
  }
  const spellfs::ObjectSource& objects() const override { return seen; }

  std::vector<Tree> trees() const {
    std::lock_guard lock(mutex_);
    return trees_;
  }
  std::optional<Tree> last() const {
    std::lock_guard lock(mutex_);
    return trees_.empty() ? std::nullopt : std::optional(trees_.back());
  }
  std::optional<std::string> content(const Tree& tree, const std::string& path) const {
    auto entry = spellfs::find(*store, tree.name, path);
    if (!entry) return std::nullopt;
    if (entry->size == 0) return "";
    std::string out;
    while (static_cast<std::int64_t>(out.size()) < entry->size)
      out += spellfs::read(*store, entry->node, entry->size, static_cast<std::int64_t>(out.size()),
                           spellfs::max_read)
                 .value();
    return out;
  }
  std::optional<std::string> content(const std::string& path) const {
    auto tree = last();
    return tree ? content(*tree, path) : std::nullopt;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<Tree> trees_;
};

/// A run's folder with a backup of it, at a quicker pace than usual.
struct Backed {
  TemporaryFolder top;
  std::string folder = top / "spell", spool = top / "spool";
  Vault vault;
  std::mutex mutex;
  std::vector<std::string> lines;
  BackupOptions options;
  std::unique_ptr<Backup> backup;

  Backed() {
    std::filesystem::create_directory(folder);
    std::filesystem::create_directory(spool);
    options.folder = folder;
    options.temporary = [this] { return unnamed(spool); };
    options.rules.settle = 50'000'000;
    options.rules.quiet = 300'000'000;
    options.rules.growth = 100'000'000;
    options.rules.patience = 500'000'000;
    options.again = std::chrono::milliseconds(100);
    options.between = std::chrono::milliseconds(20);
    options.log = [this](const std::string& line) {
      std::lock_guard lock(mutex);
      lines.push_back(line);
    };
  }
  std::string operator/(const std::string& below) const { return folder + "/" + below; }
  void start(std::optional<Tree> last = {}) {
    backup = Backup::start(options, vault, std::move(last)).value();
  }
  bool said(const std::string& part) {
    std::lock_guard lock(mutex);
    for (auto& line : lines)
      if (line.find(part) != std::string::npos) return true;
    return false;
  }
  bool comes(const std::string& path, const std::string& content) {
    return eventually([&] { return vault.content(path) == content; });
  }
};

}  // namespace spell::backup
