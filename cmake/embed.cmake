# spell_embed(target file symbol): the file's bytes become part of the target, as
#   extern const char symbol[];             // a NUL follows the bytes
#   extern const unsigned long symbol_size; // without that NUL
# Run as a script (cmake -P) this same file writes the .cpp at build time.
if(CMAKE_SCRIPT_MODE_FILE)
  file(READ "${SPELL_EMBED_FILE}" hex HEX)
  string(LENGTH "${hex}" digits)
  math(EXPR size "${digits} / 2")
  string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${hex}")
  file(WRITE "${SPELL_EMBED_OUTPUT}"
    "extern const char ${SPELL_EMBED_SYMBOL}[] = {\n${bytes}'\\0'};\n"
    "extern const unsigned long ${SPELL_EMBED_SYMBOL}_size = ${size};\n")
  return()
endif()

set(SPELL_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE})

function(spell_embed target file symbol)
  cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY ${PROJECT_SOURCE_DIR})
  set(output ${CMAKE_CURRENT_BINARY_DIR}/embedded/${symbol}.cpp)
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DSPELL_EMBED_FILE=${file} -DSPELL_EMBED_OUTPUT=${output} -DSPELL_EMBED_SYMBOL=${symbol}
      -P ${SPELL_EMBED_SCRIPT}
    DEPENDS ${file} ${SPELL_EMBED_SCRIPT} COMMENT "Embedding ${file}" VERBATIM)
  target_sources(${target} PRIVATE ${output})
endfunction()
