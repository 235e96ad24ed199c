// emberform.hpp - the C interface for C++17: handles that free themselves, exceptions, ranges.
//
// What each call does, and which errors it has, stands in emberform.h at the function of the same
// name. Objects move and do not copy. A `const` method may run on any number of threads at once.
#ifndef EMBERFORM_HPP
#define EMBERFORM_HPP

#include "emberform.h"

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if defined(__has_include)
#if __has_include(<version>)
#include <version>
#endif
#endif
#ifdef __cpp_lib_span
#include <span>
#endif

namespace emberform {

#ifdef __cpp_lib_span
template <class T>
using span = std::span<T>;
#else
// A view of values that somebody else owns, where std::span is missing.
template <class T>
class span {
  public:
    span() = default;
    span(T *data, std::size_t size) : data_(data), size_(size) {}
    template <class Container, class = decltype(std::declval<Container &>().data())>
    span(Container &values) : data_(values.data()), size_(values.size()) {}
    T *data() const { return data_; }
    std::size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    T *begin() const { return data_; }
    T *end() const { return data_ + size_; }
    T &operator[](std::size_t i) const { return data_[i]; }

  private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};
#endif

// What every failing call throws: the sentence, and the status as a number.
class Error : public std::runtime_error {
  public:
    explicit Error(const ember_error &error)
        : std::runtime_error(error.message), code_(error.status) {}
    ember_status code() const noexcept { return code_; }

  private:
    ember_status code_;
};

namespace detail {

inline std::string_view view(ember_text text) { return {text.data, text.len}; }

// Runs a call of the C interface; true unless it says EMBER_DONE.
template <class Call>
bool run(Call call) {
    ember_error error;
    ember_status status = call(&error);
    if (status >= EMBER_ERROR_ARGUMENT) throw Error(error);
    return status != EMBER_DONE;
}

template <class T, void (*free_)(T *)>
struct Free {
    void operator()(T *handle) const { free_(handle); }
};
template <class T, void (*free_)(T *)>
using Handle = std::unique_ptr<T, Free<T, free_>>;

// The pointers and lengths of texts.
struct Texts {
    std::vector<const char *> data;
    std::vector<std::size_t> lengths;
    explicit Texts(span<const std::string_view> texts) {
        for (std::string_view text : texts) {
            data.push_back(text.data() != nullptr ? text.data() : "");
            lengths.push_back(text.size());
        }
    }
};

// A text of ours as the C interface takes it: never NULL.
inline const char *begin(std::string_view text) {
    return text.data() != nullptr ? text.data() : "";
}

}  // namespace detail

// What is chosen for a generation; what is not set is as the model's files advise.
struct GenerateOptions {
    std::optional<std::size_t> max_tokens, top_k, penalty_window, logprobs, prefill_chunk;
    std::optional<float> temperature, top_p, min_p, repetition_penalty;
    float frequency_penalty = 0, presence_penalty = 0;
    std::optional<std::uint64_t> seed;
    std::vector<std::string> stop;
    std::vector<std::uint32_t> stop_ids;
    bool ignore_eos = false;
};

// What is chosen about embedding; what is not set is as the model's folder says.
struct EmbedOptions {
    std::optional<bool> normalize;
    std::optional<std::string> prompt, prompt_name, pooling;
    std::optional<std::size_t> max_tokens, dimensions, batch_tokens;
    const ember_cancel_token *cancel = nullptr;
};

namespace detail {

// The options in C's words; `stop` keeps what they point to.
inline ember_generate_options convert(const GenerateOptions &from, std::vector<const char *> &stop) {
    ember_generate_options to = EMBER_GENERATE_OPTIONS_INIT;
    to.max_tokens = from.max_tokens.value_or(to.max_tokens);
    to.temperature = from.temperature.value_or(to.temperature);
    to.top_k = from.top_k.value_or(to.top_k);
    to.top_p = from.top_p.value_or(to.top_p);
    to.min_p = from.min_p.value_or(to.min_p);
    to.repetition_penalty = from.repetition_penalty.value_or(to.repetition_penalty);
    to.frequency_penalty = from.frequency_penalty;
    to.presence_penalty = from.presence_penalty;
    to.penalty_window = from.penalty_window.value_or(to.penalty_window);
    to.seed = from.seed.value_or(to.seed);
    for (const std::string &text : from.stop) stop.push_back(text.c_str());
    to.stop = stop.data();
    to.stop_count = stop.size();
    to.stop_ids = from.stop_ids.data();
    to.stop_id_count = from.stop_ids.size();
    to.logprobs = from.logprobs.value_or(to.logprobs);
    to.prefill_chunk = from.prefill_chunk.value_or(to.prefill_chunk);
    to.ignore_eos = from.ignore_eos ? 1 : 0;
    return to;
}

}  // namespace detail

// A token as it was chosen.
struct Token {
    std::uint32_t id;
    float logprob;
    std::vector<std::pair<std::uint32_t, float>> top;
};

// Text as it is generated: `for (std::string_view piece : stream)`. A piece lives until the next.
class Stream {
  public:
    explicit Stream(ember_stream *handle) : handle_(handle) {}

