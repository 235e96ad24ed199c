/* Wrong uses of the interface: each is a status and a sentence, and nothing is written.
 *
 *   misuse GOLDEN [quick]     GOLDEN: small checkpoints, as run.sh lays them out; quick: no look for
 *                             GPUs, whose drivers are not what valgrind is asked about
 */
#include "check.h"

static ember_error error;

/* Expects a status, and a word that the sentence must have. */
static void expect(const char *what, ember_status found, ember_status wanted, const char *word) {
    char line[64];
    int good = found == wanted && error.status == found && error.message[0] != '\0' &&
               strlen(error.message) < sizeof error.message && strstr(error.message, word) != NULL;
    snprintf(line, sizeof line, "status %d, wanted %d", (int)found, (int)wanted);
    check(good, what, good ? "" : error.message);
    if (found != wanted) printf("  %s\n", line);
}

#define ARGUMENT(word, call) \
    (memset(&error, 1, sizeof error), expect(#call, (call), EMBER_ERROR_ARGUMENT, (word)))
#define EXPECT(status, word, call) \
    (memset(&error, 1, sizeof error), expect(#call, (call), (status), (word)))

static bool stop_at_once(void *user, ember_text piece) {
    (void)piece;
    ++*(int *)user;
    return false;
}

/* Uses the stream that it is called for, which must be refused. */
static bool reenter(void *user, ember_text piece) {
    ember_text text;
    (void)piece;
    ARGUMENT("in use", ember_stream_next((ember_stream *)user, &text, &error));
    return false;
}

/* Conversations with a model whose template refuses critics. */
static void chats(const char *golden, ember_model *encoder, ember_model *decoder) {
    ember_open_options cpu = EMBER_OPEN_OPTIONS_INIT;
    ember_generate_options generate = EMBER_GENERATE_OPTIONS_INIT;
    ember_model *model = NULL;
    ember_chat *chat = NULL;
    ember_stream *stream = NULL, *second = NULL;
    ember_text text = {NULL, 0};
    ember_message message = {"user", "hi", EMBER_NUL}, found = {NULL, NULL, 0};
    ember_variable variable = {"short", EMBER_VARIABLE_BOOL, 1, NULL};
    char path[512], out[64], longest[400];
    size_t len = 77;

    cpu.device = "cpu";
    snprintf(path, sizeof path, "%s/chat", golden);
    must(ember_model_open(path, &cpu, &model, &error), &error);
    EXPECT(EMBER_ERROR_MISSING, "encoder", ember_model_chat(encoder, &chat, &error));
    EXPECT(EMBER_ERROR_MISSING, "chat template", ember_model_chat(decoder, &chat, &error));
    EXPECT(EMBER_ERROR_MISSING, "chat template", ember_model_chat_template(decoder, &text, &error));
    EXPECT(EMBER_ERROR_MISSING, "chat template",
           ember_model_generate_chat(decoder, &message, 1, NULL, 0, NULL, &stream, &error));
    ARGUMENT("text_out", ember_model_chat_template(model, NULL, &error));
    ARGUMENT("chat_out", ember_model_chat(model, NULL, &error));

    ARGUMENT("messages", ember_model_chat_prompt(model, NULL, 1, NULL, 0, out, 64, &len, &error));
    ARGUMENT("variables", ember_model_chat_prompt(model, &message, 1, NULL, 1, out, 64, &len, &error));
    ARGUMENT("needed", ember_model_chat_prompt(model, &message, 1, NULL, 0, out, 1, &len, &error));
    ARGUMENT("len_out", ember_model_chat_prompt(model, &message, 1, NULL, 0, out, 64, NULL, &error));
    variable.kind = 0;
    ARGUMENT("variables[0].kind", ember_model_chat_prompt(model, &message, 1, &variable, 1, out, 64, &len, &error));
    variable.kind = EMBER_VARIABLE_BOOL, variable.number = 7;
    ARGUMENT("variables[0].number", ember_model_chat_prompt(model, &message, 1, &variable, 1, out, 64, &len, &error));
    variable.kind = EMBER_VARIABLE_TEXT;
    ARGUMENT("variables[0].text", ember_model_chat_prompt(model, &message, 1, &variable, 1, out, 64, &len, &error));
    variable.kind = EMBER_VARIABLE_NUMBER, variable.name = NULL;
    ARGUMENT("variables[0].name", ember_model_chat_prompt(model, &message, 1, &variable, 1, out, 64, &len, &error));
    message.role = NULL;
    ARGUMENT("messages[0].role", ember_model_chat_prompt(model, &message, 1, NULL, 0, out, 64, &len, &error));
    message.role = "";
    ARGUMENT("role", ember_model_chat_prompt(model, &message, 1, NULL, 0, out, 64, &len, &error));
    message.role = "critic";
    ARGUMENT("no critics", ember_model_chat_prompt(model, &message, 1, NULL, 0, out, 64, &len, &error));
    ARGUMENT("no critics", ember_model_generate_chat(model, &message, 1, NULL, 0, NULL, &stream, &error));
    message.role = "user", message.content = NULL;
    ARGUMENT("messages[0].content", ember_model_chat_prompt(model, &message, 1, NULL, 0, out, 64, &len, &error));
    message.content = "a\xff";
    ARGUMENT("UTF-8", ember_model_chat_prompt(model, &message, 1, NULL, 0, out, 64, &len, &error));
    message.content = "hi";
    check(len == 77 && stream == NULL, "nothing is written on failure", "");

    ARGUMENT("NULL", ember_chat_say(NULL, "hi", 2, NULL, &stream, &error));
    ARGUMENT("no ember_chat", ember_chat_say((ember_chat *)model, "hi", 2, NULL, &stream, &error));
    ember_chat_cancel(NULL);
    ember_chat_cancel((ember_chat *)model);
    must(ember_model_chat(model, &chat, &error), &error);
    ARGUMENT("text", ember_chat_say(chat, NULL, EMBER_NUL, NULL, &stream, &error));
    ARGUMENT("UTF-8", ember_chat_system(chat, "a\xff", EMBER_NUL, &error));
    ARGUMENT("stream_out", ember_chat_say(chat, "hi", 2, NULL, NULL, &error));
    ARGUMENT("message", ember_chat_push(chat, NULL, &error));
    ARGUMENT("variable", ember_chat_set(chat, NULL, &error));
    generate.top_p = 2;
    ARGUMENT("top_p", ember_chat_say(chat, "hi", 2, &generate, &stream, &error));
    generate.top_p = EMBER_UNSET, generate.ignore_eos = 1;
    memset(longest, 'x', sizeof longest);
    EXPECT(EMBER_ERROR_TOO_LONG, "window", ember_chat_say(chat, longest, sizeof longest, &generate, &stream, &error));
    message.role = "critic";
    must(ember_chat_push(chat, &message, &error), &error);
    ARGUMENT("no critics", ember_chat_say(chat, "hi", 2, &generate, &stream, &error));
    ARGUMENT("no critics", ember_chat_prompt(chat, out, 64, &len, &error));
    check(must(ember_chat_message(chat, 1, &found, sizeof found, &error), &error) == EMBER_DONE,
          "what was refused is not said", "");
    ARGUMENT("size", ember_chat_message(chat, 0, &found, 0, &error));
    ARGUMENT("message_out", ember_chat_message(chat, 0, NULL, sizeof found, &error));
    ember_chat_free(chat);
    must(ember_model_chat(model, &chat, &error), &error);
    generate.max_tokens = 3;
    must(ember_chat_say(chat, "hi", 2, &generate, &stream, &error), &error);
    must(ember_stream_next(stream, &text, &error), &error);
    must(ember_chat_say(chat, "ho", 2, &generate, &second, &error), &error);
    ARGUMENT("later message", ember_stream_next(stream, &text, &error));
    check(must(ember_stream_next(stream, &text, &error), &error) == EMBER_DONE, "then it has ended", "");
    ember_stream_free(stream);
    ember_chat_free(chat);
    ember_chat_free(chat);
    ARGUMENT("freed", ember_chat_prompt(chat, out, 64, &len, &error));
    ember_model_free(model);
    must(ember_stream_text(second, &text, &error), &error); /* the stream keeps all it needs */
    ember_stream_free(second);
}

static ember_model *task_model(const char *golden, const char *name) {
    ember_open_options cpu = EMBER_OPEN_OPTIONS_INIT;
    ember_model *model = NULL;
    char path[512];
    cpu.device = "cpu";
    snprintf(path, sizeof path, "%s/%s", golden, name);
    must(ember_model_open(path, &cpu, &model, &error), &error);
    return model;
}

/* Tasks: models without the head, options out of range, results that are not there. */
static void tasks(const char *golden, ember_model *decoder) {
    ember_model *words = task_model(golden, "task-bert-words");
    ember_model *classer = task_model(golden, "task-bert-classes");
    ember_model *entails = task_model(golden, "task-deberta-entailment");
    ember_model *tagger = task_model(golden, "task-bert-tokens");
    ember_model *answerer = task_model(golden, "task-bert-answers");
    ember_fill_options fill = EMBER_FILL_OPTIONS_INIT;
    ember_classify_options classify = EMBER_CLASSIFY_OPTIONS_INIT;
    ember_token_options token = EMBER_TOKEN_OPTIONS_INIT;
    ember_answer_options answer = EMBER_ANSWER_OPTIONS_INIT;
    ember_zero_shot_options zero = EMBER_ZERO_SHOT_OPTIONS_INIT;
    ember_run_options run = EMBER_RUN_OPTIONS_INIT;
    ember_cancel_token *cancel = NULL;
    ember_fills *fills = NULL;
    ember_classes *classes = NULL;
    ember_entities *entities = NULL;
    ember_answers *answers = NULL;
    ember_sparse_vectors *sparse = NULL;
    ember_fill one_fill;
    ember_class one_class;
    ember_entity one_entity;
    ember_answer one_answer;
    ember_ranked ranked = {77, 7};
    ember_pair pair = {"a cat", EMBER_NUL, "a dog", EMBER_NUL};
    const char *texts[1] = {"a cat"}, *bad[1] = {"a\xff"}, *none[1] = {NULL}, *target[1] = {"no such token"};
    char longest[400];
    float score = 7;
    memset(longest, ' ', sizeof longest);
    for (size_t i = 0; i < sizeof longest; i += 2) longest[i] = 'a';

    EXPECT(EMBER_ERROR_MISSING, "classes of texts", ember_model_fill_mask(classer, "a", 1, NULL, &fills, &error));
    EXPECT(EMBER_ERROR_MISSING, "classes of texts", ember_model_classify(decoder, texts, NULL, 1, NULL, &classes, &error));
    ARGUMENT("NULL", ember_model_fill_mask(NULL, "a", 1, NULL, &fills, &error));
    ARGUMENT("text", ember_model_fill_mask(words, NULL, EMBER_NUL, NULL, &fills, &error));
    ARGUMENT("UTF-8", ember_model_fill_mask(words, "a\xff", 2, NULL, &fills, &error));
    ARGUMENT("fills_out", ember_model_fill_mask(words, "[MASK]", EMBER_NUL, NULL, NULL, &error));
    ARGUMENT("[MASK]", ember_model_fill_mask(words, "the cat", EMBER_NUL, NULL, &fills, &error));
    fill.top_k = 0;
    ARGUMENT("top_k", ember_model_fill_mask(words, "[MASK]", EMBER_NUL, &fill, &fills, &error));
    fill.top_k = 2, fill.target_count = 1;
    ARGUMENT("targets", ember_model_fill_mask(words, "[MASK]", EMBER_NUL, &fill, &fills, &error));
    fill.targets = none;
    ARGUMENT("targets[0]", ember_model_fill_mask(words, "[MASK]", EMBER_NUL, &fill, &fills, &error));
    fill.targets = target;
    ARGUMENT("no such token", ember_model_fill_mask(words, "[MASK]", EMBER_NUL, &fill, &fills, &error));
    fill.target_count = 0, fill.struct_size = 5;
    ARGUMENT("struct_size", ember_model_fill_mask(words, "[MASK]", EMBER_NUL, &fill, &fills, &error));
    fill.struct_size = sizeof fill, run.struct_size = 1000, fill.run = &run;
    ARGUMENT("struct_size", ember_model_fill_mask(words, "[MASK]", EMBER_NUL, &fill, &fills, &error));
    run.struct_size = sizeof run;
    longest[0] = '[', memcpy(longest, "[MASK]", 6);
    EXPECT(EMBER_ERROR_TOO_LONG, "48", ember_model_fill_mask(words, longest, sizeof longest, NULL, &fills, &error));

    ARGUMENT("texts", ember_model_classify(classer, NULL, NULL, 1, NULL, &classes, &error));
    ARGUMENT("texts[0]", ember_model_classify(classer, none, NULL, 1, NULL, &classes, &error));
    ARGUMENT("UTF-8", ember_model_classify(classer, bad, NULL, 1, NULL, &classes, &error));
    ARGUMENT("classes_out", ember_model_classify(classer, texts, NULL, 1, NULL, NULL, &error));
    classify.scoring = "tanh";
    EXPECT(EMBER_ERROR_UNSUPPORTED, "tanh", ember_model_classify(classer, texts, NULL, 1, &classify, &classes, &error));
    classify.scoring = NULL, classify.top_k = 0;
    ARGUMENT("top_k", ember_model_classify_pairs(classer, &pair, 1, &classify, &classes, &error));
    classify.top_k = 1, classify.run = &run, run.max_tokens = 49;
    ARGUMENT("48", ember_model_classify(classer, texts, NULL, 1, &classify, &classes, &error));
    run.max_tokens = (size_t)EMBER_UNSET, run.batch_tokens = 0;
    ARGUMENT("batch_tokens", ember_model_classify(classer, texts, NULL, 1, &classify, &classes, &error));
    run.batch_tokens = (size_t)EMBER_UNSET, run.cancel = (ember_cancel_token *)classer;
    ARGUMENT("cancel", ember_model_classify(classer, texts, NULL, 1, &classify, &classes, &error));
    must(ember_cancel_token_new(&cancel, &error), &error);
    ember_cancel_token_cancel(cancel);
    run.cancel = cancel;
    EXPECT(EMBER_ERROR_CANCELLED, "cancelled", ember_model_classify(classer, texts, NULL, 1, &classify, &classes, &error));
    ember_cancel_token_free(cancel);
    ARGUMENT("pairs", ember_model_classify_pairs(classer, NULL, 1, NULL, &classes, &error));
    pair.second = NULL;
    ARGUMENT("pairs[0].second", ember_model_classify_pairs(classer, &pair, 1, NULL, &classes, &error));
    pair.second = "a dog", pair.first = "a\xff";
    ARGUMENT("pairs[0].first", ember_model_follows(classer, &pair, 1, NULL, &score, 1, &error));
    pair.first = "a cat";
    EXPECT(EMBER_ERROR_MISSING, "the order of two texts", ember_model_follows(classer, &pair, 1, NULL, &score, 1, &error));
    ARGUMENT("needed", ember_model_follows(classer, &pair, 1, NULL, &score, 0, &error));
    EXPECT(EMBER_ERROR_MISSING, "3", ember_model_rerank(classer, "a", 1, texts, NULL, 1, NULL, &ranked, 1, &error));
    ARGUMENT("needed", ember_model_rerank(classer, "a", 1, texts, NULL, 1, NULL, &ranked, 0, &error));
    ARGUMENT("documents", ember_model_rerank(classer, "a", 1, NULL, NULL, 1, NULL, &ranked, 1, &error));

    EXPECT(EMBER_ERROR_MISSING, "words behind masks", ember_model_sparse(classer, texts, NULL, 1, NULL, &sparse, &error));
    ARGUMENT("UTF-8", ember_model_sparse(words, bad, NULL, 1, NULL, &sparse, &error));
    ARGUMENT("vectors_out", ember_model_sparse(words, texts, NULL, 1, NULL, NULL, &error));
    check(sparse == NULL, "nothing is written on failure", "");
    ember_sparse_vectors_free(sparse);

    EXPECT(EMBER_ERROR_MISSING, "entail", ember_model_zero_shot(classer, "a", 1, texts, 1, NULL, &classes, &error));
    ARGUMENT("labels", ember_model_zero_shot(entails, "a", 1, NULL, 0, NULL, &classes, &error));
    zero.template_text = "no place";
    ARGUMENT("{}", ember_model_zero_shot(entails, "a", 1, texts, 1, &zero, &classes, &error));
    zero.template_text = NULL, zero.multi_label = 7;
    ARGUMENT("multi_label", ember_model_zero_shot(entails, "a", 1, texts, 1, &zero, &classes, &error));

    token.stride = 3;
    ARGUMENT("aggregation", ember_model_token_classify(tagger, texts, NULL, 1, &token, &entities, &error));
    token.aggregation = "most";
    EXPECT(EMBER_ERROR_UNSUPPORTED, "most", ember_model_token_classify(tagger, texts, NULL, 1, &token, &entities, &error));
    token.aggregation = "max", token.ignore = none, token.ignore_count = 1;
    ARGUMENT("ignore[0]", ember_model_token_classify(tagger, texts, NULL, 1, &token, &entities, &error));

    ARGUMENT("passage", ember_model_answer(answerer, "a", 1, "", 0, NULL, &answers, &error));
    ARGUMENT("question", ember_model_answer(answerer, longest, sizeof longest, "a", 1, NULL, &answers, &error));
    answer.no_answer = 2;
    ARGUMENT("no_answer", ember_model_answer(answerer, "a", 1, "a", 1, &answer, &answers, &error));
    check(fills == NULL && classes == NULL && entities == NULL && answers == NULL && ranked.index == 77 && score == 7,
          "nothing is written on failure", "");

    /* Results: rows that are not there, sizes, handles of another kind. */
    must(ember_model_fill_mask(words, "a [MASK]", EMBER_NUL, NULL, &fills, &error), &error);
    ARGUMENT("mask", ember_fills_get(fills, 1, 0, &one_fill, sizeof one_fill, &error));
    ARGUMENT("size", ember_fills_get(fills, 0, 0, &one_fill, 3, &error));
    ARGUMENT("fill_out", ember_fills_get(fills, 0, 0, NULL, sizeof one_fill, &error));
    check(must(ember_fills_get(fills, 0, 5, &one_fill, sizeof one_fill, &error), &error) == EMBER_DONE, "five tokens", "");
    must(ember_model_classify(classer, texts, NULL, 1, NULL, &classes, &error), &error);
    ARGUMENT("row", ember_classes_get(classes, 1, 0, &one_class, sizeof one_class, &error));
    ARGUMENT("no ember_classes", ember_classes_get((ember_classes *)fills, 0, 0, &one_class, sizeof one_class, &error));
    must(ember_model_token_classify(tagger, texts, NULL, 1, NULL, &entities, &error), &error);
    ARGUMENT("row", ember_entities_get(entities, (size_t)-1, 0, &one_entity, sizeof one_entity, &error));
    must(ember_model_answer(answerer, "a", 1, "a cat", 5, NULL, &answers, &error), &error);
    ARGUMENT("NULL", ember_answers_get(NULL, 0, &one_answer, sizeof one_answer, &error));
    check(must(ember_answers_get(answers, 1, &one_answer, sizeof one_answer, &error), &error) == EMBER_DONE, "one answer", "");
    check(ember_fills_count(NULL) == 0 && ember_classes_count((ember_classes *)fills) == 0 &&
              ember_entities_count(NULL) == 0 && ember_classes_cut(classes, 9) == 0 && ember_classes_cut(NULL, 0) == 0,
          "counts of none", "");
    ember_fills_free(NULL), ember_classes_free(NULL), ember_entities_free(NULL), ember_answers_free(NULL);
    ember_classes_free((ember_classes *)fills);
    check(ember_fills_count(fills) == 1, "freed as another kind", "");
    ember_fills_free(fills), ember_fills_free(fills);
    ARGUMENT("freed", ember_fills_get(fills, 0, 0, &one_fill, sizeof one_fill, &error));
    ember_classes_free(classes), ember_entities_free(entities), ember_answers_free(answers);
    ember_model_free(words), ember_model_free(classer), ember_model_free(entails);
    ember_model_free(tagger), ember_model_free(answerer);
}

/* Several sequences at once: what is not there, what is wrong, what a batch does after it. */
static void batches(const char *golden, ember_model *encoder, ember_model *decoder) {
    ember_generate_options options = EMBER_GENERATE_OPTIONS_INIT;
    ember_batch *batch = NULL;
    ember_text piece = {NULL, 77};
    ember_token token;
    ember_stats stats;
    const uint32_t ids[3] = {5, 6, 7}, huge[1] = {4000000000u};
    const char *two[2] = {"a cat", NULL};
    char *long_one = malloc(1001);
    size_t sequence = 99, pieces = 0, count = 0, bytes = 0, most = 0, length = 5;
    memset(long_one, 'a', 1000), long_one[1000] = '\0';
    for (size_t i = 1; i < 1000; i += 2) long_one[i] = ' ';

    EXPECT(EMBER_ERROR_MISSING, "encoder", ember_model_batch(encoder, &batch, &error));
    EXPECT(EMBER_ERROR_MISSING, "encoder", ember_model_generate_all(encoder, two, NULL, 1, NULL, &batch, &error));
    ARGUMENT("batch_out", ember_model_batch(decoder, NULL, &error));
    ARGUMENT("batch_out", ember_model_generate_all(decoder, two, NULL, 1, NULL, NULL, &error));
    ARGUMENT("`prompts` is empty", ember_model_generate_all(decoder, two, NULL, 0, NULL, &batch, &error));
    ARGUMENT("`prompts` is NULL", ember_model_generate_all(decoder, NULL, NULL, 1, NULL, &batch, &error));
    ARGUMENT("prompts[1]", ember_model_generate_all(decoder, two, NULL, 2, NULL, &batch, &error));
    two[1] = long_one;
    ARGUMENT("`prompts` holds at 1 a prompt", ember_model_generate_all(decoder, two, NULL, 2, NULL, &batch, &error));
    options.top_p = 2;
    ARGUMENT("top_p", ember_model_generate_all(decoder, two, &length, 1, &options, &batch, &error));
    ARGUMENT("batch", ember_batch_next(batch, &sequence, &piece, &error));
    check(batch == NULL, "nothing is written on failure", "");

    must(ember_model_batch(decoder, &batch, &error), &error);
    check(must(ember_batch_next(batch, &sequence, &piece, &error), &error) == EMBER_DONE, "an empty batch", "");
    check(must(ember_batch_token(batch, &token, sizeof token, &error), &error) == EMBER_DONE, "no token", "");
    check(must(ember_batch_stats(batch, 0, &stats, sizeof stats, &error), &error) == EMBER_DONE, "no sequence", "");
    check(must(ember_batch_remove(batch, 0, &error), &error) == EMBER_DONE, "none to remove", "");
    ember_batch_cancel_one(batch, 0);
    ARGUMENT("prompt", ember_batch_add(batch, NULL, EMBER_NUL, NULL, &sequence, &error));
    ARGUMENT("sequence_out", ember_batch_add(batch, "a", 1, NULL, NULL, &error));
    EXPECT(EMBER_ERROR_TOO_LONG, "do not fit", ember_batch_add(batch, long_one, EMBER_NUL, NULL, &sequence, &error));
    ARGUMENT("`ids` has no tokens", ember_batch_add_ids(batch, ids, 0, NULL, &sequence, &error));
    ARGUMENT("`ids` is NULL", ember_batch_add_ids(batch, NULL, 3, NULL, &sequence, &error));
    ARGUMENT("4000000000", ember_batch_add_ids(batch, huge, 1, NULL, &sequence, &error));
    ARGUMENT("top_p", ember_batch_add_ids(batch, ids, 3, &options, &sequence, &error));
    options.top_p = EMBER_UNSET, options.struct_size = 3;
    ARGUMENT("struct_size", ember_batch_add_ids(batch, ids, 3, &options, &sequence, &error));
    check(sequence == 99 && piece.len == 77, "nothing is written on failure", "");
    options.struct_size = sizeof options, options.max_tokens = 3, options.ignore_eos = 1, options.logprobs = 2;
    must(ember_batch_add_ids(batch, ids, 3, &options, &sequence, &error), &error);
    check(sequence == 0, "the first", "");
    options.max_tokens = 5;
    must(ember_batch_add_ids(batch, ids, 2, &options, &sequence, &error), &error);
    must(ember_batch_add(batch, "a cat", EMBER_NUL, &options, &sequence, &error), &error);
    must(ember_batch_add(batch, "a dog", EMBER_NUL, &options, &sequence, &error), &error);
    check(sequence == 3, "the fourth", "");
    ARGUMENT("count_out", ember_batch_running(batch, NULL, &error));
    ARGUMENT("bytes_out", ember_batch_cache_bytes(batch, NULL, &error));
    ARGUMENT("sequence_out", ember_batch_next(batch, NULL, &piece, &error));
    ARGUMENT("piece_out", ember_batch_next(batch, &sequence, NULL, &error));
    must(ember_batch_running(batch, &count, &error), &error);
    check(count == 4, "four running", "");
    while (must(ember_batch_next(batch, &sequence, &piece, &error), &error) == EMBER_OK) {
        if (must(ember_batch_token(batch, &token, sizeof token, &error), &error) == EMBER_OK) {
            check(token.top_len == 2 && token.top[0].logprob <= 0, "the likeliest", "");
            pieces++;
        }
        must(ember_batch_cache_bytes(batch, &bytes, &error), &error);
        if (bytes > most) most = bytes;
        /* Each has had two pieces. */
        if (pieces == 8) {
            check(must(ember_batch_remove(batch, 2, &error), &error) == EMBER_OK, "removed", "");
            ember_batch_cancel_one(batch, 2), ember_batch_cancel_one(batch, 3);
        }
    }
    check(pieces == 3 + 5 + 2 + 2 && most > 0 && bytes == 0, "each its own end", "");
    ARGUMENT("token_out", ember_batch_token(batch, NULL, sizeof token, &error));
    ARGUMENT("stats_out", ember_batch_stats(batch, 0, NULL, sizeof stats, &error));
    ARGUMENT("size", ember_batch_stats(batch, 0, &stats, 3, &error));
    must(ember_batch_stats(batch, 1, &stats, sizeof stats, &error), &error);
    check(stats.tokens == 5 && stats.prompt_tokens == 2 && strcmp(stats.finish_reason, "length") == 0, "its end", "");
    must(ember_batch_stats(batch, 3, &stats, sizeof stats, &error), &error);
    check(stats.tokens == 2 && strcmp(stats.finish_reason, "cancelled") == 0, "one is cancelled", "");
    check(must(ember_batch_stats(batch, 2, &stats, sizeof stats, &error), &error) == EMBER_DONE, "forgotten", "");
    ember_batch_cancel(batch);
    must(ember_batch_add_ids(batch, ids, 3, &options, &sequence, &error), &error);
    check(must(ember_batch_next(batch, &sequence, &piece, &error), &error) == EMBER_DONE, "cancelled", "");
    must(ember_batch_stats(batch, 4, &stats, sizeof stats, &error), &error);
    check(strcmp(stats.finish_reason, "cancelled") == 0, "why", "");
    ARGUMENT("no ember_batch", ember_batch_next((ember_batch *)decoder, &sequence, &piece, &error));
    ember_batch_cancel(NULL), ember_batch_cancel_one(NULL, 0), ember_batch_free(NULL);
    ember_batch_free(batch), ember_batch_free(batch);
    ARGUMENT("freed", ember_batch_next(batch, &sequence, &piece, &error));
    free(long_one);

    /* What goes wrong with one of them: its number, once, and the others go on. */
    const uint32_t good[2] = {5, 6}, bad[2] = {5, 46};
    ember_model *broken = task_model(golden, "not-finite");
    size_t counts[3] = {0}, errors = 0;
    ember_status status;
    must(ember_model_batch(broken, &batch, &error), &error);
    must(ember_batch_add_ids(batch, good, 2, &options, &sequence, &error), &error);
    must(ember_batch_add_ids(batch, bad, 2, &options, &sequence, &error), &error);
    must(ember_batch_add_ids(batch, good, 1, &options, &sequence, &error), &error);
    while (sequence = 99, (status = ember_batch_next(batch, &sequence, &piece, &error)) != EMBER_DONE) {
        check(sequence < 3, "a number", "");
        if (status == EMBER_OK) counts[sequence % 3]++;
        else check(status == EMBER_ERROR_NOT_FINITE && sequence == 1 && errors++ == 0, "one is broken", error.message);
        if (status != EMBER_OK)
            check(ember_batch_token(batch, &token, sizeof token, &error) == EMBER_DONE, "no token", "");
    }
    check(errors == 1 && counts[0] == 5 && counts[1] == 0 && counts[2] == 5, "the others go on", "");
    must(ember_batch_stats(batch, 1, &stats, sizeof stats, &error), &error);
    check(stats.finish_reason == NULL, "no end after an error", "");
    ember_batch_free(batch), ember_model_free(broken);
}

/* The network by ids, beams, token vectors, saving: models that are another kind, layers that are not there. */
static void networks(const char *golden, ember_model *encoder, ember_model *decoder) {
    ember_model *spoken = task_model(golden, "t5"), *plain = task_model(golden, "bert-mlm");
    ember_model *late = task_model(golden, "task-bert-late"), *sparse_model = task_model(golden, "task-bert-words");
    ember_forward_options forward = EMBER_FORWARD_OPTIONS_INIT;
    ember_generate_options generate = EMBER_GENERATE_OPTIONS_INIT;
    ember_beam_options beam = EMBER_BEAM_OPTIONS_INIT;
    ember_cancel_token *cancel = NULL, *stop = NULL;
    ember_session *session = NULL, *other = NULL;
    ember_output *output = NULL;
    ember_beams *beams = NULL;
    ember_token_vectors *queries = NULL;
    ember_sparse_vectors *sparse = NULL;
    ember_expert_load *load = NULL;
    ember_array array = {NULL, 77, {0}};
    ember_beam one_beam;
    ember_token_rows rows_of;
    const uint32_t ids[3] = {5, 6, 7}, huge[1] = {4000000000u};
    const uint32_t *rows[2] = {ids, ids}, *bad_rows[2] = {ids, huge}, *null_rows[1] = {NULL};
    const size_t lengths[2] = {3, 1}, layers[2] = {1, 99};
    const size_t *counts = NULL;
    const char *texts[1] = {"a cat"}, *bad[1] = {"a\xff"};
    const float nan = 0.0f / 0.0f;
    float out[4096] = {7}, score = 7;
    size_t len = 77;
    char path[512];

    ARGUMENT("encoder-decoder", (forward.decoder_ids = rows, forward.decoder_lengths = lengths, forward.decoder_count = 2,
                                 ember_model_forward_with(decoder, rows, lengths, 2, &forward, out, 4096, &error)));
    ARGUMENT("decoder_ids", ember_model_forward_with(spoken, rows, lengths, 1, &forward, out, 4096, &error));
    ARGUMENT("needed", ember_model_forward_with(spoken, rows, lengths, 2, &forward, out, 2 * 3 * 47 - 1, &error));
    forward.decoder_ids = bad_rows;
    ARGUMENT("4000000000", ember_model_forward_with(spoken, rows, lengths, 2, &forward, out, 4096, &error));
    forward.decoder_ids = null_rows, forward.decoder_count = 1;
    ARGUMENT("decoder_ids[0]", ember_model_forward_with(spoken, rows, lengths, 1, &forward, out, 4096, &error));
    forward.decoder_ids = NULL;
    ARGUMENT("decoder_ids", ember_model_forward_with(spoken, rows, lengths, 1, &forward, out, 4096, &error));
    forward.decoder_ids = rows, forward.decoder_lengths = NULL;
    ARGUMENT("decoder_lengths", ember_model_forward_with(spoken, rows, lengths, 1, &forward, out, 4096, &error));
    forward.decoder_lengths = lengths, forward.hidden_states = layers, forward.hidden_state_count = 1;
    ARGUMENT("decoder_ids", ember_model_forward_output(spoken, rows, lengths, 1, &forward, &output, &error));
    forward.decoder_ids = NULL, forward.decoder_count = 0;
    ARGUMENT("ember_model_forward_output", ember_model_forward_with(plain, rows, lengths, 2, &forward, out, 4096, &error));
    forward.hidden_state_count = 2;
    ARGUMENT("99", ember_model_forward_output(plain, rows, lengths, 2, &forward, &output, &error));
    forward.hidden_states = NULL;
    ARGUMENT("hidden_states", ember_model_forward_output(plain, rows, lengths, 2, &forward, &output, &error));
    forward.hidden_state_count = 0, forward.attentions = layers, forward.attention_count = 2;
    ARGUMENT("attentions", ember_model_forward_output(plain, rows, lengths, 2, &forward, &output, &error));
    forward.attention_count = 1;
    ARGUMENT("output_out", ember_model_forward_output(plain, rows, lengths, 2, &forward, NULL, &error));
    ARGUMENT("rows", ember_model_forward_output(plain, NULL, lengths, 2, &forward, &output, &error));
    must(ember_cancel_token_new(&cancel, &error), &error);
    ember_cancel_token_cancel(cancel);
    forward.cancel = cancel;
    EXPECT(EMBER_ERROR_CANCELLED, "cancelled", ember_model_forward_output(plain, rows, lengths, 2, &forward, &output, &error));
    forward.cancel = NULL;
    check(output == NULL && out[0] == 7, "nothing is written on failure", "");
    must(ember_model_forward_output(plain, rows, lengths, 2, &forward, &output, &error), &error);
    ARGUMENT("layer", ember_output_attentions(output, 0, &array, sizeof array, &error));
    ARGUMENT("layer", ember_output_hidden_states(output, 1, &array, sizeof array, &error));
    ARGUMENT("size", ember_output_values(output, &array, 3, &error));
    ARGUMENT("array_out", ember_output_values(output, NULL, sizeof array, &error));
    check(array.rank == 77, "nothing is written on failure", "");
    must(ember_output_attentions(output, 1, &array, sizeof array, &error), &error);
    check(array.rank == 4 && array.shape[0] == 2 && array.shape[2] == 3 && array.shape[3] == 3, "maps", "");
    ember_output_free(NULL), ember_output_free(output), ember_output_free(output);
    ARGUMENT("freed", ember_output_values(output, &array, sizeof array, &error));

    ARGUMENT("4000000000", ember_model_expert_load(decoder, bad_rows, lengths, 2, NULL, &load, &error));
    ARGUMENT("load_out", ember_model_expert_load(decoder, rows, lengths, 2, NULL, NULL, &error));
    must(ember_cancel_token_new(&stop, &error), &error);
    ember_cancel_token_cancel(stop);
    EXPECT(EMBER_ERROR_CANCELLED, "", ember_model_expert_load(decoder, rows, lengths, 2, stop, &load, &error));
    ember_cancel_token_free(stop);
    ARGUMENT("cancel", ember_model_expert_load(decoder, rows, lengths, 2, stop, &load, &error));
    must(ember_model_expert_load(decoder, rows, lengths, 2, NULL, &load, &error), &error);
    ARGUMENT("len_out", ember_expert_load_get(load, 0, &counts, NULL, &error));
    must(ember_expert_load_get(load, 0, &counts, &len, &error), &error);
    check(len == 0, "a block without experts", "");
    check(must(ember_expert_load_get(load, 99, &counts, &len, &error), &error) == EMBER_DONE, "the last block", "");
    ember_expert_load_free(load), ember_expert_load_free(load);

    EXPECT(EMBER_ERROR_MISSING, "encoder", ember_model_beams(encoder, "a", 1, NULL, NULL, &beams, &error));
    EXPECT(EMBER_ERROR_MISSING, "tokenizer", ember_model_beams(spoken, "a", 1, NULL, NULL, &beams, &error));
    ARGUMENT("prompt", ember_model_beams(decoder, NULL, EMBER_NUL, NULL, NULL, &beams, &error));
    ARGUMENT("beams_out", ember_model_beams(decoder, "a", 1, NULL, NULL, NULL, &error));
    beam.beams = 0;
    ARGUMENT("beams", ember_model_beams(decoder, "a", 1, NULL, &beam, &beams, &error));
    beam.beams = 2, beam.sequences = 3;
    ARGUMENT("sequences", ember_model_beams(decoder, "a", 1, NULL, &beam, &beams, &error));
    beam.sequences = (size_t)EMBER_UNSET, beam.length_penalty = &nan;
    ARGUMENT("length_penalty", ember_model_beams(decoder, "a", 1, NULL, &beam, &beams, &error));
    beam.length_penalty = NULL, beam.early_stopping = "soon";
    ARGUMENT("early_stopping", ember_model_beams(decoder, "a", 1, NULL, &beam, &beams, &error));
    beam.early_stopping = NULL, beam.struct_size = 8;
    ARGUMENT("struct_size", ember_model_beams(decoder, "a", 1, NULL, &beam, &beams, &error));
    beam.struct_size = sizeof beam, beam.cancel = cancel;
    EXPECT(EMBER_ERROR_CANCELLED, "cancelled", ember_model_beams(decoder, "a", 1, NULL, &beam, &beams, &error));
    ember_cancel_token_free(cancel);
    ARGUMENT("cancel", ember_model_beams(decoder, "a", 1, NULL, &beam, &beams, &error));
    beam.cancel = NULL, generate.temperature = 1;
    ARGUMENT("temperature", ember_model_beams(decoder, "a", 1, &generate, &beam, &beams, &error));
    generate.temperature = EMBER_UNSET, generate.stop = texts, generate.stop_count = 1;
    ARGUMENT("stop", ember_model_beams(decoder, "a", 1, &generate, &beam, &beams, &error));
    generate.stop_count = 0, generate.suppress = huge, generate.suppress_count = 1;
    ARGUMENT("suppress", ember_model_beams(decoder, "a", 1, &generate, &beam, &beams, &error));
    generate.suppress = NULL;
    ARGUMENT("suppress", ember_model_beams(decoder, "a", 1, &generate, &beam, &beams, &error));
    generate.suppress_count = 0, generate.bad_words = bad_rows, generate.bad_word_count = 2;
    ARGUMENT("bad_word_lengths", ember_model_beams(decoder, "a", 1, &generate, &beam, &beams, &error));
    generate.bad_word_lengths = lengths;
    ARGUMENT("bad_words", ember_model_beams(decoder, "a", 1, &generate, &beam, &beams, &error));
    generate.bad_word_count = 0, generate.bad_words = NULL, generate.first_token = -7;
    ARGUMENT("first_token", ember_model_beams(decoder, "a", 1, &generate, &beam, &beams, &error));
    generate.first_token = 4000000000;
    ARGUMENT("first_token", ember_model_beams(decoder, "a", 1, &generate, &beam, &beams, &error));
    generate.first_token = EMBER_UNSET, generate.max_tokens = 3;
    must(ember_model_session(decoder, &session, &error), &error);
    must(ember_model_session(spoken, &other, &error), &error);
    ARGUMENT("session", ember_session_beams(session, &generate, &beam, &beams, &error));
    EXPECT(EMBER_ERROR_MISSING, "encoder-decoder", ember_session_read_source(session, ids, 3, &error));
    ARGUMENT("source", ember_session_read_source(other, NULL, 0, &error));
    ARGUMENT("ids", ember_session_read_source(other, NULL, 3, &error));
    ARGUMENT("4000000000", ember_session_read_source(other, huge, 1, &error));
    ARGUMENT("read_source", ember_session_feed(other, ids, 3, &error));
    check(beams == NULL, "nothing is written on failure", "");
    must(ember_session_read_source(other, ids, 3, &error), &error);
    must(ember_session_beams(other, &generate, &beam, &beams, &error), &error);
    ARGUMENT("size", ember_beams_get(beams, 0, &one_beam, 3, &error));
    must(ember_beams_get(beams, 0, &one_beam, sizeof one_beam, &error), &error);
    check(one_beam.len > 0 && one_beam.len <= 3 && one_beam.text.len == 0, "a row", "");
    check(must(ember_beams_get(beams, 1, &one_beam, sizeof one_beam, &error), &error) == EMBER_DONE, "one row", "");
    ember_beams_free(NULL), ember_beams_free(beams), ember_beams_free(beams);
    ARGUMENT("freed", ember_beams_get(beams, 0, &one_beam, sizeof one_beam, &error));
    ember_session_free(session), ember_session_free(other);

    EXPECT(EMBER_ERROR_MISSING, "MultiVectorMask", ember_model_embed_tokens(encoder, texts, NULL, 1, "query", NULL, &queries, &error));
    ARGUMENT("role", ember_model_embed_tokens(late, texts, NULL, 1, "question", NULL, &queries, &error));
    ARGUMENT("role", ember_model_embed_tokens(late, texts, NULL, 1, NULL, NULL, &queries, &error));
    ARGUMENT("UTF-8", ember_model_embed_tokens(late, bad, NULL, 1, "query", NULL, &queries, &error));
    ARGUMENT("vectors_out", ember_model_embed_tokens(late, texts, NULL, 1, "query", NULL, NULL, &error));
    check(queries == NULL, "nothing is written on failure", "");
    must(ember_model_embed_tokens(late, texts, NULL, 1, "query", NULL, &queries, &error), &error);
    ARGUMENT("size", ember_token_vectors_get(queries, 0, &rows_of, 1, &error));
    check(must(ember_token_vectors_get(queries, 1, &rows_of, sizeof rows_of, &error), &error) == EMBER_DONE, "one text", "");
    ARGUMENT("query", ember_token_vectors_max_sim(queries, 1, queries, 0, &score, &error));
    ARGUMENT("document", ember_token_vectors_max_sim(queries, 0, queries, 1, &score, &error));
    ARGUMENT("documents", ember_token_vectors_max_sim(queries, 0, NULL, 0, &score, &error));
    ARGUMENT("score_out", ember_token_vectors_max_sim(queries, 0, queries, 0, NULL, &error));
    must(ember_model_sparse(sparse_model, texts, NULL, 1, NULL, &sparse, &error), &error);
    ARGUMENT("other_index", ember_sparse_vectors_dot(sparse, 0, sparse, 1, &score, &error));
    ARGUMENT("no ember_sparse_vectors", ember_sparse_vectors_dot(sparse, 0, (ember_sparse_vectors *)queries, 0, &score, &error));
    check(score == 7, "nothing is written on failure", "");
    ember_sparse_vectors_free(sparse);
    ember_token_vectors_free(queries), ember_token_vectors_free(queries);
    ARGUMENT("freed", ember_token_vectors_max_sim(queries, 0, queries, 0, &score, &error));

    ARGUMENT("folder", ember_model_save(spoken, NULL, &error));
    snprintf(path, sizeof path, "%s/t5", golden);
    ARGUMENT("folder", ember_model_save(spoken, path, &error));
    snprintf(path, sizeof path, "%s/README.md/t5", golden);
    EXPECT(EMBER_ERROR_IO, "README.md", ember_model_save(spoken, path, &error));
    ember_model_free(spoken), ember_model_free(plain), ember_model_free(late), ember_model_free(sparse_model);
    ARGUMENT("freed", ember_model_save(spoken, path, &error));
}

/* Word vectors: files that are none, words that are not there, arrays that are too short. */
static void vectors(const char *golden) {
    ember_words *words = NULL;
    ember_word_options options = EMBER_WORD_OPTIONS_INIT;
    ember_words_info info;
    ember_neighbor near[2] = {{77, 7}, {77, 7}};
    const char *texts[1] = {"king xyzzy"}, *bad[1] = {"a\xff"};
    float out[17] = {7}, cosine = 7;
    size_t len = 77, index = 77;
    char path[512], text[64];

    ARGUMENT("path", ember_words_open(NULL, &words, &error));
    EXPECT(EMBER_ERROR_IO, "no/such", ember_words_open("no/such", &words, &error));
    snprintf(path, sizeof path, "%s/README.md", golden);
    check(ember_words_open(path, &words, &error) >= EMBER_ERROR_ARGUMENT, "no word vectors", "");
    snprintf(path, sizeof path, "%s/words/word2vec.bin", golden);
    ARGUMENT("words_out", ember_words_open(path, NULL, &error));
    check(words == NULL, "nothing is written on failure", "");
    must(ember_words_open(path, &words, &error), &error);
    check(ember_words_width(NULL) == 0, "width of none", "");
    ARGUMENT("NULL", ember_words_embed(NULL, texts, 1, out, 17, &error));
    ARGUMENT("no ember_words", ember_words_embed((ember_words *)(uintptr_t)3, texts, 1, out, 17, &error));
    ARGUMENT("texts", ember_words_embed(words, NULL, 1, out, 17, &error));
    ARGUMENT("UTF-8", ember_words_embed(words, bad, 1, out, 17, &error));
    ARGUMENT("needed", ember_words_embed(words, texts, 1, out, 16, &error));
    ARGUMENT("out", ember_words_embed(words, texts, 1, NULL, 17, &error));
    options.unknown = "error";
    ARGUMENT("xyzzy", ember_words_embed_with(words, texts, NULL, 1, &options, out, 17, NULL, &error));
    options.unknown = "subwords";
    EXPECT(EMBER_ERROR_MISSING, "pieces", ember_words_embed_with(words, texts, NULL, 1, &options, out, 17, NULL, &error));
    options.unknown = "guess";
    check(ember_words_embed_with(words, texts, NULL, 1, &options, out, 17, NULL, &error) >= EMBER_ERROR_ARGUMENT, "no policy", "");
    options.unknown = NULL, options.exact = 2;
    ARGUMENT("exact", ember_words_embed_with(words, texts, NULL, 1, &options, out, 17, NULL, &error));
    options.exact = EMBER_UNSET, options.dimensions = 18;
    ARGUMENT("dimensions", ember_words_embed_with(words, texts, NULL, 1, &options, out, 17, NULL, &error));
    options.dimensions = 0;
    ARGUMENT("dimensions", ember_words_embed_with(words, texts, NULL, 1, &options, out, 17, NULL, &error));
    ARGUMENT("xyzzy", ember_words_vector(words, "xyzzy", EMBER_NUL, out, 17, &error));
    ARGUMENT("needed", ember_words_vector(words, "king", EMBER_NUL, out, 3, &error));
    ARGUMENT("xyzzy", ember_words_index(words, "xyzzy", EMBER_NUL, &index, &error));
    ARGUMENT("index_out", ember_words_index(words, "king", EMBER_NUL, NULL, &error));
    ARGUMENT("index", ember_words_word(words, 30, text, sizeof text, &len, &error));
    ARGUMENT("needed", ember_words_word(words, 3, text, 0, &len, &error));
    ARGUMENT("len_out", ember_words_word(words, 3, text, sizeof text, NULL, &error));
    ARGUMENT("xyzzy", ember_words_nearest(words, "xyzzy", EMBER_NUL, near, 2, &len, &error));
    ARGUMENT("out", ember_words_nearest(words, "king", EMBER_NUL, NULL, 2, &len, &error));
    ARGUMENT("len_out", ember_words_nearest(words, "king", EMBER_NUL, near, 2, NULL, &error));
    ARGUMENT("vector", ember_words_nearest_to(words, out, 16, near, 2, &len, &error));
    ARGUMENT("xyzzy", ember_words_analogy(words, "king", "xyzzy", "man", near, 2, &len, &error));
    ARGUMENT("NULL", ember_words_analogy(words, "king", NULL, "man", near, 2, &len, &error));
    ARGUMENT("xyzzy", ember_words_similarity(words, "king", "xyzzy", &cosine, &error));
    ARGUMENT("size", ember_words_describe(words, &info, 3, &error));
    check(out[0] == 7 && near[0].index == 77 && len == 77 && index == 77 && cosine == 7,
          "nothing is written on failure", "");
    ember_words_free(NULL);
    ember_model_free((ember_model *)words);
    check(ember_words_width(words) == 17, "freed as another kind", "");
    ember_words_free(words);
    ember_words_free(words);
    ARGUMENT("freed", ember_words_similarity(words, "king", "man", &cosine, &error));
}

int main(int count, char **words) {
    char encoder_path[512], decoder_path[512], path[512];
    ember_open_options cpu = EMBER_OPEN_OPTIONS_INIT;
    ember_model *encoder = NULL, *decoder = NULL, *foreign = (ember_model *)words;
    ember_tokenizer *tokenizer = NULL;
    ember_encodings *encodings = NULL;
    ember_session *session = NULL;
    ember_stream *stream = NULL;
    ember_devices *devices = NULL;
    ember_cancel_token *cancel = NULL;
    ember_text text = {NULL, 0};
    ember_encoding encoding;
    ember_token token;
    ember_stats stats;
    ember_model_info info;
    ember_tensor_info tensor;
    ember_task_info task;
    ember_memory memory;
    ember_device_info device;
    float out[4096];
    size_t len = 77, lengths[2] = {2, 1};
    uint32_t ids[3] = {1, 2, 3}, huge[1] = {4000000000u};
    const uint32_t *rows[2], *null_rows[1] = {NULL};
    const char *texts[2] = {"a cat", "a dog"}, *null_texts[2] = {"a", NULL}, *bad[1] = {"a\xff"};
    char buffer[4];
    ember_embed_options embed = EMBER_EMBED_OPTIONS_INIT;
    ember_forward_options forward = EMBER_FORWARD_OPTIONS_INIT;
    ember_generate_options generate = EMBER_GENERATE_OPTIONS_INIT;
    ember_decode_stream *decode = NULL;
    int quick = count == 3;
    if (count < 2) return 2;
    rows[0] = ids, rows[1] = ids;
    snprintf(encoder_path, sizeof encoder_path, "%s/st-prompts", words[1]);
    snprintf(decoder_path, sizeof decoder_path, "%s/st-decoder", words[1]);

    /* Opening. */
    cpu.device = "cpu";
    ARGUMENT("path", ember_model_open(NULL, &cpu, &encoder, &error));
    ARGUMENT("UTF-8", ember_model_open("a\xff", &cpu, &encoder, &error));
    ARGUMENT("model_out", ember_model_open(encoder_path, &cpu, NULL, &error));
    EXPECT(EMBER_ERROR_IO, "no/such", ember_model_open("no/such", &cpu, &encoder, &error));
    snprintf(path, sizeof path, "%s/README.md", words[1]);
    check(ember_model_open(path, &cpu, &encoder, &error) >= EMBER_ERROR_ARGUMENT, "a text file", "");
    EXPECT(EMBER_ERROR_IO, "", ember_tokenizer_open("no/such.json", &tokenizer, &error));
    cpu.device = "toaster";
    ARGUMENT("toaster", ember_model_open(encoder_path, &cpu, &encoder, &error));
    cpu.device = "gpu:99";
    if (!quick)
        EXPECT(EMBER_ERROR_DEVICE, "gpu:99", ember_model_open(encoder_path, &cpu, &encoder, &error));
    cpu.device = "cpu";
    cpu.precision = "f64";
    ARGUMENT("f64", ember_model_open(encoder_path, &cpu, &encoder, &error));
    cpu.precision = "a\xff";
    ARGUMENT("precision", ember_model_open(encoder_path, &cpu, &encoder, &error));
    cpu.precision = NULL, cpu.threads = 0;
    ARGUMENT("threads", ember_model_open(encoder_path, &cpu, &encoder, &error));
    cpu.threads = (size_t)EMBER_UNSET;
    cpu.struct_size = 0;
    ARGUMENT("struct_size", ember_model_open(encoder_path, &cpu, &encoder, &error));
    cpu.struct_size = 1000;
    ARGUMENT("struct_size", ember_model_open(encoder_path, &cpu, &encoder, &error));
    cpu.struct_size = sizeof cpu;
    check(encoder == NULL, "nothing is written on failure", "");
    check(ember_model_open("no/such", &cpu, &encoder, NULL) == EMBER_ERROR_IO, "no error struct", "");
    must(ember_model_open(encoder_path, &cpu, &encoder, &error), &error);
    must(ember_model_open(decoder_path, &cpu, &decoder, &error), &error);
    check(error.status == EMBER_OK && error.message[0] == '\0', "success clears the error", "");

    /* Handles that are none. */
    ARGUMENT("NULL", ember_model_embed(NULL, texts, 2, out, 4096, &error));
    ARGUMENT("never was", ember_model_embed(foreign, texts, 2, out, 4096, &error));
    ARGUMENT("never was", ember_model_spec((ember_model *)(uintptr_t)1, &text, &error));
    ARGUMENT("no ember_session", ember_session_feed((ember_session *)encoder, ids, 3, &error));
    ARGUMENT("no ember_stream", ember_stream_next((ember_stream *)encoder, &text, &error));
    check(ember_model_width(NULL) == 0 && ember_model_width(foreign) == 0, "width of none", "");
    check(ember_devices_count(NULL) == 0, "count of none", "");
    check(ember_tokenizer_len(NULL) == 0 && ember_encodings_count(NULL) == 0, "length of none", "");
    check(!ember_verification_passed(NULL), "verification of none", "");
    ember_model_free(NULL);
    ember_model_free(foreign);
    ember_session_free((ember_session *)encoder); /* another kind: left alone */
    check(ember_model_width(encoder) > 0, "freed as another kind", "");
    ember_session_cancel(NULL);
    ember_stream_cancel((ember_stream *)encoder);
    ember_cancel_token_cancel(NULL);

    /* Describing. */
    ARGUMENT("info_out", ember_model_describe(encoder, NULL, sizeof info, &error));
    ARGUMENT("size", ember_model_describe(encoder, &info, 0, &error));
    ARGUMENT("size", ember_model_describe(encoder, &info, 3, &error));
    must(ember_model_describe(encoder, &info, sizeof info, &error), &error);
    ARGUMENT("index", ember_model_tensor(encoder, info.tensors, &tensor, sizeof tensor, &error));
    check(info.tasks == 0, "an embedder has no head", "");
    ARGUMENT("index", ember_model_task(encoder, 0, &task, sizeof task, &error));
    ARGUMENT("task_out", ember_model_task(encoder, 0, NULL, sizeof task, &error));
    ARGUMENT("memory_out", ember_model_memory(encoder, NULL, sizeof memory, &error));
    ARGUMENT("size", ember_model_memory(encoder, &memory, 3, &error));
    check(ember_model_cache_bytes(NULL, 5) == 0, "no handle, no bytes", "");
    ARGUMENT("model", ember_model_warmup(NULL, &error));

    /* Rows that are compared and searched. */
    const float axes[4] = {1, 0, 0, 2};
    ember_neighbor near[2] = {{77, 0}, {77, 0}};
    float cosine = 7;
    size_t near_len = 77;
    ARGUMENT("`a` is NULL", ember_cosine(NULL, axes, 2, &cosine, &error));
    ARGUMENT("cosine_out", ember_cosine(axes, axes, 2, NULL, &error));
    ARGUMENT("`query` has 1", ember_nearest(axes, 1, axes, 2, 2, near, 2, &near_len, &error));
    ARGUMENT("`width` is 0", ember_nearest(axes, 0, axes, 2, 0, near, 2, &near_len, &error));
    ARGUMENT("rows", ember_nearest(axes, 2, NULL, 2, 2, near, 2, &near_len, &error));
    ARGUMENT("len_out", ember_nearest(axes, 2, axes, 2, 2, near, 2, NULL, &error));
    EXPECT(EMBER_ERROR_MEMORY, "rows", ember_nearest(axes, 2, axes, (size_t)-1, 2, near, 2, &near_len, &error));
    check(cosine == 7 && near_len == 77 && near[0].index == 77, "nothing is written on failure", "");
    ARGUMENT("index", ember_model_prompt(encoder, (size_t)-1, &text, &text, &error));
    ARGUMENT("text_out", ember_model_spec(encoder, NULL, &error));
    if (!quick) {
        must(ember_devices_list(&devices, &error), &error);
        ARGUMENT("index", ember_devices_get(devices, 1000, &device, sizeof device, &error));
        ember_devices_free(devices);
        ARGUMENT("freed", ember_devices_get(devices, 0, &device, sizeof device, &error));
    }

    /* Embedding. */
    ARGUMENT("texts", ember_model_embed(encoder, NULL, 2, out, 4096, &error));
    ARGUMENT("texts[1]", ember_model_embed(encoder, null_texts, 2, out, 4096, &error));
    ARGUMENT("UTF-8", ember_model_embed(encoder, bad, 1, out, 4096, &error));
    ARGUMENT("needed", ember_model_embed(encoder, texts, 2, out, 2 * info.width - 1, &error));
    ARGUMENT("out", ember_model_embed(encoder, texts, 2, NULL, 4096, &error));
    ARGUMENT("aligned", ember_model_embed(encoder, texts, 2, (float *)((char *)out + 1), 4095, &error));
    ARGUMENT("memory", ember_model_embed(encoder, texts, (size_t)1 << 62, out, 4096, &error));
    EXPECT(EMBER_OK, "", (ember_model_embed(encoder, NULL, 0, NULL, 0, &error),
                          strcpy(error.message, "-"), error.status)); /* no text, no row */
    lengths[0] = (size_t)1 << 63;
    ARGUMENT("memory", ember_model_embed_with(encoder, texts, lengths, 1, NULL, out, 4096, NULL, NULL, &error));
    lengths[0] = 2;
    embed.normalize = 7;
    ARGUMENT("normalize", ember_model_embed_with(encoder, texts, NULL, 2, &embed, out, 4096, NULL, NULL, &error));
    embed.normalize = EMBER_UNSET, embed.pooling = "sideways";
    EXPECT(EMBER_ERROR_UNSUPPORTED, "sideways", ember_model_embed_with(encoder, texts, NULL, 2, &embed, out, 4096, NULL, NULL, &error));
    embed.pooling = NULL, embed.prompt_name = "nobody";
    ARGUMENT("nobody", ember_model_embed_with(encoder, texts, NULL, 2, &embed, out, 4096, NULL, NULL, &error));
    embed.prompt_name = NULL, embed.dimensions = 0;
    ARGUMENT("dimensions", ember_model_embed_with(encoder, texts, NULL, 2, &embed, out, 4096, NULL, NULL, &error));
    embed.dimensions = (size_t)EMBER_UNSET, embed.max_tokens = 0;
    ARGUMENT("max_tokens", ember_model_embed_with(encoder, texts, NULL, 2, &embed, out, 4096, NULL, NULL, &error));
    embed.max_tokens = (size_t)EMBER_UNSET, embed.cancel = (ember_cancel_token *)encoder;
    ARGUMENT("cancel", ember_model_embed_with(encoder, texts, NULL, 2, &embed, out, 4096, NULL, NULL, &error));
    must(ember_cancel_token_new(&cancel, &error), &error);
    ember_cancel_token_cancel(cancel);
    embed.cancel = cancel;
    EXPECT(EMBER_ERROR_CANCELLED, "cancelled",
           ember_model_embed_with(encoder, texts, NULL, 2, &embed, out, 4096, NULL, NULL, &error));
    forward.cancel = cancel;
    EXPECT(EMBER_ERROR_CANCELLED, "cancelled",
           ember_model_forward_with(decoder, rows, lengths, 2, &forward, out, 4096, &error));
    ember_cancel_token_free(cancel);
    ember_cancel_token_free(cancel);
    ARGUMENT("freed", ember_model_embed_with(encoder, texts, NULL, 2, &embed, out, 4096, NULL, NULL, &error));
    ARGUMENT("freed", ember_model_forward_with(decoder, rows, lengths, 2, &forward, out, 4096, &error));
    forward.cancel = NULL, forward.struct_size = 1;
    ARGUMENT("struct_size", ember_model_forward_with(decoder, rows, lengths, 2, &forward, out, 4096, &error));
    embed.cancel = NULL;
    ARGUMENT("width_out", ember_model_embedding_width(encoder, &embed, NULL, &error));
    embed.dimensions = 100000;
    ARGUMENT("dimensions", ember_model_embedding_width(encoder, &embed, &len, &error));
    ARGUMENT("dimensions", ember_model_embed_with(encoder, texts, NULL, 2, &embed, out, 4096, NULL, NULL, &error));

    /* The network. */
    out[0] = 7;
    ARGUMENT("rows", ember_model_forward(decoder, NULL, lengths, 2, out, 4096, &error));
    ARGUMENT("rows[0]", ember_model_forward(decoder, null_rows, lengths, 1, out, 4096, &error));
    ARGUMENT("lengths", ember_model_forward(decoder, rows, NULL, 2, out, 4096, &error));
    ARGUMENT("needed", ember_model_forward(decoder, rows, lengths, 2, out, 3, &error));
    rows[0] = huge, lengths[0] = 1;
    ARGUMENT("4000000000", ember_model_forward(decoder, rows, lengths, 1, out, 4096, &error));
    check(out[0] == 7, "nothing is written on failure", "");

    /* Tokenizers. */
    must(ember_model_tokenizer(encoder, &tokenizer, &error), &error);
    ARGUMENT("text", ember_tokenizer_encode(tokenizer, NULL, EMBER_NUL, true, &encodings, &error));
    ARGUMENT("text", ember_tokenizer_encode(tokenizer, NULL, 3, true, &encodings, &error));
    ARGUMENT("UTF-8", ember_tokenizer_encode(tokenizer, "a\xc3", 2, true, &encodings, &error));
    ARGUMENT("encodings_out", ember_tokenizer_encode(tokenizer, "a", 1, true, NULL, &error));
    ARGUMENT("limit", ember_tokenizer_encode_batch(tokenizer, texts, NULL, 2, true, 0, &encodings, &error));
    ARGUMENT("stride", ember_tokenizer_encode_windows(tokenizer, "a b c", 5, false, 2, 2, &encodings, &error));
    must(ember_tokenizer_encode(tokenizer, "", 0, true, &encodings, &error), &error);
    ARGUMENT("index", ember_encodings_get(encodings, 1, &encoding, sizeof encoding, &error));
    ember_encodings_free(encodings);
    ember_encodings_free(encodings);
    ARGUMENT("freed", ember_encodings_get(encodings, 0, &encoding, sizeof encoding, &error));
    ARGUMENT("ids", ember_tokenizer_decode(tokenizer, huge, 1, true, NULL, 0, &len, &error));
    ARGUMENT("ids", ember_tokenizer_decode(tokenizer, NULL, 1, true, NULL, 0, &len, &error));
    ARGUMENT("len_out", ember_tokenizer_decode(tokenizer, ids, 1, true, NULL, 0, NULL, &error));
    ARGUMENT("needed", ember_tokenizer_token(tokenizer, 0, buffer, 0, &len, &error));
    ARGUMENT("id", ember_tokenizer_token(tokenizer, huge[0], NULL, 0, &len, &error));
    ARGUMENT("token", ember_tokenizer_id(tokenizer, "no such token", EMBER_NUL, ids, &error));
    ARGUMENT("needed", ember_tokenizer_to_bytes(tokenizer, (uint8_t *)buffer, 4, &len, &error));
    ARGUMENT("stream_out", ember_tokenizer_stream(tokenizer, true, NULL, &error));
    check(len == 77, "no length is written on failure", "");
    check(!ember_tokenizer_is_special(tokenizer, huge[0]) && !ember_tokenizer_is_special(NULL, 0), "special", "");
    must(ember_tokenizer_stream(tokenizer, true, &decode, &error), &error);
    ARGUMENT("4000000000", ember_decode_stream_push(decode, huge[0], &text, &error));
    ARGUMENT("text_out", ember_decode_stream_push(decode, 1, NULL, &error));
    ARGUMENT("no ember_tokenizer", ember_tokenizer_count((ember_tokenizer *)decode, "a", 1, true, &len, &error));
    ember_decode_stream_free(decode);
    ember_decode_stream_free(decode);
    ARGUMENT("freed", ember_decode_stream_finish(decode, &text, &error));
    ember_tokenizer_free(tokenizer);
    tokenizer = NULL;
    ARGUMENT("bytes", ember_tokenizer_from_bytes(NULL, 3, &tokenizer, &error));
    ARGUMENT("memory", ember_tokenizer_from_bytes((const uint8_t *)buffer, (size_t)1 << 63, &tokenizer, &error));
    EXPECT(EMBER_ERROR_FORMAT, "bytes", ember_tokenizer_from_bytes((const uint8_t *)"{]", 2, &tokenizer, &error));
    check(tokenizer == NULL, "no tokenizer is made of nonsense", "");
    ARGUMENT("NULL", ember_tokenizer_count(tokenizer, "a", 1, true, &len, &error));

    /* Sessions and streams. */
    EXPECT(EMBER_ERROR_MISSING, "encoder", ember_model_session(encoder, &session, &error));
    EXPECT(EMBER_ERROR_MISSING, "", ember_model_generate(encoder, "a", 1, NULL, &stream, &error));
    must(ember_model_session(decoder, &session, &error), &error);
    ARGUMENT("session", ember_session_generate(session, NULL, &stream, &error)); /* nothing is fed */
    ARGUMENT("ids", ember_session_feed(session, NULL, 3, &error));
    ARGUMENT("4000000000", ember_session_feed(session, huge, 1, &error));
    ARGUMENT("needed", ember_session_forward(session, ids, 3, out, 2, &error));
    must(ember_session_feed(session, ids, 3, &error), &error);
    ARGUMENT("needed", ember_session_logits(session, out, 1, &len, &error));
    ARGUMENT("bytes_out", ember_session_cache_bytes(session, NULL, &error));
    {
        static uint32_t many[100000];
        EXPECT(EMBER_ERROR_TOO_LONG, "window", ember_session_feed(session, many, 100000, &error));
    }
    generate.temperature = -3;
    ARGUMENT("temperature", ember_session_generate(session, &generate, &stream, &error));
    generate.temperature = EMBER_UNSET, generate.top_p = 2;
    ARGUMENT("top_p", ember_session_generate(session, &generate, &stream, &error));
    generate.top_p = EMBER_UNSET, generate.stop_count = 1;
    ARGUMENT("stop", ember_session_generate(session, &generate, &stream, &error));
    generate.stop_count = 0, generate.stop_id_count = 1, generate.stop_ids = huge;
    ARGUMENT("stop_ids", ember_session_generate(session, &generate, &stream, &error));
    generate.stop_id_count = 0, generate.prefill_chunk = 0;
    ARGUMENT("prefill_chunk", ember_session_generate(session, &generate, &stream, &error));
    generate.prefill_chunk = (size_t)EMBER_UNSET, generate.ignore_eos = 1, generate.max_tokens = 8;
    must(ember_session_generate(session, &generate, &stream, &error), &error);
    ARGUMENT("piece_out", ember_stream_next(stream, NULL, &error));
    ARGUMENT("on_text", ember_stream_run(stream, NULL, NULL, &error));
    check(ember_stream_token(stream, &token, sizeof token, &error) == EMBER_DONE, "no token yet", "");
    len = 0;
    {
        int calls = 0;
        must(ember_stream_run(stream, stop_at_once, &calls, &error), &error);
        check(calls == 1 && error.status == EMBER_OK, "a pause", "");
    }
    must(ember_stream_run(stream, reenter, stream, &error), &error);
    must(ember_session_feed(session, ids, 1, &error), &error);
    ARGUMENT("changed", ember_stream_next(stream, &text, &error));
    check(ember_stream_next(stream, &text, &error) == EMBER_DONE, "nothing after an error", "");
    ARGUMENT("size", ember_stream_stats(stream, &stats, 5, &error));
    ember_stream_free(stream);
    ember_stream_free(stream);
    ARGUMENT("freed", ember_stream_next(stream, &text, &error));
    ember_session_cancel(session);
    EXPECT(EMBER_ERROR_CANCELLED, "cancelled", ember_session_feed(session, ids, 3, &error));
    must(ember_session_reset(session, &error), &error);
    must(ember_session_feed(session, ids, 3, &error), &error);

    ARGUMENT("NULL", ember_session_truncate(NULL, 1, &error));
    must(ember_session_truncate(session, 1, &error), &error);
    ARGUMENT("session", ember_session_generate(session, NULL, &stream, &error)); /* no logits */

    chats(words[1], encoder, decoder);
    tasks(words[1], decoder);
    networks(words[1], encoder, decoder);
    batches(words[1], encoder, decoder);
    vectors(words[1]);

    /* Any order of freeing; what was freed is an error ever after. */
    ember_model_free(decoder);
    must(ember_session_feed(session, ids, 3, &error), &error);
    ember_model_free(decoder);
    ARGUMENT("freed", ember_model_session(decoder, &session, &error));
    ember_session_free(session);
    ember_session_free(session);
    ARGUMENT("freed", ember_session_feed(session, ids, 3, &error));
    ember_model_free(encoder);
    ARGUMENT("freed", ember_model_embed(encoder, texts, 2, out, 4096, &error));

    /* The log is set once. */
    ARGUMENT("function", ember_log_set(NULL, NULL, EMBER_LOG_INFO, &error));
    return done();
}
