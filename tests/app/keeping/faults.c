/* Preloaded into a process, fails or kills it at its n-th call that changes something below a folder.
 *
 * Which calls: everything by which SQLite, tantivy, FAISS and Python write: open for writing, write, truncate, sync,
 * rename, unlink, mkdir, rmdir, and the same of stdio, whose own calls stay within libc.
 *
 *   arm(root, n, code, lasting)   code > 0: call n fails with this errno, and so do all after it if `lasting`
 *                                 code = 0: call n never ends: a write is done by half, then the process is killed
 *   calls()                       how many such calls there were since
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX];
static size_t root_length;
static long target;
static int fault, stays;
static atomic_long count;

void arm(const char *folder, long n, int code, int lasting) {
    root_length = 0; /* off while it is changed */
    strncpy(root, folder, sizeof root - 1);
    target = n, fault = code, stays = lasting;
    count = 0;
    root_length = strlen(root);
}

long calls(void) { return count; }

static int below(const char *path) {
    return root_length && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int of_file(int fd) {
    char link[64], path[PATH_MAX];
    if (!root_length) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

static int of_path(int folder, const char *path) {
    return path[0] == '/' ? below(path) : folder != AT_FDCWD && of_file(folder);
}

/* What becomes of a call: 0 it is made, 1 it fails (errno is set), 2 it is the last. */
static int fate(int inside) {
    if (!inside) return 0;
    long n = ++count;
    if (n != target && !(stays && n > target)) return 0;
    if (!fault) return 2;
    errno = fault;
    return 1;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define GUARD(inside, failed)                 \
    switch (fate(inside)) {                   \
        case 1: return failed;                \
        case 2: die();                        \
    }
#define WRITE(inside, failed, half)           \
    switch (fate(inside)) {                   \
        case 1: return failed;                \
        case 2: (void)!(half), die();         \
    }

ssize_t write(int fd, const void *data, size_t size) {
    WRITE(of_file(fd), -1, NEXT(write)(fd, data, size / 2))
    return NEXT(write)(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    WRITE(of_file(fd), -1, NEXT(pwrite)(fd, data, size / 2, at))
    return NEXT(pwrite)(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    WRITE(of_file(fd), -1, NEXT(pwrite64)(fd, data, size / 2, at))
    return NEXT(pwrite64)(fd, data, size, at);
}
ssize_t writev(int fd, const struct iovec *parts, int n) {
    WRITE(of_file(fd), -1, NEXT(writev)(fd, parts, n / 2))
    return NEXT(writev)(fd, parts, n);
}
ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t at) {
    WRITE(of_file(fd), -1, NEXT(pwritev)(fd, parts, n / 2, at))
    return NEXT(pwritev)(fd, parts, n, at);
}
size_t fwrite(const void *data, size_t size, size_t n, FILE *file) {
    WRITE(of_file(fileno(file)), 0, (NEXT(fwrite)(data, size, n / 2, file), fflush(file)))
    return NEXT(fwrite)(data, size, n, file);
}
int fclose(FILE *file) {
    int outcome = fate(of_file(fileno(file)) && (fcntl(fileno(file), F_GETFL) & O_ACCMODE) != O_RDONLY);
    if (outcome == 2) die();
    int error = errno;
    int closed = NEXT(fclose)(file);
    if (!outcome) return closed;
    errno = error;
    return EOF;
}

int fsync(int fd) {
    GUARD(of_file(fd), -1)
    return NEXT(fsync)(fd);
}
int fdatasync(int fd) {
    GUARD(of_file(fd), -1)
    return NEXT(fdatasync)(fd);
}
int ftruncate(int fd, off_t size) {
    GUARD(of_file(fd), -1)
    return NEXT(ftruncate)(fd, size);
}
int ftruncate64(int fd, off64_t size) {
    GUARD(of_file(fd), -1)
    return NEXT(ftruncate64)(fd, size);
}

int rename(const char *from, const char *to) {
    GUARD(of_path(AT_FDCWD, to), -1)
    return NEXT(rename)(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    GUARD(of_path(b, to), -1)
    return NEXT(renameat)(a, from, b, to);
}
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    GUARD(of_path(b, to), -1)
    return NEXT(renameat2)(a, from, b, to, flags);
}
int unlink(const char *path) {
    GUARD(of_path(AT_FDCWD, path), -1)
    return NEXT(unlink)(path);
}
int unlinkat(int folder, const char *path, int flags) {
    GUARD(of_path(folder, path), -1)
    return NEXT(unlinkat)(folder, path, flags);
}
int rmdir(const char *path) {
    GUARD(of_path(AT_FDCWD, path), -1)
    return NEXT(rmdir)(path);
}
int mkdir(const char *path, mode_t mode) {
    GUARD(of_path(AT_FDCWD, path), -1)
    return NEXT(mkdir)(path, mode);
}
int mkdirat(int folder, const char *path, mode_t mode) {
    GUARD(of_path(folder, path), -1)
    return NEXT(mkdirat)(folder, path, mode);
}

#define MODE(flags)                                                                      \
    mode_t mode = 0;                                                                     \
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {                                           \
        va_list rest;                                                                    \
        va_start(rest, flags), mode = va_arg(rest, mode_t), va_end(rest);                \
    }
#define WRITES(flags) (((flags) & O_ACCMODE) != O_RDONLY || ((flags) & O_CREAT))

int open(const char *path, int flags, ...) {
    MODE(flags)
    GUARD(WRITES(flags) && of_path(AT_FDCWD, path), -1)
    return NEXT(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE(flags)
    GUARD(WRITES(flags) && of_path(AT_FDCWD, path), -1)
    return NEXT(open64)(path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
    MODE(flags)
    GUARD(WRITES(flags) && of_path(folder, path), -1)
    return NEXT(openat)(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE(flags)
    GUARD(WRITES(flags) && of_path(folder, path), -1)
    return NEXT(openat64)(folder, path, flags, mode);
}
FILE *fopen(const char *path, const char *how) {
    GUARD(how[0] != 'r' && of_path(AT_FDCWD, path), NULL)
    return NEXT(fopen)(path, how);
}
FILE *fopen64(const char *path, const char *how) {
    GUARD(how[0] != 'r' && of_path(AT_FDCWD, path), NULL)
    return NEXT(fopen64)(path, how);
}