    // The next piece; nothing at the end.
    std::optional<std::string_view> next() {
        ember_text piece;
        if (!detail::run([&](ember_error *error) {
                return ember_stream_next(handle_.get(), &piece, error);
            }))
            return std::nullopt;
        return detail::view(piece);
    }

    // The token behind the last piece, if there is one.
    std::optional<Token> token() {
        ember_token found;
        if (!detail::run([&](ember_error *error) {
                return ember_stream_token(handle_.get(), &found, sizeof found, error);
            }))
            return std::nullopt;
        Token token{found.id, found.logprob, {}};
        for (std::size_t i = 0; i < found.top_len; i++)
            token.top.emplace_back(found.top[i].id, found.top[i].logprob);
        return token;
    }

    // All text that is still to come.
    std::string text() {
        ember_text text;
        detail::run([&](ember_error *error) {
            return ember_stream_text(handle_.get(), &text, error);
        });
        return std::string(detail::view(text));
    }

    // Counts, times, and why it ended.
    ember_stats stats() {
        ember_stats stats;
        detail::run([&](ember_error *error) {
            return ember_stream_stats(handle_.get(), &stats, sizeof stats, error);
        });
        return stats;
    }

    // Stops the stream; from any thread.
    void cancel() const { ember_stream_cancel(handle_.get()); }

    class iterator {
      public:
        using iterator_category = std::input_iterator_tag;
        using value_type = std::string_view;
        using difference_type = std::ptrdiff_t;
        using pointer = const std::string_view *;
        using reference = const std::string_view &;
        iterator() = default;
        explicit iterator(Stream *stream) : stream_(stream) { ++*this; }
        reference operator*() const { return piece_; }
        iterator &operator++() {
            std::optional<std::string_view> piece = stream_->next();
            if (piece) piece_ = *piece;
            else stream_ = nullptr;
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(const iterator &other) const { return stream_ == other.stream_; }
        bool operator!=(const iterator &other) const { return stream_ != other.stream_; }

      private:
        Stream *stream_ = nullptr;
        std::string_view piece_;
    };
    iterator begin() { return iterator(this); }
    iterator end() { return iterator(); }

  private:
    detail::Handle<ember_stream, ember_stream_free> handle_;
};

// Embeddings, one row a text.
class Embeddings {
  public:
    Embeddings(std::vector<float> values, std::size_t width, std::vector<std::size_t> cut)
        : values_(std::move(values)), width_(width), cut_(std::move(cut)) {
        values_.resize(width_ * cut_.size());
    }
    std::size_t size() const { return cut_.size(); }
    std::size_t width() const { return width_; }
    span<const float> operator[](std::size_t i) const {
        return span<const float>(values_.data() + i * width_, width_);
    }
    // All numbers, row after row.
    const std::vector<float> &values() const { return values_; }
    // Tokens of each text that were beyond the limit and left out.
    const std::vector<std::size_t> &cut() const { return cut_; }

