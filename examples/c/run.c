/*===- run.c - runs a compiled model from C -----------------------*- C -*-===*/
/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/*
 * usage: run MODEL.qcc [ENTRY]
 *
 * Opens DIR/libmodel.so, fills every input with ones (sizes that are not fixed
 * are 1, or the least that the model takes), runs the entry and prints the
 * start of each output. Needs the installed header qcc/Runtime/qcc.h and
 * dlopen:
 *
 *   cc -std=c11 -I<prefix>/include run.c -ldl -o run
 */
#include <qcc/Runtime/qcc.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TENSORS 64
#define MAX_RANK 32

/* Ends the program with the text of what failed. */
static void fail(const char *what, const char *why) {
  fprintf(stderr, "run: error: %s: %s\n", what, why);
  exit(1);
}

static const qcc_model_api *load(const char *folder) {
  char path[4096];
  snprintf(path, sizeof(path), "%s/libmodel.so", folder);
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library)
    fail("cannot load", dlerror());
  /* POSIX lets an object pointer from dlsym become a function pointer; C does
   * so only through memory. */
  void *symbol = dlsym(library, "qcc_model_query_v1");
  qcc_model_query_fn query;
  if (!symbol)
    fail(path, "not a compiled model");
  memcpy(&query, &symbol, sizeof(query));
  const qcc_model_api *api = query(QCC_ABI_VERSION, NULL);
  if (!api)
    fail(path, "needs a newer program");
  return api;
}

static qcc_model *open_model(const qcc_model_api *api) {
  char text[512] = "";
  qcc_open_options options = {.struct_size = sizeof(options),
                              .error_text = text,
                              .error_text_size = sizeof(text)};
  qcc_model *model = NULL;
  if (api->open(&options, &model) != QCC_OK)
    fail("cannot open the model", text);
  return model;
}

/* The least size that a symbol may have, but at least 1. */
static int64_t least(const qcc_model_api *api, const qcc_model *model,
                     const char *name) {
  qcc_symbol_info info = {.struct_size = sizeof(info)};
  for (uint32_t i = 0; name && api->symbol_info(model, i, &info) == QCC_OK; ++i)
    if (strcmp(info.name, name) == 0)
      return info.min > 1 ? info.min : 1;
  return 1;
}

static int64_t count_of(const DLTensor *tensor) {
  int64_t count = 1;
  for (int32_t i = 0; i < tensor->ndim; ++i)
    count *= tensor->shape[i];
  return count;
}

/* An input of ones in floats, zeros in all other types. */
static void make_input(const qcc_model_api *api, const qcc_model *model,
                       uint32_t entry, uint32_t number, int64_t *shape,
                       DLTensor *tensor) {
  qcc_tensor_info info = {.struct_size = sizeof(info)};
  if (api->tensor_info(model, entry, QCC_INPUT, number, &info) != QCC_OK)
    fail("input", "not described");
  memset(tensor, 0, sizeof(*tensor));
  tensor->device.device_type = kDLCPU;
  tensor->ndim = info.ndim;
  tensor->dtype = info.dtype;
  tensor->shape = shape;
  for (int32_t i = 0; i < info.ndim; ++i)
    shape[i] =
        info.dims[i] >= 0 ? info.dims[i] : least(api, model, info.symbols[i]);
  int64_t count = count_of(tensor);
  tensor->data = calloc((size_t)count + 1, (info.dtype.bits + 7u) / 8u);
  if (!tensor->data)
    fail(info.name, "out of memory");
  for (int64_t i = 0; i < count && info.dtype.code == kDLFloat; ++i) {
    if (info.dtype.bits == 32)
      ((float *)tensor->data)[i] = 1;
    else if (info.dtype.bits == 64)
      ((double *)tensor->data)[i] = 1;
  }
}

static void print_output(const char *name, const DLTensor *tensor) {
  printf("%s: shape", name);
  for (int32_t i = 0; i < tensor->ndim; ++i)
    printf(" %lld", (long long)tensor->shape[i]);
  if (tensor->dtype.code == kDLFloat && tensor->dtype.bits == 32)
    for (int64_t i = 0; i < count_of(tensor) && i < 8; ++i)
      printf("%s%g", i == 0 ? ", values " : " ", ((float *)tensor->data)[i]);
  printf("\n");
}

int main(int argc, char **argv) {
  if (argc < 2 || argc > 3) {
    fprintf(stderr, "usage: run MODEL.qcc [ENTRY]\n");
    return 2;
  }
  const qcc_model_api *api = load(argv[1]);
  qcc_model *model = open_model(api);

  uint32_t entry = 0;
  if (argc == 3 && api->find_entry(model, argv[2], &entry) != QCC_OK)
    fail(argv[2], "the model has no such entry");
  qcc_entry_info info = {.struct_size = sizeof(info)};
  if (api->entry_info(model, entry, &info) != QCC_OK ||
      info.num_inputs > MAX_TENSORS || info.num_outputs > MAX_TENSORS)
    fail("entry", "not described, or with too many tensors for this example");

  static int64_t shapes[2 * MAX_TENSORS][MAX_RANK];
  DLTensor tensors[2 * MAX_TENSORS];
  const DLTensor *inputs[MAX_TENSORS];
  DLTensor *outputs[MAX_TENSORS];
  for (uint32_t i = 0; i < info.num_inputs; ++i) {
    make_input(api, model, entry, i, shapes[i], &tensors[i]);
    inputs[i] = &tensors[i];
  }
  for (uint32_t i = 0; i < info.num_outputs; ++i) {
    /* No data: the model allocates it. */
    outputs[i] = &tensors[MAX_TENSORS + i];
    memset(outputs[i], 0, sizeof(*outputs[i]));
    outputs[i]->shape = shapes[MAX_TENSORS + i];
  }

  qcc_context *context = NULL;
  if (api->context_create(model, NULL, &context) != QCC_OK)
    fail("context", "out of memory");
  if (api->run(context, entry, inputs, info.num_inputs, outputs,
               info.num_outputs) != QCC_OK)
    fail("run", api->last_error(context));

  for (uint32_t i = 0; i < info.num_outputs; ++i) {
    qcc_tensor_info output = {.struct_size = sizeof(output)};
    api->tensor_info(model, entry, QCC_OUTPUT, i, &output);
    print_output(output.name, outputs[i]);
    api->free_tensor(model, outputs[i]);
  }
  for (uint32_t i = 0; i < info.num_inputs; ++i)
    free(tensors[i].data);
  api->context_destroy(context);
  return api->close(model) == QCC_OK ? 0 : 1;
}
