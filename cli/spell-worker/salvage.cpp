// From the disk of a machine that is dead: what its worker still had of runs becomes theirs. It
// starts nothing, works with the machine's own credentials, and can be ended and repeated at any
// point.
#include <condition_variable>
#include <filesystem>
#include <iostream>
#include <mutex>
#include <optional>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "commands.hpp"
#include "say.hpp"
#include "spell/version.hpp"
#include "state.hpp"
#include "worker/joined.hpp"
#include "worker/worker.hpp"

namespace spell::worker_program {

namespace {

namespace fs = std::filesystem;

bool is_state_folder(const fs::path& path) {
  std::error_code none;
  return fs::is_directory(path / "worker/runs", none);
}

/// A worker's folder: `given` itself, or where one is on the disk that is mounted there.
Result<std::string> find_state(const std::string& given) {
  std::error_code none;
  fs::path top = fs::canonical(given, none);
  if (none || !fs::is_directory(top, none))
    return base::error("not_found", "there is no folder " + given);
  std::vector<fs::path> places{top};
  for (auto* below : {"var/lib/spell-worker", "lib/spell-worker", "spell-worker",
                      "root/.local/share/spell-worker"})
    places.push_back(top / below);
  for (fs::directory_iterator home(top / "home", none), end; !none && home != end;
       home.increment(none))
    places.push_back(home->path() / ".local/share/spell-worker");
  if (top.filename() == "worker") places.push_back(top.parent_path());
  std::vector<std::string> found;
  for (auto& place : places)
    if (is_state_folder(place)) found.push_back(place);
  if (found.empty())
    return base::error("not_found", "there is no worker's folder in " + given +
                                        ": give the one that has joined.json and worker/ in it");
  if (found.size() > 1)
    return base::error("usage", "there are several workers' folders in " + given + ": " +
                                    base::join(found, ", ") + "; give one of them");
  return found[0];
}

/// What the service will never answer otherwise.
bool is_final(const Error& error) {
  return error.code() != "service_unreachable" && error.code() != "connection_lost" &&
         error.code() != "timeout" && (error.http_status() < 500);
}

class Salvage {
 public:
  explicit Salvage(bool json) : json_(json) {}

  Result<> carry_out(const std::string& given) {
    auto folder = find_state(given);
    if (!folder) return folder.error();
    auto joined = worker::read_joined(*folder);
    if (!joined) return joined.error();
    if (!*joined)
      return base::error("not_joined", *folder +
                                           " has no joined.json, so nothing says whose it is: "
                                           "`spell machine get-token NAME`, then "
                                           "`spell-worker join URL - --state " +
                                           *folder + "`, then salvage again");
    auto lock = take_lock(*folder);
    if (!lock) return lock.error();
    if (!*lock)
      return base::error("in_use", "a spell-worker runs with " + *folder +
                                       ": that machine is not dead, and delivers by itself");
    auto proxy = net::proxy_from_environment();
    if (!proxy) return proxy.error();
    before_ = count_runs(*folder);
    worker::WorkerOptions options;
    options.endpoint = (*joined)->url;
    options.token = (*joined)->token;
    options.trust = (*joined)->trust();
    options.identity = (*joined)->identity;
    options.proxy = proxy->host.empty() ? (*joined)->proxy : *proxy;
    options.id = (*joined)->machine;
    options.machine = (*joined)->name;
    options.folder = *folder + "/worker";
    options.embedded = false;
    options.version = version();
    options.only_delivers = true;
    options.log = [this](const std::string& line) {
      std::lock_guard hold(mutex_);
      say(line);
    };
    options.emptied = [this] { done(); };
    options.left = [this](const worker::LeftRun& run) { note(run); };
    options.connection = [this](const Result<>& state) { note(state); };
    if (before_ == 0) return ok();
    auto started = worker::Worker::start(options);
    if (!started) return started.error();
    {
      std::unique_lock hold(mutex_);
      changed_.wait(hold, [&] { return failed_ || done_ || (*started)->idle(); });
    }
    (*started)->stop();
    std::lock_guard hold(mutex_);
    remain_ = count_runs(*folder);
    if (failed_) return *failed_;
    return ok();
  }

  int report(const Result<>& result) {
    if (!result && result.error().code() == "unauthorized")
      return fail(
          base::error("unauthorized",
                      "the service does not know this machine's credential any more: `spell "
                      "machine get-token NAME` makes another, `spell-worker join URL - "
                      "--state DIR` takes it, then salvage again"),
          json_);
    if (!result) return fail(result.error(), json_);
    auto damaged = before_ - std::ssize(runs_) - remain_;
    if (json_) {
      nlohmann::json list = nlohmann::json::array();
      for (auto& run : runs_) {
        nlohmann::json one{{"owner", run.owner}, {"run", run.number}, {"wanted", run.wanted}};
        if (run.result)
          one.update({{"status", run.result->status},
                      {"output_files", run.result->output_files},
                      {"output_bytes", run.result->output_bytes},
                      {"log_bytes", run.result->log_bytes}});
        list.push_back(std::move(one));
      }
      std::cout << nlohmann::json{{"runs", std::move(list)}, {"damaged", damaged}}.dump()
                << std::endl;
    } else if (before_ == 0) {
      std::cout << "nothing is left there of any run" << std::endl;
    }
    if (damaged > 0)
      std::cerr << "spell-worker: " << damaged
                << (damaged == 1 ? " folder of a run" : " folders of runs")
                << " cannot be read: see worker/runs/.parked" << std::endl;
    return damaged + remain_ > 0 ? 1 : 0;
  }

 private:
  /// Under the mutex.
  void say(const std::string& line) { std::cerr << "spell-worker: " << line << std::endl; }

  void note(const worker::LeftRun& run) {
    std::lock_guard hold(mutex_);
    runs_.push_back(run);
    if (json_) return;
    std::string text = "run " + std::to_string(run.number) + ": ";
    if (run.result && run.wanted)
      text += "delivered: " + std::to_string(run.result->output_files) +
              (run.result->output_files == 1 ? " file, " : " files, ") +
              base::format_size(run.result->output_bytes) + ", " +
              base::format_size(run.result->log_bytes) + " of log";
    else
      text += "the service has its end already, or knows it no more";
    std::cout << text << std::endl;
  }

  void note(const Result<>& state) {
    std::lock_guard hold(mutex_);
    if (!state && is_final(state.error()))
      failed_ = state;
    else if (!state)
      say(state.error().message() + "; tried again until it works");
    changed_.notify_all();
  }

  /// Nothing is left.
  void done() {
    std::lock_guard hold(mutex_);
    done_ = true;
    changed_.notify_all();
  }

  const bool json_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::optional<Result<>> failed_;
  std::vector<worker::LeftRun> runs_;
  std::int64_t before_ = 0, remain_ = 0;
};

}  // namespace

int salvage(const Options& options) {
  Salvage salvage(options.json);
  return salvage.report(salvage.carry_out(options.folder));
}

}  // namespace spell::worker_program
