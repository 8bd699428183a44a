/*===- old.c - a plugin for another version -----------------------*- C -*-===*/
/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
#include <stddef.h>

#ifndef API
#define API 1
#endif

struct info {
  unsigned api;
  const char *version, *name;
  void (*extend)(void *);
};

struct info qccGetPluginInfo(void) {
  struct info old = {API, "0.0.9", "old", NULL};
  return old;
}
