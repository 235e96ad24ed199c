/* What the C tests share: counting checks. */
#ifndef CHECK_H
#define CHECK_H

#include <emberform.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int passed, failed; /* of checks */

/* Counts one check; prints it when it failed. */
static inline void check(int good, const char *what, const char *message) {
    if (good) {
        passed++;
    } else {
        failed++;
        printf("failed: %s%s%s\n", what, *message ? ": " : "", message);
    }
}

/* Ends the program when a call that must work does not. */
static inline ember_status must(ember_status status, const ember_error *error) {
    if (status >= EMBER_ERROR_ARGUMENT) {
        printf("error %d: %s\n0 passed, 1 failed\n", (int)status, error->message);
        exit(1);
    }
    return status;
}

/* Prints the counts; the status of the program. */
static inline int done(void) {
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}

#endif
