# `cmake --install`: the components runtime (libspell.so), development (headers, libspell.a, CMake and pkg-config files) and
# programs. Everything finds its parts relative to itself, so a prefix may be moved.
include(CMakePackageConfigHelpers)

if(TARGET spell)
  set(SPELL_CMAKE_FOLDER ${CMAKE_INSTALL_LIBDIR}/cmake/spell)
  install(TARGETS spell EXPORT spellTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT development
    FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development
    FILE_SET opt_in DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)
  # Apart, because it needs other packages: whoever uses the shared library need not have them.
  install(TARGETS spell_static EXPORT spellStaticTargets
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development
    FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development
    FILE_SET opt_in DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)
  install(TARGETS spell_service_static spell_testing_static EXPORT spellStaticTargets
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
  foreach(set spellTargets spellStaticTargets)
    install(EXPORT ${set} NAMESPACE spell:: DESTINATION ${SPELL_CMAKE_FOLDER} COMPONENT development)
  endforeach()

  configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/spellConfig.cmake.in ${PROJECT_BINARY_DIR}/spellConfig.cmake
    INSTALL_DESTINATION ${SPELL_CMAKE_FOLDER})
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/spellConfigVersion.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${PROJECT_BINARY_DIR}/spellConfig.cmake ${PROJECT_BINARY_DIR}/spellConfigVersion.cmake
    DESTINATION ${SPELL_CMAKE_FOLDER} COMPONENT development)

  set(SPELL_PC_REQUIRES openssl)
  if(NOT SPELL_SELF_CONTAINED)
    string(APPEND SPELL_PC_REQUIRES " libgit2 zlib libzstd sqlite3")
  endif()
  file(RELATIVE_PATH SPELL_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/spell.pc.in ${PROJECT_BINARY_DIR}/spell.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/spell.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
endif()

foreach(program spell-cli spelld spell-worker)
  if(TARGET ${program})
    spell_self_contained(${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT programs)
  endif()
endforeach()
if(TARGET spell-cli)
  # The command's own definitions are its manual and its completion.
  set(SPELL_MANUAL ${PROJECT_BINARY_DIR}/manual)
  add_custom_command(TARGET spell-cli POST_BUILD
    COMMAND ${CMAKE_COMMAND} -E rm -rf ${SPELL_MANUAL}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${SPELL_MANUAL}/man1
    COMMAND spell-cli __manual ${SPELL_MANUAL}/man1 > ${SPELL_MANUAL}/pages
    COMMAND spell-cli completion bash > ${SPELL_MANUAL}/spell
    COMMAND spell-cli completion zsh > ${SPELL_MANUAL}/_spell
    VERBATIM)
  install(DIRECTORY ${SPELL_MANUAL}/man1 DESTINATION ${CMAKE_INSTALL_MANDIR} COMPONENT programs)
  install(FILES ${SPELL_MANUAL}/spell DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT programs)
  install(FILES ${SPELL_MANUAL}/_spell DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions COMPONENT programs)
endif()
if(TARGET spell-supervisor)
  install(TARGETS spell-supervisor RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/spell COMPONENT programs)
endif()
if(TARGET spelld)
  install(PROGRAMS ${SPELL_POOLS} DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/spell/pools COMPONENT programs)
endif()
install(FILES ${PROJECT_SOURCE_DIR}/src/share/openapi.json DESTINATION ${CMAKE_INSTALL_DATADIR}/spell COMPONENT programs)
