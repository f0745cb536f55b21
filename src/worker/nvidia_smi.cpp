#include "worker/nvidia_smi.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/error.hpp"
#include "base/text.hpp"
#include "proc/run.hpp"

namespace spell::worker {

namespace {

constexpr std::chrono::seconds answer_limit{20};

constexpr const char* query =
    "--query-gpu=index,uuid,name,memory.total,memory.used,utilization.gpu,temperature.gpu,"
    "power.draw";
enum Column { index, uuid, name, memory_total, memory_used, use, temperature, power, columns };

std::string find_nvidia_smi() {
  for (auto* folder : {"/usr/bin", "/usr/local/bin", "/usr/local/nvidia/bin", "/opt/bin"})
    if (std::string path = std::string(folder) + "/nvidia-smi"; ::access(path.c_str(), X_OK) == 0)
      return path;
  return {};
}

/// What the program prints until its end.
Result<std::string> output_of(std::vector<std::string> arguments) {
  proc::RunOptions options;
  std::string program = arguments.front();
  options.spawn.arguments = std::move(arguments);
  options.spawn.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"};
  options.limit = answer_limit;
  auto ended = proc::run(options);
  if (!ended) return ended.error();
  if (ended->how == proc::Ended::How::timed_out)
    return base::error("io_error", program + " does not answer");
  auto& text = ended->output;
  if (ended->how != proc::Ended::How::exited || ended->code != 0)
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
  std::string path = program.empty() ? find_nvidia_smi() : program;
  if (path.empty()) return std::vector<GpuReading>();
  auto text = output_of({path, query, "--format=csv,noheader,nounits"});
  if (!text) return text.error();
  return parse_gpus(*text);
}

}  // namespace spell::worker
