#include "client/file_node.hpp"

#include <unistd.h>

#include <algorithm>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "spellfs/chunker.hpp"
#include "spellfs/node.hpp"

namespace spell::detail {

namespace {

using namespace spellfs;

struct Hole {
  std::int64_t from = 0, to = 0;
};
/// The next hole from `at` on that is long enough to be kept as one; an empty one at the end of the
/// file if there is none.
Hole next_hole(int fd, std::int64_t at, std::int64_t size) {
  constexpr auto least = static_cast<std::int64_t>(Chunking::normal);
  while (at < size) {
    std::int64_t from = ::lseek(fd, at, SEEK_HOLE);
    if (from < 0 || from >= size) break;
    std::int64_t to = ::lseek(fd, from, SEEK_DATA);
    if (to < 0 || to > size) to = size;
    if (to - from >= least) return {from, to};
    at = to;
  }
  return {size, size};
}

class Naming {
 public:
  Naming(int fd, std::int64_t size, const std::stop_token& stop)
      : fd_(fd), size_(size), stop_(stop), buffer_(4 * Chunking::max) {}

  Result<std::string> name(bool with_holes) {
    Emit forget = [](Kind, const Name&, std::string) { return ok(); };
    TreeBuilder tree(Kind::file, forget);
    std::int64_t at = 0;
    while (at < size_) {
      Hole hole = with_holes ? next_hole(fd_, at, size_) : Hole{size_, size_};
      SPELL_TRY(add_data(tree, at, hole.from));
      if (hole.from < hole.to) SPELL_TRY(tree.add(Piece{std::nullopt, hole.to - hole.from}));
      at = hole.to;
    }
    if (size_ == 0) return std::string();
    // A small file has no node: its name is that of its chunk.
    if (size_ <= small_file) return first_.text();
    auto root = tree.finish();
    if (!root) return root.error();
    return root->node.text();
  }

 private:
  /// The chunks between `from` and `to`.
  Result<> add_data(TreeBuilder& tree, std::int64_t from, std::int64_t to) {
    while (from < to) {
      if (stop_.stop_requested()) return base::error("canceled", "the call was canceled");
      auto want =
          static_cast<std::size_t>(std::min(to - from, static_cast<std::int64_t>(buffer_.size())));
      auto n = base::pread_full(fd_, buffer_.data(), want, from);
      if (!n) return n.error();
      if (*n < want) return base::error("io_error", "a file became shorter while it was read");
      std::string_view bytes(buffer_.data(), *n);
      bool last = from + static_cast<std::int64_t>(*n) == to;
      while (!bytes.empty() && (last || bytes.size() >= Chunking::max)) {
        auto chunk = bytes.substr(0, first_chunk(bytes));
        Name name = name_of(Kind::chunk, chunk);
        if (from == 0) first_ = name;
        SPELL_TRY(tree.add(Piece{name, static_cast<std::int64_t>(chunk.size())}));
        from += static_cast<std::int64_t>(chunk.size());
        bytes.remove_prefix(chunk.size());
      }
    }
    return ok();
  }

  int fd_;
  std::int64_t size_;
  const std::stop_token& stop_;
  std::vector<char> buffer_;
  Name first_{};
};

}  // namespace

Result<bool> has_content(int fd, std::int64_t size, const std::string& node,
                         const std::stop_token& stop) {
  Naming naming(fd, size, stop);
  bool sparse = next_hole(fd, 0, size).from < size;
  auto name = naming.name(sparse);
  if (name && *name != node && sparse) name = naming.name(false);
  if (!name) return name.error();
  return *name == node;
}

}  // namespace spell::detail
