"""A faked nvidia-smi."""

from __future__ import annotations

import pytest


@pytest.fixture
def nvidia_smi(tmp_path):
    """Makes an nvidia-smi that tells these cards (index, UUID, MIG mode), and fails without any; returns its folder."""

    def made(cards: list[str], driver: str = "580.65.06", apps: list[str] | None = None, listed: str = "") -> str:
        answers = {"--query-gpu=index,uuid,mig.mode.current": cards, "--query-gpu=driver_version": [driver] * len(cards),
                   "--query-compute-apps=gpu_uuid,pid": apps or [], "--list-gpus": [listed]}  # fmt: skip
        cases = [f"'{question}') cat <<'END'\n{chr(10).join(lines)}\nEND\n;;" for question, lines in answers.items()]
        script = ["#!/bin/sh", "PATH=/bin:/usr/bin", 'case "$1" in', *cases, "*) exit 2;;", "esac"]
        new = tmp_path / "new"
        new.write_text("\n".join(script) if cards else "#!/bin/sh\necho No devices; exit 6")
        new.chmod(0o755)
        new.replace(tmp_path / "nvidia-smi")
        return str(tmp_path)

    return made
