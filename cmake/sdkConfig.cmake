# find_package(spell) on a machine that builds a program for its service: spell::static, and by the other name the same.
if(NOT TARGET spell::static)
  find_package(Threads REQUIRED)
  get_filename_component(_spell_sdk ${CMAKE_CURRENT_LIST_DIR}/../../.. ABSOLUTE)
  add_library(spell::static STATIC IMPORTED)
  set_target_properties(spell::static PROPERTIES
    IMPORTED_LOCATION ${_spell_sdk}/lib/libspell.a
    INTERFACE_INCLUDE_DIRECTORIES ${_spell_sdk}/include
    INTERFACE_COMPILE_FEATURES cxx_std_20
    INTERFACE_LINK_LIBRARIES "Threads::Threads;m;${CMAKE_DL_LIBS}")
  add_library(spell::spell INTERFACE IMPORTED)
  set_target_properties(spell::spell PROPERTIES INTERFACE_LINK_LIBRARIES spell::static)
  unset(_spell_sdk)
endif()
set(spell_static_FOUND TRUE)
foreach(_spell_part service testing)
  if(spell_FIND_REQUIRED_${_spell_part})
    set(spell_FOUND FALSE)
    set(spell_NOT_FOUND_MESSAGE "a service's machines have spell::static, not spell::${_spell_part}: build the program elsewhere and send it (--program)")
  endif()
endforeach()
unset(_spell_part)
