// The mock executor: a worker as the service knows it on the wire, whose commands are a function.
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/pool.hpp"
#include "base/text.hpp"
#include "embedded/service.hpp"
#include "model/log.hpp"
#include "model/metric.hpp"
#include "spell/testing.hpp"
#include "spell/version.hpp"
#include "spellfs/tree.hpp"
#include "worker/link.hpp"

namespace spell::testing {

struct Execution::Impl {
  worker::Link& link;
  model::StartCommand start;
  std::map<std::string, std::string> env;
  std::stop_source stop;
  std::string end;  ///< "stopped", "killed"; under the mutex
  std::mutex mutex;
  std::map<std::string, std::string> files;
  std::map<std::string, std::int64_t> indices;
  std::int64_t log_bytes = 0, metric_bytes = 0, events = 0;
  Error failure{"", ""};  ///< of what could not be sent; its code is "" as long as there is none

  void note(const Result<>& done) {
    if (!done && failure.code().empty()) failure = done.error();
  }

  Result<> report(const std::vector<std::string>& steps,
                  std::optional<model::RunResult> result = {}) {
    model::SyncRequest request;
    model::RunReport report;
    report.run = start.run;
    report.epoch = start.epoch;
    for (auto& step : steps) {
      model::RunEvent event;
      event.number = ++events;
      event.status = step;
      event.text = "Run is " + step;
      event.log_offset = log_bytes;
      report.events.push_back(std::move(event));
    }
    report.result = std::move(result);
    request.reports.push_back(std::move(report));
    auto answer = link.sync(request, {});
    if (!answer) return answer.error();
    return ok();
  }

  Result<> send(std::string_view bytes, std::int64_t& offset, bool metrics) {
    while (!bytes.empty()) {
      auto piece = bytes.substr(0, model::frame_payload_limit);
      model::FrameHeader header;
      header.sequence = static_cast<std::uint64_t>(offset);
      header.time_us = base::boot_ns() / 1000;
      std::string frame;
      model::append_frame(frame, header, piece);
      auto sent = metrics ? link.send_metrics(start.run, start.epoch, offset, frame, {})
                          : link.send_log(start.run, start.epoch, offset, frame, {});
      if (!sent) return sent.error();
      offset += std::ssize(piece);
      bytes.remove_prefix(piece.size());
    }
    return ok();
  }

  /// Sends what was saved, and names it in the result.
  Result<> save(const std::string& folder, model::RunResult& result) {
    if (files.empty()) return ok();
    std::string top = folder + "/" + start.run;
    for (auto& [path, content] : files) {
      std::string file = top + "/" + path;
      SPELL_TRY(base::make_folders(file.substr(0, file.rfind('/'))));
      SPELL_TRY(base::write_file(file, content, 0644, false));
    }
    auto pack = base::open(folder, O_RDWR | O_TMPFILE);
    if (!pack) return pack.error();
    spellfs::PackWriter writer(pack->get());
    spellfs::SaveOptions options;
    options.missing = [&](std::span<const spellfs::Name> names) {
      return link.missing(start.run, start.epoch, names, {});
    };
    auto saved = spellfs::save(top, options, writer);
    (void)base::remove_tree(top);
    if (!saved) return saved.error();
    if (writer.objects() > 0) {
      auto size = writer.finish();
      if (!size) return size.error();
      SPELL_TRY(link.send_pack(start.run, start.epoch, pack->get(), *size, {}));
    }
    if (saved->tree) result.outputs = saved->tree->text();
    result.output_files = saved->files;
    result.output_bytes = saved->bytes;
    return ok();
  }
};

std::int64_t Execution::run() const noexcept { return impl_->start.number; }
const std::string& Execution::command() const noexcept { return impl_->start.request.command; }
const std::map<std::string, std::string>& Execution::env() const noexcept { return impl_->env; }
std::stop_token Execution::stop() const noexcept { return impl_->stop.get_token(); }

void Execution::print(std::string_view text) {
  impl_->note(impl_->send(text, impl_->log_bytes, false));
}

void Execution::save(const std::string& path, std::string_view content) {
  if (path.empty() || !base::safe_relative_path(path))
    return impl_->note(base::error("invalid_path", "'" + path + "' is no path below /spell"));
  impl_->files[path] = content;
}

void Execution::send_metric(const std::string& name, double value) {
  Metric point;
  point.name = name;
  point.index = impl_->indices[name]++;
  point.value = value;
  impl_->note(impl_->send(model::metric_line(point), impl_->metric_bytes, true));
}

struct MockService::Impl {
  std::string folder;
  std::optional<Service> service;
  std::optional<worker::Link> link;
  Executor executor;
  int places;
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<Execution::Impl>> running;  ///< under the mutex
  std::stop_source end;
  std::optional<base::Pool> pool;
  std::thread poller;

