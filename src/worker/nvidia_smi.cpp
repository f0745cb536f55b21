#include "worker/nvidia_smi.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/text.hpp"
#include "proc/spawn.hpp"

namespace spell::worker {

namespace {

constexpr std::int64_t answer_limit_ms = 20'000;
constexpr std::size_t output_limit = 1 << 20;

constexpr const char* query =
    "--query-gpu=index,uuid,name,memory.total,memory.used,utilization.gpu,temperature.gpu,"
    "power.draw";
enum Column { index, uuid, name, memory_total, memory_used, use, temperature, power, columns };

std::string find_program() {
  for (auto* folder : {"/usr/bin", "/usr/local/bin", "/usr/local/nvidia/bin", "/opt/bin"})
    if (std::string path = std::string(folder) + "/nvidia-smi"; ::access(path.c_str(), X_OK) == 0)
      return path;
  return {};
}

/// What the program prints until its end.
Result<std::string> output_of(std::vector<std::string> arguments) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return base::errno_error("make a pipe");
  base::Fd ours(ends[0]), theirs(ends[1]);
  std::string program = arguments.front(), text;
  proc::SpawnOptions options;
  options.arguments = std::move(arguments);
  options.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"};
  options.descriptors = {{theirs.get(), 1}};
  auto pid = proc::spawn(options);
  if (!pid) return pid.error();
  theirs = {};
  std::int64_t until = base::boot_ns() / 1'000'000 + answer_limit_ms;
  bool ended = false;
  while (!ended && text.size() < output_limit) {
    pollfd event{ours.get(), POLLIN, 0};
    std::int64_t left = until - base::boot_ns() / 1'000'000;
    if (left <= 0 || (::poll(&event, 1, static_cast<int>(left)) <= 0 && errno != EINTR)) break;
    char buffer[16384];
    ssize_t n = ::read(ours.get(), buffer, sizeof buffer);
    if (n > 0) text.append(buffer, static_cast<std::size_t>(n));
    ended = n == 0;
  }
  if (!ended) ::kill(*pid, SIGKILL);
  int status = 0;
  while (::waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!ended) return base::error("io_error", program + " does not answer");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return base::error("io_error", program + " failed: " +
                                       base::to_utf8(base::trim(text.substr(0, text.find('\n')))));
  return text;
}

/// A decimal number times `scale`.
std::optional<std::int64_t> scaled(std::string_view word, double scale) {
  std::string text(word);
  char* end = nullptr;
  double value = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || *end != '\0' || !(value >= 0 && value < 1e9)) return std::nullopt;
  return static_cast<std::int64_t>(std::llround(value * scale));
}

}  // namespace

std::vector<GpuReading> parse_gpus(std::string_view csv) {
  constexpr double mebibyte = 1 << 20;
  std::vector<GpuReading> gpus;
  for (auto& line : base::split(csv, '\n')) {
    auto fields = base::split(line, ',');
    if (fields.size() != columns) continue;
    auto word = [&](Column column) { return base::trim(fields[column]); };
    auto number = base::parse_int(word(index));
    GpuReading gpu;
    gpu.uuid = base::to_utf8(word(uuid));
    if (!number || *number < 0 || *number > 4096 || gpu.uuid.empty()) continue;
    gpu.stats.index = *number;
    gpu.stats.name = base::to_utf8(word(name));
    gpu.stats.memory_total = scaled(word(memory_total), mebibyte);
    gpu.stats.memory = scaled(word(memory_used), mebibyte);
    gpu.stats.use_percent = scaled(word(use), 1);
    gpu.stats.temperature = scaled(word(temperature), 1);
    gpu.stats.power_milliwatts = scaled(word(power), 1000);
    gpus.push_back(std::move(gpu));
  }
  std::sort(gpus.begin(), gpus.end(),
            [](auto& a, auto& b) { return a.stats.index < b.stats.index; });
  return gpus;
}

Result<std::vector<GpuReading>> read_gpus(const std::string& program) {
  std::string path = program.empty() ? find_program() : program;
  if (path.empty()) return std::vector<GpuReading>();
  auto text = output_of({path, query, "--format=csv,noheader,nounits"});
  if (!text) return text.error();
  return parse_gpus(*text);
}

}  // namespace spell::worker
