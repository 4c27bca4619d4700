// Tells whether a device keeps what it acknowledged, over the deaths of whatever serves it. Threads write, read, discard, zero and flush at
// random places with O_DIRECT, overlapping each other. Every sector that is written bears the number of its write, and a sector may hold
//   - a write (a discard and a zeroing are writes of zeros) that is under way, or that was acknowledged,
//   - unless another write that began after its acknowledgement was itself acknowledged (before a read began, where it is read).
// Once all I/O has ended and a sector was read, it may hold only what was read: a repeat that lands late is found.
//
// usage: checker run DEVICE DISK LOG SEED      DISK is what lies below the DEVICE; both begin with the same bytes
//            commands on standard input: "check" waits until all I/O has ended, reads DEVICE and DISK whole, compares, says so on standard
//            output and goes on; "end" does the same for the last time. Whatever is wrong ends it at once with a line on standard error.
//        checker replay LOG DISK               whether the DISK is as the log of such a run says that it must be
//
// The log is a file or a disk, written with O_DIRECT: what was acknowledged is known outside of the page cache of the machine that wrote it.
// It is whole at every check. A block of it has the run's number, how many entries it holds, and the entries.
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    SECTOR = 512, WORDS = SECTOR / 8, SECTORS = 16384, HOT_SECTORS = 2048, IO_SECTORS_MAX = 512, DISCARD_SECTORS = 8,
    THREADS = 24, CHUNK = 512, BLOCK = 4096, WRITES_MAX = 40,    // of a sector, at a time
    PERCENT_WRITE = 45, PERCENT_READ = 85, PERCENT_DISCARD = 90, PERCENT_ZERO = 93,    // and so far each; the rest are flushes
};
enum kind { WRITE, DISCARD, ZERO, FLUSH, READ, KINDS };

// A write of a sector: when it began, which is its number, and when it was acknowledged, or 0. Times count the events of the model.
struct write { uint64_t start, end; int zero; };
static struct sector { int readers, count; struct write writes[WRITES_MAX]; } sectors[SECTORS];
static uint64_t now = 1;

// One that was not seen by READ is in the log: BEGUN and ENDED of WRITE to FLUSH, SETTLED of a sector.
enum event { BEGUN = 1, ENDED, SETTLED };
struct entry { uint64_t start, time; uint32_t sector; uint16_t count; uint8_t kind, event; };
enum { ENTRIES = (BLOCK - 16) / sizeof(struct entry) };
struct block { uint64_t run; uint64_t count; struct entry entries[ENTRIES]; };

// --- what a sector may hold ------------------------------------------------------------------------------------
// The latest begin of a write that was acknowledged before the time: one that was acknowledged before that is overwritten.
static uint64_t overwritten_before(const struct sector *at, uint64_t time) {
    uint64_t latest = 0;
    for (int i = 0; i < at->count; i++) {
        const struct write *w = &at->writes[i];
        if (w->end && w->end < time && w->start > latest) latest = w->start;
    }
    return latest;
}

static uint64_t word_of(uint32_t sector, const struct write *w) { return w->zero ? 0 : w->start << 24 | sector; }

static int may_hold(uint32_t sector, uint64_t word, uint64_t time) {
    struct sector *at = &sectors[sector];
    uint64_t limit = overwritten_before(at, time);
    for (int i = 0; i < at->count; i++) {
        struct write *w = &at->writes[i];
        if (word_of(sector, w) == word && !(w->end && w->end < limit)) return 1;
    }
    return 0;
}

static void forget_overwritten(struct sector *at) {
    if (at->readers) return;
    uint64_t limit = overwritten_before(at, UINT64_MAX);
    int kept = 0;
    for (int i = 0; i < at->count; i++)
        if (!at->writes[i].end || at->writes[i].end >= limit) at->writes[kept++] = at->writes[i];
    at->count = kept;
}

static void begin_write(uint32_t sector, int count, enum kind kind, uint64_t start) {
    for (int i = 0; i < count; i++) {
        struct sector *at = &sectors[sector + i];
        if (at->count == WRITES_MAX) errx(1, "sector %u has too many writes at a time", sector + i);
        at->writes[at->count++] = (struct write){start, 0, kind != WRITE};
    }
}

static void end_write(uint32_t sector, int count, uint64_t start, uint64_t end) {
    for (int i = 0; i < count; i++) {
        struct sector *at = &sectors[sector + i];
        for (int j = 0; j < at->count; j++)
            if (at->writes[j].start == start) at->writes[j].end = end;
        forget_overwritten(at);
    }
}

// The sector was read when nothing was under way: nothing else may be there from now on.
static void settle(uint32_t sector, uint64_t word) {
    struct sector *at = &sectors[sector];
    int kept = 0;
    for (int i = 0; i < at->count; i++)
        if (word_of(sector, &at->writes[i]) == word) at->writes[kept++] = at->writes[i];
    at->count = kept;
}

