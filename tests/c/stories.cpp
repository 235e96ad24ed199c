// One story of tests/stories.json through the C++ header: as stories.c.

#include <emberform.hpp>

#include <cstdio>
#include <cstring>
#include <iostream>

static void bits(float value) {
    std::uint32_t word;
    std::memcpy(&word, &value, sizeof word);
    std::printf("%08x", unsigned(word));
}

static void hex(std::string_view text) {
    for (unsigned char byte : text) std::printf("%02x", unsigned(byte));
}

static void rows(const emberform::Embeddings &embeddings) {
    for (std::size_t i = 0; i < embeddings.size(); i++) {
        for (float value : embeddings[i]) bits(value);
        std::printf("\n");
    }
}

static void line(const std::vector<std::uint32_t> &ids) {
    for (std::uint32_t id : ids) std::printf("%u ", unsigned(id));
    std::printf("\n");
}

// All tokens of a stream.
static void print(emberform::Stream stream) {
    std::vector<std::uint32_t> ids;
    std::vector<float> logprobs;
    for (std::string_view piece : stream) {
        (void)piece;
        if (auto token = stream.token()) {
            ids.push_back(token->id);
            logprobs.push_back(token->logprob);
        }
    }
    line(ids);
    for (float logprob : logprobs) bits(logprob);
    std::printf("\n");
}

int main(int count, char **words) try {
    if (count < 4) return 2;
    const std::string kind = words[1];
    if (kind == "words" && count >= 5) {
        auto vectors = emberform::WordVectors::open(words[2]);
        rows(vectors.embed(std::vector<std::string_view>(words + 5, words + count)));
        for (const emberform::Neighbor &one : vectors.nearest(words[3], std::stoul(words[4]))) {
            hex(one.word);
            std::printf(",");
            bits(one.cosine);
            std::printf("\n");
        }
        return 0;
    }
    emberform::OpenOptions open;
    open.device = "cpu";
    if (kind == "embed" && *words[3] != '\0') open.precision = words[3];
    auto model = emberform::Model::open(words[2], open);
    if (kind == "embed" && count >= 5) {
        std::vector<std::string_view> texts(words + 5, words + count);
        emberform::EmbedOptions options;
        if (*words[4] != '\0') options.prompt_name = words[4];
        rows(model.embed(texts, options));
    } else if (kind == "task") {
        std::vector<std::string_view> texts(words + 4, words + count);
        emberform::TokenOptions options;
        options.aggregation = words[3];
        for (const auto &row : model.token_classify(texts, options)) {
            for (const emberform::Entity &one : row) {
                hex(one.label);
                std::printf(",");
                hex(one.text);
                std::printf(",");
                bits(one.score);
                std::printf("\n");
            }
            std::printf("\n");
        }
    } else if (kind == "tokenize") {
        auto tokenizer = model.tokenizer();
        for (int i = 3; i < count; i++) line(tokenizer.encode(words[i]).ids);
    } else if (count >= 7) {
        emberform::GenerateOptions options;
        options.max_tokens = std::stoul(words[4]);
        options.temperature = std::stof(words[5]);
        options.seed = std::stoull(words[6]);
        if (kind == "generate") {
            print(model.generate(words[3], options));
        } else {
            auto chat = model.chat();
            chat.system(words[3]);
            for (int i = 7; i < count; i++) print(chat.say(words[i], options));
            hex(chat.prompt());
            std::printf("\n");
        }
    }
    return 0;
} catch (const emberform::Error &error) {
    std::cerr << error.what() << "\n";
    return 1;
}
