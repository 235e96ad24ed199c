/* One story of tests/stories.json through the C interface; stories.py calls it.
 *
 *   stories embed MODEL PRECISION PROMPT_NAME TEXT ...   a line of hex a text: the bits of its numbers
 *   stories tokenize MODEL TEXT ...               a line of ids a text
 *   stories generate MODEL PROMPT TOKENS TEMPERATURE SEED   a line of ids, a line of log-probabilities
 *   stories chat MODEL SYSTEM TOKENS TEMPERATURE SEED TEXT ...   as generate for each text, then a
 *                                                 line of hex: the bytes of the prompt to go on from
 *   stories task MODEL AGGREGATION TEXT ...       a line an entity: label and text in hex, the bits of
 *                                                 its score; after each text an empty line
 *   stories batch MODEL ROWS TOKENS TEMPERATURE SEED   for each row of ids a line of ids and a line of
 *                                                 bits
 *   stories beams MODEL IDS TOKENS BEAMS SEQUENCES PENALTY EARLY NGRAM   a line a row: ids, then a comma and
 *                                                 the bits of its score
 *   stories forward MODEL ROWS ROWS STATES MAPS   rows of ids divided by `;`, and of the target or none; a
 *                                                 line of bits for the numbers and for each layer
 *   stories late MODEL QUERIES TEXT ...           so many queries, then documents: a line of bits a text, a
 *                                                 line a query of what max_sim gives for each document
 *   stories experts MODEL ROWS                    a line of counts a block
 *   stories words FILE WORD COUNT TEXT ...        as embed, then a line for each of the words nearest
 *                                                 to WORD: the word in hex, the bits of the cosine
 */
#include "check.h"

static void bits(float value) {
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    printf("%08x", (unsigned)word);
}

static void hex(const char *data, size_t len) {
    for (size_t i = 0; i < len; i++) printf("%02x", (unsigned)(unsigned char)data[i]);
}

static void rows(const float *out, size_t count, size_t width) {
    for (size_t i = 0; i < count * width; i++) {
        bits(out[i]);
        if ((i + 1) % width == 0) printf("\n");
    }
}

/* Numbers divided by commas; how many. */
static size_t listed(const char *word, size_t *out) {
    size_t count = 0;
    char *end = NULL;
    for (; *word != '\0' && *word != ';'; word = *end == ',' ? end + 1 : end) out[count++] = strtoul(word, &end, 10);
    return count;
}

enum { ROWS = 8, LONGEST = 32 };

/* Rows of ids. */
struct rows {
    uint32_t ids[ROWS][LONGEST];
    const uint32_t *rows[ROWS];
    size_t lengths[ROWS], count;
};

static void read_rows(const char *word, struct rows *out) {
    size_t numbers[LONGEST];
    out->count = 0;
    while (*word != '\0') {
        size_t row = out->count++, length = listed(word, numbers);
        for (size_t i = 0; i < length; i++) out->ids[row][i] = (uint32_t)numbers[i];
        out->rows[row] = out->ids[row], out->lengths[row] = length;
        word += strcspn(word, ";");
        word += *word == ';';
    }
}

static void line(const float *values, size_t count) {
    for (size_t i = 0; i < count; i++) bits(values[i]);
    printf("\n");
}

static void array(ember_array one) { line(one.data, one.shape[0] * one.shape[1] * one.shape[2] * one.shape[3]); }

/* QUERY COUNT TEXT ... */
static void nearest_of(const ember_model *model, int count, char **words) {
    ember_error error;
    const char *const *texts = (const char *const *)(words + 2);
    size_t text_count = (size_t)count - 2, wanted = strtoul(words[1], NULL, 10), found;
    size_t width = ember_model_width(model);
    float *rows = malloc(text_count * width * sizeof *rows), *query = malloc(width * sizeof *query), cosine;
    ember_neighbor *near = malloc(wanted * sizeof *near);
    must(ember_model_embed(model, texts, text_count, rows, text_count * width, &error), &error);
    must(ember_model_embed(model, (const char *const *)words, 1, query, width, &error), &error);
    must(ember_nearest(query, width, rows, text_count, width, near, wanted, &found, &error), &error);
    for (size_t i = 0; i < found; i++) {
        must(ember_cosine(rows, rows + near[i].index * width, width, &cosine, &error), &error);
        printf("%zu,", near[i].index);
        bits(near[i].cosine);
        bits(cosine);
        printf("\n");
    }
    free(near);
    free(query);
    free(rows);
}

