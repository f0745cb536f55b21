#include "backup.hpp"

#include <sys/stat.h>

#include <filesystem>
#include <iostream>

#include "base/clock.hpp"
#include "base/count.hpp"
#include "base/error.hpp"
#include "base/spell_dir.hpp"
#include "base/text.hpp"
#include "service/backup.hpp"

namespace spell::daemon {

namespace {

using nlohmann::json;

/// The service's working folder is another.
std::string absolute(const std::string& path) {
  std::error_code problem;
  std::string full = std::filesystem::absolute(path, problem).lexically_normal();
  while (full.size() > 1 && full.ends_with('/')) full.pop_back();
  return full;
}

int fail_backup(const Error& error, bool as_json) {
  if (as_json)
    std::cerr << json{{"error", {{"code", error.code()}, {"message", error.message()}}}}.dump()
              << std::endl;
  else
    std::cerr << "spelld: " << error.message() << std::endl;
  return error.code() == "invalid_configuration" ? 3 : 1;
}

}  // namespace

int back_up(const BackupOptions& options) {
  ::umask(077);
  std::string folder = absolute(options.folder);
  auto done = carry_out(options.service, "backup", {{"folder", folder}},
                        [&](const FoundService& service) -> Result<json> {
                          auto made = service::back_up_at_rest(service.state, folder, service.owner,
                                                               base::unix_us());
                          if (!made) return made.error();
                          return json{{"backup", service::backup_json(*made)}};
                        });
  if (!done) return fail_backup(done.error(), options.json);
  if (options.json) {
    std::cout << done->dump() << std::endl;
    return 0;
  }
  auto& backup = (*done)["backup"];
  auto number = [&](const char* name) { return backup.value(name, std::int64_t{0}); };
  std::cout << "Backed up to " << folder << ": " << base::count(number("files"), "file") << ", "
            << base::format_size(number("bytes"))
            << "; new since the last time: " << base::count(number("new_files"), "file") << ", "
            << base::format_size(number("new_bytes"))
            << ". It holds the service's keys: keep it as safe as the service." << std::endl;
  return 0;
}

int restore(const RestoreOptions& options) {
  ::umask(077);
  std::string data = absolute(options.data);
  auto restored =
      service::restore(absolute(options.folder), data, options.skip_numbers, base::unix_us());
  if (!restored) return fail_backup(restored.error(), options.json);
  if (options.json) {
    std::cout << json{{"restored",
                       {{"data", data},
                        {"backup_time", base::rfc3339(restored->time_us)},
                        {"runs", restored->runs},
                        {"bytes", restored->bytes},
                        {"interrupted", restored->interrupted},
                        {"numbers_skipped", restored->numbers_skipped},
                        {"missing", restored->missing}}}}
                     .dump()
              << std::endl;
    return 0;
  }
  std::cout << "Restored the backup of " << base::rfc3339(restored->time_us) << " to " << data
            << ": " << base::count(restored->runs, "run") << ", "
            << base::format_size(restored->bytes) << "\nRun numbers go on "
            << restored->numbers_skipped
            << " above the last one that the backup knows, for it does not know those that were "
               "given since.\n";
  if (!restored->interrupted.empty())
    std::cout << "Interrupted, for what became of them is not known (spell rerun runs them again): "
              << base::join(restored->interrupted, ", ") << "\n";
  for (auto& line : restored->missing) std::cout << "missing: " << line << "\n";
  if (restored->missing.empty()) std::cout << "Nothing is missing: all was read and verified.\n";
  std::cout.flush();
  return 0;
}

}  // namespace spell::daemon
