// What a run uses of its machine, while it runs.
#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace spell {

/// One GPU. What the driver does not say is not there.
struct GpuStats {
  std::int64_t index = 0;
  std::string name{};
  std::optional<std::int64_t> use_percent{};
  std::optional<std::int64_t> memory{}, memory_total{};  ///< bytes
  std::optional<std::int64_t> temperature{};             ///< degrees Celsius
  std::optional<std::int64_t> power_milliwatts{};
};

/// What all processes of a run use together, `exec`'s among them. Counters are from the run's start
/// on; rates are of the time since the sample before.
struct RunStats {
  std::int64_t run = 0;
  std::int64_t cpu_millis = 0;    ///< processor use now, in thousandths of a core
  std::int64_t cpu_time_ms = 0;   ///< processor time used, ended processes included
  std::int64_t cores = 0;         ///< of the machine
  std::int64_t memory = 0;        ///< resident bytes; what processes share counts for each
  std::int64_t memory_total = 0;  ///< of the machine
  std::int64_t processes = 0, threads = 0;
  std::int64_t disk_read = 0, disk_written = 0;            ///< bytes that went to and from disks
  std::int64_t disk_read_rate = 0, disk_written_rate = 0;  ///< bytes a second
  /// Bytes a second of the whole machine, loopback left out: runs share its network.
  std::int64_t network_received_rate = 0, network_sent_rate = 0;
  std::vector<GpuStats> gpus{};  ///< those that the run may use
  /// What its program has finished writing and the service does not have yet: bytes, and the age of
  /// the oldest of it.
  std::int64_t unsaved = 0, unsaved_age_ms = 0;
};

struct StatsOptions {
  std::chrono::milliseconds interval{1000};  ///< between samples; at least 100 ms
  std::stop_token stop{};                    ///< ends the stream with the error `canceled`
  /// Of the stream as a whole: then it ends with the error `timeout`; none: as long as it takes.
  std::optional<std::chrono::milliseconds> timeout{};
};

}  // namespace spell
