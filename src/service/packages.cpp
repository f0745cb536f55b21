#include "service/packages.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "net/key_pin.hpp"

namespace spell::service {

namespace {

constexpr std::string_view worker_package = "spell-worker-service";

bool plain(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '+' || c == '-' || c == '~';
  });
}

/// Of a file's name; none if it is not of a package.
std::optional<PackageFile> parse_name(const std::string& file) {
  if (!file.ends_with(".deb")) return std::nullopt;
  auto parts = base::split(file.substr(0, file.size() - 4), '_');
  if (parts.size() != 3 || !std::all_of(parts.begin(), parts.end(), plain)) return std::nullopt;
  return PackageFile{file, parts[0], parts[2], {}, 0};
}

void replace(std::string& text, std::string_view word, std::string_view by) {
  for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + by.size()))
    text.replace(at, word.size(), by);
}

/// How curl reaches this URL, and what stands before the path.
struct Reached {
  std::string fetch, base;
};
Reached reach(const std::string& url) {
  if (url.starts_with("unix:"))
    return {"curl -fsS --unix-socket " + base::shell_quote(url.substr(5)), "http://spell"};
  return {"curl -fsS", url};
}

}  // namespace

Result<std::string> Packages::hash(const std::string& file, const Seen& now) {
  {
    std::lock_guard lock(mutex_);
    auto known = seen_.find(file);
    if (known != seen_.end() && known->second.size == now.size &&
        known->second.changed_ns == now.changed_ns && known->second.inode == now.inode)
      return known->second.sha256;
  }
  auto opened = base::open(folder_ + "/" + file, O_RDONLY | O_CLOEXEC);
  if (!opened) return opened.error();
  base::Sha256 digest;
  std::string piece(256 << 10, '\0');
  for (;;) {
    ssize_t n = ::read(opened->get(), piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::errno_error("read " + folder_ + "/" + file);
    if (n == 0) break;
    digest.update(std::string_view(piece).substr(0, static_cast<std::size_t>(n)));
  }
  std::string text = base::hex(digest.finish());
  std::lock_guard lock(mutex_);
  seen_[file] = now;
  seen_[file].sha256 = text;
  return text;
}

Result<std::vector<PackageFile>> Packages::list() {
  std::vector<PackageFile> out;
  struct Close {
    void operator()(DIR* folder) const { ::closedir(folder); }
  };
  std::unique_ptr<DIR, Close> folder(folder_.empty() ? nullptr : ::opendir(folder_.c_str()));
  if (!folder) {
    if (folder_.empty() || errno == ENOENT) return out;
    return base::errno_error("read " + folder_);
  }
  while (dirent* entry = ::readdir(folder.get())) {
    auto package = parse_name(entry->d_name);
    struct stat st;
    if (!package || ::fstatat(::dirfd(folder.get()), entry->d_name, &st, 0) != 0 ||
        !S_ISREG(st.st_mode))
      continue;
    Seen now{st.st_size, st.st_ctim.tv_sec * 1'000'000'000 + st.st_ctim.tv_nsec, st.st_ino, {}};
    auto text = hash(package->file, now);
    if (!text) return text.error();
    package->sha256 = std::move(*text);
    package->size = st.st_size;
    out.push_back(std::move(*package));
  }
  std::sort(out.begin(), out.end(),
            [](auto& a, auto& b) { return ::strverscmp(a.file.c_str(), b.file.c_str()) < 0; });
  return out;
}

std::string sha256_list(const std::vector<PackageFile>& packages) {
  std::string out;
  for (auto& package : packages) out += package.sha256 + "  " + package.file + "\n";
  return out;
}

Result<std::string> worker_script(std::string_view text, const std::string& url,
                                  const std::vector<PackageFile>& packages) {
  std::string lines;
  for (auto& package : packages)  // the newest of an architecture is the last
    if (package.name == worker_package)
      lines += package.architecture + " " + package.file + " " + package.sha256 + "\n";
  if (lines.empty())
    return base::error("not_found",
                       "this service has no package spell-worker-service to hand out; put one into "
                       "the folder that spelld serve --packages names");
  Reached reached = reach(url);
  std::string out(text);
  // Nobody need be believed for a package: its hash is in the script.
  replace(out, "@FETCH@", reached.fetch + (url.starts_with("https:") ? "k" : ""));
  replace(out, "@URL@", reached.base);
  replace(out, "@PACKAGES@", lines);
  return out;
}

Result<std::string> install_line(const std::string& url, const std::string& certificate) {
  Reached reached = reach(url);
  std::string line = reached.fetch;
  if (!certificate.empty()) {
    auto pin = net::key_pin(certificate);
    if (!pin) return pin.error();
    line += "k --pinnedpubkey '" + *pin + "'";
  }
  return line + " " + base::shell_quote(reached.base + "/install/worker.sh") + " | sh";
}

}  // namespace spell::service
