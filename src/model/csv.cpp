#include "model/csv.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

namespace spell::model {

namespace {

/// Takes a value and the comma behind it off `line`. False: a quote is not closed, or something
/// stands behind it.
bool take_value(std::string_view& line, std::string& value) {
  line = base::trim(line);
  if (!line.starts_with('"')) {
    auto comma = std::min(line.find(','), line.size());
    value = base::trim(line.substr(0, comma));
    line.remove_prefix(comma);
    return value.find('"') == value.npos;
  }
  for (std::size_t at = 1;; ++at) {
    auto quote = line.find('"', at);
    if (quote == line.npos) return false;
    value += line.substr(at, quote - at);
    at = quote + 1;
    if (at < line.size() && line[at] == '"') {
      value += '"';
      continue;
    }
    line = base::trim(line.substr(at));
    return line.empty() || line[0] == ',';
  }
}

}  // namespace

Error wrong_line(int number, const std::string& what) {
  return base::error("invalid_request", "line " + std::to_string(number) + ": " + what);
}

Result<std::vector<CsvLine>> parse_csv(std::string_view text) {
  std::vector<CsvLine> lines;
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  for (int number = 1; !text.empty(); ++number) {
    auto end = std::min(text.find('\n'), text.size());
    std::string_view line = base::trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line[0] == '#') continue;
    if (!base::valid_text(line)) return wrong_line(number, "it is not text in UTF-8");
    CsvLine out{number, {}};
    for (;;) {
      if (!take_value(line, out.values.emplace_back()))
        return wrong_line(number, "a value's quotes are not closed at its end");
      if (line.empty()) break;
      line.remove_prefix(1);
    }
    lines.push_back(std::move(out));
  }
  return lines;
}

}  // namespace spell::model
