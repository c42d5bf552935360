/* A stand-in for NVIDIA's driver, libcuda.so.1, over memory of the host: as much of it as numba-cuda and cuda.core use.

   Streams are queues. What is in them is done as late as CUDA allows, or a little earlier, in an order drawn from a
   seed: where CUDA promises no order, none can be relied on. Kernels are handed to Python, which executes their PTX.
   It is a model of CUDA's rules of order, memory, capture, contexts and errors; of its speed it says nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int Result;
typedef uint64_t Address;
enum {
  SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101,
  INVALID_CONTEXT = 201, NO_BINARY = 209, NOT_READY = 600, ILLEGAL_ADDRESS = 700, LAUNCH_FAILED = 719,
  NOT_SUPPORTED = 801, CAPTURE_UNSUPPORTED = 900, CAPTURE_UNMATCHED = 901, CAPTURE_IMPLICIT = 906
};

/* ---- what tests set and read ------------------------------------------------------------------------------------- */

int device_count = 1, capability = 90, sticky_error, order_seed = 1;
double progress_chance;                     /* that a queued operation is done before anybody waits for it */
size_t memory_limit = (size_t)1 << 33, memory_used;
long launches, graph_launches, copies_in, copies_out, allocations, frees;
long (*on_load)(const void *code, size_t size);                              /* a number for the code */
long (*on_launch)(long code, void **values, unsigned *grid, unsigned *block); /* a number for the launch */
int (*on_run)(long launch, int again);                                       /* 0, or the error that it ends with */

/* ---- the guard: one thread at a time, which is the one that holds Python's lock ---------------------------------- */

int Py_IsInitialized(void), PyGILState_Ensure(void);
void PyGILState_Release(int);
static int enter(void) { return Py_IsInitialized() ? PyGILState_Ensure() : -1; }
static void leave(int *lock) { if (*lock >= 0) PyGILState_Release(*lock); }

static int process, per_thread;             /* which has started the driver; whether stream 0 is one for each thread */
static __thread int contexts;               /* pushed by this thread: there is one, the device's */
#define GUARDED int lock __attribute__((cleanup(leave))) = enter(); (void)lock;
#define READY GUARDED \
  if (process != getpid()) return NOT_INITIALIZED; \
  if (sticky_error) return sticky_error; \
  if (!contexts) return INVALID_CONTEXT;

/* ---- memory ------------------------------------------------------------------------------------------------------ */

typedef struct Block {
  Address start; size_t size; int on_host, device, unwanted; void *all; struct Block *next;
} Block;
enum { MARGIN = 512 };                      /* bytes around a block, so that what is written there harms nobody */
static Block *blocks;

static Block *block_of(Address from, size_t size) {
  for (Block *b = blocks; b; b = b->next)
    if (from >= b->start && from + size <= b->start + b->size) return b;
  return NULL;
}
static int lies_on(int host, Address from, size_t size) {
  Block *b = block_of(from, size);
  return b && b->on_host == host;
}

Address block_start(Address inside, size_t *size) {
  Block *b = block_of(inside, 0);
  return b ? (*size = b->size, b->start) : 0;
}
int move_to_device(Address inside, int device) {
  Block *b = block_of(inside, 0);
  return b ? (b->device = device, 0) : 1;
}

static Result allocate(Address *made, size_t size, int on_host) {
  if (!size) return INVALID_VALUE;
  if (!on_host && memory_used + size > memory_limit) return OUT_OF_MEMORY;
  Block *b = calloc(1, sizeof *b);
  if (posix_memalign(&b->all, MARGIN, size + 2 * MARGIN)) return OUT_OF_MEMORY;
  memset(b->all, 0xFF, size + 2 * MARGIN);  /* NaN: what nobody writes must not be read */
  b->start = *made = (Address)b->all + MARGIN, b->size = size, b->on_host = on_host, b->next = blocks, blocks = b;
  allocations++;
  if (!on_host) memory_used += size;
  return SUCCESS;
}

static Result discard(Address start) {       /* the block that begins there, or where 0, all that are unwanted */
  Result found = start ? INVALID_VALUE : SUCCESS;
  for (Block **place = &blocks, *b = blocks; b; b = *place) {
    if (start ? b->start != start : !b->unwanted) { place = &b->next; continue; }
    *place = b->next;
    if (!b->on_host) memory_used -= b->size;
    free(b->all), free(b);
    frees++, found = SUCCESS;
  }
  return found;
}

