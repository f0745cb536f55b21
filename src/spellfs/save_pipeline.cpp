#include "spellfs/save_pipeline.hpp"

#include <system_error>
#include <unordered_set>

#include "base/error.hpp"
#include "base/hash_many.hpp"
#include "spellfs/save_file.hpp"

namespace spell::spellfs {

namespace {

void fill_folder(Entry& entry, const Child& root) {
  entry.node = root.node;
  entry.size = root.totals.size;
  entry.files = root.totals.files;
  entry.depth = root.totals.depth;
}

}  // namespace

std::shared_ptr<SaveRoom> make_save_room() { return std::make_shared<SaveRoom>(); }

Builder::Builder(const SaveOptions& options, PackWriter& pack, SaveCacheWriter* cache)
    : options_(options),
      pack_(pack),
      cache_(cache),
      room_(options.room ? options.room : make_save_room()) {
  emit_ = [this](Kind kind, const Name& name, std::string bytes) {
    auto owner = std::make_shared<const std::string>(std::move(bytes));
    std::string_view view = *owner;
    return put(kind, name, std::move(owner), view);
  };
}

Builder::~Builder() = default;

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
  if (!data.name) data.name = name_of(Kind::chunk, data.bytes);
  Piece piece{*data.name, static_cast<std::int64_t>(data.bytes.size())};
  if (file_.size == 0) file_.first_chunk = *piece.chunk;
  SPELL_TRY(put(Kind::chunk, *piece.chunk, data.block, data.bytes));
  return add_piece(piece);
}

Result<> Builder::on(Hole& hole) { return add_piece({std::nullopt, hole.size}); }

Result<> Builder::on(Again&) {
  file_ = {};
  return ok();
}

Result<> Builder::on(Skip& skip) {
  skipped_.push_back(std::move(skip.what));
  return ok();
}

