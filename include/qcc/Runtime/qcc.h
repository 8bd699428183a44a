/*===- qcc.h - the C interface of a compiled model ----------------*- C -*-===*/
/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/*
 * A compiled model is one shared library with one exported symbol,
 * qcc_model_query_v1. Open the library with dlopen, ask the symbol for the
 * table of functions, open the model, create a context, run:
 *
 *   void *lib = dlopen("m.qcc/libmodel.so", RTLD_NOW | RTLD_LOCAL);
 *   qcc_model_query_fn query =
 *       (qcc_model_query_fn)dlsym(lib, "qcc_model_query_v1");
 *   const qcc_model_api *api = query(QCC_ABI_VERSION, NULL);
 *   api->open(&options, &model);
 *   api->context_create(model, NULL, &context);
 *   api->run(context, 0, inputs, 1, outputs, 1);
 *
 * A model is immutable: any number of threads may use it at the same time. A
 * context belongs to one thread at a time; contexts are independent of each
 * other. Nothing here throws, aborts, writes to errno on purpose or keeps
 * state outside of models and contexts. Structures grow only at their end:
 * whoever fills one sets struct_size, whoever reads one looks no further.
 */
#ifndef QCC_RUNTIME_QCC_H
#define QCC_RUNTIME_QCC_H

#include <stddef.h>
#include <stdint.h>

/* NOLINTBEGIN(readability-identifier-naming): C names */

