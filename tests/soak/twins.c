// Does the same random things to two directories, a file system under test and a twin that is trusted (tmpfs), and tells whether they
// answer alike and hold the same. What tmpfs cannot do (collapse, insert and zero ranges) its side does by reading and writing.
//
// usage: twins storm DIR TWIN COUNT SEED     so many operations, on files' contents and on names; each must end alike on both sides
//        twins same DIR TWIN                 names, types, modes, links, sizes, attributes and contents are the same
// Whatever is wrong ends it at once with a line on standard error.
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { TESTED, TWIN, SIDES };
enum {
    DIRECTORIES = 4, NAMES = 12, PATH = 512, BLOCK = 4096, SECTOR = 512, BYTES_MAX = 384 * 1024, IO_MAX = 96 * 1024, ATTRIBUTE_MAX = 200,
};

static int sides[SIDES];
static uint64_t state;
static unsigned long step;
static char *buffers[SIDES], *payload;

static uint64_t random_below(uint64_t limit) {    // splitmix64
    uint64_t x = state += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return (x ^ x >> 31) % limit;
}

static void alike(long tested, int tested_error, long twin, int twin_error, const char *what, const char *path) {
    if (tested_error == EEXIST) tested_error = ENOTEMPTY;    // POSIX allows either where a directory is not empty
    if (twin_error == EEXIST) twin_error = ENOTEMPTY;
    if (tested == twin && (tested >= 0 || tested_error == twin_error)) return;
    errx(1, "step %lu: %s of %s gave %ld (%s), its twin %ld (%s)", step, what, path, tested, strerror(tested < 0 ? tested_error : 0), twin,
         strerror(twin < 0 ? twin_error : 0));
}

// The same call on both sides; side is which.
#define ON_BOTH(what, path, call)                                                    \
    do {                                                                             \
        long results[SIDES];                                                         \
        int errors[SIDES];                                                           \
        for (int side = 0; side < SIDES; side++) { errno = 0; results[side] = (call); errors[side] = errno; } \
        alike(results[TESTED], errors[TESTED], results[TWIN], errors[TWIN], what, path); \
    } while (0)

static void must(int fine, const char *what, const char *path) {
    if (!fine) err(1, "step %lu: %s of %s", step, what, path);
}

static void same_bytes(const char *path, const char *how, off_t offset, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (buffers[TESTED][i] != buffers[TWIN][i])
            errx(1, "step %lu: %s has %#x at byte %lu (%s), its twin %#x", step, path, (unsigned char)buffers[TESTED][i], (unsigned long)offset + i, how,
                 (unsigned char)buffers[TWIN][i]);
}

// --- the contents of a file ------------------------------------------------------------------------------------
static off_t size_of(int file) {
    struct stat status;
    must(fstat(file, &status) == 0, "fstat", "a file");
    return status.st_size;
}

static void fill_payload(size_t length) {
    for (size_t i = 0; i < length; i += 8) {
        uint64_t word = random_below(UINT64_MAX);
        memcpy(payload + i, &word, 8);
    }
}

static void write_part(int *files, const char *path, off_t offset, size_t length, int direct) {
    fill_payload(length);
    int file = direct ? openat(sides[TESTED], path, O_RDWR | O_DIRECT) : files[TESTED];
    must(file >= 0, "open for direct I/O", path);
    must(pwrite(file, payload, length, offset) == (ssize_t)length, direct ? "direct write" : "write", path);
    must(pwrite(files[TWIN], payload, length, offset) == (ssize_t)length, "write", "a twin");
    if (direct) close(file);
}

static void read_part(int *files, const char *path, off_t offset, size_t length, int direct) {
    int file = direct ? openat(sides[TESTED], path, O_RDONLY | O_DIRECT) : files[TESTED];
    must(file >= 0, "open for direct I/O", path);
    ssize_t got = pread(file, buffers[TESTED], length, offset), twin = pread(files[TWIN], buffers[TWIN], length, offset);
    alike(got, errno, twin, errno, direct ? "direct read" : "read", path);
    if (got > 0) same_bytes(path, direct ? "direct read" : "read", offset, got);
    if (direct) close(file);
}

