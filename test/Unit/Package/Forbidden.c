/*===- Forbidden.c - needs what an artifact may not need ----------*- C -*-===*/
/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
extern int system(const char *command);

int useForbidden(void) { return system("true"); }
