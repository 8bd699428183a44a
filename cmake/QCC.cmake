# Helpers of the build: warnings, tablegen, the object library behind libQCC, installation.

find_program(QCC_CCACHE ccache)
if(QCC_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${QCC_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${QCC_CCACHE})
endif()

# Warnings as errors for code that is ours; headers of others are SYSTEM.
set(QCC_WARNINGS -Wall -Wextra -Werror -Wno-unused-parameter -Wshadow=local -Wnon-virtual-dtor)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  set(QCC_WARNINGS -Wall -Wextra -Werror -Wno-unused-parameter -Wshadow -Wnon-virtual-dtor)
endif()

# qcc_compile_options(TARGET): what every target that includes MLIR headers needs.
function(qcc_compile_options target)
  target_compile_options(${target} PRIVATE ${QCC_WARNINGS} -fno-exceptions -fno-rtti
    "$<$<CXX_COMPILER_ID:Clang>:SHELL:-Xclang -fno-pch-timestamp>")
  target_compile_options(${target} PRIVATE ${LLVM_DEFINITIONS_LIST})
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/include)
  # Generated code is not ours to warn about.
  target_include_directories(${target} SYSTEM PRIVATE ${CMAKE_BINARY_DIR}/include ${MLIR_INCLUDE_DIRS}
                                                      ${LLVM_INCLUDE_DIRS})
  add_dependencies(${target} QCCTableGen)
endfunction()

add_custom_target(QCCTableGen)

# qcc_sources(FILE...): adds the sources of this folder to libQCC.
function(qcc_sources)
  foreach(file ${ARGN})
    target_sources(QCCObjects PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/${file})
  endforeach()
endfunction()

# qcc_math_sources(FILE...): adds sources of arithmetic to libQCC. They are optimised in any build: Eigen consists of small
# functions, and what loops over weights takes minutes without. They include no MLIR, so no precompiled header.
function(qcc_math_sources)
  qcc_sources(${ARGN})
  get_target_property(eigen Eigen3::Eigen INTERFACE_INCLUDE_DIRECTORIES)
  foreach(file ${ARGN})
    set_source_files_properties(${CMAKE_CURRENT_SOURCE_DIR}/${file} TARGET_DIRECTORY QCCObjects PROPERTIES
      SKIP_PRECOMPILE_HEADERS ON COMPILE_OPTIONS "-O3;-isystem${eigen}" COMPILE_DEFINITIONS EIGEN_DONT_PARALLELIZE)
  endforeach()
endfunction()

# qcc_tablegen(TD OUTPUT ARGS...): runs mlir-tblgen on TD into build/include/OUTPUT.
function(qcc_tablegen td output)
  set(out ${CMAKE_BINARY_DIR}/include/${output})
  get_filename_component(dir ${out} DIRECTORY)
  file(MAKE_DIRECTORY ${dir})
  string(MAKE_C_IDENTIFIER ${output} name)
  add_custom_command(OUTPUT ${out}
    COMMAND ${MLIR_TABLEGEN_EXE} ${ARGN} -I ${CMAKE_SOURCE_DIR}/include -I ${MLIR_INCLUDE_DIRS}
            -I ${CMAKE_CURRENT_SOURCE_DIR} ${td} --write-if-changed -o ${out} -d ${out}.d
    DEPENDS ${td} DEPFILE ${out}.d VERBATIM)
  add_custom_target(${name} DEPENDS ${out})
  add_dependencies(QCCTableGen ${name})
endfunction()

# qcc_pass(NAME SOURCES...): a pass folder: NAME.td declares the pass, the sources implement it.
function(qcc_pass name)
  get_filename_component(folder ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  qcc_tablegen(${CMAKE_CURRENT_SOURCE_DIR}/${name}.td qcc/passes/${name}.h.inc -gen-pass-decls -name ${name})
  qcc_sources(${ARGN})
endfunction()

# qcc_tool(NAME SOURCES...): a program that links exactly libQCC, libMLIR and libLLVM.
function(qcc_tool name)
  add_executable(${name} ${ARGN})
  qcc_compile_options(${name})
  # The precompiled header is position-independent code, not that of an executable.
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${name} PRIVATE -fPIC)
  target_precompile_headers(${name} REUSE_FROM QCCObjects)
  target_link_libraries(${name} PRIVATE QCC MLIR LLVM)
  set_target_properties(${name} PROPERTIES INSTALL_RPATH "\$ORIGIN/../${CMAKE_INSTALL_LIBDIR}:/usr/lib/llvm-22/lib"
                                           BUILD_RPATH "\$ORIGIN/../lib:/usr/lib/llvm-22/lib")
  install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endfunction()

function(qcc_link_library)
  target_link_libraries(QCC PRIVATE MLIR LLVM ${QCC_EXTRA_LIBS})
endfunction()

# qcc_install(): the library, its headers and the package that find_package(QCC) reads.
function(qcc_install)
  install(TARGETS QCC EXPORT QCCTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
          INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(DIRECTORY ${CMAKE_SOURCE_DIR}/include/qcc ${CMAKE_BINARY_DIR}/include/qcc
          DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h" PATTERN "*.td" PATTERN "*.inc" PATTERN "*.def")
  include(CMakePackageConfigHelpers)
  set(folder ${CMAKE_INSTALL_LIBDIR}/cmake/QCC)
  configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/QCCConfig.cmake.in ${CMAKE_BINARY_DIR}/cmake/QCCConfig.cmake
                                INSTALL_DESTINATION ${folder})
  # Plugins work with the version that they were built with.
  write_basic_package_version_file(${CMAKE_BINARY_DIR}/cmake/QCCConfigVersion.cmake COMPATIBILITY ExactVersion)
  install(FILES ${CMAKE_BINARY_DIR}/cmake/QCCConfig.cmake ${CMAKE_BINARY_DIR}/cmake/QCCConfigVersion.cmake
          DESTINATION ${folder})
  install(EXPORT QCCTargets NAMESPACE QCC:: DESTINATION ${folder})
endfunction()
