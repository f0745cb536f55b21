// The options and arguments of one command: what they are, their help, their parsing (by CLI11,
// seen only in options.cpp). Names are written as "-t,--machine-type". Results go to the variables
// that were named, which must outlive this.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arguments.hpp"
#include "spell/result.hpp"

namespace spell::cli {

class Options {
 public:
  /// `usage`: what follows the command's name, "[OPTIONS] ID".
  Options(std::string command, std::string usage, std::string summary);
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;

  Options& flag(std::string names, bool& target, std::string help);
  /// Given twice, the last one counts.
  Options& value(std::string names, std::optional<std::string>& target, std::string placeholder,
                 std::string help);
  /// May be repeated.
  Options& list(std::string names, Words& target, std::string placeholder, std::string help);
  /// Words that are no options. Error `usage` for fewer than `least` or more than `most`.
  Options& words(Words& target, std::string name, std::size_t least, std::size_t most = SIZE_MAX);
  /// The words are a command with arguments of its own, see arguments.hpp.
  Options& command(Words& target);
  /// Whether --help shows what is defined from here on; the manual shows it all.
  Options& listed(bool on);
  /// Shown at the end of the help.
  Options& notes(std::string text);

  /// Error `usage`, `not_available`: an option that a later version has.
  Result<> parse(const Words& arguments);
  /// Whether that word stands among the options, also when they could not be parsed.
  bool mentions(std::string_view name) const;
  /// Sets an option that was not given, by its long name without the dashes. Error `usage` if there
  /// is no such option.
  Result<> set_default(const std::string& name, const Words& values);

  struct Given {
    std::string name{};  ///< long, without the dashes
    bool is_flag = false;
    bool is_list = false;
    Words values{};
  };
  /// What has been given, in the order of definition.
  std::vector<Given> given() const;

  /// utf8: what the reader's terminal can show.
  std::string help(bool utf8) const;
  const std::string& command_name() const { return command_; }

  /// An option as it was defined: "-t,--machine-type", "NAME" ("": a flag).
  struct Described {
    std::string_view names{}, placeholder{}, help{};
    bool is_list = false;
    bool has_name(std::string_view name) const;
  };
  std::vector<Described> described() const;
  const std::string& usage() const { return usage_; }
  const std::string& summary() const { return summary_; }
  const std::string& notes_text() const { return notes_; }
  std::optional<bool> takes_value(std::string_view name) const;

 private:
  struct Entry {
    std::string names{}, placeholder{}, help{};
    bool* flag = nullptr;
    std::optional<std::string>* value = nullptr;
    Words* list = nullptr;
    bool listed = true;
    Words given{};
    std::string long_name() const;
    bool has_name(std::string_view name) const;
    void store();
  };
  Error unknown_option(const std::string& option) const;
  Result<> take_words(Words words);

  std::string command_, usage_, summary_, notes_;
  std::vector<Entry> entries_;
  Words own_;
  Words* words_ = nullptr;
  std::string words_name_;
  std::size_t least_words_ = 0, most_words_ = 0;
  bool is_command_ = false, listed_ = true;
};

}  // namespace spell::cli
