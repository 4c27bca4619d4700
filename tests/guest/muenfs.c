// A stand-in for the file systems of a Muen subject, /muenfs and /muenevents, for two ends on one kernel: a FUSE file system, straight on
// /dev/fuse. What it does is what the originals are said to do (docs/operations.md, "On a Muen subject"):
//   - a region is a file of fixed size and mode; what is mapped is the memory of another file (FUSE passthrough), such as a PCI device's,
//     which like the original's has no pages that could be pinned; opening it for writing needs the mode, also as root;
//   - polling a region gives POLLIN once for all events since the last poll of that opening, and POLLERR if it has no event;
//   - writing one byte to an event triggers it. Reading it gives how often that happened, which the original does not offer.
// usage: muenfs MOUNTPOINT FILE...     where FILE is DIRECTORY/NAME,MODE,BACKING-FILE,EVENT or DIRECTORY/NAME,EVENT; EVENT - for none
// It runs in the foreground until it is unmounted.
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

// Newer than the header of Debian 12 (linux/fuse.h of 6.9: passthrough).
enum { PASSTHROUGH_FLAG2 = 1 << 5, OPEN_PASSTHROUGH = 1 << 7, PASSTHROUGH_MINOR = 40, STACK_DEPTH = 1 };
struct backing_map { int32_t fd; uint32_t flags; uint64_t padding; };
#define BACKING_OPEN _IOW(229, 1, struct backing_map)

enum { NODES_MAX = 32, HANDLES_MAX = 64, REQUEST_BYTES = 1 << 20, FIRST_NODE = FUSE_ROOT_ID + 1 };

static struct node {
    char name[64];
    int parent;             // the number of its directory's node; -1: the root
    mode_t mode;
    off_t size;
    int backing;            // a region's memory, as the kernel numbers it; -1 for none
    int event;              // -1 for none
} nodes[NODES_MAX];
static struct handle { int node, used, waits; uint64_t seen, wake; } handles[HANDLES_MAX];
static struct { char name[64]; uint64_t count; } events[NODES_MAX];
static int node_count, event_count, device;

static int find(int parent, const char *name) {
    for (int i = 0; i < node_count; i++)
        if (nodes[i].parent == parent && !strcmp(nodes[i].name, name)) return i;
    return -1;
}

static int add(int parent, const char *name, mode_t mode) {
    if (node_count == NODES_MAX || strlen(name) >= sizeof nodes->name) errx(2, "too many files, or too long a name: %s", name);
    nodes[node_count] = (struct node){.parent = parent, .mode = mode, .backing = -1, .event = -1};
    strcpy(nodes[node_count].name, name);
    return node_count++;
}

static int event_of(const char *name) {
    if (!strcmp(name, "-")) return -1;
    for (int i = 0; i < event_count; i++)
        if (!strcmp(events[i].name, name)) return i;
    snprintf(events[event_count].name, sizeof events->name, "%s", name);
    return event_count++;
}

static void add_file(char *text) {
    char *path = strtok(text, ","), *fields[3] = {0}, *name = path ? strchr(path, '/') : 0;
    int count = 0;
    for (char *field; count < 3 && (field = strtok(0, ",")); ) fields[count++] = field;
    if (!name || count == 0 || count == 2) errx(2, "not a file: %s", text);
    *name++ = 0;
    int directory = find(-1, path);
    if (directory < 0) directory = add(-1, path, S_IFDIR | 0755);
    int node = add(directory, name, S_IFREG | (count == 1 ? 0600 : strtol(fields[0], 0, 8)));
    nodes[node].event = event_of(fields[count - 1]);
    if (count == 1) return;
    struct stat status;
    struct backing_map map = {.fd = open(fields[1], O_RDWR | O_CLOEXEC)};
    if (map.fd < 0 || fstat(map.fd, &status) != 0) err(1, "%s", fields[1]);
    nodes[node].size = status.st_size;
    nodes[node].backing = ioctl(device, BACKING_OPEN, &map);
    if (nodes[node].backing < 0) err(1, "the kernel does not take %s for passthrough", fields[1]);
    close(map.fd);
}

static void answer(uint64_t unique, int error, const void *data, size_t length) {
    struct fuse_out_header head = {.len = sizeof head + length, .error = error, .unique = unique};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)data, length}};
    // A request that was interrupted meanwhile is not waited for any more.
    if (writev(device, parts, 2) < 0 && errno != ENOENT) err(1, "/dev/fuse");
}

static struct fuse_attr attributes(uint64_t id) {
    if (id == FUSE_ROOT_ID) return (struct fuse_attr){.ino = id, .mode = S_IFDIR | 0755, .nlink = 2};
    struct node *node = &nodes[id - FIRST_NODE];
    return (struct fuse_attr){.ino = id, .size = node->size, .mode = node->mode, .nlink = 1, .blksize = 4096};
}

static void open_file(const struct fuse_in_header *in, const struct fuse_open_in *request) {
    struct node *node = &nodes[in->nodeid - FIRST_NODE];
    int fh = 0;
    while (fh < HANDLES_MAX && handles[fh].used) fh++;
    if (fh == HANDLES_MAX) { answer(in->unique, -ENFILE, 0, 0); return; }
    if ((request->flags & O_ACCMODE) != O_RDONLY && !(node->mode & 0200)) { answer(in->unique, -EACCES, 0, 0); return; }
    handles[fh] = (struct handle){.node = node - nodes, .used = 1, .seen = node->event < 0 ? 0 : events[node->event].count};
    struct fuse_open_out out = {.fh = fh, .open_flags = node->backing < 0 ? FOPEN_DIRECT_IO : OPEN_PASSTHROUGH};
    if (node->backing >= 0) memcpy(&out.padding, &node->backing, sizeof out.padding);    // its name since passthrough: backing_id
    answer(in->unique, 0, &out, sizeof out);
}

