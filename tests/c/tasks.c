/* One task through the C interface; tasks.py calls it. A line a result, parts divided by tabs, texts as
 * the hex of their bytes; `-` leaves an option to the model.
 *
 *   tasks fill_mask MODEL TOP_K TEXT TARGET ...
 *   tasks classify MODEL SCORING TEXT
 *   tasks classify_pairs MODEL SCORING TEXT TEXT
 *   tasks zero_shot MODEL TEMPLATE MULTI_LABEL TEXT LABEL ...
 *   tasks token_classify MODEL AGGREGATION STRIDE TEXT [IGNORE ...]
 *   tasks answer MODEL TOP_K NO_ANSWER MAX_ANSWER_TOKENS STRIDE TOKENS MAX_TOKENS QUESTION PASSAGE
 *   tasks rerank MODEL QUERY DOCUMENT ...
 *   tasks sparse MODEL TEXT
 *   tasks embed_tokens MODEL ROLE TEXT
 *   tasks max_sim MODEL QUERIES TEXT ...       so many queries, then documents
 *   tasks follows MODEL TEXT TEXT
 */
#include "check.h"

static ember_error error;

static const char *name(const char *word) { return strcmp(word, "-") == 0 ? NULL : word; }

static size_t number(const char *word) {
    return name(word) == NULL ? (size_t)EMBER_UNSET : strtoul(word, NULL, 10);
}

static void hex(ember_text text) {
    printf("\t");
    for (size_t i = 0; i < text.len; i++) printf("%02x", (unsigned)(unsigned char)text.data[i]);
}

/* Prints and frees. */
static void print_classes(ember_classes *classes) {
    ember_class one;
    for (size_t row = 0; row < ember_classes_count(classes); row++)
        for (size_t i = 0; must(ember_classes_get(classes, row, i, &one, sizeof one, &error), &error) == EMBER_OK; i++) {
            printf("%.9g", one.score);
            hex(one.label);
            printf("\t%zu\n", one.index);
        }
    ember_classes_free(classes);
}

