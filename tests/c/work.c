/* Right uses: threads, cancelling, callbacks, and memory that stays flat.
 *
 *   work GOLDEN [quick]     GOLDEN: small checkpoints, as run.sh lays them out; quick: fewer rounds,
 *                           for valgrind and AddressSanitizer
 */
#define _GNU_SOURCE /* memmem */
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

/* A batch that this thread uses, as one that is refused sees, and that is cancelled then. */
static void *cancel_in_use(void *batch) {
    ember_error error;
    size_t count;
    while (ember_batch_running(batch, &count, &error) == EMBER_OK) {}
    check(error.status == EMBER_ERROR_ARGUMENT && strstr(error.message, "another thread") != NULL, "a second thread", error.message);
    ember_batch_cancel(batch);
    return NULL;
}

/* The other thread may have the batch for a moment, as it looks. */
#define PATIENTLY(call) \
    do status = (call); \
    while (status == EMBER_ERROR_ARGUMENT); \
    must(status, &error)

/* Adds sequences until the batch is cancelled. */
static void batch_of_two_threads(void) {
    ember_error error;
    ember_status status;
    ember_batch *batch;
    ember_text text;
    ember_stats stats;
    pthread_t thread;
    size_t sequence, last;
    must(ember_model_batch(decoder, &batch, &error), &error);
    pthread_create(&thread, NULL, cancel_in_use, batch);
    do {
        PATIENTLY(ember_batch_add(batch, texts[0], EMBER_NUL, NULL, &last, &error));
        do {
            PATIENTLY(ember_batch_next(batch, &sequence, &text, &error));
        } while (status != EMBER_DONE);
        PATIENTLY(ember_batch_stats(batch, last, &stats, sizeof stats, &error));
        PATIENTLY(ember_batch_remove(batch, last, &error));
    } while (strcmp(stats.finish_reason, "cancelled") != 0);
    pthread_join(thread, NULL);
    ember_batch_free(batch);
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
        ember_generate_options options = EMBER_GENERATE_OPTIONS_INIT;
        ember_batch *batch;
        size_t sequence;
        options.max_tokens = 4;
        must(ember_model_generate_all(decoder, texts, NULL, 2, &options, &batch, &error), &error);
        while (must(ember_batch_next(batch, &sequence, &text, &error), &error) != EMBER_DONE) {}
        ember_batch_free(batch);
    }
    free(out);
}

/* A forward pass that another thread cancels. */
static void *cancel_soon(void *token) {
    sleep_ms(20);
    ember_cancel_token_cancel((ember_cancel_token *)token);
    return NULL;
}

static void forwards(int quick) {
    enum { TOKENS = 40, ROWS = 40000 };
    static uint32_t ids[TOKENS];
    static const uint32_t *rows[ROWS];
    static size_t lengths[ROWS];
    ember_error error;
    ember_forward_options options = EMBER_FORWARD_OPTIONS_INIT;
    ember_embed_options embed = EMBER_EMBED_OPTIONS_INIT;
    ember_cancel_token *token;
    ember_model_info info;
    size_t less = 0;
    must(ember_model_describe(decoder, &info, sizeof info, &error), &error);
    for (int i = 0; i < TOKENS; i++) ids[i] = (uint32_t)(i * 7 % 200);
    for (int i = 0; i < ROWS; i++) rows[i] = ids, lengths[i] = TOKENS;

    /* The same numbers with options and without. */
    size_t row = TOKENS * info.output_width;
    float *out = malloc(2 * row * sizeof *out), *other = malloc(2 * row * sizeof *other);
    must(ember_model_forward(decoder, rows, lengths, 2, out, 2 * row, &error), &error);
    must(ember_model_forward_with(decoder, rows, lengths, 2, &options, other, 2 * row, &error), &error);
    check(memcmp(out, other, 2 * row * sizeof *out) == 0, "forward with options", "");
    check(memcmp(out, out + row, row * sizeof *out) == 0, "equal rows give equal numbers", "");

    /* So many rows that there is time to stop; their results are never written. */
    must(ember_cancel_token_new(&token, &error), &error);
    options.cancel = token;
    if (!quick) {
        size_t all = ROWS * row;
        float *much = malloc(all * sizeof *much);
        pthread_t thread;
        pthread_create(&thread, NULL, cancel_soon, token);
        check(ember_model_forward_with(decoder, rows, lengths, ROWS, &options, much, all, &error) ==
                  EMBER_ERROR_CANCELLED,
              "a forward pass is cancelled", error.message);
        pthread_join(thread, NULL);
        free(much);
    }
    ember_cancel_token_free(token);
    free(out);
    free(other);

    must(ember_model_embedding_width(encoder, NULL, &less, &error), &error);
    check(less == width, "the width of an embedding", "");
    embed.dimensions = 5;
    must(ember_model_embedding_width(encoder, &embed, &less, &error), &error);
    check(less == 5, "the width of a shorter embedding", "");
}

