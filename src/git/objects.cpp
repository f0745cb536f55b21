#include "git/objects.hpp"

#include <fcntl.h>
#include <openssl/evp.h>

#include <algorithm>

#include "base/fd.hpp"

namespace spell::git {

namespace {

class Sha1 {
 public:
  Sha1() : context_(EVP_MD_CTX_new()) { EVP_DigestInit_ex2(context_.get(), EVP_sha1(), nullptr); }
  void update(std::string_view bytes) {
    EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size());
  }
  Oid finish() {
    Oid id;
    unsigned size = 0;
    EVP_DigestFinal_ex(context_.get(), id.data(), &size);
    return id;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, Freer<EVP_MD_CTX_free>> context_;
};

std::string header(git_object_t type, std::size_t size) {
  std::string text = git_object_type2string(type);
  text += ' ' + std::to_string(size);
  text += '\0';
  return text;
}

}  // namespace

Oid hash_object(std::string_view bytes, git_object_t type) {
  Sha1 hash;
  hash.update(header(type, bytes.size()));
  hash.update(bytes);
  return hash.finish();
}

Result<Oid> hash_file(int fd, std::int64_t size, const std::string& shown) {
  Sha1 hash;
  hash.update(header(GIT_OBJECT_BLOB, static_cast<std::size_t>(size)));
  std::string buffer(static_cast<std::size_t>(std::clamp<std::int64_t>(size, 1, 1 << 20)), '\0');
  for (std::int64_t at = 0; at < size;) {
    auto want = static_cast<std::size_t>(
        std::min<std::int64_t>(size - at, static_cast<std::int64_t>(buffer.size())));
    auto got = base::pread_full(fd, buffer.data(), want, at);
    if (!got) return base::error(got.error().code(), shown + ": " + got.error().message());
    if (*got < want)
      return base::error("file_changed", shown + " became shorter while it was read: try again");
    hash.update({buffer.data(), want});
    at += static_cast<std::int64_t>(want);
  }
  return hash.finish();
}

Oid NewObjects::add(std::string bytes, git_object_t type) {
  Oid id = hash_object(bytes, type);
  auto size = static_cast<std::int64_t>(bytes.size());
  items_.try_emplace(id, Item{type, std::move(bytes), {}, size});
  return id;
}

void NewObjects::add_file(const Oid& id, std::string path, std::int64_t size) {
  items_.try_emplace(id, Item{GIT_OBJECT_BLOB, {}, std::move(path), size});
}

std::vector<Oid> NewObjects::blobs() const {
  std::vector<Oid> ids;
  for (auto& [id, item] : items_)
    if (item.type == GIT_OBJECT_BLOB) ids.push_back(id);
  return ids;
}

/// The C interface in front of items_.
struct NewObjects::Backend : git_odb_backend {
  explicit Backend(const NewObjects& objects) : git_odb_backend{}, objects_(objects) {
    git_odb_init_backend(this, GIT_ODB_BACKEND_VERSION);
    git_odb_backend::read = &Backend::read_item;
    git_odb_backend::read_header = &Backend::read_item_header;
    git_odb_backend::exists = &Backend::has_item;
    git_odb_backend::free = [](git_odb_backend* self) { delete static_cast<Backend*>(self); };
  }

 private:
  static const Item* find(git_odb_backend* self, const git_oid* id) {
    auto& items = static_cast<Backend*>(self)->objects_.items_;
    auto at = items.find(from_git(*id));
    return at == items.end() ? nullptr : &at->second;
  }
  static int has_item(git_odb_backend* self, const git_oid* id) { return find(self, id) ? 1 : 0; }
  static int read_item_header(std::size_t* size, git_object_t* type, git_odb_backend* self,
                              const git_oid* id) {
    const Item* item = find(self, id);
    if (!item) return GIT_ENOTFOUND;
    *size = static_cast<std::size_t>(item->size);
    *type = item->type;
    return 0;
  }
  static int read_item(void** data, std::size_t* size, git_object_t* type, git_odb_backend* self,
                       const git_oid* id) {
    const Item* item = find(self, id);
    if (!item) return GIT_ENOTFOUND;
    read_item_header(size, type, self, id);
    *data =
        git_odb_backend_data_alloc(self, *size + 1);  // the library expects a NUL behind the bytes
    if (!*data) return GIT_ERROR;
    static_cast<char*>(*data)[*size] = '\0';
    if (item->path.empty()) {
      std::memcpy(*data, item->bytes.data(), *size);
      return 0;
    }
    auto file = base::open(item->path, O_RDONLY | O_NOFOLLOW);
    auto got =
        file ? base::pread_full(file->get(), *data, *size, 0) : Result<std::size_t>(file.error());
    if (got && *got == *size &&
        hash_object({static_cast<const char*>(*data), *size}, GIT_OBJECT_BLOB) == from_git(*id))
      return 0;
    git_odb_backend_data_free(self, *data);
    *data = nullptr;
    git_error_set_str(GIT_ERROR_ODB,
                      (item->path + " was changed while it was being sent: try again").c_str());
    return GIT_ERROR;
  }

  const NewObjects& objects_;
};

Result<OdbPtr> NewObjects::open_over(const std::string& objects_folder) {
  start_library();
  OdbPtr odb;
  if (make(odb, git_odb_new) != 0)
    return library_error("io_error", "cannot make an object database");
  auto backend = std::make_unique<Backend>(*this);
  if (git_odb_add_backend(odb.get(), backend.get(), 1000) != 0)
    return library_error("io_error", "cannot make an object database");
  backend.release();
  if (git_odb_add_disk_alternate(odb.get(), objects_folder.c_str()) != 0)
    return library_error("io_error", "cannot open the objects in " + objects_folder);
  return odb;
}

}  // namespace spell::git