int main(int count, char **words) {
    ember_open_options cpu = EMBER_OPEN_OPTIONS_INIT;
    ember_model *model;
    if (count < 4) return 2;
    const char *call = words[1];
    const char **rest = (const char **)(words + 3);
    size_t left = (size_t)count - 3;
    cpu.device = "cpu";
    must(ember_model_open(words[2], &cpu, &model, &error), &error);
    if (strcmp(call, "fill_mask") == 0) {
        ember_fill_options options = EMBER_FILL_OPTIONS_INIT;
        ember_fills *fills;
        ember_fill one;
        options.top_k = number(rest[0]);
        options.targets = rest + 2;
        options.target_count = left - 2;
        must(ember_model_fill_mask(model, rest[1], EMBER_NUL, &options, &fills, &error), &error);
        for (size_t mask = 0; mask < ember_fills_count(fills); mask++)
            for (size_t i = 0; must(ember_fills_get(fills, mask, i, &one, sizeof one, &error), &error) == EMBER_OK; i++) {
                printf("%.9g\t%zu\t%u", one.score, mask, (unsigned)one.id);
                hex(one.token);
                hex(one.text);
                printf("\n");
            }
        ember_fills_free(fills);
    } else if (strncmp(call, "classify", 8) == 0) {
        ember_classify_options options = EMBER_CLASSIFY_OPTIONS_INIT;
        ember_classes *classes;
        options.scoring = name(rest[0]);
        if (left == 3) {
            ember_pair pair = {rest[1], strlen(rest[1]), rest[2], EMBER_NUL};
            must(ember_model_classify_pairs(model, &pair, 1, &options, &classes, &error), &error);
        } else {
            must(ember_model_classify(model, rest + 1, NULL, 1, &options, &classes, &error), &error);
        }
        print_classes(classes);
    } else if (strcmp(call, "zero_shot") == 0 && left >= 3) {
        ember_zero_shot_options options = EMBER_ZERO_SHOT_OPTIONS_INIT;
        ember_classes *classes;
        options.template_text = name(rest[0]);
        options.multi_label = (int)number(rest[1]);
        must(ember_model_zero_shot(model, rest[2], EMBER_NUL, rest + 3, left - 3, &options, &classes, &error),
             &error);
        print_classes(classes);
    } else if (strcmp(call, "token_classify") == 0 && left >= 3) {
        ember_token_options options = EMBER_TOKEN_OPTIONS_INIT;
        ember_entities *entities;
        ember_entity one;
        options.aggregation = name(rest[0]);
        options.stride = number(rest[1]);
        if (left > 3) options.ignore = rest + 3, options.ignore_count = left - 3;
        must(ember_model_token_classify(model, rest + 2, NULL, 1, &options, &entities, &error), &error);
        for (size_t i = 0; must(ember_entities_get(entities, 0, i, &one, sizeof one, &error), &error) == EMBER_OK; i++) {
            printf("%.9g", one.score);
            hex(one.label);
            hex(one.text);
            printf("\t%zu\t%zu\t%d\n", one.start, one.end, one.token != (size_t)EMBER_UNSET);
        }
        ember_entities_free(entities);
    } else if (strcmp(call, "answer") == 0 && left == 8) {
        ember_answer_options options = EMBER_ANSWER_OPTIONS_INIT;
        ember_run_options run = EMBER_RUN_OPTIONS_INIT;
        ember_answers *answers;
        ember_answer one;
        options.top_k = number(rest[0]);
        options.no_answer = (int)number(rest[1]);
        options.max_answer_tokens = number(rest[2]);
        options.stride = number(rest[3]);
        options.tokens = (int)number(rest[4]);
        run.max_tokens = number(rest[5]);
        options.run = &run;
        must(ember_model_answer(model, rest[6], EMBER_NUL, rest[7], strlen(rest[7]), &options, &answers, &error),
             &error);
        for (size_t i = 0; must(ember_answers_get(answers, i, &one, sizeof one, &error), &error) == EMBER_OK; i++) {
            printf("%.9g", one.score);
            hex(one.text);
            printf("\t%zu\t%zu\n", one.start, one.end);
        }
        ember_answers_free(answers);
    } else if (strcmp(call, "rerank") == 0) {
        ember_ranked *ranked = malloc(left * sizeof *ranked);
        must(ember_model_rerank(model, rest[0], EMBER_NUL, rest + 1, NULL, left - 1, NULL, ranked, left, &error),
             &error);
        for (size_t i = 0; i + 1 < left; i++) printf("%.9g\t%zu\n", ranked[i].score, ranked[i].index);
        free(ranked);
    } else if (strcmp(call, "sparse") == 0) {
        ember_sparse_vectors *vectors;
        ember_sparse one;
        must(ember_model_sparse(model, rest, NULL, 1, NULL, &vectors, &error), &error);
        must(ember_sparse_vectors_get(vectors, 0, &one, sizeof one, &error), &error);
        for (size_t i = 0; i < one.len; i++) printf("%.9g\t%u\n", one.weights[i], (unsigned)one.ids[i]);
        check(ember_sparse_vectors_get(vectors, 1, &one, sizeof one, &error) == EMBER_DONE, "one vector", "");
        ember_sparse_vectors_free(vectors);
    } else if (strcmp(call, "embed_tokens") == 0 && left == 2) {
        ember_token_vectors *vectors;
        ember_token_rows one;
        must(ember_model_embed_tokens(model, rest + 1, NULL, 1, rest[0], NULL, &vectors, &error), &error);
        must(ember_token_vectors_get(vectors, 0, &one, sizeof one, &error), &error);
        for (size_t i = 0; i < one.len * one.width; i++) printf("%.9g\t%zu\n", one.values[i], i / one.width);
        ember_token_vectors_free(vectors);
    } else if (strcmp(call, "max_sim") == 0 && left > 2) {
        ember_token_vectors *queries, *documents;
        size_t asked = number(rest[0]), found = left - 1 - asked;
        float score;
        must(ember_model_embed_tokens(model, rest + 1, NULL, asked, "query", NULL, &queries, &error), &error);
        must(ember_model_embed_tokens(model, rest + 1 + asked, NULL, found, "document", NULL, &documents, &error),
             &error);
        for (size_t i = 0; i < asked * found; i++) {
            must(ember_token_vectors_max_sim(queries, i / found, documents, i % found, &score, &error), &error);
            printf("%.9g\t%zu\n", score, i / found);
        }
        ember_token_vectors_free(queries), ember_token_vectors_free(documents);
    } else if (strcmp(call, "follows") == 0 && left == 2) {
        ember_pair pair = {rest[0], EMBER_NUL, rest[1], EMBER_NUL};
        float score;
        must(ember_model_follows(model, &pair, 1, NULL, &score, 1, &error), &error);
        printf("%.9g\n", score);
    } else {
        return 2;
    }
    ember_model_free(model);
    return failed > 0;
}