// Two writes of a sector at once may leave a part of either.
static void check_sector(const char *where, uint32_t sector, const uint64_t *words, uint64_t time) {
    uint64_t last = ~words[0];
    for (int i = 0; i < WORDS; i++) {
        if (words[i] == last) continue;
        last = words[i];
        if (may_hold(sector, last, time)) continue;
        fprintf(stderr, "mismatch: sector %u of %s holds %#lx at byte %d: write %lu of sector %lu; it may hold", sector, where, last, i * 8, last >> 24, last & 0xffffff);
        uint64_t limit = overwritten_before(&sectors[sector], time);
        for (int j = 0; j < sectors[sector].count; j++) {
            struct write *w = &sectors[sector].writes[j];
            if (!(w->end && w->end < limit)) fprintf(stderr, " %lu%s (%lu)", w->start, w->zero ? " zeros" : "", w->end);
        }
        errx(1, ", now is %lu", now);
    }
}

static int of_one_write(const uint64_t *words) { return !memcmp(words, words + 1, SECTOR - 8); }

// --- the log ---------------------------------------------------------------------------------------------------
static struct block *block;
static uint64_t log_blocks;
static int log_file;

static void write_log(void) {
    if (pwrite(log_file, block, BLOCK, log_blocks * BLOCK) != BLOCK) err(1, "the log");
}

static void record(struct entry entry) {
    block->entries[block->count++] = entry;
    if (block->count < ENTRIES) return;
    write_log();
    log_blocks++;
    block->count = 0;
}

static void *aligned(size_t bytes) {
    void *memory = aligned_alloc(BLOCK, bytes);
    if (!memory) err(1, "memory");
    return memset(memory, 0, bytes);
}

// --- the load --------------------------------------------------------------------------------------------------
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int device, disk, paused, under_way;
static uint64_t seed, counts[KINDS];

static uint64_t random_below(uint64_t *state, uint64_t limit) {    // splitmix64
    uint64_t x = *state += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return (x ^ x >> 31) % limit;
}

struct io { enum kind kind; uint32_t sector; int count; uint64_t start; };

static struct io choose(uint64_t *state) {
    static const int sizes[] = {1, 1, 2, 3, 8, 8, 8, 8, 16, 16, 40, 128, IO_SECTORS_MAX};
    struct io io = {.kind = FLUSH};
    uint64_t percent = random_below(state, 100), within = random_below(state, 2) ? HOT_SECTORS : SECTORS;
    if (percent >= PERCENT_ZERO) return io;
    io.kind = percent < PERCENT_WRITE ? WRITE : percent < PERCENT_READ ? READ : percent < PERCENT_DISCARD ? DISCARD : ZERO;
    io.count = sizes[random_below(state, sizeof sizes / sizeof *sizes)];
    // Smaller discards may do nothing.
    int unit = io.kind == DISCARD ? DISCARD_SECTORS : 1;
    if (io.kind == DISCARD) io.count = (io.count + unit - 1) / unit * unit;
    io.sector = random_below(state, (within - io.count) / unit + 1) * unit;
    return io;
}

static int too_many(struct io io) {
    for (int i = 0; i < io.count; i++)
        if (sectors[io.sector + i].count == WRITES_MAX) return 1;
    return 0;
}

static void begin(struct io *io, uint64_t *state) {
    pthread_mutex_lock(&lock);
    do {
        while (paused) pthread_cond_wait(&changed, &lock);
        *io = choose(state);
    } while (io->kind < FLUSH && too_many(*io));
    under_way++;
    io->start = now++;
    if (io->kind == READ) for (int i = 0; i < io->count; i++) sectors[io->sector + i].readers++;
    else {
        begin_write(io->sector, io->count, io->kind, io->start);
        record((struct entry){io->start, io->start, io->sector, io->count, io->kind, BEGUN});
    }
    pthread_mutex_unlock(&lock);
}

