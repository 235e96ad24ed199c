/* Embeds sentences and prints how alike they are.
 *
 *   embed [MODEL [DEVICE]]
 */
#include <emberform.h>

#include <stdio.h>
#include <stdlib.h>

static void check(ember_status status, const ember_error *error) {
    if (status < EMBER_ERROR_ARGUMENT) return;
    fprintf(stderr, "emberform: %s\n", error->message);
    exit(1);
}

int main(int count, char **words) {
    const char *sentences[] = {
        "A cat sleeps on the warm windowsill.",
        "The kitten is napping in the sun.",
        "Stock markets fell sharply on Tuesday.",
        "Bond yields rose after the central bank's decision.",
    };
    ember_error error; /* on the stack: nothing to free */
    ember_open_options options = EMBER_OPEN_OPTIONS_INIT;
    ember_model *model = NULL;
    ember_model_info info;

    options.device = count > 2 ? words[2] : "auto";
    check(ember_model_open(count > 1 ? words[1] : "models/minilm", &options, &model, &error), &error);
    check(ember_model_describe(model, &info, sizeof info, &error), &error);
    printf("%.*s\n", (int)info.description.len, info.description.data);

    float *vectors = malloc(4 * info.width * sizeof *vectors);
    if (vectors == NULL) return 1;
    check(ember_model_embed(model, sentences, 4, vectors, 4 * info.width, &error), &error);
    for (size_t i = 0; i < 4; i++) {
        for (size_t j = 0; j < 4; j++) {
            double dot = 0; /* the cosine: vectors have length 1 */
            for (size_t d = 0; d < info.width; d++)
                dot += (double)vectors[i * info.width + d] * vectors[j * info.width + d];
            printf("%6.2f", dot);
        }
        printf("   %s\n", sentences[i]);
    }
    free(vectors);
    ember_model_free(model);
    return 0;
}
