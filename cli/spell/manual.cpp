// The manual pages, made of the commands' own definitions: spell(1), and one for each command.
#include <cstdio>
#include <fstream>

#include "command.hpp"
#include "spell/version.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

/// For roff(7): nothing of the text is an instruction.
std::string plain(std::string_view text) {
  std::string out;
  bool at_start = true;
  for (char c : text) {
    if (at_start && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else
      out += c;
    at_start = c == '\n';
  }
  return out;
}

std::string file_name(const std::string& command) {
  std::string name = "spell";
  if (!command.empty()) name += "-" + command;
  for (char& c : name)
    if (c == ' ') c = '-';
  return name;
}

std::string head(const std::string& command, std::string_view summary) {
  std::string name = file_name(command), upper = name;
  for (char& c : upper)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
  auto first = summary.substr(0, summary.find_first_of(".:;\n"));
  std::string text(first);
  if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z') text[0] = static_cast<char>(text[0] + 32);
  return ".TH " + upper + " 1 \"\" \"spell " + std::string(version()) + "\" \"Spell\"\n.SH NAME\n" +
         plain(name) + " \\- " + plain(text) + "\n";
}

std::string page_of(const Options& options) {
  std::string text = head(options.command_name(), options.summary());
  text += ".SH SYNOPSIS\n.B spell " + plain(options.command_name()) + "\n" +
          plain(options.usage()) + "\n.SH DESCRIPTION\n" + plain(options.summary()) +
          "\n.SH OPTIONS\n";
  for (auto& option : options.described()) {
    std::string names(option.names);
    if (auto comma = names.find(','); comma != names.npos) names.replace(comma, 1, ", ");
    text += ".TP\n\\fB" + plain(names) + "\\fR";
    if (!option.placeholder.empty()) text += " \\fI" + plain(option.placeholder) + "\\fR";
    text += "\n" + plain(option.help) + "\n";
  }
  if (!options.notes_text().empty())
    text += ".SH NOTES\n.nf\n" + plain(options.notes_text()) + ".fi\n";
  return text + ".SH SEE ALSO\n.BR spell (1)\n";
}

/// Writes each page as it is told of the command.
struct Writer : Inspector {
  Writer(Output& to, std::string where) : out(to), folder(std::move(where)) {}
  Output& out;
  std::string folder, failed{};
  int pages = 0;

  void write(const std::string& command, const std::string& text) {
    std::string path = folder + "/" + file_name(command) + ".1";
    std::ofstream file(path, std::ios::binary);
    file << text;
    if (!file.flush() && failed.empty()) failed = path;
    ++pages;
  }
  void command(const Options& options) override { write(options.command_name(), page_of(options)); }
  void group(const std::string& name, std::string_view summary,
             std::span<const CommandRow> rows) override {
    std::string text = head(name, summary) + ".SH SYNOPSIS\n.B spell " + plain(name) +
                       "\nCOMMAND [OPTIONS]\n.SH DESCRIPTION\n" + plain(summary) +
                       "\n.SH COMMANDS\n";
    for (auto& row : rows)
      text += ".TP\n.BR " + plain(file_name(name + " " + std::string(row.name))) + " (1)\n" +
              plain(row.summary) + "\n";
    write(name, text);
    all(rows);
  }
  void all(std::span<const CommandRow> rows) {
    for (auto& row : rows) {
      Context context(out, {}, this);
      (void)row.run(context);
    }
  }
};

}  // namespace

Result<int> manual_command(Context& context) {
  auto& words = context.arguments();
  if (words.size() != 1) return usage_error("spell __manual needs a FOLDER");
  Writer writer(context.out, words[0]);
  std::string text = head("", "runs any command from a Git repository, reproducibly");
  text +=
      ".SH SYNOPSIS\n.B spell\nCOMMAND [OPTIONS]\n.SH DESCRIPTION\n.B spell run\nruns a command in "
      "a "
      "copy of the Git repository it is called in, bound to a commit, follows its log and keeps "
      "the "
      "files it leaves.\nWithout any configuration it starts a service of this user's own,\n"
      ".BR spelld (8),\non this computer; after\n.BR spell\\-login (1)\nit uses that of a team.\n"
      ".SH COMMANDS\n";
  for (auto& row : commands())
    text += ".TP\n.BR " + plain(file_name(std::string(row.name))) + " (1)\n" + plain(row.summary) +
            "\n";
  text +=
      ".SH ENVIRONMENT\n.TP\n.B SPELL_DIR\nfolder of configuration and personal service, instead "
      "of "
      "~/.spell\n.TP\n.B SPELL_BASE_URL\nthe service: local, https://HOST[:PORT] or unix:PATH\n"
      ".TP\n.B SPELL_TOKEN\na token for it\n.TP\n.B SPELL_OWNER\nwhose runs are meant\n"
      ".SH EXIT STATUS\nThat of the run that is followed or waited for; else 0, or 1 to 6 for an "
      "error: 2 for a wrong use.\n.SH SEE ALSO\n.BR spelld (8),\n.BR spell\\-worker (8)\n";
  writer.write("", text);
  writer.all(commands());
  if (!writer.failed.empty()) return Error("io_error", "cannot write " + writer.failed);
  context.out.line(count(writer.pages, "page"));
  return 0;
}

}  // namespace spell::cli
