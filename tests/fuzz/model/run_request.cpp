// Any body: a submission is refused, or is the same when it has been written and read again.
#include <cstdint>
#include <cstdlib>

#include "model/run.hpp"

using namespace spell::model;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto body = parse_json({reinterpret_cast<const char*>(data), size});
  if (!body) return 0;
  auto request = parse_run_request(*body);
  if (!request) return 0;
  auto again = parse_run_request(to_json(*request));
  if (!again || request_hash(*again) != request_hash(*request)) std::abort();
  (void)fill_params(*again);
  return 0;
}
