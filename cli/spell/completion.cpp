// Completion of words: the shells' functions ask `spell __complete WORDS… CURRENT`, which knows the
// commands by their own definitions and, where it is running, asks the service for names.
#include <algorithm>
#include <set>

#include "command.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

constexpr std::string_view bash_script =
    R"(# spell completion for bash: source <(spell completion bash), or as a file in
# /usr/share/bash-completion/completions/spell
_spell() {
  local line
  COMPREPLY=()
  while IFS=$'\t' read -r line _; do
    COMPREPLY+=("$line")
  done < <(spell __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]] && compopt -o nospace
  return 0
}
complete -o bashdefault -o default -F _spell spell
)";

constexpr std::string_view zsh_script = R"(#compdef spell
# spell completion for zsh: source <(spell completion zsh), or as a file _spell in a folder of fpath
_spell() {
  local -a candidates descriptions
  local word description
  while IFS=$'\t' read -r word description; do
    candidates+=("$word")
    descriptions+=("${description:+$word  -- $description}")
    [[ -z $description ]] && descriptions[-1]="$word"
  done < <(spell __complete "${(@)words[2,$CURRENT]}" 2>/dev/null)
  if (( ${#candidates} )); then
    compadd -l -d descriptions -- $candidates
  else
    _files
  fi
}
if [[ $funcstack[1] == _spell ]]; then _spell "$@"; else compdef _spell spell; fi
)";

struct Candidate {
  std::string word{}, description{};
};

/// What there is at the place where the words lead: an option's or argument's command, or a group.
struct Found : Inspector {
  std::vector<Options::Described> options{};
  std::string name{}, usage{};
  std::span<const CommandRow> rows{};
  bool is_command = false;
  // The options point into what ends with the call.
  std::vector<std::string> kept{};

  void command(const Options& told) override {
    is_command = true;
    name = told.command_name();
    usage = told.usage();
    auto all = told.described();
    kept.reserve(3 * all.size());
    auto keep = [&](std::string_view text) -> std::string_view { return kept.emplace_back(text); };
    for (auto& option : all)
      options.push_back(
          {keep(option.names), keep(option.placeholder), keep(option.help), option.is_list});
  }
  void group(const std::string&, std::string_view, std::span<const CommandRow> told) override {
    rows = told;
  }
  const Options::Described* option(std::string_view called) const {
    for (auto& one : options)
      if (one.has_name(called)) return &one;
    return nullptr;
  }
};

void add_rows(std::vector<Candidate>& out, std::span<const CommandRow> rows) {
  for (auto& row : rows) out.push_back({std::string(row.name), std::string(row.summary)});
}

/// The service that is there: none is started for this, and nobody waits long for it.
class Names {
 public:
  explicit Names(const Words& words) {
    ClientOptions options = ClientOptions::from_environment();
    options.autostart = false;
    for (std::size_t i = 0; i + 1 < words.size(); ++i)
      if (words[i] == "--service") options.service = words[i + 1];
    if (auto made = Client::make(options)) client_ = std::move(*made);
  }

  void runs(std::vector<Candidate>& out, bool active_only) const {
    if (!client_) return;
    RunFilter filter;
    filter.active_only = active_only;
    for (auto& run : client_->runs().list(filter, limit())) {
      if (!run) return;
      out.push_back({std::to_string(run->id), run->status.name() + "  " + run->command});
    }
  }
  /// What is in the folder that the word names so far.
  void resources(std::vector<Candidate>& out, const std::string& word) const {
    if (!client_) return;
    auto slash = word.rfind('/');
    std::string folder = slash == word.npos ? "" : word.substr(0, slash);
    int left = 200;
    for (auto& entry : client_->resources().entries(folder, limit())) {
      if (!entry || --left < 0) return;
      out.push_back({(folder.empty() ? "" : folder + "/") + entry->path +
                     (entry->type == EntryType::folder ? "/" : "")});
    }
  }
  void machines(std::vector<Candidate>& out) const {
    if (!client_) return;
    if (auto list = client_->machines().list(limit()))
      for (auto& machine : *list) out.push_back({machine.name, "machine"});
  }
  void machine_types(std::vector<Candidate>& out) const {
    if (!client_) return;
    if (auto list = client_->machine_types().list(limit()))
      for (auto& type : *list) out.push_back({type.name, "machine type"});
  }
  void projects(std::vector<Candidate>& out) const {
    if (!client_) return;
    if (auto list = client_->projects().list({}, limit()))
      for (auto& project : *list) out.push_back({project.name, project.description});
  }
  void secrets(std::vector<Candidate>& out) const {
    if (!client_) return;
    if (auto list = client_->secrets().list(limit()))
      for (auto& secret : *list) out.push_back({secret.name});
  }

 private:
  static CallOptions limit() {
    CallOptions options;
    options.timeout = std::chrono::milliseconds(1000);
    return options;
  }
  std::optional<Client> client_;
};

void add_values(std::vector<Candidate>& out, const Found& found, const Options::Described& option,
                const std::string& current, const Names& names) {
  if (option.has_name("--machine-type") || option.has_name("--serves")) {
    names.machine_types(out);
    names.machines(out);
  } else if (option.has_name("--mount") && !current.starts_with('.') && !current.starts_with('/')) {
    names.resources(out, current);
  } else if (option.has_name("--project")) {
    names.projects(out);
  } else if (option.has_name("--secret")) {
    names.secrets(out);
  } else if (option.has_name("--after")) {
    names.runs(out, true);
  } else if (option.has_name("--service")) {
    out.push_back({"local", "the personal service"});
  } else if (option.has_name("--by") && found.name == "du") {
    out = {{"run"}, {"kind"}};
  }
}

void add_words(std::vector<Candidate>& out, const Found& found, const std::string& current,
               const Names& names) {
  auto takes = [&](std::string_view word) { return found.usage.find(word) != std::string::npos; };
  if (found.name == "run") return;
  static const std::set<std::string> active{"stop", "kill", "exec", "stats", "forward"};
  if (takes(" ID")) names.runs(out, active.contains(found.name));
  if (takes("RESOURCE") || takes("SOURCE") || takes("UPLOADS") || found.name == "ls")
    names.resources(out, current);
  if (found.name.starts_with("machine ")) names.machines(out);
  if (found.name.starts_with("machine-type ")) names.machine_types(out);
  if (found.name.starts_with("project ")) names.projects(out);
  if (found.name == "secret rm") names.secrets(out);
  if (found.name == "user role") out = {{"administrator"}, {"member"}, {"viewer"}};
  if (found.name == "completion") out = {{"bash"}, {"zsh"}};
}

std::vector<Candidate> candidates(Output& out, const Words& words, const std::string& current) {
  std::vector<Candidate> all;
  auto at = std::find_if(words.begin(), words.end(),
                         [](const std::string& word) { return !word.starts_with('-'); });
  std::span<const CommandRow> rows = commands();
  const CommandRow* row = nullptr;
  if (at != words.end())
    for (auto& known : rows)
      if (known.name == *at) row = &known;
  if (!row) {
    if (at == words.end()) add_rows(all, rows);
    return all;
  }
  Found found;
  Context context(out, Words(at + 1, words.end()), &found);
  (void)row->run(context);
  if (!found.is_command) {
    add_rows(all, found.rows);
    return all;
  }
  Names names(words);
  if (!words.empty())
    if (auto* option = found.option(words.back()); option && !option->placeholder.empty()) {
      add_values(all, found, *option, current, names);
      return all;
    }
  if (!current.starts_with('-')) {
    add_words(all, found, current, names);
    return all;
  }
  for (auto& option : found.options) {
    bool given = std::any_of(words.begin(), words.end(),
                             [&](const std::string& word) { return option.has_name(word); });
    if (given && !option.is_list) continue;
    auto name = option.names.substr(option.names.rfind(',') + 1);
    all.push_back({std::string(name), std::string(option.help)});
  }
  return all;
}

}  // namespace

Result<int> complete_command(Context& context) {
  Words words = context.arguments();
  std::string current = words.empty() ? "" : words.back();
  if (!words.empty()) words.pop_back();
  for (auto& candidate : candidates(context.out, words, current)) {
    if (!candidate.word.starts_with(current)) continue;
    std::string line = printable(candidate.word);
    if (!candidate.description.empty()) line += "\t" + printable(candidate.description);
    context.out.write(line + "\n");
  }
  return 0;
}

Result<int> completion_command(Context& context) {
  Options options(
      "completion", "[OPTIONS] bash|zsh",
      "Prints what makes your shell complete spell's commands, options, runs and files.");
  Words shell;
  options.words(shell, "a shell: bash or zsh", 1, 1)
      .notes(
          "For the shells that begin from now on:\n"
          "  echo 'source <(spell completion bash)' >> ~/.bashrc\n"
          "  echo 'source <(spell completion zsh)' >> ~/.zshrc      # after compinit\n");
  if (auto done = context.parse(options)) return *done;
  if (shell[0] != "bash" && shell[0] != "zsh")
    return usage_error("there is completion for bash and zsh, not for " + shell_quote(shell[0]));
  context.out.write(shell[0] == "bash" ? bash_script : zsh_script);
  return 0;
}

}  // namespace spell::cli