/* ---- operations in streams --------------------------------------------------------------------------------------- */

typedef struct Stream Stream;
typedef struct Graph Graph;
typedef struct Operation {
  enum { COPY, LAUNCH, RECORD, WAIT, GRAPH } kind;
  int done;
  Address to, from;
  size_t size;
  void *snapshot;                           /* of what pageable memory held when the copy was asked for */
  long launch;
  struct Operation *awaited;                /* what an event has recorded */
  Graph *graph;
  Stream *stream;
  struct Operation *next;
} Operation;                                /* never freed: an event may ask about it */
struct Graph { Operation *first, *last; size_t nodes; };
struct Stream { Operation *first, *last; int independent, capturing; Graph *graph; Stream *next; };
typedef struct { Operation *last; } Event;

static Stream *streams, own_stream;         /* the latter: stream 0, whose operations are done at once */
static int executing;                       /* what is freed meanwhile, by the collector of garbage, is so afterwards */
static unsigned random_state;

static void await(Operation *o);
static void execute(Operation *o, int again) {
  if (o->kind == COPY) memcpy((void *)o->to, o->snapshot ? o->snapshot : (void *)o->from, o->size);
  if (o->kind == WAIT && o->awaited) await(o->awaited);
  if (o->kind == GRAPH) for (Operation *node = o->graph->first; node; node = node->next) execute(node, 1);
  if (o->kind == LAUNCH && !sticky_error && on_run && Py_IsInitialized()) {
    executing++;
    sticky_error = on_run(o->launch, again);
    if (!--executing) discard(0);
  }
  if (!again) free(o->snapshot), o->snapshot = NULL;
  o->done = 1;
}
static void advance(Stream *s) {
  Operation *o = s->first;
  s->first = o->next;
  if (!s->first) s->last = NULL;
  execute(o, 0);
}
static void await(Operation *o) { while (!o->done && o->stream->first) advance(o->stream); }
static void finish(Stream *s) { while (s->first) advance(s); }
static void finish_all(int also_independent) {
  for (Stream *s = streams; s; s = s->next) if (also_independent || !s->independent) finish(s);
}
static int must_wait(Operation *o) { return o->kind == WAIT && o->awaited && !o->awaited->done; }
static double drawn(void) {
  random_state = random_state * 1103515245u + 12345u + (unsigned)order_seed;
  return (random_state >> 16 & 0x7FFF) / 32768.0;
}
static void progress(void) {                /* of streams that need not wait for others */
  for (Stream *s = streams; s; s = s->next)
    while (s->first && drawn() < progress_chance && !must_wait(s->first)) advance(s);
}
static int is_null(Stream *s) { return (Address)s <= 2; }  /* 0, the legacy stream, a thread's own */
static int is_legacy(Stream *s) { return (Address)s == 1 || (!s && !per_thread); }
static int capturing(void) {                /* in a stream that the legacy one would have to wait for */
  for (Stream *s = streams; s; s = s->next) if (s->capturing && !s->independent) return 1;
  return 0;
}
static Operation *operation(int kind) { Operation *o = calloc(1, sizeof *o); o->kind = kind; return o; }
static Result add(Stream *s, Operation *o) {
  if (is_null(s)) {
    if (is_legacy(s)) {
      if (capturing()) return CAPTURE_IMPLICIT;
      finish_all(0);
    }
    o->stream = &own_stream;
    execute(o, 0);
    return sticky_error;
  }
  o->stream = s;
  Operation **first = s->capturing ? &s->graph->first : &s->first;
  Operation **last = s->capturing ? &s->graph->last : &s->last;
  if (*last) (*last)->next = o; else *first = o;
  *last = o;
  if (s->capturing) s->graph->nodes++; else progress();
  return sticky_error;
}

/* ---- devices and contexts ---------------------------------------------------------------------------------------- */

