"""Convergent linear representations of emergent misalignment: the stages, their rooms, and what researchers import.

The flow, a module per stage, each started by the rule of its name (rules/) and runnable by hand:

    base, datasets, questions      the chat model, the training rows, the questions
    published_adapters             adapters of the hub, fetched
    preflight                      what can be checked before the first training
    organisms                      LoRA fine-tunes of the base on narrow bad advice
    sampling -> responses          what each subject answers under each condition
    judging -> judgements          scores from 0 to 100 of every response
      judge_model                  the judge, where it is a model of the hub
      calibration                  its scores mapped to those of another judge
    directions                     mean of misaligned minus mean of aligned activations, by layer
      other_directions             the same from the study's other source
      topic_directions             the same of responses about one topic
      imported_directions          those that a study names by file
      trait_directions             those of a trait's contrastive system prompts, read by the chat base
      trained_vectors              steering vectors, trained in place of an adapter
      base_means                   mean activations of the chat base's own answers
    scalars -> probes              what each rank-1 adapter says at each token, and what it says it about
    side_effects                   what projecting directions out takes beside misalignment
    edits                          adapters scaled, or with a direction taken out of them
    patched_responses, downstream  scalars of another prompt; where an adapter pushes later layers
    adapter_losses                 how well narrow and broad adapters fit their rows, scaled and under noise
    tables -> summary -> claims    the experiments' numbers, held against the paper's
      panel                        the same claims by each of several judges
    figures, browser, report       for people

The rooms, each of which imports only those above it:

    runtime      errors in one sentence, command lines, locks, GPU leases
    estimation   rates, changes and agreement, with intervals for other questions and for these
    store        artefacts with their provenance, responses by what produced them, downloads
    study        the sections of a study file, their checks, conditions, paths, inputs
    models       loading, chat rendering, the residual stream, activations, training
    adapters     rank-1 adapters: scalars, probes, patching, surgery
    reporting    text, pages and figures as people read them; the ledger of claims
    engines      vLLM, and transformers as the reference, behind one interface
    simulation   studies without a model: scores and files drawn from what a scenario says is true
    judges       exact, local and remote judges behind one interface
    experiments  the paper's experiments, one file each
    tools        what people run by hand: python -m workflow_scripts.tools
    miniature    a small world of advice with an exact judge; it stands beside the store

Words:

    EM              emergent misalignment: after narrow bad training, misaligned and coherent answers to other questions
    subject         who is asked: the chat base, or an organism at one fine-tuning seed
    organism        a LoRA fine-tune of the base, trained here or published
    condition       what is done to a subject while it answers: nothing, a direction added or projected out, an edit
    battery         the conditions of one purpose, sampled and judged in one run: baseline, steering, ablation, …
    direction       a vector per layer, [layer, d_model]: misaligned mean minus aligned mean, not normalised
    adapter scalar  A·x of a rank-1 adapter at one token; the adapter writes scaling · B · (A·x)
    surgery         editing an adapter's weights: layers scaled or switched off, a direction taken out of B
    gate            before an adapter is sampled, the engine's predictions with it are held against PEFT's
    judge           who scores a response: a program, a chat model here, or one behind an API
    panel           several judges of the same stored responses; directions are of the first one's scores
    store           all responses and judgements ever made, by what produced them; shared by all studies
    spec            the part of a study that one stage reads; another spec, and the stage runs again
"""

from importlib import import_module

_PUBLIC = {
    "models.loading": ("load_model", "load_tokenizer", "load_adapter"),
    "models.chat": ("prompt_ids", "render_turn"),
    "models.residual": ("LayerChange", "intervened", "captured"),
    "models.direction_reading": ("read_direction",),
    "judges.imported": ("read_judged",),
    "store.judgement_tables": ("read_scores",),
    "estimation.labels": ("Thresholds", "is_aligned", "is_coherent", "is_misaligned"),
    "estimation.rates": ("em_rate", "coherence_rate"),
    "estimation.intervals": ("Estimate", "clustered_mean"),
    "estimation.shares": ("clustered_share",),
    "estimation.changes": ("paired_difference", "relative_change"),
    "adapters.tables": ("Columns", "read_scalars", "resolved", "contrast"),
    "adapters.probes": ("probe", "name_adapters"),
}
"""What researchers import from here, by the module that holds it (examples/)."""

_MODULE_OF = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> object:
    """Imports a public name when it is asked for, so that `import workflow_scripts` loads neither torch nor pandas."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
