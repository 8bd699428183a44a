cmake_minimum_required(VERSION 3.25)
# Makes the stub libraries that artifacts are linked against: empty functions with the names and versions of a list.
#   cmake -DLIST=AllowedSymbols.txt -DOUT=folder -DCLANG=clang -DLLD=ld.lld -P MakeStubs.cmake
# They carry the sonames of the real libraries, so that what is linked records GLIBC versions no newer than needed, on
# any machine.
file(STRINGS ${LIST} lines REGEX "^lib")
set(libraries "")
foreach(line ${lines})
  string(REPLACE " " ";" words "${line}")
  list(GET words 0 library)
  list(GET words 1 version)
  list(GET words 2 name)
  if(NOT library IN_LIST libraries)
    list(APPEND libraries ${library})
    set(versions_${library} "")
    set(code_${library} ".text\n")
  endif()
  if(NOT version IN_LIST versions_${library})
    list(APPEND versions_${library} ${version})
    set(names_${library}_${version} "")
  endif()
  string(APPEND names_${library}_${version} " ${name};")
  string(APPEND code_${library} ".globl ${name}\n.type ${name}, @function\n${name}: ret\n.size ${name}, . - ${name}\n")
endforeach()

file(MAKE_DIRECTORY ${OUT})
foreach(library ${libraries})
  set(script "")
  foreach(version ${versions_${library}})
    string(APPEND script "${version} {${names_${library}_${version}} };\n")
  endforeach()
  file(WRITE ${OUT}/${library}.s "${code_${library}}.section .note.GNU-stack,\"\",@progbits\n")
  file(WRITE ${OUT}/${library}.versions "${script}")
  execute_process(COMMAND ${CLANG} --target=x86_64-linux-gnu -c ${OUT}/${library}.s -o ${OUT}/${library}.o
                  COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND ${LLD} -shared -soname ${library} --version-script ${OUT}/${library}.versions
                          --hash-style=gnu -o ${OUT}/${library} ${OUT}/${library}.o COMMAND_ERROR_IS_FATAL ANY)
  file(REMOVE ${OUT}/${library}.s ${OUT}/${library}.versions ${OUT}/${library}.o)
endforeach()
