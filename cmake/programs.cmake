if(TARGET spell_service)
  include(cmake/embed.cmake)
  spell_embed(spell_service src/share/openapi.json spell_openapi)
  spell_embed(spell_service src/share/machine-types.csv spell_machine_types)
  spell_embed(spell_service src/share/install/worker.sh spell_install_worker)
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
  # Static, without a C++ library; against musl where it is installed: a tenth of the size, and it starts at once (glibc first
  # looks the processor over, which a virtual machine traps: 0.3 ms a run).
  string(REPLACE "-linux-gnu" "-linux-musl" musl "${CMAKE_LIBRARY_ARCHITECTURE}")
  if(musl AND EXISTS /usr/lib/${musl}/libc.a AND EXISTS /usr/include/${musl}/stdlib.h)
    set(own_includes)
    set(kernel_includes)
    foreach(folder ${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES})
      if(folder MATCHES "/c\\+\\+/|/gcc/")
        list(APPEND own_includes "SHELL:-isystem ${folder}")
      else()
        list(APPEND kernel_includes "SHELL:-idirafter ${folder}")
      endif()
    endforeach()
    # libstdc++'s headers ask for glibc's version with a macro that musl does not have.
    target_compile_options(spell-supervisor PRIVATE "-D__GLIBC_PREREQ(a,b)=0" -fno-stack-protector -nostdinc
      ${own_includes} "SHELL:-isystem /usr/include/${musl}" ${kernel_includes})
    target_link_options(spell-supervisor PRIVATE -static -no-pie -nostdlib -Wl,--gc-sections -s
      /usr/lib/${musl}/crt1.o /usr/lib/${musl}/crti.o /usr/lib/${musl}/crtn.o)
    target_link_libraries(spell-supervisor PRIVATE -Wl,--start-group /usr/lib/${musl}/libc.a gcc -Wl,--end-group)
  else()
    target_link_options(spell-supervisor PRIVATE -static -no-pie -nodefaultlibs -Wl,--gc-sections -s)
    target_link_libraries(spell-supervisor PRIVATE -Wl,--start-group c gcc gcc_eh -Wl,--end-group)
  endif()
endif()

