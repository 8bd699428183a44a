/*===- empty.c - a plugin that brings nothing ---------------------*- C -*-===*/
/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
#include <stddef.h>

struct info {
  unsigned api;
  const char *version, *name;
  void (*extend)(void *);
};

static void extend(void *extensions) { (void)extensions; }

struct info qccGetPluginInfo(void) {
  struct info empty = {1, VERSION, NAME, extend};
  return empty;
}