static void poll_file(const struct fuse_in_header *in, const struct fuse_poll_in *request) {
    struct handle *handle = &handles[request->fh];
    int event = nodes[handle->node].event;
    struct fuse_poll_out out = {.revents = 0x8 /* POLLERR */};
    if (event >= 0) {
        out.revents = handle->seen != events[event].count ? 0x1 /* POLLIN */ : 0;
        handle->seen = events[event].count;
        handle->waits = !out.revents && request->flags & FUSE_POLL_SCHEDULE_NOTIFY;
        handle->wake = request->kh;
    }
    answer(in->unique, 0, &out, sizeof out);
}

static void trigger(int event) {
    events[event].count++;
    for (struct handle *handle = handles; handle < handles + HANDLES_MAX; handle++) {
        if (!handle->used || !handle->waits || nodes[handle->node].event != event) continue;
        handle->waits = 0;
        struct fuse_notify_poll_wakeup_out wake = {.kh = handle->wake};
        answer(0, FUSE_NOTIFY_POLL, &wake, sizeof wake);
    }
}

static void serve(const struct fuse_in_header *in, const void *argument) {
    const struct fuse_write_in *write_in = argument;
    const struct fuse_read_in *read_in = argument;
    struct node *node = in->nodeid >= FIRST_NODE ? &nodes[in->nodeid - FIRST_NODE] : 0;
    char text[32];
    int found;
    switch (in->opcode) {
    case FUSE_LOOKUP:
        found = find(node ? node - nodes : -1, argument);
        if (found < 0) { answer(in->unique, -ENOENT, 0, 0); break; }
        answer(in->unique, 0, &(struct fuse_entry_out){.nodeid = found + FIRST_NODE, .entry_valid = 3600, .attr_valid = 3600,
            .attr = attributes(found + FIRST_NODE)}, sizeof(struct fuse_entry_out));
        break;
    case FUSE_GETATTR:
        answer(in->unique, 0, &(struct fuse_attr_out){.attr_valid = 3600, .attr = attributes(in->nodeid)}, sizeof(struct fuse_attr_out));
        break;
    case FUSE_OPEN: open_file(in, argument); break;
    case FUSE_POLL: poll_file(in, argument); break;
    case FUSE_WRITE:
        if (!node || node->backing >= 0) { answer(in->unique, -EIO, 0, 0); break; }
        if (node->event >= 0) trigger(node->event);
        answer(in->unique, 0, &(struct fuse_write_out){.size = write_in->size}, sizeof(struct fuse_write_out));
        break;
    case FUSE_READ:
        if (!node || node->backing >= 0) { answer(in->unique, -EIO, 0, 0); break; }
        snprintf(text, sizeof text, "%llu\n", node->event < 0 ? 0ull : (unsigned long long)events[node->event].count);
        answer(in->unique, 0, text, read_in->offset ? 0 : strlen(text));
        break;
    case FUSE_RELEASE:
        handles[((const struct fuse_release_in *)argument)->fh].used = 0;
        answer(in->unique, 0, 0, 0);
        break;
    case FUSE_STATFS: answer(in->unique, 0, &(struct fuse_statfs_out){.st = {.namelen = 63, .bsize = 4096}}, sizeof(struct fuse_statfs_out)); break;
    case FUSE_FORGET: case FUSE_BATCH_FORGET: case FUSE_INTERRUPT: break;    // no answer is expected
    default: answer(in->unique, -ENOSYS, 0, 0);
    }
}

static void initialise(const struct fuse_in_header *in) {
    struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION, .minor = PASSTHROUGH_MINOR, .max_write = 4096,
        .flags = FUSE_INIT_EXT | FUSE_MAX_PAGES, .max_pages = 1, .flags2 = PASSTHROUGH_FLAG2};
    out.unused[0] = STACK_DEPTH;    // its name since passthrough: max_stack_depth
    answer(in->unique, 0, &out, sizeof out);
}

int main(int count, char **arguments) {
    char options[64];
    if (count < 3) errx(2, "usage: muenfs MOUNTPOINT FILE...");
    device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (device < 0) err(1, "/dev/fuse");
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", device);
    if (mount("muenfs", arguments[1], "fuse", MS_NOSUID | MS_NODEV, options) != 0) err(1, "mount %s", arguments[1]);

    char *buffer = aligned_alloc(8, REQUEST_BYTES);
    const struct fuse_in_header *in = (const void *)buffer;
    for (;;) {
        ssize_t got = read(device, buffer, REQUEST_BYTES);
        if (got < 0 && errno == ENODEV) return 0;    // unmounted
        if (got < 0 && errno != EINTR && errno != ENOENT && errno != EAGAIN) err(1, "/dev/fuse");
        if (got < (ssize_t)sizeof *in) continue;
        if (in->opcode == FUSE_INIT) {
            initialise(in);
            for (int i = 2; i < count; i++) add_file(arguments[i]);
            puts("ready");
            fflush(stdout);
        } else {
            serve(in, buffer + sizeof *in);
        }
    }
}
