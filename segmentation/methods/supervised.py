"""Labeled patches alone: the floor of every comparison."""

from torch import Tensor

from segmentation.method import Batch, Method


class Supervised(Method):
    """Half cross-entropy, half Dice; with alignment, labeled features against the text."""

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """`cross_entropy`, `dice` and, with alignment, `contrast`."""
        network = self.network
        if network.contrast is None or self.share(step) < network.contrast.start:
            return self.supervised(network, batch)
        output = network(batch.image)
        embeddings = network.contrast.project(output.deep)
        generator = self.generator(step, batch.image.device)
        return {
            "cross_entropy": self.loss.cross_entropy(output.logits, batch.label) / 2,
            "dice": self.loss.dice(output.logits, batch.label) / 2,
            "contrast": network.align(embeddings, batch.label, generator),
        }
