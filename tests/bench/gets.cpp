// Clients that ask for the same thing over a kept-alive connection each, as fast as the service
// answers. Prints the seconds for all.
//
//     spell_bench_gets SOCKET TARGET COUNT CLIENTS
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "net/client.hpp"

int main(int argc, char** argv) {
  if (argc != 5)
    return std::fputs("usage: spell_bench_gets SOCKET TARGET COUNT CLIENTS\n", stderr), 2;
  const std::string endpoint = std::string("unix:") + argv[1];
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
        request.method = "GET";
        request.target = argv[2];
        while (!failed && next++ < count) {
          auto answer = client.send(request);
          if (answer && answer->status == 200) continue;
          failed = true;
          std::fprintf(stderr, "%s\n", answer ? answer->body.c_str() : answer.error().what());
        }
      });
  }
  if (failed) return 1;
  std::printf("%f\n",
              std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}
