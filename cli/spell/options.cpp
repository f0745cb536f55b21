#include "options.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>

#include "text.hpp"
#include "unavailable.hpp"

namespace spell::cli {

namespace {

/// "-0.5" is a word: no option begins with a digit.
bool is_negative_number(std::string_view word) {
  return word.size() > 1 && (word[1] == '.' || (word[1] >= '0' && word[1] <= '9'));
}

}  // namespace

Options::Options(std::string command, std::string usage, std::string summary)
    : command_(std::move(command)), usage_(std::move(usage)), summary_(std::move(summary)) {}

Options& Options::flag(std::string names, bool& target, std::string help) {
  entries_.push_back(
      {.names = std::move(names), .help = std::move(help), .flag = &target, .listed = listed_});
  return *this;
}

Options& Options::value(std::string names, std::optional<std::string>& target,
                        std::string placeholder, std::string help) {
  entries_.push_back({.names = std::move(names),
                      .placeholder = std::move(placeholder),
                      .help = std::move(help),
                      .value = &target,
                      .listed = listed_});
  return *this;
}

Options& Options::list(std::string names, Words& target, std::string placeholder,
                       std::string help) {
  entries_.push_back({.names = std::move(names),
                      .placeholder = std::move(placeholder),
                      .help = std::move(help),
                      .list = &target,
                      .listed = listed_});
  return *this;
}

Options& Options::words(Words& target, std::string name, std::size_t least, std::size_t most) {
  words_ = &target;
  words_name_ = std::move(name);
  least_words_ = least;
  most_words_ = most;
  return *this;
}

Options& Options::command(Words& target) {
  is_command_ = true;
  return words(target, "COMMAND", 0);
}

Options& Options::listed(bool on) {
  listed_ = on;
  return *this;
}

Options& Options::notes(std::string text) {
  notes_ = std::move(text);
  return *this;
}

bool Options::Described::has_name(std::string_view name) const {
  return ("," + std::string(names) + ",").find("," + std::string(name) + ",") != std::string::npos;
}

bool Options::Entry::has_name(std::string_view name) const {
  return Described{.names = names}.has_name(name);
}

std::vector<Options::Described> Options::described() const {
  std::vector<Described> all;
  for (const auto& entry : entries_)
    all.push_back({entry.names, entry.placeholder, entry.help, entry.list != nullptr});
  return all;
}

std::string Options::Entry::long_name() const {
  auto at = names.find("--");
  return at == names.npos ? names.substr(1) : names.substr(at + 2, names.find(',', at) - at - 2);
}

void Options::Entry::store() {
  if (flag) *flag = given.back() == "true";
  if (value) *value = given.back();
  if (list) *list = given;
}

std::optional<bool> Options::takes_value(std::string_view name) const {
  for (const auto& entry : entries_)
    if (entry.has_name(name)) return !entry.flag;
  return {};
}

Error Options::unknown_option(const std::string& option) const {
  std::string name = option.substr(0, option.find('='));
  if (is_unavailable(command_.substr(0, command_.find(' ')), name)) return not_available(name);
  std::vector<std::string> known;
  for (const auto& entry : entries_) known.push_back("--" + entry.long_name());
  std::string meant = name.starts_with("--") ? nearest(name, known) : "";
  return usage_error("unknown option " + name +
                     (meant.empty() ? "" : "; did you mean " + meant + "?") + " (see spell " +
                     command_ + " --help)");
}

Result<> Options::parse(const Words& arguments) {
  SplitArguments split{arguments, {}};
  if (is_command_)
    split = split_arguments(arguments, [&](std::string_view name) { return takes_value(name); });

  own_ = split.own;

  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  std::vector<CLI::Option*> parsed;
  for (const auto& entry : entries_) {
    CLI::Option* option = entry.flag ? app.add_flag(entry.names) : app.add_option(entry.names);
    if (entry.flag)
      option->disable_flag_override();
    else
      option->expected(1)->allow_extra_args(false);
    parsed.push_back(option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll));
  }
  std::reverse(split.own.begin(), split.own.end());  // the order CLI11 wants
  try {
    app.parse(std::move(split.own));
  } catch (const CLI::ArgumentMismatch& failure) {
    // "--timeout: 1 required missing" or "--force was given a disallowed flag override"
    std::string what = failure.what();
    std::string name = what.substr(0, what.find_first_of(": "));
    if (name[0] != '-') name = (name.size() == 1 ? "-" : "--") + name;
    return usage_error(name +
                       (what.find("override") == what.npos ? " needs a value" : " takes no value"));
  } catch (const CLI::ParseError& failure) {
    return usage_error(printable(failure.what()));
  }

