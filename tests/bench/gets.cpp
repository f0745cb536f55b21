// A crowd that asks for the same thing. Prints the seconds for all.
//
//     spell_bench_gets SOCKET TARGET COUNT CLIENTS
#include <cstdlib>

#include "crowd.hpp"

int main(int argc, char** argv) {
  if (argc != 5)
    return std::fputs("usage: spell_bench_gets SOCKET TARGET COUNT CLIENTS\n", stderr), 2;
  spell::net::ClientRequest request;
  request.method = "GET";
  request.target = argv[2];
  return spell::bench::crowd(argv[1], std::atoi(argv[3]), std::atoi(argv[4]), 200,
                             [&](int) -> const spell::net::ClientRequest& { return request; });
}
