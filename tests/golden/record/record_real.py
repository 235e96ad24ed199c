#!/usr/bin/env python3
"""Record next-token logits of the two real GGUF models, dequantized to float32 by transformers.

  python record_real.py MODELS WORK [gemma3-270m] [qwen25-coder-0.5b]

MODELS holds the files that examples/models/fetch.py gets. WORK receives the dequantized folders (3 GB), the full logits
`<model>-logits.npy` [prompts, V] and `<model>-prompts.json`. What is small goes beside this file: `<model>.safetensors`.
"""
import json
import pathlib
import sys

import record  # pins the versions and one thread

import numpy as np
import torch
from safetensors.numpy import save_file

MODELS = {"gemma3-270m": "gemma3-270m-q4_k_m.gguf", "qwen25-coder-0.5b": "qwen25-coder-0.5b-q4_k_m.gguf"}
TOP = 512
GREEDY = 8, 24  # prompts and tokens
LONG = {"gemma3-270m": [600, 250, 120, 100, 80], "qwen25-coder-0.5b": [300, 200, 120, 100, 80]}  # tokens of the prompts cut from STORY

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a village at the foot of the mountains, there lived an old clockmaker who",
    "Water boils at 100 degrees Celsius at sea level, but on the top of a high mountain it boils",
    "Q: What is the largest planet in the solar system?\nA:",
    "The three primary colours are red, green and",
    "In 1969, Neil Armstrong became the first person to walk on the",
    "To make an omelette, you first need to break the eggs, then whisk them with a little milk and",
    "She opened the letter slowly, her hands shaking. It had been eleven years since she had last heard from him, and now, in the "
    "middle of an ordinary Tuesday, here was his handwriting on the envelope. She read the first line twice before she understood that",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "fn main() {\n    let numbers = vec![1, 2, 3, 4];\n    let sum: i32 = numbers.iter().",
    "#include <stdio.h>\n\nint main(void) {\n    for (int i = 0; i < 10; i++) {\n        printf(",
    "SELECT name, COUNT(*) AS n\nFROM orders\nJOIN customers ON customers.id = orders.customer_id\nWHERE total > 100\nGROUP BY",
    "import numpy as np\n\ndef softmax(x):\n    \"\"\"Softmax over the last axis.\"\"\"\n    e = np.exp(x - x.max(axis=-1, keepdims=True))\n    return",
    "const fetchUser = async (id) => {\n  const response = await fetch(`/api/users/${id}`);\n  if (!response.ok) {\n    throw new",
    "{\n  \"name\": \"example\",\n  \"version\": \"1.0.0\",\n  \"dependencies\": {\n    \"",
    "<!DOCTYPE html>\n<html>\n  <head>\n    <title>",
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n        self.items.append(item)\n\n    def pop(self):\n        return self.items.",
    "git commit -m \"Fix the off-by-one error in the",
    "Es war einmal ein Müller, der hatte drei Söhne, seine Mühle, einen Esel und einen Kater; die Söhne mußten mahlen, der Esel",
    "La capitale de l'Italie est Rome, et celle de l'Espagne est",
    "En un lugar de la Mancha, de cuyo nombre no quiero acordarme, no ha mucho tiempo que vivía un",
    "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива",
    "日本の首都は",
    "吾輩は猫である。名前はまだ無い。どこで生れたか",
    "床前明月光，疑是地上霜。举头望明月，",
    "대한민국의 수도는",
    "عاصمة مصر هي",
    "भारत की राजधानी",
    "เมืองหลวงของประเทศไทยคือ",
    "Η πρωτεύουσα της Ελλάδας είναι η",
    "1, 1, 2, 3, 5, 8, 13, 21, 34,",
    "The recipe 🍝 needs: 2 eggs 🥚🥚, cheese 🧀 and",
    "a b c d e f g h i j k l m n o p q r s t u v w x",
    "Translate English to French.\nsea otter => loutre de mer\npeppermint => menthe poivrée\ncheese =>",
    "According to the report, revenue grew by 12.5% to $3,417.20 million in the second quarter of 2023, while operating costs fell to",
]
STORY = """The harbour was quiet in the early morning. A thin fog lay over the water, and the boats knocked gently against the wooden piers.
Marta had been awake since four; she had walked down the steps with her lamp, counted the nets, and found that one was missing. Nobody in
the village stole nets. Nobody in the village stole anything, apart from the gulls. She sat on an upturned crate and thought about the man
who had come on the evening bus with a suitcase and no coat. He had asked for a room, paid for three nights with new notes, and gone to bed
without supper. The innkeeper said that he spoke like a man from the capital. The baker said that he spoke like a man who had been ill.
When the fog lifted, the missing net lay spread over the rocks on the far side of the bay, and in the middle of it, shining like a coin,
was something that did not belong there. It was a brass instrument, part compass and part clock, with three hands that turned at different
speeds. Old Pedro, who had sailed for forty years, had never seen one like it. The schoolmaster turned it over and read the words on the
back aloud, slowly, because they were in Latin: I count the tides that have not come. That night the lights in the inn went out one after
another. The stranger's window stayed lit the longest. Marta watched it from her kitchen, with the instrument ticking on the table before
her, and she noticed that the smallest of the three hands no longer turned forwards. It moved back, a little with each tick, towards a mark
that somebody had scratched into the glass by hand. She wrapped it in a cloth and put on her boots. On the way to the inn she passed the
boats, the crates and the steps, and counted the nets again from habit, and this time there was one too many. She stopped. From the end of
the pier came the sound of somebody humming, a tune that her grandmother used to hum when she mended sails, and that she had never heard
from anybody else. The fog was coming back. She held up the lamp, called out, and waited for an answer. What came back across the water was
her own voice, but the words were not the ones that she had called; and as she stood there listening, the stranger stepped out of the dark
with the missing coat over his arm and said, in a voice as calm as the sea: I believe that you have found my"""


