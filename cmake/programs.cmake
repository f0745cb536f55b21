if(TARGET spell_service)
  include(cmake/embed.cmake)
  spell_embed(spell_service src/share/openapi.json spell_openapi)
endif()

# The programs. Their folders hold a main each; everything else is in the modules.
set_source_files_properties(src/base/version.cpp PROPERTIES COMPILE_DEFINITIONS SPELL_VERSION="${PROJECT_VERSION}")

set(SPELL_SUPERVISOR_SOURCES)
file(GLOB SPELL_SUPERVISOR_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/supervisor/*.cpp)
if(SPELL_SUPERVISOR_SOURCES)
  add_executable(spell-supervisor ${SPELL_SUPERVISOR_SOURCES})
  target_include_directories(spell-supervisor PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_compile_options(spell-supervisor PRIVATE -Os -fno-exceptions -fno-rtti -fno-asynchronous-unwind-tables -Wall -Wextra -fno-pie
    -ffunction-sections -fdata-sections -fno-threadsafe-statics)
  set_target_properties(spell-supervisor PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_link_options(spell-supervisor PRIVATE -static -no-pie -nodefaultlibs -Wl,--gc-sections -s)
  target_link_libraries(spell-supervisor PRIVATE -Wl,--start-group c gcc gcc_eh -Wl,--end-group)  # no C++ library
endif()

# libspell: all of the SDK's modules in one library.
if(TARGET spell_client)
  set(SPELL_SDK_MODULES base model net git spellfs proc client)
  set(SPELL_SDK_OBJECTS)
  foreach(module ${SPELL_SDK_MODULES})
    if(TARGET spell_${module})
      list(APPEND SPELL_SDK_OBJECTS $<TARGET_OBJECTS:spell_${module}>)
    endif()
  endforeach()
  add_library(spell SHARED ${SPELL_SDK_OBJECTS})
  add_library(spell_static STATIC ${SPELL_SDK_OBJECTS})
  foreach(library spell spell_static)
    target_include_directories(${library} PUBLIC
      $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
    target_compile_features(${library} PUBLIC cxx_std_20)
  endforeach()
  set(SPELL_SDK_LIBRARIES OpenSSL::SSL OpenSSL::Crypto SQLite::SQLite3 PkgConfig::LIBGIT2 PkgConfig::ZSTD Threads::Threads)
  target_link_libraries(spell PRIVATE ${SPELL_SDK_LIBRARIES})
  target_link_libraries(spell_static PRIVATE $<BUILD_INTERFACE:${SPELL_SDK_LIBRARIES}>)
  target_link_options(spell PRIVATE -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/libspell.map)
  set_target_properties(spell PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
    LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/libspell.map)
  set_target_properties(spell_static PROPERTIES OUTPUT_NAME spell)
endif()

file(GLOB SPELL_CLI_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cli/spell/*.cpp)
if(SPELL_CLI_SOURCES AND TARGET spell_client)
  add_executable(spell-cli ${SPELL_CLI_SOURCES})
  set_target_properties(spell-cli PROPERTIES OUTPUT_NAME spell)
  target_link_libraries(spell-cli PRIVATE spell_client CLI11::CLI11 nlohmann_json::nlohmann_json PkgConfig::YAML_CPP spell_flags)
endif()

if(EXISTS ${PROJECT_SOURCE_DIR}/cli/spelld/main.cpp AND TARGET spell_service AND TARGET spell_worker)
  file(GLOB SPELLD_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cli/spelld/*.cpp)
  add_executable(spelld ${SPELLD_SOURCES})
  target_link_libraries(spelld PRIVATE spell_service spell_worker CLI11::CLI11 spell_flags)
  add_dependencies(spelld spell-supervisor)
endif()
