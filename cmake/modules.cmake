# One folder of src/ = one module = one static library target spell_<module>.
add_library(spell_flags INTERFACE)
target_compile_options(spell_flags INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Werror=return-type)
# g++ 12 sees overlaps in std::string's own copies: https://gcc.gnu.org/bugzilla/show_bug.cgi?id=105651
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(spell_flags INTERFACE -Wno-restrict)
endif()
if(SPELL_UNITY)
  # What they warn of is said of one file's names in another.
  target_compile_options(spell_flags INTERFACE -Wno-shadow -Wno-subobject-linkage)
endif()
if(SPELL_SANITIZE STREQUAL "thread")
  # Asio's fences are not known to it; nothing of ours stands on them.
  target_compile_options(spell_flags INTERFACE -fsanitize=thread -fno-omit-frame-pointer -Wno-tsan)
  target_link_options(spell_flags INTERFACE -fsanitize=thread)
elseif(SPELL_SANITIZE STREQUAL "fuzzer")
  target_compile_options(spell_flags INTERFACE -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer
    -fno-sanitize-recover=undefined)
  target_link_options(spell_flags INTERFACE -fsanitize=address,undefined)
elseif(SPELL_SANITIZE)
  target_compile_options(spell_flags INTERFACE -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
  target_link_options(spell_flags INTERFACE -fsanitize=address,undefined)
endif()

function(spell_module name)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cpp)
  if(NOT sources)
    return()
  endif()
  add_library(spell_${name} STATIC ${sources})
  target_include_directories(spell_${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src> $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
  target_link_libraries(spell_${name} PRIVATE $<BUILD_INTERFACE:spell_flags> PUBLIC Threads::Threads ${SPELL_USES_${name}})
  foreach(lower ${SPELL_LAYER_${name}})
    if(TARGET spell_${lower})
      target_link_libraries(spell_${name} PUBLIC spell_${lower})
    endif()
  endforeach()
endfunction()