  bool only_words = false;  // after "--"
  for (const auto& extra : app.remaining()) {
    if (extra == "--" && !only_words)
      only_words = true;
    else if (!only_words && extra.size() > 1 && extra[0] == '-' && !is_negative_number(extra))
      return unknown_option(extra);
    else
      split.words.push_back(extra);
  }
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (!parsed[i]->count()) continue;
    entries_[i].given = entries_[i].flag ? Words{"true"} : parsed[i]->results();
    entries_[i].store();
  }
  return take_words(std::move(split.words));
}

bool Options::mentions(std::string_view name) const {
  return std::find(own_.begin(), own_.end(), name) != own_.end();
}

Result<> Options::take_words(Words words) {
  std::string how = " (usage: spell " + command_ + " " + usage_ + ")";
  if (words.size() > most_words_)
    return usage_error("unexpected argument " + shell_quote(words[most_words_]) + how);
  bool asks_for_help = std::any_of(entries_.begin(), entries_.end(), [](const Entry& entry) {
    return entry.has_name("--help") && !entry.given.empty();
  });
  if (words.size() < least_words_ && !asks_for_help)
    return usage_error("spell " + command_ + " needs " + words_name_ + how);
  if (words_) *words_ = std::move(words);
  return ok();
}

Result<> Options::set_default(const std::string& name, const Words& values) {
  auto entry = std::find_if(entries_.begin(), entries_.end(),
                            [&](const Entry& e) { return e.long_name() == name; });
  if (entry == entries_.end()) return unknown_option("--" + name);
  if (!entry->given.empty()) return ok();
  if (!entry->list && values.size() != 1) return usage_error("--" + name + " takes one value");
  if (entry->flag && values[0] != "true" && values[0] != "false")
    return usage_error("--" + name + " is true or false");
  if (values.empty()) return ok();
  entry->given = values;
  entry->store();
  return ok();
}

std::vector<Options::Given> Options::given() const {
  std::vector<Given> all;
  for (const auto& entry : entries_)
    if (!entry.given.empty())
      all.push_back({entry.long_name(), entry.flag != nullptr, entry.list != nullptr, entry.given});
  return all;
}

std::string Options::help(bool utf8) const {
  auto left_column = [](const Entry& entry) {
    std::string names = entry.names;
    if (auto comma = names.find(','); comma != names.npos) names.insert(comma + 1, " ");
    if (names.starts_with("--")) names.insert(0, "    ");
    return names + (entry.placeholder.empty() ? "" : " " + entry.placeholder);
  };
  std::size_t width = 0;
  for (const auto& entry : entries_)
    if (entry.listed) width = std::max(width, left_column(entry).size());
  std::string text =
      "Usage: spell " + command_ + " " + usage_ + "\n\n" + summary_ + "\n\nOptions:\n";
  for (const auto& entry : entries_) {
    if (!entry.listed) continue;
    std::string left = left_column(entry);
    text += "  " + left + std::string(width - left.size() + 2, ' ') + entry.help + "\n";
  }
  if (!notes_.empty()) text += "\n" + notes_;
  if (utf8) return text;
  std::string ascii;
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = text.find('\n', begin);
    ascii += to_ascii(std::string_view(text).substr(begin, end - begin)) + "\n";
    begin = end + 1;
  }
  return ascii;
}

}  // namespace spell::cli
