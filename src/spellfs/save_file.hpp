// One file, read and cut into the events of a save. Small and middling files are read by the crew
// of the pipeline, each hashed by the thread that has just read it, while its bytes are in that
// core's cache; large ones by the walker, and hashed by all. Private to this module.
#pragma once
#include <sys/stat.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "spellfs/save_pipeline.hpp"

namespace spell::spellfs {

std::int64_t mtime_of(const struct stat&);
std::int64_t ctime_of(const struct stat&);
Entry entry_of(const std::string& name, EntryType type, const struct stat&);
/// Without waiting, and without following a link.
base::Fd open_in(int folder, const std::string& name, int flags);
/// "path: why", of what is not saved.
Skip skip(const std::string& path, const std::string& why);

/// Takes the events; false: there is no use in going on.
using Sink = std::function<bool(Event)>;

/// Files up to this size are read by the crew.
inline constexpr std::int64_t crew_file = 2 << 20;

/// Reads the file and ends it with Done, or with Skip. One that changes meanwhile is read again
/// twice. False if the sink has returned false.
bool save_file(int folder, const std::string& name, const std::string& path, Blocks& blocks,
               SaveProgress& progress, const Sink& sink);

/// Reads what is open, up to the size that `st` says, once, and ends it with Done. Errors: those of
/// reading, `canceled` if the sink has returned false.
Result<> read_open_file(int fd, const struct stat& st, Blocks& blocks, SaveProgress& progress,
                        const Sink& sink);

}  // namespace spell::spellfs