  private:
    std::vector<float> values_;
    std::size_t width_;
    std::vector<std::size_t> cut_;
};

// The tokens of a text.
struct Encoding {
    std::vector<std::uint32_t> ids, type_ids;
    std::vector<ember_span> offsets;
    std::vector<bool> special;
    std::size_t cut = 0;
};

// Text to token ids and back.
class Tokenizer {
  public:
    explicit Tokenizer(ember_tokenizer *handle) : handle_(handle) {}

    // Opens a `tokenizer.json`.
    static Tokenizer open(const std::string &path) {
        ember_tokenizer *handle;
        detail::run([&](ember_error *error) {
            return ember_tokenizer_open(path.c_str(), &handle, error);
        });
        return Tokenizer(handle);
    }

    Encoding encode(std::string_view text, bool special = true) const {
        ember_encodings *found;
        detail::run([&](ember_error *error) {
            return ember_tokenizer_encode(handle_.get(), detail::begin(text), text.size(), special,
                                          &found, error);
        });
        detail::Handle<ember_encodings, ember_encodings_free> owner(found);
        ember_encoding one;
        detail::run([&](ember_error *error) {
            return ember_encodings_get(found, 0, &one, sizeof one, error);
        });
        Encoding encoding;
        encoding.ids.assign(one.ids, one.ids + one.len);
        encoding.type_ids.assign(one.type_ids, one.type_ids + one.len);
        encoding.offsets.assign(one.offsets, one.offsets + one.len);
        encoding.special.assign(one.special, one.special + one.len);
        encoding.cut = one.cut;
        return encoding;
    }

    std::string decode(span<const std::uint32_t> ids, bool skip_special = true) const {
        std::size_t len = 0;
        auto call = [&](char *out, std::size_t room) {
            detail::run([&](ember_error *error) {
                return ember_tokenizer_decode(handle_.get(), ids.data(), ids.size(), skip_special,
                                              out, room, &len, error);
            });
        };
        call(nullptr, 0);
        std::string text(len, '\0');
        call(&text[0], len);
        return text;
    }

    std::size_t count(std::string_view text, bool special = true) const {
        std::size_t count = 0;
        detail::run([&](ember_error *error) {
            return ember_tokenizer_count(handle_.get(), detail::begin(text), text.size(), special,
                                         &count, error);
        });
        return count;
    }

    // Token ids are below this.
    std::size_t size() const { return ember_tokenizer_len(handle_.get()); }

  private:
    detail::Handle<ember_tokenizer, ember_tokenizer_free> handle_;
};

// One sequence of tokens with its cache.
class Session {
  public:
    explicit Session(ember_session *handle) : handle_(handle) {}

    void feed(span<const std::uint32_t> ids) {
        detail::run([&](ember_error *error) {
            return ember_session_feed(handle_.get(), ids.data(), ids.size(), error);
        });
    }
    void feed_text(std::string_view text) {
        detail::run([&](ember_error *error) {
            return ember_session_feed_text(handle_.get(), detail::begin(text), text.size(), error);
        });
    }
    // The log-odds of each next token; empty before the first.
    std::vector<float> logits() {
        std::size_t len = 0;
        auto call = [&](float *out, std::size_t room) {
            detail::run([&](ember_error *error) {
                return ember_session_logits(handle_.get(), out, room, &len, error);
            });
        };
        call(nullptr, 0);
        std::vector<float> logits(len);
        if (len > 0) call(logits.data(), len);
        return logits;
    }
    Stream generate(const GenerateOptions &options = {}) {
        std::vector<const char *> stop;
        ember_generate_options given = detail::convert(options, stop);
        ember_stream *stream;
        detail::run([&](ember_error *error) {
            return ember_session_generate(handle_.get(), &given, &stream, error);
        });
        return Stream(stream);
    }
    void reset() {
        detail::run([&](ember_error *error) { return ember_session_reset(handle_.get(), error); });
    }
    void cancel() const { ember_session_cancel(handle_.get()); }

