#include <set>

#include "command.hpp"
#include "json_text.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

/// A size as "10G", or "none".
Result<std::optional<std::int64_t>> limit_of(const std::string& option,
                                             const std::optional<std::string>& given, bool bytes) {
  if (!given || *given == "none") return std::optional<std::int64_t>();
  auto value = bytes ? parse_size(*given) : parse_int(*given);
  if (!value || *value < 0)
    return usage_error(option + " " + shell_quote(*given) + ": give " +
                       (bytes ? "a size, such as 500M or 10G" : "a number") + ", or none");
  return value;
}

std::string shown_quota(const std::optional<std::int64_t>& limit, bool bytes) {
  return !limit ? "-" : bytes ? format_size(*limit) : std::to_string(*limit);
}

/// ", V100x8 1": of machine types.
std::string types(const QuotaInfo& quota) {
  std::string out;
  for (const auto& [type, limit] : quota.runs_of) out += ", " + type + " " + std::to_string(limit);
  return out;
}

Result<int> list_quota(Context& context) {
  Options options("quota list", "[OPTIONS]", "Lists what users may use at most, and do use.");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto quotas = client->quotas().list();
  if (!quotas) return quotas.error();
  if (context.out.json()) {
    context.out.json_line(json_text("quotas", *quotas));
    return 0;
  }
  Table table;
  table.header = {"USER", "RUNS", "AT MOST", "KEPT", "AT MOST", "LOG OF A RUN"};
  for (const auto& quota : *quotas) {
    bool all = quota.user == "*";
    table.rows.push_back({{quota.user},
                          {all ? "" : std::to_string(quota.running)},
                          {shown_quota(quota.runs, false) + types(quota)},
                          {all ? "" : format_size(quota.stored_bytes)},
                          {shown_quota(quota.bytes, true)},
                          {shown_quota(quota.log_bytes, true)}});
  }
  context.out.table(table);
  return 0;
}

Result<int> store(Context& context, const std::string& user, const QuotaLimits& limits) {
  auto client = context.client();
  if (!client) return client.error();
  auto quota = client->quotas().set(user, limits);
  if (!quota) return quota.error();
  if (context.out.json())
    context.out.json_line(json_text("quota", *quota));
  else
    context.out.line(context.out.quiet()
                         ? quota->user
                         : (quota->user == "*" ? "everybody" : quota->user) + ": runs at once " +
                               shown_quota(quota->runs, false) + types(*quota) + ", kept " +
                               shown_quota(quota->bytes, true) + ", log of a run " +
                               shown_quota(quota->log_bytes, true));
  return 0;
}

Result<int> set_quota(Context& context) {
  Options options("quota set", "[OPTIONS] USER",
                  "Says what a user may use at most; USER '*' is everybody who has no quota of his "
                  "own. What is not given keeps its limit; none takes it away.");
  Words user;
  Words runs_of;
  std::optional<std::string> runs, bytes, log_bytes;
  options.words(user, "a USER", 1, 1)
      .value("--runs", runs, "N", "runs that have a machine at the same time; more wait")
      .list("--runs-of", runs_of, "TYPE=N", "the same of those that ask for this machine type")
      .value("--bytes", bytes, "SIZE",
             "of outputs, logs and uploads; who keeps more makes no new runs")
      .value("--log-bytes", log_bytes, "SIZE", "of each run's log (as --log-limit)")
      .notes(
          "Examples:\n  spell quota set ada --runs 4 --bytes 500G\n  spell quota set '*' --runs "
          "8 --runs-of V100x8=1\n");
  if (auto done = context.parse(options)) return *done;
  if (!runs && runs_of.empty() && !bytes && !log_bytes)
    return usage_error(
        "give --runs, --runs-of, --bytes or --log-bytes (see spell quota set "
        "--help)");
  auto max_runs = limit_of("--runs", runs, false);
  if (!max_runs) return max_runs.error();
  auto max_bytes = limit_of("--bytes", bytes, true);
  if (!max_bytes) return max_bytes.error();
  auto max_log = limit_of("--log-bytes", log_bytes, true);
  if (!max_log) return max_log.error();
  auto client = context.client();
  if (!client) return client.error();
  auto quotas = client->quotas().list();
  if (!quotas) return quotas.error();
  QuotaLimits limits;
  for (const auto& quota : *quotas)
    if (quota.user == user[0]) limits = {quota.runs, quota.bytes, quota.log_bytes, quota.runs_of};
  for (const auto& text : runs_of) {
    auto cut = text.find('=');
    if (cut == 0 || cut == text.npos)
      return usage_error("--runs-of " + shell_quote(text) +
                         ": give TYPE=N, such as V100=2, or "
                         "TYPE=none");
    auto limit = limit_of("--runs-of", text.substr(cut + 1), false);
    if (!limit) return limit.error();
    auto type = lower(text.substr(0, cut));
    if (*limit)
      limits.runs_of[type] = **limit;
    else
      limits.runs_of.erase(type);
  }
  if (runs) limits.runs = *max_runs;
  if (bytes) limits.bytes = *max_bytes;
  if (log_bytes) limits.log_bytes = *max_log;
  auto stored = store(context, user[0], limits);
  if (!stored || runs_of.empty()) return stored;
  auto types = client->machine_types().list();
  auto machines = client->machines().list();
  if (!types || !machines) return stored;
  std::set<std::string> known{"cpu"};
  for (const auto& type : *types) known.insert(lower(type.name));
  for (const auto& machine : *machines) known.insert(lower(machine.name));
  for (const auto& [type, limit] : limits.runs_of)
    if (!known.contains(type))
      context.out.warn("there is no machine type " + type +
                       " yet: the limit counts once there is one");
  return stored;
}

Result<int> remove_quota(Context& context) {
  Options options("quota rm", "[OPTIONS] USER", "Takes a user's quota away, or everybody's ('*').");
  Words user;
  options.words(user, "a USER", 1, 1);
  if (auto done = context.parse(options)) return *done;
  return store(context, user[0], {});
}

constexpr CommandRow quota_commands[] = {
    {"set", "say what a user may use", set_quota},
    {"list", "list what users may and do use", list_quota},
    {"rm", "take a user's quota away", remove_quota},
};

}  // namespace

Result<int> quota_command(Context& context) {
  return run_subcommand(context, "quota", "What users may use of a service at most.",
                        quota_commands);
}

}  // namespace spell::cli