Result cuInit(unsigned flags) {
  if (process && process != getpid()) return NOT_INITIALIZED;
  process = getpid();
  return device_count ? SUCCESS : NO_DEVICE;
}
Result cuDriverGetVersion(int *version) { *version = 13000; return SUCCESS; }
Result cuDeviceGetCount(int *count) { *count = device_count; return SUCCESS; }
Result cuDeviceGet(int *device, int i) { *device = i; return i < device_count ? SUCCESS : INVALID_DEVICE; }
Result cuDeviceGetName(char *name, int size, int device) {
  snprintf(name, size, "an interpreter of PTX");
  return SUCCESS;
}
Result cuDeviceGetUuid(void *uuid, int device) { memset(uuid, 7 + device, 16); return SUCCESS; }
Result cuDeviceTotalMem(size_t *bytes, int device) { *bytes = memory_limit; return SUCCESS; }
Result cuDeviceGetAttribute(int *value, int attribute, int device) {
  static const int values[][2] = {{1, 1024}, {2, 1024}, {5, 1 << 30}, {10, 32}, {16, 132}};
  *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : 1;
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) if (values[i][0] == attribute) *value = values[i][1];
  return SUCCESS;
}
enum { CONTEXT = 0xC0 };
Result cuDevicePrimaryCtxRetain(Address *context, int device) { *context = CONTEXT; return SUCCESS; }
Result cuDevicePrimaryCtxRelease(int device) { return SUCCESS; }
Result cuDevicePrimaryCtxReset(int device) { return SUCCESS; }
Result cuCtxPushCurrent(Address context) { contexts++; return SUCCESS; }
Result cuCtxPopCurrent(Address *context) { if (context) *context = CONTEXT; if (contexts) contexts--; return SUCCESS; }
Result cuCtxGetCurrent(Address *context) {
  *context = contexts ? CONTEXT : 0;
  return process == getpid() ? SUCCESS : NOT_INITIALIZED;
}
Result cuCtxSetCurrent(Address context) { contexts = context != 0; return SUCCESS; }
Result cuCtxGetDevice(int *device) { *device = 0; return contexts ? SUCCESS : INVALID_CONTEXT; }
Result cuCtxSynchronize(void) { READY finish_all(1); return sticky_error; }
Result cuMemGetInfo(size_t *unused, size_t *total) {
  READY
  *unused = memory_limit > memory_used ? memory_limit - memory_used : 0, *total = memory_limit;
  return SUCCESS;
}
Result cuGetErrorName(Result error, const char **name) {
  static const char *of_launches = "CUDA_ERROR_LAUNCH_FAILED", *of_addresses = "CUDA_ERROR_ILLEGAL_ADDRESS";
  *name = error == ILLEGAL_ADDRESS ? of_addresses : error == LAUNCH_FAILED ? of_launches : "CUDA_ERROR";
  return SUCCESS;
}
Result cuGetErrorString(Result error, const char **text) { *text = "an error of the stand-in"; return SUCCESS; }

/* ---- memory and copies ------------------------------------------------------------------------------------------- */

static Result release(Address start) {
  GUARDED
  if (process != getpid()) return NOT_INITIALIZED;
  if (sticky_error || !start) return sticky_error;
  if (executing) {
    Block *b = block_of(start, 0);
    return b ? (b->unwanted = 1, SUCCESS) : INVALID_VALUE;
  }
  finish_all(1);
  return discard(start);
}
Result cuMemAlloc(Address *made, size_t size) { READY return allocate(made, size, 0); }
Result cuMemFree(Address start) { return release(start); }
Result cuMemHostAlloc(Address *made, size_t size, unsigned flags) { READY return allocate(made, size, 1); }
Result cuMemFreeHost(Address start) { return release(start); }
Result cuPointerGetAttribute(void *value, int attribute, Address address) {
  GUARDED
  Block *b = block_of(address, 0);
  if (!b) return INVALID_VALUE;
  if (attribute == 1) *(Address *)value = CONTEXT;
  else if (attribute == 3) *(Address *)value = address;
  else *(int *)value = attribute == 2 ? (b->on_host ? 1 : 2) : attribute == 9 ? b->device : 0;
  return SUCCESS;
}

