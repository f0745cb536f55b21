#include "command.hpp"
#include "json_text.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

Result<int> list_link(Context& context, const Resources& resources) {
  auto links = resources.links();
  if (!links) return links.error();
  if (context.out.json()) {
    context.out.json_line(json_text("links", *links));
    return 0;
  }
  Table table;
  table.header = {"ALIAS", "RESOURCE", "CREATED"};
  for (const auto& link : *links)
    table.rows.push_back({{link.alias}, {link.resource}, {format_time(link.created_at)}});
  context.out.table(table);
  return 0;
}

}  // namespace

Result<int> link_command(Context& context) {
  Options options("link", "[OPTIONS] [ALIAS [RESOURCE]]",
                  "Makes ALIAS stand for RESOURCE wherever one is named, shows what it stands for, "
                  "or lists all aliases.");
  Words words;
  options.words(words, "an ALIAS and a RESOURCE", 0, 2)
      .notes("Examples:\n  spell link best runs/7/checkpoints\n  spell ls best\n  spell link\n");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto resources = client->resources();
  if (words.empty()) return list_link(context, resources);
  auto link = words.size() == 1 ? resources.link(words[0]) : resources.set_link(words[0], words[1]);
  if (!link) return link.error();
  if (context.out.json())
    context.out.json_line(json_text("link", *link));
  else if (words.size() == 1)
    context.out.line(link->resource);
  else
    context.out.line(link->alias + " is " + link->resource);
  return 0;
}

Result<int> unlink_command(Context& context) {
  Options options("unlink", "[OPTIONS] ALIAS", "Removes an alias. What it stood for stays.");
  Words alias;
  options.words(alias, "an ALIAS", 1, 1);
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto removed = client->resources().remove_link(alias[0]);
  if (!removed) return removed.error();
  if (context.out.json())
    context.out.json_line(json_text("removed", alias[0]));
  else
    context.out.line(alias[0] + (context.out.quiet() ? "" : " is no alias any more"));
  return 0;
}

}  // namespace spell::cli
