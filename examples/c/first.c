/* The first program of README.md, which quotes this file: an embedding. generate.c continues a text. */
#include <emberform.h>
#include <stdio.h>

int main(void) {
    const char *texts[] = {"a cat sat", "a kitten slept", "bond yields rose"};
    float vectors[3 * 384], alike, other; /* 384 is ember_model_width(model) */
    ember_error error;                    /* on the stack: nothing to free */
    ember_model *model = NULL;
    int failed = ember_model_open("models/minilm", NULL, &model, &error) != EMBER_OK ||
                 ember_model_embed(model, texts, 3, vectors, 3 * 384, &error) != EMBER_OK ||
                 ember_cosine(vectors, vectors + 384, 384, &alike, &error) != EMBER_OK ||
                 ember_cosine(vectors, vectors + 2 * 384, 384, &other, &error) != EMBER_OK;
    if (failed)
        fprintf(stderr, "%s\n", error.message);
    else
        printf("%.2f and %.2f\n", alike, other);
    ember_model_free(model);
    return failed;
}