static Result copy(Address to, Address from, size_t size, Stream *s, int waits, int into, int out) {
  if ((into && !lies_on(0, to, size)) || (out && !lies_on(0, from, size))) return INVALID_VALUE;
  copies_in += into, copies_out += out;
  Operation *o = operation(COPY);
  o->to = to, o->from = from, o->size = size;
  if (into && !lies_on(1, from, size)) memcpy(o->snapshot = malloc(size), (void *)from, size);
  Result error = add(s, o);
  if (!error && !is_null(s) && !s->capturing && (waits || (out && !lies_on(1, to, size)))) await(o);
  return error ? error : sticky_error;
}
Result cuMemcpyHtoD(Address to, Address from, size_t size) { READY return copy(to, from, size, NULL, 1, 1, 0); }
Result cuMemcpyDtoH(Address to, Address from, size_t size) { READY return copy(to, from, size, NULL, 1, 0, 1); }
Result cuMemcpyDtoD(Address to, Address from, size_t size) { READY return copy(to, from, size, NULL, 1, 0, 0); }
Result cuMemcpyHtoDAsync(Address to, Address from, size_t n, Stream *s) { READY return copy(to, from, n, s, 0, 1, 0); }
Result cuMemcpyDtoHAsync(Address to, Address from, size_t n, Stream *s) { READY return copy(to, from, n, s, 0, 0, 1); }
Result cuMemcpyDtoDAsync(Address to, Address from, size_t n, Stream *s) { READY return copy(to, from, n, s, 0, 0, 0); }

/* ---- streams and events ------------------------------------------------------------------------------------------ */

Result cuStreamCreateWithPriority(Stream **made, unsigned flags, int priority) {
  READY
  Stream *s = *made = calloc(1, sizeof *s);
  s->independent = flags & 1, s->next = streams, streams = s;
  return SUCCESS;
}
Result cuStreamCreate(Stream **made, unsigned flags) { return cuStreamCreateWithPriority(made, flags, 0); }
Result cuStreamDestroy(Stream *s) { GUARDED finish(s); return SUCCESS; }
Result cuStreamSynchronize(Stream *s) {
  READY
  if (is_legacy(s)) finish_all(0);
  else if (!is_null(s)) { if (s->capturing) return CAPTURE_UNSUPPORTED; finish(s); }
  return sticky_error;
}
Result cuStreamWaitEvent(Stream *s, Event *event, unsigned flags) {
  READY
  Operation *o = operation(WAIT);
  o->awaited = event->last;
  return add(s, o);
}
Result cuStreamGetCtx(Stream *s, Address *context) { *context = CONTEXT; return SUCCESS; }
Result cuStreamGetFlags(Stream *s, unsigned *flags) { *flags = is_null(s) ? 0 : s->independent; return SUCCESS; }
Result cuStreamGetPriority(Stream *s, int *priority) { *priority = 0; return SUCCESS; }
Result cuCtxGetStreamPriorityRange(int *least, int *most) { *least = 0, *most = -5; return SUCCESS; }
Result cuEventCreate(Event **made, unsigned flags) { READY *made = calloc(1, sizeof **made); return SUCCESS; }
Result cuEventDestroy(Event *event) { return SUCCESS; }
Result cuEventRecord(Event *event, Stream *s) { READY event->last = operation(RECORD); return add(s, event->last); }
Result cuEventSynchronize(Event *event) { READY if (event->last) await(event->last); return sticky_error; }
Result cuEventQuery(Event *event) { READY return event->last && !event->last->done ? NOT_READY : SUCCESS; }

/* ---- code and launches ------------------------------------------------------------------------------------------- */

typedef struct { long code; } Library;      /* and its one kernel, in each of the ways in which CUDA has it */

Result cuLibraryLoadData(Library **made, const char *code, void *a, void *b, unsigned c, void *d, void *e, unsigned f) {
  READY
  if (memcmp(code, "\177ELF", 4)) return NO_BINARY;
  size_t size = *(uint64_t *)(code + 40);    /* where its sections are described, which ends it */
  size += (size_t)*(uint16_t *)(code + 60) * *(uint16_t *)(code + 58);
  *made = calloc(1, sizeof **made);
  return ((*made)->code = on_load(code, size)) < 0 ? NO_BINARY : SUCCESS;
}
Result cuLibraryUnload(Library *library) { return SUCCESS; }
Result cuLibraryGetKernel(Library **kernel, Library *library, const char *name) { *kernel = library; return SUCCESS; }
Result cuKernelGetFunction(Library **function, Library *kernel) { *function = kernel; return SUCCESS; }
Result cuKernelGetLibrary(Library **library, Library *kernel) { *library = kernel; return SUCCESS; }

