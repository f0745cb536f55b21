// Collection of code: what no living commit needs goes, pack by pack.
//
//   looking     trees of living commits are walked; everything else goes on. Packs that hold a tree
//               or commit that is not reached are condemned: were such a tree still there, it would
//               count as whole although its files have gone. So are packs of which a quarter, in
//               files, is not reached
//   writing     what lives in condemned packs, anew, in a work folder
//   going       under the locks of writers and keepers: what is living is asked once more. If
//               something lives by now that is in a condemned pack and was not written, all begins
//               anew, this time with the locks held from the start. Else the new packs are
//               published, the names of the condemned written down, and their files removed
//
// Why a submission that comes meanwhile is not hurt: it holds its commit (Store::hold) until its
// run is durable, and the holds are read before the runs.
//
// Killed at any point: before the names are written down nothing is missing; afterwards the next
// Store::open ends the removal before it looks at anything.
#include <openssl/evp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <optional>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "git/store_files.hpp"

namespace spell::git {

namespace {

/// Protections of submissions outlive them only if the process died.
constexpr std::chrono::hours longest_hold(24);

/// What commits need: themselves, their trees, files. Not their history.
class Reach {
 public:
  explicit Reach(std::stop_token stop) : stop_(std::move(stop)) {}
  /// `odb` may be another each time. `seen`: told of each object that was not reached before.
  using Seen = std::function<Result<>(const Oid&)>;
  Result<> add(git_odb* odb, const Oid& commit, const Seen& seen = {}) {
    auto data = read_commit(odb, commit);
    if (!data) return data.error();
    std::vector<Oid> trees;
    SPELL_TRY(note(commit, seen));
    if (!ids_.contains(data->tree)) trees.push_back(data->tree);
    while (!trees.empty()) {
      if (stop_.stop_requested())
        return base::error("canceled", "stopped before all was collected");
      Oid id = trees.back();
      trees.pop_back();
      if (ids_.contains(id)) continue;
      Object object;
      auto entries = read_tree(odb, id, object);
      if (!entries) return entries.error();
      SPELL_TRY(note(id, seen));
      for (auto& entry : *entries) {
        if (entry.mode == mode_module || ids_.contains(entry.id)) continue;
        if (entry.mode == mode_tree)
          trees.push_back(entry.id);
        else
          SPELL_TRY(note(entry.id, seen));
      }
    }
    return ok();
  }
  bool has(const Oid& id) const { return ids_.contains(id); }

 private:
  Result<> note(const Oid& id, const Seen& seen) {
    ids_.insert(id);
    return seen ? seen(id) : ok();
  }
  std::stop_token stop_;
  OidSet ids_;
};

}  // namespace

class Store::Collection {
 public:
  Collection(Impl& store, const Named& named, std::chrono::seconds spare, std::stop_token stop)
      : store_(store), named_(named), spare_(spare), stop_(std::move(stop)) {}

  Result<Freed> run() {
    auto joiner = lock_file(store_.path + "/" + joiner_lock, LOCK_EX);
    if (!joiner) return joiner.error();
    SPELL_TRY(remove_half_packs());
    for (bool alone : {false, true}) {
      std::optional<Locks> locks;
      if (alone) SPELL_TRY(lock(locks));
      auto done = once(locks);
      if (!done) return done.error();
      if (*done) break;
    }
    return freed_;
  }

 private:
  struct Locks {
    base::Fd writer, keeper;
  };
  Result<> lock(std::optional<Locks>& locks) {
    if (locks) return ok();
    auto writer = lock_file(store_.path + "/" + writer_lock, LOCK_EX);
    if (!writer) return writer.error();
    auto keeper = lock_file(store_.path + "/" + keeper_lock, LOCK_EX);
    if (!keeper) return keeper.error();
    locks.emplace(Locks{std::move(*writer), std::move(*keeper)});
    return ok();
  }

  /// What a process left that was killed while it published a pack.
  Result<> remove_half_packs() {
    auto writer = lock_file(store_.path + "/" + writer_lock, LOCK_EX);
    if (!writer) return writer.error();
    std::vector<std::string> half;
    for (auto& name : names_in(store_.pack_folder()))
      if (name.starts_with("pack-") && name.ends_with(".pack")) {
        auto pack = name.substr(0, name.size() - 5);
        if (!base::exists(store_.pack_folder() + "/" + pack + ".idx")) half.push_back(pack);
      }
    if (half.empty()) return ok();
    auto removed = store_.remove_packs(half);
    return removed ? ok() : Result<>(removed.error());
  }

