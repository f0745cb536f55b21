// What the two ends of a two-way stream say to each other: the user's end (SDK) and the worker's.
// The service joins them and looks at nothing. A message's first byte is its kind, the rest is what
// it says.
//
//   user                    worker
//   request (JSON)   ->                    once, first
//                    <-     opened         once; or failed, and that is all
//   data, end_of_data  <->  data, error_data, end_of_data     exec, forward
//   window           <->    window         how many more bytes may come: each end sends at most
//                                          stream_window bytes ahead of the other's windows
//   resize, signal   ->                    exec
//                    <-     exit (JSON)    exec, forward: last
//                    <-     sample (JSON)  stats
//                    <-     failed (JSON)  last
//
// So neither end ever stops reading: it learns at once when the other is gone, whatever is held up.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "spell/result.hpp"

namespace spell::model {

using nlohmann::json;

namespace stream {
inline constexpr char request = 'a', opened = 'o', failed = 'f', data = 'd', error_data = 'e',
                      end_of_data = 'z', window = 'w', resize = 'r', signal = 's', exit = 'x',
                      sample = 'j';
}  // namespace stream

inline constexpr std::size_t stream_window = 256 * 1024;
/// Bytes in one message of data.
inline constexpr std::size_t stream_piece = 32 * 1024;

std::string stream_message(char kind, std::string_view text = {});
/// The error that `failed` carries.
std::string failed_message(const Error&);
Error failed_error(std::string_view text);
/// The number that `window` and `signal` carry; 0: it is none.
std::int64_t number_in(std::string_view text);

struct TerminalSize {
  int columns = 80, rows = 24;
};
std::string resize_text(TerminalSize);
/// False: it is no size.
bool parse_resize(std::string_view text, TerminalSize&);

struct ExecRequest {
  std::string command{};  ///< for the shell, as a run's
  std::map<std::string, std::string> env{};
  bool terminal = false;
  int columns = 80, rows = 24;
};
struct ForwardRequest {
  int port = 0;  ///< 0: none; the stream is there to tell of the run's end
};
struct StatsRequest {
  std::int64_t interval_ms = 1000;
};
json to_json(const ExecRequest&);
json to_json(const ForwardRequest&);
json to_json(const StatsRequest&);
/// Errors `invalid_request`.
Result<ExecRequest> parse_exec_request(std::string_view text);
Result<ForwardRequest> parse_forward_request(std::string_view text);
Result<StatsRequest> parse_stats_request(std::string_view text);

}  // namespace spell::model
