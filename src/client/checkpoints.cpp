// A run's checkpoints as a stream: what its folder `checkpoints` holds of what is safe, run by run
// of its chain.
#include <algorithm>
#include <set>
#include <tuple>

#include "base/error.hpp"
#include "base/text.hpp"
#include "client/chain.hpp"
#include "client/connection.hpp"
#include "client/run_poll.hpp"
#include "spell/checkpoint.hpp"
#include "spell/json.hpp"

namespace spell {

namespace {

using namespace detail;

constexpr const char* folder_name = "checkpoints";

/// The last number in a name.
std::optional<std::int64_t> step_in(std::string_view name) {
  auto last = name.find_last_of("0123456789");
  if (last == std::string_view::npos) return std::nullopt;
  auto before = name.find_last_not_of("0123456789", last);
  auto first = before == std::string_view::npos ? 0 : before + 1;
  return base::parse_int(name.substr(first, last + 1 - first));
}

bool is_later(const Checkpoint& a, const Checkpoint& b) {
  if (a.step && b.step) return *a.step > *b.step;
  return a.time > b.time;
}

class CheckpointSource : public Stream<Checkpoint>::Source {
 public:
  CheckpointSource(std::shared_ptr<Connection> connection, std::int64_t run, bool follow,
                   const CallOptions& options)
      : connection_(std::move(connection)),
        run_(run),
        follow_(follow),
        limit_(options, connection_->waiter()) {}

  std::optional<Result<Checkpoint>> next() override {
    while (at_ == found_.size() && !ended_) {
      auto looked = look();
      if (looked) continue;
      ended_ = true;
      return Result<Checkpoint>(looked.error());
    }
    if (at_ == found_.size()) return std::nullopt;
    return Result<Checkpoint>(std::move(found_[at_++]));
  }

 private:
  /// At the next run of the chain: whenever something of it has become safe, and at its end.
  Result<> look() {
    if (!begun_) SPELL_TRY(find_first());
    auto info = poll_run(*connection_, run_, version_, limit_, follow_);
    if (!info) return info.error();
    version_ = info->version;
    bool goes_on = follow_ && !info->status.is_final();
    if (!goes_on || info->outputs != outputs_) SPELL_TRY(read(*info));
    outputs_ = info->outputs;
    if (goes_on) return ok();
    if (auto next = successor(*info)) {
      run_ = *next;
      version_ = -1;
      outputs_.clear();
    } else {
      ended_ = true;
    }
    return ok();
  }

  Result<> find_first() {
    auto info = poll_run(*connection_, run_, -1, limit_, false);
    while (info && info->resumed_from_run) {
      auto before = poll_run(*connection_, *info->resumed_from_run, -1, limit_, false);
      // One that was removed has left its number.
      if (!before && before.error().code() == "run_not_found") break;
      info = std::move(before);
      if (info) run_ = info->id;
    }
    if (!info) return info.error();
    begun_ = true;
    return ok();
  }

  Result<> read(const RunInfo& info) {
    found_.clear();
    at_ = 0;
    if (info.outputs.empty()) return ok();
    std::set<std::string> folders = {folder_name};
    if (!info.folder.empty() && info.folder != ".") folders.insert(info.folder + "/" + folder_name);
    for (auto& folder : folders) SPELL_TRY(read_folder(info, folder));
    std::stable_sort(found_.begin(), found_.end(), [](auto& a, auto& b) { return is_later(b, a); });
    return ok();
  }

  Result<> read_folder(const RunInfo& info, const std::string& folder) {
    std::string path = "runs/" + std::to_string(info.id) + "/" + folder;
    auto left = limit_.left();
    if (!left) return left.error();
    for (auto& entry : Resources(connection_).entries(path, *left)) {
      if (!entry && entry.error().code() == "resource_not_found") return ok();
      if (!entry) return entry.error();
      if (entry->path.starts_with(".") || entry->type == EntryType::link) continue;
      // A resumed run finds its predecessor's in place.
      if (!seen_.insert({folder, entry->path, entry->node, entry->size}).second) continue;
      Checkpoint checkpoint(connection_);
      checkpoint.path = path + "/" + entry->path;
      checkpoint.run = info.id;
      checkpoint.step = step_in(entry->path);
      checkpoint.type = entry->type;
      checkpoint.size = entry->type == EntryType::folder ? entry->bytes : entry->size;
      checkpoint.time = entry->modified_at;
      found_.push_back(std::move(checkpoint));
    }
    return ok();
  }

  std::shared_ptr<Connection> connection_;
  std::int64_t run_, version_ = -1;
  std::string outputs_{};  ///< that were read last
  bool follow_;
  Limit limit_;
  std::set<std::tuple<std::string, std::string, std::string, std::int64_t>> seen_;
  std::vector<Checkpoint> found_;
  std::size_t at_ = 0;
  bool begun_ = false, ended_ = false;
};

Result<Checkpoint> wait_for(std::shared_ptr<Connection> connection, std::int64_t run,
                            const Checkpoint* after, const CallOptions& options) {
  CheckpointSource source(std::move(connection), run, true, options);
  while (auto checkpoint = source.next())
    if (!*checkpoint || !after || is_later(**checkpoint, *after)) return *checkpoint;
  return base::error("wait_failed", "run " + std::to_string(run) + " has ended without " +
                                        (after ? "a checkpoint after " + after->path
                                               : std::string("any checkpoint")) +
                                        "; one is a file or folder in /spell/checkpoints");
}

}  // namespace

Stream<Checkpoint> Run::checkpoints(bool follow, CallOptions options) const {
  return Stream<Checkpoint>(std::make_unique<CheckpointSource>(connection_, id_, follow, options));
}

Result<Checkpoint> Run::wait_checkpoint(CallOptions options) const {
  return wait_for(connection_, id_, nullptr, options);
}

Result<Checkpoint> Run::wait_checkpoint(const Checkpoint& after, CallOptions options) const {
  return wait_for(connection_, id_, &after, options);
}

Result<ResourceReader> Checkpoint::open(CallOptions options) const {
  return Resources(connection_).open(path, options);
}

Result<DownloadInfo> Checkpoint::download(const std::string& destination,
                                          const DownloadOptions& what, CallOptions options) const {
  return Resources(connection_).fetch(path, destination, what, options);
}

}  // namespace spell
