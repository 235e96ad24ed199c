/* Wrong uses of the interface: each is a status and a sentence, and nothing is written.
 *
 *   misuse GOLDEN [quick]     GOLDEN: small checkpoints, as run.sh lays them out; quick: no look for
 *                             GPUs, whose drivers are not what valgrind is asked about
 */
#include "check.h"

static ember_error error;

/* Expects a status, and a word that the sentence must have. */
static void expect(const char *what, ember_status found, ember_status wanted, const char *word) {
    char line[64];
    int good = found == wanted && error.status == found && error.message[0] != '\0' &&
               strlen(error.message) < sizeof error.message && strstr(error.message, word) != NULL;
    snprintf(line, sizeof line, "status %d, wanted %d", (int)found, (int)wanted);
    check(good, what, good ? "" : error.message);
    if (found != wanted) printf("  %s\n", line);
}

#define ARGUMENT(word, call) \
    (memset(&error, 1, sizeof error), expect(#call, (call), EMBER_ERROR_ARGUMENT, (word)))
#define EXPECT(status, word, call) \
    (memset(&error, 1, sizeof error), expect(#call, (call), (status), (word)))

static bool stop_at_once(void *user, ember_text piece) {
    (void)piece;
    ++*(int *)user;
    return false;
}

/* Uses the stream that it is called for, which must be refused. */
static bool reenter(void *user, ember_text piece) {
    ember_text text;
    (void)piece;
    ARGUMENT("in use", ember_stream_next((ember_stream *)user, &text, &error));
    return false;
}

/* Conversations with a model whose template refuses critics. */
static void chats(const char *golden, ember_model *encoder, ember_model *decoder) {
    ember_open_options cpu = EMBER_OPEN_OPTIONS_INIT;
    ember_generate_options generate = EMBER_GENERATE_OPTIONS_INIT;
    ember_model *model = NULL;
    ember_chat *chat = NULL;
    ember_stream *stream = NULL, *second = NULL;
    ember_text text = {NULL, 0};
    ember_message message = {"user", "hi", EMBER_NUL}, found = {NULL, NULL, 0};
    ember_variable variable = {"short", EMBER_VARIABLE_BOOL, 1, NULL};
    char path[512], out[64], longest[400];
    size_t len = 77;

    cpu.device = "cpu";
    snprintf(path, sizeof path, "%s/chat", golden);
    must(ember_model_open(path, &cpu, &model, &error), &error);
    EXPECT(EMBER_ERROR_MISSING, "encoder", ember_model_chat(encoder, &chat, &error));
    EXPECT(EMBER_ERROR_MISSING, "chat template", ember_model_chat(decoder, &chat, &error));
    EXPECT(EMBER_ERROR_MISSING, "chat template", ember_model_chat_template(decoder, &text, &error));
    EXPECT(EMBER_ERROR_MISSING, "chat template",
           ember_model_generate_chat(decoder, &message, 1, NULL, 0, NULL, &stream, &error));
    ARGUMENT("text_out", ember_model_chat_template(model, NULL, &error));
    ARGUMENT("chat_out", ember_model_chat(model, NULL, &error));

    ARGUMENT("messages", ember_model_chat_prompt(model, NULL, 1, NULL, 0, out, 64, &len, &error));
    ARGUMENT("variables", ember_model_chat_prompt(model, &message, 1, NULL, 1, out, 64, &len, &error));
    ARGUMENT("needed", ember_model_chat_prompt(model, &message, 1, NULL, 0, out, 1, &len, &error));
    ARGUMENT("len_out", ember_model_chat_prompt(model, &message, 1, NULL, 0, out, 64, NULL, &error));
    variable.kind = 0;
    ARGUMENT("variables[0].kind", ember_model_chat_prompt(model, &message, 1, &variable, 1, out, 64, &len, &error));
    variable.kind = EMBER_VARIABLE_BOOL, variable.number = 7;
    ARGUMENT("variables[0].number", ember_model_chat_prompt(model, &message, 1, &variable, 1, out, 64, &len, &error));
    variable.kind = EMBER_VARIABLE_TEXT;
    ARGUMENT("variables[0].text", ember_model_chat_prompt(model, &message, 1, &variable, 1, out, 64, &len, &error));
    variable.kind = EMBER_VARIABLE_NUMBER, variable.name = NULL;
    ARGUMENT("variables[0].name", ember_model_chat_prompt(model, &message, 1, &variable, 1, out, 64, &len, &error));
    message.role = NULL;
    ARGUMENT("messages[0].role", ember_model_chat_prompt(model, &message, 1, NULL, 0, out, 64, &len, &error));
    message.role = "";
    ARGUMENT("role", ember_model_chat_prompt(model, &message, 1, NULL, 0, out, 64, &len, &error));
    message.role = "critic";
    ARGUMENT("no critics", ember_model_chat_prompt(model, &message, 1, NULL, 0, out, 64, &len, &error));
    ARGUMENT("no critics", ember_model_generate_chat(model, &message, 1, NULL, 0, NULL, &stream, &error));
    message.role = "user", message.content = NULL;
    ARGUMENT("messages[0].content", ember_model_chat_prompt(model, &message, 1, NULL, 0, out, 64, &len, &error));
    message.content = "a\xff";
    ARGUMENT("UTF-8", ember_model_chat_prompt(model, &message, 1, NULL, 0, out, 64, &len, &error));
    message.content = "hi";
    check(len == 77 && stream == NULL, "nothing is written on failure", "");

    ARGUMENT("NULL", ember_chat_say(NULL, "hi", 2, NULL, &stream, &error));
    ARGUMENT("no ember_chat", ember_chat_say((ember_chat *)model, "hi", 2, NULL, &stream, &error));
    ember_chat_cancel(NULL);
    ember_chat_cancel((ember_chat *)model);
    must(ember_model_chat(model, &chat, &error), &error);
    ARGUMENT("text", ember_chat_say(chat, NULL, EMBER_NUL, NULL, &stream, &error));
    ARGUMENT("UTF-8", ember_chat_system(chat, "a\xff", EMBER_NUL, &error));
    ARGUMENT("stream_out", ember_chat_say(chat, "hi", 2, NULL, NULL, &error));
    ARGUMENT("message", ember_chat_push(chat, NULL, &error));
    ARGUMENT("variable", ember_chat_set(chat, NULL, &error));
    generate.top_p = 2;
    ARGUMENT("top_p", ember_chat_say(chat, "hi", 2, &generate, &stream, &error));
    generate.top_p = EMBER_UNSET, generate.ignore_eos = 1;
    memset(longest, 'x', sizeof longest);
    EXPECT(EMBER_ERROR_TOO_LONG, "window", ember_chat_say(chat, longest, sizeof longest, &generate, &stream, &error));
    message.role = "critic";
    must(ember_chat_push(chat, &message, &error), &error);
    ARGUMENT("no critics", ember_chat_say(chat, "hi", 2, &generate, &stream, &error));
    ARGUMENT("no critics", ember_chat_prompt(chat, out, 64, &len, &error));
    check(must(ember_chat_message(chat, 1, &found, sizeof found, &error), &error) == EMBER_DONE,
          "what was refused is not said", "");
    ARGUMENT("size", ember_chat_message(chat, 0, &found, 0, &error));
    ARGUMENT("message_out", ember_chat_message(chat, 0, NULL, sizeof found, &error));
    ember_chat_free(chat);
    must(ember_model_chat(model, &chat, &error), &error);
    generate.max_tokens = 3;
    must(ember_chat_say(chat, "hi", 2, &generate, &stream, &error), &error);
    must(ember_stream_next(stream, &text, &error), &error);
    must(ember_chat_say(chat, "ho", 2, &generate, &second, &error), &error);
    ARGUMENT("later message", ember_stream_next(stream, &text, &error));
    check(must(ember_stream_next(stream, &text, &error), &error) == EMBER_DONE, "then it has ended", "");
    ember_stream_free(stream);
    ember_chat_free(chat);
    ember_chat_free(chat);
    ARGUMENT("freed", ember_chat_prompt(chat, out, 64, &len, &error));
    ember_model_free(model);
    must(ember_stream_text(second, &text, &error), &error); /* the stream keeps all it needs */
    ember_stream_free(second);
}

int main(int count, char **words) {
    char encoder_path[512], decoder_path[512], path[512];
    ember_open_options cpu = EMBER_OPEN_OPTIONS_INIT;
    ember_model *encoder = NULL, *decoder = NULL, *foreign = (ember_model *)words;
    ember_tokenizer *tokenizer = NULL;
    ember_encodings *encodings = NULL;
    ember_session *session = NULL;
    ember_stream *stream = NULL;
    ember_devices *devices = NULL;
    ember_cancel_token *cancel = NULL;
    ember_text text = {NULL, 0};
    ember_encoding encoding;
    ember_token token;
    ember_stats stats;
    ember_model_info info;
    ember_tensor_info tensor;
    ember_device_info device;
    float out[4096];
    size_t len = 77, lengths[2] = {2, 1};
    uint32_t ids[3] = {1, 2, 3}, huge[1] = {4000000000u};
    const uint32_t *rows[2], *null_rows[1] = {NULL};
    const char *texts[2] = {"a cat", "a dog"}, *null_texts[2] = {"a", NULL}, *bad[1] = {"a\xff"};
    char buffer[4];
    ember_embed_options embed = EMBER_EMBED_OPTIONS_INIT;
    ember_forward_options forward = EMBER_FORWARD_OPTIONS_INIT;
    ember_generate_options generate = EMBER_GENERATE_OPTIONS_INIT;
    ember_decode_stream *decode = NULL;
    int quick = count == 3;
    if (count < 2) return 2;
    rows[0] = ids, rows[1] = ids;
    snprintf(encoder_path, sizeof encoder_path, "%s/st-prompts", words[1]);
    snprintf(decoder_path, sizeof decoder_path, "%s/st-decoder", words[1]);

    /* Opening. */
    cpu.device = "cpu";
    ARGUMENT("path", ember_model_open(NULL, &cpu, &encoder, &error));
    ARGUMENT("UTF-8", ember_model_open("a\xff", &cpu, &encoder, &error));
    ARGUMENT("model_out", ember_model_open(encoder_path, &cpu, NULL, &error));
    EXPECT(EMBER_ERROR_IO, "no/such", ember_model_open("no/such", &cpu, &encoder, &error));
    snprintf(path, sizeof path, "%s/README.md", words[1]);
    check(ember_model_open(path, &cpu, &encoder, &error) >= EMBER_ERROR_ARGUMENT, "a text file", "");
    EXPECT(EMBER_ERROR_IO, "", ember_tokenizer_open("no/such.json", &tokenizer, &error));
    cpu.device = "toaster";
    ARGUMENT("toaster", ember_model_open(encoder_path, &cpu, &encoder, &error));
    cpu.device = "gpu:99";
    if (!quick)
        EXPECT(EMBER_ERROR_DEVICE, "gpu:99", ember_model_open(encoder_path, &cpu, &encoder, &error));
    cpu.device = "cpu";
    cpu.struct_size = 0;
    ARGUMENT("struct_size", ember_model_open(encoder_path, &cpu, &encoder, &error));
    cpu.struct_size = 1000;
    ARGUMENT("struct_size", ember_model_open(encoder_path, &cpu, &encoder, &error));
    cpu.struct_size = sizeof cpu;
    check(encoder == NULL, "nothing is written on failure", "");
    check(ember_model_open("no/such", &cpu, &encoder, NULL) == EMBER_ERROR_IO, "no error struct", "");
    must(ember_model_open(encoder_path, &cpu, &encoder, &error), &error);
    must(ember_model_open(decoder_path, &cpu, &decoder, &error), &error);
    check(error.status == EMBER_OK && error.message[0] == '\0', "success clears the error", "");

    /* Handles that are none. */
    ARGUMENT("NULL", ember_model_embed(NULL, texts, 2, out, 4096, &error));
    ARGUMENT("never was", ember_model_embed(foreign, texts, 2, out, 4096, &error));
    ARGUMENT("never was", ember_model_spec((ember_model *)(uintptr_t)1, &text, &error));
    ARGUMENT("no ember_session", ember_session_feed((ember_session *)encoder, ids, 3, &error));
    ARGUMENT("no ember_stream", ember_stream_next((ember_stream *)encoder, &text, &error));
    check(ember_model_width(NULL) == 0 && ember_model_width(foreign) == 0, "width of none", "");
    check(ember_devices_count(NULL) == 0, "count of none", "");
    check(ember_tokenizer_len(NULL) == 0 && ember_encodings_count(NULL) == 0, "length of none", "");
    check(!ember_verification_passed(NULL), "verification of none", "");
    ember_model_free(NULL);
    ember_model_free(foreign);
    ember_session_free((ember_session *)encoder); /* another kind: left alone */
    check(ember_model_width(encoder) > 0, "freed as another kind", "");
    ember_session_cancel(NULL);
    ember_stream_cancel((ember_stream *)encoder);
    ember_cancel_token_cancel(NULL);

    /* Describing. */
    ARGUMENT("info_out", ember_model_describe(encoder, NULL, sizeof info, &error));
    ARGUMENT("size", ember_model_describe(encoder, &info, 0, &error));
    ARGUMENT("size", ember_model_describe(encoder, &info, 3, &error));
    must(ember_model_describe(encoder, &info, sizeof info, &error), &error);
    ARGUMENT("index", ember_model_tensor(encoder, info.tensors, &tensor, sizeof tensor, &error));
    ARGUMENT("index", ember_model_prompt(encoder, (size_t)-1, &text, &text, &error));
    ARGUMENT("text_out", ember_model_spec(encoder, NULL, &error));
    if (!quick) {
        must(ember_devices_list(&devices, &error), &error);
        ARGUMENT("index", ember_devices_get(devices, 1000, &device, sizeof device, &error));
        ember_devices_free(devices);
        ARGUMENT("freed", ember_devices_get(devices, 0, &device, sizeof device, &error));
    }

    /* Embedding. */
    ARGUMENT("texts", ember_model_embed(encoder, NULL, 2, out, 4096, &error));
    ARGUMENT("texts[1]", ember_model_embed(encoder, null_texts, 2, out, 4096, &error));
    ARGUMENT("UTF-8", ember_model_embed(encoder, bad, 1, out, 4096, &error));
    ARGUMENT("needed", ember_model_embed(encoder, texts, 2, out, 2 * info.width - 1, &error));
    ARGUMENT("out", ember_model_embed(encoder, texts, 2, NULL, 4096, &error));
    ARGUMENT("aligned", ember_model_embed(encoder, texts, 2, (float *)((char *)out + 1), 4095, &error));
    ARGUMENT("memory", ember_model_embed(encoder, texts, (size_t)1 << 62, out, 4096, &error));
    EXPECT(EMBER_OK, "", (ember_model_embed(encoder, NULL, 0, NULL, 0, &error),
                          strcpy(error.message, "-"), error.status)); /* no text, no row */
    lengths[0] = (size_t)1 << 63;
    ARGUMENT("memory", ember_model_embed_with(encoder, texts, lengths, 1, NULL, out, 4096, NULL, NULL, &error));
    lengths[0] = 2;
    embed.normalize = 7;
    ARGUMENT("normalize", ember_model_embed_with(encoder, texts, NULL, 2, &embed, out, 4096, NULL, NULL, &error));
    embed.normalize = EMBER_UNSET, embed.pooling = "sideways";
    EXPECT(EMBER_ERROR_UNSUPPORTED, "sideways", ember_model_embed_with(encoder, texts, NULL, 2, &embed, out, 4096, NULL, NULL, &error));
    embed.pooling = NULL, embed.prompt_name = "nobody";
    ARGUMENT("nobody", ember_model_embed_with(encoder, texts, NULL, 2, &embed, out, 4096, NULL, NULL, &error));
    embed.prompt_name = NULL, embed.dimensions = 0;
    ARGUMENT("dimensions", ember_model_embed_with(encoder, texts, NULL, 2, &embed, out, 4096, NULL, NULL, &error));
    embed.dimensions = (size_t)EMBER_UNSET, embed.max_tokens = 0;
    ARGUMENT("max_tokens", ember_model_embed_with(encoder, texts, NULL, 2, &embed, out, 4096, NULL, NULL, &error));
    embed.max_tokens = (size_t)EMBER_UNSET, embed.cancel = (ember_cancel_token *)encoder;
    ARGUMENT("cancel", ember_model_embed_with(encoder, texts, NULL, 2, &embed, out, 4096, NULL, NULL, &error));
    must(ember_cancel_token_new(&cancel, &error), &error);
    ember_cancel_token_cancel(cancel);
    embed.cancel = cancel;
    EXPECT(EMBER_ERROR_CANCELLED, "cancelled",
           ember_model_embed_with(encoder, texts, NULL, 2, &embed, out, 4096, NULL, NULL, &error));
    forward.cancel = cancel;
    EXPECT(EMBER_ERROR_CANCELLED, "cancelled",
           ember_model_forward_with(decoder, rows, lengths, 2, &forward, out, 4096, &error));
    ember_cancel_token_free(cancel);
    ember_cancel_token_free(cancel);
    ARGUMENT("freed", ember_model_embed_with(encoder, texts, NULL, 2, &embed, out, 4096, NULL, NULL, &error));
    ARGUMENT("freed", ember_model_forward_with(decoder, rows, lengths, 2, &forward, out, 4096, &error));
    forward.cancel = NULL, forward.struct_size = 1;
    ARGUMENT("struct_size", ember_model_forward_with(decoder, rows, lengths, 2, &forward, out, 4096, &error));
    embed.cancel = NULL;
    ARGUMENT("width_out", ember_model_embedding_width(encoder, &embed, NULL, &error));
    embed.dimensions = 100000;
    ARGUMENT("dimensions", ember_model_embedding_width(encoder, &embed, &len, &error));
    ARGUMENT("dimensions", ember_model_embed_with(encoder, texts, NULL, 2, &embed, out, 4096, NULL, NULL, &error));

    /* The network. */
    out[0] = 7;
    ARGUMENT("rows", ember_model_forward(decoder, NULL, lengths, 2, out, 4096, &error));
    ARGUMENT("rows[0]", ember_model_forward(decoder, null_rows, lengths, 1, out, 4096, &error));
    ARGUMENT("lengths", ember_model_forward(decoder, rows, NULL, 2, out, 4096, &error));
    ARGUMENT("needed", ember_model_forward(decoder, rows, lengths, 2, out, 3, &error));
    rows[0] = huge, lengths[0] = 1;
    ARGUMENT("4000000000", ember_model_forward(decoder, rows, lengths, 1, out, 4096, &error));
    check(out[0] == 7, "nothing is written on failure", "");

    /* Tokenizers. */
    must(ember_model_tokenizer(encoder, &tokenizer, &error), &error);
    ARGUMENT("text", ember_tokenizer_encode(tokenizer, NULL, EMBER_NUL, true, &encodings, &error));
    ARGUMENT("text", ember_tokenizer_encode(tokenizer, NULL, 3, true, &encodings, &error));
    ARGUMENT("UTF-8", ember_tokenizer_encode(tokenizer, "a\xc3", 2, true, &encodings, &error));
    ARGUMENT("encodings_out", ember_tokenizer_encode(tokenizer, "a", 1, true, NULL, &error));
    ARGUMENT("limit", ember_tokenizer_encode_batch(tokenizer, texts, NULL, 2, true, 0, &encodings, &error));
    ARGUMENT("stride", ember_tokenizer_encode_windows(tokenizer, "a b c", 5, false, 2, 2, &encodings, &error));
    must(ember_tokenizer_encode(tokenizer, "", 0, true, &encodings, &error), &error);
    ARGUMENT("index", ember_encodings_get(encodings, 1, &encoding, sizeof encoding, &error));
    ember_encodings_free(encodings);
    ember_encodings_free(encodings);
    ARGUMENT("freed", ember_encodings_get(encodings, 0, &encoding, sizeof encoding, &error));
    ARGUMENT("ids", ember_tokenizer_decode(tokenizer, huge, 1, true, NULL, 0, &len, &error));
    ARGUMENT("ids", ember_tokenizer_decode(tokenizer, NULL, 1, true, NULL, 0, &len, &error));
    ARGUMENT("len_out", ember_tokenizer_decode(tokenizer, ids, 1, true, NULL, 0, NULL, &error));
    ARGUMENT("needed", ember_tokenizer_token(tokenizer, 0, buffer, 0, &len, &error));
    ARGUMENT("id", ember_tokenizer_token(tokenizer, huge[0], NULL, 0, &len, &error));
    ARGUMENT("token", ember_tokenizer_id(tokenizer, "no such token", EMBER_NUL, ids, &error));
    ARGUMENT("needed", ember_tokenizer_to_bytes(tokenizer, (uint8_t *)buffer, 4, &len, &error));
    ARGUMENT("stream_out", ember_tokenizer_stream(tokenizer, true, NULL, &error));
    check(len == 77, "no length is written on failure", "");
    check(!ember_tokenizer_is_special(tokenizer, huge[0]) && !ember_tokenizer_is_special(NULL, 0), "special", "");
    must(ember_tokenizer_stream(tokenizer, true, &decode, &error), &error);
    ARGUMENT("4000000000", ember_decode_stream_push(decode, huge[0], &text, &error));
    ARGUMENT("text_out", ember_decode_stream_push(decode, 1, NULL, &error));
    ARGUMENT("no ember_tokenizer", ember_tokenizer_count((ember_tokenizer *)decode, "a", 1, true, &len, &error));
    ember_decode_stream_free(decode);
    ember_decode_stream_free(decode);
    ARGUMENT("freed", ember_decode_stream_finish(decode, &text, &error));
    ember_tokenizer_free(tokenizer);
    tokenizer = NULL;
    ARGUMENT("bytes", ember_tokenizer_from_bytes(NULL, 3, &tokenizer, &error));
    ARGUMENT("memory", ember_tokenizer_from_bytes((const uint8_t *)buffer, (size_t)1 << 63, &tokenizer, &error));
    EXPECT(EMBER_ERROR_FORMAT, "bytes", ember_tokenizer_from_bytes((const uint8_t *)"{]", 2, &tokenizer, &error));
    check(tokenizer == NULL, "no tokenizer is made of nonsense", "");
    ARGUMENT("NULL", ember_tokenizer_count(tokenizer, "a", 1, true, &len, &error));

    /* Sessions and streams. */
    EXPECT(EMBER_ERROR_MISSING, "encoder", ember_model_session(encoder, &session, &error));
    EXPECT(EMBER_ERROR_MISSING, "", ember_model_generate(encoder, "a", 1, NULL, &stream, &error));
    must(ember_model_session(decoder, &session, &error), &error);
    ARGUMENT("session", ember_session_generate(session, NULL, &stream, &error)); /* nothing is fed */
    ARGUMENT("ids", ember_session_feed(session, NULL, 3, &error));
    ARGUMENT("4000000000", ember_session_feed(session, huge, 1, &error));
    ARGUMENT("needed", ember_session_forward(session, ids, 3, out, 2, &error));
    must(ember_session_feed(session, ids, 3, &error), &error);
    ARGUMENT("needed", ember_session_logits(session, out, 1, &len, &error));
    ARGUMENT("bytes_out", ember_session_cache_bytes(session, NULL, &error));
    {
        static uint32_t many[100000];
        EXPECT(EMBER_ERROR_TOO_LONG, "window", ember_session_feed(session, many, 100000, &error));
    }
    generate.temperature = -3;
    ARGUMENT("temperature", ember_session_generate(session, &generate, &stream, &error));
    generate.temperature = EMBER_UNSET, generate.top_p = 2;
    ARGUMENT("top_p", ember_session_generate(session, &generate, &stream, &error));
    generate.top_p = EMBER_UNSET, generate.stop_count = 1;
    ARGUMENT("stop", ember_session_generate(session, &generate, &stream, &error));
    generate.stop_count = 0, generate.stop_id_count = 1, generate.stop_ids = huge;
    ARGUMENT("stop_ids", ember_session_generate(session, &generate, &stream, &error));
    generate.stop_id_count = 0, generate.prefill_chunk = 0;
    ARGUMENT("prefill_chunk", ember_session_generate(session, &generate, &stream, &error));
    generate.prefill_chunk = (size_t)EMBER_UNSET, generate.ignore_eos = 1, generate.max_tokens = 8;
    must(ember_session_generate(session, &generate, &stream, &error), &error);
    ARGUMENT("piece_out", ember_stream_next(stream, NULL, &error));
    ARGUMENT("on_text", ember_stream_run(stream, NULL, NULL, &error));
    check(ember_stream_token(stream, &token, sizeof token, &error) == EMBER_DONE, "no token yet", "");
    len = 0;
    {
        int calls = 0;
        must(ember_stream_run(stream, stop_at_once, &calls, &error), &error);
        check(calls == 1 && error.status == EMBER_OK, "a pause", "");
    }
    must(ember_stream_run(stream, reenter, stream, &error), &error);
    must(ember_session_feed(session, ids, 1, &error), &error);
    ARGUMENT("changed", ember_stream_next(stream, &text, &error));
    check(ember_stream_next(stream, &text, &error) == EMBER_DONE, "nothing after an error", "");
    ARGUMENT("size", ember_stream_stats(stream, &stats, 5, &error));
    ember_stream_free(stream);
    ember_stream_free(stream);
    ARGUMENT("freed", ember_stream_next(stream, &text, &error));
    ember_session_cancel(session);
    EXPECT(EMBER_ERROR_CANCELLED, "cancelled", ember_session_feed(session, ids, 3, &error));
    must(ember_session_reset(session, &error), &error);
    must(ember_session_feed(session, ids, 3, &error), &error);

    ARGUMENT("NULL", ember_session_truncate(NULL, 1, &error));
    must(ember_session_truncate(session, 1, &error), &error);
    ARGUMENT("session", ember_session_generate(session, NULL, &stream, &error)); /* no logits */

    chats(words[1], encoder, decoder);

    /* Any order of freeing; what was freed is an error ever after. */
    ember_model_free(decoder);
    must(ember_session_feed(session, ids, 3, &error), &error);
    ember_model_free(decoder);
    ARGUMENT("freed", ember_model_session(decoder, &session, &error));
    ember_session_free(session);
    ember_session_free(session);
    ARGUMENT("freed", ember_session_feed(session, ids, 3, &error));
    ember_model_free(encoder);
    ARGUMENT("freed", ember_model_embed(encoder, texts, 2, out, 4096, &error));

    /* The log is set once. */
    ARGUMENT("function", ember_log_set(NULL, NULL, EMBER_LOG_INFO, &error));
    return done();
}
