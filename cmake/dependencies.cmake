# The libraries Spell is built on; docs/dependencies.md gives the reason for each.
find_package(Threads REQUIRED)
find_package(OpenSSL 3 REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(CLI11 2.1 REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(LIBGIT2 REQUIRED IMPORTED_TARGET libgit2)
find_package(ZLIB REQUIRED)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(YAML_CPP REQUIRED IMPORTED_TARGET yaml-cpp)
include(cmake/self_contained.cmake)

find_path(TOMLPLUSPLUS_INCLUDE toml++/toml.h REQUIRED)  # its headers alone

# What each module uses of them. A module that is not named here uses only the standard library.
set(SPELL_USES_base OpenSSL::Crypto)
set(SPELL_USES_model nlohmann_json::nlohmann_json)
set(SPELL_USES_net Boost::headers OpenSSL::SSL)
set(SPELL_USES_git PkgConfig::LIBGIT2 ZLIB::ZLIB OpenSSL::Crypto)
set(SPELL_USES_spellfs PkgConfig::ZSTD SQLite::SQLite3)
set(SPELL_USES_store SQLite::SQLite3)