static void end(struct io *io, const uint64_t *words) {
    pthread_mutex_lock(&lock);
    uint64_t time = now++;
    if (io->kind == READ) {
        for (int i = 0; i < io->count; i++) {
            struct sector *at = &sectors[io->sector + i];
            check_sector("the device", io->sector + i, words + i * WORDS, io->start);
            at->readers--;
            forget_overwritten(at);
        }
    } else {
        end_write(io->sector, io->count, io->start, time);
        record((struct entry){io->start, time, io->sector, io->count, io->kind, ENDED});
    }
    counts[io->kind]++;
    if (--under_way == 0) pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void carry_out(const struct io *io, uint64_t *words) {
    static const char *const names[] = {"write", "discard", "zeroing", "flush", "read"};
    uint64_t range[2] = {(uint64_t)io->sector * SECTOR, (uint64_t)io->count * SECTOR};
    ssize_t result = 0, wanted = 0;
    switch (io->kind) {
        case WRITE:
            for (int i = 0; i < io->count * WORDS; i++) words[i] = io->start << 24 | (io->sector + i / WORDS);
            result = pwrite(device, words, wanted = range[1], range[0]);
            break;
        case READ: result = pread(device, words, wanted = range[1], range[0]); break;
        case DISCARD: result = ioctl(device, BLKDISCARD, range); break;
        case ZERO: result = ioctl(device, BLKZEROOUT, range); break;
        default: result = fsync(device);
    }
    if (result != wanted) err(1, "error: a %s of %d sectors at %u gave %zd", names[io->kind], io->count, io->sector, result);
}

static void *load(void *number) {
    uint64_t state = seed * THREADS + (uintptr_t)number, *words = aligned(IO_SECTORS_MAX * SECTOR);
    struct io io;
    for (;;) {
        begin(&io, &state);
        carry_out(&io, words);
        end(&io, words);
    }
    return 0;
}

// --- comparing -------------------------------------------------------------------------------------------------
static void check_all(const char *where, int file, int settles) {
    static uint64_t *words;
    if (!words) words = aligned(CHUNK * SECTOR);
    for (uint32_t sector = 0; sector < SECTORS; sector++) {
        if (sector % CHUNK == 0 && pread(file, words, CHUNK * SECTOR, (off_t)sector * SECTOR) != CHUNK * SECTOR) err(1, "error: reading %s", where);
        uint64_t *held = words + sector % CHUNK * WORDS;
        check_sector(where, sector, held, UINT64_MAX);
        if (!settles || sectors[sector].count == 1 || !of_one_write(held)) continue;
        settle(sector, held[0]);
        record((struct entry){held[0], now, sector, 1, 0, SETTLED});
    }
}

// The disk first: the device must agree with it then.
static void check(int is_last) {
    pthread_mutex_lock(&lock);
    paused = 1;
    while (under_way) pthread_cond_wait(&changed, &lock);
    check_all("the disk", disk, 1);
    check_all("the device", device, 0);
    write_log();
    printf("%lu writes, %lu reads, %lu discards, %lu zeroings, %lu flushes\n", counts[WRITE], counts[READ], counts[DISCARD], counts[ZERO], counts[FLUSH]);
    fflush(stdout);
    paused = is_last;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static int open_or_end(const char *path, int flags) {
    int file = open(path, flags | O_CLOEXEC);
    if (file < 0) err(2, "%s", path);
    return file;
}

static void all_zeros(void) {
    for (int i = 0; i < SECTORS; i++) sectors[i] = (struct sector){.count = 1, .writes = {{0, 1, 1}}};
}

static int run(char **arguments) {
    char command[16];
    pthread_t thread;
    device = open_or_end(arguments[0], O_RDWR | O_DIRECT);
    disk = open_or_end(arguments[1], O_RDONLY | O_DIRECT);
    log_file = open_or_end(arguments[2], O_RDWR | O_DIRECT | O_DSYNC);
    seed = strtoull(arguments[3], 0, 10);
    block = aligned(BLOCK);
    uint64_t range[2] = {0, (uint64_t)SECTORS * SECTOR};
    if (ioctl(device, BLKZEROOUT, range) != 0) err(1, "error: zeroing %s", arguments[0]);
    all_zeros();
    if (getentropy(&block->run, sizeof block->run) != 0) err(1, "a number for the run");
    for (uintptr_t i = 0; i < THREADS; i++)
        if ((errno = pthread_create(&thread, 0, load, (void *)i)) != 0) err(1, "a thread");
    while (fgets(command, sizeof command, stdin)) {
        int is_last = !strcmp(command, "end\n");
        check(is_last);
        if (is_last) break;
    }
    return 0;
}

// --- from the log alone ----------------------------------------------------------------------------------------
static void replay_entry(const struct entry *e) {
    if (e->time >= now) now = e->time + 1;
    if (e->event == SETTLED) settle(e->sector, e->start);
    else if (e->event == BEGUN) begin_write(e->sector, e->count, e->kind, e->start);
    else {
        end_write(e->sector, e->count, e->start, e->time);
        counts[e->kind]++;
    }
}

static int replay(char **arguments) {
    log_file = open_or_end(arguments[0], O_RDONLY);
    disk = open_or_end(arguments[1], O_RDONLY);
    block = aligned(BLOCK);
    all_zeros();
    uint64_t run = 0;
    for (; pread(log_file, block, BLOCK, log_blocks * BLOCK) == BLOCK; log_blocks++) {
        if (!run) run = block->run;
        if (!run || block->run != run || block->count > ENTRIES) break;
        for (uint64_t i = 0; i < block->count; i++) replay_entry(&block->entries[i]);
    }
    if (!log_blocks) errx(1, "error: %s is no log", arguments[0]);
    check_all("the disk", disk, 0);
    printf("%lu writes, %lu discards, %lu zeroings, %lu flushes in the log; the disk is as they left it\n", counts[WRITE], counts[DISCARD], counts[ZERO], counts[FLUSH]);
    return 0;
}

int main(int count, char **arguments) {
    if (count == 6 && !strcmp(arguments[1], "run")) return run(arguments + 2);
    if (count == 4 && !strcmp(arguments[1], "replay")) return replay(arguments + 2);
    errx(2, "usage: checker run DEVICE DISK LOG SEED | replay LOG DISK");
}
