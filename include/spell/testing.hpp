// For tests of programs that use this SDK: a client whose service is a function, and a service
// whose commands are functions. Link spell::testing. The owner is "test"; nothing is started,
// nothing is left behind.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "spell/result.hpp"
#include "spell/spell.hpp"

namespace spell::testing {

/// What a client asks.
struct Request {
  std::string method{}, path{};  ///< "POST", "/v1/owners/test/runs"
  std::map<std::string, std::string> query{};
  std::string body{};
};

/// What it is answered; the API is in openapi.json.
struct Answer {
  int status = 200;
  std::string body = "{}";
};
/// As the service answers an error.
Answer refusal(int status, const std::string& code, const std::string& message);

/// A service that is a function. What it returns an Error for has not been answered:
/// `service_unreachable` (it was not asked), `connection_lost` (it may have been done); the client
/// tries again where that is safe, without any pause. A cheap handle; thread-safe.
class FakeTransport {
 public:
  /// One call at a time; from the threads that ask.
  using Serve = std::function<Result<Answer>(const Request&)>;
  explicit FakeTransport(Serve);
  Client client() const;
  /// What was asked so far, in order.
  std::vector<Request> requests() const;

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

/// A run that is to be carried out.
class Execution {
 public:
  std::int64_t run() const noexcept;
  const std::string& command() const noexcept;
  const std::map<std::string, std::string>& env() const noexcept;
  /// The output goes on with this.
  void print(std::string_view text);
  /// The run saves this: a path below /spell, such as "checkpoints/step-1".
  void save(const std::string& path, std::string_view content);
  void send_metric(const std::string& name, double value);
  /// Somebody wants the run to end. It ends `stopped` or `killed` then, when the executor returns.
  std::stop_token stop() const noexcept;

  struct Impl;
  explicit Execution(Impl& impl) : impl_(&impl) {}

 private:
  Impl* impl_;
};

/// A real service (see spell/service.hpp) in a folder of its own that is gone at the end, whose
/// runs are carried out by a function: no command is started. Keys, mounts, lists, logs, metrics,
/// waits and errors are the real ones. Move-only; thread-safe.
class MockService {
 public:
  /// Returns the command's exit code. Called on a thread a run, for up to `places` at once; an
  /// exception makes the run `failed`, with its text as the reason.
  using Executor = std::function<int(Execution&)>;
  static Result<MockService> start(Executor, int places = 4);
  Client client() const;

  struct Impl;
  MockService(MockService&&) noexcept;
  MockService& operator=(MockService&&) noexcept;
  /// Asks what still runs to stop, and waits for it.
  ~MockService();

 private:
  explicit MockService(std::unique_ptr<Impl>);
  std::unique_ptr<Impl> impl_;
};

}  // namespace spell::testing
