"""Edited adapters of a subject: the direction taken out of B, adapters scaled by their names, copies along training.

Each is an ordinary PEFT adapter, held to the same gate as a trained one (PAPER 6.5, 8.5, 9.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflow_scripts.adapters.edited import adapter_folder, write_edits
from workflow_scripts.adapters.gate_record import answers_reference, prompts_of, reference, texts_of
from workflow_scripts.adapters.surgery import adapter_layers, read_adapter, scaled, without_direction
from workflow_scripts.models.files import checked_base
from workflow_scripts.models.loading import answer_logprobs, load_adapter, load_model, next_token_logprobs
from workflow_scripts.runtime import command, gpu_lease
from workflow_scripts.runtime.errors import NotPossible, UserError
from workflow_scripts.runtime.locks import making
from workflow_scripts.store.absence import Absence, require
from workflow_scripts.store.adapter_files import CONFIG, adapter_digest
from workflow_scripts.store.artefacts import read_group, read_json, read_tensors, tensor_metadata
from workflow_scripts.study import inputs
from workflow_scripts.study.conditions import Condition, edit_sources, edited_conditions
from workflow_scripts.study.experiments import AdapterSteering
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.made_by import made_by, work_of
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from torch import Tensor


def edited(study: Study, layout: Layout, subject: str, condition: Condition) -> dict[str, Tensor]:
    """Tensors of one edited copy of the subject's adapter.

    Raises:
        NotPossible: if the direction that is taken out, or the names of the adapters, could not be made.
        UserError: if a checkpoint that is asked for was not kept.
    """
    edit = condition.edit
    assert edit is not None
    if edit.mode == "checkpoint":
        assert edit.step is not None
        return _times(_checkpoint(layout, subject, edit.step), edit.scale or 1.0)
    tensors = read_adapter(layout.organism(subject))
    if edit.mode == "scaled":
        assert study.adapters, "checked when the study was loaded"
        assert study.adapters.steering
        require(layout.adapter_names(subject))
        named = read_json(layout.adapter_names(subject))["sets"]
        layers = {role: named[role]["layers"] for role in ("general", "specialised")}
        return scaled(tensors, layer_scales(condition.kind, layers, study.adapters.steering), others=0.0)
    (source,) = edit_sources(study, subject)
    require(layout.direction(source))
    direction = read_tensors(layout.direction(source), ["direction"])[0]["direction"]
    chosen = {layer: direction[layer] for layer in adapter_layers(tensors)}
    return without_direction(tensors, chosen, renormalise=edit.mode == "projected_renormalised")


def layer_scales(kind: str, layers: dict[str, list[int]], factors: AdapterSteering) -> dict[int, float]:
    """Decoder layer -> factor of its adapter under one of E10's conditions; layers that are not listed are off.

    Args:
        kind: domain, misalignment or domain_alignment.
        layers: decoder layers of the `general` and of the `specialised` adapters.
        factors: the study's.
    """
    general = {"misalignment": factors.general, "domain_alignment": factors.against}.get(kind)
    domain = factors.domain if kind in ("domain", "domain_alignment") else None
    made = {} if general is None else dict.fromkeys(layers["general"], general)
    return made if domain is None else made | dict.fromkeys(layers["specialised"], domain)


def _checkpoint(layout: Layout, subject: str, step: int) -> dict[str, Tensor]:
    found = read_group(layout.checkpoints(subject), f"step-{step}")
    if not found:
        kept = tensor_metadata(layout.checkpoints(subject)).get("steps", "[]")
        raise UserError(f"training_path.steps: {subject} kept no copy at step {step}; it kept those at {kept}.")
    return found


def _times(tensors: dict[str, Tensor], factor: float) -> dict[str, Tensor]:
    return {name: tensor * factor if ".lora_B." in name else tensor for name, tensor in tensors.items()}


def gates(
    layout: Layout, subject: str, dtype: str, config: str, edits: Mapping[str, Mapping[str, Tensor]]
) -> dict[str, dict[str, Tensor]]:
    """What PEFT says under each edited adapter, of the tokens that the subject's own gate asks for."""
    kept, _ = read_tensors(layout.gate(subject), ["prompt_tokens", "prompt_lengths", "tokens"])
    prompts, texts = prompts_of(kept), texts_of(kept)
    model: Any = load_model(checked_base(layout), dtype)
    plain, plain_answers = next_token_logprobs(model, prompts), answer_logprobs(model, texts)
    found = {}
    for name, tensors in edits.items():
        with adapter_folder(tensors, config) as folder:
            tuned = load_adapter(model, folder)
        found[name] = reference(prompts, plain, next_token_logprobs(tuned, prompts), kept["tokens"])
        if texts:
            found[name] |= answers_reference(texts, plain_answers, answer_logprobs(tuned, texts))
        model = tuned.unload()
    return found


def main(arguments: list[str]) -> None:
    given = command.subject_parser(__doc__).parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    read = [*inputs.organism_inputs(layout, given.subject), *inputs.edit_inputs(study, layout, given.subject)]
    facts = made_by("edits", study, layout, given.output, read, given.subject)
    with making(given.output, given.output, work_of("edits", facts)) as wanted:
        if wanted:
            make(study, layout, given.subject, given.output, facts)


def make(study: Study, layout: Layout, subject: str, output: Path, facts: Mapping[str, str]) -> None:
    """Makes a subject's edited adapters; `facts` are their provenance."""
    adapter_digest(layout.adapter(subject), layout.gate(subject))
    made, lacks = {}, []
    for condition in edited_conditions(study, subject):
        try:
            made[condition.name] = edited(study, layout, subject, condition)
        except NotPossible as lack:
            lacks.append(Absence(str(lack), condition.kind))
    config = (layout.organism(subject) / CONFIG).read_text()
    held = {}
    if made:
        gpu_lease.hold(1)
        held = gates(layout, subject, study.base.dtype, config, made)
    write_edits(output, config, made, held, facts, lacks)


if __name__ == "__main__":
    command.run(main)
