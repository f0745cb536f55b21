// What save() finds, on its way into a pack. The walker (save.cpp) pushes events; a crew reads the
// files (save_file.hpp) and hashes the chunks; the builder, with the events in their order again,
// makes nodes, asks what is missing and has that compressed by a crew; a writer puts it into the
// pack meanwhile. Everything flows one way, so a small save does all of it in the caller's thread.
// Private to this module.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_set>
#include <variant>
#include <vector>

#include "base/fd.hpp"
#include "spellfs/crew.hpp"
#include "spellfs/node.hpp"
#include "spellfs/pack.hpp"
#include "spellfs/save_cache.hpp"
#include "spellfs/tree.hpp"

namespace spell::spellfs {

/// Counts what was read, and tells of it about once a megabyte, or 128 small files; thread-safe,
/// one call at a time.
class SaveProgress {
 public:
  explicit SaveProgress(const SaveOptions& options) : options_(options) {}
  void add_bytes(std::int64_t n) { add(0, n, n); }
  void add_file() { add(1, 0, 8 << 10); }
  void end();

 private:
  void add(std::int64_t files, std::int64_t bytes, std::int64_t weight);
  const SaveOptions& options_;
  std::mutex mutex_;
  std::int64_t files_ = 0, bytes_ = 0, unreported_ = 0;
};

/// What is free.
struct SaveRoom {
  std::mutex mutex;
  std::vector<std::unique_ptr<char[]>> blocks;
  std::vector<std::unique_ptr<Compressor>> compressors;
};

/// Room to read into. Small files share a block, and blocks come back.
class Blocks {
 public:
  static constexpr std::size_t block_size = 2 << 20;
  explicit Blocks(std::shared_ptr<SaveRoom> room) : room_(std::move(room)) {}
  /// Room for so many bytes, on its own or in the block that is open.
  std::shared_ptr<char[]> take(std::size_t size);

 private:
  std::shared_ptr<char[]> fresh();
  std::shared_ptr<SaveRoom> room_;
  std::shared_ptr<char[]> open_;
  std::size_t used_ = 0;
};

/// A folder begins; its entries follow in order.
struct Enter {};
/// It ends. An empty one is dropped unless it is to be kept.
struct Leave {
  Entry entry;
  bool keep_empty = false;
};
/// A file that is to be read by the crew: its events take this one's place. The open folders are
/// few, see Pipeline::push().
struct Read {
  std::shared_ptr<const base::Fd> folder;
  std::string name, path;
  std::int64_t size = 0;
};
/// The next chunk of the file that is being read.
struct Data {
  std::shared_ptr<const char[]> block;
  std::string_view bytes;
  std::optional<Name> name{};  ///< once it was hashed
};
/// The next piece of the file is a hole.
struct Hole {
  std::int64_t size = 0;
};
/// What came of the file so far does not count.
struct Again {};
/// The file, or a link, is complete. Its size and node are the builder's to fill in, except of a
/// file that is as the cache says.
struct Done {
  Entry entry;
  bool cached = false;
  /// What the cache is to remember of it: its path; "": nothing.
  std::string path{};
  KnownFile state{};
};
/// Something is not saved, or not as it is now.
struct Skip {
  std::string what;
};
using Event = std::variant<Enter, Leave, Read, Data, Hole, Again, Done, Skip>;

/// Makes objects of events. Not thread-safe.
class Builder {
 public:
  Builder(const SaveOptions& options, PackWriter& pack, SaveCacheWriter* cache);
  ~Builder();
  Result<> take(Event& event);
  /// Asks about what was not asked about yet, and writes what is missing.
  Result<> finish();
  std::optional<Name> tree() const { return tree_; }
  /// What the tree is, into an entry.
  void fill(Entry& entry) const;
  /// The file that was saved by itself, in no folder.
  const Entry& single() const { return single_; }
  std::int64_t files() const { return files_; }
  std::int64_t bytes() const { return bytes_; }
  const std::shared_ptr<SaveRoom>& room() const { return room_; }
  /// What was not saved, in the order of the walk.
  std::vector<std::string> skipped() { return std::move(skipped_); }

 private:
  struct Folder {
    TreeBuilder tree;
    bool any = false;
  };
  struct Waiting {
    Kind kind;
    Name name;
    std::shared_ptr<const void> owner;
    std::string_view bytes;
  };
  struct Slice;
  struct Batch;
  struct File {
    std::optional<TreeBuilder> tree;
    std::int64_t size = 0;
    Name first_chunk{};
  };
  Result<> on(Enter&);
  Result<> on(Leave& leave);
  Result<> on(Data& data);
  Result<> on(Hole& hole);
  Result<> on(Again&);
  Result<> on(Done& done);
  Result<> on(Read&) { return ok(); }  // its events came instead
  Result<> on(Skip& skip);
  Result<> add_piece(const Piece& piece);
  Result<> put(Kind kind, const Name& name, std::shared_ptr<const void> owner,
               std::string_view bytes);
  Result<> settle();
  Result<> write();
  void squeeze(Batch& batch, bool side_by_side);
  void squeeze(const Batch& batch, std::size_t from, std::size_t to, Slice& out);
  Result<> hand_over(std::shared_ptr<Batch> batch);
  Result<> put_in_pack(Batch& batch);

  const SaveOptions& options_;
  PackWriter& pack_;
  SaveCacheWriter* cache_;
  Emit emit_;
  std::vector<Folder> folders_;
  File file_;
  std::optional<Name> tree_;
  Totals totals_;
  Entry single_;
  std::int64_t files_ = 0, bytes_ = 0;
  std::vector<std::string> skipped_;
  std::vector<Waiting> waiting_, missing_;  ///< not asked about yet; not written yet
  std::size_t waiting_bytes_ = 0, missing_bytes_ = 0;
  std::shared_ptr<SaveRoom> room_;
  /// Of the two batches that may be with the writer, which the pack may not know yet.
  std::unordered_set<Name, NameHash> written_last_, written_before_;
  std::mutex mutex_;
  Result<> written_ = ok();  ///< what came of it; under mutex_
  bool side_by_side_ = false;
  Crew writer_{1, 1};
};

/// Carries events to the builder: at once while there is little; from some megabytes on over a crew
/// that reads and hashes and a thread that builds, through a bounded queue.
class Pipeline {
 public:
  Pipeline(Builder& builder, int threads, SaveProgress& progress);
  ~Pipeline();
  /// False once the builder has failed: there is no use in going on.
  bool push(Event event);
  /// Waits until all is written.
  Result<> finish();
  const std::shared_ptr<SaveRoom>& room() const { return builder_.room(); }

 private:
  static constexpr std::size_t queue_limit = 16;
  struct Batch {
    std::vector<Event> events;
    bool ready = false;
  };
  void hand_over();
  void prepare(std::vector<Event>& events);
  static void name_chunks(std::vector<Event>& events);
  void work();
  void process(std::vector<Event>& events);
  void join();

  Builder& builder_;
  SaveProgress& progress_;
  std::vector<Event> batch_;
  std::size_t batch_bytes_ = 0, total_bytes_ = 0, batch_folders_ = 0;
  std::shared_ptr<const base::Fd> newest_folder_;
  std::atomic<bool> failed_ = false;
  Result<> result_ = ok();
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Batch>> queue_;
  bool ended_ = false;
  Crew crew_;
};

}  // namespace spell::spellfs
