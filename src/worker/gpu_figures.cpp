#include "worker/gpu_figures.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/fd.hpp"
#include "base/text.hpp"
#include "proc/spawn.hpp"

namespace spell::worker {

namespace {

constexpr std::chrono::seconds between{1};
constexpr const char* query =
    "--query-gpu=index,uuid,name,memory.total,memory.used,utilization.gpu,temperature.gpu,"
    "power.draw";

std::string trim(std::string_view text) {
  auto begin = text.find_first_not_of(" \t\r");
  if (begin == text.npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1));
}

/// A decimal number times `scale`.
std::optional<std::int64_t> scaled(const std::string& text, double scale) {
  char* end = nullptr;
  double value = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || *end != '\0' || !(value >= 0 && value < 1e15)) return std::nullopt;
  return static_cast<std::int64_t>(value * scale + 0.5);
}

/// What nvidia-smi prints; nothing where there is none, or where it fails.
std::optional<std::string> run_nvidia_smi() {
  std::string program;
  for (const char* path :
       {"/usr/bin/nvidia-smi", "/usr/local/bin/nvidia-smi", "/usr/local/nvidia/bin/nvidia-smi"})
    if (program.empty() && ::access(path, X_OK) == 0) program = path;
  if (program.empty()) return std::nullopt;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
  base::Fd ours(ends[0]), theirs(ends[1]);
  proc::SpawnOptions options;
  options.arguments = {program, query, "--format=csv,noheader,nounits"};
  options.environment = {"PATH=/usr/bin:/bin", "LC_ALL=C"};
  options.descriptors = {{theirs.get(), 1}};
  auto child = proc::spawn(options);
  if (!child) return std::nullopt;
  theirs.reset();
  std::string out;
  char buffer[4096];
  ssize_t n;
  while ((n = ::read(ours.get(), buffer, sizeof buffer)) > 0 && out.size() < (1 << 20))
    out.append(buffer, static_cast<std::size_t>(n));
  int status = 0;
  while (::waitpid(*child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) return std::nullopt;
  return out;
}

}  // namespace

std::vector<GpuLine> parse_gpus(std::string_view text) {
  std::vector<GpuLine> out;
  for (auto& line : base::split(std::string(text), '\n')) {
    auto words = base::split(line, ',');
    if (words.size() < 8) continue;
    for (auto& word : words) word = trim(word);
    auto index = scaled(words[0], 1);
    if (!index) continue;
    GpuLine gpu;
    gpu.uuid = words[1];
    gpu.stats.index = *index;
    gpu.stats.name = words[2];
    gpu.stats.memory_total = scaled(words[3], 1 << 20);  // both in MiB
    gpu.stats.memory = scaled(words[4], 1 << 20);
    gpu.stats.use_percent = scaled(words[5], 1);
    gpu.stats.temperature = scaled(words[6], 1);
    gpu.stats.power_milliwatts = scaled(words[7], 1000);
    out.push_back(std::move(gpu));
  }
  return out;
}

void GpuFigures::ask() {
  auto now = std::chrono::steady_clock::now();
  std::lock_guard lock(mutex_);
  if (asking_ || absent_ || now - asked_at_ < between) return;
  asking_ = true;
  asked_at_ = now;
  pool_.post([this] {
    auto text = run_nvidia_smi();
    std::lock_guard inner(mutex_);
    asking_ = false;
    absent_ = !text;
    gpus_ = text ? parse_gpus(*text) : std::vector<GpuLine>();
  });
}

std::vector<GpuStats> GpuFigures::look(const std::string& visible) const {
  std::vector<GpuStats> out;
  if (visible == "none") return out;
  auto wanted = base::split(visible, ',');
  std::lock_guard lock(mutex_);
  for (auto& gpu : gpus_) {
    bool own = visible.empty() || std::any_of(wanted.begin(), wanted.end(), [&](auto& word) {
                 return word == gpu.uuid || word == std::to_string(gpu.stats.index);
               });
    if (own) out.push_back(gpu.stats);
  }
  return out;
}

}  // namespace spell::worker
