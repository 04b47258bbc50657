"""Reading words before writing pages: each image token names, through the output layer, the word that stands there.

Guarantees: only the vision tower, the last norm and the output layer are trained; what is asked for is where a block's
words lie, never how they are written. Why: a policy that has to find a word, read it and put it into a sentence at once
stays at chance for thousands of pages. Read from the image tokens themselves, words are learned within some hundred
steps, and the language model has only to fetch what they say already.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from training.base.page_blocks import HEIGHT, WIDTH
from training.base.teach import MERGE, PATCH, Teacher, patches
from training.data.synthetic_pages import WORDS, Block

TOKEN = PATCH * MERGE  # pixels of the resized picture
COLUMNS = WIDTH // TOKEN  # image tokens of a row


def places(blocks: Sequence[Block]) -> list[tuple[str, list[int]]]:
    """Each word with the image tokens among which it stands: its column of its block, or its line of a list."""
    found, top = [], 0
    for block in blocks:
        share = COLUMNS / len(block.words)
        for i, word in enumerate(block.words):
            rows = [top + i // 2] if block.kind == "list" else range(top, top + block.rows)
            inside = [c for c in range(COLUMNS) if block.kind == "list" or i * share <= c + 0.5 < (i + 1) * share]
            found.append((word, [row * COLUMNS + c for row in rows for c in inside]))
        top += block.rows
    return found


def loss(teacher: Teacher, shown: Sequence[Sequence[Block]], stack: np.ndarray) -> tuple[Tensor, Tensor]:
    """Of pictures of one size, (n, rows * HEIGHT, WIDTH, 3) bytes: mean nats a word, and which words come first. A
    word's probability is the mean over its tokens, so that one that reads it is enough."""
    rows = stack.shape[1] // HEIGHT
    grids = torch.tensor([[1, rows * MERGE, COLUMNS * MERGE]] * len(stack), device=teacher.device)
    core = teacher.model.model
    assert teacher.policy.adapter is not None
    seen = teacher.policy.adapter.see(core, patches(stack, teacher.mean, teacher.std, teacher.device), grids).features
    ids = [teacher.codec.encode(word) for word in WORDS]
    assert all(len(tokens) == 1 for tokens in ids), "a word of pages is more than one token"
    logits = teacher.model.lm_head(core.language_model.norm(seen))[:, [tokens[0] for tokens in ids]]
    shares = log_softmax(logits.float(), -1).view(len(stack), -1, len(WORDS))
    asked = [(n, word, tokens) for n, blocks in enumerate(shown) for word, tokens in places(blocks)]
    inside = torch.zeros(len(asked), shares.shape[1], dtype=torch.bool)
    for row, (_, _, tokens) in zip(inside, asked, strict=True):
        row[tokens] = True
    inside = inside.to(teacher.device)
    picture = torch.tensor([n for n, _, _ in asked], device=teacher.device)
    right = torch.tensor([WORDS.index(word) for _, word, _ in asked], device=teacher.device)
    scores = shares[picture].masked_fill(~inside[..., None], -math.inf).logsumexp(1) - inside.sum(1).log()[:, None]
    return -scores.gather(1, right[:, None]).mean(), scores.argmax(1) == right
