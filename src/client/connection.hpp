// The way to a service: carries calls out, again where that is safe, and starts the personal
// service where it does not run.
//
// Three thin layers: the client's classes pack arguments (run.cpp, resource.cpp, …), the connection
// retries, the transport sends. On first contact, and after every outage, the service's version is
// looked at: one that speaks another protocol is refused, an older personal one is asked to hand
// over, once. Thread-safe. Threads: none, but for what is asked for by spell/asio.hpp.
#pragma once
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "base/pool.hpp"
#include "client/call.hpp"
#include "client/retry.hpp"
#include "client/service_control.hpp"
#include "client/transport.hpp"
#include "client/watcher.hpp"

namespace spell::detail {

class Recovery;

class Connection {
 public:
  struct Parts {
    std::string endpoint{};  ///< for messages
    std::string owner{};     ///< "": the service is asked for it
    std::unique_ptr<Transport> transport{};
    std::shared_ptr<Waiter> waiter = make_waiter();
    std::shared_ptr<ServiceControl> service{};  ///< null: not a personal service
    bool autostart = true;
    std::string cache{};        ///< folder for what the client may lose; "": none
    std::int64_t workflow = 0;  ///< see ClientOptions::workflow
  };
  explicit Connection(Parts parts) : parts_(std::move(parts)) {}

  /// The answer's JSON; what the service refuses is an Error with its code.
  Result<json> call(const Call&, const Limit&);
  Result<json> call(const Call& what, const CallOptions& options = {}) {
    return call(what, Limit(options, waiter()));
  }
  /// An answer that is no JSON, whole.
  Result<std::string> fetch(const Call&, const Limit&);
  /// The same for a request that is not in the table; GET alone is repeatable. Any JSON answer, as
  /// text.
  Result<std::string> request(const net::ClientRequest&, const Limit&);
  /// One attempt at an answer whose body is read as it comes; Recovery says whether there is
  /// another one.
  Result<std::unique_ptr<Body>> open(const Call&, const Limit&, Recovery&);
  /// A two-way stream; what cannot have reached anything is tried again.
  Result<net::MessageStream> upgrade(const Call&, const Limit&);
  /// Returns when the service has ended; fine if none runs.
  Result<> stop_service(bool handover, const Limit&);

  const std::string& endpoint() const { return parts_.endpoint; }
  /// "" as long as the service has not been asked.
  std::string owner() const {
    std::lock_guard lock(owner_mutex_);
    return parts_.owner;
  }
  const std::string& cache() const { return parts_.cache; }
  std::int64_t workflow() const { return parts_.workflow; }
  std::string log() const { return parts_.service ? parts_.service->log() : std::string(); }
  Waiter& waiter() { return *parts_.waiter; }
  /// For calls of those who do not want to block: a few that take as long as the service needs to
  /// answer, and any number that wait for something, which keep none of the first from it.
  base::Pool& brief() { return brief_; }
  base::Pool& blocking() { return blocking_; }
  Watcher& watcher() { return watcher_; }

 private:
  friend class Recovery;
  Result<net::ClientResponse> send(const net::ClientRequest&, bool repeatable, const Limit&);
  /// `asked` tells whether the request itself may have arrived.
  Result<net::ClientResponse> attempt(const net::ClientRequest&, const Limit&, bool& asked,
                                      Recovery&);
  Result<> introduce(const Limit&);
  Result<> learn_owner(const Call&, const Limit&);
  Result<> check_version(const net::Headers&, const Limit&);
  Result<> examine(const Limit&);
  Result<> start(std::uint64_t starts_seen, const Limit&);
  bool can_start() const { return parts_.service && parts_.autostart; }
  std::uint64_t starts() const { return starts_; }

  Parts parts_;
  mutable std::mutex owner_mutex_;
  std::atomic<bool> acquainted_ = false, reached_ = false;
  std::atomic<std::uint64_t> starts_ = 0;
  std::mutex mutex_;  // of what follows
  std::condition_variable_any started_;
  bool starting_ = false, handed_over_ = false;
  base::Pool brief_{16}, blocking_{1000};
  Watcher watcher_{*this};  // last: its thread uses the rest
};

/// What one call does about its failures; see retry.hpp. Not thread-safe.
class Recovery {
 public:
  Recovery(Connection& connection, const Limit& limit)
      : connection_(connection), limit_(limit), starts_(connection.starts()) {}
  /// Success: try again, what was to be waited for has been waited for. Else the error is final.
  Result<> after(const Error&, bool repeatable = true);
  /// What came of an attempt, before its failure is told.
  void heard(const net::Headers& headers) { told_ = retry_after(headers); }
  /// Things work again: the next failure is a new one.
  void reset();

 private:
  Connection& connection_;
  Limit limit_;
  bool first_ = true;
  std::uint64_t starts_;
  Backoff backoff_;
  std::optional<std::chrono::milliseconds> told_;  ///< when to come again
};

/// The Error that an answer carries.
Error error_of(int status, std::string_view body);

/// Of one question that waits for its answer to change.
inline constexpr std::chrono::milliseconds longest_poll{30'000};

/// A number in a path.
inline std::vector<std::string> number(std::int64_t id) { return {std::to_string(id)}; }

/// An answer in which nothing is of interest.
inline Result<> done(const Result<json>& answer) {
  return answer ? ok() : Result<>(answer.error());
}

/// Member `name` of an answer as a T (see spell/json.hpp). Error `invalid_answer`.
template <class T>
Result<T> member(const json& answer, const char* name) {
  try {
    return answer.at(name).get<T>();
  } catch (const Error& e) {
    return e;
  } catch (const json::exception&) {
    return Error("invalid_answer",
                 std::string("the service's answer has no usable \"") + name + '"');
  }
}

template <class T>
Result<T> member(const Result<json>& answer, const char* name) {
  if (!answer) return answer.error();
  return member<T>(*answer, name);
}

}  // namespace spell::detail
