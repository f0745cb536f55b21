#include "worker/figures.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <memory>

#include "base/fd.hpp"
#include "base/text.hpp"

namespace spell::worker {

namespace {

constexpr std::chrono::milliseconds fresh{50};

/// The first bytes of a small file; "" if it cannot be read.
std::string_view read_small(const std::string& path, char* buffer, std::size_t size) {
  base::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  ssize_t n = file ? ::read(file.get(), buffer, size) : 0;
  return {buffer, static_cast<std::size_t>(n > 0 ? n : 0)};
}

/// The next word, and what follows it.
std::string_view next_word(std::string_view& text) {
  auto begin = text.find_first_not_of(" \t");
  text.remove_prefix(std::min(text.size(), begin));
  auto word = text.substr(0, text.find_first_of(" \t\n"));
  text.remove_prefix(word.size());
  return word;
}

std::int64_t to_number(std::string_view word) {
  std::int64_t value = 0;
  std::from_chars(word.data(), word.data() + word.size(), value);
  return value;
}

}  // namespace

bool parse_process(std::string_view text, ProcessLine& out) {
  auto name_end = text.rfind(')');  // the name may hold anything, also ')'
  if (name_end == text.npos) return false;
  text.remove_prefix(name_end + 1);
  // proc(5): field 3 is the state, 4 the parent, 14 to 17 times, 20 threads, 24 resident pages.
  out = {};
  for (int field = 3; field <= 24; ++field) {
    auto word = next_word(text);
    if (word.empty()) return false;
    if (field == 4) out.parent = static_cast<int>(to_number(word));
    if (field >= 14 && field <= 17) out.ticks += to_number(word);
    if (field == 20) out.threads = to_number(word);
    if (field == 24) out.pages = to_number(word);
  }
  return true;
}

Traffic parse_traffic(std::string_view text) {
  Traffic out;
  for (auto& line : base::split(std::string(text), '\n')) {
    auto colon = line.find(':');
    if (colon == std::string::npos) continue;
    std::string_view name = std::string_view(line).substr(0, colon), rest = line;
    if (name.substr(name.find_last_of(' ') + 1) == "lo") continue;
    rest.remove_prefix(colon + 1);
    for (int column = 0; column < 9; ++column) {
      auto value = to_number(next_word(rest));
      if (column == 0) out.received += value;
      if (column == 8) out.sent += value;
    }
  }
  return out;
}

void Figures::read_processes() {
  processes_.clear();
  children_.clear();
  std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(proc_.c_str()), ::closedir);
  if (!folder) return;
  char buffer[2048];
  while (dirent* entry = ::readdir(folder.get())) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    ProcessLine line;
    auto text = read_small(proc_ + "/" + entry->d_name + "/stat", buffer, sizeof buffer);
    if (!parse_process(text, line)) continue;
    int process = static_cast<int>(to_number(entry->d_name));
    processes_.emplace(process, line);
    children_[line.parent].push_back(process);
  }
}

/// Only of processes that the system lets us look into: the run's own are.
void Figures::read_disk(int process, RunStats& out) const {
  char buffer[1024];
  auto text = read_small(proc_ + "/" + std::to_string(process) + "/io", buffer, sizeof buffer);
  for (auto& line : base::split(std::string(text), '\n')) {
    std::string_view rest = line;
    auto name = next_word(rest);
    if (name == "read_bytes:") out.disk_read += to_number(next_word(rest));
    if (name == "write_bytes:") out.disk_written += to_number(next_word(rest));
  }
}

RunStats Figures::look(int init, Clock::time_point now) {
  if (processes_.empty() || now - read_at_ > fresh) {
    read_processes();
    read_at_ = now;
  }
  static const std::int64_t page = ::sysconf(_SC_PAGESIZE), hertz = ::sysconf(_SC_CLK_TCK);
  RunStats out;
  std::int64_t ticks = 0;
  std::vector<int> pending{init};
  while (!pending.empty()) {
    int process = pending.back();
    pending.pop_back();
    auto found = processes_.find(process);
    if (found == processes_.end()) continue;
    ticks += found->second.ticks;
    out.memory += found->second.pages * page;
    if (process != init) {  // init is ours, and tiny
      ++out.processes;
      out.threads += found->second.threads;
    }
    read_disk(process, out);
    if (auto own = children_.find(process); own != children_.end())
      pending.insert(pending.end(), own->second.begin(), own->second.end());
  }
  out.cpu_time_ms = ticks * 1000 / hertz;
  return out;
}

Traffic Figures::traffic() const {
  std::string text;
  base::Fd file(::open((proc_ + "/net/dev").c_str(), O_RDONLY | O_CLOEXEC));
  char buffer[4096];
  ssize_t n;
  while (file && (n = ::read(file.get(), buffer, sizeof buffer)) > 0)
    text.append(buffer, static_cast<std::size_t>(n));
  return parse_traffic(text);
}

}  // namespace spell::worker