/* ROWS TOKENS TEMPERATURE SEED */
static void batch_of(const ember_model *model, char **words) {
    ember_error error;
    ember_generate_options options = EMBER_GENERATE_OPTIONS_INIT;
    ember_batch *batch;
    ember_text piece;
    ember_token token;
    struct rows prompts;
    uint32_t ids[ROWS][LONGEST];
    float logprobs[ROWS][LONGEST];
    size_t counts[ROWS] = {0}, sequence;
    read_rows(words[0], &prompts);
    options.max_tokens = strtoul(words[1], NULL, 10);
    options.temperature = strtof(words[2], NULL);
    options.seed = strtoull(words[3], NULL, 10);
    must(ember_model_batch(model, &batch, &error), &error);
    for (size_t i = 0; i < prompts.count; i++)
        must(ember_batch_add_ids(batch, prompts.rows[i], prompts.lengths[i], &options, &sequence, &error), &error);
    while (must(ember_batch_next(batch, &sequence, &piece, &error), &error) == EMBER_OK)
        if (must(ember_batch_token(batch, &token, sizeof token, &error), &error) == EMBER_OK && counts[sequence] < LONGEST) {
            ids[sequence][counts[sequence]] = token.id;
            logprobs[sequence][counts[sequence]++] = token.logprob;
        }
    for (size_t i = 0; i < prompts.count; i++) {
        for (size_t t = 0; t < counts[i]; t++) printf("%u ", (unsigned)ids[i][t]);
        printf("\n");
        line(logprobs[i], counts[i]);
    }
    ember_batch_free(batch);
}

/* IDS TOKENS BEAMS SEQUENCES PENALTY EARLY NGRAM */
static void beams_of(const ember_model *model, char **words) {
    ember_error error;
    ember_generate_options options = EMBER_GENERATE_OPTIONS_INIT;
    ember_beam_options how = EMBER_BEAM_OPTIONS_INIT;
    ember_model_info info;
    ember_session *session;
    ember_beams *beams;
    ember_beam one;
    struct rows source;
    float penalty = strtof(words[4], NULL);
    read_rows(words[0], &source);
    options.max_tokens = strtoul(words[1], NULL, 10);
    options.no_repeat_ngram = strtoul(words[6], NULL, 10);
    how.beams = strtoul(words[2], NULL, 10);
    how.sequences = strtoul(words[3], NULL, 10);
    how.length_penalty = &penalty;
    how.early_stopping = words[5];
    must(ember_model_describe(model, &info, sizeof info, &error), &error);
    must(ember_model_session(model, &session, &error), &error);
    must((info.reads_source ? ember_session_read_source : ember_session_feed)(session, source.rows[0], source.lengths[0],
                                                                              &error),
         &error);
    must(ember_session_beams(session, &options, &how, &beams, &error), &error);
    for (size_t i = 0; must(ember_beams_get(beams, i, &one, sizeof one, &error), &error) == EMBER_OK; i++) {
        for (size_t t = 0; t < one.len; t++) printf("%u ", (unsigned)one.ids[t]);
        printf(",");
        line(&one.score, 1);
    }
    ember_beams_free(beams);
    ember_session_free(session);
}

/* ROWS ROWS STATES MAPS */
static void forward_of(const ember_model *model, char **words) {
    ember_error error;
    ember_forward_options options = EMBER_FORWARD_OPTIONS_INIT;
    ember_output *output;
    ember_array one;
    struct rows ids, targets;
    size_t states[LONGEST], maps[LONGEST];
    read_rows(words[0], &ids);
    read_rows(words[1], &targets);
    if (targets.count > 0)
        options.decoder_ids = targets.rows, options.decoder_lengths = targets.lengths, options.decoder_count = targets.count;
    options.hidden_states = states, options.hidden_state_count = listed(words[2], states);
    options.attentions = maps, options.attention_count = listed(words[3], maps);
    must(ember_model_forward_output(model, ids.rows, ids.lengths, ids.count, &options, &output, &error), &error);
    must(ember_output_values(output, &one, sizeof one, &error), &error);
    array(one);
    for (size_t i = 0; i < options.hidden_state_count; i++) {
        must(ember_output_hidden_states(output, states[i], &one, sizeof one, &error), &error);
        array(one);
    }
    for (size_t i = 0; i < options.attention_count; i++) {
        must(ember_output_attentions(output, maps[i], &one, sizeof one, &error), &error);
        array(one);
    }
    ember_output_free(output);
}

