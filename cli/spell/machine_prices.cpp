// spell machine-type prices: the catalogue, and price lists that go before it.
#include <fstream>
#include <string>

#include "json_text.hpp"
#include "machine_cost.hpp"
#include "money.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

/// Bytes of a text in JSON.
std::size_t sent_as(std::string_view text) {
  std::size_t size = text.size();
  for (char c : text)
    size += c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t'                    ? 1
            : static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) == 0x7f ? 5
                                                                                            : 0;
  return size;
}

Result<std::string> read_text_file(const std::string& path) {
  constexpr std::size_t most = (1 << 20) - 100;  // of a request that is sent
  std::ifstream file(path, std::ios::binary);
  std::string text;
  char bytes[4096];
  while (file.read(bytes, sizeof bytes) || file.gcount() > 0) {
    text.append(bytes, static_cast<std::size_t>(file.gcount()));
    if (sent_as(text) > most)
      return Error("invalid_request",
                   path +
                       " is larger than 1 MiB as it is sent: leave out comments and what no "
                       "machine type is called");
  }
  if (!file.eof())
    return Error("invalid_request", "cannot read " + path + ": give a file with a price list");
  return text;
}

}  // namespace

Result<int> machine_prices(Context& context) {
  Options options(
      "machine-type prices", "[OPTIONS] [FILE]",
      "Shows what machine types cost, by name and cloud; FILE: loads a price list, which "
      "goes before the catalogue.");
  Words words;
  bool drop = false;
  options.words(words, "a FILE", 0, 1)
      .flag("--drop", drop, "takes the price list back: the catalogue's count again");
  options.notes(
      "FILE is CSV with the columns name, price, spot_price: NAME,3.06,0.918, in dollars an hour. "
      "A "
      "name is a machine type's, the catalogue's, or what a cloud calls it (p3.2xlarge). What "
      "`machine-type set --price` says of a type goes before both.\n");
  if (auto done = context.parse(options)) return *done;
  if (drop && !words.empty()) return usage_error("--drop and FILE exclude each other");
  std::string csv;
  if (!words.empty()) {
    auto read = read_text_file(words[0]);
    if (!read) return read.error();
    csv = std::move(*read);
    if (csv.find_first_not_of(" \t\r\n") == csv.npos)
      return Error("invalid_request", words[0] + " is empty; --drop takes the price list back");
  }
  auto client = context.client();
  if (!client) return client.error();
  auto& out = context.out;
  if (drop || !words.empty()) {
    auto set = client->machine_types().set_prices(csv);
    if (!set)
      return Error(set.error().code(),
                   (words.empty() ? "" : words[0] + ": ") + set.error().message());
    if (out.json()) return out.json_line(json_text("prices", *set)), 0;
    out.line(drop ? "There is no price list any more" : count(*set, "price") + " loaded");
    return 0;
  }
  auto catalogue = client->machine_types().catalogue();
  if (!catalogue) return catalogue.error();
  if (out.json()) return out.json_line(json_text("catalogue", *catalogue)), 0;
  Table table;
  table.header = {"NAME", "CLOUD", "INSTANCE", "GPUS", "PRICE", "SPOT", "FROM"};
  table.right = {4, 5};
  table.flexible = 6;
  for (const auto& entry : *catalogue) {
    std::string gpus = entry.gpus > 0 ? std::to_string(entry.gpus) + " x " + entry.gpu : "";
    table.rows.push_back({{entry.name},
                          {entry.cloud},
                          {entry.instance},
                          {gpus},
                          {format_hourly(entry.price)},
                          {format_hourly(entry.spot_price)},
                          {entry.price_from}});
  }
  out.table(table);
  return 0;
}

}  // namespace spell::cli
