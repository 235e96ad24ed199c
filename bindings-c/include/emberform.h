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
#define EMBER_VERSION "0.1.0"
#define EMBER_VERSION_MAJOR 0
#define EMBER_VERSION_MINOR 1
#define EMBER_VERSION_PATCH 0

/* The binary interface of this header; ember_abi() is that of the library. */
#define EMBER_ABI 1

/* A length that says: up to the first NUL. */
#define EMBER_NUL ((size_t)-1)

/* A field of options that is left to the model's files, then to the library. */
#define EMBER_UNSET (-1)

#ifdef __cplusplus
extern "C" {
#endif

/* ---- STATUS, ERRORS, TEXT, VERSION -----------------------------------------------------------
 * What every other section speaks of.
 */
// What a call came to. Below 100 is success, 100 and above is an error. Numbers are never reused;
// those from 100 to 189 are the codes of the other languages too.
typedef enum ember_status {
  // It worked.
  EMBER_OK = 0,
  // Not an error: there is nothing more, the stream has ended.
  EMBER_DONE = 1,
  // An argument is NULL, too short, out of range, no UTF-8, a handle that is freed or of another
  // kind, or a handle that another thread is using.
  EMBER_ERROR_ARGUMENT = 100,
  // A file could not be opened or read.
  EMBER_ERROR_IO = 101,
  // The bytes of a file are not what its format says.
  EMBER_ERROR_FORMAT = 102,
  // A key of the model's configuration is missing or makes no sense.
  EMBER_ERROR_CONFIG = 103,
  // Something that this library does not know, such as a model's family.
  EMBER_ERROR_UNSUPPORTED = 104,
  // Names or shapes of the weights do not fit the configuration.
  EMBER_ERROR_WEIGHTS = 105,
  // The device is absent, lost or out of memory.
  EMBER_ERROR_DEVICE = 106,
  // More tokens than the model's window holds.
  EMBER_ERROR_TOO_LONG = 107,
  // The caller asked to stop.
  EMBER_ERROR_CANCELLED = 108,
  // The model lacks a part that this call needs, such as a tokenizer.
  EMBER_ERROR_MISSING = 109,
  // The model gave a number that is not finite.
  EMBER_ERROR_NOT_FINITE = 110,
  // There is not enough memory for what this call was asked for.
  EMBER_ERROR_MEMORY = 111,
  // A bug in this library: please report the message.
  EMBER_ERROR_PANIC = 199,
} ember_status;

// What went wrong, in the caller's memory: nothing to free. A call that gets one always fills it,
// with EMBER_OK or EMBER_DONE and an empty message where nothing went wrong.
typedef struct ember_error {
  // What the call returned.
  enum ember_status status;
  // One sentence in UTF-8, ended by a NUL: what, where, and what would have been right. A longer
  // one is cut.
  char message[508];
} ember_error;

// Borrowed text: UTF-8, `len` bytes, NOT ended by a NUL. How long it lives is said where it is
// handed out. An empty text has length 0 and a pointer that is not NULL.
typedef struct ember_text {
  // The first byte.
  const char *data;
  // Bytes.
  size_t len;
} ember_text;

// The version of the library that is running, such as `0.1.0`, ended by a NUL; compare it with
// EMBER_VERSION, that of this header.
const char *ember_version(void);

// The number of the binary interface of the library that is running. A program that was compiled
// with the same EMBER_ABI can use it.
uint32_t ember_abi(void);

/* ---- LOG -------------------------------------------------------------------------------------
 * The library is silent until it is given a function.
 */
// How grave a message is.
typedef enum ember_log_level {
  // Something failed.
  EMBER_LOG_ERROR = 1,
  // Something that the caller should know.
  EMBER_LOG_WARN = 2,
  // What the library does, such as which device it chose and why.
  EMBER_LOG_INFO = 3,
  // For its developers.
  EMBER_LOG_DEBUG = 4,
} ember_log_level;

// Takes a message, which lives until the function returns. It is called on any thread, also on
// several at once; it must not throw, and must not call this library.
typedef void (*ember_log_function)(void *user, enum ember_log_level level, ember_text message);

// Sets the function that gets messages up to `level` (an ember_log_level), once in the life of the
// process. `user` is handed on to it.
//
// Errors: EMBER_ERROR_ARGUMENT when it was set before, for NULL and for an unknown level.
ember_status ember_log_set(ember_log_function function,
                           void *user,
                           uint32_t level,
                           ember_error *error);

/* ---- DEVICES ---------------------------------------------------------------------------------
 * Where a model computes is chosen by a word: `auto` (a real GPU where there is one, else the
 * CPU), `cpu`, `gpu`, `gpu:1`, or `gpu:<part of its name>`.
 */
// The devices of this machine.
typedef struct ember_devices ember_devices;

// A device.
typedef struct ember_device_info {
  // How it is asked for: `cpu` or `gpu:<number>`.
  ember_text id;
  // The name its driver gives; `cpu` for the CPU.
  ember_text name;
  // `cpu`, `discrete`, `integrated`, `virtual`, `software` or `unknown`.
  ember_text kind;
  // The interface it is driven by, such as `Vulkan`; `native` for the CPU.
  ember_text api;
  // The driver's name and version, as far as it gives them.
  ember_text driver;
  // Why `auto` takes it or passes it over.
  ember_text why;
  // Bytes of memory; 0 where the driver does not tell.
  uint64_t memory;
  // Whether `auto` takes it.
  bool is_auto;
} ember_device_info;

// Lists the devices of this machine: the GPUs in the order of their numbers, then the CPU.
ember_status ember_devices_list(struct ember_devices **devices_out, ember_error *error);

// How many there are; 0 for a handle that is none.
size_t ember_devices_count(const struct ember_devices *devices);

// Device number `index`; its texts live as long as `devices`. `info_size` is
// `sizeof(ember_device_info)`.
//
// Errors: EMBER_ERROR_ARGUMENT when there is no such device.
ember_status ember_devices_get(const struct ember_devices *devices,
                               size_t index,
                               struct ember_device_info *info_out,
                               size_t info_size,
                               ember_error *error);

// Frees the list.
void ember_devices_free(struct ember_devices *devices);

/* ---- CANCEL TOKENS ---------------------------------------------------------------------------
 * A token stops a long embedding or forward pass from another thread. Streams, sessions and batches
 * need none: they have a cancel function of their own.
 */
// Stops work that was given this token.
typedef struct ember_cancel_token ember_cancel_token;

// Makes a token that nothing has been asked of.
ember_status ember_cancel_token_new(struct ember_cancel_token **token_out, ember_error *error);

// Asks the work to stop; it ends with EMBER_ERROR_CANCELLED. A token stays cancelled. Any thread.
void ember_cancel_token_cancel(const struct ember_cancel_token *token);

// Frees the token; work that has it goes on.
void ember_cancel_token_free(struct ember_cancel_token *token);

/* ---- MODELS ----------------------------------------------------------------------------------
 * A model is opened once and shared by all threads.
 */
// An open model: weights on a device, tokenizer, settings.
typedef struct ember_model ember_model;

// A comparison of a model's device with the CPU.
typedef struct ember_verification ember_verification;

// What is chosen when a model is opened.
typedef struct ember_open_options {
  // `sizeof(ember_open_options)`; EMBER_OPEN_OPTIONS_INIT sets it.
  size_t struct_size;
  // `auto`, `cpu`, `gpu`, `gpu:1`, `gpu:<part of a name>`; NULL is `auto`.
  const char *device;
  // How exactly: `stored` computes with the weights as the file has them; `f32` also keeps
  // activations in floats, slower on the CPU; `int8` rounds matrices of 16 and 32 bits to 8, 32
  // to a scale, for less memory and more speed; `bf16` has matrix products of many rows (prefill,
  // embedding) use bfloat16 operands and f32 sums where the processor multiplies bfloat16 (AMX,
  // AVX-512 BF16) and the matrix has 16 or 32 bits: up to three times the speed; `f16` rounds
  // matrices of 32 bits and bfloat16 to F16, and on a GPU with cooperative matrices products of
  // more than 8 rows use f16 operands and f32 sums. NULL is `stored`.
  const char *precision;
  // Threads that compute on the CPU, the caller's among them. EMBER_UNSET: one a processor,
  // shared by all models that do not ask for their own.
  size_t threads;
} ember_open_options;

/* Everything unset. */
#define EMBER_OPEN_OPTIONS_INIT \
    { sizeof(ember_open_options), NULL, NULL, (size_t)EMBER_UNSET }

// What a model is.
typedef struct ember_model_info {
  // One line: family, name, layers, width, parameters, format, device.
  ember_text description;
  // The family: `model_type` of Hugging Face configurations.
  ember_text family;
  // The folder or file that was opened.
  ember_text path;
  // Numbers of an embedding (D).
  size_t width;
  // Numbers a token that ember_model_forward gives: the vocabulary (V) of a decoder, the width
  // of an encoder's hidden states, also of one beside a decoder.
  size_t output_width;
  // Token ids are below this (V).
  size_t vocab;
  // Most tokens of a sequence.
  size_t window;
  // Blocks (L).
  size_t layers;
  // Parameters in all.
  size_t parameters;
  // Most tokens of a text that embedding keeps unless told otherwise.
  size_t max_tokens;
  // Tensors of the files: see ember_model_tensor.
  size_t tensors;
  // Prompts by name that the files have for embedding: see ember_model_prompt.
  size_t prompts;
  // Whether there is a tokenizer; without one a model takes token ids only.
  bool has_tokenizer;
  // Whether it makes text: a decoder, also of an encoder-decoder. An encoder only embeds.
  bool generates;
  // Numbers of a hidden state (D).
  size_t hidden_width;
  // Heads of queries (H).
  size_t heads;
  // Whether it reads a source: an encoder-decoder.
  bool reads_source;
  // Heads that answer tasks: see ember_model_task.
  size_t tasks;
} ember_model_info;

// The memory that a model takes, and its sessions would.
typedef struct ember_memory {
  // All of it in a line.
  ember_text description;
  // Bytes of the weights, as they are stored.
  size_t weights;
  // Most tokens that a session can hold.
  size_t window;
  // Whether the weights are pages of the files, which other processes share and which are read
  // when they are used: so it is on the CPU.
  bool mapped;
} ember_memory;

// A head that answers a task.
typedef struct ember_task_info {
  // What it answers: `words` behind masks (ember_model_fill_mask, _sparse), `classes` of texts
  // (_classify, _zero_shot, _rerank), classes of `tokens` (_token_classify), `bounds` of answers
  // (_answer), the `order` of two texts (_follows).
  ember_text kind;
  // What it is made of, in a line.
  ember_text description;
  // Numbers that come out: classes, or the size of the vocabulary.
  size_t outputs;
} ember_task_info;

// A tensor of the model's files.
typedef struct ember_tensor_info {
  // Its name in this library.
  ember_text name;
  // How its numbers are stored, such as `F32` or `Q4_K`.
  ember_text format;
  // Its sizes, output size first.
  const size_t *shape;
  // How many sizes.
  size_t rank;
  // Bytes that it takes.
  size_t bytes;
} ember_tensor_info;

// The difference after one step of the network.
typedef struct ember_step {
  // `embed`, `blocks.0`, ..., `norm`, `logits`.
  ember_text name;
  // The largest absolute difference from the CPU.
  float difference;
  // The largest absolute number on the CPU, to judge it by.
  float scale;
} ember_step;

// Opens a model: a Hugging Face folder or a GGUF file, `path` ended by a NUL. `options` may be
// NULL. Files are mapped, not read: leave them as they are while the model is open.
//
// Errors: EMBER_ERROR_IO when a file cannot be read; EMBER_ERROR_FORMAT, _CONFIG, _UNSUPPORTED
// and _WEIGHTS when it is not what it should be; EMBER_ERROR_DEVICE when the device is not there;
// EMBER_ERROR_ARGUMENT for an option out of range.
ember_status ember_model_open(const char *path,
                              const struct ember_open_options *options,
                              struct ember_model **model_out,
                              ember_error *error);

// Frees the handle. The model itself goes when no session, stream or tokenizer uses it.
void ember_model_free(struct ember_model *model);

// Numbers of an embedding (D); 0 for a handle that is none.
size_t ember_model_width(const struct ember_model *model);

// Says what the model is; the texts live as long as `model`. `info_size` is
// `sizeof(ember_model_info)`.
ember_status ember_model_describe(const struct ember_model *model,
                                  struct ember_model_info *info_out,
                                  size_t info_size,
                                  ember_error *error);

// The device that the model computes on; the texts live as long as `model`.
ember_status ember_model_device(const struct ember_model *model,
                                ember_device_info *info_out,
                                size_t info_size,
                                ember_error *error);

// What the network is made of, on one page, and under it who computes each block on the model's
// device, with a reason where it is tensor operations. The text lives as long as `model`.
ember_status ember_model_spec(const struct ember_model *model,
                              ember_text *text_out,
                              ember_error *error);

// What the weights take of memory and what sessions will. The text lives as long as `model`.
// `memory_size` is `sizeof(ember_memory)`.
ember_status ember_model_memory(const struct ember_model *model,
                                struct ember_memory *memory_out,
                                size_t memory_size,
                                ember_error *error);

// Bytes that the keys and values of a session with so many tokens take; 0 for an encoder, and for a
// handle that is none.
size_t ember_model_cache_bytes(const struct ember_model *model, size_t tokens);

// Head number `index` that answers a task, below `ember_model_info.tasks`; its texts live as long as
// `model`. `task_size` is `sizeof(ember_task_info)`.
ember_status ember_model_task(const struct ember_model *model,
                              size_t index,
                              struct ember_task_info *task_out,
                              size_t task_size,
                              ember_error *error);

// Tensor number `index` of the files, below `ember_model_info.tensors`; what it points to lives
// as long as `model`.
ember_status ember_model_tensor(const struct ember_model *model,
                                size_t index,
                                struct ember_tensor_info *tensor_out,
                                size_t tensor_size,
                                ember_error *error);

// Prompt number `index` that the files have for embedding, below `ember_model_info.prompts`: its
// name and its text, which live as long as `model`.
ember_status ember_model_prompt(const struct ember_model *model,
                                size_t index,
                                ember_text *name_out,
                                ember_text *prompt_out,
                                ember_error *error);

// Does once, on a few tokens, what calls do, so that the first call is as fast as those after it: a
// GPU's driver compiles each kernel when it is first used, which can take seconds. Warm afterwards are
// prompts and steps of a decoder, and of an encoder embedding and forward passes but for single kernels
// that depend on the number of tokens; tasks, beams and options of a forward pass may compile more. It
// lasts as long as the process. On the CPU there is little to gain.
//
// Errors: EMBER_ERROR_DEVICE; EMBER_ERROR_NOT_FINITE.
ember_status ember_model_warmup(const struct ember_model *model,
                                ember_error *error);

// Writes the model as a Hugging Face folder, `folder` ended by a NUL and made where it is missing: the
// weights in `model.safetensors` under the checkpoint's own names, and copies of the other files. Each
// file is written whole under another name and renamed.
//
// Errors: EMBER_ERROR_MISSING for a model from a GGUF file; EMBER_ERROR_ARGUMENT for the model's own
// folder or one in it; EMBER_ERROR_UNSUPPORTED for weights that were rounded to 8 bits on opening;
// EMBER_ERROR_IO when a file cannot be written; EMBER_ERROR_DEVICE.
ember_status ember_model_save(const struct ember_model *model,
                              const char *folder,
                              ember_error *error);

// Compares the model on its device with the same files on the CPU, on a few tokens.
//
// Errors: as ember_model_open on the CPU; EMBER_ERROR_DEVICE. A device that computes something
// else is no error: ask ember_verification_passed.
ember_status ember_model_verify(const struct ember_model *model,
                                struct ember_verification **verification_out,
                                ember_error *error);

// Whether every step is within the tolerance of 32-bit arithmetic; false for a handle that is
// none.
bool ember_verification_passed(const struct ember_verification *verification);

// The outcome in a sentence, which lives as long as `verification`.
ember_status ember_verification_text(const struct ember_verification *verification,
                                     ember_text *text_out,
                                     ember_error *error);

// Step number `index`, in the order of the network; its name lives as long as `verification`.
// EMBER_DONE after the last. `step_size` is `sizeof(ember_step)`.
ember_status ember_verification_step(const struct ember_verification *verification,
                                     size_t index,
                                     struct ember_step *step_out,
                                     size_t step_size,
                                     ember_error *error);

// Frees the comparison.
void ember_verification_free(struct ember_verification *verification);

/* ---- RUNNING THE NETWORK ---------------------------------------------------------------------
 * Token ids in, numbers out: logits, hidden states, attention maps, the load of experts.
 */
// How often each expert of each block was chosen.
typedef struct ember_expert_load ember_expert_load;

// What a forward pass gave.
typedef struct ember_output ember_output;

// What is chosen about a forward pass.
typedef struct ember_forward_options {
  // `sizeof(ember_forward_options)`; EMBER_FORWARD_OPTIONS_INIT sets it.
  size_t struct_size;
  // Stops the work from another thread; NULL for none.
  const ember_cancel_token *cancel;
  // Of an encoder-decoder: a row of the target's ids for each row, which is then the source's; the
  // decoder's logits come out. NULL and 0 of them: none, the encoder's hidden states do.
  const uint32_t *const *decoder_ids;
  // The length of each row of these.
  const size_t *decoder_lengths;
  // How many, as many as there are rows.
  size_t decoder_count;
  // Hidden states to keep: 0 are those of the embeddings, i those after i blocks; the last ones are
  // taken after the last norm. For ember_model_forward_output, and not with `decoder_ids`.
  const size_t *hidden_states;
  // How many.
  size_t hidden_state_count;
  // Layers whose attention weights to keep, from 0. On the CPU they are computed by a slower way that
  // has these weights. For ember_model_forward_output, and not with `decoder_ids`.
  const size_t *attentions;
  // How many.
  size_t attention_count;
} ember_forward_options;

/* Everything unset. */
#define EMBER_FORWARD_OPTIONS_INIT \
    { sizeof(ember_forward_options), NULL, NULL, NULL, 0, NULL, 0, NULL, 0 }

// Numbers that somebody else owns, row-major.
typedef struct ember_array {
  // The first number.
  const float *data;
  // How many sizes there are, at most 4.
  size_t rank;
  // The sizes; those beyond `rank` are 1.
  size_t shape[4];
} ember_array;

// Runs the network on rows of token ids: logits of a decoder, hidden states of an encoder.
//
// Row i is `rows[i]`, `lengths[i]` ids long; rows may differ in length. With T the longest length,
// writes [count, T, W] floats to `out`, W = `ember_model_info.output_width`; those beyond a row's
// length are zeros. `out_len` counts floats.
//
// Errors: EMBER_ERROR_ARGUMENT for an id that is not below the vocabulary or too short an `out`;
// EMBER_ERROR_TOO_LONG for a row longer than the window; EMBER_ERROR_MEMORY; EMBER_ERROR_DEVICE.
ember_status ember_model_forward(const ember_model *model,
                                 const uint32_t *const *rows,
                                 const size_t *lengths,
                                 size_t count,
                                 float *out,
                                 size_t out_len,
                                 ember_error *error);

// ember_model_forward as `options` say, which may be NULL. With `decoder_ids`, T is the longest of these
// and W the vocabulary.
//
// Errors: as ember_model_forward; EMBER_ERROR_ARGUMENT for decoder ids that go to no encoder-decoder, and
// for hidden states and attentions; EMBER_ERROR_CANCELLED.
ember_status ember_model_forward_with(const ember_model *model,
                                      const uint32_t *const *rows,
                                      const size_t *lengths,
                                      size_t count,
                                      const struct ember_forward_options *options,
                                      float *out,
                                      size_t out_len,
                                      ember_error *error);

// ember_model_forward_with to an object, which also holds the hidden states and attention weights that
// `options` ask for.
//
// Errors: as ember_model_forward_with; EMBER_ERROR_ARGUMENT for a layer that is not there.
ember_status ember_model_forward_output(const ember_model *model,
                                        const uint32_t *const *rows,
                                        const size_t *lengths,
                                        size_t count,
                                        const struct ember_forward_options *options,
                                        struct ember_output **output_out,
                                        ember_error *error);

// The numbers that ember_model_forward gives, [count, T, W]; they live as long as `output`.
// `array_size` is `sizeof(ember_array)`.
ember_status ember_output_values(const struct ember_output *output,
                                 struct ember_array *array_out,
                                 size_t array_size,
                                 ember_error *error);

// Hidden states after `layer` blocks, [count, T, D], D = `ember_model_info.hidden_width`; those beyond a
// row's length are zeros. They live as long as `output`. `array_size` is `sizeof(ember_array)`.
//
// Errors: EMBER_ERROR_ARGUMENT for a layer that was not asked for.
ember_status ember_output_hidden_states(const struct ember_output *output,
                                        size_t layer,
                                        struct ember_array *array_out,
                                        size_t array_size,
                                        ember_error *error);

// Attention weights of a layer, [count, H, T, T]: rows, query heads, the token that looks, the token that
// is looked at. Those of a token sum to 1; what it does not see weighs 0, and so does what is beyond a
// row's length. They live as long as `output`. `array_size` is `sizeof(ember_array)`.
//
// Errors: EMBER_ERROR_ARGUMENT for a layer that was not asked for.
ember_status ember_output_attentions(const struct ember_output *output,
                                     size_t layer,
                                     struct ember_array *array_out,
                                     size_t array_size,
                                     ember_error *error);

// Frees the output.
void ember_output_free(struct ember_output *output);

// Counts how often each expert of each block is chosen for the tokens of rows, which are given as for
// ember_model_forward: whether a router keeps its experts evenly busy, and which of them a kind of text
// needs. `cancel` stops the work from another thread; NULL for none.
//
// Errors: EMBER_ERROR_ARGUMENT for an id that is not below the vocabulary; EMBER_ERROR_TOO_LONG for a row
// longer than the window; EMBER_ERROR_CANCELLED; EMBER_ERROR_DEVICE.
ember_status ember_model_expert_load(const ember_model *model,
                                     const uint32_t *const *rows,
                                     const size_t *lengths,
                                     size_t count,
                                     const ember_cancel_token *cancel,
                                     struct ember_expert_load **load_out,
                                     ember_error *error);

// The counts of block number `layer`, one for each expert, none for a block without experts; EMBER_DONE
// after the last block. Those of a block sum to all tokens times the experts that a token goes through.
// They live as long as `load`.
ember_status ember_expert_load_get(const struct ember_expert_load *load,
                                   size_t layer,
                                   const size_t **counts_out,
                                   size_t *len_out,
                                   ember_error *error);

// Frees the counts.
void ember_expert_load_free(struct ember_expert_load *load);

/* ---- TOKENIZERS ------------------------------------------------------------------------------
 * Text to token ids and back. Offsets count bytes of the text.
 */
// Text out of tokens that come one by one.
typedef struct ember_decode_stream ember_decode_stream;

// The tokens of one text or of several.
typedef struct ember_encodings ember_encodings;

// A tokenizer.
typedef struct ember_tokenizer ember_tokenizer;

// Where a token comes from: bytes `start` up to, not including, `end`.
typedef struct ember_span {
  // The first byte.
  size_t start;
  // The byte after the last.
  size_t end;
} ember_span;

// The tokens of one text. Each array has `len` entries.
typedef struct ember_encoding {
  // Token ids.
  const uint32_t *ids;
  // Which text of a pair a token is of: 0 or 1.
  const uint32_t *type_ids;
  // Where in its text a token comes from; 0 to 0 for tokens that no text stands behind.
  const struct ember_span *offsets;
  // Whether a token was put there by the tokenizer rather than by the text.
  const bool *special;
  // Tokens.
  size_t len;
  // Tokens of the text that were left out to keep to a limit.
  size_t cut;
} ember_encoding;

// Opens a `tokenizer.json`, the one of a folder, or that of a GGUF file; `path` ended by a NUL.
//
// Errors: EMBER_ERROR_IO, EMBER_ERROR_FORMAT, EMBER_ERROR_UNSUPPORTED.
ember_status ember_tokenizer_open(const char *path,
                                  struct ember_tokenizer **tokenizer_out,
                                  ember_error *error);

// The tokenizer by value, to be kept or sent to another process: the text of its `tokenizer.json`,
// or a GGUF file without tensors. Writes its length in bytes to `len_out`, and the bytes to `out`
// unless that is NULL.
//
// Errors: EMBER_ERROR_ARGUMENT when `out` is too short.
ember_status ember_tokenizer_to_bytes(const struct ember_tokenizer *tokenizer,
                                      uint8_t *out,
                                      size_t out_len,
                                      size_t *len_out,
                                      ember_error *error);

// A tokenizer from what ember_tokenizer_to_bytes gave, or from the bytes of any file that
// ember_tokenizer_open takes. The bytes are copied.
//
// Errors: as ember_tokenizer_open; messages name the file `bytes`.
ember_status ember_tokenizer_from_bytes(const uint8_t *bytes,
                                        size_t len,
                                        struct ember_tokenizer **tokenizer_out,
                                        ember_error *error);

// The model's tokenizer, which stays usable when the model is freed.
//
// Errors: EMBER_ERROR_MISSING when the model has none.
ember_status ember_model_tokenizer(const ember_model *model,
                                   struct ember_tokenizer **tokenizer_out,
                                   ember_error *error);

// Frees the tokenizer.
void ember_tokenizer_free(struct ember_tokenizer *tokenizer);

// Token ids are below this; 0 for a handle that is none.
size_t ember_tokenizer_len(const struct ember_tokenizer *tokenizer);

// The tokens of a text, as an ember_encodings with one entry. `len` counts bytes or is EMBER_NUL.
// With `special` the tokens around a text come too, such as `[CLS]` and `[SEP]`; control tokens
// that are spelled out in the text are found in both cases.
//
// Errors: EMBER_ERROR_ARGUMENT for a text over 1 GiB or one that the tokenizer cannot deal with.
ember_status ember_tokenizer_encode(const struct ember_tokenizer *tokenizer,
                                    const char *text,
                                    size_t len,
                                    bool special,
                                    struct ember_encodings **encodings_out,
                                    ember_error *error);

// The tokens of two texts that belong together, as one entry.
//
// Errors: as ember_tokenizer_encode.
ember_status ember_tokenizer_encode_pair(const struct ember_tokenizer *tokenizer,
                                         const char *a,
                                         size_t a_len,
                                         const char *b,
                                         size_t b_len,
                                         bool special,
                                         struct ember_encodings **encodings_out,
                                         ember_error *error);

// The tokens of many texts, on all cores, one entry each; `lengths` may be NULL when each is ended
// by a NUL. Each has at most `limit` tokens, or all with EMBER_UNSET.
//
// Errors: as ember_tokenizer_encode, and EMBER_ERROR_ARGUMENT for a limit without room for the
// tokens around a text.
ember_status ember_tokenizer_encode_batch(const struct ember_tokenizer *tokenizer,
                                          const char *const *texts,
                                          const size_t *lengths,
                                          size_t count,
                                          bool special,
                                          size_t limit,
                                          struct ember_encodings **encodings_out,
                                          ember_error *error);

// The tokens of a text in windows of at most `limit` tokens, one entry each; each begins with the
// last `stride` tokens of text of the one before.
//
// Errors: as ember_tokenizer_encode_batch, and EMBER_ERROR_ARGUMENT for a stride that leaves no
// room for a new token.
ember_status ember_tokenizer_encode_windows(const struct ember_tokenizer *tokenizer,
                                            const char *text,
                                            size_t len,
                                            bool special,
                                            size_t limit,
                                            size_t stride,
                                            struct ember_encodings **encodings_out,
                                            ember_error *error);

// How many entries there are; 0 for a handle that is none.
size_t ember_encodings_count(const struct ember_encodings *encodings);

// Entry number `index`; its arrays live as long as `encodings`. `encoding_size` is
// `sizeof(ember_encoding)`.
ember_status ember_encodings_get(const struct ember_encodings *encodings,
                                 size_t index,
                                 struct ember_encoding *encoding_out,
                                 size_t encoding_size,
                                 ember_error *error);

// Frees the tokens.
void ember_encodings_free(struct ember_encodings *encodings);

// How many tokens ember_tokenizer_encode gives.
//
// Errors: as ember_tokenizer_encode.
ember_status ember_tokenizer_count(const struct ember_tokenizer *tokenizer,
                                   const char *text,
                                   size_t len,
                                   bool special,
                                   size_t *count_out,
                                   ember_error *error);

// The text of `count` ids; with `skip_special` without control tokens. Bytes that are no UTF-8
// become U+FFFD. Writes its length in bytes to `len_out`, and the bytes, without a NUL, to `out`
// unless that is NULL.
//
// Errors: EMBER_ERROR_ARGUMENT for an id that is no token, or when `out` is too short.
ember_status ember_tokenizer_decode(const struct ember_tokenizer *tokenizer,
                                    const uint32_t *ids,
                                    size_t count,
                                    bool skip_special,
                                    char *out,
                                    size_t out_len,
                                    size_t *len_out,
                                    ember_error *error);

// The string of a token as the vocabulary writes it; where it goes is as in
// ember_tokenizer_decode.
//
// Errors: EMBER_ERROR_ARGUMENT for an id that is no token, or when `out` is too short.
ember_status ember_tokenizer_token(const struct ember_tokenizer *tokenizer,
                                   uint32_t id,
                                   char *out,
                                   size_t out_len,
                                   size_t *len_out,
                                   ember_error *error);

// The id of a token, written as ember_tokenizer_token writes it. `len` counts bytes or is
// EMBER_NUL.
//
// Errors: EMBER_ERROR_ARGUMENT when there is no such token.
ember_status ember_tokenizer_id(const struct ember_tokenizer *tokenizer,
                                const char *token,
                                size_t len,
                                uint32_t *id_out,
                                ember_error *error);

// Whether a token is a control token, which `skip_special` leaves out; false for an id or a handle
// that is none.
bool ember_tokenizer_is_special(const struct ember_tokenizer *tokenizer, uint32_t id);

// Makes a stream that decodes ids one by one; with `skip_special` without control tokens. It keeps
// the tokenizer alive.
ember_status ember_tokenizer_stream(const struct ember_tokenizer *tokenizer,
                                    bool skip_special,
                                    struct ember_decode_stream **stream_out,
                                    ember_error *error);

// The text that one more id completes: whole characters, empty while one is not complete. It lives
// until the next call with this stream.
//
// Errors: EMBER_ERROR_ARGUMENT for an id that is no token; the stream is as before then.
ember_status ember_decode_stream_push(struct ember_decode_stream *stream,
                                      uint32_t id,
                                      ember_text *text_out,
                                      ember_error *error);

// The text that is left when no further id comes: U+FFFD for a character that is not complete. It
// lives until the next call with this stream, which begins anew.
ember_status ember_decode_stream_finish(struct ember_decode_stream *stream,
                                        ember_text *text_out,
                                        ember_error *error);

// Frees the stream.
void ember_decode_stream_free(struct ember_decode_stream *stream);

/* ---- EMBEDDING -------------------------------------------------------------------------------
 * Texts to vectors, as sentence-transformers computes them for the same folder.
 */
// Takes how many texts are done, of how many. It is called on the thread of the embedding; it
// must not throw.
typedef void (*ember_progress_function)(void *user, size_t done, size_t count);

// What is chosen about embedding. What is EMBER_UNSET or NULL is as the model's folder says.
typedef struct ember_embed_options {
  // `sizeof(ember_embed_options)`; EMBER_EMBED_OPTIONS_INIT sets it.
  size_t struct_size;
  // Whether vectors have length 1: 0, 1 or EMBER_UNSET.
  int32_t normalize;
  // Text put before each text, ended by a NUL.
  const char *prompt;
  // Name of one of the folder's prompts: see ember_model_prompt.
  const char *prompt_name;
  // How tokens become a vector: `mean`, `cls`, `lasttoken`, `max`, `mean_sqrt_len_tokens`,
  // `weightedmean`.
  const char *pooling;
  // Most tokens of a text, special ones included; the rest is cut.
  size_t max_tokens;
  // Keep the first numbers of a vector only.
  size_t dimensions;
  // Most tokens of a batch, padding included.
  size_t batch_tokens;
  // Stops the work from another thread; NULL for none.
  const ember_cancel_token *cancel;
  // Told how far the work is; NULL for none.
  ember_progress_function progress;
  // Handed on to `progress`.
  void *progress_user;
} ember_embed_options;

/* Everything unset. */
#define EMBER_EMBED_OPTIONS_INIT \
    { sizeof(ember_embed_options), EMBER_UNSET, NULL, NULL, NULL, (size_t)EMBER_UNSET, \
      (size_t)EMBER_UNSET, (size_t)EMBER_UNSET, NULL, NULL, NULL }

// A row, or a word, near to what was asked for.
typedef struct ember_neighbor {
  // The number of the row; of words see ember_words_word.
  size_t index;
  // The cosine of the angle to what was asked for, from -1 to 1.
  float cosine;
} ember_neighbor;

// Embeds `count` texts, each ended by a NUL, as the model's folder says. Writes [count, width]
// floats to `out`, width = ember_model_width(model); `out_len` counts floats. A text without a
// token, as an empty one can be, gives zeros.
//
// Errors: EMBER_ERROR_MISSING without a tokenizer; EMBER_ERROR_ARGUMENT when `out` is too short or
// a text is NULL or no UTF-8; EMBER_ERROR_DEVICE; EMBER_ERROR_NOT_FINITE.
ember_status ember_model_embed(const ember_model *model,
                               const char *const *texts,
                               size_t count,
                               float *out,
                               size_t out_len,
                               ember_error *error);

// Numbers of an embedding with these options, which may be NULL: ember_model_width(model) unless
// `dimensions` or `pooling` make it less.
//
// Errors: EMBER_ERROR_ARGUMENT for an option out of range; EMBER_ERROR_UNSUPPORTED for a pooling
// that is none.
ember_status ember_model_embedding_width(const ember_model *model,
                                         const struct ember_embed_options *options,
                                         size_t *width_out,
                                         ember_error *error);

// Embeds `count` texts as `options` say, which may be NULL. Text i is `lengths[i]` bytes long;
// `lengths` may be NULL when each is ended by a NUL. Writes [count, width] floats to `out`, width
// as ember_model_embedding_width tells; it goes to `width_out`. `cut_out` gets how many tokens of each text were beyond the limit and left out,
// `count` numbers. Both may be NULL.
//
// Errors: as ember_model_embed; EMBER_ERROR_ARGUMENT for an option out of range;
// EMBER_ERROR_CANCELLED.
ember_status ember_model_embed_with(const ember_model *model,
                                    const char *const *texts,
                                    const size_t *lengths,
                                    size_t count,
                                    const struct ember_embed_options *options,
                                    float *out,
                                    size_t out_len,
                                    size_t *width_out,
                                    size_t *cut_out,
                                    ember_error *error);

// The cosine of the angle between two vectors of `width` floats, from -1 to 1; 0 when one is all
// zeros.
ember_status ember_cosine(const float *a,
                          const float *b,
                          size_t width,
                          float *cosine_out,
                          ember_error *error);

// The rows nearest to `query` by cosine, best first: at most `count` go to `out` and their number to
// `len_out`. `rows` are [row_count, width], as embeddings come, and `query` is a vector of `query_len`
// floats, which is the width too. Of equals the first row comes first.
//
// Errors: EMBER_ERROR_ARGUMENT for a query of another width, or a width of 0.
ember_status ember_nearest(const float *query,
                           size_t query_len,
                           const float *rows,
                           size_t row_count,
                           size_t width,
                           struct ember_neighbor *out,
                           size_t count,
                           size_t *len_out,
                           ember_error *error);

/* ---- TASKS -----------------------------------------------------------------------------------
 * What an encoder with a head answers: words behind masks, classes, entities, parts of passages,
 * order. Labels, places and scores are those of transformers' pipelines. Which head a model has,
 * its files say.
 */
// Answers to a question, best first.
typedef struct ember_answers ember_answers;

// Classes of texts: a row a text, best first.
typedef struct ember_classes ember_classes;

// Entities of texts: a row a text, in their order.
typedef struct ember_entities ember_entities;

// Tokens for the masks of a text: a row a mask, likeliest first.
typedef struct ember_fills ember_fills;

// Sparse vectors of texts, one a text.
typedef struct ember_sparse_vectors ember_sparse_vectors;

// Vectors of texts' tokens, one list a text.
typedef struct ember_token_vectors ember_token_vectors;

// How a task is run, whatever it is.
typedef struct ember_run_options {
  // `sizeof(ember_run_options)`; EMBER_RUN_OPTIONS_INIT sets it.
  size_t struct_size;
  // Most tokens of a text, or of a pair, special ones included. EMBER_UNSET: what the files say.
  size_t max_tokens;
  // Most tokens of a batch, padding included. EMBER_UNSET: 512 on a CPU; 2048 on a GPU, on
  // one with memory of its own up to 16384, fewer the wider the model is.
  size_t batch_tokens;
  // Stops the work from another thread; NULL for none.
  const ember_cancel_token *cancel;
  // Told how far the work is, after each batch; NULL for none.
  ember_progress_function progress;
  // Handed on to `progress`.
  void *progress_user;
} ember_run_options;

/* Everything unset. */
#define EMBER_RUN_OPTIONS_INIT \
    { sizeof(ember_run_options), (size_t)EMBER_UNSET, (size_t)EMBER_UNSET, NULL, NULL, NULL }

// What is chosen about filling masks.
typedef struct ember_fill_options {
  // `sizeof(ember_fill_options)`; EMBER_FILL_OPTIONS_INIT sets it.
  size_t struct_size;
  // Tokens for a mask. EMBER_UNSET: 5.
  size_t top_k;
  // Only these tokens, each one token of the vocabulary, ended by a NUL.
  const char *const *targets;
  // How many; 0 for all tokens.
  size_t target_count;
  // How it is run; NULL is all defaults.
  const struct ember_run_options *run;
} ember_fill_options;

/* Everything unset. */
#define EMBER_FILL_OPTIONS_INIT \
    { sizeof(ember_fill_options), (size_t)EMBER_UNSET, NULL, 0, NULL }

// A token for a mask.
typedef struct ember_fill {
  // Its probability among all tokens of the vocabulary.
  float score;
  // Its id.
  uint32_t id;
  // Its text.
  ember_text token;
  // The text with the mask replaced. With several masks the others stay, and special tokens are
  // written out, as transformers does.
  ember_text text;
} ember_fill;

// What is chosen about classes of texts.
typedef struct ember_classify_options {
  // `sizeof(ember_classify_options)`; EMBER_CLASSIFY_OPTIONS_INIT sets it.
  size_t struct_size;
  // Classes of a text. EMBER_UNSET: all.
  size_t top_k;
  // What becomes of logits: `softmax`, `sigmoid` or `none`. NULL: as `problem_type` of the config
  // says; else softmax, or sigmoid where there is one label.
  const char *scoring;
  // How it is run; NULL is all defaults.
  const struct ember_run_options *run;
} ember_classify_options;

/* Everything unset. */
#define EMBER_CLASSIFY_OPTIONS_INIT \
    { sizeof(ember_classify_options), (size_t)EMBER_UNSET, NULL, NULL }

// Two texts that belong together.
typedef struct ember_pair {
  // The first text.
  const char *first;
  // Its bytes, or EMBER_NUL for "up to the NUL".
  size_t first_len;
  // The second text.
  const char *second;
  // Its bytes, or EMBER_NUL for "up to the NUL".
  size_t second_len;
} ember_pair;

// What is chosen about zero-shot classes.
typedef struct ember_zero_shot_options {
  // `sizeof(ember_zero_shot_options)`; EMBER_ZERO_SHOT_OPTIONS_INIT sets it.
  size_t struct_size;
  // The sentence that a label makes, with `{}` for the label, ended by a NUL. NULL: `This example
  // is {}.`
  const char *template_text;
  // 1: several labels can be right, so that each has a probability of its own; 0 or EMBER_UNSET:
  // they add to 1.
  int32_t multi_label;
  // How it is run; NULL is all defaults.
  const struct ember_run_options *run;
} ember_zero_shot_options;

/* Everything unset. */
#define EMBER_ZERO_SHOT_OPTIONS_INIT \
    { sizeof(ember_zero_shot_options), NULL, EMBER_UNSET, NULL }

// A class of a text.
typedef struct ember_class {
  // Its name: `id2label` of the config, or what the caller called it.
  ember_text label;
  // Its number among the head's labels, or among those that the caller gave.
  size_t index;
  // Its score.
  float score;
} ember_class;

// What is chosen about classes of tokens.
typedef struct ember_token_options {
  // `sizeof(ember_token_options)`; EMBER_TOKEN_OPTIONS_INIT sets it.
  size_t struct_size;
  // How tokens are joined: `none`, `simple`, `first`, `average` or `max`. NULL is `none`.
  const char *aggregation;
  // Classes that are left out, each ended by a NUL. NULL: `O`.
  const char *const *ignore;
  // How many.
  size_t ignore_count;
  // Tokens that a window shares with the one before, for texts beyond the limit. EMBER_UNSET: no
  // windows, the text is cut on the right.
  size_t stride;
  // How it is run; NULL is all defaults.
  const struct ember_run_options *run;
} ember_token_options;

/* Everything unset. */
#define EMBER_TOKEN_OPTIONS_INIT \
    { sizeof(ember_token_options), NULL, NULL, 0, (size_t)EMBER_UNSET, NULL }

// A part of a text with a class.
typedef struct ember_entity {
  // The class; of joined tokens without its `B-` or `I-`.
  ember_text label;
  // That part of the text.
  ember_text text;
  // Where it begins, in bytes of the text.
  size_t start;
  // Where it ends.
  size_t end;
  // The token's place among the text's tokens, special ones included; `(size_t)EMBER_UNSET` where
  // several were joined.
  size_t token;
  // Its probability; of joined tokens the mean.
  float score;
} ember_entity;

// What is chosen about answers.
typedef struct ember_answer_options {
  // `sizeof(ember_answer_options)`; EMBER_ANSWER_OPTIONS_INIT sets it.
  size_t struct_size;
  // Answers. EMBER_UNSET: 1.
  size_t top_k;
  // Most tokens of an answer. EMBER_UNSET: 15.
  size_t max_answer_tokens;
  // Tokens of the passage that a window shares with the one before. EMBER_UNSET: 128, and at most
  // half of a window.
  size_t stride;
  // 1: there may be no answer, which is then one with an empty text; 0 or EMBER_UNSET: there is
  // one.
  int32_t no_answer;
  // 1: an answer is made of tokens as they are; 0 or EMBER_UNSET: it begins and ends with a word.
  int32_t tokens;
  // How it is run; NULL is all defaults. A window is `max_tokens` of it, else 384.
  const struct ember_run_options *run;
} ember_answer_options;

/* Everything unset. */
#define EMBER_ANSWER_OPTIONS_INIT \
    { sizeof(ember_answer_options), (size_t)EMBER_UNSET, (size_t)EMBER_UNSET, \
      (size_t)EMBER_UNSET, EMBER_UNSET, EMBER_UNSET, NULL }

// An answer: a part of the passage, or none.
typedef struct ember_answer {
  // That part of the passage; empty for the answer that there is none.
  ember_text text;
  // Where it begins, in bytes of the passage.
  size_t start;
  // Where it ends; `start` for the answer that there is none.
  size_t end;
  // Its probability; of the same words in several places, or windows, the sum.
  float score;
} ember_answer;

// A document and how well it fits a query.
typedef struct ember_ranked {
  // Its place among the documents that were given.
  size_t index;
  // Its score.
  float score;
} ember_ranked;

// A vector over the vocabulary that is zero nearly everywhere.
typedef struct ember_sparse {
  // The ids of tokens with a weight, in ascending order.
  const uint32_t *ids;
  // The weight of each, above 0.
  const float *weights;
  // How many there are.
  size_t len;
  // Tokens of the text that were left out to keep to the limit.
  size_t cut;
} ember_sparse;

// The vectors of a text's tokens, each of length 1.
typedef struct ember_token_rows {
  // The numbers, vector after vector in the order of the tokens, [len, width].
  const float *values;
  // The ids of the tokens that have a vector, special ones and markers among them.
  const uint32_t *ids;
  // How many vectors there are.
  size_t len;
  // Numbers in a vector.
  size_t width;
  // Tokens of the text that were left out to keep to the limit.
  size_t cut;
} ember_token_rows;

// The likeliest tokens for each mask of a text of `len` bytes, or up to the NUL with EMBER_NUL.
// `options` may be NULL.
//
// Errors: EMBER_ERROR_MISSING without a tokenizer, a mask token or a head for it;
// EMBER_ERROR_ARGUMENT for a text without a mask or an option out of range; EMBER_ERROR_TOO_LONG for
// a text beyond the limit; EMBER_ERROR_CANCELLED; EMBER_ERROR_DEVICE; EMBER_ERROR_NOT_FINITE.
ember_status ember_model_fill_mask(const ember_model *model,
                                   const char *text,
                                   size_t len,
                                   const struct ember_fill_options *options,
                                   struct ember_fills **fills_out,
                                   ember_error *error);

// How many masks the text had; 0 for a handle that is none.
size_t ember_fills_count(const struct ember_fills *fills);

// Token number `index` for mask number `mask`, likeliest first; EMBER_DONE after the last. Its texts
// live as long as `fills`. `fill_size` is `sizeof(ember_fill)`.
//
// Errors: EMBER_ERROR_ARGUMENT when there is no such mask.
ember_status ember_fills_get(const struct ember_fills *fills,
                             size_t mask,
                             size_t index,
                             struct ember_fill *fill_out,
                             size_t fill_size,
                             ember_error *error);

// Frees the tokens.
void ember_fills_free(struct ember_fills *fills);

// The classes of each of `count` texts. Text i is `lengths[i]` bytes long; `lengths` may be NULL
// when each is ended by a NUL. A text beyond the limit is cut on the right. `options` may be NULL.
//
// Errors: EMBER_ERROR_MISSING without a tokenizer or a head for it; EMBER_ERROR_ARGUMENT for an
// option out of range; EMBER_ERROR_UNSUPPORTED for a scoring that is none; EMBER_ERROR_CANCELLED;
// EMBER_ERROR_DEVICE; EMBER_ERROR_NOT_FINITE.
ember_status ember_model_classify(const ember_model *model,
                                  const char *const *texts,
                                  const size_t *lengths,
                                  size_t count,
                                  const struct ember_classify_options *options,
                                  struct ember_classes **classes_out,
                                  ember_error *error);

// The classes of each of `count` pairs of texts, such as a premise and a hypothesis. Of a pair
// beyond the limit the longer text is cut on the right, then both. `options` may be NULL.
//
// Errors: as ember_model_classify.
ember_status ember_model_classify_pairs(const ember_model *model,
                                        const struct ember_pair *pairs,
                                        size_t count,
                                        const struct ember_classify_options *options,
                                        struct ember_classes **classes_out,
                                        ember_error *error);

// Which of the caller's labels a text is of, by a head for entailment: it is asked whether the text
// entails the sentence that each label makes. There are `label_count` labels, each ended by a NUL;
// the text has `len` bytes, or goes up to the NUL with EMBER_NUL. `options` may be NULL. The result
// has one row.
//
// Errors: EMBER_ERROR_MISSING without such a head, whose config names a label that begins with
// `entail`; EMBER_ERROR_ARGUMENT for no label or a template without `{}`; else as
// ember_model_classify.
ember_status ember_model_zero_shot(const ember_model *model,
                                   const char *text,
                                   size_t len,
                                   const char *const *labels,
                                   size_t label_count,
                                   const struct ember_zero_shot_options *options,
                                   struct ember_classes **classes_out,
                                   ember_error *error);

// How many texts or pairs there are classes of; 0 for a handle that is none.
size_t ember_classes_count(const struct ember_classes *classes);

// How many tokens of text number `row` were left out to keep to the limit; 0 for a handle or a row
// that is none.
size_t ember_classes_cut(const struct ember_classes *classes, size_t row);

// Class number `index` of text number `row`, best first; EMBER_DONE after the last. Its label lives
// as long as `classes`. `class_size` is `sizeof(ember_class)`.
//
// Errors: EMBER_ERROR_ARGUMENT when there is no such row.
ember_status ember_classes_get(const struct ember_classes *classes,
                               size_t row,
                               size_t index,
                               struct ember_class *class_out,
                               size_t class_size,
                               ember_error *error);

// Frees the classes.
void ember_classes_free(struct ember_classes *classes);

// The entities of each of `count` texts. Text i is `lengths[i]` bytes long; `lengths` may be NULL
// when each is ended by a NUL. `options` may be NULL.
//
// Errors: EMBER_ERROR_ARGUMENT for windows without an aggregation, whose tokens would come twice;
// EMBER_ERROR_UNSUPPORTED for an aggregation that is none; else as ember_model_classify.
ember_status ember_model_token_classify(const ember_model *model,
                                        const char *const *texts,
                                        const size_t *lengths,
                                        size_t count,
                                        const struct ember_token_options *options,
                                        struct ember_entities **entities_out,
                                        ember_error *error);

// How many texts there are entities of; 0 for a handle that is none.
size_t ember_entities_count(const struct ember_entities *entities);

// Entity number `index` of text number `row`, in the order of the text; EMBER_DONE after the last.
// Its texts live as long as `entities`. `entity_size` is `sizeof(ember_entity)`.
//
// Errors: EMBER_ERROR_ARGUMENT when there is no such row.
ember_status ember_entities_get(const struct ember_entities *entities,
                                size_t row,
                                size_t index,
                                struct ember_entity *entity_out,
                                size_t entity_size,
                                ember_error *error);

// Frees the entities.
void ember_entities_free(struct ember_entities *entities);

// The parts of a passage that answer a question, best first; a long passage is read in windows. Each
// text has so many bytes, or goes up to the NUL with EMBER_NUL. `options` may be NULL.
//
// Errors: EMBER_ERROR_ARGUMENT for a passage without a token or a question that leaves no room for
// it; else as ember_model_classify.
ember_status ember_model_answer(const ember_model *model,
                                const char *question,
                                size_t question_len,
                                const char *passage,
                                size_t passage_len,
                                const struct ember_answer_options *options,
                                struct ember_answers **answers_out,
                                ember_error *error);

// Answer number `index`, best first; EMBER_DONE after the last. Its text lives as long as `answers`.
// `answer_size` is `sizeof(ember_answer)`.
ember_status ember_answers_get(const struct ember_answers *answers,
                               size_t index,
                               struct ember_answer *answer_out,
                               size_t answer_size,
                               ember_error *error);

// Frees the answers.
void ember_answers_free(struct ember_answers *answers);

// `count` documents by how well they fit a query, best first: a cross-encoder reads each with the
// query. Scores are what sentence-transformers' CrossEncoder gives. The query has `query_len` bytes,
// or goes up to the NUL with EMBER_NUL; document i is `lengths[i]` bytes long, `lengths` may be NULL
// when each is ended by a NUL. Writes `count` results to `out`; `out_len` says how many it holds.
// `options` may be NULL.
//
// Errors: EMBER_ERROR_MISSING without a head with one label; EMBER_ERROR_ARGUMENT when `out` is too
// short; else as ember_model_classify.
ember_status ember_model_rerank(const ember_model *model,
                                const char *query,
                                size_t query_len,
                                const char *const *documents,
                                const size_t *lengths,
                                size_t count,
                                const struct ember_run_options *options,
                                struct ember_ranked *out,
                                size_t out_len,
                                ember_error *error);

// The sparse vector of each of `count` texts: a weight for each token of the vocabulary that the text is
// about, by the head over words (SPLADE). What sentence-transformers' SparseEncoder computes for the
// same folder. Text i is `lengths[i]` bytes long; `lengths` may be NULL when each is ended by a NUL.
// `options` may be NULL.
//
// Errors: EMBER_ERROR_MISSING without a head over words; else as ember_model_classify.
ember_status ember_model_sparse(const ember_model *model,
                                const char *const *texts,
                                const size_t *lengths,
                                size_t count,
                                const struct ember_run_options *options,
                                struct ember_sparse_vectors **vectors_out,
                                ember_error *error);

// The vector of text number `index`; EMBER_DONE after the last. Its arrays live as long as `vectors`.
// `sparse_size` is `sizeof(ember_sparse)`.
ember_status ember_sparse_vectors_get(const struct ember_sparse_vectors *vectors,
                                      size_t index,
                                      struct ember_sparse *sparse_out,
                                      size_t sparse_size,
                                      ember_error *error);

// The product of vector number `index` with vector number `other_index` of `others`, which may be
// `vectors`: how alike the two texts are.
//
// Errors: EMBER_ERROR_ARGUMENT when there is no such vector.
ember_status ember_sparse_vectors_dot(const struct ember_sparse_vectors *vectors,
                                      size_t index,
                                      const struct ember_sparse_vectors *others,
                                      size_t other_index,
                                      float *product_out,
                                      ember_error *error);

// Frees the vectors.
void ember_sparse_vectors_free(struct ember_sparse_vectors *vectors);

// A vector for each token of each of `count` texts, to compare token by token with
// ember_token_vectors_max_sim (ColBERT): what sentence-transformers' MultiVectorEncoder computes for the
// same folder. Text i is `lengths[i]` bytes long; `lengths` may be NULL when each is ended by a NUL.
// `role`, ended by a NUL, is `query` for what is searched for and `document` for what is found: the two
// are marked and cut differently. `options` may be NULL.
//
// Errors: EMBER_ERROR_MISSING without a tokenizer, or for a folder that does not say how token vectors
// are made; EMBER_ERROR_ARGUMENT for another role or an option out of range; EMBER_ERROR_CANCELLED;
// EMBER_ERROR_DEVICE; EMBER_ERROR_NOT_FINITE.
ember_status ember_model_embed_tokens(const ember_model *model,
                                      const char *const *texts,
                                      const size_t *lengths,
                                      size_t count,
                                      const char *role,
                                      const struct ember_run_options *options,
                                      struct ember_token_vectors **vectors_out,
                                      ember_error *error);

// The vectors of text number `index`; EMBER_DONE after the last. Their arrays live as long as `vectors`.
// `rows_size` is `sizeof(ember_token_rows)`.
ember_status ember_token_vectors_get(const struct ember_token_vectors *vectors,
                                     size_t index,
                                     struct ember_token_rows *rows_out,
                                     size_t rows_size,
                                     ember_error *error);

// How well text number `document` of `documents` answers text number `query` of `queries`: the sum, over
// the query's vectors, of the largest product with one of the document's (MaxSim). 0 for a document
// without a vector, or vectors of another width.
//
// Errors: EMBER_ERROR_ARGUMENT when there is no such text.
ember_status ember_token_vectors_max_sim(const struct ember_token_vectors *queries,
                                         size_t query,
                                         const struct ember_token_vectors *documents,
                                         size_t document,
                                         float *score_out,
                                         ember_error *error);

// Frees the vectors.
void ember_token_vectors_free(struct ember_token_vectors *vectors);

// The probability that the second text of each of `count` pairs follows the first: BERT's next
// sentence, ALBERT's order of sentences. Writes `count` floats to `out`; `out_len` counts floats.
// `options` may be NULL.
//
// Errors: EMBER_ERROR_ARGUMENT when `out` is too short; else as ember_model_classify.
ember_status ember_model_follows(const ember_model *model,
                                 const struct ember_pair *pairs,
                                 size_t count,
                                 const struct ember_run_options *options,
                                 float *out,
                                 size_t out_len,
                                 ember_error *error);

/* ---- GENERATING TEXT -------------------------------------------------------------------------
 * A stream gives text piece by piece; each is made when it is asked for.
 */
// Text as it is generated.
typedef struct ember_stream ember_stream;

// What is chosen for a generation. What is EMBER_UNSET is as the model's files advise, else as
// said here.
typedef struct ember_generate_options {
  // `sizeof(ember_generate_options)`; EMBER_GENERATE_OPTIONS_INIT sets it.
  size_t struct_size;
  // Most tokens to generate; else until the window is full.
  size_t max_tokens;
  // What the logits are divided by; 0 always takes the likeliest token. Else 0.
  float temperature;
  // Only the likeliest `top_k` tokens are drawn from; 0 is off. Else off.
  size_t top_k;
  // Only the likeliest tokens that together have this probability; 1 is off. Else off.
  float top_p;
  // Only tokens at least this many times as likely as the likeliest; 0 is off. Else off.
  float min_p;
  // Factor against tokens that were there before, above 0; 1 is off. Else off.
  float repetition_penalty;
  // Taken off a token's logit for each time it was generated, -2 to 2; 0 is off.
  float frequency_penalty;
  // Taken off a token's logit once it was generated, -2 to 2; 0 is off.
  float presence_penalty;
  // How many of the last tokens the penalties look at. Else all.
  size_t penalty_window;
  // Fixes the draws: same model, device, options and seed, same text. Else a fresh one each time.
  uint64_t seed;
  // Texts that end the generation and are not part of it, each ended by a NUL.
  const char *const *stop;
  // How many.
  size_t stop_count;
  // Tokens that end the generation, besides the model's own.
  const uint32_t *stop_ids;
  // How many.
  size_t stop_id_count;
  // With each token, as many of the likeliest with their log-probabilities. Else none.
  size_t logprobs;
  // Tokens of the prompt that are read at once. Else 512.
  size_t prefill_chunk;
  // 1 goes on past the model's end-of-text tokens; else 0.
  int32_t ignore_eos;
  // Tokens to generate before one that ends the text may come. Else 0.
  size_t min_tokens;
  // No row of so many tokens comes twice, the prompt's among them; 0 is off. Else off.
  size_t no_repeat_ngram;
  // Rows of tokens that never come, of one token or more; NULL and 0 of them: the file's.
  const uint32_t *const *bad_words;
  // The length of each.
  const size_t *bad_word_lengths;
  // How many.
  size_t bad_word_count;
  // Tokens that never come; NULL and 0 of them: the file's.
  const uint32_t *suppress;
  // How many.
  size_t suppress_count;
  // The first token of an encoder-decoder's target, such as the language to translate to. Else none.
  int64_t first_token;
} ember_generate_options;

/* Everything unset. */
#define EMBER_GENERATE_OPTIONS_INIT \
    { sizeof(ember_generate_options), (size_t)EMBER_UNSET, EMBER_UNSET, (size_t)EMBER_UNSET, \
      EMBER_UNSET, EMBER_UNSET, EMBER_UNSET, 0, 0, (size_t)EMBER_UNSET, \
      (uint64_t)EMBER_UNSET, NULL, 0, NULL, 0, (size_t)EMBER_UNSET, (size_t)EMBER_UNSET, 0, \
      (size_t)EMBER_UNSET, (size_t)EMBER_UNSET, NULL, NULL, 0, NULL, 0, EMBER_UNSET }

// A token and how likely it was.
typedef struct ember_logprob {
  // The token.
  uint32_t id;
  // Natural logarithm of its probability.
  float logprob;
} ember_logprob;

// A token as it was chosen.
typedef struct ember_token {
  // Its number in the vocabulary.
  uint32_t id;
  // Natural logarithm of its probability, before penalties, temperature and cuts.
  float logprob;
  // The most probable tokens, best first, as many as `logprobs` asks for.
  const struct ember_logprob *top;
  // How many.
  size_t top_len;
} ember_token;

// Takes a piece, which lives until the function returns; false pauses the stream. It is called on
// the thread of ember_stream_run. It must not throw, and cannot use the stream but to cancel it.
typedef bool (*ember_text_function)(void *user, ember_text piece);

// Counts and times of a stream.
typedef struct ember_stats {
  // Why it ended: `length`, `stop`, `stop_string`, `window` or `cancelled`, ended by a NUL; NULL
  // while it goes on and after an error.
  const char *finish_reason;
  // Tokens of the prompt that were read.
  size_t prompt_tokens;
  // Tokens generated.
  size_t tokens;
  // Seconds that reading the prompt took.
  double prefill_seconds;
  // Seconds that generating took.
  double decode_seconds;
  // Tokens of the prompt read a second; 0 before the first.
  double prefill_per_second;
  // Tokens generated a second; 0 before the first.
  double tokens_per_second;
} ember_stats;

// Continues a text of `len` bytes, or up to its NUL with EMBER_NUL, or answers the source of an
// encoder-decoder, which the text then is. `options` may be NULL. The prompt is read at the first call of ember_stream_next. The stream keeps the model alive.
//
// Errors: EMBER_ERROR_MISSING without a tokenizer or for an encoder; EMBER_ERROR_TOO_LONG for a
// prompt longer than the window; EMBER_ERROR_ARGUMENT for an option out of range.
ember_status ember_model_generate(const ember_model *model,
                                  const char *prompt,
                                  size_t len,
                                  const struct ember_generate_options *options,
                                  struct ember_stream **stream_out,
                                  ember_error *error);

// The next piece: whole characters, empty while a character or a possible stop text is not
// complete. It lives until the next call with this stream. EMBER_DONE at the end, and after an
// error; then `piece_out` is not written.
//
// Errors: EMBER_ERROR_DEVICE, EMBER_ERROR_NOT_FINITE; EMBER_ERROR_ARGUMENT when the stream's
// session was fed meanwhile or is in use by another thread.
ember_status ember_stream_next(struct ember_stream *stream,
                               ember_text *piece_out,
                               ember_error *error);

// The token behind the last piece; EMBER_DONE when there is none, as before the first piece and
// for text that the end of the stream released. `top` lives until the next call with this
// stream. `token_size` is `sizeof(ember_token)`.
ember_status ember_stream_token(struct ember_stream *stream,
                                struct ember_token *token_out,
                                size_t token_size,
                                ember_error *error);

// All text that is still to come; it lives until the next call with this stream.
//
// Errors: as ember_stream_next.
ember_status ember_stream_text(struct ember_stream *stream,
                               ember_text *text_out,
                               ember_error *error);

// Calls `on_text` with each piece up to the end of the stream: EMBER_DONE, or EMBER_OK when
// `on_text` returned false, after which the stream can be gone on with.
//
// Errors: as ember_stream_next.
ember_status ember_stream_run(struct ember_stream *stream,
                              ember_text_function on_text,
                              void *user,
                              ember_error *error);

// Counts and times so far. `stats_size` is `sizeof(ember_stats)`.
ember_status ember_stream_stats(struct ember_stream *stream,
                                struct ember_stats *stats_out,
                                size_t stats_size,
                                ember_error *error);

// Stops the stream, also while the prompt is read; it then ends as `cancelled`. May be called from
// any thread at any time, also while another is inside ember_stream_next.
void ember_stream_cancel(const struct ember_stream *stream);

// Frees the stream; what is not generated yet will not be.
void ember_stream_free(struct ember_stream *stream);

/* ---- SESSIONS --------------------------------------------------------------------------------
 * One sequence of tokens with its cache: fed step by step, asked for logits, continued.
 */
// One sequence of tokens with its cache.
typedef struct ember_session ember_session;

// Makes an empty session, which keeps the model alive. Sessions of one model are independent.
//
// Errors: EMBER_ERROR_MISSING for an encoder.
ember_status ember_model_session(const ember_model *model,
                                 struct ember_session **session_out,
                                 ember_error *error);

// Frees the session; streams of it go on.
void ember_session_free(struct ember_session *session);

// Reads `count` token ids, which join the sequence.
//
// Errors: EMBER_ERROR_ARGUMENT for an id that is not below the vocabulary; EMBER_ERROR_TOO_LONG
// beyond the window; EMBER_ERROR_CANCELLED; EMBER_ERROR_DEVICE. When it stopped half way the
// session is empty after.
ember_status ember_session_feed(struct ember_session *session,
                                const uint32_t *ids,
                                size_t count,
                                ember_error *error);

// Reads the source of an encoder-decoder, once for all that is generated from it, and begins the target
// with the token that the model's files name; where they name none, ember_session_feed begins it. What
// the session held before is forgotten.
//
// Errors: EMBER_ERROR_MISSING for a model that is no encoder-decoder; EMBER_ERROR_ARGUMENT for a source
// without tokens; else as ember_session_feed.
ember_status ember_session_read_source(struct ember_session *session,
                                       const uint32_t *ids,
                                       size_t count,
                                       ember_error *error);

// Reads a text of `len` bytes, or up to its NUL with EMBER_NUL. The first one of a sequence begins
// it with the model's opening token where it has one; later ones join as they are.
//
// Errors: as ember_session_feed, and EMBER_ERROR_MISSING without a tokenizer.
ember_status ember_session_feed_text(struct ember_session *session,
                                     const char *text,
                                     size_t len,
                                     ember_error *error);

// Reads `count` token ids and writes the logits after each, [count, V] floats, to `out`.
//
// Errors: as ember_session_feed, and EMBER_ERROR_ARGUMENT for too short an `out`.
ember_status ember_session_forward(struct ember_session *session,
                                   const uint32_t *ids,
                                   size_t count,
                                   float *out,
                                   size_t out_len,
                                   ember_error *error);

// The log-odds of each next token after the last one that was fed. Writes their number, V or 0
// before the first token, to `len_out`, and them to `out` unless that is NULL.
//
// Errors: EMBER_ERROR_ARGUMENT for too short an `out`.
ember_status ember_session_logits(struct ember_session *session,
                                  float *out,
                                  size_t out_len,
                                  size_t *len_out,
                                  ember_error *error);

// The tokens so far; where they go is as in ember_session_logits.
ember_status ember_session_ids(struct ember_session *session,
                               uint32_t *out,
                               size_t out_len,
                               size_t *len_out,
                               ember_error *error);

// Bytes that keys and values take.
ember_status ember_session_cache_bytes(struct ember_session *session,
                                       size_t *bytes_out,
                                       ember_error *error);

// Forgets all tokens, the source of an encoder-decoder, and that anything was cancelled.
ember_status ember_session_reset(struct ember_session *session, ember_error *error);

// Goes back to the first `len` tokens, or stays where it is when it has no more. There are no
// logits until the next token is fed. What blocks with a sliding window have let go of does not
// come back: when going back needs it, the session is empty after; ember_session_ids tells.
ember_status ember_session_truncate(struct ember_session *session, size_t len, ember_error *error);

// Generates from where the sequence stands; the tokens made join it. `options` may be NULL. Feed
// nothing to the session before the stream has ended.
//
// Errors: EMBER_ERROR_ARGUMENT for an option out of range or before any token was fed.
ember_status ember_session_generate(struct ember_session *session,
                                    const ember_generate_options *options,
                                    ember_stream **stream_out,
                                    ember_error *error);

// Stops what the session does, until it is reset. May be called from any thread at any time.
void ember_session_cancel(const struct ember_session *session);

/* ---- SEVERAL SEQUENCES AT ONCE ---------------------------------------------------------------
 * A token of all living sequences is one forward pass on the CPU, which reads each weight once for
 * all. Each has its own prompt, options, draws and end, and its tokens are those that it has alone,
 * except where two logits are as good as equal. Those that have ended leave the pass; more may be
 * added at any time. On a GPU, for encoder-decoders and for some kinds of attention (ALiBi, learned
 * distances, sinks, latent vectors, chunks) the sequences have their steps one after the other, with
 * the same result.
 */
// Sequences that are decoded together. One thread at a time, but for cancelling.
typedef struct ember_batch ember_batch;

// Continues `count` texts, each as ember_model_generate would; text i has the number i. It is
// `lengths[i]` bytes long; `lengths` may be NULL when each is ended by a NUL. `options`, which may be
// NULL, hold for each. The batch keeps the model alive.
//
// Errors: EMBER_ERROR_ARGUMENT for no texts, for one that does not fit the window or has no token,
// whose number the message tells, and for an option out of range; EMBER_ERROR_MISSING without a
// tokenizer or for an encoder.
ember_status ember_model_generate_all(const ember_model *model,
                                      const char *const *prompts,
                                      const size_t *lengths,
                                      size_t count,
                                      const ember_generate_options *options,
                                      struct ember_batch **batch_out,
                                      ember_error *error);

// A batch without sequences, which keeps the model alive: each may have options of its own and may
// begin while others run.
//
// Errors: EMBER_ERROR_MISSING for an encoder, which generates nothing.
ember_status ember_model_batch(const ember_model *model,
                               struct ember_batch **batch_out,
                               ember_error *error);

// Adds a text of `len` bytes, or up to its NUL with EMBER_NUL, to be continued, or the source of an
// encoder-decoder. `options` may be NULL. Its number, counted from 0 over all that were ever added,
// goes to `sequence_out`. It is read when the next piece is asked for.
//
// Errors: as ember_model_generate; the batch is as before then.
ember_status ember_batch_add(struct ember_batch *batch,
                             const char *prompt,
                             size_t len,
                             const ember_generate_options *options,
                             size_t *sequence_out,
                             ember_error *error);

// As ember_batch_add, for `count` token ids.
//
// Errors: as ember_batch_add, and EMBER_ERROR_ARGUMENT for no ids or one that is not below the
// vocabulary.
ember_status ember_batch_add_ids(struct ember_batch *batch,
                                 const uint32_t *ids,
                                 size_t count,
                                 const ember_generate_options *options,
                                 size_t *sequence_out,
                                 ember_error *error);

// The next piece, and the number of its sequence: whole characters, empty while a character or a
// possible stop text is not complete. It lives until the next call of this function. EMBER_DONE when
// all sequences have ended, until more are added; then nothing is written.
//
// Errors: EMBER_ERROR_DEVICE, EMBER_ERROR_NOT_FINITE, of the sequence whose number is written: it has
// no more pieces then, and the others go on with the next call. EMBER_ERROR_ARGUMENT, with nothing
// written, when the batch is in use by another thread.
ember_status ember_batch_next(struct ember_batch *batch,
                              size_t *sequence_out,
                              ember_text *piece_out,
                              ember_error *error);

// The token behind the last piece; EMBER_DONE when there is none, as before the first piece and for
// text that the end of a sequence released. `top` lives until the next call of ember_batch_next.
// `token_size` is `sizeof(ember_token)`.
ember_status ember_batch_token(struct ember_batch *batch,
                               ember_token *token_out,
                               size_t token_size,
                               ember_error *error);

// Counts and times of a sequence so far, and why it ended, once its last piece was given. The time of
// a step of several counts for each of them. EMBER_DONE where there is none of this number.
// `stats_size` is `sizeof(ember_stats)`.
ember_status ember_batch_stats(struct ember_batch *batch,
                               size_t sequence,
                               ember_stats *stats_out,
                               size_t stats_size,
                               ember_error *error);

// Sequences that have not ended.
ember_status ember_batch_running(struct ember_batch *batch, size_t *count_out, ember_error *error);

// Bytes that keys and values of all sequences take.
ember_status ember_batch_cache_bytes(struct ember_batch *batch,
                                     size_t *bytes_out,
                                     ember_error *error);

// Ends a sequence, if it has not ended, and forgets what is known of it, its pieces that were not
// taken included. EMBER_DONE where there is none of this number. A batch that lives long remembers the
// end of each sequence until then.
ember_status ember_batch_remove(struct ember_batch *batch,
                                size_t sequence,
                                ember_error *error);

// Stops all sequences, also while a prompt is read, and those that are added later; they end as
// `cancelled`. May be called from any thread at any time, also while another is inside
// ember_batch_next.
void ember_batch_cancel(const struct ember_batch *batch);

// As ember_batch_cancel, for one sequence: before its next step, or while its prompt is read. Nothing
// happens where there is none of this number.
void ember_batch_cancel_one(const struct ember_batch *batch,
                            size_t sequence);

// Frees the batch; what is not generated yet will not be.
void ember_batch_free(struct ember_batch *batch);

/* ---- BEAM SEARCH -----------------------------------------------------------------------------
 * The likeliest rows of tokens, some at a time, instead of the likeliest token.
 */
// Rows that beam search found, best first.
typedef struct ember_beams ember_beams;

// What is chosen for a beam search. What is EMBER_UNSET or NULL is as the model's files advise, else as
// said here.
typedef struct ember_beam_options {
  // `sizeof(ember_beam_options)`; EMBER_BEAM_OPTIONS_INIT sets it.
  size_t struct_size;
  // Rows that are followed at once, 1 to 1024. Else 4.
  size_t beams;
  // Rows that are given back, 1 to `beams`. EMBER_UNSET: 1.
  size_t sequences;
  // Power of a row's length that the sum of its log-probabilities is divided by: above 0 favours long
  // rows, below 0 short ones. Since every number has a meaning, the place of one, or NULL. Else 1.
  const float *length_penalty;
  // When to stop. `full`: as soon as there are as many ended rows as beams; `likely`: when the best row
  // that goes on, at its present length, is worse than all ended ones; `never`: when it would be worse
  // at any length. Else `likely`.
  const char *early_stopping;
  // Stops the work from another thread; NULL for none. In ember_session_beams it stands in place of
  // ember_session_cancel.
  const ember_cancel_token *cancel;
} ember_beam_options;

/* Everything unset. */
#define EMBER_BEAM_OPTIONS_INIT \
    { sizeof(ember_beam_options), (size_t)EMBER_UNSET, (size_t)EMBER_UNSET, NULL, NULL, NULL }

// A row that beam search found.
typedef struct ember_beam {
  // The tokens after the prompt, with the one that ended the row.
  const uint32_t *ids;
  // How many.
  size_t len;
  // Their text, without special tokens; empty without a tokenizer.
  ember_text text;
  // The sum of the tokens' log-probabilities, divided by their number to the power of the length
  // penalty.
  float score;
} ember_beam;

// The likeliest continuations of a text of `len` bytes, or up to its NUL with EMBER_NUL, or answers to the
// source of an encoder-decoder, which the text then is; best first. Both kinds of options may be NULL; of
// those of a generation, what is for drawing does nothing.
//
// Errors: EMBER_ERROR_MISSING without a tokenizer or for an encoder; EMBER_ERROR_TOO_LONG for a prompt
// longer than the window; EMBER_ERROR_ARGUMENT for an option out of range, a temperature above 0 or texts
// in `stop`; EMBER_ERROR_CANCELLED; EMBER_ERROR_DEVICE; EMBER_ERROR_NOT_FINITE.
ember_status ember_model_beams(const ember_model *model,
                               const char *prompt,
                               size_t len,
                               const ember_generate_options *options,
                               const struct ember_beam_options *beam_options,
                               struct ember_beams **beams_out,
                               ember_error *error);

// The likeliest continuations from where the session stands, which is left there, best first. When blocks
// with a sliding window have let go of what they held, the session is empty after. Options are those of
// ember_model_beams.
//
// Errors: as ember_model_beams; EMBER_ERROR_ARGUMENT before any token was fed. When it stopped half way
// the session is empty after.
ember_status ember_session_beams(ember_session *session,
                                 const ember_generate_options *options,
                                 const struct ember_beam_options *beam_options,
                                 struct ember_beams **beams_out,
                                 ember_error *error);

// Row number `index`, best first; EMBER_DONE after the last. Its text and ids live as long as `beams`.
// `beam_size` is `sizeof(ember_beam)`.
ember_status ember_beams_get(const struct ember_beams *beams,
                             size_t index,
                             struct ember_beam *beam_out,
                             size_t beam_size,
                             ember_error *error);

// Frees the rows.
void ember_beams_free(struct ember_beams *beams);

/* ---- CHAT ------------------------------------------------------------------------------------
 * A conversation with a model: messages through the chat template of its files, and replies as
 * streams. Special tokens that are spelled out in a message count as such, as in every chat
 * template: keep them out of texts that are not to be trusted.
 */
// What a variable is.
typedef enum ember_variable_kind {
  // True or false: `number` is 1 or 0.
  EMBER_VARIABLE_BOOL = 1,
  // A whole number: `number`.
  EMBER_VARIABLE_NUMBER = 2,
  // A text: `text`.
  EMBER_VARIABLE_TEXT = 3,
} ember_variable_kind;

// A conversation: its messages, and the cache of what the model has read of it, so that a turn reads
// only what is new.
typedef struct ember_chat ember_chat;

// A message of a conversation.
typedef struct ember_message {
  // Who says it: `system`, `user`, `assistant`, `tool` or another name that the model's template
  // knows; ended by a NUL.
  const char *role;
  // What is said.
  const char *content;
  // Bytes of `content`, or EMBER_NUL for "up to the NUL".
  size_t content_len;
} ember_message;

// A variable of a chat template, such as `enable_thinking`. Which there are, the template says: see
// ember_model_chat_template.
typedef struct ember_variable {
  // Its name, ended by a NUL.
  const char *name;
  // What it is, an ember_variable_kind.
  uint32_t kind;
  // Its value, unless it is a text.
  int64_t number;
  // Its value if it is a text, ended by a NUL.
  const char *text;
} ember_variable;

// The chat template of the model's files, as they have it. The text lives as long as `model`.
//
// Errors: EMBER_ERROR_MISSING when they have none.
ember_status ember_model_chat_template(const ember_model *model,
                                       ember_text *text_out,
                                       ember_error *error);

// The text that the chat template makes of `count` messages, up to where the model answers. It
// holds its special tokens as text: encode it without further ones. `variable_count` variables may
// be given to the template. Writes the text's length in bytes to `len_out`, and the bytes, without
// a NUL, to `out` unless that is NULL.
//
// Errors: EMBER_ERROR_MISSING without a template; EMBER_ERROR_ARGUMENT for messages that the
// template refuses, or when `out` is too short; EMBER_ERROR_FORMAT and _UNSUPPORTED when the
// template is not what it should be.
ember_status ember_model_chat_prompt(const ember_model *model,
                                     const struct ember_message *messages,
                                     size_t count,
                                     const struct ember_variable *variables,
                                     size_t variable_count,
                                     char *out,
                                     size_t out_len,
                                     size_t *len_out,
                                     ember_error *error);

// Answers `count` messages; `options` may be NULL. For a conversation of several turns, an
// ember_chat keeps what was read.
//
// Errors: as ember_model_chat_prompt and ember_model_generate.
ember_status ember_model_generate_chat(const ember_model *model,
                                       const struct ember_message *messages,
                                       size_t count,
                                       const struct ember_variable *variables,
                                       size_t variable_count,
                                       const ember_generate_options *options,
                                       ember_stream **stream_out,
                                       ember_error *error);

// Begins a conversation, which keeps the model alive.
//
// Errors: EMBER_ERROR_MISSING for an encoder, or without a tokenizer or a chat template;
// EMBER_ERROR_FORMAT and _UNSUPPORTED when the template is not what it should be.
ember_status ember_model_chat(const ember_model *model,
                              struct ember_chat **chat_out,
                              ember_error *error);

// Frees the conversation; a reply that is being made goes on.
void ember_chat_free(struct ember_chat *chat);

// Sets the message that stands before all others and says how to answer; an earlier one gives way
// to it. `len` counts bytes or is EMBER_NUL.
ember_status ember_chat_system(struct ember_chat *chat,
                               const char *text,
                               size_t len,
                               ember_error *error);

// Adds a message without asking for a reply, such as one of an earlier conversation.
ember_status ember_chat_push(struct ember_chat *chat,
                             const struct ember_message *message,
                             ember_error *error);

// Sets a variable of the model's template for all that follows.
ember_status ember_chat_set(struct ember_chat *chat,
                            const struct ember_variable *variable,
                            ember_error *error);

// Says something as the user: `len` bytes, or up to the NUL with EMBER_NUL. `options` may be NULL.
// The reply comes as a stream, which keeps the conversation alive; its first ember_stream_next
// reads what is new to the model. One reply at a time: the next ember_chat_say or ember_chat_push
// ends it, as does freeing its stream, and what was read of it until then joins the messages.
//
// Errors: EMBER_ERROR_TOO_LONG when the conversation leaves no room in the window;
// EMBER_ERROR_ARGUMENT for an option out of range or messages that the template refuses;
// EMBER_ERROR_FORMAT and _UNSUPPORTED when the template is not what it should be. The messages are
// as before then, also when the stream fails later.
ember_status ember_chat_say(struct ember_chat *chat,
                            const char *text,
                            size_t len,
                            const ember_generate_options *options,
                            ember_stream **stream_out,
                            ember_error *error);

// Message number `index`; EMBER_DONE after the last. A reply is among them once it has ended. The
// texts live until the next call with this chat or a stream of it. `message_size` is
// `sizeof(ember_message)`.
ember_status ember_chat_message(struct ember_chat *chat,
                                size_t index,
                                struct ember_message *message_out,
                                size_t message_size,
                                ember_error *error);

// The text that the model would be asked to go on from now: the messages through the template.
// Where it goes is as in ember_model_chat_prompt.
//
// Errors: as ember_model_chat_prompt.
ember_status ember_chat_prompt(struct ember_chat *chat,
                               char *out,
                               size_t out_len,
                               size_t *len_out,
                               ember_error *error);

// The tokens that the model has read, whose keys and values are cached; where they go is as in
// ember_session_logits.
ember_status ember_chat_ids(struct ember_chat *chat,
                            uint32_t *out,
                            size_t out_len,
                            size_t *len_out,
                            ember_error *error);

// Stops the reply that is being made; it then ends as `cancelled`. May be called from any thread at
// any time. The next reply begins unhindered.
void ember_chat_cancel(const struct ember_chat *chat);

/* ---- STATIC WORD VECTORS ---------------------------------------------------------------------
 * A vector a word, whatever stands around it: word2vec, GloVe, fastText, and folders of model2vec.
 */
// Open word vectors, shared by all threads.
typedef struct ember_words ember_words;

// What word vectors are.
typedef struct ember_words_info {
  // One line: format, name, words, width.
  ember_text description;
  // `word2vec binary`, `word2vec text`, `GloVe text`, `fastText binary` or `token`.
  ember_text format;
  // Words of the file, or tokens of the folder (V).
  size_t count;
  // Numbers of a vector (D).
  size_t width;
  // Whether a word that is not in the file gets a vector from its pieces.
  bool has_subwords;
  // The file or folder that was opened.
  ember_text path;
} ember_words_info;

// What is chosen about embedding with word vectors.
typedef struct ember_word_options {
  // `sizeof(ember_word_options)`; EMBER_WORD_OPTIONS_INIT sets it.
  size_t struct_size;
  // What becomes of words without a vector: `error`, `skip`, `zero` or `subwords`. NULL: by
  // their pieces where the file has such, else skipped.
  const char *unknown;
  // Whether embeddings have length 1: 0, 1 or EMBER_UNSET, which is as the folder says.
  int32_t normalize;
  // 1 brings each word's vector to length 1 before the mean; 0 or EMBER_UNSET does not.
  int32_t unit_words;
  // 1 looks words up only as they stand; else also without punctuation and in lower case.
  int32_t exact;
  // Most tokens of a text, for folders.
  size_t max_tokens;
  // Keep the first numbers of a vector only.
  size_t dimensions;
} ember_word_options;

/* Everything unset. */
#define EMBER_WORD_OPTIONS_INIT \
    { sizeof(ember_word_options), NULL, EMBER_UNSET, EMBER_UNSET, EMBER_UNSET, \
      (size_t)EMBER_UNSET, (size_t)EMBER_UNSET }

// Opens word vectors, `path` ended by a NUL: a word2vec `.bin` or `.txt`, a fastText `.bin` or
// `.vec`, GloVe text, any of them in gzip, or a folder of model2vec or of sentence-transformers'
// StaticEmbedding. What a file is, is seen from its bytes. Leave it as it is while it is open.
//
// Errors: EMBER_ERROR_IO when a file cannot be read; EMBER_ERROR_FORMAT when it is none of these or
// broken; EMBER_ERROR_CONFIG and _UNSUPPORTED for what a folder's files say.
ember_status ember_words_open(const char *path, struct ember_words **words_out, ember_error *error);

// Frees the handle.
void ember_words_free(struct ember_words *words);

// Numbers of a vector (D); 0 for a handle that is none.
size_t ember_words_width(const struct ember_words *words);

// Says what the word vectors are; the texts live as long as `words`. `info_size` is
// `sizeof(ember_words_info)`.
ember_status ember_words_describe(const struct ember_words *words,
                                  struct ember_words_info *info_out,
                                  size_t info_size,
                                  ember_error *error);

// Word number `index`, or token as its vocabulary writes it. Writes its length in bytes to
// `len_out`, and the bytes, without a NUL, to `out` unless that is NULL.
//
// Errors: EMBER_ERROR_ARGUMENT for an index beyond the last word, or when `out` is too short.
ember_status ember_words_word(const struct ember_words *words,
                              size_t index,
                              char *out,
                              size_t out_len,
                              size_t *len_out,
                              ember_error *error);

// The number of `word`, exactly as the file has it. `len` counts bytes or is EMBER_NUL.
//
// Errors: EMBER_ERROR_ARGUMENT when the file has it not.
ember_status ember_words_index(const struct ember_words *words,
                               const char *word,
                               size_t len,
                               size_t *index_out,
                               ember_error *error);

// The vector of one word exactly as it stands, or of its pieces where the file has such. Writes
// [width] floats to `out`; `out_len` counts floats. `len` counts bytes or is EMBER_NUL.
//
// Errors: EMBER_ERROR_ARGUMENT for a word without a vector, or when `out` is too short.
ember_status ember_words_vector(const struct ember_words *words,
                                const char *word,
                                size_t len,
                                float *out,
                                size_t out_len,
                                ember_error *error);

// Embeds `count` texts, each ended by a NUL: the mean of the vectors of their words. Writes
// [count, width] floats to `out`, width = ember_words_width(words); `out_len` counts floats. A text
// without a known word gives zeros.
//
// Errors: EMBER_ERROR_ARGUMENT when `out` is too short or a text is NULL or no UTF-8;
// EMBER_ERROR_NOT_FINITE when the file's numbers are broken.
ember_status ember_words_embed(const struct ember_words *words,
                               const char *const *texts,
                               size_t count,
                               float *out,
                               size_t out_len,
                               ember_error *error);

// Embeds `count` texts as `options` say, which may be NULL. Text i is `lengths[i]` bytes long;
// `lengths` may be NULL when each is ended by a NUL. Writes [count, width] floats to `out`, where
// width is ember_words_width(words) unless `dimensions` makes it less. `cut_out` gets how many
// words or tokens of each text were left out, `count` numbers; it may be NULL.
//
// Errors: as ember_words_embed; EMBER_ERROR_ARGUMENT for an option out of range and for an unknown
// word under `error`; EMBER_ERROR_MISSING for `subwords` in a file without pieces.
ember_status ember_words_embed_with(const struct ember_words *words,
                                    const char *const *texts,
                                    const size_t *lengths,
                                    size_t count,
                                    const struct ember_word_options *options,
                                    float *out,
                                    size_t out_len,
                                    size_t *cut_out,
                                    ember_error *error);

// The words nearest to `word` by cosine, itself left out, best first: at most `count` go to `out`
// and their number to `len_out`. `len` counts bytes or is EMBER_NUL.
//
// Errors: EMBER_ERROR_ARGUMENT for a word without a vector; EMBER_ERROR_NOT_FINITE.
ember_status ember_words_nearest(const struct ember_words *words,
                                 const char *word,
                                 size_t len,
                                 ember_neighbor *out,
                                 size_t count,
                                 size_t *len_out,
                                 ember_error *error);

// The words nearest to a vector of `width` floats, as ember_words_nearest.
//
// Errors: EMBER_ERROR_ARGUMENT for another width; EMBER_ERROR_NOT_FINITE.
ember_status ember_words_nearest_to(const struct ember_words *words,
                                    const float *vector,
                                    size_t width,
                                    ember_neighbor *out,
                                    size_t count,
                                    size_t *len_out,
                                    ember_error *error);

// The words nearest to `a - b + c`, these three left out, as ember_words_nearest: `a` is to `b` as
// what is to `c`? Each is ended by a NUL.
//
// Errors: as ember_words_nearest.
ember_status ember_words_analogy(const struct ember_words *words,
                                 const char *a,
                                 const char *b,
                                 const char *c,
                                 ember_neighbor *out,
                                 size_t count,
                                 size_t *len_out,
                                 ember_error *error);

// The cosine of the angle between two words, each ended by a NUL, from -1 to 1; 0 when a vector is
// all zeros.
//
// Errors: as ember_words_nearest.
ember_status ember_words_similarity(const struct ember_words *words,
                                    const char *a,
                                    const char *b,
                                    float *cosine_out,
                                    ember_error *error);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* EMBERFORM_H */
