// Repositories by URL: local ones are read where they are, others are fetched into a bare
// repository of our own.
#include <fcntl.h>
#include <sys/file.h>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "git/fetch.hpp"
#include "git/snapshot.hpp"

namespace spell::git {

namespace {

constexpr char remote_head[] = "refs/spell/HEAD";

std::string percent_decoded(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::uint8_t byte = 0;
    std::string digits(text.substr(i + 1, 2));
    for (char& c : digits) c = c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c;
    if (text[i] == '%' && base::unhex(digits, &byte, 1)) {
      result += static_cast<char>(byte);
      i += 2;
    } else {
      result += text[i];
    }
  }
  return result;
}

Error cannot_fetch(const std::string& url, const std::string& why) {
  return base::error("cannot_fetch", "cannot fetch " + without_credentials(url) + ": " + why);
}

Result<std::shared_ptr<Snapshot::Impl>> load(git_repository* repository, const std::string& url,
                                             const Oid& commit, const std::string& root) {
  auto impl = std::make_shared<Snapshot::Impl>();
  impl->info.root = root;
  impl->info.name = last_part(without_credentials(url));
  StatCache no_cache("", root);
  SPELL_TRY(load_commit(*impl, repository, commit, no_cache));
  SPELL_TRY(check_committed_tree(*impl, without_credentials(url)));
  return impl;
}

Result<Snapshot> open_local(const std::string& url, const std::string& path,
                            const std::string& ref) {
  RepositoryPtr repository;
  int rc = make(repository, git_repository_open_ext, path.c_str(), GIT_REPOSITORY_OPEN_NO_SEARCH,
                nullptr);
  if (rc == GIT_ENOTFOUND) return cannot_fetch(url, "there is no Git repository");
  if (rc == GIT_EOWNER)
    return cannot_fetch(
        url,
        "it belongs to somebody else (git config --global --add safe.directory FOLDER allows it)");
  if (rc != 0) return library_error("cannot_fetch", "cannot fetch " + without_credentials(url));
  auto commit = resolve(repository.get(), ref, without_credentials(url));
  if (!commit) return commit.error();
  const char* work_tree = git_repository_workdir(repository.get());
  std::string root = work_tree ? work_tree : git_repository_path(repository.get());
  while (root.size() > 1 && root.back() == '/') root.pop_back();
  auto impl = load(repository.get(), url, *commit, root);
  if (!impl) return impl.error();
  return Snapshot(std::move(*impl));
}

Result<Oid> resolve_fetched(git_repository* repository, const std::string& url,
                            const std::string& ref) {
  std::string shown = without_credentials(url);
  if (ref == "HEAD") {
    git_oid id;
    if (git_reference_name_to_id(&id, repository, remote_head) == 0) return from_git(id);
    return base::error("no_commit", "repository " + shown + " has no commit yet");
  }
  auto commit = resolve(repository, ref, shown);
  // The cache's own HEAD is never born; that says nothing about the remote repository.
  if (!commit && commit.error().code() == "no_commit")
    return base::error("bad_ref",
                       "'" + base::to_utf8(ref) + "' names no commit in repository " + shown);
  return commit;
}

}  // namespace

std::string without_credentials(const std::string& url) {
  auto scheme = url.find("://");
  if (scheme == std::string::npos) return base::to_utf8(url);
  auto host = scheme + 3;
  auto at = url.substr(0, url.find('/', host)).rfind('@');
  return base::to_utf8(
      at == std::string::npos || at < host ? url : url.substr(0, host) + url.substr(at + 1));
}

Result<Snapshot> fetch_remote(const std::string& url, const std::string& ref,
                              const std::string& cache) {
  start_library();
  SPELL_TRY(base::make_folders(cache));
  std::string path = cache + "/" + base::hex(base::sha256(url)).substr(0, 32) + ".git";
  auto lock = base::open(path + ".lock", O_RDWR | O_CREAT);
  if (!lock) return lock.error();
  while (::flock(lock->get(), LOCK_EX) != 0)
    if (errno != EINTR) return base::errno_error("lock " + path);

  RepositoryPtr repository;
  git_repository_init_options init = GIT_REPOSITORY_INIT_OPTIONS_INIT;
  init.flags = GIT_REPOSITORY_INIT_BARE | GIT_REPOSITORY_INIT_MKPATH;
  if (make(repository, git_repository_init_ext, path.c_str(), &init) != 0)
    return library_error("io_error", "cannot make " + path);
  git_remote_create_options create = GIT_REMOTE_CREATE_OPTIONS_INIT;
  create.repository = repository.get();
  create.flags = GIT_REMOTE_CREATE_SKIP_INSTEADOF | GIT_REMOTE_CREATE_SKIP_DEFAULT_FETCHSPEC;
  RemotePtr remote;
  if (make(remote, git_remote_create_with_opts, url.c_str(), &create) != 0)
    return library_error("cannot_fetch", "cannot fetch " + without_credentials(url));
  std::string head = std::string("+HEAD:") + remote_head;
  char branches[] = "+refs/heads/*:refs/heads/*", tags[] = "+refs/tags/*:refs/tags/*";
  char* specs[] = {head.data(), branches, tags};
  git_strarray refspecs{specs, 3};
  git_fetch_options options = GIT_FETCH_OPTIONS_INIT;
  options.prune = GIT_FETCH_PRUNE;
  options.update_fetchhead = 0;
  options.download_tags = GIT_REMOTE_DOWNLOAD_TAGS_NONE;
  options.proxy_opts.type = GIT_PROXY_AUTO;
  if (git_remote_fetch(remote.get(), &refspecs, &options, nullptr) != 0) {
    const git_error* last = git_error_last();
    std::string why = last ? last->message : "unknown error";
    // The library may quote the address it was given.
    for (std::size_t at;
         (at = why.find(url)) != std::string::npos && url != without_credentials(url);)
      why.replace(at, url.size(), without_credentials(url));
    return cannot_fetch(url, base::to_utf8(why));
  }
  auto commit = resolve_fetched(repository.get(), url, ref);
  if (!commit) return commit.error();
  auto impl = load(repository.get(), url, *commit, "");
  if (!impl) return impl.error();
  return Snapshot(std::move(*impl));
}

Result<Snapshot> fetch_url(const std::string& url, const std::string& ref,
                           const std::string& cache) {
  start_library();
  if (url.starts_with("file://")) {
    auto path = url.find('/', 7);
    std::string host = url.substr(7, path == std::string::npos ? path : path - 7);
    if (path == std::string::npos || (!host.empty() && host != "localhost"))
      return cannot_fetch(url, "a file URL looks like file:///folder");
    return open_local(url, percent_decoded(std::string_view(url).substr(path)), ref);
  }
  if (url.starts_with("https://")) return fetch_remote(url, ref, cache);
  if (url.empty() || url.find("://") != std::string::npos || url.find('\0') != std::string::npos)
    return cannot_fetch(url, "only https:// and file:// URLs and local paths are understood");
  return open_local(url, url, ref);
}

}  // namespace spell::git
