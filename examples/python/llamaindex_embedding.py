"""Emberform as the embedding of LlamaIndex: `pip install llama-index-core`.

python examples/python/llamaindex_embedding.py [MODEL]
"""

import sys
from typing import Any

from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import TextNode

import emberform


class EmberformEmbedding(BaseEmbedding):
    """Texts as they are; queries with the model's prompt for queries, where it has one."""

    _model: emberform.Model = PrivateAttr()

    def __init__(self, model: emberform.Model, **options: Any) -> None:
        super().__init__(model_name=model.path.name, **options)
        self._model = model

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return [[float(x) for x in row] for row in self._model.embed(texts)]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        prompt = "query" if "query" in self._model.prompts else None
        return [float(x) for x in self._model.embed(query, prompt_name=prompt)]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


def main() -> None:
    path = sys.argv[1] if len(sys.argv) > 1 else "models/minilm"
    texts = [
        "Simmer the tomatoes for an hour and add basil at the end.",
        "Refunds reach your card within five days of the return.",
        "Strong winds and heavy rain are expected along the coast tonight.",
    ]
    embedding = EmberformEmbedding(emberform.open(path))
    index = VectorStoreIndex([TextNode(text=text) for text in texts], embed_model=embedding)
    for found in index.as_retriever(similarity_top_k=2).retrieve("When do I get my money back?"):
        print(f"{found.score or 0:.2f}  {found.text}")


if __name__ == "__main__":
    main()