static void vectors_of(const ember_token_vectors *vectors) {
    ember_error error;
    ember_token_rows one;
    for (size_t i = 0; must(ember_token_vectors_get(vectors, i, &one, sizeof one, &error), &error) == EMBER_OK; i++)
        line(one.values, one.len * one.width);
}

/* QUERIES TEXT ... */
static void late_of(const ember_model *model, int count, char **words) {
    ember_error error;
    ember_token_vectors *queries, *documents;
    const char *const *texts = (const char *const *)(words + 1);
    size_t asked = strtoul(words[0], NULL, 10), found = (size_t)count - 1 - asked;
    float score;
    must(ember_model_embed_tokens(model, texts, NULL, asked, "query", NULL, &queries, &error), &error);
    must(ember_model_embed_tokens(model, texts + asked, NULL, found, "document", NULL, &documents, &error), &error);
    vectors_of(queries);
    vectors_of(documents);
    for (size_t i = 0; i < asked * found; i++) {
        must(ember_token_vectors_max_sim(queries, i / found, documents, i % found, &score, &error), &error);
        bits(score);
        if ((i + 1) % found == 0) printf("\n");
    }
    ember_token_vectors_free(queries);
    ember_token_vectors_free(documents);
}

static void experts_of(const ember_model *model, const char *word) {
    ember_error error;
    ember_expert_load *load;
    struct rows ids;
    const size_t *counts;
    size_t len;
    read_rows(word, &ids);
    must(ember_model_expert_load(model, ids.rows, ids.lengths, ids.count, NULL, &load, &error), &error);
    for (size_t i = 0; must(ember_expert_load_get(load, i, &counts, &len, &error), &error) == EMBER_OK; i++) {
        for (size_t e = 0; e < len; e++) printf("%zu ", counts[e]);
        printf("\n");
    }
    ember_expert_load_free(load);
}

/* A story of word vectors: WORD COUNT TEXT ... */
static void words_of(const char *path, int count, char **words) {
    ember_error error;
    ember_words *vectors;
    ember_neighbor near[64];
    size_t texts = (size_t)count - 2, found, len, width;
    char word[256];
    must(ember_words_open(path, &vectors, &error), &error);
    width = ember_words_width(vectors);
    float *out = malloc(texts * width * sizeof *out);
    must(ember_words_embed(vectors, (const char *const *)(words + 2), texts, out, texts * width, &error), &error);
    rows(out, texts, width);
    free(out);
    must(ember_words_nearest(vectors, words[0], EMBER_NUL, near, strtoul(words[1], NULL, 10), &found, &error),
         &error);
    for (size_t i = 0; i < found; i++) {
        must(ember_words_word(vectors, near[i].index, word, sizeof word, &len, &error), &error);
        hex(word, len);
        printf(",");
        bits(near[i].cosine);
        printf("\n");
    }
    ember_words_free(vectors);
}

/* All tokens of a stream; frees it. */
static void print(ember_stream *stream) {
    ember_error error;
    ember_text piece;
    ember_token token;
    float logprobs[1024];
    size_t tokens = 0;
    while (must(ember_stream_next(stream, &piece, &error), &error) != EMBER_DONE)
        if (must(ember_stream_token(stream, &token, sizeof token, &error), &error) == EMBER_OK &&
            tokens < 1024) {
            printf("%u ", (unsigned)token.id);
            logprobs[tokens++] = token.logprob;
        }
    printf("\n");
    for (size_t i = 0; i < tokens; i++) bits(logprobs[i]);
    printf("\n");
    ember_stream_free(stream);
}

