// A service and its worker inside of a program: the control plane and the worker of spelld, joined
// by connections that need no address. It adds nothing to what they do.
#pragma once
#include <memory>
#include <mutex>

#include "base/fd.hpp"
#include "service/service.hpp"
#include "spell/service.hpp"

namespace spell {

struct Service::Impl {
  ~Impl() { stop(); }
  void stop();
  /// A connection to it. Error `service_unreachable`: it has ended.
  Result<base::Fd> dial();
  /// By which the managing runs of its workflows reach it, with their credentials.
  std::string workflow_socket() const { return options.folder + "/workflow-socket/spelld.sock"; }

  ServiceOptions options;
  std::string owner, machine;
  base::Fd lock;  ///< of its folder
  std::mutex mutex;
  std::unique_ptr<service::Service> service;  ///< under the mutex; none: it has ended
};

}  // namespace spell
