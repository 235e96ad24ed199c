/* emberform.h - transformers in your program.     Made by bindings-c/header; do not edit.
 *
 * Reading order: status, log, devices, cancel tokens, models, running the network, tokenizers,
 * embedding, tasks, generating, sessions, beam search, chat, word vectors.
 *
 * Conventions (they hold for every function below)
 *   Errors     Functions that can fail return an ember_status and take an `ember_error *error` last,
 *              which may be NULL. On failure no other output is written. The few that return
 *              something else say what they return for a handle that is none.
 *   Handles    What comes out through `ember_X **x_out` is yours: give it to its _free function
 *              once, in any order; what uses another object keeps it alive. _free(NULL) does
 *              nothing. A handle is no address: one that was freed, one of another kind and any
 *              other pointer are EMBER_ERROR_ARGUMENT, and freeing them does nothing.
 *   Threads    `const` handle: callable from any number of threads at once.
 *              Other handles: one thread at a time; a second one is refused with
 *              EMBER_ERROR_ARGUMENT. A handle may be freed while another thread is in a call with
 *              it; that call ends as always. Nothing is thread-local. After fork(), the child
 *              cannot use models that the parent opened.
 *   Text in    UTF-8. Names, paths and choices end with a NUL. Texts to work on have a length in
 *              bytes, or EMBER_NUL for "up to the NUL", and may then hold NULs themselves.
 *   Text out   UTF-8, never half a character. An `ember_text` is borrowed and has no NUL at its
 *              end: see `len`, copy to keep. How long it lives is said where it comes from.
 *   Arrays     row-major, yours; lengths count elements, not bytes. `out` arrays may not overlap
 *              anything else that is passed.
 *   Options    Start from the struct's _INIT and change what you want. Such structs grow at the
 *              end only; a program compiled with an older header goes on working. NULL for
 *              `options` is all defaults.
 *   Results    Structs that are filled in are passed with their sizeof, for the same reason.
 *   Callbacks  get their `void *user` first, and must neither throw nor longjmp.
 *
 * Nothing here prints, exits, reads environment variables or touches the network.
 */
#ifndef EMBERFORM_H
#define EMBERFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The version of this header; ember_version() is that of the library. */
#define EMBER_VERSION "@VERSION@"
#define EMBER_VERSION_MAJOR @MAJOR@
#define EMBER_VERSION_MINOR @MINOR@
#define EMBER_VERSION_PATCH @PATCH@

/* The binary interface of this header; ember_abi() is that of the library. */
#define EMBER_ABI @ABI@

/* A length that says: up to the first NUL. */
#define EMBER_NUL ((size_t)-1)

/* A field of options that is left to the model's files, then to the library. */
#define EMBER_UNSET (-1)

#ifdef __cplusplus
extern "C" {
#endif