static void map_part(int *files, const char *path, off_t offset, size_t length, int writes) {
    off_t size = size_of(files[TESTED]), start = offset / BLOCK * BLOCK;
    if (start >= size) return;
    if (offset + (off_t)length > size) length = size - offset;
    if ((off_t)(offset + length) <= start || offset >= size) return;
    if (writes) fill_payload(length);
    for (int side = 0; side < SIDES; side++) {
        size_t mapped = offset - start + length;
        char *memory = mmap(0, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, files[side], start);
        must(memory != MAP_FAILED, "mmap", path);
        if (writes) memcpy(memory + (offset - start), payload, length);
        else memcpy(buffers[side], memory + (offset - start), length);
        if (writes && random_below(4) == 0) must(msync(memory, mapped, MS_SYNC) == 0, "msync", path);
        munmap(memory, mapped);
    }
    if (!writes) same_bytes(path, "mapped", offset, length);
}

static void shift_twin(int file, off_t from, off_t to) {
    off_t size = size_of(file), length = size - from;
    must(pread(file, buffers[TWIN], length, from) == length && pwrite(file, buffers[TWIN], length, to) == length, "moving bytes", "a twin");
    if (to < from) must(ftruncate(file, size - (from - to)) == 0, "truncate", "a twin");
    else must(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, to - from) == 0, "punch hole", "a twin");
}

static void change_range(int *files, const char *path, off_t offset, size_t length) {
    off_t size = size_of(files[TESTED]), block_offset = offset / BLOCK * BLOCK, block_length = (length / BLOCK + 1) * BLOCK;
    int kind = random_below(6);
    switch (kind) {
        case 0: ON_BOTH("fallocate", path, fallocate(files[side], 0, offset, length)); break;
        case 1: ON_BOTH("fallocate beyond the end", path, fallocate(files[side], FALLOC_FL_KEEP_SIZE, offset, length)); break;
        case 2: ON_BOTH("punch hole", path, fallocate(files[side], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length)); break;
        case 3:
            must(fallocate(files[TESTED], FALLOC_FL_ZERO_RANGE, offset, length) == 0, "zero range", path);
            must(fallocate(files[TWIN], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) == 0, "punch hole", "a twin");
            if (size < (off_t)(offset + length)) must(ftruncate(files[TWIN], offset + length) == 0, "truncate", "a twin");
            break;
        case 4:
            if (block_offset + block_length >= size) return;
            must(fallocate(files[TESTED], FALLOC_FL_COLLAPSE_RANGE, block_offset, block_length) == 0, "collapse range", path);
            shift_twin(files[TWIN], block_offset + block_length, block_offset);
            break;
        default:
            if (block_offset >= size || size + block_length > BYTES_MAX) return;
            must(fallocate(files[TESTED], FALLOC_FL_INSERT_RANGE, block_offset, block_length) == 0, "insert range", path);
            shift_twin(files[TWIN], block_offset, block_offset + block_length);
    }
}

// What is said to be a hole must read as zeros.
static void look_for_holes(int *files, const char *path) {
    off_t size = size_of(files[TWIN]), at = 0;
    must(pread(files[TWIN], buffers[TWIN], size, 0) == size, "read", "a twin");
    while (at < size) {
        off_t data = lseek(files[TESTED], at, SEEK_DATA);
        if (data < 0) { must(errno == ENXIO, "SEEK_DATA", path); data = size; }
        for (; at < data; at++)
            if (buffers[TWIN][at]) errx(1, "step %lu: byte %lu of %s is said to be in a hole", step, (unsigned long)at, path);
        if (at < size) must((at = lseek(files[TESTED], at, SEEK_HOLE)) > data, "SEEK_HOLE", path);
    }
}

