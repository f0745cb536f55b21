// A service inside of a program: what `spelld` is made of, for tests, tools and products that bring
// theirs along. With spell/worker.hpp it carries runs out, too. Link spell::service.
//
//   auto service = spell::Service::start({.folder = "state"}).value();
//   auto worker = spell::Worker::start(service).value();
//   auto run = service.client().run(spec).value();
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "spell/result.hpp"
#include "spell/spell.hpp"

namespace spell {

struct ServiceOptions {
  std::string folder{};  ///< its data, made (0700) if missing; of one service at a time; required
  /// Path of a Unix socket by which other programs of this user reach it ("unix:PATH"); "": none,
  /// only this program does, and those that manage its workflows: they have a socket in `folder`,
  /// on which nothing but their credentials counts.
  std::string socket{};
  std::string owner{};  ///< whose runs these are; "": the login name
  int places = 0;       ///< runs that its worker carries out at once; 0: one a core, at least 2
  /// Told what happens, a line each; from any thread.
  std::function<void(const std::string& line)> log{};
};

/// Serves as long as it lives; what has been answered is durable. Any number of them may be in one
/// program, with a folder each. Threads: about five, and a few more while there is work. Move-only;
/// thread-safe.
class Service {
 public:
  /// Errors: `invalid_request` (no folder), `folder_in_use` (another service has it),
  /// `newer_data`, `damaged`, `disk_full`, `io_error`.
  static Result<Service> start(const ServiceOptions&);
  /// Reaches it without a socket in any folder and without a port. May outlive it: its calls end
  /// with `service_unreachable` then.
  Client client() const;
  /// Ends it; what its callers wait for is broken off. Commands go on under their supervisors, and
  /// belong to the worker of the next service of this folder. Done by the destructor, too.
  void stop();

  struct Impl;
  Service(Service&&) noexcept;
  Service& operator=(Service&&) noexcept;
  ~Service();
  const std::shared_ptr<Impl>& impl() const noexcept { return impl_; }  ///< for spell/worker.hpp

 private:
  explicit Service(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

}  // namespace spell
