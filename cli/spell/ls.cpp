#include "command.hpp"
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

}  // namespace

Result<int> ls_command(Context& context) {
  Options options("ls", "[OPTIONS] [PATH]",
                  "Lists what is kept: the outputs of a run are in runs/ID, uploads in "
                  "uploads/NAME.");
  Words path;
  bool human = false;
  options.words(path, "a path", 0, 1)
      .flag("-h,--human-readable", human, "sizes as 1.5 MiB")
      .notes(
          "Examples:\n  spell ls runs/7\n  spell ls -h runs/7/checkpoints\n  spell ls uploads\n");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  View view(context.out, human);
  for (auto& entry : client->resources().entries(path.empty() ? "" : path[0])) {
    if (!entry) return entry.error();
    view.add(*entry);
  }
  view.finish();
  return 0;
}

}  // namespace spell::cli
