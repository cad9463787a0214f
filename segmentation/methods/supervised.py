"""Labeled patches alone: the floor of every comparison."""

from torch import Tensor

from segmentation.method import Batch, Method


class Supervised(Method):
    """Half cross-entropy, half Dice; with alignment, labeled features against the text."""

    needs_unlabeled = False

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """`cross_entropy`, `dice` and, with alignment, `contrast`."""
        if not self.aligns(step):
            return self.supervised(self.network, batch)
        output = self.network(batch.image)
        generator = self.generator(step, batch.image.device)
        return {
            "cross_entropy": self.loss.cross_entropy(output.logits, batch.label) / 2,
            "dice": self.loss.dice(output.logits, batch.label) / 2,
            "contrast": self.contrast(self.network, output.deep, batch.label, generator),
        }