Result<> Builder::on(Done& done) {
  Entry& entry = done.entry;
  if (entry.type == EntryType::file && !done.cached) {
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
  if (cache_ && !done.path.empty() && entry.size == done.state.size)
    cache_->add(done.path, {done.state, entry.node});
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
  constexpr std::size_t most_objects = 4096;
  bool there = written_last_.contains(name) || written_before_.contains(name) || pack_.has(name);
  if (!there) waiting_.push_back({kind, name, std::move(owner), bytes});
  if (waiting_.empty()) return ok();
  // With what comes between: a chunk that waits keeps all of its block.
  waiting_bytes_ += bytes.size();
  if (waiting_bytes_ < options_.ask_bytes && waiting_.size() < most_objects) return ok();
  return settle();
}

Result<> Builder::settle() {
  if (waiting_.empty()) return ok();
  auto waiting = std::exchange(waiting_, {});
  std::size_t bytes = std::exchange(waiting_bytes_, 0);
  if (options_.missing) {
    std::vector<Name> names;
    names.reserve(waiting.size());
    for (auto& object : waiting) names.push_back(object.name);
    auto missing = options_.missing(names);
    if (!missing) return missing.error();
    std::unordered_set<Name, NameHash> wanted(missing->begin(), missing->end());
    std::erase_if(waiting, [&](const Waiting& object) { return !wanted.contains(object.name); });
  }
  if (waiting.empty()) return ok();
  // Of a few among many all that lay between stays in memory with them.
  missing_bytes_ += bytes;
  for (auto& object : waiting) missing_bytes_ -= object.bytes.size();
  for (auto& object : waiting) {
    missing_bytes_ += object.bytes.size();
    missing_.push_back(std::move(object));
    if (missing_bytes_ >= options_.write_bytes) SPELL_TRY(write());
  }
  return ok();
}

Result<> Builder::finish() {
  SPELL_TRY(settle());
  SPELL_TRY(write());
  writer_.finish();
  return std::exchange(written_, ok());
}

/// Some neighbouring objects, and what holds those that were compressed.
struct Builder::Slice {
  std::vector<Squeezed> objects;
  std::deque<std::string> compressed;
};

struct Builder::Batch {
  std::vector<Waiting> objects;
  std::deque<Slice> slices;
};

/// What is missing, in the order in which it came: an object after those that it names.
Result<> Builder::write() {
  constexpr std::size_t worth_threads = 2 << 20;
  auto bytes = std::exchange(missing_bytes_, 0);
  auto batch = std::make_shared<Batch>(Batch{std::exchange(missing_, {}), {}});
  if (batch->objects.empty()) return ok();
  // Once there is a writer all goes by him.
  side_by_side_ = side_by_side_ || (bytes >= worth_threads && thread_count(options_.threads) > 1);
  squeeze(*batch, bytes >= worth_threads && side_by_side_);
  return side_by_side_ ? hand_over(std::move(batch)) : put_in_pack(*batch);
}

void Builder::squeeze(Batch& batch, bool side_by_side) {
  constexpr std::size_t slice_bytes = 1 << 20;
  std::vector<std::size_t> starts;
  for (std::size_t i = 0, bytes = 0; i < batch.objects.size(); ++i) {
    if (starts.empty() || bytes >= slice_bytes) starts.push_back(i), bytes = 0;
    bytes += batch.objects[i].bytes.size();
  }
  Crew crew(thread_count(options_.threads), starts.size() + 1);
  for (std::size_t k = 0; k < starts.size(); ++k) {
    auto from = starts[k], to = k + 1 < starts.size() ? starts[k + 1] : batch.objects.size();
    auto& slice = batch.slices.emplace_back();
    if (side_by_side)
      crew.post([this, &batch, from, to, &slice] { squeeze(batch, from, to, slice); });
    else
      squeeze(batch, from, to, slice);
  }
}

void Builder::squeeze(const Batch& batch, std::size_t from, std::size_t to, Slice& out) {
  std::unique_ptr<Compressor> compressor;
  {
    std::lock_guard lock(room_->mutex);
    if (!room_->compressors.empty()) {
      compressor = std::move(room_->compressors.back());
      room_->compressors.pop_back();
    }
  }
  if (!compressor) compressor = std::make_unique<Compressor>();
  for (std::size_t i = from; i < to; ++i) {
    auto& object = batch.objects[i];
    auto& [frame, stored, plain] = out.objects.emplace_back();
    frame.kind = object.kind;
    frame.name = object.name;
    plain = object.bytes;
    stored = compressor->squeeze(frame, plain);
    if (frame.codec != Codec::raw) stored = out.compressed.emplace_back(stored);
  }
  std::lock_guard lock(room_->mutex);
  room_->compressors.push_back(std::move(compressor));
}

Result<> Builder::hand_over(std::shared_ptr<Batch> batch) {
  {
    std::lock_guard lock(mutex_);
    if (!written_) return written_;
  }
  written_before_ = std::exchange(written_last_, {});
  for (auto& object : batch->objects) written_last_.insert(object.name);
  // Waits until the one before it is being written.
  writer_.post([this, batch = std::move(batch)] {
    {
      std::lock_guard lock(mutex_);
      if (!written_) return;
    }
    auto done = put_in_pack(*batch);
    std::lock_guard lock(mutex_);
    if (!done) written_ = std::move(done);
  });
  return ok();
}

Result<> Builder::put_in_pack(Batch& batch) {
  for (auto& slice : batch.slices) SPELL_TRY(pack_.add(slice.objects));
  return ok();
}

Pipeline::Pipeline(Builder& builder, int threads, SaveProgress& progress)
    : builder_(builder), progress_(progress), crew_(threads, queue_limit) {}

Pipeline::~Pipeline() {
  failed_ = true;
  join();
}

bool Pipeline::push(Event event) {
  // Folders stay open until the files in them were read: their number is bounded, too.
  constexpr std::size_t batch_bytes = 1 << 20, batch_events = 256, batch_folders = 8;
  if (failed_) return false;
  if (auto* data = std::get_if<Data>(&event)) batch_bytes_ += data->bytes.size();
  if (auto* read = std::get_if<Read>(&event)) {
    batch_bytes_ += static_cast<std::size_t>(read->size);
    batch_folders_ += read->folder != std::exchange(newest_folder_, read->folder);
  }
  batch_.push_back(std::move(event));
  if (batch_bytes_ >= batch_bytes || batch_.size() >= batch_events ||
      batch_folders_ >= batch_folders)
    hand_over();
  return !failed_;
}

Result<> Pipeline::finish() {
  hand_over();
  join();
  if (!result_) return result_;
  return builder_.finish();
}

void Pipeline::hand_over() {
  constexpr std::size_t worth_a_thread = 4 << 20;
  total_bytes_ += std::exchange(batch_bytes_, 0);
  newest_folder_ = nullptr;
  batch_folders_ = 0;
  auto batch = std::make_shared<Batch>(Batch{std::exchange(batch_, {})});
  auto at_once = [&] {
    prepare(batch->events);
    process(batch->events);
  };
  if (!thread_.joinable() && total_bytes_ < worth_a_thread) return at_once();
  if (!thread_.joinable()) {
    try {
      thread_ = std::thread([this] { work(); });
    } catch (const std::system_error&) {
      return at_once();  // no thread to be had: slower, not wrong
    }
  }
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return queue_.size() < queue_limit; });
    queue_.push_back(batch);
  }
  crew_.post([this, batch] {
    prepare(batch->events);
    std::lock_guard lock(mutex_);
    batch->ready = true;
    changed_.notify_all();
  });
}

/// Reads the files that are to be read, and names the chunks.
void Pipeline::prepare(std::vector<Event>& events) {
  std::vector<Event> out;
  out.reserve(events.size());
  Blocks blocks(builder_.room());
  auto take = [&](Event event) {
    out.push_back(std::move(event));
    return !failed_;
  };
  for (auto& event : events) {
    auto* read = std::get_if<Read>(&event);
    if (!read)
      take(std::move(event));
    else if (!failed_)
      save_file(read->folder->get(), read->name, read->path, blocks, progress_, take);
    event = Hole{};  // lets go of its folder
  }
  events = std::move(out);
  if (!failed_) name_chunks(events);
}

/// All at once: they are in this core's cache still, and it is quicker than one after the other.
void Pipeline::name_chunks(std::vector<Event>& events) {
  std::vector<Data*> chunks;
  std::vector<std::string_view> bytes;
  for (auto& event : events)
    if (auto* data = std::get_if<Data>(&event)) {
      chunks.push_back(data);
      bytes.push_back(data->bytes);
    }
  std::vector<base::Digest> digests(chunks.size());
  base::sha256_many(static_cast<char>(Kind::chunk), bytes, digests);
  for (std::size_t i = 0; i < chunks.size(); ++i) chunks[i]->name = Name{digests[i]};
}

void Pipeline::work() {
  for (;;) {
    std::shared_ptr<Batch> batch;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return queue_.empty() ? ended_ : queue_.front()->ready; });
      if (queue_.empty()) return;
      batch = std::move(queue_.front());
      queue_.pop_front();
      changed_.notify_all();
    }
    process(batch->events);
  }
}

void Pipeline::process(std::vector<Event>& events) {
  for (auto& event : events) {
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
