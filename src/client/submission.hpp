// What is sent before a run is made, shared by runs and workflows.
#pragma once
#include <string>

#include "client/connection.hpp"
#include "model/run.hpp"
#include "spell/client.hpp"

namespace spell::detail {

/// The commit of a repository, once the service has it. `folder`: where the user stood in it.
Result<model::CodeRef> send_repository(Connection&, const Code&, const SubmitProgress&,
                                       const SubmitNotice&, const Limit&, std::string& folder);
/// Error `not_available`: what is asked for and not built yet, which is never left out in silence.
Result<> check_available(const RunSpec&);
/// The body of a submission, when all that it needs has been sent. `workflow`: whose run it is to
/// be; 0: nobody's.
Result<model::RunRequest> prepare(Connection&, const RunSpec&, std::int64_t workflow,
                                  const SubmitProgress&, const SubmitNotice&, const Limit&);
/// Sends what the run needs, and makes it. `key` "": one is made for retries.
Result<RunInfo> submit(Connection&, const RunSpec&, std::int64_t workflow, const std::string& key,
                       const SubmitProgress&, const SubmitNotice&, const Limit&);
/// Sends a file, and returns what it is to be called: the body of put_upload.
Result<json> send_file(Connection&, const std::string& path, const Limit&);
/// The same of a folder with a CMake project, without what is made of it.
Result<json> send_project(Connection&, const std::string& folder, const Limit&);

}  // namespace spell::detail
