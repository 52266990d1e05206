"""A study's report as one archive with an RO-Crate 1.1 (https://w3id.org/ro/crate/1.1)."""

from __future__ import annotations

import json
import mimetypes
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workflow_scripts.store.artefacts import file_digest
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.schema import Study

METADATA = "ro-crate-metadata.json"
CITATION = Path(__file__).parents[2] / "CITATION.cff"
PACKED = ("report.html", "browser.html", "summary.*", "claims.*", "not_possible.json", "preflight.json", "study.json",
          "tables/*.parquet", "figures/*")  # fmt: skip
"""What of a results folder is packed."""
SAYS = {
    "report.html": "Everything in one page.",
    "browser.html": "Responses of a misaligned model with their scores; what they say can be harmful.",
    "summary.json": "Every number with its intervals, its sample count and the paper's number.",
    "claims.json": "The paper's claims held against this study.",
    "not_possible.json": "What the study's own results did not allow.",
    "study.json": "The study with all its settings.",
    CITATION.name: "How to cite.",
}


def write_crate(study: Study, layout: Layout, licence: str, archive: Path) -> None:
    """Packs report, tables, figures, the study and the citation into a zip archive that describes itself."""
    files = {
        str(file.relative_to(layout.root)): file
        for pattern in PACKED
        for file in sorted(layout.root.glob(pattern))
        if file.is_file()
    }
    files[CITATION.name] = CITATION
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, file in files.items():
            packed.write(file, name)
        packed.writestr(METADATA, json.dumps(crate(study, layout, files, licence), indent=1, ensure_ascii=False))


def crate(study: Study, layout: Layout, files: dict[str, Path], licence: str) -> dict[str, Any]:
    """The RO-Crate of an archive with these files."""
    made = datetime.fromtimestamp((layout.root / "report.html").stat().st_mtime, UTC)
    described = [
        {
            "@id": name,
            "@type": "File",
            "name": name,
            "contentSize": str(file.stat().st_size),
            "sha256": file_digest(file),
            "encodingFormat": mimetypes.guess_type(name)[0] or "application/octet-stream",
            **({"description": SAYS[name]} if name in SAYS else {}),
        }
        for name, file in files.items()
    ]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"{study.study.name}: a study of emergent misalignment",
        "description": study.study.description or "Tables, figures and report of a study of emergent misalignment.",
        "datePublished": made.isoformat(timespec="seconds"),
        "license": licence,
        "citation": {"@id": "https://doi.org/10.48550/arXiv.2506.11618"},
        "mainEntity": {"@id": "report.html"},
        "hasPart": [{"@id": name} for name in files],
    }
    paper = {
        "@id": "https://doi.org/10.48550/arXiv.2506.11618",
        "@type": "ScholarlyArticle",
        "name": "Convergent Linear Representations of Emergent Misalignment",
    }
    workflow = {
        "@id": "#workflow",
        "@type": "SoftwareApplication",
        "name": "Convergent linear representations of emergent misalignment: a reference implementation",
        "description": "A Snakemake workflow.",
    }
    action = {
        "@id": "#run",
        "@type": "CreateAction",
        "instrument": {"@id": "#workflow"},
        "object": {"@id": "study.json"},
        "result": [{"@id": name} for name in files if name not in ("study.json", CITATION.name)],
        "endTime": made.isoformat(timespec="seconds"),
    }
    descriptor = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        "about": {"@id": "./"},
    }
    graph = [descriptor, {**root, "mentions": [{"@id": "#run"}]}, *described, action, workflow, paper]
    return {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph}
