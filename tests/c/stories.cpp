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
    auto model = emberform::Model::open(words[2], "cpu");
    const std::string kind = words[1];
    if (kind == "embed") {
        std::vector<std::string_view> texts(words + 4, words + count);
        emberform::EmbedOptions options;
        if (*words[3] != '\0') options.prompt_name = words[3];
        auto rows = model.embed(texts, options);
        for (std::size_t i = 0; i < rows.size(); i++) {
            for (float value : rows[i]) bits(value);
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
            for (unsigned char byte : chat.prompt()) std::printf("%02x", unsigned(byte));
            std::printf("\n");
        }
    }
    return 0;
} catch (const emberform::Error &error) {
    std::cerr << error.what() << "\n";
    return 1;
}
