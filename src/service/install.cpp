// /install/: what a machine needs before it can join.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "service/api.hpp"
#include "service/packages.hpp"

extern const char spell_install_worker[];
extern const unsigned long spell_install_worker_size;

namespace spell::service {

namespace {

constexpr std::size_t read_size = 256 << 10;

/// A file from its beginning to its end, read on the job threads.
class PackageSource : public net::BodySource, public std::enable_shared_from_this<PackageSource> {
 public:
  PackageSource(Context& context, base::Fd file, std::int64_t size)
      : context_(context), file_(std::move(file)), left_(size) {}
  void pull(std::function<void(Result<std::string>)> done) override {
    context_.jobs.post([self = shared_from_this(), done = std::move(done)] { done(self->next()); });
  }

 private:
  Result<std::string> next() {
    std::string piece(std::min<std::size_t>(read_size, static_cast<std::size_t>(left_)), '\0');
    for (;;) {
      ssize_t n = ::read(file_.get(), piece.data(), piece.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return base::errno_error("read a package");
      left_ -= n;
      piece.resize(static_cast<std::size_t>(n));
      return piece;
    }
  }
  Context& context_;
  base::Fd file_;
  std::int64_t left_;  // it may have been replaced by a longer one meanwhile
};

/// The address by which the client has reached the service. It becomes a part of a script, so
/// nothing else than an address may stand there.
Result<std::string> reached_at(const Context& context, const net::Request& request) {
  if (request.peer_uid != UINT32_MAX) return "unix:" + context.options.socket_path;
  std::string host(net::find_header(request.headers, "Host"));
  bool fine = !host.empty() && host.size() <= 300 && host.front() != '-' &&
              std::all_of(host.begin(), host.end(), [](char c) {
                return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '-' || c == '_' || c == ':' || c == '[' || c == ']';
              });
  if (!fine) return base::error("invalid_request", "the Host field names no host and port");
  return "https://" + host;
}

void answer_text(const Call& call, std::string text) {
  net::Response response = new_response();
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::move(text);
  call->reply.send(std::move(response));
}

void send_package(Context& context, const Call& call, const PackageFile& package) {
  std::string path = context.packages.folder() + "/" + package.file;
  auto file = base::open(path, O_RDONLY | O_CLOEXEC);
  if (!file) return refuse(call, file.error());
  net::Response head = new_response();
  head.content_type = "application/vnd.debian.binary-package";
  call->reply.stream(std::move(head),
                     std::make_shared<PackageSource>(context, std::move(*file), package.size),
                     package.size);
}

void answer_install(Context& context, const Call& call) {
  const std::string& name = call->path.at("file");
  auto packages = context.packages.list();
  if (!packages) return refuse(call, packages.error());
  if (name == "worker.sh") {
    auto url = reached_at(context, call->request);
    if (!url) return refuse(call, url.error());
    auto script = worker_script({spell_install_worker, spell_install_worker_size}, *url, *packages);
    return script ? answer_text(call, std::move(*script)) : refuse(call, script.error());
  }
  if (name == "SHA256SUMS") return answer_text(call, sha256_list(*packages));
  for (auto& package : *packages)
    if (package.file == name) return send_package(context, call, package);
  refuse(call,
         base::error("not_found", "there is no '" + name +
                                      "' to install; /install/SHA256SUMS lists what there is"));
}

}  // namespace

void get_install(Context& context, Call call) {
  context.jobs.post([&context, call] { answer_install(context, call); });
}

}  // namespace spell::service
