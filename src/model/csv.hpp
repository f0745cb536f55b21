// Comma-separated values, a line each: what people write and spreadsheets export.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "spell/result.hpp"

namespace spell::model {

struct CsvLine {
  int number = 0;  ///< of the file, from 1
  std::vector<std::string> values{};
};

/// Lines that are not empty and do not begin with '#', without the blanks around values. A value in
/// double quotes may hold commas, and quotes twice; none goes over a line's end. Error
/// `invalid_request`: "line 3: …".
Result<std::vector<CsvLine>> parse_csv(std::string_view text);
/// "line 3: what"
Error wrong_line(int number, const std::string& what);

}  // namespace spell::model