@torch.no_grad()
def main():
    record.check_versions()
    models, work = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for name in sys.argv[3:] or MODELS:
        file, folder = MODELS[name], work / f"{name}-f32"
        if not folder.exists():
            m = AutoModelForCausalLM.from_pretrained(models, gguf_file=file, dtype=torch.float32)
            if hasattr(m.config, "quantization_config"):  # else it counts as quantized and refuses to be saved
                del m.config.quantization_config
            m.hf_quantizer = None
            m.save_pretrained(folder)
            AutoTokenizer.from_pretrained(models, gguf_file=file).save_pretrained(folder)
        tok = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        prompts = [tok(p)["input_ids"] for p in PROMPTS]
        bos, story = tok("")["input_ids"], tok(STORY.replace("\n", " "), add_special_tokens=False)["input_ids"]
        for i, n in enumerate(LONG[name]):  # a story that is too short is told again
            prompts.append((bos + story[i * 40 :] + story)[:n])
        logits = np.stack([model(torch.tensor([p]), logits_to_keep=1).logits[0, -1].numpy() for p in prompts])
        np.save(work / f"{name}-logits.npy", logits)
        (work / f"{name}-prompts.json").write_text(json.dumps(prompts))

        ids = np.full((len(prompts), max(map(len, prompts))), -1, np.int32)
        for i, p in enumerate(prompts):
            ids[i, : len(p)] = p
        order = np.argsort(-logits, axis=1, kind="stable")[:, :TOP].astype(np.int32)
        wide = logits.astype(np.float64)
        peak = wide.max(1, keepdims=True)
        lse = np.log(np.exp(wide - peak).sum(1)) + peak[:, 0]

        count, steps = GREEDY
        greedy, margins = np.zeros((count, steps), np.int32), np.zeros((count, steps), np.float32)
        for i, p in enumerate(prompts[:count]):
            out, past = torch.tensor([p]), None
            for s in range(steps):
                r = model(out if past is None else out[:, -1:], past_key_values=past, use_cache=True, logits_to_keep=1)
                past, top = r.past_key_values, r.logits[0, -1].topk(2)
                greedy[i, s], margins[i, s] = top.indices[0].item(), (top.values[0] - top.values[1]).item()
                out = torch.cat([out, top.indices[:1][None]], 1)
            print(repr(tok.decode(out[0].tolist())))
        save_file({"prompts": ids, "lengths": np.array([len(p) for p in prompts], np.int32), "top_ids": order,
                   "top_logits": np.take_along_axis(logits, order.astype(np.int64), 1), "logsumexp": lse.astype(np.float32),
                   "greedy": greedy, "greedy_margins": margins}, record.GOLDEN / "real" / f"{name}.safetensors")
        top2 = -np.sort(-logits, axis=1)[:, :2]
        print(name, len(prompts), "prompts of", min(map(len, prompts)), "to", max(map(len, prompts)), "tokens; margins over 0.02:",
              int(((top2[:, 0] - top2[:, 1]) > 0.02).sum()))


if __name__ == "__main__":
    main()
