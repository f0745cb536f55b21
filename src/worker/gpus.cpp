#include "worker/gpus.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "proc/spawn.hpp"

namespace spell::worker {

namespace {

constexpr std::int64_t answer_limit_ms = 20'000;
constexpr std::size_t output_limit = 1 << 20;

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

}  // namespace

std::vector<GpuInfo> parse_gpu_list(std::string_view csv) {
  std::vector<GpuInfo> gpus;
  for (auto& line : base::split(csv, '\n')) {
    auto fields = base::split(line, ',');
    if (fields.size() != 4) continue;
    auto index = base::parse_int(base::trim(fields[0])),
         memory = base::parse_int(base::trim(fields[3]));
    GpuInfo gpu;
    gpu.uuid = base::to_utf8(base::trim(fields[1]));
    gpu.name = base::to_utf8(base::trim(fields[2]));
    if (!index || *index < 0 || *index > 4096 || gpu.uuid.empty()) continue;
    gpu.index = static_cast<int>(*index);
    gpu.memory = memory.value_or(0) << 20;
    gpus.push_back(std::move(gpu));
  }
  std::sort(gpus.begin(), gpus.end(), [](auto& a, auto& b) { return a.index < b.index; });
  return gpus;
}

Result<std::vector<GpuInfo>> find_gpus(const std::string& program) {
  std::string path = program.empty() ? find_program() : program;
  if (path.empty()) return std::vector<GpuInfo>();
  auto text = output_of(
      {path, "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits"});
  if (!text) return text.error();
  return parse_gpu_list(*text);
}

std::optional<std::vector<std::string>> choose_gpus(const std::vector<GpuInfo>& gpus,
                                                    const std::set<std::string>& used,
                                                    std::int64_t count) {
  auto wanted = static_cast<std::size_t>(std::max<std::int64_t>(0, count));
  std::vector<std::string> free;
  std::size_t best = 0, best_size = SIZE_MAX;
  for (std::size_t at = 0; at < gpus.size();) {
    std::size_t begin = free.size();
    while (at < gpus.size() && !used.contains(gpus[at].uuid)) free.push_back(gpus[at++].uuid);
    std::size_t size = free.size() - begin;
    if (size >= wanted && size < best_size) best = begin, best_size = size;
    while (at < gpus.size() && used.contains(gpus[at].uuid)) ++at;
  }
  if (free.size() < wanted) return std::nullopt;
  auto from = free.begin() + static_cast<std::ptrdiff_t>(best_size == SIZE_MAX ? 0 : best);
  return std::vector<std::string>(from, from + static_cast<std::ptrdiff_t>(wanted));
}

}  // namespace spell::worker
