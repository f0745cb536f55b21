// What workers fetch for a run that is theirs: its code, and what it mounts.
#include "base/error.hpp"
#include "base/text.hpp"
#include "net/spool.hpp"
#include "service/api.hpp"
#include "service/resource_path.hpp"

namespace spell::service {

namespace {

/// Of objects in one answer: the worker asks for the rest.
constexpr std::size_t objects_at_once = 8 << 20, names_at_once = 10'000, commits_at_once = 64;

/// The bytes of a file without a name.
class SpooledFile : public net::BodySource, public std::enable_shared_from_this<SpooledFile> {
 public:
  SpooledFile(base::Pool& jobs, base::Fd file, std::int64_t size)
      : jobs_(jobs), file_(std::move(file)), size_(size) {}
  void pull(std::function<void(Result<std::string>)> done) override {
    if (at_ >= size_) return done(std::string());
    jobs_.post([self = shared_from_this(), done = std::move(done)] { done(self->next()); });
  }

 private:
  Result<std::string> next() {
    std::string piece(static_cast<std::size_t>(std::min<std::int64_t>(256 << 10, size_ - at_)), 0);
    auto got = base::pread_full(file_.get(), piece.data(), piece.size(), at_);
    if (!got) return got.error();
    if (*got < piece.size()) return base::error("io_error", "a pack became shorter");
    at_ += static_cast<std::int64_t>(*got);
    return piece;
  }
  base::Pool& jobs_;
  base::Fd file_;
  std::int64_t size_, at_ = 0;
};

Result<store::RunRecord> record_of(Context& context, const std::string& run) {
  auto found = context.readers.with([&](store::Reader& reader) { return reader.find_run(run); });
  if (!found) return found.error();
  if (!*found) return base::error("run_not_found", "there is no run " + run);
  return std::move(**found);
}

void send_pack(Context& context, const Call& call, const store::RunRecord& run,
               const std::vector<std::string>& have) {
  auto store = git::Store::open(context.code_path(run.owner, run.request.code->workspace));
  if (!store) return refuse(call, store.error());
  auto file = net::unnamed_file(context.options.state_folder + "/incoming");
  if (!file) return refuse(call, file.error());
  auto size = store->pack_commit(run.request.code->commit, have, file->get());
  if (!size) return refuse(call, size.error());
  net::Response head = new_response();
  head.content_type = "application/vnd.git.pack";
  call->reply.stream(head, std::make_shared<SpooledFile>(context.jobs, std::move(*file), *size),
                     *size);
}

}  // namespace

void machine_code(Context& context, Call call) {
  auto assignment = assigned(context, call);
  if (!assignment) return refuse(call, assignment.error());
  std::vector<std::string> have;
  if (auto list = call->query("have"); !list.empty()) have = base::split(list, ',');
  if (have.size() > commits_at_once || std::any_of(have.begin(), have.end(), [](auto& commit) {
        return commit.size() != 40 ||
               commit.find_first_not_of("0123456789abcdef") != std::string::npos;
      }))
    return refuse(call, base::error("invalid_request", "query parameter 'have' must be at most " +
                                                           std::to_string(commits_at_once) +
                                                           " ids of commits, separated by commas"));
  context.jobs.post([&context, call, have = std::move(have)] {
    auto run = record_of(context, call->query("run"));
    if (!run) return refuse(call, run.error());
    if (!run->request.code)
      return refuse(call, base::error("run_not_found", "this run has no code"));
    send_pack(context, call, *run, have);
  });
}

void machine_read(Context& context, Call call) {
  auto body = model::parse_json(call->request.body, 8 << 20);
  if (!body) return refuse(call, body.error());
  auto asked = assigned_in_body(context, call, *body);
  if (!asked) return refuse(call, asked.error());
  auto names = object_names(*body, "names");
  if (!names) return refuse(call, names.error());
  if (names->empty() || names->size() > names_at_once)
    return refuse(
        call, base::error("invalid_request",
                          "'names' must hold 1 to " + std::to_string(names_at_once) + " names"));
  context.jobs.post([&context, call, owner = asked->owner, names = std::move(*names)] {
    auto pack = context.objects.pack_of(owner, names, objects_at_once);
    // What lies in public/ is everybody's.
    if (!pack && pack.error().code() == "object_not_found")
      pack = context.objects.pack_of(std::string(public_owner), names, objects_at_once);
    if (!pack && pack.error().code() == "object_not_found")
      return refuse(call, base::error("resource_not_found", pack.error().message()));
    if (!pack) return refuse(call, pack.error());
    net::Response response = new_response();
    response.content_type = "application/octet-stream";
    response.body = std::move(*pack);
    call->reply.send(std::move(response));
  });
}

}  // namespace spell::service