static void use_contents(const char *path) {
    int files[SIDES];
    for (int side = 0; side < SIDES; side++) must((files[side] = openat(sides[side], path, O_RDWR | O_CREAT, 0644)) >= 0, "open", path);
    for (int i = random_below(8); i >= 0; i--) {
        off_t offset = random_below(BYTES_MAX - IO_MAX), to = random_below(BYTES_MAX - IO_MAX);
        size_t length = random_below(random_below(2) ? IO_MAX : 2 * BLOCK) + 1;
        off_t sector = offset / SECTOR * SECTOR;
        size_t sectors = (length + SECTOR - 1) / SECTOR * SECTOR;
        switch (random_below(14)) {
            case 0: case 1: write_part(files, path, offset, length, 0); break;
            case 2: case 3: write_part(files, path, sector, sectors, 1); break;
            case 4: read_part(files, path, offset, length, 0); break;
            case 5: read_part(files, path, sector, sectors, 1); break;
            case 6: map_part(files, path, offset, length, 1); break;
            case 7: map_part(files, path, offset, length, 0); break;
            case 8: case 9: change_range(files, path, offset, length); break;
            case 10: ON_BOTH("truncate", path, ftruncate(files[side], offset)); break;
            case 11: must((random_below(2) ? fsync : fdatasync)(files[TESTED]) == 0, "fsync", path); break;
            case 12:
                if (random_below(2)) look_for_holes(files, path);
                else must(posix_fadvise(files[TESTED], 0, 0, POSIX_FADV_DONTNEED) == 0, "fadvise", path);
                break;
            default:
                if (to < offset ? to + (off_t)length > offset : offset + (off_t)length > to) break;    // they must not overlap
                ON_BOTH("copy_file_range", path, ({ off_t from = offset, into = to; copy_file_range(files[side], &from, files[side], &into, length, 0); }));
        }
    }
    for (int side = 0; side < SIDES; side++) close(files[side]);
}

// --- names -----------------------------------------------------------------------------------------------------
static void choose_path(char *path, char kind) {
    int directory = random_below(DIRECTORIES + 1), length = 0;
    if (directory < DIRECTORIES) length = sprintf(path, "d%d/", directory);
    sprintf(path + length, "%c%lu", kind, random_below(NAMES));
}

static void use_names(const char *path) {
    char other[PATH], value[ATTRIBUTE_MAX], name[32];
    mode_t mode = 0600 | random_below(0200);
    choose_path(other, random_below(6) ? 'f' : 'n');
    switch (random_below(12)) {
        case 0: case 1: case 2: ON_BOTH("rename", path, renameat(sides[side], path, sides[side], other)); break;
        case 3: ON_BOTH("exchange", path, renameat2(sides[side], path, sides[side], other, RENAME_EXCHANGE)); break;
        case 4: ON_BOTH("rename that replaces nothing", path, renameat2(sides[side], path, sides[side], other, RENAME_NOREPLACE)); break;
        case 5: ON_BOTH("link", path, linkat(sides[side], path, sides[side], other, 0)); break;
        case 6: ON_BOTH("unlink", path, unlinkat(sides[side], path, 0)); break;
        case 7: ON_BOTH("symlink", path, symlinkat(path, sides[side], other)); break;
        case 8: choose_path(other, 'n'); ON_BOTH("mkdir", other, mkdirat(sides[side], other, 0755)); break;
        case 9: choose_path(other, 'n'); ON_BOTH("rmdir", other, unlinkat(sides[side], other, AT_REMOVEDIR)); break;
        case 10: ON_BOTH("chmod", path, fchmodat(sides[side], path, mode, 0)); break;
        default:
            sprintf(name, "user.%lu", random_below(4));
            size_t length = random_below(sizeof value);
            memset(value, 'a' + random_below(26), sizeof value);
            int removes = random_below(3) == 0;
            ON_BOTH("attribute", path, ({
                int file = openat(sides[side], path, O_RDONLY);
                int result = file < 0 ? -1 : removes ? fremovexattr(file, name) : fsetxattr(file, name, value, length, 0);
                int error = errno;
                if (file >= 0) close(file);
                errno = error;
                result;
            }));
    }
}

static int is_file(const char *path) {
    struct stat status;
    return fstatat(sides[TWIN], path, &status, AT_SYMLINK_NOFOLLOW) != 0 ? errno == ENOENT : S_ISREG(status.st_mode);
}

static void storm(unsigned long count) {
    char path[PATH];
    for (int i = 0; i < DIRECTORIES; i++) {
        sprintf(path, "d%d", i);
        ON_BOTH("mkdir", path, mkdirat(sides[side], path, 0755));
    }
    for (step = 1; step <= count; step++) {
        choose_path(path, 'f');
        if (random_below(2) && is_file(path)) use_contents(path);
        else use_names(path);
        if (random_below(500) == 0) must(syncfs(sides[TESTED]) == 0, "syncfs", ".");
    }
}