  /// False: something came that needs what was about to go.
  Result<bool> once(std::optional<Locks>& locks) {
    freed_ = {};
    std::vector<std::string> condemned;
    OidSet contents;        // of condemned packs
    std::vector<Oid> live;  // of these
    Reach reach(stop_);
    SPELL_TRY(mark(reach, {}));
    auto odb = open_objects(store_.path + "/objects");
    if (!odb) return odb.error();
    OidSet elsewhere;  // what lives and lies in a pack that stays
    for (auto& pack : store_.packs()) {
      auto goes = look(odb->get(), pack, reach, contents, elsewhere);
      if (!goes) return goes.error();
      if (*goes) condemned.push_back(pack);
    }
    if (condemned.empty()) return true;
    for (auto& id : contents)
      if (!elsewhere.contains(id)) {
        if (reach.has(id))
          live.push_back(id);
        else
          ++freed_.objects;
      }
    auto work = WorkFolder::make(store_.path, joining_prefix);
    if (!work) return work.error();
    auto written = store_.write_packs(odb->get(), live, work->path);
    if (!written) return written.error();
    if (stop_.stop_requested()) return base::error("canceled", "stopped before all was collected");

    bool alone = locks.has_value();
    SPELL_TRY(lock(locks));
    if (!alone) {
      bool wanted = false;
      SPELL_TRY(mark(reach, [&](const Oid& id) {
        wanted = wanted || (contents.contains(id) && !elsewhere.contains(id));
        return ok();
      }));
      if (wanted) return false;
    }
    return remove(condemned, *written, work->path);
  }

  /// Walks what is living at this moment.
  Result<> mark(Reach& reach, const Reach::Seen& seen) {
    auto odb = open_objects(store_.path + "/objects");
    if (!odb) return odb.error();
    // First what is held: a run that is durable when its hold goes is among the named then.
    for (auto& commit : protected_commits()) {
      auto added = reach.add(odb->get(), commit, seen);
      // A protection is a wish; what it names may never have come.
      if (!added && added.error().code() != "missing_object") return added;
    }
    auto commits = named_();
    if (!commits) return commits.error();
    for (auto& text : *commits) {
      auto id = parse_oid(text);
      if (!id) return base::error("bad_object", "'" + base::to_utf8(text) + "' is no commit id");
      SPELL_TRY(reach.add(odb->get(), *id, seen));
    }
    return ok();
  }

  /// Of the protections, those that are too old go.
  std::vector<Oid> protected_commits() {
    std::vector<Oid> out;
    freed_.spared = false;
    for (auto& name : names_in(store_.path + "/refs/spell")) {
      std::string file = store_.ref(name);
      auto text = base::read_file(file, 1 << 10);
      struct stat st;
      if (!text || ::stat(file.c_str(), &st) != 0) continue;
      // One that is just being written has a name of its own, and counts as soon as it is there.
      bool coming = name.find(".new-") != name.npos;
      bool hold = coming || name.starts_with(hold_prefix);
      auto age = std::chrono::seconds(base::unix_us() / 1'000'000 - st.st_mtim.tv_sec);
      if (age >= (hold ? std::chrono::seconds(longest_hold) : spare_)) {
        ::unlink(file.c_str());
        continue;
      }
      if (auto id = parse_oid(base::trim(*text))) out.push_back(*id);
      freed_.spared = freed_.spared || !hold;
    }
    return out;
  }

  /// Whether a pack goes; its contents are added to `contents` then, else to `elsewhere`.
  Result<bool> look(git_odb* odb, const std::string& pack, const Reach& reach, OidSet& contents,
                    OidSet& elsewhere) {
    OidSet ids;
    SPELL_TRY(list_pack(store_.pack_folder() + "/" + pack + ".idx", ids));
    std::size_t dead = 0, dead_bytes = 0, all_bytes = 0;
    bool goes = false;
    for (auto& id : ids)
      if (!reach.has(id)) ++dead;
    for (auto it = ids.begin(); dead > 0 && !goes && it != ids.end(); ++it) {
      git_oid name = to_git(*it);
      std::size_t size = 0;
      git_object_t type = GIT_OBJECT_INVALID;
      if (git_odb_read_header(&size, &type, odb, &name) != 0)
        return library_error("bad_object", "cannot read object " + base::hex(*it));
      all_bytes += size;
      if (reach.has(*it)) continue;
      dead_bytes += size;
      goes = type != GIT_OBJECT_BLOB;
    }
    if (dead > 0 && !goes) goes = dead_bytes * 4 >= all_bytes;
    (goes ? contents : elsewhere).insert(ids.begin(), ids.end());
    return goes;
  }

