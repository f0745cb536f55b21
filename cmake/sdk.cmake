# The SDK that a service hands out for programs that are built on its machines (`spell workflow create --build`): headers, a
# static library that needs nothing but libc and the C++ library, and a CMake package. In the build tree it is sdk/.
if(NOT TARGET spell_static OR NOT SPELL_SELF_CONTAINED OR SPELL_SANITIZE)
  return()
endif()
set(archives)
foreach(name ${SPELL_ARCHIVES} ssl crypto)
  find_library(SPELL_ARCHIVE_${name} lib${name}.a)
  mark_as_advanced(SPELL_ARCHIVE_${name})
  if(NOT SPELL_ARCHIVE_${name})
    message(STATUS "No lib${name}.a: the service has no SDK for programs that are to be built on its machines")
    return()
  endif()
  list(APPEND archives ${SPELL_ARCHIVE_${name}})
endforeach()

set(modules)
foreach(module ${SPELL_SDK_MODULES})
  list(APPEND modules $<TARGET_FILE:spell_${module}>)
endforeach()

set(SPELL_SDK ${PROJECT_BINARY_DIR}/sdk)
file(GLOB headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/spell/*.hpp)
list(REMOVE_ITEM headers ${PROJECT_SOURCE_DIR}/include/spell/service.hpp
  ${PROJECT_SOURCE_DIR}/include/spell/worker.hpp ${PROJECT_SOURCE_DIR}/include/spell/testing.hpp)
add_custom_command(OUTPUT ${SPELL_SDK}/lib/libspell.a
  COMMAND ${CMAKE_COMMAND} -E rm -rf ${SPELL_SDK}
  COMMAND ${CMAKE_COMMAND} -E make_directory ${SPELL_SDK}/include/spell ${SPELL_SDK}/lib/cmake/spell
  COMMAND ${CMAKE_COMMAND} -E copy ${headers} ${SPELL_SDK}/include/spell
  COMMAND ${CMAKE_COMMAND} -E copy ${PROJECT_BINARY_DIR}/spellConfigVersion.cmake ${SPELL_SDK}/lib/cmake/spell
  COMMAND ${CMAKE_COMMAND} -E copy ${PROJECT_SOURCE_DIR}/cmake/sdkConfig.cmake ${SPELL_SDK}/lib/cmake/spell/spellConfig.cmake
  COMMAND ${CMAKE_COMMAND} -E env LD=${CMAKE_LINKER} NM=${CMAKE_NM} OBJCOPY=${CMAKE_OBJCOPY} AR=${CMAKE_AR}
    sh ${PROJECT_SOURCE_DIR}/cmake/sdk_library.sh ${SPELL_SDK}/lib/libspell.a
    ${modules} -- $<TARGET_FILE:spell_libgit2_gaps> ${archives}
  DEPENDS ${modules} spell_libgit2_gaps ${PROJECT_SOURCE_DIR}/cmake/sdkConfig.cmake ${PROJECT_SOURCE_DIR}/cmake/sdk_library.sh ${headers}
  COMMENT "Putting the SDK together" VERBATIM)
add_custom_target(spell_sdk ALL DEPENDS ${SPELL_SDK}/lib/libspell.a)
install(DIRECTORY ${SPELL_SDK} DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/spell COMPONENT programs)