/* A session that goes back a token gives the same logits again. */
static void truncates(void) {
    ember_error error;
    ember_session *session;
    uint32_t ids[4] = {5, 6, 7, 8}, held[8];
    float first[4096], again[4096], worst = 0;
    size_t len = 0, count = 0;
    must(ember_model_session(decoder, &session, &error), &error);
    must(ember_session_feed(session, ids, 4, &error), &error);
    must(ember_session_logits(session, first, 4096, &len, &error), &error);
    must(ember_session_truncate(session, 3, &error), &error);
    must(ember_session_ids(session, held, 8, &count, &error), &error);
    check(count == 3 && memcmp(held, ids, 3 * sizeof *ids) == 0, "three tokens are left", "");
    must(ember_session_feed(session, ids + 3, 1, &error), &error);
    must(ember_session_logits(session, again, 4096, &len, &error), &error);
    for (size_t i = 0; i < len; i++) {
        float difference = first[i] > again[i] ? first[i] - again[i] : again[i] - first[i];
        if (!(difference <= worst)) worst = difference;
    }
    check(worst <= 1e-5f, "the same logits again", "");
    ember_session_free(session);
}

static int says(ember_chat *chat, size_t index, const char *role, const char *content, size_t len) {
    ember_error error;
    ember_message message;
    return must(ember_chat_message(chat, index, &message, sizeof message, &error), &error) == EMBER_OK &&
           strcmp(message.role, role) == 0 && message.content_len == len &&
           memcmp(message.content, content, len) == 0;
}

/* A reply that is read by another thread, which waits at its first piece. */
static volatile int talking;

static bool talk(void *user, ember_text piece) {
    (void)user, (void)piece;
    if (talking == 0) talking = 1;
    while (talking == 1) sleep_ms(1);
    return true;
}

static void *run_stream(void *stream) {
    ember_error error;
    must(ember_stream_run((ember_stream *)stream, talk, NULL, &error), &error);
    return NULL;
}

