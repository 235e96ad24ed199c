/* Times of short calls through the C interface, as the core's own (core_call.rs) prints them.
 *
 *   bench EMBEDDER DECODER TEXT CALLS     for each call its least and its median nanoseconds
 */
#include "check.h"

#include <time.h>

static ember_error error;
static ember_model *embedder, *decoder;
static ember_tokenizer *tokenizer;
static ember_stream *rest;
static const char *text;
static float *out;
static size_t room;

static void encode(void) {
    ember_encodings *encodings;
    must(ember_tokenizer_encode(tokenizer, text, EMBER_NUL, true, &encodings, &error), &error);
    ember_encodings_free(encodings);
}

static void embed(void) {
    must(ember_model_embed(embedder, &text, 1, out, room, &error), &error);
}

static void start(void) {
    ember_generate_options options = EMBER_GENERATE_OPTIONS_INIT;
    ember_stream_free(rest);
    options.max_tokens = 1 << 20, options.ignore_eos = 1, options.temperature = 0;
    must(ember_model_generate(decoder, text, EMBER_NUL, &options, &rest, &error), &error);
}

static void next(void) {
    ember_text piece;
    /* A full window ends a stream; the next one takes its place. */
    if (must(ember_stream_next(rest, &piece, &error), &error) == EMBER_DONE) start();
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const char *name, size_t calls, void (*call)(void), const char *after) {
    double *times = malloc(calls * sizeof *times);
    struct timespec from, to;
    for (size_t i = 0; i < calls + calls / 4; i++) {
        clock_gettime(CLOCK_MONOTONIC, &from);
        call();
        clock_gettime(CLOCK_MONOTONIC, &to);
        /* The first calls warm up. */
        if (i >= calls / 4)
            times[i - calls / 4] =
                (double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec);
    }
    qsort(times, calls, sizeof *times, by_size);
    printf("\"%s\": [%.0f, %.0f]%s", name, times[0], times[calls / 2], after);
    free(times);
}

int main(int count, char **words) {
    ember_open_options cpu = EMBER_OPEN_OPTIONS_INIT;
    size_t calls;
    if (count != 5 || (calls = strtoul(words[4], NULL, 10)) == 0) return 2;
    cpu.device = "cpu";
    text = words[3];
    must(ember_model_open(words[1], &cpu, &embedder, &error), &error);
    must(ember_model_open(words[2], &cpu, &decoder, &error), &error);
    must(ember_model_tokenizer(embedder, &tokenizer, &error), &error);
    room = ember_model_width(embedder);
    out = malloc(room * sizeof *out);
    start();
    printf("{");
    measure("encode", calls, encode, ", ");
    measure("embed", calls, embed, ", ");
    measure("next", calls, next, "}\n");
    free(out);
    ember_stream_free(rest);
    ember_tokenizer_free(tokenizer);
    ember_model_free(embedder);
    ember_model_free(decoder);
    return 0;
}
