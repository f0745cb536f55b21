#include "command.hpp"
#include "json_text.hpp"
#include "text.hpp"

namespace spell::cli {

Result<int> repos_command(Context& context) {
  Options options("repos", "[OPTIONS]", "Lists the repositories that runs came from.");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto repositories = client->repositories();
  if (!repositories) return repositories.error();
  if (context.out.json()) {
    context.out.json_line(json_text("repositories", *repositories));
    return 0;
  }
  Table table;
  table.header = {"REPOSITORY", "WORKSPACE", "RUNS", "SIZE", "LAST USED"};
  table.right = {2, 3};
  for (const auto& repository : *repositories)
    table.rows.push_back({{repository.name},
                          {repository.workspace.substr(0, 12)},
                          {std::to_string(repository.runs)},
                          {format_size(repository.bytes)},
                          {format_time(repository.last_used_at)}});
  context.out.table(table);
  return 0;
}

}  // namespace spell::cli
