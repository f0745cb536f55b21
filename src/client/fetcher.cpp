#include "client/fetcher.hpp"

#include <algorithm>
#include <system_error>

#include "base/error.hpp"
#include "client/connection.hpp"
#include "spellfs/remote_store.hpp"
#include "spellfs/tree.hpp"

namespace spell::detail {

namespace {

constexpr std::size_t queue_limit = 128, job_pieces = 512, job_files = 64, ask_bytes = 512 << 10,
                      memory = 32 << 20;
constexpr std::int64_t large = 8 << 20, job_bytes = 4 << 20;

/// Failures that the next attempt may not meet.
bool is_interruption(const Error& error) {
  for (std::string_view code : {"canceled", "timeout", "connection_lost", "service_unreachable"})
    if (error.code() == code) return true;
  return error.http_status() == 503;
}

Limit stopping(const Limit& limit, const std::stop_token& stop, Waiter& waiter) {
  return Limit({.timeout = limit.time_left(), .stop = stop}, waiter);
}

}  // namespace

std::string TargetFolder::below(const std::string& name) const {
  if (shown.empty()) return name;
  return shown + (shown.back() == '/' ? "" : "/") + name;
}

TargetFolder::~TargetFolder() {
  if (fd && restore && !(failed && *failed)) restore_state(fd.get(), entry);
}

/// A file on its way. It gets its name with the last of those that write it.
struct Fetcher::File {
  Fetcher& fetcher;
  std::shared_ptr<TargetFolder> folder;
  spellfs::Entry entry;
  FileSpot spot;
  PartFile part;
  std::atomic<bool> useless = false;  ///< for the next attempt
  File(Fetcher& f, std::shared_ptr<TargetFolder> in, const std::string& name, spellfs::Entry what)
      : fetcher(f),
        folder(std::move(in)),
        entry(std::move(what)),
        spot{folder->fd.get(), name, folder->below(name)},
        part(spot) {}
  ~File() {
    if (fetcher.failed_ && !useless) part.keep();
    if (fetcher.failed_) return;
    if (auto done = fetcher.complete(*this); !done) fetcher.fail(done.error());
  }
};

Fetcher::Fetcher(Connection& connection, std::string path, std::string tree, int threads,
                 const Limit& limit, Tell tell)
    : most_threads_(static_cast<std::size_t>(std::clamp(threads, 1, 64))),
      chain_(limit.stop(), [this] { stop_.request_stop(); }),
      limit_(stopping(limit, stop_.get_token(), connection.waiter())),
      tell_(std::move(tell)),
      objects_(spellfs::make_remote_store(
          [this, &connection, path = std::move(path),
           tree = std::move(tree)](std::span<const spellfs::Name> names) {
            json wanted = json::array();
            for (auto& name : names) wanted.push_back(name.text());
            Call call{.route = model::Route::read_objects,
                      .body = {{"path", path}, {"names", std::move(wanted)}}};
            if (!tree.empty()) call.query.emplace_back("tree", tree);
            return connection.fetch(call, limit_);
          },
          {.memory = memory, .ask_bytes = ask_bytes, .whole_trees = false})) {}

Fetcher::~Fetcher() {
  give_up();
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
    queue_.clear();
  }
  changed_.notify_all();
  for (auto& thread : threads_) thread.join();
  gathered_ = {};
}

Result<> Fetcher::push(std::shared_ptr<TargetFolder> folder, std::string name,
                       spellfs::Entry entry) {
  if (entry.size > large) return push_large(folder, name, entry);
  if (gathered_.folder != folder) SPELL_TRY(push_gathered());
  gathered_.folder = std::move(folder);
  gathered_.bytes += entry.size;
  gathered_.files.emplace_back(std::move(name), std::move(entry));
  if (gathered_.bytes < static_cast<std::int64_t>(ask_bytes) && gathered_.files.size() < job_files)
    return ok();
  return push_gathered();
}

Result<> Fetcher::push_gathered() {
  if (gathered_.files.empty()) return ok();
  return push(std::exchange(gathered_, {}));
}

/// Its pieces, some at a time, so that several threads are at one file.
Result<> Fetcher::push_large(const std::shared_ptr<TargetFolder>& folder, const std::string& name,
                             const spellfs::Entry& entry) {
  auto file = std::make_shared<File>(*this, folder, name, entry);
  SPELL_TRY(file->part.open(entry.node.text(), entry.size));
  Job job{.file = file};
  std::int64_t at = 0;
  auto hand_over = [&] {
    auto next = Job{.file = file, .at = at};
    return push(std::exchange(job, std::move(next)));
  };
  auto pushed = spellfs::each_piece(
      objects(), entry.node, entry.size, [&](const spellfs::Piece& piece) -> Result<> {
        job.pieces.push_back(piece);
        at += piece.size;
        return at - job.at >= job_bytes || job.pieces.size() >= job_pieces ? hand_over() : ok();
      });
  if (pushed) pushed = hand_over();
  // Before the file is let go of: half of it must not get its name.
  if (!pushed) fail(pushed.error());
  return pushed;
}