// --- comparing -------------------------------------------------------------------------------------------------
static int visible(const struct dirent *entry) { return strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") && strcmp(entry->d_name, "lost+found"); }

static void same_attributes(int *files, const char *path) {
    char name[32], values[SIDES][ATTRIBUTE_MAX];
    for (int i = 0; i < 4; i++) {
        sprintf(name, "user.%d", i);
        ssize_t length = fgetxattr(files[TESTED], name, values[TESTED], ATTRIBUTE_MAX), twin = fgetxattr(files[TWIN], name, values[TWIN], ATTRIBUTE_MAX);
        if (length != twin || (length > 0 && memcmp(values[TESTED], values[TWIN], length))) errx(1, "%s has another %s than its twin", path, name);
    }
}

static unsigned long same(const char *path) {
    struct stat status[SIDES];
    int files[SIDES];
    unsigned long count = 1;
    for (int side = 0; side < SIDES; side++) must(fstatat(sides[side], path, &status[side], AT_SYMLINK_NOFOLLOW) == 0, "stat", path);
    if (status[TESTED].st_mode != status[TWIN].st_mode) errx(1, "%s has mode %o, its twin %o", path, status[TESTED].st_mode, status[TWIN].st_mode);
    if (S_ISLNK(status[TESTED].st_mode)) {
        ssize_t length[SIDES];
        for (int side = 0; side < SIDES; side++) must((length[side] = readlinkat(sides[side], path, buffers[side], PATH)) >= 0, "readlink", path);
        if (length[TESTED] != length[TWIN] || memcmp(buffers[TESTED], buffers[TWIN], length[TESTED])) errx(1, "%s leads elsewhere than its twin", path);
        return count;
    }
    for (int side = 0; side < SIDES; side++) must((files[side] = openat(sides[side], path, O_RDONLY)) >= 0, "open", path);
    same_attributes(files, path);
    if (S_ISREG(status[TESTED].st_mode)) {
        if (status[TESTED].st_size != status[TWIN].st_size || status[TESTED].st_nlink != status[TWIN].st_nlink)
            errx(1, "%s has %ld bytes and %lu names, its twin %ld and %lu", path, status[TESTED].st_size, status[TESTED].st_nlink, status[TWIN].st_size, status[TWIN].st_nlink);
        read_part(files, path, 0, status[TESTED].st_size, 0);
    } else {
        struct dirent **entries[SIDES];
        int counts[SIDES];
        for (int side = 0; side < SIDES; side++) must((counts[side] = scandirat(sides[side], path, &entries[side], visible, alphasort)) >= 0, "reading", path);
        if (counts[TESTED] != counts[TWIN]) errx(1, "%s has %d entries, its twin %d", path, counts[TESTED], counts[TWIN]);
        for (int i = 0; i < counts[TESTED]; i++) {
            char inner[PATH + 256];
            snprintf(inner, sizeof inner, "%s/%s", path, entries[TESTED][i]->d_name);
            if (strcmp(entries[TESTED][i]->d_name, entries[TWIN][i]->d_name)) errx(1, "%s is no name of its twin", inner);
            count += same(inner);
        }
    }
    for (int side = 0; side < SIDES; side++) close(files[side]);
    return count;
}

int main(int count, char **arguments) {
    int storms = count == 6 && !strcmp(arguments[1], "storm");
    if (!storms && !(count == 4 && !strcmp(arguments[1], "same"))) errx(2, "usage: twins storm DIR TWIN COUNT SEED | same DIR TWIN");
    payload = aligned_alloc(BLOCK, 2 * BYTES_MAX);
    for (int side = 0; side < SIDES; side++) {
        buffers[side] = aligned_alloc(BLOCK, 2 * BYTES_MAX);
        if ((sides[side] = open(arguments[2 + side], O_RDONLY | O_DIRECTORY)) < 0) err(2, "%s", arguments[2 + side]);
        if (!buffers[side] || !payload) err(2, "memory");
    }
    if (storms) {
        state = strtoull(arguments[5], 0, 10);
        storm(strtoul(arguments[4], 0, 10));
    }
    printf("%lu names are the same\n", same("."));
    return 0;
}
