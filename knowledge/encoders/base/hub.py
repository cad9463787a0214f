"""Access to the hub of weights: whether it is reachable, and earlier downloads."""

import os
import socket
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import CacheNotFound, constants, scan_cache_dir

WAIT_SECONDS = 3.0


def use_hub(repository: str) -> None:
    """Prepare to load a repository: from the hub, or from an earlier download if it is unreachable.

    The hub is asked once. If it does not answer, offline mode of `huggingface_hub` is switched on,
    so that earlier downloads load at once and no library waits for a time-out.

    Raises:
        OSError: offline, and the repository was never downloaded.
    """
    if not constants.is_offline_mode() and not answers():
        os.environ["HF_HUB_OFFLINE"] = "1"  # for child processes
        constants.HF_HUB_OFFLINE = True  # the libraries read this on each request
    if constants.is_offline_mode() and not is_downloaded(repository):
        raise OSError(
            f"{constants.ENDPOINT} cannot be reached, and {repository} was not downloaded before"
        )


def answers() -> bool:
    """Whether a connection to the hub, or to the proxy before it, opens within seconds."""
    target = urlsplit(constants.ENDPOINT)
    proxy = getproxies().get(target.scheme)
    address = urlsplit(proxy) if proxy else target
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), WAIT_SECONDS).close()
    except OSError:
        return False
    return True


def is_downloaded(repository: str) -> bool:
    """Whether the cache of `huggingface_hub` holds files of a repository.

    A name without owner matches any owner: libraries add a default one.
    """
    try:
        cache = scan_cache_dir(constants.HF_HUB_CACHE)
    except (CacheNotFound, OSError):
        return False
    return any(
        repo.repo_id == repository or repo.repo_id.endswith(f"/{repository}")
        for repo in cache.repos
        if repo.nb_files
    )
