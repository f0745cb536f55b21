// A curve in characters, for a terminal.
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace spell::cli {

struct ChartOptions {
  std::size_t width = 80, height = 12;  ///< columns and lines of the whole, labels included
  bool utf8 = true;  ///< dots finer than a character (Braille patterns, U+2800), else '*'
};

/// Lines, each with its newline: the greatest and least y at the left, the first and last x below.
/// Points (x, y) with a y that is not finite are left out; "" without any other.
std::string chart(const std::vector<std::pair<double, double>>& points, const ChartOptions&);

/// "0.25", "1.2e-05": as short as four digits allow.
std::string format_number(double number);

}  // namespace spell::cli
