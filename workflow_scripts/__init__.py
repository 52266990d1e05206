"""Stages of the workflow "Convergent Linear Representations of Emergent Misalignment", one module per stage."""
