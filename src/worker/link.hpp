// The worker's requests to the service, one method a route. Thread-safe; nothing is retried here.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/worker_protocol.hpp"
#include "net/client.hpp"
#include "spell/options.hpp"
#include "spellfs/object.hpp"

namespace spell::worker {

class Link {
 public:
  Link(std::string endpoint, std::string token, const std::string& machine);

  Result<model::SyncAnswer> sync(const model::SyncRequest&, const CallOptions&);
  /// `frames`: whole output frames, the first of which begins at output byte `offset`. Returns the
  /// bytes the service has.
  Result<std::int64_t> send_log(const std::string& run, std::int64_t epoch, std::int64_t offset,
                                std::string frames, const CallOptions&);
  Result<std::vector<spellfs::Name>> missing(const std::string& run, std::int64_t epoch,
                                             std::span<const spellfs::Name>, const CallOptions&);
  Result<> send_pack(const std::string& run, std::int64_t epoch, int fd, std::int64_t size,
                     const CallOptions&);

 private:
  Result<model::json> post(const std::string& route, net::ClientRequest, const CallOptions&);

  net::HttpClient client_;
  std::string token_, base_;
};

}  // namespace spell::worker
