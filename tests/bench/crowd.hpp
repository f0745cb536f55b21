// Clients that ask as fast as the service answers, each over a kept-alive connection of its own.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "net/client.hpp"

namespace spell::bench {

/// Sends `count` requests, each made by `request_of(number)` and to be answered with `status`, and
/// prints the seconds for all. Returns the exit status.
template <class RequestOf>
int crowd(const std::string& socket, int count, int clients, int status, RequestOf request_of) {
  std::atomic<int> next = 0;
  std::atomic<bool> failed = false;
  auto start = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < clients; ++i)
      threads.emplace_back([&] {
        net::HttpClient client("unix:" + socket, 1);
        for (int number; !failed && (number = next++) < count;) {
          auto answer = client.send(request_of(number));
          if (answer && answer->status == status) continue;
          failed = true;
          std::fprintf(stderr, "%s\n", answer ? answer->body.c_str() : answer.error().what());
        }
      });
  }
  if (failed) return 1;
  std::printf("%f\n",
              std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  return 0;
}

}  // namespace spell::bench
