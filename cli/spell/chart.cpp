#include "chart.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace spell::cli {

namespace {

/// A grid of dots, so many of which are one character.
class Canvas {
 public:
  Canvas(std::size_t columns, std::size_t lines, bool braille)
      : columns_(columns),
        across_(braille ? 2 : 1),
        down_(braille ? 4 : 1),
        cells_(columns * lines, 0) {}

  std::size_t width() const { return columns_ * across_; }
  std::size_t height() const { return cells_.size() / columns_ * down_; }
  /// y counts from the bottom.
  void set(std::size_t x, std::size_t y) {
    std::size_t from_top = height() - 1 - y;
    // Dots 1-3 and 7 are the left column of a pattern, 4-6 and 8 the right one (Unicode, ch. 21).
    static constexpr unsigned bits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    cells_[from_top / down_ * columns_ + x / across_] |= bits[from_top % down_][x % across_];
  }
  std::string line(std::size_t number) const {
    std::string out;
    for (std::size_t i = 0; i < columns_; ++i) {
      unsigned cell = cells_[number * columns_ + i];
      if (cell == 0 || across_ == 1) {
        out += cell == 0 ? ' ' : '*';
        continue;
      }
      out += static_cast<char>(0xe2);
      out += static_cast<char>(0xa0 | cell >> 6);
      out += static_cast<char>(0x80 | (cell & 0x3f));
    }
    return out;
  }

 private:
  std::size_t columns_, across_, down_;
  std::vector<unsigned> cells_;
};

std::size_t place(double value, double least, double most, std::size_t room) {
  if (most <= least) return (room - 1) / 2;
  double share = (value - least) / (most - least);
  return std::min(room - 1, static_cast<std::size_t>(std::lround(share * double(room - 1))));
}

}  // namespace

std::string format_number(double number) {
  char text[40];
  std::snprintf(text, sizeof text, "%.4g", number);
  return text;
}

std::string chart(const std::vector<std::pair<double, double>>& all, const ChartOptions& options) {
  std::vector<std::pair<double, double>> points;
  for (auto& point : all)
    if (std::isfinite(point.second)) points.push_back(point);
  if (points.empty()) return {};
  auto [left, right] = std::minmax_element(points.begin(), points.end());
  auto [low, high] = std::minmax_element(points.begin(), points.end(),
                                         [](auto& a, auto& b) { return a.second < b.second; });
  std::string top = format_number(high->second), bottom = format_number(low->second);
  std::size_t margin = std::max(top.size(), bottom.size()) + 1;
  std::size_t columns = std::max<std::size_t>(options.width, margin + 11) - margin - 1;
  std::size_t lines = std::max<std::size_t>(options.height, 3) - 1;
  Canvas canvas(columns, lines, options.utf8);
  double first = left->first, last = right->first, least = low->second, most = high->second;
  // Between neighbours the line is drawn, so that a few points are a curve too.
  std::stable_sort(points.begin(), points.end(),
                   [](auto& a, auto& b) { return a.first < b.first; });
  for (std::size_t i = 0; i < points.size(); ++i) {
    auto x = place(points[i].first, first, last, canvas.width());
    auto y = place(points[i].second, least, most, canvas.height());
    canvas.set(x, y);
    if (i == 0) continue;
    auto before = place(points[i - 1].first, first, last, canvas.width());
    for (std::size_t at = before + 1; at < x; ++at) {
      double share = double(at - before) / double(x - before);
      double between = points[i - 1].second + share * (points[i].second - points[i - 1].second);
      canvas.set(at, place(between, least, most, canvas.height()));
    }
  }
  std::string out;
  for (std::size_t i = 0; i < lines; ++i) {
    std::string label = i == 0 ? top : i == lines - 1 ? bottom : "";
    std::string line = std::string(margin - 1 - label.size(), ' ') + label + " " +
                       (options.utf8 ? "┤" : "|") + canvas.line(i);
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  std::string from = format_number(first), to = format_number(last);
  std::string below = std::string(margin + 1, ' ') + from;
  if (last > first)
    below += std::string(columns > from.size() + to.size() ? columns - from.size() - to.size() : 1,
                         ' ') +
             to;
  return out + below + "\n";
}

}  // namespace spell::cli
