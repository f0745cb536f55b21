#include "command.hpp"
#include "json_text.hpp"
#include "text.hpp"

namespace spell::cli {

Result<int> audit_command(Context& context) {
  Options options(
      "audit", "[OPTIONS]",
      "Shows who did what on the service, the newest last. For administrators. Who made "
      "which run the runs themselves say.");
  AuditFilter filter;
  std::optional<std::string> limit, user, action;
  options.value("-n,--limit", limit, "N", "the newest N (default 100)")
      .value("-u,--user", user, "NAME", "of this user")
      .value("-a,--action", action, "ACTION", "of this kind: user.add, or user for all of users");
  if (auto done = context.parse(options)) return *done;
  if (limit) {
    auto number = parse_int(*limit);
    if (!number || *number < 1 || *number > 1'000'000)
      return usage_error("--limit is a number from 1 on, not " + shell_quote(*limit));
    filter.limit = static_cast<int>(*number);
  }
  filter.user = user.value_or("");
  filter.action = action.value_or("");
  auto client = context.client();
  if (!client) return client.error();
  auto entries = client->audit(filter);
  if (!entries) return entries.error();
  if (context.out.json()) return context.out.json_line(json_text("audit", *entries)), 0;
  Table table;
  table.header = {"TIME", "USER", "ACTION", "THING", "DETAIL"};
  table.flexible = 4;
  for (const auto& entry : *entries)
    table.rows.push_back(
        {{format_time(entry.time)}, {entry.user}, {entry.action}, {entry.thing}, {entry.detail}});
  context.out.table(table);
  return 0;
}

}  // namespace spell::cli