static void chats(const char *golden) {
    ember_error error;
    ember_open_options cpu = EMBER_OPEN_OPTIONS_INIT;
    ember_generate_options options = EMBER_GENERATE_OPTIONS_INIT;
    ember_model *model;
    ember_chat *chat;
    ember_stream *stream;
    ember_text text;
    ember_stats stats;
    ember_variable variable = {"short", EMBER_VARIABLE_BOOL, 1, NULL};
    ember_message given[2] = {{"system", "be", EMBER_NUL}, {"user", "hi there", 2}}, all[4];
    char path[512], prompt[256], first[256], second[256], kept[4][256];
    size_t len = 0, read = 0;
    pthread_t thread;

    cpu.device = "cpu";
    snprintf(path, sizeof path, "%s/chat", golden);
    must(ember_model_open(path, &cpu, &model, &error), &error);
    must(ember_model_chat_template(model, &text, &error), &error);
    check(memmem(text.data, text.len, "no critics", 10) != NULL, "the template", "");

    /* Prompts: lengths, variables of each kind. */
    must(ember_model_chat_prompt(model, given, 2, NULL, 0, NULL, 0, &len, &error), &error);
    must(ember_model_chat_prompt(model, given, 2, NULL, 0, prompt, sizeof prompt, &read, &error), &error);
    check(len == read && len == 9 && memcmp(prompt, "sbe\nuhi\na", 9) == 0, "a prompt", "");
    must(ember_model_chat_prompt(model, given, 2, &variable, 1, prompt, sizeof prompt, &len, &error), &error);
    check(len == 13 && memcmp(prompt, "sbe\nuhi\nTruea", 13) == 0, "a prompt with truth", "");
    variable.kind = EMBER_VARIABLE_NUMBER, variable.number = -5;
    must(ember_model_chat_prompt(model, given, 2, &variable, 1, prompt, sizeof prompt, &len, &error), &error);
    check(len == 11 && memcmp(prompt, "sbe\nuhi\n-5a", 11) == 0, "a prompt with a number", "");
    variable.kind = EMBER_VARIABLE_TEXT, variable.text = "!";
    must(ember_model_chat_prompt(model, given, 2, &variable, 1, prompt, sizeof prompt, &len, &error), &error);
    check(len == 10 && memcmp(prompt, "sbe\nuhi\n!a", 10) == 0, "a prompt with a text", "");

    /* Two turns: the second reads only what is new, and gives what all at once gives. */
    options.max_tokens = 4;
    options.temperature = 0;
    must(ember_model_chat(model, &chat, &error), &error);
    must(ember_chat_system(chat, "bad", EMBER_NUL, &error), &error);
    must(ember_chat_system(chat, "be", EMBER_NUL, &error), &error);
    must(ember_chat_say(chat, "hi there", 2, &options, &stream, &error), &error);
    must(ember_stream_text(stream, &text, &error), &error);
    memcpy(first, text.data, len = text.len);
    ember_stream_free(stream);
    check(says(chat, 0, "system", "be", 2) && says(chat, 1, "user", "hi", 2), "what was said", "");
    check(says(chat, 2, "assistant", first, len), "what was answered", "");
    must(ember_chat_prompt(chat, prompt, sizeof prompt, &read, &error), &error);
    check(read > 9 && memcmp(prompt, "sbe\nuhi\na", 9) == 0, "the prompt of the conversation", "");
    must(ember_chat_say(chat, "ho", 2, &options, &stream, &error), &error);
    must(ember_stream_text(stream, &text, &error), &error);
    memcpy(second, text.data, len = text.len);
    must(ember_stream_stats(stream, &stats, sizeof stats, &error), &error);
    ember_stream_free(stream);
    must(ember_chat_ids(chat, NULL, 0, &read, &error), &error);
    check(stats.prompt_tokens > 0 && stats.prompt_tokens < read, "only what is new is read", "");
    for (size_t i = 0; i < 4; i++) {
        must(ember_chat_message(chat, i, &all[i], sizeof all[i], &error), &error);
        memcpy(kept[i], all[i].content, all[i].content_len);
        all[i].content = kept[i];
        all[i].role = i == 0 ? "system" : i == 2 ? "assistant" : "user";
    }
    must(ember_model_generate_chat(model, all, 4, NULL, 0, &options, &stream, &error), &error);
    must(ember_stream_text(stream, &text, &error), &error);
    check(text.len == len && memcmp(text.data, second, len) == 0, "all at once gives the same", "");
    ember_stream_free(stream);
    ember_chat_free(chat);

    /* Pushed messages, a variable, a reply that is left half way and one that is cancelled. */
    must(ember_model_chat(model, &chat, &error), &error);
    must(ember_chat_push(chat, &given[1], &error), &error);
    must(ember_chat_set(chat, &variable, &error), &error);
    must(ember_chat_prompt(chat, prompt, sizeof prompt, &len, &error), &error);
    check(len == 6 && memcmp(prompt, "uhi\n!a", 6) == 0, "a pushed message and a variable", "");
    options.ignore_eos = 1;
    must(ember_chat_say(chat, "ho", 2, &options, &stream, &error), &error);
    must(ember_stream_next(stream, &text, &error), &error);
    memcpy(first, text.data, len = text.len);
    ember_stream_free(stream);
    check(says(chat, 2, "assistant", first, len), "half a reply joins the messages", "");
    must(ember_chat_say(chat, "he", 2, &options, &stream, &error), &error);
    ember_chat_cancel(chat);
    check(must(ember_stream_next(stream, &text, &error), &error) == EMBER_DONE, "cancelled before it began", "");
    must(ember_stream_stats(stream, &stats, sizeof stats, &error), &error);
    check(strcmp(stats.finish_reason, "cancelled") == 0, "it says so", "");
    ember_stream_free(stream);

    /* Cancelled by another thread than the one that reads it. */
    must(ember_chat_say(chat, "ha", 2, &options, &stream, &error), &error);
    pthread_create(&thread, NULL, run_stream, stream);
    while (!talking) sleep_ms(1);
    ember_chat_cancel(chat);
    talking = 2;
    pthread_join(thread, NULL);
    must(ember_stream_stats(stream, &stats, sizeof stats, &error), &error);
    check(strcmp(stats.finish_reason, "cancelled") == 0 && stats.tokens < 4, "cancelled half way", "");
    ember_stream_free(stream);
    ember_chat_free(chat);
    ember_model_free(model);
}

