#include <map>

#include "arguments.hpp"
#include "command.hpp"
#include "exit_status.hpp"
#include "interrupt.hpp"
#include "json_text.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

/// Entries as they come: the first lines are there before the last ones have been asked for, and
/// memory does not grow with the folder.
class View {
 public:
  View(Output& out, bool human) : out_(out), human_(human) {}

  void add(const ResourceInfo& entry) {
    if (out_.json()) return add_json(entry);
    rows_.push_back(row_of(entry));
    if (rows_.size() >= batch_) flush();
  }
  /// What is there by now; more comes.
  void pause() { flush(); }
  void finish() {
    if (!out_.json()) return flush();
    if (out_.terminal().out)
      return out_.json_line(text_.empty() ? R"({"entries":[]})" : text_ + "]}");
    out_.write((any_ ? text_ : R"({"entries":[)") + "]}\n");
  }

 private:
  struct Row {
    std::string size, time, name;
  };
  Row row_of(const ResourceInfo& entry) const {
    bool folder = entry.type == EntryType::folder;
    std::string name = entry.path + (folder ? "/" : "");
    if (entry.type == EntryType::link) name += " -> " + entry.link_target;
    if (out_.quiet()) return {{}, {}, out_.shown(name)};
    std::string size = folder ? "-" : human_ ? format_size(entry.size) : std::to_string(entry.size);
    return {size, format_time(entry.modified_at), out_.shown(name)};
  }

  void flush() {
    for (const auto& row : rows_) width_ = std::max(width_, row.size.size());
    constexpr std::size_t time_width = 19;
    std::string text;
    for (const auto& row : rows_) {
      if (!out_.quiet())
        text += std::string(width_ - row.size.size(), ' ') + row.size + "  " + row.time +
                std::string(time_width - std::min(time_width, row.time.size()), ' ') + "  ";
      text += row.name + "\n";
    }
    out_.write(text);
    rows_.clear();
    batch_ = 5000;
  }

  void add_json(const ResourceInfo& entry) {
    text_ += (any_ ? "," : R"({"entries":[)") + json_element(entry);
    any_ = true;
    constexpr std::size_t piece = 1 << 20;
    if (out_.terminal().out || text_.size() < piece) return;
    out_.write(text_);
    text_.clear();
  }

  Output& out_;
  bool human_, any_ = false;
  std::vector<Row> rows_;
  std::size_t batch_ = 500, width_ = 0;
  std::string text_;
};

/// "runs/7/checkpoints" -> 7, "runs/7+" -> 7 and its chain; none: no path of a run.
std::optional<std::int64_t> run_of(std::string_view path, bool& chain) {
  constexpr std::string_view runs = "runs/";
  if (!path.starts_with(runs)) return std::nullopt;
  path.remove_prefix(runs.size());
  path = path.substr(0, path.find('/'));
  chain = path.ends_with('+');
  if (chain) path.remove_suffix(1);
  auto number = parse_int(path);
  return number && *number > 0 ? number : std::nullopt;
}

/// What is safe, and what becomes so until the run has ended: each entry when it is new, or another
/// than it was.
Result<int> follow_listing(Context& context, const Client& client, const std::string& path,
                           bool human) {
  bool chain = false;
  auto number = run_of(path, chain);
  if (!number)
    return usage_error("only what a run saves can be followed: spell ls -f runs/ID, not '" + path +
                       "'");
  auto run = client.runs().get(*number);
  if (!run) return run.error();
  auto info = run->info();
  if (!info) return info.error();
  Interrupt interrupt;
  CallOptions call{.timeout = {}, .stop = interrupt.token()};
  View view(context.out, human);
  std::map<std::string, std::pair<std::string, std::int64_t>> shown;
  for (;;) {
    bool goes_on = !info->status.is_final();
    for (auto& entry : client.resources().entries(path, call)) {
      if (!entry && goes_on && entry.error().code() == "resource_not_found") break;
      if (!entry) return interrupt.happened() ? Result<int>(interrupted_status) : entry.error();
      auto& before = shown[entry->path];
      std::pair now{entry->node + entry->link_target, entry->size};
      if (before == now) continue;
      before = now;
      if (context.out.json())
        context.out.json_line(R"({"entry":)" + json_element(*entry) + "}");
      else
        view.add(*entry);
    }
    view.pause();
    if (!goes_on && chain && info->status == RunStatus("interrupted") && info->resumed_as_run) {
      run = client.runs().get(*info->resumed_as_run, call);
      if (!run) return run.error();
      info = run->info(call);
      if (!info) return interrupt.happened() ? Result<int>(interrupted_status) : info.error();
      continue;
    }
    if (!goes_on) return 0;
    auto outputs = info->outputs;
    while (info->outputs == outputs && !info->status.is_final()) {
      info = run->wait_change(*info, call);
      if (!info) return interrupt.happened() ? Result<int>(interrupted_status) : info.error();
    }
  }
}

}  // namespace

Result<int> ls_command(Context& context) {
  Options options("ls", "[OPTIONS] [PATH]",
                  "Lists what is kept: the outputs of a run are in runs/ID, uploads in "
                  "uploads/NAME.");
  Words path;
  bool human = false, follow_it = false;
  options.words(path, "a path", 0, 1)
      .flag("-f,--follow", follow_it, "of a run: go on with what becomes safe, until it ends or ^C")
      .flag("-h,--human-readable", human, "sizes as 1.5 MiB")
      .notes(
          "Examples:\n  spell ls runs/7\n  spell ls -h runs/7/checkpoints\n  spell ls runs/7+\n  "
          "spell ls uploads\n");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  if (follow_it) return follow_listing(context, *client, path.empty() ? "" : path[0], human);
  View view(context.out, human);
  for (auto& entry : client->resources().entries(path.empty() ? "" : path[0])) {
    if (!entry) return entry.error();
    view.add(*entry);
  }
  view.finish();
  return 0;
}

}  // namespace spell::cli