  private:
    detail::Handle<ember_session, ember_session_free> handle_;
};

// An open model, shared by all threads.
class Model {
  public:
    // Opens a Hugging Face folder or a GGUF file on `auto`, `cpu`, `gpu:0`, ...
    static Model open(const std::string &path, const std::string &device = "auto") {
        ember_open_options options = EMBER_OPEN_OPTIONS_INIT;
        options.device = device.c_str();
        ember_model *model;
        detail::run([&](ember_error *error) {
            return ember_model_open(path.c_str(), &options, &model, error);
        });
        return Model(model);
    }

    // Numbers of an embedding.
    std::size_t width() const { return ember_model_width(handle_.get()); }

    // What the model is; its texts live as long as the model.
    ember_model_info info() const {
        ember_model_info info;
        detail::run([&](ember_error *error) {
            return ember_model_describe(handle_.get(), &info, sizeof info, error);
        });
        return info;
    }
    // One line: family, name, layers, width, parameters, format, device.
    std::string_view description() const { return detail::view(info().description); }
    // The network on one page.
    std::string_view spec() const {
        ember_text text;
        detail::run([&](ember_error *error) { return ember_model_spec(handle_.get(), &text, error); });
        return detail::view(text);
    }

    Embeddings embed(span<const std::string_view> texts, const EmbedOptions &options = {}) const {
        ember_embed_options given = EMBER_EMBED_OPTIONS_INIT;
        if (options.normalize) given.normalize = *options.normalize ? 1 : 0;
        given.prompt = options.prompt ? options.prompt->c_str() : nullptr;
        given.prompt_name = options.prompt_name ? options.prompt_name->c_str() : nullptr;
        given.pooling = options.pooling ? options.pooling->c_str() : nullptr;
        given.max_tokens = options.max_tokens.value_or(given.max_tokens);
        given.dimensions = options.dimensions.value_or(given.dimensions);
        given.batch_tokens = options.batch_tokens.value_or(given.batch_tokens);
        given.cancel = options.cancel;
        detail::Texts all(texts);
        std::vector<float> values(texts.size() * options.dimensions.value_or(this->width()));
        std::vector<std::size_t> cut(texts.size());
        std::size_t width = 0;
        detail::run([&](ember_error *error) {
            return ember_model_embed_with(handle_.get(), all.data.data(), all.lengths.data(),
                                          texts.size(), &given, values.data(), values.size(),
                                          &width, cut.data(), error);
        });
        return Embeddings(std::move(values), width, std::move(cut));
    }

    Stream generate(std::string_view prompt, const GenerateOptions &options = {}) const {
        std::vector<const char *> stop;
        ember_generate_options given = detail::convert(options, stop);
        ember_stream *stream;
        detail::run([&](ember_error *error) {
            return ember_model_generate(handle_.get(), detail::begin(prompt), prompt.size(), &given,
                                        &stream, error);
        });
        return Stream(stream);
    }

    Session session() const {
        ember_session *session;
        detail::run([&](ember_error *error) {
            return ember_model_session(handle_.get(), &session, error);
        });
        return Session(session);
    }

    Tokenizer tokenizer() const {
        ember_tokenizer *tokenizer;
        detail::run([&](ember_error *error) {
            return ember_model_tokenizer(handle_.get(), &tokenizer, error);
        });
        return Tokenizer(tokenizer);
    }

    // The handle, for functions that only the C interface has.
    const ember_model *get() const { return handle_.get(); }

  private:
    explicit Model(ember_model *handle) : handle_(handle) {}
    detail::Handle<ember_model, ember_model_free> handle_;
};

}  // namespace emberform

#endif  // EMBERFORM_HPP