  ~Impl() {
    end.request_stop();
    if (poller.joinable()) poller.join();
    {
      std::lock_guard lock(mutex);
      for (auto& [id, run] : running) run->stop.request_stop();
    }
    if (pool) pool->stop();
    service.reset();
    (void)base::remove_tree(folder);
  }

  void poll() {
    model::SyncRequest request;
    request.hello.emplace();
    request.hello->version = version();
    request.hello->boot_id = "mock";
    request.hello->cores = places;
    request.hello->memory = std::int64_t{64} << 30;
    while (!end.stop_requested()) {
      request.wait_ms = 25'000;
      CallOptions options;
      options.stop = end.get_token();
      auto answer = link->sync(request, options);
      if (!answer) return;  // the end: it is not reached over any network
      request.hello.reset();
      request.incarnation = answer->incarnation;
      for (auto& command : answer->commands) {
        request.seen = command.number;
        take(command);
      }
    }
  }

  void take(const model::Command& command) {
    std::lock_guard lock(mutex);
    if (command.type == "start") {
      auto run = std::make_shared<Execution::Impl>(*link, *command.start);
      if (!running.emplace(command.run, run).second) return;
      run->env = run->start.request.env;
      run->env.insert(run->start.secrets.begin(), run->start.secrets.end());
      run->env.insert(run->start.env.begin(), run->start.env.end());
      pool->post([this, run] { carry_out(*run); });
    } else if (command.type == "stop" || command.type == "kill") {
      auto found = running.find(command.run);
      if (found == running.end()) return;
      std::lock_guard of_run(found->second->mutex);
      found->second->end = command.type == "stop" ? "stopped" : "killed";
      found->second->stop.request_stop();
    }
  }

  void carry_out(Execution::Impl& run) {
    model::RunResult result;
    result.status = "complete";
    run.note(run.report({"building", "running"}));
    try {
      Execution execution(run);
      result.exit_code = executor(execution);
    } catch (const std::exception& e) {
      run.note(base::error("executor_failed", e.what()));
    }
    std::string asked;
    {
      std::lock_guard lock(run.mutex);
      asked = run.end;
    }
    if (asked != "killed") run.note(run.save(folder, result));
    if (!asked.empty()) result.status = asked;
    if (!run.failure.code().empty()) {
      result.status = "failed";
      result.exit_code.reset();
      result.reason_code = run.failure.code();
      result.reason = run.failure.message();
    }
    result.log_bytes = run.log_bytes;
    (void)run.report({}, result);
    std::lock_guard lock(mutex);
    running.erase(run.start.run);
  }
};

Result<MockService> MockService::start(Executor executor, int places) {
  auto impl = std::make_unique<Impl>();
  const char* base = ::getenv("TMPDIR");
  std::string name = std::string(base && *base ? base : "/tmp") + "/spell-mock-XXXXXX";
  if (!::mkdtemp(name.data())) return base::errno_error("make a folder for a mock service");
  impl->folder = name;
  impl->executor = std::move(executor);
  impl->places = std::max(1, places);
  impl->pool.emplace(impl->places);
  ServiceOptions options;
  options.folder = name + "/state";
  options.owner = "test";
  options.places = impl->places;
  auto service = Service::start(options);
  if (!service) return service.error();
  impl->service.emplace(std::move(*service));
  auto inner = impl->service->impl();
  worker::Way way;
  way.endpoint = "the mock service";
  way.token = inner->service->machine_token();
  way.dial = [inner = std::weak_ptr(inner)]() -> Result<base::Fd> {
    if (auto there = inner.lock()) return there->dial();
    return base::error("service_unreachable", "it has ended");
  };
  impl->link.emplace(std::move(way), inner->machine);
  impl->poller = std::thread([raw = impl.get()] { raw->poll(); });
  return MockService(std::move(impl));
}

Client MockService::client() const { return impl_->service->client(); }

MockService::MockService(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MockService::MockService(MockService&&) noexcept = default;
MockService& MockService::operator=(MockService&&) noexcept = default;
MockService::~MockService() = default;

}  // namespace spell::testing
