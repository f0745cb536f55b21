#include "command.hpp"
#include "json_text.hpp"
#include "text.hpp"

namespace spell::cli {

Result<int> ls_command(Context& context) {
  Options options("ls", "[OPTIONS] [PATH]",
                  "Lists what is kept: the outputs of a run are in runs/ID.");
  Words path;
  bool human = false;
  options.words(path, "a path", 0, 1)
      .flag("-h,--human-readable", human, "sizes as 1.5 MiB")
      .notes("Examples:\n  spell ls runs/7\n  spell ls -h runs/7/checkpoints\n");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto entries = client->resources().list(path.empty() ? "" : path[0]);
  if (!entries) return entries.error();
  if (context.out.json()) {
    context.out.json_line(json_text("entries", *entries));
    return 0;
  }
  Table table;
  table.right = {0};
  table.key = 2;
  for (const auto& entry : *entries) {
    bool folder = entry.type == EntryType::folder;
    std::string size = folder ? "-" : human ? format_size(entry.size) : std::to_string(entry.size);
    std::string name = entry.path + (folder ? "/" : "");
    if (entry.type == EntryType::link) name += " -> " + entry.link_target;
    table.rows.push_back(
        {{size}, {entry.modified_at ? format_time(*entry.modified_at) : ""}, {name}});
  }
  context.out.table(table);
  return 0;
}

}  // namespace spell::cli
