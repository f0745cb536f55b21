// The log of a run.
#include "base/error.hpp"
#include "service/api.hpp"
#include "service/log_reader.hpp"

namespace spell::service {

namespace {

/// The stream, from `query.from` on; the header tells a client that asked for a tail where that is.
void begin(Context& context, const Call& call, const LogQuery& query, const std::string& type) {
  net::Response head = new_response();
  head.content_type = type;
  head.headers.emplace_back("Cache-Control", "no-store");
  head.headers.emplace_back("X-Spell-Log-Cursor", query.from.text());
  call->reply.stream(std::move(head), std::make_shared<LogReader>(context.readers, context.logs,
                                                                  context.hub, query));
}

}  // namespace

void get_log(Context& context, Call call) {
  LogQuery query;
  std::string format = call->query("format"), type = "application/vnd.spell.log";
  if (format == "text")
    query.format = LogFormat::text, type = "text/plain; charset=utf-8";
  else if (format == "jsonl")
    query.format = LogFormat::jsonl, type = "application/jsonl";
  else if (format == "sse")
    query.format = LogFormat::sse, type = "text/event-stream";
  else if (!format.empty() && format != "frames")
    return refuse(call,
                  base::error("invalid_request", "there is no log format '" + format +
                                                     "'; there are: frames, text, jsonl, sse"));
  query.follow = call->flag("follow");
  query.output_only = call->flag("output_only");
  auto tail = call->number("tail", -1, 0, INT64_MAX);
  if (!tail) return refuse(call, tail.error());
  std::string cursor = call->query("cursor");
  if (cursor.empty()) cursor = net::find_header(call->request.headers, "Last-Event-ID");
  auto run = find_run(context, call);
  if (!run) return refuse(call, run.error());
  query.run = run->id;
  query.number = run->number;
  if (!cursor.empty()) {
    auto from = model::LogCursor::parse(cursor);
    if (!from)
      return refuse(call,
                    base::error("invalid_request",
                                "'" + cursor + "' is no cursor of a log; it looks like 4096.7"));
    query.from = *from;
  }
  if (cursor.empty() && *tail < 0) return begin(context, call, query, type);
  if (!cursor.empty()) {
    // Whoever comes back after an answer that was cut short hears why, if it was damage.
    context.log_jobs.post([&context, call, query, type] {
      auto next = context.logs.read(query.run, query.from.bytes, INT64_MAX, 1);
      if (!next) return refuse(call, next.error());
      begin(context, call, query, type);
    });
    return;
  }
  context.log_jobs.post([&context, call, query, lines = *tail, type]() mutable {
    auto from = context.logs.tail(query.run, lines);
    if (!from) return refuse(call, from.error());
    query.from.bytes = *from;
    // Entries that stand before the first line shown are not shown either.
    auto events = context.readers.with(
        [&](store::Reader& reader) { return reader.events(query.run, 0, 100'000); });
    if (!events) return refuse(call, events.error());
    for (auto& event : *events) {
      if (event.log_offset >= *from) break;
      query.from.entries = event.number;
    }
    begin(context, call, query, type);
  });
}

}  // namespace spell::service
