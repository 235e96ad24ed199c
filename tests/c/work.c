/* Right uses: threads, cancelling, callbacks, and memory that stays flat.
 *
 *   work GOLDEN [quick]     quick: fewer rounds, for valgrind and AddressSanitizer
 */
#include "check.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

static ember_model *encoder, *decoder;
static size_t width;
static float wanted[2 * 4096];
static const char *texts[2] = {"a cat sat", "a dog lay"};

static void sleep_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* Kilobytes that are resident. */
static long resident(void) {
    long pages = 0, all = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%ld %ld", &all, &pages) != 2) pages = 0;
    if (file != NULL) fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* One model in many threads: each gets what one thread gets. */
static void *embed_often(void *wrong) {
    ember_error error;
    float *out = malloc(2 * width * sizeof *out);
    for (int i = 0; i < 20; i++) {
        must(ember_model_embed(encoder, texts, 2, out, 2 * width, &error), &error);
        if (memcmp(out, wanted, 2 * width * sizeof *out) != 0) *(int *)wrong = 1;
    }
    free(out);
    return NULL;
}

/* A stream that another thread holds or cancels. */
static ember_stream *endless;
static volatile int busy, cancelled;

static bool hold(void *user, ember_text piece) {
    (void)user, (void)piece;
    busy = 1;
    while (!cancelled) sleep_ms(1);
    return true;
}

static void *hold_stream(void *status) {
    ember_error error;
    *(ember_status *)status = ember_stream_run(endless, hold, NULL, &error);
    return NULL;
}

static void generate(size_t tokens, ember_stream **stream) {
    ember_error error;
    ember_generate_options options = EMBER_GENERATE_OPTIONS_INIT;
    options.max_tokens = tokens;
    options.ignore_eos = 1;
    options.temperature = 1;
    options.seed = 7;
    options.logprobs = 3;
    must(ember_model_generate(decoder, "a cat", EMBER_NUL, &options, stream, &error), &error);
}

static void rounds(int embeds, int generations) {
    ember_error error;
    float *out = malloc(2 * width * sizeof *out);
    for (int i = 0; i < embeds; i++)
        must(ember_model_embed(encoder, texts, 1, out, width, &error), &error);
    for (int i = 0; i < generations; i++) {
        ember_stream *stream;
        ember_text text;
        generate(4, &stream);
        while (must(ember_stream_next(stream, &text, &error), &error) != EMBER_DONE) {}
        ember_stream_free(stream);
    }
    free(out);
}

int main(int count, char **words) {
    ember_error error;
    ember_open_options cpu = EMBER_OPEN_OPTIONS_INIT;
    char path[512];
    int quick = count == 3;
    if (count < 2) return 2;
    cpu.device = "cpu";
    check(strcmp(ember_version(), EMBER_VERSION) == 0, "the version", ember_version());
    check(ember_abi() == EMBER_ABI, "the binary interface", "");
    snprintf(path, sizeof path, "%s/st-prompts", words[1]);
    must(ember_model_open(path, &cpu, &encoder, &error), &error);
    snprintf(path, sizeof path, "%s/st-decoder", words[1]);
    must(ember_model_open(path, &cpu, &decoder, &error), &error);
    width = ember_model_width(encoder);
    must(ember_model_embed(encoder, texts, 2, wanted, 2 * width, &error), &error);

    pthread_t threads[8];
    int wrong = 0;
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], NULL, embed_often, &wrong);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    check(!wrong, "8 threads on one model give what one gives", "");

    /* A second thread on one stream is refused; cancelling from it works. */
    ember_status status = EMBER_OK;
    ember_text text;
    ember_stats stats;
    generate(1000000, &endless);
    pthread_create(&threads[0], NULL, hold_stream, &status);
    while (!busy) sleep_ms(1);
    check(ember_stream_next(endless, &text, &error) == EMBER_ERROR_ARGUMENT, "a second thread", "");
    ember_stream_cancel(endless);
    cancelled = 1;
    pthread_join(threads[0], NULL);
    check(status == EMBER_DONE, "a cancelled stream ends", "");
    must(ember_stream_stats(endless, &stats, sizeof stats, &error), &error);
    check(stats.finish_reason != NULL && strcmp(stats.finish_reason, "cancelled") == 0,
          "it says that it was cancelled", "");
    ember_stream_free(endless);

    /* Tokens, log-probabilities, and the whole text are the same stream. */
    ember_stream *stream;
    ember_token token;
    char joined[256] = "";
    size_t tokens = 0;
    generate(8, &stream);
    while (must(ember_stream_next(stream, &text, &error), &error) != EMBER_DONE) {
        strncat(joined, text.data, text.len);
        if (must(ember_stream_token(stream, &token, sizeof token, &error), &error) == EMBER_OK) {
            tokens++;
            check(token.logprob <= 0 && token.top_len == 3, "log-probabilities", "");
            check(token.top[0].logprob >= token.top[2].logprob, "best first", "");
        }
    }
    check(tokens == 8, "as many tokens as asked for", "");
    ember_stream_free(stream);
    generate(8, &stream);
    must(ember_stream_text(stream, &text, &error), &error);
    check(text.len == strlen(joined) && memcmp(text.data, joined, text.len) == 0, "whole text", joined);
    ember_stream_free(stream);

    /* Tokens there and back, with places. */
    ember_tokenizer *tokenizer;
    ember_encodings *encodings;
    ember_encoding encoding;
    char decoded[64];
    size_t len, counted;
    must(ember_model_tokenizer(encoder, &tokenizer, &error), &error);
    must(ember_tokenizer_encode(tokenizer, "a cat", EMBER_NUL, false, &encodings, &error), &error);
    must(ember_encodings_get(encodings, 0, &encoding, sizeof encoding, &error), &error);
    must(ember_tokenizer_count(tokenizer, "a cat", EMBER_NUL, false, &counted, &error), &error);
    check(encoding.len == counted && counted > 0, "as many tokens as counted", "");
    check(encoding.offsets[0].start == 0 && encoding.offsets[encoding.len - 1].end == 5, "offsets", "");
    must(ember_tokenizer_decode(tokenizer, encoding.ids, encoding.len, true, decoded, 64, &len, &error),
         &error);
    check(len == 5 && memcmp(decoded, "a cat", 5) == 0, "decoded again", "");
    ember_encodings_free(encodings);
    ember_tokenizer_free(tokenizer);

    /* Memory stays where it is. */
    rounds(quick ? 5 : 1000, quick ? 2 : 50);
    long before = resident();
    rounds(quick ? 20 : 10000, quick ? 4 : 200);
    long after = resident();
    printf("resident: %ld kB after warm-up, %ld kB after 10000 embeddings and 200 generations\n",
           before, after);
    check(quick || after - before < 2048, "memory is flat", "");

    ember_model_free(encoder);
    ember_model_free(decoder);
    return done();
}