/* How exactly, and on how many threads; what int8 gives is a story. A program that was compiled before
 * there was such a choice opens models as ever. */
static void precisions(const char *golden) {
    ember_error error;
    ember_open_options options = EMBER_OPEN_OPTIONS_INIT;
    ember_model *model;
    char path[512];
    float *out = malloc(2 * width * sizeof *out), worst = 0;
    snprintf(path, sizeof path, "%s/st-prompts", golden);
    options.device = "cpu", options.precision = "f32", options.threads = 2;
    must(ember_model_open(path, &options, &model, &error), &error);
    must(ember_model_embed(model, texts, 2, out, 2 * width, &error), &error);
    ember_model_free(model);
    for (size_t i = 0; i < 2 * width; i++) {
        float difference = out[i] > wanted[i] ? out[i] - wanted[i] : wanted[i] - out[i];
        if (difference > worst) worst = difference;
    }
    check(worst <= 1e-5f, "in floats, on two threads", "");
    options.struct_size = offsetof(ember_open_options, precision);
    must(ember_model_open(path, &options, &model, &error), &error);
    must(ember_model_embed(model, texts, 2, out, 2 * width, &error), &error);
    check(memcmp(out, wanted, 2 * width * sizeof *out) == 0, "options of an older header", "");
    ember_model_free(model);
    free(out);
}

static void count_texts(void *user, size_t done, size_t all) {
    size_t *told = user;
    told[0]++, told[1] = done, told[2] = all;
}

/* Tasks: rows in the order of the texts, progress, threads' share of one model. What the numbers are,
 * tasks.py compares. */
static void tasks(const char *golden) {
    ember_error error;
    ember_open_options cpu = EMBER_OPEN_OPTIONS_INIT;
    ember_classify_options options = EMBER_CLASSIFY_OPTIONS_INIT;
    ember_run_options run = EMBER_RUN_OPTIONS_INIT;
    ember_model *model;
    ember_classes *all, *one;
    ember_class a, b;
    const char *given[3] = {"The cat sat.", "", "Dogs ate 12 red apples, quickly!"};
    const size_t lengths[3] = {12, 0, 8};
    char path[512];
    size_t told[3] = {0, 0, 0};
    cpu.device = "cpu";
    snprintf(path, sizeof path, "%s/task-bert-classes", golden);
    must(ember_model_open(path, &cpu, &model, &error), &error);
    options.run = &run, run.batch_tokens = 1, run.progress = count_texts, run.progress_user = told;
    must(ember_model_classify(model, given, lengths, 3, &options, &all, &error), &error);
    check(told[0] == 3 && told[1] == 3 && told[2] == 3, "progress", "");
    check(ember_classes_count(all) == 3 && ember_classes_cut(all, 0) == 0, "a row a text", "");
    options.run = NULL, options.top_k = 1;
    for (size_t i = 0; i < 3; i++) {
        must(ember_model_classify(model, given + i, lengths + i, 1, &options, &one, &error), &error);
        must(ember_classes_get(all, i, 0, &a, sizeof a, &error), &error);
        must(ember_classes_get(one, 0, 0, &b, sizeof b, &error), &error);
        float difference = a.score > b.score ? a.score - b.score : b.score - a.score;
        check(a.index == b.index && a.label.len == b.label.len &&
                  memcmp(a.label.data, b.label.data, a.label.len) == 0 && difference <= 1e-6f,
              "a text alone", "");
        check(must(ember_classes_get(one, 0, 1, &b, sizeof b, &error), &error) == EMBER_DONE, "top_k", "");
        ember_classes_free(one);
    }
    must(ember_model_classify(model, NULL, NULL, 0, NULL, &one, &error), &error);
    check(ember_classes_count(one) == 0, "no text, no row", "");
    ember_classes_free(one);
    ember_model_free(model); /* results stay */
    must(ember_classes_get(all, 2, 0, &a, sizeof a, &error), &error);
    check(a.score > 0, "results outlive the model", "");
    ember_classes_free(all);
}