Result<> Fetcher::push(Job job) {
  std::unique_lock lock(mutex_);
  SPELL_TRY(wait(lock, [&] { return queue_.size() < queue_limit; }));
  queue_.push_back(std::move(job));
  if (threads_.size() < most_threads_ && queue_.size() > threads_.size() - busy_) {
    try {
      threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      if (threads_.empty()) return base::error("io_error", "no thread can be started");
    }
  }
  changed_.notify_all();
  return ok();
}

Result<> Fetcher::finish() {
  SPELL_TRY(push_gathered());
  std::unique_lock lock(mutex_);
  auto done = wait(lock, [&] { return queue_.empty() && busy_ == 0; });
  lock.unlock();
  if (done) tell();
  return done;
}

void Fetcher::give_up() {
  failed_ = true;
  stop_.request_stop();
}

/// Tells of progress in between.
Result<> Fetcher::wait(std::unique_lock<std::mutex>& lock, const std::function<bool()>& until) {
  auto ready = [&] { return !result_ || until(); };
  while (!changed_.wait_for(lock, 100ms, ready)) {
    lock.unlock();
    tell();
    lock.lock();
  }
  return result_;
}

void Fetcher::tell() const {
  if (tell_) tell_({done_, std::max<std::int64_t>(done_, total_)});
}

void Fetcher::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return ended_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Job job = std::move(queue_.front());
    queue_.pop_front();
    ++busy_;
    lock.unlock();
    if (!failed_) {
      if (auto fetched = fetch(job); !fetched) fail(fetched.error());
    }
    job = {};  // its file, and its folder, may be done with it
    lock.lock();
    --busy_;
    changed_.notify_all();
  }
}

/// The first failure counts; the others need not go on.
void Fetcher::fail(const Error& error) {
  std::lock_guard lock(mutex_);
  if (failed_.exchange(true)) return;
  result_ = error;
  stop_.request_stop();
}

Result<> Fetcher::fetch(Job& job) {
  if (job.file) {
    expect_pieces(*job.file, job.pieces, job.at);
    for (auto& piece : job.pieces) {
      SPELL_TRY(fetch_piece(*job.file, piece, job.at));
      job.at += piece.size;
    }
    return ok();
  }
  std::vector<spellfs::Name> nodes;
  for (auto& [name, entry] : job.files)
    if (entry.size > 0) nodes.push_back(entry.node);
  objects_->expect(nodes);
  for (auto& [name, entry] : job.files) SPELL_TRY(fetch_file(job.folder, name, entry));
  return ok();
}

Result<> Fetcher::fetch_file(const std::shared_ptr<TargetFolder>& folder, const std::string& name,
                             const spellfs::Entry& entry) {
  auto file = std::make_shared<File>(*this, folder, name, entry);
  auto fetched = file->part.open(entry.size > 0 ? entry.node.text() : "", entry.size);
  std::vector<spellfs::Piece> pieces;
  if (fetched && entry.size > spellfs::small_file)
    fetched = spellfs::each_piece(objects(), entry.node, entry.size, [&](const auto& piece) {
      pieces.push_back(piece);
      return ok();
    });
  else if (entry.size > 0)
    pieces.push_back({entry.node, entry.size});
  if (fetched && pieces.size() > 1) expect_pieces(*file, pieces, 0);
  std::int64_t at = 0;
  for (auto& piece : pieces) {
    if (fetched) fetched = fetch_piece(*file, piece, at);
    at += piece.size;
  }
  // As above.
  if (!fetched) fail(fetched.error());
  return fetched;
}

/// What of a file is not here yet.
void Fetcher::expect_pieces(const File& file, const std::vector<spellfs::Piece>& pieces,
                            std::int64_t at) const {
  std::vector<spellfs::Name> names;
  std::int64_t bytes = 0;
  for (auto& piece : pieces) {
    if (bytes >= static_cast<std::int64_t>(ask_bytes)) break;
    if (piece.chunk && !file.part.has(*piece.chunk, at, piece.size)) {
      names.push_back(*piece.chunk);
      bytes += piece.size;
    }
    at += piece.size;
  }
  if (!names.empty()) objects_->expect(names);
}

Result<> Fetcher::fetch_piece(File& file, const spellfs::Piece& piece, std::int64_t at) {
  if (limit_.stop().stop_requested()) return base::error("canceled", "the call was canceled");
  if (piece.chunk && !file.part.has(*piece.chunk, at, piece.size)) {
    auto bytes = objects().get(spellfs::Kind::chunk, *piece.chunk);
    if (bytes && static_cast<std::int64_t>(bytes->size()) != piece.size)
      bytes = base::error("damaged", "object " + piece.chunk->text() +
                                         " is not as long as it was "
                                         "said to be");
    auto done = bytes ? file.part.put(*bytes, at) : Result<>(bytes.error());
    if (!done && !is_interruption(done.error())) file.useless = true;
    SPELL_TRY(std::move(done));
    received_ += piece.size;
  }
  done_ += piece.size;
  return ok();
}

Result<> Fetcher::complete(File& file) {
  SPELL_TRY(file.part.finish(file.entry.size));
  restore_state(file.part.fd(), file.entry);
  SPELL_TRY(file.part.give_name());
  ++files_;
  return ok();
}

}  // namespace spell::detail
