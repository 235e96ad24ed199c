/* Continues a text, piece by piece.
 *
 *   generate [MODEL [DEVICE [PROMPT]]]
 */
#include <emberform.h>

#include <stdio.h>
#include <stdlib.h>

static ember_status check(ember_status status, const ember_error *error) {
    if (status >= EMBER_ERROR_ARGUMENT) {
        fprintf(stderr, "emberform: %s\n", error->message);
        exit(1);
    }
    return status;
}

int main(int count, char **words) {
    const char *path = count > 1 ? words[1] : "models/gemma3-270m-q4_k_m.gguf";
    const char *prompt = count > 3 ? words[3] : "Question: Why is the sky blue?\nAnswer:";
    ember_error error;
    ember_open_options open = EMBER_OPEN_OPTIONS_INIT;
    ember_generate_options options = EMBER_GENERATE_OPTIONS_INIT;
    ember_model *model = NULL;
    ember_model_info info;
    ember_stream *stream = NULL;
    ember_text piece;
    ember_stats stats;

    open.device = count > 2 ? words[2] : "auto";
    check(ember_model_open(path, &open, &model, &error), &error);
    check(ember_model_describe(model, &info, sizeof info, &error), &error);
    printf("%.*s\n%s", (int)info.description.len, info.description.data, prompt);

    options.max_tokens = 32;
    options.temperature = 0;
    options.repetition_penalty = 1.2f;
    check(ember_model_generate(model, prompt, EMBER_NUL, &options, &stream, &error), &error);
    ember_model_free(model); /* the stream keeps it alive */
    while (check(ember_stream_next(stream, &piece, &error), &error) != EMBER_DONE) {
        fwrite(piece.data, 1, piece.len, stdout);
        fflush(stdout);
    }
    check(ember_stream_stats(stream, &stats, sizeof stats, &error), &error);
    printf("\n[%s: %zu tokens, %.0f a second; the prompt's %zu at %.0f a second]\n",
           stats.finish_reason, stats.tokens, stats.tokens_per_second, stats.prompt_tokens,
           stats.prefill_per_second);
    ember_stream_free(stream);
    return 0;
}
