/* Loaded before libc (LD_PRELOAD): makes one chosen write to a file below a folder fail or fall
   short, as a disk does. `arm` and `disarm` are called from the test through ctypes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long wanted, seen;
static int failure; /* errno, or 0 for a short write */

void arm(const char *below, long number, int error) {
  seen = 0;
  wanted = number;
  failure = error;
  snprintf(folder, sizeof folder, "%s", below);
}

long disarm(void) {
  folder[0] = 0;
  return seen;
}

static int chosen(int fd) {
  char link[64], path[PATH_MAX];
  if (!folder[0]) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  if (strncmp(path, folder, strlen(folder))) return 0;
  return __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST) == wanted;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define MAYBE(size)                  \
  if (chosen(fd)) {                  \
    if (failure) {                   \
      errno = failure;               \
      return -1;                     \
    }                                \
    if ((size) > 1) (size) /= 2;     \
  }

ssize_t write(int fd, const void *data, size_t size) {
  MAYBE(size)
  return REAL(write)(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  MAYBE(size)
  return REAL(pwrite)(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  MAYBE(size)
  return REAL(pwrite64)(fd, data, size, at);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  MAYBE(count)
  return REAL(writev)(fd, parts, count);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
  MAYBE(count)
  return REAL(pwritev)(fd, parts, count, at);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
  MAYBE(count)
  return REAL(pwritev64)(fd, parts, count, at);
}
