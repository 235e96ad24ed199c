/* Talks with a model: each argument is a question, and without one you are asked.
 *
 *   chat [MODEL [DEVICE [QUESTION ...]]]
 */
#include <emberform.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static ember_status check(ember_status status, const ember_error *error) {
    if (status >= EMBER_ERROR_ARGUMENT) {
        fprintf(stderr, "emberform: %s\n", error->message);
        exit(1);
    }
    return status;
}

static void answer(ember_chat *chat, const char *question) {
    ember_error error;
    ember_generate_options options = EMBER_GENERATE_OPTIONS_INIT;
    ember_stream *stream = NULL;
    ember_text piece;
    ember_stats stats;

    options.max_tokens = 256;
    check(ember_chat_say(chat, question, EMBER_NUL, &options, &stream, &error), &error);
    while (check(ember_stream_next(stream, &piece, &error), &error) != EMBER_DONE) {
        fwrite(piece.data, 1, piece.len, stdout);
        fflush(stdout);
    }
    check(ember_stream_stats(stream, &stats, sizeof stats, &error), &error);
    printf("\n[%zu tokens read, %.0f a second generated]\n", stats.prompt_tokens,
           stats.tokens_per_second);
    ember_stream_free(stream);
}

int main(int count, char **words) {
    ember_error error;
    ember_open_options open = EMBER_OPEN_OPTIONS_INIT;
    ember_model *model = NULL;
    ember_chat *chat = NULL;
    char line[4096];

    open.device = count > 2 ? words[2] : "auto";
    check(ember_model_open(count > 1 ? words[1] : "models/qwen25-coder-0.5b-q4_k_m.gguf", &open,
                           &model, &error),
          &error);
    check(ember_model_chat(model, &chat, &error), &error);
    ember_model_free(model); /* the conversation keeps it alive */
    check(ember_chat_system(chat, "You answer in one or two sentences.", EMBER_NUL, &error), &error);
    for (int i = 3; i < count; i++) {
        printf("> %s\n", words[i]);
        answer(chat, words[i]);
    }
    while (count < 4 && printf("> ") && fflush(stdout) == 0 && fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '\0') break;
        answer(chat, line);
    }
    ember_chat_free(chat);
    return 0;
}