int main(int count, char **words) {
    ember_error error;
    ember_open_options cpu = EMBER_OPEN_OPTIONS_INIT;
    ember_model *model;
    if (count < 4) return 2;
    cpu.device = "cpu";
    if (strcmp(words[1], "words") == 0 && count >= 5) {
        words_of(words[2], count - 3, words + 3);
        return 0;
    }
    if (strcmp(words[1], "embed") == 0 && words[3][0] != '\0') cpu.precision = words[3];
    must(ember_model_open(words[2], &cpu, &model, &error), &error);
    if (strcmp(words[1], "embed") == 0 && count >= 5) {
        ember_embed_options options = EMBER_EMBED_OPTIONS_INIT;
        size_t texts = (size_t)count - 5, width = ember_model_width(model);
        float *out = malloc(texts * width * sizeof *out);
        options.prompt_name = words[4][0] != '\0' ? words[4] : NULL;
        must(ember_model_embed_with(model, (const char *const *)(words + 5), NULL, texts, &options, out,
                                    texts * width, NULL, NULL, &error),
             &error);
        rows(out, texts, width);
        free(out);
    } else if (strcmp(words[1], "nearest") == 0 && count >= 5) {
        nearest_of(model, count - 3, words + 3);
    } else if (strcmp(words[1], "task") == 0) {
        ember_token_options options = EMBER_TOKEN_OPTIONS_INIT;
        ember_entities *entities;
        ember_entity one;
        options.aggregation = words[3];
        must(ember_model_token_classify(model, (const char *const *)(words + 4), NULL, (size_t)count - 4,
                                        &options, &entities, &error),
             &error);
        for (size_t row = 0; row < ember_entities_count(entities); row++) {
            for (size_t i = 0; must(ember_entities_get(entities, row, i, &one, sizeof one, &error), &error) == EMBER_OK; i++) {
                hex(one.label.data, one.label.len);
                printf(",");
                hex(one.text.data, one.text.len);
                printf(",");
                bits(one.score);
                printf("\n");
            }
            printf("\n");
        }
        ember_entities_free(entities);
    } else if (strcmp(words[1], "batch") == 0 && count == 7) {
        batch_of(model, words + 3);
    } else if (strcmp(words[1], "beams") == 0 && count == 10) {
        beams_of(model, words + 3);
    } else if (strcmp(words[1], "forward") == 0 && count == 7) {
        forward_of(model, words + 3);
    } else if (strcmp(words[1], "late") == 0) {
        late_of(model, count - 3, words + 3);
    } else if (strcmp(words[1], "experts") == 0) {
        experts_of(model, words[3]);
    } else if (strcmp(words[1], "tokenize") == 0) {
        ember_tokenizer *tokenizer;
        must(ember_model_tokenizer(model, &tokenizer, &error), &error);
        for (int i = 3; i < count; i++) {
            ember_encodings *encodings;
            ember_encoding encoding;
            must(ember_tokenizer_encode(tokenizer, words[i], EMBER_NUL, true, &encodings, &error), &error);
            must(ember_encodings_get(encodings, 0, &encoding, sizeof encoding, &error), &error);
            for (size_t t = 0; t < encoding.len; t++) printf("%u ", (unsigned)encoding.ids[t]);
            printf("\n");
            ember_encodings_free(encodings);
        }
        ember_tokenizer_free(tokenizer);
    } else if (count >= 7) {
        ember_generate_options options = EMBER_GENERATE_OPTIONS_INIT;
        ember_stream *stream;
        ember_chat *chat;
        char prompt[4096];
        size_t len;
        options.max_tokens = strtoul(words[4], NULL, 10);
        options.temperature = strtof(words[5], NULL);
        options.seed = strtoull(words[6], NULL, 10);
        if (strcmp(words[1], "generate") == 0) {
            must(ember_model_generate(model, words[3], EMBER_NUL, &options, &stream, &error), &error);
            print(stream);
        } else {
            must(ember_model_chat(model, &chat, &error), &error);
            must(ember_chat_system(chat, words[3], EMBER_NUL, &error), &error);
            for (int i = 7; i < count; i++) {
                must(ember_chat_say(chat, words[i], EMBER_NUL, &options, &stream, &error), &error);
                print(stream);
            }
            must(ember_chat_prompt(chat, prompt, sizeof prompt, &len, &error), &error);
            hex(prompt, len);
            printf("\n");
            ember_chat_free(chat);
        }
    }
    ember_model_free(model);
    return 0;
}
