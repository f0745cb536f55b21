# Programs that run on any distribution with glibc 2.35 and OpenSSL 3: every other library becomes part of them, so that they
# start quickly (in half the time) and one package fits Debian and Ubuntu. Where an archive is missing, the shared libraries
# are used and the configuration says so.
option(SPELL_SELF_CONTAINED "Link libraries other than libc and OpenSSL statically" ON)

# Each archive (the command line has yaml-cpp besides), and what it needs itself.
set(SPELL_ARCHIVES z zstd sqlite3 mbedcrypto mbedx509 mbedtls http_parser pcre2-8 ssh2 git2)
set(SPELL_ARCHIVE_USES_sqlite3 m)
set(SPELL_ARCHIVE_USES_mbedx509 spell_archive_mbedcrypto)
set(SPELL_ARCHIVE_USES_mbedtls spell_archive_mbedx509)
set(SPELL_ARCHIVE_USES_ssh2 OpenSSL::Crypto spell_archive_z)
set(SPELL_ARCHIVE_USES_git2 spell_archive_ssh2 spell_archive_mbedtls spell_archive_http_parser spell_archive_pcre2-8
  spell_archive_z spell_libgit2_gaps OpenSSL::SSL)

if(SPELL_SELF_CONTAINED)
  foreach(name ${SPELL_ARCHIVES} yaml-cpp)
    find_library(SPELL_ARCHIVE_${name} lib${name}.a)
    mark_as_advanced(SPELL_ARCHIVE_${name})
    if(NOT SPELL_ARCHIVE_${name})
      message(STATUS "No lib${name}.a: programs are linked with shared libraries, and fit this distribution only")
      set(SPELL_SELF_CONTAINED OFF)
      break()
    endif()
  endforeach()
endif()
if(SPELL_SELF_CONTAINED)
  add_library(spell_libgit2_gaps STATIC cmake/libgit2_gaps.cpp)
  foreach(name ${SPELL_ARCHIVES} yaml-cpp)
    add_library(spell_archive_${name} STATIC IMPORTED)
    set_target_properties(spell_archive_${name} PROPERTIES
      IMPORTED_LOCATION ${SPELL_ARCHIVE_${name}} INTERFACE_LINK_LIBRARIES "${SPELL_ARCHIVE_USES_${name}}")
  endforeach()
  set_target_properties(PkgConfig::LIBGIT2 PROPERTIES INTERFACE_LINK_LIBRARIES spell_archive_git2)
  set_target_properties(PkgConfig::ZSTD PROPERTIES INTERFACE_LINK_LIBRARIES spell_archive_zstd)
  set_target_properties(PkgConfig::YAML_CPP PROPERTIES INTERFACE_LINK_LIBRARIES spell_archive_yaml-cpp)
  set_target_properties(ZLIB::ZLIB PROPERTIES IMPORTED_LOCATION ${SPELL_ARCHIVE_z} IMPORTED_LOCATION_RELEASE ${SPELL_ARCHIVE_z})
  set_target_properties(SQLite::SQLite3 PROPERTIES IMPORTED_LOCATION ${SPELL_ARCHIVE_sqlite3} INTERFACE_LINK_LIBRARIES m)
endif()

# spell_self_contained(program): its C++ library too. Not for libspell, which shares that with the program that uses it.
function(spell_self_contained program)
  if(SPELL_SELF_CONTAINED AND NOT SPELL_SANITIZE)
    target_sources(${program} PRIVATE ${PROJECT_SOURCE_DIR}/cmake/glibc_2_35.cpp)
    target_link_options(${program} PRIVATE -static-libstdc++ -static-libgcc -Wl,--as-needed)
  endif()
endfunction()

# spell_own_libraries(library with|by-name): a static library that is installed asks of whoever links it for nothing but OpenSSL:
# libspell.a has the archives inside, and the others find them there.
function(spell_own_libraries library how)
  if(SPELL_SELF_CONTAINED)
    set(archives $<TARGET_FILE:spell_libgit2_gaps>)
    foreach(name ${SPELL_ARCHIVES})
      list(APPEND archives ${SPELL_ARCHIVE_${name}})
    endforeach()
    add_dependencies(${library} spell_libgit2_gaps)
    set_property(TARGET ${library} APPEND PROPERTY LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/own_libraries.sh)
    add_custom_command(TARGET ${library} POST_BUILD
      COMMAND ${CMAKE_COMMAND} -E env NM=${CMAKE_NM} OBJCOPY=${CMAKE_OBJCOPY} AR=${CMAKE_AR}
        sh ${PROJECT_SOURCE_DIR}/cmake/own_libraries.sh ${how} $<TARGET_FILE:${library}> ${archives} VERBATIM)
    target_link_libraries(${library} PUBLIC ${SPELL_SYSTEM_LIBRARIES})
  else()
    target_link_libraries(${library} PUBLIC ${SPELL_OTHER_LIBRARIES} ${SPELL_SYSTEM_LIBRARIES})
  endif()
endfunction()
