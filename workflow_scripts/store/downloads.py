"""Input files by path or by URL, checked by sha256 each time before anyone reads them."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import urlsplit

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import file_digest, replacing

log = logging.getLogger(__name__)


def input_file(
    place: str, path: str | None, url: str | None, sha256: str | None, downloads: Path, mirror: str | None
) -> Path:
    """The local file that a source of the study names; fetched once when it is given by URL.

    Args:
        place: where the study names it, for errors (e.g. `datasets.bad_medical`).
        path, url, sha256: as in the study.
        downloads: folder that keeps what was fetched, named by its sha256.
        mirror: folder searched for the URL's file name before anything is fetched.

    Raises:
        UserError: if it is missing, cannot be fetched, or has another sha256.
    """
    found = file_at_hand(place, path, url, sha256, downloads, mirror)
    if found is None:
        assert url, "checked when the study was loaded"
        assert sha256, "checked when the study was loaded"
        found = _kept(url, sha256, downloads)
        _fetch(place, url, sha256, found)
    return found


def file_at_hand(
    place: str, path: str | None, url: str | None, sha256: str | None, downloads: Path, mirror: str | None
) -> Path | None:
    """As `input_file`, without a network: None where it would have to be fetched.

    Raises:
        UserError: if a file given by path is missing, or one has another sha256, also one that was kept.
    """
    if path is not None:
        found = Path(path)
        if not found.is_file():
            raise UserError(f"{place}.path: {path} does not exist (looked from {Path.cwd()}).")
        if sha256:
            _check(place, found, sha256)
        return found
    assert url, "checked when the study was loaded"
    assert sha256, "checked when the study was loaded"
    if mirror and (mirrored := Path(mirror) / Path(urlsplit(url).path).name).is_file():
        _check(place, mirrored, sha256)
        return mirrored
    kept = _kept(url, sha256, downloads)
    if not kept.is_file():
        return None
    content = file_digest(kept)
    if content != sha256:
        raise UserError(
            f"{place}.sha256: {kept}, which was fetched from {url}, was changed or damaged since: it has sha256 "
            f"{content}, not the {sha256} of the study; move it away and run again, which fetches it anew."
        )
    return kept


def _kept(url: str, sha256: str, downloads: Path) -> Path:
    return downloads / f"{sha256[:16]}-{Path(urlsplit(url).path).name}"


def _fetch(place: str, url: str, sha256: str, target: Path) -> None:
    import httpx

    log.info("fetching %s", url)
    with replacing(target) as temporary:
        try:
            with httpx.stream("GET", url, follow_redirects=True, timeout=60) as response:
                response.raise_for_status()
                with temporary.open("wb") as file:
                    for chunk in response.iter_bytes():
                        file.write(chunk)
        except httpx.HTTPError as error:
            raise UserError(
                f"{place}.url: {url} cannot be fetched ({error}); check the network, or put the file into a folder and "
                "name the folder in execution.download_mirror."
            ) from error
        _check(place, temporary, sha256, source=url)


def _check(place: str, file: Path, sha256: str, source: str | None = None) -> None:
    found = file_digest(file)
    if found != sha256:
        raise UserError(f"{place}.sha256: {source or file} has sha256 {found}, not the {sha256} of the study.")
