/* The first program of README.md, which quotes this file: an embedding, then a text continued. */
#include <emberform.h>
#include <stdio.h>

static int failed(const ember_error *error) {
    fprintf(stderr, "emberform: %s\n", error->message);
    return 1;
}

int main(void) {
    const char *texts[] = {"a cat sat", "a kitten slept", "bond yields rose"};
    float vectors[3 * 384], alike, other; /* 384 is ember_model_width(model) */
    ember_error error;                    /* on the stack: nothing to free */
    ember_model *model = NULL;
    if (ember_model_open("models/minilm", NULL, &model, &error) != EMBER_OK ||
        ember_model_embed(model, texts, 3, vectors, 3 * 384, &error) != EMBER_OK ||
        ember_cosine(vectors, vectors + 384, 384, &alike, &error) != EMBER_OK ||
        ember_cosine(vectors, vectors + 2 * 384, 384, &other, &error) != EMBER_OK)
        return failed(&error);
    printf("%.2f and %.2f\n", alike, other);
    ember_model_free(model);

    ember_generate_options options = EMBER_GENERATE_OPTIONS_INIT;
    options.max_tokens = 16;
    ember_stream *stream = NULL;
    ember_text piece;
    ember_status status;
    if (ember_model_open("models/gemma3-270m-q4_k_m.gguf", NULL, &model, &error) != EMBER_OK ||
        ember_model_generate(model, "The sky is", EMBER_NUL, &options, &stream, &error) != EMBER_OK)
        return failed(&error);
    while ((status = ember_stream_next(stream, &piece, &error)) == EMBER_OK)
        fwrite(piece.data, 1, piece.len, stdout);
    printf("\n");
    ember_stream_free(stream);
    ember_model_free(model);
    return status == EMBER_DONE ? 0 : failed(&error);
}
