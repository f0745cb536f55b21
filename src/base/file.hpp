// Files and folders: whole reads, durable replacement, removal that follows no link.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "spell/result.hpp"

namespace spell::base {

/// The whole file; error `too_large` beyond `limit` bytes.
Result<std::string> read_file(const std::string& path, std::int64_t limit = 64 << 20);
/// Replaces `path` by way of a temporary file beside it; with `durable` file and folder are synced
/// before the return.
Result<> write_file(const std::string& path, std::string_view bytes, unsigned mode = 0600,
                    bool durable = true);
/// fsync of a folder: makes names in it durable.
Result<> sync_folder(const std::string& path);
/// mkdir -p; `mode` for the folders it makes.
Result<> make_folders(const std::string& path, unsigned mode = 0700);
/// Removes a file or a folder with all below. Follows no link, leaves other file systems alone.
/// Fine if it is not there.
Result<> remove_tree(const std::string& path);
/// Free bytes for this user on the file system of `path`; -1 if unknown.
std::int64_t free_bytes(const std::string& path);
/// Bytes that the file system of `path` has in all; 0 if unknown.
std::int64_t disk_size(const std::string& path);
bool exists(const std::string& path);
/// True for NFS, CIFS, FUSE and the like, where locks and sockets are not to be trusted.
bool is_network_file_system(const std::string& path);

}  // namespace spell::base
