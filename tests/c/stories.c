/* One story of tests/stories.json through the C interface; stories.py calls it.
 *
 *   stories embed MODEL PROMPT_NAME TEXT ...      a line of hex a text: the bits of its numbers
 *   stories tokenize MODEL TEXT ...               a line of ids a text
 *   stories generate MODEL PROMPT TOKENS TEMPERATURE SEED   a line of ids, a line of log-probabilities
 *   stories chat MODEL SYSTEM TOKENS TEMPERATURE SEED TEXT ...   as generate for each text, then a
 *                                                 line of hex: the bytes of the prompt to go on from
 */
#include "check.h"

static void bits(float value) {
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    printf("%08x", (unsigned)word);
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
    must(ember_model_open(words[2], &cpu, &model, &error), &error);
    if (strcmp(words[1], "embed") == 0) {
        ember_embed_options options = EMBER_EMBED_OPTIONS_INIT;
        size_t texts = (size_t)count - 4, width = ember_model_width(model);
        float *out = malloc(texts * width * sizeof *out);
        options.prompt_name = words[3][0] != '\0' ? words[3] : NULL;
        must(ember_model_embed_with(model, (const char *const *)(words + 4), NULL, texts, &options, out,
                                    texts * width, NULL, NULL, &error),
             &error);
        for (size_t i = 0; i < texts * width; i++) {
            bits(out[i]);
            if ((i + 1) % width == 0) printf("\n");
        }
        free(out);
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
            for (size_t i = 0; i < len; i++) printf("%02x", (unsigned)(unsigned char)prompt[i]);
            printf("\n");
            ember_chat_free(chat);
        }
    }
    ember_model_free(model);
    return 0;
}