#ifdef __cplusplus
extern "C" {
#endif

/** The version of this header: what to give to qcc_model_query_v1. */
#define QCC_ABI_VERSION 1u

/*===--- tensors ----------------------------------------------------------===*/

/*
 * DLPack's tensor (https://dmlc.github.io/dlpack), declared under the guard of
 * its own header so that both can be included; include dlpack.h first.
 */
#ifndef DLPACK_DLPACK_H_
#define DLPACK_DLPACK_H_
#define QCC_OWN_DLPACK 1

typedef enum { kDLCPU = 1, kDLCUDA = 2, kDLCUDAHost = 3 } DLDeviceType;

typedef struct {
  DLDeviceType device_type;
  int32_t device_id;
} DLDevice;

typedef enum {
  kDLInt = 0U,
  kDLUInt = 1U,
  kDLFloat = 2U,
  kDLOpaqueHandle = 3U,
  kDLBfloat = 4U,
  kDLComplex = 5U,
  kDLBool = 6U,
  kDLFloat8_e3m4 = 7U,
  kDLFloat8_e4m3 = 8U,
  kDLFloat8_e4m3b11fnuz = 9U,
  kDLFloat8_e4m3fn = 10U,
  kDLFloat8_e4m3fnuz = 11U,
  kDLFloat8_e5m2 = 12U,
  kDLFloat8_e5m2fnuz = 13U,
  kDLFloat8_e8m0fnu = 14U,
  kDLFloat6_e2m3fn = 15U,
  kDLFloat6_e3m2fn = 16U,
  kDLFloat4_e2m1fn = 17U
} DLDataTypeCode;

typedef struct {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
} DLDataType;

typedef struct {
  void *data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t *shape;
  int64_t *strides;
  uint64_t byte_offset;
} DLTensor;
#endif /* DLPACK_DLPACK_H_ */

/*===--- status -----------------------------------------------------------===*/

/** 0 for success, else one of qcc_status_code; new codes may be added. */
typedef int32_t qcc_status;

enum qcc_status_code {
  QCC_OK = 0,
  QCC_INVALID_ARGUMENT = 1, /* a call that no model could answer */
  QCC_NOT_FOUND = 2,        /* no entry, tensor, state or site of that name */
  QCC_BAD_SHAPE = 3,        /* rank or dims of a tensor are not as expected */
  QCC_BAD_TYPE = 4,         /* element type is not as expected */
  QCC_BAD_LAYOUT = 5,       /* strides, alignment, device, overlap */
  QCC_OUT_OF_MEMORY = 6,
  QCC_BAD_WEIGHTS = 7,      /* missing, unreadable, of another model, damaged */
  QCC_UNSUPPORTED_HOST = 8, /* this machine lacks a CPU feature */
  QCC_CANCELLED = 9,
  QCC_BAD_DATA = 10,    /* values of an input make the model meaningless */
  QCC_DATA_SHAPES = 11, /* the shape depends on values: only run knows it */
  QCC_IN_USE = 12,      /* contexts of the model still exist */
  QCC_INTERNAL = 13     /* a fault of the compiler or the runtime */
};

/*===--- what the host provides -------------------------------------------===*/

/** One task of a parallel loop; worker is below the loop's max_workers. */
typedef void (*qcc_task_fn)(void *arg, int64_t task, uint32_t worker);

enum qcc_log_level { QCC_LOG_NOTE = 0, QCC_LOG_WARNING = 1, QCC_LOG_ERROR = 2 };

/**
 * Services of the program around. Every function may be NULL for the default.
 * They must be callable from any thread that uses the model.
 */
typedef struct qcc_host {
  uint64_t struct_size;
  void *user;

  /** Memory with the given alignment (a power of two), or NULL. Default: from
   * the C library. Set both or none. */
  void *(*allocate)(void *user, uint64_t bytes, uint64_t alignment);
  void (*deallocate)(void *user, void *memory, uint64_t bytes);

  /** One line without end of line. Default: nothing is written. */
  void (*log)(void *user, int32_t level, const char *text);

  /**
   * Calls fn(arg, i, worker) once for each i below tasks, in any order, on
   * any threads, possibly all on this one, and returns when all are done. No
   * two calls at the same time have the same worker number. Default: the
   * model's own threads.
   */
  void (*parallel_for)(void *user, int64_t tasks, qcc_task_fn fn, void *arg);
  /** Worker numbers of parallel_for are below this, 1 to 1024. */
  uint32_t max_workers;
  uint32_t reserved;
} qcc_host;

/*===--- models -----------------------------------------------------------===*/

/** An open model: program, weights, threads. Immutable. */
typedef struct qcc_model qcc_model;

/** Working memory, states, error text of one caller. */
typedef struct qcc_context qcc_context;

enum qcc_open_flags {
  /** Compare the hash of all weights, not only of their header. */
  QCC_OPEN_VERIFY_WEIGHTS = 1u,
  /** Bind each of the model's threads to one CPU of those allowed. */
  QCC_OPEN_PIN_THREADS = 2u
};

/**
 * How to open a model. All zero but struct_size: weights that lie in the
 * library or beside it, one thread per allowed CPU.
 */
typedef struct qcc_open_options {
  uint64_t struct_size;
  const qcc_host *host; /* copied */

  /** Weights: at most one of path, fd (0: none, else the descriptor + 1, not
   * closed) and pointer (kept by the caller until close, 64-byte aligned). */
  const char *weights_path;
  int32_t weights_fd_plus_1;
  uint32_t flags; /* qcc_open_flags */
  const void *weights_data;
  uint64_t weights_bytes;

  /** Threads of the model, the caller's included; 0: one per allowed CPU. */
  uint32_t threads;
  uint32_t reserved;

  /** Where the text of an error goes, always ended by a zero byte; or NULL. */
  char *error_text;
  uint64_t error_text_size;
} qcc_open_options;

typedef struct qcc_model_info {
  uint64_t struct_size;
  const char *name;
  const char *producer; /* compiler and version */
  const char *level;    /* the level of kernels in use, as "avx512-vnni" */
  uint32_t num_entries;
  uint32_t num_symbols;
  uint32_t num_states;
  uint32_t num_sites;
  uint64_t weight_bytes;
  const uint8_t *source_sha256; /* 32 bytes */
  uint32_t threads;             /* most workers that a run uses */
  uint32_t reserved;
} qcc_model_info;

typedef struct qcc_entry_info {
  uint64_t struct_size;
  const char *name;
  uint32_t num_inputs;
  uint32_t num_outputs;
} qcc_entry_info;

enum qcc_tensor_kind { QCC_INPUT = 0, QCC_OUTPUT = 1, QCC_STATE = 2 };

typedef struct qcc_tensor_info {
  uint64_t struct_size;
  const char *name;
  DLDataType dtype;
  int32_t ndim;
  const int64_t *dims;        /* -1 where the size is not constant */
  const char *const *symbols; /* the symbol that a dim is, or NULL */
} qcc_tensor_info;

typedef struct qcc_symbol_info {
  uint64_t struct_size;
  const char *name;
  int64_t min;
  int64_t max; /* INT64_MAX: unbounded */
} qcc_symbol_info;

/** One dispatch of the host program. */
typedef struct qcc_site_info {
  uint64_t struct_size;
  uint32_t entry;
  uint32_t num_results;
  const char *node;   /* of the ONNX model */
  const char *op;     /* kind */
  const char *kernel; /* symbol name, or "" */
} qcc_site_info;

/** Bytes that a context takes to run an entry on given input shapes. */
typedef struct qcc_memory_info {
  uint64_t struct_size;
  uint64_t arena_bytes;
  uint64_t scratch_bytes;
  uint64_t state_bytes;
  uint64_t weight_bytes; /* shared by all contexts */
} qcc_memory_info;

typedef struct qcc_context_options {
  uint64_t struct_size;
  /** Most workers that a run of this context uses; 0: all of the model. */
  uint32_t max_workers;
  uint32_t reserved;
} qcc_context_options;

/** What an observer is told after a dispatch; times are CLOCK_MONOTONIC. */
typedef struct qcc_profile_event {
  uint64_t struct_size;
  uint32_t site;
  uint32_t reserved;
  uint64_t begin_ns;
  uint64_t end_ns;
  int64_t flops; /* 0 if unknown */
  int64_t bytes;
} qcc_profile_event;

/** Callbacks of a run, on the thread that called run. Any may be NULL. */
typedef struct qcc_observer {
  uint64_t struct_size;
  void *user;
  void (*profile)(void *user, const qcc_profile_event *event);
  /** Each value that a dispatch computed; the data is valid in the call. */
  void (*tensor)(void *user, uint32_t site, const char *name,
                 const DLTensor *value);
  /** Elements that the model was compiled to show (calibration). */
  void (*observe)(void *user, uint32_t site, const void *data, int64_t count,
                  DLDataType dtype);
} qcc_observer;

/**
 * The functions of a model. Functions are appended; struct_size says which are
 * there. Where a call fails, last_error of its context, or the error_text of
 * open, has a sentence that names what was expected and what was given.
 */
typedef struct qcc_model_api {
  uint64_t struct_size;
  uint32_t abi_version;
  uint32_t reserved;

  /** Fails with UNSUPPORTED_HOST where the CPU lacks what all levels need. */
  qcc_status (*open)(const qcc_open_options *options, qcc_model **model);
  /** IN_USE while there are contexts. NULL is allowed. */
  qcc_status (*close)(qcc_model *model);

  /* Descriptions. Pointers in them live as long as the model. Numbers count
   * from 0; NOT_FOUND when there is none of that number. */
  qcc_status (*model_info)(const qcc_model *model, qcc_model_info *info);
  qcc_status (*entry_info)(const qcc_model *model, uint32_t entry,
                           qcc_entry_info *info);
  qcc_status (*find_entry)(const qcc_model *model, const char *name,
                           uint32_t *entry);
  /** entry is not read for states. */
  qcc_status (*tensor_info)(const qcc_model *model, uint32_t entry,
                            int32_t kind, uint32_t number,
                            qcc_tensor_info *info);
  qcc_status (*symbol_info)(const qcc_model *model, uint32_t number,
                            qcc_symbol_info *info);
  qcc_status (*site_info)(const qcc_model *model, uint32_t number,
                          qcc_site_info *info);

  /**
   * What a context will need; only rank and shape of the inputs are read.
   * error_text as in open.
   */
  qcc_status (*memory_need)(const qcc_model *model,
                            const qcc_context_options *options, uint32_t entry,
                            const DLTensor *const *inputs, uint32_t num_inputs,
                            qcc_memory_info *info, char *error_text,
                            uint64_t error_text_size);

  /** options may be NULL. */
  qcc_status (*context_create)(qcc_model *model,
                               const qcc_context_options *options,
                               qcc_context **context);
  void (*context_destroy)(qcc_context *context);
  /** Text of the last failed call, "" if there was none. Never NULL. */
  const char *(*last_error)(const qcc_context *context);

  /**
   * Fills ndim, dtype and shape of each output from the shapes of the inputs,
   * whose data is not read. Each output's shape points at room for its rank.
   */
  qcc_status (*infer_shapes)(qcc_context *context, uint32_t entry,
                             const DLTensor *const *inputs, uint32_t num_inputs,
                             DLTensor *const *outputs, uint32_t num_outputs);

  /**
   * Runs an entry. Tensors are dense, row-major, in host memory, in the order
   * of the entry; outputs overlap nothing. An output whose data is NULL is
   * allocated: its shape must point at room for its rank, all else is filled
   * in, and the caller frees it by free_tensor. After a failure the contents
   * of outputs and states are undefined, and nothing stays allocated.
   */
  qcc_status (*run)(qcc_context *context, uint32_t entry,
                    const DLTensor *const *inputs, uint32_t num_inputs,
                    DLTensor *const *outputs, uint32_t num_outputs);
  /** Frees what run allocated; sets data to NULL. */
  void (*free_tensor)(qcc_model *model, DLTensor *tensor);
  /** From any thread: the run in progress, or else the next, ends at its next
   * dispatch with CANCELLED. */
  void (*cancel)(qcc_context *context);

  /** All states as in a new context. */
  qcc_status (*state_reset)(qcc_context *context);
  /** Copies a state out. NULL data: allocated as by run. A state whose size
   * depends on symbols exists after the first run, else NOT_FOUND. */
  qcc_status (*state_get)(qcc_context *context, uint32_t number,
                          DLTensor *value);
  qcc_status (*state_set)(qcc_context *context, uint32_t number,
                          const DLTensor *value);

  /** Copied; NULL ends observation. */
  qcc_status (*set_observer)(qcc_context *context,
                             const qcc_observer *observer);
} qcc_model_api;

/**
 * The functions for the newest version up to max_abi that the library has, or
 * NULL if it has none that old. host may be NULL; its log is told the reason.
 */
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
const qcc_model_api *qcc_model_query_v1(uint32_t max_abi, const qcc_host *host);

typedef const qcc_model_api *(*qcc_model_query_fn)(uint32_t max_abi,
                                                   const qcc_host *host);

#ifdef __cplusplus
} /* extern "C" */
#endif

/* NOLINTEND(readability-identifier-naming) */

#endif /* QCC_RUNTIME_QCC_H */