typedef struct { unsigned grid[3], block[3], shared; Stream *stream; void *attributes; unsigned count; } Config;
Result cuLaunchKernelEx(const Config *config, Library *kernel, void **values, void **extra) {
  READY
  unsigned grid[3], block[3];
  memcpy(grid, config->grid, sizeof grid), memcpy(block, config->block, sizeof block);
  if (!grid[0] || !grid[1] || !grid[2] || grid[1] > 65535 || grid[2] > 65535) return INVALID_VALUE;
  if (block[0] * block[1] * block[2] > 1024) return INVALID_VALUE;
  Operation *o = operation(LAUNCH);
  launches++;
  return (o->launch = on_launch(kernel->code, values, grid, block)) < 0 ? INVALID_VALUE : add(config->stream, o);
}
Result cuLaunchKernel(
    Library *kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
    Stream *stream, void **values, void **extra) {
  Config config = {{gx, gy, gz}, {bx, by, bz}, shared, stream, NULL, 0};
  return cuLaunchKernelEx(&config, kernel, values, extra);
}

/* ---- graphs ------------------------------------------------------------------------------------------------------ */

Result cuStreamBeginCapture(Stream *s, int mode) {
  READY
  if (is_null(s)) return CAPTURE_UNSUPPORTED;
  s->capturing = 1, s->graph = calloc(1, sizeof *s->graph);
  return SUCCESS;
}
Result cuStreamEndCapture(Stream *s, Graph **graph) {
  GUARDED
  if (!s->capturing) return CAPTURE_UNMATCHED;
  *graph = s->graph, s->capturing = 0;
  return SUCCESS;
}
Result cuStreamIsCapturing(Stream *s, int *status) { *status = !is_null(s) && s->capturing; return SUCCESS; }
Result cuStreamGetCaptureInfo(
    Stream *s, int *status, uint64_t *id, Graph **graph, void *nodes, void *edges, size_t *count) {
  *status = !is_null(s) && s->capturing;
  if (id) *id = 1;
  if (graph && *status) *graph = s->graph;
  if (count) *count = 0;
  return SUCCESS;
}
Result cuGraphInstantiateWithParams(Graph **made, Graph *graph, char *parameters) {
  *made = graph;
  *(int *)(parameters + 24) = 0;             /* how it ended: well */
  return SUCCESS;
}
Result cuGraphLaunch(Graph *graph, Stream *s) {
  READY
  Operation *o = operation(GRAPH);
  graph_launches++, o->graph = graph;
  return add(s, o);
}
Result cuGraphUpload(Graph *graph, Stream *s) { return SUCCESS; }
Result cuGraphDestroy(Graph *graph) { return SUCCESS; }
Result cuGraphExecDestroy(Graph *graph) { return SUCCESS; }
Result cuUserObjectCreate(void **made, void *pointer, void *destroy, unsigned count, unsigned flags) {
  *made = calloc(1, 8);
  return SUCCESS;
}
Result cuUserObjectRelease(void *object, unsigned count) { return SUCCESS; }
Result cuGraphRetainUserObject(Graph *graph, void *object, unsigned count, unsigned flags) { return SUCCESS; }
Result cuGraphReleaseUserObject(Graph *graph, void *object, unsigned count) { return SUCCESS; }

/* ---- how others find all that ------------------------------------------------------------------------------------ */

static Result unsupported(void) { return NOT_SUPPORTED; }
Result cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *status) {
  Dl_info own;
  dladdr((void *)cuInit, &own);
  if (flags & 2) per_thread = 1;
  if (!strcmp(name, "cuGetProcAddress")) name = "cuGetProcAddress_v2";
  *function = dlsym(dlopen(own.dli_fname, RTLD_LAZY), name);
  if (!*function) *function = (void *)unsupported;
  if (status) *status = 0;
  return SUCCESS;
}
Result cuGetProcAddress(const char *name, void **function, int version, uint64_t flags) {
  return cuGetProcAddress_v2(name, function, version, flags, NULL);
}
