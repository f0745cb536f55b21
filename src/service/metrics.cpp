#include "service/metrics.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "service/api.hpp"
#include "spell/version.hpp"

namespace spell::service {

namespace {

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.10g", value);
  return text;
}

std::string escaped(std::string_view value) {
  std::string out;
  for (char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

using Labels = std::vector<std::pair<std::string_view, std::string>>;

/// The text format, version 0.0.4.
class Page {
 public:
  void about(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    text_ += "# HELP " + name_ + " " + std::string(help) + "\n# TYPE " + name_ + " " +
             std::string(type) + "\n";
  }
  void add(double value, const Labels& labels = {}, std::string_view suffix = {}) {
    text_ += name_;
    text_ += suffix;
    char before = '{';
    for (auto& [label, text] : labels) {
      text_ += before + std::string(label) + "=\"" + escaped(text) + "\"";
      before = ',';
    }
    if (before == ',') text_ += '}';
    text_ += ' ' + number_text(value) + '\n';
  }
  void one(std::string_view name, std::string_view type, std::string_view help, double value) {
    about(name, type, help);
    add(value);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string name_, text_;
};

double as_seconds(std::int64_t us) { return static_cast<double>(us) / 1e6; }

void add_runs(Page& page, Context& context) {
  auto read = context.readers.with([&](store::Reader& reader) -> Result<> {
    auto counts = reader.count_by_status("");
    if (!counts) return counts.error();
    auto queue = reader.queue();
    if (!queue) return queue.error();
    page.about("spell_runs", "gauge", "Runs by status.");
    for (auto& [status, count] : *counts)
      page.add(static_cast<double>(count), {{"status", status}});
    page.one("spell_queue_runs", "gauge", "Runs that have no machine yet.",
             static_cast<double>(queue->runs));
    double age = queue->runs == 0 ? 0 : as_seconds(base::unix_us() - queue->oldest_us);
    page.one("spell_queue_oldest_seconds", "gauge", "How long the oldest of them has waited.", age);
    return ok();
  });
  page.one("spell_database_up", "gauge", "Whether the database could be read just now.",
           read ? 1 : 0);
}

/// Those of the owners that the caller belongs to.
void add_machines(Page& page, Context& context, const Caller& caller) {
  auto views = context.machines.machines();
  std::erase_if(views, [&](auto& view) {
    return !view.record.owner.empty() && !caller.belongs_to(view.record.owner);
  });
  page.about("spell_machine_connected", "gauge",
             "Whether a machine holds its lease: its worker is connected.");
  for (auto& view : views)
    page.add(view.machine.connected ? 1 : 0, {{"machine", view.machine.name}});
  page.about("spell_machine_runs", "gauge",
             "Runs that were given to a machine and have not ended.");
  for (auto& view : views)
    page.add(static_cast<double>(view.runs.size()), {{"machine", view.machine.name}});
  page.about("spell_machine_disk_free_bytes", "gauge", "Free on a machine, as it said last.");
  for (auto& view : views)
    page.add(static_cast<double>(view.hello.disk_free), {{"machine", view.machine.name}});
}

void add_storage(Page& page, Context& context) {
  page.about("spell_storage_bytes", "gauge", "Bytes on disk.");
  page.add(static_cast<double>(context.objects.stored_bytes()), {{"kind", "objects"}});
  page.add(static_cast<double>(context.logs.stored_bytes()), {{"kind", "logs"}});
  auto& folder = context.options.state_folder;
  page.one("spell_disk_bytes", "gauge", "Size of the disk that holds the data.",
           static_cast<double>(base::disk_size(folder)));
  page.one("spell_disk_free_bytes", "gauge", "Free of it.",
           static_cast<double>(base::free_bytes(folder)));
  page.one("spell_disk_full", "gauge", "1 while new work is refused for want of room.",
           context.space.check() && context.space.check_runs() ? 0 : 1);
}

void add_process(Page& page, Context& context) {
  page.about("spell_build_info", "gauge", "The version that runs.");
  page.add(1, {{"version", version()}});
  page.one("process_start_time_seconds", "gauge", "When the service started, in Unix time.",
           as_seconds(context.started_us));
  if (auto pages = base::read_file("/proc/self/statm", 4096)) {
    auto fields = base::split(*pages, ' ');
    if (auto resident = base::parse_int(fields.size() > 1 ? fields[1] : ""))
      page.one("process_resident_memory_bytes", "gauge", "Resident memory.",
               static_cast<double>(*resident) * static_cast<double>(::sysconf(_SC_PAGESIZE)));
  }
}

}  // namespace

void Metrics::answered(model::Route route, int status, std::chrono::microseconds took, bool waits) {
  auto& counts = routes_[static_cast<std::size_t>(route) % most_routes];
  if (status >= 100 && status < 600) ++counts.by_class[static_cast<std::size_t>(status / 100 - 1)];
  if (waits) return;
  double took_s = static_cast<double>(took.count()) / 1e6;
  std::size_t bucket = 0;
  while (bucket < bounds.size() && took_s > bounds[bucket]) ++bucket;
  ++counts.buckets[bucket];
  counts.sum_us += static_cast<std::uint64_t>(std::max<std::int64_t>(0, took.count()));
}

std::string Metrics::requests() const {
  Page page;
  page.about("spell_requests_total", "counter", "Answers, by operation and class of status.");
  constexpr std::array classes{"1xx", "2xx", "3xx", "4xx", "5xx"};
  for (auto& row : model::routes()) {
    auto& counts = routes_[static_cast<std::size_t>(row.route)];
    for (std::size_t i = 0; i < classes.size(); ++i)
      if (auto count = counts.by_class[i].load())
        page.add(static_cast<double>(count),
                 {{"operation", std::string(row.operation)}, {"code", classes[i]}});
  }
  if (auto count = refused_.load())
    page.add(static_cast<double>(count), {{"operation", "none"}, {"code", "4xx"}});
  page.about("spell_request_seconds", "histogram",
             "From a request's arrival to its answer, without those that wait for news.");
  for (auto& row : model::routes()) {
    auto& counts = routes_[static_cast<std::size_t>(row.route)];
    Labels labels{{"operation", std::string(row.operation)}, {"le", ""}};
    std::uint64_t below = 0;
    for (auto& bucket : counts.buckets) below += bucket.load();
    if (below == 0) continue;
    below = 0;
    for (std::size_t i = 0; i <= bounds.size(); ++i) {
      below += counts.buckets[i].load();
      labels[1].second = i < bounds.size() ? number_text(bounds[i]) : "+Inf";
      page.add(static_cast<double>(below), labels, "_bucket");
    }
    labels.pop_back();
    page.add(static_cast<double>(counts.sum_us.load()) / 1e6, labels, "_sum");
    page.add(static_cast<double>(below), labels, "_count");
  }
  return page.take();
}

std::string all_metrics(Context& context, const Caller& caller) {
  Page page;
  add_runs(page, context);
  add_machines(page, context, caller);
  add_storage(page, context);
  add_process(page, context);
  return page.take() + context.metrics.requests();
}

void get_metrics(Context& context, Call call) {
  net::Response response = new_response();
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = all_metrics(context, call->caller);
  call->reply.send(std::move(response));
}

}  // namespace spell::service
