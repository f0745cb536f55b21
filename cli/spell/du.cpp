#include "command.hpp"
#include "exit_status.hpp"
#include "json_text.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

void show_usage(Output& out, const std::vector<UsageInfo>& all, bool human) {
  auto size = [&](std::int64_t bytes) {
    return human ? format_size(bytes) : std::to_string(bytes);
  };
  Table table;
  table.header = {"SIZE", "STORED", "FILES", "NAME"};
  table.right = {0, 1, 2};
  table.key = 3;
  for (const auto& usage : all)
    table.rows.push_back({{size(usage.bytes)},
                          {size(usage.stored_bytes)},
                          {std::to_string(usage.files)},
                          {usage.name}});
  out.table(table);
}

}  // namespace

Result<int> du_command(Context& context) {
  Options options("du", "[OPTIONS] [RESOURCE]...",
                  "Says how much room resources take: SIZE of their files, STORED on the "
                  "service's disk, compressed and\nwith what is there twice counted once.");
  Words paths;
  std::optional<std::string> by;
  bool human = false;
  options.words(paths, "a RESOURCE", 0)
      .value("--by", by, "run|kind", "all there is, by run or by kind (default without RESOURCE)")
      .flag("-h,--human-readable", human, "sizes as 1.5 MiB")
      .notes("Examples:\n  spell du -h\n  spell du runs/7 uploads/data\n  spell du --by run\n");
  if (auto done = context.parse(options)) return *done;
  if (by && !paths.empty()) return usage_error("--by is about all there is; name no RESOURCE");
  if (by && *by != "run" && *by != "kind")
    return usage_error("--by is run or kind, not " + shell_quote(*by));
  auto client = context.client();
  if (!client) return client.error();
  if (paths.empty()) {
    auto all = client->resources().usage_by(by.value_or("kind"));
    if (!all) return all.error();
    if (context.out.json())
      context.out.json_line(json_text("usage", *all));
    else
      show_usage(context.out, *all, human);
    return 0;
  }
  int status = 0;
  std::vector<UsageInfo> found;
  for (const auto& path : paths) {
    auto usage = client->resources().usage(path);
    if (!usage) {
      context.out.error(usage.error());
      if (status == 0) status = exit_status(usage.error());
    } else if (context.out.json()) {
      context.out.json_line(json_usage(*usage));
    } else {
      found.push_back(std::move(*usage));
    }
  }
  if (!found.empty()) show_usage(context.out, found, human);
  return status;
}

}  // namespace spell::cli
