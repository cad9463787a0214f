"""Steps of a method in one process, or shared by several; run as a program by `torchrun`'s rules.

    RANK=0 WORLD_SIZE=2 ... python -m tests.support.rank_steps FOLDER METHOD ...

Process 0 writes FOLDER/METHOD.pt: loss terms of every step, and the state after the last.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from segmentation.training.distributed.ranks import joined
from tests.support.small_parts import LATE, batch, make_tiny

STEPS = 3


def steps(name, ranks, **options):
    """Loss terms of some steps and the state after them.

    Every process learns from its own half of the batch that one process learns from.
    """
    method = make_tiny(name, **options).train()
    ranks.share(method)
    optimizer = torch.optim.SGD(
        [each for each in method.parameters() if each.requires_grad],
        lr=0.01, momentum=0.9, weight_decay=1e-4,
    )  # fmt: skip
    terms = []
    for step in range(LATE, LATE + STEPS):
        whole = batch(step)
        own = ranks.gather(_part(whole, ranks))
        optimizer.zero_grad(set_to_none=True)
        with ranks.passes():
            losses = method(own, step)
        torch.stack(list(losses.values())).sum().backward()
        ranks.average_gradients(method)
        optimizer.step()
        method.after_step(step)
        terms.append({key: float(value.detach()) for key, value in losses.items()})
    return terms, method.state_dict()


def _part(whole, ranks):
    share = len(whole.image) // ranks.size
    own = slice(ranks.rank * share, (ranks.rank + 1) * share)
    return replace(
        whole, image=whole.image[own], label=whole.label[own], unlabeled=whole.unlabeled[own]
    )


def main(folder, *names):
    """Run every method; a word `NAME:text:batch:0.5` has text, norm and dropout.

    In float64, also where the code asks for float32: rounding of another order of sums, which
    batch norm and kinks of ReLU amplify within steps, cannot pass for a fault, nor hide one.
    """
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    with joined(torch.device("cpu")) as ranks:
        for word in names:
            name, text, norm, dropout = word.split(":")
            options = {"text": text == "text", "norm": norm, "dropout": float(dropout)}
            result = steps(name, ranks, **options)
            if ranks.first:
                torch.save(result, Path(folder) / f"{word.replace(':', '-')}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
