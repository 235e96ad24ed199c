"""Emberform as the embeddings of LangChain: `pip install langchain-core`.

python examples/python/langchain_embeddings.py [MODEL]
"""

import sys

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore

import emberform


class EmberformEmbeddings(Embeddings):
    """Documents as they are; queries with the model's prompt for queries, where it has one."""

    def __init__(self, model: emberform.Model) -> None:
        self.model = model
        self.query_prompt = "query" if "query" in model.prompts else None

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float(x) for x in row] for row in self.model.embed(texts)]

    def embed_query(self, text: str) -> list[float]:
        return [float(x) for x in self.model.embed(text, prompt_name=self.query_prompt)]


def main() -> None:
    path = sys.argv[1] if len(sys.argv) > 1 else "models/minilm"
    store = InMemoryVectorStore(EmberformEmbeddings(emberform.open(path)))
    store.add_documents(
        [
            Document("Simmer the tomatoes for an hour and add basil at the end."),
            Document("Refunds reach your card within five days of the return."),
            Document("Strong winds and heavy rain are expected along the coast tonight."),
        ]
    )
    for document, score in store.similarity_search_with_score("When do I get my money back?", k=2):
        print(f"{score:.2f}  {document.page_content}")


if __name__ == "__main__":
    main()
