// Clients that submit runs over a kept-alive connection each, as fast as the service answers. The
// runs wait for another, so that nothing but submissions is measured. Prints the seconds for all.
//
//     spell_bench_submit SOCKET OWNER COUNT CLIENTS AFTER
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "net/client.hpp"

int main(int argc, char** argv) {
  if (argc != 6)
    return std::fputs("usage: spell_bench_submit SOCKET OWNER COUNT CLIENTS AFTER\n", stderr), 2;
  const std::string endpoint = std::string("unix:") + argv[1], owner = argv[2], after = argv[5];
  int count = std::atoi(argv[3]), clients = std::atoi(argv[4]);
  std::atomic<int> next = 0;
  std::atomic<bool> failed = false;
  auto start = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < clients; ++i)
      threads.emplace_back([&] {
        spell::net::HttpClient client(endpoint, 1);
        spell::net::ClientRequest request;
        request.method = "POST";
        request.target = "/v1/owners/" + owner + "/runs";
        request.body = R"({"command": "python3 train.py --epochs 10", "after": [)" + after + "]}";
        for (int n; !failed && (n = next++) < count;) {
          request.headers = {{"Content-Type", "application/json"},
                             {"Idempotency-Key", "submission-" + std::to_string(n)}};
          auto answer = client.send(request);
          if (answer && answer->status == 201) continue;
          failed = true;
          std::fprintf(stderr, "%s\n", answer ? answer->body.c_str() : answer.error().what());
        }
      });
  }
  if (failed) return 1;
  std::printf("%f\n",
              std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}
