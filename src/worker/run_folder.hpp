// What the worker keeps on disk for a run, beside what the supervisor keeps there (see
// exec/supervised.hpp):
//
//   <worker folder>/runs/<id>/journal    see journal.hpp
//                             manifest   the files that the checkout made; there when it is
//                             complete bin/       `python`, where the machine has none
//                   runs/.parked/<id>-<epoch>   runs that the service does not want, for people to
//                   look at incoming/            packs on their way, and run folders that are
//                   coming or going: in runs/ they are
//                                        whole, whenever the worker is killed; and spare-N, empty
//                                        folders for the next runs
#pragma once
#include <atomic>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "git/store.hpp"
#include "spell/result.hpp"
#include "worker/journal.hpp"

namespace spell::worker {

class Folders {
 public:
  explicit Folders(std::string worker_folder) : folder_(std::move(worker_folder)) {}
  Result<> make() const;
  /// Removes what earlier workers had on its way, as make() found it. May take long.
  void clean() const;
  std::string run(const std::string& id) const { return folder_ + "/runs/" + id; }
  const std::string& top() const { return folder_; }

  /// The run's folder with a journal of these lines. Returns the journal, open for appending.
  Result<base::Fd> create(const std::string& id, const std::string& lines) const;
  /// The journal of a run that has a folder, open for appending.
  Result<base::Fd> journal(const std::string& id) const;
  /// All runs on disk. A folder without a journal that can be read is parked; `notes` gets a line
  /// for it.
  Result<std::vector<Journal>> read(std::vector<std::string>& notes) const;
  /// Empty spell/ and tmp/ in the run's folder, whatever was there.
  Result<> clear(const std::string& id) const;
  /// Keeps the folder of a run that left nothing for the next, by a few quick steps; false:
  /// remove() has to be called.
  bool reuse(const std::string& id) const;
  Result<> remove(const std::string& id) const;
  Result<> park(const std::string& id, std::int64_t epoch) const;
  /// A file without a name in incoming/.
  Result<base::Fd> temporary() const;

 private:
  bool take_spare(const std::string& path) const;
  bool keep_spare(const std::string& path) const;
  std::string spare(int place) const;
  std::string folder_;
  /// Places from here on are free, those before it taken, as far as is known.
  std::shared_ptr<std::atomic<int>> spares_ = std::make_shared<std::atomic<int>>(0);
};

Result<> write_manifest(const std::string& run_folder, const git::CheckoutManifest&);
/// Empty where there is none. Error `damaged`.
Result<git::CheckoutManifest> read_manifest(const std::string& run_folder);

}  // namespace spell::worker
