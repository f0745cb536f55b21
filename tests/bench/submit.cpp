// A crowd that submits runs. They wait for another, so that nothing but submissions is measured;
// for none where AFTER is 0. Prints the seconds for all.
//
//     spell_bench_submit SOCKET OWNER COUNT CLIENTS AFTER
#include <cstdlib>

#include "crowd.hpp"

int main(int argc, char** argv) {
  if (argc != 6)
    return std::fputs("usage: spell_bench_submit SOCKET OWNER COUNT CLIENTS AFTER\n", stderr), 2;
  spell::net::ClientRequest run;
  run.method = "POST";
  run.target = "/v1/owners/" + std::string(argv[2]) + "/runs";
  std::string after = argv[5];
  run.body = R"({"command": "python3 train.py --epochs 10", "after": [)" +
             (after == "0" ? "" : after) + "]}";
  return spell::bench::crowd(argv[1], std::atoi(argv[3]), std::atoi(argv[4]), 201, [&](int number) {
    auto request = run;
    request.headers = {{"Content-Type", "application/json"},
                       {"Idempotency-Key", "submission-" + std::to_string(number)}};
    return request;
  });
}