  Result<bool> remove(std::vector<std::string> condemned, const std::vector<IndexedPack>& written,
                      const std::string& work) {
    std::int64_t added = 0;
    for (auto& pack : written) {
      for (auto& file : {pack.pack_file(), pack.index_file()}) {
        struct stat st;
        if (::stat(file.c_str(), &st) == 0) added += st.st_size;
      }
      SPELL_TRY(store_.publish(pack));
      std::erase(condemned, "pack-" + pack.name);
    }
    std::string names;
    for (auto& name : condemned) names += name + "\n";
    std::string list = store_.path + "/" + condemned_file;
    // Made in the work folder: of an attempt that is cut off nothing stays.
    SPELL_TRY(base::write_file(work + "/list", names));
    if (::rename((work + "/list").c_str(), list.c_str()) != 0)
      return base::errno_error("write " + list);
    SPELL_TRY(base::sync_folder(store_.path));
    auto removed = store_.remove_packs(condemned);
    store_.forget();
    if (!removed) return removed.error();
    freed_.bytes = *removed - added;
    SPELL_TRY(store_.end_removal());
    return true;
  }

  Impl& store_;
  const Named& named_;
  std::chrono::seconds spare_;
  std::stop_token stop_;
  Freed freed_;
};

Result<Store::Freed> Store::collect(const Named& named, std::chrono::seconds spare,
                                    std::stop_token stop) {
  return Collection(*impl_, named, spare, std::move(stop)).run();
}

namespace {

/// Git's files end with the SHA-1 of all before.
Result<bool> sum_is_right(const std::string& path, std::int64_t& bytes) {
  auto file = base::open(path, O_RDONLY);
  if (!file) return file.error();
  struct stat st;
  if (::fstat(file->get(), &st) != 0) return base::errno_error("read " + path);
  constexpr std::int64_t sum_size = 20;
  if (st.st_size < sum_size) return false;
  std::unique_ptr<EVP_MD_CTX, Freer<EVP_MD_CTX_free>> hash(EVP_MD_CTX_new());
  EVP_DigestInit_ex2(hash.get(), EVP_sha1(), nullptr);
  std::string piece(1 << 20, '\0');
  std::int64_t at = 0, end = st.st_size - sum_size;
  while (at < end) {
    auto want = static_cast<std::size_t>(
        std::min<std::int64_t>(end - at, static_cast<std::int64_t>(piece.size())));
    auto got = base::pread_full(file->get(), piece.data(), want, at);
    if (!got) return got.error();
    if (*got < want) return false;
    EVP_DigestUpdate(hash.get(), piece.data(), want);
    at += static_cast<std::int64_t>(want);
  }
  unsigned char sum[sum_size], said[sum_size];
  EVP_DigestFinal_ex(hash.get(), sum, nullptr);
  auto got = base::pread_full(file->get(), said, sizeof said, end);
  if (!got) return got.error();
  bytes += st.st_size;
  return *got == sizeof said && std::memcmp(sum, said, sizeof said) == 0;
}

}  // namespace

Result<Store::Checked> Store::check(const std::vector<std::string>& commits,
                                    std::stop_token stop) const {
  Checked out;
  // Of what can be read; the library trusts an index.
  start_library();
  OdbPtr odb;
  if (make(odb, git_odb_new) != 0) return library_error("io_error", "cannot read " + impl_->path);
  for (auto& pack : impl_->packs()) {
    if (stop.stop_requested()) return base::error("canceled", "stopped before all was checked");
    std::string index = impl_->pack_folder() + "/" + pack + ".idx";
    for (auto& file : {index, impl_->pack_folder() + "/" + pack + ".pack"}) {
      auto right = sum_is_right(file, out.bytes);
      // A pack that was there a moment ago may have been joined.
      if (!base::exists(index)) break;
      if (right && *right && file == index) {
        OidSet ids;
        SPELL_TRY(list_pack(index, ids));
        out.objects += static_cast<std::int64_t>(ids.size());
        git_odb_backend* backend = nullptr;
        if (git_odb_backend_one_pack(&backend, index.c_str()) == 0 &&
            git_odb_add_backend(odb.get(), backend, 1) != 0)
          backend->free(backend);
      }
      if (!right || !*right)
        out.damaged.push_back(file + ": " +
                              (right ? "its checksum is wrong" : right.error().message()));
    }
    ++out.packs;
  }
  Reach reach(stop);
  bool damaged = !out.damaged.empty();
  for (auto& text : commits) {
    auto id = parse_oid(text);
    // Where all files are as they were written it is enough to know that nothing is missing.
    auto whole = id ? reach.add(odb.get(), *id,
                                [&](const Oid& object) -> Result<> {
                                  git_oid name = to_git(object);
                                  OdbObjectPtr read;
                                  if (damaged ? make(read, git_odb_read, odb.get(), &name) == 0
                                              : git_odb_exists(odb.get(), &name) != 0)
                                    return ok();
                                  return base::error("bad_object", "object " + base::hex(object) +
                                                                       " is damaged or missing");
                                })
                    : Result<>(base::error("bad_object", "no commit id"));
    if (!whole && whole.error().code() == "canceled") return whole.error();
    if (whole) continue;
    out.hurt.push_back(text);
    // What it shares with others is to be found wanting there, too.
    reach = Reach(stop);
  }
  return out;
}

}  // namespace spell::git
