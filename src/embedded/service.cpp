#include "embedded/service.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>

#include <algorithm>
#include <thread>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/spell_dir.hpp"
#include "client/connection.hpp"
#include "worker/machine.hpp"

namespace spell {

namespace {

Result<base::Fd> lock_folder(const std::string& folder) {
  auto lock = base::open(folder + "/lock", O_RDWR | O_CREAT);
  if (!lock) return lock;
  if (::flock(lock->get(), LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno != EWOULDBLOCK) return base::errno_error("lock " + folder);
  return base::error("folder_in_use",
                     "another service keeps its data in " + folder + "; give each its own folder");
}

std::string name_of(const Service::Impl& impl) { return "the service in " + impl.options.folder; }

}  // namespace

Result<Service> Service::start(const ServiceOptions& options) {
  if (options.folder.empty())
    return base::error("invalid_request", "a service needs a folder for its data");
  auto impl = std::make_shared<Impl>();
  impl->options = options;
  impl->owner = options.owner.empty() ? base::user_name() : options.owner;
  impl->machine = worker::machine_name();
  SPELL_TRY(base::make_folders(options.folder));
  auto lock = lock_folder(options.folder);
  if (!lock) return lock.error();
  impl->lock = std::move(*lock);
  // Runs are told of it, and stand elsewhere.
  std::unique_ptr<char, void (*)(void*)> real(::realpath(options.folder.c_str(), nullptr), ::free);
  if (!real) return base::errno_error("look at " + options.folder);
  const std::string folder = impl->options.folder = real.get();

  service::ServiceOptions inner;
  inner.state_folder = folder;
  inner.spell_dir = folder;
  inner.socket_path = options.socket;
  inner.workflow_socket = impl->workflow_socket();
  inner.owner = impl->owner;
  inner.machine = impl->machine;
  int cores = static_cast<int>(std::thread::hardware_concurrency());
  inner.places = options.places > 0 ? options.places : std::max(2, cores);
  inner.idle_seconds = 0;
  inner.log = options.log;
  auto service = service::Service::start(inner);
  if (!service) return service.error();
  impl->service = std::move(*service);
  return Service(std::move(impl));
}

Client Service::client() const {
  detail::Connection::Parts parts;
  parts.endpoint = name_of(*impl_);
  parts.owner = impl_->owner;
  parts.autostart = false;
  parts.cache = impl_->options.folder + "/cache";
  parts.transport = detail::make_http_transport(
      parts.endpoint, [service = std::weak_ptr(impl_)]() -> Result<base::Fd> {
        if (auto there = service.lock()) return there->dial();
        return base::error("service_unreachable", "it has ended");
      });
  return Client(std::make_shared<detail::Connection>(std::move(parts)));
}

Result<base::Fd> Service::Impl::dial() {
  std::lock_guard hold(mutex);
  if (!service) return base::error("service_unreachable", "it has ended");
  return service->dial();
}

void Service::Impl::stop() {
  std::unique_ptr<service::Service> ending;
  {
    std::lock_guard hold(mutex);
    ending = std::move(service);
  }
  if (!ending) return;
  ending->stop();
  ending.reset();
  lock.reset();
}

void Service::stop() {
  if (impl_) impl_->stop();
}

Service::Service(Service&&) noexcept = default;
Service& Service::operator=(Service&& other) noexcept {
  if (this != &other) stop();
  impl_ = std::move(other.impl_);
  return *this;
}
Service::~Service() { stop(); }

}  // namespace spell
