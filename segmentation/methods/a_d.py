"""A&D, aggregating and decoupling (Wang & Li, NeurIPS 2023, arXiv 2310.20271).

Legend of shapes: L labeled and U unlabeled patches, B any, C classes, `x y z` space.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segmentation.losses import most_probable
from segmentation.methods.base.difficulty import TracksDifficulty
from segmentation.methods.base.method import Batch, Method, MethodContext
from segmentation.networks.diffusion import STEPS, NoiseSchedule, TimeCode
from segmentation.networks.heads.base.head import Head
from segmentation.networks.network import DEEP, Network, Output
from segmentation.networks.vnet import Unit, VNet, build_decoder, decode_levels

_TIME_WIDTH = 512


class AD(Method, TracksDifficulty):
    """A decoder that removes noise from label maps and a difficulty-weighted one teach a third.

    One encoder has three decoders: the denoising one reads the image and a noisy label map and
    knows the time of the noise, the weighted one learns hard classes, the inference decoder is that
    of the network itself.

    L = CE + Dice of the clean map that is predicted from Y with noise of a random time
        + CE_w + Dice_w of the weighted decoder, w the difficulty of the first one's predictions
        + u ramp (CE + Dice) of the inference decoder on unlabeled patches, against the arg-max of
          the smoothed sample of a diffusion plus the softmax of the weighted decoder.

    After every step the inference decoder moves by 1 - `average` toward the mean of the other two.
    Warm-up steps, which the paper does not have, train it on the labels as well, without class
    weights. The released code leaves w without an upper limit (`bounded = false`): it reaches 39
    times C for a class that was never learned. Time enters after every level, not in the stages.

    Cost: `samples` + 3 passes; with the published 10 a step takes 7 times one of plain training.

    Args:
        consistency_weight: weight u of the loss on unlabeled patches.
        consistency_ramp: share of the run; 0 for the full weight from the start.
        samples: steps of the diffusion that gives pseudo-labels.
        average: share of its weights that the inference decoder keeps in a step; 1 for all.
        memory: steps over which the difficulty is averaged.
        bounded: whether the largest class weight is C.
    """

    pseudo_labels = True

    def __init__(
        self,
        context: MethodContext,
        *,
        consistency_weight: float = 10.0,
        consistency_ramp: float = 1.0,
        samples: int = 10,
        average: float = 0.99,
        memory: int = 50,
        bounded: bool = True,
    ) -> None:
        super().__init__(
            context, consistency_weight=consistency_weight, consistency_ramp=consistency_ramp
        )
        if not 1 <= samples <= STEPS:
            raise ValueError(f"samples: expected 1 to {STEPS}, got {samples}")
        if not 0 <= average <= 1:
            raise ValueError(f"average: expected a share in [0, 1], got {average}")
        self.samples, self.average, self.classes = samples, average, context.classes
        vnet = self.network.vnet
        self.denoiser = Denoiser(vnet, context.classes)
        self.weighted = Decoder(vnet, context.build().head)
        self.schedule = NoiseSchedule()
        self.begin_difficulty(context.classes, memory=memory, keep_absent=True, bounded=bounded)

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """`denoise`, `difficulty`, `pseudo` and, with alignment, `contrast`."""
        labeled = len(batch.image)
        generator = self.generator(step, batch.image.device)
        features = self.network.encode(torch.cat([batch.image, batch.unlabeled]))
        weighted = self.weighted.logits(features, self.network.vectors)
        terms = self._labeled_terms(batch, weighted[:labeled], generator, observe=True)
        with torch.no_grad():
            mixture = self._pseudo_scores(batch.unlabeled, weighted[labeled:], generator)
            target = most_probable(mixture)
            kept = self.trusted(target, mixture.log())
        inferred = self.network.read([level[labeled:] for level in features]).logits.float()
        pseudo = self.loss.pseudo_cross_entropy(inferred, target, mask=kept) + self.loss.dice(
            inferred, target, mask=kept
        )
        terms["pseudo"] = self.unlabeled_weight(step) * pseudo
        if self.uses_alignment(step):
            confident = self.confident_labels(mixture / mixture.sum(1, keepdim=True), step)
            labels = torch.cat([batch.label, confident])
            deep = features[-DEEP:]
            terms["contrast"] = self.contrast(self.network, deep, labels, generator)
        return terms

    def warm_up(self, batch: Batch) -> dict[str, Tensor]:
        """All three decoders on the labeled patches."""
        features = self.network.encode(batch.image)
        weighted = self.weighted.logits(features, self.network.vectors)
        # `forward` has seeded the global generator from the step; statistics begin later.
        generator = torch.Generator(batch.image.device).manual_seed(torch.initial_seed())
        terms = self._labeled_terms(batch, weighted, generator, observe=False)
        return terms | self.supervised_terms(self.network.read(features).logits, batch.label)

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Move the inference decoder toward the mean of the other two."""
        pairs = (
            (self.network.vnet.up, self.denoiser.decoder.up, self.weighted.up),
            (self.network.vnet.decoder, self.denoiser.decoder.decoder, self.weighted.decoder),
        )
        for own, *others in pairs:
            for weight, *sources in zip(
                own.parameters(), *(each.parameters() for each in others), strict=True
            ):
                weight.lerp_(torch.stack(sources).mean(0), 1 - self.average)

    def predictors(self) -> dict[str, nn.Module]:
        """The inference decoder, and the weighted one."""
        return {
            "inference": self.network,
            "weighted": _WeightedPredictor(self.network, self.weighted),
        }

    def _labeled_terms(
        self, batch: Batch, weighted: Tensor, generator: torch.Generator, *, observe: bool
    ) -> dict[str, Tensor]:
        """Losses of the denoising and of the weighted decoder; may update the difficulty."""
        label, device = batch.label, batch.label.device
        numbers = torch.arange(self.classes, device=device)[:, None, None, None]
        clean = 2 * (label[:, None] == numbers).float() - 1  # F.one_hot waits for the device
        times = torch.randint(0, STEPS, (len(label),), generator=generator, device=device)
        noise = torch.randn(clean.shape, generator=generator, device=device)
        denoised = self._denoised(batch.image, self.schedule.noisy(clean, times, noise), times)
        weights = None
        if observe:
            with torch.no_grad():
                self.observe_difficulty(most_probable(denoised), label)
            weights = self.difficulty.clone()
        return {
            "denoise": self.loss.cross_entropy(denoised, label) + self.loss.dice(denoised, label),
            "difficulty": self.loss.cross_entropy(weighted, label, weights)
            + self.loss.dice(weighted, label, weights),
        }

    def _pseudo_scores(
        self, unlabeled: Tensor, weighted: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Scores of the classes on unlabeled patches [U, C, x, y, z], not negative."""
        shape, device = weighted.shape, weighted.device
        noise = torch.randn(shape, generator=generator, device=device)

        def predict(noisy: Tensor, times: Tensor) -> Tensor:
            return self._denoised(unlabeled, noisy, times)

        clean = self.schedule.sample(predict, noise, self.samples)
        uniform = torch.rand(shape, generator=generator, device=device).clamp(1e-6, 1 - 1e-6)
        sampled = (clean - (-uniform.log()).log()).softmax(1)  # Gumbel noise
        return smoothed(sampled) + weighted.softmax(1)

    def _denoised(self, image: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        """The label map [B, C, x, y, z] that the denoising decoder predicts, in fp32."""
        return self.denoiser(self.network.vnet, image, noisy, times).float()


class Decoder(nn.Module):
    """A decoder like the V-Net's, with a head."""

    def __init__(self, vnet: VNet, head: Head) -> None:
        super().__init__()
        self.up, self.decoder = build_decoder(vnet.widths, vnet.norm)
        self.dropout, self.head = vnet.dropout, head

    def logits(self, features: Sequence[Tensor], vectors: Tensor | None) -> Tensor:
        """Logits [B, C, x, y, z] in fp32 from the encoder's features, finest first."""
        finest = decode_levels(features, self.up, self.decoder)[0]
        return self.head(self.dropout(finest), list(features[-DEEP:]), vectors).float()


class Denoiser(nn.Module):
    """First stage, time codes and decoder for noisy label maps; the encoder is the network's."""

    def __init__(self, vnet: VNet, classes: int) -> None:
        super().__init__()
        self.first = Unit(nn.Conv3d(1 + classes, vnet.width, 3, padding=1), vnet.width, vnet.norm)
        self.time = TimeCode(_TIME_WIDTH)
        self.biases = nn.ModuleList(nn.Linear(_TIME_WIDTH, width) for width in vnet.widths)
        self.decoder = _Stages(vnet)
        self.head = nn.Conv3d(vnet.width, classes, 1)

    def forward(self, vnet: VNet, image: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        """The clean label map [B, C, x, y, z] of a noisy one at times [B]."""
        code = F.silu(self.time(times))
        biases = [layer(code)[:, :, None, None, None] for layer in self.biases]
        features = [self.first(torch.cat([image, noisy], dim=1)) + biases[0]]
        stages = zip(vnet.down, list(vnet.encoder)[1:], biases[1:], strict=True)
        for down, stage, bias in stages:
            features.append(stage(down(features[-1])) + bias)
        features[-1] = vnet.dropout(features[-1])
        finest = decode_levels(features, self.decoder.up, self.decoder.decoder)[0]
        return self.head(vnet.dropout(finest))


class _Stages(nn.Module):
    """The modules of a decoder."""

    def __init__(self, vnet: VNet) -> None:
        super().__init__()
        self.up, self.decoder = build_decoder(vnet.widths, vnet.norm)


class _WeightedPredictor(nn.Module):
    """Prediction of the weighted decoder."""

    def __init__(self, network: Network, decoder: Decoder) -> None:
        super().__init__()
        self.network, self.decoder = network, decoder
        self.training = network.training

    def forward(self, image: Tensor) -> Output:
        """Logits [B, C, x, y, z] of an image [B, 1, x, y, z]."""
        features = self.network.encode(image)
        logits = self.decoder.logits(features, self.network.vectors)
        return Output(logits, list(features[-DEEP:]))


def smoothed(scores: Tensor) -> Tensor:
    """Scores [B, C, x, y, z] convolved with a Gaussian of 3 voxels and deviation 1."""
    weights = torch.exp(-torch.arange(-1.0, 2.0, device=scores.device).square() / 2)
    weights = weights / weights.sum()
    kernel = weights[:, None, None] * weights[:, None] * weights
    channels = scores.shape[1]
    return F.conv3d(
        F.pad(scores, [1] * 6, mode="replicate"),
        kernel.expand(channels, 1, 3, 3, 3),
        groups=channels,
    )
