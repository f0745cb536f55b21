// The worker's requests to the service, one method a route. Thread-safe; nothing is retried here.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/environment.hpp"
#include "model/worker_protocol.hpp"
#include "net/client.hpp"
#include "net/tls.hpp"
#include "spell/options.hpp"
#include "spellfs/object.hpp"

namespace spell::worker {

/// How the service is reached, and as whom.
struct Way {
  std::string endpoint{};  ///< "unix:PATH", "https://HOST:PORT"
  std::string token{};     ///< spm_…
  net::Trust trust{};
  net::Identity identity{};
  net::Proxy proxy{};
  net::Dial dial{};  ///< instead: gives connections
};
/// The service could not be asked, or is not ready to answer: later it may.
bool may_pass(const Error&);
/// The service's own word for what it refuses.
Error refusal(const net::ClientResponse&);

class Link {
 public:
  /// `machine`: as the routes name it.
  Link(Way, const std::string& machine);

  Result<model::SyncAnswer> sync(const model::SyncRequest&, const CallOptions&);
  /// `frames`: whole output frames, the first of which begins at output byte `offset`. Returns the
  /// bytes the service has.
  Result<std::int64_t> send_log(const std::string& run, std::int64_t epoch, std::int64_t offset,
                                std::string frames, const CallOptions&);
  /// The same for the frames of its metrics.
  Result<std::int64_t> send_metrics(const std::string& run, std::int64_t epoch, std::int64_t offset,
                                    std::string frames, const CallOptions&);
  Result<std::vector<spellfs::Name>> missing(const std::string& run, std::int64_t epoch,
                                             std::span<const spellfs::Name>, const CallOptions&);
  Result<> send_pack(const std::string& run, std::int64_t epoch, int fd, std::int64_t size,
                     const CallOptions&);
  /// Of a pack in memory, which stays where it is until then.
  Result<> send_pack(const std::string& run, std::int64_t epoch, std::string_view pack,
                     const CallOptions&);
  /// Writes a Git pack of the run's commit to `fd`, as against the commits in `have`. Returns its
  /// size.
  Result<std::int64_t> fetch_code(const std::string& run, std::int64_t epoch,
                                  const std::vector<std::string>& have, int fd, const CallOptions&);
  /// A SpellFS pack of the first of these objects.
  Result<std::string> read_objects(const std::string& run, std::int64_t epoch,
                                   std::span<const spellfs::Name>, const CallOptions&);

  /// A layer of the run's environment: whether it is there, or is to be built.
  Result<model::LayerAnswer> claim_layer(const std::string& run, std::int64_t epoch,
                                         const model::LayerClaim&, const CallOptions&);
  /// It is built, or was given up.
  Result<model::LayerAnswer> put_layer(const std::string& run, std::int64_t epoch,
                                       const model::LayerBuilt&, const CallOptions&);

  /// Dials for a stream that the service has ordered.
  Result<net::MessageStream> open_stream(const std::string& id, const CallOptions&);

 private:
  Result<std::int64_t> send_frames(const std::string& route, const std::string& run,
                                   std::int64_t epoch, std::int64_t offset, std::string frames,
                                   const CallOptions&);
  Result<model::LayerAnswer> ask_layer(const std::string& route, const model::json& body,
                                       const CallOptions&);
  void authorize(net::ClientRequest&) const;
  Result<net::ClientResponse> send(const std::string& route, net::ClientRequest,
                                   const CallOptions&);
  Result<model::json> post(const std::string& route, net::ClientRequest, const CallOptions&);

  net::HttpClient client_;
  /// Which of those that show the token this one is: a copy of its folder shows the same.
  std::string instance_;
  std::string token_, base_;
};

}  // namespace spell::worker
