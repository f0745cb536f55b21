// Any body: what a worker says is refused, or is the same when it has been written and read again.
#include <cstdint>
#include <cstdlib>

#include "model/worker_protocol.hpp"

using namespace spell::model;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto body = parse_json({reinterpret_cast<const char*>(data), size});
  if (!body) return 0;
  auto request = parse_sync_request(*body);
  if (!request) return 0;
  if (request->hello) (void)check_hello(*request->hello);
  auto once = to_json(*request);
  auto again = parse_sync_request(once);
  if (!again || to_json(*again) != once) std::abort();
  return 0;
}