/* What a model says of its heads and its memory, and rows that are compared and searched. */
static void says_of_itself(const char *golden) {
    ember_error error;
    ember_model *masks;
    ember_model_info info;
    ember_task_info task;
    ember_memory memory, small;
    ember_tensor_info tensor;
    ember_neighbor near[3];
    size_t len, bytes = 0;
    float cosine;
    char path[512];
    snprintf(path, sizeof path, "%s/bert-mlm", golden);
    must(ember_model_open(path, NULL, &masks, &error), &error);
    must(ember_model_describe(masks, &info, sizeof info, &error), &error);
    check(info.tasks == 1, "one head", "");
    must(ember_model_task(masks, 0, &task, sizeof task, &error), &error);
    check(task.kind.len == 5 && memcmp(task.kind.data, "words", 5) == 0, "its kind", "");
    check(task.outputs == info.vocab && task.description.len > 10, "what it is made of", "");
    must(ember_model_warmup(masks, &error), &error);
    ember_model_free(masks);

    must(ember_model_describe(decoder, &info, sizeof info, &error), &error);
    check(info.tasks == 0, "a decoder has no head for tasks", "");
    must(ember_model_memory(decoder, &memory, sizeof memory, &error), &error);
    for (size_t i = 0; i < info.tensors; i++) {
        must(ember_model_tensor(decoder, i, &tensor, sizeof tensor, &error), &error);
        bytes += tensor.bytes;
    }
    check(memory.weights == bytes && memory.window == info.window && memory.mapped, "memory", "");
    memset(&small, 7, sizeof small);
    must(ember_model_memory(decoder, &small, offsetof(ember_memory, window), &error), &error);
    check(small.weights == bytes && small.window != info.window, "as much as an old caller knows", "");
    check(ember_model_cache_bytes(encoder, 8) == 0, "an encoder keeps nothing", "");
    check(ember_model_cache_bytes(decoder, 8) == 8 * ember_model_cache_bytes(decoder, 1), "bytes of tokens", "");

    const float rows[8] = {0, 1, 3, 0, -1, 0, 1, 1}, query[2] = {2, 0};
    must(ember_nearest(query, 2, rows, 4, 2, near, 3, &len, &error), &error);
    check(len == 3 && near[0].index == 1 && near[1].index == 3 && near[2].index == 0, "nearest rows", "");
    check(near[0].cosine == 1 && near[2].cosine == 0, "their cosines", "");
    must(ember_nearest(query, 2, NULL, 0, 2, near, 3, &len, &error), &error);
    check(len == 0, "no rows, none near", "");
    must(ember_cosine(rows, rows + 6, 2, &cosine, &error), &error);
    check(cosine > 0.70710f && cosine < 0.70711f, "a cosine", "");
}

