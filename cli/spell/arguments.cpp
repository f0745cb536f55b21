#include "arguments.hpp"

#include "text.hpp"

namespace spell::cli {

Error usage_error(std::string message) { return Error("usage", std::move(message)); }

namespace {

/// Whether the word after this option is its value: "-t", "-bt" and "--machine-type" are followed
/// by one, "-tCPU" and
/// "--machine-type=CPU" hold it.
bool value_follows(std::string_view option, const TakesValue& takes_value) {
  if (option.starts_with("--"))
    return option.find('=') == option.npos && takes_value(option).value_or(false);
  for (std::size_t i = 1; i < option.size(); ++i)
    if (takes_value("-" + std::string(1, option[i])).value_or(false)) return i + 1 == option.size();
  return false;
}

}  // namespace

SplitArguments split_arguments(const Words& arguments, const TakesValue& takes_value) {
  SplitArguments split;
  for (auto at = arguments.begin(); at != arguments.end(); ++at) {
    if (*at == "--") {
      split.words.insert(split.words.end(), at + 1, arguments.end());
      break;
    }
    if (at->size() > 1 && at->front() == '-') {
      split.own.push_back(*at);
      if (value_follows(*at, takes_value) && at + 1 != arguments.end()) split.own.push_back(*++at);
      continue;
    }
    bool quoted = split.words.empty() && at->find_first_of(" \t\n") != at->npos;
    if (!quoted) {
      split.words.insert(split.words.end(), at, arguments.end());
      break;
    }
    split.words.push_back(*at);
  }
  return split;
}

std::string join_command(const Words& words) {
  if (words.size() == 1) return words.front();
  Words quoted;
  for (const auto& word : words) quoted.push_back(shell_quote(word));
  return join(quoted, " ");
}

Result<std::pair<std::string, std::string>> parse_env(
    const std::string& text, const std::function<const char*(const char*)>& caller_environment) {
  std::string name = text.substr(0, text.find('='));
  constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
  constexpr std::string_view digits = "0123456789";
  if (name.empty() || letters.find(name[0]) == letters.npos ||
      name.find_first_not_of(std::string(letters) + std::string(digits)) != name.npos)
    return usage_error("--env " + shell_quote(text) + ": \"" + name +
                       "\" is not a variable's name");
  if (name.size() < text.size()) return std::pair(name, text.substr(name.size() + 1));
  const char* value = caller_environment(name.c_str());
  if (!value)
    return usage_error("--env " + name + ": it is not set here; give it as " + name + "=VALUE");
  return std::pair(name, std::string(value));
}

Result<std::int64_t> parse_run_id(const std::string& text) {
  auto id = parse_int(text);
  if (!id || *id < 1)
    return usage_error("\"" + text + "\" is not a run's number (spell ps lists them)");
  return *id;
}

Result<std::vector<std::int64_t>> parse_run_ids(const Words& texts) {
  std::vector<std::int64_t> ids;
  for (const auto& text : texts) {
    for (std::size_t begin = 0; begin <= text.size();) {
      std::size_t end = std::min(text.find(',', begin), text.size());
      auto id = parse_run_id(text.substr(begin, end - begin));
      if (!id) return id.error();
      ids.push_back(*id);
      begin = end + 1;
    }
  }
  return ids;
}

}  // namespace spell::cli
