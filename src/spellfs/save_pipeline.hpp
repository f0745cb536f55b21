// What save() finds, on its way into a pack. The walker (save.cpp) reads and cuts files and pushes
// events; the builder hashes chunks, makes nodes and writes objects. Everything flows one way, so
// for a large save the builder simply moves to a thread of its own. Private to this module.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <variant>
#include <vector>

#include "spellfs/node.hpp"
#include "spellfs/tree.hpp"

namespace spell::spellfs {

/// A folder begins; its entries follow in order.
struct Enter {};
/// It ends. An empty one is dropped unless it is to be kept.
struct Leave {
  Entry entry;
  bool keep_empty = false;
};
/// The next chunk of the file that is being read.
struct Data {
  std::shared_ptr<const char[]> block;
  std::string_view bytes;
};
/// The next piece of the file is a hole.
struct Hole {
  std::int64_t size = 0;
};
/// What came of the file so far does not count.
struct Again {};
/// The file, or a link, is complete. Its size and node are the builder's to fill in.
struct Done {
  Entry entry;
};
using Event = std::variant<Enter, Leave, Data, Hole, Again, Done>;

/// Makes objects of events. Not thread-safe.
class Builder {
 public:
  Builder(const SaveOptions& options, PackWriter& pack);
  Result<> take(Event& event);
  /// Writes what still waits for an answer about what is missing.
  Result<> finish() { return settle(); }
  std::optional<Name> tree() const { return tree_; }
  /// What the tree is, into an entry.
  void fill(Entry& entry) const;
  /// The file that was saved by itself, in no folder.
  const Entry& single() const { return single_; }
  std::int64_t files() const { return files_; }
  std::int64_t bytes() const { return bytes_; }

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
  Result<> add_piece(const Piece& piece);
  Result<> put(Kind kind, const Name& name, std::shared_ptr<const void> owner,
               std::string_view bytes);
  Result<> settle();

  const SaveOptions& options_;
  PackWriter& pack_;
  Emit emit_;
  std::vector<Folder> folders_;
  File file_;
  std::optional<Name> tree_;
  Totals totals_;
  Entry single_;
  std::int64_t files_ = 0, bytes_ = 0;
  std::vector<Waiting> waiting_;
  std::size_t waiting_bytes_ = 0;
};

/// Carries events to the builder: at once while there is little, through a bounded queue and a
/// thread from some megabytes on.
class Pipeline {
 public:
  explicit Pipeline(Builder& builder) : builder_(builder) {}
  ~Pipeline();
  /// False once the builder has failed: there is no use in going on.
  bool push(Event event);
  /// Waits until all is written.
  Result<> finish();

 private:
  using Batch = std::vector<Event>;
  void hand_over();
  void work();
  void process(Batch& batch);
  void join();

  Builder& builder_;
  Batch batch_;
  std::size_t batch_bytes_ = 0, total_bytes_ = 0;
  std::atomic<bool> failed_ = false;
  Result<> result_ = ok();
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Batch> queue_;
  bool ended_ = false;
};

}  // namespace spell::spellfs
