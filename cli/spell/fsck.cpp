#include "command.hpp"
#include "json_text.hpp"
#include "text.hpp"

namespace spell::cli {

Result<int> fsck_command(Context& context) {
  Options options("fsck", "[OPTIONS]",
                  "Reads and verifies everything that the service stores: outputs, uploads, code, "
                  "logs, its database.\nNames what is damaged and the runs and uploads it hurts; "
                  "exits with 1 if there is any.");
  options.notes("Where no service can run any more: spelld fsck.\n");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto check = client->resources().check();
  if (!check) return check.error();
  bool sound = check->damaged.empty() && check->hurt.empty();
  if (context.out.json()) {
    context.out.json_line(json_text("check", *check));
    return sound ? 0 : 1;
  }
  for (const auto& line : check->damaged) context.out.line("damaged: " + line);
  for (const auto& line : check->hurt) context.out.line("hurt: " + line);
  context.out.line(count(check->packs, "pack") + ", " + count(check->objects, "object") + ", " +
                   format_size(check->bytes) +
                   " read: " + (sound ? "all is as it was written" : "something is damaged"));
  return sound ? 0 : 1;
}

}  // namespace spell::cli
