/*===- old.c - a plugin for another version -----------------------*- C -*-===*/
/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
#include <stddef.h>

#ifndef API
#define API 1
#endif
#ifndef VERSION
#define VERSION "0.0.9"
#endif

struct info {
  unsigned api;
  const char *version, *name;
  void (*extend)(void *);
};

struct info qccGetPluginInfo(void) {
  struct info old = {API, VERSION, "old", NULL};
  return old;
}
