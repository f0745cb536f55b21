#include "spellfs/save_pipeline.hpp"

#include <system_error>
#include <unordered_set>

#include "base/error.hpp"

namespace spell::spellfs {

namespace {

void fill_folder(Entry& entry, const Child& root) {
  entry.node = root.node;
  entry.size = root.totals.size;
  entry.files = root.totals.files;
  entry.depth = root.totals.depth;
}

}  // namespace

Builder::Builder(const SaveOptions& options, PackWriter& pack) : options_(options), pack_(pack) {
  emit_ = [this](Kind kind, const Name& name, std::string bytes) {
    auto owner = std::make_shared<const std::string>(std::move(bytes));
    std::string_view view = *owner;
    return put(kind, name, std::move(owner), view);
  };
}

Result<> Builder::take(Event& event) {
  return std::visit([this](auto& what) { return on(what); }, event);
}

Result<> Builder::on(Enter&) {
  folders_.push_back({TreeBuilder(Kind::folder, emit_)});
  return ok();
}

Result<> Builder::on(Leave& leave) {
  Folder folder = std::move(folders_.back());
  folders_.pop_back();
  if (!folder.any && !leave.keep_empty) return ok();
  auto root = folder.tree.finish();
  if (!root) return root.error();
  if (folders_.empty()) {
    tree_ = root->node;
    totals_ = root->totals;
    return ok();
  }
  Entry& entry = leave.entry;
  fill_folder(entry, *root);
  folders_.back().any = true;
  return folders_.back().tree.add(entry);
}

Result<> Builder::on(Data& data) {
  Piece piece{name_of(Kind::chunk, data.bytes), static_cast<std::int64_t>(data.bytes.size())};
  if (file_.size == 0) file_.first_chunk = *piece.chunk;
  SPELL_TRY(put(Kind::chunk, *piece.chunk, data.block, data.bytes));
  return add_piece(piece);
}

Result<> Builder::on(Hole& hole) { return add_piece({std::nullopt, hole.size}); }

Result<> Builder::on(Again&) {
  file_ = {};
  return ok();
}

Result<> Builder::on(Done& done) {
  Entry& entry = done.entry;
  if (entry.type == EntryType::file) {
    entry.size = file_.size;
    if (file_.size > small_file) {
      auto root = file_.tree->finish();
      if (!root) return root.error();
      entry.node = root->node;
    } else {
      entry.node = file_.first_chunk;
    }
    file_ = {};
  }
  ++files_;
  bytes_ += entry.size;
  if (folders_.empty()) {
    single_ = std::move(entry);
    return ok();
  }
  folders_.back().any = true;
  return folders_.back().tree.add(entry);
}

void Builder::fill(Entry& entry) const {
  if (tree_) fill_folder(entry, {*tree_, {}, totals_});
}

Result<> Builder::add_piece(const Piece& piece) {
  if (!file_.tree) file_.tree.emplace(Kind::file, emit_);
  file_.size += piece.size;
  return file_.tree->add(piece);
}

Result<> Builder::put(Kind kind, const Name& name, std::shared_ptr<const void> owner,
                      std::string_view bytes) {
  constexpr std::size_t most_bytes = 16 << 20, most_objects = 4096;
  if (!options_.missing) return pack_.add(kind, name, bytes);
  if (pack_.has(name)) return ok();
  waiting_.push_back({kind, name, std::move(owner), bytes});
  waiting_bytes_ += bytes.size();
  if (waiting_bytes_ < most_bytes && waiting_.size() < most_objects) return ok();
  return settle();
}

Result<> Builder::settle() {
  if (waiting_.empty()) return ok();
  std::vector<Name> names;
  names.reserve(waiting_.size());
  for (auto& object : waiting_) names.push_back(object.name);
  auto missing = options_.missing(names);
  if (!missing) return missing.error();
  std::unordered_set<Name, NameHash> wanted(missing->begin(), missing->end());
  // In the order they came: an object after those that it names.
  for (auto& object : waiting_)
    if (wanted.contains(object.name)) SPELL_TRY(pack_.add(object.kind, object.name, object.bytes));
  waiting_.clear();
  waiting_bytes_ = 0;
  return ok();
}

Pipeline::~Pipeline() {
  failed_ = true;
  join();
}

bool Pipeline::push(Event event) {
  constexpr std::size_t batch_bytes = 1 << 20, batch_events = 256;
  if (failed_) return false;
  if (auto* data = std::get_if<Data>(&event)) batch_bytes_ += data->bytes.size();
  batch_.push_back(std::move(event));
  if (batch_bytes_ >= batch_bytes || batch_.size() >= batch_events) hand_over();
  return !failed_;
}

Result<> Pipeline::finish() {
  hand_over();
  join();
  if (!result_) return result_;
  return builder_.finish();
}

void Pipeline::hand_over() {
  constexpr std::size_t worth_a_thread = 4 << 20, queue_limit = 8;
  total_bytes_ += std::exchange(batch_bytes_, 0);
  Batch batch = std::exchange(batch_, {});
  if (!thread_.joinable() && total_bytes_ < worth_a_thread) return process(batch);
  if (!thread_.joinable()) {
    try {
      thread_ = std::thread([this] { work(); });
    } catch (const std::system_error&) {
      return process(batch);  // no thread to be had: slower, not wrong
    }
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return queue_.size() < queue_limit; });
  queue_.push_back(std::move(batch));
  changed_.notify_all();
}

void Pipeline::work() {
  for (;;) {
    Batch batch;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !queue_.empty() || ended_; });
      if (queue_.empty()) return;
      batch = std::move(queue_.front());
      queue_.pop_front();
      changed_.notify_all();
    }
    process(batch);
  }
}

void Pipeline::process(Batch& batch) {
  for (auto& event : batch) {
    if (failed_) return;
    if (auto taken = builder_.take(event); !taken) {
      result_ = std::move(taken);
      failed_ = true;
    }
  }
}

void Pipeline::join() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

}  // namespace spell::spellfs
