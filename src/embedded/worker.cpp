#include "spell/worker.hpp"

#include "base/error.hpp"
#include "embedded/service.hpp"
#include "spell/version.hpp"
#include "worker/machine.hpp"
#include "worker/worker.hpp"

namespace spell {

struct Worker::Impl {
  std::shared_ptr<Service::Impl> service;
  std::unique_ptr<worker::Worker> worker;
};

Result<Worker> Worker::start(const Service& service, const WorkerOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->service = service.impl();
  auto& home = *impl->service;
  worker::WorkerOptions inner;
  {
    std::lock_guard hold(home.mutex);
    if (!home.service) return base::error("service_unreachable", "the service has ended");
    inner.token = home.service->machine_token();
  }
  inner.endpoint = "the service in " + home.options.folder;
  inner.workflow_socket = home.workflow_socket();
  inner.dial = [service = impl->service] { return service->dial(); };
  inner.machine = home.machine;
  inner.folder = options.folder.empty() ? home.options.folder + "/worker" : options.folder;
  inner.supervisor = options.supervisor;
  inner.hidden = {home.options.folder, inner.folder};
  inner.base_environment = worker::base_environment();
  inner.version = version();
  inner.log = options.log;
  auto started = worker::Worker::start(inner);
  if (!started) return started.error();
  impl->worker = std::move(*started);
  return Worker(std::move(impl));
}

void Worker::stop() {
  if (impl_ && impl_->worker) impl_->worker->stop();
}

bool Worker::idle() const { return impl_->worker->idle(); }

Worker::Worker(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Worker::Worker(Worker&&) noexcept = default;
Worker& Worker::operator=(Worker&& other) noexcept {
  if (this != &other) stop();
  impl_ = std::move(other.impl_);
  return *this;
}
Worker::~Worker() { stop(); }

}  // namespace spell
