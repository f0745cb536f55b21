// The one way out: results go to stdout as a table, as JSON or quietly; what is said beside them
// goes where a person sees it.
//
// People's status lines share stdout with the results on a terminal, and move to stderr when stdout
// is a file or a pipe, which then holds nothing but the result. In JSON mode stdout holds JSON only
// and errors are the API's error body. Used by one thread at a time.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "spell/error.hpp"
#include "terminal.hpp"

namespace spell::cli {

/// The reader of stdout has gone: nothing is left to say.
struct OutputClosed {};

enum class Mark { cast, step, done, failed, halted };
enum class Colour { none, bold, dim, red, green, yellow };

struct Cell {
  std::string text{};
  Colour colour = Colour::none;
};

struct Table {
  std::vector<std::string> header{};  ///< empty: none is shown
  std::vector<std::vector<Cell>> rows{};
  std::vector<std::size_t> right{};  ///< columns that are set flush right
  std::size_t flexible = SIZE_MAX;   ///< the column that gives way when a terminal is narrow
  std::size_t key = 0;               ///< the one column that quiet mode shows
};

class Output {
 public:
  enum class Mode { people, json, quiet };

  Output(Streams streams, Terminal terminal) : streams_(streams), terminal_(terminal) {}

  void set_mode(Mode mode) { mode_ = mode; }
  bool json() const { return mode_ == Mode::json; }
  bool quiet() const { return mode_ == Mode::quiet; }
  const Terminal& terminal() const { return terminal_; }
  const Streams& streams() const { return streams_; }
  /// Status lines can be rewritten in place.
  bool live() const { return mode_ == Mode::people && terminal_.out; }

  /// Bytes to stdout as they are. Throws OutputClosed when nobody reads them.
  void write(std::string_view bytes);
  /// The same to stderr.
  void write_error(std::string_view bytes);
  /// A line of the result for people; printable text.
  void line(std::string_view text);
  /// A JSON text as one line, indented on a terminal.
  void json_line(const std::string& compact);
  /// Quiet: the key column alone, no header.
  void table(const Table& table, bool truncate = true);
  /// With its header where status lines go, beside the result; to stderr in quiet mode. Not shown
  /// in JSON mode.
  void table_beside(const Table& table);

  /// A line of what is going on. Not shown in JSON and quiet mode.
  void status(Mark mark, std::string_view text);
  /// Bytes to where status lines go, already styled.
  void status_bytes(std::string_view bytes);
  /// "✨ text" with the mark that this terminal can show.
  std::string marked(Mark mark, std::string_view text) const;
  void warn(std::string_view text);
  void error(const Error& error);

  std::string coloured(std::string_view text, Colour colour) const;
  std::string ellipsis() const { return terminal_.utf8 ? "…" : "..."; }
  /// As this terminal can show it.
  std::string shown(std::string_view text) const;

 private:
  std::string table_text(const Table& table, bool truncate) const;

  Streams streams_;
  Terminal terminal_;
  Mode mode_ = Mode::people;
};

}  // namespace spell::cli