# libspell: the SDK's modules in one library, shared and static.
if(TARGET spell_client)
  set(SPELL_SDK_MODULES base model net git spellfs proc client)
  set(SPELL_SDK_OBJECTS)
  foreach(module ${SPELL_SDK_MODULES})
    list(APPEND SPELL_SDK_OBJECTS $<TARGET_OBJECTS:spell_${module}>)
    # Hidden symbols could not be exported: what the shared library shows is said in libspell.map alone.
    set_target_properties(spell_${module} PROPERTIES CXX_VISIBILITY_PRESET default)
  endforeach()
  # Boost, whose inline functions every object brings along, under a name of our own: a program that links libspell.a may have
  # another version of it.
  # (No header may be found by a macro with that name in it: the user's configuration, and what Boost.Date_Time stands on.)
  target_compile_definitions(spell_net PRIVATE boost=spell_boost BOOST_NO_USER_CONFIG BOOST_ASIO_DISABLE_BOOST_DATE_TIME)
  set(SPELL_SYSTEM_LIBRARIES OpenSSL::SSL OpenSSL::Crypto Threads::Threads ${CMAKE_DL_LIBS} m)
  set(SPELL_OTHER_LIBRARIES PkgConfig::LIBGIT2 ZLIB::ZLIB PkgConfig::ZSTD SQLite::SQLite3)
  add_library(spell SHARED ${SPELL_SDK_OBJECTS})
  add_library(spell_static STATIC ${SPELL_SDK_OBJECTS})
  add_library(spell::spell ALIAS spell)
  add_library(spell::static ALIAS spell_static)
  target_link_libraries(spell PRIVATE ${SPELL_OTHER_LIBRARIES} ${SPELL_SYSTEM_LIBRARIES})
  if(SPELL_SELF_CONTAINED)
    target_link_options(spell PRIVATE -Wl,--wrap=stdout)
  endif()
  if(NOT SPELL_SANITIZE)
    target_link_options(spell PRIVATE -Wl,-z,defs)
  endif()
  spell_own_libraries(spell_static with)
  target_link_options(spell PRIVATE -Wl,--as-needed -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/libspell.map)
  set_target_properties(spell PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
    LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/libspell.map)
  set_target_properties(spell_static PROPERTIES OUTPUT_NAME spell EXPORT_NAME static)

  file(GLOB SPELL_HEADERS CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/spell/*.hpp)
  set(SPELL_OPT_IN_HEADERS ${PROJECT_SOURCE_DIR}/include/spell/json.hpp ${PROJECT_SOURCE_DIR}/include/spell/asio.hpp)
  list(REMOVE_ITEM SPELL_HEADERS ${SPELL_OPT_IN_HEADERS})
  foreach(library spell spell_static)
    target_compile_features(${library} PUBLIC cxx_std_20)
    target_sources(${library} PUBLIC
      FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR}/include FILES ${SPELL_HEADERS}
      FILE_SET opt_in TYPE HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR}/include FILES ${SPELL_OPT_IN_HEADERS})
  endforeach()
  # Every header by itself: target spell_verify_interface_header_sets.
  set_target_properties(spell PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON INTERFACE_HEADER_SETS_TO_VERIFY HEADERS)
endif()

# spell::service: what a program needs besides to be the service itself.
if(TARGET spell_embedded AND TARGET spell_static)
  set(SPELL_SERVICE_OBJECTS)
  foreach(module backup sched store exec service worker embedded)
    list(APPEND SPELL_SERVICE_OBJECTS $<TARGET_OBJECTS:spell_${module}>)
  endforeach()
  add_library(spell_service_static STATIC ${SPELL_SERVICE_OBJECTS})
  add_library(spell::service ALIAS spell_service_static)
  target_link_libraries(spell_service_static PUBLIC spell_static)
  spell_own_libraries(spell_service_static by-name)
  set_target_properties(spell_service_static PROPERTIES OUTPUT_NAME spell-service EXPORT_NAME service)
  # spell::testing: fakes for the tests of such programs.
  add_library(spell_testing_static STATIC $<TARGET_OBJECTS:spell_testing>)
  add_library(spell::testing ALIAS spell_testing_static)
  target_link_libraries(spell_testing_static PUBLIC spell_service_static)
  set_target_properties(spell_testing_static PROPERTIES OUTPUT_NAME spell-testing EXPORT_NAME testing)
endif()

file(GLOB SPELL_CLI_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cli/spell/*.cpp)
if(SPELL_CLI_SOURCES AND TARGET spell_client)
  add_executable(spell-cli ${SPELL_CLI_SOURCES})
  # By itself in a unity build: tests link all of the program but that.
  set_source_files_properties(${PROJECT_SOURCE_DIR}/cli/spell/main.cpp PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  set_target_properties(spell-cli PROPERTIES OUTPUT_NAME spell)
  target_link_libraries(spell-cli PRIVATE spell_client CLI11::CLI11 nlohmann_json::nlohmann_json PkgConfig::YAML_CPP spell_flags)
endif()

# The programs of machine pools (docs/pools.md), beside the service's as in an installation.
file(GLOB SPELL_POOLS CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/share/pools/*)
set(SPELL_POOL_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
foreach(pool ${SPELL_POOLS})
  get_filename_component(name ${pool} NAME)
  configure_file(${pool} ${PROJECT_BINARY_DIR}/libexec/spell/pools/${name} COPYONLY
    FILE_PERMISSIONS ${SPELL_POOL_PERMISSIONS})
endforeach()

if(EXISTS ${PROJECT_SOURCE_DIR}/cli/spelld/main.cpp AND TARGET spell_service AND TARGET spell_worker)
  file(GLOB SPELLD_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cli/spelld/*.cpp)
  add_executable(spelld ${SPELLD_SOURCES})
  target_link_libraries(spelld PRIVATE spell_service spell_worker CLI11::CLI11 spell_flags)
  add_dependencies(spelld spell-supervisor)
endif()

if(EXISTS ${PROJECT_SOURCE_DIR}/cli/spell-worker/main.cpp AND TARGET spell_worker)
  file(GLOB SPELL_WORKER_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cli/spell-worker/*.cpp)
  add_executable(spell-worker ${SPELL_WORKER_SOURCES})
  target_link_libraries(spell-worker PRIVATE spell_worker CLI11::CLI11 nlohmann_json::nlohmann_json spell_flags)
  add_dependencies(spell-worker spell-supervisor)
endif()
