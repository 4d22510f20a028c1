/* How fast can event files be read at all? One loop in C that checks every checksum and sums up every scalar.
 *
 * usage: reference_reader FILE...
 *
 * Prints one line: the scalars; the sums, modulo 2^64, of the bits of their values (as doubles), of their steps, of
 * the bits of their wall times, and of value bits * (2 * step + 1); then nanoseconds of CPU and of wall time.
 * It knows simple_value and the float, double tensors of one element in tensor_content or float_val / double_val
 * that name the plugin "scalars" themselves. Built with -DINLINE="static inline __attribute__((always_inline))" the
 * parser of fields is inlined everywhere, which gcc does not do by itself. Ends with 1 and a line on stderr when a file cannot be read or is
 * damaged.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef __SSE4_2__
#include <nmmintrin.h>
#endif

#define BLOCK (1u << 20)
#define HEADER 12
#define FOOTER 4

/* Keys of fields by wire type. */
#define VARINT(number) ((number) << 3)
#define FIXED64(number) ((number) << 3 | 1)
#define LENGTH(number) ((number) << 3 | 2)
#define FIXED32(number) ((number) << 3 | 5)

#ifndef INLINE
#define INLINE static
#endif

typedef struct {
    const uint8_t *at, *end;
} Span;

typedef struct {
    uint64_t key;    /* as on the wire: number of the field * 8 + wire type */
    uint64_t number; /* wire type 0 */
    Span bytes;      /* wire types 1, 2, 5; else empty */
} Field;

typedef struct {
    uint64_t scalars, values, steps, walls, mixed;
} Sums;

static uint64_t load64(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, 8);
    return word;
}

static uint32_t load32(const uint8_t *at) {
    uint32_t word;
    memcpy(&word, at, 4);
    return word;
}

#ifdef __SSE4_2__
static void prepare_crc(void) {}

static uint32_t crc32c(const uint8_t *at, size_t count) {
    uint64_t crc = 0xFFFFFFFFu;
    for (; count >= 8; at += 8, count -= 8) crc = _mm_crc32_u64(crc, load64(at));
    uint32_t rest = (uint32_t)crc;
    if (count & 4) rest = _mm_crc32_u32(rest, load32(at)), at += 4;
    if (count & 2) rest = _mm_crc32_u16(rest, (uint16_t)(at[0] | at[1] << 8)), at += 2;
    if (count & 1) rest = _mm_crc32_u8(rest, *at);
    return ~rest;
}
#else
static uint32_t table[8][256];

static void prepare_crc(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
        table[0][byte] = crc;
    }
    for (int slice = 1; slice < 8; slice++)
        for (int byte = 0; byte < 256; byte++)
            table[slice][byte] = table[0][table[slice - 1][byte] & 255] ^ table[slice - 1][byte] >> 8;
}

static uint32_t crc32c(const uint8_t *at, size_t count) {
    uint32_t crc = 0xFFFFFFFFu;
    for (; count >= 8; at += 8, count -= 8) {
        uint64_t word = load64(at) ^ crc;
        crc = 0;
        for (int slice = 0; slice < 8; slice++) crc ^= table[7 - slice][word >> 8 * slice & 255];
    }
    for (; count; at++, count--) crc = table[0][(crc ^ *at) & 255] ^ crc >> 8;
    return ~crc;
}
#endif

static uint32_t masked(uint32_t crc) { return (crc >> 15 | crc << 17) + 0xA282EAD8u; }

INLINE int varint(Span *span, uint64_t *number) {
    if (span->at >= span->end) return 0;
    uint8_t byte = *span->at++;
    *number = byte & 127;
    for (unsigned shift = 7; byte >= 128; shift += 7) {
        if (shift > 63 || span->at >= span->end) return 0;
        byte = *span->at++;
        *number |= (uint64_t)(byte & 127) << shift;
    }
    return 1;
}

/* The next field of a message; 0: there is none, or it is damaged. */
INLINE int next_field(Span *span, Field *field) {
    uint64_t count = 0;
    if (!varint(span, &field->key)) return 0;
    switch (field->key & 7) {
        case 0: if (varint(span, &field->number)) break; return 0;
        case 1: count = 8; break;
        case 2: if (varint(span, &count)) break; return 0;
        case 5: count = 4; break;
        default: return 0;
    }
    if (count > (uint64_t)(span->end - span->at)) return 0;
    field->bytes = (Span){span->at, span->at + count};
    span->at += count;
    return 1;
}

static double as_float(const uint8_t *at) {
    float number;
    memcpy(&number, at, 4);
    return number;
}

static double as_double(const uint8_t *at) {
    double number;
    memcpy(&number, at, 8);
    return number;
}

