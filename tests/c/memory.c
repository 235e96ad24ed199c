/* Memory that runs out: a status and a sentence, nothing is written, and the next call works.
 *
 *   memory GOLDEN
 *
 * The process limits its own address space to little more than it has.
 */
#include "check.h"

#include <sys/resource.h>
#include <unistd.h>

enum { TOKENS = 40, ROWS = 100000, ROOM = 512 }; /* ROOM: megabytes */

static ember_error error;

/* Expects that `call` had no memory for `what`. */
static void expect(ember_status status, const char *what) {
    check(status == EMBER_ERROR_MEMORY && error.status == status && strstr(error.message, what) != NULL &&
              strstr(error.message, "no memory for") != NULL,
          what, error.message);
}

/* Bytes of addresses in use. */
static size_t addresses(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lu", &pages) != 1) pages = 0;
    if (file != NULL) fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

int main(int count, char **words) {
    static uint32_t ids[TOKENS];
    static const uint32_t *rows[ROWS];
    static size_t lengths[ROWS];
    static const char *texts[ROWS];
    ember_open_options cpu = EMBER_OPEN_OPTIONS_INIT;
    ember_model *encoder, *decoder;
    ember_session *session;
    ember_tokenizer *tokenizer;
    ember_encodings *encodings = NULL;
    ember_model_info info;
    char path[512];
    float out[4096] = {7};
    if (count < 2) return 2;

    cpu.device = "cpu";
    snprintf(path, sizeof path, "%s/st-prompts", words[1]);
    must(ember_model_open(path, &cpu, &encoder, &error), &error);
    snprintf(path, sizeof path, "%s/st-decoder", words[1]);
    must(ember_model_open(path, &cpu, &decoder, &error), &error);
    must(ember_model_session(decoder, &session, &error), &error);
    must(ember_model_tokenizer(encoder, &tokenizer, &error), &error);
    must(ember_model_describe(decoder, &info, sizeof info, &error), &error);
    for (int i = 0; i < TOKENS; i++) ids[i] = (uint32_t)(i % 100);
    for (int i = 0; i < ROWS; i++) rows[i] = ids, lengths[i] = TOKENS, texts[i] = "a cat";
    /* A first call of each, so that what they set up once is there. */
    size_t row = TOKENS * info.output_width;
    float *numbers = malloc(row * sizeof *numbers);
    must(ember_model_forward(decoder, rows, lengths, 1, numbers, row, &error), &error);
    must(ember_model_embed(encoder, texts, 1, out, 4096, &error), &error);
    out[0] = 7;

    struct rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = addresses() + ((size_t)ROOM << 20);
    if (setrlimit(RLIMIT_AS, &limit) != 0) return 2;

    /* The lengths are those of the results, so that only memory stands in the way: nothing is to be
     * written. */
    size_t logits = ROWS * row;
    check(logits * sizeof(float) > (size_t)ROOM << 21, "more than there is room for", "");
    expect(ember_model_forward(decoder, rows, lengths, ROWS, out, logits, &error), "logits");
    expect(ember_model_forward_with(decoder, rows, lengths, ROWS, NULL, out, logits, &error), "logits");
    /* Products that no number holds, and arguments that are as long as memory. */
    lengths[0] = SIZE_MAX / 8;
    check(ember_model_forward(decoder, rows, lengths, 1, out, 4096, &error) >= EMBER_ERROR_ARGUMENT,
          "a row as long as memory", "");
    lengths[0] = TOKENS;
    /* Windows that begin at each token of a text: more than there is room for. */
    {
        enum { LETTERS = 40000 };
        static char text[2 * LETTERS];
        for (size_t i = 0; i < LETTERS; i++) text[2 * i] = 'a', text[2 * i + 1] = ' ';
        expect(ember_tokenizer_encode_windows(tokenizer, text, sizeof text, false, LETTERS / 2,
                                              LETTERS / 2 - 1, &encodings, &error),
               "windows");
    }
    check(out[0] == 7 && encodings == NULL, "nothing is written", "");

    /* All of it works on. */
    must(ember_model_forward(decoder, rows, lengths, 1, numbers, row, &error), &error);
    must(ember_session_feed(session, ids, 3, &error), &error);
    must(ember_model_embed(encoder, texts, 2, out, 4096, &error), &error);
    must(ember_tokenizer_encode(tokenizer, "a cat", EMBER_NUL, true, &encodings, &error), &error);
    check(out[0] != 7, "the next call works", "");
    free(numbers);
    ember_encodings_free(encodings);
    ember_tokenizer_free(tokenizer);
    ember_session_free(session);
    ember_model_free(encoder);
    ember_model_free(decoder);
    return done();
}
