// Searches the paragraphs of a text file by meaning.
//
//   search FILE QUERY [MODEL [DEVICE]]

#include <emberform.hpp>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>

int main(int count, char **words) try {
    std::ifstream file(count > 1 ? words[1] : "README.md");
    std::stringstream content;
    content << file.rdbuf();
    const std::string text = content.str();
    std::vector<std::string_view> paragraphs;
    for (std::size_t at = 0, end; at < text.size(); at = end + 2) {
        end = std::min(text.find("\n\n", at), text.size());
        if (end - at > 20) paragraphs.push_back(std::string_view(text).substr(at, end - at));
    }

    auto model = emberform::Model::open(count > 3 ? words[3] : "models/minilm",
                                        count > 4 ? words[4] : "auto");
    emberform::Embeddings rows = model.embed(paragraphs);
    std::vector<std::string_view> question{count > 2 ? words[2] : "Which models does it open?"};
    emberform::Embeddings query = model.embed(question);

    for (ember_neighbor near : rows.nearest(query[0], 3))
        std::printf("%.2f  %s\n\n", near.cosine, std::string(paragraphs[near.index]).c_str());
} catch (const emberform::Error &error) {
    std::cerr << "emberform: " << error.what() << " (" << error.code() << ")\n";
    return 1;
}
