"""Supervised training on labeled patches: the lower bound of every comparison."""

from torch import Tensor

from segmentation.methods.base.method import Batch, Method, MethodContext


class Supervised(Method):
    """Half cross-entropy, half Dice; with alignment, labeled features against the text."""

    needs_unlabeled = False

    def __init__(self, context: MethodContext) -> None:
        super().__init__(context)  # no consistency options: unlabeled patches are not used

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """`cross_entropy`, `dice` and, with alignment, `contrast`."""
        output = self.network(batch.image)
        terms = self.supervised_terms(output.logits, batch.label)
        if self.uses_alignment(step):
            generator = self.generator(step, batch.image.device)
            terms["contrast"] = self.contrast(self.network, output.deep, batch.label, generator)
        return terms
