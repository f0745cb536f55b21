#include "output.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "json_text.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EPIPE) {
      throw OutputClosed{};
    } else if (errno != EINTR) {
      throw Error("output_failed",
                  std::string("the output cannot be written: ") + std::strerror(errno));
    }
  }
}

std::string_view symbol(Mark mark, bool utf8) {
  switch (mark) {
    case Mark::cast:
      return utf8 ? "💫" : "*";
    case Mark::step:
      return utf8 ? "✨" : "*";
    case Mark::done:
      return utf8 ? "🎉" : "*";
    case Mark::failed:
      return utf8 ? "💥" : "!";
    case Mark::halted:
      return utf8 ? "✋" : "!";
  }
  return "";
}

std::string_view code(Colour colour) {
  switch (colour) {
    case Colour::none:
      return "";
    case Colour::bold:
      return "\x1b[1m";
    case Colour::dim:
      return "\x1b[2m";
    case Colour::red:
      return "\x1b[31m";
    case Colour::green:
      return "\x1b[32m";
    case Colour::yellow:
      return "\x1b[33m";
  }
  return "";
}

std::string paint(std::string_view text, Colour colour) {
  if (colour == Colour::none) return std::string(text);
  return std::string(code(colour)) + std::string(text) + "\x1b[0m";
}

}  // namespace

void Output::write(std::string_view bytes) { write_all(streams_.out, bytes); }
void Output::write_error(std::string_view bytes) { write_all(streams_.err, bytes); }

std::string Output::shown(std::string_view text) const {
  std::string line = printable(text);
  return terminal_.utf8 ? line : to_ascii(line);
}

void Output::line(std::string_view text) { write(shown(text) + "\n"); }

void Output::json_line(const std::string& compact) {
  write((terminal_.out ? indent_json(compact) : compact) + "\n");
}

std::string Output::coloured(std::string_view text, Colour colour) const {
  return terminal_.colour ? paint(text, colour) : std::string(text);
}

void Output::table(const Table& table, bool truncate_cells) {
  if (quiet()) {
    for (const auto& row : table.rows) line(row[table.key].text);
    return;
  }
  write(table_text(table, truncate_cells));
}

void Output::table_beside(const Table& table) {
  if (json()) return;
  std::string text = table_text(table, true);
  quiet() ? write_error(text) : status_bytes(text);
}

std::string Output::table_text(const Table& table, bool truncate_cells) const {
  std::vector<std::vector<Cell>> rows;
  if (!table.header.empty()) {
    auto& header = rows.emplace_back();
    for (const auto& name : table.header) header.push_back({name, Colour::bold});
  }
  for (const auto& row : table.rows) {
    auto& shown_row = rows.emplace_back();
    for (const auto& cell : row) shown_row.push_back({shown(cell.text), cell.colour});
  }
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], display_width(row[i].text));
  }
  constexpr std::size_t gap = 2, least = 10;
  if (truncate_cells && terminal_.out && table.flexible < widths.size()) {
    std::size_t others = 0;
    for (std::size_t i = 0; i < widths.size(); ++i)
      others += (i ? gap : 0) + (i == table.flexible ? 0 : widths[i]);
    std::size_t width = static_cast<std::size_t>(terminal_.width);
    std::size_t room = std::max(least, width - std::min(width, others));
    widths[table.flexible] = std::min(widths[table.flexible], room);
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      std::string cell = truncate(row[i].text, widths[i], ellipsis());
      std::string fill(widths[i] - std::min(widths[i], display_width(cell)), ' ');
      bool flush_right = std::find(table.right.begin(), table.right.end(), i) != table.right.end();
      if (i) line += std::string(gap, ' ');
      if (flush_right) line += fill;
      line += coloured(cell, row[i].colour);
      if (!flush_right && i + 1 < row.size()) line += fill;
    }
    text += line + "\n";
  }
  return text;
}

std::string Output::marked(Mark mark, std::string_view text) const {
  return std::string(symbol(mark, terminal_.utf8)) + " " + shown(text);
}

void Output::status_bytes(std::string_view bytes) {
  if (mode_ == Mode::people) write_all(terminal_.out ? streams_.out : streams_.err, bytes);
}

void Output::status(Mark mark, std::string_view text) { status_bytes(marked(mark, text) + "\n"); }

void Output::warn(std::string_view text) {
  std::string label = terminal_.err_colour ? paint("warning:", Colour::yellow) : "warning:";
  write_all(streams_.err, "spell: " + label + " " + shown(text) + "\n");
}

void Output::error(const Error& error) {
  if (json()) return write_all(streams_.err, json_text(error) + "\n");
  std::string label = terminal_.err_colour ? paint("spell:", Colour::red) : "spell:";
  write_all(streams_.err, label + " " + shown(error.message()) + "\n");
}

}  // namespace spell::cli
