#include "git/pack.hpp"

#include <git2/sys/config.h>
#include <git2/sys/repository.h>

#include "base/fd.hpp"

namespace spell::git {

namespace {

/// Settings for the pack builder: every object is too large for a delta. Nobody's own settings are
/// read. libgit2 (1.5 to 1.8) looks for core.bigFileThreshold under the name pack.deltaCacheSize,
/// so both are answered.
struct PackSettings : git_config_backend {
  PackSettings() : git_config_backend{} {
    git_config_init_backend(this, GIT_CONFIG_BACKEND_VERSION);
    readonly = 1;
    git_config_backend::open = [](git_config_backend*, git_config_level_t, const git_repository*) {
      return 0;
    };
    git_config_backend::get = [](git_config_backend*, const char* key, git_config_entry** entry) {
      for (const char* name : {"core.bigfilethreshold", "pack.deltacachesize"}) {
        if (std::string_view(key) != name) continue;
        *entry = new git_config_entry{
            name,   "1", 0, GIT_CONFIG_LEVEL_APP, [](git_config_entry* self) { delete self; },
            nullptr};
        return 0;
      }
      return static_cast<int>(GIT_ENOTFOUND);
    };
    git_config_backend::snapshot = [](git_config_backend** copy, git_config_backend*) {
      *copy = new PackSettings;
      return 0;
    };
    git_config_backend::free = [](git_config_backend* self) {
      delete static_cast<PackSettings*>(self);
    };
  }
};

Result<ConfigPtr> pack_settings() {
  ConfigPtr settings;
  auto backend = std::make_unique<PackSettings>();
  if (make(settings, git_config_new) != 0 ||
      git_config_add_backend(settings.get(), backend.get(), GIT_CONFIG_LEVEL_APP, nullptr, 0) != 0)
    return library_error("io_error", "cannot make a pack");
  backend.release();
  return settings;
}

struct Sink {
  int fd;
  git_packbuilder* builder;
  const std::function<void(std::int64_t, std::int64_t)>& progress;
  std::int64_t size = 0, done = 0;
  Result<> result = ok();
};

int take(void* buffer, std::size_t size, void* payload) {
  auto& sink = *static_cast<Sink*>(payload);
  sink.result = base::write_all(sink.fd, {static_cast<const char*>(buffer), size});
  sink.size += static_cast<std::int64_t>(size);
  auto done = static_cast<std::int64_t>(git_packbuilder_written(sink.builder));
  if (sink.progress && done != sink.done)
    sink.progress(done, static_cast<std::int64_t>(git_packbuilder_object_count(sink.builder)));
  sink.done = done;
  return sink.result ? 0 : GIT_EUSER;
}

}  // namespace

Result<std::int64_t> write_pack(git_odb* odb, const std::vector<Oid>& ids, int fd,
                                const std::function<void(std::int64_t, std::int64_t)>& progress) {
  RepositoryPtr repository;
  if (make(repository, git_repository_wrap_odb, odb) != 0)
    return library_error("io_error", "cannot make a pack");
  auto settings = pack_settings();
  if (!settings) return settings.error();
  PackBuilderPtr builder;
  if (git_repository_set_config(repository.get(), settings->get()) != 0 ||
      make(builder, git_packbuilder_new, repository.get()) != 0)
    return library_error("io_error", "cannot make a pack");
  git_packbuilder_set_threads(builder.get(), 1);
  for (auto& id : ids) {
    git_oid name = to_git(id);
    int rc = git_packbuilder_insert(builder.get(), &name, nullptr);
    if (rc == GIT_ENOTFOUND)
      return base::error("missing_object", "object " + base::hex(id) + " is missing");
    if (rc != 0) return library_error("io_error", "cannot make a pack");
  }
  Sink sink{fd, builder.get(), progress};
  int rc = git_packbuilder_foreach(builder.get(), take, &sink);
  if (!sink.result) return sink.result.error();
  if (rc != 0) return library_error("io_error", "cannot write a pack");
  return sink.size;
}

}  // namespace spell::git
