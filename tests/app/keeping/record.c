/* Preloaded into a process, writes down each change that it makes below a folder, with its data, in order: what a power
 * cut may lose is told from that. See test_power_cut.py for how it is read.
 *
 *   record(root, file)   begin; an empty root ends it
 *   mark(text)           a line of the process's own in between
 *
 * A record is: one letter, then inode, offset, length of a name and length of the data as four 64-bit numbers, then the
 * name and the data.
 *   c created   o opened (both with their name)   w write   t truncated to `offset`   f file synced
 *   s folder synced (data: inode, "/" or "-", name and a 0 for all in it: renames by system calls of Rust's are not seen)
 *   r renamed (name -> data)   l linked (name -> data)   u unlinked   m folder made   d folder removed   k mark
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static char root[PATH_MAX];
static size_t root_length;
static int out = -1;
static pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static void put(char kind, int64_t inode, int64_t offset, const char *name, const void *data, size_t length) {
    int64_t numbers[4] = {inode, offset, (int64_t)strlen(name), (int64_t)length};
    struct iovec parts[4] = {{&kind, 1}, {numbers, sizeof numbers}, {(void *)name, strlen(name)}, {(void *)data, length}};
    ssize_t size = 1 + sizeof numbers + strlen(name) + length;
    if (NEXT(writev)(out, parts, 4) != size) abort();
}

void record(const char *folder, const char *file) {
    root_length = 0;
    if (out >= 0) close(out), out = -1;
    if (!*folder) return;
    strncpy(root, folder, sizeof root - 1);
    out = NEXT(open)(file, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    root_length = strlen(root);
}

void mark(const char *text) {
    if (root_length) put('k', 0, 0, "", text, strlen(text));
}

static int below(const char *path) {
    return root_length && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

/* The name of an open file, if it lies below the root. */
static int name_of(int fd, char *path) {
    char link[64];
    if (!root_length || fd < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

/* The whole of a path, if it lies below the root. */
static int whole(int folder, const char *path, char *full) {
    if (!root_length) return 0;
    if (path[0] == '/') return strncpy(full, path, PATH_MAX - 1), below(full);
    if (folder == AT_FDCWD || !name_of(folder, full)) return 0;
    strncat(full, "/", PATH_MAX - strlen(full) - 1);
    strncat(full, path, PATH_MAX - strlen(full) - 1);
    return 1;
}

static int64_t inode(int fd) {
    struct stat info;
    return fstat(fd, &info) ? 0 : (int64_t)info.st_ino;
}

#define RECORDED(call, known, note)           \
    pthread_mutex_lock(&mutex);               \
    int inside = (known);                     \
    __typeof__(call) result = (call);         \
    int error = errno;                        \
    if (inside) { note; }                     \
    pthread_mutex_unlock(&mutex);             \
    errno = error;                            \
    return result;

ssize_t write(int fd, const void *data, size_t size) {
    char path[PATH_MAX];
    RECORDED(NEXT(write)(fd, data, size), fd != out && name_of(fd, path),
             if (result > 0) put('w', inode(fd), lseek(fd, 0, SEEK_CUR) - result, "", data, result))
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    char path[PATH_MAX];
    RECORDED(NEXT(pwrite)(fd, data, size, at), name_of(fd, path),
             if (result > 0) put('w', inode(fd), at, "", data, result))
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    char path[PATH_MAX];
    RECORDED(NEXT(pwrite64)(fd, data, size, at), name_of(fd, path),
             if (result > 0) put('w', inode(fd), at, "", data, result))
}
ssize_t writev(int fd, const struct iovec *parts, int n) { /* as several writes */
    char path[PATH_MAX];
    if (!name_of(fd, path)) return NEXT(writev)(fd, parts, n);
    ssize_t all = 0;
    for (int i = 0; i < n; i++) {
        ssize_t done = write(fd, parts[i].iov_base, parts[i].iov_len);
        if (done < 0) return all ? all : -1;
        all += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return all;
}
size_t fwrite(const void *data, size_t size, size_t n, FILE *file) {
    char path[PATH_MAX];
    int64_t at = root_length ? ftello(file) : 0;
    RECORDED(NEXT(fwrite)(data, size, n, file), name_of(fileno(file), path),
             if (result) put('w', inode(fileno(file)), at, "", data, size * result))
}

static void synced(int fd, const char *path) {
    struct stat info;
    DIR *folder = fstat(fd, &info) || !S_ISDIR(info.st_mode) ? NULL : opendir(path);
    if (!folder) return put('f', inode(fd), 0, path, "", 0);
    char *list = NULL;
    size_t length = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        list = realloc(list, length + strlen(entry->d_name) + 32);
        char kind = entry->d_type == DT_DIR ? '/' : '-';
        length += sprintf(list + length, "%lld%c%s", (long long)entry->d_ino, kind, entry->d_name) + 1;
    }
    closedir(folder);
    put('s', inode(fd), 0, path, list ? list : "", length);
    free(list);
}
int fsync(int fd) {
    char path[PATH_MAX];
    RECORDED(NEXT(fsync)(fd), name_of(fd, path), if (!result) synced(fd, path))
}
int fdatasync(int fd) {
    char path[PATH_MAX];
    RECORDED(NEXT(fdatasync)(fd), name_of(fd, path), if (!result) synced(fd, path))
}
int ftruncate(int fd, off_t size) {
    char path[PATH_MAX];
    RECORDED(NEXT(ftruncate)(fd, size), name_of(fd, path), if (!result) put('t', inode(fd), size, "", "", 0))
}
int ftruncate64(int fd, off64_t size) {
    char path[PATH_MAX];
    RECORDED(NEXT(ftruncate64)(fd, size), name_of(fd, path), if (!result) put('t', inode(fd), size, "", "", 0))
}

#define TWO(a, from, b, to)                       \
    char old[PATH_MAX] = "", new[PATH_MAX] = "";  \
    int there = whole(a, from, old) & whole(b, to, new);
int rename(const char *from, const char *to) {
    TWO(AT_FDCWD, from, AT_FDCWD, to)
    RECORDED(NEXT(rename)(from, to), there, if (!result) put('r', 0, 0, old, new, strlen(new)))
}
int renameat(int a, const char *from, int b, const char *to) {
    TWO(a, from, b, to)
    RECORDED(NEXT(renameat)(a, from, b, to), there, if (!result) put('r', 0, 0, old, new, strlen(new)))
}
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    TWO(a, from, b, to)
    RECORDED(NEXT(renameat2)(a, from, b, to, flags), there, if (!result) put('r', 0, 0, old, new, strlen(new)))
}
int link(const char *from, const char *to) {
    TWO(AT_FDCWD, from, AT_FDCWD, to)
    RECORDED(NEXT(link)(from, to), there, if (!result) put('l', 0, 0, old, new, strlen(new)))
}
int linkat(int a, const char *from, int b, const char *to, int flags) {
    TWO(a, from, b, to)
    RECORDED(NEXT(linkat)(a, from, b, to, flags), there, if (!result) put('l', 0, 0, old, new, strlen(new)))
}

#define ONE(call, folder, path, kind)             \
    char full[PATH_MAX];                          \
    RECORDED(call, whole(folder, path, full), if (!result) put(kind, 0, 0, full, "", 0))
int unlink(const char *path) { ONE(NEXT(unlink)(path), AT_FDCWD, path, 'u') }
int unlinkat(int folder, const char *path, int flags) {
    ONE(NEXT(unlinkat)(folder, path, flags), folder, path, flags & AT_REMOVEDIR ? 'd' : 'u')
}
int rmdir(const char *path) { ONE(NEXT(rmdir)(path), AT_FDCWD, path, 'd') }
int mkdir(const char *path, mode_t mode) { ONE(NEXT(mkdir)(path, mode), AT_FDCWD, path, 'm') }
int mkdirat(int folder, const char *path, mode_t mode) { ONE(NEXT(mkdirat)(folder, path, mode), folder, path, 'm') }

#define MODE(flags)                                                                      \
    mode_t mode = 0;                                                                     \
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {                         \
        va_list rest;                                                                    \
        va_start(rest, flags), mode = va_arg(rest, mode_t), va_end(rest);                \
    }
static void opened(int fd, int was_there, int empties, const char *path) {
    put(was_there ? 'o' : 'c', inode(fd), 0, path, "", 0);
    if (empties && was_there) put('t', inode(fd), 0, "", "", 0);
}
#define OPEN(call, folder, path, flags)                                                          \
    char full[PATH_MAX];                                                                         \
    int writes = ((flags) & O_ACCMODE) != O_RDONLY || ((flags) & O_CREAT);                       \
    int known = writes && whole(folder, path, full), was_there = known && !access(full, F_OK);   \
    RECORDED(call, known, if (result >= 0) opened(result, was_there, (flags) & O_TRUNC, full))
int open(const char *path, int flags, ...) {
    MODE(flags)
    OPEN(NEXT(open)(path, flags, mode), AT_FDCWD, path, flags)
}
int open64(const char *path, int flags, ...) {
    MODE(flags)
    OPEN(NEXT(open64)(path, flags, mode), AT_FDCWD, path, flags)
}
int openat(int folder, const char *path, int flags, ...) {
    MODE(flags)
    OPEN(NEXT(openat)(folder, path, flags, mode), folder, path, flags)
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE(flags)
    OPEN(NEXT(openat64)(folder, path, flags, mode), folder, path, flags)
}
#define FOPEN(call)                                                                                    \
    char full[PATH_MAX];                                                                               \
    int known = how[0] != 'r' && whole(AT_FDCWD, path, full), was_there = known && !access(full, F_OK); \
    RECORDED(call, known, if (result) opened(fileno(result), was_there, how[0] == 'w', full))
FILE *fopen(const char *path, const char *how) { FOPEN(NEXT(fopen)(path, how)) }
FILE *fopen64(const char *path, const char *how) { FOPEN(NEXT(fopen64)(path, how)) }