/* TensorShapeProto: dim 2; Dim: size 1. Whether all sizes are 1. */
static int single(Span shape) {
    Field dim = {0}, size = {0};
    while (next_field(&shape, &dim))
        while (dim.key == LENGTH(2) && next_field(&dim.bytes, &size))
            if (size.key == VARINT(1) && size.number != 1) return 0;
    return 1;
}

/* TensorProto: dtype 1, tensor_shape 2, tensor_content 4, float_val 5, double_val 6. */
static int tensor_scalar(Span tensor, double *value) {
    uint64_t type = 0;
    Span content = {0};
    Field field = {0};
    while (next_field(&tensor, &field)) {
        if (field.key == VARINT(1)) type = field.number;
        else if (field.key == LENGTH(2) && !single(field.bytes)) return 0;
        else if (field.key >> 3 >= 4 && field.key >> 3 <= 6) content = field.bytes;
    }
    if (type == 1 && content.end - content.at == 4) return *value = as_float(content.at), 1;
    if (type == 2 && content.end - content.at == 8) return *value = as_double(content.at), 1;
    return 0;
}

/* SummaryMetadata: plugin_data 1; PluginData: plugin_name 1. */
static int names_scalars(Span metadata) {
    Field plugin = {0}, name = {0};
    while (next_field(&metadata, &plugin))
        while (plugin.key == LENGTH(1) && next_field(&plugin.bytes, &name))
            if (name.key == LENGTH(1))
                return name.bytes.end - name.bytes.at == 7 && !memcmp(name.bytes.at, "scalars", 7);
    return 0;
}

/* Summary.Value: simple_value 2, tensor 8, metadata 9. */
static int scalar(Span value, double *found) {
    Span tensor = {0};
    Field field = {0};
    int named = 0;
    while (next_field(&value, &field)) {
        if (field.key == FIXED32(2)) return *found = as_float(field.bytes.at), 1;
        if (field.key == LENGTH(8)) tensor = field.bytes;
        else if (field.key == LENGTH(9)) named = names_scalars(field.bytes);
    }
    return named && tensor.at && tensor_scalar(tensor, found);
}

/* Event: wall_time 1, step 2, summary 5; Summary: value 1. */
static void take_event(Span event, Sums *sums) {
    uint64_t wall = 0, step = 0, bits;
    Span summary = {0};
    Field field = {0};
    while (next_field(&event, &field)) {
        if (field.key == FIXED64(1)) wall = load64(field.bytes.at);
        else if (field.key == VARINT(2)) step = field.number;
        else if (field.key == LENGTH(5)) summary = field.bytes;
    }
    while (next_field(&summary, &field)) {
        double found;
        if (field.key != LENGTH(1) || !scalar(field.bytes, &found)) continue;
        memcpy(&bits, &found, 8);
        sums->scalars++;
        sums->values += bits;
        sums->steps += step;
        sums->walls += wall;
        sums->mixed += bits * (2 * step + 1);
    }
}

static int fail(const char *path, const char *what) {
    fprintf(stderr, "%s: %s\n", path, what);
    return 1;
}

/* Reads a file by blocks; a record that does not end in the buffer is moved to its front. */
static int read_file(const char *path, uint8_t **buffer, size_t *size, Sums *sums) {
    int file = open(path, O_RDONLY);
    if (file < 0) return fail(path, "cannot be opened");
    size_t have = 0;
    for (;;) {
        if (have + BLOCK > *size && !(*buffer = realloc(*buffer, *size = have + 2 * BLOCK))) abort();
        ssize_t got = read(file, *buffer + have, BLOCK);
        if (got <= 0) break;
        have += (size_t)got;
        size_t at = 0;
        while (have - at >= HEADER) {
            const uint8_t *record = *buffer + at;
            uint64_t length = load64(record);
            if (masked(crc32c(record, 8)) != load32(record + 8)) return fail(path, "a damaged length");
            if (have - at - HEADER < length + FOOTER) break;
            if (masked(crc32c(record + HEADER, length)) != load32(record + HEADER + length))
                return fail(path, "a damaged record");
            take_event((Span){record + HEADER, record + HEADER + length}, sums);
            at += HEADER + length + FOOTER;
        }
        have -= at;
        memmove(*buffer, *buffer + at, have);
    }
    close(file);
    return have ? fail(path, "ends inside a record") : 0;
}

static uint64_t nanoseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int main(int count, char **paths) {
    Sums sums = {0, 0, 0, 0, 0};
    size_t size = 2 * BLOCK;
    uint8_t *buffer = malloc(size);
    uint64_t cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID), wall = nanoseconds(CLOCK_MONOTONIC);
    prepare_crc();
    for (int number = 1; number < count; number++)
        if (read_file(paths[number], &buffer, &size, &sums)) return 1;
    cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu, wall = nanoseconds(CLOCK_MONOTONIC) - wall;
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", sums.scalars,
           sums.values, sums.steps, sums.walls, sums.mixed, cpu, wall);
    free(buffer);
    return 0;
}
