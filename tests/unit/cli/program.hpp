// The program in this process, with files for its streams and no terminal.
#pragma once
#include <unistd.h>

#include <cstdio>
#include <string>

#include "command.hpp"

struct Program {
  int status = -1;
  std::string out, err;

  explicit Program(const spell::cli::Words& arguments) {
    FILE* in_file = std::tmpfile();
    FILE* out_file = std::tmpfile();
    FILE* err_file = std::tmpfile();
    status = spell::cli::spell_main(arguments,
                                    {::fileno(in_file), ::fileno(out_file), ::fileno(err_file)});
    out = text(out_file);
    err = text(err_file);
    std::fclose(in_file);
  }

 private:
  static std::string text(FILE* file) {
    std::string all;
    char buffer[4096];
    for (off_t at = 0; ssize_t n = ::pread(::fileno(file), buffer, sizeof buffer, at); at += n)
      all.append(buffer, static_cast<std::size_t>(n));
    std::fclose(file);
    return all;
  }
};