/* Word vectors: a word is its own nearest, a mean is a mean, and what is unknown is said. */
static void vectors_of_words(const char *golden) {
    ember_error error;
    ember_words *vectors;
    char path[512];
    size_t len;
    ember_words_info info;
    ember_neighbor near[6];
    size_t index, found, cut;
    float rows[2 * 17], king[17], cosine;
    char name[64];
    snprintf(path, sizeof path, "%s/words/word2vec.bin", golden);
    must(ember_words_open(path, &vectors, &error), &error);
    must(ember_words_describe(vectors, &info, sizeof info, &error), &error);
    check(info.count == 30 && info.width == 17 && !info.has_subwords, "what word vectors are", "");
    check(info.path.len == strlen(path) && memcmp(info.path.data, path, info.path.len) == 0, "their file", "");
    must(ember_words_vector(vectors, "king", EMBER_NUL, king, 17, &error), &error);
    must(ember_words_index(vectors, "king", EMBER_NUL, &index, &error), &error);
    must(ember_words_nearest_to(vectors, king, 17, near, 6, &found, &error), &error);
    check(found == 6 && near[0].index == index && near[0].cosine > 0.9999f, "its own nearest", "");
    must(ember_words_nearest(vectors, "king", EMBER_NUL, near + 1, 1, &found, &error), &error);
    must(ember_words_word(vectors, near[1].index, name, sizeof name, &len, &error), &error);
    check(found == 1 && len > 0 && near[1].index != index, "itself left out", "");
    must(ember_words_analogy(vectors, "king", "man", "woman", near, 4, &found, &error), &error);
    must(ember_words_word(vectors, near[0].index, name, sizeof name, &len, &error), &error);
    check(len == 7 && memcmp(name, "singing", 7) == 0, "gensim's analogy", "");
    must(ember_words_similarity(vectors, "king", "king", &cosine, &error), &error);
    check(cosine > 0.9999f, "a word is like itself", "");
    const char *two[] = {"king", "king xyzzy"};
    ember_word_options policy = EMBER_WORD_OPTIONS_INIT;
    policy.unknown = "zero";
    must(ember_words_embed(vectors, two, 2, rows, 2 * 17, &error), &error);
    check(memcmp(rows, king, sizeof king) == 0 && memcmp(rows + 17, king, sizeof king) == 0,
          "unknown words are left out", "");
    must(ember_words_embed_with(vectors, two + 1, NULL, 1, &policy, rows, 17, &cut, &error), &error);
    check(rows[3] == king[3] / 2 && cut == 0, "or count as zeros", "");
    policy.unknown = "error";
    check(ember_words_embed_with(vectors, two + 1, NULL, 1, &policy, rows, 17, NULL, &error) ==
              EMBER_ERROR_ARGUMENT, "or are an error", "");
    ember_words_free(vectors);
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
    batch_of_two_threads();

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

    /* The tokenizer by value, and its ids one by one. */
    ember_tokenizer *copy;
    ember_decode_stream *pieces;
    uint32_t begins;
    must(ember_tokenizer_to_bytes(tokenizer, NULL, 0, &len, &error), &error);
    uint8_t *bytes = malloc(len);
    must(ember_tokenizer_to_bytes(tokenizer, bytes, len, &len, &error), &error);
    must(ember_tokenizer_from_bytes(bytes, len, &copy, &error), &error);
    free(bytes);
    must(ember_tokenizer_stream(copy, true, &pieces, &error), &error);
    ember_tokenizer_free(copy);
    joined[0] = '\0';
    for (size_t i = 0; i < encoding.len; i++) {
        must(ember_decode_stream_push(pieces, encoding.ids[i], &text, &error), &error);
        strncat(joined, text.data, text.len);
    }
    must(ember_decode_stream_finish(pieces, &text, &error), &error);
    strncat(joined, text.data, text.len);
    check(strcmp(joined, "a cat") == 0, "decoded one by one", joined);
    ember_decode_stream_free(pieces);
    must(ember_tokenizer_id(tokenizer, "[CLS]", EMBER_NUL, &begins, &error), &error);
    check(ember_tokenizer_is_special(tokenizer, begins), "a control token", "");
    check(!ember_tokenizer_is_special(tokenizer, encoding.ids[0]), "no control token", "");
    ember_encodings_free(encodings);
    ember_tokenizer_free(tokenizer);

    forwards(quick);
    truncates();
    precisions(words[1]);
    chats(words[1]);
    tasks(words[1]);
    vectors_of_words(words[1]);
    says_of_itself(words[1]);

    /* Memory stays where it is. */
    rounds(quick ? 5 : 1000, quick ? 2 : 50);
    long before = resident();
    rounds(quick ? 20 : 10000, quick ? 4 : 200);
    long after = resident();
    printf("resident: %ld kB after warm-up, %ld kB after 10000 embeddings, 200 generations and 200 batches\n",
           before, after);
    check(quick || after - before < 2048, "memory is flat", "");

    ember_model_free(encoder);
    ember_model_free(decoder);
    return done();
}
