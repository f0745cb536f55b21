// The submission of a run as it is on the wire.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "spell/result.hpp"
#include "spell/run.hpp"

namespace spell::model {

using nlohmann::json;

struct CodeRef {
  std::string workspace{}, commit{}, base_commit{}, repository{}, message{}, github_url{};
  /// Instead of all of these: the commit that the run's workflow has under this label.
  std::string label{};
};

/// Body of POST …/runs; kept with the run, so that its record is enough to run it again.
struct RunRequest {
  std::string command{}, machine_type{}, description{}, project{}, folder{}, virtual_env{};
  std::map<std::string, std::string> env{};
  std::vector<std::string> labels{};
  std::vector<std::int64_t> after{};
  std::optional<std::int64_t> timeout{};  ///< seconds
  std::int64_t stop_grace = 30, log_limit = 10LL << 30;
  bool split_output = false, save_all = false, idempotent = false;
  std::optional<CodeRef> code{};
  std::vector<Mount> mounts{};
  /// Variable -> name of a secret of the run's creator; its value is never part of a record.
  std::map<std::string, std::string> secrets{};
  /// How much of the machine; 0 and none: what its type gives.
  std::int64_t cpus = 0, memory = 0;
  std::optional<std::int64_t> gpus{};
  std::string gpu_name{};     ///< part of the name of the GPUs, in any case; "": any
  std::int64_t workflow = 0;  ///< the run is one of this workflow; 0: of none
  /// Its program is built first, from what it mounts at build_source: the target's name, "": the
  /// only program. Said by the service alone, of a run that manages a workflow.
  std::optional<std::string> build{};
  /// Name -> what stands in the command where its `:NAME:` stood.
  std::map<std::string, std::string> params{};
  /// Whether it goes on as another run when it is interrupted; none: as its machine type says.
  std::optional<bool> auto_resume{};
  bool exclusive = false;             ///< its machine ends it when the service counts it as lost
  std::string notice_signal{};        ///< a name of notice_signals(), or "": none
  std::vector<std::string> append{};  ///< patterns of files that are saved while they grow
  std::optional<Dollars> max_cost{};  ///< its command is stopped in time for about that
  /// What its environment is built of; see environment.hpp.
  std::vector<std::string> pip{};
  std::string requirements{};  ///< a file of the commit, relative to `folder`
  std::string setup{};
  bool refresh_environment = false;
  /// Said by the service alone: what stands in `requirements`, and what an earlier run of the same
  /// had been given, which this one is given, too (`pinned`: of pip).
  std::string requirements_text{};
  std::vector<std::string> pinned{};
  std::vector<std::string> apt{}, pinned_apt{};
  std::string priority{};    ///< a name of priorities(), or "": its workflow's, else normal
  std::string image{};       ///< what it runs in, see image.hpp; "": the machine's own system
  std::string conda_file{};  ///< a file of the commit, relative to `folder`
  /// Said by the service alone, as those above.
  std::string conda_text{};
  std::vector<std::string> pinned_image{}, pinned_conda{};
  bool has_environment() const {
    return !pip.empty() || !setup.empty() || !requirements.empty() || !apt.empty() ||
           !image.empty() || !conda_file.empty();
  }
  bool has_pins() const {
    return !requirements_text.empty() || !pinned.empty() || !pinned_apt.empty() ||
           !conda_text.empty() || !pinned_image.empty() || !pinned_conda.empty();
  }
};

/// What a run may ask for when its machine is about to go: "HUP", "INT", "TERM", "USR1", "USR2".
std::span<const std::string_view> notice_signals();

/// Where runs wait for the same machines: "low", "normal", "high", the last one first.
std::span<const std::string_view> priorities();

json to_json(const RunRequest&);
/// Checks types, ranges, UTF-8, NULs, unknown fields. Errors: `invalid_request`, naming the field.
/// Labels and `after` lose what stands there twice.
Result<RunRequest> parse_run_request(const json&);
/// Puts the parameters of a submission into its command. Error `invalid_request`: it has no place
/// for one of them, or becomes empty or too long.
Result<> fill_params(RunRequest&);
/// Parses a body: depth at most 32, no member twice. Errors `invalid_json` with the place,
/// `too_large` beyond `limit` bytes. Answers may be longer than requests: a client gives its own
/// limit.
Result<json> parse_json(std::string_view body, std::size_t limit = 1 << 20);
/// Hex SHA-256 of the request's canonical form (without `idempotent`): what makes two submissions
/// "the same". Members that have their default are not part of it, so that a later member leaves
/// older hashes as they are.
std::string request_hash(const RunRequest&);

/// A run's spec as the API's JSON and back (times RFC 3339); also see spell/json.hpp.
json to_json(const RunInfo&);
Result<RunInfo> parse_run_info(const json&);

}  // namespace spell::model
